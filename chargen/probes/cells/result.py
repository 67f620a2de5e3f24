"""Scores of compared cells: of each run, as its file holds them, and over seeds, as JSON.

One run is one observation, however many trials it answers. The trials of a round differ only in
the target and their outcomes are correlated; rounds are independent.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from msgspec import Struct, json

from chargen.probes.statistics.intervals import (
    FEWEST_FOR_MEDIAN,
    MOST_SEEDS,
    Estimate,
    clopper_pearson,
    clustered,
    flat,
    median_interval,
    seeds_for_share,
    seeds_needed,
    t_interval,
    wilson,
)
from chargen.probes.statistics.span50 import FEWEST_SPANS, fit, span_text
from chargen.render.text import counted

SOLVED = 0.95  # minimum accuracy, at every span up to the training length
MOST_SOLVE = 0.9  # share of seeds that "solves reliably" claims


class VariantScores(Struct, frozen=True, forbid_unknown_fields=True):
    """Scores of one trained model in one variant of a task, by span."""

    variant: str  # empty for a task with one variant
    chance: float
    spans: tuple[int, ...]  # ascending, characters
    credits: tuple[tuple[float, ...], ...]  # by span: the credit of each trial, 0 to 1
    untrained: tuple[tuple[float, int], ...] = ()  # by span: successes and trials; () if not run
    untrained_rounds: tuple[tuple[float, ...], ...] = ()  # by span: the mean of each round

    @property
    def accuracy(self) -> tuple[float, ...]:
        """The mean credit, by span."""
        return tuple(sum(credits) / len(credits) for credits in self.credits)

    def is_solved(self, timesteps: int) -> bool:
        """Return whether every span up to ``timesteps`` has an accuracy of `SOLVED`."""
        pairs = zip(self.spans, self.accuracy, strict=True)
        within = [accuracy for span, accuracy in pairs if span <= timesteps]
        return bool(within) and min(within) >= SOLVED


class Training(Struct, frozen=True):
    """One training run."""

    bits_per_char: float  # lowest validation loss
    chars: int  # read in training
    seconds: float
    # The loss became NaN or infinite. The best validated weights are evaluated, or the initial
    # weights if there was no validation.
    diverged: bool
    seed: int = 0


class RunScores(Training, frozen=True, forbid_unknown_fields=True):
    """Scores of one training run, as ``answers.json`` stores them."""

    answers: tuple[VariantScores, ...] = ()  # by variant


class ControlAccuracy(Struct, frozen=True):
    """Accuracy of an untrained network in a number of trials."""

    accuracy: Estimate
    frames: int


class SpanAccuracy(Struct, frozen=True):
    """Accuracy of one cell at one span, the mean over seeds."""

    span_chars: int
    accuracy: Estimate
    accuracy_by_seed: tuple[float, ...]
    trials_a_seed: int
    untrained: ControlAccuracy | None


class VariantSummary(Struct, frozen=True):
    """Scores of one cell in one variant, over all seeds."""

    variant: str
    chance: float
    solved_share: Estimate  # of the seeds
    solved: tuple[bool, ...]  # by seed
    span50: str  # the median over seeds with its interval, as text
    span50_chars: float | None  # None without a fit and off the measured spans; likewise its bounds
    span50_chars_low: float | None
    span50_chars_high: float | None
    spans: tuple[SpanAccuracy, ...]

    @property
    def chars(self) -> list[int]:
        """The spans, in characters."""
        return [row.span_chars for row in self.spans]

    def solved_text(self) -> str:
        """Return the solved seeds with the interval of their share, ``3 of 5 (15–95%)``."""
        share = self.solved_share
        counts = f"{sum(self.solved)} of {len(self.solved)}"
        return f"{counts} ({100 * share.low:.0f}–{100 * share.high:.0f}%)"


class CellSummary(Struct, frozen=True):
    """Scores of one cell, trained with several seeds."""

    cell: str
    units: tuple[int, ...]
    parameters: int
    learning_rate: float
    tuning: tuple[dict[str, float | None], ...]  # bits_per_char by learning_rate; None: diverged
    bits_per_char: Estimate  # mean over seeds
    chars_per_second: int  # median over seeds, validation included; 0 without any
    diverged: int  # runs
    trainings: tuple[Training, ...]  # by seed: 0, 1, 2, …
    variants: tuple[VariantSummary, ...]


class CellComparison(Struct, frozen=True):
    """Summaries of several cells, trained on one task with one budget."""

    task: str
    budget: str  # such as "2 minutes"
    seed: int  # of the trials
    trained_timesteps: int
    longest_trained_span_chars: int
    threads: int  # CPU threads of each run
    cells: tuple[CellSummary, ...]
    solved_at: float = SOLVED

    @property
    def seeds(self) -> int:
        """The number of runs of each cell."""
        return len(self.cells[0].trainings)

    def finding(self) -> str:
        """Return how many seeds of each cell solve the task, in its hardest variant."""
        cells = [f"{cell.cell} {cell.variants[-1].solved_text()}" for cell in self.cells]
        variant = self.cells[0].variants[-1].variant
        label = f"{self.task}, {variant}" if variant else self.task
        diverged = sum(cell.diverged for cell in self.cells)
        lost = f"; {counted(diverged, 'run')} diverged" if diverged else ""
        return f"{label}: solved by {', '.join(cells)} seeds, 95% intervals{lost}"

    def seeds_needed(self) -> list[dict[str, Any]]:
        """Return the seeds of each cell that show the difference between two shares of seeds."""
        shares = [(cell.cell, cell.variants[-1].solved_share.value) for cell in self.cells]
        return [
            {"first": one, "second": two, "seeds": seeds_needed(first, second)}
            for (one, first), (two, second) in combinations(shares, 2)
        ]

    def claims(self) -> str:
        """Return how many seeds the claims about the shares of seeds would need."""
        pairs = ", ".join(
            f"{pair['first']} and {pair['second']} {pair['seeds'] or f'over {MOST_SEEDS}'}"
            for pair in self.seeds_needed()
        )
        differs = f"Seeds of each cell needed to show a difference: {pairs}. " if pairs else ""
        seeds = seeds_for_share(MOST_SOLVE)
        return f"{differs}{seeds} seeds, all successful, show that over {MOST_SOLVE:.0%} solve it."

    def _repr_html_(self) -> str:
        from chargen.probes.cells.report import report
        from chargen.render.report import fragment

        return fragment(*report(self))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object with every number of the report; null for an infinite bound."""
        found: dict[str, Any] = flat(json.decode(json.encode(self)))
        return found | {"finding": self.finding(), "seeds_needed": self.seeds_needed()}


