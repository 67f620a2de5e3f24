"""Evaluation of predictors: loss and accuracy of a text, and the reader that all instruments share.

Axes: N segments read in parallel, T timesteps, V characters of vocabulary, L characters of text.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeVar

import numpy as np

from chargen.errors import ChargenError
from chargen.files import Progress
from chargen.predictors.protocol import NextCharPredictor, PredictorError, State, advance, select
from chargen.text.memory_map import release, rows_at

WARM_UP = 512  # characters that a stream reads before its first counted one
STREAMS = 64  # maximum number of streams read in parallel
ROWS = 256  # maximum segments read in parallel: more takes memory and gains no speed
CHUNK_FLOATS = 2**20  # log-probabilities held in memory at once: 4 MiB
DOCUMENTS = 2**16  # documents sorted by length at once

Nats = TypeVar("Nats", float, np.ndarray)


def nats_of(log_probs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the surprisals of targets ``(…, n)`` in nats, float64; refuse infinite ones."""
    nats = -log_probs[np.arange(len(log_probs)), targets].astype(np.float64)
    if np.isinf(nats).any():
        raise PredictorError(
            "predictions: a character of the text or of a candidate has probability 0; "
            "smooth the distribution"
        )
    return nats


def nats_to_bits(nats: Nats) -> Nats:
    """Convert nats to bits: 1 bit is ln 2 nats."""
    return nats / math.log(2)


@dataclass(frozen=True)
class Evaluation:
    """Loss and accuracy over ``chars`` characters, each predicted once."""

    loss_nats: float  # mean negative log-likelihood of the next character
    accuracy: float  # fraction of characters that had the highest probability
    chars: int

    @property
    def bits_per_char(self) -> float:
        return nats_to_bits(self.loss_nats)

    @property
    def perplexity(self) -> float:
        return math.exp(self.loss_nats)

    def _repr_html_(self) -> str:
        from chargen.render.report import Table, fragment

        header = ["nats/char", "bits/char", "accuracy", "characters"]
        numbers = f"{self.loss_nats:.4f}", f"{self.bits_per_char:.4f}"
        return fragment(Table(header, [[*numbers, f"{self.accuracy:.1%}", f"{self.chars:,}"]]))

    def to_json(self) -> dict[str, float | int]:
        """Return a JSON object under stable keys."""
        keys = ("loss_nats", "bits_per_char", "perplexity", "accuracy", "chars")
        return {key: getattr(self, key) for key in keys}


@dataclass
class Meter:
    """Progress of an instrument over a known number of steps."""

    progress: Progress
    total: int
    done: int = 0

    def step(self) -> None:
        self.done += 1
        self.progress(self.done, self.total)


