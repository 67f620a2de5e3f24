"""Files, folders and standard input to one text."""

import hashlib
import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.errors import ChargenError
from chargen.text import read_corpus
from chargen.text.encoding import scan
from chargen.text.sources import decode

BOM = b"\xef\xbb\xbf"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_utf8_is_read_to_the_letter(text):
    without_bom = text.removeprefix("\ufeff")
    if without_bom:
        assert decode(text.encode(), "x") == without_bom


def test_crlf_stays_and_a_bom_goes(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes(BOM + "één\r\ntwee\r".encode())
    corpus = read_corpus([file])
    assert corpus.text == "één\r\ntwee\r"
    assert corpus.name == "a"
    assert corpus.sources == (str(file),)


def test_sha256_is_that_of_the_file(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes("日本語 text\r\n".encode())
    found = scan(read_corpus([file]), "none", lambda done, of: None)
    assert found.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_folder_is_every_txt_below_it_in_order(tmp_path):
    (tmp_path / "poems" / "deep").mkdir(parents=True)
    (tmp_path / "poems" / "b.txt").write_text("second")
    (tmp_path / "poems" / "a.txt").write_text("first\n")
    (tmp_path / "poems" / "deep" / "c.txt").write_text("third")
    (tmp_path / "poems" / "d.md").write_text("not this one")
    corpus = read_corpus([tmp_path / "poems"])
    assert corpus.text == "first\nsecond\nthird"
    assert corpus.name == "poems"


def test_several_sources_are_read_in_the_order_given(tmp_path):
    for name in "xyz":
        (tmp_path / name).write_text(name * 2)
    corpus = read_corpus([tmp_path / "z", tmp_path / "x"])
    assert corpus.text == "zz\nxx"
    assert corpus.name == "z-and-1-more"


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("naïve".encode())))
    corpus = read_corpus(["-"])
    assert (corpus.text, corpus.name, corpus.sources) == ("naïve", "stdin", ("-",))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (BOM, "empty"),
        (b"ab", "too few"),
        (b"abc\xff", "byte 0xFF at offset 3"),
        (BOM + b"abc\xff", "byte 0xFF at offset 6"),
        (b"abcd\xe4\xb8", "byte 0xE4 at offset 4"),
        (b"abc\0d", "NUL byte at offset 3"),
        (b"\x89PNG\r\n\x1a\n", "byte 0x89 at offset 0"),
    ],
)
def test_what_is_no_text_is_refused_by_name(tmp_path, data, message):
    file = tmp_path / "corpus.txt"
    file.write_bytes(data)
    with pytest.raises(ChargenError, match=message) as caught:
        _ = read_corpus([file]).text
    assert str(file) in str(caught.value)


def test_missing_sources_are_refused_by_name(tmp_path):
    with pytest.raises(ChargenError, match=r"nothing\.txt: no such file.*fables"):
        read_corpus([tmp_path / "nothing.txt"])
    with pytest.raises(ChargenError, match="run chargen corpora fetch text8"):
        read_corpus(["text8"])
    with pytest.raises(ChargenError, match=r"no \*\.txt file"):
        read_corpus([tmp_path])
    with pytest.raises(ChargenError, match="no corpus given"):
        read_corpus([])


def test_bundled_corpora_are_read_by_name():
    corpus = read_corpus(["python-docs"])
    assert corpus.name == "python-docs"
    assert corpus.sources == ("python-docs",)
    assert len(corpus.text) > 400_000
