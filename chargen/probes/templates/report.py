"""Report of the cloze sentences: accuracy by span, beside the controls."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chargen.datasets.longrange import LONGEST_SPAN
from chargen.probes.templates import result as records
from chargen.render import report as kit
from chargen.render.by_distance import Series, chart, finding, styles, table
from chargen.render.figures import GREY, INK, PAPER, Axes, Interval

Results = Mapping[str, records.TemplatesResult]
"""Results by the run's short name."""
Value = Interval | float | None

NAME, TITLE = "templates", "Cloze sentences"
SHOWN_FILLER = 40  # characters at each end of a long filler
GATE = f"{records.KNOWLEDGE_GATE:.0%}"
CONTROL: dict[str, Any] = {"color": GREY, "linewidth": 1, "linestyle": ":"}
METHOD = (
    "“I grew up in France, and … I speak fluent French”: the model completes sentences whose last "
    "word, the target, depends on an earlier one, the cue. An answer is correct if it gets the "
    "highest probability among all candidates, each of which is the answer equally often.",
    "The filler between cue and target says nothing about the answer, and its phrases do not occur "
    "in the training corpus, except at spans 4 and 8.",
    "Half of the sentences contain a distractor: a cue, before the sentence or after its cue, that "
    "belongs to the answer as often as to any other target. Without its cue the model, and an "
    "untrained network, must stay at chance; an n-gram succeeds only within its order.",
    "D, the median shift in bits that the cue alone causes between its own answer and another, "
    "shows traces of memory that are too weak for a correct answer.",
    "The headline interval, and that of span50, is for facts like these: facts are resampled, each "
    "with its sentences. Every other interval of an accuracy is for other sentences from this "
    "bank: a Wilson interval, in which equal sentences are one observation.",
    f"A model remembers a span if the lower bound is at least {GATE} up to there. "
    f"Below {GATE} at the shortest span nothing is claimed.",
    "span50 is the span at which accuracy has fallen half-way from its ceiling to chance, by a "
    "monotone (isotonic) fit, interpolated in log2 of the span. Outside the measured spans it is > "
    "or <; accuracy that does not fall has “no fit”.",
    "This is one kind of fact, which the model was trained to recall: no bound on what it "
    "remembers of other text. One trained model is one seed.",
)
DEMONSTRATION = (
    "Demonstration, not a measurement: the probabilities of a few endings of two sentences, "
    "normalized to 1, and the bits per character of each ending."
)


def section(
    results: Results,
    pairs: Sequence[records.PairComparison],
    demonstrations: Mapping[str, Sequence[records.Demonstration]],
) -> kit.Section:
    """Report one run or several, with ``pairs`` of those that claim something, by short names."""
    known = {run: result for run, result in results.items() if not result.refusal}
    shown = known or {run: result for run, result in results.items() if result.rows}
    first, *others = results.values()
    blocks: list[kit.Block] = []
    if known:
        blocks.append(_figure(known))
    if shown:
        blocks += _examples(shown)
        blocks += [_accuracy(shown), _measures_table(shown)]
        by_fact = [table for run in shown.items() for table in _fact_tables(*run)]
        blocks += [kit.Details("Accuracy by fact", by_fact)] if by_fact else []
    blocks += map(_pair_table, pairs)
    blocks += (kit.Text(f"{run}: {one.finding()}") for run, one in results.items() if others)
    for run, sentences in demonstrations.items():
        blocks += _demonstration(f"{run}: " if others else "", sentences)
    phrases = f"Phrases from {first.bank}, sentences of seed {first.seed}."
    blocks.append(kit.method([*METHOD, phrases]))
    if not others:
        return kit.Section(NAME, TITLE, first.finding(), _meaning(first), blocks)
    text = records.finding_of(results, pairs)
    return kit.Section(NAME, TITLE, text, "All runs completed the same sentences.", blocks)


