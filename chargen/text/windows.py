"""Ids to batches of inputs and targets, each ``(N, T)``: targets are inputs one character later.

Both ways of cutting a text are random access: batch ``b`` of epoch ``e`` is a function of the
text, the sizes and the seed, so a resumed run needs no more than the two numbers to go on, and
processes that share a batch need not talk about who reads what.
Axes: N texts in a batch, n of them read here, T timesteps, V characters in the vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from chargen.text.documents import Documents
from chargen.text.mapped import Reader
from chargen.text.permutation import Permutation

IGNORED = -100
"""Target of a step that counts for nothing, since another window has it already."""

ALL = slice(None)
LIKELIER = 10  # few windows begin so, and it is how what is written begins


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows of a batch, or all of them, and what is known of the whole of it."""

    inputs: np.ndarray  # (n, T) int64
    targets: np.ndarray  # (n, T) int64
    begins: np.ndarray | None  # (n, T) whether an input is read from a zero state; None: none is
    chars: int  # inputs of the whole batch, N * T
    counts: np.ndarray  # (T,) targets of the whole batch that are not `IGNORED`, by timestep

    def counted(self, last: int) -> int:
        """Targets of the whole batch, all N rows, that count in the ``last`` steps, 1 to T."""
        return int(self.counts[-last:].sum())


class Batches(Protocol):
    """One epoch after another, cut into batches; every character is a target once an epoch."""

    def __len__(self) -> int:
        """Batches in an epoch."""
        ...

    def batch(self, epoch: int, index: int, rows: slice = ALL) -> Batch:
        """These ``rows`` of batch ``index`` of ``epoch``; the ids of no others are read."""
        ...


def window(ids: np.ndarray, start: int, timesteps: int) -> tuple[np.ndarray, np.ndarray]:
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


class _Text:
    """Ids ``(L,)`` and where documents begin in them; reads windows of both."""

    def __init__(self, ids: np.ndarray, starts: np.ndarray | None) -> None:
        self._ids = Reader(ids)
        self._documents = None if starts is None or len(starts) < 2 else Documents(starts)

    def read(self, places: np.ndarray, ignored: np.ndarray, rows: slice) -> Batch:
        """The ``rows`` of the windows at ``places`` ``(N,)``; ``ignored`` is ``(N, T)``."""
        N, T = ignored.shape
        own = places[rows]
        both = self._ids.rows(own[:, None] + np.arange(T + 1))
        inputs, targets = both[:, :-1].astype(np.int64), both[:, 1:].astype(np.int64)
        targets[ignored[rows]] = IGNORED
        begins = self._documents.begins(own, T) if self._documents else None
        return Batch(inputs, targets, begins, N * T, N - ignored.sum(axis=0))


@dataclass(frozen=True)
class Resets:
    """Which windows begin at a state of zeros though the state before them is carried.

    A ``share`` of them, and `LIKELIER` times that of those whose first input is the id ``opening``:
    what a text begins after that a model writes.
    """

    share: float
    opening: int
    seed: int

    def chosen(self, first: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Of windows with these ``first`` inputs ``(n,)``: ``(n,)`` bool, by points of 0 to 1."""
        shares = np.where(first == self.opening, LIKELIER * self.share, self.share)
        return np.asarray(points < shares)


class Streams:
    """N streams read side by side, for state that is carried from batch to batch.

    Row n of batch b + 1 continues row n of batch b. The text is cut into N streams whose lengths
    differ by one character at most; the last batch of an epoch is as short as what is left.
    ``ids`` is ``(L,)`` with L > N * T, so that each stream fills one window at least; ``starts``
    is `Documents`'s, where the batches are to tell which inputs begin a document. A window that is
    among the ``resets`` says of its first input that it begins one too.
    """

    def __init__(
        self,
        ids: np.ndarray,
        batch_size: int,
        timesteps: int,
        starts: np.ndarray | None = None,
        resets: Resets | None = None,
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

    def batch(self, epoch: int, index: int, rows: slice = ALL) -> Batch:
        """See `Batches.batch`; batch ``index`` is the same in each epoch, but for resets."""
        offset = range(0, self._longest, self._timesteps)[index]
        timesteps = min(self._timesteps, self._longest - offset)
        places = self._starts + offset
        ignored = np.zeros((len(places), timesteps), dtype=bool)
        # A shorter stream's last step would read its neighbour's first target a second time.
        ignored[:, -1] = places + timesteps > self._ends
        batch = self._text.read(places, ignored, rows)
        if self._resets is None:
            return batch
        points = np.random.default_rng((self._resets.seed, epoch, index)).random(len(places))
        fresh = self._resets.chosen(batch.inputs[:, 0], points[rows])
        if not fresh.any():
            return batch
        begins = np.zeros(batch.inputs.shape, dtype=bool) if batch.begins is None else batch.begins
        begins[:, 0] |= fresh
        return replace(batch, begins=begins)


class ShuffledWindows:
    """Windows in random order, for state that is reset at each: drawn anew every epoch.

    Where the windows begin shifts by a random phase from epoch to epoch, so that no character is
    forever the first of its window. ``ids`` is ``(L,)`` with L > T; the order is a function of
    ``seed`` and the epoch, and takes no memory however long the text is. ``starts`` is as in
    `Streams`.
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
        self._last = len(ids) - 1 - timesteps  # where a window can begin
        self._batch_size = batch_size
        self._timesteps = timesteps
        self._seed = seed
        self._windows = math.ceil((len(ids) - 1) / timesteps) + 1  # one more, for the phase

    def __len__(self) -> int:
        return math.ceil(self._windows / self._batch_size)

    def batch(self, epoch: int, index: int, rows: slice = ALL) -> Batch:
        """See `Batches.batch`; the last batch holds the windows that are left."""
        phase = int(np.random.default_rng((self._seed, epoch)).integers(self._timesteps))
        order = Permutation(self._windows, (self._seed, epoch, 1))
        first = range(0, self._windows, self._batch_size)[index]
        chosen = order.at(np.arange(first, min(first + self._batch_size, self._windows)))
        # Window k answers for targets begin .. begin + T - 1, as far as the text has them; at both
        # ends of the text it is moved inward, and what it covers beside its own is ignored.
        begins = phase + (chosen - 1) * self._timesteps
        places = begins.clip(0, self._last)
        offsets = places[:, None] + np.arange(self._timesteps) - begins[:, None]
        ignored = (offsets < 0) | (offsets >= self._timesteps)
        return self._text.read(places, ignored, rows)
