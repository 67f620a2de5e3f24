"""Report of the context instrument: summary, excess bits by context, figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from chargen.probes.context.result import (
    THRESHOLD_BITS,
    BitsComparison,
    ContextResult,
    ContextRow,
)
from chargen.render import figures
from chargen.render.figures import GREY, INK, LEAD, MODEL, OTHER, Size
from chargen.render.report import (
    NO_NUMBER,
    Block,
    Details,
    Figure,
    Section,
    Table,
    Text,
    between,
    estimate,
    method,
    rules_at,
    training_limits,
)
from chargen.text.statistics import decay_sentence

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

NAME, TITLE = "context", "Effective context length"
Found = Mapping[str, tuple[ContextResult, ContextResult | None]]
"""Results of the trained and the untrained network, if there is one, by run."""

CONTROL: dict[str, Any] = {"color": GREY, "marker": "v", "linestyle": ":", "markersize": 4}
RESET: dict[str, Any] = {"color": OTHER, "marker": "s", "linestyle": "--", "markersize": 4}
QUESTION = (
    "The model reads text that it was not trained on, and all but the last n characters are "
    "replaced. The excess bits measure how much worse it predicts the next character. Excess of "
    "zero means that the model did not use the replaced text."
)
EXCESS = (
    "Excess bits per character when all but the last n characters are replaced by text of another "
    "document (swap) or removed (reset: the model starts from the zero state), at the same "
    "positions for every n, with 95% intervals."
)
SUMMARY = (
    "Effective context length: the smallest n from which the mean excess stays under "
    f"{THRESHOLD_BITS} bits, 1% of perplexity; the interval is that of the bounds of the excess. "
    "Bits per character: with full context. Untrained: effective context length of a network of "
    "the same shape before training."
)
METHOD = (
    "Swap, the headline, keeps the hidden state natural. Reset starts from the zero state, which "
    "is rare in training; a few first characters can spoil all later predictions. The finding "
    "names the contexts where the two disagree.",
    "The same characters are predicted for every n, and excess is paired position by position.",
    "Intervals are from the means of blocks of text, because neighbouring characters are not "
    "independent; the blocks are lengthened until the variance of their mean grows no further.",
    "In a single document, swap takes another part of it, which shares its subject. The excess is "
    "then a lower bound; --swap-text names another text.",
    f"The threshold of {THRESHOLD_BITS} bits follows Khandelwal et al., 2018 (arXiv 1805.04623), "
    "applied to characters.",
)
LIMITS = (
    "Excess is a mean over all characters. Most of them depend on the few before, so memory that "
    "matters once in a thousand characters hardly shows. A short effective context length can also "
    "mean that this text requires little context."
)


def section(found: Found, comparisons: Sequence[BitsComparison] = ()) -> Section:
    """Report one run or several.

    Args:
        found: results of the trained and the untrained network, by the run's short name.
        comparisons: paired differences in bits, with the same names.
    """
    known = {run: trained for run, (trained, _) in found.items() if trained.rows}
    blocks: list[Block] = [Text(QUESTION)]
    if known:
        blocks += [_figure(found, known), _excess(known)]
    blocks.append(_summary(found))
    if comparisons:
        blocks.append(_compared(comparisons))
    blocks += [_details(run, *results) for run, results in found.items()]
    blocks += [
        Details(f"{run}: where the loss is", _places(run, one)) for run, one in known.items()
    ]
    return Section(NAME, TITLE, _finding(found), _meaning(found), [*blocks, _method(found)])


def _places(run: str, result: ContextResult) -> list[Block]:
    """Tabulate the loss by class, distance from the beginning and order of an n-gram."""
    blocks: list[Block] = []
    if classes := result.classes:
        rows = [
            ["positions", *(str(one.positions) for one in classes), ""],
            ["bits", *(f"{one.bits.value:.3f}" for one in classes), ""],
        ]
        for place, row in enumerate(result.rows):
            excess = (one.excess[place] for one in classes)
            rows.append([str(row.context), *(f"{one.value:.4f}" for one in excess), ""])
        caption = (
            f"{run}: bits per character with full context, then excess bits by n, by character"
        )
        blocks.append(Table(["n", *(one.name for one in classes), ""], rows, f"{caption} class."))
    if result.beginnings:
        rows = [[one.name, str(one.positions), estimate(one.bits, 3)] for one in result.beginnings]
        caption = f"{run}: bits per character by characters since the document began."
        blocks.append(Table(["distance", "positions", "bits (95%)"], rows, caption))
    if result.ngrams:
        rows = [
            [str(one.order), str(one.order - 1), f"{one.bits.value:.3f}", estimate(one.gain, 4)]
            for one in result.ngrams
        ]
        caption = (
            f"{run}: n-grams of the training text at the same positions; the gain is over the "
        )
        caption += "order above. Where it ends, this much text shows no use of more context."
        blocks.append(Table(["order", "context", "bits", "gain (95%)"], rows, caption))
    if (text := result.text_memory) and (sample := result.sample_memory):
        rows = [
            [str(d), *(f"{one.bits[i]:.4f} ({one.low[i]:.4f} to {one.high[i]:.4f})"
                       for one in (text, sample))]
            for i, d in enumerate(text.distances)
        ]  # fmt: skip
        caption = f"{run}: mutual information in bits between characters at a distance, with 95% "
        caption += f"intervals. Text: {decay_sentence(text)} Sample: {decay_sentence(sample)}"
        blocks.append(Table(["distance", "this text", "sample of the model"], rows, caption))
    return blocks


def _finding(found: Found) -> str:
    if len(found) == 1:
        return next(iter(found.values()))[0].finding()
    results = ((run, trained) for run, (trained, _) in found.items())
    return "; ".join(f"{run} {one.refusal or one.effective_text()}" for run, one in results)


def _meaning(found: Found) -> str:
    if len(found) > 1:
        return (
            "With that many characters of context each model predicts this text as well as with "
            "full context, to within 1% of perplexity. This does not rank the models: a model that "
            "uses more context does not necessarily predict better."
        )
    ((result, _),) = found.values()
    if result.refusal:
        return "No claim is made."
    if result.effective is None:
        return (
            f"Even {result.rows[-1].context} characters of context are not shown to suffice to "
            "predict this text as well as with full context."
        )
    if result.effective == 0:
        return "The model predicts this text as well without any context."
    return (
        f"With {result.effective} characters of context the model predicts this text as well as "
        "with full context, to within 1% of perplexity. Earlier text has little effect."
    )


def _excess(known: Mapping[str, ContextResult]) -> Table:
    one = next(iter(known.values())) if len(known) == 1 else None
    header = ["n", *(cell for run in known for cell in ("swap" if one else run, "95%"))]
    header += ["reset", ""] if one else [""]
    rows = []
    for columns in zip(*(result.rows for result in known.values()), strict=True):
        cells = [str(columns[0].context)]
        for row in columns:
            cells += [f"{row.swap.value:.4f}", between(row.swap, 4)]
        if one:
            reset = columns[0].reset
            cells += [f"{reset.value:.4f}" if reset else "", _note(one, columns[0])]
        else:
            cells.append("")
        rows.append(cells)
    contexts = [row.context for row in next(iter(known.values())).rows]
    return Table(header, rows, EXCESS, rules_at(contexts, training_limits(known)))


def _note(result: ContextResult, row: ContextRow) -> str:
    notes = ["effective context length"] * (row.context == result.effective)
    notes += ["swap and reset disagree"] * row.disagree
    return ", ".join(notes)


def _summary(found: Found) -> Table:
    header = ["run", "context", "95%", "bits/char", "untrained", "--timesteps", ""]
    return Table(header, [_summary_cells(run, *results) for run, results in found.items()], SUMMARY)


def _summary_cells(run: str, result: ContextResult, untrained: ContextResult | None) -> list[str]:
    steps = str(result.trained_timesteps or NO_NUMBER)
    if result.refusal:
        return [run, *[NO_NUMBER] * 4, steps, result.refusal]
    value, low, high = _bounds(result)
    bits = f"{result.full_bits:.3f}"
    control = _bounds(untrained)[0] if untrained else NO_NUMBER
    return [run, value, f"{low}–{high}", bits, control, steps, ""]


def _bounds(result: ContextResult) -> list[str]:
    bounds = (result.effective, result.effective_low, result.effective_high)
    return [f">{result.rows[-1].context}" if n is None else str(n) for n in bounds]


def _compared(comparisons: Sequence[BitsComparison]) -> Table:
    rows = [
        [f"{one.first} − {one.second}", f"{by.value:+.4f}", between(by, 4)]
        for one in comparisons
        for by in [one.difference]
    ]
    caption = "Paired difference in bits per character with full context, at the same positions."
    return Table(["runs", "difference", "95%"], rows, caption)


def _details(run: str, result: ContextResult, untrained: ContextResult | None) -> Details:
    networks = {"trained": result} | ({"untrained": untrained} if untrained else {})
    blocks: list[Block] = []
    for name, one in networks.items():
        blocks.append(Text(f"{run}, {name}: {one.finding()}."))
        if one.rows:
            rows = []
            for row in one.rows:
                cells = (estimate(found, 4) for found in (row.swap, row.reset, row.difference))
                rows.append([str(row.context), *cells, _note(one, row)])
            caption = (
                f"{run}, {name}: excess bits per character over {one.full_bits:.3f} with full "
                "context, with 95% intervals."
            )
            blocks.append(Table(["n", "swap", "reset", "reset − swap", ""], rows, caption))
    return Details(f"{run}: swap, reset and the untrained network", blocks)


def _method(found: Found) -> Details:
    result = next(iter(found.values()))[0]
    counts = (
        f"{result.positions} characters are predicted; full context is at least {result.full} "
        f"characters. Seed {result.seed}."
    )
    return method([*METHOD, counts], Text(LIMITS))


def _figure(found: Found, known: Mapping[str, ContextResult]) -> Figure:
    caption = "Excess bits per character by characters of context (swap), with 95% intervals. "
    caption += f"Under the dotted line, {THRESHOLD_BITS} bits, excess counts as zero."
    label = f"Excess bits by context: {_finding(found)}"
    return Figure(NAME, partial(_draw, found, known), label, caption)


def _draw(found: Found, known: Mapping[str, ContextResult], size: Size, title: str) -> Drawing:
    figure = figures.new_figure(size)
    axes = figure.add_subplot()
    limits = training_limits(known)
    # The logarithmic axis has no place for context 0.
    contexts = [row.context for row in next(iter(known.values())).rows[1:]]
    if len(known) == 1:
        ((run, result),) = known.items()
        untrained = found[run][1]
        if untrained and untrained.rows:
            swaps = [row.swap for row in untrained.rows[1:]]
            figures.curve(axes, contexts, swaps, "untrained, swap", **CONTROL)
        resets = [row.reset for row in result.rows[1:]]
        figures.curve(axes, contexts, resets, "reset: zero state", **RESET)
        swaps = [row.swap for row in result.rows[1:]]
        figures.curve(axes, contexts, swaps, "swap: context replacement", **LEAD)
        low, high = result.effective_low, result.effective_high
        if low and low != high:
            band = "effective context length, 95% interval"
            ends = (low, high or contexts[-1])
            axes.axvspan(*ends, color=MODEL, alpha=0.1, linewidth=0, label=band)
        if result.effective:
            limits = [*limits, (result.effective, f"effective context length {result.effective}")]
    else:
        for (run, result), style in zip(known.items(), figures.curve_styles(), strict=False):
            swaps = [row.swap for row in result.rows[1:]]
            figures.curve(axes, contexts, swaps, run, **style)
    axes.set_yscale("symlog", linthresh=THRESHOLD_BITS)
    axes.yaxis.set_major_formatter("{x:g}")
    threshold = f"threshold: {THRESHOLD_BITS} bits, 1% of perplexity"
    axes.axhline(THRESHOLD_BITS, color=INK, linewidth=1, linestyle=":", label=threshold)
    axes.axhline(0, color=INK, linewidth=1)
    figures.limits(axes, contexts, limits, size)
    figures.powers_of_two(axes, contexts)
    figures.dress(axes, size, "characters of context", "excess bits per character")
    figures.finish(figure, size, title)
    return figure


def columns(result: ContextResult) -> dict[str, dict[int, str]]:
    """Return the excess by context for a summary."""
    cells = {row.context: estimate(row.swap, 3) for row in result.rows}
    return {"excess bits": cells} if cells else {}
