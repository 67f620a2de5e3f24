"""Dynamic evaluation: the model keeps learning from the text that it is evaluated on.

Krause, Kahembwe, Murray & Renals 2018, "Dynamic Evaluation of Neural Sequence Models". Each
character is predicted before it is learned, but from changing weights: a dynamic loss and the
static one of `chargen.evaluation` answer different questions.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import vector_to_parameters

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
    document starts ``(D,)``; 1 <= start < L for ``ids`` of shape ``(L,)``. `NonFiniteError` if a
    prediction is not finite.
    """
    learner = copy.deepcopy(model)
    weights = list(learner.parameters())
    trained = _flat(weights).detach()
    roots = _root_mean_squares(learner, training, settings.timesteps)
    rates = settings.learning_rate / (roots + EPSILON)
    decays = (settings.decay * roots / roots.mean()).clamp(max=1.0)
    state: StackState | None = None
    first, nats, hits, count = max(0, start - 1 - WARM_UP), 0.0, 0, len(ids) - start
    if first < start - 1:
        with torch.no_grad():
            begins = _begins(starts, first, start - 1, model)
            _, state = learner(_row(ids[first : start - 1], model), begins=begins)
    for at in range(start, len(ids), settings.timesteps):
        end = min(at + settings.timesteps, len(ids))
        begins = _begins(starts, at - 1, end - 1, model)
        lost, right, state = _backward(learner, ids[at - 1 : end], state, begins)
        with torch.no_grad():
            vector = _flat(weights)
            vector.addcmul_(_gradient(learner), rates, value=-1).lerp_(trained, decays)
            vector_to_parameters(vector, weights)
        nats, hits = nats + lost, hits + right
        if not math.isfinite(nats):
            raise NonFiniteError
        progress(end - start, count)
    return Evaluation(nats / count, hits / count, count)


def _root_mean_squares(model: CharModel, training: np.ndarray, timesteps: int) -> Tensor:
    squares = torch.zeros(())
    width = min(timesteps + 1, len(training))
    places = np.unique(np.linspace(0, len(training) - width, WINDOWS).astype(np.int64))
    for place in places:
        _backward(model, training[place : place + width], None, None)
        gradient = _gradient(model)
        squares = squares.addcmul(gradient, gradient)
    return (squares / len(places)).sqrt()


def _gradient(model: CharModel) -> Tensor:
    return _flat([w.grad for w in model.parameters() if w.grad is not None])


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _backward(
    model: CharModel, ids: np.ndarray, state: StackState | None, begins: Tensor | None
) -> tuple[float, int, StackState]:
    """Compute the gradients of predicting ``ids[1:]``; return summed nats, hits and the state."""
    logits, state = model(_row(ids[:-1], model), state, begins=begins)
    targets = _row(ids[1:], model)
    loss = next_char_loss(logits, targets)
    model.zero_grad()
    loss.backward()
    hits = int((logits.argmax(-1) == targets).sum())
    state = tuple(tuple(part.detach() for part in layer) for layer in state)
    return loss.item() * targets.numel(), hits, state


def _row(values: np.ndarray, model: CharModel) -> Tensor:
    return torch.from_numpy(values.astype(np.int64)[None]).to(model.b_y.device)


def _begins(starts: np.ndarray | None, first: int, end: int, model: CharModel) -> Tensor | None:
    """Return which of the characters ``first`` to ``end`` begin a document, ``(1, T)``."""
    if starts is None:
        return None
    here = starts[slice(*np.searchsorted(starts, (first, end)))]
    return _row(np.isin(np.arange(first, end), here), model).bool()
