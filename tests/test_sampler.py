"""Sampler: the warm-up text of unprompted texts, and stop strings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from networks import network_and_engine, sampler

from chargen.cli.interactive import Conversation
from chargen.errors import ChargenError
from chargen.runs.directory import Run
from chargen.sampling import Sampler, engine
from chargen.sampling.engine import Engine
from chargen.sampling.sampler import MAX_WARM_UP, MIN_WARM_UP, Stopping, stopped, warm_up_ids
from chargen.settings import ModelSettings, SamplingSettings
from chargen.text import Vocabulary

VOCABULARY = Vocabulary("\nabz")
OPENING = 0


def slow(drift=0.1, **given):
    """A sampler that writes z until its one unit, which counts characters, reaches 3."""
    arrays = {name: np.zeros(shape, np.float32) for name, shape in SHAPE.shapes(4).items()}
    arrays["stack.layers.0.W_hh"][:] = 1
    arrays["stack.layers.0.b_h"][:] = drift
    arrays["W_hy"][:] = [[0, 0, 0, -50]]
    arrays["b_y"][:] = [0, 0, 0, 150]
    return Sampler(Engine(SHAPE, arrays, 4), VOCABULARY, "runs/slow", **given)


SHAPE = ModelSettings("simple", (1,), "linear")


def texts(sampler, count=1, length=60, **settings):
    rows = list(sampler.stream("", length, count, **settings))
    return ["".join(pieces) for pieces in zip(*rows, strict=True)]


@given(st.lists(st.sets(st.integers(0, MAX_WARM_UP - 1), max_size=5), min_size=1, max_size=3))
def test_warm_up_text_ends_with_its_last_opening(openings):
    rows = np.random.default_rng(0).integers(1, 9, size=(MAX_WARM_UP, len(openings)))
    for n, places in enumerate(openings):
        rows[list(places), n] = OPENING
    waited = iter(rows.copy())
    found = warm_up_ids(waited, OPENING)
    read = MAX_WARM_UP - len(list(waited))
    after = [[p + 1 for p in places if p + 1 >= MIN_WARM_UP] for places in openings]
    assert read == max(min(own, default=MAX_WARM_UP) for own in after)
    rows[-1, [not own for own in after]] = OPENING
    ends = [1 + np.flatnonzero(row == OPENING).max() for row in rows[:read].T]
    assert found.shape == (len(openings), min(ends))
    for kept, own, end in zip(found, rows.T, ends, strict=True):
        assert kept.tolist() == own[end - len(kept) : end].tolist()


def test_unprompted_text_begins_after_a_warm_up_text():
    assert all(text.startswith("z" * 25) for text in texts(slow(), 3))
    led = texts(slow(warms_up=True), 3)
    assert [len(text) for text in led] == [60] * 3
    assert "z" not in "".join(led)


@pytest.mark.parametrize(
    "how",
    [{"temperature": 0}, {"beam": 2}, {"prompt": "ab", "begin": False}],
    ids=lambda how: next(iter(how)),
)
def test_greedy_beam_search_and_continued_texts_have_no_warm_up(how):
    one, other = (list(slow(warms_up=warms).stream(length=20, **how)) for warms in (True, False))
    assert one == other


def test_prompt_begins_where_unprompted_text_begins():
    led = slow(warms_up=True)
    pieces = {
        begin: "".join(row[0] for row in led.stream("ab", 60, begin=begin)) for begin in (0, 1)
    }
    assert pieces[False].startswith("z" * 25)
    assert "z" not in pieces[True]


@pytest.mark.parametrize(
    ("prompt", "begins"),
    [("ab", True), ("b", False), ("bz", False), ("abbbz", True), ("\na", False), ("b" * 40, False)],
)
def test_training_text_tells_whether_a_prompt_begins_a_line(prompt, begins):
    """At least 1 in 20 occurrences; of a prompt that does not occur, its beginning."""
    text = "ab\n" * 20 + "a" + "bz" * 40 + "zab" * 399
    sampler = slow(training=lambda: text)
    assert sampler.begins(prompt) == begins
    assert slow(training=lambda: text + "zab").begins("ab") is False
    assert [sampler.begins(prompt, given) for given in (True, False)] == [True, False]
    assert slow().begins(prompt) is False


@pytest.fixture
def warm():
    _, own = network_and_engine("lstm", (7, 3), size=4)
    return Sampler(own, VOCABULARY, "runs/it", warms_up=True)


def test_every_text_has_its_own_warm_up_text_in_both_forms(warm, monkeypatch):
    found = warm.start_ids(SamplingSettings(), np.random.default_rng(0), 3)
    assert len({ids.tobytes() for ids in found}) == 3
    written = []
    for least in (0, np.inf):
        monkeypatch.setattr(engine, "MIN_COMPILED", least)
        written.append(texts(warm, 3))
    assert written[0] == written[1]


def test_same_seed_warms_up_alike_and_in_a_conversation(warm):
    one, again, other = (texts(warm, seed=seed, stop="zz") for seed in (3, 3, 4))
    assert one == again == ["".join(Conversation(warm, 3, "zz").answer(60))] != other


def test_nan_in_a_warm_up_text_names_the_run():
    sampler = slow(drift=1e38, warms_up=True)
    for rows in (sampler.stream("", 5), Conversation(sampler).answer(5)):
        with pytest.raises(ChargenError, match=r"^runs/slow: the model's predictions are not fin"):
            list(rows)


@pytest.mark.parametrize(
    "trained", [{}, {"state": "reset"}, {"resets": 0.1}, {"documents": "line"}]
)
def test_runs_trained_on_zero_states_have_no_warm_up(finished, trained):
    run = Run.open(finished)
    settings = replace(run.description.training, **trained)
    run.description = replace(run.description, training=settings)
    sampler = Sampler.of(run)
    engine, vocabulary = sampler.engine, sampler.vocabulary
    one, other = (texts(Sampler(engine, vocabulary, "", warms_up=warms)) for warms in (True, False))
    assert one != other
    assert texts(sampler) == (other if trained else one)


LETTERS = st.text("ab", max_size=12)
STOPS = st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3)


def ordered(stops, keeps=False):
    return dict.fromkeys(sorted(stops, key=len, reverse=True), keeps)


@given(LETTERS, STOPS)
def test_a_text_ends_before_or_after_the_first_stop(text, stops):
    rows = list(stopped([[character] for character in text], ordered(stops), 1))
    ends = (end for end in range(len(text) + 1) if text[:end].endswith(tuple(stops)))
    before = text[: next(ends, None)]
    longest = max((stop for stop in stops if before.endswith(stop)), key=len, default="")
    assert "".join(row[0] for row in rows) == before.removesuffix(longest)
    rows = stopped([[character] for character in text], ordered(stops, keeps=True), 1)
    assert "".join(row[0] for row in rows) == before


@given(LETTERS, STOPS)
def test_only_the_beginning_of_a_stop_is_delayed(text, stops):
    one, told = Stopping(ordered(stops)), ""
    for place, character in enumerate(text, 1):
        told += one.read(character)
        if one.ended:
            break
        held = text[len(told) : place]
        assert told + held == text[:place]
        assert not held or any(stop.startswith(held) for stop in stops)


def test_each_of_several_texts_ends_separately():
    asked = []

    def rows():
        for row in ("ax", "bb", "xa", "cd", "ee"):
            asked.append(row)
            yield list(row)

    texts = ["".join(text) for text in zip(*stopped(rows(), ordered(["x"]), 2), strict=True)]
    assert texts == ["ab", ""]
    assert asked == ["ax", "bb", "xa"]


@pytest.mark.parametrize("length", [40, 40_000])
def test_a_stop_changes_no_text_before_it_and_does_not_include_the_prompt(length):
    """The compiled engine begins a sample of 40,000 characters."""
    one = sampler()
    whole = "".join(row[0] for row in one.stream("ab", 40, seed=3))
    stop = whole[20:23]
    first = whole.index(stop)
    rows = one.stream("ab", length, seed=3, stop=[stop, "\n" * 9])
    assert "".join(row[0] for row in rows) == whole[:first]
    (row,) = (row for row in one.stream("ab", 1, seed=3, stop="b" + whole[0]) if row[0])
    assert row == [whole[0]]


@pytest.mark.parametrize(
    ("stop", "message"),
    [("", "stop='': empty"), (["a", "aé"], "stop='aé': character 'é' at position 1 is not in")],
)
def test_an_impossible_stop_is_refused(stop, message):
    with pytest.raises(ChargenError, match=message):
        sampler().stream("ab", 5, stop=stop)
