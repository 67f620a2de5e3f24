"""The two classic sentences, as a part of a page: for show, and no measurement."""

from __future__ import annotations

from collections.abc import Sequence

from chargen.probes.templates.demonstration import Shown
from chargen.render import html
from chargen.render import page_parts as parts

DEMONSTRATION = (
    "For show, and no measurement: how likely the model holds each of a few ways to end two "
    "sentences, their shares adding up to 1, and how many bits a character each costs. There is no "
    "right answer to be counted, since it was never taught one."
)


def demonstration_part(shown: Sequence[Shown]) -> str:
    """Each sentence with a bar for each of its endings; nothing without sentences."""
    told = [parts.heading("Two sentences, for show"), parts.paragraph(DEMONSTRATION)]
    for one in shown:
        columns = zip(one.shares, one.candidates, one.per_char_bits, strict=True)
        likely = sorted(columns, reverse=True)
        told.append(f"<blockquote>{html.escape(one.context)}…</blockquote>")
        notes = [f"{bits:.2f} bits" for *_, bits in likely]
        told.append(parts.bars({text: share for share, text, _ in likely}, notes))
        told += [parts.faint(one.note)] * bool(one.note)
    return "\n".join(told) if shown else ""
