"""Everything that the instruments found in one run, as one page that needs nothing else."""

from __future__ import annotations

from chargen.probes.runner import TRAINED, Probed
from chargen.probes.runner.probed import sections as rest_sections
from chargen.probes.templates import page as page_templates
from chargen.render import page_parts as parts

TITLE = "How far back does it remember?"


def probed_page(probed: Probed) -> str:
    """The page, HTML: what was found in a sentence each, then each instrument with its numbers.

    It asks for nothing on the network, and of the same ``probed`` it is the same. matplotlib
    draws its figures.
    """
    sections, glances = [], []
    if probed.templates:
        sections.append(page_templates.templates_section(probed.templates, probed.demonstration))
        glances.append(page_templates.templates_glance(probed.templates))
    for section in rest_sections([probed]):
        glance, built = parts.built(section)
        glances.append(glance)
        sections.append(built)
    left_out = parts.warnings(probed.warnings)
    return parts.page(TITLE, _about(probed), glances, left_out, *sections)


def _about(probed: Probed) -> str:
    results = (
        probed.templates,
        probed.context.get(TRAINED),
        probed.mined,
        probed.gradient.get(TRAINED),
    )
    asked = next(result for result in results if result)
    steps = asked.trained_timesteps
    trained = f" · errors passed back over {steps} characters in training" if steps else ""
    return f"Run {probed.run} · seed {asked.seed}{trained}"
