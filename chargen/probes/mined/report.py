"""Report of natural dependencies: bits gained from the cue, by distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from chargen.probes.mined.mining import KINDS
from chargen.probes.mined.result import FEWEST_CASES, MinedResult
from chargen.probes.statistics.intervals import Estimate
from chargen.render import figures
from chargen.render.figures import GREY, INK, LEAD, OTHER, Size
from chargen.render.report import (
    NO_NUMBER,
    Block,
    Details,
    Figure,
    Section,
    Table,
    Text,
    between,
    estimate,
    method,
    rules_at,
    training_limits,
)
from chargen.render.text import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

NAME, TITLE = "mined", "Natural dependencies"
Found = Mapping[str, MinedResult]
"""Results by run."""

NGRAM: dict[str, Any] = {"color": OTHER, "linestyle": "--", "markersize": 4}
CONTROL: dict[str, Any] = {"color": GREY, "linestyle": ":", "markersize": 4}
MEANING = (
    "A word that returns, a bracket that closes: how much better the model predicts them because "
    "it read the earlier word or the opening bracket at that distance. Zero gain means that the "
    "model did not use it."
)
QUESTION = (
    "Some characters depend on an earlier place in the text, the cue: a word that returns after "
    "one earlier use, a bracket or quotation mark that closes. How many bits does the model save "
    "on such a target because the cue is in its context?"
)
METHOD = (
    "Gain from the cue: the cue alone is replaced by another one of equal length, a word of the "
    "text or another opening mark; all text before it stays. All text before: the text up to the "
    "end of the cue is replaced by another part of the text, of another document if there are "
    "several, that neither contains the word nor leaves the bracket open.",
    "Gain over the n-gram: bits that the n-gram baseline, which sees only the characters just "
    "before the target, needs more. Memory takes a gain over both: a word can be predictable from "
    "its neighbours alone.",
    f"Distances are grouped by powers of two. Under {FEWEST_CASES} cases no result is reported. "
    "Intervals are from the means of blocks of text.",
)
LIMITS = "The cases are found by rules, without understanding of the text."


def section(found: Found) -> Section:
    """Report one run or several; ``found`` is keyed by the run's short name."""
    blocks: list[Block] = [Text(QUESTION)]
    if any(row.gain for result in found.values() for row in result.rows):
        caption = (
            "Bits gained per target from the cue, by distance to it, with 95% intervals. Each "
            "point stands for the distances of one power of two."
        )
        label = f"Bits gained by distance: {_finding(found)}"
        blocks.append(Figure(NAME, partial(_draw, found), label, caption))
    blocks += [_table(found, kind) for kind in KINDS]
    blocks += [_details(run, result) for run, result in found.items()]
    result = next(iter(found.values()))
    mined = f"Cases were mined from {counted(result.chars, 'character')}. Seed {result.seed}."
    blocks.append(method([*METHOD, mined], Text(LIMITS)))
    return Section(NAME, TITLE, _finding(found), MEANING, blocks)


def _finding(found: Found) -> str:
    if len(found) == 1:
        return next(iter(found.values())).finding()
    return "; ".join(f"{run}: {result.finding()}" for run, result in found.items())


