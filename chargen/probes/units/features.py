"""Readable features of a text: 0 or 1 for each of its L characters, once it has been read."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from chargen.datasets import bundled
from chargen.text.brackets import parse_brackets

BRACKETS = {"(": ")", "[": "]", "{": "}", "《": "》", "「": "」", "（": "）"}
QUOTES = {"“": "”", '"': '"'}
SENTENCE_END = re.compile(r"[.!?。！？\r\n]")
WORD = re.compile(r"[^\W\d_]{5,}")
SHOWN_WORDS = 3
BLOCK_CHARS = 100  # block length of the bootstrap
FEWEST_BLOCKS = 10  # in which a feature holds, and does not hold


def features(text: str, cues: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the values ``(L,)`` float64 of all features by name, including one per cue."""
    return {
        "inside a quotation": _inside(text, QUOTES),
        "inside brackets": _inside(text, BRACKETS),
        **{f"after ‘{cue}’": _after(text, cue) for cue in cues},
    }


def default_cues(text: str) -> tuple[str, ...]:
    """Return the cues of a text's bundled phrase bank, else its most frequent long words."""
    for bank in map(bundled.bank, bundled.BANKS.values()):
        facts = bank.fact_sets[0]
        told = tuple(facts.opening + cue for cue in facts.cues)
        if all(cue in text for cue in told):
            return told
    counted = Counter(WORD.findall(text))
    return tuple(sorted(counted, key=lambda word: (-counted[word], word))[:SHOWN_WORDS])


def lacks(values: np.ndarray) -> str:
    """Return why a text is unsuited for scoring a feature; an empty string if it is suited."""
    share = float(values.mean())
    if not 0.01 <= share <= 0.99:
        return f"it holds at {share:.1%} of the characters"
    starts = np.arange(0, len(values), BLOCK_CHARS)
    blocks = min(int((np.add.reduceat(x, starts) > 0).sum()) for x in (values, 1 - values))
    few = f"it changes in only {blocks} blocks of {BLOCK_CHARS} characters"
    return few if blocks < FEWEST_BLOCKS else ""


def _inside(text: str, kinds: Mapping[str, str]) -> np.ndarray:
    """Mark the characters inside brackets of these kinds; an empty line closes them all."""
    return parse_brackets(text, kinds, kinds.values()).inside().astype(np.float64)


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
