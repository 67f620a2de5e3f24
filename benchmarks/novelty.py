"""Time of the novelty search in a large training text against ``str.find`` per substring."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.limits import reading
from chargen.datasets import bundled
from chargen.sampling.novelty import MAX_PARTS, measure
from chargen.text import Vocabulary

TRAINING_CHARS = 100_000_000
SAMPLES = (500, 2_000, 20_000)  # characters per sample; MAX_PARTS times as many are held out
NOISE = 0.15  # fraction of replaced characters, so that not everything is copied


def main() -> list[dict[str, object]]:
    """Print the table and return its rows."""
    text = bundled.read("python-docs")
    vocabulary = Vocabulary.of(text)
    ids = vocabulary.encode(text)
    rng = np.random.default_rng(0)
    training = np.concatenate(
        [ids[start:] for start in rng.integers(len(ids) // 2, size=3 * TRAINING_CHARS // len(ids))]
    )[:TRAINING_CHARS]
    bare = training.nbytes / reading(training.nbytes)
    print(f"{len(training):,} training characters; reading them once takes {bare:.2f} s")
    rows: list[dict[str, object]] = []
    for chars in SAMPLES:
        starts = rng.integers(len(ids) - chars, size=1 + MAX_PARTS)
        parts = np.concatenate([ids[start : start + chars] for start in starts])
        noisy = rng.random(len(parts)) < NOISE
        parts[noisy] = rng.choice(ids, noisy.sum())
        seconds = _seconds(parts, chars, training, vocabulary)
        one = _looked_up(vocabulary.decode(parts), vocabulary.decode(training))
        print(
            f"sample of {chars:6,}: {seconds:6.1f} s, {len(training) / seconds / 1e6:4.0f} million "
            f"chars/s; str.find for every substring of 8: {one * len(parts):9,.0f} s"
        )
        rows.append(
            {
                "sample_chars": chars,
                "training_chars": len(training),
                "seconds": seconds,
                "str_find_seconds": one * len(parts),
            }
        )
    return rows


def _seconds(parts: np.ndarray, chars: int, training: np.ndarray, vocabulary: Vocabulary) -> float:
    begun = time.perf_counter()
    measure([parts[:chars]], training, parts[chars:], vocabulary)
    return time.perf_counter() - begun


def _looked_up(sample: str, training: str, some: int = 20) -> float:
    """Return seconds per substring of eight characters, from a few of them."""
    begun = time.perf_counter()
    for place in range(0, len(sample) - 8, len(sample) // some):
        training.find(sample[place : place + 8])
    return (time.perf_counter() - begun) / some


if __name__ == "__main__":
    main()
