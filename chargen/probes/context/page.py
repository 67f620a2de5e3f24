"""What instrument (b) found, as two sections of a page."""

from __future__ import annotations

from collections.abc import Sequence

from chargen.probes import TITLES
from chargen.probes.context.measure import BAR_BITS, ContextResult, ContextRow
from chargen.probes.context.plot import context_figure, mined_figure
from chargen.probes.mined.result import FEWEST_CASES, MinedResult, MinedRow
from chargen.render import html
from chargen.render import page_parts as parts
from chargen.render.figures import PAGE
from chargen.render.page_parts import Glance

CONTEXT, MINED = "context", "mined"
DRAWN = "Places and draws of seed {}."
CONTEXT_ASKED = (
    "The model reads text that it was not trained on, and everything but the last n characters is "
    "taken away. How many bits more does the next character cost? Where nothing is lost, "
    "the model made no use of what was taken."
)
CONTEXT_METHOD = (
    "Swap, which counts: another part of the same text stands in place of what was taken, so that "
    "the state stays one that text leads to. Reset: the model begins at the n characters with a "
    "state of zeros, in which it seldom was in training and from which a few beginnings lead it "
    "astray for good. Where the two disagree, the finding says so.",
    "The same characters are predicted for every n, and what they cost with all in view is "
    "subtracted one by one.",
    "Intervals are from a bootstrap of blocks of text, since neighbours are not independent.",
    f"The effective context is the smallest n from which on the upper bound of the loss stays "
    f"under {BAR_BITS} bits, 1 % of perplexity (after Khandelwal et al., 2018, on characters).",
)
CONTEXT_LIMITS = (
    "It is an average over all characters. Most of them are told by the few before, so that a "
    "memory which matters once in a thousand characters hardly shows; that a model uses little "
    "says also that this text asks for little."
)
MINED_MEANING = (
    "A word that returns, a bracket that closes: how much better they are predicted because what "
    "they go back to was seen, so far away. No gain: what stood there is not used."
)
MINED_ASKED = (
    "Where a text itself hangs on what stood before, that place can be looked up: a word that "
    "comes back after one earlier use, a bracket or a quotation mark that closes. How many bits "
    "cheaper is it to predict with the earlier place, its cue, in view?"
)
MINED_METHOD = (
    "Gain over swap: everything up to the end of the cue gives way to another part of the text, "
    "about as long, which does not hold that word or await that closing character.",
    "Gain over the n-gram: the same places predicted by a table that sees only the characters just "
    "before them. Gains over both are needed before one speaks of memory: a word may be easy from "
    "its neighbours alone.",
    f"Distances in powers of two. With under {FEWEST_CASES} cases no number is told. "
    "Intervals are from a bootstrap of blocks of text.",
)
MINED_LIMITS = (
    "The cue goes with all that stood before it, so the gain is that of both; and the places are "
    "only as good as a rule without any understanding finds them."
)


def context_glance(result: ContextResult) -> Glance:
    """What was found, in a sentence and in plain words."""
    if result.refusal:
        meaning = "Nothing is claimed."
    elif result.effective[0] is None:
        meaning = (
            f"Even with {result.rows[-1].context} characters in view it was not shown to predict "
            "this text as well as with all of it."
        )
    elif result.effective[0] == 0:
        meaning = "It predicts this text as well with nothing of it in view."
    else:
        meaning = (
            f"With its last {result.effective[0]} characters in view it predicts this text as well "
            "as with all of it, to within 1 % of perplexity. What lies farther back hardly counts."
        )
    return Glance(CONTEXT, TITLES[CONTEXT], result.finding(), meaning)


def mined_glance(result: MinedResult) -> Glance:
    """What was found, in a sentence and in plain words."""
    return Glance(MINED, TITLES[MINED], result.finding(), MINED_MEANING)


def context_section(result: ContextResult, untrained: ContextResult) -> str:
    """The result beside that of an untrained network."""
    return parts.section(
        CONTEXT,
        TITLES[CONTEXT],
        parts.finding(result.finding()),
        parts.paragraph(CONTEXT_ASKED),
        *(_context_measured(result, untrained) if result.rows else []),
        _untrained(untrained),
        context_explained(result),
    )


