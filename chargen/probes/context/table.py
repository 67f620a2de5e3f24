"""What instrument (b) found, as text for a terminal."""

from __future__ import annotations

from chargen.probes.context.measure import BAR_BITS, ContextResult, ContextRow
from chargen.probes.mined.result import FEWEST_CASES, MinedResult, MinedRow
from chargen.probes.statistics.intervals import Estimate
from chargen.render.tables import NO_NUMBER, aligned, between, ruled, timesteps_limit
from chargen.render.text import counted


def context_table(result: ContextResult) -> str:
    """One row a context: the excess of swap with its interval, that of reset, where they differ.

    A first line says what was found; a rule marks the length that gradients travelled in training.
    """
    lines = [result.finding()]
    if result.rows:
        head = ["in view", "lost", "95 %", "reset", ""]
        table = aligned([head, *(_context_cells(result, row) for row in result.rows)])
        contexts = [row.context for row in result.rows]
        limits = timesteps_limit(result.trained_timesteps)
        lines += ["", *ruled(table, contexts, limits), "", *_legend(result)]
    return "\n".join(lines) + "\n"


def mined_table(result: MinedResult) -> str:
    """For each kind one row a distance: what targets cost and gained, with intervals.

    A bin of too few cases shows how many it has and no number, a kind of such bins one line.
    """
    lines = [result.finding()]
    for kind in dict.fromkeys(row.kind for row in result.rows):
        rows = result.of_kind(kind)
        if not any(row.gain for row in rows):
            cases = counted(sum(row.cases for row in rows), "case")
            lines += ["", f"{kind}: {cases} in all, too few at every distance"]
            continue
        gains = [cell for name in _gains(result, rows[0]) for cell in (name, "95 %")]
        control = ["untrained"] if _has_control(result) else []
        head = ["distance", "cases", "bits", *gains, *control, ""]
        table = aligned([head, *(_mined_cells(result, row) for row in rows)])
        limits = timesteps_limit(result.trained_timesteps)
        lines += ["", kind, *ruled(table, [row.distance for row in rows], limits)]
    return "\n".join([*lines, "", *_mined_legend(result)]) + "\n"


def _gains(result: MinedResult, row: MinedRow) -> dict[str, Estimate | None]:
    """What stands in a row's columns, by their names; the same columns in each row."""
    gains = {"gain": row.gain}
    return gains | ({f"over {result.ngram}": row.over_ngram} if result.ngram else {})


def _has_control(result: MinedResult) -> bool:
    return any(row.untrained for row in result.rows)


def _context_cells(result: ContextResult, row: ContextRow) -> list[str]:
    swap, reset = row.swap, row.reset
    notes = ["effective context"] * (row.context == result.effective[0])
    notes += ["swap and reset disagree"] * row.disagree
    return [
        str(row.context),
        f"{swap.value:.4f}",
        between(swap, 4),
        f"{reset.value:.4f}" if reset else "",
        ", ".join(notes),
    ]


def bin_name(row: MinedRow) -> str:
    """The distances of a row, ``8–15``, or the one that it is."""
    most = row.distance_most
    return str(row.distance) if most == row.distance else f"{row.distance}–{most}"


def _mined_cells(result: MinedResult, row: MinedRow) -> list[str]:
    cells = [
        bin_name(row),
        str(row.cases),
        f"{row.target_bits.value:.2f}" if row.target_bits else NO_NUMBER,
    ]
    for found in _gains(result, row).values():
        cells += [f"{found.value:.2f}", between(found, 2)] if found else [NO_NUMBER, ""]
    if _has_control(result):
        cells.append(f"{row.untrained.value:.2f}" if row.untrained else NO_NUMBER)
    return [*cells, "" if row.gain else f"under {FEWEST_CASES} cases"]


def _legend(result: ContextResult) -> list[str]:
    return [
        "Bits a character lost with only so many characters in view, against all (at least "
        f"{result.full};",
        f"{result.full_bits:.3f} bits a character), at the same "
        f"{counted(result.positions, 'character')} each time. The rest gave way",
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
    if _has_control(result):
        lines += ["untrained: what a network of the same shape gains that learned nothing."]
    return [*lines, f"Looked for in {counted(result.chars, 'character')}."]
