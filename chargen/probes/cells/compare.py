"""Cells trained side by side under one budget, asked the same, and put into one result."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import to_builtins

from chargen.cells import CELL_NAMES
from chargen.datasets import bundled
from chargen.datasets.longrange import LONGEST_SPAN as LONGRANGE_SPAN
from chargen.datasets.tasks import LONGEST_SPAN as TASK_SPAN
from chargen.datasets.tasks import TASKS
from chargen.errors import ChargenError
from chargen.files import read_json, write_file
from chargen.probes.cells.jobs import ANSWERS, Job, shape, vocabulary_size
from chargen.probes.cells.measure import gather
from chargen.probes.cells.result import CompareResult, Training
from chargen.probes.cells.workers import Stop, Watch, Workers
from chargen.runs.directory import RUN, RUNS, lock
from chargen.settings import ComparisonSettings

PLAN = "compare.json"
LARGEST_PLAN = 2**16  # bytes


def compare(
    settings: ComparisonSettings,
    out: Path | None = None,
    *,
    jobs: int | None = None,
    overwrite: bool = False,
    watch: Watch = lambda done, total, what: None,
    should_stop: Stop = lambda: False,
) -> CompareResult | None:
    """Train each cell with each seed, ask all of them the same, and compare.

    ``out`` (``runs/compare-<task>`` where not given) holds a run's folder for each training, and
    what is finished there is not done again: a comparison that was stopped goes on where it was.
    ``jobs`` trainings go on at a time, each in a process with its share of the processor's cores;
    as many as there are cores where it is not given. ``watch`` is told how many trainings of how
    many are done. Returns ``None`` where ``should_stop`` said so before the end. Raises
    `ChargenError` where ``out`` holds another comparison and ``overwrite`` is not given, and,
    before anything is written, where a cell cannot have so few parameters.
    """
    _check(settings)
    out = out or RUNS / f"compare-{settings.task}"
    with lock(out):
        _begin(out, settings, overwrite)
        cores = os.cpu_count() or 1
        at_a_time = max(1, min(jobs or cores, cores))
        workers = Workers(settings, at_a_time, max(1, cores // at_a_time), watch, should_stop)
        tuning = _tune(out, settings, workers)
        if tuning is None:
            return None
        rates = {cell: _best(rates, settings) for cell, rates in tuning.items()}
        wanted = [
            Job.of(out, settings, cell, rates[cell], seed)
            for seed in range(settings.seeds)
            for cell in settings.cells
        ]
        trained = workers.train(wanted)
        return None if trained is None else _result(settings, rates, tuning, trained, workers)


def _check(settings: ComparisonSettings) -> None:
    """Refuse what no training could begin with, before anything is written."""
    for cell in settings.cells:
        shape(cell, settings.parameters, vocabulary_size(settings.task))


def _begin(out: Path, settings: ComparisonSettings, overwrite: bool) -> None:
    """Write down what is compared, or check that it is what was."""
    plan = out / PLAN
    try:
        before = None if overwrite else read_json(plan, ComparisonSettings, LARGEST_PLAN)
    except FileNotFoundError:
        before = None
    if before == settings:
        return
    kept = [f"{cell}-rate*-seed*/{name}" for cell in CELL_NAMES for name in (ANSWERS, RUN)]
    old = [file for pattern in kept for file in out.glob(pattern)]
    if (before is not None or old) and not overwrite:
        raise ChargenError(
            f"{out}: holds another comparison, see {plan}; give another --out, or --overwrite"
        )
    for file in old:  # of a comparison that is given up; nothing else there is touched
        file.unlink()
    write_file(out / f"{settings.task}.txt", bundled.read(settings.task).encode())
    write_file(plan, (json.dumps(to_builtins(settings), indent=1) + "\n").encode())


Tuning = dict[str, dict[float, float | None]]
"""By cell: bits a character by learning rate, None of one that diverged; empty if not tuned."""


def _tune(out: Path, settings: ComparisonSettings, workers: Workers) -> Tuning | None:
    """Try every learning rate with every cell once, with a seed that is not reported."""
    if len(settings.learning_rates) == 1:
        return {cell: {} for cell in settings.cells}
    wanted = [
        Job.of(out, settings, cell, rate, settings.seeds)
        for cell in settings.cells
        for rate in settings.learning_rates
    ]
    found = workers.train(wanted, ask=False)
    if found is None:
        return None
    tuning: Tuning = {cell: {} for cell in settings.cells}
    for job, training in zip(wanted, found, strict=True):
        bits = None if training.diverged else training.bits_per_char
        tuning[job.cell][job.learning_rate] = bits
    return tuning


def _best(rates: Mapping[float, float | None], settings: ComparisonSettings) -> float:
    """The rate with the fewest bits; the lowest of all where each diverged."""
    told = {rate: bits for rate, bits in rates.items() if bits is not None}
    return min(told or settings.learning_rates, key=lambda rate: told.get(rate, rate))


def _result(
    settings: ComparisonSettings,
    rates: Mapping[str, float],
    tuning: Tuning,
    trained: Sequence[Training],
    workers: Workers,
) -> CompareResult:
    task = TASKS.get(settings.task)  # each frame of longrange has a text of its own
    cells = []
    for cell in settings.cells:
        model, parameters = shape(cell, settings.parameters, vocabulary_size(settings.task))
        own = [training for training in trained if training.cell == cell]
        cells.append(
            gather(
                cell,
                model.units,
                parameters,
                rates[cell],
                tuning[cell],
                own,
                settings.timesteps,
                settings.seed,
                together=len(task.candidates) if task else 1,
            )
        )
    unit, amount = settings.budget
    return CompareResult(
        task=settings.task,
        budget=f"{amount:g} {unit}",
        seed=settings.seed,
        trained_timesteps=settings.timesteps,
        longest_trained_span=TASK_SPAN if task else LONGRANGE_SPAN,
        threads=workers.threads,
        cells=tuple(cells),
    )
