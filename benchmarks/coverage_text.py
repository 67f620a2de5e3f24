"""Simulations of the intervals of text for `benchmarks.coverage`.

They are those of score, context, mined and the mutual information.

The natural text is tinyshakespeare.txt, a path in the environment variable ``TINYSHAKESPEARE``;
without it, the bundled fables. What is measured comes from n-grams of its first part on the rest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np

from chargen.datasets import bundled
from chargen.evaluation import nats_to_bits
from chargen.predictors import BackoffNgram
from chargen.probes.context.blocks import Blocks
from chargen.probes.context.measure import _effective
from chargen.probes.context.result import BLOCK, THRESHOLD_BITS
from chargen.probes.statistics.intervals import TextMean, text_mean
from chargen.probes.surprisal.measure import compare, surprisal
from chargen.probes.surprisal.result import Score
from chargen.text import Vocabulary
from chargen.text.mutual_information import mutual_information

Bounds = tuple[float, float, float]
SHARE = 0.4  # of the text is counted, the rest is measured
HELD_OUT = 111_540  # characters, a tenth of tinyshakespeare


@cache
def passages() -> list[str]:
    """Return the natural text in passages that end with an empty line."""
    file = os.environ.get("TINYSHAKESPEARE")
    text = Path(file).read_text() if file else bundled.read("fables")
    return re.split(r"(?<=\n\n)", text)


def of_ngram(counted: str, order: int) -> np.ndarray:
    """Return the nats per character of the measured text under an n-gram of ``counted``."""
    parts = passages()
    vocabulary, rest = Vocabulary.of("".join(parts)), "".join(parts[int(SHARE * len(parts)) :])
    ngram = BackoffNgram(vocabulary, vocabulary.encode(counted), order)
    return surprisal("ngram", ngram, vocabulary.encode(rest)).nats


@cache
def differences() -> np.ndarray:
    """Return the difference in nats of two 6-grams, each of a random half of the passages."""
    counted = passages()[: int(SHARE * len(passages()))]
    half = np.random.default_rng(0).random(len(counted)) < 0.5
    texts = ("".join(p for p, own in zip(counted, half, strict=True) if own == k) for k in (0, 1))
    first, second = (of_ngram(text, 6) for text in texts)
    return first - second


@cache
def excess() -> np.ndarray:
    """Return how many bits a 6-gram needs more than a 9-gram, with a mean of 0."""
    counted = "".join(passages()[: int(SHARE * len(passages()))])
    bits = nats_to_bits(of_ngram(counted, 6) - of_ngram(counted, 9))
    return bits - bits.mean()


def score_of(chars: int, rng: np.random.Generator) -> Bounds:
    """Compare two models on a passage; the truth is their mean difference on the whole text."""
    every = differences()
    begin = rng.integers(len(every) - chars)
    nats = every[begin : begin + chars]
    pair = [Score(run, x, "", x) for run, x in (("a", nats), ("b", np.zeros(chars)))]
    (found,) = compare("", 0, pair).differences
    assert found.difference is not None
    sign = 1 if found.first == "a" else -1
    return (*sorted((sign * found.difference.low, sign * found.difference.high)), every.mean())


def blocks_of_excess(positions: int, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Return the sums of the blocks that the instrument would draw, and the mean of their text."""
    chars = min(HELD_OUT, len(excess()))
    begin = rng.integers(len(excess()) - chars + 1)
    text = excess()[begin : begin + chars]
    blocks = Blocks.of(chars, (64, 128), positions, rng, np.zeros(1, dtype=np.int64))
    assert blocks is not None
    return text[blocks.targets].sum(axis=1), float(text[blocks.full :].mean())


def excess_of(positions: int, rng: np.random.Generator) -> Bounds:
    """Measure the mean excess of one context."""
    sums, truth = blocks_of_excess(positions, rng)
    mean = text_mean(sums, np.full(len(sums), BLOCK))
    assert mean is not None
    return mean.estimate().low, mean.estimate().high, truth


