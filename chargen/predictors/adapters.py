"""Adapters that make a function, a torch module or an ONNX graph a predictor."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chargen.predictors.protocol import PredictorError, State, map_state
from chargen.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    import torch

Symbols = str | Sequence[str]
"""The symbols of a model, in the order of its outputs. Symbols of more than one character, such as
``<pad>``, are never predicted: their probability is divided among the characters."""


class AdaptedPredictor:
    """A predictor of a model whose W symbols have an order of their own.

    ``step`` takes places of symbols ``(N, T)`` and a state, and returns log-probabilities or, to be
    normalized, logits ``(N, T, W)`` and the new state. Predictions depend on ``context_chars``
    characters, by default on all.
    """

    def __init__(
        self,
        symbols: Symbols,
        step: Callable[[np.ndarray, State], tuple[np.ndarray, State]],
        normalize: bool = True,
        context_chars: int | None = None,
    ) -> None:
        single = [symbol for symbol in symbols if len(symbol) == 1]
        if not single or len(set(single)) < len(single):
            raise PredictorError("vocabulary: must hold at least one character, each of them once")
        self.vocabulary = Vocabulary("".join(sorted(single)))
        self._places = np.array([symbols.index(char) for char in self.vocabulary.characters])
        self._step, self._width, self.context_chars = step, len(symbols), context_chars
        self._normalize = normalize or len(single) < len(symbols)

    def advance(self, ids: np.ndarray, state: State = None) -> tuple[np.ndarray, State]:
        values, state = self._step(self._places[ids], state)
        if values.shape[-1:] != (self._width,):
            raise PredictorError(
                f"predictions: shape {values.shape} must end in {self._width}, "
                "the number of symbols of the vocabulary"
            )
        chosen = values[..., self._places].astype(np.float32)
        if self._normalize:
            chosen = chosen - np.logaddexp.reduce(chosen, axis=-1, keepdims=True)
        return chosen, state


def from_function(
    function: Callable[[str], Any], vocabulary: Symbols, context_chars: int | None = None
) -> AdaptedPredictor:
    """Return a predictor that calls ``function`` for every position.

    It takes the text so far, or its last ``context_chars`` characters, and returns the
    log-probabilities in nats of the next symbol, ``(W,)`` in the order of ``vocabulary``.
    """

    def step(places: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        history, before = _with_history(places, state, context_chars)
        longest = context_chars or history.shape[1]
        values = []
        for row in history:
            text = "".join(vocabulary[place] for place in row)
            ends = range(before + 1, len(text) + 1)
            values.append([function(text[max(0, end - longest) : end]) for end in ends])
        return np.array(values, dtype=np.float64), history

    return AdaptedPredictor(vocabulary, step, False, context_chars)


def from_torch(
    module: torch.nn.Module, vocabulary: Symbols, state_axis: int | None = 1
) -> AdaptedPredictor:
    """Return a predictor of a torch module, which is set to evaluation mode.

    A module with a state is called as ``module(ids)`` at the beginning of a text and then as
    ``module(ids, state)``, and returns logits and the new state. A module without one is called as
    ``module(ids)`` on all that was read so far, and returns logits. ``ids`` is int64 ``(N, T)``,
    logits are ``(N, T, W)``, both in the order of the W symbols of ``vocabulary``.

    ``state_axis`` is the axis of the N sequences in each tensor of the state, which may be nested
    in tuples, lists and dictionaries: 1 for `torch.nn.LSTM`, `GRU` and `RNN`. None means a module
    without state.
    """
    import torch

    module.eval()
    device = next((one.device for one in module.parameters()), torch.device("cpu"))

    @torch.no_grad()
    def step(places: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        read, before = _with_history(places, state, None) if state_axis is None else (places, 0)
        ids = torch.from_numpy(read).to(device)
        if state_axis is None:
            found = module(ids)
            logits, after = found[0] if isinstance(found, tuple) else found, read
        else:
            given = map_state(lambda part: part.movedim(0, state_axis).contiguous(), state)
            found = module(ids) if state is None else module(ids, given)
            if not isinstance(found, tuple) or len(found) != 2:
                raise PredictorError(
                    "module: it returned no pair of logits and state; give state_axis=None for a "
                    "module without state"
                )
            logits, after = found[0], map_state(lambda part: part.movedim(state_axis, 0), found[1])
        return logits[:, before:].float().cpu().numpy(), after

    return AdaptedPredictor(vocabulary, step)


def from_onnx(path: str | Path, vocabulary: Symbols | None = None) -> AdaptedPredictor:
    """Return a predictor of an ONNX graph of one timestep, such as ``chargen export`` writes.

    The first input is ``ids`` ``(N,)`` int64, the first output log-probabilities or logits
    ``(N, W)``. Further inputs and outputs are the state, ``(N, H)`` float32 each, in equal order.
    The W symbols are by default those in the file's metadata. `PredictorError` if the file is no
    such graph, or the package ``onnxruntime`` is missing.
    """
    try:
        import onnxruntime
    except ImportError:
        raise PredictorError("reading ONNX needs a package: pip install onnxruntime") from None
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        metadata = session.get_modelmeta().custom_metadata_map
        if vocabulary is None:
            vocabulary = [chr(point) for point in json.loads(metadata["vocabulary"])]
    except KeyError:
        raise PredictorError(f"{path}: it names no vocabulary; give one") from None
    except Exception as error:  # onnxruntime's exceptions share no narrower class
        reason = str(error).splitlines()[0]
        raise PredictorError(f"{path}: not a readable ONNX graph ({reason})") from None
    first, *states = session.get_inputs()
    if 1 + len(states) != len(session.get_outputs()):
        raise PredictorError(f"{path}: its inputs and outputs are not ids and states of one step")

    def step(places: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        if state is None:
            state = [np.zeros((len(places), one.shape[-1]), np.float32) for one in states]
        values = []
        for column in places.T:
            feed = {one.name: part for one, part in zip(states, state, strict=True)}
            found, *state = session.run(None, {first.name: column, **feed})
            values.append(found)
        return np.stack(values, axis=1), tuple(state)

    return AdaptedPredictor(vocabulary, step)


def _with_history(ids: np.ndarray, state: State, longest: int | None) -> tuple[np.ndarray, int]:
    """Return the ids read so far, ``(N, L)``, and how many of them were read before."""
    history = ids if state is None else np.concatenate([state, ids], axis=1)
    before = history.shape[1] - ids.shape[1]
    kept = before if longest is None else min(before, longest - 1)
    return history[:, before - kept :], kept
