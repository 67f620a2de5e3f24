"""Cloze sentences, validated by predictors of known memory, without training."""

import json
import zlib
from dataclasses import replace

import fakes
import numpy as np
import pytest
from fakes import BANK, CHINESE, ORACLE, Remembers, Rule, UniformPredictor, cloze, last_cue
from results import span_row, templates_result

from chargen.errors import ChargenError
from chargen.predictors.protocol import limited
from chargen.probes.statistics.intervals import wilson
from chargen.probes.templates import cases
from chargen.probes.templates.measure import CHINESE as CHINESE_SENTENCES
from chargen.probes.templates.measure import ENGLISH, FRAMES, SPANS, choose_bank, demonstrate
from chargen.probes.templates.result import KNOWLEDGE_GATE, compare, finding_of
from chargen.probes.templates.scoring import Outcome, read, score_candidates
from chargen.text.vocabulary import Vocabulary

SAYS_THE_SAME = Rule(lambda text, facts, span: 3)


def accuracies(result, pick=lambda row: row):
    return [pick(row).accuracy.value for row in result.rows]


def test_an_oracle_has_full_accuracy():
    result = cloze(ORACLE)
    assert accuracies(result) == [1.0] * len(fakes.SPANS)
    assert [row.greedy_accuracy.value for row in result.rows] == [1.0] * len(fakes.SPANS)
    assert [row.distractor.errors_to_distractor for row in result.rows] == [None] * len(fakes.SPANS)
    finding = "remembers at least 128 characters, the longest span measured, span50 >128"
    assert result.finding() == finding


@pytest.mark.parametrize("predictor", [SAYS_THE_SAME, UniformPredictor(fakes.VOCABULARY)])
def test_a_constant_answer_scores_exactly_chance_and_the_cue_has_no_effect(predictor):
    result = cloze(predictor, frames=32)
    for row in result.rows:
        own = (row, row.plain, row.distractor, *row.fact_sets.values(), *row.controls.values())
        assert {one.accuracy.value for one in own} == {1 / 8}
        assert (row.d.value, row.d.low, row.d.high) == (0, 0, 0)
    assert result.finding() == "no better than chance at 4 characters"
    assert result.to_json()["span50"] is result.span50 is None


@pytest.mark.parametrize(
    ("chars", "reached", "bank"),
    [(8, 8, BANK), (50, 32, BANK), (128, 128, BANK), (32, 32, CHINESE)],
)
def test_a_known_memory_is_perfect_within_and_at_chance_beyond(chars, reached, bank):
    spans = (4, 8, 16, 32, 64, 128, 256)
    result = cloze(Remembers(chars, bank), spans, bank, trained_timesteps=64)
    assert accuracies(result) == [1.0 if span <= chars else 1 / 8 for span in spans]
    assert accuracies(result, lambda row: row.controls["cue deleted"]) == [1 / 8] * len(spans)
    half = result.span50
    assert reached <= half.low <= half.chars <= half.high <= 2 * reached
    assert result.finding() == (
        f"remembers {reached} characters (accuracy 90% or more), span50 {half.text()}; "
        "trained with 64 timesteps"
    )
    values = result.to_json()
    assert values["span50_chars_low"] < values["span50_chars"] < values["span50_chars_high"]


def test_permuted_answers_bring_anyone_to_chance():
    rng = np.random.default_rng(1)
    outcomes = []
    for batch in cases.make(BANK, 16, 160, seed=0):
        answers = rng.permutation(batch.answers).tolist()
        pairs = zip(batch.frames, answers, strict=True)
        frames = tuple(replace(frame, answer=answer) for frame, answer in pairs)
        scores = read(ORACLE, batch.contexts, batch.facts.targets)
        outcomes.append(Outcome.of(replace(batch, frames=frames), scores))
    credit = Outcome.join(outcomes).credit
    low, high = wilson(credit.sum(), len(credit))
    assert low <= 1 / 8 <= high


def filler(text, facts):
    return text[text.index(facts.opening) + len(facts.opening) + len(facts.no_cue) :]


def not_the_distractor(text, facts, span):
    before, _, rest = text.partition(facts.opening)
    mentioned = [n for n, cue in enumerate(facts.cues) if cue in before + rest[len(cue) :]]
    facts_left = [n for n in range(len(facts.cues)) if n not in mentioned]
    return facts_left[(zlib.crc32(text.encode()) >> 8) % len(facts_left)]


