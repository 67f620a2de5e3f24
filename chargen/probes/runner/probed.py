"""Everything that the instruments found in one run or several: as text, and as pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from chargen.probes import TITLES
from chargen.probes.context.plot import save_context_plot, save_mined_plot
from chargen.probes.context.table import context_table, mined_table
from chargen.probes.gradient.plot import save_gradient_plot
from chargen.probes.gradient.table import gradient_table
from chargen.probes.runner import TRAINED, UNTRAINED, Probed, ProbedRuns
from chargen.probes.runner.plot import save_context_runs_plot, save_templates_runs_plot
from chargen.probes.runner.table import (
    context_runs_table,
    gradient_runs_table,
    mined_runs_table,
    short_names,
    templates_runs_table,
)
from chargen.probes.templates.plot import save_templates_plot
from chargen.probes.templates.table import demonstration_table, templates_table
from chargen.render.tables import WIDTH

Found = TypeVar("Found")


def probed_text(probed: Probed) -> str:
    """The tables, each under a heading that says what it answers."""
    parts = []
    if probed.templates:
        parts.append(_headed("templates", templates_table(probed.templates)))
    if probed.demonstration:
        parts.append(demonstration_table(probed.demonstration))
    if probed.context:
        table = context_table(probed.context[TRAINED])
        untrained = f"An untrained network: {probed.context[UNTRAINED].finding()}.\n"
        parts.append(_headed("context", table + untrained))
    if probed.mined:
        parts.append(_headed("mined", mined_table(probed.mined)))
    if probed.gradient:
        table = gradient_table(probed.gradient[TRAINED], probed.gradient[UNTRAINED])
        parts.append(_headed("gradient", table))
    return "\n".join(parts)


def runs_text(probed: ProbedRuns) -> str:
    """Several runs side by side: the tables, each under a heading, the templates first."""
    parts = []
    if results := probed.results():
        table = templates_runs_table(results, probed.templates, probed.finding())
        parts.append(_headed("templates", table))
    else:
        parts.append("\n".join(textwrap.wrap(probed.finding(), WIDTH)) + "\n")
    if context := {run.run: pair(run.context) for run in probed.runs if run.context}:
        parts.append(_headed("context", context_runs_table(context, probed.context)))
    if mined := {run.run: run.mined for run in probed.runs if run.mined}:
        parts.append(_headed("mined", mined_runs_table(mined)))
    if flows := {run.run: pair(run.gradient) for run in probed.runs if run.gradient}:
        parts.append(_headed("gradient", gradient_runs_table(flows)))
    return "\n".join(parts)


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
    context = {run.run: run.context[TRAINED] for run in probed.runs if run.context}
    if any(not result.refusal for result in context.values()):
        save_context_runs_plot(context, _beside(path, "context"), title)
        drawn.append(_beside(path, "context"))
    return drawn


def _beside(path: Path, instrument: str) -> Path:
    return path.with_stem(f"{path.stem}-{instrument}")


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
    beside = {name: _beside(path, name) for name in ("context", "mined", "gradient")}
    if probed.context and not probed.context[TRAINED].refusal:
        trained, untrained = pair(probed.context)
        save_context_plot(trained, beside["context"], title, untrained)
        drawn.append(beside["context"])
    if probed.mined and any(row.gain for row in probed.mined.rows):
        save_mined_plot(probed.mined, beside["mined"], title)
        drawn.append(beside["mined"])
    if probed.gradient:
        flows = pair(probed.gradient)
        save_gradient_plot(flows[0], beside["gradient"], flows[1], title)
        drawn.append(beside["gradient"])
    return drawn
