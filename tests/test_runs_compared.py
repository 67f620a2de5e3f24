"""Several runs, asked the same: how they are compared, told and drawn."""

import json
from dataclasses import replace

import numpy as np
import pytest
from memories import LETTERS, Echo
from readers import BANK, ORACLE, Remembers, SaysTheSame, measure
from test_comparison import asked, result
from test_reports import REFUSED, RESULT

from chargen.errors import ChargenError
from chargen.predictors import UniformPredictor
from chargen.probes.context import measure as context
from chargen.probes.context.result import compare_bits
from chargen.probes.runner.plot import save_templates_runs_plot, templates_runs_figure
from chargen.probes.runner.table import limits, short_names, templates_runs_table
from chargen.probes.statistics.span50 import Span50
from chargen.probes.templates.comparison import compare_all
from chargen.probes.templates.farther import farther
from chargen.probes.templates.plot import templates_figure

SPANS = (4, 16, 64)


def said(**results):
    known = {name: one for name, one in results.items() if not one.refusal}
    return farther(results, compare_all(known))


@pytest.fixture(scope="module")
def results():
    """By run: one knows all, one 16 characters, one nothing."""
    known = {"a/far": ORACLE, "a/near": Remembers(16), "a/twin": Remembers(16)}
    asked = {name: measure(one, SPANS, trained_timesteps=64) for name, one in known.items()}
    return asked | {"a/not": measure(SaysTheSame(), SPANS, gate=0.9)}


def known(results):
    return {name: one for name, one in results.items() if not one.refusal}


def test_holm_is_over_all_spans_of_all_pairs():
    right, wrong = asked([1.0] * 8), asked([0.0] * 8)
    three = {"a": result(right), "b": result(wrong), "c": result(wrong)}
    ab, ac, bc = compare_all(three)
    assert [(pair.first, pair.second) for pair in (ab, ac, bc)] == [
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
    ]
    assert [pair.spans[0].p_holm for pair in (ab, ac, bc)] == [6 / 256, 6 / 256, 1]
    assert [pair.ahead for pair in (ab, ac, bc)] == [{1}, {1}, set()]
    assert compare_all({"a": result(right)}) == ()
    (row,) = ab.to_json()
    assert row.items() >= {"instrument": "templates", "first": "a", "second": "b"}.items()
    assert row["p_holm"] == 6 / 256


def test_who_remembers_farther_is_said_with_by_how_much(results):
    pair = {"far": results["a/far"], "near": results["a/near"]}
    told = said(**pair)
    assert told.startswith("far remembers farther than near: ahead at 64, 100 points more at 64")
    assert told.endswith(f"span50 >64 against {pair['near'].span50.text()}")
    assert said(near=pair["near"], far=pair["far"]) == told
    one = said(far=results["a/far"], nothing=results["a/not"])
    assert one.startswith("far: remembers 64 characters")
    assert one.endswith("; not learned: nothing")
    assert said(nothing=results["a/not"]) == "not learned: nothing"


def test_where_nothing_differs_that_is_said(results):
    assert said(a=results["a/near"], b=results["a/twin"]) == "no span tells a and b apart"
    chance = {"a": result(asked([1, 1, 0, 1])), "b": result(asked([1, 0, 0, 0]))}
    assert said(**chance) == "no span tells a and b apart"
    three = said(a=results["a/near"], b=results["a/twin"], c=results["a/near"])
    assert three == "no span tells apart a and b, a and c, b and c"


def test_right_more_often_is_not_yet_farther():
    first = result(asked([1.0] * 300 + [0.0] * 100), asked([1.0] * 400, 8))
    second = result(asked([1.0] * 200 + [0.0] * 200), asked([1.0] * 400, 8))
    told = said(a=first, b=second)
    assert told == "a is right more often than b: ahead at 4, 25 points more at 4 characters"
    mixed = result(asked([1.0] * 400), asked([0.0] * 400, 8))
    told = said(a=mixed, b=second)
    assert told == "neither of a and b is ahead everywhere: a ahead at 4, b ahead at 8"


@pytest.mark.parametrize(("high", "farther"), [(90.0, True), (110.0, False)])
def test_span50_tells_farther_only_where_the_intervals_are_apart(high, farther):
    def with_half(rights, *half):
        rows = result(asked([1.0] * rights + [0.0] * (400 - rights)))
        return replace(rows, span50=Span50(*half, 4, 1024, 1 / 8, 0.02, 0.5, 0.06))

    told = said(a=with_half(300, 120.0, 100.0, 140.0), b=with_half(200, 80.0, 70.0, high))
    assert ("remembers farther" in told) == farther


def cycle(length=36_000):
    return np.resize(np.random.default_rng(0).integers(0, len(LETTERS), 4), length)