def most_frequent(text, facts, span):
    own = text.index(facts.opening) + len(facts.opening)
    counts = [text.count(cue) - text.startswith(cue, own) for cue in facts.cues]
    return int(np.argmax(counts)) if max(counts) else None


@pytest.mark.parametrize(
    "rule",
    [
        lambda text, facts, span: len(filler(text, facts)) % 8,
        lambda text, facts, span: len(filler(text, facts).split()) % 2,
        lambda text, facts, span: zlib.crc32(filler(text, facts).encode()) % 8,
        most_frequent,
        not_the_distractor,
    ],
)
def test_no_shortcut_beats_chance(rule):
    for row in cloze(Rule(rule), spans=(32,), frames=160).rows:
        for found in (row.bank_accuracy, row.plain.accuracy, row.distractor.accuracy):
            assert found.low <= row.chance == 1 / 8 <= found.high


def test_a_memory_of_a_middle_distance_alone_has_no_span50():
    middle = Rule(lambda *case: Remembers(200).fact(*case) if case[2] >= 100 else None)
    result = cloze(middle, spans=(4, 8, 32, 128, 256))
    assert accuracies(result) == [1 / 8] * 3 + [1, 1 / 8]
    assert result.span50.text() == "no fit"
    assert result.finding() == (
        "no better than chance at 4 characters, but better at 128, span50 no fit"
    )


def test_accuracy_is_reported_by_fact_with_the_wrong_answers():
    def confuses(text, facts, span):
        fact = Remembers(10_000).fact(text, facts, span)
        return 5 if fact == 2 else fact

    confused = cloze(Rule(confuses), spans=(32,), frames=320)
    (row,) = confused.rows
    for facts in row.facts.values():
        assert facts.accuracy == [1, 1, 0, 1, 1, 1, 1, 1]
        assert facts.chosen[2][5] == sum(facts.chosen[2]) == 20
    assert row.accuracy.value == 14 / 16
    # Other sentences about these facts, and other facts such as these.
    assert row.accuracy.low < 0.75
    assert row.bank_accuracy.low > 0.83
    (row,) = confused.to_json()["spans"]
    assert row["accuracy_low"] < row["bank_accuracy_low"] < row["bank_accuracy"]
    assert row["facts"]["arbitrary"]["accuracy"][2] == 0


def test_equal_sentences_are_one_observation():
    near, far = cloze(ORACLE, spans=(4, 64), frames=320).rows
    assert (near.frames, far.frames, far.distinct) == (320, 320, 320)
    assert near.distinct < 150  # the bank has 144
    assert near.bank_accuracy.low == pytest.approx(1 / (1 + 3.84 / 52), abs=0.005)
    assert far.bank_accuracy.low == pytest.approx(1 / (1 + 3.84 / 320), abs=0.001)


def test_remembering_needs_the_lower_bound():
    """90.6% in 64 sentences may be less than 90%."""
    worse = fakes.Forgets(lambda span: 0.94 if span > 30 else 1)
    result = cloze(worse, spans=(4, 16, 64), frames=200)
    assert result.rows[-1].accuracy.value >= KNOWLEDGE_GATE > result.rows[-1].accuracy.low
    assert result.reliable_chars == 16


def test_the_last_cue_falls_for_distractors_after_the_cue_only():
    result = cloze(Rule(last_cue), spans=(4, 64))
    short, row = result.rows
    assert short.distractor.after is None
    assert row.plain.accuracy.value == 1
    assert 0.2 < row.distractor.accuracy.value < 0.8
    before, after = row.distractor.before, row.distractor.after
    assert (before.accuracy.value, before.errors_to_distractor) == (1, None)
    assert after.errors_to_distractor == 1
    assert after.accuracy.value < 0.3  # 1/8 in expectation: a distractor may name the answer
    near, far = (one["with_decoy"] for one in result.to_json()["spans"])
    assert (far["errors_to_decoy"], far["after"]["errors_to_decoy"]) == (1, 1)
    assert far["before"]["frames"] + far["after"]["frames"] == far["frames"] == 32
    assert near["after"] is None  # no room for one


def test_d_is_the_number_of_bits_by_which_the_cue_moves_the_choice():
    result = cloze(Remembers(32), spans=(4, 32, 64))
    rest = (1 - fakes.LIKELY) / (len(fakes.VOCABULARY) - 1)
    # The cue determines the first character alone: up for its own target, down for the other's.
    for row in result.rows[:2]:
        assert row.d.value == pytest.approx(2 * np.log2(fakes.LIKELY / rest))
        assert row.d.low == pytest.approx(row.d.high)
    assert result.rows[2].d.value == 0
    wavering = cloze(fakes.Forgets(lambda span: 2 / 3), spans=(32,), frames=160).rows[0].d
    assert wavering.low < wavering.high
    assert wavering.low <= wavering.value <= wavering.high


