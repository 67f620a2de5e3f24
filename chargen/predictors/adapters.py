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


def from_function(
    function: Callable[[str], Any], vocabulary: Symbols, context_chars: int | None = None
) -> _FunctionPredictor:
    """Return a predictor that calls a function for every position.

    Args:
        function: It takes the text so far and returns the log-probabilities of the next symbol,
            ``(W,)`` in nats.
        vocabulary: The W symbols, in the order of the function's result.
        context_chars: The number of last characters that the function needs; it is given all by
            default.
    """
    return _FunctionPredictor(function, _SymbolOrder(vocabulary), context_chars)


def from_torch(
    module: torch.nn.Module, vocabulary: Symbols, state_axis: int | None = 1
) -> _ModulePredictor:
    """Return a predictor of a torch module, which is set to evaluation mode.

    A module with a state is called as ``module(ids)`` at the beginning of a text and then as
    ``module(ids, state)``, and returns logits and the new state. A module without one is called as
    ``module(ids)`` on all that was read so far, and returns logits.

    Args:
        module: The module; ``ids`` is int64 ``(N, T)`` and logits are ``(N, T, W)``.
        vocabulary: The W symbols, in the order of ids and logits.
        state_axis: The axis of the N sequences in each tensor of the state, which may be nested in
            tuples, lists and dictionaries: 1 for `torch.nn.LSTM`, `GRU` and `RNN`. None for a
            module without state.
    """
    return _ModulePredictor(module.eval(), _SymbolOrder(vocabulary), state_axis)


def from_onnx(path: str | Path, vocabulary: Symbols | None = None) -> _GraphPredictor:
    """Return a predictor of an ONNX graph of one timestep, such as ``chargen export`` writes.

    The first input is ``ids`` ``(N,)`` int64, the first output log-probabilities or logits
    ``(N, W)``. Further inputs and outputs are the state, ``(N, H)`` float32 each, in equal order.

    Args:
        path: The file.
        vocabulary: The W symbols; by default those in the file's metadata.

    Raises:
        PredictorError: The file is no such graph, or the package ``onnxruntime`` is missing.
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
    if len(session.get_inputs()) != len(session.get_outputs()):
        raise PredictorError(f"{path}: its inputs and outputs are not ids and states of one step")
    return _GraphPredictor(session, _SymbolOrder(vocabulary))


class _SymbolOrder:
    """The symbols of a model, between its own order and that of a sorted vocabulary."""

    def __init__(self, symbols: Symbols) -> None:
        self.width = len(symbols)
        places = {symbol: place for place, symbol in enumerate(symbols) if len(symbol) == 1}
        single = sum(len(symbol) == 1 for symbol in symbols)
        if not places or len(places) < single:
            raise PredictorError("vocabulary: it needs characters, each of them once")
        self.vocabulary = Vocabulary("".join(sorted(places)))
        self.columns = np.array([places[character] for character in self.vocabulary.characters])

    def log_probs(self, values: np.ndarray, normalize: bool = False) -> np.ndarray:
        """Return outputs ``(..., W)`` as log-probabilities ``(..., V)``."""
        if values.shape[-1:] != (self.width,):
            raise PredictorError(
                f"predictions: shape {values.shape} ends in another number than the "
                f"{self.width} symbols of the vocabulary"
            )
        chosen = values[..., self.columns].astype(np.float32)
        if normalize or len(self.columns) < self.width:
            chosen = chosen - np.logaddexp.reduce(chosen, axis=-1, keepdims=True)
        return chosen


def _with_history(ids: np.ndarray, state: State, longest: int | None) -> tuple[np.ndarray, int]:
    """Return the ids read so far, ``(N, L)``, and how many of them were read before."""
    history = ids if state is None else np.concatenate([state, ids], axis=1)
    before = history.shape[1] - ids.shape[1]
    kept = before if longest is None else min(before, longest - 1)
    return history[:, before - kept :], kept


class _FunctionPredictor:
    def __init__(
        self, function: Callable[[str], Any], order: _SymbolOrder, context_chars: int | None
    ) -> None:
        self.vocabulary = order.vocabulary
        self._function, self._order = function, order
        self._longest = context_chars
        if context_chars is not None:
            self.context_chars = context_chars

    def advance(self, ids: np.ndarray, state: State = None) -> tuple[np.ndarray, State]:
        """See `NextCharPredictor.advance`."""
        history, before = _with_history(ids, state, self._longest)
        texts = [self.vocabulary.decode(row) for row in history]
        longest = self._longest or history.shape[1]
        values = [
            [
                self._function(text[max(0, end - longest) : end])
                for end in range(before + 1, len(text) + 1)
            ]
            for text in texts
        ]
        return self._order.log_probs(np.array(values, dtype=np.float64)), history


class _ModulePredictor:
    def __init__(
        self, module: torch.nn.Module, order: _SymbolOrder, state_axis: int | None
    ) -> None:
        self.vocabulary = order.vocabulary
        self._module, self._order, self._axis = module, order, state_axis

    def advance(self, ids: np.ndarray, state: State = None) -> tuple[np.ndarray, State]:
        """See `NextCharPredictor.advance`; each tensor of the state has the sequences first."""
        import torch

        device = next((p.device for p in self._module.parameters()), torch.device("cpu"))

        def call(ids: np.ndarray, *state: Any) -> Any:
            with torch.no_grad():
                return self._module(torch.from_numpy(self._order.columns[ids]).to(device), *state)

        axis = self._axis
        if axis is None:
            history, before = _with_history(ids, state, None)
            found = call(history)
            logits, after = found if isinstance(found, tuple) else (found, None)
            return self._predictions(logits[:, before:]), history
        given = map_state(state, lambda part: part.movedim(0, axis).contiguous())
        found = call(ids) if state is None else call(ids, given)
        if not isinstance(found, tuple) or len(found) != 2:
            raise PredictorError(
                "module: it returned no pair of logits and state; give state_axis=None for a "
                "module without state"
            )
        logits, after = found
        return self._predictions(logits), map_state(after, lambda part: part.movedim(axis, 0))

    def _predictions(self, logits: Any) -> np.ndarray:
        return self._order.log_probs(logits.float().cpu().numpy(), normalize=True)


class _GraphPredictor:
    def __init__(self, session: Any, order: _SymbolOrder) -> None:
        self.vocabulary = order.vocabulary
        self._session, self._order = session, order

    def advance(self, ids: np.ndarray, state: State = None) -> tuple[np.ndarray, State]:
        """See `NextCharPredictor.advance`."""
        first, *states = self._session.get_inputs()
        if state is None:
            state = tuple(np.zeros((len(ids), one.shape[-1]), np.float32) for one in states)
        steps = []
        for column in self._order.columns[ids].T:
            feed = {one.name: part for one, part in zip(states, state, strict=True)}
            values, *state = self._session.run(None, {first.name: column, **feed})
            steps.append(values)
        return self._order.log_probs(np.stack(steps, axis=1), normalize=True), tuple(state)
