"""Files that strangers sent: each is read, or refused in one line that names it."""

import json
import warnings
from typing import Annotated

import numpy as np
import pytest
from hostile import (
    READERS,
    TEXT,
    is_read,
    length_of_header,
    make_run,
    metadata,
    mutants,
    sealed,
    small_checkpoint,
    with_header,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct
from safetensors import safe_open

from chargen.cli import main
from chargen.errors import ChargenError
from chargen.files import parse_json, read_json
from chargen.runs.checkpoint import Checkpoint, parse
from chargen.runs.directory import BEST, LAST
from chargen.settings import MOST_LAYERS, ModelSettings

F4 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BYTE = {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


# Most mutants of a checkpoint get the digest that belongs to them, or it alone would refuse them.
@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_mutant_is_read_or_refused_by_name(shared, kind, seed):
    data = READERS[kind][2](make_run(shared.path))
    assert is_read(kind, shared, data)
    found = [is_read(kind, shared, sealed(mutant)) for mutant in mutants(data, seed, 100)]
    assert not all(found)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
@example(b"")
def test_any_bytes_are_read_or_refused_by_name(shared, data):
    make_run(shared.path)
    for kind in READERS:
        is_read(kind, shared, data)
        is_read(kind, shared, with_header(data, data))


def test_every_byte_of_a_checkpoint_is_held_by_its_digest(run):
    data = small_checkpoint()
    assert is_read("checkpoint", run, data)
    for place in range(len(data)):
        for bit in (1, 0x20, 0x80):
            changed = bytearray(data)
            changed[place] ^= bit
            assert not is_read("checkpoint", run, changed)
    assert not any(is_read("checkpoint", run, data[:length]) for length in range(len(data)))
    assert not is_read("checkpoint", run, data + b"\0")


def test_it_is_the_digest_that_finds_a_changed_weight(run):
    data = bytearray(small_checkpoint())
    data[-1] ^= 1
    (run.path / LAST).write_bytes(data)
    with pytest.raises(ChargenError, match=r"last\.safetensors: .*SHA-256"):
        run.read_checkpoint(LAST)
    (run.path / LAST).write_bytes(sealed(bytes(data)))
    assert run.read_checkpoint(LAST).arrays["generator"].tolist() == [0, 1, 2, 3, 5]


def test_a_checkpoint_is_a_file_that_safetensors_reads(tmp_path):
    (tmp_path / "a").write_bytes(small_checkpoint())
    with safe_open(tmp_path / "a", framework="numpy") as tensors:
        assert tensors.get_tensor("model.b_y").tolist() == [0, 1, 2]
        assert tensors.metadata().keys() == {"format", "sha256", "values"}


def test_equal_checkpoints_are_equal_bytes():
    """So that two runs can be compared by their files; the library's own order is any."""
    assert len({small_checkpoint() for _ in range(20)}) == 1


def test_arrays_are_writable_views_of_what_was_read():
    data = bytearray(small_checkpoint())
    array = parse(data).arrays["model.b_y"]
    array[:] = 9
    assert data[-17:-5] == np.full(3, 9, "f4").tobytes()


def test_the_checkpoint_of_as_many_layers_as_there_may_be_is_read():
    model = ModelSettings("gru", (1,) * MOST_LAYERS)
    names = [f"{kind}.{name}" for name in model.shapes(3) for kind in ("model", *"abc")]
    checkpoint = Checkpoint({name: np.ones((1, 1), "f4") for name in names}, {})
    assert parse(bytearray(checkpoint.to_bytes())).arrays.keys() == set(names)


def test_a_checkpoint_holds_no_array_that_it_could_not_read():
    with pytest.raises(TypeError, match="complex"):
        Checkpoint({"a": np.zeros(2, "c8")}, {}).to_bytes()


@pytest.mark.parametrize(
    ("said", "message"),
    [("3", "newer chargen, upgrade"), ("1", "older chargen"), ("x", "not 2"), ("9" * 99, "not 2")],
)
def test_other_formats_are_refused_with_what_to_do(said, message):
    with pytest.raises(ValueError, match=message):
        parse(bytearray(with_header({"__metadata__": metadata(format=said)})))


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ({"a": {**F4, "dtype": "BF16"}}, 8),
        ({"a": {**F4, "dtype": ["F32"]}}, 8),
        ({"a": {**F4, "shape": [3]}}, 8),
        ({"a": {**F4, "shape": [-2]}}, 8),
        ({"a": {**F4, "shape": [2.0]}}, 8),
        ({"a": {**F4, "shape": [True, 2]}}, 8),
        ({"a": {**F4, "shape": 2}}, 8),
        ({"a": {**F4, "shape": [1] * 20 + [2]}}, 8),
        ({"a": {**F4, "shape": [2**40, 2**40, 2**40]}}, 8),
        ({"a": {**F4, "shape": [2**61, 8]}}, 8),
        ({"a": {**F4, "shape": [0, 2**61, 2**61], "data_offsets": [0, 0]}}, 0),
        ({"a": {**F4, "data_offsets": [0, 2**50]}}, 8),
        ({"a": {**F4, "data_offsets": [8, 0]}}, 8),
        ({"a": {**F4, "data_offsets": [-8, 0]}}, 8),
        ({"a": {**F4, "data_offsets": [2, 10]}}, 10),
        ({"a": {**F4, "data_offsets": [4, 12]}}, 12),
        ({"a": {**F4, "data_offsets": [0]}}, 8),
        ({"a": {**F4, "more": 1}}, 8),
        ({"a": F4, "b": F4}, 8),
        ({"a": F4, "b": {**F4, "data_offsets": [4, 12]}}, 12),
        ({"a": F4, "b": F4}, 16),
        ({"a": {**F4, "data_offsets": [1, 9]}, "b": BYTE}, 9),
        ({"a": F4}, 12),
        ({"a": [F4]}, 8),
    ],
    ids=str,
)
def test_a_tensor_is_where_and_what_it_is_said_to_be(header, body):
    good = {"__metadata__": metadata(), "a": F4}
    assert parse(bytearray(with_header(good, bytes(8)))).arrays["a"].tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"tensor|bytes follow|array is too big|Maximum"):
        parse(bytearray(with_header({"__metadata__": metadata(), **header}, bytes(body))))


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x02os\x94.",
        b"PK\x03\x04" + bytes(200),
        (2**63).to_bytes(8, "little") + b"{}",
        (2**20 + 8).to_bytes(8, "little") + b"{" + b" " * 2**21,
        with_header(b'{"__metadata__":{},"__metadata__":{}}'),
        with_header(b'{"a":' * 30_000 + b"1" + b"}" * 30_000),
        with_header({str(number): F4 for number in range(100_000)}),
        with_header({"__metadata__": 3}),
        with_header({"__metadata__": metadata(values=3)}),
        with_header({"__metadata__": metadata(values="[]")}),
        with_header({"__metadata__": metadata(values="")}),
        with_header({"__metadata__": metadata(values='{"a":NaN}')}),
        with_header({"__metadata__": metadata(values='{"a":1,"a":2}')}),
        with_header({"__metadata__": metadata(values='{"a":{"b":{"c":1}}}')}),
        with_header({"__metadata__": metadata(values='{"a":"\\ud800"}')}),
        with_header({"__metadata__": metadata(values='{"a":"ü"}')}),
        with_header({"__metadata__": {"format": "2", "values": "{}"}}),
        with_header([]),
    ],
    ids=range(18),
)
def test_what_is_no_checkpoint_is_refused_by_name(run, data):
    assert not is_read("checkpoint", run, data)


