"""Batches of inputs and targets, each ``(N, T)``; targets are the inputs one character later.

Batch ``b`` of epoch ``e`` is a function of the text, the sizes and the seed: a resumed run needs
only these two numbers, and processes that share a batch need no communication about it.
Axes: N sequences in a batch, n of them read here, T timesteps, V characters in the vocabulary.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from chargen.text.memory_map import count_below, rows_at

IGNORED = -100
"""Target that the loss ignores because another window covers it."""

ALL = slice(None)
OPENING_WEIGHT = 10  # few windows start with the character that precedes generated text
ROUNDS = 4  # of the permutation
ODD = np.uint64(0xBF58476D1CE4E5B9)  # of SplitMix64 (Steele, Lea & Flood 2014)


@dataclass(frozen=True, eq=False)
class WindowBatch:
    """All or some rows of a batch, with totals of the whole batch."""

    inputs: np.ndarray  # (n, T) int64
    targets: np.ndarray  # (n, T) int64
    begins: np.ndarray | None  # (n, T) whether the state is reset before an input; None: nowhere
    chars: int  # inputs of the whole batch, N * T
    counts: np.ndarray  # (T,) targets of the whole batch that are not `IGNORED`, by timestep


def one_hot(ids: np.ndarray, size: int) -> np.ndarray:
    """Return ``(N, T)`` ids as ``(N, T, size)`` float32 one-hot vectors."""
    ids = np.asarray(ids, dtype=np.int64)
    if ids.size and not 0 <= ids.min() <= ids.max() < size:
        raise IndexError(f"an id is outside 0..{size - 1}")
    return np.eye(size, dtype=np.float32)[ids]


class _Text:
    """Reads windows of ids ``(L,)`` and of the document starts in them."""

    def __init__(self, ids: np.ndarray, starts: np.ndarray | None) -> None:
        self._ids = ids
        self._starts = None if starts is None or len(starts) < 2 else starts

    def read(self, places: np.ndarray, ignored: np.ndarray, rows: slice) -> WindowBatch:
        """Read ``rows`` of the windows at ``places`` ``(N,)``; ``ignored`` is ``(N, T)``."""
        N, T = ignored.shape
        own = places[rows]
        both = rows_at(self._ids, own[:, None] + np.arange(T + 1))
        inputs, targets = both[:, :-1].astype(np.int64), both[:, 1:].astype(np.int64)
        targets[ignored[rows]] = IGNORED
        return WindowBatch(inputs, targets, self._begins(own, T), N * T, N - ignored.sum(axis=0))

    def _begins(self, places: np.ndarray, timesteps: int) -> np.ndarray | None:
        if self._starts is None:
            return None
        bounds = count_below(self._starts, np.concatenate([places, places + timesteps]))
        first, end = bounds.reshape(2, -1)
        if not (first < end).any():
            return None
        begins = np.zeros((len(places), timesteps), dtype=bool)
        for row in np.flatnonzero(first < end):
            begins[row, self._starts[first[row] : end[row]] - places[row]] = True
        return begins


@dataclass(frozen=True)
class Resets:
    """A random ``share`` of windows that start from a zero state although the state is carried.

    The share is `OPENING_WEIGHT` times as high for windows whose first input is the id ``opening``,
    the character that precedes generated text.
    """

    share: float = 0.0
    opening: int = 0
    seed: int = 0


class Streams:
    """N parallel streams, for state that is carried from batch to batch.

    Row n of batch b + 1 continues row n of batch b. The lengths of the streams differ by at most
    one character; the last batch of an epoch may be shorter. The text is ``ids`` ``(L,)``, with
    L > N * T; ``starts`` are where documents begin, rising from 0, None for one.
    """

    def __init__(
        self,
        ids: np.ndarray,
        batch_size: int,
        timesteps: int,
        starts: np.ndarray | None = None,
        resets: Resets = Resets(),
    ) -> None:
        targets = len(ids) - 1
        if targets < batch_size * timesteps:
            raise ValueError(f"{len(ids)} ids do not fill {batch_size} windows of {timesteps}")
        self._text = _Text(ids, starts)
        self._timesteps = timesteps
        self._resets = resets
        bounds = np.arange(batch_size + 1) * targets // batch_size
        self._starts, self._ends = bounds[:-1], bounds[1:]
        self._longest = int((self._ends - self._starts).max())

    def __len__(self) -> int:
        return math.ceil(self._longest / self._timesteps)

    def batch(self, epoch: int, index: int, rows: slice = ALL) -> WindowBatch:
        """Return ``rows`` of a batch, reading no others; epochs differ only in their resets."""
        offset = range(0, self._longest, self._timesteps)[index]
        timesteps = min(self._timesteps, self._longest - offset)
        places = self._starts + offset
        ignored = np.zeros((len(places), timesteps), dtype=bool)
        # A shorter stream's last step would read its neighbour's first target a second time.
        ignored[:, -1] = places + timesteps > self._ends
        batch = self._text.read(places, ignored, rows)
        resets = self._resets
        points = np.random.default_rng((resets.seed, epoch, index)).random(len(places))
        weights = np.where(batch.inputs[:, 0] == resets.opening, OPENING_WEIGHT, 1)
        fresh = points[rows] < weights * resets.share
        if not fresh.any():
            return batch
        begins = np.zeros(batch.inputs.shape, dtype=bool) if batch.begins is None else batch.begins
        begins[:, 0] |= fresh
        return replace(batch, begins=begins)


class ShuffledWindows:
    """Windows in random order, for state that is reset at each window; L > T.

    The order and the phase of the windows change every epoch, so that no character is always the
    first of its window.
    """

    def __init__(
        self,
        ids: np.ndarray,
        batch_size: int,
        timesteps: int,
        seed: int,
        starts: np.ndarray | None = None,
    ) -> None:
        if len(ids) - 1 < timesteps:
            raise ValueError(f"{len(ids)} ids do not fill a window of {timesteps}")
        self._text = _Text(ids, starts)
        self._last = len(ids) - 1 - timesteps  # last possible window start
        self._batch_size = batch_size
        self._timesteps = timesteps
        self._seed = seed
        self._windows = math.ceil((len(ids) - 1) / timesteps) + 1  # one more because of the phase

    def __len__(self) -> int:
        return math.ceil(self._windows / self._batch_size)

    def batch(self, epoch: int, index: int, rows: slice = ALL) -> WindowBatch:
        """Return ``rows`` of a batch, reading no others; the last batch may have fewer windows."""
        phase = int(np.random.default_rng((self._seed, epoch)).integers(self._timesteps))
        order = Permutation(self._windows, (self._seed, epoch, 1))
        first = range(0, self._windows, self._batch_size)[index]
        chosen = order.at(np.arange(first, min(first + self._batch_size, self._windows)))
        # Window k owns the targets begin .. begin + T - 1 within the text; at both ends of the text
        # it is moved inward, and targets that it does not own are ignored.
        begins = phase + (chosen - 1) * self._timesteps
        places = begins.clip(0, self._last)
        offsets = places[:, None] + np.arange(self._timesteps) - begins[:, None]
        ignored = (offsets < 0) | (offsets >= self._timesteps)
        return self._text.read(places, ignored, rows)


Batches = Streams | ShuffledWindows


class Permutation:
    """A pseudorandom permutation of ``0 .. size - 1`` that takes no memory.

    Each round is invertible on numbers of ``bits`` bits: a key is added, then the product with an
    odd number is combined with its own high bits. Numbers from ``size`` on are permuted again
    ("cycle walking", Black & Rogaway, Ciphers with Arbitrary Finite Domains, 2002).
    """

    def __init__(self, size: int, seed: tuple[int, ...]) -> None:
        self._size, bits = size, max(2, (size - 1).bit_length())
        self._mask, self._half = np.uint64(2**bits - 1), np.uint64(bits // 2)
        self._keys = np.random.default_rng(seed).integers(2**64, size=ROUNDS, dtype=np.uint64)

    def at(self, places: np.ndarray) -> np.ndarray:
        """Return the elements at ``places``, ``(n,)`` int64 each."""
        found = self._permute(places.astype(np.uint64))
        while (beyond := found >= self._size).any():
            found[beyond] = self._permute(found[beyond])
        return found.astype(np.int64)

    def _permute(self, numbers: np.ndarray) -> np.ndarray:
        for key in self._keys:
            numbers = (numbers + key) * ODD & self._mask
            numbers ^= numbers >> self._half
        return numbers