@dataclass(frozen=True, eq=False)
class Segments:
    """N segments of one text, each with the part that is predicted; ``starts < begins < ends``."""

    starts: np.ndarray  # (N,) index of the first character that is read
    begins: np.ndarray  # (N,) index of the first character that is predicted
    ends: np.ndarray  # (N,) index after the last character that is predicted

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, rows: np.ndarray | slice) -> "Segments":
        return Segments(self.starts[rows], self.begins[rows], self.ends[rows])

    @property
    def longest(self) -> int:
        return int((self.ends - self.begins).max())


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of n characters of `Segments`."""

    rows: np.ndarray  # (n,) segment of each character
    places: np.ndarray  # (n,) index of each character in the text
    targets: np.ndarray  # (n,) id of each character
    log_probs: np.ndarray  # (n, V) in nats

    @property
    def nats(self) -> np.ndarray:
        """The surprisal of each character in nats, ``(n,)`` float64."""
        return nats_of(self.log_probs, self.targets)


def predictions(
    predictor: NextCharPredictor, ids: np.ndarray, segments: Segments, state: State = None
) -> Iterator[Predictions]:
    """Read segments of a text in parallel and yield the predictions in order.

    Segments that end early are read on, past the end of the text if need be. ``state`` is the
    predictor's at ``segments.starts``; None is the initial one.
    """
    starts, begins, ends = (x[:, None] for x in (segments.starts, segments.begins, segments.ends))
    T = int((segments.ends - segments.starts).max()) - 1
    for steps in _chunks(predictor, len(segments), T):
        places = starts + np.arange(steps.start, steps.stop + 1)
        both = rows_at(ids, places.clip(max=len(ids) - 1)).astype(np.int64)
        log_probs, state = advance(predictor, both[:, :-1], state)
        counted = (places[:, 1:] >= begins) & (places[:, 1:] < ends)
        rows, _ = np.nonzero(counted)
        yield Predictions(rows, places[:, 1:][counted], both[:, 1:][counted], log_probs[counted])


def surprisals(
    predictor: NextCharPredictor, ids: np.ndarray, segments: Segments, state: State = None
) -> np.ndarray:
    """Return the surprisal of each predicted character in bits, ``(N, segments.longest)``.

    Rows of shorter segments end in zeros. Characters beyond the predictor's context limit are
    skipped.
    """
    bits = np.zeros((len(segments), segments.longest))
    limit = getattr(predictor, "context_chars", None)
    if limit is not None and (segments.begins - segments.starts >= limit).all():
        segments, state = replace(segments, starts=segments.begins - limit), None
    for rows in np.split(np.arange(len(segments)), range(ROWS, len(segments), ROWS)):
        part = segments[rows]
        for found in predictions(predictor, ids, part, select(state, rows)):
            columns = found.places - part.begins[found.rows]
            bits[rows[found.rows], columns] = nats_to_bits(found.nats)
    return bits


def advance_all(
    predictor: NextCharPredictor, ids: np.ndarray, state: State = None
) -> tuple[np.ndarray, State]:
    """Read ``ids``, ``(N, T)``; return the last log-probabilities, ``(N, V)``, and the state."""
    limit = getattr(predictor, "context_chars", None)
    if limit is not None and limit < ids.shape[1]:
        ids, state = ids[:, -limit:], None
    last: np.ndarray = np.empty((len(ids), 0))
    for steps in _chunks(predictor, *ids.shape):
        log_probs, state = advance(predictor, ids[:, steps], state)
        last = log_probs[:, -1]
    return last, state


def states_after(
    predictor: NextCharPredictor, ids: np.ndarray, starts: np.ndarray, lengths: Sequence[int]
) -> Iterator[tuple[int, np.ndarray, State]]:
    """Read N parts of a text once, from ``starts`` ``(N,)``, and stop at ascending lengths.

    Yields each length, the next character's log-probabilities ``(N, V)`` in nats, and the state.
    """
    state: State = None
    for before, length in pairwise((0, *lengths)):
        part = ids[starts[:, None] + np.arange(before, length)].astype(np.int64)
        last, state = advance_all(predictor, part, state)
        yield length, last, state


def evaluate(
    predictor: NextCharPredictor, ids: np.ndarray, start: int = 1, starts: np.ndarray | None = None
) -> Evaluation:
    """Predict each character of ``ids[start:]`` from all characters before it.

    Documents are independent: each character is predicted from the characters before it in its own
    document, and the first character of a document from the document before, as in training. A long
    document is read in parallel streams, each warmed up on the `WARM_UP` characters before its own,
    which leaves the loss within 0.001 nats of sequential reading. ``start`` is the first predicted
    character, 1 to L - 1; ``starts`` ``(D,)`` are where documents begin, rising from 0, or None.
    """
    loss, hits = losses(predictor, ids, start, starts) / (len(ids) - start)
    return Evaluation(float(loss), float(hits), len(ids) - start)


def losses(
    predictor: NextCharPredictor,
    ids: np.ndarray,
    start: int,
    starts: np.ndarray | None,
    share: slice = slice(None),
) -> np.ndarray:
    """Return the summed loss in nats and the number of correct predictions, see `evaluate`.

    The results of disjoint ``share``s add up to the whole, each character once.
    """
    if not 1 <= start < len(ids):
        raise ValueError(f"start is {start}, it must be in 1..{len(ids) - 1}")
    counts = np.zeros(2)
    for segments in streams_of(len(ids), start, None, starts, share=share):
        for found in predictions(predictor, ids, segments):
            counts += found.nats.sum(), (found.log_probs.argmax(axis=1) == found.targets).sum()
    return counts


def streams_of(
    chars: int,
    start: int,
    streams: int | None,
    starts: np.ndarray | None,
    warm_up: int = WARM_UP,
    share: slice = slice(None),
) -> Iterator[Segments]:
    """Yield documents, or parts of long ones, in batches of about equal length."""
    parts = streams or min(STREAMS, max(1, (chars - start) // (2 * WARM_UP)))
    longest = -(-(chars - start) // parts)
    starts = np.zeros(1, dtype=np.int64) if starts is None else starts
    first = int(np.searchsorted(starts, start - 1, side="right")) - 1
    for block in range(first, len(starts), DOCUMENTS):
        here = starts[block : block + DOCUMENTS + 1].astype(np.int64)
        release(starts)
        begun = here[:DOCUMENTS]
        # All characters of a document are read; each predicts the one after it.
        begins = np.maximum(begun + 1, start)
        ends = np.minimum(np.append(here[1:], chars)[: len(begun)] + 1, chars)
        pieces = -(-(ends - begins) // longest)  # 0 where the text ends with a first character
        piece = np.arange(pieces.sum()) - np.repeat(pieces.cumsum() - pieces, pieces)
        begun, begins, ends = (np.repeat(values, pieces) for values in (begun, begins, ends))
        begins = begins + piece * longest
        begun, ends = np.maximum(begun, begins - warm_up), np.minimum(ends, begins + longest)
        segments = Segments(begun, begins, ends)
        by_length = np.argsort(segments.starts - segments.ends, kind="stable")[share]
        for group in range(0, len(by_length), streams or STREAMS):
            yield segments[by_length[group : group + (streams or STREAMS)]]


def check_swap_text(chars: int, needed: int) -> None:
    """Raise `ChargenError` for a swap text of too few characters."""
    if chars < needed:
        raise ChargenError(f"swap text: has {chars} characters, at least {needed} are needed")


def _chunks(predictor: NextCharPredictor, N: int, T: int) -> Iterator[slice]:
    """Yield the timesteps of ``(N, T)`` in chunks of at most `CHUNK_FLOATS` log-probabilities."""
    chunk = max(1, CHUNK_FLOATS // (N * len(predictor.vocabulary)))
    for first in range(0, T, chunk):
        yield slice(first, min(first + chunk, T))
