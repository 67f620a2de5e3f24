"""A run's folder: written, read, found, locked, and refused by name where it is damaged."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import save_file

from chargen.errors import ChargenError
from chargen.runs.checkpoint import Checkpoint
from chargen.runs.description import CorpusRecord, Description
from chargen.runs.directory import (
    BEST,
    LAST,
    PROGRESS,
    REPORTED,
    RUN,
    Run,
    is_begun_by,
    lock,
    newest,
)
from chargen.settings import ModelSettings, TrainingSettings
from chargen.text import Vocabulary

ARRAYS = st.dictionaries(
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1),
    arrays.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.uint8]),
        arrays.array_shapes(min_dims=0, max_dims=3, max_side=4),
    ),
    max_size=4,
)
VALUES = st.dictionaries(
    st.text(max_size=5), st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()
)

CORPUS = {
    "name": "x",
    "sources": ["/x.txt"],
    "sha256": "0" * 64,
    "chars": 30,
    "training_chars": 27,
}


def description_of(characters="abc"):
    return Description(
        ModelSettings("gru", (5, 6)),
        TrainingSettings(timesteps=3, batch_size=2, steps=7),
        Vocabulary(characters),
        CorpusRecord(**{**CORPUS, "sources": ("/x.txt",)}),
        {"chargen": "1"},
    )


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path, description_of())


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_description_survives(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("run")
    written = description_of(Vocabulary.of(text).characters)
    Run.create(path, written)
    assert Run.open(path).description == written


@given(ARRAYS, VALUES)
def test_a_checkpoint_survives_to_the_bit(tmp_path_factory, written, values):
    run = Run.create(tmp_path_factory.mktemp("run"), description_of())
    run.write_checkpoint(LAST, Checkpoint(written, values))
    read = run.read_checkpoint(LAST)
    assert read.values == values
    assert {name: (a.dtype, a.shape, a.tobytes()) for name, a in read.arrays.items()} == {
        name: (a.dtype, a.shape, a.tobytes()) for name, a in written.items()
    }


def test_arrays_in_any_memory_layout_are_written_as_they_read(run):
    run.write_checkpoint(LAST, Checkpoint({"a": np.arange(6.0).reshape(2, 3).T}, {}))
    assert run.read_checkpoint(LAST).arrays["a"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_new_run_leaves_nothing_of_the_old_one(run):
    run.write_checkpoint(BEST, Checkpoint({}, {}))
    run.write_checkpoint(LAST, Checkpoint({}, {}))
    run.append_progress({"step": 1})
    Run.create(run.path, description_of())
    assert [file.name for file in run.path.iterdir()] == [RUN]


def test_an_interrupted_write_leaves_the_old_checkpoint(run, monkeypatch):
    run.write_checkpoint(BEST, Checkpoint({"a": np.zeros(3)}, {"step": 1}))

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ChargenError, match=r"best\.safetensors: cannot be written \(No space"):
        run.write_checkpoint(BEST, Checkpoint({"a": np.ones(3)}, {"step": 2}))
    assert run.read_checkpoint(BEST).values == {"step": 1}


def test_progress_is_lines_and_a_cut_last_line_is_left_out(run):
    assert run.progress() == []
    for step in range(3):
        run.append_progress(line_of(step))
    with (run.path / PROGRESS).open("a") as file:
        file.write('{"ste')
    assert run.progress() == [line_of(0), line_of(1), line_of(2)]
    run.keep_progress(2)
    run.append_progress(line_of(5))
    assert run.progress() == [line_of(0), line_of(1), line_of(5)]


def line_of(step):
    return {**dict.fromkeys(REPORTED, 1.5), "step": step}


@pytest.mark.parametrize("damage", [b"x", b"[]", b"3", b'{"step": 3}', b"\xff", b"[" * 100_000])
def test_damaged_progress_is_named(run, damage):
    run.append_progress(line_of(1))
    with (run.path / PROGRESS).open("ab") as file:
        file.write(damage + b"\n")
    with pytest.raises(ChargenError, match=r"progress\.jsonl"):
        run.progress()


def test_weights_are_the_best_or_else_the_last(run):
    zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    run.write_checkpoint(LAST, Checkpoint({"model.a": zero, "generator": one}, {}))
    assert {name: a.tolist() for name, a in run.weights().items()} == {"a": [0]}
    run.write_checkpoint(BEST, Checkpoint({"model.a": one}, {}))
    assert run.weights()["a"].tolist() == [1]


def test_the_newest_run_is_the_one_written_to_last(tmp_path):
    for age, name in enumerate(("old", "older", "oldest")):
        run = Run.create(_made(tmp_path / name), description_of())
        os.utime(run.path / RUN, ns=(0, 10**9 * (10 - age)))
    _made(tmp_path / "no run")
    assert newest(tmp_path).path.name == "old"
    progress = tmp_path / "oldest" / PROGRESS
    progress.write_text("")
    assert newest(tmp_path).path.name == "oldest"
    (tmp_path / "older" / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "older" / "picture.png").write_text("newer, but no part of the run")
    assert newest(tmp_path).path.name == "oldest"


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def test_no_run_is_said_so(tmp_path):
    with pytest.raises(ChargenError, match=r"no run under .*chargen train"):
        newest(tmp_path)
    with pytest.raises(ChargenError, match="no such run folder"):
        Run.open(tmp_path / "nowhere")
    with pytest.raises(ChargenError, match=r"not a run folder, it has no run\.json"):
        Run.open(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 99},
        {"format": None},
        {"vocabulary": "ba"},
        {"vocabulary": 5},
        {"vocabulary": ""},
        {"model": {"cell": "lstm", "units": [0]}},
        {"model": {"cell": "lstm", "units": 5}},
        {"model": {"shape": 3}},
        {"model": []},
        {"training": {"steps": 0}},
        {"corpus": {"name": "x"}},
        {"corpus": {**CORPUS, "training_chars": 31}},
        {"corpus": {**CORPUS, "chars": "30"}},
        {"corpus": {**CORPUS, "sources": [3]}},
        {"corpus": 3},
    ],
    ids=str,
)
def test_a_damaged_description_is_refused_by_name(run, change):
    file = run.path / RUN
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ChargenError, match=r"run\.json: "):
        Run.open(run.path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "[" * 100_000, "\udcff"])
def test_a_description_that_is_no_json_is_refused_by_name(run, text):
    (run.path / RUN).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ChargenError, match=r"run\.json: "):
        Run.open(run.path)


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"\xff" * 100, b"PK\x03\x04", b"\x80\x04."])
def test_a_damaged_checkpoint_is_refused_by_name(run, data):
    (run.path / LAST).write_bytes(data)
    with pytest.raises(ChargenError, match=r"last\.safetensors: not a checkpoint"):
        run.read_checkpoint(LAST)


def test_a_checkpoint_of_another_kind_is_refused_by_name(run):
    with pytest.raises(ChargenError, match=r"best\.safetensors: missing"):
        run.read_checkpoint(BEST)
    save_file({"a": np.zeros(2)}, run.path / BEST)
    with pytest.raises(ChargenError, match=r"best\.safetensors: not a checkpoint"):
        run.read_checkpoint(BEST)
    save_file({"a": np.zeros(2)}, run.path / BEST, {"format": "99", "values": "{}"})
    with pytest.raises(ChargenError, match="format 99"):
        run.read_checkpoint(BEST)


def test_a_folder_is_locked_once(tmp_path):
    held = lock(tmp_path / "new" / "run")
    with pytest.raises(ChargenError, match="another process"):
        lock(tmp_path / "new" / "run")
    held.release()
    lock(tmp_path / "new" / "run").release()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ChargenError, match="file/run: cannot be written"):
        lock(tmp_path / "file" / "run")


def test_a_run_knows_the_launchers_that_began_it(tmp_path):
    """And no run that stood there before them, whatever it is that ends the process."""
    run = Run(tmp_path / "run", description_of())
    assert not is_begun_by(run.path, ["a"])
    run.begun_by(["a", "b"], begins=True)
    assert not is_begun_by(run.path, ["a", "b"])  # nothing is there to go on with
    Run.create(run.path, run.description)
    assert is_begun_by(run.path, ["a"])
    assert is_begun_by(run.path, ["c", "b"])
    assert not is_begun_by(run.path, ["c"])
    assert not is_begun_by(run.path, [])
    run.begun_by(["c"], begins=True)  # to overwrite it, which has not come to that yet
    assert not is_begun_by(run.path, ["c"])
    Run.create(run.path, run.description)
    assert is_begun_by(run.path, ["c"])
    assert not is_begun_by(run.path, ["a"])
    run.begun_by(["c", "d"], begins=False)  # it goes on, and run.json stays as it is
    assert is_begun_by(run.path, ["d"])
    assert not is_begun_by(run.path, ["a"])


@pytest.mark.parametrize("said", [b"", b"[]", b"{}", b'{"launchers": 3, "before": ""}', b"\xff"])
def test_what_does_not_say_who_began_a_run_says_nothing(run, said):
    (run.path / ".job").write_bytes(said)
    assert not is_begun_by(run.path, ["a"])
