"""Coverage of every interval that chargen prints, by simulation.

``python -m benchmarks.coverage [INTERVAL ...]`` simulates all intervals, or the named ones, and
writes their rows to ``coverage.csv``. A case draws data whose truth is known, with the dependence
that real data have, and returns the interval that the instrument would print and that truth. An
instrument adds its cases to `CASES`.
"""

from __future__ import annotations

import csv
import sys
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import coverage_text
from chargen.probes.cells.result import mean_accuracy
from chargen.probes.statistics.intervals import (
    Estimate,
    clopper_pearson,
    cluster_bootstrap,
    clustered,
    median_interval,
    t_interval,
    wilson,
)
from chargen.probes.statistics.span50 import fit

RESULTS = Path(__file__).with_suffix(".csv")
SIMULATIONS = 1000
PRECISE = {"effective": 20_000, "excess": 20_000}  # simulations of a fraction of a millisecond
SPANS = np.array((4, 8, 16, 32, 64, 128, 256, 512, 1024))
CHANCE, FACTS, SENTENCES = 1 / 8, 16, 26  # of the cloze sentences: K = 8, sentences per fact


class Case(NamedTuple):
    """Simulated data for one interval."""

    interval: str  # name for the command line
    unit: str  # of independence
    data: str  # what is simulated
    simulate: Callable[[np.random.Generator], tuple[float, float, float]]
    """Returns the bounds of one interval and the truth."""


def measure(case: Case, simulations: int = SIMULATIONS) -> dict[str, str | int | float]:
    """Return the row of one case: how often the interval holds the truth, and its median width."""
    rng = np.random.default_rng(zlib.crc32(f"{case.interval}, {case.data}".encode()))
    found = np.array([case.simulate(rng) for _ in range(simulations)])
    low, high, truth = found.T
    return {
        "interval": case.interval,
        "unit": case.unit,
        "data": case.data,
        "simulations": simulations,
        "coverage_percent": round(100 * float(((low <= truth) & (truth <= high)).mean()), 1),
        "median_width": float(f"{np.median(high - low):.3g}"),
    }


def main(names: Sequence[str]) -> None:
    """Simulate the named intervals, or all, and update the results."""
    cases = [case for case in CASES if case.interval in names or not names]
    kept = []
    if names and RESULTS.exists():
        with RESULTS.open(newline="") as file:
            kept = [row for row in csv.DictReader(file) if row["interval"] not in names]
    rows = [*kept]
    for case in cases:
        rows.append(measure(case, PRECISE.get(case.interval, SIMULATIONS)))
        print(*rows[-1].values(), sep="  ", flush=True)
    rows.sort(key=lambda row: str(row["interval"]))
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


# cloze sentences


def logistic(half: float, slope: float, spans: np.ndarray) -> np.ndarray:
    """Return what is remembered with a logistic curve in log2 of the span."""
    remembered: np.ndarray = 1 / (1 + np.exp(slope * (np.log2(spans) - np.log2(half))))
    return remembered


def exponential(half: float, spans: np.ndarray) -> np.ndarray:
    """Return what is remembered with a half-life of ``half`` characters."""
    remembered: np.ndarray = 0.5 ** (spans / half)
    return remembered


def power_law(scale: float, exponent: float, spans: np.ndarray) -> np.ndarray:
    """Return what is remembered where forgetting slows down."""
    remembered: np.ndarray = (1 + spans / scale) ** -exponent
    return remembered


FORGETTING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "logistic forgetting, half at 90": partial(logistic, 90, 1.5),
    "logistic forgetting, half at 330, steep": partial(logistic, 330, 3),
    "exponential forgetting, half-life 80": partial(exponential, 80),
    "exponential forgetting, half-life 300": partial(exponential, 300),
    "power-law forgetting, half at 200": partial(power_law, 200, 1),
    "power-law forgetting, half at 117, steep": partial(power_law, 200, 1.5),
}


def half_point(remembered: Callable[[np.ndarray], np.ndarray]) -> float:
    """Return the span with half of what is remembered at the shortest span."""
    spans = 2 ** np.linspace(2, 10, 20_001)
    curve = remembered(spans)
    return float(spans[(curve <= curve[0] / 2).argmax()])


def span50_of_sentences(
    remembered: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator
) -> tuple[float, float, float]:
    """Simulate independent sentences."""
    shares = CHANCE + (1 - CHANCE) * remembered(SPANS)
    credits = [(rng.random(FACTS * SENTENCES) < share).astype(float) for share in shares]
    found = fit(SPANS.tolist(), credits, CHANCE, int(rng.integers(2**31)), 500)
    return found.low, found.high, half_point(remembered)


def facts(draw: Callable[[np.random.Generator, int], np.ndarray]) -> Callable[..., tuple]:
    """Return a simulation of facts with the accuracies ``draw(rng, count)``."""
    truth = float(draw(np.random.default_rng(0), 1_000_000).mean())

    def simulate(rng: np.random.Generator) -> tuple[float, float, float]:
        successes = rng.binomial(SENTENCES, draw(rng, FACTS))[:, None].astype(float)
        counts = np.full((FACTS, 1), SENTENCES)
        share = float(successes.sum() / counts.sum())
        means = cluster_bootstrap(successes, counts, rng)[:, 0].clip(0, 1)
        low, high = wilson(successes.sum(), int(counts.sum()))
        found = Estimate.of(share, means)
        return min(low, found.low), max(high, found.high), truth

    return simulate


