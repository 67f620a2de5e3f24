"""Report of the hidden units: a table for the terminal, and the page that colors a text."""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from chargen.probes.units.result import HiddenUnits, UnitsResult
from chargen.render.page import render
from chargen.render.report import Block, Section, Table, Text

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
    "or lower if it falls with it; 0.5 is chance. Baselines, selected in the same way: the best "
    "unit of the untrained network, and the best unit for features shifted along the text. Units "
    "are selected on {0:,} held-out characters and scored on the next {0:,}."
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
    header = ["feature", "layer", "unit", "part", "", "score", "95% interval"]
    rows = []
    for one in result.features:
        best = one.units[0]
        cells = [one.feature, str(best.layer), str(best.unit), result.part, best.direction]
        cells += [f"AUC {best.score.value:.2f}", f"[{best.score.low:.2f}, {best.score.high:.2f}]"]
        cells += [f"{one.untrained:.2f}", f"{one.shifted:.2f}"]
        rows.append([*cells, "stands out" if one.stands_out else ""])
    notes = [*(f"not scored: {reason}" for reason in result.left_out), LEGEND.format(result.chars)]
    table = [Table([*header, "untrained", "shifted", ""], rows)] if rows else []
    blocks: list[Block] = [*table, *(Text(note, "note") for note in notes)]
    meaning = "A unit that tracks one feature also tracks whatever occurs together with it."
    return Section("units", "Hidden units that track a feature", result.finding(), meaning, blocks)


def hidden_units_page(memory: HiddenUnits) -> str:
    recording, result = memory.recording, memory.units
    units = " + ".join(str(layer["h"].shape[1]) for layer in recording.layers)
    parts = part_labels(recording.layers[0], recording.cell)
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


def _layer(layer: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the values as levels of the largest value of their unit, or of 1."""
    parts = {}
    for name, values in layer.items():
        largest = np.abs(values).max(axis=0).astype(np.float64)
        ranges = [float(f"{value:.4g}") or 1.0 for value in largest]
        ranges = [1.0] * len(ranges) if (largest <= 1).all() else ranges
        levels = np.rint(values / ranges * LEVELS).astype(np.int8)
        parts[name] = {"ranges": ranges, "values": _base64(levels.T)}
    return {"units": layer["h"].shape[1], "parts": parts}


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
