"""Layout of a Keras model: which group of its weights holds which layer.

A ``.keras`` archive describes its layers; the layout of a ``.weights.h5`` file is inferred from its
shapes. Keras names the groups of a plain model after its layers' classes, ``layers/lstm_1/cell``,
and those of a custom class after its attributes, ``gru/cell``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Annotated, Any

import msgspec

from chargen.cells import ACTIVATION_NAMES, cell_named
from chargen.errors import ChargenError

CELLS = {"SimpleRNN": "simple", "LSTM": "lstm", "GRU": "gru"}
KERAS_GATES = {"simple": "h", "lstm": "ifgo", "gru": "zrn"}  # our gate names in Keras's order
PARTS = {  # the part of a model to which the layers of a class belong
    **dict.fromkeys(("StringLookup", "TextVectorization"), "v"),
    "Embedding": "e",
    **dict.fromkeys(CELLS, "r"),
    "Dense": "h",
    **dict.fromkeys(("Activation", "Softmax"), "s"),
    # without an effect in inference
    **dict.fromkeys(("InputLayer", "Dropout", "SpatialDropout1D", "GaussianDropout"), ""),
    **dict.fromkeys(("GaussianNoise", "AlphaDropout", "ActivityRegularization"), ""),
}
CHAIN = re.compile("v?e?r+hs?")  # vocabulary, embedding, recurrent layers, head, softmax
SUPPORTED = (
    "SimpleRNN, LSTM or GRU layers, one kind, one after the other, on one-hot input or an "
    "Embedding, and a softmax Dense above them"
)
CELL = "/cell"  # the end of a recurrent layer's group
NUMBERED = re.compile(rf"layers/(?:simple_rnn|lstm|gru)(?:_(\d{{1,6}}))?{CELL}")
MOST_UNNUMBERED = 6  # layers whose order is inferred from their shapes

Shape = tuple[int, ...]
Shapes = Mapping[str, tuple[Shape, ...]]
"""The shapes of each group's arrays."""
Named = str | dict[str, Any] | None
"""A function by name, or serialized."""


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

        def matrices(group: str, count: int) -> tuple[Shape, ...]:
            found = shapes.get(group, ())[:count]
            if len(found) < count or any(len(one) != 2 or 0 in one for one in found):
                raise ChargenError(f"its weights lack the matrices of {group}; save it again")
            return found

        ((_, V),) = matrices(self.head, 1)
        features = V
        wanted: dict[str, list[Shape]] = {}
        if self.embedding:
            ((_, features),) = matrices(self.embedding, 1)
            wanted[self.embedding] = [(V, features)]
        cell = cell_named(self.cell, self.reset_after)
        for group in self.layers:
            H = matrices(group, 2)[1][0]
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


def of_shapes(shapes: Shapes, activation: str, reset_after: bool | None) -> KerasLayout:
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
    fitting: list[KerasLayout] = []
    errors: list[ChargenError] = []
    for order in _orders(layers):
        for outer in permutations(rest):
            head, embedding = (*outer, None)[:2]
            layout = KerasLayout(*kind, activation, order, str(head), embedding)
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
    shown: bool | None = True
    if cell == "gru":
        shown = len(shapes[2]) == 2 if len(shapes) == 3 else told  # two biases with reset_after
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
        return [tuple(sorted(layers, key=numbers.__getitem__))]
    return list(permutations(layers)) if len(layers) <= MOST_UNNUMBERED else [tuple(layers)]


class LayerConfig(msgspec.Struct):
    """The fields of Keras's layer configurations that matter here."""

    name: str
    activation: Named = None
    recurrent_activation: Named = "sigmoid"
    go_backwards: bool = False
    reset_after: bool = True
    mask_zero: bool = False
    vocabulary: list[str] | str | None = None
    num_oov_indices: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 1
    mask_token: str | None = None
    oov_token: str | None = None
    invert: bool = False
    output_mode: Named = "int"
    split: Named = None
    standardize: Named = None
    layer: KerasLayer | None = None  # of TimeDistributed


class Node(msgspec.Struct):
    """A call of a layer in a Functional model."""

    args: list[Any]
    kwargs: dict[str, Any] = {}

    def tensors(self) -> Iterator[Any]:
        """Yield the layer, call and output number of each tensor that the call reads."""
        for value in (*self.args, *self.kwargs.values()):
            match value:
                case {"config": {"keras_history": history}}:
                    yield history
                case dict() | list():
                    yield value


class KerasLayer(msgspec.Struct):
    """A layer of a configuration; ``group`` is its group in the weights file."""

    class_name: str
    config: LayerConfig
    name: str = ""
    inbound_nodes: list[Node] = []
    group: str = ""

    def refusal(self, problem: str) -> ChargenError:
        """Return the error that this layer cannot be imported."""
        return ChargenError(f"layer {self.config.name!r} ({self.class_name}) {problem}")


class KerasModel(msgspec.Struct):
    """The configuration of a Sequential or Functional model."""

    layers: list[KerasLayer]
    output_layers: list[Any] = []


