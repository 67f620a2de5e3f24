"""One training step: the model, its optimizer, the carried state and the random generator."""

import copy
from collections.abc import Mapping
from inspect import unwrap
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from chargen.distributed.group import ProcessGroup
from chargen.recurrent.model import CharModel
from chargen.recurrent.residual import ForwardMode
from chargen.recurrent.stack import StackState
from chargen.runs.checkpoint import WEIGHTS, below
from chargen.settings import TrainingSettings
from chargen.text.windows import IGNORED, WindowBatch
from chargen.training.checkpoints import OPTIMIZER, STATE, UNAVERAGED, by_decay, generator_name

SEED_STRIDE = 0x9E3779B1  # odd: torch's CPU generator takes 32 bits of a seed


def next_char_loss(
    logits: Tensor, targets: Tensor, counted: int | None = None, soft: Tensor | None = None
) -> Tensor:
    """Return the mean cross-entropy in nats of ``logits`` ``(N, T, V)`` and ``targets`` ``(N, T)``.

    Targets equal to `IGNORED` do not count. ``counted`` is the number of the others in the whole
    batch, if the rows are a share of it: the losses of all shares add up to that of the batch.
    ``soft``, if given, holds the probabilities of the targets, ``(N, T, V)`` (Hinton et al. 2015).
    """
    steps = (targets != IGNORED).sum().clamp(min=1) if counted is None else max(1, counted)
    # Time first, as the model computes it, so that flattening copies nothing.
    flat, wanted = logits.transpose(0, 1).flatten(0, 1), targets.t().flatten()
    if soft is not None:
        soft = soft.transpose(0, 1).flatten(0, 1) * (wanted != IGNORED)[:, None]
        return cross_entropy(flat, soft, reduction="sum") / steps
    return cross_entropy(flat, wanted, ignore_index=IGNORED, reduction="sum") / steps