def test_bits_are_compared_at_the_same_places():
    ids = cycle()
    told = {"e": Echo(LETTERS, 4), "u": UniformPredictor(LETTERS), "v": UniformPredictor(LETTERS)}
    results = {name: context.measure(one, ids, contexts=(8,)) for name, one in told.items()}
    one, same, other = compare_bits(results)
    assert one.difference.value == pytest.approx(-np.log2(0.8) - np.log2(len(LETTERS)))
    assert one.difference.low <= one.difference.value <= one.difference.high
    assert (other.first, other.second, other.difference.value) == ("u", "v", 0)
    assert same.positions == 4096
    assert one.to_json()["difference_bits_per_char"] == one.difference.value
    short = context.measure(told["e"], ids[:50])
    assert compare_bits({"e": short, "u": short}) == ()


@pytest.mark.parametrize("options", [{"seed": 1}, {"contexts": (16,)}, {"positions": 2048}])
def test_results_of_other_places_are_not_compared(options):
    uniform = UniformPredictor(LETTERS)
    one = context.measure(uniform, cycle(), contexts=(8,))
    other = context.measure(uniform, cycle(), **{"contexts": (8,)} | options)
    with pytest.raises(ValueError, match="a, b: not measured at the same positions of one text"):
        compare_bits({"a": one, "b": other})
    longer = context.measure(uniform, cycle(36_001), contexts=(8,))
    with pytest.raises(ValueError, match="same positions of one text"):
        compare_bits({"a": one, "b": longer})


def test_what_is_drawn_of_both_runs_and_one_is_drawn_by_one_hand(results):
    result = results["a/near"]
    one, several = (f.axes[0] for f in (templates_figure(result), templates_runs_figure(results)))
    for told in ("get_xlim", "get_ylim", "get_xlabel", "get_ylabel"):
        assert getattr(one, told)() == getattr(several, told)()
    assert [tick.get_text() for tick in one.get_yticklabels()] == [
        tick.get_text() for tick in several.get_yticklabels()
    ]


def test_the_table_has_a_column_a_run_and_lists_what_was_not_learned(results):
    pairs = compare_all(known(results))
    text = templates_runs_table(results, pairs, "the finding")
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["the", "finding"]
    assert ["a/not", "–", "–", "not", "learned"] in lines
    assert ["span", "chance", "far", "95", "%", "near", "95", "%", "twin", "95", "%"] in lines
    assert ["64", "12.5", "100", "89–100", "12", "5–28", "12", "5–28"] in lines
    assert ["far", "cue", "deleted", "12", "12", "12"] in lines
    assert ["64", "32", "0", "+100.0", "<0.001", "<0.001", "far", "ahead"] in lines
    assert ["near", "against", "twin"] in lines
    assert "--timesteps 64, nothing here lies beyond it" in text
    assert all(len(line) <= 100 for line in text.splitlines())
    nobody = templates_runs_table({"a": REFUSED}, (), "x")
    assert "McNemar" not in nobody
    assert "not learned" in nobody


def test_limits_that_not_all_runs_share_say_whose_they_are():
    other = replace(RESULT, trained_timesteps=16)
    told = limits({"x": RESULT, "y": RESULT, "z": other}, {"x": "x", "y": "y", "z": "z"})
    assert told == [
        (16, "--timesteps 16 of z"),
        (64, "--timesteps 64 of x and y"),
        (256, "longest trained span 256"),
    ]


def test_a_run_is_called_by_its_folder_unless_two_share_its_name():
    assert short_names(["runs/a", "runs/b"]) == {"runs/a": "a", "runs/b": "b"}
    assert short_names(["x/a", "y/a"]) == {"x/a": "x/a", "y/a": "y/a"}


def test_the_plot_has_a_curve_a_run_with_intervals_chance_and_limits(results, tmp_path):
    (axes,) = templates_runs_figure(results).axes
    labels = axes.get_legend_handles_labels()[1]
    assert "chance, 1/8" in labels
    assert [x.split(",")[0] for x in labels if "timesteps" in x] == ["far", "near", "twin"]
    half = results["a/near"].span50
    assert f"near, --timesteps 64, span50 {half.text()}" in labels
    diamonds = [bar for bar in axes.containers if bar.lines[0].get_marker() == "D"]
    assert [bar.lines[0].get_xdata().tolist() for bar in diamonds] == [[half.chars]] * 2
    assert len(axes.containers) == 5
    assert {text.get_text() for text in axes.texts} == {"--timesteps 64"}
    path = tmp_path / "runs.png"
    save_templates_runs_plot(results, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ChargenError, match="nothing to draw: no run"):
        save_templates_runs_plot({"a": REFUSED}, path)


def test_the_same_results_give_the_same_json(results):
    told = [json.dumps([pair.to_json() for pair in compare_all(known(results))]) for _ in "ab"]
    assert told[0] == told[1]
    assert measure(ORACLE, SPANS).rows[0].frames_sha256 == results["a/far"].rows[0].frames_sha256
    assert BANK.name == results["a/far"].bank
