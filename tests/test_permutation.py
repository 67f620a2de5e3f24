"""The shuffled order: every number once, another for each seed, and no trace of how it is made."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.text.windows import Permutation


def drawn(size, seed):
    return Permutation(size, seed).at(np.arange(size))


def chi_square(counts):
    return float(((counts - counts.mean()) ** 2).sum() / counts.mean())


@pytest.mark.parametrize("sizes", [range(1, 200), [255, 256, 257, 9_999, 10_000, 2**16 + 1]])
def test_every_number_stands_at_one_place(sizes):
    for size in sizes:
        assert sorted(drawn(size, (0, 1))) == list(range(size))


@given(st.integers(1, 5000), st.integers(0, 2**70), st.integers(0, 2**40), st.data())
def test_a_place_is_the_same_however_it_is_asked_for(size, seed, epoch, data):
    order = Permutation(size, (seed, epoch))
    whole = order.at(np.arange(size))
    assert len(order) == size
    assert len(np.unique(whole)) == size
    assert whole.min() >= 0
    assert whole.max() < size
    places = np.array(data.draw(st.lists(st.integers(0, size - 1), max_size=20)), dtype=np.int64)
    assert (Permutation(size, (seed, epoch)).at(places) == whole[places]).all()


@pytest.mark.parametrize("size", [10**10, 2**50, 2**62])
def test_a_length_beyond_all_memory(size):
    found = Permutation(size, (3,)).at(np.r_[np.arange(50_000), size - np.arange(1, 50_000)])
    assert len(np.unique(found)) == len(found)
    assert found.min() >= 0
    assert found.max() < size
    assert chi_square(np.histogram(found, 100, (0, size))[0]) < 160  # 99 degrees: 1 in 10,000


def test_there_is_no_order_of_nothing():
    with pytest.raises(ValueError, match="size is 0"):
        Permutation(0, (1,))


def test_seeds_and_epochs_draw_orders_that_share_nothing():
    orders = [drawn(1000, seed) for seed in ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2))]
    for index, one in enumerate(orders):
        for other in orders[:index]:
            assert (one == other).sum() < 10  # 1 is to be expected
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.12


def test_all_orders_of_four_are_drawn_as_often():
    """24 orders, 23 degrees of freedom: beyond 53 once in 2,500."""
    codes = [tuple(drawn(4, (seed, 7))) for seed in range(4800)]
    _, counts = np.unique(codes, axis=0, return_counts=True)
    assert len(counts) == 24
    assert chi_square(counts) < 53


@pytest.mark.parametrize("size", [2, 7, 30])
def test_the_first_items_land_anywhere(size):
    """Where items 0, 1 and the last stand, and how far 1 lies from 0, over 3,000 seeds."""
    asked = np.array([0, 1, size - 1])
    found = np.array([Permutation(size, (seed,)).at(asked) for seed in range(3000)])
    distances = (found[:, 1] - found[:, 0]) % size
    for column in found.T:
        assert chi_square(np.bincount(column, minlength=size)) < size + 6 * size**0.5
    if size > 2:
        assert chi_square(np.bincount(distances, minlength=size)[1:]) < size + 6 * size**0.5


@pytest.mark.parametrize("size", [1000, 1023, 1024, 1025, 99_991])
def test_an_order_has_no_structure(size):
    fixed = neighbours = falls = 0
    for seed in range(20):
        order = drawn(size, (seed, 0))
        steps = np.diff(order)
        fixed += (order == np.arange(size)).sum()
        neighbours += (abs(steps) == 1).sum()
        falls += (steps < 0).sum()
        assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 5 / size**0.5
        assert chi_square(np.histogram(order[:500], 10, (0, size))[0]) < 34  # 9 degrees
    assert 5 <= fixed <= 42  # one an order is to be expected
    assert 15 <= neighbours <= 70  # two an order
    assert abs(falls / (20 * size) - 0.5) < 0.01
