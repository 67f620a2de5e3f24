"""Files on the disk: replaced whole or not at all, read only where they are what they seem."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from chargen.errors import ChargenError

MARKS = 2**16  # commas and opening brackets that JSON may hold: each takes up to 80 bytes, parsed
PLAIN = 2**21  # bytes of JSON beside \u escapes: a character of a string may take four, parsed
SHOWN = 200  # characters of a reason

T = TypeVar("T")
Progress = Callable[[int, int], object]
"""Called with the units read so far and their total, which is 0 where it is unknown."""


class UnwritableError(ChargenError):
    """A file that the system would not write; what stood there before is whole."""


# A link in a run's folder could lead to any file of the user's: it is replaced, never followed.
CREATE = os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def write_file(path: Path, data: bytes) -> None:
    """Replace a file so that a crash at any moment leaves the old one or the new one, whole.

    Once it returns, the new one outlasts a power cut. `UnwritableError` where it cannot be.
    """
    with new_file(path) as write:
        write(data)


@contextmanager
def new_file(path: Path) -> Iterator[Callable[[bytes | memoryview], None]]:
    """`write_file` in pieces: gives what writes them, and replaces the file at the end.

    Where the body raises, the old file stays.
    """
    temporary = path.with_name(path.name + ".new")
    try:
        _remove(temporary)
        try:
            file = os.open(temporary, os.O_WRONLY | os.O_EXCL | CREATE, 0o666)
            try:
                yield partial(_write, file)
                os.fsync(file)
            finally:
                os.close(file)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                _remove(temporary)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def write_end(path: Path, start: int, data: bytes) -> None:
    """Make ``data`` what a file holds from byte ``start`` on, and its end; all before it stays.

    Once it returns, that outlasts a power cut. `UnwritableError` where it cannot be.
    """
    try:
        file = os.open(path, os.O_RDWR | CREATE, 0o666)
        try:
            os.lseek(file, start, os.SEEK_SET)
            _write(file, data)
            # Cut after it was written, not before: what an earlier try left may count already.
            os.ftruncate(file, start + len(data))
            os.fsync(file)
        finally:
            os.close(file)
        if start == 0:  # the file may be new
            _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def remove_files(folder: Path, *names: str) -> None:
    """Remove files that may be there, for good; `UnwritableError` where they cannot be."""
    try:
        for name in names:
            _remove(folder / name)
        _sync_folder(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error


def make_folder(path: Path) -> None:
    """Make a folder that may be there, for good; `UnwritableError` where it cannot be."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            _sync_folder(folder.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def _write(file: int, data: bytes | memoryview) -> None:
    left = memoryview(data).cast("B")
    while left:
        left = left[os.write(file, left) :]


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _sync_folder(path: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened to be synced
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def cannot_write(path: Path, error: OSError) -> UnwritableError:
    """What the user is told of a file that the system would not write."""
    return UnwritableError(f"{path}: cannot be written ({error.strerror or error})")


def read_bytes(path: Path, limit: int, follow: bool = False) -> bytearray:
    """A regular file of at most ``limit`` bytes, read once; other memory is not taken.

    `FileNotFoundError` where there is none, `ChargenError` for all else that cannot be read. A
    symbolic link is refused, unless ``follow`` says that the user named the file. Links on the way
    to the file's folder are followed. What is written to the file meanwhile is not read.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    flags |= getattr(os, "O_NONBLOCK", 0)  # a pipe that nobody writes to would be waited for
    if not follow:
        flags |= getattr(os, "O_NOFOLLOW", 0)
        if path.is_symlink():  # said by name, and found where there is no O_NOFOLLOW
            raise linked(path)
    try:
        descriptor = os.open(path, flags)
        try:
            return _read(descriptor, path, limit)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except MemoryError:
        raise ChargenError(f"{path}: more than the memory here holds") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ChargenError(f"{path}: cannot be read ({reason})") from None


def _read(descriptor: int, path: Path, limit: int) -> bytearray:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise ChargenError(f"{path}: no regular file; put a file there")
    if status.st_size > limit:
        raise ChargenError(f"{path}: {status.st_size:,} bytes, {limit:,} are the most")
    data, filled = bytearray(status.st_size), 0
    with open(descriptor, "rb", buffering=0, closefd=False) as file, memoryview(data) as view:
        while filled < len(data) and (count := file.readinto(view[filled:])):
            filled += count
    del data[filled:]
    return data


def linked(path: Path) -> ChargenError:
    """What the user is told of a symbolic link in a run's folder."""
    return ChargenError(
        f"{path}: a symbolic link, and nothing in a run's folder may lead out of it; put the file "
        "itself there"
    )


def read_json(path: Path, kind: type[T], limit: int, *, follow: bool = False) -> T:
    """Decode a JSON file of bounded size into a type.

    The type carries the schema: a frozen `msgspec.Struct` with ``forbid_unknown_fields=True``, a
    dataclass or a plain container, whose fields have constraints such as
    ``Annotated[int, msgspec.Meta(ge=1)]``. A check across fields goes into ``__post_init__``,
    which raises ``ValueError``. ``json.dumps(msgspec.to_builtins(value))`` writes such a value::

        class Row(Struct, frozen=True, forbid_unknown_fields=True):
            span_chars: Annotated[int, Meta(ge=1)]
            accuracy: Annotated[float, Meta(ge=0, le=1)]

        rows = read_json(Path("rows.json"), tuple[Row, ...], 2**20)

    Args:
        path: The file; a regular file, see `read_bytes`.
        kind: The type of the whole document.
        limit: The largest size of the file, in bytes.
        follow: Whether ``path`` may be a symbolic link.

    Raises:
        FileNotFoundError: There is no such file.
        ChargenError: The file cannot be read or does not fit ``kind``. The message is one line
            that names the file and the field.
    """
    data = read_bytes(path, limit, follow)
    try:
        return decode_json(data, kind)
    except (ValueError, ChargenError) as error:
        raise ChargenError(f"{path}: {reason(error)}") from None


def decode_json(data: bytes | bytearray, kind: type[T]) -> T:
    """Decode JSON as `parse_json` accepts it into a type; see `read_json`.

    Raises:
        ValueError: The JSON is refused, or a field does not fit; the message names the field.
    """
    return msgspec.convert(parse_json(data), kind)  # its ValidationError is a ValueError


def parse_json(data: bytes | bytearray, infinite: bool = False) -> Any:
    """Parse ASCII JSON with bounds on its size and numbers.

    Args:
        data: At most `MARKS` commas and opening brackets, and `PLAIN` bytes beside escapes: both
            are checked before any memory is allocated.
        infinite: Whether infinite numbers are allowed.

    Raises:
        ValueError: The text is no JSON, exceeds a bound, repeats a key, or holds NaN, an integer
            beyond 64 bits or a lone surrogate.
    """
    if sum(data.count(mark) for mark in (b",", b"[", b"{")) > MARKS:
        raise ValueError(f"more than {MARKS:,} commas and brackets")
    if len(data) - 6 * data.count(b"\\u") > PLAIN:
        raise ValueError(f"more than {PLAIN:,} bytes")

    def constant(name: str) -> float:
        if name == "NaN" or not infinite:
            raise ValueError(f"{name} instead of a finite number")
        return float(name)

    def number(digits: str) -> float:
        return value if math.isfinite(value := float(digits)) else constant("Infinity")

    try:
        value = json.loads(
            data.decode("ascii"),
            object_pairs_hook=_distinct,
            parse_int=_whole,
            parse_float=number,
            parse_constant=constant,
        )
        if re.search(rb"\\u[dD][89a-fA-F]", data):
            # File names may hold single bytes, which Python decodes as low surrogates.
            json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("half a character (a lone surrogate)") from None
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key is repeated")
    return values


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= (value := int(digits)) < 2**64:
        raise ValueError(f"{digits[:20]} is beyond 64 bits")
    return value


def reason(error: object) -> str:
    """An error's text on one line, and not longer than anyone reads."""
    text = " ".join(str(error).split())
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
