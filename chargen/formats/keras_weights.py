"""Conversion of Keras weights: gate order, biases, and an embedding multiplied into the kernel.

Axes: V ids, E units of an embedding, F features of a layer, H units.
"""

from __future__ import annotations

import numpy as np

from chargen.cells import Cell, cell_named
from chargen.errors import ChargenError
from chargen.formats.keras_file import ArrayGroups
from chargen.formats.keras_layout import KERAS_GATES, KerasLayout
from chargen.settings import ModelSettings

Arrays = dict[str, np.ndarray]


def convert_weights(layout: KerasLayout, groups: ArrayGroups) -> tuple[ModelSettings, int, Arrays]:
    """Return the architecture, V, and the weights by chargen's names, float32.

    Raises:
        ChargenError: An array is missing or has the wrong shape.
    """
    cell, order = cell_named(layout.cell, layout.reset_after), KERAS_GATES[layout.cell]
    size = _size(groups, layout.head, 0, 1)
    features, units, arrays = size, [], Arrays()
    if layout.embedding:
        features = _size(groups, layout.embedding, 0, 1)
        _check(groups, layout.embedding, (size, features))
    for number, group in enumerate(layout.layers):
        H = _size(groups, group, 1, 0)
        shapes = cell.shapes(features, H)
        bias = (2, *shapes["b_h"]) if cell.extra else shapes["b_h"]
        one_hot = not number and not layout.embedding
        rule = f": one-hot input has as many features as the Dense has units, {size}"
        _check(groups, group, shapes["W_xh"], shapes["W_hh"], bias, rule=rule if one_hot else "")
        own = _layer(cell, order, *groups[group])
        arrays |= {f"stack.layers.{number}.{name}": array for name, array in own.items()}
        units.append(H)
        features = H
    _check(groups, layout.head, (features, size), (size,))
    if layout.embedding:
        # x E W of a one-hot x is a row of E W, rounded once.
        (E,) = groups[layout.embedding]
        first = "stack.layers.0.W_xh"
        arrays[first] = (E.astype(np.float64) @ arrays[first].astype(np.float64)).astype("f4")
    W_hy, *biases = groups[layout.head]
    arrays |= {"W_hy": W_hy, "b_y": biases[0] if biases else np.zeros(size, dtype=np.float32)}
    settings = ModelSettings(
        layout.cell, tuple(units), layout.activation, reset_after=layout.reset_after
    )
    return settings, size, arrays


def _size(groups: ArrayGroups, group: str, number: int, axis: int) -> int:
    """Return the size of one axis of a matrix."""
    if group not in groups:
        raise ChargenError(f"its weights lack the group {group}: save it again with Keras 3")
    arrays = groups[group]
    if len(arrays) <= number or arrays[number].ndim != 2 or not arrays[number].size:
        raise ChargenError(f"{group}, variable {number}, is not a matrix")
    return int(arrays[number].shape[axis])


def _check(groups: ArrayGroups, group: str, *wanted: tuple[int, ...], rule: str = "") -> None:
    """Compare the shapes of a group; the last array, a bias, may be missing where there are two."""
    arrays = groups[group]
    least = max(1, len(wanted) - 1)
    if not least <= len(arrays) <= len(wanted):
        raise ChargenError(f"{group} has {len(arrays)} variables, not {least} to {len(wanted)}")
    for number, (array, shape) in enumerate(zip(arrays, wanted, strict=False)):
        if array.shape != shape:
            raise ChargenError(
                f"{group}, variable {number}, has shape {array.shape}, not {shape}"
                f"{'' if number else rule}"
            )


def _layer(
    cell: Cell,
    order: str,
    kernel: np.ndarray,
    recurrent: np.ndarray,
    bias: np.ndarray | None = None,
) -> Arrays:
    """Convert one recurrent layer, whose gates Keras has in ``order``."""

    def reordered(array: np.ndarray) -> np.ndarray:
        blocks = dict(zip(order, np.split(array, len(order), axis=-1), strict=True))
        return np.concatenate([blocks[gate] for gate in cell.gates], axis=-1)

    arrays = {"W_xh": reordered(kernel), "W_hh": reordered(recurrent)}
    if bias is None:
        bias = np.zeros((2,) * bool(cell.extra) + kernel.shape[1:], dtype=np.float32)
    if cell.extra:
        # The biases of the input and of h add up, but for n, where the reset is between them.
        of_input, of_h = bias
        H = len(recurrent)
        arrays["b_m"] = of_h[2 * H :].copy()
        bias = of_input.copy()
        bias[: 2 * H] += of_h[: 2 * H]
    return arrays | {"b_h": reordered(bias)}