def _table(found: Found, kind: str) -> Block:
    """Tabulate one run with all its columns, or the gains of several runs."""
    own = {run: result.of_kind(kind) for run, result in found.items()}
    run, rows = next(iter(own.items()))
    if not any(row.gain for each in own.values() for row in each):
        cases = counted(sum(row.cases for row in rows), "case")
        return Text(f"{run}, {kind}: {cases} in all, too few at every distance.", "note")
    columns = {"distance": [row.distances() for row in rows], "cases": [str(r.cases) for r in rows]}
    if len(found) == 1:
        ngram, control = found[run].ngram, any(row.untrained for row in rows)
        columns |= {"bits": [_value(row.target_bits) for row in rows]}
        columns |= _with_interval("gain", [row.gain for row in rows])
        columns |= {"all before": [_value(row.before) for row in rows]}
        columns |= (
            _with_interval(f"over {ngram}", [row.over_ngram for row in rows]) if ngram else {}
        )
        columns |= {"untrained": [_value(row.untrained) for row in rows]} if control else {}
    for other, each in own.items() if len(found) > 1 else ():
        columns |= _with_interval(other, [row.gain for row in each])
    few = [all(one.gain is None for one in same) for same in zip(*own.values(), strict=True)]
    columns[""] = [f"under {FEWEST_CASES}" if few_cases else "" for few_cases in few]
    header = ["95%" if head.startswith("95%") else head for head in columns]
    caption = f"{run if len(found) == 1 else 'All runs'}, {kind}: bits gained per target from the "
    caption += "cue, with 95% intervals. All before: from all text up to the end of the cue. "
    caption += "Untrained: a network of the same shape before training."
    rules = rules_at([row.distance for row in rows], training_limits(found))
    return Table(
        header, [list(cells) for cells in zip(*columns.values(), strict=True)], caption, rules
    )


def _with_interval(head: str, found: Sequence[Estimate | None]) -> dict[str, list[str]]:
    """Return a column of values and one of their intervals, under different keys."""
    intervals = [between(one, 2) if one else "" for one in found]
    return {head: [*map(_value, found)], f"95% {head}": intervals}


def _details(run: str, result: MinedResult) -> Details:
    header = ["distance", "cases", "bits", "gain", "all text before", f"over {result.ngram}"]
    tables = []
    for kind in dict.fromkeys(row.kind for row in result.rows if row.gain):
        rows = []
        for row in result.of_kind(kind):
            found = (row.target_bits, row.gain, row.before, row.over_ngram, row.untrained)
            rows.append([row.distances(), str(row.cases), *(estimate(one, 2) for one in found)])
        caption = f"{run}, {kind}: bits per target and what it gains, with 95% intervals."
        tables.append(Table([*header, "untrained gain"], rows, caption))
    return Details(f"{run}: all intervals", tables)


def _value(found: Estimate | None) -> str:
    return f"{found.value:.2f}" if found else NO_NUMBER


def _draw(found: Found, size: Size, title: str) -> Drawing:
    figure = figures.new_figure(size)
    axes = figure.add_subplot()
    styles = [LEAD] if len(found) == 1 else figures.curve_styles()
    measured = set()
    for (run, result), style in zip(found.items(), styles, strict=False):
        for kind, marker in zip(KINDS, "os", strict=True):
            rows = [row for row in result.of_kind(kind) if row.gain]
            if not rows:
                continue
            measured |= {row.distance for row in rows}
            middles = [(row.distance * (row.distance_most + 1)) ** 0.5 for row in rows]
            curves = [("from the cue", [row.gain for row in rows], style)]
            if len(found) == 1 and any(row.untrained for row in rows):
                curves.insert(0, ("untrained", [row.untrained for row in rows], CONTROL))
            if len(found) == 1 and result.ngram:
                over = [row.over_ngram for row in rows]
                curves.insert(0, (f"over a {result.ngram}", over, NGRAM))
            whose = "" if len(found) == 1 else f"{run}, "
            for name, gained, look in curves:
                label = f"{whose}{kind}, {name}"
                figures.curve(axes, middles, gained, label, **look | {"marker": marker})
    axes.axhline(0, color=INK, linewidth=1, label="no gain")
    distances = [*sorted(measured), 2 * max(measured)]
    limits = training_limits(found)
    figures.limits(axes, distances, limits, size)
    figures.powers_of_two(axes, distances)
    figures.dress(axes, size, "characters between cue and target", "bits gained per target")
    figures.finish(figure, size, title)
    return figure


def columns(result: MinedResult) -> dict[str, dict[int, str]]:
    """Return the gain by distance of each kind that has enough cases, for a summary."""
    found = {
        f"gain, {kind}": {
            row.distance: estimate(row.gain, 2) for row in result.of_kind(kind) if row.gain
        }
        for kind in KINDS
    }
    return {head: cells for head, cells in found.items() if cells}
