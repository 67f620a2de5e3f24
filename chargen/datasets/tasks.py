"""Synthetic memory tasks with a known accuracy of guessing.

A task generates a corpus, and trials: texts whose last characters depend on characters an exact
span before them. Each answer is one of K candidates, each right equally often, so that a constant
answer is right in exactly 1/K of the trials.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

Rng = np.random.Generator

LONGEST_SPAN = 256  # characters, in a corpus
SHORT = 0.5  # fraction of the delays that are 0 or 1


def whole_lines(lines: Iterator[str], chars: int) -> str:
    """Join as many lines as it takes for at least ``chars`` characters."""
    parts, made = [], 0
    while made < chars:
        parts.append(next(lines))
        made += len(parts[-1])
    return "".join(parts)


@dataclass(frozen=True)
class Task:
    """A generator of a corpus and of trials for a model that is trained on it."""

    name: str
    purpose: str  # in one line
    candidates: str  # the K possible answers
    floors: Mapping[str, float]  # by variant: the accuracy of guessing
    shortest_spans: Mapping[str, int]  # by variant, in characters
    line: Callable[[Rng], str]  # draws a line; no span in it exceeds `LONGEST_SPAN`
    # by variant and span: a round, in which each candidate is right once
    trials: Callable[[str, int, Rng], list[str]]
    stride: int = 1  # spacing of the possible spans
    queried: int = 1  # characters at the end of a trial

    def corpus(self, chars: int, seed: int) -> str:
        return whole_lines(iter(partial(self.line, np.random.default_rng(seed)), ""), chars)

    def nearest(self, wanted: Sequence[int], variant: str = "") -> tuple[int, ...]:
        """Return the shortest span and those nearest to ``wanted``, ascending."""
        shortest = self.shortest_spans[variant]
        strides = (math.floor((span - shortest) / self.stride + 0.5) for span in wanted)
        return tuple(sorted({shortest, *(shortest + max(0, n) * self.stride for n in strides)}))


def _log_uniform(most: int, rng: Rng) -> int:
    """Draw an integer from 0 to ``most``, log-uniformly after adding 1."""
    return math.floor(math.exp(rng.uniform(0, math.log(most + 2)))) - 1


def delay(most: int, rng: Rng) -> int:
    """Draw 0 or 1 half of the time, as models learn these first, else log-uniformly."""
    return int(rng.integers(min(most, 1) + 1)) if rng.random() < SHORT else _log_uniform(most, rng)


def drawn(characters: str, count: int, rng: Rng) -> str:
    return "".join(characters[index] for index in rng.integers(len(characters), size=count))


def rotations(text: str, characters: str) -> list[str]:
    """Return ``text`` with ``characters`` rotated by 0, 1, ... places."""
    rotated = (characters[by:] + characters[:by] for by in range(len(characters)))
    return [text.translate(str.maketrans(characters, moved)) for moved in rotated]


# Lines such as ``hcabbefgad......|hcabbefgad``. The span of each symbol is the other nine, the
# delay and the delimiter. After Hochreiter & Schmidhuber 1997 and Arjovsky et al., "Unitary
# evolution recurrent neural networks", 2016, except that the delay is random and ends in a
# delimiter, so that counting its steps does not help.
SYMBOLS = "abcdefgh"
LENGTH = 10  # number of symbols


def _copied(delay: int, rng: Rng) -> str:
    symbols = drawn(SYMBOLS, LENGTH, rng)
    return f"{symbols}{'.' * delay}|{symbols}"


COPY = Task(
    "copy",
    "ten symbols, a delay of any length, and the same ten symbols again",
    SYMBOLS,
    {"": 1 / len(SYMBOLS)},
    {"": LENGTH},
    line=lambda rng: _copied(delay(LONGEST_SPAN - LENGTH, rng), rng) + "\n",
    trials=lambda variant, span, rng: rotations(_copied(span - LENGTH, rng), SYMBOLS),
    queried=LENGTH,
)

# Lines such as ``kd3ax0....ax0...kd3``. Training uses keys whose letter numbers have an even sum,
# trials the others. The span is from the value of the pair to the queried value. Trials query each
# pair equally often at every span. After Arora et al., "Zoology: measuring and improving recall in
# efficient language models", 2023.
LETTERS = "abcdefghijklmnopqrstuvwxyz"
VALUES = "01234567"
PAIRS = (2, 4, 8)
PAIR = 3  # characters: a key of two letters and a value
QUERIES = 4  # per line, at most


def _recall_line(rng: Rng) -> str:
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


def _recall_trials(variant: str, span: int, rng: Rng) -> list[str]:
    pairs = int(variant.split(maxsplit=1)[0])
    after = int(rng.integers(pairs))  # pairs after the queried one
    stated = _pairs(pairs, 1, rng)
    delay = span - (PAIR - 1) - PAIR * after
    return rotations("".join(stated) + "." * delay + stated[pairs - 1 - after], VALUES)


def _pairs(pairs: int, odd: int, rng: Rng) -> list[str]:
    """Draw distinct keys of one half, each with a distinct value."""
    keys: list[str] = []
    while len(keys) < pairs:
        first, second = rng.integers(len(LETTERS), size=2)
        key = LETTERS[first] + LETTERS[second]
        if (first + second) % 2 == odd and key not in keys:
            keys.append(key)
    values = rng.permutation(len(VALUES))[:pairs]
    return [key + VALUES[value] for key, value in zip(keys, values, strict=True)]


RECALL = Task(
    "recall",
    "pairs of a key and a value, queried by key after delays of any length",
    VALUES,
    {f"{pairs} pairs": 1 / pairs for pairs in PAIRS},
    {f"{pairs} pairs": PAIR * pairs - 1 for pairs in PAIRS},
    _recall_line,
    _recall_trials,
)

# Lines such as ``w1i0i1i1r1i0r1w0r0``. The span of a read is the ignored pairs since the write and
# the ``r``. Trials contain no other write or read in between. After Liu et al., "Exposing attention
# glitches with flip-flop language modeling", 2023.
BITS = "01"
EVENTS = 12  # writes and reads per line, approximately


def _flipflop_line(rng: Rng) -> str:
    bit = drawn(BITS, 1, rng)
    parts, since = [f"w{bit}"], 0  # characters since the write
    for _ in range(EVENTS):
        pairs, event = delay(LONGEST_SPAN // 2 - 1, rng), "r"
        since += 2 * pairs + 2
        if since - 1 > LONGEST_SPAN or rng.random() < 1 / 2:
            bit, event, since = drawn(BITS, 1, rng), "w", 0
        parts.append(f"{_ignored(pairs, rng)}{event}{bit}")
    return "".join(parts) + "\n"


def _flipflop_trials(variant: str, span: int, rng: Rng) -> list[str]:
    bit = drawn(BITS, 1, rng)
    return rotations(f"w{bit}{_ignored(span // 2, rng)}r{bit}", BITS)


def _ignored(pairs: int, rng: Rng) -> str:
    return "".join("i" + bit for bit in drawn(BITS, pairs, rng))


FLIPFLOP = Task(
    "flipflop",
    "a bit is written, others are ignored, and the last one written is read",
    BITS,
    {"": 1 / 2},
    {"": 1},
    _flipflop_line,
    _flipflop_trials,
    stride=2,
)

# Nested brackets of four kinds, in lines such as ``{([]<>)()}``; the query is the outermost closing
# bracket. The pairs in between are independent of it, so that the kind opened last is right once in
# four times. Dyck-k of bounded depth; see Hewitt et al., "RNNs can generate bounded hierarchical
# languages with optimal memory", 2020.
OPENERS, CLOSERS = "([{<", ")]}>"
DEPTH = 3  # of the pairs between the outermost brackets


def _brackets_line(rng: Rng) -> str:
    kind = int(rng.integers(len(OPENERS)))
    pairs = delay(LONGEST_SPAN // 2, rng)
    return OPENERS[kind] + _between(2 * pairs, DEPTH, rng) + CLOSERS[kind] + "\n"


def _brackets_trials(variant: str, span: int, rng: Rng) -> list[str]:
    between = _between(span, DEPTH, rng)
    return [opener + between + closer for opener, closer in zip(OPENERS, CLOSERS, strict=True)]


def _between(chars: int, depth: int, rng: Rng) -> str:
    """Draw pairs of exactly ``chars`` characters, an even number, nested up to ``depth``."""
    parts = []
    while chars:
        kind = int(rng.integers(len(OPENERS)))
        inside = 2 * _log_uniform(chars // 2 - 1, rng) if depth > 1 else 0
        parts.append(OPENERS[kind] + _between(inside, depth - 1, rng) + CLOSERS[kind])
        chars -= inside + 2
    return "".join(parts)


BRACKETS = Task(
    "brackets",
    "brackets of four kinds, opened and closed in order, with others between",
    CLOSERS,
    {"": 1 / len(CLOSERS)},
    {"": 2},
    _brackets_line,
    _brackets_trials,
    stride=2,
)

TASKS = {task.name: task for task in (COPY, RECALL, FLIPFLOP, BRACKETS)}  # in order of listings
