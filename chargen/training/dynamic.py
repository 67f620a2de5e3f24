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
    learner = _DynamicModel(copy.deepcopy(model), training, settings)

    def begins(first: int, end: int) -> np.ndarray:
        """Return which of ``ids[first:end]`` begin a document; reads little of ``starts``."""
        found = np.zeros(end - first, bool)
        if starts is not None:
            found[starts[slice(*np.searchsorted(starts, (first, end)))] - first] = True
        return found

    before = max(0, start - 1 - WARM_UP)
    learner.read(ids[before : start - 1], begins(before, start - 1))
    nats, hits = 0.0, 0
    for at in range(start, len(ids), settings.timesteps):
        end = min(at + settings.timesteps, len(ids))
        more = learner.learn(ids[at - 1 : end - 1], ids[at:end], begins(at - 1, end - 1))
        nats, hits = nats + more[0], hits + more[1]
        if not math.isfinite(nats):
            raise NonFiniteError
        progress(end - start, len(ids) - start)
    count = len(ids) - start
    return Evaluation(nats / count, hits / count, count)


class _DynamicModel:
    """A model that learns as it reads a text, and its hidden state."""

    def __init__(self, model: CharModel, training: np.ndarray, settings: DynamicSettings) -> None:
        self._model = model
        self._settings = settings
        self._state: StackState | None = None
        self._weights = list(model.parameters())
        self._trained = [weight.detach().clone() for weight in self._weights]
        roots = self._gradient_sizes(training)
        mean = torch.cat([root.flatten() for root in roots]).mean()
        self._rates = [settings.learning_rate / (root + EPSILON) for root in roots]
        self._decays = [(settings.decay * root / mean).clamp(max=1.0) for root in roots]

    def _gradient_sizes(self, training: np.ndarray) -> list[Tensor]:
        """Return the root mean square of each weight's gradient over windows of a text."""
        squares = [torch.zeros_like(weight) for weight in self._weights]
        width = min(self._settings.timesteps + 1, len(training))
        places = np.unique(np.linspace(0, len(training) - width, WINDOWS).astype(np.int64))
        for place in places:
            window = np.asarray(training[place : place + width])
            self._state = None
            self._backward(window[:-1], window[1:], np.zeros(len(window) - 1, dtype=bool))
            for square, weight in zip(squares, self._weights, strict=True):
                assert weight.grad is not None
                square.addcmul_(weight.grad, weight.grad)
        return [(square / len(places)).sqrt() for square in squares]

    def read(self, ids: np.ndarray, begins: np.ndarray) -> None:
        """Read ``ids`` ``(T,)`` from a zero state and learn nothing."""
        self._state = None
        if len(ids):
            with torch.no_grad():
                _, self._state = self._model(self._row(ids), begins=self._row(begins))

    def learn(
        self, inputs: np.ndarray, targets: np.ndarray, begins: np.ndarray
    ) -> tuple[float, int]:
        """Predict, then learn; return the summed nats and the hits of the prediction."""
        result = self._backward(inputs, targets, begins)
        with torch.no_grad():
            for weight, trained, rate, decay in zip(
                self._weights, self._trained, self._rates, self._decays, strict=True
            ):
                assert weight.grad is not None
                weight.addcmul_(weight.grad, rate, value=-1)
                weight.lerp_(trained, decay)
        return result

    def _backward(
        self, inputs: np.ndarray, targets: np.ndarray, begins: np.ndarray
    ) -> tuple[float, int]:
        """Compute the gradients of the mean loss, and move the hidden state on."""
        logits, state = self._model(self._row(inputs), self._state, begins=self._row(begins))
        wanted = self._row(targets)
        loss = next_char_loss(logits, wanted)
        self._model.zero_grad()
        loss.backward()
        self._state = tuple(tuple(part.detach() for part in layer) for layer in state)
        return loss.item() * len(targets), int((logits.argmax(-1) == wanted).sum())

    def _row(self, values: np.ndarray) -> Tensor:
        row = values if values.dtype == bool else values.astype(np.int64)
        return torch.from_numpy(row[None]).to(self._trained[0].device)
