"""Resuming with the bits of an uninterrupted run, signals, locks, non-finite weights and memory."""

import signal
import subprocess
import sys
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from disk import Disk
from msgspec import structs
from tiny import FLAGS, TEXT, TINY, on, state_of, train, writes_before_training

from chargen.cli import main
from chargen.errors import ChargenError
from chargen.files import write_end, write_file
from chargen.recurrent.model import CharModel
from chargen.runs.checkpoint import Checkpoint
from chargen.runs.directory import BEST, LAST, PROGRESS, Run
from chargen.runs.lock import HOLDER, lock
from chargen.training.loop import Trainer
from chargen.training.session import start

pytestmark = pytest.mark.usefixtures("often")


def train_until(cat, out, step=None, **settings):
    """Train or resume, and stop at a step."""
    resume = out.exists()
    with start([cat], {} if resume else settings, out, resume=resume, device="cpu") as session:
        session.run(lambda: session.trainer.counters.step == step)


STAGED = {"curriculum": (2, 3), "timesteps": 4, "batch_size": 3}


@pytest.mark.parametrize(
    ("ways", "stops"),
    [
        ({}, (1, 5, 6, 9)),
        ({"resets": 0.3, "average": 0.2, "precision": "bfloat16"}, (5,)),
        (STAGED, (3, 5)),
        ({**STAGED, "state": "reset"}, (3, 9)),
        ({**STAGED, "distillation": 0.5}, (3, 9)),
    ],
    ids=str,
)
def test_resumed_run_ends_with_the_bits_of_an_unbroken_one(cat, tmp_path, ways, stops):
    settings = {**TINY, "steps": 11, **ways}
    train_until(cat, tmp_path / "unbroken", **settings)
    for stop in (*stops, None):
        train_until(cat, tmp_path / "broken", stop, **settings)
    assert state_of(tmp_path / "broken") == state_of(tmp_path / "unbroken")


def test_same_seed_gives_the_same_bytes(cat, tmp_path, finished):
    for name, seed in (("same", 0), ("other", 1)):
        train(cat, tmp_path / name, seed=seed)
    assert state_of(tmp_path / "same") == state_of(finished) != state_of(tmp_path / "other")


def test_larger_budget_resets_patience(cat, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "_validate", lambda self: 1.0)
    out = tmp_path / "run"
    train(cat, out, steps=100, patience=2)
    assert train(cat, out) == []
    start([cat], {"steps": 200}, out, resume=True, device="cpu").close()
    assert len(train(cat, out)) == 4  # also after a crash
    assert len(train(cat, out, epochs=9)) == 4
    settings = Run.open(out).description.training
    assert (settings.steps, settings.epochs) == (None, 9)


def test_other_settings_and_other_corpora_are_refused(cat, run, tmp_path):
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    with pytest.raises(ChargenError, match=r"units=9: .* uses 3,2;"):
        train(cat, run, units=(9,))
    (tmp_path / "other.txt").write_text(TEXT + "!")
    with pytest.raises(ChargenError, match="trained on another corpus"):
        train(tmp_path / "other.txt", run)
    assert before == {file.name: file.read_bytes() for file in run.iterdir()}
    assert train(cat, run, units=(3, 2), timesteps=4) == []


def change(out, arrays=None, **values):
    """Rewrite the last checkpoint with other arrays, or without those that are None."""
    run = Run.open(out)
    last = run.read_checkpoint(LAST)
    found = {**last.arrays, **(arrays or {})}
    kept = {name: array for name, array in found.items() if array is not None}
    run.write_checkpoint(LAST, Checkpoint(kept, {**last.values, **values}))


FLOATS = np.zeros((3, 3), np.float32)
WRONG = {
    "weights of another shape": {"arrays": {"model.W_hy": FLOATS}},
    "moments of another shape": {"arrays": {"optimizer.0.exp_avg": FLOATS}},
    "moments missing": {"arrays": {"optimizer.0.exp_avg_sq": None}},
    "state of another batch size": {"arrays": {"state.0.0": np.zeros((4, 3), np.float32)}},
    "generator missing": {"arrays": {"generator": None}},
    "generator cut": {"arrays": {"generator": np.zeros(7, np.uint8)}},
    "average missing": {"arrays": {"unaveraged.b_y": FLOATS}},
    "batch beyond the epoch": {"batch": 10**6},
    "stage beyond the curriculum": {"stage": 1},
    "negative step": {"step": -1},
    "moments at step 0": {"step": 0},
    "counter added": {"colour": 3},
    "environment with escapes": {"environment": {"torch": "\x1b[31m"}},
}
FOUND_LATER = ("generator cut", "batch beyond the epoch")  # by the trainer


