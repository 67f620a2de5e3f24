"""Cloze sentences: does the model still know at the end of a sentence what its beginning said?

A predictor completes sentences with a cue, a filler of exact length and a target; it chooses among
K targets. The fillers do not occur in the corpus that is made from the same phrase bank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np

from chargen.datasets import bundled
from chargen.datasets.phrase_bank import Bank
from chargen.evaluation import CandidateScores, Meter, read_texts, score_candidates
from chargen.files import Progress
from chargen.predictors import Model, NextCharPredictor, select, spells
from chargen.probes.statistics.intervals import BOOTSTRAP_DRAWS, Estimate, Proportion
from chargen.probes.statistics.span50 import FEWEST_SPANS, Span50, fit
from chargen.probes.templates.cases import Batch, digest, make, nearest_spans
from chargen.probes.templates.result import (
    KNOWLEDGE_GATE,
    Demonstration,
    DistractorTally,
    Example,
    SpanResult,
    Tally,
    TemplatesResult,
    WithDistractor,
    span_label,
)
from chargen.render.text import counted

SPANS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)  # or the nearest that a phrase bank allows
FRAMES = 400  # sentences per span, at least: 95% intervals of at most ±4.9 points
CUE_DELETED = "cue deleted"
EXAMPLE_CHARS = 30  # shown of the text before an example sentence

Controls = Callable[[], Mapping[str, NextCharPredictor]]
"""Returns control predictors by name; called only once the model has passed the knowledge gate."""

# Two classic sentences, one of short and one of long memory, after C. Olah, "Understanding LSTM
# Networks" (2015), in our own words; each with endings of equal length.
ENGLISH = (
    ("the clouds are in the ", ("sky", "sea", "mud")),
    ("I grew up in France, and though I have lived by the sea for years now, I speak fluent ",
     ("French", "German", "Polish", "Danish")),
)  # fmt: skip
CHINESE = (
    ("抬头望去，白云飘在", ("天空", "大海", "泥土")),
    ("我在法国长大，这些年虽然一直住在海边，但还能说一口流利的",
     ("法语", "德语", "英语", "日语")),
)  # fmt: skip


def measure(
    predictor: Model,
    bank: Bank,
    *,
    spans: Sequence[int] | None = None,
    frames: int = FRAMES,
    seed: int = 0,
    controls: Controls = dict,
    trained_timesteps: int | None = None,
    gate: float = KNOWLEDGE_GATE,
    progress: Progress = lambda done, total: None,
) -> TemplatesResult:
    """Measure the accuracy of a predictor at each span, beside its controls.

    The shortest span of the bank is measured first. Where accuracy there is below the knowledge
    gate, and where the vocabulary lacks a character of the bank, the result is a refusal.

    Controls complete the half of the sentences without a distractor: a distractor is never the
    answer, which would put chance below 1/K. The control "cue deleted" is the predictor itself,
    with a neutral word of equal length in place of the cue.

    Args:
        predictor: the model under test.
        bank: phrase bank of the sentences.
        spans: spans in characters; by default those of the bank nearest to `SPANS`.
        frames: fewest sentences per span; rounded up to balance answers.
        seed: random seed of the sentences.
        controls: further control predictors.
        trained_timesteps: length of truncated BPTT in training, in characters.
        gate: least accuracy at the shortest span; 0 measures ``spans`` only.
        progress: called with the characters read so far and in all.

    Raises:
        ChargenError: the bank has no sentences of a span.
    """
    missing = [char for char in bank.characters() if not spells(predictor, char)]
    if missing:
        chars = " ".join(map(repr, missing))
        refusal = f"{_not_learned(bank)} (the model's vocabulary lacks {chars})"
        return TemplatesResult(bank.name, seed, trained_timesteps, (), refusal)
    spans = nearest_spans(bank, SPANS) if spans is None else spans
    first = nearest_spans(bank, ()) if gate else ()
    batches = {span: make(bank, span, frames, seed) for span in sorted({*first, *spans})}
    meter = Meter(progress, sum(map(_chars, chain.from_iterable(batches.values()))))
    measured = {
        span: _Measured(predictor, span, some, seed, meter.read) for span, some in batches.items()
    }
    shortest = next(iter(measured.values()))
    if shortest.accuracy < gate:
        rows, refusal = [shortest.result({}, trained_timesteps)], _not_known(bank, shortest)
    else:
        known = controls()
        rows = [one.result(known, trained_timesteps) for one in measured.values()]
        refusal = ""
    half = _span50(rows, seed)
    return TemplatesResult(bank.name, seed, trained_timesteps, tuple(rows), refusal, half)


def choose_bank(
    predictors: Sequence[Model], banks: Sequence[Bank], seed: int
) -> tuple[Bank, tuple[Bank, ...]]:
    """Return the bank that most predictors know, and further banks that as many know.

    A predictor knows a bank if it passes the knowledge gate. Only the banks that most predictors
    can spell are tried; of equals the first is chosen.
    """
    spelled = [
        sum(spells(predictor, bank.characters()) for predictor in predictors) for bank in banks
    ]
    likely = [bank for bank, count in zip(banks, spelled, strict=True) if count == max(spelled)]
    if len(likely) == 1:
        return likely[0], ()
    known = [
        sum(not measure(predictor, bank, spans=(), seed=seed).refusal for predictor in predictors)
        for bank in likely
    ]
    first, *others = (
        bank for bank, count in zip(likely, known, strict=True) if count == max(known)
    )
    return first, tuple(others) if max(known) else ()


def demonstrate(predictor: Model) -> tuple[Demonstration, ...]:
    """Return the probabilities of the endings of two classic sentences.

    This is a demonstration without a score. The language is the one whose text the
    predictor's vocabulary has more characters. Characters that it lacks are left out of the
    context, and so are endings that it cannot spell; the note lists them.
    """

    def known(sentences: Sequence[tuple[str, Sequence[str]]]) -> float:
        chars = {char for context, ends in sentences for char in context + "".join(ends)}
        return sum(spells(predictor, char) for char in chars) / len(chars)

    return tuple(_demonstrate(predictor, *one) for one in max(ENGLISH, CHINESE, key=known))


def cue_effect(batch: Batch, log_probs: np.ndarray, recued: np.ndarray) -> np.ndarray:
    """Return D, the number of bits by which the cue alone moves the choice between two targets.

        D = [lp(a | A) - lp(b | A)] - [lp(a | B) - lp(b | B)]

    A is the sentence with its own cue, whose target is a; B is the same text with the cue of
    another fact, whose target is b. D is 0 for a cue without effect. Its sign is no accuracy: a
    trace of 0.0001 bits has the right sign in every sentence.

    Args:
        batch: N sentences.
        log_probs: log-probabilities of the K targets after the batch's contexts, ``(N, K)`` nats.
        recued: the same after the contexts with the cues of `Batch.others`.

    Returns:
        ``(N,)`` bits.
    """
    rows, own, other = np.arange(len(log_probs)), batch.answers, batch.others
    moved = log_probs - recued
    bits: np.ndarray = (moved[rows, own] - moved[rows, other]) / math.log(2)
    return bits


@dataclass(frozen=True)
class Outcome:
    """Outcome of N sentences, one by one."""

    credit: np.ndarray  # (N,) credit of the correct target
    greedy: np.ndarray  # (N,) whether greedy decoding generated it
    distractor: np.ndarray  # (N,) credit of the distractor's target; 0 without a distractor
    places: np.ndarray  # (N,) "before", "after", or "" without a distractor

    @classmethod
    def of(cls, batch: Batch, scores: CandidateScores) -> Outcome:
        """Return the outcome of a batch whose candidates are the targets of its facts."""
        rows = np.arange(len(batch.frames))
        distractors = np.array([f.distractor.fact if f.distractor else -1 for f in batch.frames])
        return cls(
            credit=scores.credit[rows, batch.answers],
            greedy=scores.greedy[rows, batch.answers],
            distractor=np.where(distractors >= 0, scores.credit[rows, distractors], 0.0),
            places=np.array([f.distractor.place if f.distractor else "" for f in batch.frames]),
        )

    @classmethod
    def join(cls, parts: Iterable[Outcome]) -> Outcome:
        """Concatenate outcomes."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*map(np.concatenate, columns))

    def where(self, kept: np.ndarray) -> Outcome:
        """Return the sentences for which ``kept``, ``(N,)``, is true."""
        return Outcome(*(column[kept] for column in vars(self).values()))

    def tally(self) -> Tally:
        """Return the accuracy over all N sentences."""
        return Tally(*self._counts())

    def at(self, *places: str) -> DistractorTally | None:
        """Return the accuracy over sentences with a distractor in one of ``places``, if any."""
        part = self.where(np.isin(self.places, places))
        wrong = float((1 - part.credit).sum())
        chosen = float(part.distractor.sum()) / wrong if wrong > 0 else None
        return DistractorTally(*part._counts(), chosen) if len(part.credit) else None

    def _counts(self) -> tuple[Estimate, int, Estimate]:
        N = len(self.credit)
        credits = min(float(self.credit.sum()), float(N))
        shares = (Proportion(count, N) for count in (credits, int(self.greedy.sum())))
        accuracy, greedy = (Estimate(one.share, *one.interval) for one in shares)
        return accuracy, N, greedy


