"""The page about memory units: what stands in it, and what it does in a real browser."""

import base64
import json
import re

import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys

from chargen.cells import CELL_NAMES
from chargen.probes.statistics.intervals import Estimate
from chargen.probes.units.recording import record
from chargen.probes.units.report import LEVELS, hidden_units_page, report
from chargen.probes.units.result import (
    FeatureScores,
    HiddenUnits,
    LayerRecord,
    Recording,
    UnitScore,
)
from chargen.probes.units.result import UnitsResult as Units
from chargen.recurrent import CharModel
from chargen.render.report import to_text
from chargen.settings import ModelSettings
from chargen.text import Vocabulary

WILD = (
    "a </script><script>document.title='owned'</script><!-- & \"'\n\tשלום 😀e\u2028<img src=x>\r\n"
)
UNITS = (3, 5)
FOLLOWED = FeatureScores(
    "inside <b>brackets</b>",
    False,
    0.25,
    (
        UnitScore(2, 4, True, Estimate(0.94, 0.91, 0.96)),
        UnitScore(1, 2, False, Estimate(0.81, 0.7, 0.9)),
    ),
    untrained=0.62,
    shifted=(0.5, 0.58),
)
DISTANCE = FeatureScores(
    "distance", True, None, (UnitScore(1, 3, False, Estimate(-0.1, -0.2, 0.1)),), 0.3, (0.2,)
)
RESULT = Units("lstm", "c", 0, 2000, (DISTANCE, FOLLOWED), ("after ‘x’: never & <nowhere>",))


def made(text=WILD, cell="lstm", units=UNITS, result=RESULT, run="runs/<script>alert(1)</script>"):
    vocabulary = Vocabulary.of(text + "abc")
    model = CharModel.seeded(ModelSettings(cell, units), len(vocabulary), 0)
    recording = record(model, vocabulary, vocabulary.encode(text))
    return HiddenUnits(run, recording, result, ("a note with <i>",))


def data(page):
    return json.loads(re.search(r"const MEMORY = (.*);\n", page)[1])


def decoded(part, units):
    levels = np.frombuffer(base64.b64decode(part["values"]), dtype=np.int8)
    return levels.reshape(units, -1).T / LEVELS * part["ranges"]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "memory.html"
    file.write_text(hidden_units_page(made()), encoding="utf-8")
    return file


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_the_page_holds_every_value_to_half_a_level(cell):
    one = made("a (b) c\n" * 5, cell)
    told = data(hidden_units_page(one))
    assert told["text"] == one.recording.text
    for layer, own in zip(told["layers"], one.recording.layers, strict=True):
        assert list(layer["parts"]) == list(own.parts) == list(told["parts"])
        for name, values in own.parts.items():
            part = layer["parts"][name]
            error = np.abs(decoded(part, own.units) - values)
            assert (error <= 0.51 / LEVELS * np.array(part["ranges"])).all()


def test_the_range_is_one_unless_a_value_lies_beyond():
    values = np.array([[0.5, -4.0, 0.0], [-0.25, 2.0, 0.0]], dtype=np.float32)
    shares = np.array([[0.75, 0.25], [1, 0]])
    layer = LayerRecord(1, 3, {"h": values / 4, "c": values})
    one = HiddenUnits("run", Recording("ab", "lstm", (layer,), ("ab", "ba"), shares), None)
    told = data(hidden_units_page(one))
    (parts,) = (layer["parts"] for layer in told["layers"])
    assert parts["h"]["ranges"] == [1, 1, 1]
    assert parts["c"]["ranges"] == [0.5, 4, 1]
    np.testing.assert_allclose(decoded(parts["c"], 3), values, atol=0.02)
    coded = np.frombuffer(base64.b64decode(told["next"]["shares"]), dtype="<u2")
    np.testing.assert_allclose(coded / 65535, shares.ravel(), atol=1e-5)
    assert told["next"]["characters"] == "abba"


def test_gates_are_told_apart_from_what_has_a_sign():
    told = data(hidden_units_page(made()))["parts"]
    assert {name for name, part in told.items() if part["signed"]} == {"h", "c", "g"}
    assert told["f"]["name"] == "forget gate f"
    assert told["h"]["name"] == "output h"
    assert data(hidden_units_page(made(cell="gru")))["parts"]["h"]["name"] == "state h"


def test_the_page_is_the_same_each_time_and_asks_nobody():
    page = hidden_units_page(made())
    assert page == hidden_units_page(made())
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("</script>") == 1
    assert "<script>alert" not in page
    assert "<b>brackets" not in page
    assert "<nowhere>" not in page


