"""Statistics of a corpus, which is read once in blocks, as data and as text for a terminal."""

import hashlib
import lzma
import unicodedata
import zlib
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from chargen.files import Progress
from chargen.render.report import Block, Section, Table, Text, to_text
from chargen.render.text import counted, visible_line
from chargen.text import mutual_information as mutual
from chargen.text.corpus import Corpus, zstd
from chargen.text.encoding import scan
from chargen.text.vocabulary import CODE_POINTS, add_counts

COUNTED_CHARS = 1_000_000  # for n-grams, repeats and mutual information
PACKED_CHARS = 4_000_000  # for compression
LONGEST_NGRAM = 5
RAREST = 8  # number of rare characters that are listed
SHOWN_CHARS = 120  # of the longest repeat
SHOWN_ALPHABET = 200  # characters
FACTOR, ONE = np.uint64(0x9E3779B97F4A7C15), np.uint64(1)  # an odd number, and 1
INVERSE = np.uint64(pow(int(FACTOR), -1, 2**64))
DIGEST = 8  # bytes of a line's hash: 10^9 lines collide with probability 0.03
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": partial(zlib.compress, level=9),
    "lzma": partial(lzma.compress, preset=9),
    "zstd": partial(zstd.compress, level=19),
}

ORDER = "{n}|{bits_per_char:.3f}|{gain_bits:.3f}|{distinct:,}|{seen_once_share:.1%}|"  # a row
DISTANCE = "{:,}|{:.4f}|{:.4f} to {:.4f}|{:.4f}|"
LINES = (
    "Lines: {count:,}, of which {blank:,} blank; length median {median_chars:,}, 90th percentile "
    "{p90_chars:,}, maximum {longest_chars:,} characters; {repeated_share:.1%} of the non-blank "
    "lines are repetitions"
)

Record = dict[str, Any]


def measure(corpus: Corpus, progress: Progress = lambda done, of: None, seed: int = 0) -> Record:
    """Read a corpus once; return its statistics and notes about its files as a JSON object."""
    counts: np.ndarray = np.zeros(CODE_POINTS, dtype=np.int64)
    lines, start, size = LineCounter(), "", 0

    def use(text: str, data: bytes) -> None:
        nonlocal start, size
        add_counts(counts, text)
        lines.read(text)
        start += text[: PACKED_CHARS - len(start)]
        size += len(data)

    scanned = scan(corpus, "none", progress, use)
    alphabet, counts = scanned.vocabulary.characters, counts[counts > 0]
    packed = {name: len(compress(start.encode())) for name, compress in COMPRESSORS.items()}
    ids = scanned.vocabulary.encode(start[:COUNTED_CHARS]).astype(np.int64)
    chars, first, second = longest_repeat(ids)
    distances = mutual.default_distances(len(ids))
    memory = mutual.mutual_information(ids, len(alphabet), distances, seed=seed)
    return {
        "corpus": corpus.name,
        "chars": scanned.chars,
        "bytes": size,  # of the text in UTF-8
        "alphabet": alphabet,
        "alphabet_chars": len(alphabet),
        "rarest": [
            {
                "character": (char := alphabet[index]),
                "name": unicodedata.name(char, f"U+{ord(char):04X}"),
                "count": int(counts[index]),
            }
            for index in np.argsort(counts, kind="stable")[:RAREST]
        ],
        "scripts_chars": _scripts(alphabet, counts),
        "lines": lines.statistics(),
        "ngrams": {"counted_chars": len(ids), "orders": entropies(ids, LONGEST_NGRAM)},
        "longest_repeat": {
            "counted_chars": len(ids),
            "chars": chars,
            "first_char": first,
            "second_char": second,
            "text": start[first : first + min(chars, SHOWN_CHARS)],
        },
        "mutual_information": memory,
        "packed": {
            "chars": len(start),
            "bytes": packed,
            "bits_per_char": {name: 8 * bytes / len(start) for name, bytes in packed.items()},
        },
        "notes": corpus.notes(file.sha256 for file in scanned.files),
    }


def _scripts(alphabet: str, counts: np.ndarray) -> dict[str, int]:
    """Count characters by Unicode script (UAX #24); marks and digits are Common or Inherited."""
    from fontTools.unicodedata import script, script_name

    found = Counter[str]()
    for char, count in zip(alphabet, counts, strict=True):
        found[script_name(script(char))] += int(count)
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))


class LineCounter:
    """Collects statistics of the lines of a text in blocks, with 16 bytes per line."""

    def __init__(self) -> None:
        self._lengths, self._digests = array("Q"), array("Q")
        self._begin()

    def _begin(self) -> None:
        self._chars, self._blank = 0, True
        self._digest = hashlib.blake2b(digest_size=DIGEST)

    def _end(self) -> None:
        self._lengths.append(self._chars)
        if not self._blank:
            self._digests.append(int.from_bytes(self._digest.digest(), "little"))
        self._begin()

    def read(self, text: str) -> None:
        for number, line in enumerate(text.split("\n")):
            if number:
                self._end()
            self._chars += len(line)
            self._blank = self._blank and not line.strip()
            self._digest.update(line.encode())

    def statistics(self) -> Record:
        if self._chars:
            self._end()
        lengths, digests = (np.frombuffer(a, np.uint64) for a in (self._lengths, self._digests))
        median, p90, longest = np.quantile(lengths, [0.5, 0.9, 1], method="inverted_cdf")
        return {
            "count": len(lengths),
            "blank": len(lengths) - len(digests),
            "median_chars": int(median),
            "p90_chars": int(p90),
            "longest_chars": int(longest),
            "repeated_share": 1 - len(np.unique(digests)) / len(digests) if len(digests) else 0.0,
        }


