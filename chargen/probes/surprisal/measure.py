"""Surprisal of each character of a text, under one model or compared between several.

Axes: L characters of text, S streams read in parallel.
"""

from collections.abc import Sequence

import numpy as np

from chargen.evaluation import STREAMS, WARM_UP, predictions, streams_of
from chargen.predictors import NextCharPredictor
from chargen.probes.statistics.intervals import FEWEST_BLOCKS, holm, text_mean
from chargen.probes.surprisal.result import BLOCK, LossDifference, Score, Scores

STREAM = 16 * WARM_UP  # minimum characters per stream; shorter texts are read sequentially
GROWTH = 0.25  # see `text_mean`; natural text changes its subject at every length


def surprisal(run: str, predictor: NextCharPredictor, ids: np.ndarray) -> Score:
    """Predict each character of a text ``(L,)``, L > 1, but the first from all before it.

    A long text is read in parallel streams, as in `chargen.evaluation.evaluate`. ``run`` is the
    model's name in the result.
    """
    L = len(ids)
    nats, least, likeliest = np.empty(L), np.empty(L), np.empty(L, dtype=np.int64)
    streams = min(STREAMS, max(1, L // STREAM))
    for segments in streams_of(L, 1, streams, None):
        for found in predictions(predictor, ids, segments):
            nats[found.places] = found.nats
            likeliest[found.places] = found.log_probs.argmax(axis=1)
            least[found.places] = -found.log_probs.max(axis=1).astype(np.float64)
    return Score(run, nats[1:], predictor.vocabulary.decode(likeliest[1:]), least[1:])


def compare(text: str, left_out: int, scores: Sequence[Score]) -> Scores:
    """Compare each model with the best one, character by character.

    Intervals and p-values, which Holm's method corrects for the number of models, are from the
    means of blocks, see `text_mean`; texts with under 20 blocks of `BLOCK` characters have none.
    """
    first, *others = ordered = sorted(scores, key=lambda one: one.total_nats)
    edges = np.arange(0, len(first.nats), BLOCK)
    counts = np.diff(edges, append=len(first.nats))
    sums = [np.add.reduceat(one.nats - first.nats, edges) for one in others]
    if len(edges) < FEWEST_BLOCKS:
        differences = [LossDifference(other.run, first.run) for other in others]
    else:
        means = [text_mean(apart, counts, GROWTH) for apart in sums]
        differences = [
            LossDifference(other.run, first.run, mean.estimate(), p)
            for other, mean, p in zip(others, means, holm([one.p for one in means]), strict=True)
        ]
    return Scores(text, left_out, tuple(ordered), tuple(differences))
