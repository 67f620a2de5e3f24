"""The likeliest text that can be found, instead of one that is drawn.

Axes: B texts in the beam, T characters, L characters of the longest stop, V characters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chargen.errors import NoNumbersError
from chargen.predictors import select

NOTHING = -1  # what a text is followed by once it has ended

Read = Callable[[np.ndarray, Any], tuple[np.ndarray, Any]]
"""One step: ids ``(B,)`` and a state to the next character's logits ``(B, V)``, and the state."""


class _Beam:
    """The likeliest texts so far, the likeliest first."""

    def __init__(self, width: int, stops: Sequence[np.ndarray]) -> None:
        self._width = width
        self._stops = stops
        self._log_probs = np.zeros(1)  # (B,) of the whole texts, in nats
        self._last = np.full((1, max(map(len, stops), default=0)), NOTHING)  # (B, L)
        self._steps: list[tuple[np.ndarray, np.ndarray]] = []  # rows before, and ids: (B,) each
        self.ended = np.zeros(1, dtype=bool)  # (B,) whether a text ends with a stop

    def extend(self, logits: np.ndarray) -> np.ndarray:
        """Keep the likeliest of all texts that are one character longer: the rows they had, (B,).

        A text that has ended stays what it is. Of equally likely texts the one whose beginning
        was the likelier goes first, then the one whose character has the lower id.
        """
        V = logits.shape[1]
        totals = self._log_probs[:, None] + _log_softmax(logits)
        totals[self.ended] = -np.inf
        totals[self.ended, 0] = self._log_probs[self.ended]
        best = np.argsort(-totals, axis=None, kind="stable")[: self._width]
        best = best[totals.ravel()[best] > -np.inf]
        rows = best // V
        ids = np.where(self.ended[rows], NOTHING, best % V)
        self._log_probs = totals.ravel()[best]
        self._last = np.concatenate([self._last[rows], ids[:, None]], axis=1)[:, 1:]
        self.ended = self.ended[rows]
        for stop in self._stops:
            self.ended |= (self._last[:, -len(stop) :] == stop).all(axis=1)
        self._steps.append((rows, ids))
        return rows

    @property
    def ids(self) -> np.ndarray:
        """The last character of each text, ``(B,)``."""
        return self._steps[-1][1]

    def texts(self) -> np.ndarray:
        """All of them: ``(T, B)``."""
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
    """The ``count`` likeliest texts of ``length`` characters after ``prompt``, ``(T,)`` ids.

    A beam search: after each character the ``width`` likeliest beginnings are kept, so that what
    is found is the likeliest of all only where none was dropped that would have become it. A text
    that ends with one of ``stops``, ids each, has ended, and is weighed against the others by its
    own probability. ``state`` is that of one text. Returns ids ``(T, count)``, `NOTHING` where a
    text has ended; T is ``length``, or less where all have. `NoNumbersError` where logits are none.
    """
    beam = _Beam(width, stops)
    for id_ in prompt[:-1]:
        _, state = read(np.array([id_]), state)
    ids = np.asarray(prompt[-1:], dtype=np.int64)
    for _ in range(length):
        logits, state = read(ids, state)
        state = select(state, beam.extend(logits))
        ids = beam.ids.clip(min=0)
        if beam.ended[:count].all():  # all others can only become less likely
            break
    texts = beam.texts()[:, :count]
    missing = np.full((len(texts), count - texts.shape[1]), NOTHING)  # of so few there can be
    return np.concatenate([texts, missing], axis=1)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """``(B, V)`` float64, in nats; `NoNumbersError` where the logits are no numbers."""
    with np.errstate(over="ignore", invalid="ignore"):
        below = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        log_probs: np.ndarray = below - np.log(np.exp(below).sum(axis=1, keepdims=True))
    if np.isnan(log_probs).any():
        raise NoNumbersError
    return log_probs
