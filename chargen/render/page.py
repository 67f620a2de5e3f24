"""HTML pages from Jinja2 templates: one file each, no network access, light and dark."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from chargen.render.text import visible

if TYPE_CHECKING:
    from jinja2 import Environment

# Defense in depth: no page can load anything, even if a corpus injected markup.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
HOME = "chargen.render/templates"


def render(template: str, **values: Any) -> str:
    """Render a template with ``values``.

    Every value is escaped for HTML, and its control characters are spelled out. A template reads
    styles and scripts with ``asset(name, ...)`` and embeds JSON in scripts with the filter
    ``json``; names are those of `asset`.
    """
    return _environment().get_template(template).render(**values)


def asset(name: str) -> str:
    """Return the text of a bundled template, style or script.

    Args:
        name: ``package/file``, such as ``chargen.pages/network.js``; without a package, a file of
            `chargen.render`.
    """
    package, _, file = (name if "/" in name else f"{HOME}/{name}").partition("/")
    return resources.files(package).joinpath(file).read_text(encoding="utf-8")


def embed(json_text: str) -> str:
    """Return JSON that may stand in a script: no text in it ends the script or opens a comment."""
    return (
        json_text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    )


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    from chargen import __version__

    def shown(value: Any) -> Any:
        return visible(value) if type(value) is str else value

    environment = Environment(
        loader=FunctionLoader(asset),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "policy": POLICY,
        "version": __version__,
        "asset": lambda *names: Markup("\n".join(map(asset, names))),
        "glossary": GLOSSARY,
    }
    environment.filters["json"] = lambda text: Markup(embed(text))
    environment.tests["block"] = lambda value, name: type(value).__name__ == name
    return environment


GLOSSARY: Sequence[tuple[str, str]] = (
    (
        "Cue, target, span",
        "The cue is the word that determines the answer, the target is the answer. The span is the "
        "number of characters between the end of the cue and the start of the target.",
    ),
    (
        "Chance",
        "The accuracy of guessing: among 8 answers 1 in 8, or 12.5%. A model at chance has shown "
        "no memory.",
    ),
    (
        "95% interval",
        "A range computed so that it contains the true value in 95 of 100 repetitions of the "
        "experiment. Two intervals that overlap widely show no difference.",
    ),
    (
        "Distractor",
        "A second cue, of another fact. A model that picks the most recent cue chooses its answer.",
    ),
    (
        "n-gram",
        "A table of the characters that followed each short string in the training text. A 5-gram "
        "sees 4 characters of context and nothing before them.",
    ),
    (
        "Bits, excess bits",
        "A character costs 0 bits if the model was certain of it, and 1 bit more each time its "
        "probability halves. Excess bits are the additional cost after context is replaced.",
    ),
    (
        "Effective context length",
        "The smallest number of characters of context with which the model predicts as well as "
        "with all of them, to within 1% of perplexity (0.0144 bits per character).",
    ),
    (
        "Training length (timesteps)",
        "The length of truncated back-propagation through time. Memory beyond it was carried in "
        "the hidden state without a gradient.",
    ),
    (
        "Gradient",
        "The derivative of a loss with respect to an earlier hidden state. Where it vanishes, "
        "training cannot adjust what the network stores.",
    ),
    (
        "span50",
        "The span at which accuracy has fallen half-way from its ceiling to chance.",
    ),
)
