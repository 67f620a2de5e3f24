"""Speed of encoding and evaluation, and how their cost grows with size."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from benchmarks.limits import fastest
from benchmarks.training import T, V, step_of
from chargen.datasets import bundled
from chargen.evaluation import evaluate
from chargen.recurrent import CharModel
from chargen.recurrent.model import NetworkPredictor
from chargen.settings import ModelSettings
from chargen.text import Vocabulary

MEGABYTE = 1e6


def encoding() -> list[dict[str, object]]:
    """Return MB/s of UTF-8 for building a vocabulary and for encoding."""
    rows: list[dict[str, object]] = []
    for name, text in (
        ("ASCII", bundled.read("python-docs").encode("ascii", "ignore").decode() * 50),
        ("Chinese", bundled.read("longrange-zh") * 10),
    ):
        size = len(text.encode()) / MEGABYTE
        vocabulary = Vocabulary.of(text)
        seen = size / fastest(partial(Vocabulary.of, text), 5)
        rate = size / fastest(partial(vocabulary.encode, text), 5)
        print(f"{name:8}{size:6.0f} MB: vocabulary {seen:6,.0f} MB/s, ids {rate:6,.0f} MB/s")
        rows.append({"text": name, "vocabulary_mb_per_second": seen, "ids_mb_per_second": rate})
    return rows


def evaluating() -> list[dict[str, object]]:
    """Return characters/s of evaluation, alone and beside a busy program, and of training."""
    model = CharModel.seeded(ModelSettings("lstm", (256,)), V, 0)
    vocabulary = Vocabulary("".join(map(chr, range(33, 33 + V))))
    ids = np.random.default_rng(0).integers(V, size=200_000)
    predictor = NetworkPredictor(model, vocabulary)
    batch = torch.randint(V, (16, T))
    training = batch.numel() / fastest(step_of(model, batch), 9)
    threads, rows = torch.get_num_threads(), []
    for beside in ("nothing", "a busy program"):
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass" * (beside != "nothing")])
        for count in (1, threads):
            torch.set_num_threads(count)
            seconds = sorted(fastest(lambda: evaluate(predictor, ids), 1) for _ in range(9))[4]
            rate = round(len(ids) / seconds)
            print(f"evaluate, {count} threads beside {beside}: {rate:,} chars/s (median of 9)")
            rows.append({"beside": beside, "threads": count, "evaluate_chars_per_second": rate})
        busy.kill()
        busy.wait()
    print(f"training steps: {training:,.0f} chars/s")
    return [*rows, {"train_chars_per_second": round(training)}]


def slopes() -> list[dict[str, object]]:
    """Return the exponents with which cost grows with size; 1 is linear."""
    text = bundled.read("python-docs") * 150
    vocabulary = Vocabulary.of(text)
    model = CharModel.seeded(ModelSettings("lstm", (64,)), V, 0)
    few = Vocabulary("".join(map(chr, range(33, 33 + V))))
    ids = np.random.default_rng(0).integers(V, size=6_400_000)

    def evaluated(size: int) -> Callable[[], object]:
        return lambda: evaluate(NetworkPredictor(model, few), ids[:size])

    def trained(steps: int) -> Callable[[], object]:
        return step_of(model, torch.randint(V, (16, steps)))

    def encoded(size: int) -> Callable[[], object]:
        part = text[:size]
        return lambda: vocabulary.encode(part)

    return [
        _slope("ids by text", encoded, [2**n * 4_000_000 for n in range(5)]),
        _slope("evaluate by text", evaluated, [2**n * 400_000 for n in range(5)]),
        _slope("training step by timesteps", trained, [2**n * 64 for n in range(2, 7)]),
    ]


def _slope(
    name: str, make: Callable[[int], Callable[[], object]], sizes: list[int]
) -> dict[str, object]:
    times = [fastest(make(size), 5) for size in sizes]
    slope = float(np.polyfit(np.log(sizes), np.log(times), 1)[0])
    print(f"{name:28} {sizes[0]:,} to {sizes[-1]:,}: log-log slope {slope:.3f}")
    return {"cost": name, "sizes": sizes, "seconds": times, "log_log_slope": slope}


def main() -> list[dict[str, object]]:
    """Print and return all rows."""
    begun = time.perf_counter()
    rows = [*encoding(), *evaluating(), *slopes()]
    print(f"({time.perf_counter() - begun:.0f} s)")
    return rows


if __name__ == "__main__":
    main()
