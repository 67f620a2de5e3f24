"""Instrument (a): is the answer that stood in a sentence's beginning still known at its end?

Sentences with a cue, a filler of exact length and a target are put to a predictor, which chooses
among K targets. Their fillers are those that the corpus made from the same bank never holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from chargen.predictors import NextCharPredictor
from chargen.probes import Progress
from chargen.probes.cases import Batch, digest, make, nearest_spans
from chargen.probes.outcomes import Outcome, Tally
from chargen.probes.reading import Meter
from chargen.probes.scoring import score
from chargen.probes.span50 import FEWEST_SPANS, Span50, fit
from chargen.text import bundled
from chargen.text.bank import Bank
from chargen.text.longrange import LONGEST_SPAN, is_held_out

SPANS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)  # or the nearest that a bank has
FRAMES = 400  # a span, at least: a 95 % interval no wider than 4.9 points either way
KNOWLEDGE_GATE = 0.9  # the accuracy at the shortest span under which nothing is claimed
CUE_DELETED = "cue deleted"

Label = Literal["trained", "held out", "longer than trained"]


@dataclass(frozen=True)
class SpanResult:
    """What was found at one span."""

    span: int  # characters from the end of the cue to the start of the target
    label: Label  # whether a corpus made from the bank has such spans
    beyond_timesteps: bool | None  # longer than gradients travelled; None where that is not known
    chance: float
    all: Tally
    plain: Tally  # the half of the frames without a decoy
    decoy: Tally  # the half with one
    to_decoy: (
        float | None
    )  # the share of errors in `decoy` that chose the decoy; None without errors
    fact_sets: Mapping[str, Tally]  # by the set's name
    controls: Mapping[str, Tally]  # by the control's name
    credits: tuple[float, ...] = ()  # what each frame won, 0 .. 1, in the order of the cases
    frames_sha256: str = ""  # of what the frames say: two results with one hash can be compared

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; shares are of 1, spans in characters."""
        return {
            "span_chars": self.span,
            "label": self.label,
            "beyond_timesteps": self.beyond_timesteps,
            "chance": self.chance,
            "frames_sha256": self.frames_sha256,
            **self.all.to_json(),
            "without_decoy": self.plain.to_json(),
            "with_decoy": self.decoy.to_json() | {"errors_to_decoy": self.to_decoy},
            "fact_sets": {name: tally.to_json() for name, tally in self.fact_sets.items()},
            "controls": {name: tally.to_json() for name, tally in self.controls.items()},
        }


