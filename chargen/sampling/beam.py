"""Beam search for the likeliest texts.

Axes: B texts in the beam, T time steps, L characters of the longest stop, V characters.
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


class _Beam:
    """The likeliest texts so far, in order."""

    def __init__(self, width: int, stops: Sequence[np.ndarray]) -> None:
        self._width = width
        self._stops = stops
        self._log_probs = np.zeros(1)  # (B,), of whole texts, in nats
        self._last = np.full((1, max(map(len, stops), default=0)), ENDED)  # (B, L)
        self._steps: list[tuple[np.ndarray, np.ndarray]] = []  # (B,) each: rows before, and ids
        self.ended = np.zeros(1, dtype=bool)  # (B,), True if a text ends with a stop

    def extend(self, logits: np.ndarray) -> np.ndarray:
        """Append a character and keep the likeliest texts; return the rows they had, ``(B,)``.

        An ended text stays unchanged. Of equally likely texts, the one with the likelier prefix
        ranks first, then the one whose character has the lower id.
        """
        V = logits.shape[1]
        totals = self._log_probs[:, None] + _log_softmax(logits)
        totals[self.ended] = -np.inf
        totals[self.ended, 0] = self._log_probs[self.ended]
        best = np.argsort(-totals, axis=None, kind="stable")[: self._width]
        best = best[totals.ravel()[best] > -np.inf]
        rows = best // V
        ids = np.where(self.ended[rows], ENDED, best % V)
        self._log_probs = totals.ravel()[best]
        self._last = np.concatenate([self._last[rows], ids[:, None]], axis=1)[:, 1:]
        self.ended = self.ended[rows]
        for stop in self._stops:
            self.ended |= (self._last[:, -len(stop) :] == stop).all(axis=1)
        self._steps.append((rows, ids))
        return rows

    @property
    def ids(self) -> np.ndarray:
        """The last id of each text, ``(B,)``."""
        return self._steps[-1][1]

    def texts(self) -> np.ndarray:
        """Return the ids of all texts, ``(T, B)``."""
        found, rows = [], np.arange(len(self.ended))
        for before, ids in reversed(self._steps):
            found.append(ids[rows])
            rows = before[rows]
        return np.array(found[::-1]).reshape(len(found), len(self.ended))


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

    Args:
        read: Runs one time step.
        state: The state of one text before the prompt.
        prompt: ``(T,)`` ids, T > 0.
        length: Maximum length of a text in characters.
        width: Number of prefixes that are kept after each character.
        count: Number of texts to return.
        stops: Ids of the strings that end a text; it then competes with its own probability.

    Returns:
        ``(T, count)`` ids, `ENDED` after the end of a text; T is ``length``, or less if all ended.

    Raises:
        NonFiniteError: A logit is NaN.
    """
    beam = _Beam(width, stops)
    for id_ in prompt[:-1]:
        _, state = read(np.array([id_]), state)
    ids = np.asarray(prompt[-1:], dtype=np.int64)
    for _ in range(length):
        logits, state = read(ids, state)
        state = select(state, beam.extend(logits))
        ids = beam.ids.clip(min=0)
        if beam.ended[:count].all():  # the others can only become less likely
            break
    texts = beam.texts()[:, :count]
    missing = np.full((len(texts), count - texts.shape[1]), ENDED)
    return np.concatenate([texts, missing], axis=1)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log-probabilities, float64; raise `NonFiniteError` if a logit is NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        below = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        log_probs: np.ndarray = below - np.log(np.exp(below).sum(axis=1, keepdims=True))
    if np.isnan(log_probs).any():
        raise NonFiniteError
    return log_probs
