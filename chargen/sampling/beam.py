"""Beam search for the likeliest texts.

Axes: B texts in the beam, T time steps, V characters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chargen.errors import NonFiniteError
from chargen.predictors import select

ENDED = -1  # id after the end of a text

Read = Callable[[np.ndarray, Any], tuple[np.ndarray, Any]]
"""One time step: ids ``(B,)`` and state to the next character's logits ``(B, V)`` and state."""


def search(
    read: Read,
    state: Any,
    prompt: np.ndarray,
    length: int,
    width: int,
    count: int = 1,
    stops: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Search for the ``count`` likeliest continuations of ``prompt``.

    Of equally likely texts, the one with the likelier prefix ranks first, then the one whose
    character has the lower id.

    Args:
        read: Runs one time step.
        state: The state of one text before the prompt.
        prompt: ``(T,)`` ids, T > 0.
        length: Maximum length of a text in characters.
        width: Number of prefixes that are kept after each character.
        count: Number of texts to return.
        stops: Ids of the strings that end a text, which then keeps its probability.

    Returns:
        ``(T, count)`` ids, `ENDED` after the end of a text; T is ``length``, or less if all ended.

    Raises:
        NonFiniteError: A logit is NaN.
    """
    for id_ in prompt[:-1]:
        _, state = read(np.array([id_]), state)
    steps: list[tuple[np.ndarray, np.ndarray]] = []  # (B,) each: rows before, and ids
    tails = np.full((1, max(map(len, stops), default=0)), ENDED)  # the last ids of each text
    log_probs, ended = np.zeros(1), np.zeros(1, dtype=bool)  # of whole texts, in nats
    ids = np.asarray(prompt[-1:], dtype=np.int64)
    for _ in range(length):
        logits, state = read(ids, state)
        totals = log_probs[:, None] + _log_softmax(logits)
        totals[ended] = -np.inf
        totals[ended, 0] = log_probs[ended]  # an ended text stays unchanged
        best = np.argsort(-totals, axis=None, kind="stable")[:width]
        best = best[totals.ravel()[best] > -np.inf]
        rows, ids = best // logits.shape[1], best % logits.shape[1]
        log_probs, ended, state = totals.ravel()[best], ended[rows], select(state, rows)
        steps.append((rows, np.where(ended, ENDED, ids)))
        tails = np.concatenate([tails[rows], steps[-1][1][:, None]], axis=1)[:, 1:]
        for stop in stops:
            ended |= (tails[:, -len(stop) :] == stop).all(axis=1)
        if ended[:count].all():  # the others can only become less likely
            break
    found = np.full((len(steps), count), ENDED)
    own = np.arange(min(count, len(ended)))
    for t, (before, written) in reversed(list(enumerate(steps))):
        found[t, : len(own)] = written[own]
        own = before[own]
    return found


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log-probabilities, float64; raise `NonFiniteError` if a logit is NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        below = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        log_probs: np.ndarray = below - np.log(np.exp(below).sum(axis=1, keepdims=True))
    if np.isnan(log_probs).any():
        raise NonFiniteError
    return log_probs
