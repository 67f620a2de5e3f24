"""Paths to text, text to training and validation halves."""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from chargen.errors import ChargenError
from chargen.text import bundled

STANDARD_INPUT = "-"
SHORTEST = 3  # two characters to train on (an input and its target), one to validate on
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # by Windows
LONGEST_NAME = 100  # bytes of a corpus's name in UTF-8; file systems take 255


@dataclass(frozen=True)
class Corpus:
    """A text, where it came from, and what to call it."""

    name: str  # what a run trained on it is called
    sources: tuple[str, ...]  # absolute paths, "-", or names of bundled corpora, in reading order
    text: str

    @property
    def sha256(self) -> str:
        """SHA-256 of the text in UTF-8: for one file without a BOM, that of the file."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def training_chars(self, validation: float) -> int:
        """How many characters come before the held-out last part, a share ``validation`` of all."""
        chars = int(len(self.text) * (1 - validation))
        return min(max(chars, SHORTEST - 1), len(self.text) - 1)


def read_corpus(sources: Sequence[str | Path]) -> Corpus:
    """Read files, folders (every ``*.txt`` below, sorted), ``-`` or bundled corpora into one text.

    Each file is UTF-8; a byte order mark at its beginning is dropped, line ends stay as they are,
    and a file that does not end its last line is followed by a line feed where another file comes
    after it. Links to files are followed, below a folder links to folders are not. Raises
    `ChargenError` for a source that is missing, empty, or not text, and for whatever ``*.txt``
    in a folder cannot be read: nothing is left out.
    """
    if not sources:
        raise ChargenError("no corpus given: name a text file, a folder, - or a bundled corpus")
    named = [str(source) for source in sources]
    parts = [part for source in named for part in _read_source(source)]
    text = "".join(_end_line(part) for part in parts[:-1]) + parts[-1]
    if len(text) < SHORTEST:
        raise ChargenError(
            f"{' '.join(named)}: {len(text)} characters are too few to learn from, "
            f"give at least {SHORTEST}"
        )
    return Corpus(_name(named), tuple(_absolute(source) for source in named), text)


def _read_source(source: str) -> Iterator[str]:
    path = Path(source)
    if not source:
        raise ChargenError("an empty name was given for a corpus; . is the folder that you are in")
    if source == STANDARD_INPUT:
        yield decode(sys.stdin.buffer.read(), "standard input")
    elif _holds(path.is_dir, source):
        files = _texts_below(path)
        if not files:
            raise ChargenError(f"{source}: no *.txt file in this folder or below it")
        for file in files:
            yield _read_regular(file)
    elif _holds(path.exists, source):
        yield _read_regular(path)
    elif source in bundled.names():
        yield bundled.read(source)
    else:
        raise ChargenError(
            f"{source}: no such file or folder, nor a bundled corpus ({', '.join(bundled.names())})"
        )


def _holds(question: Callable[[], bool], source: str) -> bool:
    """Ask the file system; a name that it cannot even look up is a mistake like any other."""
    try:
        return question()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        name = source if len(source) < 300 else f"{source[:60]}…"
        raise ChargenError(f"{name}: no such file can be read ({reason})") from None


def _texts_below(folder: Path) -> list[Path]:
    """All that is called ``*.txt`` and is no folder, sorted; a folder that cannot be listed is
    a `ChargenError`."""
    walked = os.walk(folder, onerror=_cannot_list)
    below = (Path(inside, name) for inside, _, names in walked for name in names)
    return sorted(file for file in below if file.name.endswith(".txt"))


def _cannot_list(error: OSError) -> NoReturn:
    raise ChargenError(f"{error.filename}: this folder cannot be read ({error.strerror})")


def _read_regular(file: Path) -> str:
    """`read_file` of a file proper. A pipe or a device may have no end, and nobody could read it
    again to measure what was learned from it."""
    if _holds(file.exists, str(file)) and not file.is_file():
        raise ChargenError(
            f"{file}: a pipe or a device, no file; leave it out, or give its text as standard "
            "input, which is called -"
        )
    return read_file(file)


def read_file(path: Path) -> str:
    """One UTF-8 file as `read_corpus` reads it; `ChargenError` where it is missing or no text."""
    try:
        return decode(path.read_bytes(), str(path))
    except OSError as error:
        raise ChargenError(f"{path}: cannot be read ({error.strerror})") from error


def decode(data: bytes, name: str) -> str:
    """UTF-8 bytes to text without a leading BOM; ``name`` is what an error calls them."""
    bom = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
    try:
        text = data[bom:].decode("utf-8")
    except UnicodeDecodeError as error:
        offset = error.start + bom
        raise ChargenError(
            f"{name}: not UTF-8 text, byte 0x{data[offset]:02X} at offset {offset}; "
            f"convert it first, for example with iconv -f LATIN1 -t UTF-8"
        ) from None
    nul = data.find(0)
    if nul >= 0:
        raise ChargenError(
            f"{name}: a NUL byte at offset {nul}, so this is not plain UTF-8 text; "
            "convert it or leave it out"
        )
    if not text:
        raise ChargenError(f"{name}: empty, there is nothing to read; leave it out")
    return text


def _end_line(text: str) -> str:
    return text if text.endswith(("\n", "\r")) else text + "\n"


def _absolute(source: str) -> str:
    absolute = str(Path(source).resolve()) if Path(source).exists() else source
    try:
        absolute.encode()
    except UnicodeEncodeError:
        raise ChargenError(
            f"{absolute}: a name that is not UTF-8, which no run could remember; rename it, or "
            "give its text as standard input, which is called -"
        ) from None
    return absolute


def _name(sources: Sequence[str]) -> str:
    first = sources[0]
    if first == STANDARD_INPUT:
        name = "stdin"
    else:
        path = Path(first).resolve()
        name = folder_name(path.name if path.is_dir() else path.stem)
    return name if len(sources) == 1 else f"{name}-and-{len(sources) - 1}-more"


def folder_name(name: str) -> str:
    """``name`` as a folder can be called that is inside another one and easily named on a command
    line: no separators, no control characters, no dot or dash at its beginning, not too long."""
    kept = "".join(char if char.isprintable() else "_" for char in name)
    kept = re.sub(r'[/\\:*?"<>|]', "_", kept).lstrip(".- ").rstrip(". ")
    kept = f"_{kept}" if RESERVED.fullmatch(kept) else kept
    return kept.encode()[:LONGEST_NAME].decode(errors="ignore").rstrip(". ") or "corpus"
