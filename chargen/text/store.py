"""Encoded corpora on the disk: made once, used by every run on the same text.

NAME-KEY.jsonl           what was read, and what was found; its last line is the last to come
NAME-KEY.SHA256.ids      the text's ids
NAME-KEY.SHA256.starts   where its documents begin, if it is more than one
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from chargen.errors import ChargenError
from chargen.files import (
    Progress,
    UnwritableError,
    cannot_write,
    make_folder,
    new_file,
    parse_json,
    read_bytes,
    write_file,
)
from chargen.text.corpus import Corpus
from chargen.text.encoding import Encoded, FileRecord, Survey, encode, survey
from chargen.text.mapped import let_go, mapped
from chargen.text.sources import STANDARD_INPUT, Piece
from chargen.text.vocabulary import Vocabulary

FORMAT = 1
FOLDER = ".corpora"  # beside the runs, where no other one is named
LARGEST_MANIFEST = 2**30  # bytes
KEY_CHARS = 12
STARTS = 2**20  # beginnings of documents that are written together


def key(name: str, sources: Sequence[str], documents: str, sha256: str) -> str:
    """What a corpus is kept under: its sources, not its text, so that a new text replaces an old.

    Of standard input, which nobody can read again, each text is kept: ``sha256`` is the text's.
    """
    said = [list(sources), documents, sha256 if STANDARD_INPUT in sources else ""]
    return f"{name}-{hashlib.sha256(json.dumps(said).encode()).hexdigest()[:KEY_CHARS]}"


def look_up(
    folder: Path, corpus: Corpus, documents: str, progress: Progress
) -> tuple[Store, Survey]:
    """Where ``corpus`` is kept below ``folder``, and what it holds: known from there, or read.

    Nothing is encoded. `ChargenError` for what cannot be read.
    """
    store = Store(folder, key(corpus.name, corpus.sources, documents, ""))
    found = None if STANDARD_INPUT in corpus.sources else store.fresh(corpus)
    found = found or survey(corpus, documents, progress)
    return Store(folder, key(corpus.name, corpus.sources, documents, found.sha256)), found


@dataclass(frozen=True)
class _Kept:
    """What a manifest says."""

    documents: str
    sha256: str
    chars: int
    begun: int  # documents
    vocabulary: Vocabulary
    files: tuple[FileRecord, ...]

    @classmethod
    def read(cls, path: Path) -> _Kept | None:
        """None where there is none, or none that can be used: it is made anew then."""
        try:
            head, *lines = bytes(read_bytes(path, LARGEST_MANIFEST)).splitlines()
            said = parse_json(head)
            if said.pop("format") != FORMAT or said.pop("files") != len(lines):
                return None
            vocabulary = Vocabulary(said.pop("vocabulary"))
            files = tuple(FileRecord(**parse_json(line)) for line in lines)
            kept = cls(**said, vocabulary=vocabulary, files=files)
        except (ChargenError, OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        numbers = [kept.chars, kept.begun]
        numbers += [n for file in files for n in (file.mtime_ns, file.ctime_ns, file.read_ns)]
        whole = all(type(number) is int and number >= 0 for number in numbers)
        return kept if whole and re.fullmatch("[0-9a-f]{64}", kept.sha256) else None

    def to_lines(self) -> bytes:
        said = {name: getattr(self, name) for name in ("documents", "sha256", "chars", "begun")}
        said |= {"vocabulary": self.vocabulary.characters, "files": len(self.files)}
        head: dict[str, Any] = {"format": FORMAT, **said}
        lines = (head, *map(asdict, self.files))
        return "".join(json.dumps(line) + "\n" for line in lines).encode()


def _still(known: FileRecord, piece: Piece) -> FileRecord | None:
    """What is known of ``piece`` now, if it is what was read; its bytes are only read in doubt."""
    now = time.time_ns()
    still = known.still(piece)
    if still is None and piece.sha256() == known.sha256:
        return FileRecord.of(piece, known.sha256, now)
    return known if still else None


class Store:
    """A folder in which encoded corpora are kept, and what one of them is kept under."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder
        self._key = key
        self._manifest = folder / f"{key}.jsonl"

    def kept(self, sha256: str) -> Encoded | None:
        """The text of this SHA-256, if it is what is kept; its sources are not looked at."""
        kept = _Kept.read(self._manifest)
        return self._mapped(kept) if kept and kept.sha256 == sha256 else None

    def fresh(self, corpus: Corpus) -> Survey | None:
        """What is known of ``corpus`` without reading its text; None where any of it changed.

        A file is unchanged where its size and times are, or else its SHA-256 is.
        """
        kept = _Kept.read(self._manifest)
        if kept is None or len(kept.files) != len(corpus.pieces):
            return None
        encoded = self._mapped(kept)
        if encoded is None:
            return None
        files = []
        for known, piece in zip(kept.files, corpus.pieces, strict=True):
            now = _still(known, piece)
            if now is None:
                return None
            files.append(now)
        return Survey(kept.vocabulary, kept.sha256, kept.chars, encoded.starts, tuple(files))

    def encoded(self, corpus: Corpus, found: Survey, documents: str, progress: Progress) -> Encoded:
        """The ids of ``corpus``, of which ``found`` is known: those that are kept, or made now.

        Who else makes them is waited for. `ChargenError` where the corpus is another one by now,
        `UnwritableError` where they cannot be kept.
        """
        kept = self.kept(found.sha256)
        if kept is None:
            with self._held():
                return self.kept(found.sha256) or self._made(corpus, found, documents, progress)
        with suppress(UnwritableError):  # then files are read again the next time
            self._remember(found)
        return kept

    def _remember(self, found: Survey) -> None:
        """Keep what is known of the files by now: then their bytes need not be read again."""
        kept = _Kept.read(self._manifest)
        if kept is None or kept.files == found.files:
            return
        with self._held():
            kept = _Kept.read(self._manifest)
            if kept is not None and kept.sha256 == found.sha256:  # nobody made another one since
                write_file(self._manifest, replace(kept, files=found.files).to_lines())

    @contextmanager
    def _held(self) -> Iterator[None]:
        lock = FileLock(self._folder / f"{self._key}.lock")
        try:
            make_folder(self._folder)
            lock.acquire()
        except (OSError, UnwritableError) as error:
            told = cannot_write(self._folder, error) if isinstance(error, OSError) else error
            raise UnwritableError(f"{told}; name another folder with --cache") from None
        try:
            yield
        finally:
            lock.release()

    def _made(self, corpus: Corpus, found: Survey, documents: str, progress: Progress) -> Encoded:
        ids, starts = (self._file(found.sha256, what) for what in ("ids", "starts"))
        try:
            with new_file(ids) as write:
                for block in encode(corpus, found, progress):
                    write(block.data)
            with new_file(starts) as write:
                for first in range(0, len(found.starts), STARTS):
                    write(found.starts[first : first + STARTS].data)
                    let_go(found.starts)
            kept = _Kept(
                documents,
                found.sha256,
                found.chars,
                len(found.starts),
                found.vocabulary,
                found.files,
            )
            # Before it, what was made is nobody's; after it, what it was before.
            write_file(self._manifest, kept.to_lines())
        except UnwritableError as error:
            raise UnwritableError(
                f"{error}; the encoded corpus takes {found.bytes:,} bytes: name a roomier folder "
                "with --cache"
            ) from None
        for old in self._folder.glob(f"{glob.escape(self._key)}.*.*"):
            if old not in (ids, starts):
                with suppress(OSError):
                    old.unlink()
        made = self._mapped(kept)
        if made is None:
            raise ChargenError(f"{ids}: is not what was written; name another folder with --cache")
        return made

    def _file(self, sha256: str, what: str) -> Path:
        return self._folder / f"{self._key}.{sha256[:KEY_CHARS]}.{what}"

    def _mapped(self, kept: _Kept) -> Encoded | None:
        """None where the files are not as large as they must be."""
        try:
            ids = mapped(self._file(kept.sha256, "ids"), kept.vocabulary.dtype)
            starts = mapped(self._file(kept.sha256, "starts"), np.int64)
        except (OSError, ValueError):
            return None
        if (len(ids), len(starts)) != (kept.chars, kept.begun):
            return None
        return Encoded(kept.vocabulary, kept.sha256, ids, starts)
