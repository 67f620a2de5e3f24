"""How several runs compare, as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from chargen.probes.templates.comparison import LEVEL, PairComparison
from chargen.probes.templates.result import SpanResult, TemplatesResult
from chargen.render.tables import NO_NUMBER, WIDTH, aligned, ruled
from chargen.render.text import listed, visible_line

TEMPLATES_LEGEND = (
    "Percent right and its 95 % interval, each run asked the same frames. A span is the characters",
    "from the end of the cue to the start of the target.",
)
CONTROLS_LEGEND = "Percent right of the controls, on the frames without a decoy, by span:"
PAIRS_LEGEND = (
    "Frames that one of the two alone has right, and by how many points it is ahead; p: exact",
    f"McNemar, then corrected after Holm over all spans of all pairs. Under {LEVEL} they differ.",
)


def short_names(runs: Sequence[str]) -> dict[str, str]:
    """What each run is called in a column: its folder's name, or its path where two share one."""
    names = [visible_line(Path(run).name) for run in runs]
    if len(set(names)) < len(names) or not all(names):
        return {run: visible_line(run) for run in runs}
    return dict(zip(runs, names, strict=True))


def templates_runs_table(
    results: Mapping[str, TemplatesResult], pairs: Sequence[PairComparison], finding: str
) -> str:
    """A row a run, a row a span with a column a run, the controls, then each pair of runs.

    ``results`` are by run, and those that claim nothing are listed. Rules mark every run's
    ``--timesteps`` and the longest trained span.
    """
    names = short_names(list(results))
    known = {run: result for run, result in results.items() if not result.refusal}
    lines = [*textwrap.wrap(finding, WIDTH), ""]
    lines += aligned(run_rows(results))
    if known:
        spans = [row.span for row in next(iter(known.values())).rows]
        table = aligned(span_rows(known, names))
        lines += ["", *ruled(table, spans, limits(known, names)), "", *TEMPLATES_LEGEND]
        lines += ["", CONTROLS_LEGEND, *aligned(control_rows(known, names))]
    for pair in pairs:
        lines += ["", pair_name(pair, names), *aligned(pair_rows(pair, names))]
    return "\n".join([*lines, *([""] if pairs else []), *(PAIRS_LEGEND if pairs else [])]) + "\n"


def limits(
    results: Mapping[str, TemplatesResult], names: Mapping[str, str]
) -> list[tuple[int, str]]:
    """The limits of all runs, ascending; those that not all of them share say whose they are."""
    whose: dict[tuple[int, str], list[str]] = {}
    for run, result in results.items():
        for limit in result.limits:
            whose.setdefault(limit, []).append(names[run])
    return [
        (chars, text if len(runs) == len(results) else f"{text} of {listed(runs)}")
        for (chars, text), runs in sorted(whose.items())
    ]


def run_rows(results: Mapping[str, TemplatesResult]) -> list[list[str]]:
    """A header and a row a run: how far it was trained, and its span50."""
    head = ["run", "--timesteps", "span50", ""]
    return [head, *(_run_cells(run, result) for run, result in results.items())]


def _run_cells(run: str, result: TemplatesResult) -> list[str]:
    half = result.span50.text() if result.span50 else NO_NUMBER
    steps = str(result.trained_timesteps or NO_NUMBER)
    return [run, steps, half, "not learned" if result.refusal else ""]


def span_rows(known: Mapping[str, TemplatesResult], names: Mapping[str, str]) -> list[list[str]]:
    """A header and a row a span, with what each run has right; all that claim something."""
    return [_header(known, names), *(_cells(rows) for rows in _by_span(known))]


def _by_span(known: Mapping[str, TemplatesResult]) -> Iterator[tuple[SpanResult, ...]]:
    return zip(*(result.rows for result in known.values()), strict=True)


def _header(known: Mapping[str, TemplatesResult], names: Mapping[str, str]) -> list[str]:
    return ["span", "chance", *(cell for run in known for cell in (names[run], "95 %")), ""]


def _cells(rows: Sequence[SpanResult]) -> list[str]:
    cells = []
    for row in rows:
        low, high = (round(100 * bound) for bound in row.all.choice.interval)
        cells += [f"{100 * row.all.choice.share:.0f}", f"{low}–{high}"]
    first = rows[0]
    label = "" if first.label == "trained" else first.label
    return [str(first.span), f"{100 * first.chance:.1f}", *cells, label]


def control_rows(known: Mapping[str, TemplatesResult], names: Mapping[str, str]) -> list[list[str]]:
    """A header and a row a run and control, with what it has right by span."""
    spans = [str(row.span) for row in next(iter(known.values())).rows]
    table = [["run", "control", *spans, ""]]
    for run, result in known.items():
        for control in result.rows[0].controls:
            shares = [row.controls[control].choice.share for row in result.rows]
            table.append([names[run], control, *(f"{100 * share:.0f}" for share in shares), ""])
    return table


def pair_name(pair: PairComparison, names: Mapping[str, str]) -> str:
    """Who is compared."""
    return f"{names[pair.first]} against {names[pair.second]}"


def pair_rows(pair: PairComparison, names: Mapping[str, str]) -> list[list[str]]:
    """A header and a row a span: frames that one of the two alone has right, and the test."""
    first, second = names[pair.first], names[pair.second]
    head = ["span", f"only {first}", f"only {second}", "points", "p", "p, Holm", ""]
    rows = [
        [
            *map(str, (row.span, row.only_first, row.only_second)),
            f"{100 * row.difference:+.1f}",
            *map(_p, (row.p, row.p_holm)),
            {1: f"{first} ahead", -1: f"{second} ahead", 0: ""}[row.ahead],
        ]
        for row in pair.spans
    ]
    return [head, *rows]


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"
