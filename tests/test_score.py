"""What a text costs: against predictors whose probabilities are known, and through the command."""

import json
import math
from io import BytesIO, StringIO, TextIOWrapper
from itertools import pairwise

import numpy as np
import pytest
from fakes import CountingPredictor, TablePredictor
from hypothesis import given, settings
from hypothesis import strategies as st

import chargen
from chargen.api import score as score_text
from chargen.cli import main
from chargen.errors import ChargenError
from chargen.evaluation import WARM_UP
from chargen.predictors import BackoffNgram
from chargen.probes.surprisal import measure as surprise
from chargen.probes.surprisal.measure import score
from chargen.probes.surprisal.report import place_text, score_table
from chargen.probes.surprisal.result import Score, compare
from chargen.text import Vocabulary

TABLE = [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.25, 0.5, 0.25]]


def of_table(text, table=TABLE, run="it"):
    predictor = TablePredictor("abc", table)
    return score(run, predictor, predictor.vocabulary.encode(text))


@settings(deadline=None)
@given(st.text("abc", min_size=2, max_size=30))
def test_each_character_but_the_first_is_told_by_the_one_before(text):
    found = of_table(text)
    ids = ["abc".index(char) for char in text]
    expected = [-math.log(TABLE[a][b]) for a, b in pairwise(ids)]
    np.testing.assert_allclose(found.nats, expected, rtol=1e-6)
    assert found.expected == "".join("acb"[a] for a in ids[:-1])
    likeliest = [-math.log(max(TABLE[a])) for a in ids[:-1]]
    np.testing.assert_allclose(found.expected_nats, likeliest, rtol=1e-6)
    assert found.total_nats == pytest.approx(sum(expected))
    assert found.loss_nats == pytest.approx(sum(expected) / len(expected))


def test_a_long_text_is_read_in_warmed_stretches_each_character_once(monkeypatch):
    """A predictor that sees three characters sees the same at the beginning of a stretch."""
    ids = np.random.default_rng(0).integers(3, size=2000)
    predictor = BackoffNgram(Vocabulary("abc"), ids, 4)
    at_once = score("it", predictor, ids)
    shapes = []
    monkeypatch.setattr(surprise, "STREAM", 50)
    advance = predictor.advance
    predictor.advance = lambda ids, state=None: (shapes.append(ids.shape), advance(ids, state))[1]
    found = score("it", predictor, ids)
    assert shapes[0][0] == 40
    np.testing.assert_array_equal(found.nats, at_once.nats)
    assert found.expected == at_once.expected


def test_a_text_of_some_pages_is_read_from_its_beginning():
    predictor = CountingPredictor("abcd")
    ids = np.arange(20 * WARM_UP) % 4
    found = score("it", predictor, ids)
    np.testing.assert_allclose(found.nats, -math.log(0.9), rtol=1e-6)


def test_the_dearest_places_come_first_and_the_earlier_of_equals():
    found = compare("aabcaba", 0, [of_table("aabcaba")])
    assert [place.position for place in found.surprising(4)] == [7, 5, 3, 6]
    assert found.surprising(99)[-1].position == 4


def made_of(nats, run):
    nats = np.asarray(nats, dtype=np.float64)
    return Score(run, nats, "a" * len(nats), nats)


def test_the_cheapest_run_comes_first_and_what_others_cost_more_is_told():
    rng = np.random.default_rng(0)
    noise = rng.random(3000)
    close, far = noise + rng.normal(0, 0.3, 3000), noise + 0.2 + rng.normal(0, 0.3, 3000)
    found = compare("a" * 3001, 0, [made_of(far, "far"), made_of(noise, "best")])
    (pair,) = found.differences
    assert [one.run for one in found.runs] == ["best", "far"]
    assert (pair.first, pair.second) == ("far", "best")
    assert pair.difference.value == pytest.approx((far - noise).mean())
    assert 0.15 < pair.difference.low < pair.difference.value < pair.difference.high < 0.25
    assert found.finding == "best predicts the text best."
    close += 0.001 - (close - noise).mean()
    found = compare("a" * 3001, 0, [made_of(noise, "best"), made_of(close, "close")])
    assert found.finding == "best is not significantly better than close."


def test_differences_are_paired():
    """Where both find the same places hard, the interval is that of the difference alone."""
    hard = np.random.default_rng(0).exponential(3, 3000)
    found = compare("a" * 3001, 0, [made_of(hard, "one"), made_of(hard + 0.01, "other")])
    difference = found.differences[0].difference
    assert difference.low == pytest.approx(0.01)
    assert difference.high == pytest.approx(0.01)


def test_of_a_short_text_no_interval_is_told():
    found = compare("a" * 201, 0, [made_of(np.ones(200), "one"), made_of(np.full(200, 9), "two")])
    assert found.differences[0].difference is None
    assert "too short" in found.finding
    assert "too short" in score_table(found)


