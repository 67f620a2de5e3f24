"""Beam search for the likeliest texts: B texts in the beam, T time steps, V characters."""

from collections.abc import Sequence

import numpy as np

from chargen.errors import NonFiniteError
from chargen.predictors.protocol import select
from chargen.sampling.choice import Advance

ENDED = -1  # id after the end of a text


def search(
    advance: Advance,
    prompt: np.ndarray,
    length: int,
    width: int,
    count: int = 1,
    stops: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Return the ``count`` likeliest continuations of ``prompt`` ``(T,)``, ids ``(T, count)``.

    ``width`` texts of at most ``length`` characters are kept; after the end of a text, at one of
    the strings ``stops``, its ids are `ENDED`. Of equally likely texts, the one with the likelier
    prefix ranks first, then the one whose character has the lower id. `NonFiniteError` if a logit
    is NaN.
    """
    steps: list[tuple[np.ndarray, np.ndarray]] = []  # (B,) each: rows before, and ids
    tails = np.full((1, max(map(len, stops), default=0)), ENDED)  # the last ids of each text
    log_probs, ended = np.zeros(1), np.zeros(1, dtype=bool)  # of whole texts, in nats
    read, state = np.asarray(prompt, dtype=np.int64)[None], None
    for _ in range(length):
        logits, state = advance(read, state)
        totals = log_probs[:, None] + _log_softmax(logits[:, -1])
        totals[ended] = -np.inf
        totals[ended, 0] = log_probs[ended]  # an ended text stays unchanged
        best = np.argsort(-totals, axis=None, kind="stable")[:width]
        best = best[totals.ravel()[best] > -np.inf]
        rows, ids = best // totals.shape[1], best % totals.shape[1]
        log_probs, ended, state = totals.ravel()[best], ended[rows], select(state, rows)
        read = ids[:, None]
        steps.append((rows, np.where(ended, ENDED, ids)))
        tails = np.concatenate([tails[rows], steps[-1][1][:, None]], axis=1)[:, 1:]
        for stop in stops:
            ended |= (tails[:, -len(stop) :] == stop).all(axis=1)
        if ended[:count].all():  # the others can only become less likely
            break
    found = np.full((len(steps), count), ENDED)
    own = np.arange(min(count, len(ended)))
    for t, (before, written) in reversed(list(enumerate(steps))):
        found[t, : len(own)] = written[own]
        own = before[own]
    return found


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log-probabilities, float64; raise `NonFiniteError` if a logit is NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        below = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        log_probs: np.ndarray = below - np.log(np.exp(below).sum(axis=1, keepdims=True))
    if np.isnan(log_probs).any():
        raise NonFiniteError
    return log_probs
