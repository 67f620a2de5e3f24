"""A corpus: what it is called, and its text, read in blocks."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from chargen.errors import ChargenError
from chargen.text.sources import READ, STANDARD_INPUT, UNPACKED, Piece, pieces_of

SHORTEST = 3  # characters of a text that can be evaluated
SHORTEST_TO_TRAIN = 50  # characters, so that the held-out tenth has a few
LINE_ENDS = ("\n", "\r")
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # by Windows
Heard = Callable[[int, memoryview], object]
LONGEST_NAME = 100  # bytes of a corpus's name in UTF-8; file systems take 255


class LongerError(ChargenError):
    """A corpus that holds more text than it did."""


@dataclass(frozen=True)
class Corpus:
    """Texts in their order, where they came from, and what to call them together."""

    name: str  # what a run trained on it is called
    sources: tuple[str, ...]  # absolute paths, "-", or names of bundled corpora, in reading order
    pieces: tuple[Piece, ...]
    most: float = math.inf  # characters that it may hold

    def blocks(self, heard: Heard = lambda number, data: None) -> Iterator[tuple[int, str]]:
        """All of the text in blocks, each with the number of the piece that it is of.

        A piece that does not end its last line is followed by a line feed where another one comes
        after it; nothing else is changed. ``heard`` is given the bytes of each piece, by number,
        as they lie there. `ChargenError` for what is no text, and where all of it is too short;
        `LongerError` where it is longer than it may be, as soon as that is read.
        """
        chars = 0
        for number, piece in enumerate(self.pieces):
            block = ""
            for block in piece.texts(partial(heard, number)):
                chars += len(block)
                self._check_most(chars)
                yield number, block
            if number < len(self.pieces) - 1 and not block.endswith(LINE_ENDS):
                chars += 1
                yield number, "\n"
        if chars < SHORTEST:
            names = " ".join(piece.name for piece in self.pieces)
            raise ChargenError(
                f"{names}: {chars} characters are too few: give at least {SHORTEST_TO_TRAIN} to "
                f"train on, or {SHORTEST} to evaluate"
            )

    def _check_most(self, chars: int) -> None:
        if chars > self.most:
            names = " ".join(self.sources)
            raise LongerError(
                f"{names}: more than the {self.most:,} characters that were trained on; name that "
                "text again"
            )

    @property
    def text(self) -> str:
        """All of it, in memory; `ChargenError` as `blocks` raises it."""
        return "".join(block for _, block in self.blocks())


def read_corpus(sources: Sequence[str | Path]) -> Corpus:
    """Find files, folders, ``-`` or bundled corpora, to be read as one text.

    Of a folder every ``*.txt``, ``*.txt.gz`` and ``*.txt.zst`` below it is read, sorted; links to
    files are followed, links to folders below it are not. Each file is UTF-8; a byte order mark at
    its beginning is dropped, line ends stay as they are. Raises `ChargenError` for a source that
    is missing, a pipe or a device; what is no text is found as it is read. Nothing is left out.
    """
    if not sources:
        raise ChargenError("no corpus given: name a text file, a folder, - or a bundled corpus")
    named = [str(source) for source in sources]
    if named.count(STANDARD_INPUT) > 1:
        raise ChargenError("-: given twice, and standard input can be read once; name it once")
    pieces = tuple(piece for source in named for piece in pieces_of(source))
    return Corpus(_name(named), tuple(_absolute(source) for source in named), pieces)


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
        name = folder_name(path.name if path.is_dir() else _stem(path.name))
    return name if len(sources) == 1 else f"{name}-and-{len(sources) - 1}-more"


def _stem(name: str) -> str:
    """A file's name without what it ends with."""
    path = Path(name)
    return Path(path.stem).stem if path.suffix in UNPACKED and name.endswith(READ) else path.stem


def folder_name(name: str) -> str:
    """``name`` as a folder can be called that is inside another one and easily named on a command
    line: no separators, no control characters, no dot or dash at its beginning, not too long."""
    kept = "".join(char if char.isprintable() else "_" for char in name)
    kept = re.sub(r'[/\\:*?"<>|]', "_", kept).lstrip(".- ").rstrip(". ")
    kept = f"_{kept}" if RESERVED.fullmatch(kept) else kept
    return kept.encode()[:LONGEST_NAME].decode(errors="ignore").rstrip(". ") or "corpus"