def test_nothing_is_claimed_below_the_gate_and_no_control_is_made():
    made = []
    result = cloze(SAYS_THE_SAME, gate=KNOWLEDGE_GATE, controls=lambda: made.append(1) or {})
    assert result.finding() == result.refusal
    assert "accuracy 12% at 4 characters" in result.refusal
    assert [row.span for row in result.rows] == [4]
    assert not made
    known = cloze(Remembers(8), gate=KNOWLEDGE_GATE, spans=(64, 128))
    assert (known.refusal, [row.span for row in known.rows]) == (None, [4, 64, 128])


def test_a_refusal_names_the_corpus_to_train_on():
    def refusal(bank):
        return cloze(Remembers(2, bank), bank=bank, gate=0.9).refusal

    assert refusal(BANK).startswith("not learned: train on the longrange corpus, or measure any")
    assert refusal(CHINESE).startswith("not learned: train on the longrange-zh corpus, or")
    mine = replace(CHINESE, name="my.bank")
    assert refusal(mine).startswith("not learned: train on a corpus made from my.bank, or")
    missing = cloze(UniformPredictor(Vocabulary("\n ,abc")))
    assert missing.rows == ()
    assert "vocabulary lacks '.' 'A'" in missing.refusal
    assert json.loads(json.dumps(missing.to_json()))["spans"] == []


def test_json_has_units_and_is_a_function_of_the_seed_and_not_of_the_other_spans():
    values = cloze(Rule(last_cue), spans=(32, 512), frames=32, trained_timesteps=64).to_json()
    other = cloze(Rule(last_cue), spans=(512, 32), frames=32, trained_timesteps=64).to_json()
    assert json.dumps(values) == json.dumps(other)
    more = cloze(Rule(last_cue), spans=(4, 32), frames=32, trained_timesteps=64).to_json()
    assert values["spans"][0] == more["spans"][1]
    assert cases.make(BANK, 64, 32, 0) != cases.make(BANK, 64, 32, 1)
    assert (values["trained_timesteps"], values["longest_trained_span_chars"]) == (64, 256)
    near, far = values["spans"]
    expected = {"span_chars": 32, "label": "held out", "beyond_timesteps": False, "chance": 0.125}
    assert near.items() >= expected.items()
    assert {"accuracy", "accuracy_low", "accuracy_high", "frames", "d_bits_low"} <= near.keys()
    assert (far["label"], far["beyond_timesteps"]) == ("longer than trained", True)
    assert not {"credits", "sentences"} & near.keys()


@pytest.mark.parametrize(("chars", "limit"), [(3, 32), (30, 64), (1000, None)])
def test_the_context_limit_is_measured(chars, limit):
    class Sums:
        vocabulary = fakes.VOCABULARY

        def advance(self, ids, state=None):
            before = np.zeros((len(ids), 0), int) if state is None else state
            text = np.concatenate([before, ids], axis=1)
            last = text[:, -chars:].sum(axis=1)
            return np.broadcast_to(-last[:, None, None] / 1e3, (*ids.shape, 1)), text

    found = limited(Sums())
    assert getattr(found, "context_chars", None) == limit


def test_default_spans_are_the_nearest_that_all_fact_sets_have():
    assert cases.nearest_spans(BANK, SPANS) == SPANS
    assert cases.nearest_spans(CHINESE, SPANS) == SPANS
    long_lead = replace(BANK.fact_sets[0], lead=", sold on in ")  # 13 characters
    bank = replace(BANK, name="my.bank", fact_sets=(long_lead, BANK.fact_sets[1]))
    # 4 + a phrase or two has to be 13 + another: no span under 17 is in both.
    assert cases.nearest_spans(bank, ())[0] > 13
    assert cases.nearest_spans(bank, SPANS)[2:] == (64, 128, 256, 512, 1024)
    even = replace(BANK.fact_sets[0], lead=" and in ")
    odd = replace(BANK.fact_sets[1], lead=" just of ")
    bank = replace(BANK, fact_sets=(even, odd), test=(", sent late ",), links=(" now", " too"))
    with pytest.raises(ChargenError, match=r"english\.bank: its fact sets .* no span in common"):
        cases.nearest_spans(bank, ())
    with pytest.raises(ChargenError, match=r"span 12: .* nearest spans are 8, 14, 15"):
        cloze(ORACLE, spans=(4, 12))


