"""HTML pages from Jinja2 templates: one file each, no network access, light and dark."""

import functools
from importlib import resources
from typing import TYPE_CHECKING, Any

from chargen.render.text import visible

if TYPE_CHECKING:
    from jinja2 import Environment

# Defense in depth: no page can load anything, even if a corpus injected markup.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "script-src 'unsafe-inline' 'wasm-unsafe-eval'"
)


def render(template: str, **values: Any) -> str:
    """Render a template with ``values``, escaped for HTML, their control characters spelled out."""
    return _environment().get_template(template).render(**values)


def asset(name: str) -> str:
    """Return a template, style or script: ``package/file``, or ``file`` of `chargen.render`."""
    package, _, file = (name if "/" in name else f"chargen.render/templates/{name}").partition("/")
    return resources.files(package).joinpath(file).read_text(encoding="utf-8")


def embed(json_text: str) -> str:
    """Return JSON that may stand in a script: no text in it ends the script or opens a comment."""
    return json_text.translate({ord(one): f"\\u{ord(one):04x}" for one in "<\u2028\u2029"})


@functools.cache
def _environment() -> "Environment":
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    from chargen import __version__

    environment = Environment(
        loader=FunctionLoader(asset), autoescape=True, undefined=StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals |= {"policy": POLICY, "version": __version__}
    environment.globals["asset"] = lambda *names: Markup("\n".join(map(asset, names)))
    environment.filters["json"] = lambda text: Markup(embed(text))
    environment.tests["block"] = lambda value, name: type(value).__name__ == name
    return environment
