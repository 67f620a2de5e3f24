"""From Keras's weights to ours: other orders of gates, other biases, an embedding multiplied in.

Axes: V ids, E an embedding's numbers, F features of a layer, H units.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from chargen.errors import ChargenError
from chargen.formats.keras_file import Variable
from chargen.formats.keras_plan import Plan
from chargen.settings import BLOCKS, ModelSettings

Arrays = dict[str, np.ndarray]
Groups = Mapping[str, tuple[Variable, ...]]
KERAS_BLOCKS = {  # where Keras has the columns of our blocks
    "simple": (0,),
    "lstm": (0, 1, 2, 3),  # i, f, g, o, which Keras calls i, f, c, o
    "gru": (1, 0, 2),  # r, z, n of its z, r, h
    "gru-before": (1, 0, 2),
}


def weights_of(plan: Plan, groups: Groups) -> tuple[ModelSettings, int, Arrays]:
    """The model, its V, and its weights by our names, float32.

    All shapes are checked before any numbers are read. `ChargenError` where they do not fit.
    """
    settings, size = _checked(plan, groups)
    arrays: Arrays = {}
    for number, group in enumerate(plan.layers):
        arrays |= _layer(plan.cell, groups[group], f"stack.layers.{number}.")
    if plan.embedding:
        # x E W for a one-hot x is a row of E W: one matrix does what both did.
        (E,) = groups[plan.embedding]
        first = "stack.layers.0.W_xh"
        arrays[first] = _product(E.read(), arrays[first])
    W_hy, *biases = groups[plan.head]
    arrays["W_hy"] = W_hy.read()
    arrays["b_y"] = biases[0].read() if biases else np.zeros(size, dtype=np.float32)
    return settings, size, arrays


def _checked(plan: Plan, groups: Groups) -> tuple[ModelSettings, int]:
    """The model that the shapes make, and V."""
    for group in (*plan.layers, plan.head, *filter(None, [plan.embedding])):
        if group not in groups:
            raise ChargenError(f"its weights lack the group {group}: save it again with Keras 3")
    size = _shape(groups, plan.head, 0, (None, None))[1]
    features = size
    if plan.embedding:
        features = _shape(groups, plan.embedding, 0, (size, None))[1]
        _count(groups, plan.embedding, 1, 1)
    units = []
    for number, group in enumerate(plan.layers):
        H = _shape(groups, group, 1, (None, None))[0]
        columns = BLOCKS[plan.cell] * H
        one_hot = not number and not plan.embedding
        rule = f": one-hot input has as many as the Dense, {size}" if one_hot else ""
        _shape(groups, group, 0, (features, columns), rule)
        _shape(groups, group, 1, (H, columns))
        if _count(groups, group, 2, 3) == 3:
            _shape(groups, group, 2, (2, columns) if plan.cell == "gru" else (columns,))
        units.append(H)
        features = H
    _shape(groups, plan.head, 0, (features, size))
    if _count(groups, plan.head, 1, 2) == 2:
        _shape(groups, plan.head, 1, (size,))
    return ModelSettings(plan.cell, tuple(units), plan.activation), size


def _count(groups: Groups, group: str, least: int, most: int) -> int:
    """How many variables a group has."""
    count = len(groups[group])
    if not least <= count <= most:
        raise ChargenError(f"{group} has {count} variables, not {least} to {most}")
    return count


def _shape(
    groups: Groups, group: str, number: int, wanted: tuple[int | None, ...], rule: str = ""
) -> tuple[int, ...]:
    """A variable's shape, where it is as ``wanted``; None stands for any number above 0."""
    variables = groups[group]
    shape = variables[number].shape if number < len(variables) else ()
    fits = len(shape) == len(wanted) and all(
        own > 0 and want in (None, own) for own, want in zip(shape, wanted, strict=True)
    )
    if not fits:
        told = ", ".join("any" if want is None else str(want) for want in wanted)
        raise ChargenError(f"{group}, variable {number}, has shape {shape}, not ({told}){rule}")
    return shape


def _layer(cell: str, variables: tuple[Variable, ...], name: str) -> Arrays:
    """One recurrent layer: its kernel, its recurrent kernel, and its biases where it has any."""
    kernel, recurrent, *biases = (variable.read() for variable in variables)
    H, columns = recurrent.shape
    bias = biases[0] if biases else np.zeros(columns, dtype=np.float32)
    found = {"W_xh": _blocks(cell, kernel), "W_hh": _blocks(cell, recurrent)}
    if cell == "gru":
        # Two biases, of the input and of the product with h: they add up, but for n, where the
        # reset stands between them.
        of_input, of_h = np.broadcast_to(bias, (2, columns)) if biases else (bias, bias)
        found["b_m"] = of_h[2 * H :].copy()
        bias = of_input.copy()
        bias[: 2 * H] += of_h[: 2 * H]
    found["b_h"] = _blocks(cell, bias)
    return {name + part: array for part, array in found.items()}


def _blocks(cell: str, array: np.ndarray) -> np.ndarray:
    """The columns in our order of blocks."""
    blocks = np.split(array, BLOCKS[cell], axis=-1)
    return np.concatenate([blocks[block] for block in KERAS_BLOCKS[cell]], axis=-1)


def _product(E: np.ndarray, W: np.ndarray) -> np.ndarray:
    """``E W`` rounded once, at its end."""
    product: np.ndarray = (E.astype(np.float64) @ W.astype(np.float64)).astype(np.float32)
    return product
