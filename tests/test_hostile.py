"""Malformed files, links, devices and oversized files are read, or refused in one line by name."""

import os
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pytest
from hostile import READERS, is_read, make_run, metadata, mutants, sealed, with_header
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from chargen.datasets import phrase_bank
from chargen.errors import ChargenError
from chargen.files import decode_json, read_bytes
from chargen.runs.checkpoint import Checkpoint, parse
from chargen.runs.directory import BEST, LAST, PROGRESS, RUN, Run
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
    data = hostile.small_checkpoint()
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
    (tmp_path / "a").write_bytes(hostile.small_checkpoint())
    with safe_open(tmp_path / "a", framework="numpy") as tensors:
        assert tensors.get_tensor("model.b_y").tolist() == [0, 1, 2]
        assert tensors.metadata().keys() == {"format", "sha256", "values"}
    assert len({hostile.small_checkpoint() for _ in range(20)}) == 1
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


def test_unsafe_json_is_refused():
    for text in (
        *(b"NaN", b"-Infinity", b"1e999", b"[[],]", b"", b'"\xc3"', b"[" * 5000 + b"]" * 5000),
        *(b'"\\ud800"', b'["\\uDC00\\uD800"]', b"\xef\xbb\xbf1"),
        *(b"[" + b"{}," * 70_000 + b"{}]", b'"' + b"x" * 2**21 + b'"'),
    ):
        with pytest.raises(ValueError, match=r".+"):
            decode_json(text, Any)


def test_weights_whose_sums_overflow_end_in_one_line(run, cli):
    own = run.read_checkpoint(BEST).arrays
    arrays = {name: np.copysign(np.float32(3e38), array) for name, array in own.items()}
    run.write_checkpoint(BEST, Checkpoint(arrays, {}))
    (run.path / "cat.txt").write_text(hostile.TEXT * 100)
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


@pytest.fixture
def deadline():
    """Fail a test that blocks for 20 seconds."""

    def fail(number, frame):
        raise AssertionError("blocked")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("name", "read"),
    [(RUN, lambda run: Run.open(run.path)), (BEST, Run.weights), (PROGRESS, Run.progress)],
)
def test_a_linked_file_of_a_run_is_refused(run, tmp_path_factory, monkeypatch, name, read):
    outside = tmp_path_factory.mktemp("outside") / name
    (run.path / name).rename(outside)
    (run.path / name).symlink_to(outside)
    with pytest.raises(ChargenError, match=f"{name}: a symbolic link"):
        read(run)
    with pytest.raises(ChargenError, match=f"{name}: a symbolic link"):
        Run.open(run.path)
    # A link that replaces the file after the check is not followed either.
    monkeypatch.setattr(Path, "is_symlink", lambda path: False)
    with pytest.raises(ChargenError, match=f"{name}: cannot be read"):
        read_bytes(run.path / name, 10**6)
    assert read_bytes(run.path / name, 10**6, follow=True) == outside.read_bytes()


@pytest.mark.parametrize("kind", ["weights", "description", "progress", "bank"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
@pytest.mark.usefixtures("deadline")
def test_pipes_and_directories_are_refused_at_once(run, kind, make):
    file, read, _ = READERS[kind]
    (run.path / file).unlink(missing_ok=True)
    make(run.path / file)
    with pytest.raises(ChargenError, match=rf"{file}: (not a regular|.*Is a directory)"):
        read(run)


def test_an_oversized_file_is_not_read(run):
    for name, message in (
        (BEST, "1,099,511,627,776 bytes"),
        (RUN, ".* at most 16,777,216 are read"),
    ):
        with (run.path / name).open("r+b") as file:
            file.truncate(2**40)  # a sparse terabyte
        with pytest.raises(ChargenError, match=rf"{name}: {message}"):
            Run.open(run.path).weights()


def test_a_bank_is_bounded(tmp_path):
    for old, new, message in (
        (b'no cue = "boo"', b'no cue = "boo"\nno cue = "boo"', "no cue is repeated"),
        (b"bee -> Bob", b"bee -> Bob\n" * 2001, "at most 2000 lines"),
    ):
        with pytest.raises(ChargenError, match=rf"my\.bank, line \d+: .*{message}"):
            phrase_bank.parse_bank(hostile.BANK.replace(old, new).decode(), "my.bank")
    (tmp_path / "bank").write_bytes(hostile.BANK + b"#" * 2**18)
    (tmp_path / "link").symlink_to(tmp_path / "bank")  # a bank may be a link
    with pytest.raises(ChargenError, match="link: 262,"):
        phrase_bank.read_bank(tmp_path / "link")


@pytest.mark.usefixtures("deadline")
def test_fillers_with_many_combinations_are_parsed_quickly():
    fillers = b"\n".join(b'"' + b"a" * length + b'"' for length in range(1, 12))
    lead = b"a" * 400 + b"!"
    bank = hostile.BANK.replace(b'", so dry"', fillers).replace(b" in {target}", lead + b"{target}")
    assert len(phrase_bank.parse_bank(bank.decode(), "my.bank").training) == 11


WORDS = st.text("ab", min_size=1, max_size=3)


@given(st.lists(WORDS, min_size=1, max_size=3), st.text("ab", min_size=1, max_size=5))
def test_strung_pieces_hold_what_their_concatenations_hold(pieces, text):
    count = range(len(text) + 2)  # longer concatenations hold no other text of this length
    strung = ("".join(parts) for most in count for parts in product(pieces, repeat=most))
    found = phrase_bank.FillerLanguage(pieces).contains(text)
    assert found == any(text in one for one in strung)


MEASURED = """
import sys
from pathlib import Path
from chargen.errors import ChargenError
from chargen.runs.directory import Run
def most():
    line = next(l for l in open("/proc/self/status") if l.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
folders = sys.argv[1:]
Run.open(Path(folders[0])).weights()
before = most()
for folder in folders[1:]:
    try:
        run = Run.open(Path(folder))
        run.progress()
        run.weights()
    except ChargenError as error:
        assert chr(10) not in str(error)
        print(most() - before, error)
    else:
        sys.exit(folder + " was read")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs VmHWM in /proc")
def test_hostile_files_take_at_most_twice_their_size(tmp_path):
    huge = {"__metadata__": metadata(), "a": {**F4, "shape": [2**31, 2]}}
    many = b"[" + b"{}," * 1_700_000 + b"{}]"
    written = [
        ("other", b""),  # a good run
        (BEST, b"\x80\x04\x95" + bytes(2_000_000)),
        (BEST, with_header(huge, bytes(8))),
        (BEST, with_header({str(number): F4 for number in range(100_000)})),
        (RUN, many),
        (RUN, b'{"vocabulary":"' + b"a" * 5_000_000 + b'\\ud83d\\ude00"}'),
        (PROGRESS, many + b"\n"),
    ]
    for number, (file, data) in enumerate(written):
        (tmp_path / str(number)).mkdir()
        (make_run(tmp_path / str(number)).path / file).write_bytes(data)
    folders = [str(tmp_path / str(number)) for number in range(len(written))]
    ran = subprocess.run(
        [sys.executable, "-c", MEASURED, *folders], capture_output=True, text=True, check=False
    )
    assert ran.stderr == ""
    grown = [int(line.split()[0]) for line in ran.stdout.splitlines()]
    assert len(grown) == len(written) - 1
    assert max(grown) < 2 * 5_100_000 + 4_000_000, ran.stdout
