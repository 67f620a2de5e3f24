"""Cells compared, as pictures. matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from chargen.probes.cells.result import CompareResult
from chargen.render import figures as drawing
from chargen.render.figures import PICTURE, Size
from chargen.render.text import counted, visible_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (drawing.OTHER, drawing.THIRD, drawing.MODEL, drawing.FOURTH)
MARKERS = "sDo^"
FAR = "span: characters from what must be remembered to its place"


def save_comparison_plot(result: CompareResult, path: str | Path, title: str = "") -> None:
    """Write accuracy against span to ``path``, a PNG of 1440 × 900 pixels, a panel a variant."""
    places = range(len(result.cells[0].variants))
    drawing.save(comparison_figure(result, places, PICTURE, title), path)


def comparison_figure(
    result: CompareResult, places: Sequence[int], size: Size = PICTURE, title: str = ""
) -> Figure:
    """Accuracy by span of every cell in the variants at ``places``, drawn without any display.

    Thick lines are means over seeds with their 95 % intervals, thin ones the seeds. Lines mark
    chance, the length that gradients travelled in training and the longest span of the corpus.
    """
    figure = drawing.new_figure(size)
    panels = figure.subplots(1, len(places), sharey=True, squeeze=False)[0]
    for axes, place in zip(panels, places, strict=True):
        _draw_panel(axes, result, place, size)
        if len(places) > 1:
            name = result.cells[0].variants[place].first.variant
            axes.set_title(visible_line(name), fontsize=size.text, parse_math=False)
    middle = panels[len(places) // 2]
    middle.set_xlabel(FAR if size.wide else "span, characters", fontsize=size.text)
    panels[0].set_ylabel("right answers, with 95 % intervals", fontsize=size.text)
    variant = result.cells[0].variants[places[0]].first.variant if len(places) == 1 else ""
    drawing.finish(figure, size, title or _title(result, variant))
    return figure


def _draw_panel(axes: Axes, result: CompareResult, place: int, size: Size) -> None:
    first = result.cells[0].variants[place].first
    axes.axhline(first.chance, color=drawing.INK, linewidth=1, label=_chance(result))
    limits = {
        result.longest_trained_span: f"longest trained span {result.longest_trained_span}",
        result.trained_timesteps: f"--timesteps {result.trained_timesteps}",
    }
    for limit, text in limits.items():
        if first.spans[0] <= limit <= first.spans[-1]:
            drawing.mark(axes, limit, text, size, at="bottom")
    _draw_cells(axes, result, place)
    drawing.powers_of_two(axes, first.spans)
    axes.set_ylim(-0.02, 1.04)
    tenths = range(0, 11, 2)
    axes.set_yticks([tenth / 10 for tenth in tenths], [f"{10 * tenth} %" for tenth in tenths])
    drawing.dress(axes, size, "", "")
    if len(result.cells[0].variants) > 1 and size.wide:  # narrow panels: numbers would touch
        axes.tick_params(axis="x", labelsize=size.small - 1, rotation=60)


def _chance(result: CompareResult) -> str:
    floors = {100 * variant.first.chance for variant in result.cells[0].variants}
    return f"chance, {floors.pop():.1f} %" if len(floors) == 1 else "chance"


def _draw_cells(axes: Axes, result: CompareResult, place: int) -> None:
    styles = zip(result.cells, cycle(COLOURS), cycle(MARKERS), strict=False)
    for cell, colour, marker in reversed(list(styles)):  # the legend names the last drawn first
        variant = cell.variants[place]
        for answers in variant.answers:
            axes.plot(answers.spans, answers.accuracy, color=colour, linewidth=0.7, alpha=0.45)
        style = {"color": colour, "marker": marker, "linewidth": 2.2, "markersize": 5}
        drawing.curve(axes, variant.first.spans, variant.accuracy, cell.cell, **style)


def _title(result: CompareResult, variant: str) -> str:
    named = f", {variant}" if variant else ""
    return f"{result.task}{named}: {counted(result.seeds, 'seed')}, {result.budget} each"
