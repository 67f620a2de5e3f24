"""A corpus: files, folders, standard input and bundled texts, found first and read in blocks."""

import atexit
import gzip
import hashlib
import io
import math
import os
import re
import shlex
import shutil
import stat
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, NoReturn

from chargen.datasets import bundled
from chargen.datasets.download import ENTRIES
from chargen.errors import ChargenError
from chargen.files import Progress, cannot_read, reason
from chargen.render.text import command
from chargen.text.decoding import check_encoding, decode_blocks

if sys.version_info >= (3, 14):
    from compression import zstd as zstd  # noqa: PLC0414
else:
    from backports import zstd as zstd  # noqa: PLC0414

STANDARD_INPUT = "-"
BLOCK = 2**18  # bytes per block, few enough for the processor's caches
DECOMPRESSORS: dict[str, Callable[[Any], Any]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".zst": zstd.ZstdFile,
}
TEXT_SUFFIXES = (".txt", *(".txt" + suffix for suffix in DECOMPRESSORS))  # read in folders
LEFTOVER = re.compile(r"\.|~\$|#.*#$|.*(~|\.swp)$|(__MACOSX|Thumbs\.db|desktop\.ini)$")
LEFT = "hidden or temporary"
SHORTEST = 3  # characters of a text that can be evaluated
SHORTEST_TO_TRAIN = 50  # characters, so that the held-out tenth has a few
LINE_ENDS = ("\n", "\r")
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # on Windows
LONGEST_NAME = 100  # UTF-8 bytes of a corpus name; file systems allow 255
SHOWN = 5  # groups of identical files, and files of a group

OnBytes = Callable[[memoryview], object]
"""Called with each block of bytes of a file, before decompression."""
OnFileBytes = Callable[[int, memoryview], object]


class LongerError(ChargenError):
    """A corpus holds more text than before."""


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
            raise cannot_read(self.name, error) from error
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def sha256(self) -> str:
        """Return the SHA-256 of the bytes before decompression."""
        digest = hashlib.sha256()
        for _ in self._read(digest.update):
            pass
        return digest.hexdigest()

    def _read(self, on_bytes: OnBytes, compression: str = "") -> Iterator[bytes]:
        def read(size: int) -> bytes:
            data = file.read(size)
            on_bytes(memoryview(data))
            return data

        decompressor = DECOMPRESSORS.get(compression, nullcontext)
        try:
            with self.open() as file, decompressor(SimpleNamespace(read=read)) as text:
                while data := text.read(BLOCK):
                    yield data
        except (EOFError, zlib.error, zstd.ZstdError, gzip.BadGzipFile) as error:
            raise ChargenError(
                f"{self.name}: damaged or not {compression} ({error}); replace the file"
            ) from None
        except OSError as error:
            raise cannot_read(self.name, error) from error


@dataclass(frozen=True)
class Corpus:
    """One or more text files that are read as one text."""

    name: str  # the default name of a run that is trained on it
    sources: tuple[str, ...]  # absolute paths, "-", or names of bundled corpora, in reading order
    files: tuple[TextFile, ...]
    others: Counter[str] = field(default_factory=Counter)  # other entries of folders, by kind
    encoding: str = ""  # of files without a byte order mark; "": UTF-8
    most: float = math.inf  # maximum number of characters

    def blocks(
        self,
        progress: Progress = lambda done, total: None,
        on_bytes: OnFileBytes = lambda number, data: None,
    ) -> Iterator[tuple[int, str]]:
        """Yield the text in blocks, each with the index of its file.

        A line feed is added after a file whose last line has none if another file follows.
        ``progress`` gets the bytes read and the size of all files, ``on_bytes`` the index of a file
        and its bytes before decompression. `LongerError` if the text exceeds `most`, `ChargenError`
        if a file is not text or the text is too short.
        """
        chars = done = 0
        total = sum(file.stamps()[0] for file in self.files)

        def count(data: memoryview) -> None:
            nonlocal done
            done += len(data)
            on_bytes(number, data)

        for number, file in enumerate(self.files):
            block = ""
            for block in file.blocks(count):
                chars += len(block)
                if chars > self.most:
                    raise LongerError(
                        f"{' '.join(self.sources)}: more than the {self.most:,} characters of the "
                        "training corpus; name that corpus again"
                    )
                yield number, block
                progress(done, total)
            if number < len(self.files) - 1 and not block.endswith(LINE_ENDS):
                chars += 1
                yield number, "\n"
        if chars < SHORTEST:
            names = " ".join(file.name for file in self.files)
            raise ChargenError(
                f"{names}: {chars} characters are too few: give at least {SHORTEST_TO_TRAIN} to "
                f"train on, or {SHORTEST} to evaluate"
            )

    def in_encoding(self, name: str) -> "Corpus":
        """Return the corpus with the encoding of its files; empty for UTF-8."""
        new = name and check_encoding(name)
        files = (one if one.encoding is None else replace(one, encoding=new) for one in self.files)
        return replace(self, files=tuple(files), encoding=new)

    def notes(self, digests: Iterable[str], documents: int = 0) -> list[str]:
        """Return which files were read, what was skipped and which files are identical."""
        notes = []
        if len(self.files) > 1 or self.others or documents:
            read = f"read {len(self.files):,} file{'s' * (len(self.files) > 1)}"
            read += f", {documents:,} document{'s' * (documents > 1)}" if documents else ""
            kinds = sorted(self.others, key=lambda kind: (-self.others[kind], kind))
            left = ", ".join(f"{self.others[kind]:,} {kind}" for kind in kinds)
            notes.append(f"{read}; skipped {left}" if left else read)
        names: dict[str, list[str]] = {}
        for file, digest in zip(self.files, digests, strict=True):
            names.setdefault(digest, []).append(file.name)
        same = [group for group in names.values() if len(group) > 1]
        notes += [f"identical files: {' and '.join(group[:SHOWN])}" for group in same[:SHOWN]]
        if len(same) > SHOWN:
            notes.append(f"{len(same) - SHOWN:,} more groups of identical files")
        return notes

    @property
    def text(self) -> str:
        return "".join(block for _, block in self.blocks())


