"""Instrument (a): is the answer that stood in a sentence's beginning still known at its end?

Sentences with a cue, a filler of exact length and a target are put to a predictor, which chooses
among K targets. Their fillers are those that the corpus made from the same bank never holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chargen.datasets import bundled
from chargen.datasets.phrase_bank import Bank
from chargen.evaluation import CandidateScores, Meter, score_candidates
from chargen.files import Progress
from chargen.predictors import NextCharPredictor
from chargen.probes.statistics.intervals import Estimate
from chargen.probes.statistics.span50 import FEWEST_SPANS, Span50, fit
from chargen.probes.templates.cases import Batch, digest, make, nearest_spans
from chargen.probes.templates.contrast import contrasts, median
from chargen.probes.templates.outcomes import Outcome, Tally
from chargen.probes.templates.result import KNOWLEDGE_GATE, SpanResult, TemplatesResult, label
from chargen.render.text import counted

SPANS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)  # or the nearest that a bank has
FRAMES = 400  # a span, at least: a 95 % interval no wider than 4.9 points either way
CUE_DELETED = "cue deleted"
CHANGED_CUES = 2  # readings of a frame without a decoy: its cue deleted, and another in its place


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
    to_ask = _Asked(predictor, controls, trained_timesteps, seed, meter)
    rows: list[SpanResult] = []
    refusal = ""
    for span, batches in asked.items():
        rows.append(to_ask.row(span, batches))
        if rows[0].all.choice.share < gate:
            refusal = _not_known(bank, rows[0])
            break
    half = _span50(rows, seed)
    return TemplatesResult(bank.name, seed, trained_timesteps, tuple(rows), refusal, half)


@dataclass(frozen=True)
class _Asked:
    """Who is asked, and who counts what was read."""

    predictor: NextCharPredictor
    controls: Mapping[str, NextCharPredictor]
    trained_timesteps: int | None
    seed: int
    meter: Meter

    def row(self, span: int, batches: Sequence[Batch]) -> SpanResult:
        """Everything that is to be known about one span."""
        scores = [self._scores(self.predictor, batch, batch.contexts) for batch in batches]
        own = list(map(Outcome.of, batches, scores))
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
            decoys=everything.by_place(),
            d=self._d(span, batches, scores),
            credits=tuple(everything.credit.tolist()),
            frames_sha256=digest(batches),
        )

    def _controls(self, batches: Sequence[Batch]) -> dict[str, Tally]:
        plain = [batch.without_decoys() for batch in batches]
        tallies = {CUE_DELETED: self._tally(self.predictor, plain, [b.cueless for b in plain])}
        for name, other in self.controls.items():
            tallies[name] = self._tally(other, plain, [b.contexts for b in plain])
        return tallies

    def _tally(
        self,
        predictor: NextCharPredictor,
        batches: Sequence[Batch],
        contexts: Sequence[Sequence[str]],
    ) -> Tally:
        answers = (
            Outcome.of(batch, self._scores(predictor, batch, some))
            for batch, some in zip(batches, contexts, strict=True)
        )
        return Outcome.join(answers).tally()

    def _d(
        self, span: int, batches: Sequence[Batch], scores: Sequence[CandidateScores]
    ) -> Estimate:
        """Over the frames without a decoy, so that the cue is all that names a fact."""
        found = []
        for batch, told in zip(batches, scores, strict=True):
            plain = batch.without_decoys()
            recued = self._scores(self.predictor, plain, plain.recued)
            found.append(contrasts(plain, told.log_probs[batch.plain], recued.log_probs))
        return median(np.concatenate(found), self.seed, span)

    def _scores(
        self, predictor: NextCharPredictor, batch: Batch, contexts: Sequence[str]
    ) -> CandidateScores:
        return score_candidates(predictor, contexts, batch.facts.targets, self.meter.read)


def _by_facts(batches: Sequence[Batch], outcomes: Sequence[Outcome]) -> dict[str, Tally]:
    parts: dict[str, list[Outcome]] = {}
    for batch, outcome in zip(batches, outcomes, strict=True):
        parts.setdefault(batch.facts.name, []).append(outcome)
    return {name: Outcome.join(some).tally() for name, some in parts.items()}


def _chars(asked: Iterable[Sequence[Batch]], others: int) -> int:
    """The characters that are read if every span is asked."""
    total = 0
    for batch in (batch for batches in asked for batch in batches):
        plain = len(batch.plain)
        a_frame = len(batch.contexts[0]) + sum(map(len, batch.facts.targets))
        total += a_frame * (len(batch.frames) + plain * (CHANGED_CUES + others))
    return total


def _span50(rows: Sequence[SpanResult], seed: int) -> Span50 | None:
    """None under the gate, whether it was asked for or not, and with too few spans to fit."""
    if len(rows) < FEWEST_SPANS or rows[0].all.choice.share < KNOWLEDGE_GATE:
        return None
    return fit([row.span for row in rows], [row.credits for row in rows], rows[0].chance, seed)


def _not_known(bank: Bank, row: SpanResult) -> str:
    share = row.all.choice.share
    return (
        f"{_not_learned(bank)} ({share:.0%} right at {counted(row.span, 'character')}, "
        f"{KNOWLEDGE_GATE:.0%} are needed before anything is claimed)"
    )


def _not_learned(bank: Bank) -> str:
    corpus = bundled.made_from(bank.name)
    named = f"the {corpus} corpus" if corpus else f"a corpus made from {bank.name}"
    return (
        f"not learned: train on {named}, or see with --only context,mined how far back it looks "
        "in any text"
    )
