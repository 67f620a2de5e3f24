"""What is in a corpus, in numbers. It is read once, in blocks; its beginning alone is kept."""

from __future__ import annotations

import lzma
import sys
import unicodedata
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from chargen.files import Progress
from chargen.text.corpus import Corpus
from chargen.text.lines import LineCounter, LineStatistics
from chargen.text.ngrams import NgramEntropy, Repeat, entropies, longest_repeat

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COUNTED_CHARS = 1_000_000  # of the beginning, that n-grams and repeats are looked for in
PACKED_CHARS = 4_000_000  # of the beginning, that are compressed
LONGEST_NGRAM = 5
RAREST = 8  # characters that are named
SHOWN_CHARS = 120  # of the longest repeat
CODES = sys.maxunicode + 1
PACKERS: dict[str, Callable[[], Any]] = {
    "zlib": lambda: zlib.compressobj(9),
    "lzma": lambda: lzma.LZMACompressor(preset=9),
    "zstd": lambda: zstd.ZstdCompressor(level=19),
}


@dataclass(frozen=True)
class CharacterCount:
    """A character, what Unicode calls it, and how often it comes."""

    character: str
    name: str
    count: int


@dataclass(frozen=True)
class TextStatistics:
    """What `measure` finds in a corpus."""

    name: str
    chars: int
    bytes: int  # of the text in UTF-8
    alphabet: str  # its characters, sorted
    rarest: tuple[CharacterCount, ...]  # the rarest first
    scripts: dict[str, int]  # characters of each script, the most first
    lines: LineStatistics
    counted_chars: int  # the beginning, in which n-grams and repeats were looked for
    ngrams: tuple[NgramEntropy, ...]
    repeat: Repeat
    repeat_text: str  # its beginning
    packed_chars: int  # the beginning, which was compressed
    packed_bytes: dict[str, int]  # what each compressor makes of it

    @property
    def packed_bits_per_char(self) -> dict[str, float]:
        """How well each compressor predicts it, to be set beside a model's loss."""
        return {name: 8 * size / self.packed_chars for name, size in self.packed_bytes.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain values under names that carry their units."""
        lines = asdict(self.lines)
        return {
            "corpus": self.name,
            "chars": self.chars,
            "bytes": self.bytes,
            "alphabet": self.alphabet,
            "alphabet_chars": len(self.alphabet),
            "rarest": [asdict(one) for one in self.rarest],
            "scripts_chars": self.scripts,
            "lines": {"count": lines.pop("count"), **lines},
            "ngrams": {
                "counted_chars": self.counted_chars,
                "orders": [asdict(one) for one in self.ngrams],
            },
            "longest_repeat": {
                "counted_chars": self.counted_chars,
                "chars": self.repeat.chars,
                "first_char": self.repeat.first,
                "second_char": self.repeat.second,
                "text": self.repeat_text,
            },
            "packed": {
                "chars": self.packed_chars,
                "bytes": self.packed_bytes,
                "bits_per_char": self.packed_bits_per_char,
            },
        }


def measure(corpus: Corpus, progress: Progress = lambda done, of: None) -> TextStatistics:
    """Read all of ``corpus``; `ChargenError` for what is no text."""
    reading = _Reading()
    done, size = 0, sum(file.path.stat().st_size for file in corpus.files if file.path)

    def heard(number: int, data: memoryview) -> None:
        nonlocal done
        done += len(data)

    for _, text in corpus.blocks(heard):
        reading.read(text)
        progress(done, size)
    return reading.statistics(corpus.name)


class _Reading:
    """What is counted on the way through a text."""

    def __init__(self) -> None:
        self._counts = np.zeros(CODES, dtype=np.int64)
        self._bytes = 0
        self._lines = LineCounter()
        self._kept: list[np.ndarray] = []
        self._left = COUNTED_CHARS
        self._packers = {name: make() for name, make in PACKERS.items()}
        self._packed = dict.fromkeys(PACKERS, 0)
        self._to_pack = PACKED_CHARS

    def read(self, text: str) -> None:
        codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
        self._counts += np.bincount(codes, minlength=CODES)
        self._lines.read(text)
        self._kept.append(codes[: self._left].copy())
        self._left -= len(self._kept[-1])
        if self._to_pack:
            data = text[: self._to_pack].encode()
            self._to_pack -= min(self._to_pack, len(text))
            for name, packer in self._packers.items():
                self._packed[name] += len(packer.compress(data))

    def statistics(self, name: str) -> TextStatistics:
        for packer, made in self._packers.items():
            self._packed[packer] += len(made.flush())
        codes = np.flatnonzero(self._counts)
        counts = self._counts[codes]
        widths = 1 + (codes >= 0x80) + (codes >= 0x800).astype(int) + (codes >= 0x10000)
        kept = np.concatenate(self._kept)
        ids = np.searchsorted(codes, kept)
        repeat = longest_repeat(ids)
        shown = kept[repeat.first :][: min(repeat.chars, SHOWN_CHARS)]
        return TextStatistics(
            name,
            chars=int(counts.sum()),
            bytes=int((counts * widths).sum()),
            alphabet="".join(map(chr, codes)),
            rarest=_rarest(codes, counts),
            scripts=_scripts(codes, counts),
            lines=self._lines.statistics(),
            counted_chars=len(kept),
            ngrams=tuple(entropies(ids, LONGEST_NGRAM)),
            repeat=repeat,
            repeat_text="".join(map(chr, shown)),
            packed_chars=PACKED_CHARS - self._to_pack,
            packed_bytes=self._packed,
        )


def _rarest(codes: np.ndarray, counts: np.ndarray) -> tuple[CharacterCount, ...]:
    order = np.argsort(counts, kind="stable")[:RAREST]
    return tuple(
        CharacterCount(chr(code), character_name(chr(code)), int(count))
        for code, count in zip(codes[order], counts[order], strict=True)
    )


def character_name(character: str) -> str:
    """What Unicode calls it; its number where it has no name, as control characters have none."""
    return unicodedata.name(character, f"U+{ord(character):04X}")


def _scripts(codes: np.ndarray, counts: np.ndarray) -> dict[str, int]:
    """By the property Script of Unicode (UAX #24): marks and digits are Common or Inherited."""
    from fontTools.unicodedata import script, script_name

    found: dict[str, int] = {}
    for code, count in zip(codes, counts, strict=True):
        name = script_name(script(chr(code)))
        found[name] = found.get(name, 0) + int(count)
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))
