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

    Args:
        model: the trained model; it is not changed.
        ids: ``(L,)``.
        start: index of the first predicted character, 1 <= start < L.
        training: ids of the training text.
        settings: hyperparameters.
        starts: ``(D,)`` document starts, as for `chargen.evaluation.evaluate`.
        progress: called with the characters predicted so far and in total.

    Raises:
        NonFiniteError: a prediction is not finite.
    """
    learner = _DynamicModel(copy.deepcopy(model), ids, starts, settings)
    learner.scale(training)
    learner.read(max(0, start - 1 - WARM_UP), start - 1)
    nats, hits, count = 0.0, 0, len(ids) - start
    for at in range(start, len(ids), settings.timesteps):
        end = min(at + settings.timesteps, len(ids))
        more = learner.learn(at, end)
        nats, hits = nats + more[0], hits + more[1]
        if not math.isfinite(nats):
            raise NonFiniteError
        progress(end - start, count)
    return Evaluation(nats / count, hits / count, count)


class _DynamicModel:
    """A model that learns as it reads a text, and its hidden state."""

    def __init__(
        self,
        model: CharModel,
        ids: np.ndarray,
        starts: np.ndarray | None,
        settings: DynamicSettings,
    ) -> None:
        self._model, self._ids, self._starts, self._settings = model, ids, starts, settings
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
            row = self._row(training[place : place + width])
            self._backward(row[:, :-1], row[:, 1:], None)
            for square, weight in zip(squares, self._weights, strict=True):
                assert weight.grad is not None
                square.addcmul_(weight.grad, weight.grad)
        roots = [(square / len(places)).sqrt() for square in squares]
        mean = torch.cat([root.flatten() for root in roots]).mean()
        self._rates = [self._settings.learning_rate / (root + EPSILON) for root in roots]
        self._decays = [(self._settings.decay * root / mean).clamp(max=1.0) for root in roots]

    def read(self, first: int, end: int) -> None:
        """Read ``ids[first:end]`` from a zero state and learn nothing."""
        self._state = None
        if end > first:
            with torch.no_grad():
                ids = self._row(self._ids[first:end])
                _, self._state = self._model(ids, begins=self._begins(first, end))

    def learn(self, first: int, end: int) -> tuple[float, int]:
        """Predict ``ids[first:end]``, then learn them; return the summed nats and the hits."""
        inputs, targets = self._row(self._ids[first - 1 : end - 1]), self._row(self._ids[first:end])
        result = self._backward(inputs, targets, self._begins(first - 1, end - 1))
        with torch.no_grad():
            for weight, trained, rate, decay in zip(
                self._weights, self._trained, self._rates, self._decays, strict=True
            ):
                assert weight.grad is not None
                weight.addcmul_(weight.grad, rate, value=-1)
                weight.lerp_(trained, decay)
        return result

    def _backward(
        self, inputs: Tensor, targets: Tensor, begins: Tensor | None
    ) -> tuple[float, int]:
        """Compute the gradients of the mean loss, and move the hidden state on."""
        logits, state = self._model(inputs, self._state, begins=begins)
        loss = next_char_loss(logits, targets)
        self._model.zero_grad()
        loss.backward()
        self._state = tuple(tuple(part.detach() for part in layer) for layer in state)
        return loss.item() * targets.numel(), int((logits.argmax(-1) == targets).sum())

    def _begins(self, first: int, end: int) -> Tensor | None:
        """Return which of ``ids[first:end]`` begin a document; reads little of the starts."""
        if self._starts is None:
            return None
        begins = torch.zeros(1, end - first, dtype=torch.bool)
        places = self._starts[slice(*np.searchsorted(self._starts, (first, end)))] - first
        begins[0, torch.from_numpy(places)] = True
        return begins.to(self._trained[0].device)

    def _row(self, ids: np.ndarray) -> Tensor:
        return torch.from_numpy(ids.astype(np.int64)[None]).to(self._trained[0].device)
