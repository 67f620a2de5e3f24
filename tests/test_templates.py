"""The template instrument, validated by predictors whose memory is known. Nothing is trained."""

import json
from dataclasses import replace

import numpy as np
import pytest

from chargen.errors import ChargenError
from chargen.predictors import UniformPredictor
from chargen.probes import cases, templates
from chargen.probes.comparison import compare
from chargen.probes.demonstration import SENTENCES, demonstrate
from chargen.probes.outcomes import Outcome
from chargen.probes.scoring import read_all, score
from chargen.probes.statistics import wilson
from chargen.text import bundled, phrases
from chargen.text.vocabulary import Vocabulary

BANK = phrases.parse(bundled.resource(bundled.ENGLISH_BANK), "english.bank")
CHINESE = bundled.bank(bundled.CHINESE_BANK)
VOCABULARY = Vocabulary(BANK.characters())
SPANS = (4, 8, 16, 32, 64, 128, 256)
LIKELY = 0.99


class Reader:
    """A predictor that reads the text itself; a subclass says which fact it would tell.

    The state is the text so far, ``(N,)`` objects. Only the last step's distribution is worked
    out, which is all that the instrument looks at.
    """

    bank = BANK
    vocabulary = VOCABULARY

    def fact(self, text, facts, span):
        """Which of the K facts to tell, or None to have no idea."""
        raise NotImplementedError

    def advance(self, ids, state=None):
        N, T = ids.shape
        texts = [""] * N if state is None else state
        texts = np.array(
            [t + self.vocabulary.decode(row) for t, row in zip(texts, ids, strict=True)], object
        )
        log_probs = np.full((N, T, len(self.vocabulary)), -np.log(len(self.vocabulary)))
        for n, text in enumerate(texts):
            expected = self._expected(text)
            if expected is not None:
                rest = (1 - LIKELY) / (len(self.vocabulary) - 1)
                log_probs[n, -1] = np.log(rest)
                log_probs[n, -1, self.vocabulary.encode(expected)[0]] = np.log(LIKELY)
        return log_probs, texts

    def _expected(self, text):
        """The next character after a lead or inside a target that has begun, if the text tells."""
        sentence = text[text.rfind("\n") + 1 :]
        facts = next((facts for facts in self.bank.fact_sets if facts.opening in sentence), None)
        if facts is None:
            return None  # the text began in the middle of a sentence
        before, lead, begun = sentence.rpartition(facts.lead)
        if not lead:
            return None
        if begun:
            started = [target for target in facts.targets if target.startswith(begun)]
            return started[0][len(begun)] if started and started[0] != begun else None
        cue_end = before.index(facts.opening) + len(facts.opening) + len(facts.cues[0])
        fact = self.fact(before, facts, len(sentence) - cue_end)
        return None if fact is None else facts.targets[fact][0]


class Remembers(Reader):
    """Knows the cue where it ended within the last ``chars`` characters."""

    def __init__(self, chars, bank=BANK):
        self.chars = chars
        self.bank = bank
        self.vocabulary = Vocabulary(bank.characters())

    def fact(self, text, facts, span):
        start = text.index(facts.opening) + len(facts.opening)
        cue = text[start : start + len(facts.cues[0])]
        return facts.cues.index(cue) if cue in facts.cues and span <= self.chars else None


class SaysTheSame(Reader):
    def fact(self, text, facts, span):
        return 3


class LastCue(Reader):
    """Takes whichever cue was named last: what a decoy among the fillers is there to catch."""

    def fact(self, text, facts, span):
        return int(np.argmax([text.rfind(cue) for cue in facts.cues]))


ORACLE = Remembers(10_000)


def measure(predictor, spans=SPANS, bank=BANK, **options):
    options = {"frames": 32, "gate": 0.0} | options
    return templates.measure(predictor, bank, spans=spans, **options)


def shares(result, pick=lambda row: row.all):
    return [pick(row).choice.share for row in result.rows]


