"""The page that generates text in a browser: agreement with chargen, controls, network access."""

import json
import os
import re
import select
import shutil
import socket
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import PAGE_LETTERS as LETTERS
from networks import VARIANTS, Fixed, arrays_of, distribution, made
from results import REFUSED, RUN
from selenium.webdriver.common.keys import Keys

from chargen.api import TrainedModel, load
from chargen.cells import ACTIVATION_NAMES
from chargen.pages.export_page import export_page, through_eight_bits
from chargen.probes.statistics.intervals import Estimate
from chargen.probes.units.measure import record
from chargen.probes.units.result import FeatureScores, UnitScore
from chargen.recurrent import CharModel
from chargen.recurrent.model import NetworkPredictor
from chargen.runs.directory import BEST
from chargen.sampling import Sampler, choose
from chargen.sampling.arithmetic import LEVELS
from chargen.sampling.engine import Engine
from chargen.sampling.quantized import rounded
from chargen.sampling.sampler import MIN_WARM_UP
from chargen.settings import STACK_NAMES, SamplingSettings

CHARS, GREEDY_CHARS = 1000, 300
POINTS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.999999, 1 - 2**-32)


def model_of(page):
    return json.loads(re.search(r"const MODEL = (.*);\n", page)[1])


def network_of(exported):
    arrays = through_eight_bits(exported.arrays) if exported.form == "int8" else exported.arrays
    return CharModel.of(exported.settings, len(exported.vocabulary), arrays)


def text_of(exported, prompt, length, **settings):
    arrays = arrays_of(network_of(exported))
    engine = Engine(exported.settings, arrays, len(exported.vocabulary))
    rows = Sampler(engine, exported.vocabulary, None).stream(prompt, length, **settings)
    return prompt + "".join(row[0] for row in rows)


@pytest.fixture(scope="session")
def page():
    return export_page(made(probed=RUN))


# agreement with chargen