@pytest.mark.parametrize("wrong", WRONG)
def test_checkpoint_that_does_not_fit_is_refused_before_a_model_is_built(
    cat, run, monkeypatch, wrong
):
    change(run, **WRONG[wrong])
    if wrong not in FOUND_LATER:
        monkeypatch.setattr(CharModel, "seeded", lambda *given: pytest.fail("a model was built"))
    with pytest.raises(ChargenError, match=r"last\.safetensors: does not fit the run \("):
        train(cat, run, steps=9)


def test_description_that_contradicts_its_text_is_refused(cat, run):
    description = Run.open(run).description
    settings, record = description.training, description.corpus
    for changed in (
        structs.replace(description, training=structs.replace(settings, validation=0.5)),
        structs.replace(description, corpus=structs.replace(record, training_chars=20)),
    ):
        Run(run, changed).write_description()
        with pytest.raises(ChargenError, match=r"run|batch_size"):
            train(cat, run)


def test_missing_checkpoint_is_an_error(cat, run):
    (run / LAST).unlink()
    before = (run / PROGRESS).read_bytes()
    with pytest.raises(ChargenError, match=r"last\.safetensors: missing"):
        train(cat, run)
    assert (run / PROGRESS).read_bytes() == before


def test_links_in_a_run_are_not_written_through(tmp_path):
    precious, link = tmp_path / "precious", tmp_path / "link"
    precious.write_text("precious")
    for path in (link, tmp_path / "link.new"):
        path.symlink_to(precious)
    with pytest.raises(ChargenError, match="link: cannot be written"):
        write_end(link, 0, b"new")
    write_file(link, b"new")
    assert (link.read_bytes(), precious.read_text()) == (b"new", "precious")


def notes_of(cat, out):
    with start([cat], {}, out, resume=True, device="cpu") as session:
        return session.notes


def test_changed_environment_is_noted(cat, run):
    assert notes_of(cat, run) == ()
    before = Run.open(run).read_checkpoint(LAST).values["environment"]
    change(run, environment={**before, "torch": "1.0", "threads": "64"})
    assert notes_of(cat, run) == (
        f"torch {torch.__version__} (was 1.0), threads {torch.get_num_threads()} (was 64): "
        "results may differ in the last digits",
    )


def test_run_of_another_device_type_continues(cat, run):
    environment = {"device": "cuda NVIDIA H200"}
    change(run, {"generator": np.zeros(16, np.uint8)}, environment=environment)
    with start([cat], {"steps": 9}, run, resume=True, device="cpu") as session:
        assert "(was cuda NVIDIA H200): results may differ" in session.notes[0]
        assert [report.step for report in session.trainer.reports()][-1] == 9


def test_run_without_a_checkpoint_starts_from_the_beginning(cat, tmp_path, finished):
    out = tmp_path / "run"
    start([cat], TINY, out, device="cpu").close()
    (out / PROGRESS).write_bytes(b'{"step": 2, "valid')
    assert notes_of(cat, out) == (
        f"{out}: stopped before its first checkpoint; starts from the beginning",
    )
    train(cat, out)
    assert state_of(out) == state_of(finished)


@pytest.mark.parametrize(
    ("numbers", "code"), [([signal.SIGTERM, signal.SIGINT], 143), ([signal.SIGINT] * 3, 130)]
)
def test_signals_at_any_write(cat, tmp_path, monkeypatch, capfd, finished, numbers, code):
    """The third ends it at once, within the save; the others let it save."""
    start([cat], TINY, tmp_path / "encoded", device="cpu").close()
    begun = writes_before_training(cat, tmp_path / "counted")
    for at in range(begun, begun + 17, 8):

        def before(number, name, at=at):
            if number == at:
                for one in numbers:
                    signal.raise_signal(one)

        out = tmp_path / f"{at}"
        with monkeypatch.context() as patch:
            on(patch, Disk(before))
            assert main(["train", str(cat), "--out", str(out), *FLAGS]) == code
        assert "once more ends at once" in capfd.readouterr().err
        if len(numbers) == 3:
            assert (out / LAST).exists() == (at > begun + 15)  # renamed by then
        else:
            assert Run.open(out).read_checkpoint(LAST).values["step"] == 2
        assert not list(out.glob("*.new"))
        train(cat, out)
        assert state_of(out) == state_of(finished)


