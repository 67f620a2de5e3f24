"""What instrument (b) found, as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from chargen.probes.context import BAR_BITS, ContextResult, ContextRow
from chargen.probes.mined import FEWEST_CASES, MinedResult, MinedRow
from chargen.probes.statistics import Estimate
from chargen.reports.tables import aligned

NO_NUMBER = "–"


def context_table(result: ContextResult) -> str:
    """One row a context: the excess of swap with its interval, that of reset, where they differ.

    A first line says what was found; a rule marks the length that gradients travelled in training.
    """
    lines = [result.finding()]
    if result.rows:
        head = ["in view", "lost", "95 %", "reset", ""]
        table = aligned([head, *(_context_cells(result, row) for row in result.rows)])
        contexts = [row.context for row in result.rows]
        lines += ["", *_ruled(table, contexts, result.trained_timesteps), "", *_legend(result)]
    return "\n".join(lines) + "\n"


def mined_table(result: MinedResult) -> str:
    """For each kind one row a distance: what targets cost and gained, with intervals.

    A bin of too few cases shows how many it has and no number, a kind of such bins one line.
    """
    lines = [result.finding()]
    for kind in dict.fromkeys(row.kind for row in result.rows):
        rows = result.of_kind(kind)
        if not any(row.gain for row in rows):
            cases = sum(row.cases for row in rows)
            lines += ["", f"{kind}: {cases} cases in all, too few at every distance"]
            continue
        head = ["distance", "cases", "bits", "gain", "95 %", f"over {result.ngram}", "95 %", ""]
        if result.ngram is None:
            head[5:7] = ["", ""]
        table = aligned([head, *map(_mined_cells, rows)])
        distances = [row.distance for row in rows]
        lines += ["", kind, *_ruled(table, distances, result.trained_timesteps)]
    return "\n".join([*lines, "", *_mined_legend(result)]) + "\n"


def _context_cells(result: ContextResult, row: ContextRow) -> list[str]:
    swap, reset = row.swap, row.reset
    notes = ["effective context"] * (row.context == result.effective[0])
    notes += ["swap and reset disagree"] * row.disagree
    return [
        str(row.context),
        f"{swap.value:.4f}",
        _between(swap, 4),
        f"{reset.value:.4f}" if reset else "",
        ", ".join(notes),
    ]


def _mined_cells(row: MinedRow) -> list[str]:
    most = row.distance_most
    cells = [str(row.distance) if most == row.distance else f"{row.distance}–{most}"]
    cells += [str(row.cases), f"{row.target_bits.value:.2f}" if row.target_bits else NO_NUMBER]
    for found in (row.gain, row.over_ngram):
        cells += [f"{found.value:.2f}", _between(found, 2)] if found else [NO_NUMBER, ""]
    return [*cells, "" if row.gain else f"under {FEWEST_CASES} cases"]


def _between(found: Estimate, digits: int) -> str:
    low, high = (f"{bound:.{digits}f}" for bound in (found.low, found.high))
    return f"{low} to {high}" if found.low < 0 else f"{low}–{high}"


def _ruled(table: list[str], chars: list[int], timesteps: int | None) -> Iterable[str]:
    """The lines of a table, with a rule before the first that lies beyond the trained length."""
    header, *rows = table
    yield header
    for place, row in enumerate(rows):
        before = chars[place - 1] if place else -1
        if timesteps and before <= timesteps < chars[place]:
            yield f"── --timesteps {timesteps} ".ljust(max(map(len, table)), "─")
        yield row


def _legend(result: ContextResult) -> list[str]:
    return [
        "Bits a character lost with only so many characters in view, against all (at least "
        f"{result.full};",
        f"{result.full_bits:.3f} bits a character), at the same {result.positions} characters each "
        "time. The rest gave way",
        "to another part of the same text, or (reset) to nothing. The effective context is the",
        f"least from which the upper bound stays under {BAR_BITS} bits, 1 % of perplexity.",
    ]


def _mined_legend(result: MinedResult) -> list[str]:
    lines = [
        "Bits a whole target, with 95 % intervals. Gain: how much cheaper it is with its cue in",
        "view than with everything up to the cue's end swapped for another part of the text.",
    ]
    if result.ngram:
        lines += [f"Then how much cheaper it is than for a {result.ngram} of the training text."]
    return [*lines, f"Looked for in {result.chars} characters."]
