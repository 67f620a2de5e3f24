"""Comparison of cells: statistics over seeds, and the report."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from chargen.errors import ChargenError
from chargen.files import decode_json
from chargen.probes.cells.measure import summarize
from chargen.probes.cells.report import TITLE, about, report
from chargen.probes.cells.result import CellComparison, RunScores, VariantScores
from chargen.probes.statistics.span50 import fit
from chargen.render.figures import PAGE, PICTURE, svg
from chargen.render.report import to_html, to_text

SPANS = (1, 17, 65, 257, 1025)
TRIALS = 400
GOOD, BAD = (1, 1, 1, 0.5, 0.125), (1, 0.25, 0.125, 0.125, 0.125)
PAIRS = ("2 pairs", "4 pairs", "8 pairs")


@pytest.fixture(autouse=True, scope="module")
def _few_draws():
    """Fit span50 with few bootstrap samples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chargen.probes.cells.result.fit", partial(fit, draws=100))
        patch.setattr("chargen.probes.statistics.span50.FIT_DRAWS", 200)
        yield


def credits(share, trials=TRIALS):
    return (1.0,) * round(share * trials) + (0.0,) * (trials - round(share * trials))


def run(*shares, bits=1.5, seconds=10.0, diverged=False, trials=TRIALS, variants=("",)):
    """Scores of a run with these accuracies by span, equal in all variants."""
    by_span = tuple(credits(share, trials) for share in shares)
    untrained = ((50.0, 400),) * len(shares)
    scores = (VariantScores(v, 0.125, SPANS[: len(shares)], by_span, untrained) for v in variants)
    return RunScores(bits, 10_000, seconds, diverged, tuple(scores))


def summary(*runs, timesteps=64, seed=0, tuning=(), cell="lstm", **options):
    return summarize(cell, (12,), 700, 0.004, dict(tuning), runs, timesteps, seed, **options)


def widths(cell):
    return [one.high - one.low for one in cell.variants[0].accuracy]


# statistics


def test_the_interval_depends_on_seeds_and_not_on_the_number_of_trials():
    cell = summary(*[run(*GOOD)] * 3, *[run(*BAD)] * 2)
    (variant,) = cell.variants
    found = variant.accuracy[2]
    assert found.value == pytest.approx((3 + 2 * 0.125) / 5)
    assert found.low < 0.35
    assert found.high > 0.95
    assert variant.solved == (True, True, True, False, False)
    assert variant.to_json()["solved_share"] == 0.6
    middle, low, high = variant.span50_chars
    assert low < 17
    assert 65 < middle <= high
    few, many = (
        widths(summary(*(run(share, trials=trials) for share in (1, 1, 1, 0.125, 0.125))))[0]
        for trials in (400, 4000)
    )
    assert many == pytest.approx(few, rel=0.1)
    assert few > 0.5


def test_equal_seeds_give_the_interval_of_their_trials():
    alone = widths(summary(run(0.5, 0.5)))
    assert widths(summary(*[run(0.5, 0.5)] * 5)) == pytest.approx(alone, rel=0.1)
    assert alone == pytest.approx([2 * 1.96 * 0.025] * 2, rel=0.1)
    always = summary(*[run(1, 1)] * 5).variants[0].accuracy[0]
    assert (always.value, always.high) == (1, 1)
    assert 0.99 < always.low < 1  # the next trial may fail


def test_the_bootstrap_resamples_whole_rounds():
    rounds = np.random.default_rng(0).random((2, 50)) < 0.5
    trials = np.repeat(rounds, 8, axis=1).astype(float).tolist()
    one = RunScores(1, 1, 1, False, (VariantScores("", 0.125, (1, 17), tuple(map(tuple, trials))),))
    apart, together = (widths(summary(one, round_size=size)) for size in (1, 8))
    assert min(together) > 2.4 * max(apart)


def test_the_median_span50_is_a_number_only_within_the_spans():
    beyond = (1,) * 5
    (variant,) = summary(run(*GOOD), *[run(*beyond)] * 2).variants
    found = variant.to_json()
    assert variant.span50.startswith(">1025 (")
    assert (found["span50_chars"], found["span50_chars_high"]) == (None, None)
    assert 100 < found["span50_chars_low"] < 1025
    (both,) = summary(run(*BAD), run(*beyond)).variants
    assert both.span50_chars[0] < 20  # the lower of the two: infinity has no midpoint
    assert np.isinf(both.span50_chars[2])
    (below,) = summary(*[run(*[0.125] * 5)] * 3).variants
    assert below.span50 == "<1"
    assert json.loads(json.dumps(below.to_json(), allow_nan=False))["span50_chars_low"] is None
    (unfitted,) = summary(run(*GOOD), run(1, 0.2, 0.95, 0.2, 0.95)).variants
    assert (unfitted.span50, unfitted.span50_chars) == ("no fit in 1 of 2 seeds", None)
    (few,) = summary(run(1, 1)).variants
    assert (few.span50, few.span50_chars) == ("not fitted", None)


@pytest.mark.parametrize(
    ("shares", "timesteps", "solved"),
    [
        ((1, 0.95, 0.94), 64, True),
        ((1, 0.95, 0.95), 65, True),
        ((1, 0.95, 0.94), 65, False),
        ((0.9, 1, 1), 64, False),
        ((1, 1, 1), 0, False),  # no span within the training length
    ],
)
def test_solved_counts_the_spans_up_to_the_training_length(shares, timesteps, solved):
    assert summary(run(*shares), timesteps=timesteps).variants[0].solved == (solved,)


