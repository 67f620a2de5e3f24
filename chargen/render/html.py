"""The shell of every page that chargen writes: one file, no network, light and dark, any width."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from importlib import resources

from chargen.render.text import visible

# Nothing is fetched from anywhere, whatever a corpus smuggles into the text of a page.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1c1c1c; --faint: #5c5c5c; --rule: #d9d9d9; --tint: #f4f4f4;
  --model: #1f5fa8; --other: #c2571a; --third: #2b8a57; --fourth: #8a4fa3; --grey: #6b6b6b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181c; --ink: #e8e6e3; --faint: #a3a09b; --rule: #3a3d44; --tint: #1f2228;
    --model: #7db2f0; --other: #f0955a; --third: #6cc99a; --fourth: #c99be0; --grey: #a3a3a3;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.2rem 1rem 4rem; max-width: 52rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0.4rem 0; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 0.4rem; }
h3 { font-size: 1.05rem; margin: 1.4rem 0 0.3rem; }
p, ul { max-width: 42rem; }
figure { margin: 1rem 0; }
figure svg { width: 100%; max-width: 34rem; height: auto; display: block; }
.finding { font-size: 1.12rem; }
.faint, figcaption, caption { color: var(--faint); font-size: 0.9rem; }
.scroll { overflow-x: auto; margin: 0.9rem 0; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: 0.3rem; }
caption span { display: inline-block; position: sticky; left: 0; }
caption span { max-width: min(100vw - 2rem, 42rem); }
th, td { padding: 0.2rem 0.6rem; text-align: right; white-space: nowrap; }
th:last-child, td:last-child { text-align: left; }
thead th { border-bottom: 1px solid var(--ink); }
tbody tr:nth-child(even) { background: var(--tint); }
code, pre { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 0.92em; }
"""


def escape(text: object) -> str:
    """`visible` text as it may stand between tags and in a quoted attribute."""
    return html.escape(visible(str(text)), quote=True)


def document(title: str, body: str, style: str = "", script: str = "", refresh: int = 0) -> str:
    """A whole page round ``body``, which is HTML; ``title`` is plain text.

    ``style`` goes after the common one. ``script`` is run at the end of the page; data in it must
    not hold ``</``: `chargen.render.html.embed` writes such data. A page with ``refresh`` is read
    anew after so many seconds.
    """
    anew = f'<meta http-equiv="refresh" content="{refresh}">\n' if refresh else ""
    scripts = f"<script>{script}</script>\n" if script else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n{anew}'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n"
        f"{body}\n{scripts}</body>\n</html>\n"
    )


def embed(json_text: str) -> str:
    """JSON as it may stand in a script: no text in it can end the script or open a comment."""
    return (
        json_text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    )


def bundled(package: str, *names: str) -> str:
    """Return the concatenated scripts or styles that ``package`` contains."""
    files = (resources.files(package).joinpath(name) for name in names)
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """A table of plain text that scrolls sideways where the screen is narrow."""
    said = f"<caption><span>{escape(caption)}</span></caption>" if caption else ""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0"><table>{said}\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )
