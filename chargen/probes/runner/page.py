"""Everything that the instruments found in several runs, as one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from chargen.probes import TITLES
from chargen.probes.runner import ProbedRuns
from chargen.probes.runner import table as runs_tables
from chargen.probes.runner.plot import templates_runs_figure
from chargen.probes.runner.probed import sections
from chargen.probes.templates import page as page_templates
from chargen.probes.templates.comparison import PairComparison
from chargen.probes.templates.page import NAME
from chargen.probes.templates.result import TemplatesResult
from chargen.render import page_parts as parts
from chargen.render.figures import PAGE
from chargen.render.page_parts import Glance
from chargen.render.text import counted, listed

TITLE = "Which remembers farther?"
MEANING = (
    "All were asked the same sentences. One is called better than another only where a test of "
    "sentence by sentence, corrected for how many spans and pairs were looked at, says so."
)
COMPARED = (
    "Two runs are compared on the sentences of which one alone is right (McNemar’s exact test). "
    "With many spans and pairs some would seem to differ by chance: p is corrected for that after "
    "Holm. A run is one trained model; what is found says nothing about others of its kind."
)
SHOWN = (
    "Right answers by span, a curve a run. Bars are 95 % intervals, the level line is chance, a "
    "hollow diamond stands at a run’s span50 where that lies within the spans. The upright lines "
    "say how far training went."
)


def runs_page(probed: ProbedRuns) -> str:
    """The page, HTML: which run remembers farther, then each instrument with its numbers.

    It asks for nothing on the network, and of the same ``probed`` it is the same. matplotlib
    draws its figures.
    """
    said = f"{counted(len(probed.runs), 'run')}: {listed([run.run for run in probed.runs])}"
    told = [_templates(_called_shortly(probed))] if probed.results() else []
    told += map(parts.built, sections(probed.runs, probed.context))
    left_out = parts.warnings(probed.warnings)
    glances = [glance for glance, _ in told]
    return parts.page(TITLE, said, glances, left_out, *(section for _, section in told))


def _called_shortly(probed: ProbedRuns) -> ProbedRuns:
    """The same with every run called as in a column."""
    names = runs_tables.short_names([run.run for run in probed.runs])
    runs = tuple(replace(run, run=names[run.run]) for run in probed.runs)
    templates = tuple(
        replace(one, first=names[one.first], second=names[one.second]) for one in probed.templates
    )
    return replace(probed, runs=runs, templates=templates)


def _templates(probed: ProbedRuns) -> tuple[Glance, str]:
    results = probed.results()
    known = {run: result for run, result in results.items() if not result.refusal}
    finding = f"asked the same sentences, {probed.finding()}"
    asked = next(iter((known or results).values()))
    section = parts.section(
        NAME,
        TITLES[NAME],
        parts.finding(finding),
        parts.paragraph(page_templates.ASKED + page_templates.question(asked)),
        *(_by_span(known, finding) if known else []),
        parts.rows(runs_tables.run_rows(results), "How far each was trained, and its span50."),
        *(_compared(probed.templates) if probed.templates else []),
        parts.findings(results),
        page_templates.explained(asked),
    )
    return Glance(NAME, TITLES[NAME], finding, MEANING), section


def _by_span(known: Mapping[str, TemplatesResult], finding: str) -> list[str]:
    drawn = templates_runs_figure(known, size=PAGE)
    names = runs_tables.short_names(list(known))
    rows = runs_tables.span_rows(known, names)
    spans = [row.span for row in next(iter(known.values())).rows]
    for span, cells in zip(spans, rows[1:], strict=True):
        cells[-1] = ", ".join(filter(None, [cells[-1], parts.beyond(span, known)]))
    return [
        parts.figure(drawn, NAME, f"Right answers by span: {finding}", SHOWN),
        parts.rows(rows, " ".join(runs_tables.TEMPLATES_LEGEND)),
        parts.rows(runs_tables.control_rows(known, names), runs_tables.CONTROLS_LEGEND),
    ]


def _compared(pairs: Sequence[PairComparison]) -> list[str]:
    names = {name: name for pair in pairs for name in (pair.first, pair.second)}
    tables = (
        parts.rows(runs_tables.pair_rows(pair, names), runs_tables.pair_name(pair, names))
        for pair in pairs
    )
    legend = parts.faint(" ".join(runs_tables.PAIRS_LEGEND))
    return [parts.heading("Run against run"), parts.paragraph(COMPARED), *tables, legend]