def logit_normal(mean: float, deviation: float) -> Callable[..., np.ndarray]:
    """Return a draw of accuracies whose logits are normal."""
    return lambda rng, count: 1 / (1 + np.exp(-mean - deviation * rng.standard_normal(count)))


def some_fail(share: float, accuracy: float, rest: float) -> Callable[..., np.ndarray]:
    """Return a draw of accuracies where a share of the facts fails."""
    return lambda rng, count: np.where(rng.random(count) < share, accuracy, rest)


OF_FACTS = {
    "all facts at 80%": some_fail(0, 0, 0.8),
    "all facts at 12.5%": some_fail(0, 0, 0.125),
    "facts alike, mean 78%": logit_normal(1.5, 1),
    "facts alike, mean 93%": logit_normal(3, 1),
    "facts apart, mean 50%": logit_normal(0, 2),
    "one fact in five at 40%, the others at 98%": some_fail(0.2, 0.4, 0.98),
    "one fact in ten at 40%, the others at 99%": some_fail(0.1, 0.4, 0.99),
}

# seeds and rounds of a comparison, gradient, read-out


def solving_seeds(share: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return the interval of the share of five seeds that solve a task."""
    found = clopper_pearson(int(rng.binomial(5, share)), 5)
    return found.low, found.high, share


def mean_of_seeds(
    draw: Callable[[np.random.Generator], np.ndarray], mean: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Return the interval of the mean accuracy over five seeds."""
    found = mean_accuracy(draw(rng).tolist(), CHANCE)
    return found.low, found.high, mean


def median_of_values(n: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return the interval of the median of ``n`` log-normal values."""
    _, low, high = median_interval(rng.lognormal(size=n))
    return float(low), float(high), 1.0


def rounds_of_trials(
    share: float, agreement: float, size: int, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Return the interval of one run's accuracy over 400 trials in rounds of ``size``.

    A round has one outcome for all its trials with probability ``agreement``, else independent
    ones.
    """
    R = 400 // size
    alike = rng.random((R, 1)) < agreement
    trials = np.where(alike, rng.random((R, 1)) < share, rng.random((R, size)) < share)
    found = clustered(trials.mean(axis=1).tolist(), size)
    return found.low, found.high, share


def streams_of_text(correlation: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return the interval of the read-out over 24 streams of 256 dependent characters."""
    value, hits = rng.normal(), np.empty(24 * 256)
    for place, noise in enumerate(rng.normal(scale=np.sqrt(1 - correlation**2), size=len(hits))):
        value = correlation * value + noise
        hits[place] = value > 0
    found = t_interval(hits.reshape(24, 256).mean(axis=1))
    return found.low, found.high, 0.5


def patched_answers(share: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return the interval of the share of 64 answers that follow a patch."""
    return (*wilson(int(rng.binomial(64, share)), 64), share)


def two_kinds(share: float, rng: np.random.Generator) -> np.ndarray:
    """Return the accuracies of five seeds, of which a share solves the task."""
    return np.where(rng.random(5) < share, 1.0, CHANCE)


def some_seeds(share: float) -> Callable[[np.random.Generator], tuple[float, float, float]]:
    """Return a simulation of five seeds of two kinds."""
    return partial(mean_of_seeds, partial(two_kinds, share), share + (1 - share) * CHANCE)


OF_COMPARISONS = [
    *(
        Case(
            "seeds that solve",
            "seed",
            f"5 seeds, {share:.0%} solve",
            partial(solving_seeds, share),
        )
        for share in (0.5, 0.8, 0.93)
    ),
    *(
        Case("mean over seeds", "seed", f"5 seeds, {share:.0%} solve", some_seeds(share))
        for share in (0.5, 0.8, 0.93)
    ),
    Case(
        "mean over seeds",
        "seed",
        "5 seeds, accuracy uniform",
        partial(mean_of_seeds, lambda rng: rng.random(5), 0.5),
    ),
    *(
        Case("median span50", "seed", f"{n} seeds, log-normal", partial(median_of_values, n))
        for n in (5, 9)
    ),
    *(
        Case(
            "rounds",
            "round",
            f"rounds of {size}, {agreement:.0%} agree, accuracy {share:.3g}",
            partial(rounds_of_trials, share, agreement, size),
        )
        for size, share in ((8, 0.125), (8, 0.5), (8, 0.9), (2, 0.5))
        for agreement in (0.0, 0.5, 1.0)
    ),
    Case("gradient", "target", "64 targets, log-normal", partial(median_of_values, 64)),
    *(
        Case("read-out", "stream", f"correlation {r} of neighbors", partial(streams_of_text, r))
        for r in (0.5, 0.95)
    ),
    *(
        Case("patching", "sentence", f"{share:.0%} follow", partial(patched_answers, share))
        for share in (0.5, 0.9)
    ),
]


CASES = [
    *(
        Case("span50", "sentence", data, partial(span50_of_sentences, remembered))
        for data, remembered in FORGETTING.items()
    ),
    *(Case("facts", "fact", data, facts(draw)) for data, draw in OF_FACTS.items()),
    *OF_COMPARISONS,
    *(Case(*each) for each in coverage_text.cases()),
]

if __name__ == "__main__":
    main(sys.argv[1:])