def entropies(ids: np.ndarray, longest: int) -> list[Record]:
    """Return the conditional entropies H_1 to H_longest of ``ids`` ``(L,)``, as far as L allows.

    H_n = H(n-grams) - H((n-1)-grams) of the same places (Shannon 1951, equation 1). The estimate is
    too low if many n-grams occur once, since each of them looks certain; the gain over order n - 1,
    or over equal probabilities, is then too high: an upper limit.
    """
    found: list[Record] = []
    size = int(ids.max()) + 1
    ranks = np.zeros(len(ids) + 1, dtype=np.int64)  # of the (n-1)-gram at each place
    before = float(np.log2(size))
    for n in range(1, min(longest, len(ids)) + 1):
        contexts = ranks[: len(ids) - n + 1]
        grams = contexts * size + ids[n - 1 :]
        _, ranks, counts = np.unique(grams, return_inverse=True, return_counts=True)
        bits = (mutual.sum_of_logs(np.bincount(contexts)) - mutual.sum_of_logs(counts)) / len(grams)
        found.append(
            {
                "n": n,
                "bits_per_char": bits,
                "distinct": len(counts),  # n-grams
                "seen_once_share": float((counts == 1).sum() / len(grams)),
                "gain_bits": before - bits,
            }
        )
        before = bits
    return found


def hashes(ids: np.ndarray, chars: int) -> np.ndarray:
    """Return the hashes, uint64, of the L - chars + 1 substrings of ``chars`` of the ids ``(L,)``.

    It is that of Karp & Rabin 1987, "Efficient randomized pattern-matching algorithms": the sum of
    (c_k + 1) FACTOR**k, modulo 2**64. Equal hashes count as equal substrings.
    """
    powers, inverses = (np.cumprod(np.full(len(ids), x)) for x in (FACTOR, INVERSE))
    sums = np.append(np.uint64(0), np.cumsum((ids.astype(np.uint64) + ONE) * powers))
    found: np.ndarray = sums[chars:] - sums[: max(0, len(sums) - chars)]
    return found * inverses[: len(found)]


def longest_repeat(ids: np.ndarray) -> tuple[int, int, int]:
    """Return the length of the longest string of ``ids`` that occurs twice, and two occurrences."""

    def all_differ(chars: int) -> bool:
        return len(np.unique(hashes(ids, chars))) == len(ids) - chars + 1

    chars = bisect_left(range(1, len(ids) + 1), True, key=all_differ)
    if not chars:
        return 0, 0, 0
    named = np.unique(hashes(ids, chars), return_inverse=True)[1]
    first = int(np.argmax(np.bincount(named)[named] > 1))
    return chars, first, first + 1 + int(np.argmax(named[first + 1 :] == named[first]))


def report(found: Record) -> str:
    repeat, bits = found["longest_repeat"], found["packed"]["bits_per_char"]
    part = f"the first {found['ngrams']['counted_chars']:,} characters"
    memory, alphabet = found["mutual_information"], found["alphabet"]
    rarest = (
        f"{one['character']} " * one["character"].isprintable()
        + f"{one['name']} ({one['count']:,})"
        for one in found["rarest"]
    )
    scripts = (f"{name} {n / found['chars']:.1%}" for name, n in found["scripts_chars"].items())
    orders = [ORDER.format(**one).split("|") for one in found["ngrams"]["orders"]]
    columns = (memory.distances, memory.bits, memory.low, memory.high, memory.control_bits)
    distances = [DISTANCE.format(*row).split("|") for row in zip(*columns, strict=True)]
    notes = [
        f"Alphabet: {counted(len(alphabet), 'character')}, {alphabet[:SHOWN_ALPHABET]}"
        + "…" * (len(alphabet) > SHOWN_ALPHABET),
        f"Rarest: {', '.join(rarest)}",
        f"Scripts: {', '.join(scripts)}",
        LINES.format(**found["lines"]),
        f"Longest repeat in {part}: {repeat['chars']:,} characters, at {repeat['first_char']:,} "
        f"and {repeat['second_char']:,}: “{repeat['text']}"
        f"{'…' * (repeat['chars'] > len(repeat['text']))}”",
        f"Packed: the first {found['packed']['chars']:,} characters, bits/char: "
        + ", ".join(f"{name} {value:.3f}" for name, value in bits.items()),
    ]
    blocks: list[Block] = [
        *(Text(note, "note") for note in notes),
        Table(
            ("n", "bits/char", "gain", "distinct", "seen once", ""),
            orders,
            f"Entropy of a character given the n - 1 before it, in {part}. If many n-grams are "
            "seen once, the entropy is too low and the gain over n - 1 too high: an upper limit.",
        ),
        Table(
            ("distance", "bits", "interval", "shuffled", ""),
            distances,
            f"Mutual information between characters at a distance, in {part}, with 95% interval, "
            f"and of the same characters in random order. {decay_sentence(memory)}",
        ),
    ]
    size = f"{found['chars']:,} characters, {found['bytes']:,} bytes in UTF-8"
    return to_text([Section("statistics", visible_line(found["corpus"]), size, "", blocks)])


def decay_sentence(found: mutual.MutualInformation) -> str:
    """Return how far the mutual information of a text reaches, and how it decays."""
    if not found.reach:
        return "None is above 0."
    reach = f"It is above 0 up to {counted(found.reach, 'character')}"
    if not found.fits:
        return f"{reach}, too few distances to fit a decay."
    best, other = found.fits
    law = f"exp(−d/{best.rate:.3g})" if best.law == "exponential" else f"d^−{best.rate:.2f}"
    return (
        f"{reach}. The {best.law} {best.scale_bits:.2g} bits × {law} fits its decay better than "
        f"the {other.law} does (AIC {best.aic:.1f} and {other.aic:.1f})."
    )
