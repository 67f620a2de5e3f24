"""Where a text is cut into what is trained on and what is held out."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from chargen.text.documents import MOST_HELD_OUT, training_chars

ONE = np.zeros(1, np.int64)
SHARES = st.none() | st.floats(0.001, 0.999)


@given(st.integers(3, 10**11), SHARES)
def test_something_is_left_on_both_sides(chars, validation):
    assert 2 <= training_chars(chars, validation, ONE) < chars


def test_the_last_tenth_is_held_out():
    assert training_chars(1_115_394, None, ONE) == 1_003_854
    assert training_chars(1_115_394, 0.1, ONE) == 1_003_854


def test_of_a_large_text_five_million_characters_are_held_out_unless_a_share_is_named():
    assert training_chars(10**10, None, ONE) == 10**10 - MOST_HELD_OUT == 10**10 - 5_000_000
    assert training_chars(10**10, 0.1, ONE) == 9 * 10**9


def test_no_document_is_cut_in_two():
    starts = np.array([0, 300, 870, 960])
    assert training_chars(1000, 0.1, starts) == 870
    assert training_chars(1000, 0.1, np.array([0, 300, 920])) == 920
    assert training_chars(1000, 0.1, np.array([0, 890, 910])) in (890, 910)


def test_one_that_is_too_far_away_is_cut():
    assert training_chars(1000, 0.1, np.array([0, 800, 990])) == 900
    assert training_chars(1000, 0.5, np.array([0])) == 500


@example(3, None, {1})
@example(1000, 0.1, {850, 950})
@given(st.integers(3, 2000), SHARES, st.sets(st.integers(1, 1999), max_size=30))
def test_the_cut_is_at_the_beginning_nearest_to_the_share_where_one_is_near(chars, share, places):
    places = sorted(place for place in places if place < chars)
    wanted = training_chars(chars, share, ONE)
    found = training_chars(chars, share, np.array([0, *places]))
    room = (chars - wanted) / 2
    near = [at for at in places if abs(at - wanted) <= room and at >= 2]
    if near:
        assert found in near
        assert abs(found - wanted) == min(abs(at - wanted) for at in near)
    else:
        assert found == wanted
    assert 2 <= found < chars
