"""Draw characters from predicted distributions, and the loop that writes with any predictor.

Axes: N sequences, T time steps, V characters, R recent characters. The functions of one sequence
run in NumPy and, compiled by numba, in `chargen.sampling.compiled`.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from chargen.errors import NonFiniteError
from chargen.sampling.arithmetic import MIN_LOG, long_exp
from chargen.settings import RECENT, SamplingSettings

Advance = Callable[[np.ndarray, Any], tuple[np.ndarray, Any]]
"""`NextCharPredictor.advance` of any predictor; the last log-probabilities alone will do."""


class Choice(NamedTuple):
    """`SamplingSettings` as numbers; 0 turns a truncation off."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    penalty: float

    @classmethod
    def of(cls, settings: SamplingSettings) -> "Choice":
        greedy = settings.temperature == 0
        return cls(
            temperature=1.0 if greedy else settings.temperature,
            top_k=1 if greedy else settings.top_k or 0,
            top_p=settings.top_p or 0.0,
            min_p=settings.min_p or 0.0,
            penalty=settings.repetition_penalty,
        )


def penalize(values: np.ndarray, recent: np.ndarray, penalty: float) -> np.ndarray:
    """Apply a repetition penalty for the ids ``recent`` to ``(V,)`` log-probabilities.

    The score of a character, its nats above the mean of all V, is divided by ``penalty`` if it is
    positive and multiplied by it if negative (Keskar et al. 2019, "CTRL", who divide the logit,
    which has no natural zero).
    """
    below = values - values.max()
    scores = below - np.maximum(below, MIN_LOG).cumsum()[-1] / len(values)
    less = np.maximum(scores, 0) / penalty + np.minimum(scores, 0) * penalty
    scores[recent] = less[recent]
    return scores


def weights(log_probs: np.ndarray, choice: Choice, recent: np.ndarray) -> np.ndarray:
    """Return unnormalized probabilities, ``(V,)`` float64, 1 for the likeliest character.

    Applied to ``log_probs`` ``(V,)``, up to a constant, in this order: the repetition penalty for
    the ids ``recent``, ``(R,)``; temperature; min_p (Nguyen et al. 2024); top_k (Fan et al. 2018),
    exactly k characters; top_p (Holtzman et al. 2020). Of equally likely characters, the one with
    the lower id ranks first.
    """
    values = log_probs.astype(np.float64)
    if choice.penalty != 1:
        values = penalize(values, recent, choice.penalty)
    drawn = long_exp((values - values.max()) / choice.temperature)
    if choice.min_p > 0:
        drawn[drawn < choice.min_p] = 0
    if choice.top_k == 0 and choice.top_p == 0:
        return drawn
    ranked = np.argsort(-values, kind="mergesort")
    kept = drawn[ranked]
    if choice.top_k > 0:
        kept[choice.top_k :] = 0
    if choice.top_p > 0:
        sums = kept.cumsum()
        before = sums - kept
        kept[(before >= choice.top_p * sums[-1]) & (before > 0)] = 0
    drawn[ranked] = kept
    return drawn


def choose_one(log_probs: np.ndarray, choice: Choice, recent: np.ndarray, point: float) -> int:
    """Return the id at ``point`` of the cumulative distribution, or -1 if a value is NaN."""
    sums = weights(log_probs, choice, recent).cumsum()
    if np.isnan(sums[-1]):
        return -1
    return np.searchsorted(sums, point * sums[-1], side="right")


def prompt_rows(prompt: np.ndarray, count: int) -> np.ndarray:
    """Return the prompt of each of ``count`` sequences, ``(N, T)``, given one or one for all."""
    ids = np.asarray(prompt, dtype=np.int64)
    return np.broadcast_to(ids, (count, ids.shape[-1])).copy()  # writable, as torch wants it


def choose(
    log_probs: np.ndarray,
    settings: SamplingSettings,
    generator: np.random.Generator,
    recent: np.ndarray | None = None,
) -> np.ndarray:
    """Draw one id per row of ``(N, V)`` log-probabilities, with one uniform number per row.

    The repetition penalty applies to the ids ``recent``, ``(N, R)``. `NonFiniteError` if a
    log-probability is NaN.
    """
    N, choice = len(log_probs), Choice.of(settings)
    recent = np.empty((N, 0), dtype=np.int64) if recent is None else recent[:, -RECENT:]
    rows = zip(log_probs, recent, generator.random(N), strict=True)
    # A tiny temperature sends all but the likeliest to -inf.
    with np.errstate(over="ignore", invalid="ignore"):
        ids = np.array([choose_one(row, choice, ids, point) for row, ids, point in rows])
    if (ids < 0).any():
        raise NonFiniteError
    return ids


def generate(
    advance: Advance,
    prompt: np.ndarray,
    length: int,
    settings: SamplingSettings,
    generator: np.random.Generator,
    count: int = 1,
) -> Iterator[np.ndarray]:
    """Yield the next ids ``(N,)`` of ``count`` sequences, ``length`` times, immediately.

    ``prompt`` is ``(T,)`` ids for all sequences or ``(N, T)`` for each, T > 0.
    """
    inputs = prompt_rows(prompt, count)
    if inputs.shape[1] == 0:
        raise ValueError("a prompt holds one character at least")
    state, recent = None, inputs
    for _ in range(length):
        log_probs, state = advance(inputs, state)
        ids = choose(log_probs[:, -1], settings, generator, recent)
        inputs = ids[:, None]
        recent = np.concatenate([recent[:, -RECENT:], inputs], axis=1)
        yield ids
