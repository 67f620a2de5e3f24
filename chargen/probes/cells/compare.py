"""Comparison of cells: train each with several seeds and one budget, then evaluate all of them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from msgspec import to_builtins

from chargen.cells import CELL_NAMES
from chargen.datasets import bundled
from chargen.datasets.longrange import LONGEST_SPAN as LONGRANGE_SPAN
from chargen.datasets.tasks import LONGEST_SPAN as TASK_SPAN
from chargen.datasets.tasks import TASKS
from chargen.errors import ChargenError
from chargen.files import read_json, write_file
from chargen.probes.cells.result import CellComparison, RunScores, summarize
from chargen.probes.cells.runs import ANSWERS, ComparedRun, model_shape, vocabulary_size
from chargen.runs.directory import RUN, RUNS
from chargen.runs.lock import lock
from chargen.settings import ComparisonSettings

PLAN = "compare.json"
LARGEST_PLAN = 2**16  # bytes
POLL_SECONDS = 0.25
USER_ERROR = 2  # exit code of a training that diverged

OnRuns = Callable[[int, int, str], None]
"""Called with the number of runs completed, their total and the active names."""


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
        cells.append(summarize(own, settings.timesteps, settings.seed, round_size, **shape))
    return CellComparison(
        task=settings.task,
        budget=f"{amount:g} {unit}",
        seed=settings.seed,
        trained_timesteps=settings.timesteps,
        longest_trained_span_chars=TASK_SPAN if task else LONGRANGE_SPAN,
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
        told = f"contains another comparison, see {plan}"
        raise ChargenError(f"{out}: {told}; give another --out, or --overwrite to discard it")
    for file in old:  # other files in the directory stay
        file.unlink()
    write_file(out / f"{settings.task}.txt", bundled.read(settings.task).encode())
    write_file(plan, (json.dumps(to_builtins(settings), indent=1) + "\n").encode())


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
) -> dict[ComparedRun, RunScores] | None:
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
            codes = {run: process.poll() for run, process in active.items()}
            # A terminal sends Ctrl-C to both processes, and the training may end first.
            if should_stop():
                return None
            ended = {run: code for run, code in codes.items() if code is not None}
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