def _examples(results: Results) -> Iterator[kit.Sentence]:
    """Return a sentence at each of three spans, with the choice of each run."""
    names = [f"{run} " if len(results) > 1 else "" for run in results]
    by_span = [*zip(*(result.rows for result in results.values()), strict=False)]
    for rows in (by_span[place] for place in sorted({0, len(by_span) // 2, len(by_span) - 1})):
        found = [row.example for row in rows if row.example]
        if len(found) < len(names):
            continue
        choices = ["correct" if x.chosen == x.answer else f"chose {x.chosen}" for x in found]
        one, filler = found[0], found[0].filler
        if len(filler) > 3 * SHOWN_FILLER:
            filler = f"{filler[:SHOWN_FILLER]} […] {filler[-SHOWN_FILLER:]}"
        before = "…" + one.before.replace("\n", " ")
        note = f"span {rows[0].span}: {', '.join(map(str.__add__, names, choices))}"
        parts: list[kit.Part] = [(before, ""), (one.cue, "cue"), (filler, "")]
        parts.append((one.answer, "answer" if "correct" in choices else "wrong"))
        yield kit.Sentence(parts, note)


def _meaning(result: records.TemplatesResult) -> str:
    reliable, above = result.reliable_chars, result.above_chance_chars
    if result.refusal:
        return "No claim is made: the model has not learned such sentences."
    if above is None:
        return "Given a fact and queried shortly after, the model does no better than chance."
    if reliable is None:
        return f"Given a fact and queried {above} characters later, it beats chance."
    return (
        f"Given a fact and queried {reliable} characters later, the model answers correctly in at "
        f"least {GATE} of the sentences; chance is {result.rows[0].chance:.1%}."
    )


def _limits(results: Results) -> list[tuple[int, str]]:
    longest = (LONGEST_SPAN, f"longest trained span ({LONGEST_SPAN})")
    return [*kit.training_limits(results), longest]


def _series(results: Results) -> list[Series]:
    series, looks = [], styles(results)
    for run, result in results.items():
        head, label = (run, run) if len(results) > 1 else ("accuracy, %", "model")
        label += f", span50 {result.span50.text()}" if result.span50 else ""
        spans, found = [row.span for row in result.rows], [row.accuracy for row in result.rows]
        series.append(Series(head, spans, found, looks[run], label))
    return series


def _figure(known: Results) -> kit.Figure:
    result, *others = known.values()
    rows, spans = result.rows, [row.span for row in result.rows]
    series = _series(known)
    for name in () if others else rows[0].controls:
        found = [row.controls[name].accuracy for row in rows]
        series.append(Series(name, spans, found, CONTROL))

    def draw(axes: Axes) -> None:
        chance = rows[0].chance
        axes.axhline(chance, color=INK, linewidth=1, label=f"chance, {chance:.1%}")
        for one, style in zip(known.values(), styles(known).values(), strict=True):
            half = one.span50
            if half and half.on_grid:  # a diamond, with its interval as far as the axis reaches
                low, high = half.chars - max(half.low, half.first), min(half.high, half.last)
                axes.errorbar(
                    [half.chars], [half.half_way], xerr=[[low], [high - half.chars]], marker="D",
                    capsize=4, zorder=4, color=style["color"], markerfacecolor=PAPER,
                )  # fmt: skip
        axes.set_xlim(spans[0] / 1.25, spans[-1] * 1.25)
        axes.set_ylim(-0.02, 1.04)
        axes.yaxis.set_major_formatter(lambda value, place: f"{value:.0%}")

    labels = "span: characters from cue to target", "accuracy"
    frames = min(row.frames for one in known.values() for row in one.rows)
    caption = f"Accuracy by span, at least {frames} sentences per span, with 95% intervals."
    caption += " A hollow diamond marks span50." * any(one.span50 for one in known.values())
    caption += " Dotted: controls without memory." * (len(series) > len(known))
    text = finding(known, records.TemplatesResult.finding, records.TemplatesResult.finding)
    drawn = chart(series, spans, _limits(known), labels, draw)
    return kit.Figure(NAME, drawn, f"Accuracy by span: {text}", caption)


def _accuracy(results: Results) -> kit.Table:
    first = next(iter(results.values())).rows
    spans = [row.span for row in first]
    counts = [kit.NO_NUMBER if row.distinct is None else str(row.distinct) for row in first]
    caption = (
        f"Accuracy with its 95% interval for facts like these, by span in characters from the end "
        f"of the cue to the start of the target; chance is {first[0].chance:.1%}. "
        f"{first[0].frames} sentences per span, the same for every run; different: without repeats."
    )
    notes = ["" if row.label == "trained" else row.label for row in first]
    columns = {"span": [*map(str, spans)], "different": counts}
    rules = kit.rules_at(spans, _limits(results))
    return table(columns, _series(results), kit.percent, caption, rules, notes)


def _measures(row: records.SpanResult) -> dict[str, Value]:
    apart = row.distractor
    found: dict[str, Value] = {
        "this bank": row.bank_accuracy,
        "greedy decoding": row.greedy_accuracy,
        "without distractor": row.plain.accuracy,
        "with distractor": apart.accuracy,
        "… errors on it": apart.errors_to_distractor,
    }
    for name, one in {"before": apart.before, "after cue": apart.after}.items():
        found[f"distractor {name}"] = one.accuracy if one else None
        found[f"… errors on it, {name}"] = one.errors_to_distractor if one else None
    found |= {f"set: {name}": one.accuracy for name, one in row.fact_sets.items()}
    return found | {name: one.accuracy for name, one in row.controls.items()}


def _shown(value: Value) -> str:
    if value is None:
        return kit.NO_NUMBER
    return f"{100 * (value if isinstance(value, float) else value.value):.0f}"


def _measures_table(results: Results) -> kit.Table:
    several, rows = len(results) > 1, []
    for run, result in results.items():
        found = [_measures(row) for row in result.rows]
        cells = {name: [_shown(one[name]) for one in found] for name in found[0]}
        cells["D, bits"] = [f"{row.d.value:.2f}" if row.d else kit.NO_NUMBER for row in result.rows]
        rows += [[*[run] * several, name, *shown, ""] for name, shown in cells.items()]
    spans = [str(row.span) for row in next(iter(results.values())).rows]
    caption = (
        "Errors on it: percent of the errors that chose the distractor’s answer. Controls, from "
        "“cue deleted” on: half of the sentences without a distractor. D: bits by which the cue "
        "moves the choice. The JSON has every interval."
    )
    return kit.Table([*["run"] * several, "accuracy, %, by span", *spans, ""], rows, caption)


def _fact_tables(run: str, result: records.TemplatesResult) -> Iterator[kit.Table]:
    spans = [str(row.span) for row in result.rows]
    for name, last in result.rows[-1].facts.items():
        by_span = zip(*(row.facts[name].accuracy for row in result.rows), strict=True)
        pairs = zip(last.cues, last.targets, by_span, strict=True)
        rows = [
            [f"{cue} → {target}", *(f"{100 * share:.0f}" for share in shares), ""]
            for cue, target, shares in pairs
        ]
        caption = f"{run}, {name}: accuracy of each fact in percent, by span."
        yield kit.Table(["fact", *spans, ""], rows, caption)
        rows = [
            [cue, *(f"{count:.0f}" if count >= 0.5 else "" for count in counts), ""]
            for cue, counts in zip(last.cues, last.chosen, strict=True)
        ]
        caption = f"{run}, {name}, span {spans[-1]}: sentences by fact (rows) and answer (columns)."
        yield kit.Table(["cue", *last.targets, ""], rows, caption)


def _pair_table(pair: records.PairComparison) -> kit.Table:
    rows = [
        [
            *map(str, (row.span, row.only_first, row.only_second)),
            f"{100 * row.difference:+.1f}",
            *("<0.001" if p < 0.001 else f"{p:.3f}" for p in (row.p, row.p_holm)),
            {1: f"{pair.first} ahead", -1: f"{pair.second} ahead", 0: ""}[row.ahead],
        ]
        for row in pair.spans
    ]
    header = ["span", f"only {pair.first}", f"only {pair.second}", "points", "p", "p, Holm", ""]
    caption = (
        f"{pair.first} against {pair.second}: sentences that only one answers correctly, "
        "difference in percentage points, McNemar’s exact test, in which ties share credit, and p "
        f"after Holm’s correction over all spans of all pairs (level {records.SIGNIFICANCE})."
    )
    return kit.Table(header, rows, caption)


def _demonstration(run: str, sentences: Sequence[records.Demonstration]) -> Iterator[kit.Block]:
    yield kit.Text(f"{run}{DEMONSTRATION}", "note")
    for one in sentences:
        yield kit.Sentence([(f"{one.context}…", "")], one.note or "")
        endings = sorted(one.candidates, key=lambda ending: -ending.share)
        if endings:
            yield kit.Bars([(x.text, x.share, f"{x.bits_per_char:.2f} bits/char") for x in endings])


def columns(result: records.TemplatesResult) -> dict[str, dict[int, str]]:
    """Return the accuracy by span for a summary, or nothing if no claim is made."""
    cells = {row.span: kit.percent(row.accuracy) for row in result.rows}
    return {} if result.refusal else {"accuracy, %": cells}
