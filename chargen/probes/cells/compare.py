"""Comparison of cells: train each with several seeds and one budget, then evaluate all of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event

import torch
from msgspec import to_builtins

from chargen.cells import CELL_NAMES
from chargen.datasets import bundled
from chargen.datasets.longrange import LONGEST_SPAN as LONGRANGE_SPAN
from chargen.datasets.tasks import LONGEST_SPAN as TASK_SPAN
from chargen.datasets.tasks import TASKS
from chargen.errors import ChargenError
from chargen.files import read_json, write_file
from chargen.probes.cells.measure import summarize
from chargen.probes.cells.result import CellComparison, RunScores
from chargen.probes.cells.runs import ANSWERS, ComparedRun, model_shape, vocabulary_size
from chargen.runs.directory import RUN, RUNS
from chargen.runs.lock import lock
from chargen.settings import ComparisonSettings

PLAN = "compare.json"
LARGEST_PLAN = 2**16  # bytes
POLL_SECONDS = 0.5
USER_ERROR = 2  # exit code of a training that diverged

OnRuns = Callable[[float, int, str], None]
"""Called with the number of runs completed (a fraction), their total and the active names."""

Tuning = dict[str, dict[float, float | None]]
"""Bits per character by cell and learning rate; None: diverged. Empty for a single rate."""


def compare(
    settings: ComparisonSettings,
    out: Path | None = None,
    *,
    jobs: int | None = None,
    overwrite: bool = False,
    on_runs: OnRuns = lambda done, total, active: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> CellComparison | None:
    """Train each cell with each seed, evaluate all models on the same trials, and compare them.

    Each training is a run in ``out``. The same call resumes an interrupted comparison and repeats
    no finished run.

    Args:
        settings: Task, cells, seeds and the budget of each run.
        out: Directory of the comparison. Default: ``runs/compare-<task>``.
        jobs: Maximum number of concurrent runs, each a process with an equal share of the CPU
            cores. Default: the number of cores.
        overwrite: Discard the comparison that ``out`` contains.
        on_runs: Progress callback.
        should_stop: Polled; a true value saves the active runs and ends the comparison.

    Returns:
        The comparison; None if ``should_stop`` ended it.

    Raises:
        ChargenError: ``out`` contains another comparison and ``overwrite`` is false, a run fails,
            or a cell cannot have as few parameters.
    """
    for cell in settings.cells:
        model_shape(cell, settings.parameters, vocabulary_size(settings.task))
    out = out or RUNS / f"compare-{settings.task}"
    with lock(out):
        _write_plan(out, settings, overwrite)
        cores = os.cpu_count() or 1
        concurrent = max(1, min(jobs or cores, cores))
        scheduler = RunScheduler(concurrent, max(1, cores // concurrent), on_runs, should_stop)
        tuning = _tune(out, settings, scheduler)
        if tuning is None:
            return None
        rates = {cell: _best_rate(tried, settings) for cell, tried in tuning.items()}
        runs = [
            ComparedRun(out, settings, cell, rates[cell], seed)
            for seed in range(settings.seeds)
            for cell in settings.cells
        ]
        scores = scheduler.train(runs)
    if scores is None:
        return None
    task, size = TASKS.get(settings.task), vocabulary_size(settings.task)
    cells = []
    for cell in settings.cells:
        model, parameters = model_shape(cell, settings.parameters, size)
        own = [found for run, found in zip(runs, scores, strict=True) if run.cell == cell]
        cells.append(
            summarize(
                cell,
                model.units,
                parameters,
                rates[cell],
                tuning[cell],
                own,
                settings.timesteps,
                settings.seed,
                round_size=len(task.candidates) if task else 1,
            )
        )
    unit, amount = settings.budget
    return CellComparison(
        task=settings.task,
        budget=f"{amount:g} {unit}",
        seed=settings.seed,
        trained_timesteps=settings.timesteps,
        longest_trained_span=TASK_SPAN if task else LONGRANGE_SPAN,
        threads=scheduler.threads,
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
        raise ChargenError(
            f"{out}: contains another comparison, see {plan}; choose another --out, or discard it "
            "with --overwrite"
        )
    for file in old:  # other files in the directory stay
        file.unlink()
    write_file(out / f"{settings.task}.txt", bundled.read(settings.task).encode())
    write_file(plan, (json.dumps(to_builtins(settings), indent=1) + "\n").encode())


def _tune(out: Path, settings: ComparisonSettings, scheduler: RunScheduler) -> Tuning | None:
    """Train each cell once with each learning rate, with a seed that is not reported."""
    if len(settings.learning_rates) == 1:
        return {cell: {} for cell in settings.cells}
    runs = [
        ComparedRun(out, settings, cell, rate, settings.seeds)
        for cell in settings.cells
        for rate in settings.learning_rates
    ]
    scores = scheduler.train(runs, trials=False)
    if scores is None:
        return None
    tuning: Tuning = {cell: {} for cell in settings.cells}
    for run, found in zip(runs, scores, strict=True):
        tuning[run.cell][run.learning_rate] = None if found.diverged else found.bits_per_char
    return tuning


def _best_rate(tried: Mapping[float, float | None], settings: ComparisonSettings) -> float:
    """Return the rate with the lowest validation loss; the lowest rate if all diverged."""
    finite = {rate: bits for rate, bits in tried.items() if bits is not None}
    return min(finite or settings.learning_rates, key=lambda rate: finite.get(rate, rate))


class RunScheduler:
    """Trains runs in processes of their own, up to ``concurrent`` at a time."""

    def __init__(
        self, concurrent: int, threads: int, on_runs: OnRuns, should_stop: Callable[[], bool]
    ) -> None:
        self.concurrent = concurrent
        self.threads = threads  # CPU threads of each run
        self._on_runs = on_runs
        self._should_stop = should_stop
        self._stopped = Event()

    def train(self, runs: Sequence[ComparedRun], trials: bool = True) -> list[RunScores] | None:
        """Train and evaluate all runs that are not finished; None if stopped before the end.

        The first failure ends all runs, after the active ones have saved.
        """
        evaluated: set[str] = set()  # the untrained network is evaluated once per cell
        torch.set_num_threads(self.threads)
        with ThreadPoolExecutor(self.concurrent) as pool:
            futures: list[Future[RunScores | None]] = []
            for run in runs:
                untrained = trials and run.cell not in evaluated
                evaluated.add(run.cell)
                futures.append(pool.submit(self._train, run, trials, untrained))
            try:
                self._wait(runs, futures)
            except BaseException:
                self._stopped.set()
                raise
        scores = [found for future in futures if (found := future.result()) is not None]
        return scores if len(scores) == len(runs) else None

    def _wait(
        self, runs: Sequence[ComparedRun], futures: Sequence[Future[RunScores | None]]
    ) -> None:
        pending = set(futures)
        while pending:
            done, pending = wait(pending, POLL_SECONDS, FIRST_COMPLETED)
            for future in done:
                future.result()
            if self._should_stop():
                self._stopped.set()
            active = [run for run, future in zip(runs, futures, strict=True) if future.running()]
            completed = len(futures) - len(pending) + sum(run.budget_used() for run in active)
            self._on_runs(completed, len(futures), ", ".join(run.path.name for run in active))

    def _train(self, run: ComparedRun, trials: bool, untrained: bool) -> RunScores | None:
        try:
            scores = run.read_scores()
            if scores is not None or self._is_stopping():
                return scores
            code = self._run_process(run)
            # A terminal sends Ctrl-C to both processes, and the training may end first.
            if self._is_stopping():
                return None
            output = run.log.read_text("utf-8").strip().splitlines()
            diverged = code == USER_ERROR and bool(output) and "diverged" in output[-1]
            if code and not diverged:
                last = output[-1] if output else f"ended with exit code {code}"
                raise ChargenError(f"{run.path}: {last} (see {run.log})")
            return run.evaluate(diverged, trials, untrained)
        except BaseException:
            self._stopped.set()  # before this thread starts its next run
            raise

    def _is_stopping(self) -> bool:
        return self._stopped.is_set() or self._should_stop()

    def _run_process(self, run: ComparedRun) -> int:
        command = [sys.executable, "-m", "chargen", *run.arguments(self.threads)]
        with run.log.open("w", encoding="utf-8") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            while True:
                try:
                    return process.wait(POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    if self._stopped.is_set():
                        process.send_signal(signal.SIGTERM)
                        return process.wait()
