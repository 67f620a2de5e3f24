"""The template instrument, validated by predictors whose memory is known. Nothing is trained."""

import json
from dataclasses import replace

import numpy as np
import pytest
from readers import (
    BANK,
    CHINESE,
    LIKELY,
    ORACLE,
    SPANS,
    VOCABULARY,
    LastCue,
    Remembers,
    SaysTheSame,
    measure,
    shares,
)

from chargen.errors import ChargenError
from chargen.evaluation import advance_all, score_candidates
from chargen.predictors import UniformPredictor
from chargen.probes.statistics.intervals import wilson
from chargen.probes.templates import cases
from chargen.probes.templates import measure as templates
from chargen.probes.templates.comparison import compare
from chargen.probes.templates.outcomes import Outcome
from chargen.text.vocabulary import Vocabulary


def test_an_oracle_is_right_at_every_span():
    result = measure(ORACLE)
    assert shares(result) == [1.0] * len(SPANS)
    assert [row.all.greedy.share for row in result.rows] == [1.0] * len(SPANS)
    assert [row.to_decoy for row in result.rows] == [None] * len(SPANS)
    assert result.finding().startswith(
        "remembers 256 characters and perhaps more, the longest span that was asked (--spans "
        "4,512,1024 asks farther)"
    )
    assert result.finding().endswith(", span50 >256")


@pytest.mark.parametrize(
    ("longest", "said"),
    [
        (2048, " (--spans 4,4096,8192 asks farther)"),
        (4096, " (--spans 4,8192 asks farther)"),
        (8192, ""),
    ],
)
def test_what_is_said_to_ask_farther_can_be_asked(longest, said):
    result = measure(ORACLE, spans=(4, longest), frames=8)
    expected = f"remembers {longest} characters and perhaps more, the longest span that was asked"
    assert result.finding() == expected + said


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
        Outcome.of(batch, score_candidates(predictor, batch.contexts, batch.facts.targets))
        for batch in batches
    )
    low, high = wilson(outcome.credit.sum(), len(outcome.credit))
    assert low <= 1 / 8 <= high


def test_with_its_cue_deleted_the_oracle_stands_at_chance():
    result = measure(ORACLE, controls={"forgetful": Remembers(4)})
    assert shares(result, lambda row: row.controls["cue deleted"]) == [1 / 8] * len(SPANS)
    assert shares(result, lambda row: row.controls["forgetful"]) == [1.0] + [1 / 8] * 6
    for row in result.rows:  # a decoy is never the answer: with one, chance would lie under 1/K
        trials = [tally.choice.trials for tally in row.controls.values()]
        assert trials == [row.plain.choice.trials] * 2 == [16] * 2


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


def test_a_refusal_names_the_corpus_that_would_help():
    def refusal(bank):
        return measure(Remembers(2, bank), bank=bank, gate=0.9).refusal

    assert refusal(BANK).startswith("not learned: train on the longrange corpus, or see")
    assert "--only context,mined" in refusal(BANK)
    assert refusal(CHINESE).startswith("not learned: train on the longrange-zh corpus, or")
    mine = replace(CHINESE, name="my.bank")
    assert refusal(mine).startswith("not learned: train on a corpus made from my.bank, or")


def test_decoys_are_told_apart_by_where_they_stand():
    row = measure(LastCue(), spans=(64,)).rows[0]
    assert row.plain.choice.share == 1
    assert 0.2 < row.decoy.choice.share < 0.8
    assert row.to_decoy == 1
    before, after = row.decoys["before"], row.decoys["after"]
    assert (before.tally.choice.share, before.to_decoy) == (1, None)
    assert (after.tally.choice.share, after.to_decoy) == (0, 1)
    told = row.to_json()["with_decoy"]
    assert (told["errors_to_decoy"], told["after"]["errors_to_decoy"]) == (1, 1)
    assert told["before"]["frames"] + told["after"]["frames"] == told["frames"] == 16


def test_a_short_span_has_no_room_for_a_decoy_after_its_cue():
    row = measure(LastCue(), spans=(4,)).rows[0]
    assert set(row.decoys) == {"before"}
    assert row.to_json()["with_decoy"]["after"] is None


@pytest.mark.parametrize("predictor", [SaysTheSame(), UniformPredictor(VOCABULARY)])
def test_a_cue_that_is_not_heard_moves_nothing(predictor):
    for row in measure(predictor, spans=(4, 64)).rows:
        assert (row.d.value, row.d.low, row.d.high) == (0, 0, 0)


def test_d_is_the_bits_by_which_the_cue_alone_moves_the_choice():
    rows = measure(Remembers(32), spans=(4, 32, 64)).rows
    rest = (1 - LIKELY) / (len(VOCABULARY) - 1)
    # The cue decides the first character alone: its own target's up, the other's down, twice.
    for row in rows[:2]:
        assert row.d.value == pytest.approx(2 * np.log2(LIKELY / rest))
        assert row.d.low == pytest.approx(row.d.high)
    assert rows[2].d.value == 0
    assert rows[0].to_json()["d_bits"] == rows[0].d.value
    assert {"d_bits_low", "d_bits_high"} <= set(rows[0].to_json())


class Wavering(Remembers):
    """Forgets the cue in a share of the frames, by what stands before it."""

    def fact(self, text, facts, span):
        return None if len(text) % 3 == 0 else super().fact(text, facts, span)


def test_d_has_an_interval_over_frames():
    row = measure(Wavering(100), spans=(16,), frames=64).rows[0]
    assert row.d.low < row.d.high
    assert row.d.low <= row.d.value <= row.d.high


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


def test_progress_ends_at_its_total():
    seen = []
    measure(ORACLE, spans=(4, 32), progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1][0] == seen[-1][1]


def test_reading_in_chunks_changes_nothing(monkeypatch):
    batch = cases.make(BANK, 16, 32, 0)[0]
    ids = np.stack([VOCABULARY.encode(context) for context in batch.contexts])
    whole, _ = advance_all(ORACLE, ids)
    monkeypatch.setattr("chargen.evaluation.CHUNK_FLOATS", 7 * len(ids) * len(VOCABULARY))
    chunked, state = advance_all(ORACLE, ids)
    np.testing.assert_array_equal(whole, chunked)
    assert state.tolist() == list(batch.contexts)


def test_ties_share_credit():
    scores = score_candidates(UniformPredictor(VOCABULARY), ["past "], ["Russian", "Persian"])
    np.testing.assert_array_equal(scores.credit, [[0.5, 0.5]])
