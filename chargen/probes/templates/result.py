"""Results of the cloze sentences, in one model and compared between models."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, takewhile
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct, convert, field, structs, to_builtins

from chargen.datasets.longrange import LONGEST_SPAN, is_held_out
from chargen.probes.statistics.intervals import Count, Estimate, flat, holm, mcnemar, nested
from chargen.probes.statistics.span50 import Span50
from chargen.render.text import counted, listed

KNOWLEDGE_GATE = 0.9  # accuracy at the shortest span below which no claim is made
SIGNIFICANCE = 0.05  # level of the corrected p-value

Label = Literal["trained", "held out", "longer than trained"]
Probability = Annotated[float, Meta(gt=0, lt=1)]


class Tally(Struct, frozen=True):
    """Accuracy over some sentences, with 95% Wilson intervals."""

    accuracy: Estimate  # the correct target had the highest probability; ties share credit
    frames: Count  # sentences
    greedy_accuracy: Estimate  # greedy decoding generated the correct target


class DistractorTally(Tally, frozen=True):
    """Accuracy over sentences with a distractor."""

    errors_to_distractor: float | None = field(name="errors_to_decoy")
    """Fraction of the errors that chose the distractor's target; None without errors."""


class WithDistractor(DistractorTally, frozen=True):
    """Accuracy over all sentences with a distractor, and by its position."""

    before: DistractorTally | None  # distractor before the sentence
    after: DistractorTally | None  # after the cue; None where the span is too short for one


class Example(Struct, frozen=True):
    """One test sentence in parts, and the model's choice."""

    before: str
    cue: str
    filler: str
    answer: str
    chosen: str


class FactScores(Struct, frozen=True):
    """The answers to the sentences about each of K facts."""

    cues: tuple[str, ...]
    targets: tuple[str, ...]
    chosen: tuple[tuple[float, ...], ...]
    """Confusion matrix ``(K, K)``: sentences about fact i in which target j was chosen."""

    @property
    def accuracy(self) -> list[float]:
        """The accuracy by fact, ``(K,)``."""
        return [row[n] / sum(row) for n, row in enumerate(self.chosen)]


class SpanResult(Tally, frozen=True, omit_defaults=True):
    """Result at one span; its own accuracy is over all sentences.

    The interval of `accuracy` is for facts like these, that of `bank_accuracy` for this bank.
    """

    span: Annotated[int, Meta(ge=1)] = field(name="span_chars")
    """Characters from the end of the cue to the start of the target."""
    label: Label  # whether a corpus made from the phrase bank contains this span
    beyond_timesteps: bool | None  # longer than the BPTT length; None if that is unknown
    chance: Probability
    plain: Tally = field(name="without_decoy")
    distractor: WithDistractor = field(name="with_decoy")
    fact_sets: dict[str, Tally]
    controls: dict[str, Tally]  # on half of the sentences without a distractor
    bank_accuracy: Estimate | None = None
    distinct: Count | None = field(default=None, name="distinct_frames")  # different sentences
    facts: dict[str, FactScores] = {}
    d: Estimate | None = field(default=None, name="d_bits")
    """Median number of bits by which the cue moves the choice."""
    example: Example | None = None
    frames_sha256: str = ""  # of all sentences in their order
    credits: tuple[float, ...] = ()  # credit of each sentence, 0 to 1; not in the JSON
    sentences: tuple[int, ...] = ()  # equal for equal sentences; not in the JSON


