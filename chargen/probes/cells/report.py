"""Report of a cell comparison: seeds that solve the task, accuracy by span, and the runs."""

from collections.abc import Callable
from typing import Any

from chargen.probes.cells.result import SOLVED, CellComparison, CellSummary, VariantSummary
from chargen.render import report as kit
from chargen.render.by_distance import Series, chart, styles, table
from chargen.render.figures import INK, Axes
from chargen.render.text import counted, listed

TITLE, MAIN_FIGURE = "Cells compared", "accuracy"
SEED: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.45}
METHOD = (
    "Every cell has one layer with about the same number of weights, and the same budget and "
    "corpus. Several learning rates are each tried once, with a seed that is not reported; the one "
    "with the lowest validation loss is used.",
    "One run is one observation, however many trials it answers. The share of seeds has the "
    "interval of Clopper and Pearson, a mean over seeds Student's; where all seeds solve a span, "
    "or none does, it also covers the seeds that did not occur. The median span50 has the interval "
    "of the sign test, from five seeds on. Within one run, rounds of trials are independent.",
    "In every round of trials each candidate is correct equally often. A trial follows other text "
    "of the task. Untrained networks of the same shapes answer the same trials.",
    "All seeds read the same corpus in the same order. A result for one number of weights and one "
    "budget need not hold for another, and none shows how much memory natural text requires.",
)


def report(result: CellComparison) -> list[kit.Section]:
    best = min(result.cells, key=lambda cell: cell.bits_per_char.value)
    over = "Student's over seeds" if result.seeds > 1 else "over rounds of trials, for this seed"
    notes = (
        f"{counted(result.seeds, 'run')} of each cell, {result.budget} each on "
        f"{counted(result.threads, 'thread')}, trained on "
        f"{counted(result.trained_timesteps, 'timestep')}. Intervals: {over}."
    )
    solved = f"Solved: an accuracy of {SOLVED:.0%} or more at every span up to the training length."
    variants = [block for place in range(len(best.variants)) for block in _variant(result, place)]
    bits = f"{best.bits_per_char.value:.4f} bits per character"
    lowest = f"lowest validation loss: {best.cell}, {bits}"
    title, meaning = f"Accuracy by span: {result.task}", f"{solved} {result.claims()}"
    blocks: list[kit.Block] = [*variants, kit.Text(notes, "note")]
    runs: list[kit.Block] = [_cells(result), kit.method(METHOD)]
    loss = "A lower validation loss does not imply a longer memory."
    return [
        kit.Section("spans", title, result.finding(), meaning, blocks),
        kit.Section("cells", "Cells and runs", lowest, loss, runs),
    ]


def about(result: CellComparison) -> str:
    return f"{counted(result.seeds, 'seed')}, {result.budget} each; trials of seed {result.seed}"


def _variant(result: CellComparison, place: int) -> tuple[kit.Figure, kit.Table]:
    by_cell = {cell.cell: cell.variants[place] for cell in result.cells}
    first, *_ = by_cell.values()
    chars, looks = [row.span_chars for row in first.spans], styles(by_cell)
    series = [
        Series(cell, chars, [row.accuracy for row in variant.spans], looks[cell])
        for cell, variant in by_cell.items()
    ]
    columns = {"span": [*map(str, chars)]}
    for rows in zip(*(variant.spans for variant in by_cell.values()), strict=True):
        controls = [row.untrained.accuracy.value for row in rows if row.untrained]
        mean = f"{100 * sum(controls) / len(controls):.1f}" if controls else kit.NO_NUMBER
        columns.setdefault("untrained", []).append(mean)
    longest = result.longest_trained_span_chars
    limits = [*kit.training_limits({"": result}), (longest, f"longest trained span ({longest})")]

    def draw(axes: Axes) -> None:
        axes.axhline(first.chance, color=INK, linewidth=1, label=f"chance, {first.chance:.1%}")
        for cell, variant in by_cell.items():
            for by_seed in zip(*(row.accuracy_by_seed for row in variant.spans), strict=True):
                axes.plot(chars, by_seed, color=looks[cell]["color"], **SEED)
        axes.set_ylim(-0.02, 1.04)
        axes.yaxis.set_major_formatter(lambda value, place: f"{value:.0%}")

    label = f", {first.variant}" if first.variant else ""
    drawn = chart(series, chars, limits, ("span in characters", "accuracy"), draw)
    name = MAIN_FIGURE if place == 0 else f"{MAIN_FIGURE}-{first.variant.replace(' ', '-')}"
    about = f"{result.task}{label}: accuracy by span of {listed([*by_cell])}"
    caption = "Thick lines: mean over seeds with its 95% interval. Thin lines: single seeds."
    accuracy = f"Accuracy in % by span in characters{label}; chance is {first.chance:.1%}."
    below = table(columns, series, kit.percent, accuracy, kit.rules_at(chars, limits))
    return kit.Figure(name, drawn, about, caption), below


def _cells(result: CellComparison) -> kit.Table:
    def by_variant(cell: CellSummary, text: Callable[[VariantSummary], str]) -> str:
        return ", ".join(f"{one.variant}: {text(one)}".removeprefix(": ") for one in cell.variants)

    caption = (
        "bits/char: validation loss, mean over seeds. chars/s: training speed, median. span50: the "
        "span at which accuracy has fallen half-way from its ceiling to chance, median."
    )
    header = ["cell", "units", "weights", "learning rate", "bits/char", "95%", "chars/s", "solved"]
    rows = [
        [
            cell.cell,
            "+".join(map(str, cell.units)),
            f"{cell.parameters:,}",
            f"{cell.learning_rate:g}",
            f"{cell.bits_per_char.value:.4f}",
            kit.between(cell.bits_per_char, 4) if result.seeds > 1 else kit.NO_NUMBER,
            f"{cell.chars_per_second:,}",
            by_variant(cell, VariantSummary.solved_text),
            by_variant(cell, lambda one: one.span50),
        ]
        for cell in result.cells
    ]
    return kit.Table([*header, "span50"], rows, caption)
