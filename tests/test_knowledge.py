"""Which bank predictors are asked from."""

import numpy as np
from readers import BANK, CHINESE, Remembers

from chargen.predictors import UniformPredictor
from chargen.probes.templates.knowledge import choose
from chargen.text.vocabulary import Vocabulary


class Both:
    """Knows the sentences of each of the banks that it is given, in one vocabulary."""

    def __init__(self, *banks):
        self.vocabulary = Vocabulary.of(BANK.characters() + CHINESE.characters())
        self.readers = [Remembers(10_000, bank) for bank in banks]
        for reader in self.readers:
            reader.vocabulary = self.vocabulary

    def advance(self, ids, state=None):
        states = state or [None] * len(self.readers)
        told = [r.advance(ids, s) for r, s in zip(self.readers, states, strict=True)]
        if not told:
            return UniformPredictor(self.vocabulary).advance(ids)
        return np.max([log_probs for log_probs, _ in told], axis=0), State(s for _, s in told)


class State(list):
    """One state a reader, selected together."""

    def __getitem__(self, rows):
        return State(state[rows] for state in list(self))


def test_of_the_banks_that_can_be_spelled_one_that_is_known_is_asked():
    banks = [BANK, CHINESE]
    english, chinese = Both(BANK), Both(CHINESE)
    assert choose([english], banks, 0) == (BANK, ())
    assert choose([chinese], banks, 0) == (CHINESE, ())
    assert choose([Both(BANK, CHINESE)], banks, 0) == (BANK, (CHINESE,))
    assert choose([Both()], banks, 0) == (BANK, ())
    assert choose([english, chinese, chinese], banks, 0) == (CHINESE, ())
    # What only one can spell gives way to what both can.
    assert choose([chinese, english, Remembers(9, CHINESE)], banks, 0) == (CHINESE, ())
    assert choose([UniformPredictor(Vocabulary("ab"))], banks, 0) == (BANK, ())
    assert choose([english], [CHINESE], 0) == (CHINESE, ())
    unlearned = UniformPredictor(Vocabulary(CHINESE.characters()))
    assert choose([unlearned, Both()], banks, 0) == (CHINESE, ())
