"""From a distribution over characters to one of them."""

from __future__ import annotations

import numpy as np

from chargen.errors import NoNumbersError
from chargen.sampling.elementary import LEAST, long_exp
from chargen.settings import RECENT, SamplingSettings


def weights(
    log_probs: np.ndarray, settings: SamplingSettings, recent: np.ndarray | None = None
) -> np.ndarray:
    """What ``(N, V)`` log-probabilities are drawn by: ``(N, V)`` float64, 1 for the likeliest.

    The log-probabilities may lack a constant a row, as logits do. First `penalised` are the
    characters in ``recent``, ``(N, R)`` ids, if any. Then comes the temperature: probabilities
    are taken to the power 1/temperature, and 0 leaves the likeliest alone. What then has less
    than ``min_p`` of the likeliest's share goes (Nguyen et al. 2024), exactly ``top_k`` characters
    stay (Fan et al. 2018), and of them the fewest whose shares reach ``top_p`` (Holtzman et al.
    2020). Of equally likely characters the one with the lower id counts as the likelier, so ties
    change no count.
    """
    values = log_probs.astype(np.float64)
    if recent is not None:
        values = penalised(values, recent, settings.repetition_penalty)
    greedy = settings.temperature == 0
    # A tiny temperature sends all but the likeliest to -inf; of what is no number nothing is drawn.
    with np.errstate(over="ignore", invalid="ignore"):
        below = (values - values.max(axis=1, keepdims=True)) / (settings.temperature or 1)
        drawn = long_exp(below)
    if settings.min_p is not None:
        drawn[drawn < settings.min_p] = 0
    most = 1 if greedy else settings.top_k
    if most is None and settings.top_p is None:
        return drawn
    ranked = np.argsort(-values, axis=1, kind="stable")
    kept = np.take_along_axis(drawn, ranked, axis=1)
    if most is not None:
        kept[:, most:] = 0
    if settings.top_p is not None:
        sums = kept.cumsum(axis=1)
        before = sums - kept
        kept[(before >= settings.top_p * sums[:, -1:]) & (before > 0)] = 0
    np.put_along_axis(drawn, ranked, kept, axis=1)
    return drawn


def penalised(values: np.ndarray, recent: np.ndarray, penalty: float) -> np.ndarray:
    """``(N, V)`` log-probabilities, less for each character that is in its row of ``recent``.

    The score of a character, its nats above the mean of all V, is divided by ``penalty`` where it
    is above 0, and multiplied by it below. Source: Keskar et al., "CTRL: A conditional transformer
    language model for controllable generation", 2019, who divide the logit; but a logit has no
    zero of its own, and one below it would become likelier.
    """
    N, V = values.shape
    with np.errstate(over="ignore", invalid="ignore"):
        below = values - values.max(axis=1, keepdims=True)
        means = np.maximum(below, LEAST).cumsum(axis=1)[:, -1:] / V
        scores = below - means
        less = np.where(scores > 0, scores / penalty, scores * penalty)
    seen = np.zeros((N, V), dtype=bool)
    seen[np.arange(N)[:, None], recent] = True
    return np.where(seen, less, scores)


def prompts(prompt: np.ndarray, count: int) -> np.ndarray:
    """What each of ``count`` texts goes on from, ``(N, T)``: one of its own, or ``(T,)`` of all."""
    ids = np.asarray(prompt, dtype=np.int64)
    return np.broadcast_to(ids, (count, ids.shape[-1])).copy()  # torch wants to be able to write


def recent_of(prompt: np.ndarray, settings: SamplingSettings) -> np.ndarray | None:
    """The last `RECENT` ids of each ``prompt``, ``(N, T)``; None where none is penalised."""
    return None if settings.repetition_penalty == 1 else prompt[:, -RECENT:]


def remembered(recent: np.ndarray | None, ids: np.ndarray) -> np.ndarray | None:
    """``recent`` once ``ids`` ``(N,)`` have come: the last `RECENT` of each text."""
    if recent is None:
        return None
    both: np.ndarray = np.concatenate([recent, ids[:, None]], axis=1)
    return both[:, -RECENT:]


def distribution(log_probs: np.ndarray, settings: SamplingSettings) -> np.ndarray:
    """`weights` as probabilities: rows sum to 1."""
    drawn = weights(log_probs, settings)
    shares: np.ndarray = drawn / drawn.sum(axis=1, keepdims=True)
    return shares


def chosen(
    log_probs: np.ndarray,
    settings: SamplingSettings,
    points: np.ndarray,
    recent: np.ndarray | None = None,
) -> np.ndarray:
    """The ids ``(N,)`` that ``points``, ``(N,)`` in 0 .. 1, stand for.

    A point inverts the cumulative distribution of its row. `NoNumbersError` where it has none.
    """
    cumulative = weights(log_probs, settings, recent).cumsum(axis=1)
    if np.isnan(cumulative[:, -1]).any():
        raise NoNumbersError
    # The count of cumulative sums at or below the point is the id whose share holds the point.
    ids: np.ndarray = (cumulative <= (points * cumulative[:, -1])[:, None]).sum(axis=1)
    return ids


def choose(
    log_probs: np.ndarray,
    settings: SamplingSettings,
    generator: np.random.Generator,
    recent: np.ndarray | None = None,
) -> np.ndarray:
    """Draw one id a row from ``(N, V)`` log-probabilities: ``(N,)`` int64.

    One uniform number a row is drawn whatever the settings.
    """
    return chosen(log_probs, settings, generator.random(len(log_probs)), recent)
