"""Statistics of a corpus as text for a terminal."""

from __future__ import annotations

import textwrap

from chargen.render.report import WIDTH, Table, table_text
from chargen.render.text import visible_line
from chargen.text.statistics import CharacterCount, TextStatistics

LABEL = 12  # width of the labels
SHOWN = 200  # maximum number of characters of an alphabet


def corpus_report(found: TextStatistics) -> str:
    """Return all statistics in lines of at most `WIDTH` characters."""
    lines, repeat = found.lines, found.longest_repeat
    alphabet = visible_line(found.alphabet[:SHOWN]) + "…" * (len(found.alphabet) > SHOWN)
    counted = f"the first {found.ngrams.counted_chars:,} characters"
    repeats = f"none in {counted}"
    if repeat.chars:
        more = "…" * (repeat.chars > len(repeat.text))
        repeats = (
            f"longest in {counted}: {repeat.chars:,} characters, at {repeat.first_char:,} and "
            f"{repeat.second_char:,}: “{visible_line(repeat.text)}{more}”"
        )
    scripts = (f"{name} {n / found.chars:.1%}" for name, n in found.scripts_chars.items())
    rows = {
        "alphabet": f"{len(found.alphabet):,} characters: {alphabet}",
        "rarest": ", ".join(map(_rare, found.rarest)),
        "scripts": ", ".join(scripts),
        "lines": f"{lines.count:,}, of which {lines.blank:,} blank; length median "
        f"{lines.median_chars:,}, 90th percentile {lines.p90_chars:,}, maximum "
        f"{lines.longest_chars:,} characters; {lines.repeated_share:.1%} of the non-blank lines "
        "are repetitions",
        "repeats": repeats,
    }
    bits = ", ".join(f"{name} {bits:.3f}" for name, bits in found.packed.bits_per_char.items())
    packed = f"the first {found.packed.chars:,} characters, bits/char: {bits}"
    ngrams = []
    for one in found.ngrams.orders:
        bits, once = f"{one.bits_per_char:.3f}", f"{one.seen_once_share:.1%}"
        ngrams.append((str(one.n), bits, f"{one.distinct:,}", once, ""))
    caption = (
        f"Entropy of a character given the n - 1 before it, in {counted}. The estimate is too low "
        "if many n-grams are seen once."
    )
    table = Table(("n", "bits/char", "distinct", "seen once", ""), ngrams, caption)
    size = f"{found.chars:,} characters, {found.bytes:,} bytes in UTF-8"
    return "\n".join(
        [
            f"{visible_line(found.corpus)}: {size}",
            "",
            *(line for row in rows.items() for line in _labelled(*row)),
            "",
            table_text(table).rstrip("\n"),
            "",
            *_labelled("packed", packed),
            "",
        ]
    )


def _labelled(label: str, text: str) -> list[str]:
    shown = textwrap.wrap(text, WIDTH - LABEL, break_on_hyphens=False) or [""]
    return [f"{label if not n else '':{LABEL}}{line}" for n, line in enumerate(shown)]


def _rare(one: CharacterCount) -> str:
    shown = f"{one.character} " if one.character.isprintable() else ""
    return f"{shown}{one.name} ({one.count:,})"