def summarize(
    cell: str,
    units: tuple[int, ...],
    parameters: int,
    learning_rate: float,
    tuning: Mapping[float, float | None],
    runs: Sequence[RunScores],
    timesteps: int,
    seed: int,
    round_size: int = 1,
) -> CellSummary:
    """Summarize the runs of one cell over seeds; ``round_size`` consecutive trials are a round."""
    rates = [run.chars / run.seconds for run in runs if run.seconds > 0]
    return CellSummary(
        cell=cell,
        units=units,
        parameters=parameters,
        learning_rate=learning_rate,
        tuning=tuple({"learning_rate": r, "bits_per_char": bits} for r, bits in tuning.items()),
        bits_per_char=t_interval([run.bits_per_char for run in runs]),
        chars_per_second=round(statistics.median(rates)) if rates else 0,
        diverged=sum(run.diverged for run in runs),
        trainings=tuple(
            Training(run.bits_per_char, run.chars, round(run.seconds, 1), run.diverged, n)
            for n, run in enumerate(runs)
        ),
        variants=tuple(
            _variant(own, timesteps, seed, round_size)
            for own in zip(*(run.answers for run in runs), strict=True)
        ),
    )


def by_round(credits: Sequence[float], round_size: int) -> tuple[float, ...]:
    """Return the mean credit of each round of ``round_size`` consecutive trials."""
    return tuple(np.reshape(credits, (-1, round_size)).mean(axis=1).tolist())


