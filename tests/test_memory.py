"""Memory units: what is recorded, and which units follow what. Nothing is trained."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch

import chargen
from chargen.cli import main
from chargen.errors import ChargenError
from chargen.probes.units import measure as memory
from chargen.probes.units import recording as memory_recording
from chargen.recurrent import LAYERS, CharModel, NetworkPredictor
from chargen.settings import ModelSettings
from chargen.text import Vocabulary

LETTERS = Vocabulary.of("\n .Q()《》“”abcdefg")
V, H = len(LETTERS), 4
LINE, QUOTE, BRACKET, CUE = range(H)  # what each unit of `follower` follows
OPENING = {QUOTE: "“", BRACKET: "(", CUE: "Q"}
CLOSING = {QUOTE: "”", BRACKET: ")", CUE: ".\n"}

every_cell = pytest.mark.parametrize("cell", LAYERS)


def follower():
    """A simple network, written by hand, whose units follow what they are named after.

    A latch is thrown to either side by what opens and closes it, and stays there; the line's unit
    is thrown down at a line end and creeps up from there.
    """
    model = CharModel.seeded(ModelSettings("simple", (H,)), V, 0)
    (layer,) = model.stack.layers
    for parameter in (layer.W_xh, layer.W_hh, layer.b_h):
        parameter.data.zero_()
    for unit, opening in OPENING.items():
        layer.W_hh.data[unit, unit] = 3
        layer.W_xh.data[LETTERS.encode(opening).item(), unit] = 8
        layer.W_xh.data[LETTERS.encode(CLOSING[unit]).astype(int), unit] = -8
    layer.W_hh.data[LINE, LINE] = 0.98
    layer.b_h.data[LINE] = 0.02
    layer.W_xh.data[LETTERS.encode("\n").item(), LINE] = -9
    return model


def prose(lines=160, seed=0):
    """Lines with quotations, brackets and the cue Q in places that have nothing to do with it."""
    rng = np.random.default_rng(seed)
    patterns = ["a (b c) d. e f g.", "“abc. de” fa.", "b Q c d. f g a.", "abcd. efg abcd ef.", "c."]
    chosen = rng.choice(patterns, size=(lines, 3))
    return "".join(" ".join(row) + "\n" for row in chosen)


TEXT = prose()
IDS = LETTERS.encode(TEXT)


def model_of(cell, units=(3, H), seed=0, activation="tanh"):
    model = CharModel.seeded(ModelSettings(cell, units, activation), V, seed)
    for place, parameter in enumerate(model.parameters()):
        if parameter.ndim == 1:
            parameter.data.normal_(generator=torch.Generator().manual_seed(place))
    return model


def measure(model=None, text=TEXT, cues=("Q",), **options):
    model = model or follower()
    bare = CharModel.seeded(ModelSettings("simple", (H,)), V, 1)
    return memory.measure(model, bare, text, LETTERS.encode(text), cues, **options)


def found(result, name):
    return next(one for one in result.features if one.feature == name)


# what is recorded


@every_cell
def test_what_is_recorded_is_what_the_layers_put_out(cell):
    model, ids = model_of(cell), IDS[:40]
    recording = memory_recording.record(model, LETTERS, ids)
    assert (recording.text, recording.cell) == (TEXT[:40], cell)
    below = torch.from_numpy(ids[None].astype(np.int64))
    for number, (layer, record) in enumerate(
        zip(model.stack.layers, recording.layers, strict=True), 1
    ):
        below, last = layer(below)
        assert (record.layer, record.units) == (number, layer.units)
        assert all(part.shape == (40, layer.units) for part in record.parts.values())
        np.testing.assert_allclose(record.parts["h"], below[0].detach(), atol=1e-6)
        for name, part in zip(layer.cell.state, last, strict=True):
            np.testing.assert_allclose(record.parts[name][-1], part[0].detach(), atol=1e-5)


def test_recorded_gates_obey_the_equations():
    """From each character to the next, in both layers."""
    for layer in memory_recording.record(model_of("lstm"), LETTERS, IDS[:40]).layers:
        assert list(layer.parts) == ["h", "c", "i", "f", "g", "o"]
        h, c, i, f, g, o = layer.parts.values()
        before = np.concatenate([np.zeros_like(c[:1]), c[:-1]])
        np.testing.assert_allclose(f * before + i * g, c, atol=1e-5)
        np.testing.assert_allclose(o * np.tanh(c), h, atol=1e-5)
    for layer in memory_recording.record(model_of("gru"), LETTERS, IDS[:40]).layers:
        assert list(layer.parts) == ["h", "r", "z", "n"]
        h, _, z, n = layer.parts.values()
        before = np.concatenate([np.zeros_like(h[:1]), h[:-1]])
        np.testing.assert_allclose((1 - z) * n + z * before, h, atol=1e-5)


@every_cell
def test_the_likeliest_next_characters_are_the_models(cell):
    model = model_of(cell)
    recording = memory_recording.record(model, LETTERS, IDS[:30])
    log_probs, _ = NetworkPredictor(model, LETTERS).advance(IDS[None, :30])
    order = np.argsort(-log_probs[0], axis=1)[:, : memory_recording.LIKELIEST]
    assert recording.next_characters == tuple(LETTERS.decode(row) for row in order)
    shares = np.exp(np.take_along_axis(log_probs[0], order, axis=1))
    np.testing.assert_allclose(recording.next_shares, shares, rtol=1e-4)


@pytest.mark.parametrize(("cell", "parts"), [("simple", 1), ("gru", 4), ("lstm", 6)])
def test_a_long_text_is_recorded_as_far_as_a_page_holds_it(cell, parts, monkeypatch):
    monkeypatch.setattr(memory_recording, "RECORDED_VALUES", 20 * (3 + H) * parts + 1)
    assert memory_recording.record(model_of(cell), LETTERS, IDS).text == TEXT[:20]
    monkeypatch.setattr(memory_recording, "RECORDED_CHARS", 7)
    assert memory_recording.record(model_of(cell), LETTERS, IDS).text == TEXT[:7]
    monkeypatch.setattr(memory_recording, "RECORDED_VALUES", 1)
    assert memory_recording.record(model_of(cell), LETTERS, IDS).text == TEXT[:1]


# the instrument


def test_units_that_surely_follow_something_come_out_on_top():
    result = measure()
    names = ["inside a quotation", "inside brackets", "distance since the line began", "after ‘Q’"]
    assert [one.feature for one in result.features] == names
    assert result.left_out == ()
    for one, unit in zip(result.features, (QUOTE, BRACKET, LINE, CUE), strict=True):
        best = one.units[0]
        assert (best.layer, best.unit, best.rises) == (1, unit + 1, True)
        assert best.score.value > 0.999
        assert best.score.low > 0.99
        assert one.stands_out
        assert len(one.units) == memory.BEST
    assert "unit 3 of layer 1 tracks “inside brackets” (AUC 1.00)" in result.finding()


def test_luck_is_near_chance_and_many_units_do_not_change_that():
    """Chosen on one half and scored on the other, a lucky unit is lucky no more."""
    result = measure(model_of("simple", (150, 150)))
    for name in ("inside a quotation", "inside brackets", "after ‘Q’"):
        assert len(found(result, name).shifted) == memory.SHIFTS
        assert np.mean(found(result, name).shifted) == pytest.approx(0.5, abs=0.04)
    assert np.mean(found(result, "distance since the line began").shifted) < 0.1


def test_a_unit_that_falls_is_told_as_falling():
    model = follower()
    (layer,) = model.stack.layers
    layer.W_xh.data[:, BRACKET] *= -1
    best = found(measure(model), "inside brackets").units[0]
    assert (best.unit, best.rises, best.direction) == (BRACKET + 1, False, "falls")
    assert best.score.value > 0.999


def test_the_untrained_network_is_chosen_from_in_the_same_way():
    """Set beside itself a network stands out from nothing."""
    ids = LETTERS.encode(TEXT)
    result = memory.measure(follower(), follower(), TEXT, ids, ["Q"])
    for one in result.features:
        assert one.untrained == pytest.approx(one.units[0].score.value)
        assert not one.stands_out
    assert result.finding().startswith("no unit tracks any of the features")


def test_units_are_chosen_on_the_first_half_and_scored_on_the_second():
    """In one half the brackets are of a kind that no unit knows."""
    half = len(TEXT) // 2
    other = TEXT[half:].translate(str.maketrans("()", "《》"))
    best = found(measure(text=TEXT[:half] + other), "inside brackets").units[0]
    assert (best.unit, best.score.value < 0.6) == (BRACKET + 1, True)
    best = found(measure(text=other + TEXT[:half]), "inside brackets").units[0]
    assert (best.unit == BRACKET + 1, best.score.value < 0.9) == (False, True)


def test_of_an_lstm_the_cell_state_is_scored():
    assert measure(model_of("lstm")).part == "c"
    assert measure(model_of("gru")).part == "h"


def test_streams_read_as_one_reader_would(monkeypatch):
    """Cut where they may, units that remember a line show the same."""
    many = measure()
    monkeypatch.setattr(memory, "STREAMS", 1)
    one = measure()
    assert abs(many.chars - one.chars) < 32
    for a, b in zip(many.features, one.features, strict=True):
        assert a.units[0].unit == b.units[0].unit
        assert a.units[0].score.value == pytest.approx(b.units[0].score.value, abs=1e-3)


def test_at_most_so_many_characters_of_so_many_units_are_read(monkeypatch):
    monkeypatch.setattr(memory, "HALF_CHARS", 2100)
    seen = []
    result = measure(progress=lambda *read: seen.append(read))
    assert 2100 - memory.STREAMS < result.chars <= 2100
    assert seen[-1][0] == seen[-1][1] < 2 * 2 * 2 * 2100
    assert all(a[0] < b[0] and a[1] == b[1] for a, b in pairwise(seen))
    monkeypatch.setattr(memory, "HALF_VALUES", 2050 * H)
    assert measure().chars <= 2050


def test_what_the_text_cannot_show_is_left_out_with_a_line():
    text = prose().replace("(", "b").replace(")", "b")
    result = measure(text=text, cues=["Q", "nowhere"])
    assert result.left_out == (
        "inside brackets: it holds at 0.0% of the characters",
        "after ‘nowhere’: it holds at 0.0% of the characters",
    )
    assert len(result.features) == 3
    place = len(text) // 4
    lone = text[:place] + "(" + "a" * 60 + ")" + text[place:]
    lone = lone[: 3 * place] + "(" + "a" * 60 + ")" + lone[3 * place :]
    assert measure(text=lone).left_out[0].startswith("inside brackets: it changes in only ")


def test_a_text_too_short_is_refused():
    enough = 2 * memory.FEWEST_CHARS + memory.WARM_UP_CHARS
    assert measure(text=TEXT[:enough]).chars <= memory.FEWEST_CHARS
    with pytest.raises(ChargenError, match=f"has {enough - 1} characters; scoring units requires"):
        measure(text=TEXT[: enough - 1])


def test_the_same_seed_gives_the_same_json_to_the_byte():
    one, same, other = (json.dumps(measure(seed=seed).to_json()) for seed in (1, 1, 2))
    assert one == same != other
    values = json.loads(one)
    assert (values["cell"], values["part"], values["seed"]) == ("simple", "h", 1)
    told = values["features"][1]
    assert {"feature", "metric", "share_of_chars", "untrained_best", "shifted_best"} <= set(told)
    assert {"layer", "unit", "rises", "auc", "auc_low", "auc_high"} == set(told["units"][0])
    assert "spearman_rho" in values["features"][2]["units"][0]


# the command


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that learned nothing much, with enough held-out text."""
    folder = tmp_path_factory.mktemp("memory")
    (folder / "prose.txt").write_text(prose(400), encoding="utf-8")
    small = ["--units", "3,4", "--timesteps", "8", "--batch-size", "4", "--steps", "2"]
    out = str(folder / "run")
    corpus = str(folder / "prose.txt")
    assert main(["train", corpus, "--out", out, "--validation", "0.5", *small]) == 0
    return folder / "run"


