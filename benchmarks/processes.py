"""Time training steps in several processes and in one process with as many threads.

The whole batch is the same for each number of processes. The benchmark times the step, its
computation on one process's rows, and the all-reduce of the gradients; `benchmarks.scaling` fits a
model to them.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.distributed as dist

from chargen.distributed.group import ProcessGroup, join
from chargen.recurrent import CharModel
from chargen.settings import ModelSettings, TrainingSettings
from chargen.text.windows import Streams
from chargen.training.step import TrainingState

T, V = 64, 65
SHAPES = ((64, 1, 16), (256, 1, 16), (256, 1, 64), (512, 2, 64))  # units, layers, batch size
WAYS = ((1, 2), (1, 1), (2, 1), (4, 1))  # processes, threads per process
ROUNDS = 2
SECONDS = 1.2  # per measurement
LAUNCH = """
import sys
from chargen.distributed.launch import launch
sys.exit(launch(int(sys.argv[1]), ["-m", "benchmarks.processes"], sys.stderr.write))
"""


def training_step(
    units: int, layers: int, texts: int, group: ProcessGroup, rows: int
) -> Callable[[], None]:
    """Return a training step on ``rows`` sequences of a batch of ``texts``."""
    model = CharModel.seeded(ModelSettings("lstm", (units,) * layers), V, 0)
    settings = TrainingSettings(timesteps=T, batch_size=texts)
    state = TrainingState(model, settings, group)
    ids = np.random.default_rng(0).integers(0, V, texts * T + 1)
    batch = Streams(ids, texts, T).batch(
        0, 0, slice(rows) if group.size == 1 else group.rows(texts)
    )
    return lambda: state.step(batch, 1e-4, carry=False, message=[0.0, 0.0]) and None


def seconds_of(step: Callable[[], None], group: ProcessGroup) -> tuple[float, float]:
    """Return the median seconds of a step and the distance from it to the 5/6 quantile.

    The ranks make the same number of steps.
    """
    for _ in range(3):
        step()
    begun = time.perf_counter()
    step()
    each = max(time.perf_counter() - begun, 1e-4)
    count = int(group.sum(np.array([SECONDS / each]))[0] / group.size) + 5
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
    middle, high = np.quantile(times, (0.5, 5 / 6))
    return float(middle), float(high - middle)


def summing(size: int, group: ProcessGroup) -> Callable[[], None]:
    """Return an all-reduce of ``size`` float32 numbers."""
    numbers = torch.zeros(size)
    return lambda: dist.all_reduce(numbers) and None


def measure(group: ProcessGroup) -> list[dict[str, float]]:
    """Return one row of seconds for each shape."""
    rows = []
    for units, layers, texts in SHAPES:
        own = len(range(texts)[group.rows(texts)])
        size = ModelSettings("lstm", (units,) * layers).parameters(V)
        whole, _ = seconds_of(training_step(units, layers, texts, group, own), group)
        work, spread = seconds_of(training_step(units, layers, texts, ProcessGroup(), own), group)
        total = seconds_of(summing(size, group), group)[0] if group.size > 1 else 0.0
        named = {"step": whole, "work": work, "spread": spread, "sum": total}
        rows.append({"parameters": size, **named})
    return rows


def launched(processes: int, threads: int) -> list[dict[str, float]]:
    """Run `measure` in a new process group."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", LAUNCH, str(processes)]
    ran = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return list(json.loads(ran.stdout))


def medians(rounds: list[list[dict[str, float]]]) -> list[dict[str, float]]:
    """Return the median of each number over the rounds."""
    return [
        {name: statistics.median(row[name] for row in rows) for name in rows[0]}
        for rows in zip(*rounds, strict=True)
    ]


def main() -> list[dict[str, float]]:
    """Print the table and return its rows."""
    rounds: dict[tuple[int, int], list[list[dict[str, float]]]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in WAYS:
            rounds[way].append(launched(*way))
    print(f"LSTM, {T} timesteps, {V} characters; constant total batch; chars/s")
    print(f"{'units':>9}{'batch':>7}" + "".join(f"{f'{p} x {t} thr.':>13}" for p, t in WAYS))
    found: list[dict[str, float]] = []
    middle = {way: medians(rounds[way]) for way in WAYS}
    for number, (units, layers, texts) in enumerate(SHAPES):
        line = f"{f'{layers} x {units}':>9}{texts:7}"
        for processes, threads in WAYS:
            row = middle[processes, threads][number]
            rate = texts * T / row["step"]
            line += f"{rate:13,.0f}"
            named = {"units": units, "layers": layers, "batch_size": texts, "timesteps": T}
            named |= {"processes": processes, "threads": threads, "parameters": row["parameters"]}
            timed = {f"{name}_seconds": row[name] for name in ("step", "work", "spread", "sum")}
            found.append({**named, **timed, "chars_per_second": round(rate)})
        print(line)
    return found


if __name__ == "__main__":
    if "RANK" in os.environ:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        with join("cpu") as group:
            measured = measure(group)
            if group.leads:
                print(json.dumps(measured))
    else:
        main()
