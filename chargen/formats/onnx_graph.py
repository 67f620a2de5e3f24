"""An ONNX graph that is put together value by value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chargen.errors import ChargenError


class Graph:
    """Nodes in the order in which they were added, each with a name for what it puts out."""

    def __init__(self, name: str, weights: Mapping[str, np.ndarray]) -> None:
        self._name = name
        self._onnx = onnx_package()
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
        return helper.make_graph(self._nodes, self._name, inputs, outputs, constants)


def onnx_package() -> Any:
    """The package ``onnx``; `ChargenError` where it is missing."""
    try:
        import onnx
        import onnx.checker
        import onnx.numpy_helper
    except ImportError:
        raise ChargenError("writing ONNX needs a package: pip install 'chargen[onnx]'") from None
    return onnx
