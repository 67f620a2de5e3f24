"""What the pages of reports are put together from. Every text is escaped here; parts are HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from chargen import __version__
from chargen.render import html
from chargen.render.figures import Interval, svg
from chargen.render.page import render
from chargen.render.report import Section
from chargen.render.text import listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
body { max-width: 60rem; }
figcaption { max-width: 42rem; }
h1, p, li, dd, blockquote { overflow-wrap: anywhere; }
ul { padding-left: 1.3rem; }
dt { font-weight: 600; margin-top: 0.5rem; }
dd { margin: 0 0 0 1rem; max-width: 41rem; }
.glance { padding-left: 0; list-style: none; }
.glance li { border-left: 4px solid var(--model); padding: 0 0 0 0.8rem; margin: 1rem 0; }
.glance a { color: var(--model); font-weight: 600; text-decoration: none; }
.glance a:hover { text-decoration: underline; }
.glance p { margin: 0.1rem 0; }
.warning { border-left: 4px solid var(--other); padding-left: 0.8rem; }
.finding::first-letter { text-transform: uppercase; }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--paper); }
tbody tr:nth-child(even) td:first-child { background: var(--tint); }
details { margin: 0.8rem 0; }
summary { cursor: pointer; color: var(--model); }
blockquote { margin: 1rem 0 0.4rem; font-style: italic; max-width: 41rem; }
.bars { display: grid; grid-template-columns: auto 1fr auto auto; gap: 0.2rem 0.6rem; }
.bars { max-width: 34rem; }
.bars b { background: var(--model); min-width: 1px; height: 0.9rem; align-self: center; }
"""

GLOSSARY = {
    "cue, target, span": "The cue is the word that decides, the target the word that hangs on it. "
    "The span is how many characters lie between the end of the one and the start of the other.",
    "chance": "What guessing gives: among 8 answers, 1 in 8, or 12.5 %. A model that is no better "
    "than chance has shown no memory.",
    "interval": "Another draw of sentences or text would give another figure. A 95 % interval is "
    "made so that it holds the true one in 95 of 100 such draws. Where two intervals overlap "
    "widely, no difference was shown.",
    "decoy": "A second cue, of another fact, that nobody asks about. A model that takes whichever "
    "cue it saw last falls for it.",
    "n-gram": "A table of what followed the last few characters in the training text. A 5-gram "
    "sees 4 characters back and nothing before: it has no memory, only a view.",
    "bit, excess bits": "A character costs as many bits as the model is surprised by it: 0 where "
    "it was sure and right, 1 more each time that its probability halves. Excess bits are what it "
    "costs more once something was taken away.",
    "effective context": "The fewest characters in view with which the model predicts as well as "
    "with all of them, to within 1 % of perplexity (0.0144 bits a character).",
    "timesteps": "Over how many characters an error was passed back in training. What the model "
    "remembers beyond that was carried along in its state, though no error taught it directly.",
    "gradient": "How much a small change of the network's state would change an error. Training "
    "moves the network along it: where it is nothing, nothing is learned.",
    "span50": "The span at which accuracy has fallen half-way from its ceiling to chance.",
}


class Found(Protocol):
    """What an instrument found in a run."""

    @property
    def trained_timesteps(self) -> int | None:
        """How far back gradients travelled in training, characters."""
        ...

    def finding(self) -> str:
        """One sentence."""
        ...


class Share(Protocol):
    """A proportion with its 95% interval."""

    @property
    def share(self) -> float: ...
    @property
    def interval(self) -> tuple[float, float]: ...


@dataclass(frozen=True)
class Glance:
    """One finding, as it stands on top of a page."""

    section: str  # the name of the section that has more
    title: str
    finding: str
    meaning: str  # in plain words


def page(title: str, about: str, glances: Iterable[Glance], *sections: str) -> str:
    """A whole page: its title, a line about what was measured, what was found, the sections."""
    found = "".join(map(_glance, glances))
    told = f'<ul class="glance">{found}</ul>' if found else ""
    body = "\n".join([f"<h1>{html.escape(title)}</h1>", faint(about), told, *sections, _last()])
    return html.document(title, body, STYLE)


def section(name: str, title: str, *parts: str) -> str:
    """Parts under a heading, to be linked to as ``#name``."""
    inside = "\n".join(part for part in parts if part)
    return (
        f'<section id="{html.escape(name)}">\n<h2>{html.escape(title)}</h2>\n{inside}\n</section>'
    )