READ = """
    if (PRODUCT === null) throw new Error("this browser has no WebAssembly SIMD");
    const network = new Network(arguments[0], arguments[2]);
    const [ids, logOf] = [arguments[1], (shares) => Array.from(shares, Math.log)];
    return ids.map((id, place) => {
      network.read(id);
      const found = logOf(sharesOf(network.logits, network.V, 1));
      return place + 1 < ids.length ? found[ids[place + 1]] : found;
    });
"""
GREEDY = """
    const network = new Network(arguments[0], arguments[3]);
    let id = arguments[1];
    return Array.from({ length: arguments[2] }, () => {
      network.read(id);
      return (id = chosen(network.logits, network.V, 0, 0.5));
    });
"""
# Every cell with both stacks; each activation function and int8 occur, at alternating places.
FORMS = [*((name, "float32") for name in ACTIVATION_NAMES), (ACTIVATION_NAMES[0], "int8")]
EVERY = [(name, stack, *form) for name in VARIANTS for stack in STACK_NAMES for form in FORMS]
SAMPLE = {EVERY[len(FORMS) * n + n % len(FORMS)] for n in range(len(EVERY) // len(FORMS))}


@pytest.mark.parametrize(
    ("variant", "stack", "activation", "form"),
    [pytest.param(*one, marks=() if one in SAMPLE else pytest.mark.soak) for one in EVERY],
)
def test_the_page_agrees_with_chargen_over_a_thousand_characters(
    browser, page, variant, stack, activation, form
):
    units = (5, 5) if stack == "residual" else (7, 3)
    exported = made(units=units, activation=activation, form=form, stack=stack, **VARIANTS[variant])
    model = model_of(export_page(exported))
    ids = np.random.default_rng(0).integers(len(LETTERS), size=CHARS)
    if browser.script("return typeof Network") == "undefined":  # one page serves all networks
        browser.show(page)
    expected = NetworkPredictor(network_of(exported), LETTERS).advance(ids[None])[0][0]
    assert expected.std(axis=0).max() > 0.1
    greedy = text_of(exported, LETTERS.characters[3], GREEDY_CHARS, temperature=0)
    for simd in (True, False):  # WebAssembly, and JavaScript alone
        *found, last = browser.script(READ, model, ids.tolist(), simd)
        own = expected[np.arange(CHARS - 1), ids[1:]]
        np.testing.assert_allclose(found, own, rtol=0, atol=1e-4)
        np.testing.assert_allclose(last, expected[-1], rtol=0, atol=1e-4)
        written = browser.script(GREEDY, model, 3, GREEDY_CHARS, simd)
        assert written == LETTERS.encode(greedy)[1:].tolist()


@given(
    rows=st.lists(st.lists(st.integers(-3, 3), min_size=5, max_size=5), min_size=1, max_size=20),
    temperature=st.sampled_from([0, 0.3, 1.0, 2.0]),
)
def test_the_page_samples_the_same_characters_as_chargen(browser, page, rows, temperature):
    if browser.script("return typeof chosen") == "undefined":
        browser.show(page)
    logits = np.array(rows, dtype=np.float32) / 2
    settings = SamplingSettings(temperature)
    expected = [choose(logits, settings, Fixed(point)).tolist() for point in POINTS]
    source = """return [
      arguments[2].map((point) => arguments[0].map((row) => chosen(row, 5, arguments[1], point))),
      arguments[0].map((row) => Array.from(sharesOf(row, 5, arguments[1])))];"""
    found, shares = browser.script(source, logits.tolist(), temperature, POINTS)
    assert found == expected
    np.testing.assert_allclose(shares, distribution(logits, settings), atol=1e-12)


def test_non_finite_logits_end_the_generation_with_a_message(browser):
    exported = made(units=(3,))
    exported.arrays["b_y"][4] = np.inf
    browser.show(export_page(exported))
    assert "predicts NaN or infinity" in generate(browser)
    assert browser.errors() == []


# contents


@given(st.lists(st.lists(st.floats(-50, 50, width=32), min_size=3, max_size=3), min_size=1))
def test_int8_weights_are_at_most_half_a_level_off(rows):
    matrix = np.array(rows, dtype=np.float32)
    levels, scales = rounded(matrix)
    assert (np.abs(levels) <= LEVELS).all()
    off = np.abs((levels * scales).astype(np.float64) - matrix)
    assert (off <= 0.5001 * scales + np.finfo(np.float32).tiny).all()


def test_the_page_shows_the_curve_of_the_templates_else_of_the_context():
    assert "Accuracy by span: remembers" in export_page(made(probed=RUN))
    refused = replace(RUN, templates=REFUSED)
    assert "Excess bits by context: uses 64 characters" in export_page(made(probed=refused))
    missing = export_page(made(probed=None))
    assert missing.count("Not measured yet. Run chargen probe-longrange RUN --json RUN/") == 1
    others = replace(RUN, templates=None, context={})  # the mined and gradient results remain
    assert export_page(made(probed=others)) == missing


# in a browser


def fill(browser, **fields):
    browser.script("for (const id in arguments[0]) byId(id).value = arguments[0][id];", fields)


def generate(browser, prompt="", **fields):
    """Generate at maximum speed; return the status at the end."""
    fill(browser, prompt=prompt, speed="once", **fields)
    browser.find("#generate").click()
    return finished(browser)


def wait(browser, condition):
    until = time.monotonic() + 30
    while not browser.script(f"return {condition}"):
        assert time.monotonic() < until
        time.sleep(0.02)


def finished(browser):
    wait(browser, "generation === null")
    return browser.find("#status").text


def value_of(browser, name):
    return browser.find(f"#{name}").get_attribute("value")


def shown_text(browser):
    return browser.script("return byId('plain').textContent")


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (360, True)])
def test_the_page_fits_the_screen_and_requests_nothing(browser, page, width, dark):
    browser.show(page, width=width, dark=dark)
    generate(browser, "abc " * 30)
    browser.script("moveTo(3)")
    assert not browser.overflows()
    for name in ("prompt", "generate", "text", "likely"):
        box = browser.find(f"#{name}").rect
        assert 0 <= box["x"] <= box["x"] + box["width"] <= width, name
    assert browser.find("#likely").is_displayed()
    assert browser.find("#longrange svg").is_displayed()
    assert (browser.errors(), browser.requests()) == ([], [])


