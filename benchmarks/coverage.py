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

from chargen.probes.statistics.intervals import Estimate, wilson
from chargen.probes.statistics.seeds import cluster_bootstrap
from chargen.probes.statistics.span50 import fit

RESULTS = Path(__file__).with_suffix(".csv")
SIMULATIONS = 1000
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
        rows.append(measure(case))
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
        means = cluster_bootstrap(successes, counts, rng, 1000)[:, 0].clip(0, 1)
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

CASES = [
    *(
        Case("span50", "sentence", data, partial(span50_of_sentences, remembered))
        for data, remembered in FORGETTING.items()
    ),
    *(Case("facts", "fact", data, facts(draw)) for data, draw in OF_FACTS.items()),
]

if __name__ == "__main__":
    main(sys.argv[1:])
