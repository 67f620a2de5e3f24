"""Windows of inputs and targets: shapes, order, and every character once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.text import ShuffledWindows, Streams, one_hot, window
from chargen.text.windows import IGNORED

SIZES = st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(0, 60))


def text_of(batch_size, timesteps, more):
    """Ids that all differ, so that an id tells its position."""
    return np.arange(batch_size * timesteps + 1 + more)


def test_a_window_and_its_targets():
    inputs, targets = window(np.arange(10), 2, 3)
    assert inputs.tolist() == [2, 3, 4]
    assert targets.tolist() == [3, 4, 5]
    with pytest.raises(IndexError):
        window(np.arange(10), 7, 3)


def test_one_hot_of_the_lesson():
    """Two samples of one step with three features are (2, 1, 3)."""
    assert one_hot(np.array([[0], [2]]), 3).tolist() == [[[1, 0, 0]], [[0, 0, 1]]]
    assert one_hot(np.array([[0, 1, 1, 0]]), 2).shape == (1, 4, 2)
    assert one_hot(np.array([[1]]), 2).dtype == np.float32


@pytest.mark.parametrize("ids", [[[3]], [[-1]]])
def test_one_hot_refuses_ids_outside(ids):
    with pytest.raises(IndexError):
        one_hot(np.array(ids), 3)


@given(SIZES)
def test_streams_read_every_target_once_an_epoch(sizes):
    N, T, _ = sizes
    ids = text_of(*sizes)
    streams = Streams(ids, N, T)
    seen = [streams.batch(0, index)[1] for index in range(len(streams))]
    counted = np.concatenate([targets[targets != IGNORED] for targets in seen])
    assert sorted(counted) == list(range(1, len(ids)))


@given(SIZES)
def test_streams_continue_row_by_row(sizes):
    N, T, _ = sizes
    streams = Streams(text_of(*sizes), N, T)
    batches = [streams.batch(0, index)[0] for index in range(len(streams))]
    assert all(batch.shape == (N, T) for batch in batches[:-1])
    assert batches[-1].shape[0] == N
    rows = np.concatenate(batches, axis=1)
    assert (np.diff(rows, axis=1) == 1).all()


@given(SIZES, st.integers(0, 3))
def test_shuffled_windows_read_every_target_once_an_epoch(sizes, epoch):
    N, T, _ = sizes
    ids = text_of(*sizes)
    windows = ShuffledWindows(ids, N, T, seed=1)
    batches = [windows.batch(epoch, index) for index in range(len(windows))]
    counted = np.concatenate([targets[targets != IGNORED] for _, targets in batches])
    assert sorted(counted) == list(range(1, len(ids)))
    for inputs, targets in batches:
        assert inputs.shape == targets.shape
        assert inputs.shape[1] == T
        assert ((targets == inputs + 1) | (targets == IGNORED)).all()


def test_shuffled_windows_differ_by_epoch_and_seed_alone():
    ids = np.arange(1000)
    one, same, other = (ShuffledWindows(ids, 4, 5, seed) for seed in (1, 1, 2))
    assert (one.batch(3, 2)[0] == same.batch(3, 2)[0]).all()
    assert (one.batch(3, 2)[0] != one.batch(4, 2)[0]).any()
    assert (one.batch(3, 2)[0] != other.batch(3, 2)[0]).any()


@pytest.mark.parametrize("make", [Streams, lambda ids, N, T: ShuffledWindows(ids, N, T, 0)])
def test_batches_are_int64_from_narrow_ids(make):
    inputs, targets = make(np.arange(100, dtype=np.uint8), 2, 3).batch(0, 0)
    assert inputs.dtype == targets.dtype == np.int64


def test_a_text_that_fills_no_window_is_refused():
    with pytest.raises(ValueError, match="do not fill"):
        Streams(np.arange(6), 2, 3)
    with pytest.raises(ValueError, match="do not fill"):
        ShuffledWindows(np.arange(3), 1, 3, 0)
