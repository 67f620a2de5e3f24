"""Everything that the instruments found in one run or several: as text, and as pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec import structs

from chargen.probes import TITLES
from chargen.probes.context import report as context_report
from chargen.probes.context.result import BitsComparison
from chargen.probes.gradient import report as gradient_report
from chargen.probes.mined import report as mined_report
from chargen.probes.runner import TRAINED, UNTRAINED, Probed, ProbedRuns
from chargen.probes.runner.plot import save_templates_runs_plot
from chargen.probes.runner.table import short_names, templates_runs_table
from chargen.probes.templates.plot import save_templates_plot
from chargen.probes.templates.table import demonstration_table, templates_table
from chargen.render.report import Section, save_figures, to_text
from chargen.render.tables import WIDTH

Found = TypeVar("Found")


def sections(runs: Sequence[Probed], comparisons: Sequence[BitsComparison] = ()) -> list[Section]:
    """Return the sections of context, mined and gradient for one run or several."""
    names = short_names([run.run for run in runs])
    parts = []
    if context := {names[run.run]: pair(run.context) for run in runs if run.context}:
        pairs = [
            structs.replace(one, first=names[one.first], second=names[one.second])
            for one in comparisons
        ]
        parts.append(context_report.section(context, pairs))
    if mined := {names[run.run]: run.mined for run in runs if run.mined}:
        parts.append(mined_report.section(mined))
    if flows := {names[run.run]: pair(run.gradient) for run in runs if run.gradient}:
        parts.append(gradient_report.section(flows))
    return parts


def probed_text(probed: Probed) -> str:
    """The tables, each under a heading that says what it answers."""
    parts = []
    if probed.templates:
        parts.append(_headed("templates", templates_table(probed.templates)))
    if probed.demonstration:
        parts.append(demonstration_table(probed.demonstration))
    return "\n".join([*parts, to_text(sections([probed]))])


def runs_text(probed: ProbedRuns) -> str:
    """Several runs side by side: the tables, each under a heading, the templates first."""
    parts = []
    if results := probed.results():
        table = templates_runs_table(results, probed.templates, probed.finding())
        parts.append(_headed("templates", table))
    else:
        parts.append("\n".join(textwrap.wrap(probed.finding(), WIDTH)) + "\n")
    return "\n".join([*parts, to_text(sections(probed.runs, probed.context))])


def pair(found: Mapping[str, Found]) -> tuple[Found, Found]:
    """What was found in a trained network and in an untrained one."""
    return found[TRAINED], found[UNTRAINED]


def _headed(instrument: str, text: str) -> str:
    title = TITLES[instrument]
    return f"{title}\n{'=' * len(title)}\n{text}"


def save_runs_plots(probed: ProbedRuns, path: Path) -> list[Path]:
    """Draw what there is to draw of several runs; returns the pictures' paths.

    The templates are drawn to ``path`` itself, the context beside it, as `save_probed_plots` does.
    """
    title = f"{', '.join(short_names([run.run for run in probed.runs]).values())}: which farther?"
    drawn = []
    if any(not result.refusal for result in probed.results().values()):
        save_templates_runs_plot(probed.results(), path, title)
        drawn.append(path)
    rest = sections(probed.runs, probed.context)
    return drawn + save_figures(rest, path, title, main="templates")


def save_probed_plots(probed: Probed, path: Path) -> list[Path]:
    """Draw what there is to draw; returns the pictures' paths.

    The templates are drawn to ``path`` itself, the other instruments beside it, with their name
    before its ending.
    """
    title = f"{probed.run}: how far back?"
    drawn = []
    if probed.templates and not probed.templates.refusal:
        save_templates_plot(probed.templates, path, title)
        drawn.append(path)
    return drawn + save_figures(sections([probed]), path, title, main="templates")
