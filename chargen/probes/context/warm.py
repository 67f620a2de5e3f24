"""A predictor that begins where text has brought it, and not with a state of zeros.

A network is rarely in the state of zeros while it trains. From there a few first characters can
lead it into a state out of which it does not find within thousands of characters, so that all it
reads afterwards costs more than a guess would: an accident of the beginning, not of what was read.
"""

from __future__ import annotations

import numpy as np

from chargen.predictors import NextCharPredictor, State, select

PARTS = 8  # of the text, of which one that went as usual is taken


class Warm:
    """``predictor``, but that without a state it begins where one that read ``ids`` ended.

    ``ids``, ``(M,)``, is cut into eight parts that are read side by side, from a state of zeros.
    Taken is the part whose characters cost the median, which is not one that went wrong.
    """

    def __init__(self, predictor: NextCharPredictor, ids: np.ndarray) -> None:
        self.vocabulary = predictor.vocabulary
        self._predictor = predictor
        chars = max(1, len(ids) // PARTS)
        parts = ids[: len(ids) // chars * chars].reshape(-1, chars)[:PARTS].astype(np.int64)
        log_probs, state = predictor.advance(parts)
        likelihoods = np.take_along_axis(log_probs[:, :-1], parts[:, 1:, None], axis=2)
        costs = -likelihoods.sum(axis=(1, 2), dtype=np.float64)
        order = np.argsort(costs, kind="stable")
        self._state = select(state, order[[(len(order) - 1) // 2]])

    def advance(self, ids: np.ndarray, state: State = None) -> tuple[np.ndarray, State]:
        """See `NextCharPredictor.advance`."""
        if state is None:
            state = select(self._state, np.zeros(len(ids), dtype=np.int64))
        return self._predictor.advance(ids, state)
