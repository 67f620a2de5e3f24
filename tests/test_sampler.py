"""Sampler: warm-up texts, stop strings, and the novelty of a sample against exhaustive search."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from networks import network_and_engine, sampler
from tiny import LINES

import chargen
from chargen.cli.interactive import Conversation
from chargen.errors import ChargenError
from chargen.runs.directory import Run
from chargen.sampling import Sampler
from chargen.sampling.engine import Engine
from chargen.sampling.novelty import measure, novelty_table, occurrences
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


def texts(sampler, count=1, length=60, prompt="", **settings):
    rows = list(sampler.stream(prompt, length, count, **settings))
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


def test_text_begins_after_a_warm_up_text_with_and_without_a_prompt():
    assert all(text.startswith("z" * 25) for text in texts(slow(), 3))
    led = slow(warms_up=True)
    for begun in (texts(led, 3), texts(led, prompt="ab", begin=True)):
        assert {len(text) for text in begun} == {60}
        assert "z" not in "".join(begun)
    assert texts(led, prompt="ab", begin=False)[0].startswith("z" * 25)


def test_greedy_beam_search_and_continued_texts_have_no_warm_up():
    for how in ({"temperature": 0}, {"beam": 2}, {"prompt": "ab", "begin": False}):
        one, other = (slow(warms_up=warms).stream(length=20, **how) for warms in (True, False))
        assert list(one) == list(other)


def test_training_text_tells_whether_a_prompt_begins_a_line():
    """At least 1 in 20 occurrences; of a prompt that does not occur, its beginning."""
    text = "ab\n" * 20 + "a" + "bz" * 40 + "zab" * 399
    sampler = slow(training=lambda: text)
    for prompt in ("ab", "b", "bz", "abbbz", "\na", "b" * 40):
        assert sampler.begins(prompt) == (prompt in ("ab", "abbbz"))
        assert [sampler.begins(prompt, given) for given in (True, False)] == [True, False]
        assert slow().begins(prompt) is False
    assert slow(training=lambda: text + "zab").begins("ab") is False


def test_every_text_has_its_own_warm_up_text_alike_for_one_seed_and_in_a_conversation():
    _, own = network_and_engine("lstm", (7, 3), size=4)
    warm = Sampler(own, VOCABULARY, "runs/it", warms_up=True)
    found = warm.start_ids(SamplingSettings(), np.random.default_rng(0), 3)
    assert len({ids.tobytes() for ids in found}) == 3
    one, again, other = (texts(warm, seed=seed, stop="zz") for seed in (3, 3, 4))
    assert one == again == ["".join(Conversation(warm, 3, "zz").answer(60))] != other


def test_nan_in_a_warm_up_text_names_the_run():
    sampler = slow(drift=1e38, warms_up=True)
    for rows in (sampler.stream("", 5), Conversation(sampler).answer(5)):
        with pytest.raises(ChargenError, match=r"^runs/slow: the model's predictions are not fin"):
            list(rows)


def test_runs_trained_on_zero_states_have_no_warm_up(finished):
    for trained in ({}, {"state": "reset"}, {"resets": 0.1}, {"documents": "line"}):
        run = Run.open(finished)
        settings = replace(run.description.training, **trained)
        run.description = replace(run.description, training=settings)
        one = Sampler.of(run)
        parts = (one.engine, one.vocabulary, "")
        warm, cold = (texts(Sampler(*parts, warms_up=warms)) for warms in (True, False))
        assert warm != cold
        assert texts(one) == (cold if trained else warm)


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
    one, shown = Stopping(ordered(stops)), ""
    for place, character in enumerate(text, 1):
        shown += one.read(character)
        if one.ended:
            break
        held = text[len(shown) : place]
        assert shown + held == text[:place]
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


IDS = st.lists(st.integers(0, 2), max_size=40).map(lambda ids: np.array(ids, dtype=np.uint8))


@given(IDS, IDS, st.integers(1, 9), st.integers(1, 9))
def test_substrings_are_found_where_they_occur(short, long, chars, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chargen.sampling.novelty.BLOCK", block)
        found, none = occurrences([short, short[:0]], long, chars)
    assert (len(found), len(none)) == (max(0, len(short) - chars + 1), 0)
    for part, place in zip(sliding(short, chars), found, strict=True):
        assert (place >= 0) == (part in sliding(long, chars))
        assert place < 0 or part == sliding(long, chars)[place]


def sliding(ids, chars):
    return [bytes(ids[place : place + chars]) for place in range(len(ids) - chars + 1)]


@pytest.mark.parametrize("top", [255, 65_535, 1_114_110])
def test_large_alphabets(top):
    long = np.array([top, 5, top, top], dtype=np.min_scalar_type(top))
    (found,) = occurrences([np.full(3, top, dtype=long.dtype)], long, 2)
    assert found.tolist() == [2, 2]


TRAINING = "the cat sat on the mat, the dog sat on the log. " * 3
KNOWN = Vocabulary.of(TRAINING + "xyz")


def measured(*texts, held_out="", training=TRAINING):
    ids = [KNOWN.encode(text) for text in texts]
    return measure(ids, KNOWN.encode(training), KNOWN.encode(held_out), KNOWN)


def new_share(texts, chars, training=TRAINING):
    parts = [text[i : i + chars] for text in texts for i in range(len(text) - chars + 1)]
    return sum(part not in training for part in parts) / len(parts)


@given(st.lists(st.text("tcaeh ", max_size=30), min_size=1, max_size=3).filter(any))
def test_shares_and_the_longest_copy(texts):
    found = measured(*texts)
    longest = max(map(len, texts))
    for row in found.new:
        assert row.sample_share == pytest.approx(new_share(texts, row.chars))
    assert all(row.sample_share == 1 or row.chars * 2 > longest for row in found.new[-1:])
    copy = found.longest_copy
    n = len(copy.text)
    assert copy.text == texts[copy.sample][copy.position : copy.position + n]
    assert copy.text == TRAINING[copy.training_position : copy.training_position + n]
    assert all(new_share([text], n + 1) == 1 for text in texts if len(text) > n)


def test_held_out_parts_are_as_long_as_the_sample():
    held_out = "the cat sat on the cat, xx dogs sat on a log. xyz zyx; the mat".replace(";", "x")
    found = measured("the dog sat on the mat, ", held_out=held_out)
    assert found.held_out_stretch_chars == 24
    parts = [held_out[:24], held_out[24:48]]
    for row in found.new:
        expected = [new_share([part], row.chars) for part in parts]
        np.testing.assert_allclose(row.held_out_shares, expected)
    assert found.held_out_longest_copy_chars == tuple(map(longest_copy, parts))


def longest_copy(text):
    starts = range(len(text))
    return max(len(text[i:j]) for i in starts for j in starts if text[i:j] in TRAINING)


def test_copies_are_not_new_nonsense_is_and_an_empty_sample_is_refused():
    copied = measured(TRAINING[5:105])
    assert {row.sample_share for row in copied.new} == {0}
    assert copied.longest_copy.text == TRAINING[5:105]
    nonsense = measured("xyzzyx")
    assert [(row.chars, row.sample_share) for row in nonsense.new] == [(2, 1)]
    assert nonsense.longest_copy.text == ""
    assert "0 characters of 6" in novelty_table(nonsense)
    with pytest.raises(ChargenError, match="raise length"):
        measured("", "")


def test_command_prints_the_sample_and_the_table(at_run, cli):
    given = ["sample", "--length", "200", "--seed", "0", "--novelty"]
    output = json.loads(cli([*given, "--count", "2", "--json"]).out)
    model = chargen.load("runs/cat")
    rows = model.stream("", 200, 2)
    assert output["texts"] == ["".join(text) for text in zip(*rows, strict=True)]
    training = LINES[: output["novelty"]["training_chars"]]
    assert len(training) == model.run.description.corpus.training_chars
    for row in output["novelty"]["new"]:
        share = new_share(output["texts"], row["chars"], training)
        assert row["sample_share"] == pytest.approx(share)
    assert f"{model.sample('the ', 200)}\n\nlongest copy: " in cli([*given, "--prompt", "the "]).out
