"""Test surprisal with predictors of known probabilities, and the command that prints it."""

import json
import math
from io import BytesIO, TextIOWrapper
from itertools import pairwise

import numpy as np
import pytest
from fakes import TablePredictor
from hypothesis import given
from hypothesis import strategies as st

import chargen
from chargen.api import score as score_text
from chargen.errors import ChargenError
from chargen.predictors import BackoffNgram
from chargen.probes.surprisal import measure as surprisal
from chargen.probes.surprisal.report import place_text, score_table
from chargen.probes.surprisal.result import Score
from chargen.text import Vocabulary

TABLE = [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.25, 0.5, 0.25]]


@given(st.text("abc", min_size=2, max_size=30))
def test_each_character_is_predicted_from_the_one_before(text):
    predictor = TablePredictor("abc", TABLE)
    ids = predictor.vocabulary.encode(text)
    found = surprisal.surprisal("run", predictor, ids)
    expected = [-math.log(TABLE[a][b]) for a, b in pairwise(ids)]
    np.testing.assert_allclose(found.nats, expected, rtol=1e-6)
    assert found.expected == "".join("acb"[a] for a in ids[:-1])
    likeliest = [-math.log(max(TABLE[a])) for a in ids[:-1]]
    np.testing.assert_allclose(found.expected_nats, likeliest, rtol=1e-6)
    assert found.loss_nats == pytest.approx(sum(expected) / len(expected))


def test_parallel_streams_equal_sequential_reading(monkeypatch):
    """A predictor with a context of three characters needs no longer burn-in."""
    ids = np.random.default_rng(0).integers(3, size=2000)
    predictor = BackoffNgram(Vocabulary("abc"), ids, 4)
    sequential = surprisal.surprisal("run", predictor, ids)
    shapes = []
    monkeypatch.setattr(surprisal, "STREAM", 50)
    advance = predictor.advance
    predictor.advance = lambda ids, state=None: (shapes.append(ids.shape), advance(ids, state))[1]
    found = surprisal.surprisal("run", predictor, ids)
    assert shapes[0][0] == 40
    np.testing.assert_array_equal(found.nats, sequential.nats)
    assert found.expected == sequential.expected


def compared(**nats):
    """Compare runs with the given surprisals."""
    scores = [Score(run, x, "a" * len(x), x) for run, x in nats.items()]
    return surprisal.compare("a" * (len(scores[0].nats) + 1), 0, scores)


def test_runs_are_ordered_by_loss_and_compared_with_the_best():
    rng = np.random.default_rng(0)
    best = rng.random(3000)
    far = best + 0.2 + rng.normal(0, 0.3, 3000)
    found = compared(far=far, best=best)
    (pair,) = found.differences
    assert [one.run for one in found.runs] == ["best", "far"]
    assert (pair.first, pair.second) == ("far", "best")
    assert pair.difference.value == pytest.approx((far - best).mean())
    assert 0.15 < pair.difference.low < pair.difference.value < pair.difference.high < 0.25
    assert found.finding == "best predicts the text best."
    hard = rng.exponential(3, 3000)  # differences are paired: only their own noise counts
    difference = compared(one=hard, other=hard + 0.01).differences[0].difference
    assert (difference.low, difference.high) == (pytest.approx(0.01), pytest.approx(0.01))
    short = compared(one=np.ones(600), two=np.full(600, 9.0))
    assert short.to_json(0)["differences"] == [{"first": "two", "second": "one"}]
    assert "too short to compare the runs: give at least 640 characters" in score_table(short)


def topical(rng, chars):
    """Differences of equal models on a text whose subjects, of about 300 characters, favour one."""
    subjects = rng.normal(0, 0.5, chars) * (rng.random(chars) < 1 / 300)
    subjects[0] = rng.normal(0, 0.5)
    begun = np.maximum.accumulate(np.where(subjects != 0, np.arange(chars), 0))
    return subjects[begun] + rng.normal(0, 1, chars)


def test_a_text_with_subjects_names_no_author_of_two_equal_models():
    rng, covered, named = np.random.default_rng(0), 0, 0
    for _ in range(100):
        found = compared(one=np.zeros(12_000), two=topical(rng, 12_000))
        difference = found.differences[0].difference
        covered += difference.low <= 0 <= difference.high
        named += "best" in found.finding and "not" not in found.finding
    assert covered >= 90
    assert named <= 10


