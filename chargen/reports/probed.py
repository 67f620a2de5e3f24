"""Everything that the instruments found in one run: as text, and as pictures."""

from __future__ import annotations

from pathlib import Path

from chargen.probing import TRAINED, UNTRAINED, Probed
from chargen.reports.context_plots import save_context_plot, save_mined_plot
from chargen.reports.context_tables import context_table, mined_table
from chargen.reports.gradient_plots import save_gradient_plot
from chargen.reports.gradient_tables import gradient_table
from chargen.reports.plots import save_templates_plot
from chargen.reports.tables import demonstration_table, templates_table


def probed_text(probed: Probed) -> str:
    """The tables, each under a heading that says what it answers."""
    parts = []
    if probed.templates:
        parts.append(_headed("Sentences with a known span", templates_table(probed.templates)))
    if probed.demonstration:
        parts.append(demonstration_table(probed.demonstration))
    if probed.context:
        table = context_table(probed.context[TRAINED])
        untrained = f"An untrained network: {probed.context[UNTRAINED].finding()}.\n"
        parts.append(_headed("What only the last n characters are worth", table + untrained))
    if probed.mined:
        parts.append(_headed("What the text itself brings back", mined_table(probed.mined)))
    if probed.gradient:
        table = gradient_table(probed.gradient[TRAINED], probed.gradient[UNTRAINED])
        parts.append(_headed("How far the gradient travels", table))
    return "\n".join(parts)


def _headed(title: str, text: str) -> str:
    return f"{title}\n{'=' * len(title)}\n{text}"


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
    beside = {
        name: path.with_stem(f"{path.stem}-{name}") for name in ("context", "mined", "gradient")
    }
    if probed.context and not probed.context[TRAINED].refusal:
        save_context_plot(probed.context[TRAINED], beside["context"], title)
        drawn.append(beside["context"])
    if probed.mined and any(row.gain for row in probed.mined.rows):
        save_mined_plot(probed.mined, beside["mined"], title)
        drawn.append(beside["mined"])
    if probed.gradient:
        trained, untrained = probed.gradient[TRAINED], probed.gradient[UNTRAINED]
        save_gradient_plot(trained, beside["gradient"], untrained, title)
        drawn.append(beside["gradient"])
    return drawn
