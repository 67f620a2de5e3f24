"""Results as tables and pictures."""

import subprocess
import sys
from dataclasses import replace

import pytest

from chargen.errors import ChargenError
from chargen.predictors import UniformPredictor
from chargen.probes.runner import probed
from chargen.probes.statistics.intervals import Proportion
from chargen.probes.statistics.span50 import Span50
from chargen.probes.templates import plot as plots
from chargen.probes.templates import table as tables
from chargen.probes.templates.demonstration import demonstrate
from chargen.probes.templates.measure import SpanResult, TemplatesResult, label
from chargen.probes.templates.outcomes import Tally
from chargen.render import figures as drawing
from chargen.text.vocabulary import Vocabulary


def tally(share, frames=400):
    return Tally(Proportion(share * frames, frames), Proportion(share * frames, frames))


def row(span, share):
    return SpanResult(
        span=span,
        label=label(span),
        beyond_timesteps=span > 64,
        chance=1 / 8,
        all=tally(share),
        plain=tally(share, 200),
        decoy=tally(share * 0.9, 200),
        to_decoy=0.5,
        fact_sets={"spelled alike": tally(share, 200)},
        controls={"cue deleted": tally(0.125, 200), "untrained": tally(0.13)},
    )


ACCURACIES = {4: 1.0, 16: 1.0, 32: 0.98, 64: 0.95, 128: 0.92, 256: 0.7, 512: 0.3, 1024: 0.14}
RESULT = TemplatesResult("english.bank", 0, 64, tuple(row(*x) for x in ACCURACIES.items()), "")
REFUSED = TemplatesResult("english.bank", 0, 64, (), "not learned: train on the longrange corpus")


def test_table_says_first_what_was_found():
    first = tables.templates_table(RESULT).splitlines()[0]
    assert first == (
        "remembers 128 characters (90% right or more), "
        "better than chance up to 512; trained on 64 timesteps"
    )


def test_table_has_a_row_a_span_and_marks_the_trained_lengths():
    lines = tables.templates_table(RESULT).splitlines()
    cells = [line.split() for line in lines]
    assert ["4", "100", "99–100", "100", "90", "12", "13"] in cells
    assert ["128", "92", "89–94", "92", "83", "12", "13", "held", "out"] in cells
    starts = [line.split()[0] if line else "" for line in lines]
    order = [lines[i] for i in range(len(lines)) if starts[i] in {"──", "64", "128", "256", "512"}]
    assert ["timesteps 64" in line for line in order] == [False, True, False, False, False, False]
    assert ["span 256" in line for line in order] == [False, False, False, False, True, False]
    assert "chance is 12.5" in tables.templates_table(RESULT)
    assert all(len(line) <= 100 for line in lines)


def test_a_refusal_is_the_whole_table():
    assert tables.templates_table(REFUSED) == REFUSED.refusal + "\n"


def test_demonstration_shows_endings_and_says_that_it_measures_nothing():
    shown = demonstrate(UniformPredictor(Vocabulary.of("the clouds are in the sky, mud")))
    text = tables.demonstration_table(shown)
    assert "this measures nothing" in text
    assert "the clouds are in the …" in text
    assert "cannot be spelled" in text
    assert "sky" in text


def test_plot_is_a_picture_of_the_size_it_says(tmp_path):
    path = tmp_path / "plot.png"
    plots.save_templates_plot(RESULT, path, "an LSTM of 256 units")
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")) == (1440, 900)


def test_plot_draws_chance_limits_intervals_and_controls():
    (axes,) = plots.templates_figure(RESULT).axes
    labels = axes.get_legend_handles_labels()[1]
    assert {"chance, 1/8", "cue deleted", "untrained", "model, all frames"} <= set(labels)
    assert {text.get_text() for text in axes.texts} == {
        "--timesteps 64",
        "longest trained span 256",
    }
    assert len(axes.containers) == 4  # error bars: two controls, decoys, all
    assert axes.get_xscale() == "log"


