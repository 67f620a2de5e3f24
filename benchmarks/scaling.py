"""What a training step costs on many processes: a small model, held to what was measured on few.

The step of P processes that share a batch of N texts takes

    work(N / P) + sum(bytes, P) + wait(P)

where ``work(n) = a + b n`` is one process's forward and backward of n texts and the update;
``sum`` is a ring all-reduce of the gradients, ``2 (P - 1) (latency + bytes / P / rate)``; and
``wait`` is how much longer than the middle one the slowest of P takes: ``spread sqrt(2 ln P)``, the
growth of the largest of P normal numbers. `benchmarks.processes` measures a, b, the spread, and on
this machine's loopback the latency and the rate.

    python -m benchmarks.scaling
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks import MEASURED

BYTES = 4  # a gradient
NETWORKS = {  # seconds a message, bytes a second
    "1 Gbit/s": (100e-6, 0.125e9),
    "10 Gbit/s": (50e-6, 1.25e9),
    "100 Gbit/s": (10e-6, 12.5e9),
}
ALONE, MANY = 1, (1, 8, 64, 512)
Row = Mapping[str, float]


@dataclass(frozen=True)
class Shape:
    """A model and a batch, and what one process needs for them."""

    units: int
    layers: int
    texts: int
    timesteps: int
    parameters: int
    fixed: float  # a, seconds
    each: float  # b, seconds a text
    spread: float  # of the work, as a share of it

    def work(self, texts: float) -> float:
        """Seconds for so many of the texts."""
        return self.fixed + self.each * texts

    def step(self, processes: int, latency: float, rate: float, cores: float = math.inf) -> float:
        """Seconds of a whole step, where so many ``cores`` are shared."""
        work = self.work(self.texts / processes) * max(1.0, processes / cores)
        size = self.parameters * BYTES / processes
        total = 2 * (processes - 1) * (latency + size / rate)
        return work + total + work * self.spread * math.sqrt(2 * math.log(processes))


def shape_of(rows: Iterable[Row]) -> Shape:
    """From the rows of one shape with one thread each, of one process and of two."""
    by = {int(row["processes"]): row for row in rows if row["threads"] == 1}
    one, two = by[1], by[2]
    each = 2 * (one["work_seconds"] - two["work_seconds"]) / one["batch_size"]
    names = ("units", "layers", "batch_size", "timesteps", "parameters")
    units, layers, texts, timesteps, parameters = (int(one[name]) for name in names)
    fixed = max(0.0, one["work_seconds"] - each * texts)
    spread = one["spread_seconds"] / one["work_seconds"]
    return Shape(units, layers, texts, timesteps, parameters, fixed, each, spread)


def loopback(rows: Iterable[Row]) -> tuple[float, float]:
    """Latency and rate here, from the sums of two processes over all sizes (least squares)."""
    two = [row for row in rows if row["processes"] == 2]
    sizes = np.array([row["parameters"] * BYTES / 2 for row in two])
    times = np.array([row["sum_seconds"] / 2 for row in two])
    inverse, latency = np.polyfit(sizes, times, 1)
    return max(float(latency), 0.0), 1 / float(inverse)


def main() -> None:
    """Print how the model agrees with what was measured, and what it says of more."""
    measured = json.loads(MEASURED.read_text())
    rows = measured["processes"]
    latency, rate = loopback(rows)
    print(f"loopback: {latency * 1e6:.0f} us a message, {rate / 1e9:.2f} GB/s")
    kinds: dict[tuple[float, ...], list[Row]] = {}
    for row in rows:
        kinds.setdefault((row["units"], row["layers"], row["batch_size"]), []).append(row)
    shapes = [shape_of(kind) for kind in kinds.values()]
    print(f"{'units':>9}{'batch':>7}{'processes':>11}{'measured':>10}{'model':>8}  ms a step")
    for shape, kind in zip(shapes, kinds.values(), strict=True):
        for row in (row for row in kind if row["threads"] == 1):
            processes = int(row["processes"])
            told = shape.step(processes, latency, rate, measured["cores"])
            name = f"{shape.layers} x {shape.units}"
            seconds = row["step_seconds"]
            print(f"{name:>9}{shape.texts:7}{processes:11}{1e3 * seconds:10.1f}{1e3 * told:8.1f}")
    print("\nas many times faster than one process: the same batch, and one that grows with them")
    print(f"{'units':>9}{'batch':>7}  {'network':12}" + "".join(f"{p:>16}" for p in MANY[1:]))
    for shape in shapes:
        for network, (wait, speed) in NETWORKS.items():
            one = shape.step(ALONE, wait, speed)
            line = f"{f'{shape.layers} x {shape.units}':>9}{shape.texts:7}  {network:12}"
            for processes in MANY[1:]:
                same = one / shape.step(processes, wait, speed)
                grown = Shape(**{**vars(shape), "texts": shape.texts * processes})
                larger = processes * one / grown.step(processes, wait, speed)
                line += f"{same:8.1f}{larger:8.1f}"
            print(line)


if __name__ == "__main__":
    main()
