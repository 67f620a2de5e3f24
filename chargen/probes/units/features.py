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
BLOCK_CHARS = 100  # block length of the bootstrap
FEWEST_BLOCKS = 10  # in which a binary feature holds, and does not hold


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

    A distance needs ten lines. A binary feature must hold at 1% to 99% of the characters, and hold
    and not hold in ten blocks of the bootstrap.
    """
    if feature.graded:
        lines = int((feature.values == 0).sum())
        return f"the text has {lines} line ends" if lines < FEWEST_LINES else ""
    share = float(feature.values.mean())
    if not 0.01 <= share <= 0.99:
        return f"it holds at {share:.1%} of the characters"
    starts = np.arange(0, len(feature.values), BLOCK_CHARS)
    held = np.add.reduceat(feature.values, starts)
    fails = np.add.reduceat(1 - feature.values, starts)
    blocks = min(int((held > 0).sum()), int((fails > 0).sum()))
    few = f"it changes in only {blocks} blocks of {BLOCK_CHARS} characters"
    return few if blocks < FEWEST_BLOCKS else ""


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
    # Word boundaries count in scripts that separate words by spaces.
    before, after = (char.lower() != char.upper() for char in (cue[0], cue[-1]))
    whole = r"(?<!\w)" * before + re.escape(cue) + r"(?!\w)" * after
    for match in re.finditer(whole, text):
        end = SENTENCE_END.search(text, match.end())
        values[match.end() - 1 : end.start() if end else len(text)] = 1
    return values
