"""The page that generates text in a browser: agreement with chargen, controls, network access."""

import json
import os
import re
import select
import socket
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import VARIANTS, Fixed, arrays_of, distribution
from results import REFUSED, RUN
from selenium.webdriver.common.keys import Keys
from test_memory_page import WILD
from tiny import TEXT, train

from chargen.api import load
from chargen.cells import ACTIVATION_NAMES
from chargen.cli import main
from chargen.evaluation import Evaluation
from chargen.pages.export_page import (
    LEVELS,
    ExportedModel,
    export_page,
    losses_text,
    rounded,
    through_eight_bits,
)
from chargen.probes.statistics.intervals import Estimate
from chargen.probes.units.recording import record
from chargen.probes.units.result import FeatureScores, UnitScore
from chargen.recurrent import CharModel
from chargen.recurrent.model import NetworkPredictor
from chargen.runs.directory import BEST
from chargen.sampling import Sampler, choose
from chargen.sampling.engine import Engine
from chargen.sampling.sampler import MIN_WARM_UP
from chargen.settings import STACK_NAMES, ModelSettings, SamplingSettings
from chargen.text import Vocabulary

CHARS, GREEDY_CHARS = 1000, 300
LETTERS = Vocabulary("\n abcdefgh")
GAINS = {"tanh": 1.5, "sigmoid": 4.0, "relu": 0.6, "linear": 0.6}  # of the initial weights
HEAD_GAINS = {"tanh": 3.0, "sigmoid": 3.0, "relu": 30.0, "linear": 30.0}
POINTS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.999999, 1 - 2**-32)


def made(
    cell="lstm", units=(7, 3), activation="tanh", vocabulary=LETTERS, reset_after=True,
    stack="plain", **given,
):  # fmt: skip
    """An exported model with large weights and finite states."""
    shape = ModelSettings(cell, units, activation, stack, reset_after)
    network = CharModel.seeded(shape, len(vocabulary), 3)
    generator = torch.Generator().manual_seed(4)
    for name, parameter in network.named_parameters():
        if stack == "residual" and parameter.ndim == 1:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
        elif stack == "residual":
            parameter.data *= min(GAINS[activation], 1)
        else:
            parameter.data.mul_(GAINS[activation]).add_(0.1 if parameter.ndim == 1 else 0.0)
            if name == "W_hy":
                parameter.data.mul_(HEAD_GAINS[activation])
    if stack == "residual":
        network.stack.W_in.data[0] *= 1e-3  # small enough for the epsilon of the norm to matter
    return ExportedModel("tales", shape, vocabulary, arrays_of(network), **given)


def model_of(page):
    return json.loads(re.search(r"const MODEL = (.*);\n", page)[1])


def network_of(exported):
    arrays = through_eight_bits(exported.arrays) if exported.form == "int8" else exported.arrays
    return CharModel.of(exported.settings, len(exported.vocabulary), arrays)


def log_probs(exported, ids):
    return NetworkPredictor(network_of(exported), exported.vocabulary).advance(ids[None])[0][0]


def text_of(exported, prompt, length, **settings):
    arrays = arrays_of(network_of(exported))
    engine = Engine(exported.settings, arrays, len(exported.vocabulary))
    rows = Sampler(engine, exported.vocabulary, None).stream(prompt, length, **settings)
    return prompt + "".join(row[0] for row in rows)


