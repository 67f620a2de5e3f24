"""Tables of text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chargen.render.figures import Interval
from chargen.render.text import visible_line

WIDTH = 100  # characters of a line, at most
NO_NUMBER = "–"


def ruled(
    table: Sequence[str], chars: Sequence[int], limits: Sequence[tuple[int, str]]
) -> Iterator[str]:
    """The lines of a table, a header and a row for each of ``chars``, with a rule at each limit.

    A rule stands before the first row that lies beyond its limit, and after the last where none
    does; ``limits``, ascending, say what each is called.
    """
    header, *rows = table
    width = max(map(len, table))
    left = list(limits)
    yield header
    for span, row in zip(chars, rows, strict=True):
        while left and left[0][0] < span:
            yield f"── {left.pop(0)[1]}, beyond it below ".ljust(width, "─")
        yield row
    for _, text in left:
        yield f"── {text}, nothing here lies beyond it ".ljust(width, "─")


def timesteps_limit(timesteps: int | None) -> list[tuple[int, str]]:
    """The length that gradients travelled in training as a limit; none where it is not known."""
    return [(timesteps, f"--timesteps {timesteps}")] if timesteps else []


def between(found: Interval, digits: int) -> str:
    """An interval, ``1.2–1.4``, or ``-0.1 to 0.2`` where a dash could be read as a minus."""
    low, high = (f"{bound:.{digits}f}" for bound in (found.low, found.high))
    return f"{low} to {high}" if found.low < 0 else f"{low}–{high}"


def aligned(table: list[list[str]]) -> list[str]:
    """The cells of each column right-aligned, the last column left-aligned, each in one line."""
    table = [[visible_line(cell) for cell in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            [cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=False)] + [row[-1]]
        ).rstrip()
        for row in table
    ]
