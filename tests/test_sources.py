"""Text from files, packed or not, folders and standard input."""

import gzip
import io
import sys

import pytest
from msgspec import structs

from chargen.errors import ChargenError
from chargen.runs.description import CorpusRecord
from chargen.text import read_corpus, sources
from chargen.text.corpus import LongerError
from chargen.text.sources import zstd

TEXT = "één\r\n日本 😀\n" * 50
PACKED = {".gz": gzip.compress, ".zst": zstd.compress}


@pytest.fixture(params=PACKED)
def ending(request):
    return request.param


def read(*names):
    return read_corpus(names).text


@pytest.mark.parametrize("block", [1, 2, 3, 5, 2**18])
def test_packed_text_is_read_to_the_letter_in_blocks_of_any_size(
    tmp_path, monkeypatch, ending, block
):
    monkeypatch.setattr(sources, "BLOCK", block)
    file = tmp_path / f"x.txt{ending}"
    file.write_bytes(PACKED[ending](b"\xef\xbb\xbf" + TEXT.encode()))
    assert read(file) == TEXT
    assert read_corpus([file]).name == "x"


def test_several_archives_in_one_file_are_read_as_one_text(tmp_path, ending):
    file = tmp_path / f"x{ending}"
    file.write_bytes(PACKED[ending](TEXT.encode()) + PACKED[ending](b"more"))
    assert read(file) == TEXT + "more"


def test_an_archive_that_is_cut_or_damaged_is_refused_in_one_line(tmp_path, ending):
    file = tmp_path / f"x.txt{ending}"
    whole = PACKED[ending](TEXT.encode())
    for data in (whole[:-5], whole[: len(whole) // 2], b"no archive at all", b"\x00" * 40):
        file.write_bytes(data)
        with pytest.raises(ChargenError, match=rf"x\.txt{ending}: damaged or not") as caught:
            read(file)
        assert "\n" not in str(caught.value)


def test_a_folder_holds_packed_and_plain_files_in_order(tmp_path):
    (tmp_path / "a.txt.zst").write_bytes(zstd.compress(b"first"))
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbfsecond\r")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"third"))
    for name in ("d.gz", "e.md", "f.txt.bz2"):
        (tmp_path / name).write_bytes(b"not this one")
    assert read(tmp_path) == "first\nsecond\rthird"


def test_standard_input_that_is_a_file_is_read_from_where_it_stands(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"gone" + TEXT.encode())
    with (tmp_path / "x").open("rb") as file:
        file.seek(4)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file))
        corpus = read_corpus(["-"])
        assert corpus.text == corpus.text == TEXT


def test_a_pipe_can_be_read_again(monkeypatch):
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Pipe(TEXT.encode())))
    corpus = read_corpus(["-"])
    assert corpus.text == corpus.text == TEXT


def test_an_archive_of_more_than_a_run_read_is_not_unpacked_to_its_end(tmp_path, ending):
    """A few kilobytes may unpack to more than any disk holds."""
    file = tmp_path / f"x.txt{ending}"
    file.write_bytes(PACKED[ending](b"a" * 5_000_000))
    record = CorpusRecord("x", (str(file),), "0" * 64, 600_000, 90_000)
    unpacked = []
    with pytest.raises(LongerError, match="more than the 600,000 characters"):
        unpacked.extend(len(block) for _, block in record.read_again().blocks())
    assert len(unpacked) <= 3
    assert len(structs.replace(record, chars=5_000_000).read_again().text) == 5_000_000
