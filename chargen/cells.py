"""Recurrent cells: names, gate order, parameter shapes and the reference step of each.

Every implementation derives from this file: the torch layers, the NumPy engine and the ONNX graph
run the same step functions on their own arrays; the compiled engine, the Keras import and the page
take names, shapes and gate order from here. Imports neither torch nor numpy.

Axes: N sequences per batch, F input features, H units.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Weights = Mapping[str, Any]
"""The parameters of one layer by name: W_xh, b_h and those that its cell adds."""

Gates = dict[str, Any]
Function = Callable[[Any], Any]
ACTIVATION_NAMES = ("tanh", "relu", "sigmoid", "linear")


@dataclass(frozen=True)
class CellOps:
    """Operations of one kind of array, which also supports ``+``, ``-``, ``*`` and ``/``."""

    product: Callable[[Any, Any], Any]  # (N, J) by (J, K)
    split: Callable[[Any, int], Sequence[Any]]  # into equal parts along the last axis
    sigmoid: Function


@dataclass(frozen=True)
class Cell:
    """The description of one recurrent cell.

    ``compute`` maps operations, activation, projected input ``x`` ``(N, gates * H)`` (with the bias
    added), state and weights to the gates; ``update`` maps gates and state to the next state.
    """

    gates: tuple[str, ...]  # in the order of the columns of W_xh, W_hh and b_h
    compute: Callable[[CellOps, Function, Any, Sequence[Any], Weights], Gates]
    update: Callable[[Function, Gates, Sequence[Any]], tuple[Any, ...]]
    state: tuple[str, ...] = ("h",)  # the first is the output
    recurrent: bool = True  # has W_hh, so that units read each other's state
    extra: tuple[str, ...] = ()  # further parameters, each (H,)
    activation: str = "tanh"  # default activation function
    retention: str = ""  # the gate that scales the previous state

    def shapes(self, features: int, units: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter of a layer."""
        columns = len(self.gates) * units
        shapes: dict[str, tuple[int, ...]] = {"W_xh": (features, columns)}
        if self.recurrent:
            shapes["W_hh"] = (units, columns)
        return shapes | {"b_h": (columns,)} | dict.fromkeys(self.extra, (units,))

    def step(
        self, ops: CellOps, activation: Function, x: Any, state: Sequence[Any], weights: Weights
    ) -> tuple[Any, ...]:
        """Return the state after one time step."""
        return self.update(activation, self.compute(ops, activation, x, state, weights), state)


def _simple_gates(ops: CellOps, activation: Function, x: Any, state: Any, w: Weights) -> Gates:
    return {"h": activation(x + ops.product(state[0], w["W_hh"]))}


def _simple_state(activation: Function, gates: Gates, state: Any) -> tuple[Any, ...]:
    return (gates["h"],)


def _lstm_gates(ops: CellOps, activation: Function, x: Any, state: Any, w: Weights) -> Gates:
    i, f, g, o = ops.split(x + ops.product(state[0], w["W_hh"]), 4)
    return {"i": ops.sigmoid(i), "f": ops.sigmoid(f), "g": activation(g), "o": ops.sigmoid(o)}


def _lstm_state(activation: Function, gates: Gates, state: Any) -> tuple[Any, ...]:
    c = gates["f"] * state[1] + gates["i"] * gates["g"]
    return gates["o"] * activation(c), c


def _gru_gates(ops: CellOps, activation: Function, x: Any, state: Any, w: Weights) -> Gates:
    x_r, x_z, x_n = ops.split(x, 3)
    h_r, h_z, h_n = ops.split(ops.product(state[0], w["W_hh"]), 3)
    r, z = ops.sigmoid(x_r + h_r), ops.sigmoid(x_z + h_z)
    return {"r": r, "z": z, "n": activation(x_n + r * (h_n + w["b_m"]))}


def _gru_before_gates(ops: CellOps, activation: Function, x: Any, state: Any, w: Weights) -> Gates:
    (h,) = state
    x_r, x_z, x_n = ops.split(x, 3)
    W_r, W_z, W_n = ops.split(w["W_hh"], 3)
    r, z = ops.sigmoid(x_r + ops.product(h, W_r)), ops.sigmoid(x_z + ops.product(h, W_z))
    return {"r": r, "z": z, "n": activation(x_n + ops.product(r * h, W_n))}


def _mingru_gates(ops: CellOps, activation: Function, x: Any, state: Any, w: Weights) -> Gates:
    z, n = ops.split(x, 2)
    return {"z": ops.sigmoid(z), "n": activation(n)}


def _interpolated(activation: Function, gates: Gates, state: Any) -> tuple[Any, ...]:
    """Return ``(1 - z) * n + z * h``."""
    return ((1 - gates["z"]) * gates["n"] + gates["z"] * state[0],)


CELLS = {
    "simple": Cell(("h",), _simple_gates, _simple_state),
    "lstm": Cell(("i", "f", "g", "o"), _lstm_gates, _lstm_state, state=("h", "c"), retention="f"),
    "gru": Cell(("r", "z", "n"), _gru_gates, _interpolated, extra=("b_m",), retention="z"),
    "mingru": Cell(
        ("z", "n"),
        _mingru_gates,
        _interpolated,
        recurrent=False,
        activation="linear",
        retention="z",
    ),
}
CELL_NAMES = tuple(CELLS)
GRU_RESET_BEFORE = Cell(("r", "z", "n"), _gru_before_gates, _interpolated, retention="z")
"""The GRU with ``reset_after=False`` (Cho et al. 2014); it has no ``b_m``."""


def cell_named(name: str, reset_after: bool = True) -> Cell:
    """Return the description of a cell, of the GRU in the variant that ``reset_after`` names."""
    return CELLS[name] if reset_after else GRU_RESET_BEFORE
