"""Reading parts of a text side by side, and putting other text in the place of what came before.

Axes: N rows read side by side, T timesteps, V characters, L characters of text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import log

import numpy as np

from chargen.predictors import NextCharPredictor, State, select
from chargen.probes import Progress

CHUNK_FLOATS = 2**20  # log-probabilities held at a time: 4 MB, whatever the vocabulary
ROWS = 256  # read side by side at most: more would take memory and gain no speed

Read = Callable[[int], None]
"""Told how many characters more were read."""


class Meter:
    """Counts characters for `Progress`."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress = progress
        self.total = total
        self.done = 0

    def read(self, chars: int) -> None:
        """``chars`` more were read."""
        self.done += chars
        self.progress(self.done, self.total)


def bits(
    predictor: NextCharPredictor,
    ids: np.ndarray,
    starts: np.ndarray,
    begins: np.ndarray,
    ends: np.ndarray,
    state: State = None,
    read: Read = lambda chars: None,
) -> np.ndarray:
    """Bits that characters of ``ids``, ``(L,)``, cost a predictor: ``(N, longest)`` float64.

    Row n reads the text from ``starts[n]`` on, from row n of ``state``, and tells the bits of
    characters ``begins[n]`` to ``ends[n] - 1``, where ``starts < begins < ends``, each ``(N,)``;
    a row that tells fewer than the longest ends in zeros. Rows that end at different distances
    are read on to the end of the longest, which cannot change what an earlier character cost.
    """
    out = np.zeros((len(starts), int((ends - begins).max())))
    for rows in _batches(len(starts)):
        some = select(state, rows)
        found = _bits(predictor, ids, starts[rows], begins[rows], ends[rows], some, read)
        out[rows, : found.shape[1]] = found
    return out


def cost(starts: np.ndarray, ends: np.ndarray) -> int:
    """The characters that `bits` reads."""
    lengths = ends - 1 - starts
    return sum(len(rows) * int(lengths[rows].max()) for rows in _batches(len(starts)))


def _batches(N: int) -> Iterator[np.ndarray]:
    for first in range(0, N, ROWS):
        yield np.arange(first, min(first + ROWS, N))


def _bits(
    predictor: NextCharPredictor,
    ids: np.ndarray,
    starts: np.ndarray,
    begins: np.ndarray,
    ends: np.ndarray,
    state: State,
    read: Read,
) -> np.ndarray:
    out = np.zeros((len(starts), int((ends - begins).max())))
    for log_probs, targets in predicted(predictor, ids, starts, ends, state, read):
        rows, columns = np.nonzero((targets >= begins[:, None]) & (targets < ends[:, None]))
        places = targets[rows, columns]
        out[rows, places - begins[rows]] = bits_of(log_probs[rows, columns, ids[places]])
    return out


def predicted(
    predictor: NextCharPredictor,
    ids: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    state: State = None,
    read: Read = lambda chars: None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Read N parts of ``ids``, ``(L,)``, side by side: ``starts[n]`` to ``ends[n] - 1``.

    Yields, piece by piece, log-probabilities ``(N, t, V)`` and which characters they are of,
    ``(N, t)``: the first of a row is that of ``starts[n] + 1``. Rows that end earlier are read on
    to the end of the longest, and beyond the text's.
    """
    for steps in chunks(predictor, len(starts), int((ends - 1 - starts).max())):
        targets = starts[:, None] + steps + 1
        # A row that is done may leave the text, where what it reads no longer matters.
        inputs = ids[(targets - 1).clip(max=len(ids) - 1)].astype(np.int64)
        log_probs, state = predictor.advance(inputs, state)
        yield log_probs, targets
        read(inputs.size)


def bits_of(log_probs: np.ndarray) -> np.ndarray:
    """What characters of these log-probabilities, in nats, cost in bits, float64."""
    return -np.asarray(log_probs, dtype=np.float64) / log(2)


def chunks(predictor: NextCharPredictor, N: int, T: int) -> Iterator[np.ndarray]:
    """The steps of ``(N, T)`` in pieces whose log-probabilities take little memory."""
    chunk = max(1, CHUNK_FLOATS // (N * len(predictor.vocabulary)))
    for first in range(0, T, chunk):
        yield np.arange(first, min(first + chunk, T))


def states_after(
    predictor: NextCharPredictor,
    ids: np.ndarray,
    starts: np.ndarray,
    lengths: Sequence[int],
    read: Read = lambda chars: None,
) -> Iterator[tuple[int, np.ndarray, State]]:
    """Read N parts of ``ids`` once and stop at each of ``lengths``, ascending and above 0.

    Yields the length, the distribution of the next character, ``(N, V)`` in nats, and the state.
    """
    state: State = None
    before = 0
    for length in lengths:
        last: np.ndarray = np.empty(0)
        for steps in chunks(predictor, len(starts), length - before):
            inputs = ids[starts[:, None] + before + steps].astype(np.int64)
            log_probs, state = predictor.advance(inputs, state)
            last = log_probs[:, -1]
            read(inputs.size)
        before = length
        yield length, last, state


def elsewhere(
    length: int, chars: int, lows: np.ndarray, highs: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Where N parts of ``chars`` characters start that share none with ``lows .. highs - 1``.

    Each is drawn evenly from all such parts of a text of ``length`` characters; ``lows`` and
    ``highs`` are ``(N,)``. A row that has no such part is a ``ValueError``.
    """
    left = (lows - chars + 1).clip(min=0)
    right = (length - chars - highs + 1).clip(min=0)
    if not (left + right).all():
        raise ValueError(f"no {chars} characters of {length} lie outside every row's own")
    drawn = rng.integers(0, left + right)
    return np.where(drawn < left, drawn, highs + drawn - left)
