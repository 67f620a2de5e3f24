"""Predictors with known behaviour, so that instruments can be checked without training."""

import zlib

import numpy as np

from chargen.datasets import bundled
from chargen.probes.templates import measure as templates
from chargen.text import Vocabulary

BANK = bundled.bank("english.bank")
CHINESE = bundled.bank(bundled.CHINESE_BANK)
VOCABULARY = Vocabulary(BANK.characters())
LETTERS = Vocabulary("\n ()abcdefghijklmnopqrstuvwxyz")
SPANS = (4, 8, 32, 64, 128)
LIKELY = 0.99


def confident(expected, V, share):
    """Return log-probabilities: ``share`` for the expected ids, uniform where they are negative."""
    found = np.where(np.arange(V) == expected[..., None], share, (1 - share) / (V - 1))
    found[expected < 0] = 1 / V
    return np.log(found)


class TablePredictor:
    """A first-order Markov model: row ``ids`` of a table of probabilities.

    ``calls`` counts the calls of `advance`, ``read`` the timesteps.
    """

    def __init__(self, characters, table):
        self.vocabulary = Vocabulary(characters)
        self.table = np.log(np.asarray(table, dtype=np.float64)).astype(np.float32)
        self.calls = self.read = 0

    def advance(self, ids, state=None):
        self.calls += 1
        self.read += ids.shape[1]
        return self.table[ids], state


class UniformPredictor:
    """A uniform distribution over all characters; its loss is ln V."""

    def __init__(self, vocabulary):
        self.vocabulary = vocabulary

    def advance(self, ids, state=None):
        size = len(self.vocabulary)
        return np.full((*ids.shape, size), -np.log(size), dtype=np.float32), None


class Reader:
    """Completes cloze sentences from the text itself.

    ``fact(text, facts, span)`` of a subclass returns which of the K facts to answer with, None for
    uniform predictions. The state is the text so far, ``(N,)`` objects. Only the last step's
    distribution is computed, the only one that the instrument uses.
    """

    bank = BANK
    vocabulary = VOCABULARY

    def advance(self, ids, state=None):
        N, T = ids.shape
        texts = [""] * N if state is None else state
        texts = np.array(
            [t + self.vocabulary.decode(row) for t, row in zip(texts, ids, strict=True)], object
        )
        log_probs = np.full((N, T, len(self.vocabulary)), -np.log(len(self.vocabulary)))
        for n, text in enumerate(texts):
            expected = self._expected(text)
            if expected is not None:
                rest = (1 - LIKELY) / (len(self.vocabulary) - 1)
                log_probs[n, -1] = np.log(rest)
                log_probs[n, -1, self.vocabulary.encode(expected)[0]] = np.log(LIKELY)
        return log_probs, texts

    def _expected(self, text):
        """Return the next character after a lead or inside a target, None elsewhere."""
        sentence = text[text.rfind("\n") + 1 :]
        facts = next((facts for facts in self.bank.fact_sets if facts.opening in sentence), None)
        if facts is None:
            return None  # the text began in the middle of a sentence
        before, lead, begun = sentence.rpartition(facts.lead)
        if not lead:
            return None
        if begun:
            started = [target for target in facts.targets if target.startswith(begun)]
            return started[0][len(begun)] if started and started[0] != begun else None
        cue_end = before.index(facts.opening) + len(facts.opening) + len(facts.cues[0])
        fact = self.fact(before, facts, len(sentence) - cue_end)
        return None if fact is None else facts.targets[fact][0]


class Remembers(Reader):
    """Knows a cue that ended within the last ``chars`` characters."""

    def __init__(self, chars, bank=BANK):
        self.chars = chars
        self.bank = bank
        self.vocabulary = Vocabulary(bank.characters())

    def fact(self, text, facts, span):
        start = text.index(facts.opening) + len(facts.opening)
        cue = text[start : start + len(facts.cues[0])]
        return facts.cues.index(cue) if cue in facts.cues and span <= self.chars else None


