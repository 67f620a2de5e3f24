"""The protocols of models that can be measured, and what the instruments do with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from chargen.errors import ChargenError
from chargen.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from typing_extensions import TypeIs

State = Any
"""The state of a predictor: ``None``, or arrays (NumPy or torch) whose first axis is N, in tuples,
lists or dictionaries nested to any depth. Instruments pass it on and select rows of it."""

BURN_IN_PARTS = 8
TOLERANCE = 1e-3  # nats by which a distribution may miss a sum of 1


class PredictorError(ChargenError):
    """A measured model breaks the protocol."""


@runtime_checkable
class NextCharPredictor(Protocol):
    """A model that predicts the distribution of the next character."""

    vocabulary: Vocabulary

    def advance(self, ids: np.ndarray, state: State = None) -> tuple[np.ndarray, State]:
        """Read T more characters of N texts, ``ids`` ``(N, T)`` integers.

        ``state`` is what the previous call returned, None at the beginning of a text. Return
        ``log_probs`` ``(N, T, V)`` in nats, where ``log_probs[n, t]`` is the distribution of the
        character after ``ids[n, t]``, and the new state.
        """
        ...


@runtime_checkable
class TextScorer(Protocol):
    """A model that scores strings, such as a language model over tokens."""

    def log_prob(self, context: str, continuation: str) -> float:
        """Return the log-probability in nats of one or more characters after a context."""
        ...


Model = NextCharPredictor | TextScorer
"""Anything that can be measured."""


def is_scorer(model: Model) -> TypeIs[TextScorer]:
    """Return whether a model scores strings only."""
    return not hasattr(model, "advance") and isinstance(model, TextScorer)


def spells(model: Model, text: Iterable[str]) -> bool:
    """Return whether a model knows all characters of a text; a `TextScorer` knows every one."""
    return is_scorer(model) or all(character in model.vocabulary for character in text)


def text_of(model: Model, ids: np.ndarray) -> str:
    """Return the text of ids, ``(L,)``; those for a `TextScorer` are code points."""
    if is_scorer(model):
        return ids.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
    return model.vocabulary.decode(ids)


def log_probs_of(
    scorer: TextScorer, contexts: Sequence[str], continuations: Sequence[str]
) -> np.ndarray:
    """Return the log-probabilities of N continuations in nats, ``(N,)``, at once if it can."""
    several = getattr(scorer, "log_probs", None)
    found = np.array(
        several(contexts, continuations)
        if several
        else [scorer.log_prob(*pair) for pair in zip(contexts, continuations, strict=True)]
    )
    if not np.isfinite(found).all() or found.max() > TOLERANCE:
        raise PredictorError("log_prob: a continuation has no finite log-probability of at most 0")
    return found


def map_state(function: Callable[..., Any], *states: State) -> State:
    """Return a state of what ``function`` makes of each array, or of those in the same place."""
    first = states[0]
    if isinstance(first, dict):
        return {name: map_state(function, *(one[name] for one in states)) for name in first}
    if isinstance(first, tuple | list):
        return tuple(map_state(function, *parts) for parts in zip(*states, strict=True))
    return None if first is None else function(*states)


def select(state: State, rows: np.ndarray) -> State:
    """Return the rows of a state that ``rows`` lists; a row may be repeated."""
    return map_state(lambda array: array[rows], state)


def advance(
    predictor: NextCharPredictor, ids: np.ndarray, state: State = None
) -> tuple[np.ndarray, State]:
    """Call ``predictor.advance``; `PredictorError` unless it returns log-probabilities."""
    log_probs, state = predictor.advance(ids, state)
    shape = (*ids.shape, len(predictor.vocabulary))
    found = getattr(log_probs, "shape", type(log_probs).__name__)
    if found != shape:
        named = f"{shape} (sequences, timesteps, vocabulary)"
        raise PredictorError(f"predictions: shape {found} instead of {named}")
    sums = np.exp(log_probs).sum(axis=-1)
    if (wrong := ~(np.abs(sums - 1) < TOLERANCE)).any():  # also where a sum is NaN
        raise PredictorError(
            f"predictions: probabilities sum to {sums[wrong][0]:.4g} instead of 1; give "
            "log-probabilities in nats, such as log_softmax of the logits"
        )
    return log_probs, state


def limited(predictor: NextCharPredictor) -> NextCharPredictor:
    """Return the predictor with its context limit, if it forgets within 256 characters.

    The limit is measured on random text: after half as many characters, predictions are those
    after the whole text to within 1e-6 nats. The state of an untrained LSTM or GRU contracts
    exponentially, so that the other half leaves less than float32 can hold.
    """
    ids = np.random.default_rng(0).integers(len(predictor.vocabulary), size=(8, 256))
    whole = predictor.advance(ids)[0][:, -1]
    for limit in (32, 64, 128, 256):
        near = predictor.advance(ids[:, -limit // 2 :])[0][:, -1]
        if np.abs(near - whole).max() < 1e-6:
            found = copy(predictor)
            vars(found)["context_chars"] = limit
            return found
    return predictor


class BurnedIn:
    """A predictor whose initial state is the one after a burn-in text, not the zero state.

    A network is rarely in the zero state during training. From there a few first characters can
    lead to a state that spoils the predictions for thousands of characters. The burn-in text
    ``(M,)`` is therefore read in eight parts from the zero state, and the state after the part with
    the median loss becomes the initial state.
    """

    def __init__(self, predictor: NextCharPredictor, ids: np.ndarray) -> None:
        self.vocabulary = predictor.vocabulary
        self._predictor = predictor
        chars = max(1, len(ids) // BURN_IN_PARTS)
        parts = ids[: len(ids) // chars * chars].reshape(-1, chars)[:BURN_IN_PARTS]
        parts = parts.astype(np.int64)
        log_probs, state = advance(predictor, parts)
        own = np.take_along_axis(log_probs[:, :-1], parts[:, 1:, None], axis=2).astype(np.float64)
        order = np.argsort(-own.sum(axis=(1, 2)), kind="stable")
        self._state = select(state, order[[(len(order) - 1) // 2]])

    def advance(self, ids: np.ndarray, state: State = None) -> tuple[np.ndarray, State]:
        if state is None:
            state = select(self._state, np.zeros(len(ids), dtype=np.int64))
        return self._predictor.advance(ids, state)
