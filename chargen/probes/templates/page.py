"""What instrument (a) found, as a section of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chargen.probes import TITLES
from chargen.probes.templates.demonstration import Shown
from chargen.probes.templates.outcomes import PLACES, Tally
from chargen.probes.templates.page_demonstration import demonstration_part
from chargen.probes.templates.plot import templates_figure
from chargen.probes.templates.result import KNOWLEDGE_GATE, SpanResult, TemplatesResult
from chargen.render import html
from chargen.render import page_parts as parts
from chargen.render.figures import PAGE
from chargen.render.page_parts import Glance

NAME = "templates"
ASKED = (
    "“The clouds are in the sky”: whoever has read the last few characters can guess the end. "
    "“I grew up in France, and … I speak fluent French”: the word that decides stood a whole "
    "clause before. Sentences of the second kind are put to the model with more and more "
    "characters between the word that decides, the cue, and the word that hangs on it, the target. "
)
METHOD = (
    "Each answer is right equally often, candidates are equally long and differ in their first "
    "character: always saying the same scores chance exactly.",
    "Before each sentence stands natural text of the same kind, of a length that has nothing to do "
    "with the span, so that the position gives nothing away.",
    "The filler between cue and target says nothing about the answer. Its phrases are those that "
    "the training corpus never holds; spans 4 and 8 alone have no room for a phrase.",
    "Half of the sentences name a second cue that is not asked about, before or after the true "
    "one: the decoy.",
    "Beside the model stand those that have nothing to remember with, on the sentences without a "
    "decoy: the model with its cue deleted and an untrained network, which must stay at chance, "
    "and n-grams, which are right as far as they see.",
    "A sentence is one trial; intervals are Wilson’s, 95 %. Where under 90 % are right at the "
    "shortest span, the facts were not learned and nothing is claimed.",
)
LIMITS = (
    "One kind of fact, told once, in short sentences, by a model trained to recall it: the figure "
    "is no bound on what it remembers of other text. The facts themselves were learned in "
    "training; what is measured is whether the one told here is still known. One trained model is "
    "one seed: it says nothing about another of the same architecture."
)
SPAN50 = (
    "span50 comes from a fit of a falling curve to all spans, with chance given and one rate of "
    "lapses; its interval from a bootstrap of the sentences. Off the spans asked it is told as > "
    "or <, never as a number, and where the curve does not fit the counts it says so."
)


def templates_glance(result: TemplatesResult) -> Glance:
    """What was found, in a sentence and in plain words."""
    return Glance(NAME, TITLES[NAME], result.finding(), _meaning(result))


def _meaning(result: TemplatesResult) -> str:
    sure, some, steps = result.sure_chars, result.above_chance_chars, result.trained_timesteps
    if result.refusal:
        return "Nothing is claimed: it was not taught such sentences, or not long enough."
    if some is None:
        return "Told a fact and asked for it a little later, it does no better than guessing."
    if sure is None:
        return (
            f"Told a fact and asked for it {some} characters later, it does better than guessing."
        )
    far = (
        f" That is farther than the {steps} characters over which errors were passed back in "
        "training: the fact was carried in its state."
    )
    return (
        f"Told a fact and asked for it {sure} characters later, it is right in "
        f"{KNOWLEDGE_GATE:.0%} of the sentences or more; guessing is right in "
        f"{result.rows[0].chance:.1%}.{far if steps and sure > steps else ''}"
    )


def templates_section(result: TemplatesResult, shown: Sequence[Shown] = ()) -> str:
    """The result with its figure, or why nothing is claimed and the sentences for show."""
    return parts.section(
        NAME,
        TITLES[NAME],
        parts.finding(result.finding()),
        parts.paragraph(ASKED + question(result)),
        *(_measured(result) if result.rows and not result.refusal else _row_asked(result)),
        demonstration_part(shown),
        explained(result),
    )


def explained(result: TemplatesResult) -> str:
    """How sentences are asked, and what that does not say."""
    made = f"Phrases from {result.bank}, sentences of seed {result.seed}."
    return parts.explained(METHOD, LIMITS, made)


def question(result: TemplatesResult) -> str:
    """What counts as right, and how often guessing is; nothing where nothing was asked."""
    if not result.rows:
        return ""
    K = round(1 / result.rows[0].chance)
    return (
        f"The model is right where it holds the right word, of {K} that are possible, the "
        f"likeliest. Guessing is right in 1 of {K}."
    )


def _measured(result: TemplatesResult) -> list[str]:
    drawn = templates_figure(result, size=PAGE)
    frames = min(row.all.choice.trials for row in result.rows)
    caption = (
        f"Right answers by span, {frames} sentences or more at each. Bars are 95 % intervals, the "
        "level line is chance. Orange: the sentences with a decoy alone. Grey: the controls. "
        "The upright lines say how far training went: how long the spans were, and over "
        "how many characters errors were passed back."
    )
    return [
        parts.figure(drawn, NAME, f"Right answers by span: {result.finding()}", caption),
        _all_frames(result),
        _controls(result),
        parts.details("The same, by decoy and by kind of fact", *_apart(result)),
        _span50(result),
    ]


def _row_asked(result: TemplatesResult) -> list[str]:
    """Where the gate failed: what was asked at the shortest span, if anything could be."""
    return [_all_frames(result), _controls(result)] if result.rows else []


def _all_frames(result: TemplatesResult) -> str:
    header = ["span", "right, %", "written out, %", "sentences", "D, bits", "in training"]
    rows = [
        [
            str(row.span),
            parts.percent(row.all.choice),
            parts.percent(row.all.greedy),
            str(row.all.choice.trials),
            parts.estimate(row.d, 1),
            _trained(result, row),
        ]
        for row in result.rows
    ]
    caption = (
        "The model on all sentences, with 95 % intervals; chance is "
        f"{result.rows[0].chance:.1%}. Written out: taking the likeliest "
        "character each time, it wrote the right word. D: by how many bits the cue moves the "
        "choice, 0 where it says nothing (median)."
    )
    return html.table(header, rows, caption)


def _controls(result: TemplatesResult) -> str:
    caption = "The controls, right, %, on the sentences without a decoy."
    return _tallies(result, caption, [row.controls for row in result.rows])


def _apart(result: TemplatesResult) -> list[str]:
    decoys = [
        {"no decoy": row.plain, "with a decoy": row.decoy}
        | {f"decoy {place}": row.decoys[place].tally for place in PLACES if place in row.decoys}
        for row in result.rows
    ]
    facts = [row.fact_sets for row in result.rows]
    return [
        _tallies(result, "Right, %, by whether and where a decoy stands in the sentence.", decoys),
        html.table(
            ["span", "with a decoy", *(f"decoy {place}" for place in PLACES), ""],
            [_fallen(row) for row in result.rows],
            "Errors that chose the decoy, % of the errors in sentences with one.",
        ),
        _tallies(result, "Right, %, by kind of fact.", facts),
    ]


def _tallies(result: TemplatesResult, caption: str, columns: Sequence[Mapping[str, Tally]]) -> str:
    """A row a span, a column for each tally's name."""
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [
        [
            str(row.span),
            *(parts.percent(column[n].choice) if n in column else "–" for n in names),
            "",
        ]
        for row, column in zip(result.rows, columns, strict=True)
    ]
    return html.table(["span", *names, ""], rows, caption)


def _trained(result: TemplatesResult, row: SpanResult) -> str:
    beyond = f", beyond --timesteps {result.trained_timesteps}" if row.beyond_timesteps else ""
    return row.label + beyond


def _fallen(row: SpanResult) -> list[str]:
    apart = [_share(row.decoys[p].to_decoy) if p in row.decoys else "–" for p in PLACES]
    return [str(row.span), _share(row.to_decoy), *apart, ""]


def _share(share: float | None) -> str:
    return "no errors" if share is None else f"{100 * share:.0f}"


def _span50(result: TemplatesResult) -> str:
    half = result.span50
    if half is None:
        return ""
    fit = (
        f"Lapses {half.lapse:.1%}; the counts lie {100 * half.misfit:.1f} points off the curve at "
        f"most, and {half.fit_p:.1%} of samples from it would lie as far off."
    )
    said = f"span50 {half.text()}: how it was found"
    return parts.details(said, parts.paragraph(SPAN50), parts.faint(fit))
