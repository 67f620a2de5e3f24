"""A run survives: whatever stops it, it goes on to the end that an unbroken one has, to the bit."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from disk import (
    CODES,
    Crash,
    Disk,
    Recorder,
    after_power_loss,
    crash_at,
    refuse_at,
)
from tiny import FLAGS, TEXT, TINY, often, on, state_of, train

from chargen.cli import main
from chargen.errors import ChargenError
from chargen.runs.directory import BEST, LAST, PROGRESS, RUN, Run, is_run
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


def crash(monkeypatch, disk, corpus, out, **options):
    """Train on a disk that stops; returns whether it did."""
    with monkeypatch.context() as patch:
        on(patch, disk)
        try:
            train(corpus, out, **options)
        except Crash:
            return True
    return False


def copy_of(out, at):
    return shutil.copytree(out, out.with_name(f"{at}"))


# Killed


def test_a_crash_at_any_write_loses_nothing(corpus, tmp_path, monkeypatch, unbroken):
    at = 0
    while crash(monkeypatch, crash_at(at, torn=True), corpus, tmp_path / f"{at}"):
        train(corpus, tmp_path / f"{at}")
        assert state_of(tmp_path / f"{at}") == unbroken, at
        assert not list((tmp_path / f"{at}").glob("*.new")), at
        at += 1
    assert at > 60


def test_a_crash_at_any_write_of_a_resumed_run_loses_nothing(corpus, tmp_path, monkeypatch):
    """Stopped, resumed with more to do, and crashed: resumed in the same words it ends the same."""

    def begun(out):
        with start([corpus], TINY, out, device="cpu") as session:
            list(session.trainer.reports(lambda: session.trainer.counters.step == 3))
        Run.open(out).append_progress({"step": 9, "validation_loss_nats": 0.1})

    more = {"resume": True, "steps": 8}
    begun(tmp_path / "begun")
    shutil.copytree(tmp_path / "begun", tmp_path / "whole")
    train(corpus, tmp_path / "whole", **more)
    wanted = state_of(tmp_path / "whole")
    at = 0
    while crash(monkeypatch, crash_at(at), corpus, copy_of(tmp_path / "begun", at), **more):
        train(corpus, tmp_path / f"{at}", **more)
        assert state_of(tmp_path / f"{at}") == wanted, at
        at += 1
    assert at > 30


def test_a_run_that_is_started_over_is_never_half_of_each(corpus, tmp_path, monkeypatch, unbroken):
    at, seen, begun = 0, set(), tmp_path / "begun"
    train(corpus, begun, seed=7, units=(4,))
    old = state_of(begun)
    while crash(monkeypatch, crash_at(at), corpus, copy_of(begun, at), overwrite=True):
        if not is_run(tmp_path / f"{at}"):
            seen.add("none")
            assert not (tmp_path / f"{at}" / RUN).exists()
        train(corpus, tmp_path / f"{at}")
        now = state_of(tmp_path / f"{at}")
        assert now in (old, unbroken)
        seen.add("old" if now == old else "new")
        at += 1
    assert seen == {"old", "none", "new"}


def test_real_kills():
    """The soak test's own program, for a few kills only."""
    program = Path(__file__).parent / "soak" / "kills.py"
    ran = subprocess.run(
        [sys.executable, program, "--kills", "10"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "10 kills" in ran.stdout


# Power


def check_power_loss(log, before, tmp_path, corpus, wanted, saved):
    """Every folder that may be left ends as ``wanted`` say; ``saved`` counts the saves in a log."""
    seen = {}
    for cut, files in after_power_loss(log, before):
        key = tuple(sorted(files.items()))
        if key in seen:
            continue
        out = seen[key] = tmp_path / f"after{len(seen)}"
        out.mkdir()
        for name, data in files.items():
            (out / name).write_bytes(data)
        if is_run(out) and (out / LAST).exists():
            assert Run.open(out).read_checkpoint(LAST).values["step"] >= saved(log[:cut])
        else:
            assert saved(log[:cut]) == 0
        train(corpus, out)
        assert state_of(out) in wanted, (cut, log[max(0, cut - 3) : cut])
    return seen


def recorded(monkeypatch, corpus, out, **options):
    with monkeypatch.context() as patch:
        recorder = on(patch, Recorder())
        train(corpus, out, **options)
    return recorder.log


def steps_saved(log):
    """The step of the last save that is over: renamed, and the folder synced."""
    renamed, done = 0, 0
    for kind, *rest in log:
        renamed += (kind, *rest[1:]) == ("rename", LAST)
        done = renamed if kind == "sync folder" else done
    return [0, 2, 4, 5][done]


def test_a_power_cut_leaves_the_old_checkpoint_or_the_new(corpus, tmp_path, monkeypatch, unbroken):
    log = recorded(monkeypatch, corpus, tmp_path / "run")
    seen = check_power_loss(log, {}, tmp_path, corpus, [unbroken], steps_saved)
    assert len(seen) > 35


def test_a_power_cut_never_mixes_two_runs(corpus, tmp_path, monkeypatch, unbroken):
    out = tmp_path / "run"
    train(corpus, out, seed=7)
    old = state_of(out)
    before = {name: (out / name).read_bytes() for name in (RUN, PROGRESS, BEST, LAST)}
    log = recorded(monkeypatch, corpus, out, overwrite=True)
    log = log[: next(n for n, call in enumerate(log) if call[0] == "rename") + 2]
    check_power_loss(log, before, tmp_path, corpus, [old, unbroken], lambda log: 0)


# A disk that refuses


def refused(monkeypatch, disk, corpus, out):
    """Train on a disk that refuses; returns what was said at the end, and on the way."""
    with monkeypatch.context() as patch:
        on(patch, disk)
        try:
            reports = train(corpus, out)
        except ChargenError as error:
            return str(error), []
    return "", [report.unsaved for report in reports if report.unsaved]


def test_one_refusal_costs_nothing(corpus, tmp_path, monkeypatch, unbroken):
    at, failed = 0, []
    while True:
        out, disk = tmp_path / f"{at}", refuse_at(at, CODES[at % 4], torn=True)
        said, told = refused(monkeypatch, disk, corpus, out)
        if disk.calls <= at:
            break
        failed.append(bool(said))
        for text in [said, *told]:
            assert not text or text.startswith(str(out))
            assert not text or f"cannot be written ({os.strerror(CODES[at % 4])})" in text
        assert said or told
        if said:
            train(corpus, out)
        assert state_of(out) == unbroken, at
        assert not list(out.glob("*.new")), at
        at += 1
    assert at > 60
    assert failed.count(True) < 20
    assert failed == sorted(failed, reverse=True)  # once it trains, it trains to the end


def test_a_save_that_took_place_and_was_called_failed_still_counts(
    corpus, tmp_path, monkeypatch, unbroken
):
    """The folder cannot be synced once the new checkpoint is in it; then the process is killed."""
    names = []
    with monkeypatch.context() as patch:
        on(patch, Disk(lambda number, name: names.append(name)))
        train(corpus, tmp_path / "counted")
    renamed = [number for number, name in enumerate(names) if name == "replace"]
    refused = renamed[2] + 1  # run.json, the best, the last
    for at in range(refused + 1, renamed[5]):

        def before(number, name, at=at):
            if number == refused:
                raise OSError(CODES[1], os.strerror(CODES[1]))
            if number >= at:
                raise Crash

        assert crash(monkeypatch, Disk(before), corpus, tmp_path / f"{at}")
        train(corpus, tmp_path / f"{at}")
        assert state_of(tmp_path / f"{at}") == unbroken, at


def test_a_disk_that_stays_full_keeps_the_last_save(corpus, tmp_path, monkeypatch, unbroken):
    at, ends = 0, set()
    while True:
        out, disk = tmp_path / f"{at}", refuse_at(at, CODES[at % 4], forever=True)
        said, _ = refused(monkeypatch, disk, corpus, out)
        if disk.calls <= at:
            break
        assert said.startswith(str(out))
        ends.add(said.rsplit("; ", maxsplit=1)[-1].replace(str(out), "RUN"))
        assert not list(out.glob("*.new")), at
        train(corpus, out)
        assert state_of(out) == unbroken, at
        at += 1
    for step in (2, 4):
        assert (
            f"RUN can be resumed from its last good checkpoint, step {step}, with --resume" in ends
        )
    assert "RUN has no checkpoint yet: --resume starts from the beginning" in ends


def test_a_failed_save_is_shown_and_a_failed_last_one_ends_with_2(corpus, tmp_path, monkeypatch):
    out = tmp_path / "run"
    shown = []
    monkeypatch.setattr("click.echo", lambda text="", **style: shown.append(str(text)))
    begun = Disk()
    with monkeypatch.context() as patch:
        on(patch, begun)
        start([corpus], TINY, out, device="cpu").close()
    on(monkeypatch, refuse_at(begun.calls + 2, CODES[0]))
    command = ["train", str(corpus), "--out", str(out), *FLAGS]
    assert main([*command, "--overwrite"]) == 0
    failed = [text for text in shown if "the next validation tries again" in text]
    assert failed == [
        f"{out / BEST}: cannot be written (No space left on device); the next validation tries "
        "again"
    ]
    on(monkeypatch, refuse_at(begun.calls + 2, CODES[0], forever=True))
    assert main([*command, "--overwrite"]) == 2


def test_best_weights_that_could_not_be_written_are_written_later(corpus, tmp_path, monkeypatch):
    """As they were when they were the best."""
    monkeypatch.setattr(Trainer, "_validate", lambda self: 1.0 + self.counters.step)
    train(corpus, tmp_path / "unbroken")
    begun = Disk()
    with monkeypatch.context() as patch:
        on(patch, begun)
        start([corpus], TINY, tmp_path / "begun", device="cpu").close()
    said, told = refused(
        monkeypatch, refuse_at(begun.calls + 2, CODES[0]), corpus, tmp_path / "run"
    )
    assert (said, len(told)) == ("", 1)
    assert state_of(tmp_path / "run") == state_of(tmp_path / "unbroken")
