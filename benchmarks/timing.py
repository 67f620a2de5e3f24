"""Alternating measurement, so that other load on the machine affects every contender alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def medians(
    contenders: Mapping[str, Callable[[], object]], repeats: int = 9, seconds: float = 0.4
) -> dict[str, float]:
    """Return median seconds per call of each contender over alternating rounds."""
    calls = {}
    for name, call in contenders.items():
        call()
        begun = time.perf_counter()
        call()
        calls[name] = max(1, round(seconds / (time.perf_counter() - begun)))
    rounds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, call in contenders.items():
            begun = time.perf_counter()
            for _ in range(calls[name]):
                call()
            rounds[name].append((time.perf_counter() - begun) / calls[name])
    return {name: statistics.median(times) for name, times in rounds.items()}
