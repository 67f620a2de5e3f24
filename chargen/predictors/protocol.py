"""The protocols of models that can be measured."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from chargen.text.vocabulary import Vocabulary

State = Any
"""The state of a predictor: ``None``, or arrays (NumPy or torch) whose first axis is N, in tuples
nested to any depth. Instruments pass it on and select rows of it with `select`."""


class NextCharPredictor(Protocol):
    """A model that predicts the distribution of the next character."""

    vocabulary: Vocabulary

    def advance(self, ids: np.ndarray, state: State = None) -> tuple[np.ndarray, State]:
        """Read T more characters of N texts.

        Args:
            ids: ``(N, T)`` integers.
            state: The state that the previous call returned; ``None`` at the beginning of a text.

        Returns:
            ``log_probs`` ``(N, T, V)`` in nats, where ``log_probs[n, t]`` is the distribution of
            the character after ``ids[n, t]``, and the new state.
        """
        ...


def select(state: State, rows: np.ndarray) -> State:
    """Return the rows of a state that ``rows`` lists; a row may be repeated."""
    if state is None:
        return None
    if isinstance(state, tuple):
        return tuple(select(part, rows) for part in state)
    return state[rows]


class LimitedPredictor:
    """A predictor whose predictions depend on the last ``context_chars`` characters only."""

    def __init__(self, predictor: NextCharPredictor, context_chars: int) -> None:
        self.vocabulary = predictor.vocabulary
        self.advance = predictor.advance
        self.context_chars = context_chars


def limited(predictor: NextCharPredictor, longest: int = 256) -> NextCharPredictor:
    """Return the predictor with its context limit, if it forgets within ``longest`` characters.

    The limit is measured on random text: after half as many characters, predictions are those
    after the whole text to within 1e-6 nats. The state of an untrained LSTM or GRU contracts
    exponentially, so that the other half leaves less than float32 can hold.
    """
    ids = np.random.default_rng(0).integers(len(predictor.vocabulary), size=(8, longest))
    whole = predictor.advance(ids)[0][:, -1]
    limit = 32
    while limit <= longest:
        near = predictor.advance(ids[:, -limit // 2 :])[0][:, -1]
        if np.abs(near - whole).max() < 1e-6:
            return LimitedPredictor(predictor, limit)
        limit *= 2
    return predictor