HOLD = """
import sys, time; from pathlib import Path; from chargen.runs.lock import lock
with lock(Path(sys.argv[1])): print("held", flush=True); time.sleep(60)
"""


def test_only_a_valid_holder_is_named_and_a_dead_one_holds_nothing(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        named = rf"in it \(process {process.pid}, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\); wait"
        with pytest.raises(ChargenError, match=named), lock(tmp_path):
            pass
        process.kill()
    assert (tmp_path / HOLDER).exists()
    with lock(tmp_path):
        for data in (b"", b"\x1b[31m 2026-11-24 03:17:24", b"9" * 10**6):
            (tmp_path / HOLDER).write_bytes(data)
            with pytest.raises(ChargenError, match="is training in it; wait"), lock(tmp_path):
                pass
    assert not (tmp_path / HOLDER).exists()


@pytest.fixture
def late(cat, monkeypatch):
    """Let another process train in the moment before the lock is taken."""

    def set_up(**options):
        def late_lock(path):
            monkeypatch.setattr("chargen.training.session.lock", lock)
            train(cat, path, **options)
            return lock(path)

        monkeypatch.setattr("chargen.training.session.lock", late_lock)

    return set_up


def test_what_is_resumed_is_read_after_the_lock_is_held(cat, tmp_path, late):
    out = tmp_path / "run"
    with start([cat], TINY, out, device="cpu") as session:
        list(session.trainer.reports(lambda: session.trainer.counters.step == 3))
        for options in ({"overwrite": True}, {"resume": True}):
            with pytest.raises(ChargenError, match="another process is training"):
                start([cat], {}, out, device="cpu", **options)
    late(steps=7)
    with start([cat], {}, out, resume=True, device="cpu") as session:
        assert session.trainer.settings.steps == 7
        assert session.trainer.counters.step == 7


def test_a_run_that_another_process_just_made_is_not_overwritten(cat, tmp_path, late):
    late(seed=3)
    with pytest.raises(ChargenError, match="a run exists already"):
        train(cat, tmp_path / "run")
    assert Run.open(tmp_path / "run").description.training.seed == 3


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_never_saved(cat, tmp_path, monkeypatch, value):
    """Neither as the last nor, if validation does not see them, as the best."""
    validate = Trainer._validate

    def poison(self):
        loss = validate(self) / self.counters.step
        if self.counters.step == 4:
            with torch.no_grad():
                self.model.b_y[0] = value
        return loss

    monkeypatch.setattr(Trainer, "_validate", poison)
    out = tmp_path / "run"
    with pytest.raises(ChargenError, match=r"step 4 .*not finite.* keeps the last good"):
        train(cat, out)
    for name in (BEST, LAST):
        assert Run.open(out).read_checkpoint(name).values["step"] == 2


ALLOCATOR = "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"


def test_too_little_memory_is_one_line_that_names_the_flags(cat, tmp_path, monkeypatch, cli):
    cpu, gpu = RuntimeError(ALLOCATOR), torch.OutOfMemoryError("CUDA out of memory. Tried 2.00 GiB")
    for where, error in (("step.next_char_loss", MemoryError()), ("step.next_char_loss", gpu),
                         ("loop.losses", cpu)):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(f"chargen.training.{where}", Mock(side_effect=error))
            command = ["train", cat, "--out", tmp_path / type(error).__name__, *FLAGS]
            line = cli(command, 2).err.splitlines()[-1]
        assert line.startswith("chargen: --batch-size 3, --timesteps 4, --units 3,2: out of memory")
    for where in ("step.next_char_loss", "loop.losses"):
        bug = Mock(side_effect=RuntimeError("shapes differ"))
        monkeypatch.setattr(f"chargen.training.{where}", bug)
        with pytest.raises(RuntimeError, match="shapes differ"):
            train(cat, tmp_path / where)
