"""Encode and train on a text of 10 GB, kill its encoding, and check the promised limits.

    python -m tests.soak.large --gigabytes 10 --seed 0

Run it from the root of the repository. The text and its ids take about 21 GB in TMPDIR. The exit
status is 1 if a limit is missed, with a line for each.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import corpus, texts
from chargen.text import read_corpus

GIGABYTE = 10**9
KILLED = GIGABYTE  # bytes of text whose encoding is killed
LEAST_MB_PER_SECOND = 60
MOST_MB_MORE = 150  # memory beyond that of the small text
LEAST_RATIO = 0.97  # of the training speed on the small text


def kept(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of all files except locks and manifests."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix not in (".lock", ".jsonl"):
            found[path.name] = read_corpus([path]).files[0].sha256()
    return found


def written(folder: Path, since: float) -> int:
    """Return the bytes of unfinished ids that were written after ``since``."""
    try:
        found = [path.stat() for path in folder.glob("*.ids.new")]
    except FileNotFoundError:  # finished meanwhile
        return 0
    return sum(status.st_size for status in found if status.st_mtime > since)


def kill(folder: Path, size: int, kills: int, rng: random.Random) -> str | None:
    """Kill an encoding at random places, then compare a complete one with an unbroken one."""
    text = texts.write(folder / "killed.txt", size)
    command = [sys.executable, "-m", "benchmarks.corpus", "encode", text, "blank-line"]
    subprocess.run([*command, folder / "unbroken"], check=True, stdout=subprocess.DEVNULL)
    for _ in range(kills):
        begun = time.time()
        place = rng.randrange(9 * size // 10)  # there are fewer characters than bytes
        child = subprocess.Popen([*command, folder / "broken"], stdout=subprocess.DEVNULL)
        while child.poll() is None and written(folder / "broken", begun) < place:
            time.sleep(0.01)
        child.kill()
        if child.wait() == 0:
            return f"an encoding ended before it was killed at byte {place:,}"
        reached = written(folder / "broken", begun)
        print(f"killed when {reached:,} bytes of ids were written", flush=True)
    subprocess.run([*command, folder / "broken"], check=True, stdout=subprocess.DEVNULL)
    unbroken, broken = kept(folder / "unbroken"), kept(folder / "broken")
    return None if broken == unbroken else f"after {kills} kills {broken}, unbroken {unbroken}"


def missed(rows: list[corpus.Row]) -> list[str]:
    """Return the promised limits that the figures of `benchmarks.corpus` miss."""
    said = []
    large = max(row["mb"] for row in rows if "mb" in row)
    for row in rows:
        rate = row.get("mb_per_second", LEAST_MB_PER_SECOND)
        if row.get("mb") == large and rate < LEAST_MB_PER_SECOND:
            said.append(
                f"encoding ({row['documents']}) {rate:.0f} MB/s, under {LEAST_MB_PER_SECOND}"
            )
        if row.get("ratio", 1) < LEAST_RATIO:
            said.append(f"training at {row['ratio']:.3f} of the small text's speed")
    peaks = [row["peak_mb"] for row in rows if "steps" in row]
    if peaks[1] - peaks[0] > MOST_MB_MORE:
        said.append(f"{peaks[1] - peaks[0]} MB more memory, over {MOST_MB_MORE}")
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=10)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    size = round(wanted.gigabytes * GIGABYTE)
    with tempfile.TemporaryDirectory() as folder:
        wrong = kill(Path(folder), min(size, KILLED), wanted.kills, random.Random(wanted.seed))
    said = [wrong] if wrong else []
    said += missed(corpus.main(size))
    for line in said:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
