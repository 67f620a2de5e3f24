"""How well a predictor predicts a text: every character once, each from the text before it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chargen.predictors import NextCharPredictor, State

WARM_UP = 512  # characters that a stream reads before its first one counts
STREAMS = 64  # read side by side at most
FLOATS_AT_ONCE = 2**20  # of log-probabilities held in memory


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
    predictor: NextCharPredictor, ids: np.ndarray, start: int = 1, streams: int | None = None
) -> Evaluation:
    """Predict ``ids[start:]``, each character from all that stands before it.

    ``ids`` is ``(L,)`` and 1 <= ``start`` < L: the first character of all has no text before it.
    The text is read in parallel ``streams``, each warmed on the `WARM_UP` characters before its
    own, which leaves the loss within 0.001 nats of a sequential reading; ``streams=1`` is that
    reading, from `WARM_UP` before ``start`` on.
    """
    if not 1 <= start < len(ids):
        raise ValueError(f"start is {start}, it must be in 1..{len(ids) - 1}")
    # Where the text before is shorter than the warm-up, one stream reads from the very beginning.
    alone = min(max(start, WARM_UP), len(ids))
    counts = _read(predictor, ids, np.array([start, alone])) if alone > start else np.zeros(2)
    if alone < len(ids):
        chars = len(ids) - alone
        wanted = streams or min(STREAMS, max(1, chars // (2 * WARM_UP)))
        bounds = alone + np.arange(wanted + 1) * chars // wanted
        counts = counts + _read(predictor, ids, bounds)
    loss, hits = counts / (len(ids) - start)
    return Evaluation(float(loss), float(hits), len(ids) - start)


def _read(predictor: NextCharPredictor, ids: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """``(2,)``: nats lost and characters guessed in the streams between ``bounds``, summed."""
    begins, ends = bounds[:-1], bounds[1:]
    warm_up = min(WARM_UP, int(begins[0]))
    longest = int((ends - begins).max())
    starts = begins - warm_up
    at_once = max(1, FLOATS_AT_ONCE // (len(starts) * len(predictor.vocabulary)))
    counts = np.zeros(2)
    state: State = None
    for offset in range(0, warm_up + longest - 1, at_once):
        steps = min(at_once, warm_up + longest - 1 - offset)
        positions = starts[:, None] + np.arange(offset, offset + steps)
        # A stream that is one character shorter than the longest may end with the text itself.
        targets = (positions + 1).clip(max=len(ids) - 1)
        log_probs, state = predictor.advance(ids[positions].astype(np.int64), state)
        counted = (positions + 1 >= begins[:, None]) & (positions + 1 < ends[:, None])
        chosen = ids[targets[counted]].astype(np.int64)
        rows = log_probs[counted]
        counts[0] -= rows[np.arange(len(chosen)), chosen].sum(dtype=np.float64)
        counts[1] += (rows.argmax(axis=1) == chosen).sum()
    return counts
