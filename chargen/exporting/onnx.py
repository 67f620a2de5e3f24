"""A model as an ONNX graph that makes one step: a character and the state in, both out again.

The graph is written down from the equations of `chargen.recurrent.cells`.
Axes: N texts, H units, V characters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from chargen import __version__
from chargen.errors import ChargenError
from chargen.files import write_file
from chargen.runs import Run
from chargen.settings import ModelSettings

OPSET, IR = 17, 8  # of 2022, which every runtime in use reads
LARGEST = 2**31 - 2**20  # bytes: a protocol buffer holds less than 2 GiB
STEP = "chargen-step"
FORMAT = 1
OPERATORS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid", "linear": "Identity"}


def export_onnx(run: Run, out: Path) -> None:
    """Write the best weights of ``run`` as the step model of `step_model`.

    `ChargenError` where the weights do not fit the run, or the file cannot be written.
    """
    description, weights = run.description, run.weights()
    try:
        description.model.check(
            {name: array.shape for name, array in weights.items()}, len(description.vocabulary)
        )
    except ChargenError as error:
        raise ChargenError(f"{run.path}: {error}") from None
    if sum(array.nbytes for array in weights.values()) > LARGEST:
        raise ChargenError(f"{run.path}: more weights than the 2 GiB that an ONNX file holds")
    model = step_model(description.model, weights, description.vocabulary.characters)
    write_file(out, model.SerializeToString())


def step_model(settings: ModelSettings, weights: Mapping[str, np.ndarray], characters: str) -> Any:
    """The ``onnx.ModelProto``.

    Inputs: ``ids`` ``(N,)`` int64, and the state, a tensor ``(N, H)`` float32 for each part of each
    layer: ``h_0``, of an LSTM ``c_0`` too, then ``h_1`` and so on; zeros before the first
    character. Outputs: ``log_probs`` ``(N, V)`` float32, in nats, of the character that comes next,
    and the state after this one: ``next_h_0`` and so on. The metadata says ``format``, ``cell``,
    ``activation``, ``units`` and ``vocabulary``: the code points of the characters that the ids
    from 0 on stand for. `ChargenError` where the package ``onnx`` is missing.
    """
    onnx = _onnx()
    graph = _Graph(weights)
    x = graph.add("Gather", "stack.layers.0.W_xh", "ids")
    states = []
    for number, units in enumerate(settings.units):
        name = f"stack.layers.{number}."
        if number:
            x = graph.add("MatMul", x, name + "W_xh")
        x = graph.add("Add", x, name + "b_h")
        parts = [f"{part}_{number}" for part in ("hc" if settings.cell == "lstm" else "h")]
        step = STEPS[settings.cell]
        after = step(graph, x, parts, name, units, OPERATORS[settings.activation])
        for part, value in zip(parts, after, strict=True):
            graph.add("Identity", value, out=f"next_{part}")
            states.append((part, units))
        x = after[0]
    logits = graph.add("Add", graph.add("MatMul", x, "W_hy"), "b_y")
    graph.add("LogSoftmax", logits, out="log_probs", axis=-1)
    described = graph.described(states, len(characters))
    made = onnx.helper.make_model(
        described,
        producer_name="chargen",
        producer_version=__version__,
        ir_version=IR,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
    )
    onnx.helper.set_model_props(made, _metadata(settings, characters))
    onnx.checker.check_model(made)
    return made


def _metadata(settings: ModelSettings, characters: str) -> dict[str, str]:
    return {
        "format": f"{STEP} {FORMAT}",
        "cell": settings.cell,
        "activation": settings.activation,
        "units": json.dumps(settings.units),
        "vocabulary": json.dumps([ord(character) for character in characters]),
    }


class _Graph:
    """Nodes in the order in which they were added, each with a name for what it puts out."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self._onnx = _onnx()
        self._nodes: list[Any] = []
        self._constants = dict(weights)

    def add(self, operator: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """One value of an operator; returns its name."""
        (name,) = self.add_several(operator, *inputs, outs=[out], **attributes)
        return name

    def add_several(
        self, operator: str, *inputs: str, outs: list[str], **attributes: Any
    ) -> list[str]:
        """Several; those without a name get one."""
        names = [out or f"{operator}_{len(self._nodes)}_{n}" for n, out in enumerate(outs)]
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, names, **attributes))
        return names

    def constant(self, value: np.ndarray) -> str:
        """A number or several, by a name."""
        name = f"constant_{len(self._constants)}"
        self._constants[name] = value
        return name

    def blocks(self, x: str, sizes: list[int], axis: int = 1) -> list[str]:
        """``x`` cut along an axis into parts of these sizes."""
        lengths = self.constant(np.array(sizes, dtype=np.int64))
        return self.add_several("Split", x, lengths, outs=[""] * len(sizes), axis=axis)

    def described(self, states: list[tuple[str, int]], V: int) -> Any:
        """The graph with its inputs and outputs."""
        helper, proto = self._onnx.helper, self._onnx.TensorProto

        def tensors(prefix: str) -> list[Any]:
            return [
                helper.make_tensor_value_info(prefix + part, proto.FLOAT, ["N", units])
                for part, units in states
            ]

        ids = helper.make_tensor_value_info("ids", proto.INT64, ["N"])
        log_probs = helper.make_tensor_value_info("log_probs", proto.FLOAT, ["N", V])
        constants = [
            self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
            for name, array in self._constants.items()
        ]
        inputs, outputs = [ids, *tensors("")], [log_probs, *tensors("next_")]
        return helper.make_graph(self._nodes, STEP, inputs, outputs, constants)


