"""How well a predictor predicts a text: every character once, each from the text before it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from chargen.predictors import NextCharPredictor, State
from chargen.text.mapped import Reader

WARM_UP = 512  # characters that a stream reads before its first one counts
STREAMS = 64  # read side by side at most
FLOATS_AT_ONCE = 2**20  # of log-probabilities held in memory
DOCUMENTS = 2**16  # sorted by length at once


def nats_to_bits(nats: float) -> float:
    """1 bit is ln 2 nats: what an ideal compressor would need a character."""
    return nats / math.log(2)


@dataclass(frozen=True)
class Evaluation:
    """Loss and accuracy over ``chars`` characters, each predicted once."""

    loss_nats: float  # mean negative log-probability of the next character
    accuracy: float  # share of characters that were the likeliest
    chars: int

    @property
    def bits_per_char(self) -> float:
        """The loss in bits."""
        return nats_to_bits(self.loss_nats)

    @property
    def perplexity(self) -> float:
        """e to the loss: as uncertain as a fair choice among this many characters."""
        return math.exp(self.loss_nats)

    def to_json(self) -> dict[str, float | int]:
        """Plain values under the names that other programs rely on."""
        return {
            "loss_nats": self.loss_nats,
            "bits_per_char": self.bits_per_char,
            "perplexity": self.perplexity,
            "accuracy": self.accuracy,
            "chars": self.chars,
        }


def evaluate(
    predictor: NextCharPredictor,
    ids: np.ndarray,
    start: int = 1,
    streams: int | None = None,
    starts: np.ndarray | None = None,
) -> Evaluation:
    """Predict ``ids[start:]``, each character from all that stands before it.

    ``ids`` is ``(L,)`` and 1 <= ``start`` < L: the first character of all has no text before it.
    The text is read in parallel ``streams``, each warmed on the `WARM_UP` characters before its
    own, which leaves the loss within 0.001 nats of a sequential reading; ``streams=1`` is that
    reading, from `WARM_UP` before ``start`` on.

    Where ``starts`` ``(D,)`` int64, rising from 0, says where documents begin, nothing is
    remembered from one to the next: a character is predicted from what stands before it in its own
    document, a document's first one from the document before, as in training. Documents are then
    read side by side, and cut into streams where they are longer than one would be.
    """
    loss, hits = losses(predictor, ids, start, streams, starts) / (len(ids) - start)
    return Evaluation(float(loss), float(hits), len(ids) - start)


def losses(
    predictor: NextCharPredictor,
    ids: np.ndarray,
    start: int = 1,
    streams: int | None = None,
    starts: np.ndarray | None = None,
    rank: int = 0,
    size: int = 1,
) -> np.ndarray:
    """What process ``rank`` of ``size`` has to do of `evaluate`: ``(2,)`` float64.

    The nats lost and the characters guessed, summed over this process's share of the characters.
    The shares of all processes make the whole, each character once: add them up, and divide by
    ``len(ids) - start``. The memory it takes does not grow with the text.
    """
    if not 1 <= start < len(ids):
        raise ValueError(f"start is {start}, it must be in 1..{len(ids) - 1}")
    text = Reader(ids)
    counts = np.zeros(2)
    for readings in _readings(len(ids), start, streams, starts, rank, size):
        counts = counts + _read(predictor, text, len(ids), readings)
    return counts


@dataclass(frozen=True, eq=False)
class _Readings:
    """Stretches of text that are read side by side, each from zero state: ``(n,)`` each."""

    places: np.ndarray  # of the first character that is read
    begins: np.ndarray  # of the first target that counts
    ends: np.ndarray  # after the last

    def __getitem__(self, chosen: np.ndarray | slice) -> _Readings:
        return _Readings(self.places[chosen], self.begins[chosen], self.ends[chosen])


def _readings(
    chars: int, start: int, streams: int | None, starts: np.ndarray | None, rank: int, size: int
) -> Iterator[_Readings]:
    """What is read side by side, and then the next; ``chars`` is L."""
    if starts is not None and len(starts) > 1:
        yield from _of_documents(chars, start, streams, starts, rank, size)
        return
    # Where the text before is shorter than the warm-up, one stream reads from the very beginning.
    alone = min(max(start, WARM_UP), chars)
    if alone > start and rank == 0:
        yield _Readings(np.array([0]), np.array([start]), np.array([alone]))
    if alone < chars:
        wanted = _wanted(chars - alone, streams)
        bounds = alone + np.arange(wanted + 1) * (chars - alone) // wanted
        own = slice(rank * wanted // size, (rank + 1) * wanted // size)
        if own.start < own.stop:
            yield _Readings(bounds[:-1] - WARM_UP, bounds[:-1], bounds[1:])[own]


def _wanted(chars: int, streams: int | None) -> int:
    return streams or min(STREAMS, max(1, chars // (2 * WARM_UP)))


def _of_documents(
    chars: int, start: int, streams: int | None, starts: np.ndarray, rank: int, size: int
) -> Iterator[_Readings]:
    """Documents, or parts of long ones, that are about as long as each other."""
    longest = -(-(chars - start) // _wanted(chars - start, streams))
    rows = streams or STREAMS
    reader = Reader(starts)
    first = int(np.searchsorted(starts, start - 1, side="right")) - 1
    for block in range(first, len(starts), DOCUMENTS):
        here = starts[block : block + DOCUMENTS + 1].astype(np.int64)
        reader.touched(1, len(here))
        # What is read of a document is all of it; its targets stand one character later.
        begun, ended = here[:DOCUMENTS], here[1:]
        if len(ended) < len(begun):
            ended = np.append(ended, chars)
        begins = np.maximum(begun + 1, start)
        ends = np.minimum(ended + 1, chars)
        pieces = -(-(ends - begins) // longest)  # none where the text ends with a first character
        piece = np.arange(pieces.sum()) - np.repeat(pieces.cumsum() - pieces, pieces)
        begun, begins, ends = (np.repeat(values, pieces) for values in (begun, begins, ends))
        begins = begins + piece * longest
        places = np.maximum(begun, begins - WARM_UP)
        readings = _Readings(places, begins, np.minimum(ends, begins + longest))
        by_length = np.argsort(readings.places - readings.ends, kind="stable")[rank::size]
        for group in range(0, len(by_length), rows):
            yield readings[by_length[group : group + rows]]


def _read(
    predictor: NextCharPredictor, text: Reader, chars: int, readings: _Readings
) -> np.ndarray:
    """``(2,)``: nats lost and characters guessed in these readings, summed."""
    begins, ends = readings.begins[:, None], readings.ends[:, None]
    longest = int((readings.ends - readings.places).max()) - 1
    at_once = max(1, FLOATS_AT_ONCE // (len(begins) * len(predictor.vocabulary)))
    counts = np.zeros(2)
    state: State = None
    for offset in range(0, longest, at_once):
        steps = min(at_once, longest - offset)
        # A reading that is shorter than the longest may end with the text itself.
        positions = readings.places[:, None] + np.arange(offset, offset + steps + 1)
        both = text.rows(positions.clip(max=chars - 1)).astype(np.int64)
        log_probs, state = predictor.advance(both[:, :-1], state)
        counted = (positions[:, 1:] >= begins) & (positions[:, 1:] < ends)
        chosen = both[:, 1:][counted]
        rows = log_probs[counted]
        counts[0] -= rows[np.arange(len(chosen)), chosen].sum(dtype=np.float64)
        counts[1] += (rows.argmax(axis=1) == chosen).sum()
    return counts
