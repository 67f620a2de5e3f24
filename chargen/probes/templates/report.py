"""Report of the cloze sentences: accuracy by span, beside the controls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from chargen.datasets.longrange import LONGEST_SPAN
from chargen.probes.statistics.span50 import Span50
from chargen.probes.templates.result import (
    KNOWLEDGE_GATE,
    SIGNIFICANCE,
    Demonstration,
    DistractorTally,
    PairComparison,
    SpanResult,
    Tally,
    TemplatesResult,
    finding_of,
)
from chargen.render import figures
from chargen.render.figures import GREY, INK, LEAD, MODEL, PAPER, Size
from chargen.render.report import (
    NO_NUMBER,
    Bars,
    Block,
    Bullets,
    Details,
    Figure,
    Part,
    Section,
    Sentence,
    Table,
    Text,
    between,
    method,
    percent,
    rules_at,
    training_limits,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

Results = Mapping[str, TemplatesResult]
"""Results by the run's short name."""

NAME, TITLE = "templates", "Cloze sentences"
SHOWN_FILLER = 40  # characters at each end of a long filler
MIDDLE = 0.5  # accuracy below which a control counts as dropped
QUESTION = (
    "“The clouds are in the sky”: the last few characters suffice to guess the last word. “I grew "
    "up in France, and … I speak fluent French”: the word that determines the last one is a clause "
    "away. The model completes sentences of the second kind with ever more characters between the "
    "word that determines the answer, the cue, and the answer, the target. An answer is correct if "
    "the correct word gets the highest probability among all candidates."
)
METHOD = (
    "Every candidate is the answer equally often; candidates have equal length and differ in their "
    "first character. A constant answer scores exactly chance.",
    "Each sentence follows other text of the same kind, whose length does not depend on the span.",
    "The filler between cue and target says nothing about the answer. Its phrases do not occur in "
    "the training corpus, except at spans 4 and 8, which have no room for a phrase.",
    "Half of the sentences contain a distractor: a cue, before the sentence or after its cue, that "
    "belongs to the answer as often as to any other target. Chance is the same beside it.",
    "Controls complete half of the sentences without a distractor. The model with its cue deleted "
    "and an "
    "untrained network must stay at chance; an n-gram succeeds only within its order.",
    "D is the number of bits by which the cue alone moves the choice between its own answer and "
    "another (median over the sentences without a distractor); 0 means that the cue has no effect. "
    "It shows traces of memory that are too weak for a correct answer.",
    "Two questions have two intervals. Facts like these: facts are resampled, each with its "
    "sentences; this interval is the headline, and that of span50. Other sentences from this bank: "
    "a Wilson interval, in which equal sentences are one observation; every other interval of an "
    "accuracy is of this kind.",
    f"A model remembers a span if the lower bound for facts like these is at least "
    f"{KNOWLEDGE_GATE:.0%} up to there. Where accuracy at the shortest span is below "
    f"{KNOWLEDGE_GATE:.0%}, the facts were not learned and nothing is claimed.",
    "span50 is the span at which accuracy has fallen half-way from its ceiling to chance. It comes "
    "from a monotone (isotonic) fit, interpolated in log2 of the span, and its interval from a "
    "bootstrap. Outside the measured spans it is printed as > or <; accuracy that does not fall "
    "with the span is reported as “no fit”.",
)
LIMITS = (
    "This is one kind of fact, stated once in a short sentence, and the model was trained to "
    "recall it: the result is no bound on what it remembers of other text. One trained model is "
    "one seed; "
    "it says nothing about other models of the same architecture."
)
COMPARED = (
    "Pairs of runs are compared sentence by sentence (exact McNemar test, in which tied targets "
    "share the credit), with Holm’s correction for the number of spans and pairs."
)
DEMONSTRATION = (
    "Demonstration, not a measurement: the probabilities of a few endings of two sentences, "
    "normalized to 1, and the bits per character of each ending."
)


