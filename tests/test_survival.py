"""A run that a kill, a power cut or a failing disk interrupted resumes to the same end, bit by bit.

The training is recorded once, with the content of the run directory before each write. Each sweep
resumes from a seeded sample of these contents, or from all of them in `make soak`.
"""

import itertools
import os
import random
from types import SimpleNamespace

import pytest
from disk import CODES, Disk, Recorder, Snapshots, after_power_loss, refuse_at, restore
from groups import Forked
from soak import kills
from tiny import FLAGS, TINY, often, on, state_of, train, writes_before_training

from chargen.cli import main
from chargen.errors import ChargenError
from chargen.runs.checkpoint import parse
from chargen.runs.directory import BEST, LAST, PROGRESS, RUN, Run
from chargen.training.loop import Trainer
from chargen.training.session import start

SAMPLE = 4


pytestmark = pytest.mark.usefixtures("often")


@pytest.fixture(scope="module")
def home(tmp_path_factory, cat, finished):
    """A directory whose runs share the encoded corpus, and the recorded writes of a whole run."""
    path, counter = tmp_path_factory.mktemp("home"), itertools.count()
    with pytest.MonkeyPatch.context() as patch:
        often(patch)
        disk = on(patch, Snapshots(path / "unbroken", torn=True))
        train(cat, path / "unbroken")
    return SimpleNamespace(
        corpus=cat,
        end=state_of(finished),
        states=list(disk.states),
        new=lambda: path / f"run{next(counter)}",  # a run directory beside the others
    )


@pytest.fixture(params=["sample", pytest.param("all", marks=pytest.mark.soak)])
def pick(request):
    """Return a function that selects a seeded sample of a sweep, or all of it."""

    def select(items):
        items = list(items)
        if request.param == "all" or len(items) <= SAMPLE:
            return items
        return [items[n] for n in sorted(random.Random(0).sample(range(len(items)), SAMPLE))]

    return select


def train_on(disk, home, out, **options):
    """Train on a simulated disk; return the reports."""
    with pytest.MonkeyPatch.context() as patch:
        on(patch, disk)
        return train(home.corpus, out, **options)


def ends(home, states, **options):
    """Yield each content of a run directory and the run that training on it leads to."""
    for state in states:
        out = restore(state, home.new())
        train(home.corpus, out, **options)
        assert not list(out.glob("*.new"))
        yield state, state_of(out)


def test_a_crash_at_any_write_loses_nothing(home, pick):
    assert len(home.states) > 25
    assert all(end == home.end for _, end in ends(home, pick(home.states)))


def test_a_crash_at_any_write_of_a_resumed_run_loses_nothing(home, pick):
    more, out = {"resume": True, "steps": 8}, home.new()
    with start([home.corpus], TINY, out, device="cpu") as session:
        list(session.trainer.reports(lambda: session.trainer.counters.step == 3))
    run = Run.open(out)
    uncounted = {"step": 9, "validation_loss_nats": 0.1}
    run.write_progress(len(run.progress()), [uncounted])
    train_on(disk := Snapshots(out), home, out, **more)
    end = state_of(out)
    assert len(disk.states) > 15
    assert all(found == end for _, found in ends(home, pick(disk.states), **more))


def test_a_run_that_is_overwritten_is_never_half_of_each(home, pick):
    out = home.new()
    train(home.corpus, out, seed=7, units=(4,))
    old = state_of(out)
    train_on(disk := Snapshots(out), home, out, overwrite=True)
    states = list(disk.states)
    without = [state for state in states if RUN not in dict(state)]
    assert without
    assert RUN in dict(states[0])
    first_new = states.index(without[-1]) + 1
    assert all(RUN in dict(state) for state in states[first_new:])
    for state, end in ends(home, pick(states)):
        assert end == (old if state == states[0] else home.end)


def test_real_kills(tmp_path):
    """Run a few kills of the soak test."""
    code, out, err = Forked(tmp_path, kills.main, ["--kills=2", "--steps=30"]).ended()
    assert (code, "2 kills" in out) == (0, True), out + err


def steps_saved(log):
    """Return the step of the last save that is durable: renamed, and the directory synced."""
    renamed, done = 0, 0
    for kind, *rest in log:
        renamed += (kind, *rest[1:]) == ("rename", LAST)
        done = renamed if kind == "sync folder" else done
    return [0, 2, 4, 5][done]


