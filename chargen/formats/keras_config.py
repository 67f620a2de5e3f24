"""Layout of a ``.keras`` archive, from its configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
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
PARTS = {
    **dict.fromkeys(("StringLookup", "TextVectorization"), "lookup"),
    "Embedding": "embedding",
    **dict.fromkeys(RECURRENT, "recurrent"),
    "Dense": "head",
    **dict.fromkeys(("Activation", "Softmax"), "softmax"),
}
ORDER = tuple(dict.fromkeys(PARTS.values()))
MOST_LEVELS = 20

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


class KerasLayer(msgspec.Struct):
    """A layer of a configuration; ``group`` is its group in the weights file."""

    class_name: str
    config: LayerConfig
    name: str = ""
    inbound_nodes: list[Any] = []
    group: str = ""

    def __str__(self) -> str:
        return f"layer {self.config.name!r} ({self.class_name})"


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
    for layer in layers:
        if layer.class_name not in PARTS:
            raise ChargenError(f"{layer} cannot be imported: only {SUPPORTED}")
    parts = [PARTS[layer.class_name] for layer in layers]
    places = [ORDER.index(part) for part in parts]
    once = all(parts.count(part) <= 1 for part in ORDER if part != "recurrent")
    if places != sorted(places) or not once or "recurrent" not in parts or "head" not in parts:
        kinds = ", ".join(layer.class_name for layer in layers)
        raise ChargenError(f"its layers are {kinds}; only {SUPPORTED} can be imported")
    found = dict(zip(parts, layers, strict=True))
    recurrent = [layer for layer in layers if layer.class_name in RECURRENT]
    for layer in recurrent:
        _check_recurrent(layer)
    _check_head(found["head"], found.get("softmax"))
    embedding, lookup = found.get("embedding"), found.get("lookup")
    return KerasLayout(
        cell=_shared("cell", recurrent, [CELL_OF[layer.class_name] for layer in recurrent]),
        reset_after=_shared("reset_after", recurrent, [x.config.reset_after for x in recurrent]),
        activation=_shared("activation", recurrent, [_activation(x) for x in recurrent]),
        layers=tuple(layer.group + CELL for layer in recurrent),
        head=found["head"].group,
        embedding=embedding.group if embedding else None,
        skips_zero=bool(embedding and embedding.config.mask_zero),
        alphabet=_alphabet(lookup) if lookup else None,
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
    before = None
    for layer in model.layers:
        read = [list(_inputs(node)) for node in layer.inbound_nodes]
        if read != ([[(before, 0)]] if before is not None else []):
            raise ChargenError(
                f"layer {layer.name!r} reads something else than the layer before it: only "
                f"{SUPPORTED} can be imported"
            )
        before = layer.name
    outputs = model.output_layers
    if [before, 0, 0] not in (outputs, *outputs) or (outputs[0] != before and len(outputs) > 1):
        raise ChargenError("it has several outputs; the softmax alone can be imported")


def _inputs(values: Any, level: int = 0) -> Iterator[tuple[str, int]]:
    """Yield the name and output number of each tensor that a node reads."""
    if level > MOST_LEVELS:
        raise ValueError("too many nested brackets")
    if isinstance(values, dict):
        if "keras_history" in values:
            yield str(values["keras_history"][0]), int(values["keras_history"][2])
            return
        values = list(values.values())
    for inner in values if isinstance(values, list) else ():
        yield from _inputs(inner, level + 1)


def _shared(what: str, layers: list[KerasLayer], values: list[Any]) -> Any:
    """Return the value that all layers share."""
    if len(set(values)) > 1:
        told = (f"{x.config.name!r} {value}" for x, value in zip(layers, values, strict=True))
        raise ChargenError(f"layers of more than one {what} ({', '.join(told)}): one is supported")
    return values[0]


def _check_recurrent(layer: KerasLayer) -> None:
    if layer.config.go_backwards:
        raise ChargenError(f"{layer} goes backwards: it reads what it is to predict")
    gates = layer.config.recurrent_activation
    if layer.class_name != "SimpleRNN" and gates != "sigmoid":
        raise ChargenError(
            f"{layer} has recurrent_activation {_named(gates)}: only sigmoid can be imported"
        )


def _activation(layer: KerasLayer) -> str:
    name = layer.config.activation or "tanh"
    if name not in ACTIVATION_NAMES:
        raise ChargenError(
            f"{layer} has activation {_named(name)}: only {', '.join(ACTIVATION_NAMES)} can be "
            "imported"
        )
    return str(name)


def _check_head(head: KerasLayer, above: KerasLayer | None) -> None:
    functions = [head.config.activation or "linear"]
    if above is not None:
        softmax = above.class_name == "Softmax"
        functions.append("softmax" if softmax else above.config.activation or "linear")
    for function in functions:
        if function not in ("softmax", "linear"):
            raise ChargenError(
                f"{head} ends in {_named(function)}: only softmax or logits can be imported"
            )
    if functions == ["softmax", "softmax"]:
        raise ChargenError(f"{head} ends in softmax twice: only once can be imported")


def _named(value: Named) -> str:
    return str(value.get("class_name", "of its own")) if isinstance(value, dict) else str(value)


def _alphabet(lookup: KerasLayer) -> tuple[str | None, ...]:
    """Return the character of each id, as a layer that makes ids of characters stores it."""
    config, characters = lookup.config, lookup.config.vocabulary
    if not isinstance(characters, list):
        raise ChargenError(f"{lookup} does not store its characters: give --alphabet")
    if config.invert or config.output_mode != "int":
        raise ChargenError(f"{lookup} returns no ids: only output_mode int can be imported")
    vectorizes = lookup.class_name == "TextVectorization"
    if vectorizes and (config.split != "character" or config.standardize):
        raise ChargenError(
            f"{lookup} changes text or splits it into words: only split character and standardize "
            "None can be imported"
        )
    masked = vectorizes or config.mask_token is not None
    reserved = int(masked) + (1 if vectorizes else config.num_oov_indices)
    if reserved > len(characters) + 2:
        raise ValueError(f"{reserved} ids for nothing")
    special = {"", "[UNK]", config.mask_token, config.oov_token}
    return (None,) * reserved + tuple(text for text in characters if text not in special)
