"""Results as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from chargen.probes.demonstration import Shown
from chargen.probes.statistics import Proportion
from chargen.probes.templates import SpanResult, TemplatesResult

WIDTH = 100  # characters of a line, at most


def templates_table(result: TemplatesResult) -> str:
    """One row a span: accuracy with its interval, the frames with a decoy apart, the controls.

    A first line says what was found. Rules mark the length that gradients travelled in training
    and the longest span of a corpus made from the bank.
    """
    lines = textwrap.wrap(result.finding(), WIDTH)
    if result.rows:
        header, *rows = aligned([_header(result), *map(_row, result.rows)])
        width = max(map(len, [header, *rows]))
        lines += ["", header]
        for place, row in enumerate(rows):
            lines += [_rule(mark, width) for mark in _marks(result, place)] + [row]
        lines += ["", *_legend(result)]
    return "\n".join(lines) + "\n"


def demonstration_table(shown: Sequence[Shown]) -> str:
    """The sentences, each with its endings, the likeliest first, and no accuracy."""
    lines = ["Two sentences, for show: this measures nothing."]
    for one in shown:
        lines += ["", f"  {one.context}…"]
        columns = sorted(zip(one.shares, one.candidates, one.per_char_bits, strict=True))
        for share, text, bits in reversed(columns):
            lines.append(f"    {text:<8} {share:6.1%}   {bits:5.2f} bits a character")
        lines += [f"    ({one.note})"] * bool(one.note)
    return "\n".join(lines) + "\n"


def _header(result: TemplatesResult) -> list[str]:
    return ["span", "right", "95 %", "greedy", "decoy", *result.rows[0].controls, ""]


def _row(row: SpanResult) -> list[str]:
    low, high = (round(100 * bound) for bound in row.all.choice.interval)
    controls = [_percent(tally.choice) for tally in row.controls.values()]
    counted = [_percent(x) for x in (row.all.choice, row.all.greedy, row.decoy.choice)]
    counted.insert(1, f"{low}–{high}")
    return [str(row.span), *counted, *controls, "" if row.label == "trained" else row.label]


def _percent(proportion: Proportion) -> str:
    return f"{100 * proportion.share:.0f}"


def aligned(table: list[list[str]]) -> list[str]:
    """The cells of each column right-aligned, the last column left-aligned."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            [cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=False)] + [row[-1]]
        ).rstrip()
        for row in table
    ]


def _marks(result: TemplatesResult, place: int) -> Iterable[str]:
    """What ends between the row before and this one."""
    before = result.rows[place - 1].span if place else 0
    for limit, text in result.limits:
        if before <= limit < result.rows[place].span:
            yield text


def _rule(text: str, width: int) -> str:
    return f"── {text} ".ljust(width, "─")


def _legend(result: TemplatesResult) -> list[str]:
    first = result.rows[0]
    K, frames, decoys = 1 / first.chance, first.all.choice.trials, first.decoy.choice.trials
    half = ["span50: where it is half-way between its ceiling and chance, and the 95 % interval."]
    return [
        f"Percent right among {K:.0f} answers: chance is {100 / K:.1f}. A span is the characters",
        f"from the end of the cue to the start of the target; {frames} frames each.",
        f"greedy: wrote the answer out; decoy: right in the {decoys} frames that also name another",
        "fact's cue. Then the controls, which have nothing to remember with: the model with its",
        "cue deleted and an untrained one must stay at chance; an n-gram is right as far back as",
        "it sees.",
        *(half if result.span50 else []),
    ]
