"""Readable features of a text, one value per character.

A feature is what is known once a character has been read, as a unit is: the opening bracket is
inside, the closing one no longer. Axis: L characters of text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chargen.datasets import bundled
from chargen.text.brackets import parse_brackets

BRACKETS = {"(": ")", "[": "]", "{": "}", "《": "》", "「": "」", "（": "）"}
QUOTES = {"“": "”", '"': '"'}
SENTENCE_END = re.compile(r"[.!?。！？\r\n]")
WORD = re.compile(r"[^\W\d_]{5,}")
SHOWN_WORDS = 3
FEWEST_LINES = 10


@dataclass(frozen=True)
class Feature:
    """A feature of a text: binary (0 or 1), or graded."""

    name: str
    values: np.ndarray  # (L,) float64
    graded: bool = False


def features(text: str, cues: Sequence[str]) -> tuple[Feature, ...]:
    """Return all features of ``text``, including one per cue."""
    return (
        Feature("inside a quotation", _inside(text, QUOTES)),
        Feature("inside brackets", _inside(text, BRACKETS)),
        Feature("distance since the line began", _line_distance(text), graded=True),
        *(Feature(f"after ‘{cue}’", _after(text, cue)) for cue in cues),
    )


def common_words(text: str) -> tuple[str, ...]:
    """Return the three most frequent words of at least five letters, ties in alphabetical order."""
    counted = Counter(WORD.findall(text))
    return tuple(sorted(counted, key=lambda word: (-counted[word], word))[:SHOWN_WORDS])


def default_cues(text: str) -> tuple[str, ...]:
    """Return the cues of a bundled phrase bank that ``text`` comes from, else `common_words`.

    The cues are those of the bank's first fact set.
    """
    for bank in map(bundled.bank, bundled.BANKS.values()):
        facts = bank.fact_sets[0]
        told = tuple(facts.opening + cue for cue in facts.cues)
        if all(cue in text for cue in told):
            return told
    return common_words(text)


def lacks(feature: Feature) -> str:
    """Return why a text is unsuited for scoring ``feature``; an empty string if it is suited.

    A binary feature must hold at 1% to 99% of the characters, a distance needs ten lines.
    """
    if feature.graded:
        lines = int((feature.values == 0).sum())
        return f"the text has {lines} line ends" if lines < FEWEST_LINES else ""
    share = float(feature.values.mean())
    return "" if 0.01 <= share <= 0.99 else f"it holds at {share:.1%} of the characters"


def _inside(text: str, kinds: Mapping[str, str]) -> np.ndarray:
    """Mark the characters inside brackets of these kinds; an empty line closes them all."""
    return parse_brackets(text, kinds, kinds.values()).inside().astype(np.float64)


def _line_distance(text: str) -> np.ndarray:
    """Return the characters since the last newline, or since the start of the text."""
    places = np.arange(len(text))
    ends = np.array([char == "\n" for char in text], dtype=bool)
    began: np.ndarray = np.maximum.accumulate(np.where(ends, places, -1))
    return (places - began).astype(np.float64)


def _after(text: str, cue: str) -> np.ndarray:
    """Mark the text from the end of ``cue``, a whole word, to the end of its sentence or line."""
    values = np.zeros(len(text))
    for match in re.finditer(_whole(cue), text):
        end = SENTENCE_END.search(text, match.end())
        values[match.end() - 1 : end.start() if end else len(text)] = 1
    return values


def _whole(cue: str) -> str:
    """Return a pattern for ``cue`` as a whole word, in scripts that separate words by spaces."""
    before = r"(?<!\w)" if _cased(cue[0]) else ""
    after = r"(?!\w)" if _cased(cue[-1]) else ""
    return before + re.escape(cue) + after


def _cased(char: str) -> bool:
    return char.lower() != char.upper()
