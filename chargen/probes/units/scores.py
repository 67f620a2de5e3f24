"""Rank statistics of units against a feature: AUC and Spearman's rho.

Axes: M characters, U units, C features, S shifts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chargen.probes.statistics.intervals import Estimate, block_bootstrap
from chargen.probes.units.features import BLOCK_CHARS, Feature

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
    values: np.ndarray, features: Sequence[Feature], shifts: Sequence[int] | np.ndarray = ()
) -> np.ndarray:
    """Return AUC − 1/2, or Spearman's rho of a graded feature, of each unit.

    Args:
        values: units, ``(M, U)``.
        features: C features of M characters.
        shifts: S circular shifts of the features, in characters.

    Returns:
        Effects ``(C, 1 + S, U)``: of the feature itself, then of each shift.
    """
    out = np.empty((len(features), 1 + len(shifts), values.shape[1]))
    weights = [_weights(feature) for feature in features]
    rolled = [np.stack([np.roll(one, shift) for shift in (0, *shifts)]) for one in weights]
    for start in range(0, values.shape[1], UNITS_AT_ONCE):
        own = slice(start, start + UNITS_AT_ONCE)
        centred = ranks(values[:, own]) - (len(values) + 1) / 2
        lengths = np.sqrt((centred**2).sum(axis=0)).clip(min=np.finfo(np.float64).tiny)
        for place, feature in enumerate(features):
            sums = rolled[place] @ centred
            out[place, :, own] = sums / lengths if feature.graded else sums
    return out


def held_out_best(first: np.ndarray, second: np.ndarray) -> float:
    """Return the effect in ``second`` of the unit with the largest effect in ``first``, ``(U,)``.

    The sign is relative to the direction in ``first``: negative if the direction reversed.
    """
    unit = int(np.abs(first).argmax())
    return float(np.sign(first[unit]) * second[unit])


def score(feature: Feature, effect: float) -> float:
    """Return an effect as AUC, or as rho of a graded feature."""
    return effect if feature.graded else 0.5 + effect


def estimate(values: np.ndarray, feature: Feature, rng: np.random.Generator) -> Estimate:
    """Return the score of one unit with its 95% interval.

    A block bootstrap with blocks of `BLOCK_CHARS` keeps the ranks of the values among all M. For
    the AUC it resamples the placement values (E. R. DeLong et al., "Comparing the areas under two
    or more correlated ROC curves", 1988).

    Args:
        values: the unit, ``(M,)``, in the direction that rises with the feature.
        feature: the feature, ``(M,)``.
        rng: source of the bootstrap samples.
    """
    found = score(feature, float(effects(values[:, None], [feature])[0, 0, 0]))
    terms = _rho_terms(values, feature) if feature.graded else _auc_terms(values, feature)
    starts = np.arange(0, len(values), BLOCK_CHARS)
    counts = np.diff(np.append(starts, len(values)))
    means = block_bootstrap(np.add.reduceat(terms, starts, axis=0), counts, rng).T
    with np.errstate(invalid="ignore", divide="ignore"):
        if feature.graded:
            xy, xx, yy, x, y = means
            draws, lowest = (xy - x * y) / np.sqrt((xx - x * x) * (yy - y * y)), -1
        else:
            above, holds, below, fails = means
            draws, lowest = above / holds + below / fails - found, 0
    return Estimate.of(found, draws[np.isfinite(draws)].clip(lowest, 1))


def _weights(feature: Feature) -> np.ndarray:
    """Return the weight of each centred rank in the effect, ``(M,)``."""
    if feature.graded:
        centred = ranks(feature.values[:, None])[:, 0] - (len(feature.values) + 1) / 2
        weighed: np.ndarray = centred / np.linalg.norm(centred)
        return weighed
    holds = feature.values.sum()
    out: np.ndarray = feature.values / (holds * (len(feature.values) - holds))
    return out


def _auc_terms(values: np.ndarray, feature: Feature) -> np.ndarray:
    """Return placement values and counts where the feature holds, then where not: ``(M, 4)``."""
    holds = feature.values == 1
    others = ranks(values[:, None])[:, 0]
    # minus the rank within its class: the number of the other class below
    for own in (holds, ~holds):
        others[own] -= ranks(values[own, None])[:, 0]
    share = np.where(holds, others / (~holds).sum(), 1 - others / holds.sum())
    return np.stack([share * holds, holds, share * ~holds, ~holds], axis=1)


def _rho_terms(values: np.ndarray, feature: Feature) -> np.ndarray:
    """Return products, squares and values of the centred ranks, ``(M, 5)``."""
    x, y = (
        ranks(column[:, None])[:, 0] - (len(values) + 1) / 2 for column in (values, feature.values)
    )
    return np.stack([x * y, x * x, y * y, x, y], axis=1)
