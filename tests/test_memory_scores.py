"""Features of a text, and scores of hidden units against them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargen.datasets import bundled
from chargen.probes.units.measure import default_cues, effects, estimate, features, lacks, ranks

QUOTATION, BRACKETS = "inside a quotation", "inside brackets"

# features


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (QUOTATION, 'a "b" c', "0011000"),
        (QUOTATION, "“a “b” c” d", "11111111000"),
        (QUOTATION, '"a\nb', "1111"),
        (QUOTATION, '"a\n\nb', "11100"),
        (BRACKETS, "a (b) c", "0011000"),
        (BRACKETS, "([)])x", "110000"),
        (BRACKETS, "(a\n\nb)", "111000"),
        (BRACKETS, "《a「b」c》d", "11111100"),
        ("sun", "the sun set. on", "0000001111100" + "00"),
        ("sun", "sunny sun", "000000001"),
        ("太阳", "说太阳落。山", "001100"),
        ("a+b", "a+b a+b", "0011111"),
    ],
)
def test_values_of_a_feature(name, text, expected):
    cues = () if name in (QUOTATION, BRACKETS) else (name,)
    (found,) = (values for one, values in features(text, cues).items() if name in one)
    assert found.tolist() == [float(one) for one in expected]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1] * 9 + [0] * 991, "it holds at 0.9% of the characters"),
        ([1] * 991 + [0] * 9, "it holds at 99.1% of the characters"),
        ([1] * 10 + [0] * 990, "it changes in only 1 blocks of 100 characters"),
        (([1] + [0] * 99) * 10, ""),
    ],
)
def test_why_a_feature_cannot_be_scored(values, reason):
    assert lacks(np.array(values, dtype=float)) == reason


def test_default_cues_are_those_of_the_bank_or_the_most_frequent_words():
    cues = default_cues(bundled.read("longrange", 40_000))
    assert cues[:2] == ("a letter from Russia", "a letter from Persia")
    chinese = default_cues(bundled.read("longrange-zh", 40_000))
    assert len(cues) == len(chinese) == 8
    assert not any(map(str.isascii, chinese))
    text = "river words river stone words river stones tiny tiny tiny tiny alpha omega omega"
    assert default_cues(text) == ("river", "omega", "words")


# scores

COLUMNS = st.integers(2, 30).flatmap(
    lambda M: st.tuples(
        st.lists(st.integers(-3, 3), min_size=M, max_size=M),
        st.lists(st.booleans(), min_size=M, max_size=M),
    )
)


@settings(max_examples=60, deadline=None)
@given(COLUMNS)
def test_ranks_and_auc_equal_their_definitions(columns):
    values, holds = np.array(columns[0], dtype=np.float64), np.array(columns[1])
    naive = [sum(a < b for a in values) + (sum(a == b for a in values) + 1) / 2 for b in values]
    np.testing.assert_array_equal(ranks(values[:, None])[:, 0], naive)
    if 0 < holds.sum() < len(holds):
        pairs = [(a > b) + (a == b) / 2 for a in values[holds] for b in values[~holds]]
        effect = effects(ranks(values[:, None]), holds.astype(float))
        assert effect[0] == pytest.approx(np.mean(pairs) - 0.5)


def test_intervals_account_for_autocorrelation():
    rng = np.random.default_rng(0)
    noise = np.repeat(rng.normal(size=(2, 60)), 50, axis=1)
    target, order = (noise[0] > 0).astype(float), rng.permutation(3000)
    together, apart = (
        estimate(noise[1][rows], target[rows], np.random.default_rng(1))
        for rows in (slice(None), order)
    )
    assert together.value == pytest.approx(apart.value)
    assert together.high - together.low > 2 * (apart.high - apart.low)