class _Measured:
    """The model under test at one span, with its cue, with another cue and without a cue.

    The three readings of a sentence share the state before the cue.
    """

    def __init__(
        self,
        predictor: Model,
        span: int,
        batches: Sequence[Batch],
        seed: int,
        on_read: Callable[[int], None],
    ) -> None:
        self.predictor, self.span, self.batches = predictor, span, batches
        self.seed, self.on_read = seed, on_read
        self.plain = [batch.without_distractors() for batch in batches]

    @cached_property
    def scores(self) -> list[tuple[CandidateScores, CandidateScores, CandidateScores]]:
        """Scores of all sentences, and of those without a distractor recued and cue-deleted."""
        return [self._scores(*both) for both in zip(self.batches, self.plain, strict=True)]

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """The outcome of each batch."""
        return [
            Outcome.of(batch, own)
            for batch, (own, *_) in zip(self.batches, self.scores, strict=True)
        ]

    @property
    def accuracy(self) -> float:
        """The accuracy over all sentences."""
        return Outcome.join(self.outcomes).tally().accuracy.value

    def result(
        self, controls: Mapping[str, NextCharPredictor], trained_timesteps: int | None
    ) -> SpanResult:
        """Return everything that is reported of the span."""
        everything = Outcome.join(self.outcomes)
        whole = everything.tally()
        distractor = everything.at("before", "after")
        assert distractor is not None
        deleted = (scores for *_, scores in self.scores)
        tallies = {CUE_DELETED: Outcome.join(map(Outcome.of, self.plain, deleted)).tally()}
        for name, control in controls.items():
            tallies[name] = Outcome.join(self._control(control)).tally()
        return SpanResult(
            accuracy=whole.accuracy,
            frames=whole.frames,
            greedy_accuracy=whole.greedy_accuracy,
            span=self.span,
            label=span_label(self.span),
            beyond_timesteps=None if trained_timesteps is None else self.span > trained_timesteps,
            chance=float(np.mean([1 / len(b.facts.cues) for b in self.batches for _ in b.frames])),
            plain=everything.where(everything.places == "").tally(),
            distractor=WithDistractor(
                distractor.accuracy,
                distractor.frames,
                distractor.greedy_accuracy,
                distractor.errors_to_distractor,
                everything.at("before"),
                everything.at("after"),
            ),
            fact_sets=self._by_facts(),
            controls=tallies,
            d=self._cue_effect(),
            example=self._example(),
            frames_sha256=digest(self.batches),
            credits=tuple(everything.credit.tolist()),
        )

    def _scores(
        self, batch: Batch, plain: Batch
    ) -> tuple[CandidateScores, CandidateScores, CandidateScores]:
        cue = batch.cue_start
        state = read_texts(self.predictor, [text[:cue] for text in batch.contexts], self.on_read)
        N, M = len(batch.frames), len(plain.frames)
        rows = np.concatenate([np.arange(N), batch.plain, batch.plain])
        texts = [*batch.contexts, *plain.recued, *plain.cueless]
        scores = score_candidates(
            self.predictor,
            [text[cue:] for text in texts],
            batch.facts.targets,
            self.on_read,
            select(state, rows),
        )
        return scores[:N], scores[N : N + M], scores[N + M :]

    def _example(self) -> Example:
        """Return the first sentence without a distractor."""
        batch, n, start = self.batches[0], self.batches[0].plain[0], self.batches[0].cue_start
        context, answer = batch.contexts[n], batch.frames[n].answer
        chosen = int(self.scores[0][0].log_probs[n].argmax())
        before, cue, filler = (context[:start], context[start : -self.span], context[-self.span :])
        targets = batch.facts.targets
        return Example(before[-EXAMPLE_CHARS:], cue, filler, targets[answer], targets[chosen])

    def _control(self, predictor: NextCharPredictor) -> Iterable[Outcome]:
        for batch in self.plain:
            yield Outcome.of(
                batch, score_candidates(predictor, batch.contexts, batch.facts.targets)
            )

    def _by_facts(self) -> dict[str, Tally]:
        parts: dict[str, list[Outcome]] = {}
        for batch, outcome in zip(self.batches, self.outcomes, strict=True):
            parts.setdefault(batch.facts.name, []).append(outcome)
        return {name: Outcome.join(some).tally() for name, some in parts.items()}

    def _cue_effect(self) -> Estimate:
        """Return the median of D over sentences, with a bootstrap interval."""
        bits = np.concatenate(
            [
                cue_effect(plain, own.log_probs[batch.plain], recued.log_probs)
                for batch, plain, (own, recued, _) in zip(
                    self.batches, self.plain, self.scores, strict=True
                )
            ]
        )
        rng = np.random.default_rng([self.seed, self.span, 1])  # the sentences are drawn without 1
        drawn = rng.integers(0, len(bits), (BOOTSTRAP_DRAWS, len(bits)))
        return Estimate.of(float(np.median(bits)), np.median(bits[drawn], axis=1))


