"""Brackets and quotation marks of a text, parsed with a stack."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

PAIRS = {
    "(": ")", "[": "]", "{": "}", "“": "”", "«": "»", "‹": "›", "「": "」", "『": "』",
    "《": "》", "（": "）", "【": "】", '"': '"',
}  # fmt: skip
# Single quotation marks are left out: most of them are apostrophes.
EMPTY_LINE = r"\n[^\S\n]*\n"


@dataclass(frozen=True, eq=False)
class Brackets:
    """The brackets of a text of L characters."""

    pairs: tuple[tuple[int, int], ...]  # indices of the opening and the closing character
    open_before: dict[str, np.ndarray]  # by closing character: (L + 1,) how many are expected

    def inside(self) -> np.ndarray:
        """Return whether any bracket is open after each character, ``(L,)`` bool."""
        return np.sum([*self.open_before.values()], axis=0)[1:] > 0


def parse_brackets(
    text: str, kinds: Mapping[str, str] = PAIRS, dropped: Collection[str] = '"'
) -> Brackets:
    """Parse brackets and quotation marks; ``kinds`` are closing characters by opening character.

    A closing character pairs with its opening one if that is on top of the stack. If other brackets
    are open inside, it removes them all and forms no pair; if nothing expects it, it is ignored. A
    character that both opens and closes closes if one is open. An empty line makes the closing
    characters ``dropped`` unexpected, as in long quotations.
    """
    marks = re.compile("[" + re.escape("".join({*kinds, *kinds.values()})) + "]|" + EMPTY_LINE)
    change = {close: np.zeros(len(text) + 1, dtype=np.int64) for close in kinds.values()}
    stack: list[tuple[str, int]] = []  # the expected closing character and the opening index
    pairs = []
    for mark in marks.finditer(text):
        char, place = mark[0], mark.start()
        expected = [close for close, _ in stack]
        removed: list[tuple[str, int]] = []
        if len(char) > 1:
            removed = [entry for entry in stack if entry[0] in dropped]
            stack = [entry for entry in stack if entry[0] not in dropped]
        elif char in expected:
            depth = len(expected) - 1 - expected[::-1].index(char)
            stack, removed = stack[:depth], stack[depth:]
            if len(removed) == 1:
                pairs.append((removed[0][1], place))
        elif char in kinds:
            stack.append((kinds[char], place))
            change[kinds[char]][place + 1] += 1
        for close, _ in removed:
            change[close][mark.end()] -= 1
    return Brackets(tuple(pairs), {close: steps.cumsum() for close, steps in change.items()})
