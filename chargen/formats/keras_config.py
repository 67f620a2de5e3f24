"""From the configuration in a ``.keras`` archive to the parts of a character model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chargen.errors import ChargenError
from chargen.formats.keras_plan import SUPPORTED, Plan
from chargen.settings import ACTIVATION_NAMES

# Layers by their class, and what their groups in the weights file are called.
RECURRENT = {"SimpleRNN": "simple_rnn", "LSTM": "lstm", "GRU": "gru"}
GROUPS = {
    **RECURRENT,
    "Embedding": "embedding",
    "Dense": "dense",
    "TimeDistributed": "time_distributed",
}
LOOKUPS = ("StringLookup", "TextVectorization")
# What changes nothing once training is over.
PASSED = (
    *("InputLayer", "Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise"),
    *("AlphaDropout", "ActivityRegularization"),
)
ORDER = ("lookup", "embedding", "recurrent", "head", "softmax")
MOST_LEVELS = 20


@dataclass(frozen=True)
class _Layer:
    """One of a model's layers."""

    kind: str  # its class
    name: str
    config: Mapping[str, Any]
    group: str  # in the weights file

    def __str__(self) -> str:
        return f"layer {self.name!r} ({self.kind})"

    @property
    def part(self) -> str | None:
        """Which part of a character model it can be; None: of none."""
        if self.kind in LOOKUPS:
            return "lookup"
        if self.kind in RECURRENT:
            return "recurrent"
        named = {"Embedding": "embedding", "Dense": "head", "Activation": "softmax"}
        return {**named, "Softmax": "softmax"}.get(self.kind)


def plan_of(config: Mapping[str, Any]) -> Plan:
    """The plan that ``config``, from ``config.json``, tells of.

    `ChargenError` names a layer that cannot be imported; `ValueError`, `LookupError`, `TypeError`
    say what is no configuration of Keras's.
    """
    layers = [layer for layer in _layers(config) if layer.kind not in PASSED]
    for layer in layers:
        if layer.part is None:
            raise ChargenError(f"{layer} cannot be imported: only {SUPPORTED}")
    parts = [str(layer.part) for layer in layers]
    places = [ORDER.index(part) for part in parts]
    once = all(parts.count(part) <= 1 for part in ORDER if part != "recurrent")
    if places != sorted(places) or not once or "recurrent" not in parts or "head" not in parts:
        kinds = ", ".join(layer.kind for layer in layers)
        raise ChargenError(f"its layers are {kinds}; only {SUPPORTED} can be imported")
    found = dict(zip(parts, layers, strict=True))
    recurrent = [layer for layer in layers if layer.part == "recurrent"]
    _check_head(found["head"], found.get("softmax"))
    embedding, lookup = found.get("embedding"), found.get("lookup")
    return Plan(
        cell=_one("cell", {layer.name: _cell(layer) for layer in recurrent}),
        activation=_one("activation", {layer.name: _activation(layer) for layer in recurrent}),
        layers=tuple(f"{layer.group}/cell" for layer in recurrent),
        head=found["head"].group,
        embedding=embedding.group if embedding else None,
        skips_zero=bool(embedding and embedding.config.get("mask_zero")),
        alphabet=_told(lookup) if lookup else None,
    )


def _layers(config: Mapping[str, Any]) -> Iterator[_Layer]:
    """All layers in order, one after the other."""
    kind, inner = str(config["class_name"]), config["config"]
    if kind not in ("Sequential", "Functional") or "layers" not in inner:
        raise ChargenError(
            f"its class {kind} keeps to itself which layers it has; save the weights alone "
            "(model.save_weights('model.weights.h5')) and import these"
        )
    if kind == "Functional":
        _check_chain(inner)
    counts: dict[str, int] = {}
    for values in inner["layers"]:
        kind, config = str(values["class_name"]), values["config"]
        count = counts[kind] = counts.get(kind, -1) + 1
        group = f"layers/{GROUPS.get(kind, kind)}" + (f"_{count}" if count else "")
        if kind == "TimeDistributed" and config["layer"]["class_name"] == "Dense":
            kind, config, group = "Dense", config["layer"]["config"], f"{group}/layer"
        if not isinstance(config, dict):
            raise TypeError("a layer's configuration is no mapping")
        yield _Layer(kind, str(config["name"]), config, group)


