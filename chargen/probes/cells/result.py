"""Scores of compared cells: of each run, as its file holds them, and over seeds, as JSON.

One run is one observation, however many trials it answers. Within it, rounds are independent.
"""

import statistics
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from msgspec import Struct, json

from chargen.probes.statistics import intervals
from chargen.probes.statistics.intervals import FEWEST_FOR_MEDIAN, Estimate, clustered, t_interval
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
        return tuple(sum(credits) / len(credits) for credits in self.credits)

    def is_solved(self, timesteps: int) -> bool:
        """Return whether every span up to ``timesteps`` has an accuracy of `SOLVED`."""
        pairs = zip(self.spans, self.accuracy, strict=True)
        within = [accuracy for span, accuracy in pairs if span <= timesteps]
        return bool(within) and min(within) >= SOLVED


class Training(Struct, frozen=True):
    bits_per_char: float  # lowest validation loss
    chars: int  # read in training
    seconds: float
    diverged: bool  # the loss became NaN or infinite; the best validated weights are evaluated
    seed: int = 0


class RunScores(Training, frozen=True, forbid_unknown_fields=True):
    answers: tuple[VariantScores, ...] = ()  # by variant, as ``answers.json`` stores them


class ControlAccuracy(Struct, frozen=True):
    accuracy: Estimate
    frames: int


class SpanAccuracy(Struct, frozen=True):
    span_chars: int
    accuracy: Estimate
    accuracy_by_seed: tuple[float, ...]
    trials_a_seed: int
    untrained: ControlAccuracy | None


class VariantSummary(Struct, frozen=True):
    variant: str
    chance: float
    solved_share: Estimate  # of the seeds
    solved: tuple[bool, ...]  # by seed
    span50: str  # the median over seeds with its interval, as text
    span50_chars: float | None  # None without a fit and off the measured spans; likewise its bounds
    span50_chars_low: float | None
    span50_chars_high: float | None
    spans: tuple[SpanAccuracy, ...]

    def solved_text(self) -> str:
        """Return the solved seeds with the interval of their share, ``3 of 5 (15–95%)``."""
        share = self.solved_share
        counts = f"{sum(self.solved)} of {len(self.solved)}"
        return f"{counts} ({100 * share.low:.0f}–{100 * share.high:.0f}%)"