def test_the_page_blocks_requests_and_evaluated_text(browser, page):
    browser.show(page)
    # The policy does not apply to what the driver runs itself, hence the timeout.
    with socket.create_server(("127.0.0.1", 0)) as server:
        browser.script(
            """
            const server = `http://127.0.0.1:${arguments[0]}/`;
            window.refused = [];
            setTimeout(() => {
              for (const make of [() => eval("1"), () => new Function("1")]) {
                try { make(); refused.push("made"); } catch (error) { refused.push(error.name); }
              }
              new Image().src = `${server}image`;
              const source = { src: `${server}script` };
              document.body.append(Object.assign(document.createElement("script"), source));
              fetch(`${server}fetch`).catch((error) => refused.push(error.name));
            });
        """,
            server.getsockname()[1],
        )
        wait(browser, "refused.length === 3")
        assert browser.script("return refused") == ["EvalError", "EvalError", "TypeError"]
        blocked = [one for one in browser.errors() if "Content Security Policy" in one]
        for name in ("image", "script", "fetch"):
            assert any(f"/{name}'" in one for one in blocked), name
        assert select.select([server], [], [], 0.1)[0] == []  # no connection


def test_greedy_text_equals_chargen_s_and_continues(browser, page):
    browser.show(page)
    whole = text_of(made(), "bad", 300, temperature=0)
    status = generate(browser, "bad", temperature=0, length=120)
    assert status.startswith("120 characters generated, ")
    assert shown_text(browser) == whole[:123]
    fill(browser, length=180)
    browser.find("#pause").click()
    finished(browser)
    assert shown_text(browser) == browser.script("return box.textContent") == whole
    generate(browser, "", temperature=0, length=50)
    assert shown_text(browser) == text_of(made(), "", 50, temperature=0)
    begun = made(initial_ids=tuple(LETTERS.encode("bad\nab").tolist()))
    browser.show(export_page(begun))
    generate(browser, "", temperature=0, length=50)
    assert "bad\nab" + shown_text(browser) == text_of(made(), "bad\nab", 50, temperature=0)


def test_the_page_writes_when_it_opens_pauses_and_continues(browser, page):
    browser.show(page)
    pause = browser.find("#pause")
    assert pause.text == "Pause"
    wait(browser, "spans.length > 5")
    pause.click()
    assert finished(browser).startswith("Paused: ")
    count = browser.script("return spans.length")
    assert 5 < count < 500
    assert pause.text == "Continue"
    fill(browser, speed="once")
    pause.click()
    finished(browser)
    assert len(shown_text(browser)) == 500


def test_a_shared_address_reproduces_the_text(browser, page):
    browser.show(page)
    texts, addresses = [], []
    for seed in (7, 8):
        generate(browser, "a b\nc", seed=seed, temperature=1.05)
        texts.append(shown_text(browser))
        addresses.append(browser.script("return location.hash"))
    assert texts[0] != texts[1]
    assert addresses[0] == "#prompt=a+b%0Ac&seed=7&temperature=1.05"
    browser.show(page, fragment=addresses[0][1:])
    fill(browser, speed="once")
    finished(browser)
    assert shown_text(browser) == texts[0]


@pytest.mark.parametrize(
    ("fragment", "fields"),
    [
        ("seed=1e999&temperature=-5&prompt=", ["", "4294967295", "0"]),
        ("seed=7.9&temperature=99&x=%00&%E0%A4%A", ["", "7", "2"]),
        ("prompt=%3Cimg%20src=x%20onerror=document.title='owned'%3E&seed=%3Cb%3E", None),
    ],
)
def test_a_hostile_address_is_clamped_and_shown_as_text(browser, page, fragment, fields):
    browser.show(page, fragment=fragment)
    if fields:
        assert [value_of(browser, name) for name in ("prompt", "seed", "temperature")] == fields
    else:
        assert browser.find("#problem").text.startswith("Not in the vocabulary: “<” (U+003C), ")
    assert browser.all("img") == browser.errors() == browser.requests() == []
    assert browser.script("return document.title") == "Text from tales"


