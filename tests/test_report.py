"""Results of runs: the terminal, the page, its figures, the page in a browser, the JSON file."""

import json
import re
from collections import Counter
from dataclasses import replace

import pytest
import results
from hostile import ODD, changed, paths
from msgspec import structs
from results import ONE, RUN, RUNS, TEMPLATES, UNKNOWN, UNKNOWNS, templates_result, with_span50

from chargen.errors import ChargenError
from chargen.probes import result as probe_result
from chargen.probes.context.result import ContextResult
from chargen.probes.gradient.result import HALF
from chargen.probes.mined.mining import CLOSERS
from chargen.probes.result import TRAINED, UNTRAINED, ProbeResult, RunResult, read_result
from chargen.probes.templates.result import Example, TemplatesResult
from chargen.render import figures
from chargen.render.report import Bars, Figure, Table, estimate, percent, to_html, to_text

TAG = re.compile(r"<[^>]*>")
NAMES = ["templates", "context", "mined", "gradient", "readout"]
RESULTS = {"one": ONE, "several": RUNS, "unknown": UNKNOWNS}
TRAINING = "training length (64)"
LONGEST = "longest trained span (256)"


@pytest.fixture(scope="module")
def pages():
    return {name: result.page() for name, result in RESULTS.items()}


def words(page):
    """Return what a reader sees, with one space between words."""
    text = TAG.sub(" ", page[page.index("<body>") :]).replace("&gt;", ">").replace("&lt;", "<")
    return " ".join(text.split())


def cells(page):
    return [TAG.sub("", cell) for cell in re.findall(r"<td>.*?</td>", page)]


def only(result, run="runs/long"):
    """Return the report of one run whose templates are ``result``."""
    return ProbeResult((RunResult(run, templates=result),))


def terminal(result, verbose=False):
    return to_text(result.sections(), verbose)


def rows(text):
    return [line.split() for line in text.splitlines()]


def axes_of(result):
    (section,) = result.sections()
    (figure,) = (block for block in section.blocks if isinstance(block, Figure))
    return figure.draw(figures.PICTURE, "").axes[0]


def test_the_table_has_a_row_per_span_and_marks_the_trained_lengths():
    text = terminal(only(TEMPLATES))
    heading, line, finding = text.splitlines()[:3]
    assert (heading, line) == ("Cloze sentences", "===============")
    assert finding.startswith("remembers 128 characters (accuracy 90% or more), better than chance")
    assert ", span50 700 (620–810);" in terminal(only(with_span50(700.0, 620.0, 810.0)))
    after_cue = ["distractor", "after", "cue", "–", "90", "88", "86", "85", "63", "27", "13"]
    expected = [["128", "390", "94.0", "(91.2–95.9)", "held", "out"], after_cue]
    assert all(row in rows(text) for row in [*expected, ["cue", "deleted", *["12"] * 8]])
    first = [line[0] for line in rows(text) if line]
    table = first[first.index("span") + 1 : first.index("Accuracy")]
    assert table == ["4", "16", "32", "64", "──", "128", "256", "──", "512", "1024"]
    assert all(part in text for part in (f"── {TRAINING} ──", f"── {LONGEST} ──", "is 12.5%"))
    assert all(len(line) <= 100 for line in text.splitlines())
    short = terminal(only(templates_result(*TEMPLATES.rows[:2]))).splitlines()
    after = short.index(next(line for line in short if line.startswith("  16  ")))
    assert ["training" in short[after + 1], "longest" in short[after + 2]] == [True, True]


def test_a_refusal_shows_the_shortest_span_and_the_demonstration():
    text = terminal(ProbeResult((UNKNOWN,)))
    shown = (results.REFUSED.refusal, "Demonstration, not a measurement", "the clouds are in the …")
    assert all(part in text for part in shown)
    assert ["sky", "33.3%"] in [row[:2] for row in rows(text)]
    assert "remembers" not in text
    gated = templates_result(results.span_row(4, 0.5), refusal="not learned")
    assert ["4", "390", "50.0"] in [row[:3] for row in rows(terminal(only(gated)))]
    (section,) = ProbeResult((UNKNOWN,)).sections()
    bars = [row for block in section.blocks if isinstance(block, Bars) for row in block.rows]
    assert len(bars) == sum(len(one.candidates) for one in results.DEMONSTRATION)
    assert not any(isinstance(block, Table) for block in section.blocks)


