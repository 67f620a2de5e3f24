"""Ids to batches of inputs and targets, each ``(N, T)``: targets are inputs one character later.

Both ways of cutting a text are random access: batch ``b`` of epoch ``e`` is a function of the
text, the sizes and the seed, so a resumed run needs no more than the two numbers to go on.
Axes: N texts in a batch, T timesteps, V characters in the vocabulary.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

IGNORED = -100
"""Target of a step that counts for nothing, since another window has it already."""

Batch = tuple[np.ndarray, np.ndarray]


class Batches(Protocol):
    """One epoch after another, cut into batches; every character is a target once an epoch."""

    def __len__(self) -> int:
        """Batches in an epoch."""
        ...

    def batch(self, epoch: int, index: int) -> Batch:
        """``(inputs, targets)``, each ``(N, T)`` int64."""
        ...


def window(ids: np.ndarray, start: int, timesteps: int) -> Batch:
    """The window of ``timesteps`` inputs at ``start`` and the targets one later, each ``(T,)``."""
    if start < 0 or start + timesteps >= len(ids):
        raise IndexError(f"window {start}:{start + timesteps} and its targets leave the text")
    return ids[start : start + timesteps], ids[start + 1 : start + timesteps + 1]


def one_hot(ids: np.ndarray, size: int) -> np.ndarray:
    """``(N, T)`` ids to ``(N, T, V)`` float32 one-hot vectors, V = ``size``.

    This is what a recurrent layer means by its input. Training reads row ``ids[n, t]`` of the
    input matrix instead, which is the same product without the array.
    """
    ids = np.asarray(ids, dtype=np.int64)
    if ids.size and not 0 <= ids.min() <= ids.max() < size:
        raise IndexError(f"an id lies outside 0..{size - 1}")
    return np.eye(size, dtype=np.float32)[ids]


def _gather(ids: np.ndarray, starts: np.ndarray, timesteps: int) -> Batch:
    positions = starts[:, None] + np.arange(timesteps)
    return ids[positions].astype(np.int64), ids[positions + 1].astype(np.int64)


class Streams:
    """N streams read side by side, for state that is carried from batch to batch.

    Row n of batch b + 1 continues row n of batch b. The text is cut into N streams whose lengths
    differ by one character at most; the last batch of an epoch is as short as what is left.
    ``ids`` is ``(L,)`` with L > N * T, so that each stream fills one window at least.
    """

    def __init__(self, ids: np.ndarray, batch_size: int, timesteps: int) -> None:
        targets = len(ids) - 1
        if targets < batch_size * timesteps:
            raise ValueError(f"{len(ids)} ids do not fill {batch_size} windows of {timesteps}")
        self._ids = ids
        self._timesteps = timesteps
        bounds = np.arange(batch_size + 1) * targets // batch_size
        self._starts, self._ends = bounds[:-1], bounds[1:]
        self._longest = int((self._ends - self._starts).max())

    def __len__(self) -> int:
        return math.ceil(self._longest / self._timesteps)

    def batch(self, epoch: int, index: int) -> Batch:
        """Batch ``index``, the same in each epoch."""
        offset = range(0, self._longest, self._timesteps)[index]
        timesteps = min(self._timesteps, self._longest - offset)
        starts = self._starts + offset
        inputs, targets = _gather(self._ids, starts, timesteps)
        # A shorter stream's last step would read its neighbour's first target a second time.
        targets[starts + timesteps > self._ends, -1] = IGNORED
        return inputs, targets


class ShuffledWindows:
    """Windows in random order, for state that is reset at each: drawn anew every epoch.

    Where the windows begin shifts by a random phase from epoch to epoch, so that no character is
    forever the first of its window. ``ids`` is ``(L,)`` with L > T; the order is a function of
    ``seed`` and the epoch.
    """

    def __init__(self, ids: np.ndarray, batch_size: int, timesteps: int, seed: int) -> None:
        if len(ids) - 1 < timesteps:
            raise ValueError(f"{len(ids)} ids do not fill a window of {timesteps}")
        self._ids = ids
        self._batch_size = batch_size
        self._timesteps = timesteps
        self._seed = seed
        self._windows = math.ceil((len(ids) - 1) / timesteps) + 1  # one more, for the phase

    def __len__(self) -> int:
        return math.ceil(self._windows / self._batch_size)

    def batch(self, epoch: int, index: int) -> Batch:
        """Batch ``index`` of ``epoch``; the last one holds the windows that are left."""
        generator = np.random.default_rng((self._seed, epoch))
        phase = int(generator.integers(self._timesteps))
        order = generator.permutation(self._windows)
        chosen = order[range(0, self._windows, self._batch_size)[index] :][: self._batch_size]
        # Window k answers for targets begin .. begin + T - 1, as far as the text has them; at both
        # ends of the text it is moved inward, and what it covers beside its own is ignored.
        begins = phase + (chosen - 1) * self._timesteps
        starts = begins.clip(0, len(self._ids) - 1 - self._timesteps)
        inputs, targets = _gather(self._ids, starts, self._timesteps)
        offsets = starts[:, None] + np.arange(self._timesteps) - begins[:, None]
        targets[(offsets < 0) | (offsets >= self._timesteps)] = IGNORED
        return inputs, targets
