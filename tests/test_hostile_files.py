"""What is no file, has no end, or leads elsewhere is refused before it is read."""

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

from chargen.datasets import phrases
from chargen.errors import ChargenError
from chargen.files import read_bytes
from chargen.runs.directory import BEST, PROGRESS, RUN, Run

F4 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


@pytest.fixture
def deadline():
    """What would wait for ever fails instead."""

    def fail(number, frame):
        raise AssertionError("it does not end")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("name", "read"),
    [(RUN, lambda run: Run.open(run.path)), (BEST, Run.weights), (PROGRESS, Run.progress)],
)
def test_a_link_in_a_run_is_refused_and_what_it_names_not_read(
    run, tmp_path_factory, monkeypatch, name, read
):
    outside = tmp_path_factory.mktemp("outside") / name
    (run.path / name).rename(outside)
    (run.path / name).symlink_to(outside)
    with pytest.raises(ChargenError, match=f"{name}: a symbolic link"):
        read(run)
    # One that is put there after it was looked for is not followed either.
    monkeypatch.setattr(Path, "is_symlink", lambda path: False)
    with pytest.raises(ChargenError, match=f"{name}: cannot be read"):
        read_bytes(run.path / name, 10**6)
    assert read_bytes(run.path / name, 10**6, follow=True) == outside.read_bytes()


def test_any_link_in_a_run_is_refused_since_something_may_be_written_there(run, tmp_path_factory):
    link = tmp_path_factory.mktemp("links") / "run"
    link.symlink_to(run.path)
    assert Run.open(link).weights()  # the folder itself may be one
    (run.path / "memory.html").symlink_to("/nowhere")
    with pytest.raises(ChargenError, match=r"memory\.html: a symbolic link"):
        Run.open(link)


@pytest.mark.parametrize("kind", ["checkpoint", "weights", "description", "progress", "bank"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
@pytest.mark.usefixtures("deadline")
def test_what_is_no_regular_file_is_refused_at_once(run, kind, make):
    file, read, _ = READERS[kind]
    (run.path / file).unlink(missing_ok=True)
    make(run.path / file)
    with pytest.raises(ChargenError, match=f"{file}: no regular file"):
        read(run)


def test_a_file_that_is_too_long_is_not_read(run):
    with (run.path / RUN).open("r+b") as file:
        file.truncate(2**40)  # a terabyte of nothing
    with pytest.raises(ChargenError, match=r"run\.json: 1,099,511,627,776 bytes, 16,777,216 are"):
        Run.open(run.path)
    with (run.path / BEST).open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(ChargenError, match=r"best\.safetensors: 1,099,511,627,776 bytes"):
        run.weights()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'no cue = "boo"', b'no cue = "boo"\nno cue = "boo"', "no cue comes a second time"),
        (b'", so dry"', b'"' + b"x" * 1001 + b'"', "longer than 1000 characters"),
        (b'", so dry"', b'", so dry"\n' * 1001, "has more than 1000"),
        (b"bee -> Bob", b"bee -> Bob\n" * 5001, "5000 lines at most"),
    ],
)
def test_a_bank_is_no_larger_than_anyone_writes(old, new, message):
    with pytest.raises(ChargenError, match=rf"my\.bank, line \d+: .*{message}"):
        phrases.parse(BANK.replace(old, new).decode(), "my.bank")


def test_a_bank_that_the_user_named_may_be_a_link_but_has_an_end(tmp_path):
    (tmp_path / "bank").write_bytes(BANK)
    (tmp_path / "link").symlink_to(tmp_path / "bank")
    assert phrases.read(tmp_path / "link").training == (", so dry",)
    (tmp_path / "bank").write_bytes(BANK + b"#" * 2**18)
    with pytest.raises(ChargenError, match="link: 262,"):
        phrases.read(tmp_path / "link")


@pytest.mark.usefixtures("deadline")
def test_fillers_that_fit_together_in_very_many_ways_take_no_longer():
    fillers = b"\n".join(b'"' + b"a" * length + b'"' for length in range(1, 12))
    lead = b"a" * 400 + b"!"
    bank = BANK.replace(b'", so dry"', fillers).replace(b" in {target}", lead + b"{target}")
    assert len(phrases.parse(bank.decode(), "my.bank").training) == 11


WORDS = st.text("ab", min_size=1, max_size=3)


@given(st.lists(WORDS, min_size=1, max_size=3), st.text("ab", min_size=1, max_size=5))
def test_what_can_be_read_inside_strung_pieces(pieces, text):
    count = range(len(text) + 2)  # in one more than it has characters, nothing new can be read
    strung = ("".join(parts) for most in count for parts in product(pieces, repeat=most))
    found = phrases.Strung(pieces).hold(text)
    assert found == any(text in one for one in strung)


MEASURED = """
import sys
from pathlib import Path
from chargen.errors import ChargenError
from chargen.runs import Run
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


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells the most memory in /proc")
def test_hostile_files_take_no_more_memory_than_twice_their_size(tmp_path):
    def folder(name, file, data):
        make_run(_made(tmp_path / name))
        (tmp_path / name / file).write_bytes(data)

    make_run(_made(tmp_path / "0"))
    many = {str(number): F4 for number in range(100_000)}
    huge = {"__metadata__": metadata(), "a": {**F4, "shape": [2**31, 2]}}
    folder("1", BEST, b"PK\x03\x04" + bytes(2_000_000))
    folder("2", BEST, b"\x80\x04\x95" + bytes(2_000_000))
    folder("3", BEST, with_header(huge, bytes(8)))
    folder("4", BEST, with_header(b'{"a":' * 200_000))
    folder("5", BEST, with_header(many))
    folder("6", RUN, b"[" + b"{}," * 1_700_000 + b"{}]")
    folder("7", RUN, b'{"vocabulary":"' + b"a" * 5_000_000 + b'\\ud83d\\ude00"}')
    folder("8", PROGRESS, b"[" + b"{}," * 1_700_000 + b"{}]\n")
    folders = [str(tmp_path / str(number)) for number in range(9)]
    ran = subprocess.run(
        [sys.executable, "-c", MEASURED, *folders], capture_output=True, text=True, check=False
    )
    assert ran.stderr == ""
    grown = [int(line.split()[0]) for line in ran.stdout.splitlines()]
    assert len(grown) == 8
    assert max(grown) < 2 * 5_100_000 + 4_000_000, ran.stdout


def _made(path):
    path.mkdir()
    return path
