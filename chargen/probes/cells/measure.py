"""Comparison of cells: train each with several seeds and one budget, then evaluate all of them."""

import os
import signal
import subprocess
import sys
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import json

from chargen.api import TrainedModel, load
from chargen.cells import CELL_NAMES
from chargen.datasets import bundled, longrange, tasks
from chargen.datasets.tasks import TASKS, Task
from chargen.errors import ChargenError
from chargen.evaluation import Segments, nats_to_bits, predictions
from chargen.files import read_json, write_file
from chargen.predictors import NextCharPredictor
from chargen.probes.cells import result as records
from chargen.probes.templates import measure as templates
from chargen.probes.templates.scoring import credit_of
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.runs.checkpoint import WEIGHTS, Checkpoint
from chargen.runs.directory import BEST, LAST, RUN, RUNS, Run, is_run
from chargen.runs.lock import lock
from chargen.settings import ComparisonSettings, ModelSettings

PLAN, ANSWERS = "compare.json", "answers.json"
LARGEST_PLAN, LARGEST_ANSWERS = 2**16, 2**22  # bytes
UNTRAINED = "untrained"
TRIALS = 400  # minimum per span and variant
PREFIX_CHARS = (32, 128)  # minimum and limit of the lines of the task before a trial
# For every cell.
OPTIMIZER = {"weight-decay": 0.1, "beta2": 0.999, "recurrent-rate": 1.0, "input-rate": 1.0}
POLL_SECONDS = 0.25
USER_ERROR = 2  # exit code of a training that diverged

OnRuns = Callable[[int, int, str], None]
"""Called with the number of runs completed, their total and the active names."""


@cache
def model_shape(cell: str, parameters: int, vocabulary_size: int) -> tuple[ModelSettings, int]:
    """Return a one-layer model with about ``parameters`` weights, and its number of weights."""

    def count(units: int) -> int:
        return ModelSettings(cell, (units,)).parameters(vocabulary_size)

    if count(1) > parameters:
        problem = f"must be at least {count(1)}, the weights of one {cell} unit"
        raise ChargenError(f"--parameters {parameters}: {problem}")
    largest = bisect_right(range(1, parameters + 1), parameters, key=count)
    units = min((largest, largest + 1), key=lambda units: abs(count(units) - parameters))
    return ModelSettings(cell, (units,)), count(units)


@cache
def vocabulary_size(task: str) -> int:
    return len(set(bundled.read(task)))


@dataclass(frozen=True)
class ComparedRun:
    comparison: Path  # its directory
    settings: ComparisonSettings
    cell: str
    learning_rate: float
    seed: int

    @property
    def path(self) -> Path:
        return self.comparison / f"{self.cell}-rate{self.learning_rate:g}-seed{self.seed}"

    @property
    def log(self) -> Path:
        return self.path.with_suffix(self.path.suffix + ".log")

    def arguments(self, threads: int) -> list[str]:
        settings, (budget, amount) = self.settings, self.settings.budget
        model, _ = model_shape(self.cell, settings.parameters, vocabulary_size(settings.task))
        flags = {
            "out": self.path,
            "cell": self.cell,
            "stack": model.stack,
            "units": ",".join(map(str, model.units)),
            "seed": self.seed,
            "learning-rate": self.learning_rate,
            **OPTIMIZER,
            "timesteps": settings.timesteps,
            "batch-size": settings.batch_size,
            "precision": "float32",  # the default depends on the cell
            "patience": 0,  # equal budgets: no early stopping
            budget: amount,
            "threads": threads,
            "device": "cpu",
        }
        started = is_run(self.path) and (self.path / LAST).is_file()
        given = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
        corpus = self.comparison / f"{settings.task}.txt"
        return ["train", str(corpus), *given, "--resume" if started else "--overwrite"]

    def read_scores(self) -> records.RunScores | None:
        """Return the scores of the finished run; None if it is not finished."""
        try:
            return read_json(self.path / ANSWERS, records.RunScores, LARGEST_ANSWERS)
        except FileNotFoundError:
            return None
        except ChargenError as error:
            raise ChargenError(f"{error}; delete the file to evaluate the run again") from None

    def evaluate(self, diverged: bool, trials: bool, untrained: bool) -> records.RunScores:
        """Evaluate the run's best weights and write the scores to ``answers.json``.

        ``trials``: also on the trials of the task; ``untrained``: so is the initial network.
        """
        run = Run.open(self.path)
        lines = run.progress()
        if not lines:  # it diverged before any validation: the initial weights are the best ones
            described, size = run.description, len(run.description.vocabulary)
            initial = CharModel.seeded(described.model, size, described.training.seed).state_dict()
            arrays = {WEIGHTS + name: value.numpy() for name, value in initial.items()}
            run.write_checkpoint(BEST, Checkpoint(arrays, {"step": 0}))
        model = load(self.path, device="cpu")
        best = run.best_loss()
        scores = records.RunScores(
            bits_per_char=nats_to_bits(model.evaluate().loss_nats if best is None else best),
            chars=lines[-1]["chars"] if lines else 0,
            seconds=float(lines[-1]["seconds"]) if lines else 0.0,
            diverged=diverged,
            seed=self.seed,
            answers=_evaluate_trials(model, self.settings, untrained) if trials else (),
        )
        write_file(self.path / ANSWERS, json.encode(scores) + b"\n")
        return scores


