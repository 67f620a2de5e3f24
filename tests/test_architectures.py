"""Several cells and seeds: what their difference is worth, and how it is shown."""

import json
from dataclasses import replace

import numpy as np
import pytest

from chargen.datasets.tasks import TASKS
from chargen.probes.cells.measure import answers_of, gather
from chargen.probes.cells.page import comparison_page
from chargen.probes.cells.plot import comparison_figure, save_comparison_plot
from chargen.probes.cells.result import Answers, CompareResult, Training
from chargen.probes.cells.table import comparison_table
from chargen.probes.cells.tasks import measure
from chargen.probes.statistics.intervals import Proportion
from chargen.render import figures as drawing
from chargen.render import html

SPANS = (1, 17, 65, 257, 1025)
TRIALS = 400


def won(share, trials=TRIALS):
    return (1.0,) * round(share * trials) + (0.0,) * (trials - round(share * trials))


def answers(*shares, variant="", chance=0.125, spans=SPANS, untrained=()):
    return Answers(variant, chance, spans[: len(shares)], tuple(map(won, shares)), untrained)


def training(seed, *by_variant, cell="lstm", bits=1.5, diverged=False, seconds=10.0):
    return Training(cell, seed, bits, 10_000, seconds, diverged, by_variant)


def gathered(*trainings, timesteps=64, seed=0, tuning=(), **options):
    trained = [replace(one, seed=place) for place, one in enumerate(trainings)]
    cell = trained[0].cell
    return gather(cell, (12,), 700, 0.004, dict(tuning), trained, timesteps, seed, **options)


def known(*shares, **options):
    """A training of one variant with these shares right."""
    return training(0, answers(*shares), **options)


GOOD, BAD = (1, 1, 1, 0.5, 0.125), (1, 0.25, 0.125, 0.125, 0.125)


def widths(cell):
    return [one.high - one.low for one in cell.variants[0].accuracy]


# ---- statistics


def test_seeds_that_fall_into_two_heaps_give_a_wide_interval():
    cell = gathered(*[known(*GOOD)] * 3, *[known(*BAD)] * 2)
    found = cell.variants[0].accuracy[2]
    assert found.value == pytest.approx((3 + 2 * 0.125) / 5)
    assert found.low < 0.35
    assert found.high > 0.95
    assert cell.variants[0].solved == (True, True, True, False, False)
    assert cell.variants[0].solved_share == 0.6
    low, middle, high = (cell.variants[0].span50_chars[place] for place in (1, 0, 2))
    assert low < 17
    assert 65 < middle <= high


def test_seeds_decide_and_not_how_many_trials_each_is_asked():
    def width(trials):
        heaps = [[won(share, trials)] for share in (1, 1, 1, 0.125, 0.125)]
        cell = gathered(*(training(0, Answers("", 0.125, (65,), tuple(one))) for one in heaps))
        return widths(cell)[0]

    assert width(4000) == pytest.approx(width(400), rel=0.1)
    assert width(400) > 0.5


def test_seeds_that_agree_leave_the_interval_of_their_trials():
    cell = gathered(*[known(0.5, 0.5)] * 5)
    # All were right in the same trials: five times the same is no more than once.
    alone = widths(gathered(known(0.5, 0.5)))
    assert widths(cell) == pytest.approx(alone, rel=0.1)
    assert alone == pytest.approx([2 * 1.96 * 0.025] * 2, rel=0.1)


def test_trials_that_come_out_alike_are_drawn_as_one():
    rng = np.random.default_rng(0)
    rounds = np.repeat(rng.random((2, 50)) < 0.5, 8, axis=1).astype(float)
    one = training(0, Answers("", 0.125, (1, 17), tuple(map(tuple, rounds.tolist()))))
    apart, together = (widths(gathered(one, together=size)) for size in (1, 8))
    assert min(together) > 2.4 * max(apart)
    assert gathered(one, together=8).variants[0].trials == (400, 400)


def test_where_every_trial_was_right_the_next_might_be_wrong():
    found = gathered(*[known(1, 1)] * 5).variants[0].accuracy[0]
    assert (found.value, found.high) == (1, 1)
    assert 0.99 < found.low < 1


def test_the_median_of_span50_is_never_a_number_off_the_grid():
    beyond = (1, 1, 1, 1, 1)
    cell = gathered(known(*GOOD), *[known(*beyond)] * 2)
    found = cell.variants[0].to_json()
    assert cell.variants[0].span50.startswith(">1025 (")
    assert found["span50_chars"] is None
    assert found["span50_chars_high"] is None
    assert 100 < found["span50_chars_low"] < 1025
    both = gathered(known(*BAD), known(*beyond)).variants[0]
    assert both.span50_chars[0] < 20  # a value of one of them: nothing lies between
    assert np.isinf(both.span50_chars[2])
    below = gathered(*[known(*[0.125] * 5)] * 3).variants[0]
    assert below.span50 == "<1"
    assert json.loads(json.dumps(below.to_json(), allow_nan=False))["span50_chars_low"] is None


