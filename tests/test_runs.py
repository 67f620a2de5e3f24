"""A run directory is written, read, found and locked."""

import os

import numpy as np
import pytest
from hostile import RECORD
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import save_file

from chargen.errors import ChargenError
from chargen.runs.checkpoint import Checkpoint, parse
from chargen.runs.description import CorpusRecord, Description
from chargen.runs.directory import BEST, LAST, PROGRESS, RUN, Run, newest
from chargen.runs.lock import lock
from chargen.settings import ModelSettings, TrainingSettings
from chargen.text import Vocabulary

ARRAYS = st.dictionaries(
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1),
    arrays.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.uint8]),
        arrays.array_shapes(min_dims=0, max_dims=3, max_side=4),
    ),
    max_size=4,
)
VALUES = st.dictionaries(
    st.text(max_size=5),
    st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
)
DESCRIPTION = Description(
    ModelSettings("gru", (5, 6)),
    Vocabulary("abc"),
    TrainingSettings(timesteps=3, batch_size=2, steps=7),
    CorpusRecord("x", ("/x.txt",), "0" * 64, 30, 27),
    {"chargen": "1"},
)


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path, DESCRIPTION)


@settings(max_examples=25)
@given(ARRAYS, VALUES)
def test_a_checkpoint_round_trips_bit_by_bit(written, values):
    read = parse(Checkpoint(written, values).to_bytes())
    assert read.values == values
    assert {name: (a.dtype, a.shape, a.tobytes()) for name, a in read.arrays.items()} == {
        name: (a.dtype, a.shape, a.tobytes()) for name, a in written.items()
    }


def test_an_incomplete_last_line_of_progress_is_left_out(run):
    assert run.progress() == []
    zero, one, two, five = ({**RECORD, "step": step} for step in (0, 1, 2, 5))
    run.write_progress(0, [zero])
    run.write_progress(1, [one, two])
    with (run.path / PROGRESS).open("a") as file:
        file.write('{"ste')
    assert run.progress() == [zero, one, two]
    run.write_progress(2, [five])
    assert run.progress() == [zero, one, five]
    with pytest.raises(ChargenError, match=r"progress\.jsonl: damaged, 3 of the 4 lines"):
        run.write_progress(4)


def test_weights_are_the_best_or_else_the_last_and_a_new_run_removes_both(run):
    zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    run.write_checkpoint(LAST, Checkpoint({"model.a": zero, "generator": one}, {}))
    assert {name: a.tolist() for name, a in run.weights().items()} == {"a": [0]}
    run.write_checkpoint(BEST, Checkpoint({"model.a": one}, {}))
    assert run.weights()["a"].tolist() == [1]
    run.write_progress(0, [RECORD])
    Run.create(run.path, DESCRIPTION)
    assert [file.name for file in run.path.iterdir()] == [RUN]


def test_the_newest_run_is_the_one_modified_last(tmp_path):
    for age, name in enumerate(("old", "oldest")):
        (tmp_path / name).mkdir()
        run = Run.create(tmp_path / name, DESCRIPTION)
        os.utime(run.path / RUN, ns=(0, 10**9 * (10 - age)))
    (tmp_path / "no run").mkdir()
    assert newest(tmp_path).path.name == "old"
    (tmp_path / "oldest" / PROGRESS).write_text("")
    (tmp_path / "old" / "picture.png").write_text("newer, but no file of the run")
    assert newest(tmp_path).path.name == "oldest"


def test_a_missing_or_foreign_file_is_an_error(run):
    with pytest.raises(ChargenError, match=r"best\.safetensors: missing"):
        run.read_checkpoint(BEST)
    save_file({"a": np.zeros(2)}, run.path / BEST)
    with pytest.raises(ChargenError, match=r"best\.safetensors: not a checkpoint"):
        run.read_checkpoint(BEST)
    (run.path / RUN).unlink()
    with pytest.raises(ChargenError, match=r"not a run directory, it has no run\.json"):
        Run.open(run.path)


def test_a_directory_is_locked_where_it_can_be_created(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(ChargenError, match="file/run: cannot be written"),
        lock(tmp_path / "file/run"),
    ):
        pass