def compare(
    settings: ComparisonSettings,
    out: Path | None = None,
    *,
    jobs: int | None = None,
    overwrite: bool = False,
    on_runs: OnRuns = lambda done, total, active: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> records.CellComparison | None:
    """Train each cell with each seed, evaluate all models on the same trials, and compare them.

    Each training is a run in ``out``, by default ``runs/compare-<task>``. The same call resumes an
    interrupted comparison. ``jobs`` is the maximum number of concurrent runs, by default that of
    the CPU cores. ``should_stop`` is polled: true saves the active runs and returns None.
    `ChargenError` if ``out`` contains another comparison, a run fails, or a cell is too small.
    """
    task, size = TASKS.get(settings.task), vocabulary_size(settings.task)
    shapes = {cell: model_shape(cell, settings.parameters, size) for cell in settings.cells}
    out = out or RUNS / f"compare-{settings.task}"
    cores = os.cpu_count() or 1
    concurrent = max(1, min(jobs or cores, cores))
    threads = max(1, cores // concurrent)
    finish = partial(_finish, concurrent, threads, on_runs, should_stop)
    tuning: dict[str, list[dict[str, Any]]] = {cell: [] for cell in settings.cells}
    with lock(out):
        _write_plan(out, settings, overwrite)
        if len(settings.learning_rates) > 1:  # with a seed that is not reported
            tried = [
                ComparedRun(out, settings, cell, rate, settings.seeds)
                for cell, rate in product(settings.cells, settings.learning_rates)
            ]
            tuned = finish(tried, trials=False)
            if tuned is None:
                return None
            for run, one in tuned.items():
                bits = None if one.diverged else one.bits_per_char
                tuning[run.cell].append({"learning_rate": run.learning_rate, "bits_per_char": bits})
        rates = {cell: _best_rate(found, settings) for cell, found in tuning.items()}
        runs = [
            ComparedRun(out, settings, cell, rates[cell], seed)
            for seed, cell in product(range(settings.seeds), settings.cells)
        ]
        scores = finish(runs)
    if scores is None:
        return None
    (unit, amount), round_size = settings.budget, len(task.candidates) if task else 1
    cells = []
    for cell, (model, parameters) in shapes.items():
        own = [scores[run] for run in runs if run.cell == cell]
        shape: dict[str, Any] = {"cell": cell, "units": model.units, "parameters": parameters}
        shape |= {"learning_rate": rates[cell], "tuning": tuple(tuning[cell])}
        cells.append(records.summarize(own, settings.timesteps, settings.seed, round_size, **shape))
    return records.CellComparison(
        task=settings.task,
        budget=f"{amount:g} {unit}",
        seed=settings.seed,
        trained_timesteps=settings.timesteps,
        longest_trained_span_chars=(tasks if task else longrange).LONGEST_SPAN,
        threads=threads,
        cells=tuple(cells),
    )


def _write_plan(out: Path, settings: ComparisonSettings, overwrite: bool) -> None:
    """Write the settings to ``compare.json``, or check that they equal the ones there."""
    plan = out / PLAN
    try:
        before = None if overwrite else read_json(plan, ComparisonSettings, LARGEST_PLAN)
    except FileNotFoundError:
        before = None
    if before == settings:
        return
    patterns = [f"{cell}-rate*-seed*/{name}" for cell in CELL_NAMES for name in (ANSWERS, RUN)]
    old = [file for pattern in patterns for file in out.glob(pattern)]
    if (before is not None or old) and not overwrite:
        problem = f"contains another comparison, see {plan}"
        raise ChargenError(f"{out}: {problem}; give another --out, or --overwrite to discard it")
    for file in old:  # other files in the directory stay
        file.unlink()
    write_file(out / f"{settings.task}.txt", bundled.read(settings.task).encode())
    write_file(plan, json.format(json.encode(settings), indent=1) + b"\n")


def _best_rate(tried: Sequence[dict[str, Any]], settings: ComparisonSettings) -> float:
    """Return the rate with the lowest validation loss; the lowest rate if all diverged."""
    finite = {one["learning_rate"]: one["bits_per_char"] for one in tried if one["bits_per_char"]}
    return min(finite or settings.learning_rates, key=lambda rate: finite.get(rate, rate))


def _finish(
    concurrent: int,
    threads: int,
    on_runs: OnRuns,
    should_stop: Callable[[], bool],
    runs: Sequence[ComparedRun],
    trials: bool = True,
) -> dict[ComparedRun, records.RunScores] | None:
    """Train and evaluate all runs that are not finished; None if stopped before the end."""
    torch.set_num_threads(threads)
    scores = {run: found for run in runs if (found := run.read_scores())}
    waiting = deque(run for run in runs if run not in scores)
    evaluates_untrained = {run.cell: run for run in reversed(runs)}  # the first of each cell
    active: dict[ComparedRun, subprocess.Popen[bytes]] = {}
    try:
        while waiting or active:
            while waiting and len(active) < concurrent and not should_stop():
                run = waiting.popleft()
                command = [sys.executable, "-m", "chargen", *run.arguments(threads)]
                with run.log.open("w", encoding="utf-8") as log:
                    active[run] = subprocess.Popen(command, stdout=log, stderr=log)
            ended = {run: code for run, one in active.items() if (code := one.poll()) is not None}
            # A terminal sends Ctrl-C to both processes, and the training may end first.
            if should_stop():
                return None
            for run, code in ended.items():
                del active[run]
                untrained = trials and evaluates_untrained[run.cell] is run
                scores[run] = run.evaluate(_has_diverged(run, code), trials, untrained)
            on_runs(len(scores), len(runs), ", ".join(run.path.name for run in active))
            if active and not ended:
                time.sleep(POLL_SECONDS)
    finally:
        for process in active.values():
            process.send_signal(signal.SIGTERM)
        for process in active.values():
            process.wait()
    return scores


def _has_diverged(run: ComparedRun, code: int) -> bool:
    """Return whether a training ended because it diverged; raise if it failed otherwise."""
    output = run.log.read_text("utf-8").strip().splitlines()
    last = output[-1] if output else f"ended with exit code {code}"
    if code and not (code == USER_ERROR and "diverged" in last):
        raise ChargenError(f"{run.path}: {last} (see {run.log})")
    return code == USER_ERROR


def _evaluate_trials(
    model: TrainedModel, settings: ComparisonSettings, untrained: bool
) -> tuple[records.VariantScores, ...]:
    bare = NetworkPredictor(model.initial_network(), model.vocabulary) if untrained else None
    if settings.task in TASKS:
        task = TASKS[settings.task]
        return measure_task(model.predictor, task, seed=settings.seed, untrained=bare)
    bank = bundled.bank(bundled.BANKS[settings.task])
    control = {UNTRAINED: bare} if bare else {}
    # Without a knowledge gate all cells are evaluated on the same trials.
    rows = templates.measure(
        model.predictor, bank, seed=settings.seed, controls=lambda: control, gate=0.0
    ).rows
    spans, credits = zip(*((row.span, row.credits) for row in rows), strict=True)
    controls = [row.controls[UNTRAINED] for row in rows if bare]
    tallies = tuple((one.accuracy.value * one.frames, one.frames) for one in controls)
    return (records.VariantScores("", rows[0].chance, spans, credits, tallies),)


def measure_task(
    predictor: NextCharPredictor,
    task: Task,
    *,
    spans: Sequence[int] = templates.SPANS,
    trials: int = TRIALS,
    seed: int = 0,
    untrained: NextCharPredictor | None = None,
) -> tuple[records.VariantScores, ...]:
    """Evaluate a predictor, and ``untrained``, on trials of every variant and span of a task.

    In each round every candidate is correct once. A trial follows other lines of the task, cut at a
    random length. The spans are the task's shortest and those nearest to ``spans``.
    """
    found = []
    for number, (variant, chance) in enumerate(task.floors.items()):
        used = task.nearest(spans, variant)
        own, control = [], []
        for span in used:  # the trials do not depend on other spans and variants
            rng = np.random.default_rng([seed, number, span])
            batch: list[str] = []
            while len(batch) < trials:
                batch += task.trials(variant, span, rng)
            texts = _texts(task, batch, rng)
            own.append(_credits(predictor, task, texts))
            if untrained is not None:
                control.append(_credits(untrained, task, texts))
        credits = tuple(tuple(one.tolist()) for one in own)
        totals = tuple((min(float(one.sum()), len(one)), len(one)) for one in control)
        rounds = tuple(records.by_round(one.tolist(), len(task.candidates)) for one in control)
        found.append(records.VariantScores(variant, chance, tuple(used), credits, totals, rounds))
    return tuple(found)


def _texts(task: Task, trials: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Return the trials after other lines of the task, all of one length."""
    T = max(map(len, trials)) + int(rng.integers(*PREFIX_CHARS))
    texts = []
    for trial in trials:
        before = ""
        while len(before) < T - len(trial):
            before += task.line(rng)
        texts.append((before + trial)[-T:])
    return texts


def _credits(predictor: NextCharPredictor, task: Task, texts: Sequence[str]) -> np.ndarray:
    """Return the fraction of each trial's targets that is correct, ``(N,)``."""
    ids = predictor.vocabulary.encode("".join(texts)).astype(np.int64)
    candidates = predictor.vocabulary.encode(task.candidates).astype(np.int64)
    starts, T = np.arange(len(texts)) * len(texts[0]), len(texts[0])
    segments = Segments(starts, starts + T - task.queried, starts + T)
    credit = np.zeros((len(texts), task.queried))
    for found in predictions(predictor, ids, segments):
        columns = found.places - segments.begins[found.rows]
        shares = credit_of(found.log_probs[:, candidates])  # (n, K)
        credit[found.rows, columns] = shares[candidates == found.targets[:, None]]
    return credit.mean(axis=1)