def read_corpus(sources: Sequence[str | Path], encoding: str = "") -> Corpus:
    """Find the files of a corpus; their text is read later, in blocks.

    In a folder every ``*.txt``, ``*.txt.gz`` and ``*.txt.zst`` at any depth is read, in sorted
    order, unless it is hidden or left by an editor; links to files are followed, links to folders
    are not. ``encoding`` is that of files without a byte order mark, UTF-8 by default.
    `ChargenError` if a source is missing, a pipe or a device.
    """
    if not sources:
        raise ChargenError("no corpus given: name a text file, a folder, - or a bundled corpus")
    named = [str(source) for source in sources]
    if named.count(STANDARD_INPUT) > 1:
        raise ChargenError("-: standard input can be read only once; name it once")
    others = Counter[str]()
    files = tuple(file for source in named for file in find_texts(source, others))
    absolute = tuple(map(_absolute, named))
    return Corpus(_name(named), absolute, files, +others).in_encoding(encoding)


def read_file(path: Path) -> str:
    return "".join(TextFile(str(path), lambda: path.open("rb"), encoding=None).blocks())


def find_texts(source: str, others: Counter[str]) -> list[TextFile]:
    """Return the text files that one source names, and count a folder's ``others`` by kind."""
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
    if source in bundled.TEXTS:
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
    known = ", ".join(bundled.TEXTS)
    raise ChargenError(f"{source}: no such file, folder or bundled corpus ({known})")


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
    """Return the type of a file, 0 if it does not exist."""
    try:
        return os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except (OSError, ValueError) as error:
        raise cannot_read(reason(path), error) from None


def _texts_below(folder: Path, others: Counter[str]) -> list[Path]:
    def refuse(error: OSError) -> NoReturn:
        raise cannot_read(error.filename, error)

    files: list[Path] = []
    for inside, folders, names in os.walk(folder, onerror=refuse):
        left = set(filter(LEFTOVER.match, (*folders, *names)))
        others[LEFT] += len(left)
        folders[:] = sorted({*folders} - left)
        for name in {*names} - left:
            if name.endswith(TEXT_SUFFIXES):
                files.append(Path(inside, name))
            else:
                others[f"*{Path(name).suffix}"] += 1
    if files:
        return sorted(files)
    message = f"{folder}: no *.txt file in this folder or below it"
    if kinds := sorted({*others} - {LEFT}, key=lambda kind: (-others[kind], kind))[:3]:
        there = ", ".join(f"{others[kind]:,} {kind}" for kind in kinds)
        example = min(file.parent for file in folder.rglob(kinds[0]))
        pattern = f"{shlex.quote(str(example))}/{kinds[0]}"
        message += f", but {there}; name the files: chargen train {pattern}"
    raise ChargenError(message)


def _absolute(source: str) -> str:
    absolute = str(Path(source).resolve()) if Path(source).exists() else source
    try:
        absolute.encode()
    except UnicodeEncodeError:
        raise ChargenError(
            f"{absolute}: the name is not UTF-8, so a run cannot record it; rename it, or pass "
            "its text as standard input, which is called -"
        ) from None
    return absolute


def _name(sources: Sequence[str]) -> str:
    path = Path(sources[0]).resolve()
    name = path.name if path.is_dir() else path.stem
    if path.suffix in DECOMPRESSORS and path.name.endswith(TEXT_SUFFIXES):
        name = Path(name).stem
    name = "stdin" if sources[0] == STANDARD_INPUT else folder_name(name)
    return name if len(sources) == 1 else f"{name}-and-{len(sources) - 1}-more"


def folder_name(name: str) -> str:
    """Turn a name into one that is safe on all systems, of at most `LONGEST_NAME` bytes."""
    safe = "".join(char if char.isprintable() else "_" for char in name)
    safe = re.sub(r'[/\\:*?"<>|]', "_", safe).lstrip(".- ").rstrip(". ")
    safe = f"_{safe}" if RESERVED.fullmatch(safe) else safe
    return safe.encode()[:LONGEST_NAME].decode(errors="ignore").rstrip(". ") or "corpus"
