"""Report of a text's surprisal: a table of runs, and the most surprising places in context."""

import math
import unicodedata
from typing import Any

from chargen.evaluation import nats_to_bits
from chargen.probes.surprisal.result import Scores
from chargen.render.report import NO_NUMBER, Table, aligned, between, table_text
from chargen.render.text import visible_line

BEFORE, AFTER = 60, 30  # characters shown around a place
INDENT = "  "


def score_table(found: Scores) -> str:
    tables = "\n".join(map(table_text, score_tables(found)))
    return f"{tables}\n{visible_line(found.finding)}\n" if found.differences else tables


def score_tables(found: Scores) -> list[Table]:
    """Return a table with a row per run, and one of the differences to the best run."""
    rows = []
    for one in found.runs:
        loss, bits = (round(x, 4) + 0.0 for x in (one.loss_nats, nats_to_bits(one.loss_nats)))
        total, chars = f"{one.total_nats:,.1f}", f"{len(one.nats):,}"
        rows.append([one.run, f"{loss:.4f}", f"{bits:.4f}", total, chars, ""])
    tables = [Table(["run", "nats/char", "bits/char", "nats", "characters", ""], rows)]
    rows = []
    for pair in found.differences:
        by = pair.difference
        cells = [f"{by.value:+.4f}", between(by, 4)] if by else [NO_NUMBER] * 2
        cells.append(NO_NUMBER if pair.p_holm is None else f"{pair.p_holm:.2g}")
        rows.append([f"{pair.first} − {pair.second}", *cells])
    header = ["nats/char at the same places", "difference", "95%", "p, Holm"]
    return [*tables, *([Table(header, rows)] if rows else [])]


def place_text(text: str, place: dict[str, Any]) -> tuple[str, str, str]:
    """Return what precedes a place, its character, and what follows with a mark and the runs."""
    at, column = place["position"] - 1, place["column"]
    end = text.find("\n", at)
    before = INDENT + visible_line(text[at - min(column - 1, BEFORE) : at])
    after = visible_line(text[at + 1 : min(len(text) if end < 0 else end, at + 1 + AFTER)])
    character = visible_line(place["character"])
    rows = []
    for one in place["runs"]:
        expected = f"expected {visible_line(repr(one['expected']))}"
        share, best = (f"{100 * math.exp(-one[x]):.2g}%" for x in ("nats", "expected_nats"))
        rows.append([one["run"], f"{share}, {one['nats']:.1f} nats", f"{expected}, {best}"])
    pointer = " " * _columns(before) + "^" * max(1, _columns(character))
    heading = f"line {place['line']:,}, character {column:,}"
    below = [after, pointer, *(INDENT + row for row in aligned(rows))]
    return f"{heading}\n{before}", character, "\n".join(below)


def _columns(text: str) -> int:
    """Return the width in a terminal: 2 columns for wide characters, 0 for combining marks."""
    shown = [char for char in text if unicodedata.category(char) not in ("Mn", "Me")]
    return len(shown) + sum(unicodedata.east_asian_width(char) in "WF" for char in shown)
