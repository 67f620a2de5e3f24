"""Import of a character model that Keras 3 saved, as a run.

Axes: V ids, E units of an embedding, H units of a layer.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from chargen import __version__
from chargen.cells import cell_named
from chargen.errors import ChargenError
from chargen.files import reason
from chargen.formats import keras_layout
from chargen.formats.keras_alphabet import Alphabet
from chargen.formats.keras_file import ArrayGroups, KerasFile, read_keras
from chargen.formats.keras_layout import KERAS_GATES, KerasLayout
from chargen.runs.checkpoint import WEIGHTS, Checkpoint
from chargen.runs.description import Description, Imported
from chargen.runs.directory import BEST, RUNS, Run, is_run
from chargen.runs.lock import lock
from chargen.settings import ModelSettings

Arrays = dict[str, np.ndarray]


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
        units = tuple(len(file.arrays[group][1]) for group in layout.layers)
        settings = ModelSettings(
            layout.cell, units, layout.activation, reset_after=layout.reset_after
        )
    except ChargenError as error:
        raise ChargenError(f"{model}: {error}") from None
    arrays = _converted(layout, file.arrays)
    V, known = len(arrays["b_y"]), alphabet
    if known is None and layout.alphabet is not None:
        known = Alphabet(layout.alphabet, "the model's vocabulary")
    if known is None:
        raise ChargenError(
            f"the model does not store the characters of its {V} ids; give --alphabet FILE.json, "
            "or the text it was trained on as --alphabet-text"
        )
    vocabulary, ids, notes = known.arranged(V)
    if layout.skips_zero and 0 in ids:
        raise ChargenError(
            f"its Embedding has mask_zero, so id 0 is padding, but it is {known.entries[0]!r} "
            f"in {known.source}; give the alphabet that the model was trained with"
        )
    # A row and a column for each character of the vocabulary, in its order.
    arrays["stack.layers.0.W_xh"] = arrays["stack.layers.0.W_xh"][ids]
    arrays["W_hy"], arrays["b_y"] = arrays["W_hy"][:, ids], arrays["b_y"][ids]
    versions = {"chargen": __version__, **({"keras": file.version} if file.version else {})}
    imported = Imported(model.name, file.sha256)
    description = Description(settings, vocabulary, versions=versions, imported=imported)
    weights = {WEIGHTS + name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with lock(path):
        run = Run.create(path, description)
        run.write_checkpoint(BEST, Checkpoint(weights, {"step": 0}))
    return run, notes


def _layout(file: KerasFile, activation: str | None, reset_after: bool | None) -> KerasLayout:
    """Return the layout of a file, whose weights fit it."""
    shapes = {name: tuple(array.shape for array in arrays) for name, arrays in file.arrays.items()}
    if file.config is None:
        return keras_layout.of_shapes(shapes, activation or "tanh", reset_after)
    if activation or reset_after is not None:
        flag = "--activation" if activation else "--cell"
        raise ChargenError(f"{flag} is for .weights.h5: the model stores its own; leave it out")
    try:
        layout = keras_layout.of_config(file.config)
    except (ValueError, LookupError, TypeError) as error:
        raise ChargenError(
            f"its configuration is not Keras's ({type(error).__name__}: {reason(error)}); save "
            "it again with Keras 3"
        ) from None
    layout.check(shapes)
    return layout


def _converted(layout: KerasLayout, groups: ArrayGroups) -> Arrays:
    """Return the weights by chargen's names, float32."""
    arrays = Arrays()
    for number, group in enumerate(layout.layers):
        own = _layer(layout, *groups[group])
        arrays |= {f"stack.layers.{number}.{name}": array for name, array in own.items()}
    if layout.embedding:
        # x E W of a one-hot x is a row of E W, rounded once.
        (E,), first = groups[layout.embedding], "stack.layers.0.W_xh"
        arrays[first] = (E.astype("f8") @ arrays[first].astype("f8")).astype("f4")
    W_hy, *biases = groups[layout.head]
    return arrays | {"W_hy": W_hy, "b_y": biases[0] if biases else np.zeros(W_hy.shape[1], "f4")}


def _layer(
    layout: KerasLayout, W_xh: np.ndarray, W_hh: np.ndarray, bias: np.ndarray | None = None
) -> Arrays:
    """Convert one recurrent layer to chargen's order of gates."""
    cell, order = cell_named(layout.cell, layout.reset_after), KERAS_GATES[layout.cell]
    if bias is None:
        bias = np.zeros((2,) * bool(cell.extra) + W_xh.shape[1:], "f4")
    extra = {}
    if cell.extra:
        # The biases of the input and of h add up, but for n, where the reset is between them.
        (bias, of_h), both = bias, 2 * len(W_hh)
        extra["b_m"] = of_h[both:]
        bias = np.concatenate([bias[:both] + of_h[:both], bias[both:]])

    def reordered(array: np.ndarray) -> np.ndarray:
        blocks = dict(zip(order, np.split(array, len(order), axis=-1), strict=True))
        return np.concatenate([blocks[gate] for gate in cell.gates], axis=-1)

    return {"W_xh": reordered(W_xh), "W_hh": reordered(W_hh), "b_h": reordered(bias), **extra}
