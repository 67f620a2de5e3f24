"""Features of a text, recording and scoring of hidden units, and `chargen inspect --memory`."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import network_and_engine

import chargen
from chargen.datasets import bundled
from chargen.errors import ChargenError
from chargen.probes.units import measure as instrument
from chargen.probes.units.measure import default_cues, effects, estimate, features, lacks, ranks
from chargen.recurrent import LAYERS, CharModel
from chargen.recurrent.model import NetworkPredictor
from chargen.settings import ModelSettings
from chargen.text import Vocabulary

LETTERS = Vocabulary.of("\n .Q()《》“”abcdefg")
V, H = len(LETTERS), 4
QUOTE, BRACKET, CUE = range(3)  # the feature of each unit of `follower`; the last one has none
OPENING = {QUOTE: "“", BRACKET: "(", CUE: "Q"}
CLOSING = {QUOTE: "”", BRACKET: ")", CUE: ".\n"}
QUOTATION, BRACKETS = "inside a quotation", "inside brackets"
NAMES = (QUOTATION, BRACKETS, "after ‘Q’")


def follower():
    """A simple network with one latch per feature."""
    model = CharModel.seeded(ModelSettings("simple", (H,)), V, 0)
    (layer,) = model.stack.layers
    for parameter in (layer.W_xh, layer.W_hh, layer.b_h):
        parameter.data.zero_()
    for unit, opening in OPENING.items():
        layer.W_hh.data[unit, unit] = 3
        layer.W_xh.data[LETTERS.encode(opening).item(), unit] = 8
        layer.W_xh.data[LETTERS.encode(CLOSING[unit]).astype(int), unit] = -8
    return model


def prose(lines=160):
    """Lines in which quotations, brackets and the cue Q are independent of each other."""
    patterns = ["a (b c) d. e f g.", "“abc. de” fa.", "b Q c d. f g a.", "abcd. efg abcd ef.", "c."]
    chosen = np.random.default_rng(0).choice(patterns, size=(lines, 3))
    return "".join(" ".join(row) + "\n" for row in chosen)


TEXT = prose()


def measure(model=None, text=TEXT, cues=("Q",), bare=None, **options):
    bare = bare or CharModel.seeded(ModelSettings("simple", (H,)), V, 1)
    model, ids = model or follower(), LETTERS.encode(text)
    return instrument.measure(model, bare, text, ids, cues, **options)


@pytest.fixture(scope="module")
def result():
    return measure()


def best(result, name):
    return next(one for one in result.features if one.feature == name).units[0]


@pytest.mark.parametrize("cell", LAYERS)
def test_a_recording_holds_the_layers_states_and_the_likeliest_characters(cell):
    model, ids = network_and_engine(cell, (3, H), V)[0], LETTERS.encode(TEXT[:40])
    recording = instrument.record(model, LETTERS, ids)
    assert (recording.text, recording.cell) == (TEXT[:40], cell)
    below = torch.from_numpy(ids[None].astype(np.int64))
    for layer, parts in zip(model.stack.layers, recording.layers, strict=True):
        below, last = layer(below)
        assert all(part.shape == (40, layer.units) for part in parts.values())
        np.testing.assert_allclose(parts["h"], below[0].detach(), atol=1e-6)
        for name, part in zip(layer.cell.state, last, strict=True):
            np.testing.assert_allclose(parts[name][-1], part[0].detach(), atol=1e-5)
    log_probs, _ = NetworkPredictor(model, LETTERS).advance(ids[None])
    order = np.argsort(-log_probs[0], axis=1)[:, : instrument.LIKELIEST]
    assert recording.next_characters == tuple(LETTERS.decode(row) for row in order)
    shares = np.exp(np.take_along_axis(log_probs[0], order, axis=1))
    np.testing.assert_allclose(recording.next_shares, shares, rtol=1e-4)


def test_units_built_for_a_feature_rank_first(result):
    assert tuple(one.feature for one in result.features) == NAMES
    assert result.left_out == ()
    for unit, one in enumerate(result.features):
        found = one.units[0]
        assert (found.layer, found.unit, found.rises) == (1, unit + 1, True)
        assert found.score.value > 0.999
        assert found.score.low > 0.99
        assert one.stands_out
        assert abs(one.shifted - 0.5) < 0.2
        assert len(one.units) == instrument.BEST
    assert "unit 2 of layer 1 tracks “inside brackets” (AUC 1.00)" in result.finding()


def test_a_unit_may_fall_with_a_feature_and_a_network_does_not_exceed_itself():
    model = follower()
    model.stack.layers[0].W_xh.data[:, BRACKET] *= -1
    result = measure(model, bare=model)
    found = best(result, "inside brackets")
    assert (found.unit, found.rises, found.direction) == (BRACKET + 1, False, "falls")
    assert found.score.value > 0.999
    for one in result.features:
        assert one.untrained == pytest.approx(one.units[0].score.value)
        assert not one.stands_out
    assert result.finding().startswith("no unit tracks any of the features")


def test_the_first_half_selects_units_and_the_second_scores_them():
    half = len(TEXT) // 2
    unknown = TEXT[half:].translate(str.maketrans("()", "《》"))  # brackets that no unit follows
    found = best(measure(text=TEXT[:half] + unknown), "inside brackets")
    assert (found.unit, found.score.value < 0.6) == (BRACKET + 1, True)
    found = best(measure(text=unknown + TEXT[:half]), "inside brackets")
    assert found.score.value < 0.9


def test_features_that_the_text_lacks_are_left_out_with_a_reason():
    text = TEXT.replace("(", "b").replace(")", "b")
    result = measure(text=text, cues=["Q", "nowhere"])
    assert result.left_out == (
        "inside brackets: it holds at 0.0% of the characters",
        "after ‘nowhere’: it holds at 0.0% of the characters",
    )
    assert len(result.features) == 2


def test_a_short_text_is_refused():
    enough = 2 * instrument.FEWEST_CHARS + instrument.WARM_UP_CHARS
    assert measure(text=TEXT[:enough]).chars <= instrument.FEWEST_CHARS
    with pytest.raises(ChargenError, match=f"has {enough - 1} characters; scoring units requires"):
        measure(text=TEXT[: enough - 1])


def test_equal_seeds_give_equal_json(result):
    zero, same, other = (json.dumps(one.to_json()) for one in (result, measure(), measure(seed=1)))
    assert zero == same != other
    values = json.loads(zero)
    assert (values["cell"], values["part"], values["seed"]) == ("simple", "h", 0)
    row = values["features"][1]
    assert {"feature", "metric", "share_of_chars", "untrained_best", "shifted_best"} <= row.keys()
    assert row["units"][0].keys() == {"layer", "unit", "rises", "auc", "auc_low", "auc_high"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two steps with enough held-out text."""
    folder = tmp_path_factory.mktemp("memory")
    (folder / "prose.txt").write_text(prose(400), encoding="utf-8")
    sizes = {"cell": "lstm", "units": (3, 4), "timesteps": 8, "batch_size": 4, "validation": 0.5}
    chargen.train(folder / "prose.txt", folder / "run", steps=2, **sizes)
    return folder / "run"


