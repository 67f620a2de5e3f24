"""Readers of sentences whose memory is known, for the template instrument."""

import numpy as np

from chargen.datasets import bundled, phrase_bank
from chargen.probes.templates import measure as templates
from chargen.text.vocabulary import Vocabulary

BANK = phrase_bank.parse_bank(bundled.resource(bundled.ENGLISH_BANK), "english.bank")
CHINESE = bundled.bank(bundled.CHINESE_BANK)
VOCABULARY = Vocabulary(BANK.characters())
SPANS = (4, 8, 16, 32, 64, 128, 256)
LIKELY = 0.99


class Reader:
    """A predictor that reads the text itself; a subclass says which fact it would tell.

    The state is the text so far, ``(N,)`` objects. Only the last step's distribution is worked
    out, which is all that the instrument looks at.
    """

    bank = BANK
    vocabulary = VOCABULARY

    def fact(self, text, facts, span):
        """Which of the K facts to tell, or None to have no idea."""
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
        """The next character after a lead or inside a target that has begun, if the text tells."""
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
    """Knows the cue where it ended within the last ``chars`` characters."""

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
    """Takes whichever cue was named last: what a decoy among the fillers is there to catch."""

    def fact(self, text, facts, span):
        return int(np.argmax([text.rfind(cue) for cue in facts.cues]))


ORACLE = Remembers(10_000)


def measure(predictor, spans=SPANS, bank=BANK, **options):
    options = {"frames": 32, "gate": 0.0} | options
    return templates.measure(predictor, bank, spans=spans, **options)


def shares(result, pick=lambda row: row.all):
    return [pick(row).choice.share for row in result.rows]
