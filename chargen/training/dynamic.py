"""Dynamic evaluation: the model keeps learning from the text that it is evaluated on.

Krause, Kahembwe, Murray & Renals 2018, "Dynamic Evaluation of Neural Sequence Models". Each
character is predicted before it is learned, but from changing weights: a dynamic loss and the
static one of `chargen.evaluation` answer different questions.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from chargen.errors import NonFiniteError
from chargen.evaluation import WARM_UP, Evaluation
from chargen.files import Progress
from chargen.recurrent.model import CharModel
from chargen.recurrent.stack import StackState
from chargen.training.step import next_char_loss

WINDOWS = 500  # windows of the training text that squared gradients are averaged over
EPSILON = 1e-5  # added to the root mean square of the gradients


@dataclass(frozen=True)
class DynamicSettings:
    """Hyperparameters of dynamic evaluation; see docs/experiments/01-dynamic-evaluation.md."""

    learning_rate: float = 0.0007  # for a gradient of the usual size in training
    decay: float = 0.0003  # pull towards the trained weights at each update
    timesteps: int = 50  # characters per update, and truncated BPTT length


def evaluate_dynamic(
    model: CharModel,
    ids: np.ndarray,
    start: int,
    training: np.ndarray,
    settings: DynamicSettings,
    starts: np.ndarray | None = None,
    progress: Progress = lambda done, total: None,
) -> Evaluation:
    """Predict ``ids[start:]`` from left to right and learn from each stretch after predicting it.

    With g the gradient, G the root mean square of the gradients over the training text, and w_0 the
    trained weights, every stretch updates each weight w by

        w <- w - learning_rate g / (G + EPSILON) + min(1, decay G / mean(G)) (w_0 - w)

    The model itself is not changed. ``training`` has the ids of the training text, ``starts`` the
    document starts ``(D,)``; 1 <= start < L for ``ids`` of shape ``(L,)``.

    Raises:
        NonFiniteError: a prediction is not finite.
    """
    learner = _DynamicModel(copy.deepcopy(model), settings)
    learner.scale(training)
    learner.read(ids, max(0, start - 1 - WARM_UP), start - 1, starts)
    nats, hits, count = 0.0, 0, len(ids) - start
    for at in range(start, len(ids), settings.timesteps):
        end = min(at + settings.timesteps, len(ids))
        more = learner.learn(ids[at - 1 : end], _begins(starts, at - 1, end - 1))
        nats, hits = nats + more[0], hits + more[1]
        if not math.isfinite(nats):
            raise NonFiniteError
        progress(end - start, count)
    return Evaluation(nats / count, hits / count, count)


def _begins(starts: np.ndarray | None, first: int, end: int) -> Tensor | None:
    """Return which of the characters ``first`` to ``end`` begin a document, ``(1, T)``."""
    if starts is None:
        return None
    begins = torch.zeros(1, end - first, dtype=torch.bool)
    begins[0, torch.from_numpy(starts[slice(*np.searchsorted(starts, (first, end)))] - first)] = (
        True
    )
    return begins


class _DynamicModel:
    """A model that learns as it reads a text, and its hidden state."""

    def __init__(self, model: CharModel, settings: DynamicSettings) -> None:
        self._model, self._settings = model, settings
        self._state: StackState | None = None
        self._weights = list(model.parameters())
        self._trained = [weight.detach().clone() for weight in self._weights]

    def scale(self, training: np.ndarray) -> None:
        """Scale the updates by the root mean square of gradients over windows of a text."""
        squares = [torch.zeros_like(weight) for weight in self._weights]
        width = min(self._settings.timesteps + 1, len(training))
        places = np.unique(np.linspace(0, len(training) - width, WINDOWS).astype(np.int64))
        for place in places:
            self._state = None
            self._backward(training[place : place + width], None)
            for square, weight in zip(squares, self._weights, strict=True):
                assert weight.grad is not None
                square.addcmul_(weight.grad, weight.grad)
        roots = [(square / len(places)).sqrt() for square in squares]
        mean = torch.cat([root.flatten() for root in roots]).mean()
        self._rates = [self._settings.learning_rate / (root + EPSILON) for root in roots]
        self._decays = [(self._settings.decay * root / mean).clamp(max=1.0) for root in roots]

    @torch.no_grad()
    def read(self, ids: np.ndarray, first: int, end: int, starts: np.ndarray | None) -> None:
        """Read ``ids[first:end]`` from a zero state and learn nothing."""
        self._state = None
        if end > first:
            _, self._state = self._predict(ids[first:end], _begins(starts, first, end))

    def learn(self, ids: np.ndarray, begins: Tensor | None) -> tuple[float, int]:
        """Predict ``ids[1:]``, then learn them; return the summed nats and the hits."""
        result = self._backward(ids, begins)
        with torch.no_grad():
            for weight, trained, rate, decay in zip(
                self._weights, self._trained, self._rates, self._decays, strict=True
            ):
                assert weight.grad is not None
                weight.addcmul_(weight.grad, rate, value=-1)
                weight.lerp_(trained, decay)
        return result

    def _backward(self, ids: np.ndarray, begins: Tensor | None) -> tuple[float, int]:
        """Compute the gradients of the mean loss of ``ids[1:]``, and move the hidden state on."""
        logits, state = self._predict(ids[:-1], begins)
        targets = self._row(ids[1:])
        loss = next_char_loss(logits, targets)
        self._model.zero_grad()
        loss.backward()
        self._state = tuple(tuple(part.detach() for part in layer) for layer in state)
        return loss.item() * targets.numel(), int((logits.argmax(-1) == targets).sum())

    def _predict(self, ids: np.ndarray, begins: Tensor | None) -> tuple[Tensor, StackState]:
        begins = None if begins is None else begins.to(self._trained[0].device)
        return self._model(self._row(ids), self._state, begins=begins)

    def _row(self, ids: np.ndarray) -> Tensor:
        return torch.from_numpy(ids.astype(np.int64)[None]).to(self._trained[0].device)
