"""The page that writes: what it computes beside Python, and what it does in a real browser."""

import json
import os
import re
import select
import socket
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import VARIANTS, Fixed, distribution
from results import REFUSED, RUN
from selenium.webdriver.common.keys import Keys
from test_memory_page import WILD
from tiny import TEXT, train

from chargen.api import load
from chargen.cells import ACTIVATION_NAMES
from chargen.cli import main
from chargen.evaluation import Evaluation
from chargen.pages.export_page import ExportedModel, export_page, losses_text
from chargen.probes.units.recording import record
from chargen.recurrent import CharModel
from chargen.recurrent.model import NetworkPredictor
from chargen.runs.directory import BEST
from chargen.sampling import Sampler, choose
from chargen.sampling.engine import Engine
from chargen.sampling.quantization import LEVELS, rounded, through_eight_bits
from chargen.sampling.sampler import MIN_WARM_UP
from chargen.settings import STACK_NAMES, ModelSettings, SamplingSettings
from chargen.text import Vocabulary

CHARS, GREEDY_CHARS = 1000, 300
LETTERS = Vocabulary("\n abcdefgh")
GAINS = {"tanh": 1.5, "sigmoid": 4.0, "relu": 0.6, "linear": 0.6}  # of the first weights
HEAD_GAINS = {"tanh": 3.0, "sigmoid": 3.0, "relu": 30.0, "linear": 30.0}
POINTS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.999999, 1 - 2**-32)


def made(
    cell="lstm", units=(7, 3), activation="tanh", vocabulary=LETTERS, reset_after=True, **given
):
    """A page whose weights are large enough to matter, and small enough to explode nowhere."""
    shape = ModelSettings(cell, units, activation, reset_after=reset_after)
    network = CharModel.seeded(shape, len(vocabulary), 3)
    for name, parameter in network.named_parameters():
        parameter.data.mul_(GAINS[activation]).add_(0.1 if parameter.ndim == 1 else 0.0)
        if name == "W_hy":
            parameter.data.mul_(HEAD_GAINS[activation])
    return written_of(network, shape, vocabulary, **given)


def made_of_blocks(cell="mingru", units=(5, 5), activation="tanh", reset_after=True, **given):
    """The same in residual blocks, gains and biases unlike those that training begins with."""
    shape = ModelSettings(cell, units, activation, "residual", reset_after)
    network = CharModel.seeded(shape, len(LETTERS), 3)
    generator = torch.Generator().manual_seed(4)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
        else:
            parameter.data *= min(GAINS[activation], 1)
    network.stack.W_in.data[0] *= 1e-3  # of a size that a norm's least mean square matters to
    return written_of(network, shape, LETTERS, **given)


def written_of(network, shape, vocabulary, **given):
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    return ExportedModel("tales", shape, vocabulary, arrays, **given)


def model_of(page):
    return json.loads(re.search(r"const MODEL = (.*);\n", page)[1])


def network_of(written):
    arrays = through_eight_bits(written.arrays) if written.form == "int8" else written.arrays
    return CharModel.of(written.settings, len(written.vocabulary), arrays)


def log_probs(written, ids):
    return NetworkPredictor(network_of(written), written.vocabulary).advance(ids[None])[0][0]


def text_of(written, prompt, length, **settings):
    arrays = {name: value.numpy() for name, value in network_of(written).state_dict().items()}
    engine = Engine(written.settings, arrays, len(written.vocabulary))
    rows = Sampler(engine, written.vocabulary, None).stream(prompt, length, **settings)
    return prompt + "".join(row[0] for row in rows)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "tales.html"
    file.write_text(export_page(made(probed=RUN)), encoding="utf-8")
    return file


# the numbers

