"""What is resumed: checked before it is believed, and what differs is told."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from msgspec import structs
from tiny import TEXT, TINY, often, state_of, train

from chargen.errors import ChargenError
from chargen.files import write_end, write_file
from chargen.recurrent.model import CharModel
from chargen.runs.checkpoint import Checkpoint
from chargen.runs.directory import LAST, PROGRESS, Run
from chargen.training import start


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "cat.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    often(monkeypatch)


@pytest.fixture
def unbroken(corpus, tmp_path):
    train(corpus, tmp_path / "unbroken")
    return state_of(tmp_path / "unbroken")


# From elsewhere


def changed(out, arrays=None, **values):
    """Write `LAST` anew with other arrays (None: without it) and values."""
    run = Run.open(out)
    last = run.read_checkpoint(LAST)
    found = {**last.arrays, **(arrays or {})}
    kept = {name: array for name, array in found.items() if array is not None}
    run.write_checkpoint(LAST, Checkpoint(kept, {**last.values, **values}))


FLOATS = np.zeros((3, 3), np.float32)
WRONG = {
    "weights shaped otherwise": {"arrays": {"model.W_hy": FLOATS}},
    "weights of doubles": {"arrays": {"model.b_y": np.zeros(13)}},
    "weights missing": {"arrays": {"model.b_y": None}},
    "weights besides": {"arrays": {"model.x": FLOATS}},
    "moments shaped otherwise": {"arrays": {"optimizer.0.exp_avg": FLOATS}},
    "moments missing": {"arrays": {"optimizer.0.exp_avg_sq": None}},
    "moments besides": {"arrays": {"optimizer.99.exp_avg": FLOATS}},
    "state of another batch": {"arrays": {"state.0.0": np.zeros((4, 3), np.float32)}},
    "state of other units": {"arrays": {"state.1.0": FLOATS}},
    "state missing": {"arrays": {"state.1.1": None}},
    "generator missing": {"arrays": {"generator": None}},
    "generator cut": {"arrays": {"generator": np.zeros(7, np.uint8)}},
    "generator of floats": {"arrays": {"generator": np.zeros(5056, np.float32)}},
    "generator in rows": {"arrays": {"generator": np.zeros((2, 2528), np.uint8)}},
    "something besides": {"arrays": {"x": FLOATS}},
    "batch beyond the epoch": {"batch": 10**6},
    "negative step": {"step": -1},
    "step of half": {"step": 1.5},
    "step as text": {"step": "3"},
    "step as a truth": {"step": True},
    "no moments at a step": {"step": 0},
    "counter besides": {"colour": 3},
    "environment of numbers": {"environment": {"torch": 3}},
    "environment that drives a terminal": {"environment": {"torch": "\x1b[31m"}},
}


AFTERWARDS = ("generator cut", "batch beyond the epoch")  # found by the trainer


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_fit_the_settings_is_refused_before_a_model_is_made(
    corpus, tmp_path, monkeypatch, wrong
):
    out = tmp_path / "run"
    train(corpus, out)
    changed(out, **WRONG[wrong])
    if wrong not in AFTERWARDS:
        monkeypatch.setattr(CharModel, "seeded", lambda *given: pytest.fail("a model was made"))
    with pytest.raises(ChargenError, match=r"last\.safetensors: does not fit the run \("):
        train(corpus, out, steps=9)


@pytest.mark.parametrize(
    ("average", "array"), [(0.0, np.zeros(13, np.float32)), (0.1, None), (0.1, FLOATS)]
)
def test_weights_that_go_on_are_there_where_others_are_averages(corpus, tmp_path, average, array):
    out = tmp_path / "run"
    train(corpus, out, average=average)
    changed(out, {"unaveraged.b_y": array})
    with pytest.raises(ChargenError, match=r"does not fit the run \(unaveraged\.b_y has shape"):
        train(corpus, out, steps=9)


def test_a_description_that_lies_about_its_text_is_refused(corpus, tmp_path):
    out = tmp_path / "run"
    train(corpus, out)
    run = Run.open(out)
    settings, record = run.description.training, run.description.corpus
    for description in (
        replace(run.description, training=structs.replace(settings, batch_size=2**30)),
        replace(run.description, training=structs.replace(settings, validation=0.5)),
        replace(run.description, corpus=structs.replace(record, training_chars=5)),
    ):
        Run(out, description).write_description()
        with pytest.raises(ChargenError, match=r"run|--batch-size"):
            train(corpus, out, resume=True)


# Told


def test_another_environment_is_told(corpus, tmp_path):
    out = tmp_path / "run"
    train(corpus, out)
    before = Run.open(out).read_checkpoint(LAST).values["environment"]
    with start([corpus], {}, out, resume=True, device="cpu") as session:
        assert session.notes == ()
    changed(out, environment={**before, "torch": "1.0", "threads": "64"})
    with start([corpus], {}, out, resume=True, device="cpu") as session:
        assert session.notes == (
            f"torch {torch.__version__} (was 1.0), threads {torch.get_num_threads()} (was 64): "
            "results may differ in the last digits",
        )


def test_a_run_of_another_kind_of_device_goes_on_here(corpus, tmp_path):
    out = tmp_path / "run"
    train(corpus, out)
    environment = {"device": "cuda NVIDIA H200"}
    changed(out, {"generator": np.zeros(16, np.uint8)}, environment=environment)
    with start([corpus], {"steps": 9}, out, resume=True, device="cpu") as session:
        assert "(was cuda NVIDIA H200): results may differ" in session.notes[0]
        assert [report.step for report in session.trainer.reports()][-1] == 9


def test_a_run_without_a_save_begins_from_the_beginning_and_says_so(corpus, tmp_path, unbroken):
    out = tmp_path / "run"
    start([corpus], TINY, out, device="cpu").close()
    (out / PROGRESS).write_bytes(b'{"step": 2, "valid')
    with start([corpus], {}, out, resume=True, device="cpu") as session:
        assert session.notes == (
            f"{out}: stopped before its first checkpoint; starts from the beginning",
        )
        session.run()
    assert state_of(out) == unbroken


def test_a_run_whose_save_was_removed_does_not_begin_again(corpus, tmp_path):
    out = tmp_path / "run"
    train(corpus, out)
    (out / LAST).unlink()
    before = (out / PROGRESS).read_bytes()
    with pytest.raises(ChargenError, match=r"last\.safetensors: missing"):
        train(corpus, out)
    assert (out / PROGRESS).read_bytes() == before


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_progress_that_lost_lines_is_named(corpus, tmp_path, kept):
    out = tmp_path / "run"
    train(corpus, out)
    lines = (out / PROGRESS).read_bytes().splitlines(keepends=True)
    (out / PROGRESS).write_bytes(b"".join(lines[:kept]) + lines[kept][:-1])
    with pytest.raises(ChargenError, match=rf"last\.safetensors counts 3 lines and {kept} are"):
        train(corpus, out)


def test_a_link_in_a_run_is_not_written_through(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for name in ("last", "last.new", "progress"):
        (tmp_path / name).symlink_to(precious)
    write_file(tmp_path / "last", b"new")
    assert (tmp_path / "last").read_bytes() == b"new"
    with pytest.raises(ChargenError, match="progress: cannot be written"):
        write_end(tmp_path / "progress", 0, b"new")
    assert precious.read_text() == "precious"


def test_what_the_checkpoint_does_not_count_is_gone_at_once(corpus, tmp_path):
    out = tmp_path / "run"
    train(corpus, out)
    kept = (out / PROGRESS).read_bytes()
    (out / PROGRESS).write_bytes(kept + b'{"step": 9, "valid\0\0')
    start([corpus], {}, out, resume=True, device="cpu").close()
    assert (out / PROGRESS).read_bytes() == kept


def test_a_run_that_patience_ended_goes_on_after_a_crash_too(corpus, tmp_path, monkeypatch):
    """More steps were asked for; it is stopped before its next save, and resumed."""
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("chargen.training.loop.Trainer._validate", lambda self: 1.0)
        train(corpus, out, steps=100, patience=2)
    start([corpus], {"steps": 200}, out, resume=True, device="cpu").close()
    assert train(corpus, out)
