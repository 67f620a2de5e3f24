"""Statistics of a corpus, which is read once in blocks.

Only the beginning of the text is kept for n-grams, repeats and compression.
"""

from __future__ import annotations

import hashlib
import lzma
import sys
import unicodedata
import zlib
from array import array
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from chargen.files import Progress
from chargen.text.corpus import Corpus
from chargen.text.mutual_information import (
    MutualInformation,
    default_distances,
    mutual_information,
    sum_of_logs,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COUNTED_CHARS = 1_000_000  # for n-grams and repeats
PACKED_CHARS = 4_000_000  # for compression
LONGEST_NGRAM = 5
RAREST = 8  # number of rare characters that are listed
SHOWN_CHARS = 120  # of the longest repeat
DIGEST = 8  # bytes of a line's hash: 10^9 lines collide with probability 0.03
CODES = sys.maxunicode + 1
COMPRESSORS: dict[str, Callable[[], Any]] = {
    "zlib": lambda: zlib.compressobj(9),
    "lzma": lambda: lzma.LZMACompressor(preset=9),
    "zstd": lambda: zstd.ZstdCompressor(level=19),
}


@dataclass(frozen=True)
class CharacterCount:
    """A character, its Unicode name and its frequency."""

    character: str
    name: str
    count: int


@dataclass(frozen=True)
class LineStatistics:
    """Statistics of lines; lengths are in characters, without the line feed."""

    count: int
    blank: int  # empty or white space
    median_chars: int
    p90_chars: int
    longest_chars: int
    repeated_share: float  # fraction of non-blank lines that occurred before


@dataclass(frozen=True)
class NgramEntropy:
    """The entropy of a character given the ``n - 1`` before it, estimated from counts.

    The estimate is too low if many n-grams occur once, since each of them looks certain.
    """

    n: int
    bits_per_char: float
    distinct: int  # number of distinct n-grams
    seen_once_share: float  # fraction of the text's n-grams that occur once
    gain_bits: float  # over order n - 1, or over equal probabilities; too high if bits are too low


@dataclass(frozen=True)
class NgramStatistics:
    """Entropies of a text by n-gram order."""

    counted_chars: int
    orders: tuple[NgramEntropy, ...]


@dataclass(frozen=True)
class LongestRepeat:
    """The longest string that occurs twice in a text; its occurrences may overlap."""

    counted_chars: int
    chars: int
    first_char: int  # index of the first occurrence
    second_char: int
    text: str  # its first `SHOWN_CHARS` characters


@dataclass(frozen=True)
class Compression:
    """Compressed sizes of a text by compressor; bits are comparable with a model's loss."""

    chars: int
    bytes: dict[str, int]
    bits_per_char: dict[str, float]


@dataclass(frozen=True)
class TextStatistics:
    """Statistics of a corpus, see `measure`."""

    corpus: str
    chars: int
    bytes: int  # of the text in UTF-8
    alphabet: str  # sorted
    alphabet_chars: int
    rarest: tuple[CharacterCount, ...]  # the rarest first
    scripts_chars: dict[str, int]  # number of characters by script, descending
    lines: LineStatistics
    ngrams: NgramStatistics
    longest_repeat: LongestRepeat
    mutual_information: MutualInformation
    packed: Compression
    notes: tuple[str, ...]  # about the files

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; its keys carry units."""
        return asdict(self)


def measure(
    corpus: Corpus, progress: Progress = lambda done, of: None, seed: int = 0
) -> TextStatistics:
    """Read a corpus and return its statistics.

    Args:
        corpus: The corpus.
        progress: Gets the bytes read and their total.
        seed: Random seed of the shuffled texts beside which mutual information is measured.
    """
    from chargen.text.suffix_automaton import longest_repeat

    counts: np.ndarray = np.zeros(CODES, dtype=np.int64)
    lines, beginning, left = LineCounter(), [], COUNTED_CHARS
    compressors = {name: make() for name, make in COMPRESSORS.items()}
    packed, packed_chars = dict.fromkeys(COMPRESSORS, 0), 0
    digests = [hashlib.sha256() for _ in corpus.files]
    for _, text in corpus.blocks(progress, lambda number, data: digests[number].update(data)):
        block = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
        counts += np.bincount(block, minlength=CODES)
        lines.read(text)
        beginning.append(block[:left].copy())
        left -= len(beginning[-1])
        some = text[: PACKED_CHARS - packed_chars]
        packed_chars += len(some)
        for name, compressor in compressors.items():
            packed[name] += len(compressor.compress(some.encode()))
    for name, compressor in compressors.items():
        packed[name] += len(compressor.flush())
    codes = np.flatnonzero(counts)
    counts = counts[codes]
    widths = 1 + (codes >= 0x80) + (codes >= 0x800).astype(int) + (codes >= 0x10000)
    start = np.concatenate(beginning)
    ids = np.searchsorted(codes, start)
    chars, first, second = longest_repeat(ids)
    shown = "".join(map(chr, start[first : first + min(chars, SHOWN_CHARS)]))
    return TextStatistics(
        corpus.name,
        chars=int(counts.sum()),
        bytes=int((counts * widths).sum()),
        alphabet="".join(map(chr, codes)),
        alphabet_chars=len(codes),
        rarest=_rarest(codes, counts),
        scripts_chars=_scripts(codes, counts),
        lines=lines.statistics(),
        ngrams=NgramStatistics(len(start), tuple(entropies(ids, LONGEST_NGRAM))),
        longest_repeat=LongestRepeat(len(ids), chars, first, second, shown),
        mutual_information=mutual_information(
            ids, len(codes), default_distances(len(ids)), seed=seed
        ),
        packed=Compression(
            packed_chars, packed, {name: 8 * size / packed_chars for name, size in packed.items()}
        ),
        notes=tuple(corpus.notes(digest.hexdigest() for digest in digests)),
    )


def _rarest(codes: np.ndarray, counts: np.ndarray) -> tuple[CharacterCount, ...]:
    order = np.argsort(counts, kind="stable")[:RAREST]
    return tuple(
        CharacterCount(chr(code), character_name(chr(code)), int(count))
        for code, count in zip(codes[order], counts[order], strict=True)
    )


def character_name(character: str) -> str:
    """Return the Unicode name, or the code point of a character without one."""
    return unicodedata.name(character, f"U+{ord(character):04X}")


def _scripts(codes: np.ndarray, counts: np.ndarray) -> dict[str, int]:
    """Count characters by Unicode script (UAX #24); marks and digits are Common or Inherited."""
    from fontTools.unicodedata import script, script_name

    found: dict[str, int] = {}
    for code, count in zip(codes, counts, strict=True):
        name = script_name(script(chr(code)))
        found[name] = found.get(name, 0) + int(count)
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))


