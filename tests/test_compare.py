"""`chargen compare` end to end, with tiny models."""

import json
import shutil
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st

import chargen
from chargen.cells import CELL_NAMES
from chargen.cli import main
from chargen.datasets import bundled
from chargen.errors import ChargenError
from chargen.probes.cells import measure as cells
from chargen.probes.cells.measure import ANSWERS, ComparedRun, compare, model_shape
from chargen.probes.statistics.span50 import fit
from chargen.runs.directory import LAST, Run, is_run
from chargen.settings import ComparisonSettings, ModelSettings

TINY = {"parameters": 300, "timesteps": 8, "batch_size": 2, "steps": 5}
CHARS = 6000
POPEN = "chargen.probes.cells.measure.subprocess.Popen"
MEASURE = cells.measure_task
FLOATS = ("learning_rate", "recurrent_rate", "input_rate", "weight_decay", "beta2", "minutes")
KINDS = {"cell": str, "stack": str, "precision": str, **dict.fromkeys(FLOATS, float),
         "units": lambda text: tuple(map(int, text.split(",")))}  # fmt: skip


def settings(task="flipflop", **changes):
    return ComparisonSettings(task, **{**TINY, "cells": ("simple", "gru"), "seeds": 2, **changes})


class InProcess:
    """Trains in this process when it is polled, instead of a child process."""

    started, signals = (), ()
    stop_after = None  # steps after which every training is interrupted
    exit_code = None  # returned instead of training
    code = None

    def __init__(self, command, stdout, stderr):
        assert command[1:3] == ["-m", "chargen"]
        _, self.corpus, *flags, how = command[3:]
        InProcess.started += (command[3:],)
        given = dict(zip(flags[::2], flags[1::2], strict=True))
        self.log, self.out, self.how = Path(stdout.name), given.pop("--out"), how
        del given["--threads"], given["--device"]
        named = {flag[2:].replace("-", "_"): value for flag, value in given.items()}
        self.settings = {name: KINDS.get(name, int)(value) for name, value in named.items()}

    def poll(self):
        if self.code is None:
            self.code = self._train()
        return self.code

    wait = poll

    def _train(self):
        if InProcess.exit_code is not None:
            self.log.write_text("chargen: the disk is full\n")
            return InProcess.exit_code
        try:
            how = {self.how[2:]: True}
            chargen.train(self.corpus, self.out, run=self._run, **how, **self.settings)
        except ChargenError as error:
            self.log.write_text(f"chargen: {error}\n")
            return 2
        return 0 if InProcess.stop_after is None else 143

    def _run(self, session):
        steps = []
        for report in session.trainer.reports(lambda: len(steps) == InProcess.stop_after):
            steps.append(report.step)

    def send_signal(self, number):
        InProcess.signals += (number,)


def shrink(patch):
    patch.setattr(bundled, "GENERATED_CHARS", CHARS)
    patch.setattr(cells, "measure_task", partial(MEASURE, spans=(4, 16, 64), trials=16))
    patch.setattr("chargen.probes.cells.result.fit", partial(fit, draws=100))
    patch.setattr("os.cpu_count", lambda: 1)
    patch.setattr(InProcess, "started", ())
    patch.setattr(InProcess, "signals", ())


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A short corpus and few trials."""
    shrink(monkeypatch)


@pytest.fixture
def here(monkeypatch):
    """Train in this process."""
    monkeypatch.setattr(POPEN, InProcess)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished comparison and its result."""
    out = tmp_path_factory.mktemp("compared") / "flipflop"
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        patch.setattr(POPEN, InProcess)
        return out, compare(settings(), out, jobs=1)


@pytest.fixture
def copied(done, tmp_path):
    """A copy of it that a test may change."""
    out = tmp_path / "flipflop"
    shutil.copytree(done[0], out)
    return out


def without_times(result):
    values = result.to_json()
    for cell in values["cells"]:
        del cell["chars_per_second"]
        for run in cell["trainings"]:
            del run["seconds"]
    return values


