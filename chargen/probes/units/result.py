"""Recorded hidden units, scores of those that track a feature, table and page.

Axes: T characters, H units, K most probable characters.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec import Struct, to_builtins

from chargen.probes.statistics.intervals import Estimate, flat
from chargen.render.page import render
from chargen.render.report import Section, Table, Text


@dataclass(frozen=True)
class LayerRecord:
    """Every value of one layer after each character."""

    layer: int  # from 1; layer 1 reads the characters
    units: int
    parts: Mapping[str, np.ndarray]  # (T, H) float32: the state's tensors, h first, then the gates


@dataclass(frozen=True)
class Recording:
    """A text and the hidden units while the network reads it from the initial state."""

    text: str  # T characters
    cell: str
    layers: tuple[LayerRecord, ...]
    next_characters: tuple[str, ...]  # (T,) the K most probable next characters, in order
    next_shares: np.ndarray  # (T, K) their probabilities


class UnitScore(Struct, frozen=True, rename={"score": "auc"}):
    """A unit that was selected on one half of a text, and its score on the other half."""

    layer: int  # from 1
    unit: int  # from 1
    rises: bool  # with the feature; otherwise it falls
    score: Estimate

    @property
    def direction(self) -> str:
        """``rises`` or ``falls`` with the feature."""
        return "rises" if self.rises else "falls"


class FeatureScores(
    Struct,
    frozen=True,
    tag="auc",
    tag_field="metric",
    rename={"share": "share_of_chars", "untrained": "untrained_best", "shifted": "shifted_best"},
):
    """A feature, the units that track it best, and the baselines; a score is an AUC."""

    feature: str
    share: float  # of the scored characters where it holds
    units: tuple[UnitScore, ...]  # in the order of the first half
    untrained: float  # the score of the best unit of the untrained network
    shifted: tuple[float, ...]  # scores of the best unit against the shifted feature

    @property
    def baseline(self) -> float:
        """The higher of the two baselines."""
        return max(*self.shifted, self.untrained)

    @property
    def stands_out(self) -> bool:
        """Return whether the interval of the best unit lies above both baselines."""
        return self.units[0].score.low > self.baseline


class UnitsResult(Struct, frozen=True):
    """The best units of each feature, on held-out text."""

    cell: str
    part: str  # scored part of the state: c if the cell has one, otherwise h
    seed: int
    chars: int  # of each half: units are selected on the first and scored on the second
    features: tuple[FeatureScores, ...]
    left_out: tuple[str, ...]  # features that cannot be scored, with the reason

    def finding(self) -> str:
        """Return the features whose best unit stands out, in one sentence."""
        told = (
            f"unit {one.units[0].unit} of layer {one.units[0].layer} tracks “{one.feature}” "
            f"(AUC {one.units[0].score.value:.2f})"
            for one in self.features
            if one.stands_out
        )
        return "; ".join(told) or "no unit tracks any of the features better than both baselines"

    def leader(self) -> FeatureScores | None:
        """Return the feature whose best unit leads most over the baselines; None without any."""
        return max(
            self.features,
            key=lambda one: (one.stands_out, one.units[0].score.value - one.baseline),
            default=None,
        )

    def ranked(self) -> list[tuple[FeatureScores, UnitScore]]:
        """Return the units of all features, the strongest first."""
        pairs = [(one, unit) for one in self.features for unit in one.units]
        return sorted(pairs, key=lambda pair: -pair[1].score.value)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, a function of the network, the text and the seed."""
        values = flat(to_builtins(self))
        for row, one in zip(values["features"], self.features, strict=True):
            row["stands_out"] = one.stands_out
        chars = {"chosen_on_chars": self.chars, "scored_on_chars": values.pop("chars")}
        return {**values, **chars, "finding": self.finding()}


