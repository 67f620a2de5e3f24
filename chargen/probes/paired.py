"""Several models at the same characters of one text: which predicts them better, all in view?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from chargen.predictors import NextCharPredictor
from chargen.probes import Progress
from chargen.probes.context import CONTEXTS, POSITIONS
from chargen.probes.reading import Meter, bits, cost
from chargen.probes.sites import BLOCK, Sites
from chargen.probes.statistics import Estimate, block_bootstrap


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


def compare_bits(
    read: Mapping[str, tuple[NextCharPredictor, np.ndarray]],
    *,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> tuple[BitsComparison, ...]:
    """Compare each predictor with each after it, at the places of `chargen.probes.context`.

    ``read`` holds, by name, predictors and the ids ``(L,)`` of one text in each one's own
    vocabulary; two texts that differ in length are a ``ValueError``. Differences are paired,
    character by character, with intervals from a bootstrap of blocks. Of a text that is too short
    nothing is told. ``seed`` is that of the context instrument.
    """
    lengths = {len(ids) for _, ids in read.values()}
    if len(lengths) != 1:
        raise ValueError(f"texts of {sorted(lengths)} characters are not one text")
    sites = Sites.of(lengths.pop(), CONTEXTS, POSITIONS, np.random.default_rng([seed, 0]))
    if sites is None:
        return ()
    begins, ends = sites.begins, sites.begins + BLOCK
    starts = begins - sites.full
    told = Meter(progress, len(read) * cost(starts, ends)).read
    found = {
        name: bits(predictor, ids, starts, begins, ends, None, told)
        for name, (predictor, ids) in read.items()
    }
    rng = np.random.default_rng([seed, 2])
    pairs = list(combinations(found, 2))
    apart = np.stack([found[a] - found[b] for a, b in pairs])  # (P, K, BLOCK)
    K = len(begins)
    draws = block_bootstrap(apart.sum(axis=2).T, np.full(K, BLOCK), rng)
    return tuple(
        BitsComparison(*pair, K * BLOCK, Estimate.of(float(apart[place].mean()), draws[:, place]))
        for place, pair in enumerate(pairs)
    )
