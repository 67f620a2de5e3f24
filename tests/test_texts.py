"""Text of any kind: accepted whole or refused by name, never a character lost on the way."""

import hashlib
import io
import json
import os
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chargen.cli import main
from chargen.errors import ChargenError
from chargen.runs.directory import RUNS
from chargen.text import Vocabulary, read_corpus, vocabulary
from chargen.text.cache import FOLDER
from chargen.text.corpus import LONGEST_NAME, folder_name
from chargen.text.encoding import encode_with, scan
from chargen.text.sources import decode

BOM = "\ufeff"
WILD = (
    "a\u0301\u0300é 日本 שלום\u200f مرحبا 😀👨‍👩‍👧\r\r\n\n\x0b\x1c\x85\u2028\u2029"
    + BOM
    + "\U0010ffff\uffff\x01\t "
)
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXTS = st.text(st.sampled_from(WILD) | CHARACTERS, min_size=4, max_size=200)
SAME_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@SAME_FOLDER
@example(BOM + BOM + "ab" + BOM)
@example("\r\n\r" + WILD)
@given(TEXTS)
def test_every_character_of_a_file_is_read(tmp_path, text):
    file = tmp_path / "x.txt"
    file.write_bytes(text.encode())
    read = read_corpus([file]).text
    assert read == text.removeprefix(BOM)
    known = Vocabulary.of(read)
    assert known.decode(known.encode(read)) == read


@SAME_FOLDER
@given(st.lists(TEXTS, min_size=2, max_size=4))
def test_every_character_of_a_folder_is_read_and_only_line_ends_are_added(tmp_path, texts):
    for place, text in enumerate(texts):
        (tmp_path / f"{place}.txt").write_bytes(text.encode())
    for file in set(tmp_path.iterdir()) - {tmp_path / f"{n}.txt" for n in range(len(texts))}:
        file.unlink()
    ended = [text.removeprefix(BOM) for text in texts]
    ended[:-1] = [text + "\n" * (text[-1] not in "\n\r") for text in ended[:-1]]
    assert read_corpus([tmp_path]).text == "".join(ended)


class Dribble(io.RawIOBase):
    """Gives so many bytes at a time, as a pipe may."""

    def __init__(self, data, size):
        self.data, self.size = io.BytesIO(data), size

    def readable(self):
        return True

    def readinto(self, room):
        piece = self.data.read(min(self.size, len(room)))
        room[: len(piece)] = piece
        return len(piece)


@pytest.mark.parametrize("size", range(1, 9))
def test_standard_input_in_pieces_of_any_size(monkeypatch, size):
    text = "".join("x" * n + "😀日é" for n in range(9))
    pieces = io.BufferedReader(Dribble(text.encode(), size), buffer_size=size)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(pieces, encoding="ascii"))
    assert read_corpus(["-"]).text == text


