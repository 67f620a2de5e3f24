"""Batches of windows: order, each target once per epoch, and the memory that reading takes."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chargen.evaluation import evaluate
from chargen.text.memory_map import map_file, release, underlying_map
from chargen.text.windows import IGNORED, ShuffledWindows, Streams, one_hot, permuted

PLACES = st.integers(0, 5000)
MAKERS = (Streams, lambda ids, N, T, starts=None: ShuffledWindows(ids, N, T, starts, 3))
SIZES = st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(0, 60))


def text_of(batch_size, timesteps, more):
    """Return distinct ids: each id is its position."""
    return np.arange(batch_size * timesteps + 1 + more)


def test_one_hot_vectors():
    assert one_hot(np.array([[0], [2]]), 3).tolist() == [[[1, 0, 0]], [[0, 0, 1]]]  # (2, 1, 3)
    assert one_hot(np.array([[0, 1, 1, 0]]), 2).shape == (1, 4, 2)
    assert one_hot(np.array([[1]]), 2).dtype == np.float32
    for ids in ([[3]], [[-1]]):
        with pytest.raises(IndexError):
            one_hot(np.array(ids), 3)


@given(SIZES)
def test_streams_continue_row_by_row(sizes):
    streams = Streams(text_of(*sizes), *sizes[:2])
    batches = [streams.batch(0, index).inputs for index in range(len(streams))]
    assert all(batch.shape == sizes[:2] for batch in batches[:-1])
    assert (np.diff(np.concatenate(batches, axis=1), axis=1) == 1).all()


@pytest.mark.parametrize("kind", [Streams, ShuffledWindows])
def test_a_teacher_is_given_the_positions_of_the_targets(kind):
    windows = kind(text_of(3, 4, 7), 3, 4, teacher=lambda positions: positions)
    for index in range(len(windows)):
        batch = windows.batch(1, index)
        counted = batch.targets != IGNORED
        assert np.array_equal(batch.soft[counted], batch.targets[counted])


def test_resets_are_random_and_ten_times_as_frequent_after_a_line_feed():
    line_feed, rest = 3, 5
    ids = np.where(np.random.default_rng(0).random(4 * 8 * 1000 + 1) < 0.2, line_feed, rest)

    def resets(seed, epoch, rows=slice(None)):
        streams = Streams(ids, 4, 8, None, seed, 0.05, line_feed)
        batches = [streams.batch(epoch, index, rows) for index in range(len(streams))]
        none = np.zeros((4, 8), bool)[rows]
        begins = np.array([none if one.begins is None else one.begins for one in batches])
        assert not begins[..., 1:].any()
        return np.array([one.inputs[:, 0] for one in batches]), begins[..., 0]

    first, reset = resets(0, 0)
    assert reset[first == line_feed].mean() == pytest.approx(0.5, abs=0.07)
    assert reset[first == rest].mean() == pytest.approx(0.05, abs=0.02)
    assert (reset[:, 1:3] == resets(0, 0, slice(1, 3))[1]).all()  # the same for all processes
    for other in ((0, 1), (1, 0)):
        assert (reset != resets(*other)[1]).any()


def test_a_text_shorter_than_a_window_is_refused():
    for make, chars in ((Streams, 15), (MAKERS[1], 5)):
        with pytest.raises(ValueError, match="do not fill"):
            make(np.arange(chars), 3, 5)


@given(SIZES, st.sampled_from(MAKERS), st.integers(0, 2), st.lists(st.integers(0, 5), max_size=4))
def test_shares_partition_the_batch_and_every_target_counts_once(sizes, make, epoch, cuts):
    N, T, _ = sizes
    ids = text_of(*sizes)
    starts = np.array([0, 1, *range(4, len(ids), 3)])
    batches = make(ids, N, T, starts)
    bounds = [0, *sorted(min(cut, N) for cut in cuts), N]
    own = [slice(start, end) for start, end in pairwise(bounds)]  # some may be empty
    seen = []
    for index in range(len(batches)):
        whole = batches.batch(epoch, index)
        assert whole.inputs.dtype == whole.targets.dtype == np.int64
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
                assert part.counts[-last:].sum() == (whole.targets[:, -last:] != IGNORED).sum()
        seen += [part.targets[part.targets != IGNORED] for part in parts]
    assert sorted(np.concatenate(seen)) == list(range(1, len(ids)))


class Endless:
    """A text of any length in which each id is its position; records what was read."""

    def __init__(self, length):
        self.length = length
        self.read = set()

    def __len__(self):
        return self.length

    def __getitem__(self, positions):
        self.read |= set(positions.ravel().tolist())
        return positions


@pytest.mark.parametrize("make", MAKERS)
def test_a_share_of_a_text_larger_than_memory_reads_only_its_own_rows(make):
    for rows in (slice(0, 0), slice(1, 3)):
        whole, own = Endless(10_000), Endless(10_000)
        inputs = make(whole, 6, 5).batch(1, 7).inputs[rows]
        batch = make(own, 6, 5).batch(1, 7, rows)
        np.testing.assert_array_equal(batch.inputs, inputs)
        assert own.read == set((inputs[..., None] + [0, 1]).ravel().tolist())
    batches = make(Endless(10**13), 64, 50)
    for index in (0, 1, len(batches) // 2, len(batches) - 1):
        batch = batches.batch(2, index)
        counted = batch.targets != IGNORED
        np.testing.assert_array_equal((batch.inputs + 1)[counted], batch.targets[counted])


def drawn(size, seed):
    return permuted(np.arange(size), size, seed)


def chi_square(counts):
    return float(((counts - counts.mean()) ** 2).sum() / counts.mean())


@example(1, 0, 0, [])
@example(2**16 + 1, 0, 1, [5])
@given(st.integers(1, 5000), st.integers(0, 2**70), st.integers(0, 2**40), st.lists(PLACES))
def test_a_permutation_is_a_bijection_with_random_access(size, seed, epoch, places):
    whole = drawn(size, (seed, epoch))
    assert sorted(whole) == list(range(size))
    places = np.array(places, dtype=np.int64) % size
    assert (permuted(places, size, (seed, epoch)) == whole[places]).all()


@pytest.mark.parametrize("size", [10**10, 2**62])
def test_a_permutation_larger_than_memory(size):
    found = permuted(np.r_[np.arange(50_000), size - np.arange(1, 50_000)], size, (3,))
    assert len(np.unique(found)) == len(found)
    assert 0 <= found.min() <= found.max() < size
    assert chi_square(np.histogram(found, 100, (0, size))[0]) < 160  # 99 degrees: 1 in 10,000


@pytest.mark.parametrize("size", [1000, 1024])
def test_a_permutation_has_no_structure(size):
    orders = np.array([drawn(size, (seed, 0)) for seed in range(20)])
    steps = np.diff(orders)
    for order in orders:
        assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 5 / size**0.5
        assert chi_square(np.histogram(order[:500], 10, (0, size))[0]) < 34  # 9 degrees
    assert 5 <= (orders == np.arange(size)).sum() <= 42  # one per permutation is expected
    assert 15 <= (abs(steps) == 1).sum() <= 70  # two per permutation
    assert abs((steps < 0).mean() - 0.5) < 0.01


STATUS = Path("/proc/self/status")


def test_a_mapped_file_is_read_only_and_released_under_views(tmp_path):
    path = tmp_path / "ids"
    values = np.arange(5000, dtype=np.uint16)
    path.write_bytes(values.tobytes())
    with path.open("rb") as file:
        from_file = map_file(file, np.uint16)
    for array in (from_file, map_file(path, np.uint16)):
        assert array.dtype == np.uint16
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
        assert underlying_map(array[3:][1:]) is underlying_map(array) is not None
        release(array[1000:][5:])
        np.testing.assert_array_equal(array, values)
    assert underlying_map(array.copy()) is None
    path.write_bytes(b"abc")
    with pytest.raises(ValueError, match="multiple"):
        map_file(path, np.uint16)
    path.write_bytes(b"")
    array = map_file(path, np.uint16)
    assert (array.shape, array.dtype, array.flags.writeable) == ((0,), np.uint16, False)


def resident():
    """The megabytes of files in memory."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssFile"))
    return int(line.split()[1]) / 1024


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux reports the resident size of files")
def test_reading_a_large_file_keeps_little_of_it_in_memory(tmp_path):
    """Each reader reads about 80 MB of a file of 1 GB, scattered or in order."""
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**30)
    ids, wide = (map_file(tmp_path / "sparse", dtype) for dtype in (np.uint8, np.int64))
    before, peaks = resident(), []

    class Fake:
        vocabulary = "ab"

        def advance(self, ids, state=None):
            peaks.append(resident())
            return np.broadcast_to(np.float32(np.log(0.5)), (*ids.shape, 2)), None

    streams, windows = Streams(ids, 256, 16), ShuffledWindows(ids, 256, 1)
    for index in range(80):
        streams.batch(0, 256 * index)
        peaks.append(resident())
        windows.batch(0, index)
        peaks.append(resident())
    starts = np.arange(0, len(wide), 2**12)
    evaluate(Fake(), wide, len(wide) - 10 * 2**20, starts=starts)
    assert max(peaks) - before < 64
