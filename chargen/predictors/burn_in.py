"""A predictor that starts in a natural state."""

from __future__ import annotations

import numpy as np

from chargen.predictors.protocol import NextCharPredictor, State, select

BURN_IN_PARTS = 8


class BurnedIn:
    """A predictor whose initial state is the one after a burn-in text, not the zero state.

    A network is rarely in the zero state during training. From there a few first characters can
    lead to a state that spoils the predictions for thousands of characters, for any later text. The
    burn-in text ``(M,)`` is therefore read in eight parts from the zero state, and the state after
    the part with the median loss becomes the initial state.
    """

    def __init__(self, predictor: NextCharPredictor, ids: np.ndarray) -> None:
        self.vocabulary = predictor.vocabulary
        self._predictor = predictor
        chars = max(1, len(ids) // BURN_IN_PARTS)
        parts = ids[: len(ids) // chars * chars].reshape(-1, chars)[:BURN_IN_PARTS]
        log_probs, state = predictor.advance(parts.astype(np.int64))
        own = parts[:, 1:, None].astype(np.int64)
        nats = -np.take_along_axis(log_probs[:, :-1], own, axis=2).astype(np.float64)
        order = np.argsort(nats.sum(axis=(1, 2)), kind="stable")
        self._state = select(state, order[[(len(order) - 1) // 2]])

    def advance(self, ids: np.ndarray, state: State = None) -> tuple[np.ndarray, State]:
        """See `NextCharPredictor.advance`."""
        if state is None:
            state = select(self._state, np.zeros(len(ids), dtype=np.int64))
        return self._predictor.advance(ids, state)
