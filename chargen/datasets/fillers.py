"""Filler of an exact length, drawn at random from a bank's pieces."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

IMPOSSIBLE = float("-inf")


class Fillers:
    """Strings of pieces, any number of them, that come out at an exact length.

    Pieces are drawn as if one at a time, each equally likely, and only strings that end at
    the length asked for were kept. No two ``links`` stand side by side.
    """

    def __init__(self, phrases: Sequence[str], links: Sequence[str] = ()) -> None:
        if not all([*phrases, *links]):
            raise ValueError("a piece of filler holds one character or more")
        self._pieces = [(phrase, False) for phrase in phrases] + [(link, True) for link in links]
        # _log_ways[after_link][n]: log-probability (up to p^n) that pieces drawn one after the
        # other end exactly n characters on. Logarithms, since there are too many ways for a float.
        self._log_ways: tuple[list[float], list[float]] = ([0.0], [0.0])
        self._choices: dict[tuple[bool, int], tuple[list[int], list[float]]] = {}

    def reaches(self, chars: int, after_link: bool = False) -> bool:
        """Whether any string of pieces has exactly ``chars`` characters."""
        return chars >= 0 and self._ways(chars, after_link) > IMPOSSIBLE

    def draw(self, chars: int, rng: np.random.Generator) -> str:
        """Filler of exactly ``chars`` characters; ``ValueError`` where none has that length."""
        if not self.reaches(chars):
            raise ValueError(f"no filler of {chars} characters")
        drawn: list[str] = []
        after_link = False
        while chars:
            pieces, cumulative = self._choice(chars, after_link)
            place = bisect_right(cumulative, rng.random() * cumulative[-1])
            piece, after_link = self._pieces[pieces[min(place, len(pieces) - 1)]]
            drawn.append(piece)
            chars -= len(piece)
        return "".join(drawn)

    def _ways(self, chars: int, after_link: bool) -> float:
        while len(self._log_ways[0]) <= chars:
            grown = [self._sum(after) for after in (False, True)]
            for log_ways, value in zip(self._log_ways, grown, strict=True):
                log_ways.append(value)
        return self._log_ways[after_link][chars]

    def _sum(self, after_link: bool) -> float:
        chars = len(self._log_ways[0])
        terms = [weight for _, weight in self._next(chars, after_link)]
        return (
            float(np.logaddexp.reduce(terms)) - np.log(len(self._pieces)) if terms else IMPOSSIBLE
        )

    def _next(self, chars: int, after_link: bool) -> list[tuple[int, float]]:
        """The pieces that can come next, with the log-weight of what can follow each."""
        return [
            (index, self._ways(chars - len(piece), is_link))
            for index, (piece, is_link) in enumerate(self._pieces)
            if not (after_link and is_link) and self.reaches(chars - len(piece), is_link)
        ]

    def _choice(self, chars: int, after_link: bool) -> tuple[list[int], list[float]]:
        key = (after_link, chars)
        if key not in self._choices:
            pieces, weights = zip(*self._next(chars, after_link), strict=True)
            shares = np.exp(np.array(weights) - max(weights))
            self._choices[key] = (list(pieces), list(accumulate(shares.tolist())))
        return self._choices[key]
