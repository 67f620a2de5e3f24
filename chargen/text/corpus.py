"""A corpus: its name and its text, read in blocks."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from chargen.errors import ChargenError
from chargen.files import Progress
from chargen.text.decoding import check_encoding
from chargen.text.sources import (
    DECOMPRESSORS,
    STANDARD_INPUT,
    TEXT_SUFFIXES,
    TextFile,
    find_texts,
)

SHORTEST = 3  # characters of a text that can be evaluated
SHORTEST_TO_TRAIN = 50  # characters, so that the held-out tenth has a few
LINE_ENDS = ("\n", "\r")
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # on Windows
LONGEST_NAME = 100  # UTF-8 bytes of a corpus name; file systems allow 255
SHOWN = 5  # groups of identical files, and files of a group

OnFileBytes = Callable[[int, memoryview], object]


class LongerError(ChargenError):
    """A corpus holds more text than before."""


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

        A line feed is added after a file whose last line has none if another file follows; nothing
        else is changed. ``progress`` gets the bytes read and the size of all files after each
        block, ``on_bytes`` the index of a file and its bytes before decompression.

        Raises:
            LongerError: The text is longer than `most`; raised as soon as that many are read.
            ChargenError: A file is not text, or the whole text is too short.
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

    def in_encoding(self, name: str) -> Corpus:
        """Return the corpus with the encoding of its files; empty for UTF-8."""
        encoding = name and check_encoding(name)
        files = (
            file if file.encoding is None else replace(file, encoding=encoding)
            for file in self.files
        )
        return replace(self, files=tuple(files), encoding=encoding)

    def notes(self, digests: Iterable[str], documents: int = 0) -> list[str]:
        """Return which files were read, what was skipped and which files are identical.

        Args:
            digests: A hash of each file.
            documents: The number of documents, if the text is split into documents.
        """
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
        """The whole text, in memory."""
        return "".join(block for _, block in self.blocks())


def read_corpus(sources: Sequence[str | Path], encoding: str = "") -> Corpus:
    """Find the files of a corpus; their text is read later, in blocks.

    Args:
        sources: Files, folders, ``-`` for standard input, or names of bundled corpora, in reading
            order. In a folder every ``*.txt``, ``*.txt.gz`` and ``*.txt.zst`` at any depth is
            read, in sorted order, unless it is hidden or left by an editor; links to files are
            followed, links to folders are not. Line ends are kept.
        encoding: The encoding of files without a byte order mark, UTF-8 by default.

    Raises:
        ChargenError: A source is missing, or is a pipe or a device.
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
    """Turn a name into a safe folder name that is easy to type.

    The result has no separators and no control characters, does not begin with a dot or a dash, is
    not reserved on Windows, and has at most `LONGEST_NAME` bytes.
    """
    safe = "".join(char if char.isprintable() else "_" for char in name)
    safe = re.sub(r'[/\\:*?"<>|]', "_", safe).lstrip(".- ").rstrip(". ")
    safe = f"_{safe}" if RESERVED.fullmatch(safe) else safe
    return safe.encode()[:LONGEST_NAME].decode(errors="ignore").rstrip(". ") or "corpus"