def test_bars_are_the_intervals():
    (axes,) = plots.templates_figure(RESULT).axes
    (bars,) = [bar for bar in axes.containers if bar.get_label() == "model, all frames"]
    drawn = [segment[:, 1].tolist() for segment in bars.lines[2][0].get_segments()]
    assert drawn == [pytest.approx(row.all.choice.interval) for row in RESULT.rows]
    assert bars.lines[0].get_ydata().tolist() == list(ACCURACIES.values())
    (line,) = [line for line in axes.lines if line.get_label() == "chance, 1/8"]
    assert list(line.get_ydata()) == [1 / 8, 1 / 8]


@pytest.mark.parametrize("size", [drawing.PICTURE, drawing.PAGE])
def test_what_is_drawn_last_is_named_first_and_only_a_picture_has_a_title(size):
    figure = plots.templates_figure(RESULT, "an LSTM", size)
    assert figure.legends[0].get_texts()[0].get_text() == "model, all frames"
    assert (figure.get_suptitle() == "an LSTM") == (size is drawing.PICTURE)


def with_span50(*numbers, p=0.5):
    half = Span50(*numbers, 4, 1024, 1 / 8, 0.02, p, 0.06)
    return replace(RESULT, span50=half)


def test_span50_is_told_and_explained_in_the_table():
    lines = tables.templates_table(with_span50(700.0, 620.0, 810.0)).splitlines()
    assert lines[:2] == [
        "remembers 128 characters (90% right or more), better than chance up to 512, "
        "span50 700 (620–810);",
        "trained on 64 timesteps",
    ]
    assert lines[-1].startswith("span50: where it is half-way")
    assert all(len(line) <= 100 for line in lines)
    assert "span50" not in tables.templates_table(RESULT)


def test_span50_is_marked_in_the_plot_with_its_interval():
    (axes,) = plots.templates_figure(with_span50(700.0, 620.0, float("inf"))).axes
    (mark,) = [bar for bar in axes.containers if "span50" in bar.get_label()]
    assert mark.get_label() == "span50 700 (620–>1024)"
    assert mark.lines[0].get_xydata().tolist() == [[700, (0.98 + 0.125) / 2]]
    (bar,) = mark.lines[2]
    assert [point.tolist()[0] for point in bar.get_segments()[0]] == [620, 1024]


@pytest.mark.parametrize(("p", "said"), [(0.5, "span50 >1024"), (0.001, "span50 no fit")])
def test_span50_off_the_grid_is_words_in_the_plot(p, said):
    (axes,) = plots.templates_figure(with_span50(*[float("inf")] * 3, p=p)).axes
    assert said in axes.get_legend_handles_labels()[1]
    assert not any("span50" in bar.get_label() for bar in axes.containers)


def test_limits_off_the_axis_are_named_in_the_legend():
    short = replace(RESULT, rows=RESULT.rows[:3], trained_timesteps=2048)
    (axes,) = plots.templates_figure(short).axes
    labels = axes.get_legend_handles_labels()[1]
    off = {"--timesteps 2048, off the axis", "longest trained span 256, off the axis"}
    assert off <= set(labels)
    assert not axes.texts
    assert not any("off the axis" in x for x in whole_labels())


def whole_labels():
    return plots.templates_figure(RESULT).axes[0].get_legend_handles_labels()[1]


def test_each_figure_of_a_run_has_a_file(tmp_path):
    from test_page import PROBED

    drawn = probed.save_probed_plots(PROBED, tmp_path / "all.png")
    assert [path.name for path in drawn] == [
        f"all{name}.png" for name in ("", "-context", "-mined", "-gradient")
    ]


def test_plot_refusals(tmp_path):
    with pytest.raises(ChargenError, match="nothing to draw: not learned"):
        plots.save_templates_plot(REFUSED, tmp_path / "plot.png")
    with pytest.raises(ChargenError, match="cannot be written"):
        plots.save_templates_plot(RESULT, tmp_path / "none" / "plot.png")


def test_tables_and_plots_import_neither_torch_nor_matplotlib():
    modules = "chargen.probes.templates.table, chargen.probes.templates.plot"
    code = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"torch", "matplotlib"} & set(done.stdout.split())
