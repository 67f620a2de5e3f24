"""Networks with random weights, large enough to matter, and runs and engines made of them."""

import numpy as np
import torch

from chargen.cells import CELL_NAMES
from chargen.pages.export_page import ExportedModel
from chargen.recurrent import CharModel
from chargen.runs.checkpoint import WEIGHTS, Checkpoint
from chargen.runs.description import Description, Imported
from chargen.runs.directory import BEST, Run
from chargen.sampling import Sampler
from chargen.sampling.choice import Choice, weights
from chargen.sampling.engine import Engine
from chargen.settings import ModelSettings
from chargen.text import Vocabulary

LETTERS = "\n abcéβ好😀"
PAGE_LETTERS = Vocabulary("\n abcdefgh")
# Of the initial weights, and of the head's.
GAINS = {"tanh": (1.5, 3.0), "sigmoid": (4.0, 3.0), "relu": (0.6, 30.0), "linear": (0.6, 30.0)}
# Every cell, and the variants of the GRU.
VARIANTS = {
    **{cell: {"cell": cell} for cell in CELL_NAMES},
    "gru reset before": {"cell": "gru", "reset_after": False},
}


class Fixed:
    """A generator of fixed numbers."""

    def __init__(self, *points):
        self.points = points

    def random(self, count):
        return np.resize(self.points, count)


def distribution(log_probs, settings, recent=()):
    """The probabilities that characters are drawn with, ``(N, V)``."""
    choice, ids = Choice.of(settings), np.array(recent, dtype=int)
    with np.errstate(over="ignore", invalid="ignore"):
        drawn = np.array([weights(row, choice, ids) for row in log_probs])
    return drawn / drawn.sum(axis=1, keepdims=True)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def arrays_of(network):
    return {name: value.numpy() for name, value in network.state_dict().items()}


def network_and_engine(cell="lstm", units=(7, 3), size=11, seed=3, gain=1.5, **shape):
    """A network whose gains and biases differ from unit to unit, and its inference engine."""
    settings = ModelSettings(cell, units, **{"activation": "tanh", **shape})
    network, generator = CharModel.seeded(settings, size, seed), seeded(4)
    for parameter in network.parameters():
        parameter.data.mul_(gain).add_(0.1)
        if parameter.ndim == 1:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return network, Engine(settings, arrays_of(network), size)


def sampler(characters="\nabcdefghij"):
    return Sampler(network_and_engine()[1], Vocabulary(characters), "runs/it")


def model_run(folder, cell="lstm", units=(7, 5), activation="tanh", letters=LETTERS):
    """A run in a new folder."""
    folder.mkdir()
    settings, rng = ModelSettings(cell, units, activation), np.random.default_rng(0)
    imported = Imported("nobody", "0" * 64)
    description = Description(settings, Vocabulary(letters), imported=imported)
    # A chaotic state would amplify rounding errors.
    arrays = {
        WEIGHTS + name: rng.normal(0, 0.3 if name.endswith("W_hh") else 1.2, shape).astype("f4")
        for name, shape in settings.shapes(len(letters)).items()
    }
    run = Run.create(folder, description)
    run.write_checkpoint(BEST, Checkpoint(arrays, {"step": 0}))
    return run


def made(cell="lstm", units=(7, 3), activation="tanh", vocabulary=PAGE_LETTERS, *, reset_after=True,
         stack="plain", **given):  # fmt: skip
    """An exported model with large weights and finite states."""
    shape = ModelSettings(cell, units, activation, stack, reset_after)
    network = CharModel.seeded(shape, len(vocabulary), 3)
    generator = seeded(4)
    gain, head_gain = GAINS[activation]
    for parameter in network.parameters():
        if stack == "plain":
            parameter.data.mul_(gain).add_(0.1 if parameter.ndim == 1 else 0.0)
        elif parameter.ndim == 1:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
        else:
            parameter.data *= min(gain, 1)
    if stack == "plain":
        network.W_hy.data.mul_(head_gain)
    else:
        network.stack.W_in.data[0] *= 1e-3  # small enough for the epsilon of the norm to matter
    return ExportedModel("tales", shape, vocabulary, arrays_of(network), **given)
