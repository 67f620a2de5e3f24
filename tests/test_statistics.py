"""Wilson's interval and chance, against known figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.probes.statistics.intervals import Proportion, chance, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [  # by hand, from the formula: Newcombe 1998, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_matches_published_figures(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.floats(0, n), st.just(n))))
def test_wilson_holds_the_share_and_mirrors(case):
    successes, trials = case
    low, high = wilson(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    mirrored = wilson(trials - successes, trials)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_four_hundred_frames_are_enough_for_five_points():
    low, high = wilson(200, 400)
    assert (high - low) / 2 <= 0.049


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_proportion(successes, trials):
    with pytest.raises(ValueError, match="trials"):
        wilson(successes, trials)


def test_chance_and_json():
    assert chance(8) == 0.125
    told = Proportion(50, 400).to_json()
    assert told["accuracy"] == chance(8)
    assert told["frames"] == 400
    assert told["accuracy_low"] < 0.125 < told["accuracy_high"]
