"""Malformed checkpoints and JSON are read, or refused in one line that names the file."""

from typing import Any

import numpy as np
import pytest
from hostile import (
    READERS,
    TEXT,
    is_read,
    make_run,
    metadata,
    mutants,
    sealed,
    small_checkpoint,
    with_header,
)
from safetensors import safe_open

from chargen.errors import ChargenError
from chargen.files import decode_json
from chargen.runs.checkpoint import Checkpoint, parse
from chargen.runs.directory import BEST, LAST
from chargen.settings import MOST_LAYERS, ModelSettings

F4 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("count", [80, pytest.param(20_000, marks=pytest.mark.soak)])
def test_mutants_are_read_or_refused(run, kind, count):
    data = READERS[kind][2](run)
    assert is_read(kind, run, data)
    # Without a correct digest, the digest alone would refuse most mutants of a checkpoint.
    found = [is_read(kind, run, sealed(mutant)) for mutant in mutants(data, 0, count)]
    assert not all(found)


def test_the_digest_covers_every_byte():
    data = small_checkpoint()
    parse(data)
    flipped = (
        data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]
        for place in range(len(data))
        for bit in (1, 0x20, 0x80)
    )
    truncated = (data[:length] for length in range(len(data)))
    for damaged in (*flipped, *truncated, data + b"\0"):
        with pytest.raises(ValueError, match=r".+"):
            parse(damaged)


def test_safetensors_opens_a_checkpoint_and_equal_ones_are_equal_bytes(tmp_path):
    (tmp_path / "a").write_bytes(small_checkpoint())
    with safe_open(tmp_path / "a", framework="numpy") as tensors:
        assert tensors.get_tensor("model.b_y").tolist() == [0, 1, 2]
        assert tensors.metadata().keys() == {"format", "sha256", "values"}
    assert len({small_checkpoint() for _ in range(20)}) == 1
    names = [
        f"{kind}.{n}" for n in ModelSettings("gru", (1,) * MOST_LAYERS).shapes(3) for kind in "abcd"
    ]
    checkpoint = Checkpoint(dict.fromkeys(names, np.ones((1, 1), "f4")), {})
    assert list(parse(checkpoint.to_bytes()).arrays) == sorted(names)


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ({"a": {**F4, "dtype": "F16", "data_offsets": [0, 4]}}, 4),
        ({"a": {**F4, "dtype": ["F32"]}}, 8),
        *(({"a": {**F4, "shape": shape}}, 8) for shape in ([3], [-2], [2**40] * 3, [2**61, 8])),
        ({"a": {**F4, "shape": [1] * 200 + [2]}}, 8),
        ({"a": {**F4, "shape": [0, 2**61, 2**61], "data_offsets": [0, 0]}}, 0),
        *(({"a": {**F4, "data_offsets": at}}, 8) for at in ([0, 2**50], [8, 0])),
        ({"a": F4, "b": {**F4, "data_offsets": [4, 12]}}, 12),
        ({"a": F4}, 12),
    ],
    ids=str,
)
def test_a_wrong_tensor_is_refused(run, header, body):
    good = {"__metadata__": metadata(), "a": F4}
    assert parse(with_header(good, bytes(8))).arrays["a"].tolist() == [0, 0]
    assert not is_read("checkpoint", run, with_header(good | header, bytes(body)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((2**63).to_bytes(8, "little") + b"{}", "header is cut off"),
        ((2**20 + 8).to_bytes(8, "little") + b"{" + b" " * 2**21, "or too long"),
        (with_header(b'{"a":' * 30_000 + b"1" + b"}" * 30_000), "nested"),
        (with_header({"__metadata__": 3}), "object"),
        (with_header({"__metadata__": {"format": "2", "values": "{}"}}), "no SHA-256"),
        (with_header({"__metadata__": metadata(format="3")}), "newer chargen, upgrade"),
        (with_header({"__metadata__": metadata(format="1")}), "format 1, not 2"),
        (with_header({"__metadata__": metadata(values='{"a":{"b":{"c":1}}}')}), "Expected"),
    ],
    ids=range(8),
)
def test_a_wrong_header_is_refused(run, data, message):
    (run.path / LAST).write_bytes(data)
    with pytest.raises(ChargenError, match=rf"last\.safetensors: .*{message}"):
        run.read_checkpoint(LAST)


REFUSED_JSON = [
    *(b"NaN", b"-Infinity", b"1e999", b"[[],]", b"", b'"\xc3"', b"[" * 5000 + b"]" * 5000),
    *(b'"\\ud800"', b'["\\uDC00\\uD800"]', b"\xef\xbb\xbf1"),
    *(b"[" + b"{}," * 70_000 + b"{}]", b'"' + b"x" * 2**21 + b'"'),
]


@pytest.mark.parametrize("text", REFUSED_JSON, ids=range(len(REFUSED_JSON)))
def test_unsafe_json_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        decode_json(text, Any)


def test_weights_whose_sums_overflow_end_in_one_line(run, cli):
    own = run.read_checkpoint(BEST).arrays
    arrays = {name: np.copysign(np.float32(3e38), array) for name, array in own.items()}
    run.write_checkpoint(BEST, Checkpoint(arrays, {}))
    (run.path / "cat.txt").write_text(TEXT * 100)
    text, path = str(run.path / "cat.txt"), str(run.path)
    for command in (["sample", path], ["evaluate", path, text]):
        message = cli(command, 2).err
        assert ("predictions are not finite" in message, message.count("\n")) == (True, 1)


@pytest.mark.parametrize("bias", [np.float32([np.nan] * 13), np.ones(13)])
def test_weights_that_are_not_finite_float32_are_refused(run, bias):
    arrays = {**run.read_checkpoint(BEST).arrays, "model.b_y": bias}
    run.write_checkpoint(BEST, Checkpoint(arrays, {}))
    with pytest.raises(ChargenError, match=r"best\.safetensors: weights b_y are no finite"):
        run.weights()
