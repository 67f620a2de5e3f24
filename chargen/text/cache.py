"""A cache of encoded corpora on disk, shared by all runs on the same text.

NAME-KEY.jsonl           manifest: the files and what was found in them; written last
NAME-KEY.SHA256.ids      ids of the text
NAME-KEY.SHA256.starts   first characters of the documents
"""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from filelock import FileLock

from chargen.errors import ChargenError
from chargen.files import (
    Progress,
    UnwritableError,
    cannot_write,
    decode_json,
    make_folder,
    new_file,
    read_bytes,
    write_file,
)
from chargen.text.corpus import Corpus
from chargen.text.encoding import (
    Count,
    EncodedCorpus,
    FileRecord,
    ScannedCorpus,
    Sha256,
    encode,
    scan,
)  # fmt: skip
from chargen.text.memory_map import map_file, release
from chargen.text.sources import STANDARD_INPUT
from chargen.text.vocabulary import Vocabulary

FOLDER = ".corpora"  # default cache folder, beside the runs
LARGEST_MANIFEST = 2**30  # bytes
KEY_CHARS = 12
STARTS = 2**20  # document starts written together


class _Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line of a manifest; a line for each file follows."""

    format: Literal[1]
    documents: str  # how the corpus is split
    sha256: Sha256
    chars: Count
    starts: Count = msgspec.field(name="begun")  # number of documents
    vocabulary: str
    files: Count  # number of files


class CorpusCache:
    """The cache entry of one corpus that is split into documents in one way.

    An entry belongs to the sources of a corpus rather than to its text, so that a changed text
    replaces the old one. Standard input cannot be read again: each of its texts has an entry. So
    has each ``vocabulary`` that is not the text's own.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        sources: Sequence[str],
        documents: str,
        encoding: str = "",
        vocabulary: Vocabulary | None = None,
    ) -> None:
        self._folder, self._name, self._sources = folder, name, list(sources)
        self._documents, self._encoding, self._vocabulary = documents, encoding, vocabulary

    def load(self, sha256: str) -> EncodedCorpus | None:
        """Return the cached text of this SHA-256, if any, without a look at its sources."""
        found = self._read(sha256)
        return found if found and found.sha256 == sha256 else None

    def scan(self, corpus: Corpus, progress: Progress) -> ScannedCorpus:
        """Return what is known of a corpus; it is read only if it is new or may have changed.

        A file is unchanged if its size and times are, or else if its SHA-256 is. Nothing is
        encoded.
        """
        found = None if STANDARD_INPUT in self._sources else self._read("")
        if found and len(found.files) == len(corpus.files):
            pairs = zip(found.files, corpus.files, strict=True)
            files = list(takewhile(bool, (known.current(file) for known, file in pairs)))
            if len(files) == len(corpus.files):
                return replace(found, files=tuple(file for file in files if file))
        text = scan(corpus, self._documents, progress)
        return replace(text, vocabulary=self._vocabulary) if self._vocabulary else text

    def encode(self, corpus: Corpus, scanned: ScannedCorpus, progress: Progress) -> EncodedCorpus:
        """Return the encoded corpus, from the cache or encoded now.

        A process waits for another one that encodes the same corpus.

        Raises:
            UnwritableError: The cache cannot be written.
            ChargenError: The corpus has changed since it was scanned.
        """
        found = self.load(scanned.sha256)
        if found and found.files == scanned.files:
            return found
        try:
            make_folder(self._folder)
            with self._lock(scanned.sha256):
                found = self.load(scanned.sha256)
                if not found:
                    self._write_arrays(corpus, scanned, progress)
                self._write_manifest(scanned)  # makes new files count
                if not found:
                    self._remove_old(scanned.sha256)
        except UnwritableError as error:
            if found:  # then files of changed times are read again next time
                return found
            raise UnwritableError(
                f"{error}; the encoded corpus takes {scanned.bytes:,} bytes: choose a folder with "
                "more space with --cache"
            ) from None
        found = self.load(scanned.sha256)
        if found is None:
            raise ChargenError(
                f"{self._folder}: damaged after writing; choose another folder with --cache"
            )
        return found

    def _write_arrays(self, corpus: Corpus, scanned: ScannedCorpus, progress: Progress) -> None:
        with new_file(self._path(scanned.sha256, "ids")) as write:
            for block in encode(corpus, scanned, progress):
                write(block.data)
        with new_file(self._path(scanned.sha256, "starts")) as write:
            for first in range(0, len(scanned.starts), STARTS):
                write(scanned.starts[first : first + STARTS].data)
                release(scanned.starts)

    def _remove_old(self, sha256: str) -> None:
        kept = [self._path(sha256, ending) for ending in ("ids", "starts")]
        for old in self._folder.glob(f"{glob.escape(self._key(sha256))}.*.*"):
            if old not in kept:
                with suppress(OSError):
                    old.unlink()

    @contextmanager
    def _lock(self, sha256: str) -> Iterator[None]:
        lock = FileLock(self._folder / f"{self._key(sha256)}.lock")
        try:
            lock.acquire()
        except OSError as error:
            raise cannot_write(self._folder, error) from None
        try:
            yield
        finally:
            lock.release()

    def _key(self, sha256: str) -> str:
        text = sha256 if STANDARD_INPUT in self._sources else ""
        identity: list[object] = [self._sources, self._documents, text]
        identity += [self._encoding] if self._encoding or self._vocabulary else []
        if own := self._vocabulary:
            identity += [own.characters, own.dropped]
        digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        return f"{self._name}-{digest[:KEY_CHARS]}"

    def _path(self, sha256: str, ending: str) -> Path:
        return self._folder / f"{self._key(sha256)}.{sha256[:KEY_CHARS]}.{ending}"

    def _read(self, sha256: str) -> EncodedCorpus | None:
        """Return the cached text; None if it is missing or damaged.

        ``sha256`` selects the entry of a standard input; other corpora have one entry.
        """
        try:
            path = self._folder / f"{self._key(sha256)}.jsonl"
            head, *lines = read_bytes(path, LARGEST_MANIFEST).splitlines()
            manifest = decode_json(head, _Manifest)
            files = tuple(decode_json(line, FileRecord) for line in lines)
            vocabulary = self._vocabulary or Vocabulary(manifest.vocabulary)
            ids = map_file(self._path(manifest.sha256, "ids"), vocabulary.dtype)
            starts = map_file(self._path(manifest.sha256, "starts"), np.int64)
        except (ChargenError, OSError, ValueError):
            return None
        sizes = (len(files), len(ids), len(starts))
        if sizes != (manifest.files, manifest.chars, manifest.starts) or (
            vocabulary.characters != manifest.vocabulary
        ):
            return None
        return EncodedCorpus(vocabulary, manifest.sha256, manifest.chars, starts, files, ids)

    def _write_manifest(self, found: ScannedCorpus) -> None:
        head = _Manifest(
            1, self._documents, found.sha256, found.chars, len(found.starts),
            found.vocabulary.characters, len(found.files),
        )  # fmt: skip
        lines = map(msgspec.to_builtins, (head, *found.files))
        data = "".join(json.dumps(line) + "\n" for line in lines)
        write_file(self._folder / f"{self._key(found.sha256)}.jsonl", data.encode())
