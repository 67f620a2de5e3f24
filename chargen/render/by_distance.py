"""Results by distance in one run or several: the same `Series` make a table and a figure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, TypeVar

from chargen.render import figures
from chargen.render.figures import COLORS, LEAD, MARKERS, Axes, Drawing, Interval, Size
from chargen.render.report import Table

Result = TypeVar("Result")


@dataclass(frozen=True)
class Series:
    """Values with their 95% intervals by distance."""

    head: str  # of the column
    chars: Sequence[float]  # distances; 0 has no place on a logarithmic axis
    found: Sequence[Interval | None]
    style: Mapping[str, Any] | None = None  # of the curve, for matplotlib; None: no curve
    label: str = ""  # of the curve; by default ``head``


def finding(
    runs: Mapping[str, Result], alone: Callable[[Result], str], short: Callable[[Result], str]
) -> str:
    """Return the sentence ``alone`` about one run, or ``name: short`` for each of several."""
    if len(runs) == 1:
        return alone(next(iter(runs.values())))
    return "; ".join(f"{run}: {short(result)}" for run, result in runs.items())


def styles(runs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the style of each run's curve, that of the lead for a single one."""
    if len(runs) == 1:
        return dict.fromkeys(runs, LEAD)
    looks = zip(runs, cycle(COLORS), cycle(MARKERS), strict=False)
    return {
        run: {"color": color, "marker": marker, "linewidth": 2, "markersize": 5}
        for run, color, marker in looks
    }


def table(
    first: Mapping[str, Sequence[str]],
    series: Sequence[Series],
    show: Callable[[Interval | None], str],
    caption: str,
    rules: Sequence[tuple[int, str]] = (),
    notes: Sequence[str] | None = None,
) -> Table:
    """Return a table with the columns ``first``, by heading, one for each series, and ``notes``."""
    columns = dict(first) | {one.head: [*map(show, one.found)] for one in series}
    columns[""] = notes or [""] * len(series[0].found)
    return Table([*columns], [*zip(*columns.values(), strict=True)], caption, rules)


def chart(
    series: Sequence[Series],
    ticks: Sequence[int],
    limits: Sequence[tuple[float, str]],
    labels: tuple[str, str],
    draw: Callable[[Axes], object] = lambda axes: None,
) -> Callable[[Size, str], Drawing]:
    """Return the `Figure.draw` of a curve for each series on a logarithmic axis."""

    def fill(axes: Axes, size: Size) -> None:
        for one in reversed(series):
            shown = [found if x else None for x, found in zip(one.chars, one.found, strict=True)]
            if one.style is not None and any(shown):
                figures.curve(axes, one.chars, shown, one.label or one.head, **one.style)
        draw(axes)
        figures.limits(axes, ticks, limits, size)
        figures.powers_of_two(axes, ticks, size)

    return figures.panel(fill, *labels)
