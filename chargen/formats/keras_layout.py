"""Layout of a Keras model: which group of its weights holds which layer.

A ``.keras`` archive describes its layers; the layout of a ``.weights.h5`` file is inferred from its
shapes. Keras names the groups of a plain model after its layers' classes, ``layers/lstm_1/cell``,
and those of a custom class after its attributes, ``gru/cell``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import Any

import msgspec

from chargen.cells import ACTIVATION_NAMES, cell_named
from chargen.errors import ChargenError
from chargen.files import reason

CELLS = {"SimpleRNN": "simple", "LSTM": "lstm", "GRU": "gru"}
KERAS_GATES = {"simple": "h", "lstm": "ifgo", "gru": "zrn"}  # our gate names in Keras's order
KINDS = (("simple", True), ("lstm", True), ("gru", True), ("gru", False))  # cell, reset_after
PARTS = {  # the part of a model to which the layers of a class belong
    **{"Embedding": "e", "Dense": "h", "Activation": "s", "Softmax": "s"},
    **dict.fromkeys(CELLS, "r"),
    # without an effect on ids, or in inference
    **dict.fromkeys(("StringLookup", "TextVectorization", "InputLayer", "Dropout"), ""),
    **dict.fromkeys(("SpatialDropout1D", "GaussianDropout", "AlphaDropout"), ""),
    **dict.fromkeys(("GaussianNoise", "ActivityRegularization"), ""),
}
CHAIN = re.compile("e?r+hs?")  # embedding, recurrent layers, head, softmax
ALLOWED: dict[str, tuple[Any, ...]] = {  # settings of a recurrent layer
    "go_backwards": (False,),
    "recurrent_activation": ("sigmoid",),
    "activation": ACTIVATION_NAMES,
}
SUPPORTED = (
    "SimpleRNN, LSTM or GRU layers of one kind, one after the other, on one-hot input or an "
    "Embedding, below a softmax Dense, can be imported"
)
CELL = "/cell"  # the end of a recurrent layer's group
NUMBERED = re.compile(rf"layers/(?:simple_rnn|lstm|gru)(?:_\d+)?{CELL}")
MOST_UNNUMBERED = 6  # layers whose order is inferred from their shapes

Shape = tuple[int, ...]
Shapes = Mapping[str, Sequence[Shape]]
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

    def problem(self, shapes: Shapes) -> str:
        """Return why the weights of a layer do not fit those of its neighbours, or nothing."""
        try:
            V, units = shapes[self.head][0][1], [shapes[layer][1][0] for layer in self.layers]
            first = shapes[self.embedding][0][1] if self.embedding else V
        except LookupError:
            return "its weights lack the matrices of a layer; save it again"
        expected: dict[str, list[Shape]] = {self.head: [(units[-1], V), (V,)]}
        if self.embedding:
            expected[self.embedding] = [(V, first)]
        cell = cell_named(self.cell, self.reset_after)
        for group, below, H in zip(self.layers, [first, *units[:-1]], units, strict=True):
            own = cell.shapes(below, H)
            bias = (2, *own["b_h"]) if cell.extra else own["b_h"]
            expected[group] = [own["W_xh"], own["W_hh"], bias]
        for group, wanted in expected.items():
            given = list(shapes[group])
            if given not in (wanted, wanted[:-1]):  # a layer may have no bias
                actual, rule = (", ".join(map(str, values)) for values in (given, wanted))
                return f"{group} has weights of shape {actual}, not {rule}"
        return ""


def of_shapes(
    shapes: Shapes, activation: str, reset_after: bool | None, cell: str | None = None
) -> KerasLayout:
    """Infer the layout from the shapes of the weights; `ChargenError` unless just one fits.

    These show neither the activation nor, without biases, the ``reset_after`` of a GRU.
    """
    layers = [name for name in shapes if name.endswith(CELL)]
    rest = sorted(set(shapes) - set(layers), key=lambda name: ("embed" in name, name))
    kinds = [
        (kind, after)
        for kind, after in KINDS
        if cell in (None, kind)
        and reset_after in (None, after)
        and any(_has_gates(shapes[layer], len(KERAS_GATES[kind])) for layer in layers)
    ]
    if not kinds or len(rest) not in (1, 2):
        names = ", ".join(sorted(shapes)) or "none"
        raise ChargenError(f"its weights are {names}; only {SUPPORTED}")
    orders = [tuple(sorted(layers, key=lambda name: (len(name), name)))]  # lstm_2 before lstm_10
    if len(layers) <= MOST_UNNUMBERED and not all(map(NUMBERED.fullmatch, layers)):
        orders = [*permutations(layers)]
    layouts = [
        KerasLayout(*kind, activation, order, outer[0], outer[1] if len(rest) > 1 else None)
        for kind, order, outer in product(kinds, orders, permutations(rest))
    ]
    problems = {layout: layout.problem(shapes) for layout in layouts}
    fitting = [layout for layout, problem in problems.items() if not problem]
    if not fitting:
        raise ChargenError(problems[layouts[0]])
    fitting = [one for one in fitting if "embed" in (one.embedding or "")] or fitting
    if len(fitting) > 1:
        raise ChargenError(
            "its shapes do not show which layer reads which, or the reset_after of a GRU; save it "
            "as .keras, or give --cell gru (reset_after=True) or gru-before (False)"
        )
    return fitting[0]


def _has_gates(shapes: Sequence[Shape], gates: int) -> bool:
    return len(shapes) > 1 and len(shapes[1]) == 2 and shapes[1][1] == gates * shapes[1][0]


class LayerConfig(msgspec.Struct):
    """The fields of Keras's layer configurations that matter here."""

    name: str
    activation: Any = "linear"
    recurrent_activation: Any = "sigmoid"
    go_backwards: bool = False
    reset_after: bool | None = None  # of a GRU
    mask_zero: bool = False
    layer: "KerasLayer | None" = None  # of TimeDistributed


