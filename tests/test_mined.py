"""Mined dependencies, validated by predictors whose memory is known. Nothing is trained."""

import json

import numpy as np
import pytest
from memories import LETTERS, Recaller, word

from chargen.errors import ChargenError
from chargen.predictors import BackoffNgram, UniformPredictor
from chargen.probes.context.plot import mined_figure, save_mined_plot
from chargen.probes.context.table import mined_table
from chargen.probes.mined import measure as mined
from chargen.probes.mined.dependencies import Case, by_distance, returning_words
from chargen.probes.mined.mining import CASES, CLOSERS, WORDS, Plan
from chargen.text.brackets import parse_brackets

GAPS = (2, 4, 9, 18, 36)  # words from a use to the next: 8, 22, 57, 120, 246 characters between


def planted(words=3000, seed=0):
    """Words of six random letters, of which some come back once, after one of `GAPS`."""
    rng = np.random.default_rng(seed)
    told = [word(rng) for _ in range(words)]
    fresh = set(range(words))
    for place in range(max(GAPS), words):
        earlier = place - rng.choice(GAPS)
        if rng.random() < 0.6 and earlier in fresh:
            told[place] = told[earlier]
            fresh -= {place, earlier}
    return LETTERS.encode(" ".join(told))


def bracketed(pairs=700, seed=0):
    """Brackets round 5 to 60 letters, with some letters between."""
    rng = np.random.default_rng(seed)
    parts = [f"({word(rng, rng.integers(5, 60))}){word(rng, 20)}" for _ in range(pairs)]
    return LETTERS.encode("".join(parts))


class Bracketeer:
    """Expects a closing bracket wherever one is awaited, if it opened in the last ``chars``."""

    vocabulary = LETTERS

    def __init__(self, chars):
        self.chars = chars

    def advance(self, ids, state=None):
        (N, T), V = ids.shape, len(LETTERS)
        opening, closing = LETTERS.encode("()")
        since = np.full(N, 10_000) if state is None else state.copy()
        share = np.full((N, T, V), 1 / V)
        for t in range(T):
            since = np.where(ids[:, t] == closing, 10_000, since + 1)
            since[ids[:, t] == opening] = 1
            inside = since <= self.chars
            share[inside, t] = 0.9 / (V - 1)
            share[inside, t, closing] = 0.1
        return np.log(share), since


PLANTED = planted()
TWICE = np.concatenate([PLANTED[:14_000], PLANTED[:14_000]])  # words are heard elsewhere too
BRACKETED = bracketed()


def measure(predictor, ids=PLANTED, **options):
    return mined.measure(predictor, ids, **{"longest": 256} | options)


def gains(result, kind=WORDS):
    return {row.distance: row.gain.value for row in result.of_kind(kind) if row.gain}


def test_planted_repeats_show_a_visible_gain():
    result = measure(Recaller(400))
    assert list(gains(result)) == [8, 16, 32, 64, 128]
    for row in result.rows:
        if row.gain:
            assert row.gain.low > 5  # three letters of six are foreseen, each worth 3.9 bits
    assert result.finding().startswith("returning word: gains from its cue up to 255 characters")
    assert "closing bracket or quote: no distance has 100 cases" in result.finding()


def test_one_that_remembers_so_far_gains_within_and_nothing_beyond():
    found = gains(measure(Recaller(64)))
    assert found[8] > 5
    assert found[16] > 5
    assert found[64] == found[128] == 0


def test_uniform_gains_nothing():
    result = measure(UniformPredictor(LETTERS), trained_timesteps=64)
    assert set(gains(result).values()) == {0.0}
    assert result.finding().startswith("returning word: no gain at 8 to 15 characters")
    assert result.finding().endswith("trained on 64 timesteps")


def test_words_that_nobody_planted_are_no_cases():
    rng = np.random.default_rng(0)
    result = measure(Recaller(400), LETTERS.encode(" ".join(word(rng) for _ in range(2000))))
    assert sum(row.cases for row in result.rows) == 0
    assert gains(result) == {}


@pytest.mark.parametrize("chars", [16, 1000])
def test_closing_brackets_are_foreseen_as_far_as_the_opening_one_is_remembered(chars):
    result = measure(Bracketeer(chars), BRACKETED)
    for distance, gain in gains(result, CLOSERS).items():
        if 2 * distance <= chars:
            assert gain == pytest.approx(np.log2(0.1 * len(LETTERS)))
        if distance >= chars:
            assert gain == 0
    assert {8, 16, 32} == set(gains(result, CLOSERS))


