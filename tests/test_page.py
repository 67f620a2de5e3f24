"""The page of one run: what it says, and how it looks in a real browser."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs
from test_reports import ACCURACIES, REFUSED, RESULT, with_span50
from test_reports import row as span_row

from chargen.predictors import UniformPredictor
from chargen.probes.context.result import BitsComparison, ContextResult, ContextRow
from chargen.probes.gradient.result import Curve, GradientResult, LayerGradient
from chargen.probes.mined.mining import CLOSERS, WORDS
from chargen.probes.mined.result import MinedResult, MinedRow
from chargen.probes.runner import TRAINED, UNTRAINED, Probed, ProbedRuns
from chargen.probes.runner.page import runs_page
from chargen.probes.runner.page_one import probed_page
from chargen.probes.statistics.intervals import Estimate
from chargen.probes.templates.comparison import PairComparison, SpanComparison
from chargen.probes.templates.demonstration import demonstrate
from chargen.render import figures as drawing
from chargen.render import html, page_parts
from chargen.text.vocabulary import Vocabulary

CONTEXTS = (0, 1, 8, 64, 128)
SPAN = 80
HTML_TAG = re.compile(r"<[^>]*>")


def near(value, half=0.01):
    return Estimate(value, value - half, value + half)


def context_row(context, lost):
    reset = near(lost / 2) if context else None
    return ContextRow(context, context, context > 64, near(lost), reset, reset)


def context_result(scale=1.0, effective=(64, 8, 128)):
    rows = tuple(
        context_row(n, scale * lost) for n, lost in zip(CONTEXTS, (9, 3, 1, 0, 0), strict=True)
    )
    return ContextResult(3, 64, 4096, 2048, 2.25, rows, *effective)


def mined_row(kind, distance, gain):
    told = [near(x, 0.25) for x in (8 + gain, gain, gain / 2)] if gain else [None] * 3
    cases = 200 if gain else 7
    return MinedRow(kind, distance, 2 * distance - 1, distance > 64, cases, *told)


def layer(number, rate, parts=("h", "c", "both")):
    logs = -rate * np.arange(SPAN + 1.0)
    curves = tuple(Curve(part, logs - 0.5, logs, logs + 0.25) for part in parts)
    return LayerGradient(number, 7, 256, 0.1, curves, 0.3, 2, 0.0, "forget gate", 0.4)


def gradient_result(*rates):
    layers = tuple(layer(place, rate) for place, rate in enumerate(rates, 1))
    return GradientResult("lstm", SPAN, 3, 64, layers)


MINED = MinedResult(
    seed=3,
    trained_timesteps=64,
    chars=131_072,
    full=2048,
    ngram="20-gram",
    rows=(*(mined_row(WORDS, d, g) for d, g in ((32, 0), (64, 1.5), (128, 0.75))),
          mined_row(CLOSERS, 32, 0)),
)  # fmt: skip
PROBED = Probed(
    "runs/long",
    templates=with_span50(700.0, 620.0, 810.0),
    context={TRAINED: context_result(), UNTRAINED: context_result(0.001, (0, 0, 0))},
    mined=MINED,
    gradient={TRAINED: gradient_result(0.02, 0.03), UNTRAINED: gradient_result(0.1, 0.2)},
    warnings=("without the n-gram controls: long.txt: no such file",),
)
SHOWN = demonstrate(UniformPredictor(Vocabulary.of("the clouds are in the sky, mud")))
UNKNOWN = Probed("runs/" + 80 * "c", templates=REFUSED, demonstration=SHOWN)


LESS = replace(
    PROBED,
    run="runs/less",
    templates=replace(RESULT, trained_timesteps=16, rows=tuple(
        span_row(span, share * 0.7 + 0.3) for span, share in ACCURACIES.items()
    )),
    context={TRAINED: context_result(0.5, (None, 8, None)), UNTRAINED: context_result(0.001)},
    warnings=(),
)  # fmt: skip
PAIR = PairComparison("runs/long", "runs/less", (SpanComparison(4, 400, 3, 40, 1e-9, 0.0004),))
BITS = BitsComparison("runs/long", "runs/less", 4096, Estimate(0.125, 0.0625, 0.25))
RUNS = ProbedRuns((PROBED, LESS), (PAIR,), (BITS,), ("runs/long: the n-grams are gone",))
UNKNOWNS = ProbedRuns((UNKNOWN, replace(UNKNOWN, run="runs/less")))


@pytest.fixture(scope="module")
def page():
    return probed_page(PROBED)


@pytest.fixture(scope="module")
def several():
    return runs_page(RUNS)


def words(page):
    """What a reader sees, one space between words."""
    return " ".join(HTML_TAG.sub(" ", page[page.index("<body>") :]).split())


def cells(page):
    return [HTML_TAG.sub("", cell) for cell in re.findall(r"<td>.*?</td>", page)]


def test_it_says_first_what_each_instrument_found_and_links_to_more(page):
    top = page[: page.index("<section")]
    results = (PROBED.templates, PROBED.context[TRAINED], MINED, PROBED.gradient[TRAINED])
    places = [words(page).index(html.escape(result.finding())) for result in results]
    assert places == sorted(places)
    links = re.findall(r'href="#([\w-]+)"', top)
    assert links == ["templates", "context", "mined", "gradient"]
    assert all(f'<section id="{link}">' in page for link in links)
    assert "Told a fact and asked for it 128 characters later" in words(top)
    assert "farther than the 64 characters over which errors were passed back" in words(top)
    assert "no such file" in words(top + page[: page.index('<section id="templates"')])


def test_run_seed_and_trained_length_are_told(page):
    for told in ("Run runs/long", "english.bank", "seed 0", "seed 3", "--timesteps 64"):
        assert told in words(page)


def test_the_two_sentences_and_the_limits_stand_in_plain_words(page):
    for told in (
        "The clouds are in the sky",
        "I grew up in France",
        "a large gradient is not memory",
        "no bound on what it remembers",
        "at initialization",
    ):
        assert told in words(page)
    for term in page_parts.GLOSSARY:
        assert f"<dt>{term}</dt>" in page


def test_every_number_of_the_templates_figure_is_in_a_table(page):
    expected = Counter()  # some are alike, and each must be told
    for row in PROBED.templates.rows:
        tallies = [row.all, row.plain, row.decoy, *row.controls.values(), *row.fact_sets.values()]
        for found in (*(tally.choice for tally in tallies), row.all.greedy):
            low, high = (100 * bound for bound in found.interval)
            expected[f"{100 * found.share:.1f} ({low:.1f}–{high:.1f})"] += 1
    assert expected <= Counter(cells(page))
    notes = [cell for cell in cells(page) if "trained" in cell or "held" in cell]
    assert "trained" in notes
    assert "held out, beyond --timesteps 64" in notes
    assert "longer than trained, beyond --timesteps 64" in notes
    assert "chance is 12.5%" in words(page)


def test_every_number_of_the_other_figures_is_in_a_table(page):
    told = cells(page)
    expected = Counter()
    for row in [*PROBED.context[TRAINED].rows, *PROBED.context[UNTRAINED].rows]:
        for found in filter(None, (row.swap, row.reset, row.difference)):
            expected[f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f})"] += 1
    assert expected <= Counter(told)
    for row in MINED.rows:
        for found in filter(None, (row.target_bits, row.gain, row.over_ngram)):
            if row.kind == WORDS:
                assert f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})" in told
    assert "under 100 cases" in told
    assert f"{CLOSERS}: 7 cases in all, too few at every distance" in words(page)
    for result in PROBED.gradient.values():
        for curve in (curve for layer in result.layers for curve in layer.curves):
            bounds = f"({curve.lower[64]:.2f} to {curve.upper[64]:.2f})"
            assert f"{curve.median[64]:.2f} {bounds}" in told
    assert "effective context length" in told


def test_an_untrained_networks_gain_has_a_column_where_it_was_measured(page):
    assert f"{WORDS}, untrained" not in page
    rows = [structs.replace(row, untrained=near(-0.5)) if row.gain else row for row in MINED.rows]
    beside = probed_page(replace(PROBED, mined=structs.replace(MINED, rows=tuple(rows))))
    assert "untrained, gain over swap" in beside
    assert "-0.50 (-0.51 to -0.49)" in cells(beside)
    assert f"{WORDS}, untrained" in beside


def test_figures_are_inside_and_draw_chance_bars_and_limits(page):
    figures = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    assert len(figures) == 4
    for text in (
        "chance, 1/8",
        "--timesteps 64",
        "longest trained span 256",
        "span50 700 (620–810)",
    ):
        assert text in figures[0]
    assert "untrained, swap" in figures[1]
    assert "no gain" in figures[2]
    assert "layer 2, 7 units" in figures[3]
    assert all('role="img" aria-label="' in figure for figure in figures)


def test_names_in_figures_are_defined_once_and_used(page):
    defined = re.findall(r' id="([^"]+)"', page)
    used = re.findall(r'(?:href="#|url\(#)([\w-]+)', page)
    assert len(defined) == len(set(defined))
    assert set(used) == set(defined)


def test_a_page_takes_its_colours_from_its_style(page):
    figures = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.S))
    assert set(re.findall(r"#[0-9a-f]{6}", figures)) == set()
    variables = set(re.findall(r"var\(--(\w+)\)", figures))
    assert variables >= {"ink", "paper", "rule", "grey", "model", "other", "third"}
    light, dark = page.split("prefers-color-scheme: dark")
    assert all(f"--{name}:" in part for name in variables for part in (light, dark))
    assert "font-family" not in figures


def test_it_is_small_and_names_nothing_on_a_network(page):
    assert len(page) < 600_000
    assert not re.search(r"https?:|//\w|@import|<link|<img|<script", page)
    # Nor could it fetch anything if a corpus smuggled a name in.
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert "default-src &#x27;none&#x27;" in policy
    assert "*" not in policy


def test_the_same_result_gives_the_same_page(page):
    assert probed_page(PROBED) == page


def test_what_others_named_is_text_and_not_html():
    name = "<script>alert('&')</script>"
    evil = replace(
        PROBED,
        run=name,
        templates=replace(RESULT, bank=name),
        mined=structs.replace(MINED, ngram=name),
        warnings=(name,),
    )
    shown = replace(SHOWN[0], context=name, note=name, candidates=("<b>", *SHOWN[0].candidates[1:]))
    for page in (probed_page(evil), probed_page(replace(UNKNOWN, demonstration=(shown,)))):
        assert "<script>" not in page
        assert "<b>" not in page
        assert "&lt;script&gt;alert(" in page


def test_where_nothing_is_claimed_two_sentences_are_shown_without_an_accuracy():
    page = probed_page(UNKNOWN)
    assert REFUSED.refusal in page
    assert "Nothing is claimed" in page
    assert "no measurement" in page
    assert "the clouds are in the …" in page
    assert "cannot be spelled" in page
    assert page.count('<b style="width: ') == sum(len(shown.candidates) for shown in SHOWN)
    assert "<svg" not in page
    assert "%)" not in cells(page)


def test_only_what_was_asked_is_told():
    page = probed_page(Probed("runs/long", mined=MINED))
    assert re.findall(r'<section id="(\w+)"', page) == ["mined"]
    nothing = structs.replace(MINED, rows=())
    assert "<svg" not in probed_page(Probed("runs/long", mined=nothing))


@pytest.mark.parametrize(
    ("accuracies", "meaning"),
    [
        ((0.125, 0.125), "no better than guessing"),
        ((0.5, 0.125), "asked for it 4 characters later, it does better than guessing"),
        ((1.0, 0.125), "asked for it 4 characters later, it is right in 90%"),
    ],
)
def test_a_finding_is_told_in_plain_words(accuracies, meaning):
    rows = tuple(span_row(span, share) for span, share in zip((4, 16), accuracies, strict=True))
    page = probed_page(Probed("runs/long", templates=replace(RESULT, rows=rows)))
    assert meaning in words(page)
    assert "farther than" not in words(page)


@pytest.mark.parametrize(
    ("effective", "meaning"),
    [
        ((0, 0, 0), "as well without any context"),
        ((64, 8, 128), "With 64 characters of context"),
        ((None, None, None), "Even 128 characters of context are not shown"),
    ],
)
def test_an_effective_context_is_told_in_plain_words(effective, meaning):
    found = {TRAINED: context_result(effective=effective), UNTRAINED: context_result(0.001)}
    assert meaning in words(probed_page(Probed("runs/long", context=found)))


def test_of_several_runs_the_finding_comes_first_and_each_part_is_linked_to(several):
    top = several[: several.index("<section")]
    assert f"asked the same sentences, {farther_said()}" in words(top)
    assert "runs/long and runs/less" in words(top)
    assert "the n-grams are gone" in words(several)
    assert "long uses 64 characters of context (95%: 8 to 128); less uses more than 128" in words(
        top
    )
    links = re.findall(r'href="#([\w-]+)"', top)
    assert links == ["templates", "context", "mined", "gradient"]
    assert all(f'<section id="{link}">' in several for link in links)
    assert runs_page(RUNS) == several


def farther_said():
    return RUNS.finding().replace("runs/", "")


def test_of_several_runs_every_number_of_the_figures_is_in_a_table(several):
    told = cells(several)
    first, second = (run.templates for run in RUNS.runs)
    for ours, theirs in zip(first.rows, second.rows, strict=True):
        shares = (f"{100 * one.all.choice.share:.0f}" for one in (ours, theirs))
        bounds = (one.all.choice.interval for one in (ours, theirs))
        between = (f"{100 * low:.0f}–{100 * high:.0f}" for low, high in bounds)
        row = [str(ours.span), "12.5"]
        row += [cell for both in zip(shares, between, strict=True) for cell in both]
        assert row in [told[i : i + 6] for i in range(len(told))]
    for result in (one.context[TRAINED] for one in RUNS.runs):
        for found in (one.swap for one in result.rows):
            assert page_parts.estimate(found, 4) in told
    assert {"cue deleted", "untrained"} <= set(told)


def test_of_several_runs_pairs_are_told_with_their_tests(several):
    assert "long against less" in words(several)
    assert ["4", "3", "40", "-9.2", "&lt;0.001", "&lt;0.001", "less ahead"] in rows_of(several)
    assert ["long − less", "+0.1250", "0.0625–0.2500"] in rows_of(several)
    assert "McNemar" in words(several)
    assert "Holm" in words(several)


def rows_of(page):
    return [cells(line) for line in page.splitlines() if line.startswith("<tr>")]


def test_of_several_runs_spans_beyond_the_trained_length_say_whose(several):
    notes = {line[0]: line[-1] for line in rows_of(several) if len(line) == 7 and "12.5" in line}
    assert notes["16"] == ""
    assert notes["32"] == "held out, beyond --timesteps 16 of less"
    assert "beyond --timesteps 16 of less, beyond --timesteps 64 of long" in notes["256"]
    assert "training length (64)" in words(several)


def test_of_several_runs_figures_have_a_curve_each_chance_and_limits(several):
    templates, context, mined, gradient = re.findall(r"<svg.*?</svg>", several, flags=re.S)
    for text in ("chance, 1/8", "--timesteps 64 of long", "--timesteps 16 of less"):
        assert f">{text}<" in templates
    assert "long, --timesteps 64, span50 700 (620–" in templates
    assert "less, --timesteps 16" in templates
    assert "threshold: 0.0144 bits" in context
    assert "long, returning word, over swap" in mined
    assert "less, layer 2, 7 units" in gradient


def test_of_several_runs_what_others_named_is_text():
    name = r"$\frac$<script>alert(1)<b>"
    evil = replace(PROBED, run=name, templates=replace(RESULT, bank=name, trained_timesteps=32))
    bits = structs.replace(BITS, first=name)
    page = runs_page(ProbedRuns((evil, LESS), (replace(PAIR, first=name),), (bits,), (name,)))
    assert not re.search("<script>|<b>", page)
    assert "&lt;script&gt;alert(1)" in page


def test_a_long_name_in_a_legend_goes_on_in_another_line():
    figure = drawing.new_figure(drawing.PAGE)
    name = 20 * "long "
    drawing.curve(figure.add_subplot(), [1, 2], [near(1), near(2)], name, **drawing.LEAD)
    drawing.finish(figure, drawing.PAGE, "")
    (text,) = figure.legends[0].get_texts()
    assert text.get_text().split() == name.split()
    assert max(map(len, text.get_text().splitlines())) < 60


def test_of_several_runs_only_what_was_asked_is_told():
    only = ProbedRuns(tuple(Probed(run, mined=MINED) for run in ("a", "b")))
    assert re.findall(r'<section id="(\w+)"', runs_page(only)) == ["mined"]
    assert "<svg" not in runs_page(UNKNOWNS)
    assert "not learned: c" in words(runs_page(UNKNOWNS))
    refused = structs.replace(context_result(), rows=(), refusal="not measured: too short")
    short = {TRAINED: refused, UNTRAINED: refused}
    page = runs_page(ProbedRuns(tuple(Probed(run, context=short) for run in ("a", "b"))))
    assert "not measured: too short" in words(page)
    assert "<svg" not in page


def test_a_gradient_halves_in_one_character_or_in_more():
    assert "halves in 1.0 character, " in gradient_result(np.log10(2)).finding()
    assert "halves in 2.0 characters, " in gradient_result(np.log10(2) / 2).finding()
    told = replace(gradient_result(0.1), trained_timesteps=1).finding()
    assert "trained with 1 timestep " in told


def test_parts_of_a_page_escape_their_text():
    text = "<i> & \"'"
    parts = [
        page_parts.section("name", text),
        page_parts.paragraph(text),
        page_parts.heading(text),
        page_parts.finding(text),
        page_parts.faint(text),
        page_parts.bullets([text]),
        page_parts.details(text),
        page_parts.warnings([text]),
        page_parts.bars({text: 0.5}, [text]),
        page_parts.page(text, text, [page_parts.Glance(text, text, text, text)]),
    ]
    for part in parts:
        assert "<i>" not in part
        assert "&lt;i&gt; &amp; &quot;&#x27;" in part


def test_a_figure_says_what_it_is_and_no_more_than_once_the_same():
    figures = []
    for name in ("one", "two", "one"):
        figure = drawing.new_figure(drawing.PAGE)
        drawing.curve(figure.add_subplot(), [1, 2], [near(1), near(2)], "curve", **drawing.LEAD)
        figures.append(drawing.svg(figure, name, 'a "label"'))
    assert figures[0] == figures[2] != figures[1]
    assert 'aria-label="a &#34;label&#34;"' in figures[0]
    names = [set(re.findall(r' id="([^"]+)"', figure)) for figure in figures]
    assert names[0]
    assert not names[0] & names[1]


def test_what_a_page_is_made_to_ask_for_is_refused(browser, tmp_path):
    file = tmp_path / "asking.html"
    body = '<img src="http://chargen.invalid/a.png">'
    for text, refused in ((body, False), (html.document("", body), True)):
        file.write_text(text, encoding="utf-8")
        browser.open(file)
        (message,) = browser.errors()
        assert ("Content Security Policy" in message) == refused


WIDTHS = [(1200, False), (1200, True), (360, False), (360, True)]


@pytest.mark.parametrize(("width", "dark"), WIDTHS)
@pytest.mark.parametrize(
    "probed", [PROBED, UNKNOWN, RUNS, UNKNOWNS], ids=["known", "unknown", "runs", "unknown runs"]
)
def test_in_a_browser_nothing_is_asked_for_and_nothing_overflows(
    browser, tmp_path, probed, width, dark
):
    file = tmp_path / "report.html"
    written = runs_page(probed) if isinstance(probed, ProbedRuns) else probed_page(probed)
    file.write_text(written, encoding="utf-8")
    browser.open(file, width, dark=dark)
    browser.script("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert browser.errors() == []
    assert browser.requests() == []
    assert not browser.overflows()
    paper = browser.script("return getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 24, 28)" if dark else "rgb(255, 255, 255)")
    line = "return [...document.querySelectorAll('svg text')].map(e => getComputedStyle(e).fill)"
    inks = set(browser.script(line))
    assert ("rgb(232, 230, 227)" if dark else "rgb(28, 28, 28)") in inks or "<svg" not in written
    assert paper not in inks


def test_on_a_phone_letters_in_figures_can_be_read(browser, tmp_path, page):
    file = tmp_path / "report.html"
    file.write_text(page, encoding="utf-8")
    browser.open(file, 360)
    script = """
        return [...document.querySelectorAll('figure svg')].map(svg => {
          const scale = svg.clientWidth / svg.viewBox.baseVal.width
          const letters = [...svg.querySelectorAll('text')].filter(e => !e.closest('.small'))
          return Math.min(...letters.map(e => parseFloat(getComputedStyle(e).fontSize) * scale))
        })"""
    assert min(browser.script(script)) >= 6.5  # the exponents of powers of ten are the smallest
    assert browser.find("#templates figure svg").size["width"] <= 360


def test_the_browser_sees_what_is_wrong_with_a_page(browser, tmp_path):
    file = tmp_path / "wrong.html"
    file.write_text(
        '<meta name="viewport" content="width=device-width"><p style="width: 500px">wide</p>'
        "<script>console.error('wrong'); fetch('http://chargen.invalid/').catch(() => 0)</script>"
    )
    browser.open(file, 360)
    assert browser.overflows()
    assert any("wrong" in message for message in browser.errors())
    assert browser.requests() == ["http://chargen.invalid/"]
    browser.open(file, 1200)
    assert not browser.overflows()
    browser.shot(tmp_path / "shot.png")
    assert (tmp_path / "shot.png").read_bytes().startswith(b"\x89PNG")


def test_a_name_in_a_figure_is_no_mathematics_and_no_markup(tmp_path):
    name = r"runs/$\frac$ #1f5fa8 xlink:<b>"
    for size in (drawing.PICTURE, drawing.PAGE):
        figure = drawing.new_figure(size)
        drawing.curve(figure.add_subplot(), [1, 2], [near(1), near(2)], name, **drawing.LEAD)
        drawing.finish(figure, size, name)
        assert r">runs/$\frac$ #1f5fa8 xlink:&lt;b&gt;<" in drawing.svg(figure, "one", name)
        drawing.save(figure, tmp_path / "plot.png")
