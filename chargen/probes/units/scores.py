"""AUC of units against a feature: the probability that a unit is higher where the feature holds.

Axes: M characters, U units, C features, S shifts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chargen.probes.statistics.intervals import Estimate, block_bootstrap
from chargen.probes.units.features import BLOCK_CHARS

UNITS_AT_ONCE = 64  # units ranked together


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value in its column, from 1, ties averaged: ``(M, U)``."""
    order = np.argsort(values, axis=0, kind="stable")
    ascending = np.take_along_axis(values, order, axis=0)
    places = np.arange(1, len(values) + 1)[:, None]
    edge = np.ones((1, values.shape[1]), dtype=bool)
    differs = ascending[1:] != ascending[:-1]
    firsts = np.maximum.accumulate(np.where(np.concatenate([edge, differs]), places, 0))
    ends = np.where(np.concatenate([differs, edge]), places, len(values))
    lasts = np.minimum.accumulate(ends[::-1])[::-1]
    out = np.empty(values.shape)
    np.put_along_axis(out, order, (firsts + lasts) / 2, axis=0)
    return out


def effects(
    values: np.ndarray, features: Sequence[np.ndarray], shifts: Sequence[int] | np.ndarray = ()
) -> np.ndarray:
    """Return AUC − 1/2 of units ``(M, U)`` for C features ``(M,)`` and their circular shifts.

    Returns:
        Effects ``(C, 1 + S, U)``: of the feature itself, then of each shift.
    """
    out = np.empty((len(features), 1 + len(shifts), values.shape[1]))
    rolled = [np.stack([np.roll(one, shift) for shift in (0, *shifts)]) for one in features]
    for start in range(0, values.shape[1], UNITS_AT_ONCE):
        own = slice(start, start + UNITS_AT_ONCE)
        centred = ranks(values[:, own]) - (len(values) + 1) / 2
        for place, feature in enumerate(features):
            holds = feature.sum()
            out[place, :, own] = rolled[place] @ centred / (holds * (len(values) - holds))
    return out


def held_out_best(first: np.ndarray, second: np.ndarray) -> float:
    """Return the AUC in ``second`` of the unit with the largest effect in ``first``, ``(U,)``.

    The sign is relative to the direction in ``first``: under 1/2 if the direction reversed.
    """
    unit = int(np.abs(first).argmax())
    return 0.5 + float(np.sign(first[unit]) * second[unit])


def estimate(values: np.ndarray, feature: np.ndarray, rng: np.random.Generator) -> Estimate:
    """Return the AUC of one unit ``(M,)`` for a feature ``(M,)``, with its 95% interval.

    A block bootstrap with blocks of `BLOCK_CHARS` resamples the placement values (E. R. DeLong et
    al., "Comparing the areas under two or more correlated ROC curves", 1988).
    """
    found = 0.5 + float(effects(values[:, None], [feature])[0, 0, 0])
    holds = feature == 1
    below = ranks(values[:, None])[:, 0]
    # minus the rank within its class: the number of the other class below
    for own in (holds, ~holds):
        below[own] -= ranks(values[own, None])[:, 0]
    share = np.where(holds, below / (~holds).sum(), 1 - below / holds.sum())
    terms = np.stack([share * holds, holds, share * ~holds, ~holds], axis=1)
    starts = np.arange(0, len(values), BLOCK_CHARS)
    counts = np.diff(np.append(starts, len(values)))
    above, yes, under, no = block_bootstrap(np.add.reduceat(terms, starts), counts, rng).T
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = above / yes + under / no - found
    return Estimate.of(found, draws[np.isfinite(draws)].clip(0, 1))
