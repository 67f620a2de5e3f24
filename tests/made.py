"""Runs that nobody trained: weights drawn at random, large enough to matter."""

import numpy as np

from chargen.runs.checkpoint import WEIGHTS, Checkpoint
from chargen.runs.description import Description, Imported
from chargen.runs.directory import BEST, Run
from chargen.settings import ModelSettings
from chargen.text import Vocabulary

LETTERS = "\n abcéβ好😀"


def model_run(folder, cell="lstm", units=(7, 5), activation="tanh", letters=LETTERS):
    """A run in a new folder."""
    folder.mkdir()
    settings, rng = ModelSettings(cell, units, activation), np.random.default_rng(0)
    imported = Imported("nobody", "0" * 64)
    description = Description.of_imported(settings, Vocabulary(letters), imported, {})
    shapes = settings.shapes(len(letters)).items()
    # The state must not be chaotic, or what is rounded otherwise is soon something else.
    scales = {name: 0.3 if name.endswith("W_hh") else 1.2 for name, _ in shapes}
    arrays = {
        WEIGHTS + name: rng.normal(0, scales[name], shape).astype("f4") for name, shape in shapes
    }
    run = Run.create(folder, description)
    run.write_checkpoint(BEST, Checkpoint(arrays, {"step": 0}))
    return run