def test_several_runs_stand_side_by_side():
    text = terminal(RUNS)
    expected = [
        ["span", "different", "long", "less"],
        ["512", "390", "30.0", "(25.7–34.7)", "51.0", "(46.1–55.9)", "longer", "than", "trained"],
        ["long", "cue", "deleted", *["12"] * 8],
        ["4", "3", "40", "-9.2", "<0.001", "<0.001", "less", "ahead"],
    ]
    assert all(row in rows(text) for row in expected)
    assert "less is more accurate than long" in text
    for rule in ("training length (16) of less", f"{TRAINING} of long", LONGEST):
        assert f"── {rule} ──" in text
    assert "McNemar" not in terminal(UNKNOWNS)
    assert RUNS.names == ["long", "less"]
    assert ProbeResult((RunResult("x/a"), RunResult("y/a"))).names == ["x/a", "y/a"]
    assert RUNS.finding == "runs/less is more accurate than runs/long: ahead at 4, by 9 " + (
        "percentage points at 4 characters"
    )


def test_of_runs_that_learned_no_fact_the_context_is_the_finding():
    contexts = (results.context_result(), results.context_result(0.001, (0, 0, 0)))
    unlearned = [
        RunResult(f"runs/{name}", results.REFUSED, results.DEMONSTRATION, {TRAINED: one})
        for name, one in zip("ab", contexts, strict=True)
    ]
    both = ProbeResult(tuple(unlearned))
    lines = " ".join(to_text([both.summary()]).split())
    for text in (lines, both.answer):
        assert text.count("a: uses") == text.count("b: uses") == 1
        assert "not learned" not in text
    assert both.finding.startswith("runs/a uses")
    assert "a: …the clouds" in lines
    assert "b: …the clouds" in lines
    alone = ProbeResult(tuple(replace(run, context={}) for run in unlearned))
    assert alone.finding == "not learned: runs/a and runs/b"
    assert "not learned: a and b" in " ".join(to_text([alone.summary()]).split())


def test_the_figure_shows_accuracy_intervals_chance_limits_and_controls():
    axes = axes_of(only(TEMPLATES))
    assert {text.get_text() for text in axes.texts} == {TRAINING, LONGEST}
    (bars,) = [bar for bar in axes.containers if bar.get_label() == "model"]
    drawn = [segment[:, 1].tolist() for segment in bars.lines[2][0].get_segments()]
    bounds = [(row.accuracy.low, row.accuracy.high) for row in TEMPLATES.rows]
    assert drawn == [pytest.approx(bound) for bound in bounds]
    assert bars.lines[0].get_ydata().tolist() == list(results.ACCURACIES.values())
    assert [1 / 8, 1 / 8] in [list(line.get_ydata()) for line in axes.lines]
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert len(dotted) == len(TEMPLATES.rows[0].controls)


@pytest.mark.parametrize(
    ("half", "fits", "label"),
    [
        ((700.0, 620.0, float("inf")), True, "span50 700 (620–>1024)"),
        ((float("inf"),) * 3, True, "span50 >1024"),
        ((float("inf"),) * 3, False, "span50 no fit"),
    ],
)
def test_span50_is_drawn_on_the_axis_and_else_named(half, fits, label):
    axes = axes_of(only(with_span50(*half, fits=fits)))
    assert f"model, {label}" in axes.get_legend_handles_labels()[1]
    marks = [bar for bar in axes.containers if bar.lines[0].get_marker() == "D"]
    assert len(marks) == (half[0] == 700)
    for mark in marks:
        assert mark.lines[0].get_xydata().tolist() == [[700, (0.98 + 0.125) / 2]]
        (bar,) = mark.lines[2]
        assert [point.tolist()[0] for point in bar.get_segments()[0]] == [620, 1024]


