"""Share of a sample that is new, and share that is copied from the training text.

A model that memorized its text writes nothing new, and one that writes noise nothing else; the
novelty of held-out text is what to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chargen.errors import ChargenError
from chargen.render.report import NO_NUMBER, aligned
from chargen.render.text import counted, visible_line
from chargen.text.suffix_automaton import matches
from chargen.text.vocabulary import Vocabulary

MAX_PARTS = 8  # of held-out text
SHOWN = 200  # characters of the longest copy in the table
LEGEND = (
    "Percent of the substrings of each length that are not in the training text: in the sample,",
    "and in held-out text, as the mean and range of parts as long as the sample.",
)
LENGTHS = (2, 3, 4, 6, 8, *(n << k for k in range(2, 24) for n in (3, 4)))


@dataclass(frozen=True)
class NewShare:
    """Shares of the substrings of ``chars`` characters that are not in the training text."""

    chars: int
    sample: float  # of the sample's substrings, 0 .. 1
    held_out: tuple[float, ...]  # of the substrings of each held-out part


@dataclass(frozen=True)
class Novelty:
    """The novelty of a sample and of held-out text, both against the training text."""

    chars: int  # of the sample
    training_chars: int
    part_chars: int  # of each held-out part
    longest: str  # the longest substring of the sample that is in the training text
    text: int  # number of its text in the sample, from 0
    position: int  # of its first character in that text
    training_position: int  # of one occurrence in the training text
    held_out_longest: tuple[int, ...]  # the longest copy in each part
    new: tuple[NewShare, ...]  # by length

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; shares are of 1, lengths and positions in characters."""
        copy = {"chars": len(self.longest), "text": self.longest, "sample": self.text}
        places = {"position": self.position, "training_position": self.training_position}
        return {
            "sample_chars": self.chars,
            "training_chars": self.training_chars,
            "held_out_stretch_chars": self.part_chars,
            "longest_copy": copy | places,
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
    """Measure the novelty of the ``texts`` of a sample, given as ids like ``training``.

    Random parts of ``held_out`` that do not overlap, as long as the longest text of the sample, are
    measured too; a shorter text has no parts. `ChargenError` if the texts are empty.
    """
    longest = max(map(len, texts), default=0)
    if not longest:
        raise ChargenError("novelty: the sample is empty; raise --length")
    places = len(held_out) // longest
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(places, min(places, MAX_PARTS), replace=False))
    parts = [*texts, *(held_out[place * longest : (place + 1) * longest] for place in chosen)]
    border = [len(vocabulary)]
    joined = np.concatenate([ids for part in parts for ids in (part, border)]).astype(np.int64)
    bounds = np.cumsum([len(part) + 1 for part in parts])[:-1]
    lengths, ends = (np.split(x, bounds) for x in matches(joined, training, len(vocabulary)))
    found = [part[:-1] for part in lengths]
    own, others = found[: len(texts)], found[len(texts) :]
    number = int(np.argmax([part.max(initial=0) for part in own]))
    last = int(own[number].argmax())
    start = last + 1 - int(own[number][last])
    return Novelty(
        chars=sum(map(len, own)),
        training_chars=len(training),
        part_chars=longest,
        longest=vocabulary.decode(texts[number][start : last + 1]),
        text=number,
        position=start,
        training_position=int(ends[number][last]) - (last + 1 - start),
        held_out_longest=tuple(int(part.max()) for part in others),
        new=tuple(_rows(own, others, longest)),
    )


def _rows(own: Sequence[np.ndarray], others: Sequence[np.ndarray], longest: int) -> list[NewShare]:
    """Return a row for each length, up to the first at which everything is new."""

    def share(parts: Sequence[np.ndarray]) -> float:
        ends = np.concatenate([part[chars - 1 :] for part in parts])
        return float((ends < chars).mean())

    rows: list[NewShare] = []
    for chars in LENGTHS:
        if chars > longest or (rows and min(rows[-1].sample, *rows[-1].held_out, 1) == 1):
            break
        rows.append(NewShare(chars, share(own), tuple(share([part]) for part in others)))
    return rows


def novelty_table(found: Novelty) -> str:
    """Return the longest copy and a row for each length, for a terminal."""
    copy = found.longest
    told = f"longest copy: {counted(len(copy), 'character')} of {found.chars:,}"
    if copy:
        told += f", in the training text from character {found.training_position + 1:,} on"
    if found.held_out_longest:
        told += f"; in held-out text {min(found.held_out_longest)} to {max(found.held_out_longest)}"
    lines = [told]
    if copy:
        lines.append(f"  {visible_line(copy[:SHOWN])}" + "…" * (len(copy) > SHOWN))
    rows = [["chars", "sample", "held out", "range", ""]]
    for row in found.new:
        held_out, extent = NO_NUMBER, ""
        if row.held_out:
            held_out = f"{100 * sum(row.held_out) / len(row.held_out):.1f}"
            extent = f"{100 * min(row.held_out):.1f}–{100 * max(row.held_out):.1f}"
        rows.append([f"{row.chars}", f"{100 * row.sample:.1f}", held_out, extent, ""])
    lines += ["", *aligned(rows)]
    if not found.held_out_longest:
        lines += ["", "The held-out text is shorter than the sample, so there is no comparison."]
    return "\n".join([*lines, "", *LEGEND]) + "\n"
