"""What is in a corpus, as text for a terminal."""

from __future__ import annotations

import textwrap

from chargen.render.tables import WIDTH, aligned
from chargen.render.text import visible_line
from chargen.text.statistics import CharacterCount, TextStatistics

COLUMN = 12  # characters before what is told
SHOWN = 200  # characters of an alphabet, at most


def corpus_table(found: TextStatistics) -> str:
    """All of it, a paragraph for each kind of figure, at most `WIDTH` characters wide."""
    return "\n".join([*_text(found), "", *_ngrams(found), "", *_packed(found)]) + "\n"


def _text(found: TextStatistics) -> list[str]:
    lines = found.lines
    scripts = (f"{name} {n / found.chars:.1%}" for name, n in found.scripts.items())
    return [
        f"{visible_line(found.name)}: {found.chars:,} characters, {found.bytes:,} bytes in UTF-8",
        "",
        *_told("alphabet", f"{len(found.alphabet):,} characters: {_shown(found.alphabet)}"),
        *_told("rarest", ", ".join(map(_named, found.rarest))),
        *_told("scripts", ", ".join(scripts)),
        *_told(
            "lines",
            f"{lines.count:,}, {lines.blank:,} of them blank; median {lines.median_chars:,} "
            f"characters, nine of ten up to {lines.p90_chars:,}, the longest "
            f"{lines.longest_chars:,}; {lines.repeated_share:.1%} of those that are not blank had "
            "stood before",
        ),
        *_told("repeats", _repeat(found)),
    ]


def _told(name: str, text: str) -> list[str]:
    shown = textwrap.wrap(text, WIDTH - COLUMN, break_on_hyphens=False) or [""]
    return [f"{name if not n else '':{COLUMN}}{line}" for n, line in enumerate(shown)]


def _shown(alphabet: str) -> str:
    return visible_line(alphabet[:SHOWN]) + "…" * (len(alphabet) > SHOWN)


def _named(one: CharacterCount) -> str:
    shown = f"{one.character} " if one.character.isprintable() else ""
    return f"{shown}{one.name} ({one.count:,})"


def _repeat(found: TextStatistics) -> str:
    repeat, among = found.repeat, f"the first {found.counted_chars:,} characters"
    if not repeat.chars:
        return f"none in {among}"
    more = "…" * (repeat.chars > len(found.repeat_text))
    return (
        f"the longest of {among} has {repeat.chars:,}, at {repeat.first:,} and {repeat.second:,}: "
        f"“{visible_line(found.repeat_text)}{more}”"
    )


def _ngrams(found: TextStatistics) -> list[str]:
    header = ["n", "bits/char", "different", "seen once", ""]
    rows = (
        [str(one.n), f"{one.bits_per_char:.3f}", f"{one.distinct:,}", f"{one.seen_once_share:.1%}"]
        for one in found.ngrams
    )
    return [
        *aligned([header, *([*row, ""] for row in rows)]),
        "",
        f"Entropy of a character given the n - 1 before it, counted in the first "
        f"{found.counted_chars:,}",
        "characters. Too low where much of the text is n-grams that were seen once: a longer text",
        "would bring others.",
    ]


def _packed(found: TextStatistics) -> list[str]:
    packed = ", ".join(f"{name} {bits:.3f}" for name, bits in found.packed_bits_per_char.items())
    return _told(
        "packed", f"the first {found.packed_chars:,} characters, bits a character: {packed}"
    )
