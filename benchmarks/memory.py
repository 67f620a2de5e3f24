"""Peak memory of training against the same model on ``torch.nn``.

Every case runs in a fresh process; the peak after training a tiny model is subtracted, so that
loaded libraries do not count.
"""

from __future__ import annotations

import subprocess
import sys

import torch

from benchmarks.peak import peak
from benchmarks.training import PEERS, Peer, T, V, step_of
from chargen.recurrent import CharModel
from chargen.settings import ModelSettings

SHAPES = ((256, 1, 32), (256, 2, 32), (512, 1, 64))  # units, layers, batch size
TINY = (16, 1, 32)
STEPS = 12
PROCESSES = 3  # the minimum is reported, because the allocator keeps varying amounts


def grown(whose: str, cell: str, units: int, layers: int, batch_size: int) -> float:
    """Return the megabytes that training a model adds to this process."""
    train(whose, cell, *TINY)
    before = peak()
    train(whose, cell, units, layers, batch_size)
    return peak() - before


def train(whose: str, cell: str, units: int, layers: int, batch_size: int) -> None:
    """Run `STEPS` training steps."""
    ids = torch.randint(V, (batch_size, T), generator=torch.Generator().manual_seed(0))
    ours = CharModel.seeded(ModelSettings(cell, (units,) * layers), V, 0)
    step = step_of(ours if whose == "ours" else Peer(cell, units, layers, V), ids)
    for _ in range(STEPS):
        step()


def measured(*what: object) -> float:
    """Run `grown` in fresh processes."""
    command = [sys.executable, "-m", "benchmarks.memory", *map(str, what)]
    return min(
        float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(PROCESSES)
    )


def main() -> list[dict[str, object]]:
    """Print the table and return its rows."""
    print(f"peak memory of training, {T} timesteps, MB")
    rows: list[dict[str, object]] = []
    for cell in PEERS:
        for units, layers, batch_size in SHAPES:
            shape = (cell, units, layers, batch_size)
            ours, peer = measured("ours", *shape), measured("torch.nn", *shape)
            print(
                f"{cell:8}{f'{layers} x {units}':>9}{batch_size:7}{ours:8.0f}{peer:10.0f}"
                f"{ours / peer:7.2f}"
            )
            rows.append(
                {
                    "cell": cell,
                    "units": units,
                    "layers": layers,
                    "batch_size": batch_size,
                    "mb": round(ours),
                    "torch_nn_mb": round(peer),
                }
            )
    return rows


if __name__ == "__main__":
    if sys.argv[1:]:
        whose, cell, *shape = sys.argv[1:]
        print(grown(whose, cell, *map(int, shape)))
    else:
        main()
