"""Reports: one set of rows for the terminal, the page and the PNG files."""

import itertools

import pytest

from chargen.errors import ChargenError
from chargen.probes.statistics.intervals import Estimate
from chargen.render import figures, report
from chargen.render.report import Figure, Section, Sentence, Table, Text, to_html, to_text

TABLE = Table(
    ["span, chars", "accuracy, %", ""],
    [["4", "100", ""], ["16", "50", "<b>\x1b[2J"]],
    caption="Chance is 12.5%.",
    rules=report.rules_at([4, 16], [(64, "end"), (8, "beyond training length (8)")]),
)


def fill(axes, size):
    figures.powers_of_two(axes, [4, 8, 16], size)
    figures.limits(axes, [4, 8, 16], [(8, "training length 8"), (8, "longest span 8")], size)
    axes.plot([4, 16], [1, 0], label="model")


DRAW = figures.panel(fill, "span", "accuracy")
BLOCKS = [
    Figure("templates", DRAW, "Accuracy by span", "Bars are 95% intervals."),
    TABLE,
    Text("10 sentences per span.", role="note"),
    Sentence([("I come from ", ""), ("France", "cue"), (" and speak ", ""), ("French", "answer")]),
    report.Bars([("French", 0.75, "0.4 bits")]),
    report.Details("Method", [Text("Candidates have equal length.")]),
]
SECTIONS = [Section("templates", "Cloze sentences", "remembers 8 characters", "", BLOCKS)]


def test_terminal_shows_rows_rules_and_notes():
    text = to_text(SECTIONS)
    assert text.splitlines()[:3] == ["Cloze sentences", "===============", "remembers 8 characters"]
    places = [text.index(mark) for mark in ("  4  ", "── beyond", " 16  ", "── end")]
    assert places == sorted(places)
    for part in ("Chance is 12.5%.", "10 sentences", "from [France] and speak [French]", "75.0%"):
        assert part in text
    assert not {"\x1b", "equal"} & {*text, *text.split()}
    assert "Candidates have equal length." in to_text(SECTIONS, verbose=True)


def test_page_has_the_same_rows_escaped_and_loads_nothing():
    page = to_html("How far?", "Run demo", SECTIONS, ["without mined: <too short>"])
    rule = '<tr class="rule"><td colspan="3">beyond training length (8)</td></tr>'
    cells = [f"<td>{row[1]}</td>" for row in TABLE.rows]
    escaped = ["&lt;b&gt;\\x1b[2J", "&lt;too short&gt;"]
    marks = [rule, '<mark class="cue">France</mark>', '<svg viewBox="', "Content-Security-Policy"]
    assert all(part in page for part in (*cells, *escaped, *marks))
    assert not {"http://", "https://", "src=", "@import"} & set(page.split())
    assert page.count("training length 8 = longest") == page.count(">span 8") == 1


def test_a_figure_that_cannot_be_saved_is_an_error(tmp_path):
    with pytest.raises(ChargenError, match="cannot be written"):
        report.save_figures(SECTIONS, tmp_path / "missing" / "plot.png", "demo", main="templates")


@pytest.mark.parametrize("size", [figures.PICTURE, figures.PAGE])
def test_labels_of_equal_and_nearby_limits_do_not_overlap(size):
    chars = [4, 8, 16, 32, 64, 128, 256, 512, 1024]
    marks = [(4, "a"), (64, "b"), (66, "c"), (67, "d"), (70, "e"), (256, "f"), (256, "g")]

    def fill(axes, size):
        axes.plot(chars, [1] * 9, label="model")
        figures.limits(axes, chars, [*marks, (2048, "h")], size)
        figures.powers_of_two(axes, chars, size)
        axes.set_xlim(chars[0] / 1.25, chars[-1] * 1.25)

    figure = figures.panel(fill, "x", "y")(size, "title")
    (axes,) = figure.axes
    figure.draw_without_rendering()
    drawn = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert set(drawn) == {"a", "b", "c", "d", "e", "f = g", "h, off the axis"}
    assert not any(one.overlaps(other) for one, other in itertools.combinations(drawn.values(), 2))


def test_values_are_printed_with_their_intervals():
    assert report.estimate(None, 2) == "–"
    assert report.estimate(Estimate(-0.0001, -0.2, 0.1), 2) == "0.00 (-0.20 to 0.10)"
    assert report.between(Estimate(1.25, 1, 1.5), 1) == "1.0–1.5"
    assert report.between(Estimate(0, -0.01, 1.5), 1) == "0.0–1.5"
    assert report.percent(Estimate(0.125, 0.022, 0.471)) == "12.5 (2.2–47.1)"
