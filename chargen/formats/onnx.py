"""Export of a model as an ONNX graph of one time step: N sequences, H units, V characters."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial, partialmethod
from pathlib import Path
from typing import Any

import numpy as np

from chargen import __version__
from chargen.errors import ChargenError, named
from chargen.files import write_file
from chargen.runs.directory import Run
from chargen.sampling.engine import NetworkOps, NetworkWeights, read_step, without_placeholder
from chargen.settings import CONVOLVED, SMALLEST, ModelSettings

OPSET, IR = 17, 8  # of 2022, which every runtime in use reads
LARGEST = 2**31 - 2**20  # bytes; a protocol buffer holds less than 2 GiB
STEP = "chargen-step"
FORMAT = 1
ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid", "linear": "Identity"}


def export_onnx(run: Run, out: Path) -> None:
    """Write the best weights of ``run`` as the graph of `step_model`."""
    model, vocabulary = run.description.model, run.description.vocabulary
    weights = without_placeholder(run.weights(), vocabulary)
    with named(run.path):
        shapes = {name: array.shape for name, array in weights.items()}
        model.check(shapes, len(vocabulary))
    if sum(array.nbytes for array in weights.values()) > LARGEST:
        raise ChargenError(f"{run.path}: more weights than the 2 GiB that an ONNX file holds")
    write_file(out, step_model(model, weights, vocabulary.characters).SerializeToString())


def step_model(settings: ModelSettings, weights: Mapping[str, np.ndarray], characters: str) -> Any:
    """Return the ``onnx.ModelProto`` of one time step.

    Inputs are ``ids`` ``(N,)`` int64 and the state, zeros before the first character: for each
    layer a tensor ``(N, H)`` float32 for each name in `ModelSettings.state_names`, called ``h_0``,
    ``c_0``, ``u1_0`` and so on. Outputs are ``log_probs`` ``(N, V)`` float32, in nats, of the next
    character, and the next state, ``next_h_0`` and so on. The metadata have ``format``, ``cell``,
    ``stack``, ``activation``, ``units``, ``vocabulary`` (the code points of the ids from 0 on), and
    ``reset_after`` if it is false. `ChargenError` if the package ``onnx`` is missing.
    """
    try:
        import onnx
        import onnx.checker
        import onnx.numpy_helper
    except ImportError:
        raise ChargenError("writing ONNX needs a package: pip install onnx") from None
    graph = _Graph(onnx.helper.make_node, weights)
    states = {
        f"{part}_{number}": units
        for number, units in enumerate(settings.units)
        for part in settings.state_names
    }
    logits, after = read_step(
        graph.ops(),
        settings,
        NetworkWeights.of({name: _Value(graph, name) for name in weights}, settings),
        _Value(graph, "ids"),
        tuple(_Value(graph, name) for name in states),
    )
    graph.add("LogSoftmax", logits, outs=["log_probs"], axis=-1)
    for name, value in zip(states, after, strict=True):
        graph.add("Identity", value, outs=[f"next_{name}"])

    def floats(columns: Mapping[str, int]) -> list[Any]:
        kind = onnx.TensorProto.FLOAT
        return [value_info(name, kind, ["N", count]) for name, count in columns.items()]

    value_info, tensor = onnx.helper.make_tensor_value_info, onnx.numpy_helper.from_array
    inputs = [value_info("ids", onnx.TensorProto.INT64, ["N"]), *floats(states)]
    outputs = {"log_probs": len(characters)} | {f"next_{name}": H for name, H in states.items()}
    constants = [tensor(array, name) for name, array in graph.constants.items()]
    made = onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, STEP, inputs, floats(outputs), constants),
        producer_name="chargen",
        producer_version=__version__,
        ir_version=IR,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
    )
    metadata = {
        "format": f"{STEP} {FORMAT}",
        "cell": settings.cell,
        "stack": settings.stack,
        "activation": settings.activation,
        "units": json.dumps(settings.units),
        "vocabulary": json.dumps([ord(character) for character in characters]),
        **({} if settings.reset_after else {"reset_after": "false"}),
    }
    onnx.helper.set_model_props(made, metadata)
    onnx.checker.check_model(made)
    return made


class _Value:
    """A value of a graph, with the arithmetic that `chargen.cells` and `read_step` use."""

    def __init__(self, graph: "_Graph", name: str) -> None:
        self.graph = graph
        self.name = name

    def _with(self, other: "_Value", operator: str) -> "_Value":
        return self.graph.one(operator, self, other)

    __add__ = partialmethod(_with, operator="Add")
    __mul__ = partialmethod(_with, operator="Mul")
    __truediv__ = partialmethod(_with, operator="Div")

    def __rsub__(self, number: float) -> "_Value":
        return self.graph.one("Sub", float(number), self)


class _Graph:
    def __init__(self, make_node: Callable[..., Any], weights: Mapping[str, np.ndarray]) -> None:
        self._make_node = make_node
        self.nodes: list[Any] = []
        self.constants = {name: np.ascontiguousarray(array) for name, array in weights.items()}

    def add(
        self, operator: str, *inputs: _Value | float, outs: Sequence[str] = ("",), **attributes: Any
    ) -> list[_Value]:
        """Append a node; an empty output name is replaced by a unique one."""
        names = [out or f"{operator}_{len(self.nodes)}_{n}" for n, out in enumerate(outs)]
        given = [f"constant_{one}" if isinstance(one, float) else one.name for one in inputs]
        floats = [pair for pair in zip(given, inputs, strict=True) if isinstance(pair[1], float)]
        self.constants |= {name: np.array(number, dtype=np.float32) for name, number in floats}
        self.nodes.append(self._make_node(operator, given, names, **attributes))
        return [_Value(self, name) for name in names]

    def one(self, operator: str, *inputs: _Value | float, **attributes: Any) -> _Value:
        return self.add(operator, *inputs, **attributes)[0]

    def ops(self) -> NetworkOps:
        sigmoid = partial(self.one, "Sigmoid")

        def norm(x: _Value, gain: _Value) -> _Value:
            square = self.one("ReduceMean", x * x, axes=[-1], keepdims=1)
            return x / self.one("Sqrt", self.one("Add", square, SMALLEST)) * gain

        return NetworkOps(
            product=partial(self.one, "MatMul"),
            split=lambda x, parts: self.add("Split", x, outs=[""] * parts, axis=-1),
            sigmoid=sigmoid,
            norm=norm,
            gated=lambda a, b: a * sigmoid(a) * b,
            take=partial(self.one, "Gather"),
            rows=lambda W: self.add("Split", W, outs=[""] * CONVOLVED, axis=0),
            activations={name: partial(self.one, op) for name, op in ACTIVATIONS.items()},
        )