def test_an_array_stands_where_its_numbers_can_be_read_at_once():
    header = {"__metadata__": metadata(), "a": F4}
    assert parse(bytearray(with_header(header, bytes(8), 8))).arrays["a"].flags.aligned
    with pytest.raises(ValueError, match="header"):
        parse(bytearray(with_header(header, bytes(8), 1)))


def test_a_header_is_no_longer_than_it_may_be():
    data = with_header({"__metadata__": metadata(values=json.dumps({"a": "x" * 1_048_000}))})
    assert parse(bytearray(data)).values["a"].startswith("xx")
    longer = with_header({"__metadata__": metadata(values=json.dumps({"a": "x" * 1_049_000}))})
    assert length_of_header(longer) > 2**20
    with pytest.raises(ValueError, match="header is cut off, or too long"):
        parse(bytearray(longer))


@pytest.mark.parametrize(
    "text",
    [
        *(b'{"a":1,"a":1}', b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 21, b"9" * 9999),
        *(
            b"9" * 20,
            b"-9223372036854775809",
            b"[" * 5000 + b"]" * 5000,
            b"[[],]",
            b"",
            b'"\xc3\xbc"',
        ),
        *(b'"\\ud800"', b'{"\\udfff":1}', b'["\\uDC00\\uD800"]', b'"\\ud83d"', b"\xef\xbb\xbf1"),
        *(b"[" + b"{}," * 70_000 + b"{}]", b'"' + b"x" * 2**21 + b'"'),
    ],
    ids=range(20),
)
def test_json_that_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_json(text)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=10,
)