def test_the_largest_page_is_about_six_megabytes():
    text = "abcdefgh" * 1000
    vocabulary = Vocabulary.of(text)
    model = CharModel.seeded(ModelSettings("lstm", (256,)), len(vocabulary), 0)
    recording = record(model, vocabulary, vocabulary.encode(text))
    assert 2000 < len(recording.text) < len(text)
    page = hidden_units_page(HiddenUnits("run", recording, None))
    assert 5_500_000 < len(page.encode()) < 6_200_000


def test_the_list_tells_the_units_and_what_stands_beside_them():
    page = hidden_units_page(made())
    told = re.sub(r"<[^>]+>", "", page[page.index("<h2>") : page.index("<script>")])
    told = " ".join(told.split())
    assert "Best: unit 4 of layer 2, which rises with it: AUC 0.94 (0.91 to 0.96)" in told
    assert "untrained network 0.62, shifted text 0.58. Next: unit 2 of layer 1" in told
    assert "rho -0.10 (-0.20 to 0.10)" in told
    assert told.count("It does not exceed them") == 1
    assert data(page)["first"] == {"layer": 1, "unit": 3}
    assert "no held-out text" in hidden_units_page(made(result=None))


def test_the_table_has_a_row_a_feature():
    lines = to_text([report(RESULT)]).splitlines()
    assert lines[2] == "unit 4 of layer 2 tracks “inside <b>brackets</b>” (AUC 0.94)"
    (row,) = (line for line in lines[3:] if "brackets" in line)
    cells = ["2", "4", "c", "rises", "AUC", "0.94", "[0.91,", "0.96]", "0.62", "0.58", "stands"]
    assert row.split()[2:-1] == cells
    (row,) = (line for line in lines if line.lstrip().startswith("distance "))
    assert row.endswith(" 0.20")
    assert "not scored: after ‘x’: never & <nowhere>" in lines
    assert all(len(line) <= 120 for line in lines)
    bare = Units("gru", "h", 0, 2000, (), ())
    assert "\nno unit tracks" in to_text([report(bare)])


# in a browser


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_the_page_opens_anywhere(browser, page, width, dark):
    browser.open(page, width=width, dark=dark)
    assert not browser.overflows()
    assert browser.find("#character").is_displayed()
    assert browser.errors() == []
    assert browser.requests() == []


def test_a_text_is_shown_as_it_is_and_runs_nothing(browser, page):
    browser.open(page)
    shown = browser.script("return spans.map(span => span.textContent).join('')")
    spelled = WILD.replace("\r", "␍").replace("\u2028", r"\u2028")
    assert shown == spelled
    assert browser.script("return document.title").startswith("Hidden units of runs/<script>")
    assert browser.script("return spans.length == text.length")
    assert browser.all("#text *:not(span), #followers script, #followers b b") == []
    assert browser.errors() == []


def colours(browser):
    return browser.script("return spans.map(span => getComputedStyle(span).backgroundColor)")


def now(browser):
    return browser.find("#now").text


def test_colours_are_those_of_the_values(browser, page):
    browser.open(page)
    one = made().recording.layers[1].parts["c"][:, 3]
    told = data(page.read_text(encoding="utf-8"))["layers"][1]["parts"]["c"]["ranges"][3]
    seen = [re.findall(r"[\d.]+", colour) for colour in colours(browser)]
    for value, (red, _, blue, *alpha) in zip(one, seen, strict=True):
        assert float((alpha or [1])[0]) == pytest.approx(abs(value) / told, abs=0.01)
        if abs(value) > 0.02 * told:
            assert (int(blue) > int(red)) == (value < 0)
    ends = (browser.find(f"#{name}").text for name in ("least", "zero", "most"))
    assert tuple(ends) == (f"−{told:.2f}", "0", f"+{told:.2f}")
    browser.script("change({part: 'f'})")
    assert browser.find("#least").text == "0 closed"


