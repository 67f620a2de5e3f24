"""What may come in between: signals, other processes, weights that are no numbers, no memory."""

import signal
import subprocess
import sys
import time

import pytest
import torch
from disk import Disk
from tiny import FLAGS, TEXT, TINY, often, on, state_of, train

from chargen.cli import main
from chargen.errors import ChargenError
from chargen.runs.directory import BEST, HOLDER, LAST, Run, lock
from chargen.training import start
from chargen.training.loop import Trainer


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


# Signals


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ([signal.SIGINT], 130),
        ([signal.SIGTERM], 143),
        ([signal.SIGINT, signal.SIGINT], 130),
        ([signal.SIGTERM, signal.SIGINT], 143),
        ([signal.SIGINT] * 3, 130),
    ],
    ids=["int", "term", "int-int", "term-int", "int-int-int"],
)
def test_signals_at_any_write(corpus, tmp_path, monkeypatch, unbroken, numbers, code):
    """The third ends it at once, within the save; the others let it save."""
    begun = Disk()
    start([corpus], TINY, tmp_path / "encoded", device="cpu").close()
    with monkeypatch.context() as patch:
        on(patch, begun)
        start([corpus], TINY, tmp_path / "counted", device="cpu").close()
    for at in range(begun.calls, begun.calls + 17):

        def before(number, name, at=at):
            if number == at:
                for one in numbers:
                    signal.raise_signal(one)

        out = tmp_path / f"{at}"
        with monkeypatch.context() as patch:
            on(patch, Disk(before))
            assert main(["train", str(corpus), "--out", str(out), *FLAGS]) == code
        if len(numbers) == 3:
            assert (out / LAST).exists() == (at > begun.calls + 15)  # renamed by then
        else:
            assert Run.open(out).read_checkpoint(LAST).values["step"] == 2
        assert not list(out.glob("*.new"))
        train(corpus, out)
        assert state_of(out) == unbroken