class TemplatesResult(Struct, frozen=True, tag="templates", tag_field="instrument"):
    """Result in one model. With a ``refusal`` no claim is made."""

    bank: str
    seed: Count
    trained_timesteps: Count | None  # BPTT length in training, characters
    rows: tuple[SpanResult, ...] = field(name="spans")  # by ascending span; below the gate one
    refusal: str | None = None
    span50: Span50 | None = None  # also None with too few spans for a fit

    def __post_init__(self) -> None:
        spans, controls = [row.span for row in self.rows], {tuple(r.controls) for r in self.rows}
        if spans != sorted(set(spans)) or not (spans or self.refusal) or len(controls) > 1:
            raise ValueError("rows: spans must ascend and have the same controls")

    @property
    def reliable_chars(self) -> int | None:
        """The longest span up to which the lower bound of accuracy is at least `KNOWLEDGE_GATE`."""
        return self._last_span(lambda row: row.accuracy.low >= KNOWLEDGE_GATE)

    @property
    def above_chance_chars(self) -> int | None:
        """The longest span up to which accuracy is significantly above chance."""
        return self._last_span(lambda row: row.accuracy.low > row.chance)

    @property
    def headline(self) -> str:
        """The main finding as a title; the model must be reliable at some span."""
        chars, steps = self.reliable_chars or 0, self.trained_timesteps
        times = "" if chars == steps else f"{chars / (steps or 1):.2g} times "
        beside = f", {times}its training length" if steps and chars >= steps else ""
        return f"Remembers {counted(chars, 'character')}{beside}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, the same for the same predictor and seed."""
        found = flat(to_builtins(structs.replace(self, span50=None)))
        for row, one in zip(found["spans"], self.rows, strict=True):
            for name in ("credits", "sentences"):
                row.pop(name, None)
            for name, facts in one.facts.items():
                row["facts"][name]["accuracy"] = facts.accuracy
        half = self.span50.to_json() if self.span50 else {"span50_chars": None}
        summary = {"longest_trained_span_chars": LONGEST_SPAN, "finding": self.finding()}
        return dict(found | half | summary)

    @classmethod
    def from_json(cls, values: Any) -> "TemplatesResult":
        """Decode what `to_json` returned; a ``ValueError`` names the field that does not fit."""
        found = convert(nested(values) | {"span50": None}, cls)
        if not found.rows or values["span50"] is None:
            return found
        first, last = found.rows[0], found.rows[-1]
        half = Span50.from_json(values, first.span, last.span, first.chance)
        return structs.replace(found, span50=half)

    def finding(self) -> str:
        """Return in one sentence how far back the model remembers, or why that is not known."""
        if self.refusal:
            return self.refusal
        steps = self.trained_timesteps
        trained = f"; trained with {counted(steps, 'timestep')}" if steps else ""
        half = f", span50 {self.span50.text()}" if self.span50 else ""
        return f"{self._reach()}{half}{trained}"

    def _reach(self) -> str:
        reliable, above = self.reliable_chars, self.above_chance_chars
        shortest, longest = self.rows[0].span, self.rows[-1].span
        if above is None:
            better = [str(row.span) for row in self.rows if row.accuracy.low > row.chance]
            but = f", but better at {listed(better)}" if better else ""
            return f"no better than chance at {counted(shortest, 'character')}{but}"
        if reliable is None:
            return f"better than chance up to {counted(above, 'character')}"
        chars = counted(reliable, "character")
        if reliable == longest:
            return f"remembers at least {chars}, the longest span measured"
        beyond = "" if above == reliable else f", better than chance up to {above}"
        return f"remembers {chars} (accuracy {KNOWLEDGE_GATE:.0%} or more){beyond}"

    def _last_span(self, holds: Callable[[SpanResult], bool]) -> int | None:
        return max((row.span for row in takewhile(holds, self.rows)), default=None)


class Ending(Struct, frozen=True):
    text: str
    share: float  # of the probability of all endings
    bits_per_char: float


class Demonstration(Struct, frozen=True):
    """Probabilities of the possible endings of one sentence; no measurement."""

    context: str
    candidates: tuple[Ending, ...]
    note: str | None  # characters and candidates that were left out

    def line(self) -> str:
        """Return the end of the context and the shares of the candidates, in one line."""
        shares = " / ".join(f"{one.text} {one.share:.0%}" for one in self.candidates)
        return f"…{self.context[-50:]}{shares}"


class SpanComparison(Struct, frozen=True, rename={"span": "span_chars"}):
    """Two models at one span, compared sentence by sentence."""

    span: int  # characters
    frames: int  # sentences that both models were given
    only_first: int  # sentences that only the first model answers correctly
    only_second: int
    difference: float  # in accuracy, first - second, -1 to 1
    p: float  # exact two-sided McNemar test, in which ties share credit
    p_holm: float  # p after Holm's correction over all spans of all pairs

    @property
    def ahead(self) -> int:
        """1 if the first model is significantly more accurate, -1 if the second is, else 0."""
        differs = self.p_holm < SIGNIFICANCE
        return differs * ((self.difference > 0) - (self.difference < 0))


