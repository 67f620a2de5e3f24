"""Training checkpoints: their contents, and their validation against a run."""

from typing import Annotated

import torch
from msgspec import Meta, Struct, convert
from torch import nn

from chargen import __version__
from chargen.errors import ChargenError
from chargen.files import reason
from chargen.recurrent.model import CharModel
from chargen.runs.checkpoint import WEIGHTS, Checkpoint, below
from chargen.runs.description import Description
from chargen.runs.directory import LAST, Run
from chargen.settings import ModelSettings, Natural, NonNegative, TrainingSettings

# Prefixes of array names. `UNAVERAGED` weights exist if `WEIGHTS` are their running average.
OPTIMIZER, STATE, GENERATOR, UNAVERAGED = "optimizer.", "state.", "generator", "unaveraged."
MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW, each shaped like its parameter
Printable = Annotated[str, Meta(pattern=r"^[ -~]*\Z", max_length=100)]


class Counters(Struct, forbid_unknown_fields=True):
    """The position of a training; with the tensors, all that a resumed training needs."""

    step: Natural = 0
    stage: Natural = 0  # of the curriculum
    epoch: Natural = 0
    batch: Natural = 0  # within the epoch
    chars: Natural = 0
    seconds: NonNegative = 0.0
    loss_sum: NonNegative = 0.0  # over the batches since the last validation
    loss_batches: Natural = 0
    best_loss: NonNegative | None = None  # None before the first validation
    since_best: Natural = 0  # validations
    progress_lines: Natural = 0
    first_losses: dict[str, NonNegative] = {}  # by step, before the first validation
    environment: dict[Printable, Printable] = {}  # of the process that wrote the checkpoint


def generator_name(rank: int) -> str:
    return f"{GENERATOR}.{rank}" if rank else GENERATOR


def environment(device: torch.device, processes: int) -> dict[str, str]:
    """Return what the last digits of a result depend on besides settings and text."""
    on_gpu, capability = device.type == "cuda", torch.backends.cpu.get_cpu_capability()
    name = torch.cuda.get_device_name(device) if on_gpu else capability
    return {
        "chargen": __version__,
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "processes": str(processes),
        "device": f"{device.type} {name}",
    }


def by_decay(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return matrices, which decay, and biases, which do not; the optimizer numbers them so."""
    parameters = list(model.parameters())
    return [one for one in parameters if one.ndim > 1], [one for one in parameters if one.ndim == 1]


def check_checkpoint(checkpoint: Checkpoint, description: Description) -> Counters:
    """Return the counters of a checkpoint; `ChargenError` or `ValueError` if it does not fit."""
    # Nothing of the size that it states is allocated before it is checked.
    counters = convert(checkpoint.values, Counters)
    model, size = description.model, len(description.vocabulary)
    found = {name: array.shape for name, array in checkpoint.arrays.items()}
    model.check(below(found, WEIGHTS), size)
    prefixes = (WEIGHTS, UNAVERAGED) if description.training.average else (WEIGHTS,)
    shapes = model.shapes(size)
    expected = {prefix + name: shape for prefix in prefixes for name, shape in shapes.items()}
    stages = description.training.stages()
    if counters.stage >= len(stages):
        raise ValueError(f"stage {counters.stage} of {len(stages)}")
    if counters.step:
        expected |= _state_shapes(model, stages[counters.stage], size)
    # One generator per process; its length depends on the device.
    processes = max(1, sum(name.startswith(GENERATOR) for name in found))
    expected |= {name: found.get(name, ())[:1] for name in map(generator_name, range(processes))}
    if found != expected:
        odd = min(name for name, _ in set(found.items()) ^ set(expected.items()))
        raise ValueError(f"{odd} has shape {found.get(odd)}, the settings say {expected.get(odd)}")
    for name, array in checkpoint.arrays.items():
        if array.dtype != (kind := "uint8" if name.startswith(GENERATOR) else "float32"):
            raise ValueError(f"{name} holds {array.dtype}, not {kind}")
    return counters


def _state_shapes(
    settings: ModelSettings, training: TrainingSettings, size: int
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the optimizer state and the carried state after the first step."""
    with torch.device("meta"):
        model = CharModel(settings, size)
    shapes: dict[str, tuple[int, ...]] = {}
    matrices, biases = by_decay(model)
    for number, parameter in enumerate([*matrices, *biases]):
        shapes |= {f"{OPTIMIZER}{number}.{name}": tuple(parameter.shape) for name in MOMENTS}
        shapes[f"{OPTIMIZER}{number}.step"] = ()
    if training.state == "carry":
        for number, state in enumerate(model.stack.initial_state(training.window[0])):
            for part, tensor in enumerate(state):
                shapes[f"{STATE}{number}.{part}"] = tuple(tensor.shape)
    return shapes


def mismatch(run: Run, error: Exception) -> ChargenError:
    return ChargenError(f"{run.path / LAST}: does not fit the run ({reason(error)})")
