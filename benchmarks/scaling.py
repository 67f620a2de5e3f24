"""A cost model of a training step on many processes, fitted to measurements on a few.

A step of P processes on a batch of N sequences takes

    work(N / P) + sum(bytes, P) + wait(P)

where ``work(n) = a + b n`` is the forward pass, backward pass and update of one process, ``sum`` a
ring all-reduce of the gradients, ``2 (P - 1) (latency + bytes / P / rate)``, and ``wait`` the delay
of the slowest of P processes, ``spread sqrt(2 ln P)``. `benchmarks.processes` measures a, b, the
spread, and the latency and rate of the loopback interface.

    python -m benchmarks.scaling
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks import MEASURED

BYTES = 4  # per gradient
NETWORKS = {  # seconds per message, bytes/s
    "1 Gbit/s": (100e-6, 0.125e9),
    "10 Gbit/s": (50e-6, 1.25e9),
    "100 Gbit/s": (10e-6, 12.5e9),
}
ALONE, MANY = 1, (1, 8, 64, 512)
Row = Mapping[str, float]


@dataclass(frozen=True)
class Shape:
    """A model, a batch and the cost of one process."""

    units: int
    layers: int
    texts: int
    timesteps: int
    parameters: int
    fixed: float  # a, seconds
    each: float  # b, seconds per sequence
    spread: float  # fraction of the work

    def work(self, texts: float) -> float:
        """Return the seconds for ``texts`` sequences."""
        return self.fixed + self.each * texts

    def step(self, processes: int, latency: float, rate: float, cores: float = math.inf) -> float:
        """Return the seconds of a whole step on ``cores`` shared cores."""
        work = self.work(self.texts / processes) * max(1.0, processes / cores)
        size = self.parameters * BYTES / processes
        total = 2 * (processes - 1) * (latency + size / rate)
        return work + total + work * self.spread * math.sqrt(2 * math.log(processes))


def shape_of(rows: Iterable[Row]) -> Shape:
    """Fit a and b to the rows of one and of two processes with one thread each."""
    by = {int(row["processes"]): row for row in rows if row["threads"] == 1}
    one, two = by[1], by[2]
    each = 2 * (one["work_seconds"] - two["work_seconds"]) / one["batch_size"]
    names = ("units", "layers", "batch_size", "timesteps", "parameters")
    units, layers, texts, timesteps, parameters = (int(one[name]) for name in names)
    fixed = max(0.0, one["work_seconds"] - each * texts)
    spread = one["spread_seconds"] / one["work_seconds"]
    return Shape(units, layers, texts, timesteps, parameters, fixed, each, spread)


def loopback(rows: Iterable[Row]) -> tuple[float, float]:
    """Return latency and rate of the loopback, by least squares over all sizes."""
    two = [row for row in rows if row["processes"] == 2]
    sizes = np.array([row["parameters"] * BYTES / 2 for row in two])
    times = np.array([row["sum_seconds"] / 2 for row in two])
    inverse, latency = np.polyfit(sizes, times, 1)
    return max(float(latency), 0.0), 1 / float(inverse)


def main() -> None:
    """Print measured and predicted steps, and predictions for more processes."""
    measured = json.loads(MEASURED.read_text())
    rows = measured["processes"]
    latency, rate = loopback(rows)
    print(f"loopback: {latency * 1e6:.0f} us per message, {rate / 1e9:.2f} GB/s")
    kinds: dict[tuple[float, ...], list[Row]] = {}
    for row in rows:
        kinds.setdefault((row["units"], row["layers"], row["batch_size"]), []).append(row)
    shapes = [shape_of(kind) for kind in kinds.values()]
    print(f"{'units':>9}{'batch':>7}{'processes':>11}{'measured':>10}{'model':>8}  ms per step")
    for shape, kind in zip(shapes, kinds.values(), strict=True):
        for row in (row for row in kind if row["threads"] == 1):
            processes = int(row["processes"])
            predicted = shape.step(processes, latency, rate, measured["cores"])
            name = f"{shape.layers} x {shape.units}"
            seconds = row["step_seconds"]
            print(
                f"{name:>9}{shape.texts:7}{processes:11}{1e3 * seconds:10.1f}{1e3 * predicted:8.1f}"
            )
    print("\nspeed-up over one process: fixed batch, batch that grows with the processes")
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
