"""Which phrase bank predictors are asked from: one that they know."""

from __future__ import annotations

from collections.abc import Sequence

from chargen.datasets.phrase_bank import Bank
from chargen.predictors import NextCharPredictor
from chargen.probes.templates import measure as templates


def choose(
    predictors: Sequence[NextCharPredictor], banks: Sequence[Bank], seed: int
) -> tuple[Bank, tuple[Bank, ...]]:
    """The bank that most of ``predictors`` know, and the others that as many know.

    Only banks that as many as possible can spell are considered, and a predictor knows one if it
    passes the knowledge gate. The first of those that come out alike is chosen; where nobody
    knows any, there are no others.
    """
    spelled = [sum(spells(predictor, bank) for predictor in predictors) for bank in banks]
    likely = [bank for bank, count in zip(banks, spelled, strict=True) if count == max(spelled)]
    if len(likely) == 1:
        return likely[0], ()
    known = [sum(knows(predictor, bank, seed) for predictor in predictors) for bank in likely]
    first, *others = (
        bank for bank, count in zip(likely, known, strict=True) if count == max(known)
    )
    return first, tuple(others) if max(known) else ()


def spells(predictor: NextCharPredictor, bank: Bank) -> bool:
    """Whether the predictor's vocabulary has every character of a bank."""
    return all(char in predictor.vocabulary for char in bank.characters())


def knows(predictor: NextCharPredictor, bank: Bank, seed: int) -> bool:
    """Whether the predictor passes the knowledge gate."""
    return not templates.measure(predictor, bank, spans=(), seed=seed).refusal
