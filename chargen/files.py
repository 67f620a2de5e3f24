"""Atomic file replacement, and bounded reading of files and JSON.

What writes raises `UnwritableError` if the system refuses.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from chargen.errors import ChargenError

MARKS = 2**16  # commas and opening brackets of JSON; each takes up to 80 bytes when parsed
PLAIN = 2**21  # bytes of JSON beside \u escapes; a character takes up to 4 bytes when parsed
SHOWN = 200  # characters of a reason

T = TypeVar("T")
Progress = Callable[[int, int], object]
"""Progress callback: the units read so far and their total, or 0 if the total is unknown."""


class UnwritableError(ChargenError):
    """A file cannot be written; its previous content is intact."""


# A symbolic link in a run directory could name any file of the user: it is never followed.
CREATE = os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise `UnwritableError` where the system refuses to write a file."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> UnwritableError:
    return UnwritableError(f"{path}: cannot be written ({error.strerror or error})")


def write_file(path: Path, data: bytes) -> None:
    """Replace a file; a crash or power cut leaves the old file or the new one, complete."""
    with new_file(path) as write:
        write(data)


@contextmanager
def new_file(path: Path) -> Iterator[Callable[[bytes | memoryview], None]]:
    """Yield a function that appends to a new file, which replaces the old one at the end."""
    temporary = path.with_name(path.name + ".new")
    with writing(path):
        _remove(temporary)
        try:
            with _opened(temporary, os.O_WRONLY | os.O_EXCL | CREATE) as file:
                yield partial(_write, file)
                os.fsync(file)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                _remove(temporary)
            raise
        _sync_folder(path.parent)


def write_end(path: Path, start: int, data: bytes) -> None:
    """Replace everything in a file after its first ``start`` bytes, durably."""
    with writing(path):
        with _opened(path, os.O_RDWR | CREATE) as file:
            os.lseek(file, start, os.SEEK_SET)
            _write(file, data)
            # Truncate after writing: an earlier attempt may have written a valid longer file.
            os.ftruncate(file, start + len(data))
            os.fsync(file)
        if start == 0:  # the file may be new
            _sync_folder(path.parent)


def remove_files(folder: Path, *names: str) -> None:
    """Remove files, if they exist, durably."""
    with writing(folder):
        for name in names:
            _remove(folder / name)
        _sync_folder(folder)


def make_folder(path: Path) -> None:
    """Create a directory and its parents durably."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            _sync_folder(folder.parent)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, flags, 0o666)
    try:
        yield file
    finally:
        os.close(file)


def _write(file: int, data: bytes | memoryview) -> None:
    left = memoryview(data).cast("B")
    while left:
        left = left[os.write(file, left) :]


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _sync_folder(path: Path) -> None:
    if os.name == "posix":  # Windows cannot open a directory to sync it
        with _opened(path, os.O_RDONLY) as folder:
            os.fsync(folder)


def read_bytes(path: Path, limit: int, follow: bool = False) -> bytes:
    """Read a regular file of at most ``limit`` bytes, or a link to one with ``follow``.

    Raises `FileNotFoundError` if there is none, or `ChargenError`.
    """
    if not follow and path.is_symlink():  # a clear message, and platforms without O_NOFOLLOW
        raise linked(path)
    # A pipe without a writer would block.
    flags = getattr(os, "O_NONBLOCK", 0) | (0 if follow else getattr(os, "O_NOFOLLOW", 0))
    try:
        with open(path, "rb", opener=lambda name, own: os.open(name, own | flags)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ChargenError(f"{path}: not a regular file; replace it with one")
            if status.st_size > limit:
                raise ChargenError(f"{path}: {status.st_size:,} bytes, at most {limit:,} are read")
            return file.read(status.st_size)
    except FileNotFoundError:
        raise
    except MemoryError:
        raise ChargenError(f"{path}: larger than the available memory") from None
    except (OSError, ValueError) as error:
        raise cannot_read(path, error) from None


def cannot_read(path: object, error: Exception) -> ChargenError:
    return ChargenError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})")


def linked(path: Path) -> ChargenError:
    return ChargenError(f"{path}: a symbolic link; replace it with the file")


def read_json(path: Path, kind: type[T], limit: int) -> T:
    """Decode a JSON file; `read_bytes` has the errors, of which one names a field."""
    data = read_bytes(path, limit)
    try:
        return decode_json(data, kind)
    except (ValueError, ChargenError) as error:
        raise ChargenError(f"{path}: {reason(error)}") from None


def decode_json(data: bytes, kind: type[T]) -> T:
    """Decode JSON into a type; `ValueError` names what does not fit its annotations.

    More than `MARKS` commas and brackets, or `PLAIN` bytes, are refused before they are parsed.
    """
    if sum(data.count(mark) for mark in (b",", b"[", b"{")) > MARKS:
        raise ValueError(f"more than {MARKS:,} commas and brackets")
    if len(data) - 6 * data.count(b"\\u") > PLAIN:
        raise ValueError(f"more than {PLAIN:,} bytes")
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None


def reason(error: object) -> str:
    """Return an error's text as one line of at most `SHOWN` characters."""
    text = " ".join((error.message if isinstance(error, ChargenError) else str(error)).split())
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
