"""How new a sample is, as text for a terminal."""

from __future__ import annotations

from chargen.render.tables import NO_NUMBER, aligned
from chargen.render.text import counted, visible_line
from chargen.sampling.novelty import New, Novelty

SHOWN = 200  # characters of the longest copy
LEGEND = (
    "Percent of the stretches of so many characters that the training text does not have: in the",
    "sample, and in held-out text, the mean and the range of parts as long as the sample.",
)


def novelty_table(found: Novelty) -> str:
    """The longest copy, then a row a length: what is new of the sample and of held-out text."""
    copy = found.longest
    lines = [f"longest copy: {_longest(found)}", f"  {visible_line(copy.text[:SHOWN])}", ""]
    lines[1] += "…" * (len(copy.text) > SHOWN)
    if not copy.text:
        del lines[1]
    head = ["chars", "sample", "held out", "range", ""]
    lines += aligned([head, *map(_cells, found.new)])
    if not found.held_out_longest:
        lines += ["", "The held-out text is shorter than the sample: nothing to compare it with."]
    return "\n".join([*lines, "", *LEGEND]) + "\n"


def _longest(found: Novelty) -> str:
    copy, others = found.longest, found.held_out_longest
    told = f"{counted(len(copy.text), 'character')} of {found.chars:,}"
    if copy.text:
        told += f", in the training text from character {copy.training_position + 1:,} on"
    if others:
        told += f"; of held-out text {min(others)} to {max(others)}"
    return told


def _cells(row: New) -> list[str]:
    cells = [f"{row.chars}", f"{100 * row.sample:.1f}"]
    if not row.held_out:
        return [*cells, NO_NUMBER, "", ""]
    low, high = (f"{100 * bound:.1f}" for bound in (min(row.held_out), max(row.held_out)))
    return [*cells, f"{100 * sum(row.held_out) / len(row.held_out):.1f}", f"{low}–{high}", ""]
