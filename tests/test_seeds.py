"""Intervals over few seeds, against published tables."""

import math

import numpy as np
import pytest

from chargen.probes.statistics import intervals as seeds


@pytest.mark.parametrize(
    ("successes", "low", "high"), [(5, 0.4782, 1), (4, 0.2836, 0.9949), (0, 0, 0.5218)]
)
def test_the_interval_of_a_share_is_that_of_clopper_and_pearson(successes, low, high):
    found = seeds.clopper_pearson(successes, 5)
    assert (found.value, found.low, found.high) == pytest.approx(
        (successes / 5, low, high), abs=1e-4
    )


def test_the_interval_of_a_mean_has_students_quantile():
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 30: 2.042, 120: 1.980}
    assert {n: round(seeds.t_quantile(n), 3) for n in table} == table
    found = seeds.t_interval([1, 2, 3])
    assert (found.value, found.high - 2) == pytest.approx((2, 4.303 / math.sqrt(3)), abs=1e-3)
    assert seeds.t_interval([7]).high == math.inf


@pytest.mark.parametrize(("n", "outer"), [(5, 0), (6, 0), (64, 23), (256, 111)])
def test_the_interval_of_a_median_is_that_of_the_sign_test(n, outer):
    values = np.random.default_rng(0).permutation(n)
    assert seeds.median_interval(values) == ((n - 1) // 2, outer, n - 1 - outer)
    with pytest.raises(ValueError, match="at least 5"):
        seeds.median_interval(values[:4])


def test_the_seeds_that_a_claim_needs():
    # The normal approximation with Fleiss's continuity correction gives 91.7.
    assert seeds.seeds_needed(0.8, 0.6) == pytest.approx(91, abs=2)
    assert seeds.seeds_needed(1, 0) == 4  # 4 of 4 against 0 of 4: p = 2 / 70
    assert seeds.seeds_needed(0.5, 0.5) is None
    assert seeds.seeds_for_share(0.9) == 36
    assert seeds.clopper_pearson(36, 36).low > 0.9 > seeds.clopper_pearson(35, 35).low