@pytest.mark.parametrize("span", [4, 64])
def test_sentences_are_balanced_and_batches_need_no_padding(span):
    batches = cases.make(BANK, span, FRAMES, 0)
    assert sum(len(batch.frames) for batch in batches) >= FRAMES
    for facts in BANK.fact_sets:
        frames = [frame for batch in batches if batch.facts is facts for frame in batch.frames]
        pairs = [(one.answer, one.distractor.fact) for one in frames if one.distractor]
        plain = [one.answer for one in frames if not one.distractor]
        for answers in (plain, [answer for answer, _ in pairs]):
            assert len(set(np.bincount(answers, minlength=8).tolist())) == 1
        assert sum(answer == fact for answer, fact in pairs) == len(pairs) / 8
    rows = np.concatenate([batch.answers for batch in batches])
    assert (rows == np.arange(len(rows)) % 8).mean() < 0.2  # shuffled
    for batch in batches:
        assert len(set(map(len, batch.contexts))) == 1
        start = batch.cue_start
        texts = zip(batch.frames, batch.contexts, batch.cueless, batch.recued, strict=True)
        for (frame, context, cueless, recued), other in zip(texts, batch.others, strict=True):
            assert context.endswith(frame.text)
            assert len(context) - len(frame.text) >= cases.BEFORE_CHARS[0]
            assert context[start:-span] == batch.facts.cues[frame.answer]
            assert cueless == context[:start] + "abroad" + context[-span:]
            assert recued == context[:start] + batch.facts.cues[other] + context[-span:]
            assert other != frame.answer
        plain = batch.at(batch.plain)
        assert set(plain.recued) == set(plain.contexts)


class Both:
    """Knows the sentences of the given banks, in one vocabulary."""

    def __init__(self, *banks):
        self.vocabulary = Vocabulary.of(BANK.characters() + CHINESE.characters())
        self.readers = [Remembers(10_000, bank) for bank in banks]
        for reader in self.readers:
            reader.vocabulary = self.vocabulary

    def advance(self, ids, state=None):
        states = state or (None,) * len(self.readers)
        found = [r.advance(ids, s) for r, s in zip(self.readers, states, strict=True)]
        best = np.max([log_probs for log_probs, _ in found], axis=0)
        sums = np.logaddexp.reduce(best, axis=2, keepdims=True)
        return best - sums, tuple(s for _, s in found)


def test_the_bank_that_most_models_know_is_chosen():
    banks = [BANK, CHINESE]
    english, chinese = Both(BANK), Both(CHINESE)
    assert choose_bank([chinese], banks, 0) == (CHINESE, [])
    assert choose_bank([Both(BANK, CHINESE)], banks, 0) == (BANK, [CHINESE])
    assert choose_bank([UniformPredictor(english.vocabulary)], banks, 0) == (BANK, [])
    assert choose_bank([english, chinese, chinese], banks, 0) == (CHINESE, [])
    # A bank that only one can spell is not tried.
    assert choose_bank([english, Remembers(9, CHINESE)], banks, 0) == (CHINESE, [])


def texts(one):
    return [ending.text for ending in one.candidates]


def shares(one):
    return [ending.share for ending in one.candidates]


def test_the_demonstration_shows_probabilities_in_the_language_of_the_vocabulary():
    english, chinese = (
        "".join(context + "".join(ends) for context, ends in sentences)
        for sentences in (ENGLISH, CHINESE_SENTENCES)
    )
    sky, france = demonstrate(UniformPredictor(Vocabulary.of(english)))
    assert shares(sky) == pytest.approx([1 / 3] * 3)
    assert ("French" in texts(france), france.note) == (True, None)
    sky, france = demonstrate(UniformPredictor(Vocabulary.of("the clouds are in a sky of mud")))
    assert "sea" in texts(sky)
    assert "cannot be spelled: French" in france.note
    assert "not in the vocabulary, left out: , F I" in france.note
    assert france.candidates == ()
    sky, france = demonstrate(UniformPredictor(Vocabulary.of(chinese)))
    assert texts(sky) == ["天空", "大海", "泥土"]
    both = Vocabulary.of(english + chinese)
    assert texts(demonstrate(UniformPredictor(both))[0])[0] == "sky"