def test_inspect_writes_a_page_and_prints_the_scores(run, cli, tmp_path):
    out, err = cli(["inspect", run, "--memory", "a (b) “c”", "--cue", "Q"])
    assert f"page: {run / 'memory.html'}\n" in out
    assert "held-out characters and scored on the next" in " ".join(out.split())
    for feature in NAMES:
        assert sum(line.lstrip().startswith(feature) for line in out.splitlines()) == 1
    assert err == ""
    text, page = tmp_path / "text", tmp_path / "page.html"
    text.write_text("a (b) “c”", encoding="utf-8")
    flags = ["--memory-file", text, "--out", page, "--cue", "Q", "--json"]
    values = json.loads(cli(["inspect", run, *flags]).out)
    assert (values["page"], values["shown_chars"]) == (str(page), 9)
    scores = values["memory_units"]
    assert (len(scores["features"]), scores["part"]) == (3, "c")
    assert page.read_bytes() == (run / "memory.html").read_bytes()


def test_without_held_out_text_the_page_has_no_scores(run, cli, monkeypatch):
    def gone(run):
        raise ChargenError("prose.txt: no such file")

    monkeypatch.setattr("chargen.runs.directory.Run.corpus", gone)
    out, err = cli(["inspect", run, "--memory", "abc"])
    assert out == f"page: {run / 'memory.html'}\n"
    assert err == "no units of readable features: prose.txt: no such file\n"
    assert "no held-out text" in (run / "memory.html").read_text(encoding="utf-8")


