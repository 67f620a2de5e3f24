"""Blocks of positions in a text, with the text that replaces what stands before them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from chargen.evaluation import Segments, check_swap_text
from chargen.probes.context.result import BLOCK
from chargen.probes.statistics.intervals import FEWEST_BLOCKS

CONTINUATION_CHARS = 8  # least length, except at the end of a block
SPACE = re.compile(r"\s")
FEWEST_POSITIONS = FEWEST_BLOCKS * BLOCK  # a text with room for fewer is refused


@dataclass(frozen=True, eq=False)
class Blocks:
    """K blocks of up to `BLOCK` positions in one document, each with a replacement text."""

    contexts: tuple[int, ...]  # ascending from 0
    full: int  # characters of full context, fewer where the document begins
    begins: np.ndarray  # (K,) first position of each block
    ends: np.ndarray  # (K,) one past its last position
    lows: np.ndarray  # (K,) first character of its document
    swaps: np.ndarray  # (K,) first character of each replacement text
    separate: bool  # replacement texts are from other documents

    @classmethod
    def of(
        cls,
        length: int,
        contexts: Sequence[int],
        positions: int,
        rng: np.random.Generator,
        documents: np.ndarray,
        swap_ids: np.ndarray | None = None,
    ) -> "Blocks | None":
        """Draw the blocks in a text of ``length`` characters; None if it is too short."""
        kept = tuple(n for n in contexts if length >= shortest_text(n))
        if not kept:
            return None
        full = 2 * kept[-1]
        first, edges = full if len(documents) == 1 else 1, np.append(documents, length)
        K = min(-(-positions // BLOCK), (length - first) // BLOCK)
        shares = first + np.arange(K + 1) * (length - first) // K
        windows = rng.integers(shares[:-1], shares[1:] - BLOCK + 1)
        # A window is cut where a document begins, whose first character has no context.
        cuts = np.searchsorted(documents, windows + BLOCK - 1, side="right")
        counts = cuts - np.searchsorted(documents, windows, side="right") + 1
        own = np.repeat(cuts - counts, counts) + np.concatenate([*map(np.arange, counts)])
        windows, lows, highs = np.repeat(windows, counts), edges[own], edges[own + 1]
        begins, ends = np.maximum(windows, lows + 1), np.minimum(windows + BLOCK, highs)
        begins, ends, lows, highs = (x[begins < ends] for x in (begins, ends, lows, highs))
        separate = True
        if swap_ids is not None:
            check_swap_text(len(swap_ids), full)
            swaps = rng.integers(0, len(swap_ids) - full + 1, len(begins))
        elif (np.maximum(edges[:-1], length - edges[1:]) >= full).all():
            swaps = elsewhere(length, full, lows, highs, rng)
            # A document is replaced from its beginning by another one from its beginning.
            other = documents[np.searchsorted(documents, swaps, side="right") - 1]
            swaps = np.where(begins - lows < full, other, swaps)
        else:  # no other document is long enough
            separate, starts = False, np.maximum(begins - full, lows)
            swaps = elsewhere(length, full, starts, begins + BLOCK, rng)
        return cls((0, *kept), full, begins, ends, lows, swaps, separate)

    def __len__(self) -> int:
        return len(self.begins)

    def __getitem__(self, rows: np.ndarray) -> "Blocks":
        parts = {name: getattr(self, name)[rows] for name in ("begins", "ends", "lows", "swaps")}
        return replace(self, **parts)

    @property
    def targets(self) -> np.ndarray:
        """The positions ``(K, BLOCK)``, past the end of a shorter block too."""
        return self.begins[:, None] + np.arange(BLOCK)

    @property
    def counted(self) -> np.ndarray:
        """Return which of `targets` lie in their block, ``(K, BLOCK)``."""
        return self.targets < self.ends[:, None]

    @property
    def starts(self) -> np.ndarray:
        """Return the first character of each full context, ``(K,)``."""
        return np.maximum(self.begins - self.full, self.lows)

    @property
    def fresh(self) -> np.ndarray:
        """Return which blocks have their document's beginning in their full context, ``(K,)``."""
        return self.begins - self.lows < self.full

    @property
    def with_full_context(self) -> Segments:
        return Segments(self.starts, self.begins, self.begins + BLOCK)

    def with_context(self, context: int) -> Segments:
        """The reads that predict all positions with a context: equally many per block."""
        length = read_length(context)
        begins = (self.begins[:, None] + np.arange(0, BLOCK, length)).reshape(-1)
        starts = np.maximum(begins - context, np.repeat(self.starts, BLOCK // length))
        return Segments(starts, begins, begins + length)

    def continuations(self, text: str) -> "Blocks":
        """Return the blocks as continuations, each cut at the end of a word if it can be."""
        least = np.minimum(self.begins + CONTINUATION_CHARS, self.ends)
        spaces = map(SPACE.search, [text] * len(self), least.tolist(), self.ends.tolist())
        found = [space.start() if space else -1 for space in spaces]
        return replace(self, ends=np.maximum(least, found))

    def reads(self) -> dict[int, list[tuple[int, np.ndarray]]]:
        """Return places in ``contexts`` and rows by their replacement text."""
        own = self.begins - self.starts
        rounded = np.where(self.fresh, 1 << np.frexp(own)[1] - 1, own)
        chars = np.maximum(rounded - np.array(self.contexts)[:, None], 1)  # (1 + C, K)
        return {
            stop: [(n, np.flatnonzero(row == stop)) for n, row in enumerate(chars) if stop in row]
            for stop in np.unique(chars).tolist()
        }


def read_length(context: int) -> int:
    """Return the number of positions that one read predicts: a power of two, 1 to `BLOCK`."""
    return 1 << min(max(1, context // 16), BLOCK).bit_length() - 1


def shortest_text(context: int) -> int:
    """Return the shortest text with room for the fewest positions and their replacement texts."""
    full = 2 * context
    return max(3 * full + BLOCK, full + FEWEST_POSITIONS)


def elsewhere(
    length: int, chars: int, lows: np.ndarray, highs: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw where parts of ``chars`` characters start, uniformly outside ``lows .. highs - 1``."""
    left = (lows - chars + 1).clip(min=0)
    right = (length - chars - highs + 1).clip(min=0)
    drawn = rng.integers(0, left + right)
    return np.where(drawn < left, drawn, highs + drawn - left)
