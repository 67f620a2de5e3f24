"""Layout of a ``.keras`` archive, from its configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Annotated, Any

import msgspec

from chargen.cells import ACTIVATION_NAMES
from chargen.errors import ChargenError
from chargen.formats.keras_layout import CELL, RECURRENT, SUPPORTED, KerasLayout

GROUPS = {
    **RECURRENT,
    "Embedding": "embedding",
    "Dense": "dense",
    "TimeDistributed": "time_distributed",
}
CELL_OF = {"SimpleRNN": "simple", "LSTM": "lstm", "GRU": "gru"}
# Layers without an effect in inference.
PASSED = (
    *("InputLayer", "Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise"),
    *("AlphaDropout", "ActivityRegularization"),
)
# The parts of a model in order, and the classes of their layers.
PARTS = {
    **dict.fromkeys(("StringLookup", "TextVectorization"), "lookup"),
    "Embedding": "embedding",
    **dict.fromkeys(RECURRENT, "recurrent"),
    "Dense": "head",
    **dict.fromkeys(("Activation", "Softmax"), "softmax"),
}
ORDER = tuple(dict.fromkeys(PARTS.values()))

Named = str | dict[str, Any] | None
"""A function by name, or serialized."""


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


def layout_of_config(config: Mapping[str, Any]) -> KerasLayout:
    """Return the layout that the parsed ``config.json`` describes.

    Raises:
        ChargenError: A layer cannot be imported.
        ValueError, LookupError, TypeError: It is not a configuration of Keras.
    """
    layers = [layer for layer in _layers(config) if layer.class_name not in PASSED]
    found: dict[str, list[KerasLayer]] = {part: [] for part in ORDER}
    for layer in layers:
        if layer.class_name not in PARTS:
            raise layer.refusal(f"cannot be imported: only {SUPPORTED}")
        found[PARTS[layer.class_name]].append(layer)
    recurrent, head = found["recurrent"], found["head"]
    once = all(len(own) <= 1 for part, own in found.items() if part != "recurrent")
    if layers != list(chain(*found.values())) or not (once and recurrent and head):
        told = ", ".join(layer.class_name for layer in layers)
        raise ChargenError(f"its layers are {told}; only {SUPPORTED} can be imported")
    _check_head(*head, *found["softmax"])
    traits = [(CELL_OF[x.class_name], x.config.reset_after, _activation(x)) for x in recurrent]
    if len(set(traits)) > 1:
        told = "; ".join(f"{cell}, {name}, {after}" for cell, after, name in traits)
        raise ChargenError(
            f"layers of more than one cell, activation or reset_after ({told}): one is supported"
        )
    cell, reset_after, activation = traits[0]
    return KerasLayout(
        cell,
        reset_after,
        activation,
        layers=tuple(layer.group + CELL for layer in recurrent),
        head=head[0].group,
        embedding=next((layer.group for layer in found["embedding"]), None),
        skips_zero=any(layer.config.mask_zero for layer in found["embedding"]),
        alphabet=next(map(_alphabet, found["lookup"]), None),
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
        kind, count = layer.class_name, counts[layer.class_name]
        counts[kind] += 1
        layer.group = f"layers/{GROUPS.get(kind, kind)}" + (f"_{count}" if count else "")
        wrapped = layer.config.layer
        if kind == "TimeDistributed" and wrapped and wrapped.class_name == "Dense":
            wrapped.group = f"{layer.group}/layer"
            yield wrapped
        else:
            yield layer


def _check_chain(model: KerasModel) -> None:
    """Refuse a graph in which a layer does not read exactly the layer before it, once."""
    read: list[Any] = []
    for layer in model.layers:
        inputs = [tensor for node in layer.inbound_nodes for tensor in node.tensors()]
        if inputs != read:
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
    masked = vectorizes or config.mask_token is not None
    reserved = int(masked) + (1 if vectorizes else config.num_oov_indices)
    if reserved > len(characters) + 2:
        raise ValueError(f"{reserved} ids for nothing")
    special = {"", "[UNK]", config.mask_token, config.oov_token}
    return (None,) * reserved + tuple(text for text in characters if text not in special)
