"""Reports: sections of tables, figures and sentences, built once for terminal, HTML and PNG."""

import textwrap
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from chargen.files import writing
from chargen.render import figures
from chargen.render.figures import PAGE, PICTURE, Drawing, Interval, Size
from chargen.render.page import render
from chargen.render.text import listed, visible_line

WIDTH = 100  # columns of the terminal
NO_NUMBER = "–"


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; the last column is left-aligned, the others right-aligned."""

    header: Sequence[str]  # with units
    rows: Sequence[Sequence[str]]  # as many cells as ``header``
    caption: str = ""  # what the cells are; a note below the terminal table
    rules: Sequence[tuple[int, str]] = ()  # labelled lines before rows, or after the last


@dataclass(frozen=True)
class Text:
    """A paragraph: running text, or a note in smaller letters."""

    text: str
    role: Literal["body", "note"] = "body"


Part = tuple[str, Literal["", "cue", "answer", "wrong"]]
"""Text with its role in a test sentence."""


@dataclass(frozen=True)
class Sentence:
    """An example sentence in parts; cue and answer are highlighted."""

    parts: Sequence[Part]
    note: str = ""


@dataclass(frozen=True)
class Bars:
    """Horizontal bars, one per name, as long as a share of 1, each with a note."""

    rows: Sequence[tuple[str, float, str]]


@dataclass(frozen=True)
class Figure:
    """A chart that is drawn on demand, for a page or for a PNG file."""

    name: str  # unique in its report; names the PNG file and the SVG's definitions
    draw: Callable[[Size, str], Drawing]  # returns the chart for a size and a title
    label: str  # the text alternative
    caption: str  # explains the marks, so that the chart can be read alone

    def svg(self) -> str:
        return figures.svg(self.draw(PAGE, ""), self.name, self.label)


@dataclass(frozen=True)
class Details:
    """Blocks that a page folds under a summary and that the terminal shows with ``--verbose``."""

    summary: str
    blocks: Sequence["Block"]


Block = Table | Text | Sentence | Bars | Figure | Details


@dataclass(frozen=True)
class Section:
    """The result of one instrument in one run or several."""

    name: str  # anchor, unique in its report
    title: str
    finding: str  # the result in one sentence, with its uncertainty
    meaning: str  # the finding in plain words
    blocks: Sequence[Block]


def rules_at(values: Sequence[float], limits: Sequence[tuple[float, str]]) -> list[tuple[int, str]]:
    """Return a rule for each limit, before the first row of ascending values that exceeds it."""
    return [(bisect_right(values, limit), text) for limit, text in sorted(limits)]


def training_limits(results: Mapping[str, Any]) -> list[tuple[int, str]]:
    """Return each run's ``trained_timesteps`` as limits, ``(64, "training length (64)")``."""
    runs: dict[int, list[str]] = {}
    for run, result in results.items():
        if result.trained_timesteps:
            runs.setdefault(result.trained_timesteps, []).append(run)
    return [
        (steps, f"training length ({steps})" + f" of {listed(some)}" * (len(some) < len(results)))
        for steps, some in sorted(runs.items())
    ]


def method(items: Sequence[str]) -> Details:
    return Details("Method and limitations", [*map(Text, items)])


def percent(found: Interval | None) -> str:
    """Return a proportion with its 95% interval, such as ``89.7 (86.4–92.2)``, in percent."""
    if found is None:
        return NO_NUMBER
    return f"{100 * found.value:.1f} ({100 * found.low:.1f}–{100 * found.high:.1f})"


def estimate(found: Interval | None, digits: int) -> str:
    """Return a value with its 95% interval, such as ``0.045 (0.023–0.065)``."""
    if found is None:
        return NO_NUMBER
    return f"{round(found.value, digits) + 0.0:.{digits}f} ({between(found, digits)})"


def between(found: Interval, digits: int) -> str:
    """Return a 95% interval, ``1.2–1.4``, or ``-0.1 to 0.2`` where a dash would read as minus."""
    low, high = (f"{round(x, digits) + 0.0:.{digits}f}" for x in (found.low, found.high))  # no -0
    return f"{low} to {high}" if "-" in low else f"{low}–{high}"


def to_text(sections: Sequence[Section], verbose: bool = False) -> str:
    """Return the terminal form: per section a heading, the finding, tables and notes."""
    texts = []
    for section in sections:
        heading = f"{section.title}\n{'=' * len(section.title)}\n{_wrapped(section.finding)}"
        blocks = (text for block in section.blocks for text in _block_text(block, verbose))
        texts.append("\n\n".join([heading, *blocks]) + "\n")
    return "\n".join(texts)


def to_html(title: str, about: str, sections: Sequence[Section], warnings: Sequence[str]) -> str:
    """Return one HTML page that needs no other file, the same bytes for the same report."""
    return render("report.html", title=title, about=about, sections=sections, warnings=warnings)


def fragment(*parts: Section | Block) -> str:
    """Return sections, then blocks, as HTML without a page around them, for notebooks."""
    sections = [part for part in parts if isinstance(part, Section)]
    blocks = [part for part in parts if not isinstance(part, Section)]
    return render("fragment.html", sections=sections, blocks=blocks, variables=figures.VARIABLES)


def save_figures(sections: Sequence[Section], path: Path, title: str, main: str) -> list[Path]:
    """Write each figure as a PNG: ``main`` to ``path``, the others to ``path-<name>``."""
    written = []
    for block in (block for section in sections for block in section.blocks):
        if isinstance(block, Figure):
            file = path if block.name == main else path.with_stem(f"{path.stem}-{block.name}")
            with writing(file):
                block.draw(PICTURE, title).savefig(file, format="png")
            written.append(file)
    return written


def table_text(table: Table) -> str:
    lines = aligned([table.header, *table.rows])
    width = max(map(len, lines))
    for index, label in reversed(table.rules):
        lines.insert(index + 1, f"── {label} ".ljust(width, "─"))
    if table.caption:
        lines += ["", _wrapped(table.caption)]
    return "\n".join(lines) + "\n"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return one line per row with aligned columns: right, but for the last, which is left."""
    shown = [[visible_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return ["  ".join(map(str.rjust, row, [*widths[:-1], 0])).rstrip() for row in shown]


def _block_text(block: Block, verbose: bool) -> Iterator[str]:
    if isinstance(block, Table):
        yield table_text(block).rstrip("\n")
    elif isinstance(block, Sentence):
        text = "".join(f"[{part}]" if role else part for part, role in block.parts)
        lines = [text, *([f"({block.note})"] if block.note else [])]
        yield "\n".join(f"  {visible_line(line)}" for line in lines)
    elif isinstance(block, Bars):
        yield "\n".join(aligned([[name, f"{share:.1%}", note] for name, share, note in block.rows]))
    elif isinstance(block, Text) and (verbose or block.role == "note"):
        yield _wrapped(block.text)
    elif isinstance(block, Details) and verbose:
        yield block.summary
        for inner in block.blocks:
            yield from _block_text(inner, verbose)


def _wrapped(text: str) -> str:
    return textwrap.fill(visible_line(text), WIDTH)
