"""Everything that the instruments found in one run, as one page that needs nothing else."""

from __future__ import annotations

from chargen.probes.context import page as page_context
from chargen.probes.gradient import page as page_gradient
from chargen.probes.runner import TRAINED, Probed
from chargen.probes.runner.probed import pair
from chargen.probes.templates import page as page_templates
from chargen.render import page_parts as parts
from chargen.render.page_parts import Glance

TITLE = "How far back does it remember?"


def probed_page(probed: Probed) -> str:
    """The page, HTML: what was found in a sentence each, then each instrument with its numbers.

    It asks for nothing on the network, and of the same ``probed`` it is the same. matplotlib
    draws its figures.
    """
    sections = []
    if probed.templates:
        sections.append(page_templates.templates_section(probed.templates, probed.demonstration))
    if probed.context:
        sections.append(page_context.context_section(*pair(probed.context)))
    if probed.mined:
        sections.append(page_context.mined_section(probed.mined))
    if probed.gradient:
        sections.append(page_gradient.gradient_section(*pair(probed.gradient)))
    left_out = parts.warnings(probed.warnings)
    return parts.page(TITLE, _about(probed), _glances(probed), left_out, *sections)


def _glances(probed: Probed) -> list[Glance]:
    """What each instrument found and what that means, where it was asked."""
    told = []
    if probed.templates:
        told.append(page_templates.templates_glance(probed.templates))
    if probed.context:
        told.append(page_context.context_glance(probed.context[TRAINED]))
    if probed.mined:
        told.append(page_context.mined_glance(probed.mined))
    if probed.gradient:
        told.append(page_gradient.gradient_glance(probed.gradient[TRAINED]))
    return told


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