def section(
    results: Results,
    pairs: Sequence[PairComparison] = (),
    demonstrations: Mapping[str, Sequence[Demonstration]] | None = None,
) -> Section:
    """Report one run or several.

    Args:
        results: results by the run's short name.
        pairs: comparisons of the runs that claim something, with the same names.
        demonstrations: example sentences of the runs that claim nothing.
    """
    several = len(results) > 1
    known = {run: result for run, result in results.items() if not result.refusal}
    shown = known or {run: result for run, result in results.items() if result.rows}
    first = next(iter((shown or results).values()))
    blocks: list[Block] = [Text(QUESTION)]
    if known:
        blocks.append(_figure(known))
    if shown:
        examples = [] if several else [*_examples(first.rows)]
        blocks += [*examples, _accuracy_table(shown), _measures_table(shown)]
        blocks.append(Details("All intervals", [*map(_interval_table, shown.values())]))
        by_fact = [table for run in shown.items() for table in _fact_tables(*run)]
        blocks += [Details("Accuracy by fact", by_fact)] if by_fact else []
    if several:
        blocks += [_runs_table(results), *(_pair_table(pair) for pair in pairs)]
        findings = [f"{run}: {result.finding()}" for run, result in results.items()]
        blocks.append(Details("Finding of each run", [Bullets(findings)]))
    for run, sentences in (demonstrations or {}).items():
        blocks += _demonstration(run if several else "", sentences)
    bank = Text(f"Phrases from {first.bank}, sentences of seed {first.seed}.", "note")
    blocks.append(method([*METHOD, *([COMPARED] if pairs else [])], Text(LIMITS), bank))
    finding = finding_of(results, pairs) if several else first.finding()
    meaning = _meaning_of_several(bool(pairs)) if several else _meaning(first)
    return Section(NAME, TITLE, finding, meaning, blocks)