class Spoken:
    """A `TextScorer` that reads as a predictor of characters does."""

    def __init__(self, predictor):
        self.predictor = predictor

    def log_prob(self, context, continuation):
        (score,) = score_candidates(self.predictor, [context], [continuation]).log_probs[0]
        return float(score)


def test_a_model_that_scores_strings_completes_the_same_sentences():
    reader = Remembers(40)
    found, expected = (
        cloze(model, spans=(8, 64), frames=8, progress=lambda done, total: None)
        for model in (Spoken(reader), reader)
    )
    for row, own in zip(found.rows, expected.rows, strict=True):
        assert row.accuracy == own.accuracy
        assert row.d.value == pytest.approx(own.d.value)
    text = "".join(context + "".join(ends) for context, ends in ENGLISH)
    _, france = demonstrate(Spoken(UniformPredictor(Vocabulary.of(text))))
    assert shares(france) == pytest.approx([1 / 4] * 4)


def given(credits, span=4):
    return span_row(span, 0.5, credits=tuple(credits))


def finding(**results):
    return finding_of(results, compare({n: one for n, one in results.items() if not one.refusal}))


def test_results_are_compared_sentence_by_sentence():
    first = templates_result(given([1, 1, 1, 1, 1, 1, 0, 0.5]), given([1.0] * 8, 8))
    second = templates_result(given([1, 0, 0, 0, 0, 0.5, 1, 1]), given([0.0] * 8, 8))
    (pair,) = compare({"first": first, "second": second})
    near, far = pair.spans
    assert (near.span, near.frames, near.only_first, near.only_second) == (4, 8, 5, 2)
    assert near.difference == 3 / 8
    assert near.p == 38 / 128  # of all signs of 1, 1, 1, 1, 1, 1/2 and 1/2
    assert near.p_holm == near.p  # the larger of the two
    assert (far.p, far.p_holm) == (2 / 256, 4 / 256)
    counts = {"span_chars": 8, "frames": 8, "only_first": 8, "only_second": 0, "difference": 1.0}
    names = {"instrument": "templates", "first": "first", "second": "second"}
    assert pair.to_json()[1] == names | counts | {"p": 2 / 256, "p_holm": 4 / 256}


def test_holm_is_over_all_spans_of_all_pairs():
    right, wrong = given([1.0] * 8), given([0.0] * 8)
    results = {
        name: templates_result(row) for name, row in zip("abc", (right, wrong, wrong), strict=True)
    }
    ab, ac, bc = compare(results)
    assert [(pair.first, pair.second) for pair in (ab, ac, bc)] == [*map(tuple, ("ab", "ac", "bc"))]
    assert [pair.spans[0].p_holm for pair in (ab, ac, bc)] == [6 / 256, 6 / 256, 1]
    assert [len(pair.ahead(1)) for pair in (ab, ac, bc)] == [1, 1, 0]
    assert compare({"a": templates_result(right)}) == ()


def test_the_finding_names_the_model_with_the_longer_memory():
    spans = (4, 16, 64)
    far, near = (cloze(one, spans, trained_timesteps=64) for one in (ORACLE, Remembers(16)))
    unknown = cloze(SAYS_THE_SAME, spans, gate=0.9)
    found = finding(far=far, near=near)
    assert found == (
        "far has a longer memory than near: ahead at 64, by 88 percentage points at 64 "
        f"characters, span50 >64 against {near.span50.text()}"
    )
    assert finding(near=near, far=far) == found
    one = finding(far=far, unknown=unknown)
    assert one.startswith("far: remembers at least 64 characters")
    assert one.endswith("; not learned: unknown")
    assert finding(unknown=unknown) == "not learned: unknown"
    twins = finding(a=near, b=near, c=near)
    assert twins == "no significant difference between a and b, a and c, b and c"


def test_more_accurate_is_not_yet_farther():
    first = templates_result(given([1.0] * 300 + [0.0] * 100), given([1.0] * 400, 8))
    second = templates_result(given([1.0] * 200 + [0.0] * 200), given([1.0] * 400, 8))
    assert finding(a=first, b=second) == (
        "a is more accurate than b: ahead at 4, by 25 percentage points at 4 characters"
    )
    mixed = templates_result(given([1.0] * 400), given([0.0] * 400, 8))
    assert finding(a=mixed, b=second) == (
        "neither of a and b is ahead at all spans: a is ahead at 4, b is ahead at 8"
    )