def test_an_oracle_is_right_at_every_span():
    result = measure(ORACLE)
    assert shares(result) == [1.0] * len(SPANS)
    assert [row.all.greedy.share for row in result.rows] == [1.0] * len(SPANS)
    assert [row.to_decoy for row in result.rows] == [None] * len(SPANS)
    assert result.finding().startswith("remembers 256 characters and perhaps more")
    assert result.finding().endswith(", span50 >256")


@pytest.mark.parametrize("predictor", [SaysTheSame(), UniformPredictor(VOCABULARY)])
def test_one_that_knows_nothing_is_right_in_exactly_one_of_eight(predictor):
    result = measure(predictor)
    for pick in (
        lambda row: row.all,
        lambda row: row.plain,
        lambda row: row.decoy,
        lambda row: row.fact_sets["arbitrary"],
        lambda row: row.controls["cue deleted"],
    ):
        assert shares(result, pick) == [1 / 8] * len(SPANS)
    assert result.finding() == "no better than chance at 4 characters"
    assert result.span50 is None
    assert result.to_json()["span50"] is None


@pytest.mark.parametrize("chars", [8, 32, 128])
def test_one_that_remembers_so_far_is_perfect_within_and_at_chance_beyond(chars):
    result = measure(Remembers(chars), trained_timesteps=64)
    assert shares(result) == [1.0 if span <= chars else 1 / 8 for span in SPANS]
    assert chars <= result.span50.low <= result.span50.chars <= result.span50.high <= 2 * chars
    said = f"remembers {chars} characters (90% right or more), span50 {result.span50.text()}"
    assert result.finding() == f"{said}; trained on 64 timesteps"


@pytest.mark.parametrize("predictor", [ORACLE, SaysTheSame(), Remembers(32)])
def test_answers_dealt_anew_bring_anyone_to_chance(predictor):
    batches = cases.shuffled(cases.make(BANK, 16, 400, seed=0), seed=1)
    outcome = Outcome.join(
        Outcome.of(batch, score(predictor, batch.contexts, batch.facts.targets))
        for batch in batches
    )
    low, high = wilson(outcome.credit.sum(), len(outcome.credit))
    assert low <= 1 / 8 <= high


def test_with_its_cue_deleted_the_oracle_stands_at_chance():
    result = measure(ORACLE, controls={"forgetful": Remembers(4)})
    assert shares(result, lambda row: row.controls["cue deleted"]) == [1 / 8] * len(SPANS)
    assert shares(result, lambda row: row.controls["forgetful"]) == [1.0] + [1 / 8] * 6


def test_in_chinese_it_measures_the_same():
    result = measure(Remembers(32, CHINESE), bank=CHINESE)
    assert shares(result) == [1.0] * 4 + [1 / 8] * 3
    assert shares(result, lambda row: row.controls["cue deleted"]) == [1 / 8] * len(SPANS)
    assert [row.all.greedy.share for row in result.rows[:4]] == [1.0] * 4
    assert 32 <= result.span50.low <= result.span50.high <= 64
    batch = cases.make(CHINESE, 16, 32, 0)[0]
    for frame, context, cueless in zip(batch.frames, batch.contexts, batch.cueless, strict=True):
        assert context[-18:-16] == batch.facts.cues[frame.answer]
        assert cueless[-18:] == "本国" + context[-16:]


def test_a_bank_is_asked_the_spans_that_it_has():
    assert cases.nearest_spans(BANK, templates.SPANS) == templates.SPANS
    assert cases.nearest_spans(CHINESE, templates.SPANS) == templates.SPANS
    long_lead = replace(BANK.fact_sets[0], lead=", sold on in ")  # 13 characters
    bank = replace(BANK, name="my.bank", fact_sets=(long_lead, BANK.fact_sets[1]))
    # 4 + a phrase or two has to be 13 + another: no span under 17 is in both.
    assert cases.nearest_spans(bank, ())[0] > 13
    told = measure(Remembers(100, bank), bank=bank, spans=None, gate=templates.KNOWLEDGE_GATE)
    spans = [row.span for row in told.rows]
    assert spans == list(cases.nearest_spans(bank, templates.SPANS))
    assert spans[2:] == [64, 128, 256, 512, 1024]
    for span in spans:
        assert cases.make(bank, span, 32, 0)


