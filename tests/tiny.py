"""Tiny training runs that validate often, and the state in which two runs must agree."""

import pytest
from disk import Disk
from msgspec import structs

from chargen.runs.directory import BEST, LAST, Run, is_run
from chargen.training.session import start

TEXT = "the cat sat on the mat, the rat sat on the cat. " * 4
LINES = "the cat sat on the mat, the rat sat on the cat.\n" * 25
SMALL = ["--units", "8", "--timesteps", "8", "--batch-size", "4"]
TINY = {"units": (3, 2), "timesteps": 4, "batch_size": 3, "dropout": 0.3, "steps": 5}
FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items() if name != "units"]
FLAGS += ["--units=3,2", "--device=cpu"]


def on(monkeypatch, disk):
    monkeypatch.setattr("chargen.files.os", disk)
    return disk


def train(corpus, out, **options):
    """Train, or resume what is there; return the reports."""
    resumes = is_run(out) and not options.get("overwrite")
    how = {"resume": True} if resumes else {**TINY}
    given = {**how, **options}
    flags = {name: given.pop(name, None) for name in ("resume", "overwrite", "cache")}
    with start([corpus], given, out, device="cpu", **flags) as session:
        return list(session.trainer.reports())


def writes_before_training(corpus, out):
    """Begin a run; return the number of writing calls."""
    with pytest.MonkeyPatch.context() as patch:
        disk = on(patch, Disk())
        start([corpus], TINY, out, device="cpu").close()
    return disk.calls


def state_of(path):
    """Return everything in a run but clock times and launchers."""
    run, found = Run.open(path), {}
    for name in (BEST, LAST):
        checkpoint = run.read_checkpoint(name)
        arrays = {k: (a.dtype, a.shape, a.tobytes()) for k, a in checkpoint.arrays.items()}
        values = {k: v for k, v in checkpoint.values.items() if k != "seconds"}
        found[name] = (arrays, values)
    found["lines"] = [{k: v for k, v in line.items() if k != "seconds"} for line in run.progress()]
    found["description"] = structs.replace(run.description, launchers=())
    return found


def often(monkeypatch):
    """Validate at every second step, without fsync.

    A file that was modified just before it was read is trusted, so that the number of writes does
    not depend on the clock.
    """
    on(monkeypatch, Disk())
    monkeypatch.setattr("chargen.text.encoding.RECENT", 0)
    monkeypatch.setattr("chargen.training.loop.FEWEST_STEPS_BETWEEN", 2)
    monkeypatch.setattr("chargen.training.loop.VALIDATION_COST", 100)