class KerasLayer(msgspec.Struct):
    class_name: str
    config: LayerConfig
    name: str = ""
    inbound_nodes: list[Any] = []

    @property
    def function(self) -> str:
        return "softmax" if self.class_name == "Softmax" else str(self.config.activation)

    def refusal(self, problem: str) -> ChargenError:
        return ChargenError(f"layer {self.config.name!r} ({self.class_name}) {problem}")


def of_config(config: Mapping[str, Any], shapes: Shapes) -> KerasLayout:
    layers = [layer for layer in _layers(config) if PARTS[layer.class_name]]
    parts = "".join(PARTS[layer.class_name] for layer in layers)
    if not CHAIN.fullmatch(parts):
        names = ", ".join(layer.class_name for layer in layers)
        raise ChargenError(f"its layers are {names}; only {SUPPORTED}")
    recurrent = [layer for layer in layers if layer.class_name in CELLS]
    for layer, (name, allowed) in product(recurrent, ALLOWED.items()):
        if (value := getattr(layer.config, name)) not in allowed:
            rule = ", ".join(map(str, allowed))
            raise layer.refusal(f"has {name} {reason(value)}: only {rule}")
    head = layers[parts.index("h") :]
    functions = [layer.function for layer in head]
    if set(functions) - {"softmax", "linear"} or functions.count("softmax") > 1:
        ends = ", ".join(functions)
        raise head[0].refusal(f"ends in {ends}: only softmax, once, or logits")
    traits = {(CELLS[one.class_name], one.function, one.config.reset_after) for one in recurrent}
    (cell, activation, reset_after), *others = traits
    if others:
        found = "; ".join(sorted(", ".join(map(str, one)) for one in traits))
        raise ChargenError(f"more than one cell, activation or reset_after ({found})")
    layout = of_shapes(shapes, activation, reset_after, cell)
    embedding = layers[0].config if parts[0] == "e" else None
    if (len(layout.layers), bool(layout.embedding)) != (len(recurrent), bool(embedding)):
        raise ChargenError("its weights are those of other layers; save it again")
    return replace(layout, skips_zero=bool(embedding and embedding.mask_zero))


def _layers(config: Mapping[str, Any]) -> Iterator[KerasLayer]:
    kind, inner = str(config["class_name"]), config["config"]
    if kind not in ("Sequential", "Functional") or "layers" not in inner:
        problem = "does not store which layers it has; import what model.save_weights writes"
        raise ChargenError(f"its class {kind} {problem}")
    read: list[Any] = []
    for layer in msgspec.convert(inner["layers"], list[KerasLayer]):
        if kind == "Functional" and [*_inputs(layer.inbound_nodes)] != read:
            raise layer.refusal(f"reads something else than the layer before it: only {SUPPORTED}")
        read = [[layer.name, 0, 0]]
        inside = layer.config.layer if layer.class_name == "TimeDistributed" else None
        one = inside if inside and inside.class_name == "Dense" else layer
        if one.class_name not in PARTS:
            raise one.refusal(f"is not supported: only {SUPPORTED}")
        yield one
    if kind == "Functional" and inner["output_layers"] not in (read, *read):
        raise ChargenError("it has several outputs; the softmax alone can be imported")


def _inputs(calls: Any) -> Iterator[Any]:
    """Yield the layer, call and output number of each tensor that calls of a layer read."""
    if isinstance(calls, dict) and "keras_history" in calls:
        yield calls["keras_history"]
    elif isinstance(calls, dict | list):
        for inner in calls.values() if isinstance(calls, dict) else calls:
            yield from _inputs(inner)