class TrainingState:
    """A model, its optimizer, the carried hidden state and the random generator.

    ``averaged`` is the model that predicts: the trained one, or, if the settings ask for an
    ``average``, the running average of its weights. Update t = 1, 2, ... moves each averaged weight
    ``w`` to ``w + (model - w) / max(1, average * t)``: the last ``average * t`` updates make up
    most of it (Polyak & Juditsky 1992; Shamir & Zhang 2013).
    """

    def __init__(self, model: CharModel, settings: TrainingSettings, group: ProcessGroup) -> None:
        group.synchronize(model)
        self.model, self.device = model, model.b_y.device
        self.averaged = copy.deepcopy(model) if settings.average else model
        self.rows = slice(0)  # of a batch; to be set before each change of the batch size
        self._group, self._settings = group, settings
        self._optimizer = _AdamW(model, settings)
        self._generator = torch.Generator(self.device)
        self._seed_generator(settings.seed)
        self._carried: StackState | None = None
        self._updates = 0

    def _seed_generator(self, seed: int) -> None:  # rank 0 drops what a single process would
        self._generator.manual_seed((seed + self._group.rank * SEED_STRIDE) % 2**63)

    def step(
        self, batch: WindowBatch, rate: float, *, carry: bool, message: list[float]
    ) -> tuple[float, float, list[float]]:
        """Update the weights once on `rows` of a batch, unless loss or gradient are not finite.

        ``carry`` starts from the previous final state. Return, equal on every rank, the loss of the
        whole batch in nats, the gradient norm before clipping, and the ``message``s' sums.
        """
        settings = self._settings
        last = settings.counted_steps(batch.inputs.shape[1])
        logits, state = self.model(
            self._tensor(batch.inputs),
            self._carried if carry else None,
            last,
            ForwardMode(settings.dropout, self._generator, settings.precision),
            None if batch.begins is None else self._tensor(batch.begins),
        )
        targets = self._tensor(batch.targets[:, -last:])
        counted = int(batch.counts[-last:].sum())
        objective = loss = next_char_loss(logits, targets, counted)
        if batch.soft is not None:
            soft = self._tensor(batch.soft[:, -last:])
            taught = next_char_loss(logits, targets, counted, soft)
            objective = torch.lerp(loss, taught, settings.distillation)
        self._optimizer.zero_grad()
        objective.backward()
        nats, *sums = self._group.sum_gradients(self.model, [loss.item(), *message])
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm).item()
        if not (np.isfinite(nats) and np.isfinite(norm)):
            return nats, norm, sums
        for parameters in self._optimizer.param_groups:
            parameters["lr"] = rate * parameters["multiple"]
        self._optimizer.step()
        self._updates += 1
        if settings.average:
            share = 1 / max(1.0, settings.average * self._updates)
            with torch.no_grad():
                for name, mean in self.averaged.named_parameters():
                    mean.lerp_(self.model.get_parameter(name), share)
        self._carried = tuple(tuple(part.detach() for part in layer) for layer in state)
        return nats, norm, sums

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def weights(self) -> dict[str, np.ndarray]:
        return _prefixed(self.averaged, WEIGHTS)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything that `restore` needs; complete on rank 0 only."""
        arrays = self.weights()
        if self.averaged is not self.model:
            arrays |= _prefixed(self.model, UNAVERAGED)
        for number, state in self._optimizer.state_dict()["state"].items():
            for name, value in state.items():
                arrays[f"{OPTIMIZER}{number}.{name}"] = value.cpu().numpy()
        carried = self._carried if self._settings.state == "carry" else None
        for layer, tensors in enumerate(carried or ()):
            for part, tensor in enumerate(tensors):
                rows = self._group.gather(tensor.cpu().numpy())
                if rows is not None:
                    arrays[f"{STATE}{layer}.{part}"] = np.concatenate(rows)
        generators = self._group.gather(self._generator.get_state().numpy())
        for rank, state in enumerate(generators or ()):
            arrays[generator_name(rank)] = state
        return arrays

    def restore(self, arrays: Mapping[str, np.ndarray], step: int, old: Mapping[str, str]) -> None:
        """Restore `arrays` of the environment ``old``; any error says that they do not fit."""
        # Copied into torch's own memory, which an uninterrupted run uses too.
        tensors = {name: torch.tensor(array) for name, array in arrays.items()}
        self.averaged.load_state_dict(below(tensors, WEIGHTS))
        if self.averaged is not self.model:
            self.model.load_state_dict(below(tensors, UNAVERAGED))
        self._updates = step
        optimizer: dict[str, Any] = self._optimizer.state_dict()
        optimizer["state"] = {}
        for name, tensor in below(tensors, OPTIMIZER).items():
            number, key = name.split(".")
            optimizer["state"].setdefault(int(number), {})[key] = tensor
        self._optimizer.load_state_dict(optimizer)
        for weights, moments in self._optimizer.state.items():
            for name in ("exp_avg", "exp_avg_sq"):  # fused AdamW expects them laid out like weights
                moments[name] = torch.empty_like(weights).copy_(moments[name])
        carried = {name: part[self.rows] for name, part in below(tensors, STATE).items()}
        if carried:
            self._carried = tuple(
                tuple(carried[f"{layer}.{part}"].to(self.device) for part in range(len(parts)))
                for layer, parts in enumerate(self.model.stack.initial_state(1))
            )
        generator = tensors.get(generator_name(self._group.rank))
        device = old.get("device", self.device.type).split()[0]
        if generator is not None and device == self.device.type:
            self._generator.set_state(generator)
        else:  # another device draws other numbers, and an added process has no state yet
            self._seed_generator(self._settings.seed + step)


def _prefixed(model: CharModel, prefix: str) -> dict[str, np.ndarray]:
    return {prefix + name: value.cpu().numpy() for name, value in model.state_dict().items()}


class _AdamW(torch.optim.AdamW):
    """AdamW (Loshchilov & Hutter 2019) without weight decay on biases.

    W_hh and the first layer's W_xh have their own learning rates (``recurrent_rate``,
    ``input_rate``), but decay like the other matrices. The methods lack decorators that load
    torch's compiler, which takes two thirds as long as loading torch.
    """

    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)
    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))

    def __init__(self, model: CharModel, settings: TrainingSettings) -> None:
        named = model.named_parameters()
        multiples = {one: settings.recurrent_rate if "W_hh" in name else 1.0 for name, one in named}
        multiples[model.get_parameter("stack.layers.0.W_xh")] = settings.input_rate
        groups = [
            {"params": [*these], "weight_decay": decay / multiple, "multiple": multiple}
            for params, decay in zip(by_decay(model), (settings.weight_decay, 0.0), strict=True)
            for multiple, these in groupby(params, multiples.__getitem__)
        ]
        betas = (0.9, settings.beta2)
        super().__init__(groups, lr=settings.learning_rate, betas=betas, fused=True)
