"""What a task is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

LONGEST_SPAN = 256  # characters: the longest in a corpus
SHORT = 0.5  # of the delays in a corpus are the shortest two


@dataclass(frozen=True)
class Trial:
    """A text with characters in it that depend on what stands an exact span before them."""

    text: str  # to the last of those characters
    places: tuple[int, ...]  # where in the text they are, ascending
    answers: tuple[int, ...]  # which of the task's candidates stands at each

    @classmethod
    def of(cls, text: str, asked: int, candidates: str) -> Trial:
        """The trial that asks the last ``asked`` characters of ``text``."""
        places = range(len(text) - asked, len(text))
        return cls(text, tuple(places), tuple(candidates.index(text[place]) for place in places))


class Task(ABC):
    """A task: how its corpus is written and what is asked of a model that learned it."""

    name: ClassVar[str]
    purpose: ClassVar[str]  # in one line
    candidates: ClassVar[str]  # the K characters one of which is right
    floors: ClassVar[Mapping[str, float]]  # what guessing wins in each variant, shares of 1
    shortest_spans: ClassVar[Mapping[str, int]]  # of each variant, characters; and every `stride`
    stride: ClassVar[int] = 1  # more is a span that it can make

    @abstractmethod
    def line(self, rng: np.random.Generator) -> str:
        """One line of a corpus, its end included; no span in it is over `LONGEST_SPAN`."""

    @abstractmethod
    def trials(self, variant: str, span: int, rng: np.random.Generator) -> list[Trial]:
        """A round of trials of one span in which every candidate is right equally often.

        ``span`` is one of those that `nearest` gives for ``variant``. The trials of a round say the
        same but for what is asked: they are not independent of each other, rounds are.
        """

    def corpus(self, chars: int, seed: int) -> str:
        """At least ``chars`` characters, as whole lines."""
        rng = np.random.default_rng(seed)
        lines: list[str] = []
        made = 0
        while made < chars:
            lines.append(self.line(rng))
            made += len(lines[-1])
        return "".join(lines)

    def nearest(self, wanted: Sequence[int], variant: str = "") -> tuple[int, ...]:
        """The spans of ``variant`` which are nearest to those ``wanted``, ascending.

        The shortest is always among them; one of two equally near spans is the longer.
        """
        shortest = self.shortest_spans[variant]
        reached = {shortest}
        for span in wanted:
            strides = max(0, math.floor((span - shortest) / self.stride + 0.5))
            reached.add(shortest + strides * self.stride)
        return tuple(sorted(reached))


def log_uniform(most: int, rng: np.random.Generator) -> int:
    """A whole number from 0 to ``most``, about as likely in each octave of itself plus one."""
    return math.floor(math.exp(rng.uniform(0, math.log(most + 2)))) - 1


def delay(most: int, rng: np.random.Generator) -> int:
    """0 or 1 half of the time, else log-uniform up to ``most``.

    What lies close by is learned first, then carried farther: without the half, little is learned.
    """
    return int(rng.integers(min(most, 1) + 1)) if rng.random() < SHORT else log_uniform(most, rng)


def drawn(characters: str, count: int, rng: np.random.Generator) -> str:
    """``count`` characters, each of ``characters`` equally likely."""
    return "".join(characters[index] for index in rng.integers(len(characters), size=count))


def rotated(text: str, characters: str, by: int) -> str:
    """``text`` with each of ``characters`` in it moved on by so many places among them."""
    moved = characters[by:] + characters[:by]
    return text.translate(str.maketrans(characters, moved))
