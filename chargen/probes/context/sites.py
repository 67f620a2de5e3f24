"""Where in a text the truncation instrument predicts, and what other text goes before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chargen.evaluation import Segments
from chargen.predictors import State, select

BLOCK = 32  # positions side by side; whole blocks are what the bootstrap draws
FEWEST_POSITIONS = 2000  # fewer are not measured, unless fewer were asked for


@dataclass(frozen=True)
class Stretches:
    """The segments that are read with one context length, block after block."""

    blocks: np.ndarray  # (N,) the block of each segment
    segments: Segments

    def states(self, state: State) -> State:
        """Of the blocks' states, each stretch's own."""
        return select(state, self.blocks)


@dataclass(frozen=True)
class Sites:
    """K blocks of positions, and another part of the same text for each."""

    contexts: tuple[int, ...]  # ascending
    full: int  # characters before a block that "all" means
    begins: np.ndarray  # (K,) the first position of each block
    swaps: np.ndarray  # (K,) where its ``full`` characters of other text start

    @classmethod
    def of(
        cls, length: int, contexts: Sequence[int], positions: int, rng: np.random.Generator
    ) -> Sites | None:
        """Blocks in a text of ``length`` characters; None if it is too short for any context."""
        fewest = min(positions, FEWEST_POSITIONS)
        kept = tuple(n for n in contexts if length >= shortest_text(n, fewest))
        if not kept:
            return None
        full = 2 * kept[-1]
        K = -(-min(positions, (length - full) // BLOCK * BLOCK) // BLOCK)
        shares = full + np.arange(K + 1) * (length - full) // K
        begins = rng.integers(shares[:-1], shares[1:] - BLOCK + 1)
        swaps = elsewhere(length, full, begins - full, begins + BLOCK, rng)
        return cls(kept, full, begins, swaps)

    def stretches(self, context: int) -> Stretches:
        """The K BLOCK positions with ``context`` characters in view, `stretch` of them a read."""
        long = stretch(context)
        blocks = np.repeat(np.arange(len(self.begins)), BLOCK // long)
        begins = (self.begins[:, None] + np.arange(0, BLOCK, long)).reshape(-1)
        return Stretches(blocks, Segments(begins - context, begins, begins + long))


def elsewhere(
    length: int, chars: int, lows: np.ndarray, highs: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw where N parts of a text start that do not overlap ``lows .. highs - 1``.

    Each part has ``chars`` characters and is drawn uniformly from all such parts of a text of
    ``length`` characters; ``lows`` and ``highs`` are ``(N,)``.

    Raises:
        ValueError: A row has no such part.
    """
    left = (lows - chars + 1).clip(min=0)
    right = (length - chars - highs + 1).clip(min=0)
    if not (left + right).all():
        raise ValueError(f"no {chars} characters of {length} lie outside every row's own")
    drawn = rng.integers(0, left + right)
    return np.where(drawn < left, drawn, highs + drawn - left)


def stretch(context: int) -> int:
    """How many positions one read serves: a power of two, 1/16 of the context at most."""
    return 1 << min(max(1, context // 16), BLOCK).bit_length() - 1


def shortest_text(context: int, positions: int) -> int:
    """The characters in which so many positions, and other text for each, surely find room."""
    full = 2 * context
    return max(3 * full + BLOCK, full + -(-positions // BLOCK) * BLOCK)


def shuffled_documents(ids: np.ndarray, chars: int, rng: np.random.Generator) -> np.ndarray:
    """The text ``(L,)`` cut into documents of ``chars`` characters, dealt in another order.

    A control: beyond the length of a document what went before says nothing more, so that no
    instrument may show a gain there. A rest shorter than a document is left out.
    """
    documents = ids[: len(ids) // chars * chars].reshape(-1, chars)
    shuffled: np.ndarray = rng.permutation(documents).reshape(-1)
    return shuffled
