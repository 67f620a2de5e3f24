"""Results as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from chargen.probes.statistics.intervals import Proportion
from chargen.probes.templates.demonstration import Shown
from chargen.probes.templates.outcomes import PLACES
from chargen.probes.templates.result import SpanResult, TemplatesResult
from chargen.render.tables import NO_NUMBER, WIDTH, aligned, between, ruled
from chargen.render.text import counted


def templates_table(result: TemplatesResult) -> str:
    """One row a span: accuracy with its interval, the frames with a decoy apart, the controls.

    A first line says what was found. Rules mark the length that gradients travelled in training
    and the longest span of a corpus made from the bank, wherever they lie. A second table says
    what the cue and what a decoy does.
    """
    lines = textwrap.wrap(result.finding(), WIDTH)
    rows = result.rows
    if rows:
        spans = [row.span for row in rows]
        table = aligned([_header(result), *map(_row, rows)])
        lines += ["", *ruled(table, spans, result.limits), "", *_legend(result)]
    if any(row.d or row.decoys for row in rows):
        lines += ["", *aligned([CUE_HEADER, *map(_cue_row, rows)]), "", *CUE_LEGEND]
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


CUE_HEADER = ["span", "D, bits", "95 %", *(f"decoy {place}" for place in PLACES)]
CUE_HEADER += ["errors to it", *PLACES, ""]
CUE_LEGEND = (
    "D: bits by which the cue alone moves the choice between its own answer and another, median",
    "over the frames without a decoy and its 95 % interval; 0 is a cue that is forgotten. A trace",
    "of memory shows here long before it gives the right answer. Then percent right with a decoy",
    "before the sentence and after its cue, and the percent of the errors that took the decoy's",
    "answer: of all errors with a decoy, and by where it stands.",
)


def _header(result: TemplatesResult) -> list[str]:
    return ["span", "right", "95 %", "greedy", "decoy", *result.rows[0].controls, ""]


def _row(row: SpanResult) -> list[str]:
    low, high = (round(100 * bound) for bound in row.all.choice.interval)
    controls = [_percent(tally.choice) for tally in row.controls.values()]
    counted = [_percent(x) for x in (row.all.choice, row.all.greedy, row.decoy.choice)]
    counted.insert(1, f"{low}–{high}")
    return [str(row.span), *counted, *controls, "" if row.label == "trained" else row.label]


def _cue_row(row: SpanResult) -> list[str]:
    cells = [f"{row.d.value:.2f}", between(row.d, 2)] if row.d else [NO_NUMBER, ""]
    apart = [row.decoys.get(place) for place in PLACES]
    cells += [_percent(found.tally.choice) if found else NO_NUMBER for found in apart]
    fallen = [row.to_decoy, *(found.to_decoy if found else None for found in apart)]
    cells += [NO_NUMBER if share is None else f"{100 * share:.0f}" for share in fallen]
    return [str(row.span), *cells, ""]


def _percent(proportion: Proportion) -> str:
    return f"{100 * proportion.share:.0f}"


def _legend(result: TemplatesResult) -> list[str]:
    first = result.rows[0]
    K, frames, decoys = 1 / first.chance, first.all.choice.trials, first.decoy.choice.trials
    half = ["span50: where it is half-way between its ceiling and chance, and the 95 % interval."]
    return [
        f"Percent right among {K:.0f} answers: chance is {100 / K:.1f}. A span is the characters",
        f"from the end of the cue to the start of the target; {counted(frames, 'frame')} each.",
        f"greedy: wrote the answer out; decoy: right in the {decoys} frames that also name another",
        "fact's cue. Then the controls, which have nothing to remember with: the model with its",
        "cue deleted and an untrained one must stay at chance; an n-gram is right as far back as",
        "it sees.",
        *(half if result.span50 else []),
    ]
