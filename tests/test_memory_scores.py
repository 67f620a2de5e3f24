"""Features of a text, and scores of hidden units against them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargen.datasets import bundled
from chargen.probes.units.features import Feature, common_words, default_cues, features, lacks
from chargen.probes.units.scores import effects, estimate, held_out_best, ranks

QUOTATION, BRACKETS, DISTANCE = "inside a quotation", "inside brackets", "since the line began"

# features


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (QUOTATION, 'a "b" c', "0011000"),
        (QUOTATION, "“a “b” c” d", "11111111000"),
        (QUOTATION, '"a\nb', "1111"),
        (QUOTATION, '"a\n\nb', "11100"),
        (QUOTATION, '"a\n \t\nb"c', "111110011"),
        (BRACKETS, "a (b) c", "0011000"),
        (BRACKETS, "([)])x", "110000"),
        (BRACKETS, "([))x", "11000"),
        (BRACKETS, ")(", "01"),
        (BRACKETS, "(a\n\nb)", "111000"),
        (BRACKETS, "《a「b」c》d", "11111100"),
        (BRACKETS, "{（a）}b", "111100"),
        (DISTANCE, "ab\n\ncd", "120012"),
        ("sun", "the sun set. on", "0000001111100" + "00"),
        ("sun", "sunny sun", "000000001"),
        ("sun", "a sun\nset", "00001" + "0000"),
        ("太阳", "说太阳落。山", "001100"),
        ("a+b", "a+b a+b", "0011111"),
    ],
)
def test_values_of_a_feature(name, text, expected):
    cues = () if name in (QUOTATION, BRACKETS, DISTANCE) else (name,)
    (found,) = (one for one in features(text, cues) if name in one.name)
    assert found.values.tolist() == [float(one) for one in expected]


PUNCTUATED = st.text(alphabet='()[]《》"“”\n ab', max_size=40)


@settings(max_examples=60, deadline=None)
@given(PUNCTUATED, PUNCTUATED)
def test_features_depend_on_preceding_text_only_and_end_at_an_empty_line(before, after):
    whole = features(before + "\n\n" + after, ())
    for one, prefix, fresh in zip(whole, features(before, ()), features(after, ()), strict=True):
        np.testing.assert_array_equal(one.values[: len(before)], prefix.values)
        if after[:1] != "\n":
            np.testing.assert_array_equal(one.values[len(before) + 2 :], fresh.values)
        if not one.graded:
            assert set(one.values) <= {0, 1}
            assert one.values[len(before) + 1] == 0


@pytest.mark.parametrize(
    ("values", "graded", "reason"),
    [
        ([1] * 9 + [0] * 991, False, "it holds at 0.9% of the characters"),
        ([1] * 991 + [0] * 9, False, "it holds at 99.1% of the characters"),
        ([1] * 10 + [0] * 990, False, "it changes in only 1 blocks of 100 characters"),
        (([1] + [0] * 99) * 10, False, ""),
        ([1] * 50, True, "the text has 0 line ends"),
        ([0] * 10, True, ""),
    ],
)
def test_why_a_feature_cannot_be_scored(values, graded, reason):
    assert lacks(Feature("x", np.array(values, dtype=float), graded)) == reason


def test_default_cues_are_those_of_the_bank_or_the_most_frequent_words():
    cues = default_cues(bundled.read("longrange", 40_000))
    assert cues[:2] == ("a letter from Russia", "a letter from Persia")
    chinese = default_cues(bundled.read("longrange-zh", 40_000))
    assert len(cues) == len(chinese) == 8
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
def test_auc_and_rho_equal_their_definitions(columns):
    values, target = (np.array(column, dtype=np.float64) for column in columns)
    np.testing.assert_array_equal(ranks(values[:, None])[:, 0], naive_ranks(values))
    yes = target > 2
    if 0 < yes.sum() < len(yes):
        pairs = [(a > b) + (a == b) / 2 for a in values[yes] for b in values[~yes]]
        effect = effects(values[:, None], [Feature("x", yes.astype(float))])
        assert effect[0, 0, 0] == pytest.approx(np.mean(pairs) - 0.5)
    if np.ptp(target):
        rho = np.corrcoef(naive_ranks(values), naive_ranks(target))[0, 1] if np.ptp(values) else 0
        effect = effects(values[:, None], [Feature("x", target, graded=True)])
        assert effect[0, 0, 0] == pytest.approx(rho)


def test_shifts_rotate_the_feature():
    values = np.random.default_rng(0).normal(size=(50, 70))  # more units than one block of ranks
    feature = Feature("x", (np.arange(50) < 20).astype(float))
    found = effects(values, [feature], [7])
    moved = Feature("x", np.roll(feature.values, 7))
    np.testing.assert_allclose(found[:, 1], effects(values, [moved])[:, 0], atol=1e-12)
    assert (found[0, 0] != found[0, 1]).all()


@pytest.mark.parametrize("graded", [False, True])
def test_intervals_have_about_95_percent_coverage(graded):
    rng, found = np.random.default_rng(0), []
    for _ in range(200):
        target = rng.normal(size=1000)
        values = target + rng.normal(size=1000)
        feature = Feature("x", target if graded else (target > 0.5).astype(float), graded)
        one = estimate(values, feature, rng)
        found.append((one.low, one.value, one.high))
    lows, middles, highs = np.transpose(found)
    truth = middles.mean()
    assert 0.87 <= np.mean((lows <= truth) & (truth <= highs)) <= 0.99


@pytest.mark.parametrize("graded", [False, True])
def test_intervals_account_for_autocorrelation(graded):
    rng = np.random.default_rng(0)
    noise = np.repeat(rng.normal(size=(2, 60)), 50, axis=1)
    target = noise[0] if graded else (noise[0] > 0).astype(float)
    order = rng.permutation(3000)
    together, apart = (
        estimate(values, Feature("x", feature, graded), np.random.default_rng(1))
        for values, feature in ((noise[1], target), (noise[1][order], target[order]))
    )
    assert together.value == pytest.approx(apart.value)
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_a_unit_whose_direction_changes_scores_below_chance():
    assert held_out_best(np.array([0.1, -0.3]), np.array([0.5, -0.2])) == 0.2
    assert held_out_best(np.array([0.1, -0.3]), np.array([0.5, 0.2])) == -0.2