READ = """
    const network = new Network(arguments[0]);
    const [ids, logOf] = [arguments[1], (shares) => Array.from(shares, Math.log)];
    return ids.map((id, place) => {
      network.read(id);
      const told = logOf(sharesOf(network.logits, network.V, 1));
      return place + 1 < ids.length ? told[ids[place + 1]] : told;
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


@pytest.mark.parametrize(
    ("activation", "form"),
    [*((name, "float32") for name in ACTIVATION_NAMES), (ACTIVATION_NAMES[0], "int8")],
)
@pytest.mark.parametrize("kind", [made, made_of_blocks], ids=STACK_NAMES)
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_thousand_characters_are_predicted_as_python_does(
    browser, page, variant, kind, activation, form
):
    written = kind(**variant, activation=activation, form=form)
    model = model_of(export_page(written))
    ids = np.random.default_rng(0).integers(len(LETTERS), size=CHARS)
    if browser.script("return typeof Network") == "undefined":  # one page serves all of them
        browser.open(page)
    expected = log_probs(written, ids)
    assert expected.std(axis=0).max() > 0.1
    *found, last = browser.script(READ, model, ids.tolist())
    np.testing.assert_allclose(found, expected[np.arange(CHARS - 1), ids[1:]], rtol=0, atol=1e-4)
    np.testing.assert_allclose(last, expected[-1], rtol=0, atol=1e-4)
    greedy = text_of(written, LETTERS.characters[3], GREEDY_CHARS, temperature=0)
    assert browser.script(GREEDY, model, 3, GREEDY_CHARS) == LETTERS.encode(greedy)[1:].tolist()


@given(
    rows=st.lists(st.lists(st.integers(-3, 3), min_size=5, max_size=5), min_size=1, max_size=20),
    temperature=st.sampled_from([0, 0.3, 1.0, 2.0]),
)
def test_letters_are_chosen_as_python_chooses_them(browser, page, rows, temperature):
    if browser.script("return typeof chosen") == "undefined":
        browser.open(page)
    logits = np.array(rows, dtype=np.float32) / 2
    settings = SamplingSettings(temperature)
    expected = [choose(logits, settings, Fixed(point)).tolist() for point in POINTS]
    source = """return arguments[2].map(
        (point) => arguments[0].map((row) => chosen(row, 5, arguments[1], point)));"""
    assert browser.script(source, logits.tolist(), temperature, POINTS) == expected
    source = "return arguments[0].map((row) => Array.from(sharesOf(row, 5, arguments[1])));"
    shares = browser.script(source, logits.tolist(), temperature)
    np.testing.assert_allclose(shares, distribution(logits, settings), atol=1e-12)


def test_what_is_no_number_is_refused_and_told(browser, tmp_path):
    written = made(units=(3,))
    written.arrays["b_y"][4] = np.inf
    file = tmp_path / "broken.html"
    file.write_text(export_page(written), encoding="utf-8")
    browser.open(file)
    assert "predicts NaN or infinity" in write(browser)
    assert browser.errors() == []


@given(st.lists(st.lists(st.floats(-50, 50, width=32), min_size=3, max_size=3), min_size=1))
def test_eight_bits_are_half_a_level_off_at_most(rows):
    matrix = np.array(rows, dtype=np.float32)
    levels, scales = rounded(matrix)
    assert (np.abs(levels) <= LEVELS).all()
    off = np.abs((levels * scales).astype(np.float64) - matrix)
    assert (off <= 0.5001 * scales + np.finfo(np.float32).tiny).all()


def test_the_loss_of_rounded_weights_stands_beside_the_originals():
    losses = {"float32": Evaluation(np.log(2), 0.5, 1234), "int8": Evaluation(np.log(4), 0.5, 1234)}
    assert losses_text(losses) == (
        "2.0000 bits per character with int8 weights, 1.0000 with float32 (+1.00000), on "
        "1,234 held-out characters"
    )
    assert losses_text({}) == ""
    page = export_page(made(form="int8", losses=losses))
    assert losses_text(losses) in page


def test_a_page_of_256_units_is_as_small_as_promised():
    vocabulary = Vocabulary("".join(map(chr, range(32, 97))))
    written = made(units=(256,), vocabulary=vocabulary, probed=RUN)
    assert len(export_page(written).encode()) < 2_500_000
    assert len(export_page(replace(written, form="int8")).encode()) < 800_000


def test_the_page_is_the_same_each_time_and_asks_nobody():
    page = export_page(made(probed=RUN))
    assert page == export_page(made(probed=RUN))
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("</script>") == 1


def test_the_curve_is_that_of_the_templates_or_else_of_the_context():
    assert "Accuracy by span: remembers" in export_page(made(probed=RUN))
    refused = export_page(made(probed=replace(RUN, templates=REFUSED)))
    assert "Excess bits by context: uses 64 characters" in refused
    missing = export_page(made(probed=None))
    assert "Run chargen probe-longrange RUN --json RUN/longrange.json" in missing
    nothing = replace(RUN, templates=REFUSED, context={}, mined=None, gradient={})
    assert missing == export_page(made(probed=nothing))


# in a browser


def write(browser, prompt="", **fields):
    """What the status says once the page has written, as fast as it can."""
    fields = {"prompt": prompt, "speed": "once", **fields}
    browser.script("for (const id in arguments[0]) byId(id).value = arguments[0][id];", fields)
    browser.find("#write").click()
    return finished(browser)


def finished(browser):
    until = time.monotonic() + 30
    while browser.script("return writing !== null"):
        assert time.monotonic() < until
        time.sleep(0.02)
    return browser.find("#status").text


def told(browser):
    return browser.script("return byId('plain').textContent")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_the_page_opens_anywhere(browser, page, width, dark):
    browser.open(page, width=width, dark=dark)
    write(browser, "abc " * 30)
    browser.script("moveTo(3)")
    assert not browser.overflows()
    assert browser.find("#likely").is_displayed()
    assert browser.find("#longrange svg").is_displayed()
    assert browser.errors() == []
    assert browser.requests() == []


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_nothing_reaches_the_network_and_no_text_becomes_a_program(browser, page, listening):
    browser.open(page)
    # What the driver itself calls may make programs; what is called later may not.
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
        listening.getsockname()[1],
    )
    until = time.monotonic() + 10
    while len(refused := browser.script("return refused")) < 3 and time.monotonic() < until:
        time.sleep(0.02)
    assert refused == ["EvalError", "EvalError", "TypeError"]
    told = [one for one in browser.errors() if "Content Security Policy" in one]
    for name in ("image", "script", "fetch"):
        assert any(f"/{name}'" in one for one in told), name
    assert select.select([listening], [], [], 0.1)[0] == []  # nobody called


def test_greedy_text_is_python_s_and_is_gone_on_with(browser, page):
    browser.open(page)
    whole = text_of(made(), "bad", 300, temperature=0)
    assert write(browser, "bad", temperature=0, length=120).startswith("120 characters generated, ")
    assert told(browser) == whole[:123]
    browser.script("byId('length').value = 180")
    browser.find("#on").click()
    finished(browser)
    assert told(browser) == whole
    assert browser.script("return box.textContent") == whole
    write(browser, "", temperature=0, length=50)
    assert told(browser) == text_of(made(), "", 50, temperature=0)


def test_a_text_without_a_beginning_goes_on_from_what_is_read_unseen(browser, tmp_path):
    begins = tuple(LETTERS.encode("bad\nab").tolist())
    file = tmp_path / "tales.html"
    file.write_text(export_page(made(begins=begins)), encoding="utf-8")
    browser.open(file)
    write(browser, "", temperature=0, length=50)
    assert "bad\nab" + told(browser) == text_of(made(), "bad\nab", 50, temperature=0)


def test_a_seed_writes_one_text_and_another_seed_another(browser, page):
    browser.open(page)
    texts = []
    for seed in (7, 7, 8):
        write(browser, "a", seed=seed, temperature=1, length=200)
        texts.append(told(browser))
    assert texts[0] == texts[1] != texts[2]
    assert len(set(texts[0])) > 4


def test_an_unknown_character_is_told_and_nothing_is_written(browser, page):
    browser.open(page)
    prompt = browser.find("#prompt")
    prompt.send_keys("abß")
    said = "Not in the vocabulary: “ß” (U+00DF). Remove it from the prompt."
    assert browser.find("#complaint").text == said
    browser.find("#write").click()
    assert browser.script("return writing === null && story.ids.length === 0")
    assert browser.script("return document.activeElement.id") == "prompt"
    assert prompt.get_attribute("aria-invalid") == "true"
    browser.script("complain(complaintOf(Array.from('a😀\\u202ez')))")
    assert browser.find("#complaint").text.startswith(
        r"Not in the vocabulary: “😀” (U+1F600), “\u202e” (U+202E), “z” (U+007A). Remove"
    )
    prompt.send_keys(Keys.BACKSPACE)
    assert browser.find("#complaint").text == ""
    prompt.send_keys(Keys.CONTROL, Keys.ENTER)
    browser.script("byId('speed').value = 'once'")
    assert "500 characters generated" in finished(browser)


def test_the_table_holds_what_else_was_likely(browser, page):
    browser.open(page)
    write(browser, "ab", temperature=0.5, length=20)
    ids = LETTERS.encode(told(browser))
    for place in (1, 2, 21):
        browser.script("moveTo(arguments[0])", place)
        logits = log_probs(made(), ids[:place])[-1:]
        shares = distribution(logits, SamplingSettings(1))[0]
        drawn = distribution(logits, SamplingSettings(0.5))[0]
        likeliest = np.argsort(-shares, kind="stable")[:8].tolist()
        if ids[place] not in likeliest:
            likeliest[7] = ids[place]
        cells = [
            [browser.script("return arguments[0].textContent", cell) for cell in row]
            for row in np.array(browser.all("#rows th, #rows td")).reshape(8, 3)
        ]
        names = {" ": "space", "\n": "newline"}
        expected = [names.get(LETTERS.characters[v], LETTERS.characters[v]) for v in likeliest]
        assert [name for name, *_ in cells] == expected
        for (_, one, other), v in zip(cells, likeliest, strict=True):
            assert float(one.strip("<%")) == pytest.approx(100 * shares[v], abs=0.06)
            if place > 1:
                assert float(other.strip("<%")) == pytest.approx(100 * drawn[v], abs=0.06)
            else:
                assert other == ""
        assert browser.find("#rows .this th").text.split()[-1] == names.get(
            told(browser)[place], told(browser)[place]
        )
    browser.script("moveTo(0)")
    assert "the first character has no prediction" in browser.find("#place").text
    assert not browser.find("#likely").is_displayed()


@pytest.mark.parametrize("cell", ["mingru", "lstm"])
def test_in_residual_blocks_all_that_was_written_can_be_looked_at(browser, tmp_path, cell):
    file, written = tmp_path / "blocks.html", made_of_blocks(cell)
    file.write_text(export_page(written), encoding="utf-8")
    browser.open(file)
    assert f"{cell} of 5 + 5 units in residual blocks · " in browser.find("p.faint").text
    parts = [one.get_attribute("value") for one in browser.all("#part option")]
    assert parts == (["h", "c", ""] if cell == "lstm" else ["h", ""])
    for _ in range(2):  # what was convolved is forgotten, too
        write(browser, "bad", temperature=0, length=40)
        assert told(browser) == text_of(written, "bad", 40, temperature=0)
    browser.find("#on").click()
    finished(browser)
    assert told(browser) == text_of(written, "bad", 80, temperature=0)
    ids = LETTERS.encode(told(browser))
    expected = np.exp(log_probs(written, ids))
    shares = browser.script(
        "return story.ids.slice(1).map((_, place) => Array.from(expectedAt(place + 1).shares))"
    )
    np.testing.assert_allclose(shares, expected[:-1], rtol=0, atol=1e-5)
    layers = record(network_of(written), LETTERS, ids).layers
    for layer, unit, part in ((0, 4, "h"), (1, 2, parts[-2])):
        browser.script("change({ layer: arguments[0], unit: arguments[1] })", layer, unit)
        browser.script("change({ part: arguments[0] })", part)
        found = browser.script("return story.ids.map((_, place) => source.value(place))")
        np.testing.assert_allclose(found, layers[layer].parts[part][:, unit], rtol=0, atol=1e-5)
    assert browser.errors() == []


def levels(browser):
    """The value that each letter's colour stands for, as a share of full colour."""
    values = []
    for colour in browser.script("return spans.map(s => getComputedStyle(s).backgroundColor)"):
        red, _, blue, *alpha = (float(part) for part in re.findall(r"[\d.]+", colour))
        values.append((alpha or [1.0])[0] * (-1 if blue > red else 1))
    return values


