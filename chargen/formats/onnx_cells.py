"""What happens at one step, within a layer and round it, as nodes of an ONNX graph.

Written down from the equations of `chargen.recurrent.cells` and `chargen.recurrent.residual`.
Axes: N texts, H units; D and E as in the latter.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chargen.formats.onnx_graph import Graph
from chargen.settings import CONVOLVED, SMALLEST, ModelSettings, widened

OPERATORS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid", "linear": "Identity"}


def stack(graph: Graph, settings: ModelSettings) -> tuple[str, list[tuple[str, int]]]:
    """What the head reads after a step, and the parts of the state with their sizes.

    Each ``part`` is an input, which the caller describes, and ``next_part`` what it is then.
    """
    residual = settings.stack == "residual"
    states = []
    x = graph.add("Gather", "stack.W_in" if residual else "stack.layers.0.W_xh", "ids")
    for number, units in enumerate(settings.units):
        parts = _parts(settings, number)
        x, after = (_block if residual else _plain)(graph, x, parts, number, settings)
        for part, value in zip(parts, after, strict=True):
            graph.add("Identity", value, out=f"next_{part}")
            states.append((part, units))
    return _normed(graph, x, "stack.g_out") if residual else x, states


def _parts(settings: ModelSettings, number: int) -> list[str]:
    """What layer ``number`` remembers: its own, then what its block convolves, latest first."""
    names = ["h", "c"] if settings.cell == "lstm" else ["h"]
    if settings.stack == "residual":
        names += [f"u{k}" for k in range(1, CONVOLVED)]
    return [f"{name}_{number}" for name in names]


def _plain(
    graph: Graph, x: str, state: list[str], number: int, settings: ModelSettings
) -> tuple[str, list[str]]:
    """h and the state of layer ``number``; of the first, ``x`` is a row of W_xh already."""
    if number:
        x = graph.add("MatMul", x, f"stack.layers.{number}.W_xh")
    after = _layer(graph, x, state, number, settings)
    return after[0], after


def _layer(
    graph: Graph, x: str, state: list[str], number: int, settings: ModelSettings
) -> list[str]:
    """The state of layer ``number`` after a step that adds ``x`` to its bias."""
    name, units = f"stack.layers.{number}.", settings.units[number]
    x = graph.add("Add", x, name + "b_h")
    step = STEPS[settings.cell]
    return step(graph, x, state, name, units, OPERATORS[settings.activation])


def _block(
    graph: Graph, x: str, state: list[str], number: int, settings: ModelSettings
) -> tuple[str, list[str]]:
    """``x`` after the block round layer ``number``, and the state; see `_parts`."""
    name, D = f"stack.blocks.{number}.", settings.units[number]
    own, window = state[: 1 - CONVOLVED], state[1 - CONVOLVED :]
    seen = [_normed(graph, x, name + "g_in"), *window]
    c = _convolved(graph, seen, name + "W_conv")
    projected = graph.add("MatMul", c, f"stack.layers.{number}.W_xh")
    after = _layer(graph, projected, own, number, settings)
    gated = graph.add("Mul", after[0], _silu(graph, graph.add("MatMul", c, name + "W_gate")))
    x = graph.add("Add", x, graph.add("MatMul", gated, name + "W_out"))
    wide = graph.add("MatMul", _normed(graph, x, name + "g_ff"), name + "W_up")
    a, b = graph.blocks(wide, [widened(D)] * 2)
    added = graph.add("MatMul", graph.add("Mul", _silu(graph, a), b), name + "W_down")
    return graph.add("Add", x, added), [*after, *seen[:-1]]


def _normed(graph: Graph, x: str, gain: str) -> str:
    """``norm(x) * gain``."""
    square = graph.add("ReduceMean", graph.add("Mul", x, x), axes=[-1], keepdims=1)
    smallest = graph.constant(np.array(SMALLEST, dtype=np.float32))
    root = graph.add("Sqrt", graph.add("Add", square, smallest))
    return graph.add("Mul", graph.add("Div", x, root), gain)


def _convolved(graph: Graph, seen: list[str], W: str) -> str:
    """The sum of what was ``seen``, latest first, weighted by the rows of ``W``."""
    rows = graph.blocks(W, [1] * CONVOLVED, axis=0)
    weighted = [graph.add("Mul", u, row) for u, row in zip(seen, rows, strict=True)]
    return graph.add("Sum", *weighted)


def _silu(graph: Graph, x: str) -> str:
    return graph.add("Mul", x, graph.add("Sigmoid", x))


def _simple(
    graph: Graph, x: str, state: list[str], name: str, H: int, activation: str
) -> list[str]:
    """See `chargen.recurrent.cells.simple`."""
    (h,) = state
    return [graph.add(activation, graph.add("Add", x, graph.add("MatMul", h, name + "W_hh")))]


def _lstm(graph: Graph, x: str, state: list[str], name: str, H: int, activation: str) -> list[str]:
    """See `chargen.recurrent.cells.lstm`."""
    h, c = state
    sums = graph.add("Add", x, graph.add("MatMul", h, name + "W_hh"))
    of_i, of_f, of_g, of_o = graph.blocks(sums, [H] * 4)
    i, f, o = (graph.add("Sigmoid", of_gate) for of_gate in (of_i, of_f, of_o))
    kept, added = graph.add("Mul", f, c), graph.add("Mul", i, graph.add(activation, of_g))
    c = graph.add("Add", kept, added)
    return [graph.add("Mul", o, graph.add(activation, c)), c]


def _gru(graph: Graph, x: str, state: list[str], name: str, H: int, activation: str) -> list[str]:
    """See `chargen.recurrent.cells.gru`."""
    (h,) = state
    x_both, x_n = graph.blocks(x, [2 * H, H])
    h_both, h_n = graph.blocks(graph.add("MatMul", h, name + "W_hh"), [2 * H, H])
    r, z = graph.blocks(graph.add("Sigmoid", graph.add("Add", x_both, h_both)), [H, H])
    m = graph.add("Mul", r, graph.add("Add", h_n, name + "b_m"))
    return _mixed(graph, graph.add(activation, graph.add("Add", x_n, m)), z, h)


def _gru_before(
    graph: Graph, x: str, state: list[str], name: str, H: int, activation: str
) -> list[str]:
    """See `chargen.recurrent.cells.gru_before`."""
    (h,) = state
    x_both, x_n = graph.blocks(x, [2 * H, H])
    W_both, W_hn = graph.blocks(name + "W_hh", [2 * H, H])
    sums = graph.add("Add", x_both, graph.add("MatMul", h, W_both))
    r, z = graph.blocks(graph.add("Sigmoid", sums), [H, H])
    m = graph.add("MatMul", graph.add("Mul", r, h), W_hn)
    return _mixed(graph, graph.add(activation, graph.add("Add", x_n, m)), z, h)


def _mingru(
    graph: Graph, x: str, state: list[str], name: str, H: int, activation: str
) -> list[str]:
    """See `chargen.recurrent.cells.mingru`."""
    (h,) = state
    of_z, of_n = graph.blocks(x, [H, H])
    return _mixed(graph, graph.add(activation, of_n), graph.add("Sigmoid", of_z), h)


def _mixed(graph: Graph, n: str, z: str, h: str) -> list[str]:
    """``(1 - z) * n + z * h``."""
    one = graph.constant(np.array(1, dtype=np.float32))
    new = graph.add("Mul", graph.add("Sub", one, z), n)
    return [graph.add("Add", new, graph.add("Mul", z, h))]


STEPS: dict[str, Callable[[Graph, str, list[str], str, int, str], list[str]]] = {
    "simple": _simple,
    "lstm": _lstm,
    "gru": _gru,
    "gru-before": _gru_before,
    "mingru": _mingru,
}
