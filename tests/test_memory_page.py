"""The page about hidden units: contents, and behaviour in a browser."""

import base64
import json
import re

import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys

from chargen.cells import CELL_NAMES
from chargen.probes.statistics.intervals import Estimate
from chargen.probes.units.measure import record
from chargen.probes.units.report import LEVELS, hidden_units_page
from chargen.probes.units.result import (
    FeatureScores,
    HiddenUnits,
    Recording,
    UnitScore,
    UnitsResult,
)
from chargen.recurrent import CharModel
from chargen.settings import ModelSettings
from chargen.text import Vocabulary

WILD = (
    "a </script><script>document.title='owned'</script><!-- & \"'\n\tשלום 😀e\u2028<img src=x>\r\n"
)
BRACKET_UNITS = (
    UnitScore(2, 4, True, Estimate(0.94, 0.91, 0.96)),
    UnitScore(1, 2, False, Estimate(0.81, 0.7, 0.9)),
)
FOLLOWED = FeatureScores("inside <b>brackets</b>", 0.25, BRACKET_UNITS, 0.62, 0.5)
WEAK = FeatureScores("weak", 0.5, (UnitScore(1, 3, False, Estimate(0.45, 0.4, 0.55)),), 0.5, 0.65)
RESULT = UnitsResult("lstm", "c", 0, 2000, (WEAK, FOLLOWED), ("after ‘x’: never & <nowhere>",))


def made(text=WILD, cell="lstm", units=(3, 5), result=RESULT, run="runs/<script>alert(1)</script>"):
    vocabulary = Vocabulary.of(text + "abc")
    model = CharModel.seeded(ModelSettings(cell, units), len(vocabulary), 0)
    recording = record(model, vocabulary, vocabulary.encode(text))
    return HiddenUnits(run, recording, result, ("a note with <i>",))


def data(page):
    return json.loads(re.search(r"const MEMORY = (.*);\n", page)[1])


def decoded(part, units):
    levels = np.frombuffer(base64.b64decode(part["values"]), dtype=np.int8)
    return levels.reshape(units, -1).T / LEVELS * part["ranges"]


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_the_page_holds_every_value_to_half_a_level(cell):
    one = made("a (b) c\n" * 5, cell)
    found = data(hidden_units_page(one))
    assert found["text"] == one.recording.text
    signed = {name for name, part in found["parts"].items() if part["signed"]}
    assert signed == found["parts"].keys() & {"h", "c", "g", "n"}
    for layer, own in zip(found["layers"], one.recording.layers, strict=True):
        assert list(layer["parts"]) == list(own) == list(found["parts"])
        for name, values in own.items():
            part = layer["parts"][name]
            error = np.abs(decoded(part, values.shape[1]) - values)
            assert (error <= 0.51 / LEVELS * np.array(part["ranges"])).all()


def test_the_range_of_a_unit_is_one_or_its_largest_value_and_the_largest_page_has_six_megabytes():
    values = np.array([[0.5, -4.0, 0.0], [-0.25, 2.0, 0.0]], dtype=np.float32)
    layer = {"h": values / 4, "c": values}
    recording = Recording("ab", "lstm", (layer,), ("ab", "ba"), np.array([[0.75, 0.25], [1, 0]]))
    found = data(hidden_units_page(HiddenUnits("run", recording, None)))
    (parts,) = (layer["parts"] for layer in found["layers"])
    assert (parts["h"]["ranges"], parts["c"]["ranges"]) == ([1, 1, 1], [0.5, 4, 1])
    np.testing.assert_allclose(decoded(parts["c"], 3), values, atol=0.02)
    coded = np.frombuffer(base64.b64decode(found["next"]["shares"]), dtype="<u2") / 65535
    np.testing.assert_allclose(coded, recording.next_shares.ravel(), atol=1e-5)
    assert found["next"]["characters"] == "abba"
    one = made("abcdefgh" * 1000, units=(256,), result=None)
    assert 2000 < len(one.recording.text) < 8000
    page = hidden_units_page(one)
    assert 5_500_000 < len(page.encode()) < 6_200_000
    assert "no held-out text" in page