def test_a_place_is_shown_in_its_line_and_pointed_at():
    text = "first line\n" + "x" * 100 + "日\u0301本b\tand what follows" + "y" * 50 + "\nlast"
    at = text.index("b\tand")
    nats = np.ones(len(text) - 1)
    nats[at - 1] = 9
    found = compare(text, 0, [made_of(nats, "it")])
    place = place_text(text, *found.surprising(1))
    assert place.heading == f"line 2, character {at - 10}"
    assert place.before == "  " + "x" * 57 + "日\u0301本"
    assert place.character == "b"
    assert place.after.startswith(r"\tand what follows")
    assert place.pointer == " " * (2 + 57 + 4) + "^"
    assert place.rows == ["  it  0.012%, 9.0 nats  expected 'a', 0.012%"]
    nats[text.index("\n", at) - 1] = 10
    place = place_text(text, *compare(text, 0, [made_of(nats, "it")]).surprising(1))
    assert (place.character, place.after) == (r"\n", "")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / "cat.txt").write_text("the cat sat on the mat. " * 60)
    (home / "dog.txt").write_text("a dog dug for a god; " * 60)
    for name in ("cat", "dog"):
        sizes = {"units": (16,), "timesteps": 16, "batch_size": 4, "steps": 150}
        chargen.train(home / f"{name}.txt", home / "runs" / name, **sizes)
    (home / "odd.txt").write_text("a dog dug for the dog; " * 30)
    return home


@pytest.fixture
def here(home, monkeypatch):
    monkeypatch.chdir(home)
    return home


def said(capsys, *arguments, code=0):
    assert main(["score", *arguments]) == code
    return capsys.readouterr()


def test_the_command_tells_which_run_a_text_is_more_like(here, capsys):
    text = "a dog dug for a god. " * 30
    (here / "new.txt").write_text(text)
    out, err = said(capsys, "runs/cat", "runs/dog", "new.txt", "--unknown", "skip", "--json")
    result = json.loads(out)
    both = set("the cat sat on the mat. ") & set("a dog dug for a god; ")
    left = [char for char in text if char not in both]
    assert result["left_out_chars"] == len(left)
    assert result["chars"] == len(text) - len(left)
    assert [one["run"] for one in result["runs"]] == ["runs/dog", "runs/cat"]
    assert {one["chars"] for one in result["runs"]} == {result["chars"] - 1}
    (pair,) = result["differences"]
    best, other = (one["loss_nats"] for one in result["runs"])
    assert pair["difference_nats_per_char"] == pytest.approx(other - best)
    assert 0 < pair["difference_nats_per_char_low"] < pair["difference_nats_per_char"]
    assert err == ""
    out, err = said(capsys, "runs/cat", "runs/dog", "new.txt", "--unknown", "skip", "--top", "2")
    assert "runs/dog predicts the text best." in out
    assert out.count("^") == 2
    assert err == f"left out {len(left)} characters that not all models know\n"


def test_one_text_alone_is_scored_by_the_newest_run_as_evaluate_does(here, capsys):
    out, err = said(capsys, "dog.txt", "--json", "--top", "0")
    assert err.startswith("runs/dog was trained on this text, so its loss is too low; chargen eva")
    assert err.count("\n") == 1
    result = json.loads(out)
    assert result["runs"][0]["run"] == "runs/dog"
    assert result["surprising"] == []
    own = chargen.load("runs/dog")
    assert result["runs"][0]["bits_per_char"] == pytest.approx(
        result["runs"][0]["loss_nats"] / math.log(2)
    )
    text = "a dog dug for a god; " * 40
    expected = own.evaluate(write(here, text)).loss_nats
    assert own.score(text).runs[0].loss_nats == pytest.approx(expected, abs=1e-6)


def write(here, text):
    (here / "other.txt").write_text(text)
    return here / "other.txt"


def test_what_a_model_does_not_know_is_named(here, capsys):
    _, err = said(capsys, "runs/cat", "runs/dog", "odd.txt", code=2)
    assert err == (
        "chargen: text for runs/cat: character 'd' at position 2 is not in the model's "
        "vocabulary; leave it out, or give --unknown skip\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs/cat"], "runs/cat: a run, not a text; missing FILE"),
        (["runs/cat", "nowhere.txt"], "nowhere.txt: no such file"),
        (["runs/none", "cat.txt"], "runs/none: no such run directory"),
        (["runs/cat", "runs/cat", "cat.txt"], "runs/cat: named twice"),
        ([], "Missing argument '[RUN]... FILE'"),
    ],
)
def test_a_mistake_is_one_line(here, capsys, arguments, message):
    out, err = said(capsys, *arguments, code=2)
    assert out == ""
    assert err.count("\n") == 1
    assert message in err


def test_a_text_of_one_known_character_is_refused(here):
    with pytest.raises(ChargenError, match="too short"):
        score_text([chargen.load("runs/cat")], "tß", "skip")


def test_standard_input_is_a_text_too(here, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(b"the cat sat on the cat. ")))
    out, _ = said(capsys, "runs/cat", "-", "--json")
    assert json.loads(out)["chars"] == 24


class Screen(StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("variable", "coloured"), [("", True), ("1", False)])
def test_the_place_is_coloured_on_a_terminal_unless_that_is_not_wanted(
    here, monkeypatch, variable, coloured
):
    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("NO_COLOR", variable)
    assert main(["score", "runs/cat", "cat.txt", "--top", "1"]) == 0
    assert ("\x1b[31m" in screen.getvalue()) == coloured
