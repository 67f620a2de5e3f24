"""Statistics of a corpus as text for a terminal."""

from __future__ import annotations

import textwrap

from chargen.render.report import WIDTH, Table, table_text
from chargen.render.text import counted, visible_line
from chargen.text.mutual_information import MutualInformation
from chargen.text.statistics import CharacterCount, TextStatistics

LABEL = 12  # width of the labels
SHOWN = 200  # maximum number of characters of an alphabet


def corpus_report(found: TextStatistics) -> str:
    """Return all statistics in lines of at most `WIDTH` characters."""
    lines, repeat = found.lines, found.longest_repeat
    alphabet = visible_line(found.alphabet[:SHOWN]) + "…" * (len(found.alphabet) > SHOWN)
    part = f"the first {found.ngrams.counted_chars:,} characters"
    repeats = f"none in {part}"
    if repeat.chars:
        more = "…" * (repeat.chars > len(repeat.text))
        repeats = (
            f"longest in {part}: {repeat.chars:,} characters, at {repeat.first_char:,} and "
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
        gain = f"{one.gain_bits:.3f}"
        ngrams.append((str(one.n), bits, gain, f"{one.distinct:,}", once, ""))
    caption = (
        f"Entropy of a character given the n - 1 before it, in {part}. If many n-grams are seen "
        "once, the entropy is too low and the gain over n - 1 too high: an upper limit."
    )
    table = Table(("n", "bits/char", "gain", "distinct", "seen once", ""), ngrams, caption)
    size = f"{found.chars:,} characters, {found.bytes:,} bytes in UTF-8"
    return "\n".join(
        [
            f"{visible_line(found.corpus)}: {size}",
            "",
            *(line for row in rows.items() for line in _labelled(*row)),
            "",
            table_text(table).rstrip("\n"),
            "",
            table_text(_memory_table(found.mutual_information, part)).rstrip("\n"),
            "",
            *_labelled("packed", packed),
            "",
        ]
    )


def _memory_table(found: MutualInformation, part: str) -> Table:
    columns = (found.distances, found.bits, found.low, found.high, found.control_bits)
    rows = [
        (f"{distance:,}", f"{bits:.4f}", f"{low:.4f} to {high:.4f}", f"{control:.4f}", "")
        for distance, bits, low, high, control in zip(*columns, strict=True)
    ]
    caption = (
        f"Mutual information between characters at a distance, in {part}, with 95% interval, "
        f"and of the same characters in random order. {decay_sentence(found)}"
    )
    return Table(("distance", "bits", "interval", "shuffled", ""), rows, caption)


def decay_sentence(found: MutualInformation) -> str:
    """Return how far the mutual information of a text reaches, and how it decays."""
    if not found.reach:
        return "None is above 0."
    reach = f"It is above 0 up to {counted(found.reach, 'character')}"
    if not found.fits:
        return f"{reach}, too few distances to fit a decay."
    best, other = found.fits
    parameters = (
        f"{best.scale_bits:.2g} bits × exp(−d/{best.rate:.3g})"
        if best.law == "exponential"
        else f"{best.scale_bits:.2g} bits × d^−{best.rate:.2f}"
    )
    return (
        f"{reach}. The {best.law} {parameters} fits its decay better than the {other.law} does "
        f"(AIC {best.aic:.1f} and {other.aic:.1f})."
    )


def _labelled(label: str, text: str) -> list[str]:
    shown = textwrap.wrap(text, WIDTH - LABEL, break_on_hyphens=False) or [""]
    return [f"{label if not n else '':{LABEL}}{line}" for n, line in enumerate(shown)]


def _rare(one: CharacterCount) -> str:
    shown = f"{one.character} " if one.character.isprintable() else ""
    return f"{shown}{one.name} ({one.count:,})"