def files_below(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_every_training_is_an_ordinary_run_with_one_budget(done):
    out, result = done
    assert [cell.cell for cell in result.cells] == ["simple", "gru"]
    assert result.budget == "5 steps"
    for cell in result.cells:
        assert len(cell.trainings) == 2
        assert 0.5 < cell.parameters / TINY["parameters"] < 1.5
        assert len({run.bits_per_char for run in cell.trainings}) == 2
        (variant,) = cell.variants
        assert [row.span_chars for row in variant.spans] == [1, 5, 17, 65]
        assert {(row.untrained.frames, row.trials_a_seed) for row in variant.spans} == {(16, 16)}
        for seed in (0, 1):
            model = chargen.load(out / f"{cell.cell}-rate0.004-seed{seed}")
            description = model.run.description
            assert (description.model.cell, description.model.units) == (cell.cell, cell.units)
            assert (cell.trainings[seed].chars, cell.trainings[seed].diverged) == (80, False)
            assert sum(p.numel() for p in model.network.parameters()) == cell.parameters
            trained = description.training
            assert (trained.steps, trained.timesteps, trained.batch_size) == (5, 8, 2)
            assert (trained.seed, trained.learning_rate, trained.patience) == (seed, 0.004, 0)
            assert len(model.sample(length=20)) == 20
            assert model.run.progress()[-1]["step"] == 5


def test_every_cell_is_trained_by_the_same_optimizer(tmp_path):
    for cell in CELL_NAMES:
        given = ComparedRun(tmp_path, settings(), cell, 0.004, 0).arguments(1)
        rates = ("--learning-rate", "--recurrent-rate", "--input-rate")
        flags = (*rates, "--weight-decay", "--beta2")
        values = [float(given[given.index(flag) + 1]) for flag in flags]
        assert values == [0.004, 1, 1, 0.1, 0.999]


def test_a_second_call_trains_nothing_and_gives_the_same_result(done, monkeypatch):
    monkeypatch.setattr(POPEN, None)
    out, result = done
    before = files_below(out)
    assert compare(settings(), out, jobs=1).to_json() == result.to_json()
    assert files_below(out) == before


def test_an_interrupted_comparison_resumes_and_ends_like_an_unbroken_one(
    done, tmp_path, here, monkeypatch
):
    out = tmp_path / "again"
    monkeypatch.setattr(InProcess, "stop_after", 2)
    monkeypatch.setattr(cells, "POLL_SECONDS", 0.01)
    stopped = compare(settings(), out, jobs=1, should_stop=lambda: bool(InProcess.started))
    assert stopped is None
    (folder,) = (path for path in out.iterdir() if is_run(path))
    assert folder.name == "simple-rate0.004-seed0"
    assert Run.open(folder).read_checkpoint(LAST).values["step"] == 2
    assert not (folder / ANSWERS).exists()
    monkeypatch.setattr(InProcess, "stop_after", None)
    monkeypatch.setattr(InProcess, "started", ())
    seen = []
    result = compare(settings(), out, jobs=1, on_runs=lambda *one: seen.append(one))
    assert [one[-1] for one in InProcess.started] == ["--resume"] + ["--overwrite"] * 3
    precisions = {one[one.index("--precision") + 1] for one in InProcess.started}
    assert precisions == {"float32"}  # the default would differ between cells
    assert json.dumps(without_times(result)) == json.dumps(without_times(done[1]))
    own, unbroken = (Run.open(at / folder.name).read_checkpoint(LAST).arrays for at in
                     (out, done[0]))  # fmt: skip
    assert own.keys() == unbroken.keys()
    assert all(np.array_equal(own[name], unbroken[name]) for name in own)
    assert seen[-1][:2] == (4, 4)
    assert all(0 <= finished <= total == 4 for finished, total, _ in seen)


def test_another_comparison_is_refused_without_overwrite(copied, here):
    before = files_below(copied)
    for other in (settings(seeds=1), settings(parameters=400), settings(seed=1)):
        with pytest.raises(ChargenError, match=r"contains another comparison, see .*compare\.json"):
            compare(other, copied)
    assert files_below(copied) == before
    mine = {"notes.json": "{}", "other/run.json": "{}", "lstm/notes.json": "{}"}
    for name, text in mine.items():
        (copied / name).parent.mkdir(exist_ok=True)
        (copied / name).write_text(text)
    compare(settings(seeds=1, cells=("gru",)), copied, jobs=1, overwrite=True)
    assert [one[-1] for one in InProcess.started] == ["--overwrite"]
    assert all((copied / name).read_text() == text for name, text in mine.items())
    assert not (copied / "simple-rate0.004-seed0" / ANSWERS).exists()
    (copied / "compare.json").unlink()
    with pytest.raises(ChargenError, match="contains another comparison"):
        compare(settings(), copied)


def test_each_cell_uses_the_best_rate_of_a_seed_that_is_not_reported(tmp_path, here):
    rates = (1e-9, 0.02)  # the first learns nothing
    result = compare(
        settings(seeds=1, learning_rates=rates, steps=30, cells=("gru",)), tmp_path, jobs=1
    )
    assert {path.name for path in tmp_path.iterdir() if is_run(path)} == {
        f"gru-rate{rate:g}-seed{seed}"
        for rate, seed in ((rates[0], 1), (rates[1], 1), (rates[1], 0))
    }
    (cell,) = result.cells
    assert cell.learning_rate == 0.02
    slow, fast = (tried["bits_per_char"] for tried in cell.tuning)
    assert fast < slow
    assert json.loads((tmp_path / "gru-rate0.02-seed1" / ANSWERS).read_text())["answers"] == []


def test_diverged_runs_are_counted_and_their_rates_not_used(tmp_path, here):
    wild = settings(seeds=1, cells=("gru",), learning_rates=(1e38,), steps=20)
    result = compare(wild, tmp_path / "wild", jobs=1)
    (cell,) = result.cells
    (run,) = cell.trainings
    assert (run.diverged, run.chars, run.seconds) == (True, 0, 0)
    assert np.isfinite(run.bits_per_char)  # of the initial weights
    assert cell.variants[0].solved == (False,)
    assert "1 run diverged" in result.finding()
    row = cell.variants[0].spans[-1]
    assert row.accuracy.value == row.untrained.accuracy.value
    assert compare(wild, tmp_path / "wild", jobs=1).to_json() == result.to_json()
    rated = settings(seeds=1, cells=("gru",), learning_rates=(1e38, 0.004))
    (cell,) = compare(rated, tmp_path / "rated", jobs=1).cells
    assert cell.learning_rate == 0.004
    assert cell.tuning[0] == {"learning_rate": 1e38, "bits_per_char": None}


def test_a_failing_process_ends_the_comparison(tmp_path, here, monkeypatch):
    monkeypatch.setattr(InProcess, "exit_code", 1)
    with pytest.raises(ChargenError) as error:
        compare(settings(), tmp_path / "failing", jobs=1)
    log = tmp_path / "failing" / "simple-rate0.004-seed0.log"
    assert str(error.value).endswith(f"chargen: the disk is full (see {log})")
    assert "\n" not in str(error.value)
    assert len(InProcess.started) == 1


def test_damaged_scores_are_named(copied):
    file = copied / "gru-rate0.004-seed1" / ANSWERS
    for text in ("", "[]", '{"answers": 3}', '{"answers": [], "what": 1}'):
        file.write_text(text)
        with pytest.raises(ChargenError, match=r"answers\.json: .*; delete the file"):
            compare(settings(), copied)


@settings_of(max_examples=15, deadline=None)
@given(st.sampled_from(CELL_NAMES), st.integers(1000, 200_000), st.integers(5, 100))
def test_shapes_are_as_near_to_the_number_of_weights_as_units_allow(cell, parameters, size):
    model, count = model_shape(cell, parameters, size)
    (units,) = model.units
    assert count == model.parameters(size)
    for other in {max(1, units - 1), units + 1}:
        off = abs(ModelSettings(cell, (other,)).parameters(size) - parameters)
        assert abs(count - parameters) <= off


FLAGS = ["--cells", "simple,gru", "--seeds", "2", "--parameters", "300", "--timesteps", "8",
         "--batch-size", "2", "--steps", "5", "--jobs", "1"]  # fmt: skip


def test_the_command_prints_the_report_and_writes_the_files(done, tmp_path, cli):
    out, result = done
    names = {"--json": "a.json", "--plot": "a.png", "--report": "a.html"}
    files = {flag: tmp_path / name for flag, name in names.items()}
    given = [part for flag, file in files.items() for part in (flag, str(file))]
    printed, _ = cli(["compare", "--task", "flipflop", "--out", str(out), *FLAGS, *given])
    assert result.finding() in " ".join(printed.split())
    assert json.loads(files["--json"].read_text()) == json.loads(json.dumps(result.to_json()))
    assert files["--plot"].read_bytes().startswith(b"\x89PNG")
    assert "<svg" in files["--report"].read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_and_ends_with_its_code(tmp_path, here, monkeypatch, capsys, number):
    """Ctrl-C reaches both processes, so that the training may end first."""

    def poll(process):
        signal.raise_signal(number)
        return None if number == signal.SIGTERM else InProcess.wait(process)

    monkeypatch.setattr(InProcess, "stop_after", 2)
    monkeypatch.setattr(InProcess, "poll", poll)
    assert main(["compare", "--task", "flipflop", "--out", str(tmp_path), *FLAGS]) == 128 + number
    printed, err = capsys.readouterr()
    assert (printed, InProcess.signals) == ("", (signal.SIGTERM,))
    assert err == "interrupted; run the same command to resume\n"
    folder = tmp_path / "simple-rate0.004-seed0"
    assert Run.open(folder).read_checkpoint(LAST).values["step"] == 2
    assert not (folder / ANSWERS).exists()
    run = ComparedRun(tmp_path, settings(), "simple", 0.004, 0)
    assert (run.path, run.arguments(1)[-1]) == (folder, "--resume")
