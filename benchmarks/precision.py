"""Characters per second of a whole training step with float32 and with bfloat16 matmuls."""

from __future__ import annotations

import torch

from benchmarks.timing import medians
from benchmarks.training import step_of
from chargen.recurrent import CharModel
from chargen.recurrent.matmul import multiplies_bfloat16
from chargen.recurrent.residual import ForwardMode
from chargen.settings import PRECISIONS, ModelSettings
from chargen.training.defaults import Hardware, preset_of

V = 65
STACKS = (
    ("lstm", "plain", (64,)),
    ("lstm", "plain", (128,)),
    ("lstm", "plain", (256,)),
    ("lstm", "plain", (384,)),
    ("lstm", "plain", (512,)),
    ("lstm", "plain", (256, 256)),
    ("lstm", "plain", (384, 384)),
    ("lstm", "residual", (128,) * 4),
    ("mingru", "residual", (96,) * 4),
    ("mingru", "residual", (128,) * 4),
    ("mingru", "residual", (128,) * 5),
    ("mingru", "residual", (160,) * 6),
)


def main() -> list[dict[str, object]]:
    """Print the table and return its rows."""
    threads = torch.get_num_threads()
    itself = "multiplies" if multiplies_bfloat16() else "does not multiply"
    print(
        f"training step with the default batch, {threads} threads, chars/s; "
        f"this CPU {itself} bfloat16"
    )
    print(f"{'stack':>24}" + "".join(f"{name:>10}" for name in PRECISIONS) + f"{'ratio':>7}")
    rows: list[dict[str, object]] = []
    for cell, stack, units in STACKS:
        preset = preset_of(cell, stack, Hardware())
        N, T = preset.batch_size, preset.timesteps
        ids = torch.randint(V, (N, T), generator=torch.Generator().manual_seed(0))
        settings = ModelSettings(cell, units, stack=stack)
        steps = {
            name: step_of(CharModel.seeded(settings, V, 0), ids, ForwardMode(precision=name))
            for name in PRECISIONS
        }
        seconds = medians(steps)
        rates = {name: N * T / seconds[name] for name in PRECISIONS}
        ratio = rates["bfloat16"] / rates["float32"]
        shown = "".join(f"{rate:10,.0f}" for rate in rates.values())
        print(f"{f'{stack} {cell} {len(units)} x {units[0]}':>24}{shown}{ratio:7.2f}")
        rows.append(
            {"cell": cell, "stack": stack, "layers": len(units), "units": units[0]}
            | {"batch_size": N, "timesteps": T, "threads": threads}
            | {f"{name}_chars_per_second": round(rate) for name, rate in rates.items()}
            | {"ratio": ratio}
        )
    return rows


if __name__ == "__main__":
    main()
