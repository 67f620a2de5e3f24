"""Predictors with a known answer, so that an instrument can be checked without training."""

import numpy as np

from chargen.text import Vocabulary


class TablePredictor:
    """The next character's distribution depends on the present one alone: row ``ids`` of a table.

    ``calls`` counts what it was asked, ``read`` how many characters.
    """

    def __init__(self, characters, table):
        self.vocabulary = Vocabulary(characters)
        self.table = np.log(np.asarray(table, dtype=np.float64)).astype(np.float32)
        self.calls = self.read = 0

    def advance(self, ids, state=None):
        self.calls += 1
        self.read += ids.shape[1]
        return self.table[ids], state


class CountingPredictor:
    """Predicts from how many characters it has read so far, modulo V: its state is that number."""

    def __init__(self, characters):
        self.vocabulary = Vocabulary(characters)

    def advance(self, ids, state=None):
        (N, T), V = ids.shape, len(self.vocabulary)
        before = np.zeros(N, dtype=np.int64) if state is None else state
        counts = before[:, None] + np.arange(1, T + 1)
        share = np.where(np.arange(V) == (counts % V)[..., None], 0.9, 0.1 / (V - 1))
        return np.log(share).astype(np.float32), before + T