def effective_of(positions: int, above: float, rng: np.random.Generator) -> Bounds:
    """Measure the effective context, where the true excess at 64 misses the threshold little."""
    sums, truth = blocks_of_excess(positions, rng)
    counts = np.full(len(sums), BLOCK)
    there = text_mean(sums + BLOCK * (THRESHOLD_BITS + above - truth), counts)
    assert there is not None
    means = [TextMean(1, 0, len(sums)), there, TextMean(0, 0, len(sums))]
    _, low, high = _effective((32, 64, 128), means)
    return low or np.inf, high or np.inf, 64 if above < 0 else 128


def gain_of(cases: int, rng: np.random.Generator) -> Bounds:
    """Measure a mean gain of cases in a text whose subjects last for about 1,000 characters."""
    places = np.sort(rng.integers(0, 131_072, cases))
    subjects = rng.gamma(2, 0.5, 200)
    bits = 0.5 * rng.gamma(0.5, 2 * subjects[places // 1000]) + rng.normal(0, 1, cases)
    _, rows = np.unique(places // 256, return_inverse=True)
    mean = text_mean(np.bincount(rows, bits), np.bincount(rows))
    assert mean is not None
    return mean.estimate().low, mean.estimate().high, 0.5


TRANSITIONS = np.array([[0.9, 0.07, 0.03], [0.04, 0.9, 0.06], [0.05, 0.05, 0.9]])
PASSAGE = 32_768  # characters


def information_of_chain(distance: int, rng: np.random.Generator) -> Bounds:
    """Measure the mutual information of 8,192 characters of a Markov chain."""
    bounds, state, ids = TRANSITIONS.cumsum(axis=1)[:, :2].tolist(), 0, []
    for point in rng.random(8192).tolist():
        ids.append(state := sum(point > bound for bound in bounds[state]))
    found = mutual_information(np.array(ids), 3, (distance,), seed=int(rng.integers(2**31)))
    shares = np.linalg.matrix_power(TRANSITIONS, 10_000)[0]
    step = np.linalg.matrix_power(TRANSITIONS, distance)
    truth = (shares[:, None] * step * np.log2(step / shares)).sum()
    return found.low[0], found.high[0], float(truth)


@cache
def characters() -> tuple[np.ndarray, int]:
    """Return the natural text and the size of its vocabulary."""
    text = "".join(passages())
    vocabulary = Vocabulary.of(text)
    return vocabulary.encode(text), len(vocabulary)


@cache
def information_of_all(distance: int) -> float:
    """Return the mutual information of the whole natural text."""
    return mutual_information(*characters(), (distance,), seed=0).bits[0]


def information_of_passage(distance: int, rng: np.random.Generator) -> Bounds:
    """Measure the mutual information of a passage; the truth is that of the whole text."""
    ids, size = characters()
    begin = rng.integers(len(ids) - PASSAGE)
    passage = ids[begin : begin + PASSAGE]
    found = mutual_information(passage, size, (distance,), seed=int(rng.integers(2**31)))
    return found.low[0], found.high[0], information_of_all(distance)


def cases() -> Iterator[tuple[str, str, str, Callable[[np.random.Generator], Bounds]]]:
    """Yield the interval, its unit, the data and the simulation."""
    source = "tinyshakespeare" if os.environ.get("TINYSHAKESPEARE") else "fables"
    for chars in (700, 1500, 5000, 20_000):
        data = f"two 6-grams of {source} on {chars:,} characters"
        yield "score", "block of text", data, partial(score_of, chars)
    for positions in (2048, 4096, 16_384):
        data = f"{positions:,} positions of {source}"
        yield "excess", "block of text", data, partial(excess_of, positions)
        for above, side in ((-1e-4, "under"), (1e-4, "over")):
            name = f"{data}, excess at 64 just {side} the threshold"
            yield "effective", "block of text", name, partial(effective_of, positions, above)
    for count in (100, 256):
        data = f"{count} dependencies, subjects of 1,000 characters"
        yield "mined", "block of text", data, partial(gain_of, count)
    for distance in (4, 16):
        data = f"Markov chain of 8,192 characters at distance {distance}"
        yield "mutual information", "block of text", data, partial(information_of_chain, distance)
    for distance in (4, 64):
        data = f"{PASSAGE:,} characters of {source} at distance {distance}, truth of the whole text"
        yield "mutual information", "block of text", data, partial(information_of_passage, distance)
