"""How a training goes, as pictures. matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chargen.render import figures as drawing
from chargen.render.figures import GREY, INK, MODEL, OTHER, THIRD

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = replace(drawing.PAGE, height=3.6)
SMALL = replace(SIZE, height=2.9)
MOST = 400  # points of a curve
LARGEST = 1e30  # that is drawn: a picture's arithmetic ends before that of the numbers
Lines = Sequence[dict[str, Any]]  # of progress.jsonl


def thinned(lines: Lines) -> Lines:
    """At most `MOST` of the lines, evenly, the last and the best of them among these."""
    if len(lines) <= MOST:
        return lines
    every = -(-len(lines) // (MOST - 2))
    kept = {len(lines) - 1, lines.index(best(lines)), *range(0, len(lines), every)}
    return [lines[place] for place in sorted(kept)]


def best(lines: Lines) -> dict[str, Any]:
    """The line with the lowest validation loss, the first of several."""
    return min(lines, key=lambda line: float(line["validation_loss_nats"]))


def _column(lines: Lines, name: str) -> list[float]:
    return [min(max(float(line[name]), -LARGEST), LARGEST) for line in lines]


def loss_figure(lines: Lines, floor_nats: float | None, floor_name: str) -> Figure:
    """Training and validation loss against steps, the best marked, and the floor to be beaten."""
    figure = drawing.new_figure(SIZE)
    axes = figure.add_subplot()
    least, shown = best(lines), thinned(lines)
    steps = _column(shown, "step")
    if floor_nats is not None:
        style: dict[str, Any] = {"color": THIRD, "linestyle": "--", "linewidth": 1.4}
        axes.axhline(floor_nats, label=f"{floor_name}, the floor", **style)
    training = _column(shown, "train_loss_nats")
    axes.plot(steps, training, color=GREY, linewidth=1.2, label="training")
    losses = _column(shown, "validation_loss_nats")
    axes.plot(steps, losses, color=MODEL, linewidth=2, label="validation")
    place = (_column([least], name) for name in ("step", "validation_loss_nats"))
    axes.plot(*place, "o", color=OTHER, markersize=6, label="best")
    drawing.dress(axes, SIZE, "step", "nats a character")
    drawing.finish(figure, SIZE, "")
    return figure


def rate_figure(lines: Lines) -> Figure:
    """The learning rate against steps."""
    figure = drawing.new_figure(SMALL)
    axes = figure.add_subplot()
    shown = thinned(lines)
    steps, rates = (_column(shown, name) for name in ("step", "learning_rate"))
    axes.plot(steps, rates, color=MODEL, linewidth=1.6, label="learning rate")
    axes.set_ylim(bottom=0)
    drawing.dress(axes, SMALL, "step", "")
    drawing.finish(figure, SMALL, "")
    return figure


def norm_figure(lines: Lines, clip_norm: float) -> Figure:
    """The gradient's norm before clipping against steps, and what it is cut down to."""
    figure = drawing.new_figure(SMALL)
    axes = figure.add_subplot()
    shown = thinned(lines)
    steps, norms = (_column(shown, name) for name in ("step", "gradient_norm"))
    clipped: dict[str, Any] = {"color": INK, "linestyle": ":", "linewidth": 1.2}
    axes.axhline(min(clip_norm, LARGEST), label=f"cut down to --clip-norm {clip_norm:g}", **clipped)
    axes.plot(steps, norms, color=OTHER, linewidth=1.4, label="gradient's norm before that")
    axes.set_ylim(bottom=0)
    drawing.dress(axes, SMALL, "step", "")
    drawing.finish(figure, SMALL, "")
    return figure