class LineCounter:
    """Collects `LineStatistics` of a text in blocks, with 16 bytes per line."""

    def __init__(self) -> None:
        self._lengths, self._digests = array("Q"), array("Q")
        self._begin()

    def _begin(self) -> None:
        self._chars, self._blank = 0, True
        self._digest = hashlib.blake2b(digest_size=DIGEST)

    def read(self, text: str) -> None:
        """Add the next block, cut anywhere."""
        *ended, rest = text.split("\n")
        for line in ended:
            self._add(line)
            self._end()
        self._add(rest)

    def _add(self, text: str) -> None:
        if text:
            self._chars += len(text)
            self._blank = self._blank and text.isspace()
            self._digest.update(text.encode())

    def _end(self) -> None:
        self._lengths.append(self._chars)
        if not self._blank:
            self._digests.append(int.from_bytes(self._digest.digest(), "little"))
        self._begin()

    def statistics(self) -> LineStatistics:
        """Return the statistics; a last line without a line feed counts."""
        if self._chars:
            self._end()
        lengths, digests = (np.frombuffer(a, np.uint64) for a in (self._lengths, self._digests))
        median, p90, longest = np.quantile(lengths, [0.5, 0.9, 1], method="inverted_cdf")
        repeated = 1 - len(np.unique(digests)) / len(digests) if len(digests) else 0.0
        blank = len(lengths) - len(digests)
        return LineStatistics(len(lengths), blank, int(median), int(p90), int(longest), repeated)


def entropies(ids: np.ndarray, longest: int) -> list[NgramEntropy]:
    """Return the conditional entropies H_1 to H_longest of ``ids`` ``(L,)``, as far as L allows.

    H_n = H(n-grams) - H((n-1)-grams) of the same places (Shannon 1951, equation 1).
    """
    found: list[NgramEntropy] = []
    size = int(ids.max()) + 1
    ranks = np.zeros(len(ids) + 1, dtype=np.int64)  # of the (n-1)-gram at each place
    for n in range(1, min(longest, len(ids)) + 1):
        contexts = ranks[: len(ids) - n + 1]
        grams = contexts * size + ids[n - 1 :]
        _, ranks, counts = np.unique(grams, return_inverse=True, return_counts=True)
        bits = (sum_of_logs(np.bincount(contexts)) - sum_of_logs(counts)) / len(grams)
        once = float((counts == 1).sum() / len(grams))
        before = found[-1].bits_per_char if found else float(np.log2(size))
        found.append(NgramEntropy(n, float(bits), len(counts), once, before - float(bits)))
    return found
