"""Share of a sample that is new, and share that is copied from the training text.

A model that memorized its text writes nothing new, and one that writes noise nothing else; the
novelty of held-out text is what to compare with.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from chargen.errors import ChargenError
from chargen.render.report import NO_NUMBER, aligned
from chargen.render.text import counted, visible_line
from chargen.text.memory_map import release
from chargen.text.statistics import hashes
from chargen.text.vocabulary import Vocabulary

MAX_PARTS = 8  # of held-out text
SHOWN = 200  # characters of the longest copy in the table
BLOCK = 2**18  # characters of the training text in memory at once
HIGH = np.uint64(44)  # bits of a hash below the 20 bits that are compared first
LEGEND = (
    "Percent of the substrings of each length that are not in the training text: in the sample,",
    "and in held-out text, as the mean and range of parts as long as the sample.",
)
LENGTHS = (2, 3, 4, 6, 8, *(n << k for k in range(2, 24) for n in (3, 4)))


@dataclass(frozen=True)
class NewShare:
    """Shares of the substrings of ``chars`` characters that are not in the training text."""

    chars: int
    sample_share: float  # of the sample's substrings, 0 .. 1
    held_out_shares: tuple[float, ...]  # of the substrings of each held-out part


@dataclass(frozen=True)
class LongestCopy:
    """The longest substring of the sample that is in the training text."""

    chars: int
    text: str
    sample: int  # number of the text in the sample, from 0
    position: int  # of its first character in that text
    training_position: int  # of one occurrence in the training text


@dataclass(frozen=True)
class Novelty:
    """The novelty of a sample and of held-out text, both against the training text."""

    sample_chars: int
    training_chars: int
    held_out_stretch_chars: int  # of each held-out part
    longest_copy: LongestCopy
    held_out_longest_copy_chars: tuple[int, ...]  # in each part
    new: tuple[NewShare, ...]  # by length


def measure(
    texts: Sequence[np.ndarray],
    training: np.ndarray,
    held_out: np.ndarray,
    vocabulary: Vocabulary,
    seed: int = 0,
) -> Novelty:
    """Measure the novelty of the ``texts`` of a sample, given as ids like ``training``.

    Parts of ``held_out`` as long as the longest text are measured too, if it is long enough.
    """
    longest = max(map(len, texts), default=0)
    if not longest:
        raise ChargenError("novelty: the sample is empty; raise --length")
    held = len(held_out) // longest
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(held, min(held, MAX_PARTS), replace=False))
    parts = [*texts, *(held_out[part * longest : (part + 1) * longest] for part in chosen)]
    find = cache(lambda chars: occurrences(parts, training, chars))
    rows: list[NewShare] = []
    for chars in (chars for chars in LENGTHS if chars <= longest):
        new = [part < 0 for part in find(chars)]
        others = tuple(float(part.mean()) for part in new[len(texts) :])
        rows.append(NewShare(chars, float(np.concatenate(new[: len(texts)]).mean()), others))
        if min(rows[-1].sample_share, *others, 1.0) == 1:
            break

    def longest_in(number: int) -> int:
        """Return the length of the longest copy in a part, between those of two rows."""
        copied = [row.chars for row in rows if (find(row.chars)[number] >= 0).any()]
        least = max(copied, default=0)
        most = min((row.chars for row in rows if row.chars > least), default=longest)
        lengths = range(most + 1)
        longer = lambda chars: bool((find(chars)[number] < 0).all())  # noqa: E731
        return bisect_left(lengths, True, lo=least + 1, key=longer) - 1

    copies = [longest_in(number) for number in range(len(parts))]
    number = int(np.argmax(copies[: len(texts)]))
    chars = copies[number]
    places = find(chars)[number] if chars else np.zeros(1, dtype=np.int64)
    start = int(np.argmax(places >= 0))
    copied = vocabulary.decode(texts[number][start : start + chars])
    return Novelty(
        sum(map(len, texts)),
        len(training),
        longest,
        LongestCopy(chars, copied, number, start, int(places[start])),
        tuple(copies[len(texts) :]),
        tuple(rows),
    )


def occurrences(parts: Sequence[np.ndarray], text: np.ndarray, chars: int) -> list[np.ndarray]:
    """Find the substrings of ``chars`` ids of some ``parts`` in ``text``, ids ``(L,)``.

    Returns for each part where its substrings begin in the text by its `hashes`, -1 for nowhere,
    ``(M - chars + 1,)`` int64 for a part of M ids.
    """
    keys = [hashes(part, chars) for part in parts]
    missing = known = np.unique(np.concatenate(keys))
    places = np.full(len(known), -1)
    for start in range(0, len(text), BLOCK):
        found = hashes(text[start : start + BLOCK + chars - 1], chars)
        likely = np.zeros(2**20, dtype=bool)
        likely[missing >> HIGH] = True
        begins = np.flatnonzero(likely[found >> HIGH])
        slots = np.searchsorted(known, found[begins]).clip(max=len(known) - 1)
        same = known[slots] == found[begins]
        places[slots[same]] = start + begins[same]
        release(text)
        missing = known[places < 0]
        if not len(missing):
            break
    return [places[np.searchsorted(known, own)] for own in keys]


def novelty_table(found: Novelty) -> str:
    copy, others = found.longest_copy, found.held_out_longest_copy_chars
    text = f"longest copy: {counted(copy.chars, 'character')} of {found.sample_chars:,}"
    if copy.text:
        text += f", in the training text from character {copy.training_position + 1:,} on"
    if others:
        text += f"; in held-out text {min(others)} to {max(others)}"
    lines = [text]
    if copy.text:
        lines.append(f"  {visible_line(copy.text[:SHOWN])}" + "…" * (copy.chars > SHOWN))
    rows = [["chars", "sample", "held out", "range", ""]]
    for row in found.new:
        shares = [100 * share for share in row.held_out_shares]
        mean = f"{sum(shares) / len(shares):.1f}" if shares else NO_NUMBER
        extent = f"{min(shares):.1f}–{max(shares):.1f}" if shares else ""
        rows.append([f"{row.chars}", f"{100 * row.sample_share:.1f}", mean, extent, ""])
    lines += ["", *aligned(rows)]
    if not others:
        lines += ["", "The held-out text is shorter than the sample, so there is no comparison."]
    return "\n".join([*lines, "", *LEGEND]) + "\n"
