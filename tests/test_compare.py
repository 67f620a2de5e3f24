"""``chargen compare`` from end to end, with models so tiny that they learn nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import wait
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chargen
from chargen.cells import CELL_NAMES
from chargen.cli import main
from chargen.datasets import bundled
from chargen.errors import ChargenError
from chargen.probes.cells import tasks, workers
from chargen.probes.cells.compare import compare
from chargen.probes.cells.jobs import ANSWERS, Job, shape
from chargen.runs.directory import LAST, Run, is_run
from chargen.settings import ComparisonSettings, ModelSettings

TINY = {"parameters": 300, "timesteps": 8, "batch_size": 2, "steps": 5}
CHARS = 6000
REAL = subprocess.Popen


def settings(task="flipflop", **changes):
    return ComparisonSettings(task, **{**TINY, "cells": ("simple", "gru"), "seeds": 2, **changes})


def is_training(command):
    return command[1:3] == ["-m", "chargen"]


def flags(command):
    """Of a training, and what they are given, but for the last, which has no value."""
    _, _, *named, _ = command
    return dict(zip(named[::2], named[1::2], strict=True))


class InProcess:
    """Trains in this process what would be trained in one of its own, and counts how often."""

    begun = ()  # the arguments of each
    stop_after = None  # steps, of each training that is told to
    exit_code = None  # in the place of what a training says

    def __init__(self, command, stdout, stderr):
        assert is_training(command)
        InProcess.begun += (command[3:],)
        corpus, how = command[4], command[-1]
        given = flags(command[3:])
        self.corpus, self.log = corpus, stdout
        self.out = given.pop("--out")
        for name in ("--threads", "--device"):
            given.pop(name)
        named = {flag[2:].replace("-", "_"): value for flag, value in given.items()}
        self.settings = {name: SORTS.get(name, int)(value) for name, value in named.items()}
        self.how = {how[2:]: True}

    def wait(self, timeout=None):
        if InProcess.exit_code is not None:
            self.log.write("chargen: the disk is full\n")
            return InProcess.exit_code
        try:
            chargen.train(self.corpus, self.out, run=self._run, **self.how, **self.settings)
        except ChargenError as error:
            self.log.write(f"chargen: {error}\n")
            return 2
        return 0 if InProcess.stop_after is None else 143

    def _run(self, session):
        steps = []
        for report in session.trainer.reports(lambda: len(steps) == InProcess.stop_after):
            steps.append(report.step)

    def send_signal(self, number):
        pass


SORTS = {
    "cell": str,
    "stack": str,
    "precision": str,
    "units": lambda text: tuple(map(int, text.split(","))),
    "learning_rate": float,
    "minutes": float,
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A short text to learn, a few trials to answer."""
    monkeypatch.setattr(bundled, "GENERATED_CHARS", CHARS)
    few = partial(tasks.measure, spans=(4, 16, 64), trials=16)
    monkeypatch.setattr("chargen.probes.cells.jobs.tasks.measure", few)
    monkeypatch.setattr(InProcess, "begun", ())


