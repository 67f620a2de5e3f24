"""How far back a model remembers, as one figure beside something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chargen.probes.context import report as context_report
from chargen.probes.runner import TRAINED, Probed
from chargen.probes.runner.probed import pair
from chargen.probes.templates.page import templates_glance
from chargen.probes.templates.plot import templates_figure
from chargen.render import page_parts as parts
from chargen.render.figures import PAGE
from chargen.render.page_parts import Glance
from chargen.render.report import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

NAME, TITLE = "longrange", "How far back it remembers"
MISSING = (
    "Not measured yet: chargen probe-longrange RUN --json RUN/longrange.json measures it, and the "
    "next export of the run shows the curve here."
)
TEMPLATES = (
    "A fact is told, and asked for so many characters later: how often the answer is right. Bars "
    "are 95 % intervals, the level line is guessing. Grey: controls that cannot know."
)


def curve_section(probed: Probed | None) -> str:
    """The curve of the templates; of a model that knows none of them, that of the context."""
    templates = probed.templates if probed else None
    if templates and templates.rows and not templates.refusal:
        drawn = templates_figure(templates, size=PAGE)
        return _section(templates_glance(templates), drawn, "Right answers by span", TEMPLATES)
    if probed and probed.context and probed.context[TRAINED].rows:
        found = context_report.section({probed.run: pair(probed.context)})
        (figure,) = (block for block in found.blocks if isinstance(block, Figure))
        glance, drawn = parts.built(found)[0], figure.draw(PAGE, "")
        return _section(glance, drawn, "Excess bits by context", figure.caption)
    return parts.section(NAME, TITLE, parts.faint(MISSING))


def _section(glance: Glance, drawn: Drawing, label: str, caption: str) -> str:
    return parts.section(
        NAME,
        TITLE,
        parts.figure(drawn, NAME, f"{label}: {glance.finding}", caption),
        parts.paragraph(f"It {glance.finding}."),
        parts.paragraph(glance.meaning),
    )
