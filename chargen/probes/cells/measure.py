"""Statistics over the runs of a cell: accuracy by span, span50 and solved seeds.

One run is one observation, however many trials it answers. Intervals come from a bootstrap over
seeds, then over trials (A. C. Davison and D. V. Hinkley, "Bootstrap methods and their
application", 1997, section 3.8). All seeds answer the same trials, so the mean resamples trials
once for all seeds (A. B. Owen, "The pigeonhole bootstrap", 2007).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec.structs import replace

from chargen.probes.cells.result import (
    SOLVED,
    CellSummary,
    RunScores,
    VariantScores,
    VariantSummary,
)
from chargen.probes.cells.tasks import by_round
from chargen.probes.statistics.intervals import BOOTSTRAP_DRAWS, Estimate, wilson
from chargen.probes.statistics.span50 import Span50, span_text


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
    """Summarize the runs of one cell over seeds.

    Args:
        cell: Name of the cell.
        units: Hidden units of each layer.
        parameters: Number of weights.
        learning_rate: Peak learning rate of the runs.
        tuning: Bits per character of each learning rate that was tried.
        runs: Scores by seed.
        timesteps: Truncated BPTT length in characters.
        seed: Random seed of the bootstrap.
        round_size: Consecutive trials that the bootstrap resamples together.
    """
    rng = np.random.default_rng([seed, 2])
    S = len(runs)
    bits = np.array([run.bits_per_char for run in runs])
    drawn = bits[rng.integers(S, size=(BOOTSTRAP_DRAWS, S))].mean(axis=1)
    by_variant = zip(*(run.answers for run in runs), strict=True)
    return CellSummary(
        cell=cell,
        units=units,
        parameters=parameters,
        learning_rate=learning_rate,
        tuning=tuning,
        runs=tuple(runs),
        variants=tuple(_variant(own, timesteps, seed, round_size, rng) for own in by_variant),
        bits_per_char=Estimate.of(float(bits.mean()), drawn),
    )


def _variant(
    scores: tuple[VariantScores, ...],
    timesteps: int,
    seed: int,
    round_size: int,
    rng: np.random.Generator,
) -> VariantSummary:
    trials = tuple(map(len, scores[0].credits))
    rounds = [[by_round(credits, round_size) for credits in one.credits] for one in scores]
    grouped = [replace(one, credits=tuple(own)) for one, own in zip(scores, rounds, strict=True)]
    text, chars = _median_span50([half for one in grouped if (half := one.span50(seed))], rng)
    return VariantSummary(
        scores=scores,
        accuracy=tuple(
            _mean(np.array(credits), count * len(scores), rng)
            for credits, count in zip(zip(*rounds, strict=True), trials, strict=True)
        ),
        span50=text,
        span50_chars=chars,
        solved=tuple(_is_solved(one, timesteps) for one in scores),
        trials=trials,
    )


def _mean(credits: np.ndarray, trials: int, rng: np.random.Generator) -> Estimate:
    """Return the mean credit of S seeds in the same R rounds, ``(S, R)``.

    The bootstrap interval is widened to the Wilson interval of all ``trials``: if every trial is
    correct, all bootstrap samples are equal.
    """
    S, R = credits.shape
    times = rng.multinomial(R, np.full(R, 1 / R), BOOTSTRAP_DRAWS)  # (draws, R)
    means = times @ credits.T / R  # (draws, S)
    seeds = rng.integers(S, size=(BOOTSTRAP_DRAWS, S))
    mean = float(credits.mean())
    found = Estimate.of(mean, np.take_along_axis(means, seeds, axis=1).mean(axis=1))
    low, high = wilson(mean * trials, trials)
    return Estimate(mean, min(found.low, low), max(found.high, high))


def _median_span50(
    halves: Sequence[Span50], rng: np.random.Generator
) -> tuple[str, tuple[float, float, float] | None]:
    """Return the median span50 over seeds as text and as (median, low, high).

    There is no median if the curve of a seed has no fit. The bootstrap resamples seeds, then the
    bootstrap samples of each seed's rounds.
    """
    unfit = sum(not half.fits for half in halves)
    if not halves or unfit:
        return (f"no fit in {unfit} of {len(halves)} seeds" if unfit else "not fitted"), None
    S = len(halves)
    drawn = np.array([half.drawn for half in halves])  # (S, draws)
    seeds = rng.integers(S, size=(BOOTSTRAP_DRAWS, S))
    columns = rng.integers(drawn.shape[1], size=seeds.shape)
    medians = _lower_median(drawn[seeds, columns])
    low, high = np.quantile(medians, [0.025, 0.975], method="inverted_cdf")
    middle = float(_lower_median(np.array([[half.chars for half in halves]]))[0])
    chars = (middle, min(float(low), middle), max(float(high), middle))
    return span_text(*chars, halves[0].first, halves[0].last), chars


def _lower_median(values: np.ndarray) -> np.ndarray:
    """Return the lower median of each row: a number and infinity have no midpoint."""
    S = values.shape[1]
    middle: np.ndarray = np.sort(values, axis=1)[:, (S - 1) // 2]
    return middle


def _is_solved(scores: VariantScores, timesteps: int) -> bool:
    pairs = zip(scores.spans, scores.accuracy, strict=True)
    within = [accuracy for span, accuracy in pairs if span <= timesteps]
    return bool(within) and min(within) >= SOLVED
