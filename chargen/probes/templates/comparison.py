"""Models on the same frames: at which spans is one of them right more often than another?

McNemar's test looks only at the frames that one model has right and the other wrong. Were both
equally good, each of these would fall to either side like a coin; the exact test sums the coin's
probabilities. Holm's correction keeps the chance of any false alarm among all that is compared
under the level. Sources: Q. McNemar, "Note on the sampling error of the difference between
correlated proportions", Psychometrika 12, 1947; S. Holm, "A simple sequentially rejective
multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from chargen.errors import ChargenError
from chargen.probes.templates.result import SpanResult, TemplatesResult

LEVEL = 0.05  # a corrected p under it is a difference


@dataclass(frozen=True)
class SpanComparison:
    """Two models at one span, frame by frame."""

    span: int  # characters
    frames: int  # that both were asked
    only_first: int  # frames that the first alone has right
    only_second: int
    p: float  # McNemar's, exact, two-sided
    p_holm: float  # the same corrected for all that was compared with it: spans, or spans × pairs

    @property
    def difference(self) -> float:
        """The first's accuracy less the second's, -1 .. 1, a frame right or wrong."""
        return (self.only_first - self.only_second) / self.frames

    @property
    def ahead(self) -> int:
        """1 where the first is surely right more often, -1 where the second is, else 0."""
        differs = self.p_holm < LEVEL
        return differs * ((self.difference > 0) - (self.difference < 0))

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary: the span in characters, the difference of 1, counts of frames."""
        return {
            "span_chars": self.span,
            "frames": self.frames,
            "only_first": self.only_first,
            "only_second": self.only_second,
            "difference": self.difference,
            "p": self.p,
            "p_holm": self.p_holm,
        }


@dataclass(frozen=True)
class PairComparison:
    """Two of several models, by name, at every span."""

    first: str
    second: str
    spans: tuple[SpanComparison, ...]  # ascending

    @property
    def ahead(self) -> set[int]:
        """Who is surely right more often at some span: 1 the first, -1 the second."""
        return {row.ahead for row in self.spans} - {0}

    def to_json(self) -> list[dict[str, Any]]:
        """A plain dictionary a span."""
        pair = {"instrument": "templates", "first": self.first, "second": self.second}
        return [pair | row.to_json() for row in self.spans]


def compare(first: TemplatesResult, second: TemplatesResult) -> tuple[SpanComparison, ...]:
    """Compare two results at every span that both have, ascending.

    A frame is right where the right target alone is the likeliest; one that shares its place is
    wrong. Results on other frames than each other's, or without a span in common, are a
    `ChargenError`.
    """
    (pair,) = compare_all({"first": first, "second": second})
    return pair.spans


def compare_all(results: Mapping[str, TemplatesResult]) -> tuple[PairComparison, ...]:
    """Compare each result, by name, with each that comes after it, as `compare` does two.

    Holm's correction is over all spans of all pairs.
    """
    pairs = [
        PairComparison(a, b, _spans(results[a], results[b])) for a, b in combinations(results, 2)
    ]
    corrected = iter(holm([row.p for pair in pairs for row in pair.spans]))
    return tuple(
        replace(pair, spans=tuple(replace(row, p_holm=next(corrected)) for row in pair.spans))
        for pair in pairs
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value that the frames right in one model alone favour neither.

    Negative counts are a ``ValueError``; without such frames it is 1.
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"{only_first} and {only_second}: counts are 0 or more")
    frames = only_first + only_second
    tail = sum(math.comb(frames, k) for k in range(min(only_first, only_second) + 1))
    # Whole numbers up to the last division: 2^frames is too large for a float.
    return min(1.0, 2 * tail / 2**frames) if frames else 1.0


def holm(ps: Sequence[float]) -> list[float]:
    """P-values corrected for being several, in the order given; each at least as large as it was.

    Rejecting those at or under a level keeps the chance of any false rejection under that level.
    """
    corrected = [0.0] * len(ps)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = largest
    return corrected


def _spans(first: TemplatesResult, second: TemplatesResult) -> tuple[SpanComparison, ...]:
    """Two results at every span that both have, not yet corrected."""
    others = {row.span: row for row in second.rows}
    pairs = [(row, others[row.span]) for row in first.rows if row.span in others]
    if not pairs:
        raise ChargenError("the two results have no span in common")
    found = []
    for row, other in pairs:
        counts = _discordant(row, other)
        p = mcnemar(*counts)
        found.append(SpanComparison(row.span, len(row.credits), *counts, p, p))
    return tuple(found)


def _discordant(first: SpanResult, second: SpanResult) -> tuple[int, int]:
    if not first.frames_sha256 or first.frames_sha256 != second.frames_sha256:
        raise ChargenError(
            f"span {first.span}: the two were asked different frames: "
            "compare results of one bank, one seed and one number of frames"
        )
    pairs = [
        (ours == 1, theirs == 1) for ours, theirs in zip(first.credits, second.credits, strict=True)
    ]
    return pairs.count((True, False)), pairs.count((False, True))