def mean_accuracy(by_seed: Sequence[float], chance: float) -> Estimate:
    """Return the mean accuracy over two or more seeds with its 95% interval, Student's.

    Where all seeds solve a span, or none does, the seeds do not show how accuracy varies
    between seeds that do and seeds that do not. The interval then contains the means that the
    interval of the share of such seeds allows.
    """
    found = t_interval(by_seed)
    low, high = max(found.low, 0.0), min(found.high, 1.0)
    solved = sum(one >= SOLVED for one in by_seed)
    share = clopper_pearson(solved, len(by_seed))
    if share.value == 1:
        low = min(low, share.low * found.value + (1 - share.low) * chance)
    elif share.value == 0:
        high = max(high, share.high + (1 - share.high) * found.value)
    return Estimate(found.value, low, high)


def _variant(
    scores: Sequence[VariantScores], timesteps: int, seed: int, round_size: int
) -> VariantSummary:
    first, *others = scores
    rounds = [[by_round(credits, round_size) for credits in one.credits] for one in scores]
    solved = tuple(one.is_solved(timesteps) for one in scores)
    control = next((one for one in scores if one.untrained), None)
    spans = []
    for place, span in enumerate(first.spans):
        by_seed = tuple(one.accuracy[place] for one in scores)
        mean = (
            mean_accuracy(by_seed, first.chance)
            if others
            else clustered(rounds[0][place], round_size)
        )
        untrained = _control(control, place, round_size) if control else None
        trials = len(first.credits[place])
        spans.append(SpanAccuracy(span, mean, by_seed, trials, untrained))
    return VariantSummary(
        first.variant,
        first.chance,
        clopper_pearson(sum(solved), len(solved)),
        solved,
        *_median_span50(first.spans, rounds, first.chance, seed),
        tuple(spans),
    )


def _control(scores: VariantScores, place: int, round_size: int) -> ControlAccuracy:
    successes, trials = scores.untrained[place]
    if scores.untrained_rounds:
        return ControlAccuracy(clustered(scores.untrained_rounds[place], round_size), trials)
    share, rounds = successes / trials, trials // round_size  # a file without rounds
    return ControlAccuracy(Estimate(share, *wilson(share * rounds, rounds)), trials)


def _median_span50(
    spans: Sequence[int], rounds: Sequence[Sequence[Sequence[float]]], chance: float, seed: int
) -> tuple[str, float | None, float | None, float | None]:
    """Return the median span50 over seeds as text, and the median with its bounds.

    There is no median if the curve of a seed has no fit, and no interval over two to four seeds.
    """
    if len(spans) < FEWEST_SPANS:
        return "not fitted", None, None, None
    halves = [fit(spans, own, chance, seed) for own in rounds]
    if unfit := sum(not half.fits for half in halves):
        return f"no fit in {unfit} of {counted(len(halves), 'seed')}", None, None, None
    values = np.array(sorted(half.chars for half in halves))
    middle = low = high = float(values[(len(values) - 1) // 2])  # infinity has no midpoint
    if len(halves) == 1:
        low, high = halves[0].low, halves[0].high
    elif len(halves) >= FEWEST_FOR_MEDIAN:
        _, low, high = map(float, median_interval(values))
    text = span_text(middle, low, high, spans[0], spans[-1])
    median, lower, upper = (
        round(x, 1) if spans[0] <= x <= spans[-1] else None for x in (middle, low, high)
    )
    few = 1 < len(halves) < FEWEST_FOR_MEDIAN
    return text, median, None if few else lower, None if few else upper
