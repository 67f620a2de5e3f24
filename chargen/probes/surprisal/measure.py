"""Surprisal of each character of a text under one model.

Axes: L characters of text, S streams read in parallel.
"""

from __future__ import annotations

import numpy as np

from chargen.evaluation import WARM_UP, Segments, predictions
from chargen.predictors import NextCharPredictor
from chargen.probes.surprisal.result import Score

STREAM = 16 * WARM_UP  # minimum characters per stream; shorter texts are read sequentially
STREAMS = 64  # maximum number of streams


def score(run: str, predictor: NextCharPredictor, ids: np.ndarray) -> Score:
    """Predict each character of a text but the first from all characters before it.

    A text of fewer than 2 `STREAM` characters is read sequentially. A longer one is read in
    parallel streams, each warmed up on the `WARM_UP` characters before it, as in
    `chargen.evaluation.evaluate`.

    Args:
        run: the model's name in the result.
        predictor: the model.
        ids: the text, ``(L,)``, L > 1.
    """
    L = len(ids)
    S = min(STREAMS, max(1, L // STREAM))
    bounds = 1 + np.arange(S + 1) * (L - 1) // S
    begins, ends = bounds[:-1], bounds[1:]
    starts = np.maximum(begins - WARM_UP, 0) if S > 1 else begins - 1
    nats, least, likeliest = np.empty(L), np.empty(L), np.empty(L, dtype=np.int64)
    for found in predictions(predictor, ids, Segments(starts, begins, ends)):
        nats[found.places] = found.nats
        likeliest[found.places] = found.likeliest
        least[found.places] = -found.log_probs.max(axis=1).astype(np.float64)
    expected = predictor.vocabulary.decode(likeliest[1:])
    return Score(run, nats[1:], expected, least[1:])
