"""Cells compared, as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from chargen.probes.cells.result import CellResult, CompareResult, VariantResult
from chargen.probes.cells.tasks import SOLVED
from chargen.probes.statistics.intervals import Estimate
from chargen.render.tables import WIDTH, aligned
from chargen.render.text import counted, listed

ENOUGH = 5  # trainings of each cell, before anything is said of the difference between two


def comparison_table(result: CompareResult) -> str:
    """One row a cell, then for each variant of the task one row a span and one column a cell."""
    lines = [*textwrap.wrap(result.finding(), WIDTH), "", *aligned(cells_rows(result))]
    for place, variant in enumerate(result.cells[0].variants):
        lines += ["", variant.first.variant] if variant.first.variant else [""]
        lines += aligned(spans_rows(result, place))
    return "\n".join([*lines, "", *legend(result)]) + "\n"


def cells_rows(result: CompareResult) -> list[list[str]]:
    """The header and a row for each cell."""
    header = [
        "cell",
        "units",
        "weights",
        "rate",
        "bits/char",
        "95 %",
        "chars/s",
        "solved",
        "span50",
    ]
    return [header, *map(_cell, result.cells)]


def spans_rows(result: CompareResult, place: int) -> list[list[str]]:
    """Percent right by span, a column a cell, for the variant at ``place``; the header first."""
    variants = [cell.variants[place] for cell in result.cells]
    first = variants[0].first
    header = ["span", *(cell.cell for cell in result.cells), "untrained", "chance", ""]
    limit, untrained = result.trained_timesteps, _untrained(variants)
    corpus = result.longest_trained_span
    rows = []
    for row, span in enumerate(first.spans):
        found = [percent(variant.accuracy[row]) for variant in variants]
        guessed = f"{100 * untrained[row]:.1f}" if untrained else "–"
        beyond = [f"{counted(limit, 'timestep')}"] if span > limit else []
        beyond += ["corpus"] if span > corpus else []
        note = f"beyond {listed(beyond)}" if beyond else ""
        rows.append([str(span), *found, guessed, f"{100 * first.chance:.1f}", note])
    return [header, *rows]


def percent(found: Estimate) -> str:
    """``92.1 (85.0–99.3)``: percent and the 95 % interval over seeds and trials."""
    return f"{100 * found.value:.1f} ({100 * found.low:.1f}–{100 * found.high:.1f})"


def legend(result: CompareResult) -> list[str]:
    """What the numbers mean."""
    seeds, rates = result.seeds, len(result.cells[0].tuning)
    over = "seeds, then trials" if seeds > 1 else "trials alone"
    few = "" if seeds >= ENOUGH else f" Fewer than {ENOUGH} trainings of a cell show no difference."
    tuned = f", the best of {rates} learning rates" if rates else ", the same learning rate for all"
    text = (
        f"{counted(seeds, 'training')} of each cell, {result.budget} each on "
        f"{counted(result.threads, 'thread')}{tuned}. Percent right at each span, mean over "
        f"seeds; intervals of 95 % from a bootstrap over {over}; untrained: networks "
        "of the same shapes that learned nothing. solved: seeds that are right in "
        f"{SOLVED:.0%} at every span up to {result.trained_timesteps}, the length that gradients "
        "travelled. span50: where accuracy is half-way from its ceiling to chance, the median "
        f"over seeds. chars/s: in training, median over seeds.{few}"
    )
    return textwrap.wrap(text, WIDTH)


def _untrained(variants: Sequence[VariantResult]) -> list[float]:
    """Of networks that learned nothing, by span: the mean over cells; empty if not asked."""
    asked = [one.untrained for variant in variants for one in variant.answers if one.untrained]
    return [sum(x.share for x in at) / len(at) for at in zip(*asked, strict=True)]


def _cell(cell: CellResult) -> list[str]:
    bits = cell.bits_per_char
    return [
        cell.cell,
        "+".join(map(str, cell.units)),
        f"{cell.parameters:,}",
        f"{cell.learning_rate:g}",
        f"{bits.value:.4f}",
        f"{bits.low:.4f}–{bits.high:.4f}" if len(cell.trainings) > 1 else "–",
        f"{cell.chars_per_second:,.0f}",
        ", ".join(map(_solved, cell.variants)),
        ", ".join(map(_span50, cell.variants)),
    ]


def _solved(variant: VariantResult) -> str:
    return f"{sum(variant.solved)}/{len(variant.solved)}"


def _span50(variant: VariantResult) -> str:
    named = f"{variant.first.variant}: " if variant.first.variant else ""
    return named + variant.span50