def test_the_page_ranks_units_by_score_with_bars_and_baselines():
    page = hidden_units_page(made())
    assert page == hidden_units_page(made())
    rows = re.findall(r"<tr( class=\"weak\")?><td><a href=\"#(.*?)\".*?</tr>", page, re.DOTALL)
    assert [place for _, place in rows] == [
        f"layer={layer}&amp;part=c&amp;unit={unit}" for layer, unit in ((2, 4), (1, 2), (1, 3))
    ]
    assert [bool(weak) for weak, _ in rows] == [False, False, True]
    bars = [float(width) for width in re.findall(r'<b style="width: ([\d.]+)%">', page)]
    marks = [float(place) for place in re.findall(r'<i style="left: ([\d.]+)%">', page)]
    assert bars == sorted(bars, reverse=True) == [88, 62, 0]  # an AUC of 0.5 is 0
    assert marks == [24, 24, 30]
    text = " ".join(re.sub(r"<[^>]+>", "", page).split())
    assert "Unit 4 of layer 2 rises with “inside &lt;b&gt;brackets&lt;/b&gt;” (AUC 0.94)." in text
    assert "AUC 0.94 (0.91 to 0.96), baseline 0.62" in text
    assert "AUC 0.45 (0.40 to 0.55), baseline 0.65" in text
    found = data(page)
    assert found["first"] == {"layer": 1, "unit": 3}
    assert found["parts"]["f"]["name"] == "forget gate f"
    assert found["parts"]["h"]["name"] == "output h"


@pytest.fixture(scope="module")
def page():
    return hidden_units_page(made())


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (360, True)])
def test_the_page_shows_the_text_and_requests_nothing(browser, page, width, dark):
    browser.show(page, width=width, dark=dark)
    assert not browser.overflows()
    assert browser.find("#character").is_displayed()
    shown = browser.script("return spans.map(span => span.textContent).join('')")
    assert shown == WILD.replace("\r", "␍").replace("\u2028", r"\u2028")
    assert browser.script("return document.title").startswith("Hidden units of runs/<script>")
    assert browser.script("return spans.length == text.length")
    assert browser.all("#text *:not(span), #ranked script, #ranked b b") == []
    assert (browser.errors(), browser.requests()) == ([], [])


def now(browser):
    return browser.find("#now").text


def test_the_overview_shows_every_unit_and_a_click_zooms_to_one(browser, page):
    browser.show(page)
    values = made().recording.layers[1]["c"]
    colors = """const c = byId("map"), x = c.getContext("2d");
        return [c.width, c.height, ...x.getImageData(0, 0, c.width, c.height).data]"""
    width, height, *pixels = browser.script(colors)
    assert (width, height) == (len(WILD), 5)
    drawn = np.reshape(pixels, (5, len(WILD), 4)).transpose(1, 0, 2)
    ranges = np.array(data(page)["layers"][1]["parts"]["c"]["ranges"])
    np.testing.assert_allclose(drawn[..., 3] / 254, np.abs(values) / ranges, atol=0.01)
    strong = np.abs(values) > 0.2 * ranges
    assert ((drawn[..., 2] > drawn[..., 0]) == (values < 0))[strong].all()
    at, unit = 30, 2  # of the middle of a pixel
    box = browser.script("const {left, top, width, height} = byId('map').getBoundingClientRect();"
                         "return [left, top, width, height]")  # fmt: skip
    point = {
        "clientX": box[0] + box[2] * (at + 0.5) / len(WILD),
        "clientY": box[1] + box[3] * (unit + 0.5) / 5,
    }
    event = "byId('map').dispatchEvent(new {}('{}', arguments[0]))"
    browser.script(event.format("PointerEvent", "pointermove"), point)
    assert browser.find("#spot").text == f"unit {unit + 1}, {WILD[at]}"
    browser.script(event.format("MouseEvent", "click"), point)
    assert now(browser).startswith(f"Layer 2, cell state c, unit {unit + 1} of 5")
    assert browser.find("#place").text == f"character {at + 1} of {len(WILD)}"
    row = browser.script("return [byId('row').style.top, byId('row').style.height]")
    assert row == ["40%", "20%"]
    browser.script("change({layer: 0})")
    assert browser.script(colors)[:2] == [len(WILD), 3]


def test_keys_buttons_fields_links_and_the_address_select_a_unit(browser, page):
    browser.show(page)
    assert now(browser).startswith("Layer 2, cell state c, unit 4 of 5; rises with “inside <b>br")
    browser.press(Keys.ARROW_RIGHT)
    assert now(browser) == "Layer 2, cell state c, unit 5 of 5."
    assert browser.script("return location.hash") == "#layer=2&part=c&unit=5&char=1"
    browser.find("#previous").send_keys(Keys.SHIFT, Keys.ARROW_RIGHT)
    field = browser.find("#unit")
    field.clear()
    field.send_keys("99", Keys.ENTER, Keys.ARROW_LEFT)  # the arrow moves the cursor only
    assert "unit 3 of 3" in now(browser)
    browser.all("#ranked a")[1].click()
    assert now(browser).startswith("Layer 1, cell state c, unit 2 of 3; falls with")
    assert [link.text for link in browser.all("a[aria-current=true]")] == ["unit 2 of layer 1"]
    browser.script("location.hash = '#layer=9&part=nonsense&unit=-4&char=x'; fromHash()")
    assert now(browser) == "Layer 2, cell state c, unit 1 of 5."
    assert browser.errors() == []