@pytest.fixture
def here(monkeypatch):
    """Trainings go on in this process."""
    monkeypatch.setattr("chargen.probes.cells.workers.subprocess.Popen", InProcess)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A comparison that is over, and its result."""
    out = tmp_path_factory.mktemp("compared") / "flipflop"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundled, "GENERATED_CHARS", CHARS)
        few = partial(tasks.measure, spans=(4, 16, 64), trials=16)
        patch.setattr("chargen.probes.cells.jobs.tasks.measure", few)
        patch.setattr("chargen.probes.cells.workers.subprocess.Popen", InProcess)
        return out, compare(settings(), out, jobs=1)


@pytest.fixture
def copied(done, tmp_path):
    """A copy of it that may be changed."""
    out = tmp_path / "flipflop"
    shutil.copytree(done[0], out)
    return out


def without_times(result):
    told = result.to_json()
    for cell in told["cells"]:
        del cell["chars_per_second"]
        for training in cell["trainings"]:
            del training["seconds"]
    return told


def weights(folder):
    return Run.open(folder).read_checkpoint(LAST).arrays


def files_below(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_every_training_is_an_ordinary_run_under_one_budget(done):
    out, result = done
    assert [cell.cell for cell in result.cells] == ["simple", "gru"]
    for cell in result.cells:
        assert [one.seed for one in cell.trainings] == [0, 1]
        assert 0.5 < cell.parameters / TINY["parameters"] < 1.5
        for seed in (0, 1):
            model = chargen.load(out / f"{cell.cell}-rate0.004-seed{seed}")
            described = model.run.description
            assert described.model.cell == cell.cell
            assert described.model.units == cell.units
            assert sum(p.numel() for p in model.network.parameters()) == cell.parameters
            trained = described.training
            assert (trained.steps, trained.timesteps, trained.batch_size) == (5, 8, 2)
            assert (trained.seed, trained.learning_rate, trained.patience) == (seed, 0.004, 0)
            assert len(model.sample(length=20)) == 20
            assert model.run.progress()[-1]["step"] == 5
    assert result.budget == "5 steps"


def test_json_holds_what_each_was_asked(done):
    _, result = done
    told = json.loads(json.dumps(result.to_json(), allow_nan=False))
    for cell in told["cells"]:
        (variant,) = cell["variants"]
        assert [row["span_chars"] for row in variant["spans"]] == [1, 5, 17, 65]
        for row in variant["spans"]:
            assert len(row["accuracy_by_seed"]) == 2
            assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
            assert row["untrained"]["frames"] == row["trials_a_seed"] == 16
        assert {one["chars"] for one in cell["trainings"]} == {80}
        assert len({one["bits_per_char"] for one in cell["trainings"]}) == 2


def test_a_second_call_trains_nothing_and_finds_the_same(done, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a process was started")

    monkeypatch.setattr("chargen.probes.cells.workers.subprocess.Popen", refuse)
    out, result = done
    before = files_below(out)
    assert compare(settings(), out, jobs=1).to_json() == result.to_json()
    assert files_below(out) == before


def test_the_same_seed_gives_the_same_bytes_elsewhere(done, tmp_path, here):
    again = compare(settings(), tmp_path / "again", jobs=1)
    assert json.dumps(without_times(again)) == json.dumps(without_times(done[1]))
    # By itself a processor that multiplies bfloat16 would round the factors of some cells alone.
    assert {flags(command)["--precision"] for command in InProcess.begun} == {"float32"}


def test_what_was_stopped_goes_on_and_ends_as_if_it_never_was(done, tmp_path, here, monkeypatch):
    out = tmp_path / "again"
    monkeypatch.setattr(InProcess, "stop_after", 2)
    monkeypatch.setattr("chargen.probes.cells.workers.POLL_SECONDS", 0.01)
    told = compare(settings(), out, jobs=1, should_stop=lambda: bool(InProcess.begun))
    assert told is None
    (folder,) = (path for path in out.iterdir() if is_run(path))
    assert folder.name == "simple-rate0.004-seed0"
    assert Run.open(folder).read_checkpoint(LAST).values["step"] == 2
    assert not (folder / ANSWERS).exists()
    monkeypatch.setattr(InProcess, "stop_after", None)
    monkeypatch.setattr(InProcess, "begun", ())
    result = compare(settings(), out, jobs=1)
    assert [one[-1] for one in InProcess.begun] == ["--resume"] + ["--overwrite"] * 3
    assert without_times(result) == without_times(done[1])
    own, unbroken = weights(folder), weights(done[0] / folder.name)
    assert own.keys() == unbroken.keys()
    assert all(np.array_equal(own[name], unbroken[name]) for name in own)


def test_another_comparison_is_refused_and_started_over_only_when_told(copied, here):
    before = files_below(copied)
    for other in (settings(seeds=1), settings(parameters=400), settings(seed=1)):
        with pytest.raises(ChargenError, match=r"holds another comparison, see .*compare\.json"):
            compare(other, copied)
    assert files_below(copied) == before
    mine = {"notes.json": "{}", "other/run.json": "{}", "lstm/notes.json": "{}"}
    for name, text in mine.items():
        (copied / name).parent.mkdir(exist_ok=True)
        (copied / name).write_text(text)
    InProcess.begun = ()
    result = compare(settings(seeds=1, cells=("gru",)), copied, jobs=1, overwrite=True)
    assert [one[-1] for one in InProcess.begun] == ["--overwrite"]
    assert [len(cell.trainings) for cell in result.cells] == [1]
    assert all((copied / name).read_text() == text for name, text in mine.items())
    assert not (copied / "simple-rate0.004-seed0" / ANSWERS).exists()


def test_a_folder_with_runs_but_no_plan_is_not_taken(copied):
    (copied / "compare.json").unlink()
    before = files_below(copied)
    with pytest.raises(ChargenError, match="holds another comparison"):
        compare(settings(), copied)
    assert files_below(copied) == before


def test_each_cell_takes_the_rate_that_is_best_for_a_seed_that_is_not_reported(tmp_path, here):
    rates = (1e-9, 0.02)  # with the first nothing is learned
    told = settings(seeds=1, learning_rates=rates, steps=30)
    result = compare(told, tmp_path / "tuned", jobs=1)
    tried = {path.name for path in (tmp_path / "tuned").iterdir() if is_run(path)}
    assert tried == {
        f"{cell}-rate{rate:g}-seed{seed}"
        for cell in ("simple", "gru")
        for rate, seed in ((rates[0], 1), (rates[1], 1), (rates[1], 0))
    }
    for cell in result.cells:
        assert cell.learning_rate == 0.02
        assert cell.tuning[0.02] < cell.tuning[1e-9]
        assert [one.seed for one in cell.trainings] == [0]
        (answered,) = (tmp_path / "tuned").glob(f"{cell.cell}-rate0.02-seed1/{ANSWERS}")
        assert json.loads(answered.read_text())["answers"] == []


def test_one_that_diverges_is_marked_and_counted(tmp_path, here):
    wild = settings(seeds=1, cells=("gru",), learning_rates=(1e38,), steps=20)
    result = compare(wild, tmp_path / "wild", jobs=1)
    (cell,) = result.cells
    (one,) = cell.trainings
    assert (one.diverged, one.chars, one.seconds) == (True, 0, 0)
    assert np.isfinite(one.bits_per_char)  # of the weights that it began with
    assert cell.variants[0].solved == (False,)
    assert "1 training diverged" in result.finding()
    mean = cell.variants[0].accuracy[-1].value
    assert mean == cell.variants[0].first.untrained[-1].share
    json.dumps(result.to_json(), allow_nan=False)
    again = compare(wild, tmp_path / "wild", jobs=1)
    assert again.to_json() == result.to_json()


def test_a_rate_that_diverges_is_never_taken(tmp_path, here):
    told = settings(seeds=1, cells=("gru",), learning_rates=(1e38, 0.004))
    (cell,) = compare(told, tmp_path / "some", jobs=1).cells
    assert cell.learning_rate == 0.004
    assert cell.tuning[1e38] is None
    assert cell.tuning[0.004] > 0
    told = settings(seeds=1, cells=("gru",), learning_rates=(1e38, 1e37))
    (cell,) = compare(told, tmp_path / "none", jobs=1).cells
    assert cell.learning_rate == 1e37
    assert cell.diverged == 1


def test_a_process_that_fails_is_one_line_that_names_its_log(tmp_path, here, monkeypatch):
    monkeypatch.setattr(InProcess, "exit_code", 1)
    with pytest.raises(ChargenError) as error:
        compare(settings(), tmp_path / "failing", jobs=1)
    log = tmp_path / "failing" / "simple-rate0.004-seed0.log"
    assert str(error.value).endswith(f"chargen: the disk is full (see {log})")
    assert "\n" not in str(error.value)
    monkeypatch.setattr(InProcess, "exit_code", None)
    assert compare(settings(), tmp_path / "failing", jobs=1) is not None


def test_nothing_is_begun_after_a_failure_however_late_it_is_noticed(tmp_path, here, monkeypatch):
    monkeypatch.setattr(InProcess, "exit_code", 1)
    monkeypatch.setattr(workers, "wait", lambda futures, seconds, until: wait(futures))
    with pytest.raises(ChargenError, match="the disk is full"):
        compare(settings(), tmp_path / "failing", jobs=1)
    assert len(InProcess.begun) == 1


def test_damaged_answers_are_named(copied):
    file = copied / "gru-rate0.004-seed1" / ANSWERS
    for text in ("", "[]", '{"answers": 3}', '{"answers": [], "what": 1}'):
        file.write_text(text)
        with pytest.raises(ChargenError, match=r"answers\.json: damaged .*; delete it"):
            compare(settings(), copied)


def test_progress_is_told(tmp_path, here):
    told = []
    compare(settings(), tmp_path / "watched", jobs=1, watch=lambda *one: told.append(one))
    assert told[-1][:2] == (4, 4)
    assert all(0 <= done <= total == 4 for done, total, _ in told)


@given(st.sampled_from(CELL_NAMES), st.integers(1000, 200_000), st.integers(5, 100))
def test_shapes_come_as_near_to_the_number_of_parameters_as_units_allow(cell, parameters, size):
    model, count = shape(cell, parameters, size)
    (units,) = model.units
    assert count == model.parameters(size)
    for other in {max(1, units - 1), units + 1}:
        off = abs(ModelSettings(cell, (other,)).parameters(size) - parameters)
        assert abs(count - parameters) <= off


def test_a_cell_that_cannot_be_so_small_is_refused(tmp_path):
    with pytest.raises(ChargenError, match=r"--parameters 3: one unit of gru takes \d+; give"):
        compare(settings(parameters=3, cells=("gru",)), tmp_path / "none")
    assert not (tmp_path / "none").exists()


# ---- the command


FLAGS = ["--cells", "simple,gru", "--seeds", "2", "--parameters", "300", "--timesteps", "8",
         "--batch-size", "2", "--steps", "5", "--jobs", "1"]  # fmt: skip


def test_the_command_prints_the_table_and_writes_the_rest(done, tmp_path, capsys):
    out, result = done
    files = {flag: tmp_path / name for flag, name in
             {"--json": "a.json", "--plot": "a.png", "--report": "a.html"}.items()}  # fmt: skip
    given = [part for flag, file in files.items() for part in (flag, str(file))]
    assert main(["compare", "--task", "flipflop", "--out", str(out), *FLAGS, *given]) == 0
    printed, err = capsys.readouterr()
    assert result.finding() in " ".join(printed.split())
    assert "Traceback" not in err
    assert json.loads(files["--json"].read_text()) == json.loads(json.dumps(result.to_json()))
    assert files["--plot"].read_bytes().startswith(b"\x89PNG")
    assert "<svg" in files["--report"].read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--task magic", "'magic' is not one of"),
        ("--cells magic", "--cells magic: must be one of simple, lstm, gru"),
        ("--seeds 0", "--seeds 0: must be a whole number of 1 or more"),
        ("--steps 5 --minutes 1", "--steps and --minutes: give one budget"),
        ("--minutes 0", "--minutes 0.0: must be a number above 0"),
        ("--parameters 1", "--parameters 1: one unit of simple takes"),
        ("--learning-rates 0.1,x", "--learning-rates 0.1,x: must be numbers"),
        ("--learning-rates -1", "--learning-rates -1.0: must be a number above 0"),
        ("--json nowhere/a.json", "nowhere/a.json: cannot be written"),
        ("--report .", ".: cannot be written"),
        ("--jobs 0", "--jobs"),
        ("--seed -1", "--seed -1: must be"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    tmp_path, monkeypatch, capsys, flags, message
):
    monkeypatch.chdir(tmp_path)
    task = [] if "--task" in flags else ["--task", "flipflop"]
    assert main(["compare", *task, *flags.split()]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"]
)
def test_a_signal_ends_it_with_everything_saved(tmp_path, number, code):
    """With real processes; as in a terminal, Ctrl-C reaches all of them."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "chargen", "compare", "--task", "copy", "--out", str(out),
               "--cells", "simple", "--seeds", "1", "--parameters", "300", "--batch-size", "2",
               "--minutes", "30"]  # fmt: skip
    process = REAL(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    folder = out / "simple-rate0.004-seed0"
    log = folder.with_name(folder.name + ".log")
    while not (log.exists() and "side by side" in log.read_text()) and process.poll() is None:
        time.sleep(0.05)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    printed, err = process.communicate()
    assert (process.returncode, printed) == (code, "")
    assert err.strip().splitlines()[-1] == "stopped; the same command goes on where it was"
    assert "Traceback" not in err
    assert "step" in Run.open(folder).read_checkpoint(LAST).values
    assert not (folder / ANSWERS).exists()
    job = Job.of(out, ComparisonSettings("copy", minutes=30), "simple", 0.004, 0)
    assert job.folder == folder
    assert job.arguments(1)[-1] == "--resume"
