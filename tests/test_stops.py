"""Samples end at stop sequences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_beam import sampler

from chargen.errors import ChargenError
from chargen.sampling.sampler import Stopping, stopped

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
