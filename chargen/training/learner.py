"""What a training step changes: a model, its optimizer, carried state, random numbers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from chargen.distributed.group import ProcessGroup
from chargen.recurrent.model import CharModel
from chargen.recurrent.products import factors_of
from chargen.recurrent.stack import StackState
from chargen.runs.checkpoint import WEIGHTS, below
from chargen.settings import TrainingSettings
from chargen.text.windows import WindowBatch
from chargen.training.loss import next_char_loss
from chargen.training.saved import OPTIMIZER, STATE, UNAVERAGED, by_decay, generator_of

APART = 0x9E3779B1  # odd, since torch's generator for processors takes 32 bits of a seed


@dataclass(frozen=True)
class Step:
    """What is known after a step, at every rank alike."""

    nats: float  # the whole batch's loss
    norm: float  # of the gradient, before clipping
    said: list[float]  # what the ranks said beside it, summed


class Learner:
    """A model that learns from its process's rows of every batch.

    The processes of ``group`` together make the step that one alone would make of the whole batch.
    ``predicting`` is the model to predict with: the one that learns, or where the settings ask for
    an ``average`` that of its weights after each update t = 1, 2, ...: ``w`` becomes
    ``w + (model - w) / max(1, average * t)``, of which the last ``average * t`` make up most,
    however long training will be (Polyak & Juditsky 1992; Shamir & Zhang 2013).
    """

    def __init__(self, model: CharModel, settings: TrainingSettings, group: ProcessGroup) -> None:
        group.synchronize(model)
        self.model = model
        self.predicting = copy.deepcopy(model) if settings.average else model
        self.rows = slice(0)  # of a batch, until `share` says which
        self.device = model.b_y.device
        self._group = group
        self._settings = settings
        self._optimizer = _optimizer(model, settings)
        self._generator = torch.Generator(self.device)
        self._draw_from(settings.seed)
        self._state: StackState | None = None
        self._updates = 0

    def share(self, batch_size: int) -> None:
        """From now on learn from this process's `rows` of batches of so many texts."""
        self.rows = self._group.rows(batch_size)

    def _draw_from(self, seed: int) -> None:
        """Each process drops other outputs; the first those that one alone would drop."""
        self._generator.manual_seed((seed + self._group.rank * APART) % 2**63)

    def step(self, batch: WindowBatch, rate: float, *, carry: bool, said: list[float]) -> Step:
        """One update by a batch of which `rows` are given; what the ranks ``said`` is added up.

        Without ``carry`` the state begins at zeros. Nothing is updated where loss or gradient are
        no numbers.
        """
        settings = self._settings
        last = settings.counted_steps(batch.inputs.shape[1])
        with factors_of(settings.precision):
            logits, state = self.model(
                self._tensor(batch.inputs),
                self._state if carry else None,
                last,
                settings.dropout,
                self._generator,
                None if batch.begins is None else self._tensor(batch.begins),
            )
        targets = self._tensor(batch.targets[:, -last:])
        loss = next_char_loss(logits, targets, batch.counted(last))
        self._optimizer.zero_grad()
        loss.backward()
        nats, *heard = self._group.sum_gradients(self.model, [loss.item(), *said])
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm).item()
        if not np.isfinite([nats, norm]).all():
            return Step(nats, norm, heard)
        for parameters in self._optimizer.param_groups:
            parameters["lr"] = rate
        self._optimizer.step()
        self._updates += 1
        self._average()
        self._state = tuple(tuple(part.detach() for part in layer) for layer in state)
        return Step(nats, norm, heard)

    @torch.no_grad()
    def _average(self) -> None:
        if self._settings.average:
            share = 1 / max(1.0, self._settings.average * self._updates)
            pairs = zip(self.predicting.parameters(), self.model.parameters(), strict=True)
            for mean, weight in pairs:
                mean.lerp_(weight, share)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def weights(self) -> dict[str, np.ndarray]:
        """Those to predict with, by the names that a checkpoint has for them."""
        return _named(self.predicting, WEIGHTS)

    def arrays(self) -> dict[str, np.ndarray]:
        """All that `restore` needs, of all processes; at rank 0 alone it is whole."""
        arrays = self.weights()
        if self.predicting is not self.model:
            arrays |= _named(self.model, UNAVERAGED)
        for number, state in self._optimizer.state_dict()["state"].items():
            for name, value in state.items():
                arrays[f"{OPTIMIZER}{number}.{name}"] = value.cpu().numpy()
        carried = self._state if self._settings.state == "carry" else None
        for layer, tensors in enumerate(carried or ()):
            for part, tensor in enumerate(tensors):
                rows = self._group.gather(tensor.cpu().numpy())
                if rows is not None:
                    arrays[f"{STATE}{layer}.{part}"] = np.concatenate(rows)
        drawn = self._group.gather(self._generator.get_state().numpy())
        for rank, state in enumerate(drawn or ()):
            arrays[generator_of(rank)] = state
        return arrays

    def restore(
        self, arrays: Mapping[str, np.ndarray], step: int, before: Mapping[str, str]
    ) -> None:
        """Go back to where `arrays` was called, after ``step`` steps in an environment ``before``.

        By any number of processes: each takes its rows of the state. `KeyError`, `TypeError`,
        `ValueError` or `RuntimeError` where they do not fit.
        """
        # Copied into memory of torch's own, as an unbroken run has it.
        tensors = {name: torch.tensor(array) for name, array in arrays.items()}
        self.predicting.load_state_dict(below(tensors, WEIGHTS))
        if self.predicting is not self.model:
            self.model.load_state_dict(below(tensors, UNAVERAGED))
        self._updates = step
        optimizer: dict[str, Any] = self._optimizer.state_dict()
        optimizer["state"] = {}
        for name, tensor in below(tensors, OPTIMIZER).items():
            number, key = name.split(".")
            optimizer["state"].setdefault(int(number), {})[key] = tensor
        self._optimizer.load_state_dict(optimizer)
        state = {name: part[self.rows] for name, part in below(tensors, STATE).items()}
        self._state = _nested(state, self.device)
        drawn = tensors.get(generator_of(self._group.rank))
        if drawn is not None and _kind(before, self.device) == self.device.type:
            self._generator.set_state(drawn)
        else:  # another kind of device draws other numbers, and a process more has drawn none
            self._draw_from(self._settings.seed + step)


def _named(model: CharModel, prefix: str) -> dict[str, np.ndarray]:
    return {prefix + name: value.cpu().numpy() for name, value in model.state_dict().items()}


def _kind(before: Mapping[str, str], device: torch.device) -> str:
    return before.get("device", device.type).split()[0]


def _nested(parts: dict[str, Tensor], device: torch.device) -> StackState | None:
    """Carried state on ``device`` from its tensors, which are named ``layer.part``."""
    layers: dict[int, dict[int, Tensor]] = {}
    for name, tensor in parts.items():
        layer, part = map(int, name.split("."))
        layers.setdefault(layer, {})[part] = tensor.to(device)
    state = (tuple(of[part] for part in sorted(of)) for _, of in sorted(layers.items()))
    return tuple(state) or None


def _optimizer(model: CharModel, settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019); biases do not decay."""
    matrices, biases = by_decay(model)
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]
    betas = (0.9, settings.beta2)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=betas, fused=True)