@pytest.mark.parametrize(("count", "code"), [(1, 143), (2, 143)])
def test_real_signals_within_a_save(corpus, tmp_path, count, code):
    """SIGTERM while fsync takes its time: the save ends, and then the program."""
    program = """
import os, sys, time, chargen.files
from chargen.cli import main
sync = os.fsync
def slow(file):
    if "step" in told:
        print("saving", flush=True)
        time.sleep(0.3)
    sync(file)
class Slow:
    fsync = staticmethod(slow)
    def __getattr__(self, name):
        return getattr(os, name)
from chargen.training.loop import Trainer
told, step = [], Trainer._train_step
Trainer._train_step = lambda *given: (told.append("step"), step(*given))[1]
chargen.files.os = Slow()
sys.exit(main(sys.argv[1:]))
"""
    command = [sys.executable, "-c", program, "train", str(corpus), "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        [*command, *FLAGS, "--threads=1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "saving\n"
    for _ in range(count):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    _, err = process.communicate()
    assert process.returncode == code
    assert ("once more ends at once" in err) == (count > 1)
    assert "Traceback" not in err
    assert Run.open(tmp_path / "run").read_checkpoint(LAST).values["step"] > 0
    assert not list((tmp_path / "run").glob("*.new"))


# Locked

HOLD = "import sys, time; from pathlib import Path; from chargen.runs.directory import lock; "
HOLD += (
    "held = lock(Path(sys.argv[1])); held.__enter__(); print('held', flush=True); time.sleep(60)"
)


def holding(path):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_the_other_process_is_named_and_a_dead_one_holds_nothing(tmp_path):
    process = holding(tmp_path)
    assert process.stdout.readline() == b"held\n"
    since = r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    with pytest.raises(ChargenError, match=rf"in it \(process {process.pid}, {since}\); wait"):
        lock(tmp_path).__enter__()
    process.kill()
    process.communicate()
    assert (tmp_path / HOLDER).exists()
    with lock(tmp_path):
        pass
    assert not (tmp_path / HOLDER).exists()


def test_of_several_processes_one_wins(tmp_path):
    processes = [holding(tmp_path / "run") for _ in range(4)]
    while sum(process.poll() is not None for process in processes) < 3:
        time.sleep(0.01)
    (winner,) = (process for process in processes if process.poll() is None)
    winner.kill()
    said = [process.communicate()[1] for process in processes if process is not winner]
    assert winner.communicate()[0] == b"held\n"
    assert all(b"another process is training in it" in text for text in said)


@pytest.mark.parametrize("said", [b"", b"x", b"\x1b[31m 2026-11-24 03:17:24", b"9" * 10**6])
def test_a_holder_that_is_no_holder_is_not_shown(tmp_path, said):
    with lock(tmp_path):
        (tmp_path / HOLDER).write_bytes(said)
        with pytest.raises(ChargenError, match="is training in it; wait"), lock(tmp_path):
            pass


def test_what_is_resumed_is_read_after_the_lock_is_held(corpus, tmp_path, monkeypatch):
    """Another process ends its run in the moment before."""
    out = tmp_path / "run"
    with start([corpus], TINY, out, device="cpu") as session:
        list(session.trainer.reports(lambda: session.trainer.counters.step == 3))

    def late(path):
        monkeypatch.setattr("chargen.training.plan.lock", lock)
        train(corpus, path, steps=7)
        return lock(path)

    monkeypatch.setattr("chargen.training.plan.lock", late)
    with start([corpus], {}, out, resume=True, device="cpu") as session:
        assert session.trainer.settings.steps == 7
        assert session.trainer.counters.step == 7


def test_a_run_that_another_process_just_made_is_not_overwritten(corpus, tmp_path, monkeypatch):
    out = tmp_path / "run"

    def late(path):
        monkeypatch.setattr("chargen.training.plan.lock", lock)
        train(corpus, path, seed=3)
        return lock(path)

    monkeypatch.setattr("chargen.training.plan.lock", late)
    with pytest.raises(ChargenError, match="a run exists already"):
        train(corpus, out)
    assert Run.open(out).description.training.seed == 3


# Numbers only


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_never_saved(corpus, tmp_path, value):
    out = tmp_path / "run"

    def stop():
        if trainer.counters.step == 3:
            with torch.no_grad():
                trainer.model.b_y[0] = value
        return trainer.counters.step == 3

    with start([corpus], TINY, out, device="cpu") as session:
        trainer = session.trainer
        with pytest.raises(ChargenError, match=r"step 3 .*not finite.* keeps the last good"):
            list(trainer.reports(stop))
    assert Run.open(out).read_checkpoint(LAST).values["step"] == 2


def test_nor_do_they_become_the_best(corpus, tmp_path, monkeypatch):
    out, losses = tmp_path / "run", iter([2.0, 1.0])

    def validate(self):
        if self.counters.step == 4:
            next(iter(self._state._optimizer.state.values()))["exp_avg"][0] = float("nan")
            with torch.no_grad():
                self.model.b_y[0] = float("nan")
        return next(losses)

    monkeypatch.setattr(Trainer, "_validate", validate)
    with pytest.raises(ChargenError, match=r"step 4 .*not finite"):
        train(corpus, out)
    for name in (BEST, LAST):
        assert Run.open(out).read_checkpoint(name).values["step"] == 2


# Memory

SHORT = [
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
]


@pytest.mark.parametrize("where", ["step.next_char_loss", "loop.losses"])
@pytest.mark.parametrize("error", SHORT, ids=lambda error: type(error).__name__)
def test_too_little_memory_is_one_line_that_names_the_flags(
    corpus, tmp_path, monkeypatch, capsys, where, error
):
    def fail(*given, **named):
        raise error

    monkeypatch.setattr(f"chargen.training.{where}", fail)
    assert main(["train", str(corpus), "--out", str(tmp_path / "run"), *FLAGS]) == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith("chargen: --batch-size 3, --timesteps 4, --units 3,2: out of memory")
    )


def test_another_error_of_torch_is_a_bug(corpus, tmp_path, monkeypatch):
    def fail(*given):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("chargen.training.step.next_char_loss", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        train(corpus, tmp_path / "run")
