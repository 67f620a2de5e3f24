"""Sampling speed against a loop over ``torch.nn.LSTM``, and the share of the read limit.

The limit of one stream is reading every weight once per character.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from benchmarks import limits
from benchmarks.training import Peer
from chargen.recurrent import CharModel
from chargen.sampling.engine import Engine
from chargen.settings import ModelSettings, SamplingSettings

V = 65
SHAPES = (("lstm", (256,), 1), ("lstm", (512, 512), 1), ("gru", (256,), 1), ("simple", (256,), 1),
          ("lstm", (256,), 64))  # fmt: skip
DRIFT_CHARS = 1_000_000


def engine_of(cell: str, units: tuple[int, ...], form: str = "float32") -> Engine:
    """Return an engine with initial weights in a format."""
    shape = ModelSettings(cell, units)
    network = CharModel.seeded(shape, V, 0)
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    return Engine(shape, arrays, V, form)


def ours(own: Engine, count: int, compiled: bool = True) -> Callable[[int], object]:
    """Return a function that samples ``count`` streams of a given length."""
    rng = np.random.default_rng(0)
    prompt, plain = np.zeros(1, dtype=np.int64), SamplingSettings()
    return lambda length: list(own.write(prompt, length, plain, rng, count, compiled))


def peer(units: tuple[int, ...], count: int) -> Callable[[int], object]:
    """Return the usual loop: one step of ``nn.LSTM``, softmax, ``torch.multinomial``."""
    model = Peer("lstm", units[0], len(units), V)

    @torch.no_grad()
    def write(length: int) -> None:
        ids, state = torch.zeros(count, 1, dtype=torch.long), None
        for _ in range(length):
            outputs, state = model.layers(model.embedding(ids), state)
            probabilities = nn.functional.softmax(model.head(outputs[:, -1]), dim=-1)
            ids = torch.multinomial(probabilities, 1)

    return write


def rate(write: Callable[[int], object], count: int, length: int, rounds: int = 7) -> float:
    """Return characters/s, the median over rounds."""
    write(length // 10 + 1)
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        write(length)
        times.append(time.perf_counter() - begun)
    return count * length / float(np.median(times))


def main() -> list[dict[str, object]]:
    """Print the table and return its rows."""
    engines = {(cell, units): engine_of(cell, units) for cell, units, _ in SHAPES}
    print("sampling, chars/s; the limit is reading each weight once per character")
    names = ("compiled", "NumPy", "nn.LSTM", "ratio", "of limit", "int8", "ratio")
    print(f"{'':22}{'count':>6}" + "".join(map("{:>10}".format, names)))
    rows: list[dict[str, object]] = []
    for cell, units, count in SHAPES:
        own = engines[cell, units]
        length = max(100, round(4e9 / own.multiplications / count**0.7))
        compiled = rate(ours(own, count), count, length)
        plain = rate(ours(own, count, compiled=False), count, max(10, length // 20))
        theirs = rate(peer(units, count), count, max(10, length // 30)) if cell == "lstm" else None
        weight_bytes = 4 * own.multiplications
        reached = compiled / count * weight_bytes / limits.reading(weight_bytes)
        name = f"{cell} {' x '.join(map(str, (len(units), units[0])))}"
        shown = f"{theirs:10,.0f}{compiled / theirs:9.1f}x" if theirs else " " * 20
        share = f"{reached:10.0%}" if count == 1 else " " * 10
        int8 = rate(ours(engine_of(cell, units, "int8"), count), count, length)
        share += f"{int8:10,.0f}{int8 / compiled:9.1f}x"
        print(f"{name:22}{count:6}{compiled:10,.0f}{plain:10,.0f}{shown}{share}")
        rows.append(
            {
                "cell": cell,
                "units": list(units),
                "texts": count,
                "chars_per_second": round(compiled),
                "numpy_chars_per_second": round(plain),
                "int8_chars_per_second": round(int8),
                "nn_lstm_chars_per_second": theirs and round(theirs),
                "limit_share": reached if count == 1 else None,
            }
        )
    rows += [drift(engines["lstm", (256,)]), *startup()]
    return rows


def drift(own: Engine) -> dict[str, object]:
    """Compare the time of the last tenth of a long sample with the first."""
    rng, prompt = np.random.default_rng(0), np.zeros(1, dtype=np.int64)
    rows = own.write(prompt, DRIFT_CHARS, SamplingSettings(), rng, compiled=True)
    times = []
    for _ in range(10):
        begun = time.perf_counter()
        for _ in range(DRIFT_CHARS // 10):
            next(rows)
        times.append(time.perf_counter() - begun)
    ratio = times[-1] / times[0]
    print(f"{DRIFT_CHARS:,} characters: the last tenth takes {ratio:.2f} of the time of the first")
    return {"drift_chars": DRIFT_CHARS, "last_tenth_over_first": ratio}


def startup() -> list[dict[str, object]]:
    """Return start-up times in seconds, the fastest of five."""
    programs = {
        "import torch": "import torch",
        "chargen --help": "from chargen.cli import main; main(['--help'])",
        "import the sampler": "import chargen.sampling.sampler",
    }
    rows: list[dict[str, object]] = []
    for name, program in programs.items():
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, check=True)
            times.append(time.perf_counter() - begun)
        print(f"{name:22}{min(times):6.2f} s")
        rows.append({"start": name, "seconds": min(times)})
    return rows


if __name__ == "__main__":
    main()