def contents(log, before):
    """Return the distinct directories that a power cut may leave, each with the log before it."""
    found = {}
    for cut, files in after_power_loss(log, before):
        found.setdefault(tuple(sorted(files.items())), log[:cut])
    return found


def test_a_power_cut_leaves_the_old_checkpoint_or_the_new(home, pick):
    train_on(disk := Recorder(), home, home.new())
    found = contents(disk.log, {})
    assert len(found) > 35
    for state, log in found.items():
        saved = steps_saved(log)
        if {RUN, LAST} <= dict(state).keys():
            assert parse(dict(state)[LAST]).values["step"] >= saved
        else:
            assert saved == 0
    assert all(end == home.end for _, end in ends(home, pick(found)))


def test_a_power_cut_never_mixes_two_runs(home, pick):
    out = home.new()
    train(home.corpus, out, seed=7)
    old = state_of(out)
    before = {name: (out / name).read_bytes() for name in (RUN, PROGRESS, BEST, LAST)}
    train_on(disk := Recorder(), home, out, overwrite=True)
    first = next(n for n, call in enumerate(disk.log) if call[0] == "rename")
    states = pick(contents(disk.log[: first + 2], before))
    assert all(end in (old, home.end) for _, end in ends(home, states))


def refused(disk, home, out):
    """Train on a disk that refuses; return the final error and the errors in reports."""
    try:
        reports = train_on(disk, home, out)
    except ChargenError as error:
        return str(error), []
    return "", [report.unsaved for report in reports if report.unsaved]


@pytest.fixture
def calls(home):
    """The names of the writing calls of a whole training."""
    names = []
    train_on(Disk(lambda number, name: names.append(name), torn=True), home, home.new())
    assert len(names) > 50
    return names


@pytest.mark.parametrize("forever", [False, True])
def test_a_disk_that_refuses_costs_nothing(home, pick, calls, forever):
    """It refuses once, or stays full; the run is then resumed."""
    total, notes = len(calls), set()
    for at in sorted({*pick(range(total)), *((total // 2, total - 4) if forever else ())}):
        out, code = home.new(), CODES[at % 4]
        error, reported = refused(refuse_at(at, code, forever, torn=True), home, out)
        assert error or (reported and not forever)
        assert not error or forever or at <= total // 2  # once it trains, it trains to the end
        for text in filter(None, [error, *reported]):
            assert text.startswith(str(out))
            assert f"cannot be written ({os.strerror(code)})" in text
        notes.add(error.rsplit("; ", maxsplit=1)[-1].replace(str(out), "RUN"))
        assert not list(out.glob("*.new")), at
        if error:
            train(home.corpus, out)
        assert state_of(out) == home.end, at
    if forever:
        kept = "RUN can be resumed from its last good checkpoint, step 4, with resume=True"
        assert {kept, "RUN has no checkpoint yet: resume=True starts from the beginning"} <= notes


def test_a_failed_save_is_shown_and_a_failed_last_one_ends_with_2(home, monkeypatch):
    out, shown = home.new(), []
    monkeypatch.setattr("click.echo", lambda text="", **style: shown.append(str(text)))
    first = writes_before_training(home.corpus, out) + 2
    on(monkeypatch, refuse_at(first, CODES[0]))
    command = ["train", str(home.corpus), "--out", str(out), *FLAGS, "--overwrite"]
    assert main(command) == 0
    failed = [text for text in shown if "the next validation tries again" in text]
    message = "cannot be written (No space left on device); the next validation tries again"
    assert failed == [f"{out / BEST}: {message}"]
    on(monkeypatch, refuse_at(first, CODES[0], forever=True))
    assert main(command) == 2


def test_best_weights_that_could_not_be_written_are_written_later(home, monkeypatch):
    """Later updates must not change them."""
    monkeypatch.setattr(Trainer, "_validate", lambda self: 1.0 + self.counters.step)
    unbroken, out = home.new(), home.new()
    train(home.corpus, unbroken)
    first = writes_before_training(home.corpus, home.new()) + 2
    error, reported = refused(refuse_at(first, CODES[0]), home, out)
    assert (error, len(reported)) == ("", 1)
    assert state_of(out) == state_of(unbroken)
