"""Draw characters from predicted distributions, and the loop that writes with any predictor.

Axes: N sequences, T time steps, V characters, R recent characters.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chargen.errors import NonFiniteError
from chargen.predictors import NextCharPredictor
from chargen.sampling.arithmetic import MIN_LOG, long_exp
from chargen.settings import RECENT, SamplingSettings


def weights(
    log_probs: np.ndarray, settings: SamplingSettings, recent: np.ndarray | None = None
) -> np.ndarray:
    """Return unnormalized probabilities after temperature and truncation.

    In this order: the repetition penalty; temperature, where 0 keeps the likeliest character alone;
    min_p (Nguyen et al. 2024); top_k (Fan et al. 2018), exactly k characters; top_p (Holtzman et
    al. 2020). Of equally likely characters, the one with the lower id ranks first.

    Args:
        log_probs: ``(N, V)``, up to a constant per row, so logits will do.
        settings: The sampling settings.
        recent: ``(N, R)`` ids that the repetition penalty applies to.

    Returns:
        ``(N, V)`` float64, 1 for the likeliest character.
    """
    values = log_probs.astype(np.float64)
    if recent is not None:
        values = penalize(values, recent, settings.repetition_penalty)
    greedy = settings.temperature == 0
    # A tiny temperature sends all but the likeliest to -inf; NaN is detected in `choose`.
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


def penalize(values: np.ndarray, recent: np.ndarray, penalty: float) -> np.ndarray:
    """Apply a repetition penalty to ``(N, V)`` log-probabilities.

    The score of a character, its nats above the mean of all V, is divided by ``penalty`` if it is
    positive and multiplied by it if negative (Keskar et al. 2019, "CTRL", who divide the logit,
    which has no natural zero).
    """
    N, V = values.shape
    with np.errstate(over="ignore", invalid="ignore"):
        below = values - values.max(axis=1, keepdims=True)
        means = np.maximum(below, MIN_LOG).cumsum(axis=1)[:, -1:] / V
        scores = below - means
        less = np.where(scores > 0, scores / penalty, scores * penalty)
    seen = np.zeros((N, V), dtype=bool)
    seen[np.arange(N)[:, None], recent] = True
    return np.where(seen, less, scores)


def prompt_rows(prompt: np.ndarray, count: int) -> np.ndarray:
    """Return the prompt of each of ``count`` sequences, ``(N, T)``, given one or one for all."""
    ids = np.asarray(prompt, dtype=np.int64)
    return np.broadcast_to(ids, (count, ids.shape[-1])).copy()  # writable, as torch wants it


def recent_ids(prompt: np.ndarray, settings: SamplingSettings) -> np.ndarray | None:
    """Return the last `RECENT` ids of each prompt ``(N, T)``, or None without a penalty."""
    return None if settings.repetition_penalty == 1 else prompt[:, -RECENT:]


def append_recent(recent: np.ndarray | None, ids: np.ndarray) -> np.ndarray | None:
    """Return ``recent`` followed by ``ids`` ``(N, T)``, the last `RECENT` of each sequence."""
    return None if recent is None else np.concatenate([recent, ids], axis=1)[:, -RECENT:]


def choose(
    log_probs: np.ndarray,
    settings: SamplingSettings,
    generator: np.random.Generator,
    recent: np.ndarray | None = None,
) -> np.ndarray:
    """Draw one id per row of ``(N, V)`` log-probabilities, with one uniform number per row.

    Returns:
        ``(N,)`` ids.

    Raises:
        NonFiniteError: A log-probability is NaN.
    """
    points = generator.random(len(log_probs))
    cumulative = weights(log_probs, settings, recent).cumsum(axis=1)
    if np.isnan(cumulative[:, -1]).any():
        raise NonFiniteError
    ids: np.ndarray = (cumulative <= (points * cumulative[:, -1])[:, None]).sum(axis=1)
    return ids


def generate(
    predictor: NextCharPredictor,
    prompt: np.ndarray,
    length: int,
    settings: SamplingSettings,
    generator: np.random.Generator,
    count: int = 1,
) -> Iterator[np.ndarray]:
    """Write ``length`` characters after ``prompt`` with any predictor, ``count`` sequences at once.

    ``prompt`` is ``(T,)`` ids for all sequences or ``(N, T)`` for each, T > 0.

    Yields:
        The next character of each sequence, ``(N,)`` ids, immediately.
    """
    inputs = prompt_rows(prompt, count)
    if inputs.shape[1] == 0:
        raise ValueError("a prompt holds one character at least")
    state, recent = None, recent_ids(inputs, settings)
    for _ in range(length):
        log_probs, state = predictor.advance(inputs, state)
        ids = choose(log_probs[:, -1], settings, generator, recent)
        inputs = ids[:, None]
        recent = append_recent(recent, inputs)
        yield ids