@given(JSON)
def test_json_that_is_written_is_read(value):
    assert parse_json(json.dumps(value).encode(), infinite=True) == value


def test_weights_that_are_beyond_measure_end_in_a_line(run, capsys):
    """Found by the fuzzer: sums of finite weights need not be finite."""
    own = run.read_checkpoint(BEST).arrays
    arrays = {name: np.copysign(np.float32(3e38), array) for name, array in own.items()}
    run.write_checkpoint(BEST, Checkpoint(arrays, {}))
    (run.path / "cat.txt").write_text(TEXT * 100)
    text = str(run.path / "cat.txt")
    for command in (
        ["sample"],
        ["evaluate", text],
        ["probe-longrange", "--only", "context", "--text", text],
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert main([*command[:1], str(run.path), *command[1:]]) == 2
        said = capsys.readouterr().err
        assert "predicts no numbers" in said
        assert said.count("\n") == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused_by_name(run, value):
    arrays = dict(run.read_checkpoint(BEST).arrays)
    arrays["model.b_y"][1] = value
    run.write_checkpoint(BEST, Checkpoint(arrays, {}))
    with pytest.raises(ChargenError, match=r"best\.safetensors: weights b_y are no numbers"):
        run.weights()
    arrays["model.b_y"] = np.zeros(len(arrays["model.b_y"]))
    run.write_checkpoint(BEST, Checkpoint(arrays, {}))
    with pytest.raises(ChargenError, match=r"best\.safetensors: weights b_y are no numbers"):
        run.weights()


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    span: Annotated[int, Meta(ge=1)]
    share: Annotated[float, Meta(ge=0, le=1)] = 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"span": 0}]', r"rows\.json: Expected `int` >= 1 - at `\$\[0\]\.span`"),
        ('[{"span": 4, "share": 1.5}]', r"<= 1\.0 - at `\$\[0\]\.share`"),
        ('[{"span": 4, "more": 1}]', "unknown field `more`"),
        ('[{"span": 4, "span": 4}]', "a key is repeated"),
        ("[{}]", "missing required field `span`"),
        ("[" * 300_000, "more than"),
    ],
)
def test_read_json_names_the_file_and_the_field(tmp_path, text, message):
    file = tmp_path / "rows.json"
    file.write_text('[{"span": 4}]')
    assert read_json(file, tuple[Row, ...], 2**20) == (Row(4),)
    file.write_text(text)
    with pytest.raises(ChargenError, match=message):
        read_json(file, tuple[Row, ...], 2**20)
