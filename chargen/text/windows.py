"""Batches of inputs and targets, each ``(N, T)``; targets are the inputs one character later.

Batch ``b`` of epoch ``e`` is a function of the text, the sizes and the seed: a resumed run needs
only these two numbers, and processes that share a batch need no communication about it.
Axes: N sequences in a batch, n of them read here, T timesteps, V characters in the vocabulary.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

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
    soft: np.ndarray | None = None  # (n, T, V) float32, a teacher's probabilities of the targets


def one_hot(ids: np.ndarray, size: int) -> np.ndarray:
    """Return ``(N, T)`` ids as ``(N, T, size)`` float32 one-hot vectors."""
    ids = np.asarray(ids, dtype=np.int64)
    if ids.size and not 0 <= ids.min() <= ids.max() < size:
        raise IndexError(f"an id is outside 0..{size - 1}")
    return np.eye(size, dtype=np.float32)[ids]


@dataclass(frozen=True, eq=False)
class _Windows:
    """Windows of ids and of the document starts in them."""

    ids: np.ndarray  # (L,)
    batch_size: int
    timesteps: int
    starts: np.ndarray | None = None  # (D,) where documents begin, rising from 0; None for one
    seed: int = 0
    # Maps positions (n, T) in the text to the `WindowBatch.soft` of the characters there.
    teacher: Callable[[np.ndarray], np.ndarray] | None = field(default=None, kw_only=True)

    def read(self, places: np.ndarray, ignored: np.ndarray, rows: slice) -> WindowBatch:
        """Read ``rows`` of the windows at ``places`` ``(N,)``; ``ignored`` is ``(N, T)``."""
        N, T = ignored.shape
        positions = places[rows, None] + np.arange(T + 1)
        both = rows_at(self.ids, positions)
        inputs, targets = both[:, :-1].astype(np.int64), both[:, 1:].astype(np.int64)
        targets[ignored[rows]] = IGNORED
        begins = self._begins(positions[:, :-1])
        soft = self.teacher and self.teacher(positions[:, 1:])
        return WindowBatch(inputs, targets, begins, N * T, N - ignored.sum(axis=0), soft)

    def _begins(self, positions: np.ndarray) -> np.ndarray | None:
        if self.starts is None or len(self.starts) < 2:
            return None
        nearest = count_below(self.starts, positions).clip(max=len(self.starts) - 1)
        begins: np.ndarray = rows_at(self.starts, nearest) == positions
        return begins if begins.any() else None


@dataclass(frozen=True, eq=False)
class Streams(_Windows):
    """N parallel streams, for state that is carried from batch to batch; L > N * T.

    Row n of batch b + 1 continues row n of batch b. The lengths of the streams differ by at most
    one character; the last batch of an epoch may be shorter. A random share ``resets`` of the rows
    of a batch starts from a zero state. The share is `OPENING_WEIGHT` times as high for rows whose
    first input is the id ``opening``, the character that precedes generated text.
    """

    resets: float = 0.0
    opening: int = 0

    def __post_init__(self) -> None:
        if len(self.ids) - 1 < self.batch_size * self.timesteps:
            raise ValueError(f"{len(self.ids)} ids do not fill {self.batch_size}×{self.timesteps}")

    @property
    def _longest(self) -> int:
        return math.ceil((len(self.ids) - 1) / self.batch_size)

    def __len__(self) -> int:
        return math.ceil(self._longest / self.timesteps)

    def batch(self, epoch: int, index: int, rows: slice = ALL) -> WindowBatch:
        """Return ``rows`` of a batch, reading no others; epochs differ only in their resets."""
        bounds = np.arange(self.batch_size + 1) * (len(self.ids) - 1) // self.batch_size
        offset = range(0, self._longest, self.timesteps)[index]
        timesteps = min(self.timesteps, self._longest - offset)
        places = bounds[:-1] + offset
        ignored = np.zeros((len(places), timesteps), dtype=bool)
        # A shorter stream's last step would read its neighbour's first target a second time.
        ignored[:, -1] = places + timesteps > bounds[1:]
        batch = self.read(places, ignored, rows)
        points = np.random.default_rng((self.seed, epoch, index)).random(len(places))
        weights = np.where(batch.inputs[:, 0] == self.opening, OPENING_WEIGHT, 1)
        fresh = points[rows] < weights * self.resets
        if not fresh.any():
            return batch
        begins = np.zeros(batch.inputs.shape, dtype=bool) if batch.begins is None else batch.begins
        begins[:, 0] |= fresh
        return replace(batch, begins=begins)


@dataclass(frozen=True, eq=False)
class ShuffledWindows(_Windows):
    """Windows in random order, for state that is reset at each window; L > T.

    The order and the phase of the windows change every epoch, so that no character is always the
    first of its window.
    """

    def __post_init__(self) -> None:
        if len(self.ids) - 1 < self.timesteps:
            raise ValueError(f"{len(self.ids)} ids do not fill a window of {self.timesteps}")

    @property
    def _count(self) -> int:
        return math.ceil((len(self.ids) - 1) / self.timesteps) + 1  # one more because of the phase

    def __len__(self) -> int:
        return math.ceil(self._count / self.batch_size)

    def batch(self, epoch: int, index: int, rows: slice = ALL) -> WindowBatch:
        """Return ``rows`` of a batch, reading no others; the last batch may have fewer windows."""
        phase = int(np.random.default_rng((self.seed, epoch)).integers(self.timesteps))
        first = range(0, self._count, self.batch_size)[index]
        chosen = np.arange(first, min(first + self.batch_size, self._count))
        chosen = permuted(chosen, self._count, (self.seed, epoch, 1))
        # Window k owns the targets begin .. begin + T - 1 within the text; at both ends of the text
        # it is moved inward, and targets that it does not own are ignored.
        begins = phase + (chosen - 1) * self.timesteps
        places = begins.clip(0, len(self.ids) - 1 - self.timesteps)
        offsets = places[:, None] + np.arange(self.timesteps) - begins[:, None]
        ignored = (offsets < 0) | (offsets >= self.timesteps)
        return self.read(places, ignored, rows)


Batches = Streams | ShuffledWindows


def permuted(places: np.ndarray, size: int, seed: tuple[int, ...]) -> np.ndarray:
    """Return the elements at ``places`` of a pseudorandom permutation of ``0 .. size - 1``.

    It takes no memory. Each round is invertible on numbers of ``bits`` bits: a key is added, then
    the product with an odd number is combined with its own high bits. Numbers from ``size`` on are
    permuted again ("cycle walking", Black & Rogaway, Ciphers with Arbitrary Finite Domains, 2002).
    """
    bits = max(2, (size - 1).bit_length())
    mask, half = np.uint64(2**bits - 1), np.uint64(bits // 2)
    keys = np.random.default_rng(seed).integers(2**64, size=ROUNDS, dtype=np.uint64)
    found: np.ndarray = places.astype(np.uint64)
    beyond: np.ndarray = np.ones(len(places), dtype=bool)
    while beyond.any():
        numbers = found[beyond]
        for key in keys:
            numbers = (numbers + key) * ODD & mask
            numbers ^= numbers >> half
        found[beyond] = numbers
        beyond = found >= size
    return found.astype(np.int64)
