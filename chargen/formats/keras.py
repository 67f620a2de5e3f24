"""Import of a character model that Keras 3 saved, as a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from chargen import __version__
from chargen.errors import ChargenError
from chargen.files import reason
from chargen.formats.keras_config import layout_of_config
from chargen.formats.keras_file import KerasFile, read_keras
from chargen.formats.keras_layout import KerasLayout, layout_of_shapes
from chargen.formats.keras_vocabulary import Alphabet
from chargen.formats.keras_weights import Arrays, convert_weights
from chargen.runs.checkpoint import WEIGHTS, Checkpoint
from chargen.runs.description import NO_CORPUS, Description, Imported
from chargen.runs.directory import BEST, RUNS, Run, is_run, lock
from chargen.settings import TrainingSettings
from chargen.text.vocabulary import Vocabulary


def import_keras(
    model: Path,
    alphabet: Alphabet | None = None,
    out: Path | None = None,
    *,
    activation: str | None = None,
    reset_after: bool | None = None,
    overwrite: bool = False,
) -> tuple[Run, list[str]]:
    """Import a ``.keras`` or ``.weights.h5`` file.

    Args:
        model: The file.
        alphabet: The characters of the model's ids, if the model does not store them.
        out: The run directory; ``runs/<name of the file>`` by default.
        activation: Activation function, which a ``.weights.h5`` file does not store.
        reset_after: GRU variant, which a ``.weights.h5`` file without biases does not store.
        overwrite: Replace an existing run.

    Returns:
        The run, and notes for the user.

    Raises:
        ChargenError: The model cannot be imported; nothing has been written.
    """
    path = out or RUNS / (model.name.split(".")[0] or "keras")
    if is_run(path) and not overwrite:
        raise ChargenError(f"{path}: a run is there already; give --overwrite, or another --out")
    file = read_keras(model)
    try:
        layout = _layout(file, activation, reset_after)
        settings, size, arrays = convert_weights(layout, file.arrays)
    except ChargenError as error:
        raise ChargenError(f"{model}: {error}") from None
    versions = {"chargen": __version__, **({"keras": file.version} if file.version else {})}
    vocabulary, arrays, notes = _with_characters(layout, alphabet, size, arrays)
    imported = Imported(model.name, file.sha256)
    description = Description(
        settings, TrainingSettings(), vocabulary, NO_CORPUS, versions, imported
    )
    weights = {WEIGHTS + name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with lock(path):
        run = Run.create(path, description)
        run.write_checkpoint(BEST, Checkpoint(weights, {"step": 0}))
    return run, notes


def _layout(file: KerasFile, activation: str | None, reset_after: bool | None) -> KerasLayout:
    if file.config is None:
        shapes = {
            name: tuple(array.shape for array in arrays) for name, arrays in file.arrays.items()
        }
        return layout_of_shapes(shapes, activation or "tanh", reset_after)
    if activation or reset_after is not None:
        flag = "--activation" if activation else "--cell"
        raise ChargenError(f"{flag} is for .weights.h5: the model stores its own; leave it out")
    try:
        return layout_of_config(file.config)
    except (ValueError, LookupError, TypeError) as error:
        raise ChargenError(
            f"its configuration is not Keras's ({type(error).__name__}: {reason(error)}); save "
            "it again with Keras 3"
        ) from None


def _with_characters(
    layout: KerasLayout, alphabet: Alphabet | None, size: int, arrays: Arrays
) -> tuple[Vocabulary, Arrays, list[str]]:
    """Return the vocabulary, and the weights with a row and a column for each character of it."""
    if alphabet is None and layout.alphabet is None:
        raise ChargenError(
            f"the model does not store the characters of its {size} ids; give --alphabet "
            "FILE.json, or the text it was trained on as --alphabet-text"
        )
    alphabet = alphabet or Alphabet(layout.alphabet or (), "the model's vocabulary")
    vocabulary, ids, notes = alphabet.arranged(size)
    if layout.skips_zero and 0 in ids:
        character = vocabulary.decode(np.flatnonzero(ids == 0))
        raise ChargenError(
            f"its Embedding has mask_zero, so id 0 is padding, but it is {character!r} in "
            f"{alphabet.source}; give the alphabet that the model was trained with"
        )
    first = "stack.layers.0.W_xh"
    rows = {first: arrays[first][ids], "W_hy": arrays["W_hy"][:, ids], "b_y": arrays["b_y"][ids]}
    return vocabulary, {**arrays, **rows}, notes