def mined_section(result: MinedResult) -> str:
    """The result, each kind with a table of its own."""
    kinds = dict.fromkeys(row.kind for row in result.rows)
    return parts.section(
        MINED,
        TITLES[MINED],
        parts.finding(result.finding()),
        parts.paragraph(MINED_ASKED),
        _mined_drawn(result) if any(row.gain for row in result.rows) else "",
        *(_mined_table(result, kind, result.of_kind(kind)) for kind in kinds),
        mined_explained(result),
    )


def context_explained(result: ContextResult) -> str:
    """How truncation is asked, and what that does not say."""
    method = [*CONTEXT_METHOD, *_context_counts(result)]
    return parts.explained(method, CONTEXT_LIMITS, DRAWN.format(result.seed))


def mined_explained(result: MinedResult) -> str:
    """How mined dependencies are asked, and what that does not say."""
    method = [*MINED_METHOD, f"Looked for in {result.chars:,} characters."]
    return parts.explained(method, MINED_LIMITS, DRAWN.format(result.seed))


def _context_measured(result: ContextResult, untrained: ContextResult) -> list[str]:
    caption = (
        "Bits a character lost with only so many in view. Bars are 95 % intervals; under "
        "the dotted line a loss counts as none. The upright lines: the effective context, with its "
        "interval as a band where it has one, and how far back errors were passed in training. "
        "Grey: a network that was never trained."
    )
    label = f"Bits lost by characters in view: {result.finding()}"
    return [
        parts.figure(context_figure(result, "", untrained, PAGE), CONTEXT, label, caption),
        _context_table(result, _lost(result)),
    ]


def _context_counts(result: ContextResult) -> list[str]:
    if not result.rows:
        return []
    return [f"{result.positions} characters were predicted; all in view: {result.full} or more."]


def _untrained(result: ContextResult) -> str:
    table = _context_table(result, _lost(result)) if result.rows else ""
    return parts.details(f"An untrained network: {result.finding()}", table)


def _lost(result: ContextResult) -> str:
    return f"Bits a character lost, with 95 % intervals, against {result.full_bits:.3f} with all."


def _context_table(result: ContextResult, caption: str) -> str:
    header = ["in view", "swap", "reset", "reset less swap", ""]
    return html.table(header, [_context_cells(result, row) for row in result.rows], caption)


def _context_cells(result: ContextResult, row: ContextRow) -> list[str]:
    notes = ["effective context"] * (row.context == result.effective[0])
    notes += [_beyond(result.trained_timesteps)] * bool(row.beyond_timesteps)
    notes += ["swap and reset disagree"] * row.disagree
    numbers = [parts.estimate(found, 4) for found in (row.swap, row.reset, row.difference)]
    return [str(row.context), *numbers, ", ".join(notes)]


def _beyond(timesteps: int | None) -> str:
    return f"beyond --timesteps {timesteps}"


def _mined_drawn(result: MinedResult) -> str:
    caption = (
        "Bits that a whole word or closing character gained from its cue, by how far back the cue "
        "lies. Each point stands for distances of one power of two, bars are 95 % intervals; at "
        "the level line there is no gain."
    )
    label = f"Bits gained by distance: {result.finding()}"
    return parts.figure(mined_figure(result, size=PAGE), MINED, label, caption)


def _mined_table(result: MinedResult, kind: str, rows: Sequence[MinedRow]) -> str:
    if not any(row.gain for row in rows):
        cases = sum(row.cases for row in rows)
        return parts.paragraph(f"{kind}: {cases} cases in all, too few at every distance.")
    over = [f"gain over a {result.ngram}"] if result.ngram else []
    idle = ["untrained, gain over swap"] if any(row.untrained for row in rows) else []
    header = ["distance", "cases", "bits", "gain over swap", *over, *idle, ""]
    cells = [_mined_cells(result, row, bool(idle)) for row in rows]
    return html.table(
        header, cells, f"{kind}: bits a target, and what it gains, with 95 % intervals."
    )


def _mined_cells(result: MinedResult, row: MinedRow, idle: bool) -> list[str]:
    found = [row.target_bits, row.gain, *([row.over_ngram] if result.ngram else [])]
    found += [row.untrained] if idle else []
    notes = [f"under {FEWEST_CASES} cases"] * (row.gain is None)
    notes += [_beyond(result.trained_timesteps)] * bool(row.beyond_timesteps)
    far = f"{row.distance}–{row.distance_most}" if row.distance_most > row.distance else "1"
    return [far, str(row.cases), *(parts.estimate(one, 2) for one in found), ", ".join(notes)]