class CellSummary(Struct, frozen=True):
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
            {"first": one, "second": two, "seeds": intervals.seeds_needed(first, second)}
            for (one, first), (two, second) in combinations(shares, 2)
        ]

    def claims(self) -> str:
        """Return how many seeds the claims about the shares of seeds would need."""
        over = f"over {intervals.MOST_SEEDS}"
        needed = (pair.values() for pair in self.seeds_needed())
        pairs = ", ".join(f"{one} and {two} {seeds or over}" for one, two, seeds in needed)
        differs = f"Seeds of each cell needed to show a difference: {pairs}. " if pairs else ""
        seeds = intervals.seeds_for_share(MOST_SOLVE)
        return f"{differs}{seeds} seeds, all successful, show that over {MOST_SOLVE:.0%} solve it."

    def _repr_html_(self) -> str:
        from chargen.probes.cells.report import report
        from chargen.render.report import fragment

        return fragment(*report(self))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object with every number of the report; null for an infinite bound."""
        found: dict[str, Any] = intervals.flat(json.decode(json.encode(self)))
        return found | {"finding": self.finding(), "seeds_needed": self.seeds_needed()}


def summarize(
    runs: Sequence[RunScores], timesteps: int, seed: int, round_size: int = 1, **shape: Any
) -> CellSummary:
    """Summarize the runs of one cell of a ``shape``, `CellSummary.cell` to ``tuning``, over seeds.

    ``round_size`` consecutive trials are a round.
    """
    rates = [run.chars / run.seconds for run in runs if run.seconds > 0]
    answers = zip(*(run.answers for run in runs), strict=True)
    return CellSummary(
        **shape,
        bits_per_char=t_interval([run.bits_per_char for run in runs]),
        chars_per_second=round(statistics.median(rates)) if rates else 0,
        diverged=sum(run.diverged for run in runs),
        trainings=tuple(
            Training(run.bits_per_char, run.chars, round(run.seconds, 1), run.diverged, n)
            for n, run in enumerate(runs)
        ),
        variants=tuple(_variant(own, timesteps, seed, round_size) for own in answers),
    )


def by_round(credits: Sequence[float], round_size: int) -> tuple[float, ...]:
    """Return the mean credit of each round of ``round_size`` consecutive trials."""
    return tuple(np.reshape(credits, (-1, round_size)).mean(axis=1).tolist())


def mean_accuracy(by_seed: Sequence[float], chance: float) -> Estimate:
    """Return the mean accuracy over two or more seeds with its 95% interval, Student's.

    Where all seeds solve a span, or none does, the interval also contains the means that the
    interval of the share of such seeds allows.
    """
    found = t_interval(by_seed)
    low, high = max(found.low, 0.0), min(found.high, 1.0)
    solved = sum(one >= SOLVED for one in by_seed)
    share = intervals.clopper_pearson(solved, len(by_seed))
    if share.value == 1:
        low = min(low, share.low * found.value + (1 - share.low) * chance)
    elif share.value == 0:
        high = max(high, share.high + (1 - share.high) * found.value)
    return Estimate(found.value, low, high)


def _variant(scores: Sequence[VariantScores], timesteps: int, seed: int, K: int) -> VariantSummary:
    first, *others = scores
    rounds = [[by_round(credits, K) for credits in one.credits] for one in scores]
    solved = tuple(one.is_solved(timesteps) for one in scores)
    control = next((one for one in scores if one.untrained), None)
    spans = []
    for place, span in enumerate(first.spans):
        by_seed = tuple(one.accuracy[place] for one in scores)
        own = rounds[0][place]
        mean = mean_accuracy(by_seed, first.chance) if others else clustered(own, K)
        untrained = _control(control, place, K) if control else None
        spans.append(SpanAccuracy(span, mean, by_seed, len(first.credits[place]), untrained))
    return VariantSummary(
        first.variant,
        first.chance,
        intervals.clopper_pearson(sum(solved), len(solved)),
        solved,
        *_median_span50(first.spans, rounds, first.chance, seed),
        tuple(spans),
    )


def _control(scores: VariantScores, place: int, round_size: int) -> ControlAccuracy:
    successes, trials = scores.untrained[place]
    if scores.untrained_rounds:
        return ControlAccuracy(clustered(scores.untrained_rounds[place], round_size), trials)
    share, rounds = successes / trials, trials // round_size  # sentences, which have no rounds
    return ControlAccuracy(Estimate(share, *intervals.wilson(share * rounds, rounds)), trials)


def _median_span50(
    spans: Sequence[int], rounds: Sequence[Sequence[Sequence[float]]], chance: float, seed: int
) -> tuple[str, float | None, float | None, float | None]:
    """Return the median span50 over seeds as text, and the median with its bounds, if any."""
    if len(spans) < FEWEST_SPANS:
        return "not fitted", None, None, None
    halves = [fit(spans, own, chance, seed) for own in rounds]
    if unfit := sum(not half.fits for half in halves):
        return f"no fit in {unfit} of {counted(len(halves), 'seed')}", None, None, None
    values = np.array(sorted(half.chars for half in halves))
    low = middle = high = float(values[(len(values) - 1) // 2])  # infinity has no midpoint
    if len(halves) == 1:
        low, high = halves[0].low, halves[0].high
    elif len(halves) >= FEWEST_FOR_MEDIAN:
        _, low, high = map(float, intervals.median_interval(values))
    few = 1 < len(halves) < FEWEST_FOR_MEDIAN
    median, lower, upper = (
        round(x, 1) if known and spans[0] <= x <= spans[-1] else None
        for x, known in ((middle, True), (low, not few), (high, not few))
    )
    return span_text(middle, low, high, spans[0], spans[-1]), median, lower, upper
