"""A whole training step of residual blocks: factors of products in float32, and in bfloat16.

Beside them the same blocks round an LSTM layer, float32. Characters a second.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.timing import medians
from benchmarks.training import step_of
from chargen.recurrent import CharModel
from chargen.recurrent.products import factors_of, multiplies_bfloat16
from chargen.settings import ModelSettings

N, T, V = 8, 128, 65
SHAPES = ((4, 96), (4, 128), (5, 128), (6, 160))
"""Layers and units."""
CONTENDERS = {
    "float32": ("mingru", "float32"),
    "bfloat16": ("mingru", "bfloat16"),
    "lstm": ("lstm", "float32"),
}


def contender(cell: str, layers: int, units: int, precision: str) -> Callable[[], None]:
    """A step of such a model on a batch of ``(N, T)``."""
    settings = ModelSettings(cell, (units,) * layers, stack="residual")
    ids = torch.randint(V, (N, T), generator=torch.Generator().manual_seed(0))
    step = step_of(CharModel.seeded(settings, V, 0), ids)

    def of_that_precision() -> None:
        with factors_of(precision):
            step()

    return of_that_precision


def main() -> list[dict[str, object]]:
    """Print the table and return its rows."""
    threads = torch.get_num_threads()
    itself = "multiplies" if multiplies_bfloat16() else "does not multiply"
    print(
        f"training step of residual blocks, {N} texts of {T} timesteps, {threads} threads, "
        f"characters a second; this processor {itself} bfloat16"
    )
    print(f"{'blocks':>9}" + "".join(f"{name:>10}" for name in CONTENDERS) + f"{'ratio':>7}")
    rows: list[dict[str, object]] = []
    for layers, units in SHAPES:
        steps = {
            name: contender(cell, layers, units, precision)
            for name, (cell, precision) in CONTENDERS.items()
        }
        rates = {name: N * T / seconds for name, seconds in medians(steps).items()}
        ratio = rates["bfloat16"] / rates["float32"]
        shown = "".join(f"{rate:10,.0f}" for rate in rates.values())
        print(f"{f'{layers} x {units}':>9}{shown}{ratio:7.2f}")
        rows.append(
            {"layers": layers, "units": units, "batch_size": N, "timesteps": T, "threads": threads}
            | {f"{name}_chars_per_second": round(rate) for name, rate in rates.items()}
            | {"ratio": ratio}
        )
    return rows


if __name__ == "__main__":
    main()