@dataclass(frozen=True)
class TemplatesResult:
    """What the instrument found. Where ``refusal`` is not empty, nothing is claimed."""

    bank: str
    seed: int
    trained_timesteps: int | None  # how far back gradients travelled, characters
    rows: tuple[SpanResult, ...]  # by span; only the shortest where the knowledge gate failed
    refusal: str
    span50: Span50 | None = None  # None without `refusal` too, where too few spans were asked

    @property
    def limits(self) -> tuple[tuple[int, str], ...]:
        """The spans, ascending, beyond which training did not go, and what each is called."""
        limits = [(LONGEST_SPAN, f"longest trained span {LONGEST_SPAN}")]
        if self.trained_timesteps:
            limits.append((self.trained_timesteps, f"--timesteps {self.trained_timesteps}"))
        return tuple(sorted(limits))

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, the same for the same predictor and seed."""
        return {
            "instrument": "templates",
            "bank": self.bank,
            "seed": self.seed,
            "trained_timesteps": self.trained_timesteps,
            "longest_trained_span_chars": LONGEST_SPAN,
            "refusal": self.refusal or None,
            "finding": self.finding(),
            **(self.span50.to_json() if self.span50 else {"span50": None, "span50_chars": None}),
            "spans": [row.to_json() for row in self.rows],
        }

    def finding(self) -> str:
        """One sentence: how far back the answer is known, or why nothing is claimed."""
        if self.refusal:
            return self.refusal
        sure = _last_span(self.rows, lambda row: row.all.choice.share >= KNOWLEDGE_GATE)
        some = _last_span(self.rows, lambda row: row.all.choice.interval[0] > row.chance)
        trained = (
            f"; trained on {self.trained_timesteps} timesteps" if self.trained_timesteps else ""
        )
        half = f", span50 {self.span50.text()}" if self.span50 else ""
        return f"{_finding(self.rows, sure, some)}{half}{trained}"


def measure(
    predictor: NextCharPredictor,
    bank: Bank,
    *,
    spans: Sequence[int] | None = None,
    frames: int = FRAMES,
    seed: int = 0,
    controls: Mapping[str, NextCharPredictor] | None = None,
    trained_timesteps: int | None = None,
    gate: float = KNOWLEDGE_GATE,
    progress: Progress = lambda done, total: None,
) -> TemplatesResult:
    """Measure ``predictor`` at each of ``spans`` on ``frames`` frames or a few more, balanced.

    Without ``spans``, these are the shortest that the bank has and those nearest to `SPANS`.
    ``controls`` answer the half of the same frames that have no decoy; "cue deleted", the
    predictor itself on these frames with no cue told, always stands beside them: with a decoy
    left in, which is never the answer, chance would lie under 1/K. Nothing is claimed where the
    predictor's vocabulary lacks a character of the bank, or where under ``gate`` of the answers
    are right at the shortest span that the bank has: it is asked first, whether it is in
    ``spans`` or not, and the others only if it passes. A ``gate`` of 0 asks ``spans`` alone. A
    span that the bank cannot make is a `ChargenError`.
    """
    missing = [char for char in bank.characters() if char not in predictor.vocabulary]
    if missing:
        spelled = " ".join(map(repr, missing))
        refusal = f"{_not_learned(bank)} (the model's vocabulary lacks {spelled})"
        return TemplatesResult(bank.name, seed, trained_timesteps, (), refusal)
    spans = nearest_spans(bank, SPANS) if spans is None else spans
    known_first = nearest_spans(bank, ()) if gate else ()
    asked = {span: make(bank, span, frames, seed) for span in sorted({*known_first, *spans})}
    controls = controls or {}
    meter = Meter(progress, _chars(asked.values(), len(controls)))
    to_ask = _Asked(predictor, controls, trained_timesteps, meter)
    rows: list[SpanResult] = []
    refusal = ""
    for span, batches in asked.items():
        rows.append(to_ask.row(span, batches))
        if rows[0].all.choice.share < gate:
            refusal = _not_known(bank, rows[0])
            break
    half = _span50(rows, seed)
    return TemplatesResult(bank.name, seed, trained_timesteps, tuple(rows), refusal, half)


def label(span: int) -> Label:
    """How a span stands to those of a corpus made from a bank."""
    if span > LONGEST_SPAN:
        return "longer than trained"
    return "held out" if is_held_out(span) else "trained"


@dataclass(frozen=True)
class _Asked:
    """Who is asked, and who counts what was read."""

    predictor: NextCharPredictor
    controls: Mapping[str, NextCharPredictor]
    trained_timesteps: int | None
    meter: Meter

    def row(self, span: int, batches: Sequence[Batch]) -> SpanResult:
        """Everything that is to be known about one span."""
        own = [_ask(self.predictor, batch, batch.contexts, self.meter) for batch in batches]
        everything = Outcome.join(own)
        limit = self.trained_timesteps
        return SpanResult(
            span=span,
            label=label(span),
            beyond_timesteps=None if limit is None else span > limit,
            chance=everything.chance,
            all=everything.tally(),
            plain=everything.where(~everything.has_decoy).tally(),
            decoy=everything.where(everything.has_decoy).tally(),
            to_decoy=everything.to_decoy(),
            fact_sets=_by_facts(batches, own),
            controls=self._controls(batches),
            credits=tuple(everything.credit.tolist()),
            frames_sha256=digest(batches),
        )

    def _controls(self, batches: Sequence[Batch]) -> dict[str, Tally]:
        plain = [batch.without_decoys() for batch in batches]
        deleted = [_ask(self.predictor, batch, batch.cueless, self.meter) for batch in plain]
        tallies = {CUE_DELETED: Outcome.join(deleted).tally()}
        for name, other in self.controls.items():
            answers = [_ask(other, batch, batch.contexts, self.meter) for batch in plain]
            tallies[name] = Outcome.join(answers).tally()
        return tallies


def _by_facts(batches: Sequence[Batch], outcomes: Sequence[Outcome]) -> dict[str, Tally]:
    parts: dict[str, list[Outcome]] = {}
    for batch, outcome in zip(batches, outcomes, strict=True):
        parts.setdefault(batch.facts.name, []).append(outcome)
    return {name: Outcome.join(some).tally() for name, some in parts.items()}


def _ask(
    predictor: NextCharPredictor, batch: Batch, contexts: Sequence[str], meter: Meter
) -> Outcome:
    return Outcome.of(batch, score(predictor, contexts, batch.facts.targets, meter.read))


def _chars(asked: Iterable[Sequence[Batch]], others: int) -> int:
    """The characters that are read if every span is asked."""
    total = 0
    for batch in (batch for batches in asked for batch in batches):
        plain = sum(frame.decoy is None for frame in batch.frames)
        a_frame = len(batch.contexts[0]) + sum(map(len, batch.facts.targets))
        total += a_frame * (len(batch.frames) + plain * (1 + others))
    return total


def _span50(rows: Sequence[SpanResult], seed: int) -> Span50 | None:
    """None under the gate, whether it was asked for or not, and with too few spans to fit."""
    if len(rows) < FEWEST_SPANS or rows[0].all.choice.share < KNOWLEDGE_GATE:
        return None
    return fit([row.span for row in rows], [row.credits for row in rows], rows[0].chance, seed)


def _last_span(rows: Sequence[SpanResult], holds: Callable[[SpanResult], bool]) -> int | None:
    """The longest span up to which ``holds`` is true at every one, None if not at the first."""
    last = None
    for row in rows:
        if not holds(row):
            break
        last = row.span
    return last


def _finding(rows: Sequence[SpanResult], sure: int | None, some: int | None) -> str:
    longest = rows[-1].span
    if some is None:
        return f"no better than chance at {rows[0].span} characters"
    if sure == longest:
        return f"remembers {longest} characters and perhaps more: the longest span that was asked"
    if sure is None:
        return f"better than chance up to {some} characters"
    part = f"remembers {sure} characters ({KNOWLEDGE_GATE:.0%} right or more)"
    return part if some == sure else f"{part}, better than chance up to {some}"


def _not_known(bank: Bank, row: SpanResult) -> str:
    share = row.all.choice.share
    return (
        f"{_not_learned(bank)} ({share:.0%} right at {row.span} characters, "
        f"{KNOWLEDGE_GATE:.0%} are needed before anything is claimed)"
    )


def _not_learned(bank: Bank) -> str:
    corpus = bundled.made_from(bank.name)
    named = f"the {corpus} corpus" if corpus else f"a corpus made from {bank.name}"
    return f"not learned: train on {named}"
