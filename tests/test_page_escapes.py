"""Pages, figures and embedded data: text from outside never becomes markup."""

import json
import re
import warnings
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs
from networks import made as written
from results import DEMONSTRATION, LESS, MINED, RUN, RUNS, TEMPLATES, tally
from test_compare_report import GOOD, comparison, page_of, summary_of
from test_memory_page import FOLLOWED, WEAK, made
from test_memory_page import RESULT as UNITS
from test_terminal import acting

from chargen.pages.export_page import export_page
from chargen.probes.units.report import hidden_units_page
from chargen.render import figures as drawing
from chargen.render.page import embed
from chargen.render.text import visible, visible_line
from chargen.text.vocabulary import Vocabulary

EVIL = (
    "</title></script></style></svg><script>document.title='owned'</script><img src=x onerror=x>"
    "<!-- --><![CDATA[ ]]>'\"=` &amp;&lt;&#0; $x$ {run} %s \\u003c\u2028\x1b[31m\x9b\x7f\r\u202e<b>"
)
TEXTS = st.text(st.sampled_from("<>&\"'/!-[]=;#x \n\r\u2028\x1b\0") | st.characters(codec=None))
CELLS = ("simple", "lstm")


def renamed(evil):
    """Return a run's result with every text in it that comes from files and names."""
    rows = tuple(
        structs.replace(row, fact_sets={evil: tally(0.5, 200)}, controls={evil: tally(0.125)})
        for row in TEMPLATES.rows
    )
    return replace(
        RUN,
        run=evil,
        templates=structs.replace(TEMPLATES, bank=evil, rows=rows),
        mined=structs.replace(MINED, ngram=evil),
        warnings=(evil,),
    )


def pages(evil):
    """Yield every kind of page with ``evil`` in place of each corpus, bank, name and prompt."""
    ending, *others = DEMONSTRATION[0].candidates
    endings = (structs.replace(ending, text=evil), *others)
    shown = structs.replace(DEMONSTRATION[0], context=evil, note=evil, candidates=endings)
    one = replace(renamed(evil), demonstration=(shown,))
    pair = structs.replace(RUNS.templates[0], first=evil)
    bits = structs.replace(RUNS.context[0], first=evil)
    yield replace(
        RUNS, runs=(one, LESS), templates=(pair,), context=(bits,), warnings=(evil,)
    ).page()
    cells = (summary_of(cell, GOOD, variants=(evil, "other")) for cell in CELLS)
    yield page_of(comparison(*cells, task="recall", budget=evil))
    followed = structs.replace(FOLLOWED, feature=evil)
    units = structs.replace(UNITS, features=(WEAK, followed), left_out=(evil,))
    yield hidden_units_page(replace(made(f"a{evil}", run=evil, result=units), notes=[evil]))
    untimed = structs.replace(one.templates, trained_timesteps=None)
    probed = replace(one, templates=untimed)
    page = written(vocabulary=Vocabulary.of(f"a{evil}"), prompt=f"a{evil}", probed=probed)
    yield export_page(replace(page, name=evil))


class Read(HTMLParser):
    """Tags of a page with their attribute names, and its text with their values."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.scripts, self.odd = set(), "", [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add((tag, *sorted(name for name, _ in attrs)))
        self.text += "".join(f"{value}\n" for _, value in attrs)

    def handle_data(self, data):
        if self.cdata_elem == "script":
            self.scripts.append(data)
        else:
            self.text += data

    def handle_comment(self, data):
        self.odd.append(data)

    handle_pi = unknown_decl = handle_comment


@pytest.fixture(scope="module")
def both_pages():
    """Pages of hostile texts and, without the figures, of plain ones."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a long name leaves a figure no room
        hostile = [*pages(EVIL)]
        patch.setattr("chargen.render.report.Figure.svg", lambda figure: "")
        return {EVIL: hostile, "plain": [*pages("plain")]}


KINDS = ("several runs", "cells", "memory", "writing")


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_a_page_has_the_same_markup_whatever_its_texts_say(both_pages, kind):
    evil, plain = (Read(pages[kind]) for pages in both_pages.values())
    rest = [re.sub("<svg.*?</svg>", "", pages[kind], flags=re.S) for pages in both_pages.values()]
    assert Read(rest[0]).tags == Read(rest[1]).tags
    assert len(evil.scripts) == len(plain.scripts) == (kind >= 2)
    assert evil.odd == plain.odd == []
    assert visible(EVIL) in evil.text
    assert not acting(evil.text)
    for script in evil.scripts:
        data = re.match("const [A-Z]+ = (.*);\n", script)[1]
        assert "<" not in data
        assert f"a{EVIL}" in json.loads(data).values()


@pytest.mark.parametrize("kind", [0, 2, 3], ids=lambda kind: KINDS[kind])
def test_in_a_browser_a_page_shows_its_texts_and_runs_none(both_pages, browser, kind):
    browser.show(both_pages[EVIL][kind])
    assert browser.errors() == browser.requests() == []
    assert browser.script("return document.title") != "owned"
    assert browser.all("img, b b, svg svg, body script:not(:last-child)") == []
    content = browser.script("return document.body.textContent")
    assert " ".join(visible(EVIL).split()) in " ".join(content.split())


@given(TEXTS)
@example(EVIL)
def test_embedded_data_round_trips_and_ends_no_script(text):
    embedded = embed(json.dumps({text: text}, ensure_ascii=False))
    assert json.loads(embedded) == {text: text}
    assert not {"<", "\u2028", "\u2029"} & set(embedded)


@pytest.mark.parametrize("size", [drawing.PICTURE, drawing.PAGE])
def test_a_figure_shows_every_text_as_text(tmp_path, recwarn, size):
    evil = f"{EVIL}\ud800\n"

    def fill(axes, size):
        drawing.limits(axes, [1, 2], [(1.5, evil)], size)
        axes.plot([], [], label=evil)

    figure = drawing.panel(fill, "x", "y")(size, evil)
    svg = ElementTree.fromstring(drawing.svg(figure, "one", evil))  # raises if it is ill-formed
    labels = "".join([*svg.itertext(), svg.attrib["aria-label"]])
    assert "".join(visible_line(evil).split()) in "".join(labels.split())  # wrapped if narrow
    assert not acting(labels)
    assert not {"script", "img", "b"} & {part.tag for part in svg.iter()}
    figure.savefig(tmp_path / "plot.png")
    assert not acting("".join(str(warning.message) for warning in recwarn))