def test_numbers_of_single_and_of_diverged_runs():
    one, two = (summary(*[run(1, bits=bits) for bits in given]) for given in ([1], [1, 2]))
    keys = ("bits_per_char", "bits_per_char_low", "bits_per_char_high")
    assert [one.to_json()[key] for key in keys] == [1, None, None]
    assert [two.to_json()[key] for key in keys] == [1.5, 1, 2]
    quick, none = run(1, seconds=5.0), run(1, seconds=0.0, diverged=True)
    both = summary(quick, none)
    assert (both.chars_per_second, summary(none).chars_per_second) == (2000, 0)
    assert both.diverged == both.to_json()["diverged"] == 1
    assert "1 run diverged" in comparison(both).finding()
    assert "diverged" in page_of(comparison(both))


def test_equal_seeds_give_equal_json():
    first, again, other = (
        json.dumps(summary(run(*GOOD), run(*BAD), seed=seed).to_json()) for seed in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.parametrize("change", [*({key: None} for key in ("variant", "spans")), {"more": 1}])
def test_scores_are_decoded_with_their_types(change):
    values = {"variant": "2 pairs", "chance": 0.5, "spans": [1], "credits": [[1.0, 0]]}
    assert decode_json(json.dumps(values).encode(), VariantScores).accuracy == (0.5,)
    with pytest.raises((ValueError, ChargenError)):
        decode_json(json.dumps(values | change).encode(), VariantScores)


# report


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
        summary_of("lstm", *[GOOD] * 3, *[BAD] * 2, tuning={0.004: 1.25, 0.5: None}.items()),
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
    assert "lstm: solved by 3 of 5 seeds, span50" in text
    assert "trained on 64 timesteps" in text
    lines = [line.strip() for line in table.splitlines()]
    rows = {line.split()[0]: " ".join(line.split()) for line in lines if line}
    assert rows["65"].endswith(" 12.5 12.5")
    places = [next(i for i, one in enumerate(lines) if one.startswith(start)) for start in
              ("17 ", "── training length (64)", "65 ", "── longest trained", "257 ")]  # fmt: skip
    assert places == sorted(places)
    assert "300 steps each on 2 threads" in text
    assert "show no difference" not in text
    few = " ".join(to_text(report(recall)).split())
    for part in (
        "solved by 1 of 1 seed,",
        "1 run of each cell",
        "Fewer than 5 runs per cell show no difference.",
        "bootstrap over trials only",
        *(f"{variant}: " for variant in PAIRS),
    ):
        assert part in few


def test_json_holds_every_number_that_is_drawn(five):
    values = json.loads(json.dumps(five.to_json(), allow_nan=False))
    assert values["trained_timesteps"] == 64
    assert values["longest_trained_span_chars"] == 256
    assert values["finding"] == five.finding()
    for cell, shown in zip(values["cells"], five.cells, strict=True):
        (variant,) = cell["variants"]
        assert len(cell["trainings"]) == 5
        for place, row in enumerate(variant["spans"]):
            mean = shown.variants[0].accuracy[place]
            found = (row["accuracy"], row["accuracy_low"], row["accuracy_high"])
            assert found == (mean.value, mean.low, mean.high)
            by_seed = [one.answers[0].accuracy[place] for one in shown.runs]
            assert row["accuracy_by_seed"] == by_seed
            assert row["untrained"]["accuracy"] == 0.125
    assert values["cells"][1]["tuning"] == [
        {"learning_rate": 0.004, "bits_per_char": 1.25},
        {"learning_rate": 0.5, "bits_per_char": None},
    ]


def figure_of(result, size=PICTURE):
    return report(result)[0].blocks[0].draw(size, "title")


def test_a_figure_has_a_panel_per_variant_with_chance_intervals_and_limits(five, recall):
    figure = figure_of(five)
    (axes,) = figure.axes
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:3] == ["simple", "lstm", "gru"]
    assert "chance, 12.5%" in labels
    marks = [text.get_text() for text in axes.texts]
    assert marks == ["training length (64)", "longest trained span (256)"]
    assert len(axes.containers) == 3  # curves with intervals
    seeds = [line for line in axes.lines if line.get_linewidth() == pytest.approx(0.7)]
    assert len(seeds) == 15
    for size in (PICTURE, PAGE):
        assert [axes.get_title() for axes in figure_of(recall, size).axes] == [*PAIRS]
    drawn = svg(figure_of(five, PAGE), "one", "label")
    assert all(f"var(--{name})" in drawn for name in ("other", "third", "model"))


def test_the_page_shows_text_tables_and_figures(recall):
    page = page_of(recall)
    assert page == page_of(recall)
    assert page.count("<svg") == 1
    for part in (recall.finding(), "by span in characters, 8 pairs", "1 seed, ", "12.5"):
        assert part in page
    assert "over seeds of at least 95%: simple (8 pairs) up to 65 characters; lstm" in page
    assert "<script" not in page


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (360, True)])
def test_in_a_browser_nothing_is_requested_and_nothing_overflows(
    browser, five, tmp_path, width, dark
):
    file = tmp_path / "report.html"
    file.write_text(page_of(five), encoding="utf-8")
    browser.open(file, width, dark=dark)
    browser.script("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert (browser.errors(), browser.requests(), browser.overflows()) == ([], [], False)
    figure = browser.find("figure svg")
    assert 0 < figure.size["width"] <= width
    assert "chance" in figure.text
    paper = browser.script("return getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 24, 28)" if dark else "rgb(255, 255, 255)")
