"""Report of the context instrument: excess bits by context, and where the loss is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from chargen.probes.context.result import THRESHOLD_BITS, BitsComparison, ContextResult
from chargen.render import report as kit
from chargen.render.by_distance import Series, chart, finding, styles, table
from chargen.render.figures import CONTROL, INK, MODEL, SECOND, Axes
from chargen.render.text import counted
from chargen.text.statistics import decay_sentence

NAME, TITLE = "context", "Effective context length"
Found = Mapping[str, tuple[ContextResult, ContextResult | None]]
"""Results of the trained and the untrained network, if there is one, by run."""

MEANING = (
    "With so many characters of context a model predicts this text as well as with full context, "
    "to within 1% of perplexity. A model that uses more does not necessarily predict better."
)
EXCESS = (
    "Excess bits per character when all but the last n characters are replaced by text of another "
    "document (swap) or removed (reset: the model starts from the zero state), at the same "
    "positions for every n, with 95% intervals. Untrained: swap, in a network before training."
)
METHOD = (
    "Swap, the headline, keeps the hidden state natural. The zero state is rare in training; a few "
    "first characters can spoil all later predictions.",
    "Excess is paired position by position. Intervals are from the means of blocks of text, which "
    "are lengthened until the variance of their mean grows no further. They are for this text.",
    "A model of strings scores continuations of 8 to 32 characters as a whole. Only the first "
    "character has n of context, the last up to n + 31: below about 16 the curve is coarse.",
    "In a single document, swap takes another part of it, which shares its subject. The excess is "
    "then a lower bound; --swap-text names another text.",
    "The effective context length is the smallest n from which the mean excess stays under "
    f"{THRESHOLD_BITS} bits (after Khandelwal et al., 2018, arXiv 1805.04623), its interval that "
    "of the bounds of the excess. A mean over all characters hides memory that matters once "
    "in a thousand, and this text may require little context.",
)


def section(found: Found, comparisons: Sequence[BitsComparison] = ()) -> kit.Section:
    """Report one run or several, by their short names, which ``comparisons`` have too."""
    trained = {run: result for run, (result, _) in found.items()}
    known = {run: results for run, results in found.items() if results[0].rows}
    text = finding(trained, ContextResult.finding, ContextResult.effective_text)
    blocks: list[kit.Block] = [*(_by_context(known, text) if known else ())]
    if comparisons:
        rows = [
            [f"{one.first} − {one.second}", f"{by.value:+.4f}", kit.between(by, 4)]
            for one in comparisons
            for by in [one.difference]
        ]
        caption = "Paired difference in bits per character with full context."
        blocks.append(kit.Table(["runs", "difference", "95%"], rows, caption))
    for run, results in known.items():
        own = _by_context({run: results})[1:] if len(known) > 1 else ()
        blocks.append(kit.Details(f"{run}: where the loss is", [*own, *_places(run, results[0])]))
    counts = dict.fromkeys(map(_predicted, trained.values()))
    seed = next(iter(trained.values())).seed
    blocks.append(kit.method([*METHOD, " ".join([*counts, f"Seed {seed}."])]))
    return kit.Section(NAME, TITLE, text, MEANING if known else "No claim is made.", blocks)


def _predicted(result: ContextResult) -> str:
    parts = f", {counted(result.continuations, 'continuation')}," * bool(result.continuations)
    before = f"with at least {result.full} before"
    return f"{result.positions} characters{parts} are predicted, {before}."


def _by_context(known: Found, text: str = "") -> tuple[kit.Figure, kit.Table]:
    """Draw and tabulate the excess after swap of each run, for a single one with its controls."""
    (result, untrained), *others = known.values()
    contexts = [row.context for row in result.rows]
    series = [
        Series(run, contexts, [row.swap for row in one.rows], style)
        for (run, (one, _)), style in zip(known.items(), styles(known).values(), strict=True)
    ]
    limits = marks = kit.training_limits({run: one for run, (one, _) in known.items()})
    notes = None
    if not others:
        series = [replace(series[0], head="swap", label="swap: context replacement")]
        resets = [row.reset for row in result.rows]
        series.append(Series("reset", contexts, resets, SECOND, "reset: zero state"))
        if untrained and untrained.rows:
            control = [row.swap for row in untrained.rows]
            series.append(Series("untrained", contexts, control, CONTROL, "untrained, swap"))
        if result.effective:
            marks = [*limits, (result.effective, f"effective context length {result.effective}")]
        notes = ["effective" * (n == result.effective) for n in contexts]

    def draw(axes: Axes) -> None:
        low, high = result.effective_low, result.effective_high or contexts[-1]
        if low and low != result.effective_high and not others:
            name = "effective context length, 95% interval"
            axes.axvspan(low, high, color=MODEL, alpha=0.1, linewidth=0, label=name)
        axes.set_yscale("symlog", linthresh=THRESHOLD_BITS)
        axes.yaxis.set_major_formatter("{x:g}")
        name = f"threshold: {THRESHOLD_BITS} bits, 1% of perplexity"
        axes.axhline(THRESHOLD_BITS, color=INK, linewidth=1, linestyle=":", label=name)
        axes.axhline(0, color=INK, linewidth=1)
        if grams := [] if others else [one for one in result.ngrams if one.order > 1]:
            lowest = min(one.bits.value for one in grams)
            over = [one.bits.value - lowest for one in grams]
            name = "n-grams of the training text, over the best one"
            axes.plot([one.order - 1 for one in grams], over, color=INK, ls="--", lw=1, label=name)

    labels = "characters of context", "excess bits per character"
    drawn = chart(series, contexts[1:], marks, labels, draw)
    caption = "Excess bits per character by characters of context, with 95% intervals."
    show, rules = partial(kit.estimate, digits=4), kit.rules_at(contexts, limits)
    return (
        kit.Figure(NAME, drawn, f"Excess bits by context: {text}", caption),
        table({"n": [*map(str, contexts)]}, series, show, EXCESS, rules, notes),
    )


def _places(run: str, result: ContextResult) -> Iterator[kit.Table]:
    if classes := result.classes:
        places = (*classes, *result.beginnings)
        rows = [["all", str(result.positions), f"{result.full_bits:.3f}"]]
        rows += [[one.name, str(one.positions), kit.estimate(one.bits, 3)] for one in places]
        caption = f"{run}: bits per character with full context by character class, and by "
        caption += "characters since the document began."
        yield kit.Table(["where", "positions", "bits (95%)"], rows, caption)
        rows = [
            [str(row.context), *(f"{one.excess[place].value:.4f}" for one in classes), ""]
            for place, row in enumerate(result.rows)
        ]
        caption = f"{run}: excess bits per character after swap by character class."
        yield kit.Table(["n", *(one.name for one in classes), ""], rows, caption)
    if result.ngrams:
        rows = [
            [str(one.order), f"{one.bits.value:.3f}", kit.estimate(one.gain, 4)]
            for one in result.ngrams
        ]
        caption = f"{run}: n-grams of the training text at the same positions; the gain is over "
        caption += "the order above. Where it ends, this text shows no use of more context."
        yield kit.Table(["order", "bits", "gain (95%)"], rows, caption)
    if (text := result.text_memory) and (sample := result.sample_memory):
        rows = [
            [str(d), *(f"{one.bits[i]:.4f} ({one.low[i]:.4f} to {one.high[i]:.4f})"
                       for one in (text, sample))]
            for i, d in enumerate(text.distances)
        ]  # fmt: skip
        caption = f"{run}: mutual information in bits between characters at a distance, with 95% "
        caption += f"intervals. Text: {decay_sentence(text)} Sample: {decay_sentence(sample)}"
        yield kit.Table(["distance", "this text", "sample of the model"], rows, caption)


def columns(result: ContextResult) -> dict[str, dict[int, str]]:
    """Return the excess by context for a summary."""
    cells = {row.context: kit.estimate(row.swap, 3) for row in result.rows}
    return {"excess bits": cells} if cells else {}