def test_letters_are_coloured_as_they_are_written_by_the_unit_that_was_chosen(browser, page):
    browser.open(page)
    browser.script("byId('speed').value = 'read'")
    browser.find("#prompt").send_keys("abc")
    browser.find("#write").click()
    while len(browser.all("#text .line > span")) < 6:
        time.sleep(0.02)
    assert browser.script("return writing !== null")  # and is coloured already
    browser.press(Keys.ESCAPE)
    assert "characters generated" in finished(browser)
    network, full = network_of(made()), browser.script("return full")
    parts = record(network, LETTERS, LETTERS.encode(told(browser))).layers
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


def test_the_keyboard_reaches_all_and_everything_has_a_name(browser, page):
    browser.open(page)
    reached, names = [], []
    browser.script("byId('speed').value = 'once'; byId('length').value = 30")
    for _ in range(7):
        browser.press(Keys.TAB)
        focused = browser.find(":focus")
        reached.append(focused.get_attribute("id"))
        names.append(focused.accessible_name)
        if reached[-1] == "write":
            browser.press(Keys.ENTER)
            assert finished(browser).startswith("30 characters generated")
    assert reached == ["prompt", "temperature", "speed", "length", "seed", "write", "on"]
    assert [name.split()[0] for name in names] == [
        "Prompt", "Temperature", "Speed", "Length", "Seed", "Generate", "Continue",
    ]  # fmt: skip
    browser.press(Keys.TAB)
    assert browser.find(":focus").accessible_name == "Generated text, by character"
    browser.press(Keys.END)
    assert browser.find("#place").text == "character 30, generated"
    browser.press(Keys.ARROW_LEFT)
    assert browser.find("#place").text == "character 29, generated"
    assert "Predicted: " in browser.script("return byId('told').textContent")
    browser.press(Keys.ARROW_DOWN)
    assert browser.find("#unit").get_attribute("value") == "2"
    reached = []
    for _ in range(5):
        browser.press(Keys.TAB)
        reached.append(browser.find(":focus").get_attribute("id"))
    assert reached == ["layer", "part", "previous", "unit", "following"]
    assert browser.errors() == []


