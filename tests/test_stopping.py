"""Training under signals, locks, non-finite weights and out-of-memory errors."""

import signal
import subprocess
import sys
from unittest.mock import Mock

import pytest
import torch
from disk import Disk
from tiny import FLAGS, TINY, on, state_of, train

from chargen.cli import main
from chargen.errors import ChargenError
from chargen.runs.directory import BEST, LAST, Run
from chargen.runs.lock import HOLDER, lock
from chargen.training.loop import Trainer
from chargen.training.session import start

pytestmark = pytest.mark.usefixtures("often")


# Signals


@pytest.mark.parametrize(
    ("numbers", "code"), [([signal.SIGTERM, signal.SIGINT], 143), ([signal.SIGINT] * 3, 130)]
)
def test_signals_at_any_write(cat, tmp_path, monkeypatch, capfd, finished, numbers, code):
    """The third ends it at once, within the save; the others let it save."""
    begun = Disk()
    start([cat], TINY, tmp_path / "encoded", device="cpu").close()
    with monkeypatch.context() as patch:
        on(patch, begun)
        start([cat], TINY, tmp_path / "counted", device="cpu").close()
    for at in range(begun.calls, begun.calls + 17, 8):

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
            assert (out / LAST).exists() == (at > begun.calls + 15)  # renamed by then
        else:
            assert Run.open(out).read_checkpoint(LAST).values["step"] == 2
        assert not list(out.glob("*.new"))
        train(cat, out)
        assert state_of(out) == state_of(finished)


# Locked

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
        for said in (b"", b"\x1b[31m 2026-11-24 03:17:24", b"9" * 10**6):
            (tmp_path / HOLDER).write_bytes(said)
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


# Numbers only


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


# Memory

ALLOCATOR = "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"


def test_too_little_memory_is_one_line_that_names_the_flags(cat, tmp_path, monkeypatch, cli):
    cpu, gpu = RuntimeError(ALLOCATOR), torch.OutOfMemoryError("CUDA out of memory. Tried 2.00 GiB")
    for where, error in (("step.next_char_loss", MemoryError()), ("step.next_char_loss", gpu),
                         ("loop.losses", cpu)):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(f"chargen.training.{where}", Mock(side_effect=error))
            command = ["train", cat, "--out", tmp_path / type(error).__name__, *FLAGS]
            told = cli(command, 2).err.splitlines()[-1]
        assert told.startswith("chargen: --batch-size 3, --timesteps 4, --units 3,2: out of memory")
    for where in ("step.next_char_loss", "loop.losses"):
        bug = Mock(side_effect=RuntimeError("shapes differ"))
        monkeypatch.setattr(f"chargen.training.{where}", bug)
        with pytest.raises(RuntimeError, match="shapes differ"):
            train(cat, tmp_path / where)
