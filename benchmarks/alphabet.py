"""Speed with a vocabulary of 3,000 characters against one of 65, and the cost of the head."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.timing import medians
from benchmarks.training import T, step_of
from chargen.recurrent import CharModel
from chargen.recurrent.matmul import linear
from chargen.settings import ModelSettings

N, UNITS = 16, 256


def main() -> list[dict[str, object]]:
    """Print the table and return its rows."""
    ids = {
        size: torch.randint(size, (N, T), generator=torch.Generator().manual_seed(0))
        for size in (65, 3000)
    }
    steps = {
        f"{size}": step_of(CharModel.seeded(ModelSettings("lstm", (UNITS,)), size, 0), ids[size])
        for size in ids
    }
    outputs, W_hy, b_y = (
        torch.randn(shape, requires_grad=True) for shape in ((N * T, UNITS), (UNITS, 3000), (3000,))
    )
    targets = ids[3000].flatten()
    steps["head of 3000"] = lambda: nn.functional.cross_entropy(
        linear(outputs, W_hy, b_y), targets
    ).backward()
    times = medians(steps)
    print(f"LSTM of {UNITS} units, batch {N}, {T} timesteps, {torch.get_num_threads()} threads")
    for name, seconds in times.items():
        print(f"{name:>14} {1000 * seconds:8.1f} ms {N * T / seconds:10,.0f} chars/s")
    print(
        f"ratio {times['65'] / times['3000']:.2f}; the head of 3,000 and its loss take "
        f"{times['head of 3000'] / times['3000']:.0%} of the step"
    )
    return [{"what": name, "seconds": seconds} for name, seconds in times.items()]


if __name__ == "__main__":
    main()