def test_sets_of_facts_without_a_span_in_common_are_refused():
    even = replace(BANK.fact_sets[0], lead=" and in ")
    odd = replace(BANK.fact_sets[1], lead=" just of ")
    bank = replace(BANK, fact_sets=(even, odd), test=(", sent late ",), links=(" now", " too"))
    with pytest.raises(ChargenError, match=r"english\.bank: its sets .* no span in common"):
        cases.nearest_spans(bank, ())


def test_a_refusal_names_the_corpus_that_would_help():
    def refusal(bank):
        return measure(Remembers(2, bank), bank=bank, gate=0.9).refusal

    assert refusal(BANK).startswith("not learned: train on the longrange corpus (")
    assert refusal(CHINESE).startswith("not learned: train on the longrange-zh corpus (")
    mine = replace(CHINESE, name="my.bank")
    assert refusal(mine).startswith("not learned: train on a corpus made from my.bank (")


def test_errors_that_went_to_the_decoy_are_told():
    result = measure(LastCue(), spans=(64,))
    row = result.rows[0]
    assert row.plain.choice.share == 1
    assert 0.2 < row.decoy.choice.share < 0.8
    assert row.to_decoy == 1


def test_nothing_is_claimed_below_the_gate():
    result = measure(SaysTheSame(), gate=templates.KNOWLEDGE_GATE)
    assert result.refusal.startswith("not learned: train on the longrange corpus")
    assert result.finding() == result.refusal
    assert [row.span for row in result.rows] == [4]
    assert measure(ORACLE, gate=templates.KNOWLEDGE_GATE, spans=(4, 8)).refusal == ""


def test_span50_is_in_the_json_and_needs_three_spans():
    told = measure(Remembers(32)).to_json()
    assert told["span50"].startswith("46 (")
    assert 32 < told["span50_chars_low"] < told["span50_chars"] < told["span50_chars_high"] < 64
    assert measure(Remembers(32), spans=(4, 64)).to_json()["span50"] is None
    assert measure(Remembers(32), spans=(4, 16, 64)).span50.text() == "32 (17–62)"


def test_each_frames_credit_is_kept_in_the_order_of_the_cases():
    result = measure(LastCue(), spans=(64,))
    row = result.rows[0]
    assert sum(row.credits) == row.all.choice.successes
    decoyed = [f.decoy is not None for b in cases.make(BANK, 64, 32, 0) for f in b.frames]
    rights = [credit for credit, decoy in zip(row.credits, decoyed, strict=True) if not decoy]
    assert rights == [1.0] * 16
    assert "credits" not in row.to_json()


def test_two_predictors_are_compared_on_the_same_frames_alone():
    near, far = compare(measure(ORACLE, spans=(4, 64)), measure(Remembers(8), spans=(4, 64)))
    assert (near.p, far.only_first, far.only_second) == (1, 32, 0)
    other = measure(ORACLE, spans=(4, 64), seed=1)
    with pytest.raises(ChargenError, match="asked different frames"):
        compare(other, measure(ORACLE, spans=(4, 64)))


def test_the_gate_is_at_the_shortest_span_though_it_was_not_asked_for():
    result = measure(Remembers(8), gate=templates.KNOWLEDGE_GATE, spans=(64, 128))
    assert result.refusal == ""
    assert [row.span for row in result.rows] == [4, 64, 128]


def test_a_vocabulary_that_cannot_spell_the_bank_is_told():
    result = measure(UniformPredictor(Vocabulary("\n ,abc")))
    assert result.rows == ()
    assert "vocabulary lacks '.' 'A'" in result.refusal
    assert json.loads(json.dumps(result.to_json()))["spans"] == []


