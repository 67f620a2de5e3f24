"""Encode a corpus to ids, and cache encoded corpora on disk for all runs on the same text.

Memory does not grow with the size of the text. The files of the cache:

NAME-KEY.jsonl           manifest: the files and what was found in them; written last
NAME-KEY.SHA256.ids      ids of the text
NAME-KEY.SHA256.starts   where the documents begin: at the line end before each
"""

import glob
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from filelock import FileLock
from msgspec import Meta, Struct

from chargen import files
from chargen.errors import ChargenError
from chargen.files import Progress, UnwritableError, cannot_write
from chargen.text.corpus import STANDARD_INPUT, Corpus, OnFileBytes, TextFile
from chargen.text.documents import DocumentSplitter
from chargen.text.memory_map import map_file, release
from chargen.text.vocabulary import CharacterSet, UnknownCharacterError, Vocabulary

FOLDER = ".corpora"  # default cache folder, beside the runs
RECENT = 2 * 10**9  # ns: a file changed so recently may change again without a new time stamp
LARGEST_MANIFEST = 2**30  # bytes
KEY_CHARS = 12

Count = Annotated[int, Meta(ge=0)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class FileRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a corpus at the time of reading; shows whether the file has changed."""

    name: str
    bytes: Count
    mtime_ns: Count
    ctime_ns: Count
    sha256: Sha256  # of the bytes before decompression
    read_ns: Count  # time of reading

    def current(self, file: TextFile) -> "FileRecord | None":
        """Return the record of an unchanged file, None for a changed one; in doubt, hash it."""
        now, stamps = time.time_ns(), file.stamps()
        if (file.name, stamps[0]) != (self.name, self.bytes):
            return None
        old = max(self.mtime_ns, self.ctime_ns) <= self.read_ns - RECENT
        if old and file.path and stamps == (self.bytes, self.mtime_ns, self.ctime_ns):
            return self
        same = file.sha256() == self.sha256
        return FileRecord(file.name, *file.stamps(), self.sha256, now) if same else None


class _Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """The first line of a manifest; a line for each file follows."""

    format: Literal[1]
    documents: str  # how the corpus is split
    sha256: Sha256
    chars: Count
    starts: Count = msgspec.field(name="begun")  # number of documents
    vocabulary: str
    files: Count  # number of files


@dataclass(frozen=True, eq=False)
class ScannedCorpus:
    """A corpus of known content that is not necessarily encoded yet."""

    vocabulary: Vocabulary
    sha256: str  # of the text in UTF-8
    chars: int
    starts: np.ndarray  # (D,) int64: where documents begin, rising from 0
    files: tuple[FileRecord, ...]


@dataclass(frozen=True, eq=False)
class EncodedCorpus(ScannedCorpus):
    """A corpus as ids in a memory-mapped file."""

    ids: np.ndarray  # (L,) read-only, of the vocabulary's dtype


def scan(
    corpus: Corpus,
    documents: str,
    progress: Progress,
    use: Callable[[str, bytes], object] = lambda text, data: None,
) -> ScannedCorpus:
    """Read a corpus once to find its vocabulary, its documents and its SHA-256.

    ``use`` is called with each block and its UTF-8. `ChargenError` if a file changes meanwhile.
    """
    seen, begun = CharacterSet(), time.time_ns()
    before = [file.stamps() for file in corpus.files]
    digests = [hashlib.sha256() for _ in corpus.files]

    def look(text: str, data: bytes) -> None:
        seen.add(data)
        use(text, data)

    found = _read(corpus, documents, look, progress, lambda n, data: digests[n].update(data))
    if [file.stamps() for file in corpus.files] != before:
        raise _changed(corpus)
    records = tuple(
        FileRecord(file.name, *stamps, digest.hexdigest(), begun)
        for file, stamps, digest in zip(corpus.files, before, digests, strict=True)
    )
    return ScannedCorpus(seen.vocabulary(), *found, records)


def encode_with(corpus: Corpus, vocabulary: Vocabulary, documents: str = "none") -> EncodedCorpus:
    """Encode into an unnamed temporary file; `UnknownCharacterError` if a character has no id."""
    with tempfile.TemporaryFile() as file:
        found = _encode(corpus, vocabulary, file.write, documents)
        file.flush()
        return EncodedCorpus(vocabulary, *found, (), map_file(file, vocabulary.dtype))


def _encode(
    corpus: Corpus,
    vocabulary: Vocabulary,
    write: Callable[[memoryview], object],
    documents: str = "none",
    progress: Progress = lambda done, total: None,
) -> tuple[str, int, np.ndarray]:
    """Write the ids of a corpus; return its SHA-256, its length and its document starts."""
    chars = 0

    def encode_block(text: str, data: bytes) -> None:
        nonlocal chars
        try:
            write(vocabulary.encode(text).data)
        except UnknownCharacterError as error:
            raise UnknownCharacterError(error.character, chars + error.position) from None
        chars += len(text)

    return _read(corpus, documents, encode_block, progress)


def _read(
    corpus: Corpus,
    documents: str,
    use: Callable[[str, bytes], object],
    progress: Progress,
    on_bytes: OnFileBytes = lambda number, data: None,
) -> tuple[str, int, np.ndarray]:
    """Call ``use`` with each block and its UTF-8; return SHA-256, length and document starts."""
    digest, splitter, chars = hashlib.sha256(), DocumentSplitter(documents), 0
    with tempfile.TemporaryFile() as starts, ThreadPoolExecutor(1) as hashing:
        hashed = hashing.submit(digest.update, b"")
        for number, text in corpus.blocks(progress, lambda *raw: hashing.submit(on_bytes, *raw)):
            data = text.encode()
            hashed.result()  # of the block before
            hashed = hashing.submit(digest.update, data)
            use(text, data)
            starts.write(splitter.split(number, data, len(text)).data)
            chars += len(text)
        hashed.result()
        return digest.hexdigest(), chars, map_file(starts, np.int64)


def _changed(corpus: Corpus) -> ChargenError:
    return ChargenError(f"{' '.join(corpus.sources)}: changed while it was read; try again")


@dataclass(frozen=True)
class CorpusCache:
    """The cache entry of one corpus that is split into documents in one way.

    An entry belongs to the sources of a corpus rather than to its text, so that a changed text
    replaces the old one. Standard input cannot be read again: each of its texts has an entry. So
    has each ``vocabulary`` that is not the text's own.
    """

    folder: Path
    name: str
    sources: Sequence[str]
    documents: str
    encoding: str = ""
    vocabulary: Vocabulary | None = None

    def load(self, sha256: str = "") -> EncodedCorpus | None:
        """Return the cached text, the latest without ``sha256``; None if missing or damaged."""
        try:
            path = self.folder / f"{self._key(sha256)}.jsonl"
            head, *lines = files.read_bytes(path, LARGEST_MANIFEST).splitlines()
            manifest = files.decode_json(head, _Manifest)
            records = tuple(files.decode_json(line, FileRecord) for line in lines)
            vocabulary = self.vocabulary or Vocabulary(manifest.vocabulary)
            ids = map_file(self._path(manifest.sha256, "ids"), vocabulary.dtype)
            starts = map_file(self._path(manifest.sha256, "starts"), np.int64)
        except (ChargenError, OSError, ValueError):
            return None
        known = (manifest.files, manifest.chars, manifest.starts, manifest.vocabulary)
        fits = known == (len(records), len(ids), len(starts), vocabulary.characters)
        if not fits or sha256 not in ("", manifest.sha256):
            return None
        return EncodedCorpus(vocabulary, manifest.sha256, manifest.chars, starts, records, ids)

    def scan(self, corpus: Corpus, progress: Progress) -> ScannedCorpus:
        """Return what is known of a corpus; it is read only if it is new or may have changed."""
        found = None if STANDARD_INPUT in self.sources else self.load()
        if found and len(found.files) == len(corpus.files):
            records = tuple(filter(None, map(FileRecord.current, found.files, corpus.files)))
            if len(records) == len(corpus.files):
                return replace(found, files=records)
        text = scan(corpus, self.documents, progress)
        return replace(text, vocabulary=self.vocabulary or text.vocabulary)

    def encode(self, corpus: Corpus, scanned: ScannedCorpus, progress: Progress) -> EncodedCorpus:
        """Return the encoded corpus, from the cache or encoded now, by one process at a time."""
        found, key = self.load(scanned.sha256), self._key(scanned.sha256)
        if found and found.files == scanned.files:
            return found
        try:
            files.make_folder(self.folder)
            with FileLock(self.folder / f"{key}.lock"):
                found = self.load(scanned.sha256)
                if not found:
                    self._write_arrays(corpus, scanned, progress)
                self._write_manifest(scanned)  # makes new files count
                for old in self.folder.glob(f"{glob.escape(key)}.*.*"):
                    if not old.name.startswith(f"{key}.{scanned.sha256[:KEY_CHARS]}."):
                        with suppress(OSError):
                            old.unlink()
        except (UnwritableError, OSError) as error:
            if found:  # then files of changed times are read again next time
                return found
            size = scanned.chars * scanned.vocabulary.dtype.itemsize + scanned.starts.nbytes
            known = error if isinstance(error, ChargenError) else cannot_write(self.folder, error)
            raise UnwritableError(
                f"{known}; the encoded corpus takes {size:,} bytes: choose a folder with more "
                "space with --cache"
            ) from None
        found = self.load(scanned.sha256)
        if found is None:
            raise ChargenError(f"{self.folder}: damaged after writing; choose another with --cache")
        return found

    def _write_arrays(self, corpus: Corpus, scanned: ScannedCorpus, progress: Progress) -> None:
        with files.new_file(self._path(scanned.sha256, "ids")) as write:
            sha256 = ""
            with suppress(UnknownCharacterError):
                sha256, *_ = _encode(corpus, scanned.vocabulary, write, progress=progress)
            if sha256 != scanned.sha256:
                raise _changed(corpus)
        with files.new_file(self._path(scanned.sha256, "starts")) as write:
            write(scanned.starts.data)
            release(scanned.starts)

    def _write_manifest(self, found: ScannedCorpus) -> None:
        head = _Manifest(
            1, self.documents, found.sha256, found.chars, len(found.starts),
            found.vocabulary.characters, len(found.files),
        )  # fmt: skip
        lines = map(msgspec.to_builtins, (head, *found.files))
        data = "".join(json.dumps(line) + "\n" for line in lines)
        files.write_file(self.folder / f"{self._key(found.sha256)}.jsonl", data.encode())

    def _key(self, sha256: str) -> str:
        text = sha256 if STANDARD_INPUT in self.sources else ""
        identity: list[object] = [self.sources, self.documents, text]
        identity += [self.encoding] if self.encoding or self.vocabulary else []
        if own := self.vocabulary:
            identity += [own.characters, own.dropped]
        digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        return f"{self.name}-{digest[:KEY_CHARS]}"

    def _path(self, sha256: str, ending: str) -> Path:
        return self.folder / f"{self._key(sha256)}.{sha256[:KEY_CHARS]}.{ending}"
