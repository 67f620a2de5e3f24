"""Report of a cell comparison: seeds that solve the task, accuracy by span, and the runs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from chargen.probes.cells.result import SOLVED, CellComparison
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
    "of the sign test, from five seeds on. Within one run, rounds of trials are independent, not "
    "the trials of a round.",
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
    blocks: list[Block] = [Figure(MAIN_FIGURE, partial(_draw, result), label, caption)]
    for place in range(len(result.cells[0].variants)):
        blocks += _accuracy(result, place)
    return [
        Section(
            "spans",
            f"Accuracy by span: {result.task}",
            result.finding(),
            f"Solved: an accuracy of at least {SOLVED:.0%} at every span up to the training "
            f"length. {result.claims()}",
            [*blocks, Text(_notes(result), "note")],
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


def _accuracy(result: CellComparison, place: int) -> list[Block]:
    """Return accuracy by span in one variant: a column per cell, and folded, a row per seed."""
    variants = [cell.variants[place] for cell in result.cells]
    first = variants[0]
    label = f", {first.variant}" if first.variant else ""
    rows = []
    for spans in zip(*(variant.spans for variant in variants), strict=True):
        controls = [row.untrained.accuracy.value for row in spans if row.untrained]
        control = f"{100 * sum(controls) / len(controls):.1f}" if controls else NO_NUMBER
        means = [percent(row.accuracy) for row in spans]
        rows.append([str(spans[0].span_chars), *means, control, f"{100 * first.chance:.1f}"])
    seeds = [
        [cell.cell, str(seed), *(f"{100 * row.accuracy_by_seed[seed]:.1f}" for row in one.spans)]
        for cell, one in zip(result.cells, variants, strict=True)
        for seed in range(result.seeds)
    ]
    caption = f"Accuracy in % by span in characters{label}"
    return [
        Table(
            ["span", *(cell.cell for cell in result.cells), "untrained", "chance"],
            rows,
            f"{caption}: mean over seeds with its 95% interval.",
            rules_at(first.chars, _limits(result)),
        ),
        Details(
            f"Every seed{label}",
            [Table(["cell", "seed", *map(str, first.chars)], seeds, f"{caption}.")],
        ),
    ]


def _cells(result: CellComparison) -> list[Block]:
    """Return the table of cells, and folded, those of runs and learning rates."""

    def by_variant(texts: list[tuple[str, str]]) -> str:
        return ", ".join(f"{variant}: {text}" if variant else text for variant, text in texts)

    rows = [
        [
            cell.cell,
            "+".join(map(str, cell.units)),
            f"{cell.parameters:,}",
            f"{cell.learning_rate:g}",
            f"{cell.bits_per_char.value:.4f}",
            between(cell.bits_per_char, 4) if result.seeds > 1 else NO_NUMBER,
            f"{cell.chars_per_second:,}",
            by_variant([(one.variant, one.solved_text()) for one in cell.variants]),
            by_variant([(one.variant, one.span50) for one in cell.variants]),
        ]
        for cell in result.cells
    ]
    runs = [
        [cell.cell, str(run.seed), f"{run.bits_per_char:.4f}", f"{run.chars:,}",
         f"{run.seconds:.0f}", "diverged" if run.diverged else ""]
        for cell in result.cells for run in cell.trainings
    ]  # fmt: skip
    rates = [
        [cell.cell, f"{tried['learning_rate']:g}",
         "diverged" if (bits := tried["bits_per_char"]) is None else f"{bits:.4f}",
         "selected" if tried["learning_rate"] == cell.learning_rate else ""]
        for cell in result.cells for tried in cell.tuning
    ]  # fmt: skip
    caption = "bits/char: validation loss, mean over seeds. chars/s: training speed, median."
    header = ["cell", "units", "weights", "learning rate", "bits/char", "95% interval", "chars/s"]
    header_runs = ["cell", "seed", "bits/char", "chars read", "seconds", ""]
    tuned = Table(["cell", "learning rate", "bits/char", ""], rates)
    return [
        Table([*header, "solved", "span50"], rows, caption),
        Details("Every run", [Table(header_runs, runs)]),
        *([Details("Learning rates tried", [tuned])] if rates else []),
    ]


def _notes(result: CellComparison) -> str:
    """Return the conditions of the numbers and the definitions of the terms."""
    rates = len(result.cells[0].tuning)
    tuned = f"the best of {rates} learning rates" if rates else "the same learning rate for all"
    over = "Student's over seeds" if result.seeds > 1 else "over rounds of trials, for this seed"
    return (
        f"{counted(result.seeds, 'run')} of each cell, {result.budget} each on "
        f"{counted(result.threads, 'thread')}, {tuned}; trained on "
        f"{counted(result.trained_timesteps, 'timestep')}. Intervals: {over}. untrained: networks "
        f"of the same shapes before training. solved: seeds with an accuracy of at least "
        f"{SOLVED:.0%} at every span up to {result.trained_timesteps}. span50: the span at which "
        "accuracy has fallen half-way from its ceiling to chance, median over seeds."
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
    tenths = range(0, 11, 2)
    axes.set_yticks([tenth / 10 for tenth in tenths], [f"{10 * tenth}%" for tenth in tenths])
    figures.dress(axes, size, "", "")
