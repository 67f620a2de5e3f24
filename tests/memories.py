"""Predictors whose memory is known, for the instruments that read any text."""

from dataclasses import replace

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


class FlipFlopReader:
    """Knows the bit written last, and where it stood, when an ``r`` asks for it."""

    def __init__(self):
        self.before, self.written = "", None

    def read(self, char, place):
        """What ought to come next as ``(character, place)``, None where that is not known."""
        if self.before == "w":
            self.written = (char, place)
        self.before = char
        return self.written if char == "r" else None


class RecallReader:
    """Knows the values that were told on a line by their keys."""

    def __init__(self):
        self.told, self.key = {}, ""

    def read(self, char, place):
        if char == "\n":
            self.told = {}
        if char.isdigit() and len(self.key) == 2:
            self.told[self.key] = (char, place)
        self.key = self.key + char if char.isalpha() else ""
        return self.told.get(self.key)


class CopyReader:
    """Knows what came before the delimiter, symbol by symbol."""

    def __init__(self):
        self.symbols, self.next = [], None

    def read(self, char, place):
        if char == "\n":
            self.symbols, self.next = [], None
        elif char == "|":
            self.next = 0
        elif self.next is not None:
            self.next += 1
        elif char != ".":
            self.symbols.append((char, place))
        return self.symbols[self.next] if self.next in range(len(self.symbols)) else None


class BracketsReader:
    """Knows which bracket was opened last and is open still."""

    def __init__(self):
        self.open = []

    def read(self, char, place):
        if char == "\n":
            self.open = []
        elif char in "([{<":
            self.open.append((")]}>"["([{<".index(char)], place))
        elif self.open:
            self.open.pop()
        return self.open[-1] if self.open else None


READERS = {
    "flipflop": FlipFlopReader,
    "recall": RecallReader,
    "copy": CopyReader,
    "brackets": BracketsReader,
}


class Solver:
    """Solves a task of `chargen.datasets.tasks` wherever the span is at most ``chars``.

    Beyond, every character is as likely; in recall, every value that was told on the line. Its
    state is a reader for each text, and how many characters were read.
    """

    def __init__(self, task, chars):
        self.vocabulary = Vocabulary.of(task.corpus(5000, 0))
        self.task = task
        self.chars = chars

    def advance(self, ids, state=None):
        (N, T), V = ids.shape, len(self.vocabulary)
        make = READERS[self.task.name]
        readers, before = state or ([make() for _ in range(N)], 0)
        share = np.full((N, T, V), 1 / V)
        for n, reader in enumerate(readers):
            for t, char in enumerate(self.vocabulary.decode(ids[n])):
                likely = self._likely(reader, reader.read(char, before + t), before + t)
                if likely:
                    share[n, t] = 0.1 / V
                    share[n, t, self.vocabulary.encode(likely)] += 0.9 / len(likely)
        return np.log(share), (readers, before + T)

    def _likely(self, reader, found, place):
        if found is None or place - found[1] <= self.chars:
            return found[0] if found else ""
        return "".join(char for char, _ in reader.told.values()) if hasattr(reader, "told") else ""


class Habit:
    """Expects what a rule says of the last 64 characters: ``said(text)``."""

    def __init__(self, task, said):
        self.vocabulary = Vocabulary.of(task.corpus(5000, 0))
        self.said = said

    def advance(self, ids, state=None):
        (N, T), V = ids.shape, len(self.vocabulary)
        texts = [""] * N if state is None else state
        share = np.full((N, T, V), 0.1 / V)
        for n in range(N):
            read = texts[n] + self.vocabulary.decode(ids[n])
            for t in range(T):
                end = len(texts[n]) + t + 1
                expected = self.said(read[max(0, end - 64) : end])
                share[n, t, self.vocabulary.encode(expected)] += 0.9
        return np.log(share), [
            text + self.vocabulary.decode(row) for text, row in zip(texts, ids, strict=True)
        ]


class Dealt:
    """A task whose answers are dealt out anew among the trials of a round: a control."""

    def __init__(self, task):
        self.task = task

    def __getattr__(self, name):
        return getattr(self.task, name)

    def trials(self, variant, span, rng):
        trials = self.task.trials(variant, span, rng)
        order = rng.permutation(len(trials))
        return [
            replace(trial, answers=trials[other].answers)
            for trial, other in zip(trials, order, strict=True)
        ]