def last_cue(text, facts, span):
    """Return the last cue, which may be a distractor's."""
    return int(np.argmax([text.rfind(cue) for cue in facts.cues]))


ORACLE = Remembers(10_000)


class Rule(Reader):
    """Answers with the fact that ``rule(text, facts, span)`` returns."""

    def __init__(self, rule):
        self.fact = rule


class Forgets(Remembers):
    """Knows a cue ``span`` characters ago with the probability ``curve(span)``, else guesses."""

    def __init__(self, curve, seed=0):
        super().__init__(10_000)
        self.curve, self.seed = curve, seed

    def fact(self, text, facts, span):
        rng = np.random.default_rng([zlib.crc32(text.encode()), self.seed])
        known = super().fact(text, facts, span)
        return known if rng.random() < self.curve(span) else int(rng.integers(len(facts.cues)))


def cloze(predictor, spans=SPANS, bank=BANK, **options):
    """Measure cloze sentences, by default 64 per span and without the knowledge gate."""
    return templates.measure(predictor, bank, spans=spans, **{"frames": 64, "gate": 0.0} | options)


class Echo:
    """Predicts the character ``chars`` positions back: it needs exactly that much context."""

    def __init__(self, vocabulary, chars):
        self.vocabulary = vocabulary
        self.chars = chars

    def advance(self, ids, state=None):
        (N, T), V = ids.shape, len(self.vocabulary)
        before = np.full((N, self.chars), -1) if state is None else state
        history = np.concatenate([before, ids], axis=1)
        expected = history[:, 1 : T + 1]
        return confident(expected, V, 0.8), history[:, T:]


class Recaller:
    """Predicts what followed the last ``key`` characters before, within ``chars`` characters."""

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
        return confident(expected, V, 0.5), np.array(texts, dtype=object)


def word(rng, letters=6):
    """Return a word of random letters."""
    return "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), letters))


class FlipFlopReader:
    """Knows the last written bit and its position when an ``r`` reads it."""

    def __init__(self):
        self.before, self.written = "", None

    def read(self, char, place):
        """Return the next character and the position of its cue, None if it is unknown."""
        if self.before == "w":
            self.written = (char, place)
        self.before = char
        return self.written if char == "r" else None


class RecallReader:
    """Knows the values of a line by their keys."""

    def __init__(self):
        self.values, self.key = {}, ""

    def read(self, char, place):
        if char == "\n":
            self.values = {}
        if char.isdigit() and len(self.key) == 2:
            self.values[self.key] = (char, place)
        self.key = self.key + char if char.isalpha() else ""
        return self.values.get(self.key)


class CopyReader:
    """Knows the symbols before the delimiter."""

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
    """Knows the innermost open bracket."""

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
    """Solves a task of `chargen.datasets.tasks` up to spans of ``chars`` characters.

    Beyond, its prediction is uniform; in recall, uniform over the values of the line. Its state is
    a reader for each text and the number of characters read.
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
        return "".join(char for char, _ in getattr(reader, "values", {}).values())


class Habit:
    """Predicts ``rule(text)`` of the last 64 characters."""

    def __init__(self, task, rule):
        self.vocabulary = Vocabulary.of(task.corpus(5000, 0))
        self.rule = rule

    def advance(self, ids, state=None):
        (N, T), V = ids.shape, len(self.vocabulary)
        texts = [""] * N if state is None else state
        share = np.full((N, T, V), 0.1 / V)
        for n in range(N):
            read = texts[n] + self.vocabulary.decode(ids[n])
            for t in range(T):
                end = len(texts[n]) + t + 1
                expected = self.rule(read[max(0, end - 64) : end])
                share[n, t, self.vocabulary.encode(expected)] += 0.9
        return np.log(share), [
            text + self.vocabulary.decode(row) for text, row in zip(texts, ids, strict=True)
        ]
