"""Windows of inputs and targets: shapes, order, and every character once."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.text import ShuffledWindows, Streams, one_hot, window
from chargen.text.windows import IGNORED, Resets

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
    seen = [streams.batch(0, index).targets for index in range(len(streams))]
    counted = np.concatenate([targets[targets != IGNORED] for targets in seen])
    assert sorted(counted) == list(range(1, len(ids)))


@given(SIZES)
def test_streams_continue_row_by_row(sizes):
    N, T, _ = sizes
    streams = Streams(text_of(*sizes), N, T)
    batches = [streams.batch(0, index).inputs for index in range(len(streams))]
    assert all(batch.shape == (N, T) for batch in batches[:-1])
    assert batches[-1].shape[0] == N
    rows = np.concatenate(batches, axis=1)
    assert (np.diff(rows, axis=1) == 1).all()


@given(SIZES, st.integers(0, 3), st.slices(5))
def test_resets_are_of_first_inputs_and_the_same_whoever_reads(sizes, epoch, rows):
    N, T, _ = sizes
    ids = text_of(*sizes)
    starts = np.arange(0, len(ids), 5)
    streams = Streams(ids, N, T, starts, Resets(0.3, 2, 1))
    plain = Streams(ids, N, T, starts)
    for index in range(len(streams)):
        batch, without = (of.batch(epoch, index) for of in (streams, plain))
        np.testing.assert_array_equal(batch.inputs, without.inputs)
        np.testing.assert_array_equal(batch.targets, without.targets)
        begins, documents = (
            np.zeros(of.inputs.shape, bool) if of.begins is None else of.begins
            for of in (batch, without)
        )
        np.testing.assert_array_equal(begins[:, 1:], documents[:, 1:])
        assert (begins[:, 0] >= documents[:, 0]).all()
        own = streams.batch(epoch, index, rows).begins
        if own is None:
            assert not begins[rows].any()
        else:
            np.testing.assert_array_equal(own, begins[rows])


@pytest.mark.parametrize("resets", [0.0, 0.05, 0.5])
def test_so_many_windows_are_reset_others_each_epoch_and_seed(resets):
    ids = np.ones(4 * 8 * 500 + 1, dtype=np.int64)

    def reset(epoch, seed):
        streams = Streams(ids, 4, 8, None, Resets(resets, 0, seed))
        found = [streams.batch(epoch, index).begins for index in range(len(streams))]
        rows = [np.zeros(4, bool) if begins is None else begins[:, 0] for begins in found]
        return np.stack(rows)

    one = reset(0, 0)
    assert one.mean() == pytest.approx(resets, abs=0.04)
    assert (one == reset(0, 0)).all()
    for other in (reset(1, 0), reset(0, 1)):
        assert (one != other).any() == (resets > 0)


def test_windows_that_begin_as_what_is_written_does_are_reset_more_often():
    """Ten times as often: what is written begins at zeros, after a line feed where it can."""
    line_feed, rest = 3, 5
    ids = np.where(np.random.default_rng(0).random(4 * 8 * 2000 + 1) < 0.2, line_feed, rest)
    streams = Streams(ids, 4, 8, None, Resets(0.05, line_feed, 0))
    first, reset = [], []
    for index in range(len(streams)):
        batch = streams.batch(0, index)
        first.extend(batch.inputs[:, 0])
        reset.extend(np.zeros(4, bool) if batch.begins is None else batch.begins[:, 0])
    begins_a_line, reset = np.array(first) == line_feed, np.array(reset)
    assert reset[begins_a_line].mean() == pytest.approx(0.5, abs=0.05)
    assert reset[~begins_a_line].mean() == pytest.approx(0.05, abs=0.02)


@given(SIZES, st.integers(0, 3))
def test_shuffled_windows_read_every_target_once_an_epoch(sizes, epoch):
    N, T, _ = sizes
    ids = text_of(*sizes)
    windows = ShuffledWindows(ids, N, T, seed=1)
    batches = [windows.batch(epoch, index) for index in range(len(windows))]
    counted = np.concatenate([batch.targets[batch.targets != IGNORED] for batch in batches])
    assert sorted(counted) == list(range(1, len(ids)))
    for batch in batches:
        inputs, targets = batch.inputs, batch.targets
        assert inputs.shape == targets.shape
        assert inputs.shape[1] == T
        assert ((targets == inputs + 1) | (targets == IGNORED)).all()


@pytest.mark.parametrize("timesteps", [1, 5])  # with 1, where windows begin cannot shift
def test_shuffled_windows_differ_by_epoch_and_seed_alone(timesteps):
    ids = np.arange(1000)
    one, same, other = (ShuffledWindows(ids, 4, timesteps, seed) for seed in (1, 1, 2))
    assert (one.batch(3, 2).inputs == same.batch(3, 2).inputs).all()
    assert (one.batch(3, 2).inputs != one.batch(4, 2).inputs).any()
    assert (one.batch(3, 2).inputs != other.batch(3, 2).inputs).any()


@pytest.mark.parametrize("make", [Streams, lambda ids, N, T: ShuffledWindows(ids, N, T, 0)])
def test_batches_are_int64_from_narrow_ids(make):
    batch = make(np.arange(100, dtype=np.uint8), 2, 3).batch(0, 0)
    assert batch.inputs.dtype == batch.targets.dtype == np.int64


def test_a_text_that_fills_no_window_is_refused():
    with pytest.raises(ValueError, match="do not fill"):
        Streams(np.arange(6), 2, 3)
    with pytest.raises(ValueError, match="do not fill"):
        ShuffledWindows(np.arange(3), 1, 3, 0)


# Shares: each process reads some rows of a batch

MAKERS = (Streams, lambda ids, N, T, starts=None: ShuffledWindows(ids, N, T, 3, starts))


def shares(rows, cuts):
    """Slices that together are ``rows`` rows, cut at ``cuts``; some may be empty."""
    bounds = [0, *sorted(cuts), rows]
    return [slice(start, end) for start, end in pairwise(bounds)]


@given(SIZES, st.sampled_from(MAKERS), st.integers(0, 2), st.lists(st.integers(0, 5), max_size=4))
def test_shares_of_rows_are_the_whole_batch(sizes, make, epoch, cuts):
    N, T, _ = sizes
    ids = text_of(*sizes)
    starts = np.array([0, 1, *range(4, len(ids), 3)])
    batches = make(ids, N, T, starts)
    own = shares(N, [min(cut, N) for cut in cuts])
    seen = []
    for index in range(len(batches)):
        whole = batches.batch(epoch, index)
        parts = [batches.batch(epoch, index, rows) for rows in own]
        for name in ("inputs", "targets"):
            joined = np.concatenate([getattr(part, name) for part in parts])
            np.testing.assert_array_equal(joined, getattr(whole, name))
        for part, rows in zip(parts, own, strict=True):
            begins = np.isin(whole.inputs[rows], starts)
            np.testing.assert_array_equal(
                np.zeros_like(begins) if part.begins is None else part.begins, begins
            )
            assert part.chars == whole.inputs.size
            for last in range(1, whole.inputs.shape[1] + 1):
                assert part.counted(last) == (whole.targets[:, -last:] != IGNORED).sum()
        seen += [part.targets[part.targets != IGNORED] for part in parts]
    assert sorted(np.concatenate(seen)) == list(range(1, len(ids)))


class Endless:
    """A text of any length in no memory: each id is its position; it keeps what was read."""

    def __init__(self, length):
        self.length = length
        self.read = set()

    def __len__(self):
        return self.length

    def __getitem__(self, positions):
        self.read |= set(positions.ravel().tolist())
        return positions


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("rows", [slice(0, 0), slice(1, 3), slice(2, 4), slice(4, None)])
def test_a_share_reads_the_ids_of_its_own_rows_alone(make, rows):
    whole, own = Endless(10_000), Endless(10_000)
    inputs = make(whole, 6, 5).batch(1, 7).inputs[rows]
    batch = make(own, 6, 5).batch(1, 7, rows)
    np.testing.assert_array_equal(batch.inputs, inputs)
    assert own.read == set((inputs[..., None] + [0, 1]).ravel().tolist())


@pytest.mark.parametrize("make", MAKERS)
def test_a_text_beyond_all_memory_is_cut_like_a_small_one(make):
    batches = make(Endless(10**13), 64, 50)
    for index in (0, 1, len(batches) // 2, len(batches) - 1):
        batch = batches.batch(2, index)
        counted = batch.targets != IGNORED
        np.testing.assert_array_equal((batch.inputs + 1)[counted], batch.targets[counted])
        assert batch.inputs.min() >= 0
        assert batch.inputs.max() < 10**13 - 1


def test_shuffled_windows_come_from_all_over_the_text():
    batches = ShuffledWindows(Endless(10**10), 100, 10, seed=0)
    for epoch, index in ((0, 0), (0, 1), (5, 0)):
        places = batches.batch(epoch, index).inputs[:, 0]
        assert np.histogram(places, 10, (0, 10**10))[0].max() < 30  # 10 are to be expected
        assert abs(np.corrcoef(places[:-1], places[1:])[0, 1]) < 0.4
