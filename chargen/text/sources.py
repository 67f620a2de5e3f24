"""Where text comes from: files, plain or compressed, folders, standard input, bundled corpora."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import sys
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from chargen.datasets import bundled
from chargen.datasets.catalogue import ENTRIES
from chargen.errors import ChargenError
from chargen.text.decoding import decoded

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STANDARD_INPUT = "-"
BLOCK = 2**18  # bytes that are read together: what is made of them stays in the caches
TEXT = ".txt"
UNPACKED: dict[str, Callable[[Any], Any]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".zst": zstd.ZstdFile,
}
READ = (TEXT, *(TEXT + packed for packed in UNPACKED))  # how files end that a folder is read for

Heard = Callable[[memoryview], object]


@dataclass(frozen=True)
class Piece:
    """One text of a corpus, which can be read more than once."""

    name: str  # what an error calls it
    open: Callable[[], AbstractContextManager[BinaryIO]]
    file: Path | None = None  # where it is one that lies on the disk
    packed: str = ""  # how it is compressed, a key of `UNPACKED`

    def texts(self, heard: Heard = lambda data: None) -> Iterator[str]:
        """Its text in blocks. ``heard`` is given the bytes as they lie there, packed or not.

        `ChargenError` for what cannot be read, unpacked or decoded.
        """
        return decoded(self._blocks(heard), self.name)

    def sha256(self) -> str:
        """SHA-256 of its bytes as they lie there; `ChargenError` where they cannot be read."""
        digest = hashlib.sha256()
        for _ in self._raw(digest.update):
            pass
        return digest.hexdigest()

    def _blocks(self, heard: Heard) -> Iterator[bytes]:
        if not self.packed:
            yield from self._raw(heard)
            return
        try:
            with self.open() as file, UNPACKED[self.packed](_Heard(file, heard)) as unpacked:
                yield from iter(partial(unpacked.read, BLOCK), b"")
        except (EOFError, zlib.error, zstd.ZstdError, gzip.BadGzipFile) as error:
            raise ChargenError(
                f"{self.name}: damaged or not {self.packed} ({error}); put a whole file there"
            ) from None
        except OSError as error:
            raise self._unreadable(error) from error

    def _raw(self, heard: Heard) -> Iterator[bytes]:
        try:
            with self.open() as file:
                while data := file.read(BLOCK):
                    heard(memoryview(data))
                    yield data
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> ChargenError:
        return ChargenError(f"{self.name}: cannot be read ({error.strerror or error})")


class _Heard(io.RawIOBase):
    """A file whose bytes are told as they are read."""

    def __init__(self, file: BinaryIO, heard: Heard) -> None:
        self._file, self._heard = file, heard

    def readable(self) -> bool:
        return True

    def readinto(self, room: memoryview) -> int:  # type: ignore[override]
        data = self._file.read(len(room))
        room[: len(data)] = data
        self._heard(memoryview(data))
        return len(data)


def pieces_of(source: str) -> list[Piece]:
    """The texts that one name stands for; `ChargenError` where it stands for none.

    Nothing is read yet, a pipe at standard input apart, which is kept in a file without a name.
    """
    path = Path(source)
    if not source:
        raise ChargenError("an empty name was given for a corpus; . is the folder that you are in")
    if source == STANDARD_INPUT:
        return [_standard_input()]
    if _holds(path.is_dir, source):
        files = _texts_below(path)
        if not files:
            raise ChargenError(f"{source}: no *.txt file in this folder or below it")
        return [_file(file) for file in files]
    if _holds(path.exists, source):
        return [_file(path)]
    if source in bundled.names():
        read = cache(lambda: bundled.read(source).encode())
        return [Piece(source, lambda: io.BytesIO(read()))]
    if source in ENTRIES:
        raise ChargenError(f"{source}: not here yet; get it with chargen corpora fetch {source}")
    raise ChargenError(
        f"{source}: no such file or folder, nor a bundled corpus ({', '.join(bundled.names())})"
    )


def _standard_input() -> Piece:
    stream = sys.stdin.buffer
    kept = None if stream.seekable() else _kept(stream)
    begin = 0 if kept else stream.tell()

    def again() -> AbstractContextManager[BinaryIO]:
        file = kept or stream
        file.seek(begin)
        return nullcontext(file)

    if kept:
        weakref.finalize(again, kept.close)  # nobody else knows when it was read last
    return Piece("standard input", again)


def _kept(stream: BinaryIO) -> BinaryIO:
    """All of ``stream`` in a file without a name."""
    kept = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        shutil.copyfileobj(stream, kept, BLOCK)
    except OSError as error:
        kept.close()
        raise ChargenError(
            f"standard input: cannot be kept in {tempfile.gettempdir()} ({error.strerror}); "
            "name a roomier folder in TMPDIR"
        ) from None
    return kept


def _file(path: Path) -> Piece:
    """A file proper. A pipe or a device may have no end, and nobody could read it again to measure
    what was learned from it."""
    if _holds(path.exists, str(path)) and not path.is_file():
        raise ChargenError(
            f"{path}: a pipe or a device, no file; leave it out, or give its text as standard "
            "input, which is called -"
        )
    packed = path.suffix if path.suffix in UNPACKED else ""
    return Piece(str(path), lambda: path.open("rb", buffering=0), path, packed)


def _holds(question: Callable[[], bool], source: str) -> bool:
    """Ask the file system; a name that it cannot even look up is a mistake like any other."""
    try:
        return question()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        name = source if len(source) < 300 else f"{source[:60]}…"
        raise ChargenError(f"{name}: no such file can be read ({reason})") from None


def _texts_below(folder: Path) -> list[Path]:
    """All that is called as in `READ` and is no folder, sorted; a folder that cannot be listed is
    a `ChargenError`."""
    walked = os.walk(folder, onerror=_cannot_list)
    below = (Path(inside, name) for inside, _, names in walked for name in names)
    return sorted(file for file in below if file.name.endswith(READ))


def _cannot_list(error: OSError) -> NoReturn:
    raise ChargenError(f"{error.filename}: this folder cannot be read ({error.strerror})")
