"""The two classic sentences, for models that do not know the phrase banks: shown, not scored.

One sentence needs a few characters of memory, the other a whole clause. They go back to C. Olah,
"Understanding LSTM Networks" (2015); the wording here is our own, in English and in Chinese.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chargen.evaluation import score_candidates
from chargen.predictors import NextCharPredictor
from chargen.text.vocabulary import Vocabulary

Sentences = Sequence[tuple[str, Sequence[str]]]
"""Each what comes first, and the ways to end it, equally long."""

ENGLISH = (
    ("the clouds are in the ", ("sky", "sea", "mud")),
    ("I grew up in France, and though I have lived by the sea for years now, I speak fluent ",
     ("French", "German", "Polish", "Danish")),
)  # fmt: skip
CHINESE = (
    ("抬头望去，白云飘在", ("天空", "大海", "泥土")),
    ("我在法国长大，这些年虽然一直住在海边，但还能说一口流利的",
     ("法语", "德语", "英语", "日语")),
)  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """One sentence and how likely the model holds each way to end it."""

    context: str  # as the model read it
    candidates: tuple[str, ...]
    shares: tuple[float, ...]  # of the candidates' probability among themselves, summing to 1
    per_char_bits: tuple[float, ...]  # bits a character that each candidate costs
    note: str  # what could not be shown as it is written; empty if nothing

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; ``share`` is of 1, ``bits_per_char`` in bits."""
        columns = zip(self.candidates, self.shares, self.per_char_bits, strict=True)
        return {
            "context": self.context,
            "candidates": [
                {"text": text, "share": share, "bits_per_char": bits}
                for text, share, bits in columns
            ],
            "note": self.note or None,
        }


def demonstrate(predictor: NextCharPredictor) -> tuple[Shown, ...]:
    """Show each sentence, in the language that the predictor's vocabulary spells more of.

    Characters that it lacks are left out of the context and candidates that it cannot spell are
    left out altogether; the note says so. This measures nothing: no accuracy, no span.
    """
    sentences = max(ENGLISH, CHINESE, key=lambda some: _spelled(predictor.vocabulary, some))
    return tuple(_show(predictor, context, ends) for context, ends in sentences)


def _spelled(vocabulary: Vocabulary, sentences: Sentences) -> float:
    """The share of the sentences' different characters that a vocabulary has."""
    chars = {char for context, ends in sentences for char in context + "".join(ends)}
    return sum(char in vocabulary for char in chars) / len(chars)


def _show(predictor: NextCharPredictor, context: str, ends: Sequence[str]) -> Shown:
    known = predictor.vocabulary
    lacking = sorted({char for char in context if char not in known})
    context = "".join(char for char in context if char in known)
    spelled = tuple(end for end in ends if all(char in known for char in end))
    unspelled = [end for end in ends if end not in spelled]
    notes = []
    if lacking:
        notes.append(f"left out of the sentence, not in the vocabulary: {' '.join(lacking)}")
    if unspelled:
        notes.append(f"cannot be spelled: {', '.join(unspelled)}")
    if not context or len(spelled) < 2:
        return Shown(context, (), (), (), "; ".join([*notes, "so there is nothing to compare"]))
    log_probs = score_candidates(predictor, [context], spelled).log_probs[0]
    shares = np.exp(log_probs - np.logaddexp.reduce(log_probs))
    bits = -log_probs / np.log(2) / len(spelled[0])
    return Shown(context, spelled, tuple(shares.tolist()), tuple(bits.tolist()), "; ".join(notes))
