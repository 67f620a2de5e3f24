"""A corpus to ids, in a stream: what is in memory at once does not depend on its size."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from chargen.errors import ChargenError
from chargen.files import Progress
from chargen.text.boundaries import Boundaries
from chargen.text.corpus import Corpus
from chargen.text.mapped import mapped
from chargen.text.sources import Piece
from chargen.text.vocabulary import Seen, UnknownCharacterError, Vocabulary

RECENT = 2 * 10**9  # ns: a file that changed so lately may change again and look the same


@dataclass(frozen=True)
class Encoded:
    """A text as ids that lie in a file, mapped into memory as they are read."""

    vocabulary: Vocabulary
    sha256: str  # of the text in UTF-8
    ids: np.ndarray  # (L,), read-only, the narrowest unsigned integers that hold V
    starts: np.ndarray  # (D,) int64: where documents begin, the first at 0


@dataclass(frozen=True)
class FileRecord:
    """What is remembered of one file of a corpus: enough to see that it changed."""

    name: str
    bytes: int
    mtime_ns: int
    ctime_ns: int
    sha256: str  # of its bytes as they lie there
    read_ns: int  # when they were read

    @classmethod
    def of(cls, piece: Piece, sha256: str, read_ns: int) -> FileRecord:
        """As the file is now; zeros of what is no file."""
        return cls(piece.name, *_stamps(piece), sha256, read_ns)

    def still(self, piece: Piece) -> bool | None:
        """Whether ``piece`` is what was read; None where only its bytes can tell."""
        if piece.name != self.name:
            return False
        if piece.file is None or _stamps(piece) != (self.bytes, self.mtime_ns, self.ctime_ns):
            return None
        return None if max(self.mtime_ns, self.ctime_ns) > self.read_ns - RECENT else True


def _stamps(piece: Piece) -> tuple[int, int, int]:
    """Size, and when its bytes and its state changed last: no program can set the last of these."""
    if piece.file is None:
        return 0, 0, 0
    try:
        status = piece.file.stat()
    except OSError as error:
        raise ChargenError(f"{piece.name}: cannot be read ({error.strerror})") from error
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


@dataclass(frozen=True)
class Survey:
    """What one reading of a corpus finds, all that is asked of it before it is encoded."""

    vocabulary: Vocabulary
    sha256: str
    chars: int
    starts: np.ndarray  # as in `Encoded`
    files: tuple[FileRecord, ...]

    @property
    def bytes(self) -> int:
        """What it takes encoded."""
        return self.chars * self.vocabulary.dtype.itemsize + self.starts.nbytes


@dataclass
class _Reading:
    """One reading of a corpus: its text, and what is counted on the way."""

    corpus: Corpus
    progress: Progress = lambda done, of: None
    chars: int = 0
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    _bytes: int = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def texts(self) -> Iterator[tuple[int, str]]:
        """Blocks of it, each with the number of its file."""
        size = sum(_stamps(piece)[0] for piece in self.corpus.pieces)
        for number, text in self.corpus.blocks(self.heard):
            self._digest.update(text.encode())
            self.chars += len(text)
            yield number, text
            self.progress(self._bytes, size)

    def heard(self, number: int, data: memoryview) -> None:
        self._bytes += len(data)


@dataclass
class _Surveying(_Reading):
    """A reading that remembers each file too."""

    def __post_init__(self) -> None:
        self._digests = [hashlib.sha256() for _ in self.corpus.pieces]

    def heard(self, number: int, data: memoryview) -> None:
        super().heard(number, data)
        self._digests[number].update(data)

    def files(self, read_ns: int) -> tuple[FileRecord, ...]:
        return tuple(
            FileRecord.of(piece, digest.hexdigest(), read_ns)
            for piece, digest in zip(self.corpus.pieces, self._digests, strict=True)
        )


def survey(corpus: Corpus, documents: str, progress: Progress) -> Survey:
    """Read a corpus once; ``documents`` is that of `chargen.text.boundaries.Boundaries`.

    `ChargenError` for what cannot be read, and for what changes meanwhile.
    """
    seen, boundaries, begun = Seen(), Boundaries(documents), time.time_ns()
    before = [_stamps(piece) for piece in corpus.pieces]
    reading = _Surveying(corpus, progress)
    with tempfile.TemporaryFile() as kept:
        for number, text in reading.texts():
            seen.add(text)
            kept.write(boundaries.read(number, text).data)
        kept.flush()
        starts = mapped(kept, np.int64)
    _check_unchanged(corpus, before)
    return Survey(seen.vocabulary(), reading.sha256, reading.chars, starts, reading.files(begun))


def encode(corpus: Corpus, found: Survey, progress: Progress) -> Iterator[np.ndarray]:
    """The ids, block by block, of the text that ``found`` is of.

    `ChargenError` where it is another one now.
    """
    reading = _Reading(corpus, progress)
    try:
        for _, text in reading.texts():
            yield found.vocabulary.encode(text)
    except UnknownCharacterError:
        raise _changed(corpus) from None
    if reading.sha256 != found.sha256:
        raise _changed(corpus)


def read_ids(corpus: Corpus, vocabulary: Vocabulary, documents: str = "none") -> Encoded:
    """A corpus as ids of a vocabulary that is there already, in a file without a name.

    `UnknownCharacterError` where it lacks a character, `ChargenError` for what cannot be read.
    """
    reading, boundaries = _Reading(corpus), Boundaries(documents)
    with tempfile.TemporaryFile() as kept, tempfile.TemporaryFile() as begun:
        for number, text in reading.texts():
            try:
                kept.write(vocabulary.encode(text).data)
            except UnknownCharacterError as error:
                position = reading.chars - len(text) + error.position
                raise UnknownCharacterError(error.character, position) from None
            begun.write(boundaries.read(number, text).data)
        kept.flush()
        begun.flush()
        ids, starts = mapped(kept, vocabulary.dtype), mapped(begun, np.int64)
    return Encoded(vocabulary, reading.sha256, ids, starts)


def _check_unchanged(corpus: Corpus, before: list[tuple[int, int, int]]) -> None:
    for piece, stamps in zip(corpus.pieces, before, strict=True):
        if _stamps(piece) != stamps:
            raise ChargenError(f"{piece.name}: changed while it was read; try again")


def _changed(corpus: Corpus) -> ChargenError:
    names = " ".join(corpus.sources)
    return ChargenError(f"{names}: changed while it was read; try again")