def test_one_seed_that_fits_nothing_leaves_no_span50():
    dip = (1, 0.2, 0.95, 0.2, 0.95)
    found = gathered(known(*GOOD), known(*dip)).variants[0]
    assert found.span50 == "no fit in 1 of 2 seeds"
    assert found.span50_chars is None
    assert found.to_json()["span50_chars"] is None
    few = gathered(known(1, 1)).variants[0]
    assert (few.span50, few.span50_chars) == ("not fitted", None)


@pytest.mark.parametrize(
    ("shares", "timesteps", "solved"),
    [
        ((1, 0.95, 0.94), 64, True),
        ((1, 0.95, 0.95), 65, True),
        ((1, 0.95, 0.94), 65, False),
        ((0.9, 1, 1), 64, False),
        ((1, 1, 1), 0, False),  # nothing was asked within
    ],
)
def test_solved_counts_the_spans_up_to_the_trained_length(shares, timesteps, solved):
    (variant,) = gathered(known(*shares), timesteps=timesteps).variants
    assert variant.solved == (solved,)


def test_bits_of_one_training_have_no_interval():
    one, two = (gathered(*[known(1, bits=bits) for bits in told]) for told in ([1], [1, 2]))
    keys = ("bits_per_char", "bits_per_char_low", "bits_per_char_high")
    assert [one.to_json()[key] for key in keys] == [1, None, None]
    assert [two.to_json()[key] for key in keys] == [1.5, 1, 2]


def test_what_read_nothing_has_no_speed():
    quick, none = known(1, seconds=5.0), known(1, seconds=0.0, diverged=True)
    assert gathered(quick, none).chars_per_second == 2000
    assert gathered(none).chars_per_second == 0
    assert gathered(quick, none).diverged == 1


def test_the_same_seed_gives_the_same_bytes():
    cells = [gathered(known(*GOOD), known(*BAD), seed=seed) for seed in (0, 0, 1)]
    first, again, other = (json.dumps(cell.to_json()) for cell in cells)
    assert first == again != other


def test_answers_go_to_json_and_back():
    one = answers(1, 0.5, variant="2 pairs", untrained=(Proportion(3.5, 9), Proportion(1, 9)))
    assert Answers.from_json(json.loads(json.dumps(one.to_json()))) == one
    for key in ("variant", "chance", "spans", "credits", "untrained"):
        with pytest.raises((KeyError, TypeError, ValueError)):
            Answers.from_json({**one.to_json(), key: None} if key != "variant" else {})


def test_answers_of_a_task_by_variant():
    from memories import Solver

    task = TASKS["recall"]
    told = {"untrained": Solver(task, 0)}
    found = measure(Solver(task, 10**9), task, spans=(32,), trials=8, controls=told)
    mine = answers_of(found, "untrained")
    assert [one.variant for one in mine] == ["2 pairs", "4 pairs", "8 pairs"]
    assert [one.chance for one in mine] == [1 / 2, 1 / 4, 1 / 8]
    assert mine[2].spans == (23, 32)
    assert mine[0].accuracy == (1, 1)
    assert [one.share for one in mine[2].untrained] == pytest.approx([1 / 8] * 2)
    assert answers_of(found, "nobody")[0].untrained == ()


# ---- what is shown


def result(*cells, **changes):
    shown = CompareResult("flipflop", "300 steps", 0, 64, 256, 2, cells)
    return replace(shown, **changes)


def trained_as(cell, *heaps, variants=("",), **options):
    guessed = (Proportion(50, 400),) * len(SPANS)
    return gathered(
        *(
            training(0, *(answers(*one, variant=v, untrained=guessed) for v in variants), cell=cell)
            for one in heaps
        ),
        **options,
    )


RESULT = result(
    trained_as("simple", *[BAD] * 5),
    trained_as("lstm", *[GOOD] * 3, *[BAD] * 2, tuning={0.004: 1.25, 0.5: None}.items()),
    trained_as("gru", *[GOOD] * 5),
)
PAIRS = ("2 pairs", "4 pairs", "8 pairs")
RECALL = result(
    *(trained_as(cell, GOOD, variants=PAIRS) for cell in ("simple", "lstm")), task="recall"
)


def test_the_table_says_what_was_found_and_what_it_means():
    table = comparison_table(RESULT)
    flat = " ".join(table.split())
    assert RESULT.finding() in flat
    assert "lstm: solved by 3 of 5 seeds, span50" in flat
    assert "trained on 64 timesteps" in flat
    rows = {line.split()[0]: " ".join(line.split()) for line in table.splitlines() if line.strip()}
    assert rows["65"].endswith(" 12.5 12.5 beyond 64 timesteps")
    assert rows["1025"].endswith(" beyond 64 timesteps and corpus")
    assert rows["17"].endswith(" 12.5 12.5")
    assert "300 steps each on 2 threads" in flat
    assert "5 trainings of each cell" in flat
    assert "show no difference" not in flat
    order = [table.index(f"\n{' ' * (6 - len(cell))}{cell}") for cell in ("simple", "lstm", "gru")]
    assert order == sorted(order)


