"""Report of a cell comparison: seeds that solve the task, accuracy by span, and the runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from chargen.probes.cells.result import SOLVED, CellComparison, CellSummary, VariantSummary
from chargen.render import figures
from chargen.render.figures import Size
from chargen.render.report import (
    NO_NUMBER,
    Block,
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

TITLE, MAIN_FIGURE = "Cells compared", "accuracy"
METHOD = (
    "Every cell has one layer with as many units as give about the same number of weights, and the "
    "same budget and corpus. With several learning rates, each cell is trained once with each "
    "rate and a seed that is not reported, and uses the rate with the lowest validation loss.",
    "One run is one observation, however many trials it answers. The share of seeds has the "
    "interval of Clopper and Pearson, a mean over seeds Student's; where all seeds solve a span, "
    "or none does, it also covers the seeds that did not occur. The median span50 has the interval "
    "of the sign test, from five seeds on. Within one run, rounds of trials are independent.",
    "In every round of trials each candidate is correct equally often: a constant answer has "
    "chance accuracy. A trial follows other text of the task, whose length does not depend on the "
    "span. Untrained networks of the same shapes answer the same trials.",
    "All seeds read the same corpus in the same order; they differ in their initial weights. A "
    "result for one number of weights and one budget need not hold for another, and none shows how "
    "much memory natural text requires.",
)


def report(result: CellComparison) -> list[Section]:
    """Return the report of a comparison."""
    best = min(result.cells, key=lambda cell: cell.bits_per_char.value)
    names = ", ".join(cell.cell for cell in result.cells)
    caption = "Thick lines: mean over seeds with its 95% interval. Thin lines: single seeds."
    label = f"{result.task}: accuracy by span of {names}"
    tables = [_accuracy(result, place) for place in range(len(result.cells[0].variants))]
    return [
        Section(
            "spans",
            f"Accuracy by span: {result.task}",
            result.finding(),
            f"Solved: an accuracy of at least {SOLVED:.0%} at every span up to the training "
            f"length. {result.claims()}",
            [
                Figure(MAIN_FIGURE, partial(_draw, result), label, caption),
                *tables,
                Text(_notes(result), "note"),
            ],
        ),
        Section(
            "cells",
            "Cells and runs",
            f"{best.cell} has the lowest validation loss, {best.bits_per_char.value:.4f} bits per "
            "character",
            "A lower validation loss does not imply a longer memory.",
            [*_cells(result), method(METHOD)],
        ),
    ]


def about(result: CellComparison) -> str:
    """Return seeds, budget and trials in one line."""
    return f"{counted(result.seeds, 'seed')}, {result.budget} each; trials of seed {result.seed}"


def _limits(result: CellComparison) -> list[tuple[int, str]]:
    longest = result.longest_trained_span_chars
    return [*training_limits({"": result}), (longest, f"longest trained span ({longest})")]


def _accuracy(result: CellComparison, place: int) -> Table:
    """Return the accuracy by span in one variant, a column per cell."""
    variants = [cell.variants[place] for cell in result.cells]
    first, chars = variants[0], variants[0].chars
    label = f", {first.variant}" if first.variant else ""
    columns = {"span": [*map(str, chars)]}
    for cell, variant in zip(result.cells, variants, strict=True):
        columns[cell.cell] = [percent(row.accuracy) for row in variant.spans]
    for rows in zip(*(variant.spans for variant in variants), strict=True):
        controls = [row.untrained.accuracy.value for row in rows if row.untrained]
        mean = f"{100 * sum(controls) / len(controls):.1f}" if controls else NO_NUMBER
        columns.setdefault("untrained", []).append(mean)
    columns["chance"] = [f"{100 * first.chance:.1f}"] * len(chars)
    caption = f"Accuracy in % by span in characters{label}: mean over seeds with its 95% interval."
    rules = rules_at(chars, _limits(result))
    return Table([*columns], [*zip(*columns.values(), strict=True)], caption, rules)


def _cells(result: CellComparison) -> list[Block]:
    """Return the table of cells, and folded, that of runs."""

    def by_variant(cell: CellSummary, text: Callable[[VariantSummary], str]) -> str:
        return ", ".join(
            f"{one.variant}: {text(one)}" if one.variant else text(one) for one in cell.variants
        )

    caption = "bits/char: validation loss, mean over seeds. chars/s: training speed, median."
    header = ["cell", "units", "weights", "learning rate", "bits/char", "95%", "chars/s", "solved"]
    rows = [
        [
            cell.cell,
            "+".join(map(str, cell.units)),
            f"{cell.parameters:,}",
            f"{cell.learning_rate:g}",
            f"{cell.bits_per_char.value:.4f}",
            between(cell.bits_per_char, 4) if result.seeds > 1 else NO_NUMBER,
            f"{cell.chars_per_second:,}",
            by_variant(cell, VariantSummary.solved_text),
            by_variant(cell, lambda one: one.span50),
        ]
        for cell in result.cells
    ]
    runs = []
    for cell in result.cells:
        for tried in cell.tuning:
            rate, bits = tried["learning_rate"], tried["bits_per_char"]
            found = "diverged" if bits is None else f"{bits:.4f}"
            runs.append([cell.cell, f"rate {rate:g}", found, "", "", "tried"])
        for run in cell.trainings:
            numbers = f"{run.bits_per_char:.4f}", f"{run.chars:,}", f"{run.seconds:.0f}"
            runs.append([cell.cell, f"seed {run.seed}", *numbers, "diverged" * run.diverged])
    header_runs = ["cell", "run", "bits/char", "chars read", "seconds", ""]
    return [
        Table([*header, "span50"], rows, caption),
        Details("Every run", [Table(header_runs, runs)]),
    ]


def _notes(result: CellComparison) -> str:
    """Return the conditions of the numbers."""
    over = "Student's over seeds" if result.seeds > 1 else "over rounds of trials, for this seed"
    return (
        f"{counted(result.seeds, 'run')} of each cell, {result.budget} each on "
        f"{counted(result.threads, 'thread')}, trained on "
        f"{counted(result.trained_timesteps, 'timestep')}. Intervals: {over}. span50: the span at "
        "which accuracy has fallen half-way from its ceiling to chance, median over seeds."
    )


def _draw(result: CellComparison, size: Size, title: str) -> Drawing:
    """Draw accuracy by span, one panel per variant."""
    variants = result.cells[0].variants
    across = min(size.panels_across, len(variants))
    rows = -(-len(variants) // across)
    figure = figures.new_figure(size, rows)
    panels: list[Axes] = list(figure.subplots(rows, across, sharey=True, squeeze=False).ravel())
    for place, axes in enumerate(panels):
        _draw_panel(axes, result, place, size)
        if len(variants) > 1:
            name = visible_line(variants[place].variant)
            axes.set_title(name, fontsize=size.text, pad=18, parse_math=False)
            if size.wide:  # labels of neighboring ticks would touch
                axes.tick_params(axis="x", labelsize=size.small - 1, rotation=60)
    panels[-1 - across // 2].set_xlabel("span in characters", fontsize=size.text)
    panels[0].set_ylabel("accuracy, with 95% intervals", fontsize=size.text)
    figures.finish(figure, size, title)
    return figure


def _draw_panel(axes: Axes, result: CellComparison, place: int, size: Size) -> None:
    variants = [cell.variants[place] for cell in result.cells]
    chars, chance = variants[0].chars, variants[0].chance
    levels = {100 * variant.chance for variant in result.cells[0].variants}
    label = f"chance, {levels.pop():.1f}%" if len(levels) == 1 else "chance"
    axes.plot(chars, [chance] * len(chars), color=figures.INK, linewidth=1, label=label)
    for cell, variant, style in zip(result.cells, variants, figures.curve_styles(), strict=False):
        color = style["color"]
        for by_seed in zip(*(row.accuracy_by_seed for row in variant.spans), strict=True):
            axes.plot(chars, by_seed, color=color, linewidth=0.7, alpha=0.45)
        means = [row.accuracy for row in variant.spans]
        figures.curve(axes, chars, means, cell.cell, **style)
    figures.limits(axes, chars, _limits(result), size)
    figures.powers_of_two(axes, chars)
    axes.set_ylim(-0.02, 1.04)
    axes.yaxis.set_major_formatter(lambda value, place: f"{value:.0%}")
    figures.dress(axes, size, "", "")
