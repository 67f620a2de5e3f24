"""A conformance check of models that are to be measured."""

from __future__ import annotations

import math

import numpy as np

from chargen.predictors.protocol import (
    Model,
    NextCharPredictor,
    PredictorError,
    TextScorer,
    advance,
    is_scorer,
    select,
)
from chargen.text.vocabulary import Vocabulary

N, T, CUT = 3, 12, 5  # sequences, timesteps, and where they are cut
NEAR = 1e-3  # nats; kernels for other shapes round differently
CERTAIN = -15.0  # nats; below it a log-probability is too small to matter


def check(model: Model, text: str = "", seed: int = 0) -> None:
    """Check that a model follows its protocol.

    Predictions must be normalized log-probabilities of shape ``(N, T, V)`` that are the same when
    they are asked for twice, when a text is read in parts, when sequences are read alone or in
    another order, and when later characters change. A `TextScorer` must return one finite number
    that is not above 0 and stays the same.

    Args:
        model: The model.
        text: A text that the model can read; random characters by default.
        seed: Random seed of those characters.

    Raises:
        PredictorError: The model breaks a rule; the message says which and what usually helps.
    """
    if is_scorer(model):
        _check_scorer(model)
        return
    if not isinstance(getattr(model, "vocabulary", None), Vocabulary):
        raise PredictorError(
            "model: it has no attribute `vocabulary` that is a chargen.text.Vocabulary"
        )
    if not isinstance(model, NextCharPredictor):
        raise PredictorError("model: it has neither a method `advance` nor `log_prob`")
    rng = np.random.default_rng(seed)
    ids = rng.integers(len(model.vocabulary), size=(N, T))
    if len(text) >= N * T:
        ids = model.vocabulary.encode(text[: N * T]).astype(np.int64).reshape(N, T)
    whole, _ = advance(model, ids)
    _compare(
        advance(model, ids)[0],
        whole,
        "two calls with the same text differ: turn dropout off with module.eval()",
    )
    other = ids.copy()
    other[:, CUT:] = np.roll(ids[:, CUT:], 1, axis=1)
    _compare(
        advance(model, other)[0][:, :CUT],
        whole[:, :CUT],
        "a prediction depends on later characters: it must not see the character that it predicts",
    )
    for row in range(N):
        _compare(
            advance(model, ids[[row]])[0][0],
            whole[row],
            "a sequence read alone gives other predictions than beside others: the axis of the "
            "sequences may be wrong, or batch normalization is on",
        )
    first, state = advance(model, ids[:, :CUT])
    order = np.array([2, 0, 1])
    second, _ = advance(model, ids[order, CUT:], select(state, order))
    _compare(
        np.concatenate([first[order], second], axis=1),
        whole[order],
        "a text read in parts gives other predictions than the whole: return the whole state, and "
        "begin from the state that is given",
    )


def _compare(found: np.ndarray, expected: np.ndarray, fault: str) -> None:
    if (np.abs(np.maximum(found, CERTAIN) - np.maximum(expected, CERTAIN)) > NEAR).any():
        raise PredictorError(f"model: {fault}")


def _check_scorer(model: TextScorer) -> None:
    first, again = (model.log_prob("the clouds are in the ", "sky") for _ in range(2))
    if not isinstance(first, float) or not math.isfinite(first) or first > NEAR:
        raise PredictorError(
            f"model: log_prob returned {first!r}, it must be a finite log-probability in nats"
        )
    if abs(again - first) > NEAR:
        raise PredictorError("model: log_prob gives another number each time: turn dropout off")