def _simple(
    graph: _Graph, x: str, state: list[str], name: str, H: int, activation: str
) -> list[str]:
    """See `chargen.recurrent.cells.simple`."""
    (h,) = state
    return [graph.add(activation, graph.add("Add", x, graph.add("MatMul", h, name + "W_hh")))]


def _lstm(graph: _Graph, x: str, state: list[str], name: str, H: int, activation: str) -> list[str]:
    """See `chargen.recurrent.cells.lstm`."""
    h, c = state
    sums = graph.add("Add", x, graph.add("MatMul", h, name + "W_hh"))
    of_i, of_f, of_g, of_o = graph.blocks(sums, [H] * 4)
    i, f, o = (graph.add("Sigmoid", of_gate) for of_gate in (of_i, of_f, of_o))
    kept, added = graph.add("Mul", f, c), graph.add("Mul", i, graph.add(activation, of_g))
    c = graph.add("Add", kept, added)
    return [graph.add("Mul", o, graph.add(activation, c)), c]


def _gru(graph: _Graph, x: str, state: list[str], name: str, H: int, activation: str) -> list[str]:
    """See `chargen.recurrent.cells.gru`."""
    (h,) = state
    x_both, x_n = graph.blocks(x, [2 * H, H])
    h_both, h_n = graph.blocks(graph.add("MatMul", h, name + "W_hh"), [2 * H, H])
    r, z = graph.blocks(graph.add("Sigmoid", graph.add("Add", x_both, h_both)), [H, H])
    m = graph.add("Mul", r, graph.add("Add", h_n, name + "b_m"))
    return _mixed(graph, graph.add(activation, graph.add("Add", x_n, m)), z, h)


def _gru_before(
    graph: _Graph, x: str, state: list[str], name: str, H: int, activation: str
) -> list[str]:
    """See `chargen.recurrent.cells.gru_before`."""
    (h,) = state
    x_both, x_n = graph.blocks(x, [2 * H, H])
    W_both, W_hn = graph.blocks(name + "W_hh", [2 * H, H])
    sums = graph.add("Add", x_both, graph.add("MatMul", h, W_both))
    r, z = graph.blocks(graph.add("Sigmoid", sums), [H, H])
    m = graph.add("MatMul", graph.add("Mul", r, h), W_hn)
    return _mixed(graph, graph.add(activation, graph.add("Add", x_n, m)), z, h)


def _mixed(graph: _Graph, n: str, z: str, h: str) -> list[str]:
    """``(1 - z) * n + z * h``."""
    one = graph.constant(np.array(1, dtype=np.float32))
    new = graph.add("Mul", graph.add("Sub", one, z), n)
    return [graph.add("Add", new, graph.add("Mul", z, h))]


STEPS: dict[str, Callable[[_Graph, str, list[str], str, int, str], list[str]]] = {
    "simple": _simple,
    "lstm": _lstm,
    "gru": _gru,
    "gru-before": _gru_before,
}


def _onnx() -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.numpy_helper
    except ImportError:
        raise ChargenError("writing ONNX needs a package: pip install 'chargen[onnx]'") from None
    return onnx