def test_stepping_by_keys_buttons_and_number(browser, page):
    browser.open(page)
    assert now(browser).startswith("Layer 2, cell state c, unit 4 of 5; rises with “inside <b>br")
    before = colours(browser)
    browser.press(Keys.ARROW_RIGHT)
    assert now(browser) == "Layer 2, cell state c, unit 5 of 5."
    assert colours(browser) != before
    assert browser.script("return location.hash") == "#layer=2&part=c&unit=5&char=1"
    browser.press(Keys.ARROW_RIGHT)
    assert "unit 1 of 5" in now(browser)
    browser.find("#previous").click()
    assert "unit 5 of 5" in now(browser)
    browser.find("#previous").send_keys(Keys.SHIFT, Keys.ARROW_RIGHT)
    assert now(browser) == "Layer 1, cell state c, unit 3 of 3; falls with “distance”, rho -0.10."
    browser.find("#following").click()
    assert "unit 1 of 3" in now(browser)
    field = browser.find("#unit")
    field.clear()
    field.send_keys("99", Keys.ENTER)
    assert "unit 3 of 3" in now(browser)
    field.send_keys(Keys.ARROW_LEFT)
    assert "unit 3 of 3" in now(browser)
    assert browser.errors() == []


def test_a_view_can_be_linked_and_the_list_is_links(browser, page):
    browser.open(page)
    browser.script("location.hash = '#layer=1&part=f&unit=2&char=3'")
    browser.script("fromHash()")
    assert now(browser) == "Layer 1, forget gate f, unit 2 of 3."
    assert browser.find("#place").text == f"character 3 of {len(WILD)}"
    assert browser.find("#part").get_attribute("value") == "f"
    browser.all("#followers a")[-1].click()
    assert now(browser).startswith("Layer 1, cell state c, unit 2 of 3; falls with")
    assert [link.text for link in browser.all("a[aria-current=true]")] == ["unit 2 of layer 1"]
    browser.script("location.hash = '#layer=9&part=nonsense&unit=-4&char=x'; fromHash()")
    assert now(browser) == "Layer 2, cell state c, unit 1 of 5."
    assert browser.errors() == []


def test_a_character_tells_its_value_and_what_is_expected(browser, page):
    browser.open(page)
    recording = made().recording
    browser.script("box.focus()")
    browser.press(Keys.ARROW_RIGHT)
    assert browser.find("#character").text == "space"
    value = recording.layers[1].parts["c"][1, 3]
    assert browser.find("#value").text == f"{value:.2f}".replace("-", "−")
    items = [item.text for item in browser.all("#next li")]
    assert len(items) == 5
    shown = {" ": "space", "\n": "newline", "\r": "carriage return", "\t": "tab"}
    likeliest = recording.next_characters[1][0]
    share = 100 * recording.next_shares[1, 0]
    assert items[0] == f"{shown.get(likeliest, likeliest)} {share:.1f}%"
    browser.press(Keys.ARROW_DOWN)
    assert "unit 5 of 5" in now(browser)
    browser.press(Keys.END)
    assert browser.find("#place").text == f"character {len(WILD)} of {len(WILD)}"
    browser.all("#text .line > span")[4].click()
    assert browser.find("#character").text == "s"
    assert "char=5" in browser.script("return location.hash")


def test_everything_has_a_name_and_the_keyboard_reaches_it(browser, page):
    browser.open(page)
    reached = []
    for _ in range(6):
        browser.press(Keys.TAB)
        reached.append(browser.script("return document.activeElement.id"))
    assert reached == ["layer", "part", "previous", "unit", "following", "text"]
    for name in ("layer", "part", "unit"):
        assert browser.find(f"label[for={name}]").is_displayed()
    assert browser.find("#previous").accessible_name == "Previous unit"
    assert browser.find("#text").accessible_name == "Text, colored by the unit"
    assert browser.find("#now").get_attribute("aria-live") == "polite"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_can_be_read_on_every_colour(browser, page, dark):
    """WCAG's contrast of 4.5 at least, from one end of the scale over nothing to the other."""
    browser.open(page, dark=dark)
    worst = browser.script("""
        const rgb = colour => colour.match(/[\\d.]+/g).map(Number);
        const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(
            c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4,
        ).reduce((sum, c, k) => sum + c * [0.2126, 0.7152, 0.0722][k], 0);
        const style = getComputedStyle(document.body);
        const ink = light(rgb(style.color)), paper = rgb(style.backgroundColor);
        const ends = ["--low", "--high"].map(
          name => style.getPropertyValue(name).trim().split(" ").map(Number),
        );
        let worst = 21;
        for (const end of ends) for (let level = 0; level <= 127; level++) {
          const mixed = light(end.map((c, k) => c * level / 127 + paper[k] * (1 - level / 127)));
          const [high, low] = ink > mixed ? [ink, mixed] : [mixed, ink];
          worst = Math.min(worst, (high + 0.05) / (low + 0.05));
        }
        return worst;
    """)
    assert 4.5 <= worst < 21