def test_the_best_feature_s_unit_colors_the_text_until_another_is_selected(browser):
    unit = UnitScore(1, 5, False, Estimate(0.94, 0.91, 0.96))
    tracked = FeatureScores("inside <brackets>", 0.25, (unit,), 0.6, 0.5)
    browser.show(export_page(made(tracked=tracked)))
    assert [value_of(browser, name) for name in ("layer", "unit")] == ["1", "5"]
    sentence = "Unit 5 of layer 1 falls with “inside <brackets>” (AUC 0.94)."
    assert sentence in browser.find("#memory").text
    generate(browser, "abc", length=50)
    parts = record(network_of(made()), LETTERS, LETTERS.encode(shown_text(browser))).layers[0]
    full = browser.script("return full")
    np.testing.assert_allclose(levels(browser), parts["c"][:, 4] / full, atol=0.02)
    browser.script("byId('part').value = ''; byId('part').dispatchEvent(new Event('change'))")
    assert not any(levels(browser))
    assert not browser.find("#scale").is_displayed()


def levels(browser):
    """The value that each character's color stands for, as a share of full color."""
    values = []
    for color in browser.script("return spans.map(s => getComputedStyle(s).backgroundColor)"):
        red, _, blue, *alpha = (float(part) for part in re.findall(r"[\d.]+", color))
        values.append((alpha or [1.0])[0] * (-1 if blue > red else 1))
    return values


def test_the_keyboard_reaches_every_control_and_each_has_a_name(browser, page):
    browser.show(page)
    fill(browser, speed="once", length=30)
    reached = []
    for _ in range(13):
        browser.press(Keys.TAB)
        focused = browser.find(":focus")
        reached.append(focused.get_attribute("id"))
        assert focused.accessible_name
        if reached[-1] == "generate":
            browser.press(Keys.ENTER)
            finished(browser)
        if reached[-1] == "text":
            browser.press(Keys.END + Keys.ARROW_LEFT + Keys.ARROW_DOWN)
            assert browser.find("#place").text == "character 29, generated"
            assert "Predicted: " in browser.script("return byId('announcement').textContent")
            assert value_of(browser, "unit") == "2"
    settings = ["temperature", "speed", "length", "seed"]
    memory = ["layer", "part", "previous", "unit", "following"]
    assert reached == ["prompt", "generate", "pause", "text", *settings, *memory]


# the command


def test_the_command_writes_the_page_of_a_run(own_run, cli):
    run, out = Path("runs/cat"), Path("x.html")
    measured, export = run / "longrange.json", ["export", "cat", "--to", "page", "--out", "x.html"]
    printed, err = cli(export)
    model = load(run)
    whole = f"{model.evaluate().bits_per_char:.4f} bits per character, on"
    assert printed.startswith(f"page: {out}, ")
    assert whole in printed
    command = f"chargen probe-longrange {run} --json {measured}"
    assert f"no long-range curve; measure it with: {command}\n" in err
    assert "no units of readable features: the held-out text has " in err
    page = model_of(out.read_text(encoding="utf-8"))
    assert page["characters"] == model.vocabulary.characters
    assert len(page["initial_ids"]) >= MIN_WARM_UP  # training carried the state
    measured.write_text(json.dumps(replace(RUN, run="runs/cat").to_json()))
    for seconds in (-10, 10):
        at = (run / BEST).stat().st_mtime + seconds
        os.utime(measured, (at, at))
        printed, err = cli([*export, "--weights", "int8", "--prompt", "the cat"])
        older = f"{measured}: older than the run's weights; measure them with: {command}\n"
        assert (older in err) == (seconds < 0)
    small = TrainedModel(model.run, weights=through_eight_bits(model.run.weights())).evaluate()
    assert f"{small.bits_per_char:.4f} bits per character with int8 weights, " in printed
    assert "Accuracy by span: remembers" in out.read_text(encoding="utf-8")
    shutil.rmtree("runs/.corpora")
    (run / "run.json").write_text((run / "run.json").read_text().replace("cat.txt", "gone.txt"))
    printed, err = cli(export)
    assert ("bits" in printed, "no held-out loss: " in err) == (False, True)