def test_a_place_is_shown_within_its_line_and_marked():
    text = "first line\n" + "x" * 100 + "日\u0301本b\tand what follows" + "y" * 50 + "\nlast"
    at = text.index("b\tand")
    nats = np.ones(len(text) - 1)
    nats[at - 1] = 9
    found = surprisal.compare(text, 0, [Score("run", nats, "a" * len(nats), nats)])
    before, character, below = place_text(text, *found.surprising(1))
    assert before == f"line 2, character {at - 10}\n  {'x' * 57}日\u0301本"
    assert character == "b"
    after, pointer, row = below.splitlines()
    assert after.startswith(r"\tand what follows")
    assert pointer == " " * (2 + 57 + 4) + "^"
    assert row == "  run  0.012%, 9.0 nats  expected 'a', 0.012%"
    nats[text.index("\n", at) - 1] = 10
    _, character, below = place_text(text, *found.surprising(1))
    assert (character, below.splitlines()[0]) == (r"\n", "")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / "cat.txt").write_text("the cat sat on the mat. " * 60)
    (home / "dog.txt").write_text("a dog dug for a god; " * 60)
    for name in ("cat", "dog"):
        sizes = {"units": (16,), "timesteps": 16, "batch_size": 4, "steps": 110}
        chargen.train(home / f"{name}.txt", home / "runs" / name, **sizes)
    (home / "odd.txt").write_text("a dog dug for the dog; " * 30)
    return home


def test_the_command_compares_runs_on_the_characters_that_all_know(here, cli):
    text = "a dog dug for a god. " * 60
    (here / "new.txt").write_text(text)
    arguments = ["runs/cat", "runs/dog", "new.txt", "--unknown", "skip"]
    out, err = cli(["score", *arguments, "--json"])
    assert err == ""
    result = json.loads(out)
    both = set("the cat sat on the mat. ") & set("a dog dug for a god; ")
    left_out = sum(char not in both for char in text)
    assert (result["left_out_chars"], result["chars"]) == (left_out, len(text) - left_out)
    names = [one["run"] for one in result["runs"]]  # the lowest loss first
    assert sorted(names) == ["runs/cat", "runs/dog"]
    assert {one["chars"] for one in result["runs"]} == {result["chars"] - 1}
    (pair,) = result["differences"]
    best, other = (one["loss_nats"] for one in result["runs"])
    assert pair["difference_nats_per_char"] == pytest.approx(other - best)
    assert 0 < pair["difference_nats_per_char_low"] < pair["difference_nats_per_char"]
    place = result["surprising"][0]
    assert set(place) == {"position", "line", "column", "character", "runs"}
    assert set(place["runs"][0]) == {"run", "nats", "expected", "expected_nats"}
    out, err = cli(["score", *arguments, "--top", "2"])
    assert f"{names[0]} predicts the text best." in out
    assert out.count("^") == 2
    assert err == f"left out {left_out} characters outside a vocabulary\n"


def test_the_newest_run_scores_a_text_as_evaluate_does(here, cli):
    out, err = cli(["score", "dog.txt", "--json", "--top", "0"])
    assert err.startswith("runs/dog was trained on this text, so its loss is too low; use ch")
    assert err.count("\n") == 1
    result = json.loads(out)
    (one,) = result["runs"]
    assert (one["run"], result["surprising"]) == ("runs/dog", [])
    assert one["bits_per_char"] == pytest.approx(one["loss_nats"] / math.log(2))
    text = "a dog dug for a god; " * 40
    (here / "other.txt").write_text(text)
    model = chargen.load("runs/dog")
    expected = model.evaluate(here / "other.txt").loss_nats
    assert model.score(text).runs[0].loss_nats == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs/cat"], "runs/cat: a run, not a text; missing FILE"),
        (["runs/cat", "some text"], "some text: no such file; give the text as standard input"),
        (["runs/none", "cat.txt"], "runs/none: no such run;"),
        (["runs/cat", "runs/cat", "cat.txt"], "runs/cat: named twice"),
        (["runs/cat", "runs/dog", "odd.txt"], "text for runs/cat: character 'd' at position 2"),
        ([], "Missing argument '[RUN]... FILE'"),
    ],
)
def test_a_mistake_is_one_line(here, error, arguments, message):
    assert message in error(["score", *arguments])


def test_a_text_of_one_known_character_is_refused_and_standard_input_scored(here, cli, monkeypatch):
    with pytest.raises(ChargenError, match="too short"):
        score_text([chargen.load("runs/cat")], "tß", "skip")
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(b"the cat sat on the cat. ")))
    out, _ = cli(["score", "runs/cat", "-", "--json"])
    assert json.loads(out)["chars"] == 24
