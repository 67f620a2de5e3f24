"""Links, devices and oversized files are refused before they are read."""

import os
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from hostile import BANK, READERS, make_run, metadata, with_header
from hypothesis import given
from hypothesis import strategies as st

from chargen.datasets import phrase_bank
from chargen.errors import ChargenError
from chargen.files import read_bytes
from chargen.runs.directory import BEST, PROGRESS, RUN, Run

F4 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


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
            phrase_bank.parse_bank(BANK.replace(old, new).decode(), "my.bank")
    (tmp_path / "bank").write_bytes(BANK + b"#" * 2**18)
    (tmp_path / "link").symlink_to(tmp_path / "bank")  # a bank may be a link
    with pytest.raises(ChargenError, match="link: 262,"):
        phrase_bank.read_bank(tmp_path / "link")


@pytest.mark.usefixtures("deadline")
def test_fillers_with_many_combinations_are_parsed_quickly():
    fillers = b"\n".join(b'"' + b"a" * length + b'"' for length in range(1, 12))
    lead = b"a" * 400 + b"!"
    bank = BANK.replace(b'", so dry"', fillers).replace(b" in {target}", lead + b"{target}")
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
    hostile = [
        ("other", b""),  # a good run
        (BEST, b"\x80\x04\x95" + bytes(2_000_000)),
        (BEST, with_header(huge, bytes(8))),
        (BEST, with_header({str(number): F4 for number in range(100_000)})),
        (RUN, many),
        (RUN, b'{"vocabulary":"' + b"a" * 5_000_000 + b'\\ud83d\\ude00"}'),
        (PROGRESS, many + b"\n"),
    ]
    for number, (file, data) in enumerate(hostile):
        (tmp_path / str(number)).mkdir()
        (make_run(tmp_path / str(number)).path / file).write_bytes(data)
    folders = [str(tmp_path / str(number)) for number in range(len(hostile))]
    ran = subprocess.run(
        [sys.executable, "-c", MEASURED, *folders], capture_output=True, text=True, check=False
    )
    assert ran.stderr == ""
    grown = [int(line.split()[0]) for line in ran.stdout.splitlines()]
    assert len(grown) == len(hostile) - 1
    assert max(grown) < 2 * 5_100_000 + 4_000_000, ran.stdout