@pytest.mark.parametrize("before", range(5))
def test_characters_of_four_bytes_across_every_block(tmp_path, before):
    text = "x" * before + "😀" * (vocabulary.BLOCK // 2) + "é" + "𝒳" * vocabulary.BLOCK
    (tmp_path / "x.txt").write_bytes(text.encode())
    read = read_corpus([tmp_path / "x.txt"]).text
    known = Vocabulary.of(read)
    assert known.decode(known.encode(read)) == read == text


NO_UTF8 = {
    "a byte that never stands in UTF-8": b"\xff",
    "a continuation without a beginning": b"\x80",
    "a slash in two bytes": b"\xc0\xaf",
    "a slash in three": b"\xe0\x80\xaf",
    "a slash in four": b"\xf0\x80\x80\xaf",
    "a NUL in two": b"\xc0\x80",
    "half of a pair": b"\xed\xa0\x80",
    "a pair of halves": b"\xed\xa0\xbd\xed\xb8\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "cut short": b"\xf0\x9f\x98",
}


@pytest.mark.parametrize("wrong", NO_UTF8.values(), ids=NO_UTF8)
@pytest.mark.parametrize("bom", ["", BOM])
def test_what_is_no_utf8_is_refused_with_its_place_at_every_offset(wrong, bom):
    data = (bom + "aé日😀b").encode()
    for offset in range(len(bom.encode()), len(data) + 1):
        with pytest.raises(ChargenError, match=r"^x: not UTF-8 text, byte 0x") as caught:
            decode(data[:offset] + wrong + data[offset:], "x")
        place = int(str(caught.value).split("offset ")[1].split(";")[0])
        assert abs(place - offset) <= 3  # they may cut a character, or take the beginning of one
        data[:place].decode()


def test_a_text_cut_anywhere_is_read_as_far_as_it_goes_or_refused():
    text = "aé日😀b"
    data = text.encode()
    for end in range(1, len(data)):
        whole = [n for n in range(1, len(text)) if text[:n].encode() == data[:end]]
        if whole:
            assert decode(data[:end], "x") == text[: whole[0]]
        else:
            with pytest.raises(ChargenError, match="x: not UTF-8 text, byte 0x"):
                decode(data[:end], "x")


@pytest.mark.parametrize("offset", range(6))
def test_nul_is_refused_with_its_place_and_the_way_out(offset):
    data = b"\xef\xbb\xbf" + b"abcde"[:offset] + b"\0" + b"abcde"[offset:]
    with pytest.raises(ChargenError, match=f"x: NUL byte at offset {offset + 3},.*leave it out"):
        decode(data, "x")


def refused(source, *said):
    with pytest.raises(ChargenError) as caught:
        _ = read_corpus([source]).text
    for part in said:
        assert part in str(caught.value)


def test_whatever_a_folder_calls_txt_is_read_or_refused_by_name(tmp_path):
    good, odd = tmp_path / "a.txt", tmp_path / "odd.txt"
    good.write_text("good")
    odd.write_bytes(b"")
    refused(tmp_path, "odd.txt: the file is empty", "leave it out")
    odd.unlink()
    odd.symlink_to("/dev/null")
    refused(tmp_path, "odd.txt: a pipe or a device")
    odd.unlink()
    os.mkfifo(odd)
    for source in (tmp_path, odd):  # without reading it, which would wait for ever
        refused(source, "odd.txt: a pipe or a device", "leave it out", "standard input")
    odd.unlink()
    odd.symlink_to("nowhere")
    refused(tmp_path, "odd.txt: cannot be read (No such file")
    odd.unlink()
    odd.symlink_to("odd.txt")
    refused(tmp_path, "odd.txt: cannot be read (Too many levels")
    odd.unlink()
    odd.symlink_to("/dev/zero")  # which has no end
    refused(tmp_path, "odd.txt: a pipe or a device")
    odd.unlink()
    odd.symlink_to("a.txt")
    assert read_corpus([tmp_path]).text == "good\ngood"
    odd.unlink()
    odd.mkdir()
    (odd / "in.txt").write_text("in it")
    (tmp_path / ".hidden.txt").write_text("hidden")
    assert read_corpus([tmp_path]).text == "hidden\ngood\nin it"


def test_a_file_or_a_folder_that_may_not_be_read_is_refused_by_name(tmp_path, monkeypatch):
    (tmp_path / "shut").mkdir()
    (tmp_path / "a.txt").write_text("good")
    (tmp_path / "shut" / "b.txt").write_text("unseen")
    scandir = os.scandir

    def scan(path):
        if os.fspath(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scan)
        refused(tmp_path, "shut: this folder cannot be read (Permission denied)")

    def denied(path, *mode, **options):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(Path, "open", denied)
    refused(tmp_path, "a.txt: cannot be read (Permission denied)")
    monkeypatch.setattr(Path, "exists", denied)  # in a folder that may be listed, but not entered
    refused(tmp_path, "a.txt: no such file can be read (Permission denied)")


def test_no_name_is_not_the_present_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("abc")
    refused("", "an empty corpus name")
    assert read_corpus(["."]).text == "abc"


@pytest.mark.parametrize("text", ["a" * 50, "a" * 4000, "ab" * 2000, "abc" * 17, "a😀\u0301" * 900])
def test_few_distinct_characters_are_learned_written_and_measured(
    tmp_path, monkeypatch, capsys, text
):
    """One character even: there is nothing to learn, and that is what is measured."""
    monkeypatch.chdir(tmp_path)
    Path("few.txt").write_text(text)
    assert main(["train", "few.txt", "--units", "4", "--steps", "3"]) == 0
    capsys.readouterr()
    assert main(["sample", "--length", "20"]) == 0
    out = capsys.readouterr().out
    assert len(out) == 21
    assert set(out[:-1]) <= set(text)
    assert main(["evaluate", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert np.isfinite(measured["loss_nats"])
    assert (measured["loss_nats"] == 0) == (len(set(text)) == 1)
    assert main(["evaluate"]) == 0
    assert "-" not in capsys.readouterr().out.replace("6-gram", "")
    assert main(["inspect", "--memory", text[:3]]) == 0
    if len(text) > 51:
        asked = ["probe-longrange", "--only", "templates,context,mined", "--json", "p.json"]
        assert main([*asked, "--report", "p.html"]) == 0
        assert json.loads(Path("p.json").read_text())["run"] == "runs/few"


@pytest.mark.parametrize("piece", ["the cat sat", "日本", "a😀"])
def test_one_long_line_takes_memory_that_does_not_grow_with_it(tmp_path, monkeypatch, piece):
    monkeypatch.setattr("chargen.text.sources.BLOCK", 2**17)
    text = piece * (4_000_000 // len(piece.encode()))
    file = tmp_path / "x.txt"
    file.write_text(text)
    tracemalloc.start()
    found = scan(read_corpus([file]), "blank-line", lambda done, of: None)
    encoded = encode_with(read_corpus([file]), found.vocabulary, "blank-line")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_500_000  # of blocks, and of tables of a fixed size
    assert len(encoded.ids) == found.chars == len(text)
    assert len(found.vocabulary) == len(set(piece))
    assert encoded.sha256 == found.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


@example("..")
@example("../../etc")
@example("-rf")
@example("x" * 300)
@example("CON")
@example("con.old")
@example("日" * 100)
@example("a\x1b[2J\n\u202e")
@example(os.fsdecode(b"\xff\xfe"))
@given(st.text(st.characters(codec=None)) | st.text("./\\-~ \0:\x1b", max_size=8))
def test_a_folder_name_stays_inside_whatever_the_file_is_called(name):
    made = folder_name(name)
    assert made.isprintable()
    assert not set(made) & set('/\\:*?"<>|')
    assert not made.startswith((".", "-", " "))
    assert not made.endswith((".", " "))
    assert 1 <= len(made.encode()) <= LONGEST_NAME
    assert (RUNS / made).parent == RUNS
    assert made.split(".")[0].lower() not in {"con", "nul", "aux", "prn", "com1", "lpt9"}
    assert folder_name(made) == made


@pytest.mark.parametrize("name", ["plain", "été 日本", "a.b", "x_1-2", "it's"])
def test_an_ordinary_name_is_kept(name):
    assert folder_name(name) == name


@pytest.mark.parametrize(
    "name", ["..txt", "...txt", "....txt", ".txt", "-.txt", "\n.txt", "con.txt"]
)
def test_a_run_is_made_below_runs_whatever_the_file_is_called(tmp_path, monkeypatch, name):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    (home / name).write_text("abcabc" * 9)
    assert main(["train", f"./{name}", "--units", "2", "--steps", "1"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"home"}
    assert {path.name for path in home.iterdir()} == {name, "runs"}
    (run,) = set((home / "runs").iterdir()) - {home / "runs" / FOLDER}
    assert (run / "run.json").is_file()
