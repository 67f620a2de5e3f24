"""Encode a corpus to ids in a stream, with memory that does not grow with its size."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from chargen.errors import ChargenError
from chargen.files import Progress
from chargen.text.corpus import Corpus, OnFileBytes
from chargen.text.documents import DocumentSplitter
from chargen.text.memory_map import map_file
from chargen.text.sources import TextFile
from chargen.text.vocabulary import CharacterSet, UnknownCharacterError, Vocabulary

RECENT = 2 * 10**9  # ns: a file changed so recently may change again without a new time stamp

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

    @classmethod
    def of(cls, file: TextFile, sha256: str, read_ns: int) -> FileRecord:
        """Record the present state of a file."""
        return cls(file.name, *file.stamps(), sha256, read_ns)

    def current(self, file: TextFile) -> FileRecord | None:
        """Return the record of an unchanged file, None for a changed one; in doubt, hash it."""
        now, stamps = time.time_ns(), (self.bytes, self.mtime_ns, self.ctime_ns)
        if file.name != self.name or file.stamps()[0] != self.bytes:
            return None
        old = max(self.mtime_ns, self.ctime_ns) <= self.read_ns - RECENT
        if old and file.path is not None and file.stamps() == stamps:
            return self
        return FileRecord.of(file, self.sha256, now) if file.sha256() == self.sha256 else None


@dataclass(frozen=True, eq=False)
class ScannedCorpus:
    """A corpus of known content that is not necessarily encoded yet."""

    vocabulary: Vocabulary
    sha256: str  # of the text in UTF-8
    chars: int
    starts: np.ndarray  # (D,) int64: the first characters of documents, rising from 0
    files: tuple[FileRecord, ...]

    @property
    def bytes(self) -> int:
        """The size of the encoded corpus."""
        return self.chars * self.vocabulary.dtype.itemsize + self.starts.nbytes


@dataclass(frozen=True, eq=False)
class EncodedCorpus(ScannedCorpus):
    """A corpus as ids in a memory-mapped file."""

    ids: np.ndarray  # (L,) read-only, of the vocabulary's dtype


class _Pass:
    """One pass over the text of a corpus, which finds its SHA-256, its length and its documents."""

    def __init__(self, corpus: Corpus, documents: str = "none") -> None:
        self._corpus = corpus
        self._digest = hashlib.sha256()
        self._splitter = DocumentSplitter(documents)
        self.chars = 0

    def blocks(
        self,
        progress: Progress = lambda done, total: None,
        on_bytes: OnFileBytes = lambda number, data: None,
    ) -> Iterator[tuple[str, bytes]]:
        """Yield the text in blocks, each with its UTF-8."""
        with tempfile.TemporaryFile() as starts:
            for number, text in self._corpus.blocks(progress, on_bytes):
                data = text.encode()
                self._digest.update(data)
                yield text, data
                starts.write(self._splitter.split(number, data, len(text)).data)
                self.chars += len(text)
            starts.flush()
            self.starts = map_file(starts, np.int64)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def scan(corpus: Corpus, documents: str, progress: Progress) -> ScannedCorpus:
    """Read a corpus once to find its vocabulary, its documents and its SHA-256.

    ``documents`` says how it is split, see `DocumentSplitter`.

    Raises:
        ChargenError: A file cannot be read, or changes while it is read.
    """
    seen, reading, begun = CharacterSet(), _Pass(corpus, documents), time.time_ns()
    before = [file.stamps() for file in corpus.files]
    digests = [hashlib.sha256() for _ in corpus.files]
    for _, data in reading.blocks(progress, lambda number, read: digests[number].update(read)):
        seen.add(data)
    if [file.stamps() for file in corpus.files] != before:
        raise _changed(corpus)
    found = zip(corpus.files, digests, strict=True)
    files = tuple(FileRecord.of(file, digest.hexdigest(), begun) for file, digest in found)
    return ScannedCorpus(seen.vocabulary(), reading.sha256, reading.chars, reading.starts, files)


def encode(corpus: Corpus, scanned: ScannedCorpus, progress: Progress) -> Iterator[np.ndarray]:
    """Yield the ids of a scanned corpus by blocks; `ChargenError` if it has changed since."""
    reading = _Pass(corpus)
    try:
        for text, _ in reading.blocks(progress):
            yield scanned.vocabulary.encode(text)
    except UnknownCharacterError:
        raise _changed(corpus) from None
    if reading.sha256 != scanned.sha256:
        raise _changed(corpus)


def encode_with(corpus: Corpus, vocabulary: Vocabulary, documents: str = "none") -> EncodedCorpus:
    """Encode a corpus with an existing vocabulary, into an unnamed temporary file.

    Raises:
        UnknownCharacterError: The vocabulary lacks a character.
        ChargenError: A file cannot be read.
    """
    reading = _Pass(corpus, documents)
    with tempfile.TemporaryFile() as file:
        for text, _ in reading.blocks():
            try:
                file.write(vocabulary.encode(text).data)
            except UnknownCharacterError as error:
                place = reading.chars + error.position
                raise UnknownCharacterError(error.character, place) from None
        file.flush()
        ids = map_file(file, vocabulary.dtype)
    return EncodedCorpus(vocabulary, reading.sha256, reading.chars, reading.starts, (), ids)


def _changed(corpus: Corpus) -> ChargenError:
    return ChargenError(f"{' '.join(corpus.sources)}: changed while it was read; try again")