@pytest.fixture(scope="session")
def page(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "tales.html"
    file.write_text(export_page(made(probed=RUN)), encoding="utf-8")
    return file


def opened(browser, tmp_path, exported):
    file = tmp_path / "page.html"
    file.write_text(export_page(exported), encoding="utf-8")
    browser.open(file)


# agreement with chargen

READ = """
    const network = new Network(arguments[0]);
    const [ids, logOf] = [arguments[1], (shares) => Array.from(shares, Math.log)];
    return ids.map((id, place) => {
      network.read(id);
      const found = logOf(sharesOf(network.logits, network.V, 1));
      return place + 1 < ids.length ? found[ids[place + 1]] : found;
    });
"""
GREEDY = """
    const network = new Network(arguments[0]);
    let id = arguments[1];
    return Array.from({ length: arguments[2] }, () => {
      network.read(id);
      return (id = chosen(network.logits, network.V, 0, 0.5));
    });
"""
# Every cell with both stacks; each activation function and int8 occur, at alternating places.
FORMS = [*((name, "float32") for name in ACTIVATION_NAMES), (ACTIVATION_NAMES[0], "int8")]
EVERY = [
    (name, stack, *form) for name in VARIANTS for stack in STACK_NAMES for form in FORMS
]  # fmt: skip
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
        browser.open(page)
    expected = log_probs(exported, ids)
    assert expected.std(axis=0).max() > 0.1
    *found, last = browser.script(READ, model, ids.tolist())
    np.testing.assert_allclose(found, expected[np.arange(CHARS - 1), ids[1:]], rtol=0, atol=1e-4)
    np.testing.assert_allclose(last, expected[-1], rtol=0, atol=1e-4)
    greedy = text_of(exported, LETTERS.characters[3], GREEDY_CHARS, temperature=0)
    assert browser.script(GREEDY, model, 3, GREEDY_CHARS) == LETTERS.encode(greedy)[1:].tolist()


@given(
    rows=st.lists(st.lists(st.integers(-3, 3), min_size=5, max_size=5), min_size=1, max_size=20),
    temperature=st.sampled_from([0, 0.3, 1.0, 2.0]),
)
def test_the_page_samples_the_same_characters_as_chargen(browser, page, rows, temperature):
    if browser.script("return typeof chosen") == "undefined":
        browser.open(page)
    logits = np.array(rows, dtype=np.float32) / 2
    settings = SamplingSettings(temperature)
    expected = [choose(logits, settings, Fixed(point)).tolist() for point in POINTS]
    source = """return [
      arguments[2].map((point) => arguments[0].map((row) => chosen(row, 5, arguments[1], point))),
      arguments[0].map((row) => Array.from(sharesOf(row, 5, arguments[1])))];"""
    found, shares = browser.script(source, logits.tolist(), temperature, POINTS)
    assert found == expected
    np.testing.assert_allclose(shares, distribution(logits, settings), atol=1e-12)


def test_non_finite_logits_end_the_generation_with_a_message(browser, tmp_path):
    exported = made(units=(3,))
    exported.arrays["b_y"][4] = np.inf
    opened(browser, tmp_path, exported)
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


def test_the_page_shows_the_loss_of_int8_and_float32_weights():
    losses = {"float32": Evaluation(np.log(2), 0.5, 1234), "int8": Evaluation(np.log(4), 0.5, 1234)}
    assert losses_text(losses) == (
        "2.0000 bits per character with int8 weights, 1.0000 with float32 (+1.00000), on "
        "1,234 held-out characters"
    )
    assert losses_text(losses) in export_page(made(form="int8", losses=losses))


def test_a_page_of_256_units_has_the_documented_size():
    vocabulary = Vocabulary("".join(map(chr, range(32, 97))))
    exported = made(units=(256,), vocabulary=vocabulary, probed=RUN)
    assert len(export_page(exported).encode()) < 2_500_000
    assert len(export_page(replace(exported, form="int8")).encode()) < 800_000


def test_the_page_shows_the_curve_of_the_templates_else_of_the_context():
    assert "Accuracy by span: remembers" in export_page(made(probed=RUN))
    refused = replace(RUN, templates=REFUSED)
    assert "Excess bits by context: uses 64 characters" in export_page(made(probed=refused))
    missing = export_page(made(probed=None))
    assert missing.count("Not measured yet. Run chargen probe-longrange RUN --json RUN/") == 1
    assert "not measured" not in missing
    others = replace(RUN, templates=None, context={})  # the mined and gradient results remain
    assert others.mined
    assert others.gradient
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


def shown_text(browser):
    return browser.script("return byId('plain').textContent")


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (360, True)])
def test_the_page_fits_the_screen_and_requests_nothing(browser, page, width, dark):
    browser.open(page, width=width, dark=dark)
    generate(browser, "abc " * 30)
    browser.script("moveTo(3)")
    assert not browser.overflows()
    for name in ("prompt", "temperature", "speed", "length", "seed", "generate", "text", "likely"):
        box = browser.find(f"#{name}").rect
        assert 0 <= box["x"] <= box["x"] + box["width"] <= width, name
    assert browser.find("#likely").is_displayed()
    assert browser.find("#longrange svg").is_displayed()
    assert (browser.errors(), browser.requests()) == ([], [])