def test_only_the_status_is_read_out_while_it_writes(browser, page):
    browser.open(page)
    live = browser.script(
        "return [...document.querySelectorAll('[aria-live], [role=status], [role=alert]')]"
        ".map(one => one.id)"
    )
    assert sorted(live) == ["complaint", "status", "told"]
    assert browser.find("#text").get_attribute("role") == "application"
    browser.script("""
        window.heard = [];
        new MutationObserver((seen) => heard.push(...seen.map((one) => one.target.id)))
          .observe(byId("told"), { childList: true });
        new MutationObserver((seen) => heard.push(...seen.map(() => byId("status").textContent)))
          .observe(byId("status"), { childList: true });
    """)
    write(browser, "", length=100)
    heard = [one for one in browser.script("return heard") if one != "told"]
    assert len(heard) <= 3
    assert browser.script("return byId('plain').textContent.length") == 100


def test_who_wants_less_motion_is_shown_the_text_at_once(browser, page):
    browser.open(page)
    assert browser.find("#speed").get_attribute("value") == "read"
    browser.prefers("reduced-motion", "reduce")
    browser.script("location.reload()")
    assert browser.find("#speed").get_attribute("value") == "once"
    browser.prefers("reduced-motion", "no-preference")


def test_a_hostile_vocabulary_is_text_and_nothing_else(browser, tmp_path):
    vocabulary = Vocabulary.of(WILD + "\0\u202e'\"`${}")
    file = tmp_path / "wild.html"
    written = made(units=(5,), vocabulary=vocabulary, prompt=WILD.replace("\r", ""))
    file.write_text(export_page(written), encoding="utf-8")
    browser.open(file)
    browser.script("byId('speed').value = 'once'; byId('temperature').value = 2")
    browser.find("#write").click()
    finished(browser)
    assert browser.script("return document.title") == "Text from tales"
    text = told(browser)
    assert text.startswith(WILD.replace("\r", ""))
    assert set(text) == set(vocabulary.characters)
    assert browser.script("return spans.length") == len(text)
    assert browser.all("#text *:not(span), img, body script:not(:last-child)") == []
    assert browser.errors() == []
    assert browser.requests() == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_phone_shows_its_main_things_without_scrolling_sideways(browser, page, dark):
    browser.open(page, width=360, height=740, dark=dark)
    for name in ("prompt", "temperature", "speed", "length", "seed", "write", "text", "read"):
        box = browser.find(f"#{name}").rect
        assert box["x"] >= 0, name
        assert box["x"] + box["width"] <= 360, name


