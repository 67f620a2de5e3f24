"""Several models at the same characters of one text: which predicts them better, all in view?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from chargen.probes.context.measure import ContextResult
from chargen.probes.context.sites import BLOCK
from chargen.probes.statistics.intervals import Estimate, block_bootstrap


@dataclass(frozen=True)
class BitsComparison:
    """What the first of two models, by name, pays more than the second."""

    first: str
    second: str
    positions: int  # characters that both predicted
    difference: Estimate  # the first's bits a character less the second's

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; bits a character, with all in view."""
        return {
            "instrument": "context",
            "first": self.first,
            "second": self.second,
            "positions": self.positions,
            **self.difference.to_json("difference_bits_per_char"),
        }


def compare_bits(results: Mapping[str, ContextResult]) -> tuple[BitsComparison, ...]:
    """Compare each model, by name, with each after it, by what its characters cost in all.

    Two results that are not of the same places of one text, with one seed, are a ``ValueError``.
    Differences are paired, block by block, with intervals from a bootstrap of blocks. Of a text
    that was too short nothing is told.
    """
    places = {(one.chars, one.seed, one.full, one.positions) for one in results.values()}
    if len(places) != 1:
        raise ValueError(f"{', '.join(results)}: not measured at the same places of one text")
    ((_, seed, _, positions),) = places
    if not positions:
        return ()
    pairs = list(combinations(results, 2))
    blocks = {name: np.array(one.block_bits) for name, one in results.items()}  # (K,) each
    apart = np.stack([blocks[a] - blocks[b] for a, b in pairs], axis=1)  # (K, P)
    counts = np.full(len(apart), BLOCK)
    draws = block_bootstrap(apart, counts, np.random.default_rng([seed, 2]))
    means = apart.sum(axis=0) / positions
    return tuple(
        BitsComparison(*pair, positions, Estimate.of(float(means[place]), draws[:, place]))
        for place, pair in enumerate(pairs)
    )