@dataclass(frozen=True)
class HiddenUnits:
    """A recording and the unit scores of a run."""

    run: str
    recording: Recording
    units: UnitsResult | None  # None without a held-out text
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the scores as a JSON object, without the recording."""
        return {
            "run": self.run,
            "shown_chars": len(self.recording.text),
            "memory_units": self.units and self.units.to_json(),
            "notes": list(self.notes),
        }


LEVELS = 127  # of a signed byte, on either side of zero
SHARE_LEVELS = 2**16 - 1
GATES = "ifozr"  # parts with values in 0 to 1
PARTS = {  # name and meaning of the parts of a layer
    "c": ("cell state c", "the memory of the unit, which gates add to and decay"),
    "i": ("input gate i", "the fraction of the candidate that is added to the cell state"),
    "f": ("forget gate f", "the fraction of the cell state that is kept; closed, it is erased"),
    "o": ("output gate o", "the fraction of the cell state that the output shows"),
    "g": ("candidate g", "the value that the input gate may add to the cell state"),
    "r": ("reset gate r", "the fraction of the previous state that the candidate reads"),
    "z": ("update gate z", "the fraction of the previous state that is kept"),
    "n": ("candidate n", "the value that replaces the state as the update gate closes"),
}
OUTPUT = "the input of the next layer, and of the layer itself at the next character"
LEGEND = (
    "AUC: the probability that the unit is higher where the feature holds than where it does not, "
    "or lower if it falls with it; 0.5 is chance. untrained: the best unit of the untrained "
    "network, selected in the same way. shifted: the best unit against the feature shifted along "
    "the text, the highest of all shifts. Units are selected on {0:,} held-out characters and "
    "scored on the next {0:,}."
)


def part_labels(parts: Iterable[str], cell: str) -> dict[str, dict[str, Any]]:
    """Return the name, the meaning and the sign of parts of a layer, such as ``h`` or ``f``."""
    state = ("output h" if cell == "lstm" else "state h", OUTPUT)
    names = {part: PARTS.get(part, state) for part in parts}
    return {
        part: {"name": name, "means": means, "signed": part not in GATES}
        for part, (name, means) in names.items()
    }


def report(result: UnitsResult) -> Section:
    """Return the best unit of each feature beside its baselines."""
    header = ["feature", "layer", "unit", "part", "", "score", "95% interval", "untrained"]
    rows = []
    for one in result.features:
        best = one.units[0]
        cells = [one.feature, str(best.layer), str(best.unit), result.part, best.direction]
        cells += [f"AUC {best.score.value:.2f}", f"[{best.score.low:.2f}, {best.score.high:.2f}]"]
        cells += [f"{one.untrained:.2f}", f"{max(one.shifted):.2f}"]
        rows.append([*cells, "stands out" if one.stands_out else ""])
    return Section(
        "units",
        "Hidden units that track a feature",
        result.finding(),
        "A unit that tracks one feature also tracks whatever occurs together with it.",
        [
            *([Table([*header, "shifted", ""], rows)] if rows else []),
            *(Text(f"not scored: {reason}", "note") for reason in result.left_out),
            Text(LEGEND.format(result.chars), "note"),
        ],
    )


def hidden_units_page(memory: HiddenUnits) -> str:
    """Return one HTML page that needs no other file."""
    recording, result = memory.recording, memory.units
    units = " + ".join(str(layer.units) for layer in recording.layers)
    parts = part_labels(recording.layers[0].parts, recording.cell)
    shares = np.rint(recording.next_shares * SHARE_LEVELS).astype("<u2")
    leader = result.leader() if result else None
    best = leader.units[0] if leader else None
    data = {
        "text": recording.text,
        "part": "c" if "c" in parts else "h",
        "first": {"layer": best.layer - 1, "unit": best.unit - 1} if best else {},
        "parts": parts,
        "layers": [_layer(layer) for layer in recording.layers],
        "next": {"characters": "".join(recording.next_characters), "shares": _base64(shares)},
    }
    return render(
        "chargen.probes.units/hidden_units.html",
        title=f"Hidden units of {memory.run}",
        about=f"{memory.run} · {recording.cell} of {units} units · "
        f"{len(recording.text):,} characters shown",
        notes=memory.notes,
        layers=len(recording.layers),
        parts=parts,
        levels=LEVELS,
        result=result,
        leader=leader,
        legend=LEGEND.format(result.chars) if result else "",
        data=json.dumps(data, ensure_ascii=False, separators=(",", ":")),
    )


def _layer(layer: LayerRecord) -> dict[str, Any]:
    """Return the values as levels of the largest value of their unit, or of 1."""
    parts = {}
    for name, values in layer.parts.items():
        largest = np.abs(values).max(axis=0).astype(np.float64)
        ranges = [float(f"{value:.4g}") or 1.0 for value in largest]
        ranges = [1.0] * len(ranges) if (largest <= 1).all() else ranges
        levels = np.rint(values / ranges * LEVELS).astype(np.int8)
        parts[name] = {"ranges": ranges, "values": _base64(levels.T)}
    return {"units": layer.units, "parts": parts}


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