def built(found: Section) -> tuple[Glance, str]:
    """Return what stands on top of a page about a section, and the section itself."""
    glance = Glance(found.name, found.title, found.finding, found.meaning)
    return glance, render("section.html", section=found)


def figure(drawn: Figure, name: str, label: str, caption: str) -> str:
    """A matplotlib figure in the page, read out as ``label``; ``name`` as in `drawing.svg`."""
    said = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f"<figure>\n{svg(drawn, name, label)}\n{said}\n</figure>"


def heading(text: str) -> str:
    """A heading inside a section."""
    return f"<h3>{html.escape(text)}</h3>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{html.escape(text)}</p>"


def finding(text: str) -> str:
    """What was found, in larger letters."""
    return f'<p class="finding">{html.escape(text)}</p>'


def faint(text: str) -> str:
    """What may be passed over."""
    return f'<p class="faint">{html.escape(text)}</p>'


def bullets(items: Iterable[str]) -> str:
    """A list of plain texts."""
    return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"


def details(summary: str, *parts: str) -> str:
    """Parts that open where the reader asks for them."""
    inside = "\n".join(part for part in parts if part)
    return f"<details><summary>{html.escape(summary)}</summary>\n{inside}\n</details>"


def rows(lines: Sequence[Sequence[str]], caption: str) -> str:
    """A table whose first line is its header, as the builders return them."""
    return html.table(lines[0], lines[1:], caption)


def findings(results: Mapping[str, Found]) -> str:
    """What was found in each run, to be opened."""
    told = (f"{run}: {result.finding()}" for run, result in results.items())
    return details("What was found in each", bullets(told))


def beyond(chars: int, results: Mapping[str, Found]) -> str:
    """The ``--timesteps`` that ``chars`` lies beyond, and whose they are if not everybody's."""
    whose: dict[int, list[str]] = {}
    for run, result in results.items():
        if result.trained_timesteps and chars > result.trained_timesteps:
            whose.setdefault(result.trained_timesteps, []).append(run)
    return ", ".join(
        f"beyond --timesteps {steps}" + (f" of {listed(runs)}" * (len(runs) < len(results)))
        for steps, runs in sorted(whose.items())
    )


def explained(method: Iterable[str], limits: str, made: str) -> str:
    """How something was measured, what that does not say, and what it was ``made`` from."""
    summary = "How it was asked, and what it does not say"
    return details(summary, bullets(method), paragraph(limits), faint(made))


def warnings(texts: Sequence[str]) -> str:
    """What could not be done, set apart; nothing where all could."""
    return f'<div class="warning">{"".join(map(paragraph, texts))}</div>' if texts else ""


def bars(shares: Mapping[str, float], notes: Sequence[str]) -> str:
    """A bar for each name, as long as its share of 1, the share and a note behind it."""
    rows = (
        f'<span>{html.escape(name)}</span><span style="display: flex">'
        f'<b style="width: {share:.1%}"></b></span><span>{share:.1%}</span>'
        f'<span class="faint">{html.escape(note)}</span>'
        for (name, share), note in zip(shares.items(), notes, strict=True)
    )
    return f'<div class="bars">{"".join(rows)}</div>'


def glossary() -> str:
    """The terms of all pages, in plain words, to be opened."""
    terms = (
        f"<dt>{html.escape(term)}</dt><dd>{html.escape(text)}</dd>"
        for term, text in GLOSSARY.items()
    )
    return details("What the words mean", f"<dl>{''.join(terms)}</dl>")


def percent(found: Share) -> str:
    """``89.7 (86.4–92.2)``: percent and their 95 % interval."""
    low, high = found.interval
    return f"{100 * found.share:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def estimate(found: Interval | None, digits: int) -> str:
    """``0.045 (0.023 to 0.065)``: a value and its 95 % interval; a dash where there is none."""
    if found is None:
        return "–"
    value, low, high = (fixed(x, digits) for x in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"


def fixed(value: float, digits: int) -> str:
    """A number with so many decimals, and no minus before a zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def _glance(one: Glance) -> str:
    link = f'<a href="#{html.escape(one.section)}">{html.escape(one.title)}</a>'
    return f"<li>{link}{finding(one.finding)}{faint(one.meaning)}</li>\n"


def _last() -> str:
    return glossary() + faint(f"Written by chargen {__version__}.")