def test_same_seed_same_json_whatever_else_is_asked():
    told = json.dumps(measure(LastCue(), spans=(32, 64)).to_json())
    assert told == json.dumps(measure(LastCue(), spans=(64, 32)).to_json())
    other = json.loads(json.dumps(measure(LastCue(), spans=(4, 64, 128)).to_json()))
    assert json.loads(told)["spans"][1] == other["spans"][1]
    assert cases.make(BANK, 64, 32, 0) != cases.make(BANK, 64, 32, 1)


def test_json_keys_carry_their_units():
    told = measure(ORACLE, spans=(32, 512), trained_timesteps=64).to_json()
    assert told["trained_timesteps"] == 64
    assert told["longest_trained_span_chars"] == 256
    near, far = told["spans"]
    expected = {"span_chars": 32, "label": "held out", "beyond_timesteps": False, "chance": 0.125}
    assert near.items() >= expected.items()
    assert (near["accuracy"], near["accuracy_high"], near["frames"]) == (1.0, 1.0, 32)
    assert far["label"] == "longer than trained"
    assert far["beyond_timesteps"] is True
    assert templates.label(64) == "trained"


def test_frames_are_balanced_and_batches_need_no_padding():
    for span in (4, 64):
        batches = cases.make(BANK, span, templates.FRAMES, 0)
        assert sum(len(batch.frames) for batch in batches) >= templates.FRAMES
        for facts in BANK.fact_sets:
            for decoyed in (False, True):
                answers = [
                    frame.answer
                    for batch in batches
                    for frame in batch.frames
                    if batch.facts is facts and (frame.decoy is not None) == decoyed
                ]
                assert len(set(np.bincount(answers, minlength=8).tolist())) == 1
        for batch in batches:
            assert len(set(map(len, batch.contexts))) == 1
            for frame, context, cueless in zip(
                batch.frames, batch.contexts, batch.cueless, strict=True
            ):
                assert context.endswith(frame.text)
                assert len(context) - len(frame.text) >= cases.PREFIX_CHARS[0]
                cue = batch.facts.cues[frame.answer]
                assert context[-span - len(cue) : -span] == cue
                assert cueless[-span - len(cue) : -span] == "abroad"
                assert cueless[-span:] == context[-span:]


def test_a_span_that_the_bank_lacks_names_its_neighbours():
    with pytest.raises(ChargenError, match=r"span 12: .* nearest are 8, 14, 15"):
        measure(ORACLE, spans=(4, 12))


def test_progress_ends_at_its_total():
    seen = []
    measure(ORACLE, spans=(4, 32), progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1][0] == seen[-1][1]


def test_reading_in_chunks_changes_nothing(monkeypatch):
    batch = cases.make(BANK, 16, 32, 0)[0]
    ids = np.stack([VOCABULARY.encode(context) for context in batch.contexts])
    whole, _ = read_all(ORACLE, ids)
    monkeypatch.setattr("chargen.probes.scoring.CHUNK_FLOATS", 7 * len(ids) * len(VOCABULARY))
    chunked, state = read_all(ORACLE, ids)
    np.testing.assert_array_equal(whole, chunked)
    assert state.tolist() == list(batch.contexts)


def test_ties_share_credit():
    scores = score(UniformPredictor(VOCABULARY), ["past "], ["Russian", "Persian"])
    np.testing.assert_array_equal(scores.credit, [[0.5, 0.5]])


def test_the_classic_sentences_are_shown_without_a_score():
    text = "".join(context + "".join(ends) for context, ends in SENTENCES)
    sky, france = demonstrate(UniformPredictor(Vocabulary.of(text)))
    assert sky.shares == pytest.approx([1 / 3] * 3)
    assert "French" in france.candidates
    assert france.note == ""
    assert "accuracy" not in json.dumps([sky.to_json(), france.to_json()])


def test_what_a_vocabulary_lacks_is_left_out_of_the_sentences_and_told():
    known = Vocabulary.of("the clouds are in a sky of mud")
    sky, france = demonstrate(UniformPredictor(known))
    assert "sea" in sky.candidates
    assert "cannot be spelled: French" in france.note
    assert "not in the vocabulary: , F I" in france.note
    assert france.candidates == ()
