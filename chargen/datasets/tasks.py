"""Synthetic memory tasks with a known accuracy of guessing.

A task generates a corpus, and trials in which the queried characters depend on characters an exact
span before them. Each answer is one of K candidates, each right equally often, so that a constant
answer is right in exactly 1/K of the trials.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

LONGEST_SPAN = 256  # characters, in a corpus
SHORT = 0.5  # fraction of the delays that are 0 or 1


@dataclass(frozen=True)
class Trial:
    """A text whose last characters depend on characters an exact span before them."""

    text: str
    places: tuple[int, ...]  # indices of the queried characters, the last ones of the text
    answers: tuple[int, ...]  # index of the right candidate at each of them


def whole_lines(lines: Iterator[str], chars: int) -> str:
    """Join as many lines as it takes for at least ``chars`` characters."""
    parts, made = [], 0
    while made < chars:
        parts.append(next(lines))
        made += len(parts[-1])
    return "".join(parts)


class Task(ABC):
    """A generator of a corpus and of trials for a model that is trained on it."""

    name: ClassVar[str]
    purpose: ClassVar[str]  # in one line
    candidates: ClassVar[str]  # the K possible answers
    floors: ClassVar[Mapping[str, float]]  # by variant: the accuracy of guessing
    shortest_spans: ClassVar[Mapping[str, int]]  # by variant, in characters
    stride: ClassVar[int] = 1  # spacing of the possible spans
    queried: ClassVar[int] = 1  # characters per trial

    @abstractmethod
    def line(self, rng: np.random.Generator) -> str:
        """Return a random line of the corpus; no span in it exceeds `LONGEST_SPAN`."""

    @abstractmethod
    def texts(self, variant: str, span: int, rng: np.random.Generator) -> list[str]:
        """Return the texts of a round, each of which ends in the `queried` characters."""

    def trials(self, variant: str, span: int, rng: np.random.Generator) -> list[Trial]:
        """Return a round: trials that share their text, each candidate right equally often.

        ``span`` is one of `nearest`. Rounds are independent.
        """
        trials = []
        for text in self.texts(variant, span, rng):
            places = tuple(range(len(text) - self.queried, len(text)))
            answers = tuple(self.candidates.index(text[place]) for place in places)
            trials.append(Trial(text, places, answers))
        return trials

    def corpus(self, chars: int, seed: int) -> str:
        """Generate at least ``chars`` characters of whole lines."""
        rng = np.random.default_rng(seed)
        return whole_lines(iter(partial(self.line, rng), ""), chars)

    def nearest(self, wanted: Sequence[int], variant: str = "") -> tuple[int, ...]:
        """Return the shortest span and those nearest to ``wanted``, ascending."""
        shortest = self.shortest_spans[variant]
        strides = (math.floor((span - shortest) / self.stride + 0.5) for span in wanted)
        return tuple(sorted({shortest, *(shortest + max(0, n) * self.stride for n in strides)}))


def _log_uniform(most: int, rng: np.random.Generator) -> int:
    """Draw an integer from 0 to ``most``, log-uniformly after adding 1."""
    return math.floor(math.exp(rng.uniform(0, math.log(most + 2)))) - 1


def delay(most: int, rng: np.random.Generator) -> int:
    """Draw 0 or 1 half of the time, else log-uniformly up to ``most``.

    Models learn short spans first: without the short half, they learn little.
    """
    return int(rng.integers(min(most, 1) + 1)) if rng.random() < SHORT else _log_uniform(most, rng)


def drawn(characters: str, count: int, rng: np.random.Generator) -> str:
    """Draw ``count`` of ``characters`` uniformly, with replacement."""
    return "".join(characters[index] for index in rng.integers(len(characters), size=count))


def rotations(text: str, characters: str) -> list[str]:
    """Return ``text`` with ``characters`` rotated by 0, 1, ... places."""
    rotated = (characters[by:] + characters[:by] for by in range(len(characters)))
    return [text.translate(str.maketrans(characters, moved)) for moved in rotated]


SYMBOLS = "abcdefgh"
LENGTH = 10  # number of symbols


class CopyTask(Task):
    """Copy memory: symbols, a delay of any length and the same symbols again.

    Lines such as ``hcabbefgad......|hcabbefgad``. The span of each symbol is the other nine, the
    delay and the delimiter. After Hochreiter & Schmidhuber, "Long short-term memory", 1997, in the
    form of Arjovsky et al., "Unitary evolution recurrent neural networks", 2016, except that the
    delay is random and ends in a delimiter, so that counting its steps does not help.
    """

    name = "copy"
    purpose = "ten symbols, a delay of any length, and the same ten symbols again"
    candidates = SYMBOLS
    floors: ClassVar = {"": 1 / len(SYMBOLS)}
    shortest_spans: ClassVar = {"": LENGTH}
    queried = LENGTH

    def line(self, rng: np.random.Generator) -> str:
        return _copy_line(delay(LONGEST_SPAN - LENGTH, rng), rng) + "\n"

    def texts(self, variant: str, span: int, rng: np.random.Generator) -> list[str]:
        return rotations(_copy_line(span - LENGTH, rng), SYMBOLS)


def _copy_line(delay: int, rng: np.random.Generator) -> str:
    symbols = drawn(SYMBOLS, LENGTH, rng)
    return f"{symbols}{'.' * delay}|{symbols}"


LETTERS = "abcdefghijklmnopqrstuvwxyz"
VALUES = "01234567"
PAIRS = (2, 4, 8)
PAIR = 3  # characters: a key of two letters and a value
QUERIES = 4  # per line, at most


class RecallTask(Task):
    """Associative recall: pairs of a key and a value, then queries with delays between.

    Lines such as ``kd3ax0....ax0...kd3``. The values of a line are distinct, so that guessing among
    them is right once in as many times as there are pairs. A key has two letters; training uses
    keys whose letter numbers have an even sum, trials the others. The span is from the value of
    the pair to the queried value. Trials query each pair equally often at every span. After Arora
    et al., "Zoology: measuring and improving recall in efficient language models", 2023.
    """

    name = "recall"
    purpose = "pairs of a key and a value, queried by key after delays of any length"
    candidates = VALUES
    floors: ClassVar = {f"{pairs} pairs": 1 / pairs for pairs in PAIRS}
    shortest_spans: ClassVar = {f"{pairs} pairs": PAIR * pairs - 1 for pairs in PAIRS}

    def line(self, rng: np.random.Generator) -> str:
        pairs = int(PAIRS[rng.integers(len(PAIRS))])
        stated = _pairs(pairs, 0, rng)
        parts, length = list(stated), 0
        for place in rng.permutation(pairs)[:QUERIES]:
            wait = delay(LONGEST_SPAN - PAIR * pairs, rng)
            length += wait + PAIR
            if length + PAIR * pairs > LONGEST_SPAN:
                break
            parts.append("." * wait + stated[place])
        return "".join(parts) + "\n"

    def texts(self, variant: str, span: int, rng: np.random.Generator) -> list[str]:
        pairs = int(variant.split(maxsplit=1)[0])
        after = int(rng.integers(pairs))  # pairs after the queried one
        stated = _pairs(pairs, 1, rng)
        place = pairs - 1 - after
        delay = span - (PAIR - 1) - PAIR * after
        return rotations("".join(stated) + "." * delay + stated[place], VALUES)


def _pairs(pairs: int, odd: int, rng: np.random.Generator) -> list[str]:
    """Draw distinct keys of one half, each with a distinct value."""
    keys: list[str] = []
    while len(keys) < pairs:
        first, second = rng.integers(len(LETTERS), size=2)
        key = LETTERS[first] + LETTERS[second]
        if (first + second) % 2 == odd and key not in keys:
            keys.append(key)
    values = rng.permutation(len(VALUES))[:pairs]
    return [key + VALUES[value] for key, value in zip(keys, values, strict=True)]


BITS = "01"
EVENTS = 12  # writes and reads per line, approximately


class FlipFlopTask(Task):
    """Flip-flop: ``w`` writes a bit, ``i`` ignores one, ``r`` reads the last one written.

    Lines such as ``w1i0i1i1r1i0r1w0r0``. The span of a read is the ignored pairs since the write
    and the ``r``. Trials contain no other write or read in between. After Liu et al., "Exposing
    attention glitches with flip-flop language modeling", 2023.
    """

    name = "flipflop"
    purpose = "a bit is written, others are ignored, and the last one written is read"
    candidates = BITS
    floors: ClassVar = {"": 1 / 2}
    shortest_spans: ClassVar = {"": 1}
    stride = 2

    def line(self, rng: np.random.Generator) -> str:
        bit = drawn(BITS, 1, rng)
        parts, since = [f"w{bit}"], 0  # characters since the write
        for _ in range(EVENTS):
            pairs, event = delay(LONGEST_SPAN // 2 - 1, rng), "r"
            since += 2 * pairs + 2
            if since - 1 > LONGEST_SPAN or rng.random() < 1 / 2:
                bit, event, since = drawn(BITS, 1, rng), "w", 0
            parts.append(f"{_ignored(pairs, rng)}{event}{bit}")
        return "".join(parts) + "\n"

    def texts(self, variant: str, span: int, rng: np.random.Generator) -> list[str]:
        bit = drawn(BITS, 1, rng)
        return rotations(f"w{bit}{_ignored(span // 2, rng)}r{bit}", BITS)


def _ignored(pairs: int, rng: np.random.Generator) -> str:
    return "".join("i" + bit for bit in drawn(BITS, pairs, rng))


OPENERS, CLOSERS = "([{<", ")]}>"
DEPTH = 3  # of the pairs between the outermost brackets


class BracketsTask(Task):
    """Nested brackets of four kinds; the query is the outermost closing bracket.

    Lines such as ``{([]<>)()}``. The span is from the opening bracket to its closing one. The pairs
    in between are independent of it, so that the kind opened last is right once in four times.
    Dyck-k of bounded depth; see Hewitt et al., "RNNs can generate bounded hierarchical languages
    with optimal memory", 2020.
    """

    name = "brackets"
    purpose = "brackets of four kinds, opened and closed in order, with others between"
    candidates = CLOSERS
    floors: ClassVar = {"": 1 / len(CLOSERS)}
    shortest_spans: ClassVar = {"": 2}
    stride = 2

    def line(self, rng: np.random.Generator) -> str:
        kind = int(rng.integers(len(OPENERS)))
        pairs = delay(LONGEST_SPAN // 2, rng)
        return OPENERS[kind] + _between(2 * pairs, DEPTH, rng) + CLOSERS[kind] + "\n"

    def texts(self, variant: str, span: int, rng: np.random.Generator) -> list[str]:
        between = _between(span, DEPTH, rng)
        return [opener + between + closer for opener, closer in zip(OPENERS, CLOSERS, strict=True)]


def _between(chars: int, depth: int, rng: np.random.Generator) -> str:
    """Draw pairs of exactly ``chars`` characters, an even number, nested up to ``depth``."""
    parts = []
    while chars:
        kind = int(rng.integers(len(OPENERS)))
        inside = 2 * _log_uniform(chars // 2 - 1, rng) if depth > 1 else 0
        parts.append(OPENERS[kind] + _between(inside, depth - 1, rng) + CLOSERS[kind])
        chars -= inside + 2
    return "".join(parts)


TASKS: dict[str, Task] = {
    task.name: task for task in (CopyTask(), RecallTask(), FlipFlopTask(), BracketsTask())
}  # by name, in the order of listings
