"""How much of a sample is new, and how much is copied from the text that the model learned from.

A model that has learned its text by heart writes nothing new, and one that writes noise nothing
else: what is new in text of the same kind that it never read says how much is to be expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from chargen.errors import ChargenError
from chargen.sampling.matching import matches
from chargen.text.vocabulary import Vocabulary

STRETCHES = 8  # of held-out text at most, as long as the sample each
LENGTHS = (2, 3, 4, 6, 8, *(n << k for k in range(2, 24) for n in (3, 4)))


@dataclass(frozen=True)
class New:
    """What share of all stretches of ``chars`` characters the training text does not have."""

    chars: int
    sample: float  # of those in the sample, 0 .. 1
    held_out: tuple[float, ...]  # of those in each stretch of held-out text


@dataclass(frozen=True)
class Copy:
    """The longest part of the sample that stands in the training text as well."""

    text: str
    sample: int  # in which of the texts of the sample, from 0
    position: int  # where it begins there
    training_position: int  # and in the training text, at one of the places where it stands


@dataclass(frozen=True)
class Novelty:
    """A sample beside its model's training text, and held-out text beside it in the same way."""

    chars: int  # of the sample
    training_chars: int
    stretch_chars: int  # of each stretch of held-out text
    longest: Copy
    held_out_longest: tuple[int, ...]  # the longest copy in each stretch
    new: tuple[New, ...]  # by length

    def to_json(self) -> dict[str, Any]:
        """Plain values; shares are of 1, lengths and positions in characters."""
        return {
            "sample_chars": self.chars,
            "training_chars": self.training_chars,
            "held_out_stretch_chars": self.stretch_chars,
            "longest_copy": {"chars": len(self.longest.text), **asdict(self.longest)},
            "held_out_longest_copy_chars": list(self.held_out_longest),
            "new": [
                {"chars": row.chars, "sample_share": row.sample, "held_out_shares": [*row.held_out]}
                for row in self.new
            ],
        }


def measure(
    texts: Sequence[np.ndarray],
    training: np.ndarray,
    held_out: np.ndarray,
    vocabulary: Vocabulary,
    seed: int = 0,
) -> Novelty:
    """Compare ``texts``, ids ``(M,)`` each, and as long stretches of ``held_out``, ``(H,)``.

    The stretches, which do not overlap, are as long as the longest text and drawn by ``seed``;
    where ``held_out`` is shorter there is none. ``training`` is ``(L,)`` and is read once.
    `ChargenError` where the texts are empty.
    """
    longest = max(map(len, texts), default=0)
    if not longest:
        raise ChargenError("novelty: nothing was written that could be compared; raise --length")
    stretches = _drawn(held_out, longest, np.random.default_rng(seed))
    parts = [np.asarray(part, dtype=np.int64) for part in (*texts, *stretches)]
    border = np.array([len(vocabulary)])
    joined = np.concatenate([ids for part in parts for ids in (part, border)])
    lengths, ends = matches(joined, training, len(vocabulary))
    bounds = np.cumsum([len(part) + 1 for part in parts])[:-1]
    found = [part[:-1] for part in np.split(lengths, bounds)]
    own, others = found[: len(texts)], found[len(texts) :]
    return Novelty(
        sum(map(len, own)),
        len(training),
        longest,
        _longest(own, np.split(ends, bounds), texts, vocabulary),
        tuple(int(part.max()) for part in others),
        tuple(_rows(own, others, longest)),
    )


def _drawn(held_out: np.ndarray, chars: int, rng: np.random.Generator) -> list[np.ndarray]:
    places = len(held_out) // chars
    some = np.sort(rng.choice(places, min(places, STRETCHES), replace=False))
    return [held_out[place * chars : (place + 1) * chars] for place in some]


def _longest(
    own: Sequence[np.ndarray],
    ends: Sequence[np.ndarray],
    texts: Sequence[np.ndarray],
    vocabulary: Vocabulary,
) -> Copy:
    number = int(np.argmax([part.max(initial=0) for part in own]))
    last = int(own[number].argmax())
    chars, position = int(own[number][last]), last + 1 - int(own[number][last])
    text = vocabulary.decode(texts[number][position : last + 1])
    return Copy(text, number, position, int(ends[number][last]) - chars)


def _rows(own: Sequence[np.ndarray], others: Sequence[np.ndarray], longest: int) -> list[New]:
    """Up to the first length at which all is new."""
    rows: list[New] = []
    for chars in LENGTHS:
        if chars > longest or (rows and min(rows[-1].sample, *rows[-1].held_out, 1) == 1):
            break
        shares = tuple(_share([part], chars) for part in others)
        rows.append(New(chars, _share(own, chars), shares))
    return rows


def _share(parts: Sequence[np.ndarray], chars: int) -> float:
    """Of all stretches of ``chars`` characters those that are new."""
    ends = np.concatenate([part[chars - 1 :] for part in parts])
    return float((ends < chars).mean())