def test_one_seed_is_told_to_be_too_few():
    flat = " ".join(comparison_table(RECALL).split())
    assert "solved by 1 of 1 seed," in flat
    assert "1 training of each cell" in flat
    assert "Fewer than 5 trainings of a cell show no difference." in flat
    assert "bootstrap over trials alone" in flat
    for variant in PAIRS:
        assert f"{variant}: " in flat


def test_a_training_that_diverged_is_told():
    cell = gathered(known(*GOOD), known(*BAD, diverged=True))
    assert "span50" in result(cell).finding()
    assert "1 training diverged" in result(cell).finding()
    assert "diverged" in comparison_page(result(cell))
    assert result(cell).to_json()["cells"][0]["diverged"] == 1


def test_json_holds_everything_that_is_drawn():
    told = json.loads(json.dumps(RESULT.to_json(), allow_nan=False))
    assert told["trained_timesteps"] == 64
    assert told["longest_trained_span_chars"] == 256
    assert told["finding"] == RESULT.finding()
    for cell, shown in zip(told["cells"], RESULT.cells, strict=True):
        (variant,) = cell["variants"]
        for place, row in enumerate(variant["spans"]):
            mean = shown.variants[0].accuracy[place]
            assert (row["accuracy"], row["accuracy_low"], row["accuracy_high"]) == (
                mean.value,
                mean.low,
                mean.high,
            )
            assert row["accuracy_by_seed"] == [
                one.answers[0].accuracy[place] for one in shown.trainings
            ]
            assert row["untrained"]["accuracy"] == 0.125
        assert len(cell["trainings"]) == 5
    assert told["cells"][1]["tuning"] == [
        {"learning_rate": 0.004, "bits_per_char": 1.25},
        {"learning_rate": 0.5, "bits_per_char": None},
    ]


def drawn_texts(figure):
    axes = figure.axes
    texts = [text.get_text() for one in axes for text in (*one.texts, one.title)]
    return texts + [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_figure_has_a_panel_a_variant_chance_intervals_and_limits(tmp_path):
    figure = comparison_figure(RESULT, [0])
    (axes,) = figure.axes
    told = drawn_texts(figure)
    assert "--timesteps 64" in told
    assert "longest trained span 256" in told
    assert [text for text in told if text in {"simple", "lstm", "gru"}] == ["simple", "lstm", "gru"]
    assert "chance, 12.5 %" in told
    assert len(axes.containers) == 3  # curves with intervals
    seeds = [line for line in axes.lines if line.get_linewidth() == pytest.approx(0.7)]
    assert len(seeds) == 15
    assert [text for text in drawn_texts(comparison_figure(RECALL, range(3))) if text in PAIRS] == [
        *PAIRS
    ]
    for name, one in {"one": RESULT, "three": RECALL}.items():
        save_comparison_plot(one, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_title_counts():
    assert "5 seeds" in comparison_figure(RESULT, [0])._suptitle.get_text()
    assert "1 seed," in comparison_figure(RECALL, range(3))._suptitle.get_text()


def test_the_page_says_it_in_words_tables_and_figures():
    page = comparison_page(RECALL)
    assert page == comparison_page(RECALL)
    assert html.escape(RECALL.finding()) in page
    assert page.count("<svg") == 3
    for told in ("recall, 8 pairs", "1 seed ·", "12.5", "beyond 64 timesteps"):
        assert told in page
    assert "on average over seeds: simple (8 pairs) up to 65 characters; lstm (8 pairs)" in page
    assert "<script" not in page


def test_the_page_escapes(tmp_path):
    page = comparison_page(replace(RESULT, task="<script>alert(1)</script>", budget="<b>&"))
    assert "<script>" not in page
    assert "<b>&<" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("shown", [RESULT, RECALL], ids=["one", "several"])
@pytest.mark.parametrize(
    ("width", "dark"), [(1200, False), (1200, True), (360, False), (360, True)]
)
def test_in_a_browser_nothing_is_asked_for_and_nothing_overflows(
    browser, tmp_path, shown, width, dark
):
    file = tmp_path / "report.html"
    file.write_text(comparison_page(shown), encoding="utf-8")
    browser.open(file, width, dark=dark)
    browser.script("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert browser.errors() == []
    assert browser.requests() == []
    assert not browser.overflows()
    figure = browser.find("figure svg")
    assert 0 < figure.size["width"] <= width
    assert "chance" in figure.text
    paper = browser.script("return getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 24, 28)" if dark else "rgb(255, 255, 255)")


def test_cells_have_colours_that_a_page_can_change_in_the_dark():
    drawn = drawing.svg(comparison_figure(RESULT, [0], drawing.PAGE), "one", "label")
    for name in ("other", "third", "model"):
        assert f"var(--{name})" in drawn