def test_inspect_writes_a_page_and_prints_the_scores(run, capsys, tmp_path):
    capsys.readouterr()
    assert main(["inspect", str(run), "--memory", "a (b) “c”", "--cue", "Q"]) == 0
    out, err = capsys.readouterr()
    assert f"page: {run / 'memory.html'}\n" in out
    assert "held-out characters and scored on the next" in " ".join(out.split())
    for feature in ("inside a quotation", "inside brackets", "after ‘Q’"):
        assert sum(line.lstrip().startswith(feature) for line in out.splitlines()) == 1
    assert err == ""
    text, page = tmp_path / "text", tmp_path / "page.html"
    text.write_text("a (b) “c”", encoding="utf-8")
    asked = ["--memory-file", str(text), "--out", str(page), "--cue", "Q", "--json"]
    assert main(["inspect", str(run), *asked]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["page"], values["shown_chars"]) == (str(page), 9)
    assert len(values["memory_units"]["features"]) == 4
    assert page.read_bytes() == (run / "memory.html").read_bytes()


def test_a_page_without_held_out_text_says_so(run, capsys):
    gone = {run.parent / name: run.parent / f"{name}.away" for name in ("prose.txt", ".corpora")}
    try:
        for path, away in gone.items():
            path.rename(away)
        assert main(["inspect", str(run), "--memory", "abc"]) == 0
        out, err = capsys.readouterr()
        assert out == f"page: {run / 'memory.html'}\n"
        assert err.startswith("without the units that follow something: ")
        assert "no held-out text" in (run / "memory.html").read_text(encoding="utf-8")
        assert chargen.load(run).memory("abc").units is None
    finally:
        for path, away in gone.items():
            away.rename(path)


