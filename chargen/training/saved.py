"""What a checkpoint holds beside the weights, and whether it is that of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from chargen import __version__
from chargen.errors import ChargenError
from chargen.recurrent.model import CharModel
from chargen.runs.checkpoint import WEIGHTS, Checkpoint, below
from chargen.runs.description import Description
from chargen.settings import ModelSettings, TrainingSettings

# What arrays' names begin with; `UNAVERAGED` are the weights of which `WEIGHTS` are an average.
OPTIMIZER, STATE, GENERATOR, UNAVERAGED = "optimizer.", "state.", "generator", "unaveraged."
ENVIRONMENT = "environment"
MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW, each shaped like its parameter


@dataclass
class Counters:
    """The numbers that move; with the tensors they are all that training goes on from."""

    step: int = 0
    stage: int = 0  # of the curriculum
    epoch: int = 0
    batch: int = 0  # of the epoch
    chars: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0  # of the batches since the last validation
    loss_batches: int = 0
    best_loss: float = math.inf
    since_best: int = 0  # validations
    progress_lines: int = 0

    def to_json(self) -> dict[str, int | float | None]:
        """Plain values; `from_json` reads them back."""
        best = self.best_loss if math.isfinite(self.best_loss) else None
        return {**vars(self), "best_loss": best}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Counters:
        """Checked on the way in; `KeyError`, `TypeError` or `ValueError`."""
        best = values["best_loss"]
        counters = cls(**{**values, "best_loss": math.inf if best is None else best})
        for name, value in vars(counters).items():
            kinds = (int,) if isinstance(getattr(cls, name), int) else (int, float)
            endless = name == "best_loss" and value == math.inf
            if type(value) not in kinds or not (0 <= value < 2**63 or endless):
                raise ValueError(f"{name} is {value!r:.40}")
        return counters


def generator_of(rank: int) -> str:
    """What the array is called that holds what process ``rank`` draws random numbers from."""
    return f"{GENERATOR}.{rank}" if rank else GENERATOR


def environment(device: torch.device, processes: int) -> dict[str, str]:
    """What the last digits of a result depend on, beside the settings and the text."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = torch.backends.cpu.get_cpu_capability()
    return {
        "chargen": __version__,
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "processes": str(processes),
        "device": f"{device.type} {name}",
    }


def differences(before: Mapping[str, Any], now: Mapping[str, str]) -> str:
    """What of two environments is not the same, in words; empty where they agree."""
    return ", ".join(
        f"{name} {value} (was {before[name]})"
        for name, value in now.items()
        if name in before and before[name] != value
    )


def by_decay(model: CharModel) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Matrices, which decay, and biases, which do not: so the optimizer numbers them."""
    parameters = list(model.parameters())
    matrices = [parameter for parameter in parameters if parameter.ndim > 1]
    return matrices, [parameter for parameter in parameters if parameter.ndim == 1]


def parts(checkpoint: Checkpoint) -> tuple[Counters, dict[str, str]]:
    """The counters and the environment of a checkpoint, checked; `ValueError` and its like."""
    values = dict(checkpoint.values)
    before = values.pop(ENVIRONMENT, {})
    texts = [*before.keys(), *before.values()] if isinstance(before, dict) else [before]
    if not all(isinstance(text, str) and text.isprintable() and len(text) <= 100 for text in texts):
        raise ValueError(f"{ENVIRONMENT} is no names and texts")
    return Counters.from_json(values), before


def check(checkpoint: Checkpoint, description: Description) -> None:
    """Compare a checkpoint with what the run's settings ask for, before that is allocated.

    `ChargenError`, or `ValueError` and its like, where they do not belong together.
    """
    counters, _ = parts(checkpoint)
    model, size = description.model, len(description.vocabulary)
    found = {name: array.shape for name, array in checkpoint.arrays.items()}
    model.check(below(found, WEIGHTS), size)
    wanted = {WEIGHTS + name: shape for name, shape in model.shapes(size).items()}
    if description.training.average:
        wanted |= {UNAVERAGED + name: shape for name, shape in model.shapes(size).items()}
    stages = description.training.stages()
    if counters.stage >= len(stages):
        raise ValueError(f"stage {counters.stage} of {len(stages)}")
    if counters.step:
        wanted |= _moved(model, stages[counters.stage], size)
    # One of each process, which may be more than there are texts, as long as its device's own.
    processes = max(1, sum(name.startswith(GENERATOR) for name in found))
    wanted |= {name: found.get(name, ())[:1] for name in map(generator_of, range(processes))}
    if found != wanted:
        odd = min(name for name, _ in set(found.items()) ^ set(wanted.items()))
        raise ValueError(f"{odd} has shape {found.get(odd)}, the settings say {wanted.get(odd)}")
    for name, array in checkpoint.arrays.items():
        kind = np.uint8 if name.startswith(GENERATOR) else np.float32
        if array.dtype != kind:
            raise ValueError(f"{name} holds {array.dtype}, not {np.dtype(kind)}")


def _moved(
    settings: ModelSettings, training: TrainingSettings, size: int
) -> dict[str, tuple[int, ...]]:
    """The shapes of what is there once a step was made."""
    with torch.device("meta"):
        model = CharModel(settings, size)
    shapes: dict[str, tuple[int, ...]] = {}
    matrices, biases = by_decay(model)
    for number, parameter in enumerate([*matrices, *biases]):
        shapes |= {f"{OPTIMIZER}{number}.{name}": tuple(parameter.shape) for name in MOMENTS}
        shapes[f"{OPTIMIZER}{number}.step"] = ()
    if training.state == "carry":
        assert training.batch_size is not None
        for number, state in enumerate(model.stack.initial_state(training.batch_size)):
            for part, tensor in enumerate(state):
                shapes[f"{STATE}{number}.{part}"] = tuple(tensor.shape)
    return shapes


def finite(checkpoint: Checkpoint) -> bool:
    """Whether all that it holds are numbers."""
    arrays = checkpoint.arrays.values()
    return all(bool(np.isfinite(array).all()) for array in arrays if array.dtype.kind == "f")


def told_of_memory(error: BaseException, description: Description) -> ChargenError | None:
    """What the user is told where ``error`` says that memory ran out; None where it does not."""
    text = str(error).lower()
    scarce = "alloc" in text or "out of memory" in text or "not enough memory" in text
    if not (isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and scarce)):
        return None
    training, units = description.training, ",".join(map(str, description.model.units))
    return ChargenError(
        f"--batch-size {training.batch_size}, --timesteps {training.timesteps}, --units {units}: "
        "more than the memory here holds; lower one of them and start over with --overwrite"
    )
