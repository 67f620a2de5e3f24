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
from chargen.text.corpus import Corpus
from chargen.text.documents import DocumentSplitter
from chargen.text.memory_map import map_file
from chargen.text.sources import TextFile
from chargen.text.vocabulary import CharacterSet, UnknownCharacterError, Vocabulary

RECENT = 2 * 10**9  # ns: a file changed so recently may change again without a new time stamp

Count = Annotated[int, Meta(ge=0)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class FileRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a corpus as it was when it was read; shows whether the file has changed."""

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

    def is_current(self, file: TextFile) -> bool | None:
        """Return whether ``file`` is unchanged; None if only its bytes can tell."""
        if file.name != self.name:
            return False
        if file.path is None or file.stamps() != (self.bytes, self.mtime_ns, self.ctime_ns):
            return None
        return None if max(self.mtime_ns, self.ctime_ns) > self.read_ns - RECENT else True


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
    """One pass over the text of a corpus that computes hashes and counts characters."""

    def __init__(self, corpus: Corpus, hash_files: bool = False) -> None:
        self._corpus = corpus
        self._digest = hashlib.sha256()
        self._file_digests = [hashlib.sha256() for _ in corpus.files] if hash_files else []
        self.chars = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def blocks(self, progress: Progress = lambda done, total: None) -> Iterator[tuple[int, str]]:
        for number, text in self._corpus.blocks(progress, self._hash):
            self._digest.update(text.encode())
            self.chars += len(text)
            yield number, text

    def _hash(self, number: int, data: memoryview) -> None:
        if self._file_digests:
            self._file_digests[number].update(data)

    def files(self, read_ns: int) -> tuple[FileRecord, ...]:
        """Return records of the hashed files."""
        return tuple(
            FileRecord.of(file, digest.hexdigest(), read_ns)
            for file, digest in zip(self._corpus.files, self._file_digests, strict=True)
        )


def scan(corpus: Corpus, documents: str, progress: Progress) -> ScannedCorpus:
    """Read a corpus once to find its vocabulary, its documents and its SHA-256.

    Args:
        corpus: The corpus.
        documents: How it is split, see `DocumentSplitter`.
        progress: Called with the bytes read and their total.

    Raises:
        ChargenError: A file cannot be read, or changes while it is read.
    """
    seen, splitter, begun = CharacterSet(), DocumentSplitter(documents), time.time_ns()
    before = [file.stamps() for file in corpus.files]
    reading = _Pass(corpus, hash_files=True)
    with tempfile.TemporaryFile() as file:
        for number, text in reading.blocks(progress):
            seen.add(text)
            file.write(splitter.split(number, text).data)
        file.flush()
        starts = map_file(file, np.int64)
    for text_file, stamps in zip(corpus.files, before, strict=True):
        if text_file.stamps() != stamps:
            raise _changed(text_file.name)
    files = reading.files(begun)
    return ScannedCorpus(seen.vocabulary(), reading.sha256, reading.chars, starts, files)


def encode(corpus: Corpus, scanned: ScannedCorpus, progress: Progress) -> Iterator[np.ndarray]:
    """Yield the ids of a scanned corpus, block by block.

    Raises:
        ChargenError: The corpus has changed since it was scanned.
    """
    reading = _Pass(corpus)
    try:
        for _, text in reading.blocks(progress):
            yield scanned.vocabulary.encode(text)
    except UnknownCharacterError:
        raise _changed(*corpus.sources) from None
    if reading.sha256 != scanned.sha256:
        raise _changed(*corpus.sources)


def encode_with(corpus: Corpus, vocabulary: Vocabulary, documents: str = "none") -> EncodedCorpus:
    """Encode a corpus with an existing vocabulary, into an unnamed temporary file.

    Args:
        corpus: The corpus.
        vocabulary: The vocabulary.
        documents: How the corpus is split, see `DocumentSplitter`.

    Raises:
        UnknownCharacterError: The vocabulary lacks a character.
        ChargenError: A file cannot be read.
    """
    reading, splitter = _Pass(corpus), DocumentSplitter(documents)
    with tempfile.TemporaryFile() as ids_file, tempfile.TemporaryFile() as starts_file:
        for number, text in reading.blocks():
            try:
                ids_file.write(vocabulary.encode(text).data)
            except UnknownCharacterError as error:
                position = reading.chars - len(text) + error.position
                raise UnknownCharacterError(error.character, position) from None
            starts_file.write(splitter.split(number, text).data)
        ids_file.flush()
        starts_file.flush()
        ids, starts = map_file(ids_file, vocabulary.dtype), map_file(starts_file, np.int64)
    return EncodedCorpus(vocabulary, reading.sha256, reading.chars, starts, (), ids)


def _changed(*names: str) -> ChargenError:
    return ChargenError(f"{' '.join(names)}: changed while it was read; try again")