@pytest.mark.parametrize("name", ["one", "several"])
def test_a_page_begins_with_the_findings_and_links_to_the_sections(pages, name):
    page, result = pages[name], RESULTS[name]
    top = page[: page.index("<section")]
    places = [words(page).index(section.finding) for section in result.sections()]
    assert places == sorted(places)
    assert re.findall(r'href="#([\w-]+)"', top) == NAMES
    assert re.findall(r'<section id="([\w-]+)"', page) == NAMES
    assert all(warning in words(top) for warning in result.warnings)
    texts = [f"<h1>{result.answer}</h1>", result.about, "english.bank", "<dt>Chance</dt>"]
    texts += ["I speak fluent French", "no bound on what it remembers"]
    assert all(text in page for text in (*texts, "a large gradient is not memory"))
    folded = re.findall(r"<details>.*?</details>", page, re.S)
    assert page.count("<table>") == sum(part.count("<table>") for part in folded) > 5
    assert ('class="finding named"' in top) == (name == "several")  # keeps a run's name as it is


def test_every_number_of_the_figures_is_in_a_table(pages):
    for name in ("one", "several"):
        expected = Counter()  # some are alike, and each must be there
        for run in RESULTS[name].runs:
            for row in run.templates.rows:
                expected[percent(row.accuracy)] += 1
                expected.update(f"{100 * one.accuracy.value:.0f}" for one in row.controls.values())
            trained, untrained = run.context.values()
            found = [x for row in trained.rows for x in (row.swap, row.reset) if x]
            found += [row.swap for row in untrained.rows]
            expected.update(estimate(x, 4) for x in found)
            expected.update(estimate(row.gain, 2) for row in run.mined.rows if row.gain)
        assert expected <= Counter(cells(pages[name]))
    for found in RUN.gradient.values():
        reaches = {layer.whole.reach(HALF) for layer in found.layers}
        assert reaches <= set(cells(pages["one"]))
    assert f"{CLOSERS}: 7 cases in all, too few at every distance" in words(pages["one"])


def test_a_page_is_reproducible_and_small_and_loads_nothing(pages):
    page = pages["one"]
    assert page == ONE.page()
    assert len(page) < 600_000
    assert not re.search(r"https?:|//\w|@import|<link|<img|<script", page)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert "default-src &#39;none&#39;" in policy
    assert "*" not in policy


def test_sections_appear_only_for_instruments_that_were_used(pages):
    mined = ProbeResult(tuple(RunResult(run, mined=results.MINED) for run in ("a", "b")))
    assert [section.name for section in mined.sections()] == ["mined"]
    assert "<svg" not in pages["unknown"]
    assert "<h1>Not learned: c" in pages["unknown"]
    refused = structs.replace(results.context_result(), rows=(), refusal="not measured: too short")
    short = {TRAINED: refused, UNTRAINED: refused}
    page = ProbeResult(tuple(RunResult(run, context=short) for run in ("a", "b"))).page()
    assert "not measured: too short" in words(page)
    assert "<svg" not in page


def test_example_sentences_highlight_cue_and_answer():
    example = Example("past. ", "Persia", ", kept dry" * 30, "Persian", "Iberian")
    wrong = structs.replace(TEMPLATES.rows[-1], example=example)
    known = structs.replace(TEMPLATES, rows=(*TEMPLATES.rows[:-1], wrong))
    page = ProbeResult(tuple(RunResult(run, templates=known) for run in "ab")).page()
    marked = ('<mark class="cue">Persia</mark>', '<mark class="wrong">Persian</mark>', "[…]")
    assert all(text in page for text in (*marked, "1024: a chose Iberian, b chose Iberian"))
    assert "1024: chose Iberian" in only(known).page()


