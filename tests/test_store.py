"""Encoded corpora on the disk: made once, whole or not at all, and never believed too much."""

import io
import os
import sys
import threading

import pytest
from disk import Crash, Disk, crash_at
from tiny import on

from chargen.errors import ChargenError
from chargen.text import encoding as encoding_module
from chargen.text import read_corpus, sources
from chargen.text.cache import CorpusCache

TEXT = "one two\n\nthree four é\n" * 20


def quiet(done, of):
    pass


@pytest.fixture
def file(tmp_path):
    """A corpus that nobody has touched for a while."""
    (tmp_path / "x.txt").write_text(TEXT)
    return tmp_path / "x.txt"


@pytest.fixture
def old(monkeypatch):
    """What was written a moment ago counts as old."""
    monkeypatch.setattr(encoding_module, "RECENT", -(10**12))


@pytest.fixture
def reads(monkeypatch):
    """Names of the texts that are read, as often as they are."""
    names, raw = [], sources.TextFile._raw

    def recorded(file, on_bytes):
        names.append(file.name)
        return raw(file, on_bytes)

    monkeypatch.setattr(sources.TextFile, "_raw", recorded)
    return names


def cache_of(folder, corpus, documents="none"):
    return CorpusCache(folder, corpus.name, corpus.sources, documents)


def text_of(source, folder, documents="none"):
    corpus = read_corpus([source])
    cached = cache_of(folder, corpus, documents)
    encoded = cached.encode(corpus, cached.scan(corpus, quiet), quiet)
    return encoded.vocabulary.decode(encoded.ids)


def test_a_text_is_read_once_to_know_it_and_once_to_encode_it(file, tmp_path, old, reads):
    assert text_of(file, tmp_path / "kept") == TEXT
    assert len(reads) == 2
    assert text_of(file, tmp_path / "kept") == TEXT
    assert len(reads) == 2
    assert sorted(
        path.suffix for path in (tmp_path / "kept").iterdir() if path.suffix != ".lock"
    ) == [
        ".ids",
        ".jsonl",
        ".starts",
    ]


def test_what_changed_a_moment_before_it_was_read_is_read_again_and_then_believed(
    file, tmp_path, reads, monkeypatch
):
    text_of(file, tmp_path / "kept")
    assert text_of(file, tmp_path / "kept") == TEXT
    assert len(reads) == 3  # to compare its SHA-256
    monkeypatch.setattr(encoding_module, "RECENT", -(10**12))
    text_of(file, tmp_path / "kept")
    assert len(reads) == 3


@pytest.mark.parametrize("recent", [2 * 10**9, -(10**12)])
def test_other_bytes_of_the_same_size_and_time_are_seen(file, tmp_path, monkeypatch, recent):
    monkeypatch.setattr(encoding_module, "RECENT", recent)
    text_of(file, tmp_path / "kept")
    times = file.stat()
    file.write_text(TEXT[::-1])
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert text_of(file, tmp_path / "kept") == TEXT[::-1]
    assert len(list((tmp_path / "kept").glob("*.ids"))) == 1


def test_the_same_bytes_with_another_time_are_not_encoded_again(file, tmp_path, old, reads):
    text_of(file, tmp_path / "kept")
    os.utime(file, ns=(1, 1))
    text_of(file, tmp_path / "kept")
    assert len(reads) == 3
    text_of(file, tmp_path / "kept")
    assert len(reads) == 3


def damage(path):
    data = path.read_bytes()
    yield None
    yield from (b"", data[:-1], data[: len(data) // 2], data + b"x")
    if path.suffix == ".jsonl":
        yield data.replace(b'"format": 1', b'"format": 9')
        yield data.replace(b'"chars": ', b'"chars": 1')
        yield b"[]\n"
        yield b'{"format": 1}\n'


@pytest.mark.parametrize("ending", ["jsonl", "ids", "starts"])
def test_what_is_damaged_is_made_anew(file, tmp_path, ending):
    text_of(file, tmp_path / "kept")
    (path,) = (tmp_path / "kept").glob(f"*.{ending}")
    for wrong in damage(path):
        path.unlink()
        if wrong is not None:
            path.write_bytes(wrong)
        assert text_of(file, tmp_path / "kept") == TEXT


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_crash_at_any_moment_leaves_what_the_next_one_can_go_on_from(
    file, tmp_path, monkeypatch, torn, replaced
):
    if replaced:
        file.write_text(TEXT[::-1])
        text_of(file, tmp_path / "kept")
        file.write_text(TEXT)
    for number in range(100):
        folder = tmp_path / f"kept{number}"
        if replaced:
            folder.mkdir()
            for path in (tmp_path / "kept").iterdir():
                (folder / path.name).write_bytes(path.read_bytes())
        on(monkeypatch, crash_at(number, torn))
        try:
            text_of(file, folder)
        except Crash:
            on(monkeypatch, Disk())
            assert text_of(file, folder) == TEXT
            assert not list(folder.glob("*.new"))
        else:
            break
    assert 8 < number < 99


def test_two_at_once_make_it_once(file, tmp_path, old, reads):
    corpus, made = read_corpus([file]), []
    cached = cache_of(tmp_path / "kept", corpus)
    found = cached.scan(corpus, quiet)
    reads.clear()

    def make():
        encoded = cached.encode(corpus, found, quiet)
        made.append(encoded.vocabulary.decode(encoded.ids))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [TEXT] * 4
    assert len(reads) == 1


def test_documents_cut_otherwise_are_kept_beside(file, tmp_path):
    for documents, count in {"none": 1, "blank-line": 21}.items():
        corpus = read_corpus([file])
        cached = cache_of(tmp_path / "kept", corpus, documents)
        assert len(cached.encode(corpus, cached.scan(corpus, quiet), quiet).starts) == count
    assert len(list((tmp_path / "kept").glob("*.ids"))) == 2


def test_each_text_of_standard_input_is_kept(tmp_path, monkeypatch):
    for text in ("abcabc", "abcabcd", "abcabc"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert text_of("-", tmp_path / "kept") == text
    assert len(list((tmp_path / "kept").glob("*.ids"))) == 2


def test_a_folder_that_cannot_be_written_is_told_with_the_way_out(file, tmp_path):
    (tmp_path / "kept").write_text("a file stands there")
    with pytest.raises(ChargenError, match=r"kept: cannot be written .*--cache") as caught:
        text_of(file, tmp_path / "kept")
    assert "\n" not in str(caught.value)


def test_a_disk_that_is_full_is_told_with_the_way_out_and_keeps_nothing(
    file, tmp_path, monkeypatch
):
    def full(number, name):
        if name == "write":
            raise OSError(28, "No space left on device")

    on(monkeypatch, Disk(full))
    with pytest.raises(ChargenError, match=r"No space left.* takes \d+ bytes.*--cache"):
        text_of(file, tmp_path / "kept")
    assert not [path for path in (tmp_path / "kept").iterdir() if path.suffix != ".lock"]


def test_a_lock_that_cannot_be_had_is_told_with_the_way_out(file, tmp_path, monkeypatch):
    def denied(lock):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("chargen.text.cache.FileLock.acquire", denied)
    with pytest.raises(ChargenError, match=r"kept: cannot be written \(Permission.*--cache"):
        text_of(file, tmp_path / "kept")
