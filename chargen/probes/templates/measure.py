"""Cloze sentences: a cue, a filler of exact length, and one of K targets to choose.

The fillers do not occur in the corpus that is made from the same phrase bank.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from msgspec import structs

from chargen.datasets import bundled
from chargen.datasets.phrase_bank import Bank, FactSet
from chargen.evaluation import Meter, nats_to_bits
from chargen.files import Progress
from chargen.predictors.protocol import Model, NextCharPredictor, spells
from chargen.probes.statistics.intervals import BOOTSTRAP_DRAWS, Estimate, cluster_bootstrap
from chargen.probes.statistics.span50 import FEWEST_SPANS, Span50, fit_drawn
from chargen.probes.templates import result as records
from chargen.probes.templates.cases import Batch, digest, make, nearest_spans
from chargen.probes.templates.scoring import CandidateScores, Outcome, credit_of, read
from chargen.render.text import counted

SPANS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)  # or the nearest that a phrase bank allows
FRAMES = 320  # sentences per span, at least: 95% intervals of at most ±5.5 points
FRAMES_TO_CHOOSE = 64  # to see which bank a model knows
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
    gate: float = records.KNOWLEDGE_GATE,
    progress: Progress = lambda done, total: None,
) -> records.TemplatesResult:
    """Measure the accuracy of a predictor at each span, beside its controls.

    The shortest span of the bank is measured first. Where accuracy there is below ``gate``, and
    where the vocabulary lacks a character of the bank, the result is a refusal; a ``gate`` of 0
    measures ``spans`` only, by default those of the bank nearest to `SPANS`. ``frames`` is the
    fewest sentences per span, rounded up to balance answers. The control "cue deleted" is the
    predictor itself, with a neutral word in place of the cue; ``controls`` complete half of the
    sentences without a distractor.
    """
    missing = [char for char in bank.characters() if not spells(predictor, char)]
    if missing:
        chars = " ".join(map(repr, missing))
        why = f"{_not_learned(bank)} (the model's vocabulary lacks {chars})"
        return records.TemplatesResult(bank.name, seed, trained_timesteps, (), why)
    spans = nearest_spans(bank, SPANS) if spans is None else spans
    first = nearest_spans(bank, ()) if gate else ()
    shortest, *longer = (
        _Measured(predictor, span, make(bank, span, frames, seed), seed)
        for span in sorted({*first, *spans})
    )
    meter = Meter(progress, sum(len(one.batches) for one in (shortest, *longer)))
    shortest.read(meter)
    accuracy, refusal = shortest.whole.accuracy.value, None
    if accuracy < gate:
        refusal = (
            f"{_not_learned(bank)} (accuracy {accuracy:.0%} at "
            f"{counted(shortest.span, 'character')}; below {gate:.0%} no claim is made)"
        )
        longer = []
    known = {} if refusal else controls()
    for one in longer:
        one.read(meter)
    rows = [one.result(known, trained_timesteps) for one in (shortest, *longer)]
    found, half = _over_facts(rows, seed)
    return records.TemplatesResult(bank.name, seed, trained_timesteps, found, refusal, half)


def choose_bank(
    predictors: Sequence[Model], banks: Sequence[Bank], seed: int
) -> tuple[Bank, list[Bank]]:
    """Return the bank that most predictors know, and further banks that as many know.

    A predictor knows a bank if it passes the knowledge gate. Only the banks that most predictors
    can spell are tried; of equals the first is chosen.
    """

    def knows(predictor: Model, bank: Bank) -> bool:
        found = measure(predictor, bank, spans=(), frames=FRAMES_TO_CHOOSE, seed=seed)
        return not found.refusal

    spelled = [sum(spells(one, bank.characters()) for one in predictors) for bank in banks]
    likely = [bank for bank, count in zip(banks, spelled, strict=True) if count == max(spelled)]
    if len(likely) == 1:
        return likely[0], []
    known = [sum(knows(one, bank) for one in predictors) for bank in likely]
    best = [bank for bank, count in zip(likely, known, strict=True) if count == max(known)]
    return best[0], best[1:] if max(known) else []


def demonstrate(predictor: Model) -> tuple[records.Demonstration, ...]:
    """Return the probabilities of the endings of two classic sentences, without a score.

    The language is the one of whose text the vocabulary has more characters. Characters that it
    lacks, and endings that it cannot spell, are left out and noted.
    """

    def known(sentences: Sequence[tuple[str, Sequence[str]]]) -> float:
        chars = {char for context, ends in sentences for char in context + "".join(ends)}
        return sum(spells(predictor, char) for char in chars) / len(chars)

    return tuple(_demonstrate(predictor, *one) for one in max(ENGLISH, CHINESE, key=known))


class _Measured:
    """The model under test at one span, with its cue, with another cue and without a cue."""

    def __init__(self, model: Model, span: int, batches: Sequence[Batch], seed: int) -> None:
        self.model, self.span, self.batches, self.seed = model, span, batches, seed
        self.controlled = [batch.at(batch.controlled) for batch in batches]

    def read(self, meter: Meter) -> None:
        """Score all sentences, and those without a distractor recued and cue-deleted."""
        self.own: list[CandidateScores] = []
        self.deleted: list[CandidateScores] = []
        bits: dict[str, float] = {}  # D of each pair
        for batch, controlled in zip(self.batches, self.controlled, strict=True):
            plain = batch.at(batch.plain)
            texts = [*batch.contexts, *plain.recued, *controlled.cueless]
            scores = read(self.model, texts, batch.facts.targets, batch.cue_start)
            N, M = len(batch.frames), len(plain.frames)
            meter.step()
            self.own.append(scores[:N])
            self.deleted.append(scores[N + M :])
            # D = [lp(a | A) - lp(b | A)] - [lp(a | B) - lp(b | B)], where the target of A is a, and
            # B is the same text with the cue of another fact, whose target is b.
            moved = scores.log_probs[batch.plain] - scores.log_probs[N : N + M]
            rows, others = np.arange(M), np.array(plain.others, dtype=int)
            nats = moved[rows, plain.answers] - moved[rows, others]
            bits |= dict(zip(plain.cueless, nats_to_bits(nats).tolist(), strict=True))
        self.bits = np.array([*bits.values()])
        self.outcome = Outcome.join(map(Outcome.of, self.batches, self.own))
        self.whole = self.outcome.tally()

    def result(
        self, controls: Mapping[str, NextCharPredictor], trained_timesteps: int | None
    ) -> records.SpanResult:
        outcome, apart = self.outcome, self.outcome.at("before", "after")
        assert apart is not None
        by_place = [*structs.astuple(apart), outcome.at("before"), outcome.at("after")]
        tallies = {CUE_DELETED: _tally(self.controlled, self.deleted)}
        for name, control in controls.items():
            some = [batch for batch in self.controlled if batch.frames]
            found = [read(control, b.contexts, b.facts.targets, b.cue_start) for b in some]
            tallies[name] = _tally(some, found)
        return records.SpanResult(
            **structs.asdict(self.whole),
            span=self.span,
            label=records.span_label(self.span),
            beyond_timesteps=None if trained_timesteps is None else self.span > trained_timesteps,
            chance=float(np.mean([1 / len(b.facts.cues) for b in self.batches for _ in b.frames])),
            plain=outcome.where(outcome.places == "").tally(),
            distractor=records.WithDistractor(*by_place),
            fact_sets={
                name: outcome.where(outcome.sets == name).tally()
                for name in dict.fromkeys(outcome.sets)
            },
            controls=tallies,
            bank_accuracy=self.whole.accuracy,
            distinct=len(set(outcome.sentences)),
            facts=self._by_fact(),
            d=self._cue_effect(),
            example=self._example(),
            frames_sha256=digest(self.batches),
            credits=tuple(outcome.credit.tolist()),
            sentences=outcome.sentences,
        )

    def _example(self) -> records.Example:
        batch, targets = self.batches[0], self.batches[0].facts.targets
        text, start = batch.contexts[0], batch.cue_start
        chosen = targets[int(self.own[0].log_probs[0].argmax())]
        before, cue = text[:start][-EXAMPLE_CHARS:], text[start : -self.span]
        return records.Example(before, cue, text[-self.span :], targets[batch.answers[0]], chosen)

    def _by_fact(self) -> dict[str, records.FactScores]:
        chosen: dict[FactSet, np.ndarray] = {}
        for batch, scores in zip(self.batches, self.own, strict=True):
            found = chosen.setdefault(batch.facts, np.zeros((len(batch.facts.targets),) * 2))
            np.add.at(found, batch.answers, credit_of(scores.log_probs))
        return {
            facts.name: records.FactScores(
                facts.cues, facts.targets, tuple(map(tuple, found.round(6).tolist()))
            )
            for facts, found in chosen.items()
        }

    def _cue_effect(self) -> Estimate:
        """Return D, the median number of bits by which the cue alone moves the choice."""
        rng = np.random.default_rng([self.seed, self.span, 1])  # the sentences are drawn without 1
        drawn = rng.integers(0, len(self.bits), (BOOTSTRAP_DRAWS, len(self.bits)))
        return Estimate.of(float(np.median(self.bits)), np.median(self.bits[drawn], axis=1))


def _tally(batches: Sequence[Batch], scores: Sequence[CandidateScores]) -> records.Tally:
    return Outcome.join(map(Outcome.of, batches, scores)).tally()


def _over_facts(
    rows: Sequence[records.SpanResult], seed: int
) -> tuple[tuple[records.SpanResult, ...], Span50 | None]:
    """Return the rows with the interval for facts like these, and span50 over the same samples.

    There is no span50 where every span is at chance, or with too few spans.
    """
    chosen = [[np.array(one.chosen) for one in row.facts.values()] for row in rows]
    sums = np.array([[x for one in found for x in one.diagonal()] for found in chosen]).T
    counts = np.array([[x for one in found for x in one.sum(axis=1)] for found in chosen]).T
    drawn = cluster_bootstrap(sums, counts, np.random.default_rng([seed, 2])).clip(0, 1)
    found = []
    for row, draws in zip(rows, drawn.T, strict=True):
        bank, facts = row.accuracy, Estimate.of(row.accuracy.value, draws)
        wider = Estimate(bank.value, min(bank.low, facts.low), max(bank.high, facts.high))
        found.append(structs.replace(row, accuracy=wider))
    half = None
    if len(rows) >= FEWEST_SPANS and any(row.accuracy.low > row.chance for row in found):
        accuracies = [row.accuracy.value for row in rows]
        half = fit_drawn([row.span for row in rows], accuracies, drawn, rows[0].chance)
    return tuple(found), half


def _not_learned(bank: Bank) -> str:
    corpus = next((name for name, file in bundled.BANKS.items() if file == bank.name), None)
    named = f"the {corpus} corpus" if corpus else f"a corpus made from {bank.name}"
    return f"not learned: train on {named}, or measure any text with --only context,mined"


def _demonstrate(predictor: Model, context: str, ends: Sequence[str]) -> records.Demonstration:
    lacking = " ".join(sorted({char for char in context if not spells(predictor, char)}))
    unspelled = ", ".join(end for end in ends if not spells(predictor, end))
    context = "".join(char for char in context if spells(predictor, char))
    spelled = tuple(end for end in ends if spells(predictor, end))
    notes = [f"not in the vocabulary, left out: {lacking}"] if lacking else []
    notes += [f"cannot be spelled: {unspelled}"] if unspelled else []
    if not context or len(spelled) < 2:
        return records.Demonstration(context, (), "; ".join([*notes, "nothing to compare"]))
    log_probs = read(predictor, [context], spelled).log_probs[0]
    shares = np.exp(log_probs - np.logaddexp.reduce(log_probs)).tolist()
    bits = (-nats_to_bits(log_probs) / len(spelled[0])).tolist()
    endings = map(records.Ending, spelled, shares, bits)
    return records.Demonstration(context, tuple(endings), "; ".join(notes) or None)