# the command


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    (folder / "corpus.txt").write_text(TEXT, encoding="utf-8")
    train(folder / "corpus.txt", folder / "tiny")
    return folder / "tiny"


def test_the_command_writes_the_page_of_a_run(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(run), "--to", "page"]) == 0
    out, err = capsys.readouterr()
    model = load(run)
    bits = model.evaluate().bits_per_char
    assert out.splitlines()[0].startswith("page: tiny.html, ")
    assert f"{bits:.4f} bits per character, on" in out
    assert err == (
        f"no long-range curve; measure it with: chargen probe-longrange {run} --json "
        f"{run / 'longrange.json'}\n"
    )
    page = model_of((tmp_path / "tiny.html").read_text(encoding="utf-8"))
    assert page["characters"] == model.vocabulary.characters
    assert [page["cell"], page["units"]] == ["lstm", [3, 2]]
    # Its state was carried through training.
    assert len(page["begins"]) >= MIN_WARM_UP
    assert page["begins"][-1] == model.vocabulary.opening


def test_a_curve_that_is_older_than_the_weights_is_told(run, tmp_path, capsys):
    measured = run / "longrange.json"
    measured.write_text(json.dumps(replace(RUN, run="runs/tiny").to_json()))
    command = ["export", str(run), "--to", "page", "--out", str(tmp_path / "tiny.html")]
    said = []
    for seconds in (-10, 10):
        at = (run / BEST).stat().st_mtime + seconds
        os.utime(measured, (at, at))
        assert main(command) == 0
        said.append(capsys.readouterr().err)
    measured.unlink()
    made = f"chargen probe-longrange {run} --json {measured}"
    assert said == [f"{measured}: older than the run's weights; measure them with: {made}\n", ""]