class PairComparison(Struct, frozen=True):
    """Two models, by name, at every span."""

    first: str
    second: str
    spans: tuple[SpanComparison, ...]  # ascending

    def ahead(self, way: int) -> list[SpanComparison]:
        """Return the spans at which the first model (1) or the second (-1) is ahead."""
        return [row for row in self.spans if row.ahead == way]

    def to_json(self) -> list[dict[str, Any]]:
        pair = {"instrument": "templates", "first": self.first, "second": self.second}
        return [pair | to_builtins(row) for row in self.spans]


def compare(results: Mapping[str, TemplatesResult]) -> tuple[PairComparison, ...]:
    """Compare models that were given the same sentences, in pairs by McNemar's test.

    Holm's correction is over all tests. Equal sentences are one observation, with mean credit.
    """
    pairs = {
        (one, other): [*_compare_spans(results[one], results[other])]
        for one, other in combinations(results, 2)
    }
    corrected = iter(holm([p for rows in pairs.values() for *_, p in rows]))
    return tuple(
        PairComparison(*names, tuple(SpanComparison(*row, next(corrected)) for row in rows))
        for names, rows in pairs.items()
    )


def finding_of(results: Mapping[str, TemplatesResult], pairs: Sequence[PairComparison]) -> str:
    """Return in one sentence which of several models has the longest memory, and by how much.

    One has the longer memory if no span favours the other and its span50 interval lies above that
    of the other; else it is more accurate. ``pairs`` compares the results that claim something.
    """
    known = {name: result for name, result in results.items() if not result.refusal}
    findings = {(pair.first, pair.second): _pair_finding(known, pair) for pair in pairs}
    parts = [text for text in findings.values() if text]
    if alike := [f"{first} and {second}" for (first, second), text in findings.items() if not text]:
        parts.append(f"no significant difference between {', '.join(alike)}")
    if len(known) == 1:
        ((name, result),) = known.items()
        parts.append(f"{name}: {result.finding()}")
    if unknown := [name for name in results if name not in known]:
        parts.append(f"not learned: {listed(unknown)}")
    return "; ".join(parts)


def span_label(span: int) -> Label:
    """Return whether a corpus made from a phrase bank contains a span."""
    if span > LONGEST_SPAN:
        return "longer than trained"
    return "held out" if is_held_out(span) else "trained"


def _compare_spans(
    first: TemplatesResult, second: TemplatesResult
) -> Iterator[tuple[int, int, int, int, float, float]]:
    for row, other in zip(first.rows, second.rows, strict=True):
        credits = np.array([row.credits, other.credits])
        right, other_right = credits == 1
        only = int((right & ~other_right).sum()), int((other_right & ~right).sum())
        numbers = row.sentences or tuple(range(len(row.credits)))
        means = [np.bincount(numbers, own) / np.bincount(numbers) for own in credits]
        difference = float(np.subtract(*credits).mean())
        yield row.span, len(row.credits), *only, difference, mcnemar(*means)


def _pair_finding(known: Mapping[str, TemplatesResult], pair: PairComparison) -> str:
    """Return which of two models is ahead, and where; empty if neither is significantly."""
    sides = [(pair.first, pair.ahead(1)), (pair.second, pair.ahead(-1))]
    at = {name: f"ahead at {listed([str(r.span) for r in rows])}" for name, rows in sides if rows}
    if len(at) != 1:
        each = ", ".join(f"{name} is {where}" for name, where in at.items())
        return f"neither of {listed([*at])} is ahead at all spans: {each}" if at else ""
    (first, rows), (second, _) = sorted(sides, key=lambda side: not side[1])
    half, other = known[first].span50, known[second].span50
    farther = half and other and half.fits and other.fits and half.low > other.high
    verb = "has a longer memory than" if farther else "is more accurate than"
    most = max(rows, key=lambda row: abs(row.difference))
    points = f"{100 * abs(most.difference):.0f} percentage points"
    halves = f", span50 {half.text()} against {other.text()}" if half and other else ""
    return (
        f"{first} {verb} {second}: {at[first]}, by {points} at "
        f"{counted(most.span, 'character')}{halves}"
    )
