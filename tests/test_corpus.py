"""Text of any kind: read completely or refused by name, from files and folders; vocabularies."""

import gzip
import hashlib
import io
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
from chargen.runs.description import CorpusRecord
from chargen.runs.directory import RUNS
from chargen.text import UnknownCharacterError, Vocabulary, read_corpus
from chargen.text.corpus import LONGEST_NAME, LongerError, folder_name, zstd
from chargen.text.decoding import decode_blocks
from chargen.text.encoding import FOLDER, encode_with, scan

BOM = "\ufeff"
WILD = (
    "a\u0301\u0300é 日本 שלום\u200f مرحبا 😀👨‍👩‍👧\r\r\n\n\x0b\x1c\x85\u2028\u2029"
    + BOM
    + "\U0010ffff\uffff\x01\t "
)
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXTS = st.text(st.sampled_from(WILD) | CHARACTERS, min_size=4, max_size=200)
SAME_FOLDER = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
COMPRESSORS = {".gz": gzip.compress, ".zst": zstd.compress}


def read(*names):
    return read_corpus(names).text


def refused(source, *messages):
    with pytest.raises(ChargenError) as caught:
        read(source)
    assert "\n" not in str(caught.value)
    for message in messages:
        assert message in str(caught.value)


@SAME_FOLDER
@example([BOM + BOM + "ab" + BOM])
@example(["\r\n\r" + WILD])
@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_all_characters_are_read_and_only_line_ends_are_added(tmp_path, texts):
    for file in tmp_path.iterdir():
        file.unlink()
    for place, text in enumerate(texts):
        (tmp_path / f"{place}.txt").write_bytes(text.encode())
    ended = [text.removeprefix(BOM) for text in texts]
    ended[:-1] = [text + "\n" * (text[-1] not in "\n\r") for text in ended[:-1]]
    assert read(tmp_path) == "".join(ended)
    known = Vocabulary.of(read(tmp_path))
    assert known.decode(known.encode(read(tmp_path))) == read(tmp_path)


def test_names_and_order_of_sources(tmp_path):
    (tmp_path / "poems" / "deep").mkdir(parents=True)
    texts = {"b.txt": b"second", "a.txt.gz": gzip.compress(b"first\n"), "d.md": b"ignored"}
    texts |= {"deep/c.txt.zst": zstd.compress(b"third"), "d.gz": b"ignored"}
    for name, data in texts.items():
        (tmp_path / "poems" / name).write_bytes(data)
    for name in "xyz":
        (tmp_path / name).write_bytes(BOM.encode() + name.encode() * 2 + b"\r\n")
    folder = read_corpus([tmp_path / "poems"])
    assert (folder.text, folder.name) == ("first\nsecond\nthird", "poems")
    several = read_corpus([tmp_path / "z", tmp_path / "x"])
    assert (several.text, several.name) == ("zz\r\nxx\r\n", "z-and-1-more")
    assert several.sources == (str(tmp_path / "z"), str(tmp_path / "x"))
    bundled = read_corpus(["python-docs"])
    assert (bundled.name, bundled.sources) == ("python-docs", ("python-docs",))


