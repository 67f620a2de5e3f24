"""Comparison of cells: statistics over seeds, and the report."""

from functools import partial

import numpy as np
import pytest
from msgspec.structs import replace

from chargen.probes.cells.report import TITLE, about, report
from chargen.probes.cells.result import CellComparison, RunScores, VariantScores, summarize
from chargen.probes.statistics.span50 import fit
from chargen.render.figures import PAGE, PICTURE, svg
from chargen.render.report import Figure, to_html, to_text

SPANS = (1, 17, 65, 257, 1025)
TRIALS = 400
GOOD, BAD = (1, 1, 1, 0.5, 0.125), (1, 0.25, 0.125, 0.125, 0.125)
PAIRS = ("2 pairs", "4 pairs", "8 pairs")


@pytest.fixture(autouse=True, scope="module")
def _few_draws():
    """Fit span50 with few bootstrap samples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chargen.probes.cells.result.fit", partial(fit, draws=100))
        yield


def credits(share, trials=TRIALS):
    return (1.0,) * round(share * trials) + (0.0,) * (trials - round(share * trials))


def run(*shares, bits=1.5, seconds=10.0, diverged=False, trials=TRIALS, variants=("",)):
    """Scores of a run with these accuracies by span, equal in all variants."""
    by_span = tuple(credits(share, trials) for share in shares)
    untrained = ((50.0, 400),) * len(shares)
    scores = (VariantScores(v, 0.125, SPANS[: len(shares)], by_span, untrained) for v in variants)
    return RunScores(bits, 10_000, seconds, diverged, answers=tuple(scores))


def summary(*runs, timesteps=64, tuning=(), cell="lstm", **options):
    shape = {"units": (12,), "parameters": 700, "learning_rate": 0.004, "tuning": tuning}
    return summarize(runs, timesteps, 0, cell=cell, **shape, **options)


def first_row(cell):
    return cell.variants[0].spans[0].accuracy


def test_the_interval_over_seeds_does_not_depend_on_the_number_of_trials():
    cell = summary(*[run(*GOOD)] * 3, *[run(*BAD)] * 2)
    (variant,) = cell.variants
    found = variant.spans[2].accuracy
    assert found.value == pytest.approx((3 + 2 * 0.125) / 5)
    assert (found.low, found.high) == (pytest.approx(0.65 - 2.776 * 0.2143, abs=1e-3), 1)
    assert variant.solved == (True, True, True, False, False)
    assert variant.solved_text() == "3 of 5 (15–95%)"
    few, many = (
        first_row(summary(*(run(share, trials=trials) for share in (1, 1, 1, 0.125, 0.125))))
        for trials in (400, 4000)
    )
    assert few == many


def test_agreement_of_all_seeds_leaves_room_for_seeds_that_did_not_occur():
    """Five of five: the share of seeds that solve the task may still be 48%."""
    always, never = (first_row(summary(*[run(share)] * 5)) for share in (1, 0.125))
    assert (always.value, always.high) == (1, 1)
    assert always.low == pytest.approx(0.4782 + 0.5218 * 0.125, abs=1e-4)
    assert (never.value, never.low) == (0.125, 0.125)
    assert never.high == pytest.approx(0.5218 + 0.4782 * 0.125, abs=1e-4)


def test_a_single_run_has_the_interval_of_its_rounds():
    """Trials of a round agree: 50 rounds of 8 are no 400 trials."""
    rounds = np.random.default_rng(0).random((2, 50)) < 0.5
    trials = np.repeat(rounds, 8, axis=1).astype(float).tolist()
    tallies = {
        "untrained": ((200.0, 400),) * 2,
        "untrained_rounds": tuple(map(tuple, rounds * 1.0)),
    }
    scores = VariantScores("", 0.125, (1, 17), tuple(map(tuple, trials)), **tallies)
    one = RunScores(1, 1, 1, False, answers=(scores,))
    rows = summary(one, round_size=8).variants[0].spans
    for found in (rows[0].accuracy, rows[0].untrained.accuracy):
        assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 50), rel=0.1)
    apart = first_row(summary(one))
    assert apart.high - apart.low == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 400), rel=0.1)


def test_the_median_span50_is_a_number_only_within_the_spans():
    beyond = (1,) * 5
    (variant,) = summary(run(*GOOD), *[run(*beyond)] * 2).variants
    assert (variant.span50, variant.span50_chars) == (">1025", None)
    (both,) = summary(run(*BAD), run(*beyond)).variants
    assert both.span50_chars < 20  # the lower of the two: infinity has no midpoint
    assert both.span50_chars_high is None
    (few,) = summary(run(1, 1)).variants
    assert (few.span50, few.span50_chars) == ("not fitted", None)
    (unfitted,) = summary(run(*GOOD), run(1, 0.2, 0.95, 0.2, 0.95)).variants
    assert (unfitted.span50, unfitted.span50_chars) == ("no fit in 1 of 2 seeds", None)


@pytest.mark.parametrize(
    ("shares", "timesteps", "solved"),
    [
        ((1, 0.95, 0.94), 64, True),
        ((1, 0.95, 0.94), 65, False),
        ((0.9, 1, 1), 64, False),
        ((1, 1, 1), 0, False),  # no span within the training length
    ],
)
def test_solved_counts_the_spans_up_to_the_training_length(shares, timesteps, solved):
    assert summary(run(*shares), timesteps=timesteps).variants[0].solved == (solved,)


def test_numbers_of_single_and_of_diverged_runs():
    one, two = (summary(*[run(1, bits=bits) for bits in given]) for given in ([1], [1, 2]))
    cells = comparison(one, two).to_json()["cells"]
    keys = ("bits_per_char", "bits_per_char_low", "bits_per_char_high")
    assert [cells[0][key] for key in keys] == [1, None, None]
    assert [cells[1][key] for key in keys] == pytest.approx(
        [1.5, 1.5 - 6.353, 1.5 + 6.353], abs=1e-3
    )
    both = summary(run(1, seconds=5.0), run(1, seconds=0.0, diverged=True))
    none = summary(run(1, seconds=0.0))
    assert (both.chars_per_second, none.chars_per_second, both.diverged) == (2000, 0, 1)
    assert "1 run diverged" in comparison(both).finding()


def test_the_claims_that_the_shares_of_seeds_allow():
    result = comparison(*(summary(*[run(*x)] * 5, cell=name) for name, x in
                          (("simple", BAD), ("lstm", GOOD), ("gru", GOOD))))  # fmt: skip
    assert result.finding() == (
        "flipflop: solved by simple 0 of 5 (0–52%), lstm 5 of 5 (48–100%), gru 5 of 5 (48–100%) "
        "seeds, 95% intervals"
    )
    assert len(result.finding().split()) <= 25
    pairs = {(one["first"], one["second"]): one["seeds"] for one in result.seeds_needed()}
    assert pairs == {("simple", "lstm"): 4, ("simple", "gru"): 4, ("lstm", "gru"): None}
    assert "lstm and gru over 200. 36 seeds, all" in result.claims()
    assert result.claims().endswith("seeds, all successful, show that over 90% solve it.")


def summary_of(cell, *shares, variants=("",), **options):
    """A cell whose seeds have these accuracies, in every variant alike."""
    return summary(*(run(*one, variants=variants) for one in shares), cell=cell, **options)


def comparison(*cells, **changes):
    return replace(CellComparison("flipflop", "300 steps", 0, 64, 256, 2, cells), **changes)


def page_of(result):
    return to_html(TITLE, about(result), report(result), ())


@pytest.fixture(scope="module")
def five():
    """Three cells with five seeds in one variant."""
    return comparison(
        summary_of("simple", *[BAD] * 5),
        summary_of("lstm", *[GOOD] * 3, *[BAD] * 2),
        summary_of("gru", *[GOOD] * 5),
    )


@pytest.fixture(scope="module")
def recall():
    """Two cells with one seed in three variants."""
    cells = (summary_of(cell, GOOD, variants=PAIRS) for cell in ("simple", "lstm"))
    return comparison(*cells, task="recall")


def test_the_terminal_shows_finding_tables_and_conditions(five, recall):
    table = to_text(report(five))
    text = " ".join(table.split())
    assert five.finding() in text
    assert "lstm 3 of 5 (15–95%)" in text
    assert "trained on 64 timesteps" in text
    lines = [line.strip() for line in table.splitlines()]
    rows = {line.split()[0]: " ".join(line.split()) for line in lines if line}
    assert rows["65"].startswith("65 12.5 12.5 (12.5–")
    places = [next(i for i, one in enumerate(lines) if one.startswith(start)) for start in
              ("17 ", "── training length (64)", "65 ", "── longest trained", "257 ")]  # fmt: skip
    assert places == sorted(places)
    assert "300 steps each on 2 threads" in text
    few = " ".join(to_text(report(recall)).split())
    for part in (
        "lstm 1 of 1 (2–100%)",
        "1 run of each cell",
        "Intervals: over rounds of trials, for this seed.",
        *(f"{variant}: " for variant in PAIRS),
    ):
        assert part in few


def figure_of(result, size=PICTURE):
    return report(result)[0].blocks[0].draw(size, "title")


def test_a_figure_has_a_panel_per_variant_with_chance_intervals_and_limits(five, recall):
    figure = figure_of(five)
    (axes,) = figure.axes
    labels = {box.offsetbox.get_text() for box in axes.artists}
    assert labels == {"chance, 12.5%", "gru", "lstm", "simple"}
    marks = [text.get_text() for text in axes.texts]
    assert marks == ["training length (64)", "longest trained span (256)"]
    assert len(axes.containers) == 3  # curves with intervals
    seeds = [line for line in axes.lines if line.get_linewidth() == pytest.approx(0.7)]
    assert len(seeds) == 15
    names = [block.name for block in report(recall)[0].blocks if isinstance(block, Figure)]
    assert names == ["accuracy", "accuracy-4-pairs", "accuracy-8-pairs"]
    drawn = svg(figure_of(five, PAGE), "one", "label")
    assert all(f"var(--{name})" in drawn for name in ("other", "third", "model"))