def test_gain_over_an_ngram_is_what_the_ngram_pays_more():
    ngram = BackoffNgram(LETTERS, PLANTED[:4000], 20)
    result = measure(Recaller(400), ngram=ngram)
    for row in result.rows:
        if row.gain:
            uniform = 6 * np.log2(len(LETTERS))
            assert row.over_ngram.low > 4
            assert abs(row.over_ngram.value + row.target_bits.value - uniform) < 6
    same = measure(ngram, ngram=ngram)
    assert {row.over_ngram.value for row in same.rows if row.over_ngram} == {0.0}
    assert all(row.over_ngram is None for row in measure(ngram).rows)


def test_an_untrained_network_stands_beside_it():
    result = measure(Recaller(400), ngram=Recaller(400), untrained=UniformPredictor(LETTERS))
    there = [row for row in result.rows if row.gain]
    assert {row.untrained.value for row in there} == {0.0}
    assert {row.to_json()["untrained_gain_over_swap_bits"] for row in there} == {0.0}
    assert all(row.untrained is None for row in measure(Recaller(64)).rows)
    same = measure(Recaller(400), untrained=Recaller(400))
    assert [row.untrained for row in same.rows] == [row.gain for row in same.rows]
    header = next(x for x in mined_table(result).splitlines() if x.split()[:1] == ["distance"])
    assert "untrained" in header
    assert "learned nothing" in mined_table(result)
    assert all(len(line) <= 100 for line in mined_table(result).splitlines()[1:])
    assert "untrained" not in mined_table(measure(Recaller(64)))


def test_a_bin_under_a_hundred_cases_has_no_number():
    result = measure(Recaller(400), PLANTED[:12_000])
    few = [row for row in result.rows if 0 < row.cases < 100]
    assert few
    assert len(few) < len(result.rows)
    for row in few:
        assert row.gain is row.target_bits is row.over_ngram is None
        assert not {key for key in row.to_json() if "bits" in key}
    lines = mined_table(result).splitlines()
    for row in few:
        (line,) = [x for x in lines if x.split()[:2] == [_bin(row), str(row.cases)]]
        assert line.split()[2:] == ["–", "–", "under", "100", "cases"]


def _bin(row):
    return f"{row.distance}–{row.distance_most}"


def test_all_cases_that_count_are_read_from_their_own_cue():
    """Side by side, against the plainest reading there is."""
    predictor, seed = Recaller(300), 4
    result = measure(predictor, seed=seed)
    plan = Plan.of(LETTERS, PLANTED, 256, seed)

    def cost(before, start, end):
        log_probs, _ = predictor.advance(np.array([[*before, *PLANTED[start:end]]]))
        places = np.arange(len(before), len(before) + end - start)
        return -log_probs[0, places - 1, PLANTED[start:end]].sum() / np.log(2)

    for row, group in zip(result.rows, plan.groups, strict=True):
        assert (row.distance, row.cases) == (group.distance, len(group))
        if row.gain is None or row.distance not in (8, 128):
            continue
        told = []
        for (_, cue_end, start, end), swap in zip(group.cases, group.swaps, strict=True):
            other = plan.swaps[swap] + np.arange(plan.swap_chars(group))
            swapped = [*PLANTED[other], *PLANTED[cue_end:start]]
            own = PLANTED[start - plan.full : start]
            told.append(cost(swapped, start, end) - cost(own, start, end))
        assert row.gain.value == pytest.approx(np.mean(told), abs=1e-9)


@pytest.mark.parametrize(("ids", "kind"), [(PLANTED, WORDS), (TWICE, WORDS), (BRACKETED, CLOSERS)])
def test_the_other_text_is_apart_and_does_not_give_the_answer(ids, kind):
    plan, text = Plan.of(LETTERS, ids, 256, 0), LETTERS.decode(ids)
    groups = [group for group in plan.groups if group.kind == kind and len(group)]
    assert sum(map(len, groups)) > 300
    for group in groups:
        assert len(group) <= CASES
        for case, swap in zip(group.cases, group.swaps, strict=True):
            _, cue_end, start, end = case
            assert group.distance <= start - cue_end < 2 * group.distance
            other_start = plan.swaps[swap]
            other_end = other_start + plan.swap_chars(group)
            assert other_end <= start - plan.full or other_start >= end
            other = text[other_start:other_end]
            if kind == WORDS:
                assert text[start:end] == text[case[0] : cue_end]
                assert text[start:end] not in other.split()
            else:
                assert other.rfind("(") <= other.rfind(")") or "(" not in other


