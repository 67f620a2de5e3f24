"""Context instrument: excess bits when all but the last n characters are replaced.

Two ways of replacing: *swap* puts another part of the same text in their place, which keeps the
hidden state natural; *reset* starts at the last n characters from the zero state. After
Khandelwal et al., "Sharp nearby, fuzzy far away: how neural language models use context", 2018
(arXiv 1805.04623), applied to characters.

Axes: K blocks of positions, C contexts, L characters of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chargen.evaluation import Meter, Segments, nats_to_bits, states_after, surprisals
from chargen.files import Progress
from chargen.predictors import NextCharPredictor, State, select
from chargen.probes.context.result import BLOCK, THRESHOLD_BITS, ContextResult, ContextRow
from chargen.probes.statistics.intervals import Estimate, block_bootstrap

CONTEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
POSITIONS = 4096
FEWEST_POSITIONS = 2000  # a text with room for fewer is refused
BURN_IN_PARTS = 8


def measure(
    predictor: NextCharPredictor,
    ids: np.ndarray,
    *,
    contexts: Sequence[int] = CONTEXTS,
    positions: int = POSITIONS,
    seed: int = 0,
    trained_timesteps: int | None = None,
    progress: Progress = lambda done, total: None,
) -> ContextResult:
    """Measure the excess bits of each context at the same positions of a text.

    The positions lie in blocks of 32, spread evenly over the text, each block at a random place
    within its share. Full context is twice the longest of ``contexts`` before the block. Excess is
    paired: at each position, bits with the last n characters - bits with full context. Intervals
    are from a bootstrap of blocks. The effective context length is the smallest n from which the
    upper bound of the swap excess stays under `THRESHOLD_BITS`; its interval is the central 95% of
    the same statistic over the bootstrap draws, each raised by the distance from the mean excess
    to its upper bound.

    Below n = 32 each position has exactly n characters of context. From 32 on, one read predicts
    n/16 positions, at most 32: the first has n characters of context, the last n/16 - 1 more. No
    position has fewer than n, so a predictor that remembers m characters has no excess from n = m
    on. The replacement text is read once per block. All reading but reset starts from one
    burned-in state, see `BurnedIn`.

    Args:
        predictor: the model under test.
        ids: text that the model was not trained on, ``(L,)``. Contexts too long for it are left
            out; a text with room for fewer than 2,000 positions (or ``positions``) is refused.
        contexts: context lengths in characters.
        positions: number of predicted characters.
        seed: seed of positions, replacements and bootstrap.
        trained_timesteps: BPTT length in training, to be marked.
        progress: called with the characters read and their total.
    """
    if not contexts or min(contexts) < 1 or positions < 1:
        raise ValueError(f"contexts {contexts} and positions {positions} must be above 0")
    blocks = Blocks.of(len(ids), sorted({*contexts}), positions, np.random.default_rng([seed, 0]))
    if blocks is None:
        needed = shortest_text(min(contexts), min(positions, FEWEST_POSITIONS))
        refusal = f"not measured: the text has {len(ids)} characters, at least {needed} are needed"
        nothing = (None,) * 3
        return ContextResult(
            seed, trained_timesteps, 0, 0, None, (), *nothing, refusal=refusal, chars=len(ids)
        )
    full, limited = _read(predictor, ids, blocks, progress)
    means, draws = _statistics(full, limited, np.random.default_rng([seed, 1]))
    rows = _rows(blocks.contexts, means, draws, trained_timesteps)
    return ContextResult(
        seed,
        trained_timesteps,
        full.size,
        blocks.full,
        float(full.mean()),
        rows,
        *_effective((0, *blocks.contexts), rows, means, draws),
        chars=len(ids),
        block_bits=tuple(full.sum(axis=1).tolist()),
    )


@dataclass(frozen=True)
class Blocks:
    """K blocks of `BLOCK` positions, each with a replacement text for what stands before it."""

    contexts: tuple[int, ...]  # ascending
    full: int  # characters of full context
    begins: np.ndarray  # (K,) first position of each block
    swaps: np.ndarray  # (K,) first of the ``full`` characters of each replacement text

    @classmethod
    def of(
        cls, length: int, contexts: Sequence[int], positions: int, rng: np.random.Generator
    ) -> Blocks | None:
        """Draw the blocks in a text of ``length`` characters; None if it is too short."""
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

    @property
    def with_full_context(self) -> Segments:
        """The blocks, each with its full context."""
        return Segments(self.begins - self.full, self.begins, self.begins + BLOCK)

    def with_context(self, context: int) -> Segments:
        """The reads that predict all positions with a context: equally many per block."""
        length = read_length(context)
        begins = (self.begins[:, None] + np.arange(0, BLOCK, length)).reshape(-1)
        return Segments(begins - context, begins, begins + length)


def read_length(context: int) -> int:
    """Return the number of positions that one read predicts: a power of two, 1 to `BLOCK`."""
    return 1 << min(max(1, context // 16), BLOCK).bit_length() - 1


def shortest_text(context: int, positions: int) -> int:
    """Return the shortest text with room for ``positions`` and their replacement texts."""
    full = 2 * context
    return max(3 * full + BLOCK, full + -(-positions // BLOCK) * BLOCK)


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


class BurnedIn:
    """A predictor whose initial state is the one after a burn-in text, not the zero state.

    A network is rarely in the zero state during training. From there a few first characters can
    lead to a state that spoils the predictions for thousands of characters, for any later text. The
    burn-in text ``(M,)`` is therefore read in eight parts from the zero state, and the state after
    the part with the median loss becomes the initial state.
    """

    def __init__(self, predictor: NextCharPredictor, ids: np.ndarray) -> None:
        self.vocabulary = predictor.vocabulary
        self._predictor = predictor
        chars = max(1, len(ids) // BURN_IN_PARTS)
        parts = ids[: len(ids) // chars * chars].reshape(-1, chars)[:BURN_IN_PARTS]
        log_probs, state = predictor.advance(parts.astype(np.int64))
        own = parts[:, 1:, None].astype(np.int64)
        nats = -np.take_along_axis(log_probs[:, :-1], own, axis=2).astype(np.float64)
        order = np.argsort(nats.sum(axis=(1, 2)), kind="stable")
        self._state = select(state, order[[(len(order) - 1) // 2]])

    def advance(self, ids: np.ndarray, state: State = None) -> tuple[np.ndarray, State]:
        """See `NextCharPredictor.advance`."""
        if state is None:
            state = select(self._state, np.zeros(len(ids), dtype=np.int64))
        return self._predictor.advance(ids, state)


def _read(
    predictor: NextCharPredictor, ids: np.ndarray, blocks: Blocks, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bits with full context, ``(K, BLOCK)``, and limited, ``(2, 1 + C, K, BLOCK)``.

    The first axis is swap, reset; the second context 0, which reset lacks, and ``contexts``.
    """
    K, whole = len(blocks.begins), blocks.with_full_context
    reads = [blocks.with_context(n) for n in blocks.contexts]
    total = whole.chars + K * blocks.full + sum(2 * read.chars for read in reads)
    on_read = Meter(progress, total).read
    burned_in = BurnedIn(predictor, ids[: blocks.full])
    full = surprisals(burned_in, ids, whole, None, on_read)
    limited = np.zeros((2, 1 + len(reads), *full.shape))
    lengths = [blocks.full - n for n in (*blocks.contexts[::-1], 0)]
    swapped = states_after(burned_in, ids, blocks.swaps, lengths, on_read)
    for place, (_, last, state) in zip(range(len(reads), -1, -1), swapped, strict=True):
        if place == 0:
            targets = ids[blocks.begins[:, None] + np.arange(BLOCK)].astype(np.int64)
            nats = -np.take_along_axis(last, targets, axis=1).astype(np.float64)
            limited[:, 0] = nats_to_bits(nats)
            continue
        read = reads[place - 1]
        after = select(state, np.repeat(np.arange(K), len(read) // K))
        for way, before in enumerate((after, None)):
            bits = surprisals(predictor, ids, read, before, on_read)
            limited[way, place] = bits.reshape(full.shape)
    return full, limited


def _statistics(
    full: np.ndarray, limited: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean excess of swap, of reset and their difference, and bootstrap draws of it.

    They are ``(3, 1 + C)`` and ``(draws, 3, 1 + C)``, in bits per character.
    """
    swap, reset = limited - full
    sums = np.stack([swap, reset, reset - swap]).sum(axis=3)  # (3, 1 + C, K)
    means = sums.sum(axis=2) / full.size
    K = len(full)
    draws = block_bootstrap(sums.reshape(-1, K).T, np.full(K, full.shape[1]), rng)
    return means, draws.reshape(-1, *means.shape)


def _rows(
    contexts: Sequence[int], means: np.ndarray, draws: np.ndarray, timesteps: int | None
) -> tuple[ContextRow, ...]:
    rows = []
    for place, n in enumerate((0, *contexts)):
        found = [Estimate.of(float(means[i, place]), draws[:, i, place]) for i in range(3)]
        beyond = None if timesteps is None else n > timesteps
        most = n + read_length(n) - 1 if n else 0
        rows.append(ContextRow(n, most, beyond, *(found if n else found[:1])))
    return tuple(rows)


def _effective(
    contexts: Sequence[int], rows: Sequence[ContextRow], means: np.ndarray, draws: np.ndarray
) -> tuple[int | None, int | None, int | None]:
    """Return the effective context length and its bounds; None is beyond the longest context."""
    highs = np.array([row.swap.high for row in rows])
    places = _first_settled(draws[:, 0] + (highs - means[0]) < THRESHOLD_BITS)
    low, high = np.quantile(places, [0.025, 0.975], method="inverted_cdf").astype(int)
    (place,) = _first_settled(highs[None] < THRESHOLD_BITS)
    named = [*contexts, None]
    return named[place], named[min(low, place)], named[max(high, place)]


def _first_settled(under: np.ndarray) -> np.ndarray:
    """Return the first column from which on each row ``(N, M)`` is true, or M: ``(N,)``."""
    trailing = np.logical_and.accumulate(under[:, ::-1], axis=1).sum(axis=1)
    settled: np.ndarray = under.shape[1] - trailing
    return settled
