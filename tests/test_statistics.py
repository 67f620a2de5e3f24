"""Intervals, paired tests and span50, against published values and curves that are known."""

import math
from fractions import Fraction

import numpy as np
import pytest

from chargen.probes.statistics import intervals
from chargen.probes.statistics.span50 import fit

SPANS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
FRAMES = 416


def logistic(half, slope, spans=SPANS):
    return 1 / (1 + np.exp(slope * (np.log2(spans) - np.log2(half))))


def accuracies(remembered, chance=1 / 8):
    return chance + (1 - chance) * np.asarray(remembered)


def drawn(shares, seed=0, frames=FRAMES):
    """Frames right or wrong, drawn with these accuracies."""
    rng = np.random.default_rng(seed)
    return [(rng.random(frames) < share).astype(float) for share in shares]


def exactly(*shares, frames=400):
    """Return credits of sentences with exactly these accuracies."""
    rights = [round(share * frames) for share in shares]
    return [[1.0] * right + [0.0] * (frames - right) for right in rights]


@pytest.mark.parametrize(
    ("curve", "half"),
    [
        (logistic(90, 1.5), 90),
        (logistic(330, 2), 330),
        (0.5 ** (np.array(SPANS) / 80), 84),  # half of what is remembered 4 characters back
        (0.5 ** (np.array(SPANS) / 300), 304),
        ((1 + np.array(SPANS) / 200) ** -1.0, 208),
    ],
)
def test_span50_covers_the_truth_whatever_the_shape_of_forgetting(curve, half):
    found = [fit(SPANS, drawn(accuracies(curve), seed), 1 / 8, seed, 200) for seed in range(60)]
    assert np.mean([one.low <= half <= one.high for one in found]) >= 0.86
    assert all(one.on_grid for one in found)
    assert np.mean([np.log2(one.chars / half) for one in found]) == pytest.approx(0, abs=0.06)
    assert np.median([one.high / one.low for one in found]) < 1.5


@pytest.mark.parametrize("chars", [8, 32, 128])
def test_a_sudden_fall_may_be_anywhere_between_two_spans(chars):
    found = fit(SPANS, [[1.0] * 40 if s <= chars else [1 / 8] * 40 for s in SPANS], 1 / 8, seed=0)
    assert found.chars == pytest.approx(chars * 2**0.5, rel=0.03)
    assert chars <= found.low < 1.1 * chars
    assert 1.8 * chars < found.high <= 2 * chars


@pytest.mark.parametrize(
    ("frames", "text", "chars"),
    [
        (drawn(accuracies(logistic(2500, 1.5))), ">1024", np.inf),
        (exactly(*[0.95] * 9), ">1024", np.inf),
        (exactly(0.35, 0.2, *[0.125] * 7), "<4", 0),
        (exactly(1, 1, 0.3, 0.3, 0.95, 0.95, 0.2, 0.125, 0.125), "no fit", None),
        (exactly(*[0.125] * 5, 0.95, *[0.125] * 3), "no fit", None),
    ],
)
def test_off_the_grid_or_without_a_fit_there_is_no_number(frames, text, chars):
    found = fit(SPANS, frames, 1 / 8, 0)
    assert found.text() == text
    assert chars is None or found.chars == chars
    assert not found.on_grid
    values = found.to_json()
    assert [values[f"span50_chars{end}"] for end in ("", "_low", "_high")] == [None] * 3


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [  # Newcombe 1998, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_matches_published_values(successes, trials, low, high):
    assert intervals.wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)
    for refused in ((1, 0), (-1, 5), (6, 5)):
        with pytest.raises(ValueError, match="trials"):
            intervals.wilson(*refused)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [
        *((0, 0, 1), (1, 0, 1), (4, 3, 1)),
        (0, 5, Fraction(2, 32)),  # two tails of one outcome in 2^5
        (2, 8, Fraction(2 * (1 + 10 + 45), 1024)),
    ],
)
def test_mcnemar_by_hand(only_first, only_second, p):
    first = [1.0] * only_first + [0.0] * only_second + [1.0, 0.5, 0.0]
    second = [0.0] * only_first + [1.0] * only_second + [1.0, 0.5, 0.0]
    assert intervals.mcnemar(first, second) == pytest.approx(float(p))


def test_mcnemar_shares_credit_between_ties():
    uniform, constant = np.full(FRAMES, 1 / 8), np.arange(FRAMES) % 8 == 0
    assert intervals.mcnemar(uniform, constant) == 1
    assert intervals.mcnemar(np.ones(FRAMES), uniform) < 1e-100
    # Signs of 1/2 and 1/2 and 1: totals of 2 or -2, 2 in 8.
    assert intervals.mcnemar([1, 1, 1], [0.5, 0.5, 0]) == 0.25


def test_holm_by_hand():
    # ascending .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 and .04, which may not be less
    assert intervals.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert intervals.holm([0.6, 0.7]) == [1, 1]
    assert intervals.holm([0.2]) == [0.2]
    assert intervals.holm([]) == []


@pytest.mark.parametrize(
    ("successes", "low", "high"), [(5, 0.4782, 1), (4, 0.2836, 0.9949), (0, 0, 0.5218)]
)
def test_the_interval_of_a_share_is_that_of_clopper_and_pearson(successes, low, high):
    found = intervals.clopper_pearson(successes, 5)
    assert (found.value, found.low, found.high) == pytest.approx(
        (successes / 5, low, high), abs=1e-4
    )


def test_the_interval_of_a_mean_has_students_quantile():
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 30: 2.042, 120: 1.980}
    assert {n: round(intervals.t_quantile(n), 3) for n in table} == table
    found = intervals.t_interval([1, 2, 3])
    assert (found.value, found.high - 2) == pytest.approx((2, 4.303 / math.sqrt(3)), abs=1e-3)
    assert intervals.t_interval([7]).high == math.inf


def test_blocks_of_text_are_lengthened_until_the_variance_of_their_mean_grows_no_further():
    pairs = np.tile([1.0, 1, -1, -1], 32)
    found = intervals.text_mean(pairs, np.ones(128))
    assert (found.value, found.blocks) == (0, 64)  # of 128, 64 or 32
    assert found.error == pytest.approx(np.std(pairs[::2], ddof=1) / math.sqrt(64))
    grown = intervals.text_mean(pairs, np.ones(128), growth=0.5)  # over all lengths
    assert (grown.blocks, grown.error) == (32, pytest.approx(found.error * 32**0.25))


@pytest.mark.parametrize(("n", "outer"), [(5, 0), (6, 0), (64, 23), (256, 111)])
def test_the_interval_of_a_median_is_that_of_the_sign_test(n, outer):
    values = np.random.default_rng(0).permutation(n)
    assert intervals.median_interval(values) == ((n - 1) // 2, outer, n - 1 - outer)
    with pytest.raises(ValueError, match="at least 5"):
        intervals.median_interval(values[:4])


def test_the_seeds_that_a_claim_needs():
    # The normal approximation with Fleiss's continuity correction gives 91.7.
    assert intervals.seeds_needed(0.8, 0.6) == pytest.approx(91, abs=2)
    assert intervals.seeds_needed(1, 0) == 4  # 4 of 4 against 0 of 4: p = 2 / 70
    assert intervals.seeds_needed(0.5, 0.5) is None
    assert intervals.seeds_for_share(0.9) == 36
    assert intervals.clopper_pearson(36, 36).low > 0.9 > intervals.clopper_pearson(35, 35).low