INF = float("inf")
HALVES = [
    *((700.0, 620.0, 810.0), (700.0, 620.0, INF), (700.0, 0.0, 810.0), (INF, 900.0, INF)),
    *((INF, INF, INF), (0.0, 0.0, 5.0), (0.0, 0.0, 0.0)),
]


def again(values):
    return json.loads(json.dumps(values))


def written(tmp_path, values):
    file = tmp_path / "longrange.json"
    file.write_text(json.dumps(values), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "result",
    [
        *(TEMPLATES, results.REFUSED, *RUN.context.values()),
        *(with_span50(*half) for half in HALVES),
        with_span50(700.0, 620.0, 810.0, fits=False),
    ],
    ids=range(10 + len(RUN.context)),
)
def test_results_round_trip(result):
    values = again(result.to_json())
    read = type(result).from_json(values)
    assert again(read.to_json()) == values
    assert read.finding() == result.finding()


def test_a_run_is_found_by_its_name(tmp_path):
    one = read_result(written(tmp_path, RUN.to_json()), tmp_path / "elsewhere" / "long")
    assert one.templates.finding() == RUN.templates.finding()
    assert one.context[TRAINED].finding() == RUN.context[TRAINED].finding()
    pages = [to_html("", "", [probe_result.curve_section(result)], ()) for result in (one, RUN)]
    assert pages[0] == pages[1]
    several = written(tmp_path, RUNS.to_json())
    assert read_result(several, tmp_path / "less").run == results.LESS.run
    with pytest.raises(ChargenError, match=r"is about runs/long, runs/less, not about .*other"):
        read_result(several, tmp_path / "other")


def test_another_file_is_refused_by_name(tmp_path):
    file = tmp_path / "longrange.json"
    with pytest.raises(
        ChargenError, match=r"longrange\.json: no such file; write it with chargen probe-longrange"
    ):
        read_result(file, tmp_path / "long")
    for data in (b"", b"[]", b"7", b"{}", b'{"runs": 3}', b'{"run": "long"}', b"\xff", b"{" * 999):
        file.write_bytes(data)
        with pytest.raises(ChargenError, match=r"longrange\.json: damaged, or not written by"):
            read_result(file, tmp_path / "long")


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        (TemplatesResult, structs.replace(RUN.templates, rows=TEMPLATES.rows[:2])),
        (ContextResult, structs.replace(RUN.context[TRAINED], rows=RUN.context[TRAINED].rows[:3])),
    ],
)
def test_any_odd_value_is_refused_or_harmless(kind, result):
    values, refused = again(result.to_json()), 0
    for path in paths(values):
        for odd in ODD:
            try:
                read = kind.from_json(changed(values, path, odd))
            except (KeyError, TypeError, ValueError, AttributeError):
                refused += 1
                continue
            assert read.finding()
    assert refused > 100


LETTERS = """
    return [...document.querySelectorAll('figure svg')].map(svg => {
      const scale = svg.clientWidth / svg.viewBox.baseVal.width
      const letters = [...svg.querySelectorAll('text')].filter(e => !e.closest('.small'))
      return Math.min(...letters.map(e => parseFloat(getComputedStyle(e).fontSize) * scale))
    })"""


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (360, True)])
@pytest.mark.parametrize("name", RESULTS)
def test_in_a_browser_nothing_is_loaded_and_nothing_overflows(browser, pages, name, width, dark):
    page = pages[name]
    browser.show(page, width, dark)
    browser.script("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert (browser.errors(), browser.requests(), browser.overflows()) == ([], [], False)
    paper = browser.script("return getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 24, 28)" if dark else "rgb(255, 255, 255)")
    line = "return [...document.querySelectorAll('svg text')].map(e => getComputedStyle(e).fill)"
    inks = set(browser.script(line))
    assert ("rgb(232, 230, 227)" if dark else "rgb(28, 28, 28)") in inks or "<svg" not in page
    assert paper not in inks
    if "<svg" in page:
        # On a phone, the exponents of powers of ten are the smallest letters.
        assert min(browser.script(LETTERS)) >= 6.5
        assert browser.find("#templates figure svg").size["width"] <= width
