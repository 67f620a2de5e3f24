"""Layout of a ``.weights.h5`` file: which group holds which part of a character model.

Keras names the groups of a plain model after its layers' classes, ``layers/lstm_1/cell``, and those
of a custom class after its attributes, ``gru/cell``. Axes: V ids, E units of an embedding, F
features of a layer, H units.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

from chargen.cells import CELLS
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

Shapes = Mapping[str, tuple[tuple[int, ...], ...]]
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


def layout_of_shapes(shapes: Shapes, activation: str, reset_after: bool | None) -> KerasLayout:
    """Infer the layout from the shapes of the weights.

    Args:
        shapes: The shapes of each group's arrays.
        activation: The activation function, which weights do not show.
        reset_after: The variant of a GRU; without biases, the weights do not show it.

    Raises:
        ChargenError: No layout fits, or several do.
    """
    layers = [name for name in shapes if name.endswith(CELL)]
    rest = {name: own for name, own in shapes.items() if not name.endswith(CELL)}
    found = {_cell(name, shapes[name], reset_after) for name in layers}
    if not layers or len(rest) not in (1, 2) or len(found) > 1:
        told = ", ".join(sorted(shapes)) or "none"
        raise ChargenError(f"its weights are {told}; only {SUPPORTED} can be imported")
    cell, after = found.pop()
    head, embedding = _outer(rest, {shapes[name][1][0] for name in layers})
    inputs = shapes[embedding][0][1] if embedding else shapes[head][0][1]
    sizes = {name: (shapes[name][0][0], shapes[name][1][0]) for name in layers}
    ordered = _ordered(sizes, inputs, shapes[head][0][0])
    return KerasLayout(cell, after, activation, ordered, head, embedding)


def _cell(name: str, shapes: tuple[tuple[int, ...], ...], told: bool | None) -> tuple[str, bool]:
    """Return the cell whose kernel, recurrent kernel and biases have these shapes."""
    if len(shapes) not in (2, 3) or any(len(shape) != 2 for shape in shapes[:2]):
        raise _unknown(name)
    (_, columns), (units, _) = shapes[:2]
    fitting = [cell for cell in KERAS_GATES if columns == len(CELLS[cell].gates) * units]
    if not fitting:
        raise _unknown(name)
    cell = fitting[0]
    if cell != "gru":
        shown: bool | None = True
    elif len(shapes) == 3:
        shown = len(shapes[2]) == 2  # two biases with reset_after
    else:
        shown = told
    if told is not None and told != shown:
        raise ChargenError(f"--cell: {name} has the weights of {cell}, reset_after={shown}")
    if shown is None:
        raise ChargenError(
            f"{name}: a GRU without biases, which does not show its reset_after; give "
            "--cell gru (reset_after=True) or --cell gru-before (reset_after=False)"
        )
    return cell, shown


def _outer(rest: Shapes, units: set[int]) -> tuple[str, str | None]:
    """Return the head ``(H, V)``, with or without bias, and the embedding ``(V, E)``, if any."""
    for name, own in rest.items():
        if len(own) > 2 or len(own[0]) != 2:
            raise _unknown(name)
    if len(rest) == 1:
        return next(iter(rest)), None
    pairs = [
        (head, embedding)
        for head, embedding in permutations(rest)
        if len(rest[embedding]) == 1
        and rest[head][0][1] == rest[embedding][0][0]
        and rest[head][0][0] in units
    ]
    named = [pair for pair in pairs if "embed" in pair[1]]
    pairs = named if len(named) == 1 else pairs
    if len(pairs) != 1:
        which = "either may be" if pairs else "neither is"
        raise ChargenError(
            f"{' and '.join(rest)}: {which} the Embedding below the Dense; save the model as .keras"
        )
    return pairs[0]


def _ordered(sizes: dict[str, tuple[int, int]], inputs: int, outputs: int) -> tuple[str, ...]:
    """Order layers with ``(F, H)`` so that each reads the one before it."""
    numbers = {name: NUMBERED.fullmatch(name) for name in sizes}
    orders = [tuple(sizes)]
    if all(numbers.values()):
        orders = [tuple(sorted(sizes, key=lambda name: int((numbers[name] or [0, 0])[1] or 0)))]
    elif len(sizes) <= MOST_UNNUMBERED:
        orders = list(permutations(sizes))
    fitting = [
        order
        for order in orders
        if [sizes[name][0] for name in order] == [inputs, *(sizes[name][1] for name in order[:-1])]
        and sizes[order[-1]][1] == outputs
    ]
    if not fitting:
        raise ChargenError(f"{', '.join(sizes)}: do not read one another's outputs")
    if len(fitting) > 1:
        raise ChargenError(
            f"{' and '.join(sizes)}: their weights do not show which comes first; save the model "
            "as .keras"
        )
    return fitting[0]


def _unknown(name: str) -> ChargenError:
    return ChargenError(f"{name}: weights of no layer that can be imported: only {SUPPORTED}")
