"""Cost of encoding and training on a large generated text against a small one.

Encoding is the work of `chargen train` before its first step: one pass for characters, documents
and SHA-256, a second pass that writes ids, and the sync to disk. The baseline keeps the whole text
in memory and maps it with a NumPy table. Every case runs in a fresh process and reports its peak
memory.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import texts
from benchmarks.peak import peak

MEGABYTE = 10**6
SMALL, LARGE = 100 * MEGABYTE, 1000 * MEGABYTE
IN_MEMORY = "in memory"  # baseline
FILES = 10_000  # in the folder
REPEATS = 5  # encodings of a small text, in alternating rounds; the median is reported
WHOLE_STEPS = 300  # steps of the trainings that measure memory
WARM_STEPS, STEPS, ROUNDS = 50, 600, 7  # of the trainings that measure speed

Row = dict[str, Any]


def encode(corpus: str, documents: str, cache: str) -> Row:
    """Encode a corpus into the directory ``cache``."""
    from chargen.text import read_corpus
    from chargen.text.encoding import CorpusCache

    def progress(done: int, of: int) -> None:
        pass

    begun = time.perf_counter()
    read = read_corpus([corpus])
    cached = CorpusCache(Path(cache), read.name, read.sources, documents)
    encoded = cached.encode(read, cached.scan(read, progress), progress)
    seconds = time.perf_counter() - begun
    chars, begins = len(encoded.ids), len(encoded.starts)
    return {"chars": chars, "documents": begins, "seconds": seconds, "peak_mb": peak()}


def encode_in_memory(corpus: str, out: str) -> Row:
    """Encode the whole text in memory."""
    begun = time.perf_counter()
    with open(corpus, encoding="utf-8", newline="") as file:
        text = file.read()
    characters = "".join(sorted(set(text)))
    points = np.frombuffer(text.encode("utf-32-le"), "<u4")
    table = np.zeros(ord(characters[-1]) + 1, np.uint8)
    table[[ord(character) for character in characters]] = np.arange(len(characters))
    table[points].tofile(out)
    return {"chars": len(text), "seconds": time.perf_counter() - begun, "peak_mb": peak()}


def train(corpus: str, cache: str, out: str, steps: str, end: str) -> Row:
    """Train the default model for ``steps`` of ``end`` steps and return the time of each."""
    from chargen.training.session import start

    times = []
    settings = {"steps": int(end)}
    with start([corpus], settings, Path(out), device="cpu", cache=Path(cache)) as session:
        for report in session.trainer.reports():
            times.append(time.time())
            if report.step == int(steps) < int(end):
                break  # without a checkpoint
    return {"times": times, "chars_per_step": report.chars / report.step, "peak_mb": peak()}


def child(what: Callable[..., Row], *arguments: object) -> Row:
    """Run one of the functions above in a fresh process and return its row."""
    command = [sys.executable, "-m", "benchmarks.corpus", what.__name__, *map(str, arguments)]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(ran.stdout))


def encoding(folder: Path, small: Path, large: Path) -> list[Row]:
    """Return MB/s and peak memory of encoding; archives count by their unpacked size."""
    packed = [texts.write_packed(folder / f"packed.txt{end}", small) for end in (".gz", ".zst")]
    many = texts.write_folder(folder / "many", small, FILES)
    cases = [
        ("one file", large, "none", 1),
        ("one file", large, "blank-line", 1),
        ("one file", small, "none", REPEATS),
        ("one file", small, "blank-line", REPEATS),
        *((f"one file, {file.suffix}", file, "none", REPEATS) for file in packed),
        (f"{FILES:,} files", many, "none", REPEATS),
        (IN_MEMORY, small, "none", REPEATS),
    ]
    found: list[list[Row]] = [[] for _ in cases]
    for number in range(REPEATS):
        for (name, corpus, documents, repeats), rounds in zip(cases, found, strict=True):
            if number < repeats:
                rounds.append(_encoded(folder, name, corpus, documents))
    rows = []
    for (name, corpus, documents, _), rounds in zip(cases, found, strict=True):
        size = (large if corpus is large else small).stat().st_size / MEGABYTE
        row: Row = {"text": name, "documents": documents, "mb": round(size)}
        row["mb_per_second"] = size / statistics.median(each["seconds"] for each in rounds)
        row["peak_mb"] = round(max(each["peak_mb"] for each in rounds))
        print(
            f"encoding {name:15}{documents:12}{row['mb']:7,} MB{row['mb_per_second']:6.0f} MB/s"
            f"{row['peak_mb']:7,} MB peak"
        )
        rows.append(row)
    return rows


def _encoded(folder: Path, name: str, corpus: Path, documents: str) -> Row:
    with tempfile.TemporaryDirectory(dir=folder) as kept:
        if name == IN_MEMORY:
            return child(encode_in_memory, corpus, Path(kept) / "ids")
        return child(encode, corpus, documents, kept)


def training(folder: Path, *corpora: Path) -> list[Row]:
    """Return peak memory and time to the first step, with and without a cached encoding."""
    rows = []
    for corpus in corpora:
        row: Row = {"mb": round(corpus.stat().st_size / MEGABYTE), "steps": WHOLE_STEPS}
        begun = time.time()
        found = _trained(folder, corpus, WHOLE_STEPS, WHOLE_STEPS)
        row["peak_mb"] = round(found["peak_mb"])
        row["first_step_seconds"] = found["times"][0] - begun
        begun = time.time()
        again = _trained(folder, corpus, 1, WHOLE_STEPS)
        row["again_first_step_seconds"] = again["times"][0] - begun
        print(
            f"training {row['mb']:7,} MB:{row['peak_mb']:6,} MB peak, first step after "
            f"{row['first_step_seconds']:.1f} s, cached {row['again_first_step_seconds']:.1f} s"
        )
        rows.append(row)
    return rows


def speed(folder: Path, small: Path, large: Path) -> list[Row]:
    """Return training speed on both texts, in alternating rounds."""
    rates: dict[Path, list[float]] = {small: [], large: []}
    for number in range(ROUNDS):
        for corpus in (small, large) if number % 2 else (large, small):
            found = _trained(folder, corpus, STEPS, 100 * STEPS)
            seconds = found["times"][-1] - found["times"][WARM_STEPS - 1]
            rates[corpus].append(found["chars_per_step"] * (STEPS - WARM_STEPS) / seconds)
    medians = [statistics.median(each) for each in rates.values()]
    ratio = medians[1] / medians[0]
    print(
        f"training speed on the large text {ratio:.3f} of the speed on the small one: "
        + ", ".join(f"{median:,.0f} chars/s" for median in medians[::-1])
        + f"; {ROUNDS} rounds: {min(rates[small]):,.0f}–{max(rates[small]):,.0f} and "
        f"{min(rates[large]):,.0f}–{max(rates[large]):,.0f}"
    )
    row = {"small_chars_per_second": medians[0], "large_chars_per_second": medians[1]}
    return [{**row, "ratio": ratio, "rounds": ROUNDS}]


def _trained(folder: Path, corpus: Path, steps: int, end: int) -> Row:
    with tempfile.TemporaryDirectory(dir=folder) as out:
        return child(train, corpus, folder / "kept", Path(out) / "run", steps, end)


def main(size: int = LARGE) -> list[Row]:
    """Print and return the rows for a large text of ``size`` bytes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = texts.write(folder / "small.txt", SMALL)
        large = texts.write(folder / "large.txt", size)
        rows = encoding(folder, small, large)
        trainings = training(folder, small, large)
        grown = trainings[1]["peak_mb"] - trainings[0]["peak_mb"]
        print(f"the large text needs {grown} MB more than the small one")
        return [*rows, *trainings, *speed(folder, small, large)]


if __name__ == "__main__":
    if sys.argv[1:]:
        what, *arguments = sys.argv[1:]
        called = {call.__name__: call for call in (encode, encode_in_memory, train)}[what]
        print(json.dumps(called(*arguments)))
    else:
        main()
