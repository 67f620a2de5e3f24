"""Encoding of corpora and the cache: encoded once, completely or not at all, and revalidated."""

import hashlib
import io
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from disk import Crash, Disk, crash_at
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import on, train

import chargen
from chargen.errors import ChargenError
from chargen.text import UnknownCharacterError, Vocabulary, encoding, read_corpus
from chargen.text.corpus import TextFile
from chargen.text.encoding import FOLDER, CorpusCache, encode_with, scan
from chargen.training.session import start

TEXT = "one two\n\nthree four é\n" * 20
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")
SAME_FOLDER = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


def quiet(done, total):
    pass


def written(path, text):
    path.write_bytes(text.encode())
    return read_corpus([path])


@SAME_FOLDER
@given(st.text(st.sampled_from("ab\n\n\r") | CHARACTERS, min_size=3), st.integers(1, 40))
def test_ids_do_not_depend_on_the_block_size(tmp_path, text, block):
    corpus, known = written(tmp_path / "x.txt", text), Vocabulary.of(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chargen.text.corpus.BLOCK", block)
        found = scan(corpus, "blank-line", quiet)
        again = encode_with(corpus, known, "blank-line")
    assert (found.vocabulary, found.chars) == (known, len(text))
    assert found.sha256 == again.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert again.ids.dtype == known.dtype
    assert again.ids.tolist() == known.encode(text).tolist()
    assert found.starts.tolist() == again.starts.tolist()


def test_an_unknown_character_is_reported_with_its_place_in_the_whole_text(tmp_path, monkeypatch):
    monkeypatch.setattr("chargen.text.corpus.BLOCK", 10)
    corpus = written(tmp_path / "x.txt", "ab" * 50 + "é" + "ab" * 50)
    with pytest.raises(UnknownCharacterError) as caught:
        encode_with(corpus, Vocabulary("ab"))
    assert (caught.value.character, caught.value.position) == ("é", 100)


@pytest.mark.parametrize("after", ["bab" * 9, "abc" * 9, "ab", "aba" * 10])
def test_a_file_that_changed_after_the_scan_is_an_error(tmp_path, after):
    corpus, cache = cached(tmp_path / "kept", written(tmp_path / "x.txt", "aba" * 9))
    found = cache.scan(corpus, quiet)
    (tmp_path / "x.txt").write_text(after)
    with pytest.raises(ChargenError, match=r"x\.txt: (changed while it was read|2 characters)"):
        cache.encode(corpus, found, quiet)


def test_progress_is_in_bytes_and_a_file_that_changes_during_the_scan_is_an_error(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("chargen.text.corpus.BLOCK", 1000)
    corpus, progress = written(tmp_path / "x.txt", "é" * 1500), []
    scan(corpus, "none", lambda *both: progress.append(both))
    assert progress == [(1000, 3000), (2000, 3000), (3000, 3000)]
    with pytest.raises(ChargenError, match=r"x\.txt: changed while it was read; try again"):
        scan(corpus, "none", lambda done, total: (tmp_path / "x.txt").touch())


@pytest.fixture
def file(tmp_path):
    (tmp_path / "x.txt").write_text(TEXT)
    return tmp_path / "x.txt"


@pytest.fixture
def trusted(monkeypatch):
    """Trust the time stamps of recent files."""
    monkeypatch.setattr(encoding, "RECENT", -(10**12))


@pytest.fixture
def reads(monkeypatch):
    """The names of files, once for each time that they are read."""
    names, read = [], TextFile._read

    def recorded(file, *given):
        names.append(file.name)
        return read(file, *given)

    monkeypatch.setattr(TextFile, "_read", recorded)
    return names


def cached(folder, corpus, documents="none"):
    return corpus, CorpusCache(folder, corpus.name, corpus.sources, documents)


def encoded_in(folder, source, documents="none"):
    corpus, cache = cached(folder, read_corpus([source]), documents)
    return cache.encode(corpus, cache.scan(corpus, quiet), quiet)


def text_in(folder, source):
    encoded = encoded_in(folder, source)
    return encoded.vocabulary.decode(encoded.ids)


def test_an_unchanged_file_is_not_read_again(file, tmp_path, trusted, reads):
    assert text_in(tmp_path / "kept", file) == TEXT
    assert len(reads) == 2  # scan and encode
    assert text_in(tmp_path / "kept", file) == TEXT
    assert len(reads) == 2
    os.utime(file, ns=(1, 1))  # its bytes are compared once
    for _ in range(2):
        assert text_in(tmp_path / "kept", file) == TEXT
        assert len(reads) == 3
    suffixes = sorted(path.suffix for path in (tmp_path / "kept").iterdir())
    assert suffixes == [".ids", ".jsonl", ".lock", ".starts"]


def test_other_bytes_of_the_same_size_and_time_are_noticed(file, tmp_path):
    text_in(tmp_path / "kept", file)
    times = file.stat()
    file.write_text(TEXT[::-1])
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert text_in(tmp_path / "kept", file) == TEXT[::-1]
    assert len(list((tmp_path / "kept").glob("*.ids"))) == 1


@pytest.mark.parametrize("ending", ["jsonl", "ids", "starts"])
def test_a_damaged_entry_is_encoded_again(file, tmp_path, ending):
    text_in(tmp_path / "kept", file)
    (path,) = (tmp_path / "kept").glob(f"*.{ending}")
    data = path.read_bytes()
    wrong = [None, b"", data[:-1], data[: len(data) // 2], data + b"x"]
    if ending == "jsonl":
        wrong += [data.replace(b'"format": 1', b'"format": 9')]
        wrong += [data.replace(b'"chars": ', b'"chars": 1'), b"[]\n", b'{"format": 1}\n']
    for damaged in wrong:
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        assert text_in(tmp_path / "kept", file) == TEXT


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_crash_at_any_write_leaves_a_usable_cache(file, tmp_path, monkeypatch, torn, replaced):
    if replaced:
        file.write_text(TEXT[::-1])
        text_in(tmp_path / "kept", file)
        file.write_text(TEXT)
    for number in range(100):
        folder = tmp_path / f"kept{number}"
        if replaced:
            shutil.copytree(tmp_path / "kept", folder)
        on(monkeypatch, crash_at(number, torn))
        try:
            text_in(folder, file)
        except Crash:
            on(monkeypatch, Disk())
            assert text_in(folder, file) == TEXT
            assert not list(folder.glob("*.new"))
        else:
            break
    assert 8 < number < 99


def test_concurrent_processes_encode_once(file, tmp_path, trusted, reads):
    corpus, cache = cached(tmp_path / "kept", read_corpus([file]))
    found = cache.scan(corpus, quiet)
    reads.clear()
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: cache.encode(corpus, found, quiet), range(4)))
    assert [one.vocabulary.decode(one.ids) for one in made] == [TEXT] * 4
    assert len(reads) == 1


def test_entries_are_separate_by_documents_and_by_standard_input(file, tmp_path, monkeypatch):
    folder = tmp_path / "kept"
    for documents, count in {"none": 1, "blank-line": 21}.items():
        assert len(encoded_in(folder, file, documents).starts) == count
    for text in ("abcabc", "abcabcd", "abcabc"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert text_in(folder, "-") == text
    assert len(list(folder.glob("*.ids"))) == 4


def test_a_cache_that_cannot_be_written_is_a_user_error(file, tmp_path, monkeypatch):
    def full(number, name):
        if name == "write":
            raise OSError(28, "No space left on device")

    def denied(lock):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ChargenError, match=r"file: cannot be written .*cache$"):
        text_in(tmp_path / "file", file)
    with monkeypatch.context() as patch:
        on(patch, Disk(full))
        with pytest.raises(ChargenError, match=r"No space left.* takes \d+ bytes.*cache$"):
            text_in(tmp_path / "kept", file)
    assert not [path for path in (tmp_path / "kept").iterdir() if path.suffix != ".lock"]
    monkeypatch.setattr("chargen.text.encoding.FileLock.acquire", denied)
    with pytest.raises(ChargenError, match=r"kept: cannot be written \(Permission.*cache$"):
        text_in(tmp_path / "kept", file)


@pytest.mark.usefixtures("often")
def test_runs_share_a_cache_and_are_evaluated_and_resumed_without_their_text(home):
    for out in ("a", "b"):
        train("cat.txt", home / out, cache=home / "kept")
    before = chargen.load("b").evaluate()
    assert len(list(Path("kept").glob("*.ids"))) == 1
    assert not list(home.rglob(FOLDER))
    Path("cat.txt").unlink()
    assert chargen.load("b").evaluate() == before
    with start([], {"steps": 6}, home / "b", resume=True) as session:
        assert len(list(session.trainer.reports())) == 1
