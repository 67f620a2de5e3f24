"""What a unit may follow, and how well values follow it: by hand, and pair by pair."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargen.datasets import bundled
from chargen.probes.units import scores as memory_scores
from chargen.probes.units.features import Feature, common_words, default_cues, features, lacks

# what can be followed


def told(text, name, cues=()):
    return next(one for one in features(text, cues) if one.name == name).values.tolist()


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ('a "b" c', "0011000"),
        ("“a “b” c", "11111111"),
        ("“a “b” c” d", "11111111000"),
        ('"a\nb', "1111"),
        ('"a\n\nb', "11100"),
        ('"a\n \t\nb"c', "111110011"),
    ],
)
def test_inside_a_quotation(text, inside):
    expected = [float(one) for one in inside]
    assert told(text, "inside a quotation") == expected


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("a (b) c", "0011000"),
        ("([)])x", "110000"),
        ("([))x", "11000"),
        (")(", "01"),
        ("(a\n\nb)", "111000"),
        ("《a「b」c》d", "11111100"),
        ("{（a）}b", "111100"),
    ],
)
def test_inside_brackets(text, inside):
    assert told(text, "inside brackets") == [float(one) for one in inside]


def test_the_distance_is_zero_at_a_line_end():
    assert told("ab\n\ncd", "distance since the line began") == [1, 2, 0, 0, 1, 2]


@pytest.mark.parametrize(
    ("text", "cue", "after"),
    [
        ("the sun set. on", "sun", "0000001111100" + "00"),
        ("sunny sun", "sun", "000000001"),
        ("a sun\nset", "sun", "00001" + "0000"),
        ("说太阳落。山", "太阳", "001100"),
        ("a+b a+b", "a+b", "0011111"),
    ],
)
def test_after_a_cue_to_the_end_of_its_sentence_or_line(text, cue, after):
    assert told(text, f"after ‘{cue}’", [cue]) == [float(one) for one in after]


LIVELY = st.text(alphabet='()[]《》"“”\n ab', max_size=40)


@settings(max_examples=60, deadline=None)
@given(LIVELY, LIVELY)
def test_features_know_what_was_read_alone_and_forget_at_a_blank_line(before, after):
    whole = features(before + "\n\n" + after, ())
    for one, prefix, fresh in zip(whole, features(before, ()), features(after, ()), strict=True):
        np.testing.assert_array_equal(one.values[: len(before)], prefix.values)
        if after[:1] != "\n":
            np.testing.assert_array_equal(one.values[len(before) + 2 :], fresh.values)
        if not one.graded:
            assert set(one.values) <= {0, 1}
            assert one.values[len(before) + 1] == 0


def test_a_feature_that_a_text_cannot_show_says_why():
    rare = np.zeros(1000)
    rare[:9] = 1
    assert lacks(Feature("x", rare)) == "it holds at 0.9% of the characters"
    assert lacks(Feature("x", 1 - rare)) == "it holds at 99.1% of the characters"
    rare[9] = 1
    assert lacks(Feature("x", rare)) == ""
    assert lacks(Feature("x", np.ones(50), graded=True)) == "the text has 0 line ends"
    assert lacks(Feature("x", np.zeros(10), graded=True)) == ""


def test_cues_are_the_facts_of_a_bank_or_the_commonest_words():
    cues = default_cues(bundled.read("longrange", 40_000))
    assert cues[:2] == ("a letter from Russia", "a letter from Persia")
    assert len(cues) == 8
    chinese = default_cues(bundled.read("longrange-zh", 40_000))
    assert len(chinese) == 8
    assert not any(map(str.isascii, chinese))
    text = "river words river stone words river stones tiny tiny tiny tiny alpha omega omega"
    assert default_cues(text) == common_words(text) == ("river", "omega", "words")


# scores


COLUMNS = st.integers(2, 30).flatmap(
    lambda M: st.tuples(
        st.lists(st.integers(-3, 3), min_size=M, max_size=M),
        st.lists(st.integers(0, 4), min_size=M, max_size=M),
    )
)


def naive_ranks(values):
    return [sum(a < b for a in values) + (sum(a == b for a in values) + 1) / 2 for b in values]


@settings(max_examples=60, deadline=None)
@given(COLUMNS)
def test_scores_are_those_counted_pair_by_pair(columns):
    values, wanted = (np.array(column, dtype=np.float64) for column in columns)
    np.testing.assert_array_equal(memory_scores.ranks(values[:, None])[:, 0], naive_ranks(values))
    yes = wanted > 2
    if 0 < yes.sum() < len(yes):
        pairs = [(a > b) + (a == b) / 2 for a in values[yes] for b in values[~yes]]
        effect = memory_scores.effects(values[:, None], [Feature("x", yes.astype(float))])
        assert effect[0, 0, 0] == pytest.approx(np.mean(pairs) - 0.5)
    if np.ptp(values) and np.ptp(wanted):
        rho = np.corrcoef(naive_ranks(values), naive_ranks(wanted))[0, 1]
        effect = memory_scores.effects(values[:, None], [Feature("x", wanted, graded=True)])
        assert effect[0, 0, 0] == pytest.approx(rho)


def test_a_unit_that_never_moves_follows_nothing():
    told = [Feature("a", np.arange(9) % 2.0), Feature("b", np.arange(9.0), graded=True)]
    np.testing.assert_array_equal(memory_scores.effects(np.ones((9, 2)), told), 0)


def test_shifts_move_the_feature_round_the_text():
    values = np.random.default_rng(0).normal(size=(50, 70))  # more units than are ranked at once
    feature = Feature("x", (np.arange(50) < 20).astype(float))
    effects = memory_scores.effects(values, [feature], [7])
    moved = Feature("x", np.roll(feature.values, 7))
    np.testing.assert_allclose(
        effects[:, 1], memory_scores.effects(values, [moved])[:, 0], atol=1e-12
    )
    assert (effects[0, 0] != effects[0, 1]).all()


@pytest.mark.parametrize("graded", [False, True])
def test_intervals_hold_the_truth_as_often_as_they_say(graded):
    """In about 95 % of 200 texts made alike: neither too narrow nor too wide."""
    rng = np.random.default_rng(0)
    M, texts, truths, lows, highs = 1000, 200, [], [], []
    for _ in range(texts):
        wanted = rng.normal(size=M)
        values = wanted + rng.normal(size=M)
        feature = Feature("x", wanted if graded else (wanted > 0.5).astype(float), graded)
        one = memory_scores.estimate(values, feature, rng)
        assert one.low <= one.value <= one.high
        truths.append(one.value)
        lows.append(one.low)
        highs.append(one.high)
    truth = np.mean(truths)
    held = np.mean((np.array(lows) <= truth) & (truth <= np.array(highs)))
    assert 0.87 <= held <= 0.99


@pytest.mark.parametrize("graded", [False, True])
def test_intervals_know_that_neighbours_are_alike(graded):
    rng = np.random.default_rng(0)
    noise = np.repeat(rng.normal(size=(2, 60)), 50, axis=1)
    wanted = noise[0] if graded else (noise[0] > 0).astype(float)
    order = rng.permutation(3000)
    together, apart = (
        memory_scores.estimate(values, Feature("x", feature, graded), np.random.default_rng(1))
        for values, feature in ((noise[1], wanted), (noise[1][order], wanted[order]))
    )
    assert together.value == pytest.approx(apart.value)
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_who_turned_round_scores_below_chance():
    assert memory_scores.held_out_best(np.array([0.1, -0.3]), np.array([0.5, -0.2])) == 0.2
    assert memory_scores.held_out_best(np.array([0.1, -0.3]), np.array([0.5, 0.2])) == -0.2