def test_eight_bits_are_measured_with_the_weights_of_the_page(run, tmp_path, capsys):
    out = tmp_path / "small.html"
    (run / "longrange.json").write_text(json.dumps(replace(RUN, run="runs/tiny").to_json()))
    command = ["export", str(run), "--to", "page", "--weights", "int8", "--out", str(out)]
    assert main([*command, "--prompt", "the cat"]) == 0
    (run / "longrange.json").unlink()
    model = load(run)
    rounded_model = CharModel.of(
        model.run.description.model, len(model.vocabulary), through_eight_bits(model.run.weights())
    )
    whole = model.evaluate().bits_per_char
    model.predictor = NetworkPredictor(rounded_model, model.vocabulary)
    said, err = capsys.readouterr()
    bits = model.evaluate().bits_per_char
    assert f"{bits:.4f} bits per character with int8 weights, {whole:.4f} with" in said
    assert err == ""
    page = out.read_text(encoding="utf-8")
    assert "Accuracy by span: remembers" in page
    assert model_of(page)["prompt"] == "the cat"
    assert bits != whole


def test_a_run_without_its_corpus_is_exported_without_the_loss(run, tmp_path, capsys):
    corpus = run.parent / "corpus.txt"
    kept = corpus.read_text(encoding="utf-8")
    corpus.write_text("another text", encoding="utf-8")
    out = tmp_path / "page.html"
    hidden = [file.rename(file.with_name(file.name + ".x")) for file in run.parent.glob(".*")]
    try:
        assert main(["export", str(run), "--to", "page", "--out", str(out)]) == 0
    finally:
        corpus.write_text(kept, encoding="utf-8")
        for file in hidden:
            file.rename(file.with_name(file.name[:-2]))
    said, err = capsys.readouterr()
    assert "bits" not in said
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
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    run, tmp_path, monkeypatch, capsys, flags, named
):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(run), "--to", "page", *flags]) == 2
    said, err = capsys.readouterr()
    assert said == ""
    assert named in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_option_of_another_kind_is_refused(run, tmp_path, monkeypatch, capsys):
    export = sys.modules["chargen.cli.export"]  # of whose name the command is, too
    kinds = {"page": replace(export.KINDS["page"], options=())}
    monkeypatch.setattr(export, "KINDS", kinds)
    command = ["export", str(run), "--to", "page", "--out", str(tmp_path / "x.html")]
    assert main([*command, "--weights", "int8"]) == 2
    assert "--weights cannot be used with --to page" in capsys.readouterr().err
