"""Report of the read-out instrument: accuracy by lag, and answers that follow a patch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from chargen.probes.readout.result import ReadoutResult
from chargen.render import figures
from chargen.render.figures import GREY, INK, Size
from chargen.render.report import (
    NO_NUMBER,
    Block,
    Figure,
    Section,
    Table,
    Text,
    method,
    percent,
    rules_at,
    training_limits,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

NAME, TITLE = "readout", "What the state still holds"
MEANING = "What can be read is stored. Whether the model uses it, context and patching show."
LAGS = (
    "Accuracy in % of reading the character k steps back from the state by linear regression, with "
    "its 95% interval. Majority: the most frequent character. Untrained: from the state of the "
    "network at initialization."
)
PATCHES = (
    "Share in % of answers that follow a state from the same text with another cue, by k, the "
    "characters from the exchanged state to the target, with Wilson's 95% interval. Beyond the cue "
    "nothing differs: that is the share of errors. h, c: only the output or the memory cell."
)
METHOD = (
    "Ridge regression on the first half of the text, scored on the second; the penalty is chosen "
    "within the first half. Intervals are Student's over streams of the second half.",
    "State patching exchanges the state before the rest of the sentence is read.",
)


def section(found: Mapping[str, ReadoutResult]) -> Section:
    """Report one run or several; ``found`` is keyed by the run's short name."""
    findings = [f"{name}: {one.finding()}" for name, one in found.items()]
    finding = findings[0].split(": ", 1)[1] if len(found) == 1 else "; ".join(findings)
    caption = "Accuracy of the read-out by lag, with 95% intervals."
    figure = Figure(NAME, partial(_draw, found), f"Read-out: {finding}", caption)
    blocks: list[Block] = [figure, _by_lag(found)]
    blocks += [_patches(found)] if any(result.patches for result in found.values()) else []
    return Section(NAME, TITLE, finding, MEANING, [*blocks, method(METHOD, Text(MEANING))])


def _by_lag(found: Mapping[str, ReadoutResult]) -> Table:
    rows = []
    for lags in zip(*(result.lags for result in found.values()), strict=True):
        one = lags[0]
        cells = [percent(row.accuracy) for row in lags]
        rows.append([str(one.lag_chars), *cells, percent(one.majority), percent(one.untrained)])
    chars = [row.lag_chars for row in next(iter(found.values())).lags]
    rules = rules_at(chars, training_limits(found))
    return Table(["k", *found, "majority", "untrained"], rows, LAGS, rules)


def _patches(found: Mapping[str, ReadoutResult]) -> Table:
    """Return one row for each distance of each group, with a column for each part of the state."""
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for name, result in found.items():
        for row in result.patches:
            group = f"{row.source}, {row.span_chars}", str(row.distance_chars), str(row.cases)
            cells.setdefault((name, *group), {})[row.part] = percent(row.follows)
    parts = list(dict.fromkeys(part for by_part in cells.values() for part in by_part))
    rows = [
        [*key, *(by_part.get(part, NO_NUMBER) for part in parts), ""]
        for key, by_part in cells.items()
    ]
    return Table(["run", "answers, cue back", "k", "cases", *parts, ""], rows, PATCHES)


def _draw(found: Mapping[str, ReadoutResult], size: Size, title: str) -> Drawing:
    figure = figures.new_figure(size)
    axes = figure.subplots()
    for (name, result), style in zip(found.items(), figures.curve_styles(), strict=False):
        chars = [row.lag_chars + 1 for row in result.lags]  # a logarithmic axis has no 0
        figures.curve(axes, chars, [row.accuracy for row in result.lags], name, **style)
    majority = [row.majority.value for row in result.lags]
    axes.plot(chars, majority, color=INK, linewidth=1, label="most frequent character")
    if any(row.untrained for row in result.lags):
        untrained = [row.untrained for row in result.lags]
        figures.curve(axes, chars, untrained, "untrained", color=GREY)
    figures.limits(axes, chars, training_limits(found), size)
    axes.set_xscale("log", base=2)
    ticks = [lag for lag in (0, 1, 3, 7, 15, 31, 63, 127, 255) if lag < chars[-1]]
    axes.set_xticks([lag + 1 for lag in ticks], [str(lag) for lag in ticks])
    axes.minorticks_off()
    figures.dress(axes, size, "k: steps back from the last character read", "accuracy")
    figures.finish(figure, size, title)
    return figure
