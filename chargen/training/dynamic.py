"""Dynamic evaluation: a model that goes on learning from the text that it is measured on.

Krause, Kahembwe, Murray & Renals 2018, "Dynamic Evaluation of Neural Sequence Models". What it
predicts it has not read before, as in `chargen.evaluation`; but its weights by then are others,
so that the two figures answer different questions and must not be mixed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from chargen.errors import NoNumbersError
from chargen.evaluation import WARM_UP, Evaluation
from chargen.files import Progress
from chargen.recurrent.model import CharModel
from chargen.recurrent.stack import StackState
from chargen.training.loss import next_char_loss

WINDOWS = 500  # of the training text, that squared gradients are the mean of
LEAST = 1e-5  # is added to their root


@dataclass(frozen=True)
class Adapting:
    """How a model learns from what it just read; chosen by the search in docs/recipe.md."""

    learning_rate: float = 0.0007  # of a gradient that is as large as usual in training
    decay: float = 0.0003  # share of what was learned that is unlearned at each update, about
    timesteps: int = 50  # characters between updates, and that gradients travel back


def evaluate_dynamic(
    model: CharModel,
    ids: np.ndarray,
    start: int,
    training: np.ndarray,
    adapting: Adapting,
    starts: np.ndarray | None = None,
    progress: Progress = lambda done, total: None,
) -> Evaluation:
    """Predict ``ids[start:]`` from the left, learning from each stretch once it is predicted.

    For a weight w that was w_g after training, with gradient g and G the root of the mean square
    of its gradients over ``training``, the ids of the training text:

        w <- w - learning_rate g / (G + LEAST) + min(1, decay G / mean(G)) (w_g - w)

    ``ids`` is ``(L,)``, 1 <= ``start`` < L; ``starts`` ``(D,)`` are those of `evaluate`.
    ``model`` stays as it is. `NoNumbersError` where a prediction is none.
    """
    learner = _Learner(copy.deepcopy(model), training, adapting)

    def begins(first: int, end: int) -> np.ndarray:
        """Which of ``ids[first:end]`` are the first of a document."""
        places = np.arange(first, end)
        return np.zeros(len(places), bool) if starts is None else _holds(starts, places)

    before = max(0, start - 1 - WARM_UP)
    learner.read(ids[before : start - 1], begins(before, start - 1))
    nats, hits = 0.0, 0
    for at in range(start, len(ids), adapting.timesteps):
        end = min(at + adapting.timesteps, len(ids))
        lost, guessed = learner.learn(ids[at - 1 : end - 1], ids[at:end], begins(at - 1, end - 1))
        nats, hits = nats + lost, hits + guessed
        if not math.isfinite(nats):
            raise NoNumbersError
        progress(end - start, len(ids) - start)
    count = len(ids) - start
    return Evaluation(nats / count, hits / count, count)


def _holds(rising: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Which of ``values`` stand in ``rising``, of which only a little is looked at."""
    at = np.searchsorted(rising, values).clip(max=len(rising) - 1)
    return np.asarray(rising[at] == values)


class _Learner:
    """A model and its state, which read a text once, and change with it."""

    def __init__(self, model: CharModel, training: np.ndarray, adapting: Adapting) -> None:
        self._model = model
        self._adapting = adapting
        self._state: StackState | None = None
        self._weights = list(model.parameters())
        self._learned = [weight.detach().clone() for weight in self._weights]
        roots = self._usual_gradients(training)
        mean = torch.cat([root.flatten() for root in roots]).mean()
        self._scales = [adapting.learning_rate / (root + LEAST) for root in roots]
        self._pulls = [(adapting.decay * root / mean).clamp(max=1.0) for root in roots]

    def _usual_gradients(self, training: np.ndarray) -> list[Tensor]:
        """The root of their mean square over windows of ``training``, spread out evenly."""
        squares = [torch.zeros_like(weight) for weight in self._weights]
        windows = list(_windows(training, self._adapting.timesteps))
        for window in windows:
            self._state = None
            self._gradients(window[:-1], window[1:], np.zeros(len(window) - 1, dtype=bool))
            for square, weight in zip(squares, self._weights, strict=True):
                assert weight.grad is not None
                square.addcmul_(weight.grad, weight.grad)
        return [(square / len(windows)).sqrt() for square in squares]

    def read(self, ids: np.ndarray, begins: np.ndarray) -> None:
        """Begin with ``ids``, ``(T,)``, and learn nothing from them."""
        self._state = None
        if len(ids):
            with torch.no_grad():
                _, self._state = self._model(self._row(ids), begins=self._row(begins))

    def learn(
        self, inputs: np.ndarray, targets: np.ndarray, begins: np.ndarray
    ) -> tuple[float, int]:
        """Predict, then learn; nats lost and characters guessed, of the weights before."""
        nats, hits = self._gradients(inputs, targets, begins)
        with torch.no_grad():
            for weight, learned, scale, pull in zip(
                self._weights, self._learned, self._scales, self._pulls, strict=True
            ):
                assert weight.grad is not None
                weight.addcmul_(weight.grad, scale, value=-1)
                weight.lerp_(learned, pull)
        return nats, hits

    def _gradients(
        self, inputs: np.ndarray, targets: np.ndarray, begins: np.ndarray
    ) -> tuple[float, int]:
        """Leave the gradients of the mean loss at the weights, and go on with the state."""
        logits, state = self._model(self._row(inputs), self._state, begins=self._row(begins))
        wanted = self._row(targets)
        loss = next_char_loss(logits, wanted)
        self._model.zero_grad()
        loss.backward()
        self._state = tuple(tuple(part.detach() for part in layer) for layer in state)
        return loss.item() * len(targets), int((logits.argmax(-1) == wanted).sum())

    def _row(self, values: np.ndarray) -> Tensor:
        row = values if values.dtype == bool else values.astype(np.int64)
        return torch.from_numpy(row[None]).to(self._learned[0].device)


def _windows(ids: np.ndarray, timesteps: int) -> Iterator[np.ndarray]:
    """Up to `WINDOWS` stretches of one character more than ``timesteps``, as far as there are."""
    width = min(timesteps + 1, len(ids))
    room = len(ids) - width
    for place in np.unique(np.linspace(0, room, WINDOWS).astype(np.int64)):
        yield np.asarray(ids[place : place + width])