def test_a_text_that_is_too_long_is_cut_with_a_note(run, capsys, monkeypatch):
    monkeypatch.setattr(memory_recording, "RECORDED_CHARS", 5)
    assert main(["inspect", str(run), "--memory", "abcdefg"]) == 0
    assert "the first 5 of 7 characters are shown" in capsys.readouterr().err
    assert chargen.load(run).memory("abcde").notes == ()


def test_characters_that_the_model_does_not_know(run, capsys):
    assert main(["inspect", str(run), "--memory", "abXc"]) == 2
    said = "memory text: character 'X' at position 2 is not in the model's vocabulary"
    assert said in capsys.readouterr().err
    assert main(["inspect", str(run), "--memory", "abXc", "--unknown", "skip", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shown_chars"] == 3
    assert main(["inspect", str(run), "--memory", "XYZ", "--unknown", "skip"]) == 2
    assert "memory text: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--out", "x.html"], "--out needs a text: give --memory TEXT too"),
        (["--cue", "Q"], "--cue needs a text"),
        (["--unknown", "error"], "--unknown needs a text"),
        (["--seed", "0"], "--seed needs a text"),
        (["--memory", "a", "--memory-file", "b"], "--memory and --memory-file: give one"),
        (["--memory", ""], "--memory '': empty"),
        (["--memory", "a", "--cue", ""], "--cue '': empty"),
        (["--memory", "a", "--out", "none/x.html"], "cannot be written"),
        (["--memory", "a", "--out", "."], "cannot be written"),
        (["--memory-file", "none.txt"], "none.txt: cannot be read"),
    ],
)
def test_mistakes_are_one_line(run, asked, said, capsys):
    capsys.readouterr()
    assert main(["inspect", str(run), *asked]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
