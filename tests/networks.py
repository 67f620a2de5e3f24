"""Networks with random weights, large enough to matter, and runs and engines made of them."""

import numpy as np
import torch

from chargen.cells import CELL_NAMES
from chargen.recurrent import CharModel
from chargen.runs.checkpoint import WEIGHTS, Checkpoint
from chargen.runs.description import Description, Imported
from chargen.runs.directory import BEST, Run
from chargen.sampling.choice import Choice, weights
from chargen.sampling.engine import Engine
from chargen.settings import ModelSettings
from chargen.text import Vocabulary

LETTERS = "\n abcéβ好😀"
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


def arrays_of(network):
    return {name: value.numpy() for name, value in network.state_dict().items()}


def network_and_engine(cell="lstm", units=(7, 3), size=11, **shape):
    """A network whose gains and biases differ from unit to unit, and its inference engine."""
    settings = ModelSettings(cell, units, **{"activation": "tanh", **shape})
    network, generator = CharModel.seeded(settings, size, 3), torch.Generator().manual_seed(4)
    for parameter in network.parameters():
        parameter.data.mul_(1.5).add_(0.1)
        if parameter.ndim == 1:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return network, Engine(settings, arrays_of(network), size)


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
