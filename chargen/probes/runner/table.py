"""How several runs compare, as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from chargen.probes.context.measure import ContextResult
from chargen.probes.context.paired import BitsComparison
from chargen.probes.context.table import bin_name
from chargen.probes.gradient.result import GradientResult
from chargen.probes.mined.mining import CLOSERS, WORDS
from chargen.probes.mined.result import FEWEST_CASES, MinedResult, MinedRow
from chargen.probes.templates.comparison import LEVEL, PairComparison
from chargen.probes.templates.result import SpanResult, TemplatesResult
from chargen.render.tables import NO_NUMBER, WIDTH, aligned, between, ruled
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
CONTEXT_LEGEND = (
    "context: the characters in view from which on next to nothing is lost, and its 95 % interval;",
    "bits: what a character costs with all in view; untrained: the context of a network of that",
    "shape which learned nothing.",
)
MINED_LEGEND = (
    "Bits a target gained over swap and the 95 % interval, each run at the same places; untrained:",
    "what a network of that run's shape gains that learned nothing.",
)
TOO_FEW = "too few cases at every distance"
GRADIENT_LEGEND = (
    "Characters after which the gradient is half and a hundredth of what it was, trained and at",
    "start. A large gradient is not memory.",
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


def context_runs_table(
    found: Mapping[str, tuple[ContextResult, ContextResult]], pairs: Sequence[BitsComparison]
) -> str:
    """A row a run, trained and untrained, by run; then what each pair's bits differ by."""
    lines = aligned(context_rows(found))
    if pairs:
        lines += ["", *aligned(bits_rows(pairs, short_names(list(found))))]
    return "\n".join([*lines, "", *CONTEXT_LEGEND]) + "\n"


def context_rows(found: Mapping[str, tuple[ContextResult, ContextResult]]) -> list[list[str]]:
    """A header and a row a run: its effective context beside that of an untrained network."""
    head = ["run", "context", "95 %", "bits", "untrained", "--timesteps", ""]
    return [head, *(_context_cells(run, *results) for run, results in found.items())]


def bits_rows(pairs: Sequence[BitsComparison], names: Mapping[str, str]) -> list[list[str]]:
    """A header and a row a pair of runs: what the first pays more than the second."""
    head = ["bits a character, with all in view, at the same places", "difference", "95 %"]
    rows = [
        [
            f"{names[pair.first]} less {names[pair.second]}",
            f"{pair.difference.value:+.4f}",
            between(pair.difference, 4),
        ]
        for pair in pairs
    ]
    return [head, *rows]


def _context_cells(run: str, result: ContextResult, untrained: ContextResult) -> list[str]:
    steps = str(result.trained_timesteps or NO_NUMBER)
    if result.refusal:
        return [run, *[NO_NUMBER] * 4, steps, result.refusal]
    value, interval = _effective(result)
    return [run, value, interval, f"{result.full_bits:.3f}", _effective(untrained)[0], steps, ""]


def _effective(result: ContextResult) -> tuple[str, str]:
    longest = f">{result.rows[-1].context}"
    value, low, high = (longest if n is None else str(n) for n in result.effective)
    return value, f"{low}–{high}"


def mined_runs_table(found: Mapping[str, MinedResult]) -> str:
    """For each kind a row a distance: what each run gains from the cue, beside an untrained one."""
    lines = list(MINED_LEGEND)
    for kind in (WORDS, CLOSERS):
        rows = mined_rows(found, kind)
        lines += ["", kind, *aligned(rows)] if rows else ["", f"{kind}: {TOO_FEW}"]
    return "\n".join(lines) + "\n"


def mined_rows(found: Mapping[str, MinedResult], kind: str) -> list[list[str]]:
    """A header and a row a distance; nothing where no distance has cases enough."""
    names = short_names(list(found))
    head = ["distance", *(x for run in found for x in (names[run], "95 %", "untrained")), ""]
    rows = list(zip(*(result.of_kind(kind) for result in found.values()), strict=True))
    measured = any(row.gain for some in rows for row in some)
    return [head, *map(_mined_cells, rows)] if measured else []


def _mined_cells(rows: Sequence[MinedRow]) -> list[str]:
    cells = []
    for row in rows:
        cells += [f"{row.gain.value:.2f}", between(row.gain, 2)] if row.gain else [NO_NUMBER, ""]
        cells.append(f"{row.untrained.value:.2f}" if row.untrained else NO_NUMBER)
    few = "" if any(row.gain for row in rows) else f"under {FEWEST_CASES} cases"
    return [bin_name(rows[0]), *cells, few]


def gradient_runs_table(found: Mapping[str, tuple[GradientResult, GradientResult]]) -> str:
    """A row a layer of each run: half-lives, trained and at start."""
    return "\n".join([*aligned(gradient_rows(found)), "", *GRADIENT_LEGEND]) + "\n"


def gradient_rows(found: Mapping[str, tuple[GradientResult, GradientResult]]) -> list[list[str]]:
    """A header and a row a layer of each run."""
    head = ["run", "layer", "half in", "1/100 in", "at start", "1/100 in", "--timesteps", ""]
    rows = [head]
    for run, (trained, initial) in found.items():
        for layer, start in zip(trained.layers, initial.layers, strict=True):
            reaches = [
                result.distance(chars)
                for result, one in ((trained, layer), (initial, start))
                for chars in (one.half_life, one.hundredth)
            ]
            steps = str(trained.trained_timesteps or NO_NUMBER)
            explodes = "explodes" if layer.explodes else ""
            rows.append([run, str(layer.layer), *reaches, steps, explodes])
    return rows