def _check_chain(inner: Mapping[str, Any]) -> None:
    """Refuse a graph that is no chain: each layer reads the one before it, once."""
    before = None
    for values in inner["layers"]:
        name, nodes = str(values["name"]), values["inbound_nodes"]
        read = [list(_read(node)) for node in nodes]
        if read != ([[(before, 0)]] if before is not None else []):
            raise ChargenError(
                f"layer {name!r} reads something else than the layer before it: only {SUPPORTED} "
                "can be imported"
            )
        before = name
    outputs = inner["output_layers"]
    if [before, 0, 0] not in (outputs, *outputs) or (outputs[0] != before and len(outputs) > 1):
        raise ChargenError("it has several outputs; the softmax alone can be imported")


def _read(values: Any, level: int = 0) -> Iterator[tuple[str, int]]:
    """The tensors that a node reads: whose they are, and which of its outputs."""
    if level > MOST_LEVELS:
        raise ValueError("too many brackets in brackets")
    if isinstance(values, dict):
        if "keras_history" in values:
            yield str(values["keras_history"][0]), int(values["keras_history"][2])
            return
        values = list(values.values())
    for inner in values if isinstance(values, list) else ():
        yield from _read(inner, level + 1)


def _one(what: str, by_layer: Mapping[str, str]) -> str:
    """What all layers share; `ChargenError` where they do not."""
    if len(set(by_layer.values())) > 1:
        told = ", ".join(f"{name!r} {value}" for name, value in by_layer.items())
        raise ChargenError(f"layers of more than one {what} ({told}): all must have the same")
    return next(iter(by_layer.values()))


def _cell(layer: _Layer) -> str:
    config = layer.config
    if config.get("go_backwards"):
        raise ChargenError(f"{layer} goes backwards: it reads what it is to predict")
    gates = config.get("recurrent_activation", "sigmoid")
    if layer.kind != "SimpleRNN" and gates != "sigmoid":
        raise ChargenError(
            f"{layer} has recurrent_activation {_named(gates)}: only sigmoid can be imported"
        )
    if layer.kind == "GRU":
        return "gru" if config.get("reset_after", True) else "gru-before"
    return {"SimpleRNN": "simple", "LSTM": "lstm"}[layer.kind]


def _activation(layer: _Layer) -> str:
    name = layer.config.get("activation", "tanh")
    if name not in ACTIVATION_NAMES:
        raise ChargenError(
            f"{layer} has activation {_named(name)}: only {', '.join(ACTIVATION_NAMES)} can be "
            "imported"
        )
    return str(name)


def _check_head(head: _Layer, above: _Layer | None) -> None:
    own, then = head.config.get("activation", "linear"), "linear"
    if above is not None:
        then = "softmax" if above.kind == "Softmax" else above.config.get("activation", "linear")
    if own not in ("softmax", "linear") or then not in ("softmax", "linear"):
        odd = own if own not in ("softmax", "linear") else then
        raise ChargenError(f"{head} ends in {_named(odd)}: only softmax or logits can be imported")
    if own == then == "softmax":
        raise ChargenError(f"{head} ends in softmax twice: only once can be imported")


def _named(value: Any) -> str:
    """A function by its name, as far as it has one."""
    return str(value.get("class_name", "of its own")) if isinstance(value, dict) else str(value)


def _told(lookup: _Layer) -> tuple[str | None, ...]:
    """What each id stands for, as the layer that makes ids of characters says it."""
    config, characters = lookup.config, lookup.config.get("vocabulary")
    if not isinstance(characters, Sequence) or isinstance(characters, str):
        raise ChargenError(f"{lookup} does not say its characters: give --alphabet")
    if config.get("invert") or config.get("output_mode", "int") != "int":
        raise ChargenError(f"{lookup} gives no ids: only output_mode int can be imported")
    vectorizes = lookup.kind == "TextVectorization"
    if vectorizes and (config.get("split") != "character" or config.get("standardize")):
        raise ChargenError(
            f"{lookup} changes text or splits it into words: only split character and standardize "
            "None can be imported"
        )
    masked = vectorizes or config.get("mask_token") is not None
    reserved = int(masked) + (1 if vectorizes else int(config.get("num_oov_indices", 1)))
    if not 0 <= reserved <= len(characters) + 2:
        raise ValueError(f"{reserved} ids for nothing")
    special = {"", "[UNK]", config.get("mask_token"), config.get("oov_token")}
    own = [text for text in map(str, characters) if text not in special]
    return (None,) * reserved + tuple(own)
