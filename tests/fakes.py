"""Predictors with known behaviour, so that instruments can be checked without training."""

import numpy as np

from chargen.datasets import bundled
from chargen.probes.templates import measure as templates
from chargen.text import Vocabulary

BANK = bundled.bank("english.bank")
CHINESE = bundled.bank(bundled.CHINESE_BANK)
VOCABULARY = Vocabulary(BANK.characters())
SPANS = (4, 8, 16, 32, 64, 128, 256)
LIKELY = 0.99


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


class Reader:
    """Completes cloze sentences from the text itself; a subclass chooses the fact.

    The state is the text so far, ``(N,)`` objects. Only the last step's distribution is computed,
    the only one that the instrument uses.
    """

    bank = BANK
    vocabulary = VOCABULARY

    def fact(self, text, facts, span):
        """Return which of the K facts to answer with, None for uniform predictions."""
        raise NotImplementedError

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
        """Return the next character after a lead or inside a target, if the text tells."""
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


class SaysTheSame(Reader):
    def fact(self, text, facts, span):
        return 3


class LastCue(Reader):
    """Answers with the last cue, which may be a distractor's."""

    def fact(self, text, facts, span):
        return int(np.argmax([text.rfind(cue) for cue in facts.cues]))


ORACLE = Remembers(10_000)


def cloze(predictor, spans=SPANS, bank=BANK, **options):
    """Measure cloze sentences, by default 32 per span and without the knowledge gate."""
    return templates.measure(predictor, bank, spans=spans, **{"frames": 32, "gate": 0.0} | options)
