"""What instruments (b) and (c) found in several runs, as sections of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chargen.probes import TITLES
from chargen.probes.context import page as page_context
from chargen.probes.context.measure import ContextResult
from chargen.probes.context.paired import BitsComparison
from chargen.probes.gradient import page as page_gradient
from chargen.probes.gradient.result import GradientResult
from chargen.probes.mined.mining import CLOSERS, WORDS
from chargen.probes.mined.result import MinedResult
from chargen.probes.runner import table as runs_tables
from chargen.probes.runner.plot import context_runs_figure
from chargen.render import html
from chargen.render import page_parts as parts
from chargen.render.figures import PAGE
from chargen.render.page_parts import Glance

LOST = (
    "Bits a character lost with only so many in view (swap), a curve a run. Bars are 95 % "
    "intervals; under the dotted line a loss counts as none."
)
MEANT = (
    "With so many characters in view each predicts this text as well as with all of it, to within "
    "1 % of perplexity. It is no score: to use more is not yet to predict better."
)

Pairs = Mapping[str, tuple[ContextResult, ContextResult]]
Flows = Mapping[str, tuple[GradientResult, GradientResult]]


def context_part(pairs: Sequence[BitsComparison], found: Pairs) -> tuple[Glance, str]:
    """What truncation costs each run, by what it is called."""
    name = page_context.CONTEXT
    trained = {run: pair[0] for run, pair in found.items()}
    rows = runs_tables.context_rows(found)
    said = "; ".join(
        f"{run} {one[-1] or _between(*one[1:3])}" for run, one in zip(found, rows[1:], strict=True)
    )
    glance = Glance(name, TITLES[name], f"characters of context used: {said}", MEANT)
    bits = runs_tables.bits_rows(pairs, dict(zip(found, found, strict=True))) if pairs else []
    section = parts.section(
        name,
        TITLES[name],
        parts.finding(glance.finding),
        parts.paragraph(page_context.CONTEXT_ASKED),
        *_lost(trained, glance.finding),
        parts.rows(rows, " ".join(runs_tables.CONTEXT_LEGEND)),
        parts.rows(bits, "Paired: what the first pays more than the second.") if bits else "",
        parts.findings(trained),
        page_context.context_explained(next(iter(trained.values()))),
    )
    return glance, section


def _between(value: str, interval: str) -> str:
    return f"{value} (95 %: {interval})"


def _lost(trained: Mapping[str, ContextResult], finding: str) -> list[str]:
    known = {run: result for run, result in trained.items() if result.rows}
    if not known:
        return []
    drawn = context_runs_figure(known, size=PAGE)
    columns = zip(*(result.rows for result in known.values()), strict=True)
    rows = [
        [str(row[0].context), *(parts.estimate(one.swap, 4) for one in row), parts.beyond(n, known)]
        for row in columns
        for n in [row[0].context]
    ]
    caption = "Bits a character lost (swap), with 95 % intervals."
    return [
        parts.figure(drawn, page_context.CONTEXT, f"Bits lost by context: {finding}", LOST),
        html.table(["in view", *known, ""], rows, caption),
    ]


def mined_part(found: Mapping[str, MinedResult]) -> tuple[Glance, str]:
    """What each run, by what it is called, gains from a cue."""
    name = page_context.MINED
    said = "; ".join(f"{run}: {result.finding()}" for run, result in found.items())
    glance = Glance(name, TITLES[name], f"gained from a cue, {said}", page_context.MINED_MEANING)
    section = parts.section(
        name,
        TITLES[name],
        parts.paragraph(page_context.MINED_ASKED),
        *(_mined_kind(found, kind) for kind in (WORDS, CLOSERS)),
        parts.faint(" ".join(runs_tables.MINED_LEGEND)),
        parts.findings(found),
        page_context.mined_explained(next(iter(found.values()))),
    )
    return glance, section


def _mined_kind(found: Mapping[str, MinedResult], kind: str) -> str:
    rows = runs_tables.mined_rows(found, kind)
    return parts.rows(rows, kind) if rows else parts.paragraph(f"{kind}: {runs_tables.TOO_FEW}.")


def gradient_part(found: Flows) -> tuple[Glance, str]:
    """How far each run's gradient goes, by what it is called."""
    name = page_gradient.NAME
    trained = {run: pair[0] for run, pair in found.items()}
    said = "; ".join(f"{run} {_halves(result)}" for run, result in trained.items())
    finding = f"characters after which half of the gradient is left: {said}"
    glance = Glance(name, TITLES[name], finding, page_gradient.MEANING)
    section = parts.section(
        name,
        TITLES[name],
        parts.paragraph(page_gradient.ASKED),
        parts.rows(runs_tables.gradient_rows(found), " ".join(runs_tables.GRADIENT_LEGEND)),
        parts.findings(trained),
        page_gradient.explained(next(iter(trained.values()))),
    )
    return glance, section


def _halves(result: GradientResult) -> str:
    """The half-life of each layer, the one that reads the characters first."""
    return " and ".join(result.distance(layer.half_life) for layer in result.layers)
