"""Generated text of any size from random phrases of the bundled fables.

The alphabet has about 120 characters, one sentence in 50 has a character beyond Latin-1, and blank
lines separate documents of about 6 sentences. A smaller text is a prefix of a larger one.
"""

from __future__ import annotations

import bisect
import gzip
import itertools
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from chargen.datasets import bundled

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SENTENCES = 100_000  # distinct, 9 MB: more than the window of a compressor
DEALT = 2000  # documents per block
WORDS = 18  # per sentence: three phrases
BESIDE = "0123456789" * 3 + "#$%&*+/<=>@[]_{}~ÄÖÜßàâçèéêëíñóôöøúü"  # one per sentence
BEYOND = "‘’“”–—…€✓日本語😀"
RARE = 50  # one sentence in 50 has a character of BEYOND
DOCUMENT = 6  # sentences on average


def documents() -> list[bytes]:
    """Return documents in UTF-8, each followed by a blank line."""
    rng = np.random.default_rng(0)
    words = bundled.read("fables").split()
    each = WORDS // 3
    phrases = [" ".join(words[at : at + each]) for at in range(len(words) - each)]
    chosen = rng.integers(len(phrases), size=(SENTENCES, 3)).tolist()
    beside, beyond = (rng.choice(list(chars), SENTENCES) for chars in (BESIDE, BEYOND))
    beyond[rng.integers(RARE, size=SENTENCES) > 0] = ""
    ends = np.where(rng.integers(DOCUMENT, size=SENTENCES) > 0, ". ", ".\n\n")
    text = "".join(
        f"{phrases[a]} {phrases[b]} {phrases[c]} {one}{other}{end}"
        for (a, b, c), one, other, end in zip(chosen, beside, beyond, ends, strict=True)
    )
    return [f"{document}\n\n".encode() for document in text.split("\n\n")]


def blocks(size: int) -> Iterator[bytes]:
    """Yield blocks of ``size`` bytes in total, up to one document fewer."""
    pool, rng = documents(), np.random.default_rng(1)
    while size > 0:
        dealt = [pool[number] for number in rng.integers(len(pool), size=DEALT).tolist()]
        ends = list(itertools.accumulate(map(len, dealt)))
        fitting = bisect.bisect_right(ends, size)
        yield b"".join(dealt[:fitting])
        size = size - ends[-1] if fitting == DEALT else 0


def write(path: Path, size: int) -> Path:
    """Write a file of ``size`` bytes."""
    with path.open("wb") as file:
        file.writelines(blocks(size))
    return path


def write_folder(path: Path, whole: Path, files: int) -> Path:
    """Split the file ``whole`` at spaces into a folder of files."""
    path.mkdir()
    words = whole.read_bytes().split(b" ")
    each = -(-len(words) // files)
    for number in range(files):
        part = words[number * each : (number + 1) * each]
        (path / f"{number:05}.txt").write_bytes(b" ".join(part) + b"\n")
    return path


def write_packed(path: Path, whole: Path) -> Path:
    """Compress the file ``whole`` into the format of path's suffix."""
    how = gzip.GzipFile if path.suffix == ".gz" else zstd.ZstdFile
    with whole.open("rb") as text, how(path, "wb") as file:
        shutil.copyfileobj(text, file, 2**20)
    return path