def test_a_pipe_or_a_file_as_standard_input_is_read_twice(tmp_path, monkeypatch):
    reading, writing = os.pipe()
    os.write(writing, WILD.encode())
    os.close(writing)
    (tmp_path / "x").write_bytes(b"gone" + WILD.encode())
    with open(reading, "rb") as pipe, (tmp_path / "x").open("rb") as file:
        file.seek(4)
        for stream in (pipe, file):
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream, encoding="ascii"))
            corpus = read_corpus(["-"])
            assert (corpus.text, corpus.name, corpus.sources) == (WILD, "stdin", ("-",))
            assert corpus.text == WILD


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_archives_are_read_in_blocks_of_any_size_and_damage_is_refused(
    tmp_path, monkeypatch, suffix
):
    file, compress = tmp_path / f"x.txt{suffix}", COMPRESSORS[suffix]
    file.write_bytes(compress((BOM + WILD).encode()) + compress(b"more"))
    for block in (1, 2, 3, 5, 2**18):
        monkeypatch.setattr("chargen.text.corpus.BLOCK", block)
        assert read(file) == WILD + "more"
    assert read_corpus([file]).name == "x"
    whole = compress(WILD.encode() * 9)
    for data in (whole[:-5], whole[: len(whole) // 2], b"no archive at all", b"\x00" * 40):
        file.write_bytes(data)
        refused(file, f"x.txt{suffix}: damaged or not {suffix}")


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_an_archive_that_grew_is_not_decompressed_to_its_end(tmp_path, suffix):
    file = tmp_path / f"x.txt{suffix}"
    file.write_bytes(COMPRESSORS[suffix](b"a" * 2_000_000))
    record = CorpusRecord("x", (str(file),), "0" * 64, 600_000, 90_000)
    blocks = record.read_again().blocks()
    with pytest.raises(LongerError, match="more than the 600,000 characters"):
        assert sum(len(block) for _, block in blocks) <= 900_000
    longer = CorpusRecord("x", (str(file),), "0" * 64, 2_000_000, 90_000)
    assert len(longer.read_again().text) == 2_000_000


NOT_UTF8 = {  # among others overlong characters and surrogates
    b"\xff", b"\x80", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xc0\x80",
    b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f\x98",
}  # fmt: skip


@pytest.mark.parametrize("wrong", sorted(NOT_UTF8), ids=bytes.hex)
@pytest.mark.parametrize("bom", ["", BOM])
def test_invalid_utf8_is_refused_with_its_offset(wrong, bom):
    data = (bom + "aé日😀b").encode()
    for offset in range(len(bom.encode()), len(data) + 1):
        with pytest.raises(ChargenError, match=r"^x: not UTF-8 text, byte 0x") as caught:
            list(decode_blocks([data[:offset] + wrong + data[offset:]], "x"))
        place = int(str(caught.value).split("offset ")[1].split(";")[0])
        assert abs(place - offset) <= 3  # the bytes may cut a character or begin one
        data[:place].decode()


def test_what_is_not_text_is_refused_by_name(tmp_path):
    file = tmp_path / "corpus.txt"
    for data, message in (
        (b"", "empty"),
        (BOM.encode(), "empty"),
        (b"ab", "too few"),
        (BOM.encode() + b"abc\0d", "NUL byte at offset 6, so this is not plain UTF-8 text"),
    ):
        file.write_bytes(data)
        refused(file, str(file), message)


def test_missing_sources_are_refused(tmp_path):
    refused(tmp_path / "nothing.txt", "nothing.txt: no such file", "fables")
    refused("text8", "run chargen corpora fetch text8")
    refused(tmp_path, "no *.txt file")
    refused("", "an empty corpus name")  # rather than the current folder
    with pytest.raises(ChargenError, match="no corpus given"):
        read_corpus([])


def test_special_files_in_a_folder_are_read_or_refused_by_name(tmp_path):
    good, odd = tmp_path / "a.txt", tmp_path / "odd.txt"
    good.write_text("good")
    for target, message in {
        "/dev/null": "odd.txt: a pipe or a device",
        "/dev/zero": "odd.txt: a pipe or a device",  # endless
        "nowhere": "odd.txt: cannot be read (No such file",
        "odd.txt": "odd.txt: cannot be read (Too many levels",
    }.items():
        odd.symlink_to(target)
        refused(tmp_path, message)
        odd.unlink()
    os.mkfifo(odd)
    for source in (tmp_path, odd):  # without opening it, which would block
        refused(source, "odd.txt: a pipe or a device", "leave it out", "standard input")
    odd.unlink()
    odd.symlink_to("a.txt")
    assert read(tmp_path) == "good\ngood"
    odd.unlink()
    odd.mkdir()
    (odd / "in.txt").write_text("in it")
    assert read(tmp_path) == "good\nin it"


def test_files_and_folders_without_permission_are_refused_by_name(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("good")

    def denied(path, *mode, **options):
        raise PermissionError(13, "Permission denied", path)

    for owner, name, refusal in (
        (os, "scandir", f"{tmp_path}: cannot be read (Permission denied)"),
        (Path, "open", "a.txt: cannot be read (Permission denied)"),
        (os, "stat", "cannot be read (Permission denied)"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, denied)
            refused(tmp_path, refusal)


def test_a_text_of_few_characters_goes_through_all_commands(home, cli):
    Path("few.txt").write_text("a" * 50)
    for command in (
        ["train", "few.txt", "--units", "4", "--steps", "3"],
        ["sample", "--length", "20"],
        ["evaluate"],
        ["inspect", "--memory", "aaa"],
        ["probe-longrange", "--only", "templates,context,mined"],
    ):
        assert cli(command).out == "a" * 20 + "\n" or command[0] != "sample"


@pytest.mark.parametrize("piece", ["the cat sat", "日本", "a😀"])
def test_the_memory_for_one_long_line_does_not_grow_with_it(tmp_path, monkeypatch, piece):
    monkeypatch.setattr("chargen.text.corpus.BLOCK", 2**17)
    text = piece * (4_000_000 // len(piece.encode()))
    file = tmp_path / "x.txt"
    file.write_text(text)
    tracemalloc.start()
    found = scan(read_corpus([file]), "blank-line", lambda done, total: None)
    encoded = encode_with(read_corpus([file]), found.vocabulary, "blank-line")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_500_000  # blocks and tables of a fixed size
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
def test_a_folder_name_stays_inside_its_folder(name):
    made = folder_name(name)
    assert made.isprintable()
    assert not set(made) & set('/\\:*?"<>|')
    assert not made.startswith((".", "-", " "))
    assert not made.endswith((".", " "))
    assert 1 <= len(made.encode()) <= LONGEST_NAME
    assert (RUNS / made).parent == RUNS
    assert made.split(".")[0].lower() not in {"con", "nul", "aux", "prn", "com1", "lpt9"}
    assert folder_name(made) == made
    for ordinary in ("été 日本", "a.b", "x_1-2", "it's"):
        assert folder_name(ordinary) == ordinary


def test_a_run_is_always_below_runs(tmp_path, monkeypatch):
    home, name = tmp_path / "home", "..txt"
    home.mkdir()
    monkeypatch.chdir(home)
    (home / name).write_text("abcabc" * 9)
    assert main(["train", f"./{name}", "--units", "2", "--steps", "1"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"home"}
    assert {path.name for path in home.iterdir()} == {name, "runs"}
    (run,) = set((home / "runs").iterdir()) - {home / "runs" / FOLDER}
    assert (run / "run.json").is_file()


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50)


@given(WORDS, WORDS)
def test_a_vocabulary_is_sorted_and_names_or_skips_unknown_characters(known, text):
    vocabulary = Vocabulary.of(known)
    assert vocabulary.characters == "".join(sorted(set(known)))
    text = known + text  # else the first character is unknown nearly always
    unknown = [position for position, character in enumerate(text) if character not in known]
    assert vocabulary.decode(vocabulary.encode(text, "skip")) == "".join(
        character for character in text if character in known
    )
    if unknown:
        with pytest.raises(UnknownCharacterError, match=f"position {unknown[0]} ") as caught:
            vocabulary.encode(text)
        assert caught.value.position == unknown[0]
        assert caught.value.character == text[unknown[0]]


def test_ids_have_the_narrowest_type():
    for size, dtype in ((255, "u1"), (256, "u2"), (65535, "u2"), (65536, "u4")):
        points = [point for point in range(size + 0x800) if not 0xD800 <= point < 0xE000][:size]
        assert Vocabulary("".join(map(chr, points))).encode(chr(1)).dtype == dtype


@pytest.mark.parametrize("characters", ["", "ba", "aa", *"\ud800\udbff\udc00\udfff"], ids=ascii)
def test_invalid_vocabularies_are_refused(characters):
    with pytest.raises(ValueError, match="vocabulary"):
        Vocabulary(characters)
    if characters > "b":
        with pytest.raises(UnknownCharacterError):
            Vocabulary("a\ud7ff\ue000").encode(characters)


def test_vocabularies_are_compared_by_value_and_decode_no_other_ids():
    for ids in ([-1], [2]):
        with pytest.raises(IndexError):
            Vocabulary("ab").decode(np.array(ids))
    assert len({Vocabulary("ab"), Vocabulary.of("bab"), Vocabulary("abc")}) == 2
