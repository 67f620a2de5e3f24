"""Layout of a Keras model: which group of its weights holds which layer.

Keras names the groups of a plain model after its layers' classes, ``layers/lstm_1/cell``, and those
of a custom class after its attributes, ``gru/cell``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

from chargen.cells import cell_named
from chargen.errors import ChargenError

SUPPORTED = (
    "SimpleRNN, LSTM or GRU layers, one kind, one after the other, on one-hot input or an "
    "Embedding, and a softmax Dense above them"
)
KERAS_GATES = {"simple": "h", "lstm": "ifgo", "gru": "zrn"}  # our gate names in Keras's order
RECURRENT = {"SimpleRNN": "simple_rnn", "LSTM": "lstm", "GRU": "gru"}  # classes and group names
CELL = "/cell"  # the end of a recurrent layer's group
NUMBERED = re.compile(rf"layers/(?:{'|'.join(RECURRENT.values())})(?:_(\d{{1,6}}))?{CELL}")
MOST_UNNUMBERED = 6  # layers whose order is inferred from their shapes

Shape = tuple[int, ...]
Shapes = Mapping[str, tuple[Shape, ...]]
"""The shapes of each group's arrays."""


@dataclass(frozen=True)
class KerasLayout:
    """A character model and the groups of its weights, from the input to the output."""

    cell: str
    reset_after: bool
    activation: str
    layers: tuple[str, ...]
    head: str
    embedding: str | None = None  # None for one-hot input
    skips_zero: bool = False  # id 0 is padding, which leaves the state unchanged
    alphabet: tuple[str | None, ...] | None = None  # the characters of the ids, if stored

    def check(self, shapes: Shapes) -> None:
        """Raise `ChargenError` unless the weights of each layer fit those of its neighbours."""
        outer = [self.embedding, self.head] if self.embedding else [self.head]
        for group, count in [*((one, 2) for one in self.layers), *((one, 1) for one in outer)]:
            matrices = shapes.get(group, ())[:count]
            if len(matrices) < count or any(len(one) != 2 or 0 in one for one in matrices):
                raise ChargenError(f"its weights lack the matrices of {group}; save it again")
        V = features = shapes[self.head][0][1]
        wanted: dict[str, list[Shape]] = {}
        if self.embedding:
            features = shapes[self.embedding][0][1]
            wanted[self.embedding] = [(V, features)]
        cell = cell_named(self.cell, self.reset_after)
        for group in self.layers:
            H = shapes[group][1][0]
            own = cell.shapes(features, H)
            bias = (2, *own["b_h"]) if cell.extra else own["b_h"]
            wanted[group] = [own["W_xh"], own["W_hh"], bias]
            features = H
        wanted[self.head] = [(features, V), (V,)]
        for group, expected in wanted.items():
            given = list(shapes[group])
            if given not in (expected, expected[:-1]):  # a layer may have no bias
                told, rule = (", ".join(map(str, values)) for values in (given, expected))
                raise ChargenError(f"{group} has weights of shape {told}, not {rule}")


def layout_of_shapes(shapes: Shapes, activation: str, reset_after: bool | None) -> KerasLayout:
    """Infer the layout of a ``.weights.h5`` file from the shapes of its weights.

    Args:
        shapes: The shapes of each group's arrays.
        activation: The activation function, which weights do not show.
        reset_after: The variant of a GRU; without biases, the weights do not show it.

    Raises:
        ChargenError: No layout fits, or several do.
    """
    layers = [name for name in shapes if name.endswith(CELL)]
    rest = sorted(set(shapes) - set(layers), key=lambda name: ("embed" in name, name))
    kinds = {_kind(name, shapes[name], reset_after) for name in layers}
    if len(kinds) != 1 or len(rest) not in (1, 2):
        told = ", ".join(sorted(shapes)) or "none"
        raise ChargenError(f"its weights are {told}; only {SUPPORTED} can be imported")
    (kind,) = kinds
    outer = [(rest[0], rest[1] if rest[1:] else None), *zip(rest[1:], rest[:1], strict=False)]
    fitting: list[KerasLayout] = []
    errors: list[ChargenError] = []
    for order in _orders(layers):
        for head, embedding in outer:
            layout = KerasLayout(*kind, activation, order, head, embedding)
            try:
                layout.check(shapes)
                fitting.append(layout)
            except ChargenError as error:
                errors.append(error)
    if not fitting:
        raise errors[0]
    fitting = [one for one in fitting if "embed" in (one.embedding or "")] or fitting
    if len(fitting) > 1:
        raise ChargenError(
            f"{', '.join(shapes)}: the shapes do not show which layer reads which; save the model "
            "as .keras"
        )
    return fitting[0]


def _kind(name: str, shapes: tuple[Shape, ...], told: bool | None) -> tuple[str, bool]:
    """Return the cell whose weights have these shapes, and its ``reset_after``."""
    units, columns = shapes[1] if len(shapes) in (2, 3) and len(shapes[1]) == 2 else (1, 0)
    cell = next((cell for cell, gates in KERAS_GATES.items() if columns == len(gates) * units), "")
    if not cell:
        raise ChargenError(f"{name}: weights of no layer that can be imported: only {SUPPORTED}")
    shown = told
    if cell != "gru":
        shown = True
    elif len(shapes) == 3:
        shown = len(shapes[2]) == 2  # two biases with reset_after
    if shown is None:
        raise ChargenError(
            f"{name}: a GRU without biases, which does not show its reset_after; give "
            "--cell gru (reset_after=True) or --cell gru-before (reset_after=False)"
        )
    if told not in (None, shown):
        raise ChargenError(f"--cell: {name} has the weights of {cell}, reset_after={shown}")
    return cell, shown


def _orders(layers: list[str]) -> list[tuple[str, ...]]:
    """Return the possible orders of the recurrent layers."""
    numbers = {found[0]: int(found[1] or 0) for found in map(NUMBERED.fullmatch, layers) if found}
    if len(numbers) == len(layers):
        return [tuple(sorted(layers, key=lambda name: numbers[name]))]
    return list(permutations(layers)) if len(layers) <= MOST_UNNUMBERED else [tuple(layers)]
