"""Predictors whose memory is known, for the instruments that read any text."""

import numpy as np

from chargen.text import Vocabulary

LETTERS = Vocabulary("\n ()abcdefghijklmnopqrstuvwxyz")


class Echo:
    """Expects the character that stood ``chars`` before: it needs just so many, no more."""

    def __init__(self, vocabulary, chars):
        self.vocabulary = vocabulary
        self.chars = chars

    def advance(self, ids, state=None):
        (N, T), V = ids.shape, len(self.vocabulary)
        before = np.full((N, self.chars), -1) if state is None else state
        history = np.concatenate([before, ids], axis=1)
        expected = history[:, 1 : T + 1]
        share = np.where(np.arange(V) == expected[..., None], 0.8, 0.2 / (V - 1))
        share[expected < 0] = 1 / V
        return np.log(share), history[:, T:]


class Recaller:
    """Expects what followed the last time that the present ``key`` characters were read.

    It remembers the last ``chars`` characters, key and all; its state is that text, ``(N,)``
    objects.
    """

    def __init__(self, chars, key=3, vocabulary=LETTERS):
        self.vocabulary = vocabulary
        self.chars = chars
        self.key = key

    def advance(self, ids, state=None):
        (N, T), V = ids.shape, len(self.vocabulary)
        texts = [""] * N if state is None else list(state)
        expected = np.full((N, T), -1)
        for n, row in enumerate(ids):
            for t, char in enumerate(row):
                texts[n] = text = (texts[n] + chr(char))[-self.chars :]
                place = text.rfind(text[-self.key :], 0, len(text) - 1)
                if place >= 0 and len(text) > self.key:
                    expected[n, t] = ord(text[place + self.key])
        share = np.where(np.arange(V) == expected[..., None], 0.5, 0.5 / (V - 1))
        share[expected < 0] = 1 / V
        return np.log(share), np.array(texts, dtype=object)


class Cold:
    """Uniform for the first ``chars`` characters that it reads, then surely right about a cycle."""

    def __init__(self, vocabulary, chars):
        self.vocabulary = vocabulary
        self.chars = chars

    def advance(self, ids, state=None):
        (N, T), V = ids.shape, len(self.vocabulary)
        before = np.zeros(N, dtype=np.int64) if state is None else state
        share = np.where(np.arange(V) == (ids[..., None] + 1) % V, 0.9, 0.1 / (V - 1))
        share[before[:, None] + np.arange(1, T + 1) <= self.chars] = 1 / V
        return np.log(share), before + T


def word(rng, letters=6):
    """A word of random letters."""
    return "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), letters))