def test_the_page_blocks_requests_and_evaluated_text(browser, page):
    browser.open(page)
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
        until = time.monotonic() + 10
        while len(refused := browser.script("return refused")) < 3 and time.monotonic() < until:
            time.sleep(0.02)
        assert refused == ["EvalError", "EvalError", "TypeError"]
        blocked = [one for one in browser.errors() if "Content Security Policy" in one]
        for name in ("image", "script", "fetch"):
            assert any(f"/{name}'" in one for one in blocked), name
        assert select.select([server], [], [], 0.1)[0] == []  # no connection


def test_greedy_text_equals_chargen_s_and_continues(browser, page, tmp_path):
    browser.open(page)
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
    opened(browser, tmp_path, made(initial_ids=tuple(LETTERS.encode("bad\nab").tolist())))
    generate(browser, "", temperature=0, length=50)
    assert "bad\nab" + shown_text(browser) == text_of(made(), "bad\nab", 50, temperature=0)


def test_the_page_writes_when_it_opens_pauses_and_continues(browser, page):
    browser.open(page)
    pause = browser.find("#pause")
    assert pause.text == "Pause"
    wait(browser, "spans.length > 5")
    pause.click()
    assert finished(browser).startswith("Paused: ")
    count = browser.script("return spans.length")
    assert 5 < count < 500
    assert pause.text == "Continue"
    fill(browser, speed="once")
    assert browser.script("return spans.length") == count
    pause.click()
    finished(browser)
    assert len(shown_text(browser)) == 500
    browser.prefers("reduced-motion", "reduce")
    browser.script("location.reload()")
    assert "500 characters generated" in finished(browser)
    assert browser.find("#speed").get_attribute("value") == "once"
    assert (
        browser.script("return getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    )
    browser.prefers("reduced-motion", "no-preference")


def test_a_shared_address_reproduces_the_text(browser, page):
    browser.open(page)
    texts, addresses = [], []
    for seed in (7, 8, 7):
        generate(browser, "a b\nc", seed=seed, temperature=1.05)
        texts.append(shown_text(browser))
        addresses.append(browser.script("return location.hash"))
    assert texts[0] == texts[2] != texts[1]
    assert len(set(texts[0])) > 4
    assert addresses[0] == addresses[2] == "#prompt=a+b%0Ac&seed=7&temperature=1.05"
    browser.open(page, fragment=addresses[1][1:])
    fill(browser, speed="once")
    finished(browser)
    assert shown_text(browser) == texts[1]


@pytest.mark.parametrize(
    ("fragment", "fields"),
    [
        ("seed=1e999&temperature=-5&prompt=", ["", "4294967295", "0"]),
        ("seed=-3.5&temperature=x&prompt=ab", ["ab", "0", "0"]),
        ("seed=7.9&temperature=99&x=%00&%E0%A4%A", ["", "7", "2"]),
        ("prompt=%3Cimg%20src=x%20onerror=document.title='owned'%3E&seed=%3Cb%3E", None),
    ],
)
def test_a_hostile_address_is_clamped_and_shown_as_text(browser, page, fragment, fields):
    browser.open(page, fragment=fragment)
    if fields:
        ids = ("prompt", "seed", "temperature")
        assert [browser.find(f"#{id_}").get_attribute("value") for id_ in ids] == fields
        assert browser.script("return generation !== null")
    else:
        assert browser.find("#problem").text.startswith("Not in the vocabulary: “<” (U+003C), ")
        assert browser.script(
            "return generation === null && document.activeElement.id !== 'prompt'"
        )
    assert browser.all("img") == browser.errors() == browser.requests() == []
    assert browser.script("return document.title") == "Text from tales"


def test_the_page_starts_with_the_unit_of_the_best_feature(browser, tmp_path):
    unit = UnitScore(1, 5, False, Estimate(0.94, 0.91, 0.96))
    tracked = FeatureScores("inside <brackets>", 0.25, (unit,), 0.6, (0.5,))
    opened(browser, tmp_path, made(tracked=tracked))
    assert [browser.find(f"#{name}").get_attribute("value") for name in ("layer", "unit")] == [
        "1",
        "5",
    ]
    told = "Unit 5 of layer 1 falls with “inside <brackets>” (AUC 0.94)."
    assert told in browser.find("#memory").text
    finished_text = generate(browser, "abc", length=50)
    assert "50 characters" in finished_text
    full = browser.script("return full")
    parts = record(network_of(made()), LETTERS, LETTERS.encode(shown_text(browser))).layers[0].parts
    np.testing.assert_allclose(levels(browser), parts["c"][:, 4] / full, atol=0.02)


def test_a_prompt_with_an_unknown_character_is_refused(browser, page):
    browser.open(page)
    generate(browser, length=5)
    prompt = browser.find("#prompt")
    prompt.send_keys("abß")
    message = "Not in the vocabulary: “ß” (U+00DF). Remove it from the prompt."
    assert browser.find("#problem").text == message
    browser.find("#generate").click()
    assert browser.script("return generation === null && sequence.ids.length === 5")
    assert browser.script("return document.activeElement.id") == "prompt"
    assert prompt.get_attribute("aria-invalid") == "true"
    browser.script("showProblem(problemOf(Array.from('a😀\\u202ez')))")
    assert browser.find("#problem").text.startswith(
        r"Not in the vocabulary: “😀” (U+1F600), “\u202e” (U+202E), “z” (U+007A). Remove"
    )
    prompt.send_keys(Keys.BACKSPACE)
    assert browser.find("#problem").text == ""
    fill(browser, speed="once")
    prompt.send_keys(Keys.CONTROL, Keys.ENTER)
    assert "5 characters generated" in finished(browser)


def test_the_table_lists_the_most_probable_characters(browser, page):
    browser.open(page)
    generate(browser, "ab", temperature=0.5, length=20)
    ids = LETTERS.encode(shown_text(browser))
    names = {" ": "space", "\n": "newline"}
    for place in (1, 2, 21):
        browser.script("moveTo(arguments[0])", place)
        logits = log_probs(made(), ids[:place])[-1:]
        shares = distribution(logits, SamplingSettings(1))[0]
        drawn = distribution(logits, SamplingSettings(0.5))[0]
        likeliest = np.argsort(-shares, kind="stable")[:8].tolist()
        if ids[place] not in likeliest:
            likeliest[7] = ids[place]
        cells = browser.script("""return Array.from(document.querySelectorAll("#rows tr"),
            (row) => Array.from(row.cells, (cell) => cell.textContent))""")
        expected = [names.get(LETTERS.characters[v], LETTERS.characters[v]) for v in likeliest]
        assert [name for name, *_ in cells] == expected
        for (_, one, other), v in zip(cells, likeliest, strict=True):
            assert float(one.strip("<%")) == pytest.approx(100 * shares[v], abs=0.06)
            if place > 1:
                assert float(other.strip("<%")) == pytest.approx(100 * drawn[v], abs=0.06)
            else:
                assert other == ""
        char = LETTERS.characters[ids[place]]
        assert browser.find("#rows .this th").text.split()[-1] == names.get(char, char)
    browser.script("moveTo(0)")
    assert "the first character has no prediction" in browser.find("#place").text
    assert not browser.find("#likely").is_displayed()


@pytest.mark.parametrize("cell", ["mingru", "lstm"])
def test_residual_blocks_show_predictions_and_units_as_chargen_does(browser, tmp_path, cell):
    exported = made(cell, (5, 5), stack="residual")
    opened(browser, tmp_path, exported)
    assert f"{cell} of 5 + 5 units in residual blocks · " in browser.find("p.faint").text
    parts = [one.get_attribute("value") for one in browser.all("#part option")]
    assert parts == (["h", "c", ""] if cell == "lstm" else ["h", ""])
    for _ in range(2):  # a new text resets the convolution, too
        generate(browser, "bad", temperature=0, length=40)
        assert shown_text(browser) == text_of(exported, "bad", 40, temperature=0)
    ids = LETTERS.encode(shown_text(browser))
    shares = browser.script("""return sequence.ids.slice(1).map(
        (_, place) => Array.from(predictionAt(place + 1).shares))""")
    np.testing.assert_allclose(shares, np.exp(log_probs(exported, ids))[:-1], rtol=0, atol=1e-5)
    layers = record(network_of(exported), LETTERS, ids).layers
    for layer, unit, part in ((0, 4, "h"), (1, 2, parts[-2])):
        view = {"layer": layer, "unit": unit, "part": part}
        found = browser.script(
            "change(arguments[0]); return sequence.ids.map((_, place) => source.value(place))", view
        )
        np.testing.assert_allclose(found, layers[layer].parts[part][:, unit], rtol=0, atol=1e-5)
    assert browser.errors() == []


def levels(browser):
    """The value that each character's color stands for, as a share of full color."""
    values = []
    for color in browser.script("return spans.map(s => getComputedStyle(s).backgroundColor)"):
        red, _, blue, *alpha = (float(part) for part in re.findall(r"[\d.]+", color))
        values.append((alpha or [1.0])[0] * (-1 if blue > red else 1))
    return values


def test_characters_are_colored_by_the_selected_unit(browser, page):
    browser.open(page)
    fill(browser, prompt="abc")
    browser.find("#generate").click()
    wait(browser, "spans.length > 5")
    browser.press(Keys.ESCAPE)  # characters appear one by one
    assert "characters generated" in finished(browser)
    network, full = network_of(made()), browser.script("return full")
    parts = record(network, LETTERS, LETTERS.encode(shown_text(browser))).layers
    np.testing.assert_allclose(levels(browser), parts[1].parts["c"][:, 0] / full, atol=0.02)
    browser.find("#following").click()
    browser.script("byId('layer').value = 1; byId('layer').dispatchEvent(new Event('change'))")
    full = browser.script("return full")
    np.testing.assert_allclose(levels(browser), parts[0].parts["c"][:, 1] / full, atol=0.02)
    assert browser.find("#most").text == f"+{full:.2f}"
    assert browser.find("#of").text == "of 7"
    browser.script("byId('part').value = ''; byId('part').dispatchEvent(new Event('change'))")
    assert not any(levels(browser))
    assert not browser.find("#scale").is_displayed()


def test_the_keyboard_reaches_every_control_and_each_has_a_name(browser, page):
    browser.open(page)
    reached, names = [], []
    fill(browser, speed="once", length=30)
    for _ in range(3):
        browser.press(Keys.TAB)
        focused = browser.find(":focus")
        reached.append(focused.get_attribute("id"))
        names.append(focused.accessible_name.split()[0])
        if reached[-1] == "generate":
            browser.press(Keys.ENTER)
            assert finished(browser).startswith("30 characters generated")
    assert reached == ["prompt", "generate", "pause"]
    assert names == ["Prompt", "Generate", "Continue"]
    browser.press(Keys.TAB)
    assert browser.find(":focus").accessible_name == "Generated text, by character"
    browser.press(Keys.END)
    assert browser.find("#place").text == "character 30, generated"
    browser.press(Keys.ARROW_LEFT)
    assert browser.find("#place").text == "character 29, generated"
    assert "Predicted: " in browser.script("return byId('announcement').textContent")
    browser.press(Keys.ARROW_DOWN)
    assert browser.find("#unit").get_attribute("value") == "2"
    reached = []
    for _ in range(9):
        browser.press(Keys.TAB)
        assert browser.find(":focus").accessible_name
        reached.append(browser.find(":focus").get_attribute("id"))
    settings = ["temperature", "speed", "length", "seed"]
    assert reached == [*settings, "layer", "part", "previous", "unit", "following"]
    assert browser.errors() == []


def test_screen_readers_hear_only_the_status_during_the_generation(browser, page):
    browser.open(page)
    live = browser.script(
        "return [...document.querySelectorAll('[aria-live], [role=status], [role=alert]')]"
        ".map(one => one.id)"
    )
    assert sorted(live) == ["announcement", "problem", "status"]
    assert browser.find("#text").get_attribute("role") == "application"
    browser.script("""
        window.heard = [];
        new MutationObserver((seen) => heard.push(...seen.map(() => byId("status").textContent)))
          .observe(byId("status"), { childList: true });
    """)
    generate(browser, "", length=100)
    assert len(browser.script("return heard")) <= 3
    assert len(shown_text(browser)) == 100


def test_hostile_characters_are_generated_as_text(browser, tmp_path):
    vocabulary, prompt = Vocabulary.of(WILD + "\0\u202e'\"`${}"), WILD.replace("\r", "")
    opened(browser, tmp_path, made(units=(5,), vocabulary=vocabulary, prompt=prompt))
    generate(browser, prompt, temperature=2)
    assert browser.script("return document.title") == "Text from tales"
    text = shown_text(browser)
    assert text.startswith(prompt)
    assert set(text) == set(vocabulary.characters)
    assert browser.script("return spans.length") == len(text)
    assert browser.all("#text *:not(span), img, body script:not(:last-child)") == []
    assert (browser.errors(), browser.requests()) == ([], [])


# the command


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    (folder / "corpus.txt").write_text(TEXT, encoding="utf-8")
    train(folder / "corpus.txt", folder / "tiny")
    return folder / "tiny"


def export(run, out, *flags):
    return main(["export", str(run), "--to", "page", "--out", str(out), *flags])


def test_the_command_writes_the_page_of_a_run(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(run), "--to", "page"]) == 0
    out, err = capsys.readouterr()
    model = load(run)
    assert out.splitlines()[0].startswith("page: tiny.html, ")
    assert f"{model.evaluate().bits_per_char:.4f} bits per character, on" in out
    command = f"chargen probe-longrange {run} --json {run / 'longrange.json'}"
    assert f"no long-range curve; measure it with: {command}\n" in err
    assert "no units of readable features: the held-out text has " in err
    page = model_of((tmp_path / "tiny.html").read_text(encoding="utf-8"))
    assert page["characters"] == model.vocabulary.characters
    assert [page["cell"], page["units"]] == ["lstm", [3, 2]]
    assert len(page["initial_ids"]) >= MIN_WARM_UP  # training carried the state
    assert page["initial_ids"][-1] == model.vocabulary.opening


def test_int8_loss_is_that_of_the_page_s_weights_and_an_old_curve_is_noted(run, tmp_path, capsys):
    measured, out = run / "longrange.json", tmp_path / "small.html"
    measured.write_text(json.dumps(replace(RUN, run="runs/tiny").to_json()))
    notes = []
    for seconds in (-10, 10):
        at = (run / BEST).stat().st_mtime + seconds
        os.utime(measured, (at, at))
        assert export(run, out, "--weights", "int8", "--prompt", "the cat") == 0
        printed, err = capsys.readouterr()
        notes.append(err)
    measured.unlink()
    command = f"chargen probe-longrange {run} --json {measured}"
    older = f"{measured}: older than the run's weights; measure them with: {command}\n"
    assert [older in note for note in notes] == [True, False]
    model = load(run)
    whole = model.evaluate().bits_per_char
    weights = through_eight_bits(model.run.weights())
    small = CharModel.of(model.run.description.model, len(model.vocabulary), weights)
    model.predictor = NetworkPredictor(small, model.vocabulary)
    bits = model.evaluate().bits_per_char
    assert bits != whole
    assert f"{bits:.4f} bits per character with int8 weights, {whole:.4f} with" in printed
    page = out.read_text(encoding="utf-8")
    assert "Accuracy by span: remembers" in page
    assert model_of(page)["prompt"] == "the cat"


def test_a_run_without_its_corpus_is_exported_without_the_loss(run, tmp_path, capsys):
    out, corpus = tmp_path / "page.html", run.parent / "corpus.txt"
    files = [corpus, *run.parent.glob(".*")]
    hidden = [file.rename(file.with_name(f"x{file.name}")) for file in files]
    try:
        assert export(run, out) == 0
    finally:
        for file, away in zip(files, hidden, strict=True):
            away.rename(file)
    printed, err = capsys.readouterr()
    assert "bits" not in printed
    assert "no held-out loss: " in err
    assert "bits per character" not in out.read_text(encoding="utf-8").split("<script>")[0]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (
            ["--prompt", "Zß"],
            "--prompt: character 'Z' at position 0 is not in the model's vocabulary; leave it "
            "out\n",
        ),
        (["--longrange", "nowhere.json"], "nowhere.json: no such file"),
        (["--out", "no/such/folder.html"], "create its directory first"),
        (["--to", "nothing"], "nothing"),
        (["--to", "onnx", "--weights", "int8"], "--weights cannot be used with --to onnx"),
    ],
)
def test_an_error_is_one_line_and_nothing_is_written(
    run, tmp_path, monkeypatch, capsys, flags, named
):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(run), "--to", "page", *flags]) == 2
    printed, err = capsys.readouterr()
    assert (printed, err.count("\n"), list(tmp_path.iterdir())) == ("", 1, [])
    assert named in err
