"""Intervals and span50, against published values and curves that are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.probes.statistics import span50
from chargen.probes.statistics.intervals import wilson
from chargen.probes.statistics.span50 import Span50, fit

SPANS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
FRAMES = 416


def curve(half, slope, lapse, spans=SPANS, chance=1 / 8):
    """The formula as PROBE.md writes it."""
    fallen = 1 / (1 + np.exp(slope * (np.log2(spans) - np.log2(half))))
    return chance + (1 - chance - lapse) * fallen


def drawn(accuracies, seed=0, frames=FRAMES):
    """Frames right or wrong, drawn with these accuracies."""
    rng = np.random.default_rng(seed)
    return [(rng.random(frames) < accuracy).astype(float) for accuracy in accuracies]


def exactly(*accuracies, frames=400):
    """Return credits of sentences with exactly these accuracies."""
    rights = [round(accuracy * frames) for accuracy in accuracies]
    return [[1.0] * right + [0.0] * (frames - right) for right in rights]


@pytest.mark.parametrize(
    ("half", "slope", "lapse"), [(330, 1.8, 0.01), (60, 1.0, 0.03), (20, 3.0, 0.0), (700, 1.2, 0.1)]
)
def test_the_interval_holds_what_frames_were_drawn_from(half, slope, lapse):
    found = fit(SPANS, drawn(curve(half, slope, lapse), seed=1), 1 / 8, seed=0)
    assert found.fits
    assert found.on_grid
    assert 4 < found.low < half < found.high < 1024
    assert found.low < found.chars < found.high < 1.6 * found.low
    assert found.lapse == pytest.approx(lapse, abs=0.035)


def test_many_intervals_hold_it_about_as_often_as_they_say():
    found = [fit(SPANS, drawn(curve(90, 1.5, 0.04), seed), 1 / 8, seed, 400) for seed in range(20)]
    assert sum(one.low <= 90 <= one.high for one in found) >= 17
    assert sum(one.fit_p > 0.1 for one in found) >= 14
    assert np.mean([np.log2(one.chars / 90) for one in found]) == pytest.approx(0, abs=0.06)


@pytest.mark.parametrize("chars", [8, 32, 128])
def test_a_sudden_fall_may_be_anywhere_between_two_spans(chars):
    found = fit(SPANS, [[1.0] * 40 if s <= chars else [1 / 8] * 40 for s in SPANS], 1 / 8, seed=0)
    assert found.chars == pytest.approx(chars * 2**0.5, rel=0.03)
    assert chars < found.low < 1.1 * chars
    assert 1.8 * chars < found.high < 2 * chars


@pytest.mark.parametrize(
    ("frames", "text", "chars"),
    [
        (drawn(curve(2500, 1.5, 0.02)), ">1024", np.inf),
        (exactly(*[0.95] * 9), ">1024", np.inf),
        (exactly(0.35, 0.2, *[0.125] * 7), "<4", 0),
        (exactly(1, 1, 1, 1, 0, 0, 0, 0, 0), "no fit", None),  # below chance
        (exactly(1, 1, 0.3, 0.3, 0.95, 0.95, 0.2, 0.125, 0.125), "no fit", None),
    ],
)
def test_off_the_grid_or_without_a_fit_there_is_no_number(frames, text, chars):
    found = fit(SPANS, frames, 1 / 8, 0)
    assert found.text() == text
    assert chars is None or found.chars == chars
    assert not found.on_grid
    told = found.to_json()
    assert [told[f"span50_chars{end}"] for end in ("", "_low", "_high")] == [None] * 3


def test_a_curve_that_is_nowhere_far_off_is_good_enough():
    shares = (1, 1, 1, 0.975, 0.94, 0.92, 0.85, 0.7, 0.45)  # as a trained LSTM was seen to fall
    found = fit(SPANS, exactly(*shares), 1 / 8, 0)
    assert found.fit_p < span50.POOR
    assert found.misfit < span50.POOR_POINTS
    assert found.on_grid


def test_the_result_depends_on_the_seed_only_and_not_on_order_or_gaps():
    frames = drawn(curve(100, 2, 0.02))
    turned = [won[::-1] for won in frames]
    assert fit(SPANS, frames, 1 / 8, 0) == fit(SPANS, turned, 1 / 8, 0)
    assert fit(SPANS, frames, 1 / 8, 0) != fit(SPANS, frames, 1 / 8, 4)
    kept = [0, 2, 3, 4, 5, 6, 8]
    some = fit([SPANS[i] for i in kept], [frames[i] for i in kept], 1 / 8, 0)
    assert some.low < 100 < some.high


def test_text_and_half_way():
    assert fit(SPANS, drawn(curve(1000, 1.5, 0.02)), 1 / 8, 0).text().endswith("–>1024)")
    known = Span50(700.4, 620.2, 809.9, 4, 1024, 1 / 8, 0.02, 0.5, 0.01)
    assert known.text() == "700 (620–810)"
    assert known.half_way == pytest.approx((0.98 + 0.125) / 2)
    assert known.to_json() == {
        "span50": "700 (620–810)",
        "span50_chars": 700.4,
        "span50_chars_low": 620.2,
        "span50_chars_high": 809.9,
        "span50_lapse": 0.02,
        "span50_fit_p": 0.5,
        "span50_misfit": 0.01,
    }


@pytest.mark.parametrize(
    ("spans", "frames"), [((4, 8), 5), ((4, 16, 8), 5), ((4, 8, 8), 5), ((4, 8, 16), 0)]
)
def test_refusals(spans, frames):
    with pytest.raises(ValueError, match="span"):
        fit(spans, [[1.0] * frames for _ in spans], 1 / 8, 0)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [  # by hand, from the formula: Newcombe 1998, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_matches_published_values(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.floats(0, n), st.just(n))))
def test_wilson_holds_the_share_and_mirrors(case):
    successes, trials = case
    low, high = wilson(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    mirrored = wilson(trials - successes, trials)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_counts_that_are_no_proportion(successes, trials):
    with pytest.raises(ValueError, match="trials"):
        wilson(successes, trials)
