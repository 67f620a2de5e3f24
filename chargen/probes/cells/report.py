"""Report of a cell comparison: accuracy by span, the cells and their budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chargen.probes.cells.result import SOLVED, CellComparison, CellSummary
from chargen.render import figures
from chargen.render.figures import Size
from chargen.render.report import (
    NO_NUMBER,
    Details,
    Figure,
    Section,
    Table,
    Text,
    between,
    method,
    percent,
    rules_at,
    training_limits,
)
from chargen.render.text import counted, visible_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

ENOUGH = 5  # minimum runs per cell for a claim about a difference
TITLE = "Cells compared"
MAIN_FIGURE = "accuracy"
METHOD = (
    "Every cell has one layer with as many units as give about the same number of weights, and the "
    "same budget and corpus. With several learning rates, each cell is trained once with each "
    "rate and a seed that is not reported, and uses the rate with the lowest validation loss.",
    "One run is one observation, however many trials it answers. Intervals come from a bootstrap "
    "over seeds, then over trials; the trials of a round are resampled together.",
    "In every round of trials each candidate is correct equally often: a constant answer has "
    "chance accuracy. A trial follows other text of the task, whose length does not depend on the "
    "span. Untrained networks of the same shapes answer the same trials.",
    "A result for one number of weights and one budget need not hold for another.",
    "All seeds read the same corpus in the same order; they differ in their initial weights.",
    "A task shows what a cell can learn to remember. It does not show how much memory natural "
    "text requires.",
)


def report(result: CellComparison) -> list[Section]:
    """Return the report of a comparison."""
    cells = result.cells
    best = min(cells, key=lambda cell: cell.bits_per_char.value)
    spans: list[Figure | Table | Details | Text] = [_figure(result)]
    for place in range(len(cells[0].variants)):
        spans += [_accuracy_table(result, place), _seeds_table(result, place)]
    return [
        Section(
            "spans",
            f"Accuracy by span: {result.task}",
            result.finding(),
            f"Mean accuracy over seeds of at least {SOLVED:.0%}: "
            f"{'; '.join(map(_reached, cells))}.",
            [*spans, Text(_notes(result), "note")],
        ),
        Section(
            "cells",
            "Cells and runs",
            f"{best.cell} has the lowest validation loss, {best.bits_per_char.value:.4f} bits per "
            "character",
            "A lower validation loss does not imply a longer memory.",
            [
                _cells_table(result),
                Details("Every run", [_runs_table(result)]),
                *_tuning(result),
                method(METHOD),
            ],
        ),
    ]


def about(result: CellComparison) -> str:
    """Return seeds, budget and trials in one line."""
    return f"{counted(result.seeds, 'seed')}, {result.budget} each; trials of seed {result.seed}"


def _limits(result: CellComparison) -> list[tuple[int, str]]:
    longest = result.longest_trained_span
    return [
        *training_limits({"": result}),
        (longest, f"longest trained span ({longest})"),
    ]


def _accuracy_table(result: CellComparison, place: int) -> Table:
    """Return accuracy by span, one column per cell, for one variant."""
    variants = [cell.variants[place] for cell in result.cells]
    first = variants[0].first
    untrained = [variant.untrained for variant in variants if variant.untrained]
    rows = []
    for row, span in enumerate(first.spans):
        means = [one[row].share for one in untrained]
        control = f"{100 * sum(means) / len(means):.1f}" if means else NO_NUMBER
        rows.append(
            [
                str(span),
                *(percent(variant.accuracy[row]) for variant in variants),
                control,
                f"{100 * first.chance:.1f}",
            ]
        )
    header = ["span", *(cell.cell for cell in result.cells), "untrained", "chance"]
    label = f", {first.variant}" if first.variant else ""
    return Table(
        header,
        rows,
        f"Accuracy in % by span in characters{label}: mean over seeds with its 95% interval.",
        rules_at(first.spans, _limits(result)),
    )


def _seeds_table(result: CellComparison, place: int) -> Details:
    first = result.cells[0].variants[place].first
    rows = [
        [cell.cell, str(seed), *(f"{100 * x:.1f}" for x in scores.accuracy)]
        for cell in result.cells
        for seed, scores in enumerate(cell.variants[place].scores)
    ]
    summary = f"Every seed, {first.variant}" if first.variant else "Every seed"
    table = Table(["cell", "seed", *map(str, first.spans)], rows, "Accuracy in % by span.")
    return Details(summary, [table])


def _cells_table(result: CellComparison) -> Table:
    header = ["cell", "units", "weights", "learning rate", "bits/char", "95% interval", "chars/s"]
    return Table(
        [*header, "solved", "span50"],
        [
            [
                cell.cell,
                "+".join(map(str, cell.units)),
                f"{cell.parameters:,}",
                f"{cell.learning_rate:g}",
                f"{cell.bits_per_char.value:.4f}",
                between(cell.bits_per_char, 4) if len(cell.runs) > 1 else NO_NUMBER,
                f"{cell.chars_per_second:,.0f}",
                ", ".join(f"{sum(v.solved)}/{len(v.solved)}" for v in cell.variants),
                ", ".join(
                    f"{v.first.variant}: {v.span50}" if v.first.variant else v.span50
                    for v in cell.variants
                ),
            ]
            for cell in result.cells
        ],
        "bits/char: validation loss, mean over seeds. chars/s: training speed, median over seeds.",
    )


def _runs_table(result: CellComparison) -> Table:
    rows = [
        [
            cell.cell,
            str(seed),
            f"{run.bits_per_char:.4f}",
            f"{run.chars:,}",
            f"{run.seconds:.0f}",
            "diverged" if run.diverged else "",
        ]
        for cell in result.cells
        for seed, run in enumerate(cell.runs)
    ]
    return Table(["cell", "seed", "bits/char", "chars read", "seconds", ""], rows)


def _tuning(result: CellComparison) -> list[Details]:
    rows = [
        [
            cell.cell,
            f"{rate:g}",
            "diverged" if bits is None else f"{bits:.4f}",
            "selected" if rate == cell.learning_rate else "",
        ]
        for cell in result.cells
        for rate, bits in cell.tuning.items()
    ]
    table = Table(["cell", "learning rate", "bits/char", ""], rows)
    return [Details("Learning rates tried", [table])] if rows else []


def _notes(result: CellComparison) -> str:
    """Return the conditions of the numbers and the definitions of the terms."""
    seeds, rates = result.seeds, len(result.cells[0].tuning)
    over = "seeds, then trials" if seeds > 1 else "trials only"
    few = "" if seeds >= ENOUGH else f" Fewer than {ENOUGH} runs per cell show no difference."
    tuned = f"the best of {rates} learning rates" if rates else "the same learning rate for all"
    return (
        f"{counted(seeds, 'run')} of each cell, {result.budget} each on "
        f"{counted(result.threads, 'thread')}, {tuned}. Intervals: bootstrap over {over}. "
        "untrained: networks of the same shapes before training. solved: seeds with an accuracy "
        f"of at least {SOLVED:.0%} at every span up to {result.trained_timesteps}, the training "
        "length. span50: the span at which accuracy has fallen half-way from its ceiling to "
        f"chance, median over seeds.{few}"
    )


def _reached(cell: CellSummary) -> str:
    """Return the longest span up to which a cell stays at `SOLVED`, in its hardest variant."""
    variant = cell.variants[-1]
    last = None
    for span, accuracy in zip(variant.first.spans, variant.accuracy, strict=True):
        if accuracy.value < SOLVED:
            break
        last = span
    label = f" ({variant.first.variant})" if variant.first.variant else ""
    reached = f"up to {counted(last, 'character')}" if last else "at no span"
    return f"{cell.cell}{label} {reached}"


def _figure(result: CellComparison) -> Figure:
    cells = ", ".join(cell.cell for cell in result.cells)
    return Figure(
        MAIN_FIGURE,
        lambda size, title: _draw(result, size, title),
        f"{result.task}: accuracy by span of {cells}",
        "Thick lines: mean over seeds with its 95% interval. Thin lines: single seeds.",
    )


def _draw(result: CellComparison, size: Size, title: str) -> Drawing:
    """Draw accuracy by span, one panel per variant."""
    variants = len(result.cells[0].variants)
    across = min(size.panels_across, variants)
    rows = -(-variants // across)
    figure = figures.new_figure(size, rows)
    panels: list[Axes] = list(figure.subplots(rows, across, sharey=True, squeeze=False).ravel())
    for place, axes in enumerate(panels):
        _draw_panel(axes, result, place, size)
        if variants > 1:
            name = result.cells[0].variants[place].first.variant
            axes.set_title(visible_line(name), fontsize=size.text, pad=18, parse_math=False)
            if size.wide:  # labels of neighboring ticks would touch
                axes.tick_params(axis="x", labelsize=size.small - 1, rotation=60)
    panels[-1 - across // 2].set_xlabel("span in characters", fontsize=size.text)
    panels[0].set_ylabel("accuracy, with 95% intervals", fontsize=size.text)
    figures.finish(figure, size, title)
    return figure


def _draw_panel(axes: Axes, result: CellComparison, place: int, size: Size) -> None:
    first = result.cells[0].variants[place].first
    levels = {100 * variant.first.chance for variant in result.cells[0].variants}
    label = f"chance, {levels.pop():.1f}%" if len(levels) == 1 else "chance"
    axes.axhline(first.chance, color=figures.INK, linewidth=1, label=label)
    styles = list(zip(result.cells, figures.curve_styles(), strict=False))
    for cell, style in reversed(styles):  # the legend lists the last curve first
        variant = cell.variants[place]
        for scores in variant.scores:
            color = style["color"]
            axes.plot(scores.spans, scores.accuracy, color=color, linewidth=0.7, alpha=0.45)
        figures.curve(axes, first.spans, variant.accuracy, cell.cell, **style)
    figures.limits(axes, first.spans, _limits(result), size)
    figures.powers_of_two(axes, first.spans)
    axes.set_ylim(-0.02, 1.04)
    tenths = range(0, 11, 2)
    axes.set_yticks([tenth / 10 for tenth in tenths], [f"{10 * tenth}%" for tenth in tenths])
    figures.dress(axes, size, "", "")