def test_a_long_text_is_cut_and_unknown_characters_refused_or_skipped(run, cli, error, monkeypatch):
    message = "memory text: character 'X' at position 2 is not in the model's vocabulary"
    assert message in error(["inspect", run, "--memory", "abXc"])
    out, _ = cli(["inspect", run, "--memory", "abXc", "--unknown", "skip", "--json"])
    assert json.loads(out)["shown_chars"] == 3
    flags = ["--memory", "XYZ", "--unknown", "skip"]
    assert "memory text: " in error(["inspect", run, *flags])
    monkeypatch.setattr(instrument, "RECORDED_CHARS", 5)
    _, err = cli(["inspect", run, "--memory", "abcdefg"])
    assert "the first 5 of 7 characters are shown" in err


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (QUOTATION, 'a "b" c', "0011000"),
        (QUOTATION, "“a “b” c” d", "11111111000"),
        (QUOTATION, '"a\nb', "1111"),
        (QUOTATION, '"a\n\nb', "11100"),
        (BRACKETS, "a (b) c", "0011000"),
        (BRACKETS, "([)])x", "110000"),
        (BRACKETS, "(a\n\nb)", "111000"),
        (BRACKETS, "《a「b」c》d", "11111100"),
        ("sun", "the sun set. on", "0000001111100" + "00"),
        ("sun", "sunny sun", "000000001"),
        ("太阳", "说太阳落。山", "001100"),
        ("a+b", "a+b a+b", "0011111"),
    ],
)
def test_values_of_a_feature(name, text, expected):
    cues = () if name in (QUOTATION, BRACKETS) else (name,)
    (found,) = (values for one, values in features(text, cues).items() if name in one)
    assert found.tolist() == [float(one) for one in expected]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1] * 9 + [0] * 991, "it holds at 0.9% of the characters"),
        ([1] * 991 + [0] * 9, "it holds at 99.1% of the characters"),
        ([1] * 10 + [0] * 990, "it changes in only 1 blocks of 100 characters"),
        (([1] + [0] * 99) * 10, ""),
    ],
)
def test_why_a_feature_cannot_be_scored(values, reason):
    assert lacks(np.array(values, dtype=float)) == reason


def test_default_cues_are_those_of_the_bank_or_the_most_frequent_words():
    cues = default_cues(bundled.read("longrange", 40_000))
    assert cues[:2] == ("a letter from Russia", "a letter from Persia")
    chinese = default_cues(bundled.read("longrange-zh", 40_000))
    assert len(cues) == len(chinese) == 8
    assert not any(map(str.isascii, chinese))
    text = "river words river stone words river stones tiny tiny tiny tiny alpha omega omega"
    assert default_cues(text) == ("river", "omega", "words")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30))
def test_ranks_and_auc_equal_their_definitions(rows):
    values = np.array([value for value, _ in rows], dtype=np.float64)
    holds = np.array([held for _, held in rows])
    naive = [sum(a < b for a in values) + (sum(a == b for a in values) + 1) / 2 for b in values]
    np.testing.assert_array_equal(ranks(values[:, None])[:, 0], naive)
    if 0 < holds.sum() < len(holds):
        pairs = [(a > b) + (a == b) / 2 for a in values[holds] for b in values[~holds]]
        effect = effects(ranks(values[:, None]), holds.astype(float))
        assert effect[0] == pytest.approx(np.mean(pairs) - 0.5)


def test_intervals_account_for_autocorrelation():
    rng = np.random.default_rng(0)
    noise = np.repeat(rng.normal(size=(2, 60)), 50, axis=1)
    target, order = (noise[0] > 0).astype(float), rng.permutation(3000)
    together, apart = (
        estimate(noise[1][rows], target[rows], np.random.default_rng(1))
        for rows in (slice(None), order)
    )
    assert together.value == pytest.approx(apart.value)
    assert together.high - together.low > 2 * (apart.high - apart.low)