def of_config(config: Mapping[str, Any]) -> KerasLayout:
    """Return the layout that the parsed ``config.json`` describes.

    Raises:
        ChargenError: A layer cannot be imported.
        ValueError, LookupError, TypeError: It is not a configuration of Keras.
    """
    found: dict[str, list[KerasLayer]] = {part: [] for part in PARTS.values()}
    layers, parts = [], ""
    for layer in _layers(config):
        if layer.class_name not in PARTS:
            raise layer.refusal(f"cannot be imported: only {SUPPORTED}")
        if part := PARTS[layer.class_name]:
            found[part].append(layer)
            layers.append(layer.class_name)
            parts += part
    if not CHAIN.fullmatch(parts):
        raise ChargenError(f"its layers are {', '.join(layers)}; only {SUPPORTED} can be imported")
    _check_head(*found["h"], *found["s"])
    recurrent, (head,) = found["r"], found["h"]
    traits = [
        (CELLS[one.class_name], one.config.reset_after, _activation(one)) for one in recurrent
    ]
    if len(set(traits)) > 1:
        told = "; ".join(f"{cell}, {name}, {after}" for cell, after, name in traits)
        raise ChargenError(
            f"layers of more than one cell, activation or reset_after ({told}): one is supported"
        )
    return KerasLayout(
        *traits[0],
        layers=tuple(layer.group + CELL for layer in recurrent),
        head=head.group,
        embedding=next((layer.group for layer in found["e"]), None),
        skips_zero=any(layer.config.mask_zero for layer in found["e"]),
        alphabet=next(map(_alphabet, found["v"]), None),
    )


def _layers(config: Mapping[str, Any]) -> Iterator[KerasLayer]:
    kind, inner = str(config["class_name"]), config["config"]
    if kind not in ("Sequential", "Functional") or "layers" not in inner:
        raise ChargenError(
            f"its class {kind} does not store which layers it has; save the weights alone "
            "(model.save_weights('model.weights.h5')) and import these"
        )
    model = msgspec.convert(inner, KerasModel)
    if kind == "Functional":
        _check_chain(model)
    counts: Counter[str] = Counter()
    for layer in model.layers:
        snake_case = re.sub("(?<=[a-z])(?=[A-Z])", "_", layer.class_name).lower()
        count = counts[snake_case]
        counts[snake_case] += 1
        layer.group = f"layers/{snake_case}" + (f"_{count}" if count else "")
        wrapped = layer.config.layer if layer.class_name == "TimeDistributed" else None
        if wrapped and wrapped.class_name == "Dense":
            wrapped.group = f"{layer.group}/layer"
            yield wrapped
        else:
            yield layer


def _check_chain(model: KerasModel) -> None:
    """Refuse a graph in which a layer does not read exactly the layer before it, once."""
    read: list[Any] = []
    for layer in model.layers:
        if [tensor for node in layer.inbound_nodes for tensor in node.tensors()] != read:
            raise layer.refusal(
                f"reads something else than the layer before it: only {SUPPORTED} can be imported"
            )
        read = [[layer.name, 0, 0]]
    if model.output_layers not in (read, *read):
        raise ChargenError("it has several outputs; the softmax alone can be imported")


def _activation(layer: KerasLayer) -> str:
    """Return the activation function of a recurrent layer that can be imported."""
    config = layer.config
    name, gates = config.activation or "tanh", config.recurrent_activation
    if config.go_backwards:
        raise layer.refusal("goes backwards: it reads what it is to predict")
    if layer.class_name != "SimpleRNN" and gates != "sigmoid":
        raise layer.refusal(
            f"has recurrent_activation {_named(gates)}: only sigmoid can be imported"
        )
    if name not in ACTIVATION_NAMES:
        known = ", ".join(ACTIVATION_NAMES)
        raise layer.refusal(f"has activation {_named(name)}: only {known} can be imported")
    return str(name)


def _check_head(head: KerasLayer, *above: KerasLayer) -> None:
    functions = [
        "softmax" if layer.class_name == "Softmax" else layer.config.activation or "linear"
        for layer in (head, *above)
    ]
    if functions not in (["softmax"], ["linear"], ["linear", "softmax"], ["softmax", "linear"]):
        told = ", ".join(map(_named, functions))
        raise head.refusal(f"ends in {told}: only softmax, once, or logits can be imported")


def _named(value: Named) -> str:
    return str(value.get("class_name", "of its own")) if isinstance(value, dict) else str(value)


def _alphabet(lookup: KerasLayer) -> tuple[str | None, ...]:
    """Return the character of each id, as a layer that makes ids of characters stores it."""
    config, characters = lookup.config, lookup.config.vocabulary
    vectorizes = lookup.class_name == "TextVectorization"
    if not isinstance(characters, list):
        raise lookup.refusal("does not store its characters: give --alphabet")
    if config.invert or config.output_mode != "int":
        raise lookup.refusal("returns no ids: only output_mode int can be imported")
    if vectorizes and (config.split != "character" or config.standardize):
        raise lookup.refusal(
            "changes text or splits it into words: only split character and standardize None can "
            "be imported"
        )
    reserved = 2 if vectorizes else (config.mask_token is not None) + config.num_oov_indices
    if reserved > len(characters) + 2:
        raise ValueError(f"{reserved} ids for nothing")
    special = {"", "[UNK]", config.mask_token, config.oov_token}
    return (None,) * reserved + tuple(text for text in characters if text not in special)
