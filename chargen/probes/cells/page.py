"""Cells compared, as one page that needs nothing else."""

from __future__ import annotations

from chargen.probes.cells.plot import comparison_figure
from chargen.probes.cells.result import CellResult, CompareResult
from chargen.probes.cells.table import cells_rows, legend, spans_rows
from chargen.probes.cells.tasks import SOLVED
from chargen.render import html
from chargen.render import page_parts as parts
from chargen.render.figures import PAGE
from chargen.render.text import counted

TITLE = "Which cell remembers farther?"
METHOD = (
    "Every cell has one layer, as many units as make about the same number of weights, the same "
    "budget and the same text. Where several learning rates are named, each cell is trained once "
    "with each, with a seed that is not reported, and takes the best for its held-out text.",
    "A cell that was trained once is one observation, however many trials it is asked: whether a "
    "training finds the way to remember is a matter of luck as well, and outcomes often fall into "
    "two heaps. So every seed is drawn as a thin line, and the intervals are from a bootstrap over "
    "seeds first, then over trials. The trials of a round say the same but for what is asked, and "
    "are drawn together.",
    "In every round of trials each candidate answer is right equally often, so that a constant "
    "answer scores exactly chance. The trials follow other text of the same kind, whose length "
    "does not depend on the span. Networks that learned nothing are asked the same.",
)
LIMITS = (
    "What holds for one number of weights and one budget need not hold for another.",
    "All seeds read the same text in the same order; they differ in their initial weights.",
    "A task of this kind shows what a cell can learn to keep. It says nothing about how much "
    "ordinary text asks of it.",
)


def comparison_page(result: CompareResult) -> str:
    """The page, HTML, the same for the same ``result``; matplotlib draws its figures."""
    glance = parts.Glance("spans", result.task, result.finding(), _meaning(result))
    about = f"{counted(result.seeds, 'seed')} · {result.budget} each · trials of seed {result.seed}"
    cells = parts.section(
        "cells",
        "The cells",
        html.table(*_headed(cells_rows(result))),
        html.table(["cell", "seed", "bits/char", "chars read", "seconds", ""], _seeds(result)),
        _tuning(result),
        parts.faint(" ".join(legend(result))),
    )
    spans = parts.section("spans", "By span", *(_variant(result, p) for p in _places(result)))
    method = parts.section(
        "method", "How it was measured", *map(parts.paragraph, METHOD), parts.bullets(LIMITS)
    )
    return parts.page(TITLE, about, [glance], spans, cells, method)


def _places(result: CompareResult) -> range:
    return range(len(result.cells[0].variants))


def _headed(rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    return rows[0], rows[1:]


def _variant(result: CompareResult, place: int) -> str:
    name = result.cells[0].variants[place].first.variant
    title = f"{result.task}, {name}" if name else result.task
    drawn = parts.figure(
        comparison_figure(result, [place], PAGE),
        f"spans{place}",
        f"{title}: accuracy by span of {', '.join(cell.cell for cell in result.cells)}",
        "Thick lines: the mean over seeds with its 95 % interval. Thin lines: each seed.",
    )
    table = html.table(*_headed(spans_rows(result, place)), caption="percent right")
    by_seed = html.table(["cell", "seed", *_spans(result, place)], _shares(result, place))
    return (
        (parts.heading(title) if name else "")
        + drawn
        + table
        + parts.details("Every seed", by_seed)
    )


def _spans(result: CompareResult, place: int) -> list[str]:
    return [str(span) for span in result.cells[0].variants[place].first.spans]


def _shares(result: CompareResult, place: int) -> list[list[str]]:
    return [
        [cell.cell, str(one.seed), *(f"{100 * x:.1f}" for x in one.answers[place].accuracy)]
        for cell in result.cells
        for one in cell.trainings
    ]


def _seeds(result: CompareResult) -> list[list[str]]:
    return [
        [
            cell.cell,
            str(one.seed),
            f"{one.bits_per_char:.4f}",
            f"{one.chars:,}",
            f"{one.seconds:.0f}",
            "diverged" if one.diverged else "",
        ]
        for cell in result.cells
        for one in cell.trainings
    ]


def _tuning(result: CompareResult) -> str:
    rows = [
        [
            cell.cell,
            f"{rate:g}",
            "diverged" if bits is None else f"{bits:.4f}",
            "taken" if rate == cell.learning_rate else "",
        ]
        for cell in result.cells
        for rate, bits in cell.tuning.items()
    ]
    header = ["cell", "learning rate", "bits/char", ""]
    return html.table(header, rows, "Learning rates tried") if rows else ""


def _meaning(result: CompareResult) -> str:
    reached = "; ".join(map(_reached, result.cells))
    return f"Right in {SOLVED:.0%} or more, on average over seeds: {reached}."


def _reached(cell: CellResult) -> str:
    """Up to which span, of the variant that asks most."""
    variant = cell.variants[-1]
    last = None
    for span, share in zip(variant.first.spans, variant.accuracy, strict=True):
        if share.value < SOLVED:
            break
        last = span
    named = f" ({variant.first.variant})" if variant.first.variant else ""
    far = f"up to {counted(last, 'character')}" if last else "at no span"
    return f"{cell.cell}{named} {far}"
