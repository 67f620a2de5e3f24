"""The page of `chargen watch`: how a training goes, and what the model writes by now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chargen import __version__
from chargen.evaluation import nats_to_bits
from chargen.pages import watch_plots
from chargen.render import html
from chargen.render import page_parts as parts
from chargen.runs.description import Description

LAST = 8  # validations in the table
STYLE = """
.side { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
.side { gap: 0 1.5rem; }
.side figure, .side .scroll { min-width: 0; margin-bottom: 0; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0.2rem 0 1.2rem; }
pre { border-left: 4px solid var(--rule); padding: 0 0 0 0.8rem; max-width: 48rem; }
pre:first-of-type { border-color: var(--model); }
h3 { margin-bottom: 0; }
"""


@dataclass(frozen=True)
class Sample:
    """What the best weights of a moment wrote."""

    step: int
    loss_nats: float  # on the held-out text
    text: str


@dataclass(frozen=True)
class Watched:
    """What was seen of a run so far."""

    run: str
    description: Description
    lines: Sequence[dict[str, Any]]  # of progress.jsonl
    samples: Sequence[Sample] = field(default=())  # the newest last
    floor_nats: float | None = None
    floor_name: str = ""
    floor_note: str = ""  # why there is none
    seconds: int = 0  # after which the page is shown anew; 0: it stays as it is


def watch_page(seen: Watched) -> str:
    """The whole page, which needs nothing from outside itself and, while ``seconds`` says so, has
    the browser read it anew."""
    model, corpus = seen.description.model, seen.description.corpus
    about = f"{model.described()} · {corpus.name}, {corpus.chars:,} characters · "
    body = "\n".join(
        [
            f"<h1>{html.escape(seen.run)}</h1>",
            parts.faint(about + _state(seen)),
            *(_learned(seen) if seen.lines else [parts.finding("Nothing is validated yet.")]),
            _samples(seen.samples),
            parts.faint(f"Written by chargen {__version__}."),
        ]
    )
    return html.document(_title(seen), body, parts.STYLE + STYLE, refresh=seen.seconds)


def _title(seen: Watched) -> str:
    if not seen.lines:
        return seen.run
    return f"{watch_plots.best(seen.lines)['validation_loss_nats']:.3f} nats, {seen.run}"


def _state(seen: Watched) -> str:
    if not seen.seconds:
        return "no process trains it now"
    return f"training; this page is shown anew every {seen.seconds} s"


def _learned(seen: Watched) -> list[str]:
    lines = seen.lines
    caption = (
        "Loss on the training text, a mean since the last validation, and on the held-out text."
    )
    clip = seen.description.training.clip_norm
    loss = watch_plots.loss_figure(lines, seen.floor_nats, seen.floor_name)
    rate, norm = watch_plots.rate_figure(lines), watch_plots.norm_figure(lines, clip)
    return [
        parts.finding(_finding(seen)),
        parts.faint(_beside(seen)),
        '<div class="side">',
        parts.figure(loss, "loss", f"Loss against steps. {_finding(seen)}", caption),
        _table(lines),
        parts.figure(rate, "rate", f"Learning rate, {_now(lines, 'learning_rate')} now", ""),
        parts.figure(norm, "norm", f"Gradient's norm, {_now(lines, 'gradient_norm')} now", ""),
        "</div>",
    ]


def _now(lines: Sequence[dict[str, Any]], name: str) -> str:
    return f"{lines[-1][name]:.3g}"


def _finding(seen: Watched) -> str:
    best, last = watch_plots.best(seen.lines), seen.lines[-1]
    loss = float(best["validation_loss_nats"])
    told = (
        f"Best validation loss {loss:.4f} nats a character, {nats_to_bits(loss):.3f} bits, at step "
        f"{best['step']:,}."
    )
    if best is not last:
        told += f" No better since; step {last['step']:,} has {last['validation_loss_nats']:.4f}."
    return told


def _beside(seen: Watched) -> str:
    """The floor, and whether it is beaten."""
    if seen.floor_nats is None:
        return seen.floor_note or "The n-gram floor is being counted."
    ahead = seen.floor_nats - float(watch_plots.best(seen.lines)["validation_loss_nats"])
    verdict = f"beaten by {ahead:.4f}" if ahead > 0 else f"not beaten yet, {-ahead:.4f} to go"
    return (
        f"The floor, a {seen.floor_name} of the same text: {seen.floor_nats:.4f} nats, {verdict}."
    )


def _table(lines: Sequence[dict[str, Any]]) -> str:
    header = ["step", "seconds", "training", "validation", ""]
    best = watch_plots.best(lines)
    rows = (
        [
            f"{line['step']:,}",
            f"{line['seconds']:.0f}",
            f"{line['train_loss_nats']:.4f}",
            f"{line['validation_loss_nats']:.4f}",
            "best" if line is best else "",
        ]
        for line in lines[: -LAST - 1 : -1]
    )
    return html.table(header, rows, "The last validations, nats a character")


def _samples(samples: Sequence[Sample]) -> str:
    if not samples:
        return ""
    shown = "".join(
        f"<h3>step {one.step:,}, {one.loss_nats:.3f} nats</h3>\n"
        f'<pre dir="auto">{html.escape(one.text)}</pre>\n'
        for one in reversed(samples)
    )
    told = "By the best weights of the moment, at temperature 0.8; the newest first."
    return parts.section("samples", "What it writes", parts.faint(told), shown)
