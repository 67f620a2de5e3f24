"""What a text costs several models, as text for a terminal and as plain values."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from typing import Any

from chargen.evaluation import nats_to_bits
from chargen.probes.surprisal.measure import Score, Scores
from chargen.render.tables import NO_NUMBER, aligned, between
from chargen.render.text import visible_line

BEFORE, AFTER = 60, 30  # characters shown of the line round a place
INDENT = "  "


@dataclass(frozen=True)
class Place:
    """A character of the text where it stands, each part to be shown in one line."""

    heading: str
    before: str
    character: str
    after: str
    pointer: str  # spaces and a mark below the character
    rows: tuple[str, ...]  # what each run held of it


def score_table(found: Scores) -> str:
    """A row a run, the one that the text costs the least first, then what the others cost more."""
    head = ["run", "nats/char", "bits/char", "nats", "characters", ""]
    lines = aligned([head, *map(_cells, found.runs)])
    if found.dearer:
        rows = [
            [
                f"{one.first} less {one.second}",
                f"{one.difference.value:+.4f}" if one.difference else NO_NUMBER,
                between(one.difference, 4) if one.difference else NO_NUMBER,
            ]
            for one in found.dearer
        ]
        lines += ["", *aligned([["nats a character, at the same places", "", "95 %"], *rows])]
        lines += ["", visible_line(found.finding)]
    return "\n".join(lines) + "\n"


def _cells(one: Score) -> list[str]:
    loss, bits = (round(x, 4) + 0.0 for x in (one.loss_nats, nats_to_bits(one.loss_nats)))
    return [
        one.run,
        f"{loss:.4f}",
        f"{bits:.4f}",
        f"{one.total_nats:,.1f}",
        f"{len(one.nats):,}",
        "",
    ]


def places(found: Scores, most: int) -> list[Place]:
    """The ``most`` surprising places, the most surprising first."""
    return [_place(found, at) for at in found.surprising(most)]


def _place(found: Scores, at: int) -> Place:
    text = found.text
    line, column = _line_and_column(text, at)
    begin, end = at - min(column - 1, BEFORE), text.find("\n", at)
    after = text[at + 1 : min(len(text) if end < 0 else end, at + 1 + AFTER)]
    before, character = visible_line(text[begin:at]), visible_line(text[at])
    rows = aligned([_held(one, at) for one in found.runs])
    return Place(
        f"line {line:,}, character {column:,}",
        INDENT + before,
        character,
        visible_line(after),
        INDENT + " " * _columns(before) + "^" * max(1, _columns(character)),
        tuple(INDENT + row for row in rows),
    )


def _line_and_column(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def _held(one: Score, at: int) -> list[str]:
    nats, expected = one.nats[at - 1], visible_line(repr(one.expected[at - 1]))
    return [
        one.run,
        f"{_percent(nats)}, {nats:.1f} nats",
        f"expected {expected}, {_percent(one.expected_nats[at - 1])}",
    ]


def _percent(nats: float) -> str:
    return f"{100 * math.exp(-nats):.2g} %"


def _columns(text: str) -> int:
    """How wide a terminal shows it: wide characters take two columns, marks on another one none."""
    return sum(
        0
        if unicodedata.category(char) in ("Mn", "Me")
        else 2
        if unicodedata.east_asian_width(char) in "WF"
        else 1
        for char in text
    )


def score_json(found: Scores, most: int) -> dict[str, Any]:
    """All of it; positions, lines and columns count from 1, a probability is of 1."""
    return {
        "chars": len(found.text),
        "left_out_chars": found.left_out,
        "runs": [one.to_json() for one in found.runs],
        "differences": [one.to_json() for one in found.dearer],
        "surprising": [_place_json(found, at) for at in found.surprising(most)],
    }


def _place_json(found: Scores, at: int) -> dict[str, Any]:
    line, column = _line_and_column(found.text, at)
    held = [
        {
            "run": one.run,
            "nats": float(one.nats[at - 1]),
            "expected": one.expected[at - 1],
            "expected_nats": float(one.expected_nats[at - 1]),
        }
        for one in found.runs
    ]
    return {
        "position": at + 1,
        "line": line,
        "column": column,
        "character": found.text[at],
        "runs": held,
    }