def _chars(batch: Batch) -> int:
    """Return the number of characters that `_Measured` reads of a batch."""
    rows = len(batch.frames) + 2 * len(batch.plain)
    after = len(batch.contexts[0]) - batch.cue_start + sum(map(len, batch.facts.targets))
    return len(batch.frames) * batch.cue_start + rows * after


def _span50(rows: Sequence[SpanResult], seed: int) -> Span50 | None:
    """Return None below the gate, even if the gate is disabled, and with too few spans."""
    if len(rows) < FEWEST_SPANS or rows[0].accuracy.value < KNOWLEDGE_GATE:
        return None
    return fit([row.span for row in rows], [row.credits for row in rows], rows[0].chance, seed)


def _not_known(bank: Bank, shortest: _Measured) -> str:
    return (
        f"{_not_learned(bank)} (accuracy {shortest.accuracy:.0%} at "
        f"{counted(shortest.span, 'character')}; below {KNOWLEDGE_GATE:.0%} no claim is made)"
    )


def _not_learned(bank: Bank) -> str:
    corpus = bundled.made_from(bank.name)
    named = f"the {corpus} corpus" if corpus else f"a corpus made from {bank.name}"
    return f"not learned: train on {named}, or measure any text with --only context,mined"


def _demonstrate(predictor: Model, context: str, ends: Sequence[str]) -> Demonstration:
    lacking = sorted({char for char in context if not spells(predictor, char)})
    context = "".join(char for char in context if spells(predictor, char))
    spelled = tuple(end for end in ends if spells(predictor, end))
    unspelled = [end for end in ends if end not in spelled]
    notes = []
    if lacking:
        notes.append(f"not in the vocabulary, left out: {' '.join(lacking)}")
    if unspelled:
        notes.append(f"cannot be spelled: {', '.join(unspelled)}")
    if not context or len(spelled) < 2:
        return Demonstration(context, (), (), (), "; ".join([*notes, "nothing to compare"]))
    log_probs = score_candidates(predictor, [context], spelled).log_probs[0]
    shares = np.exp(log_probs - np.logaddexp.reduce(log_probs))
    bits = -log_probs / math.log(2) / len(spelled[0])
    return Demonstration(
        context, spelled, tuple(shares.tolist()), tuple(bits.tolist()), "; ".join(notes)
    )