def _examples(rows: Sequence[SpanResult]) -> Iterator[Sentence]:
    """Show a sentence of the shortest, the middle and the longest span."""
    for row in {row.span: row for row in (rows[0], rows[len(rows) // 2], rows[-1])}.values():
        if (one := row.example) is None:
            continue
        cut = len(one.filler) - 2 * SHOWN_FILLER
        filler = one.filler
        if cut > SHOWN_FILLER:
            filler = f"{filler[:SHOWN_FILLER]} […] {filler[-SHOWN_FILLER:]}"
        correct = one.chosen == one.answer
        note = f"span {row.span}: correct" if correct else f"span {row.span}: chose {one.chosen}"
        before = "…" + one.before.replace("\n", " ")
        parts: list[Part] = [(before, ""), (one.cue, "cue"), (filler, "")]
        yield Sentence([*parts, (one.answer, "answer" if correct else "wrong")], note)


def _figure(known: Results) -> Figure:
    frames = min(row.frames for result in known.values() for row in result.rows)
    if len(known) > 1:
        curves = "One curve per run; a hollow diamond marks its span50."
    else:
        curves = "Dotted: controls without memory; an n-gram succeeds within its order."
    caption = (
        f"Accuracy by span, at least {frames} sentences per span, with 95% intervals. The "
        f"horizontal line is chance. {curves} Vertical lines mark the training length and the "
        "longest span of the training corpus."
    )
    findings = [f"{run}: {result.finding()}" for run, result in known.items()]
    finding = "; ".join(findings) if len(known) > 1 else next(iter(known.values())).finding()
    return Figure(NAME, partial(_draw, known), f"Accuracy by span: {finding}", caption)


def _meaning(result: TemplatesResult) -> str:
    reliable, above, steps = (
        result.reliable_chars,
        result.above_chance_chars,
        result.trained_timesteps,
    )
    if result.refusal:
        return "No claim is made: the model has not learned such sentences."
    if above is None:
        return "Given a fact and queried shortly after, the model does no better than chance."
    if reliable is None:
        return f"Given a fact and queried {above} characters later, it beats chance."
    text = (
        f"Given a fact and queried {reliable} characters later, the model answers correctly "
        f"in at least {KNOWLEDGE_GATE:.0%} of the sentences; chance is {result.rows[0].chance:.1%}."
        f"{_worst_facts(result)}"
    )
    if steps and reliable > steps:
        text += (
            f" That is beyond the training length of {steps} characters: the fact was carried in "
            "the hidden state."
        )
    return text


def _meaning_of_several(compared: bool) -> str:
    if not compared:
        return "All runs completed the same sentences."
    return (
        "All runs completed the same sentences. One is called better only where a paired test, "
        "corrected for the number of spans and pairs, finds a significant difference."
    )


def _limits(results: Results) -> list[tuple[int, str]]:
    return sorted(
        [*training_limits(results), (LONGEST_SPAN, f"longest trained span ({LONGEST_SPAN})")]
    )


def _by_span(results: Results) -> Iterator[dict[str, SpanResult]]:
    for rows in zip(*(result.rows for result in results.values()), strict=True):
        yield dict(zip(results, rows, strict=True))


def _accuracy_table(results: Results) -> Table:
    """Tabulate the accuracy of each run by span, and D of a single run."""
    several = len(results) > 1
    header = ["span"]
    for run in results:
        header += [run if several else "accuracy, %", "95%"]
    rows = []
    for found in _by_span(results):
        first = next(iter(found.values()))
        cells = [str(first.span)]
        for row in found.values():
            low, high = (round(100 * bound) for bound in (row.accuracy.low, row.accuracy.high))
            cells += [_percent(row), f"{low}–{high}"]
        if not several:
            cells += [f"{first.d.value:.2f}", between(first.d, 2)] if first.d else [NO_NUMBER, ""]
        rows.append([*cells, "" if first.label == "trained" else first.label])
    first = next(iter(results.values())).rows[0]
    rows_of_all = [row for result in results.values() for row in result.rows]
    fewest = min((row.distinct or row.frames for row in rows_of_all), default=first.frames)
    caption = (
        f"Accuracy in percent with its 95% interval for facts like these, by span in characters "
        f"from the end of the cue to the start of the target; chance is {first.chance:.1%}. "
        f"{first.frames} sentences per span, at least {fewest} of them different, the same for "
        "every run."
    )
    if not several:
        header += ["D, bits", "95%"]
        caption += " D: bits by which the cue alone moves the choice, median."
    rules = rules_at([row.span for row in next(iter(results.values())).rows], _limits(results))
    return Table([*header, ""], rows, caption, rules)


def _measures_table(results: Results) -> Table:
    """Tabulate further measures and the controls, one row each, by span."""
    several = len(results) > 1
    rows = []
    for run, result in results.items():
        for name, value in _measures(result):
            cells = [value(row) for row in result.rows]
            rows.append([*([run] if several else []), name, *cells, ""])
    spans = [str(row.span) for row in next(iter(results.values())).rows]
    head = ["run", "accuracy, %, by span"] if several else ["accuracy, %, by span"]
    caption = (
        "Greedy decoding: the share of sentences in which it generates the answer. Errors on the "
        "distractor: percent of the errors that chose its answer. Controls, on the sentences "
        "without a distractor, from “cue deleted” on, half of them."
    )
    return Table([*head, *spans, ""], rows, caption)


def _measures(result: TemplatesResult) -> Iterator[tuple[str, Callable[[SpanResult], str]]]:
    def errors(tally: DistractorTally | None) -> str:
        share = tally.errors_to_distractor if tally else None
        return NO_NUMBER if share is None else f"{100 * share:.0f}"

    yield "greedy decoding", lambda row: f"{100 * row.greedy_accuracy.value:.0f}"
    yield "without distractor", lambda row: _percent(row.plain)
    yield "with distractor", lambda row: _percent(row.distractor)
    yield "distractor before", lambda row: _percent(row.distractor.before)
    yield "distractor after cue", lambda row: _percent(row.distractor.after)
    yield "errors on distractor", lambda row: errors(row.distractor)
    yield "… before", lambda row: errors(row.distractor.before)
    yield "… after cue", lambda row: errors(row.distractor.after)
    for name in result.rows[0].controls:
        yield name, lambda row, name=name: _percent(row.controls[name])  # type: ignore[misc]


def _interval_table(result: TemplatesResult) -> Table:
    first = result.rows[0]
    names = [*first.fact_sets, *first.controls]
    rows = []
    for row in result.rows:
        tallies = [row, row.plain, row.distractor, row.distractor.before, row.distractor.after]
        tallies += [*row.fact_sets.values(), *row.controls.values()]
        bank, greedy = percent(row.bank_accuracy), percent(row.greedy_accuracy)
        cells = [percent(tally.accuracy if tally else None) for tally in tallies]
        distinct = NO_NUMBER if row.distinct is None else str(row.distinct)
        rows.append([str(row.span), distinct, greedy, bank, *cells, ""])
    header = ["span", "different", "greedy", "this bank", "facts like these"]
    header += ["no distractor", "distractor", "before", "after", *names, ""]
    half = result.span50
    fit = "" if half is None else (
        f" The monotone curve of span50 ({half.text()}) has {half.lapse:.1%} of errors at the "
        f"shortest span and lies at most {100 * half.misfit:.1f} points off the accuracies."
    )  # fmt: skip
    caption = "Accuracy in percent with 95% intervals, and the number of different sentences."
    return Table(header, rows, f"{caption}{fit}")


def _worst_facts(result: TemplatesResult) -> str:
    """Say how accuracy differs between facts at the longest span."""
    row = result.rows[-1]
    found = [share for facts in row.facts.values() for share in facts.accuracy]
    if not found:
        return ""
    low, high = (f"{share:.0%}" for share in (min(found), max(found)))
    return (
        f" At {row.span} characters the accuracy of the {len(found)} facts ranges from {low} to "
        f"{high}."
    )


def _fact_tables(run: str, result: TemplatesResult) -> Iterator[Table]:
    """Tabulate the accuracy of each fact by span, and the answers at the longest one."""
    spans = [str(row.span) for row in result.rows]
    for name, last in result.rows[-1].facts.items():
        by_span = zip(*(row.facts[name].accuracy for row in result.rows), strict=True)
        pairs = zip(last.cues, last.targets, by_span, strict=True)
        rows = [
            [f"{cue} → {target}", *(f"{100 * share:.0f}" for share in shares), ""]
            for cue, target, shares in pairs
        ]
        caption = f"{run}, {name}: accuracy of each fact in percent, by span."
        yield Table(["fact", *spans, ""], rows, caption)
        rows = [
            [cue, *(f"{count:.0f}" if count >= 0.5 else "" for count in counts), ""]
            for cue, counts in zip(last.cues, last.chosen, strict=True)
        ]
        caption = (
            f"{run}, {name}, span {spans[-1]}: how many sentences about each fact (rows) got each "
            "answer (columns); ties share a sentence."
        )
        yield Table(["cue", *last.targets, ""], rows, caption)


def _runs_table(results: Results) -> Table:
    rows = [
        [
            run,
            str(result.trained_timesteps or NO_NUMBER),
            result.span50.text() if result.span50 else NO_NUMBER,
            "not learned" if result.refusal else "",
        ]
        for run, result in results.items()
    ]
    return Table(["run", "timesteps", "span50", ""], rows, "Training length and span50.")


def _pair_table(pair: PairComparison) -> Table:
    def p_value(p: float) -> str:
        return "<0.001" if p < 0.001 else f"{p:.3f}"

    rows = [
        [
            *map(str, (row.span, row.only_first, row.only_second)),
            f"{100 * row.difference:+.1f}",
            *map(p_value, (row.p, row.p_holm)),
            {1: f"{pair.first} ahead", -1: f"{pair.second} ahead", 0: ""}[row.ahead],
        ]
        for row in pair.spans
    ]
    header = ["span", f"only {pair.first}", f"only {pair.second}", "points", "p", "p, Holm", ""]
    caption = (
        f"{pair.first} against {pair.second}: sentences that only one of the two answers "
        "correctly, difference in percentage points, McNemar’s exact test, and p after Holm’s "
        f"correction over all spans of all pairs; significant below {SIGNIFICANCE}."
    )
    return Table(header, rows, caption)


def _demonstration(run: str, sentences: Sequence[Demonstration]) -> Iterator[Block]:
    yield Text(f"{run}: {DEMONSTRATION}" if run else DEMONSTRATION, "note")
    for one in sentences:
        yield Sentence([(f"{one.context}…", "")], one.note)
        columns = sorted(zip(one.shares, one.candidates, one.per_char_bits, strict=True))
        if columns:
            rows = [(text, share, f"{bits:.2f} bits/char") for share, text, bits in columns[::-1]]
            yield Bars(rows)


def _percent(tally: Tally | None) -> str:
    return f"{100 * tally.accuracy.value:.0f}" if tally else NO_NUMBER


def _draw(known: Results, size: Size, title: str) -> Drawing:
    drawing = figures.new_figure(size)
    axes = drawing.add_subplot()
    result = next(iter(known.values()))
    spans = [row.span for row in result.rows]
    chance = result.rows[0].chance
    several = len(known) > 1
    axes.axhline(chance, color=GREY, linewidth=1, label=f"chance, {chance:.1%}" * several)
    figures.limits(axes, spans, _limits(known), size)
    if not several:
        _draw_one(axes, result)
    else:
        for (run, one), style in zip(known.items(), figures.curve_styles(), strict=False):
            half = f", span50 {one.span50.text()}" if one.span50 else ""
            _curve(axes, spans, one.rows, f"{run}{half}", style)
            look = {"color": style["color"], "markersize": 9, "markerfacecolor": PAPER}
            _draw_span50(axes, one.span50, look)
    figures.powers_of_two(axes, spans)
    axes.set_xlim(spans[0] / 1.25, spans[-1] * 1.25)
    axes.set_ylim(-0.02, 1.04)
    tenths = range(0, 11, 2)
    axes.set_yticks([tenth / 10 for tenth in tenths], [f"{10 * tenth}%" for tenth in tenths])
    far = "span: characters from the end of the cue to the start of the target"
    x = far if size.wide else "span: characters from cue to target"
    figures.dress(axes, size, x, "accuracy")
    figures.finish(drawing, size, title, labels=several)
    return drawing


def _draw_one(axes: Axes, result: TemplatesResult) -> None:
    """Draw the controls in grey and the model in color, each labelled at its curve."""
    rows, spans = result.rows, [row.span for row in result.rows]
    for name in rows[0].controls:
        values = [row.controls[name].accuracy.value for row in rows]
        axes.plot(spans, values, color=GREY, linewidth=1, linestyle=":")
        drop = next((n for n, value in enumerate(values) if value < MIDDLE), 0)
        if drop:  # an n-gram, which succeeds within its order
            middle = (values[drop - 1] + values[drop]) / 2
            between_spans = (spans[drop - 1] * spans[drop]) ** 0.5
            figures.label(axes, (between_spans, middle), name, GREY, "right")
    _curve(axes, spans, rows, "model", LEAD)
    half = result.span50
    _draw_span50(axes, half, {"color": INK, "markersize": 6})
    text = f"model, span50 {half.text()}" if half else "model"
    middle = len(rows) // 2
    figures.label(axes, (spans[middle], rows[middle].accuracy.low), text, MODEL, "below")
    chance = rows[0].chance
    figures.label(
        axes, (spans[len(spans) // 2], chance), f"controls; chance {chance:.1%}", GREY, "above"
    )


def _curve(
    axes: Axes, spans: Sequence[int], tallies: Iterable[Tally], name: str, style: dict[str, Any]
) -> None:
    figures.curve(axes, spans, [tally.accuracy for tally in tallies], name, **style)


def _draw_span50(axes: Axes, half: Span50 | None, style: dict[str, Any]) -> None:
    """Draw a diamond at span50, with its interval as far as the axis reaches."""
    if half is None or not half.on_grid:
        return
    low, high = max(half.low, half.first), min(half.high, half.last)
    axes.errorbar(
        [half.chars], [half.half_way], xerr=[[half.chars - low], [high - half.chars]],
        marker="D", capsize=4, linestyle="none", zorder=4, **style,
    )  # fmt: skip


def columns(result: TemplatesResult) -> dict[str, dict[int, str]]:
    """Return the accuracy by span for a summary, or nothing if no claim is made."""
    if result.refusal:
        return {}
    return {"accuracy, %": {row.span: percent(row.accuracy) for row in result.rows}}
