"""Validation loss of LSTMs of several sizes in equal time (docs/experiments/20-sizes.md).

    python -m benchmarks.sizes tinyshakespeare.txt --chars 1000000 --seeds 0,1,2

The last tenth of the text is left out; the last tenth of the rest validates. A model reads
``--chars`` characters times its training speed in relation to 256 units on one thread of a plain
AVX2 processor, so that the rows do not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from chargen.training.session import start

SPEEDS = {96: 3.53, 128: 2.44, 160: 2.0, 192: 1.59, 256: 1.0}
CHARS_PER_STEP = 1024


def loss(text: Path, units: int, chars: float, seed: int, folder: Path) -> tuple[int, float]:
    """Return the number of steps, and the lowest validation loss in nats."""
    steps = round(chars / CHARS_PER_STEP * SPEEDS[units])
    settings = {"units": (units,), "weight_decay": 0.03, "steps": steps, "seed": seed}
    out = folder / f"{units}-{seed}"
    with start([text], settings | {"patience": 0}, out, device="cpu") as session:
        session.run()
        best = session.trainer.counters.best_loss
    assert best is not None
    return steps, best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--chars", type=float, default=1e6)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--units", default="256,160,128,96")
    given = parser.parse_args()
    whole = given.text.read_text(encoding="utf-8")
    print("units,seed,steps,validation_loss_nats")
    with tempfile.TemporaryDirectory() as folder:
        inner = Path(folder) / "inner.txt"
        inner.write_text(whole[: len(whole) * 9 // 10], encoding="utf-8")
        for units in map(int, given.units.split(",")):
            for seed in map(int, given.seeds.split(",")):
                steps, nats = loss(inner, units, given.chars, seed, Path(folder))
                print(f"{units},{seed},{steps},{nats:.4f}", flush=True)


if __name__ == "__main__":
    main()
