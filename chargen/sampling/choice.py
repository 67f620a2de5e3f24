"""From a distribution over characters to one of them."""

from __future__ import annotations

import numpy as np

from chargen.arithmetic.plain import long_exp
from chargen.errors import NoNumbersError
from chargen.settings import SamplingSettings


def weights(log_probs: np.ndarray, settings: SamplingSettings) -> np.ndarray:
    """What ``(N, V)`` log-probabilities are drawn by: ``(N, V)`` float64, 1 for the likeliest.

    The log-probabilities may lack a constant a row, as logits do. The temperature comes first:
    probabilities are taken to the power 1/temperature, and 0 leaves the likeliest alone. Then
    exactly ``top_k`` characters stay (Fan et al. 2018), then the fewest whose shares reach
    ``top_p`` (Holtzman et al. 2020). Of equally likely characters the one with the lower id
    counts as the likelier, so ties change no count.
    """
    values = log_probs.astype(np.float64)
    greedy = settings.temperature == 0
    # A tiny temperature sends all but the likeliest to -inf; of what is no number nothing is drawn.
    with np.errstate(over="ignore", invalid="ignore"):
        below = (values - values.max(axis=1, keepdims=True)) / (settings.temperature or 1)
        drawn = long_exp(below)
    most = 1 if greedy else settings.top_k
    if most is None and settings.top_p is None:
        return drawn
    ranked = np.argsort(-log_probs, axis=1, kind="stable")
    kept = np.take_along_axis(drawn, ranked, axis=1)
    if most is not None:
        kept[:, most:] = 0
    if settings.top_p is not None:
        sums = kept.cumsum(axis=1)
        before = sums - kept
        kept[(before >= settings.top_p * sums[:, -1:]) & (before > 0)] = 0
    np.put_along_axis(drawn, ranked, kept, axis=1)
    return drawn


def distribution(log_probs: np.ndarray, settings: SamplingSettings) -> np.ndarray:
    """`weights` as probabilities: rows sum to 1."""
    drawn = weights(log_probs, settings)
    shares: np.ndarray = drawn / drawn.sum(axis=1, keepdims=True)
    return shares


def chosen(log_probs: np.ndarray, settings: SamplingSettings, points: np.ndarray) -> np.ndarray:
    """The ids ``(N,)`` that ``points``, ``(N,)`` in 0 .. 1, stand for.

    A point inverts the cumulative distribution of its row. `NoNumbersError` where it has none.
    """
    cumulative = weights(log_probs, settings).cumsum(axis=1)
    if np.isnan(cumulative[:, -1]).any():
        raise NoNumbersError
    # The count of cumulative sums at or below the point is the id whose share holds the point.
    ids: np.ndarray = (cumulative <= (points * cumulative[:, -1])[:, None]).sum(axis=1)
    return ids


def choose(
    log_probs: np.ndarray, settings: SamplingSettings, generator: np.random.Generator
) -> np.ndarray:
    """Draw one id a row from ``(N, V)`` log-probabilities: ``(N,)`` int64.

    One uniform number a row is drawn whatever the settings.
    """
    return chosen(log_probs, settings, generator.random(len(log_probs)))
