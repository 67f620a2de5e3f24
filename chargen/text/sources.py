"""Sources of text: plain and compressed files, folders, standard input and bundled corpora."""

from __future__ import annotations

import atexit
import gzip
import hashlib
import io
import os
import re
import shlex
import shutil
import stat
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from chargen.datasets import bundled
from chargen.datasets.download import ENTRIES
from chargen.errors import ChargenError
from chargen.files import reason
from chargen.render.text import command
from chargen.text.decoding import decode_blocks

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STANDARD_INPUT = "-"
BLOCK = 2**18  # bytes per block, few enough for the processor's caches
DECOMPRESSORS: dict[str, Callable[[Any], Any]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".zst": zstd.ZstdFile,
}
TEXT_SUFFIXES = (".txt", *(".txt" + suffix for suffix in DECOMPRESSORS))  # read in folders
LEFTOVER = re.compile(r"\.|~\$|#.*#$|.*(~|\.swp)$|(__MACOSX|Thumbs\.db|desktop\.ini)$")
LEFT = "hidden or temporary"

OnBytes = Callable[[memoryview], object]
"""Called with each block of bytes of a file, before decompression."""


@dataclass(frozen=True)
class TextFile:
    """A file, standard input or bundled text of a corpus; it can be read repeatedly."""

    name: str  # shown in messages
    open: Callable[[], AbstractContextManager[BinaryIO]]
    path: Path | None = None  # None for standard input and bundled corpora
    encoding: str | None = ""  # see `decode_blocks`

    def blocks(self, on_bytes: OnBytes = lambda data: None) -> Iterator[str]:
        """Yield the text in blocks; `ChargenError` if it cannot be decompressed or decoded."""
        compression = self.path.suffix if self.path else ""
        return decode_blocks(self._read(on_bytes, compression), self.name, self.encoding)

    def stamps(self) -> tuple[int, int, int]:
        """Return size, modification time and status change time; zeros for what is not a file."""
        if self.path is None:
            return 0, 0, 0
        try:
            status = self.path.stat()
        except OSError as error:
            raise _unreadable(self.name, error) from error
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def sha256(self) -> str:
        """Return the SHA-256 of the bytes before decompression."""
        digest = hashlib.sha256()
        for _ in self._read(digest.update):
            pass
        return digest.hexdigest()

    def _read(self, on_bytes: OnBytes, compression: str = "") -> Iterator[bytes]:
        decompressor = DECOMPRESSORS.get(compression, nullcontext)
        try:
            with self.open() as file, decompressor(_ObservedFile(file, on_bytes)) as text:
                while data := text.read(BLOCK):
                    yield data
        except (EOFError, zlib.error, zstd.ZstdError, gzip.BadGzipFile) as error:
            raise ChargenError(
                f"{self.name}: damaged or not {compression} ({error}); replace the file"
            ) from None
        except OSError as error:
            raise _unreadable(self.name, error) from error


@dataclass(frozen=True)
class _ObservedFile:
    """A file that passes the bytes that are read from it to ``on_bytes``."""

    file: BinaryIO
    on_bytes: OnBytes

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        self.on_bytes(memoryview(data))
        return data


def read_file(path: Path) -> str:
    """Return the text of one UTF-8 file."""
    return "".join(TextFile(str(path), lambda: path.open("rb"), encoding=None).blocks())


def find_texts(source: str, others: Counter[str]) -> list[TextFile]:
    """Return the text files that one source names, and count a folder's ``others`` by kind.

    Reading starts later, except for a pipe at standard input, which is copied to an unnamed file.

    Raises:
        ChargenError: There is no text file.
    """
    if not source:
        raise ChargenError("an empty corpus name was given; use . for the current folder")
    if source == STANDARD_INPUT:
        return [_standard_input()]
    if _mode(Path(source, "run.json")):
        raise ChargenError(
            f"{source}: a run, not a text; resume it with "
            f"{command('train', '--resume', '--out', source)}, or name a text"
        )
    if mode := _mode(Path(source)):
        paths = _texts_below(Path(source), others) if stat.S_ISDIR(mode) else [Path(source)]
        return [_text_file(path) for path in paths]
    if source in bundled.names():
        read = cache(lambda: bundled.read(source).encode())
        return [TextFile(source, lambda: io.BytesIO(read()), encoding=None)]
    known = next((name for name, one in ENTRIES.items() if source in (name, one.url)), "")
    if known:
        raise ChargenError(f"{source}: not downloaded yet; run chargen corpora fetch {known}")
    if "://" in source:
        raise ChargenError(
            f"{source}: an address, not a file; download it first, then train on the file: "
            f"{command('train', source.rstrip('/').rpartition('/')[2])}"
        )
    raise ChargenError(
        f"{source}: no such file, folder or bundled corpus ({', '.join(bundled.names())})"
    )


def _standard_input() -> TextFile:
    file: BinaryIO = sys.stdin.buffer
    start = file.tell() if file.seekable() else 0
    file = file if file.seekable() else _copied(file)

    def reopen() -> AbstractContextManager[BinaryIO]:
        file.seek(start)
        return nullcontext(file)

    return TextFile("standard input", reopen)


@cache  # a pipe can be read only once
def _copied(pipe: BinaryIO) -> BinaryIO:
    file = tempfile.TemporaryFile()  # noqa: SIM115
    atexit.register(file.close)
    try:
        shutil.copyfileobj(pipe, file, BLOCK)
    except OSError as error:
        file.close()
        raise ChargenError(
            f"standard input: cannot be copied to {tempfile.gettempdir()} ({error.strerror}); "
            "set TMPDIR to a folder with more space"
        ) from None
    return file


def _text_file(path: Path) -> TextFile:
    # A pipe or a device may be endless and could not be read again to evaluate a model.
    mode = _mode(path)
    if mode and not stat.S_ISREG(mode):
        raise ChargenError(
            f"{path}: a pipe or a device, not a file; leave it out, or pass its text as standard "
            "input, which is called -"
        )
    return TextFile(str(path), lambda: path.open("rb", buffering=0), path)


def _mode(path: Path) -> int:
    """Return the type of a file, 0 if there is none."""
    try:
        return os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except (OSError, ValueError) as error:
        raise _unreadable(reason(path), error) from None


def _texts_below(folder: Path, others: Counter[str]) -> list[Path]:
    def refuse(error: OSError) -> NoReturn:
        raise _unreadable(error.filename, error)

    files: list[Path] = []
    for inside, folders, names in os.walk(folder, onerror=refuse):
        for name in names:
            if LEFTOVER.match(name):
                others[LEFT] += 1
            elif name.endswith(TEXT_SUFFIXES):
                files.append(Path(inside, name))
            else:
                others[f"*{Path(name).suffix}"] += 1
        others[LEFT] += sum(map(bool, map(LEFTOVER.match, folders)))
        folders[:] = [name for name in folders if not LEFTOVER.match(name)]
    if files:
        return sorted(files)
    message = f"{folder}: no *.txt file in this folder or below it"
    if kinds := sorted({*others} - {LEFT}, key=lambda kind: (-others[kind], kind))[:3]:
        there = ", ".join(f"{others[kind]:,} {kind}" for kind in kinds)
        example = min(file.parent for file in folder.rglob(kinds[0]))
        pattern = f"{shlex.quote(str(example))}/{kinds[0]}"
        message += f", but {there}; name the files: chargen train {pattern}"
    raise ChargenError(message)


def _unreadable(name: str, error: Exception) -> ChargenError:
    return ChargenError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})")