def test_brackets_and_quotes_are_parsed_with_a_stack():
    def pairs(text):
        return [text[opened : end + 1] for opened, end in parse_brackets(text).pairs]

    assert pairs("a (b [c] d) e") == ["[c]", "(b [c] d)"]
    assert pairs('say "a (b) c" and "d"') == ["(b)", '"a (b) c"', '"d"']
    assert pairs("a) b ] (c") == []
    assert pairs("(a [b) c] (d)") == ["(d)"]  # closes over an open one: no case
    assert pairs('"a\n\n"b" c') == ['"b"']  # a paragraph ends a quotation that was left open
    assert pairs("{a\n\nb}") == ["{a\n\nb}"]
    assert pairs("「あ『い』」 “x” «y»") == ["『い』", "「あ『い』」", "“x”", "«y»"]
    assert parse_brackets("a(b)c(").open_before[")"].tolist() == [0, 0, 1, 1, 0, 0, 1]


def test_a_word_returns_after_exactly_one_earlier_use():
    text = "the sea and the land, the sea. King kings of 1of1 sea"
    cases = returning_words(text, 1000).cases
    assert [text[case.start : case.end] for case in cases] == ["the", "sea"]
    assert cases[1] == Case(4, 7, 26, 29)
    assert cases[1].distance == 19
    # The first use is out of reach of the third, which is then a return to the second.
    assert [case.start for case in returning_words(text, 30).cases] == [12, 26, 50]


def test_bins_are_powers_of_two():
    cases = [Case(0, 1, 1 + distance, 9) for distance in (0, 1, 2, 3, 4, 7, 8, 15, 16)]
    counted = {least: len(some) for least, some in by_distance(cases, 16).items()}
    assert counted == {1: 1, 2: 2, 4: 2, 8: 2}


def test_same_seed_same_json_to_the_byte():
    def told(seed):
        ngram = BackoffNgram(LETTERS, PLANTED[:4000], 5)
        return json.dumps(measure(Recaller(64), ngram=ngram, seed=seed).to_json())

    assert told(1) == told(1)
    assert told(1) != told(2)
    swaps = [Plan.of(LETTERS, PLANTED, 256, seed).swaps.tolist() for seed in (1, 2)]
    assert swaps[0] != swaps[1]


def test_a_short_text_is_asked_less_far_back():
    assert [row.distance for row in measure(UniformPredictor(LETTERS), PLANTED[:100]).rows] == [
        *(1, 2, 4, 8),
        *(1, 2, 4, 8),
    ]
    nothing = measure(UniformPredictor(LETTERS), PLANTED[:5])
    assert nothing.rows == ()
    assert nothing.finding().startswith("returning word: no distance has 100 cases")
    assert mined_table(nothing).startswith(nothing.finding())
    with pytest.raises(ValueError, match="power of two"):
        measure(UniformPredictor(LETTERS), longest=100)


def test_progress_ends_at_its_total():
    seen = []
    ngram = BackoffNgram(LETTERS, PLANTED[:4000], 5)

    def saw(done, total):
        seen.append((done, total))

    measure(ngram, ngram=ngram, untrained=UniformPredictor(LETTERS), progress=saw)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1][0] == seen[-1][1]


RESULT = measure(Recaller(64), ngram=BackoffNgram(LETTERS, PLANTED[:4000], 5), trained_timesteps=64)
NOTHING = measure(UniformPredictor(LETTERS), PLANTED[:100])


def test_one_character_is_one_character():
    gap = LETTERS.encode("".join(f"({letter}) " for letter in "abcdefghij" * 400))
    assert "up to 1 character back" in measure(Bracketeer(2), gap).finding()


def test_json_keys_carry_their_units():
    told = RESULT.to_json()
    assert (told["ngram"], told["full_context_chars"]) == ("20-gram", 512)
    row = told["distances"][3]
    assert (row["kind"], row["distance_chars"], row["distance_most_chars"]) == (WORDS, 8, 15)
    for name in ("target_bits", "gain_over_swap_bits", "gain_over_ngram_bits"):
        assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    assert [row["beyond_timesteps"] for row in told["distances"][6:8]] == [False, True]


def test_table_has_a_row_a_distance_and_marks_the_trained_length():
    text = mined_table(RESULT)
    lines = text.splitlines()
    assert lines[0] == RESULT.finding()
    assert WORDS in lines
    assert f"{CLOSERS}: 0 cases in all, too few at every distance" in lines
    starts = [line.split()[0] if line else "" for line in lines]
    assert starts.index("64–127") < starts.index("──") < starts.index("128–255")
    assert "over 20-gram" in text
    assert all(len(line) <= 100 for line in lines[1:])


def test_plot_draws_gains_over_both_and_the_trained_length(tmp_path):
    (axes,) = mined_figure(RESULT).axes
    labels = axes.get_legend_handles_labels()[1]
    assert {f"{WORDS}, over swap", f"{WORDS}, over a 20-gram", "no gain"} == set(labels)
    assert {text.get_text() for text in axes.texts} == {"--timesteps 64"}
    path = tmp_path / "mined.png"
    save_mined_plot(RESULT, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ChargenError, match="nothing to draw: returning word"):
        save_mined_plot(NOTHING, path)
