"""Memory of trainings that differ in one setting (docs/experiments/13-memory-factors.md).

    python -m benchmarks.remembering --only lstm,lstm-chrono --seeds 0,1

Every variant reads the same number of characters of `longrange` in the same number of updates.
Changes without an option of their own are applied to the trainer.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from chargen.datasets import bundled
from chargen.evaluation import nats_to_bits
from chargen.probes.context import measure as context
from chargen.probes.templates import measure as templates
from chargen.recurrent.model import CharModel
from chargen.training.loop import Trainer
from chargen.training.session import start

SPANS = (16, 64, 128, 256, 512, 1024, 2048)
STEPS = 4000
LONGEST = 256  # longest span, and longest time scale of chrono initialization

LSTM = {
    "cell": "lstm",
    "units": (256,),
    "timesteps": 64,
    "batch_size": 16,
    "precision": "float32",
    "weight_decay": 0.1,
}
MINGRU = {"timesteps": 128, "batch_size": 8, "weight_decay": 0.1, "dropout": 0.0,
          "units": (128,) * 4, "cell": "mingru", "stack": "residual"}  # fmt: skip
CURRICULUM = {"timesteps": 256, "batch_size": 4, "curriculum": (16, 64)}

Change = Callable[[Trainer], None]


def nothing(trainer: Trainer) -> None:
    """Change nothing."""


def chrono(trainer: Trainer) -> None:
    """Apply chrono initialization for 1 to `LONGEST` characters (Tallec & Ollivier 2018)."""
    drawn = torch.Generator().manual_seed(trainer.settings.seed)
    for layer in trainer.model.stack.layers:
        units = layer.units
        bias = torch.empty(units).uniform_(1, LONGEST - 1, generator=drawn).log()
        b_h = layer.b_h.data
        if trainer.run.description.model.cell == "lstm":
            b_h[:units] = -bias
            b_h[units : 2 * units] = bias
        else:
            b_h[:units] = bias


def open_gates(trainer: Trainer) -> None:
    """Initialize LSTM forget gates at sigmoid(4) = 0.98 instead of sigmoid(1) = 0.73."""
    for layer in trainer.model.stack.layers:
        layer.b_h.data[layer.units : 2 * layer.units] = 4.0


def learned_state(trainer: Trainer) -> None:
    """Learn the initial state in training; the averaged model still starts from zero."""
    _begin_with(_learned(trainer), trainer.model)


def kept_state(trainer: Trainer) -> None:
    """Learn the initial state and evaluate with it."""
    first = _learned(trainer)
    for model in (trainer.model, trainer._state.averaged):
        _begin_with(first, model)


def _learned(trainer: Trainer) -> list[list[Tensor]]:
    """Return an initial state of one row that the optimizer updates."""
    first = [[torch.zeros_like(part, requires_grad=True) for part in layer]
             for layer in trainer.model.stack.initial_state(1)]  # fmt: skip
    trainer._state._optimizer.add_param_group(
        {"params": [part for layer in first for part in layer], "weight_decay": 0.0}
    )
    return first


def _begin_with(first: list[list[Tensor]], model: CharModel) -> None:
    """Use ``first`` as the initial state of ``model``."""
    forward = model.forward

    def with_state(ids: Tensor, state: Any = None, *rest: Any, **named: Any) -> Any:
        if state is None:
            state = tuple(tuple(part.expand(len(ids), -1) for part in layer) for layer in first)
        return forward(ids, state, *rest, **named)

    model.forward = with_state  # type: ignore[method-assign]


@dataclass(frozen=True)
class Variant:
    """Settings and a change to the trainer."""

    settings: dict[str, Any] = field(default_factory=dict)
    change: Change = nothing


VARIANTS = {
    "lstm": Variant(LSTM),
    "lstm-slow": Variant(LSTM | {"learning_rate": 0.004}),
    "lstm-decay": Variant(LSTM | {"weight_decay": 0.01}),
    "lstm-16": Variant(LSTM | {"timesteps": 16, "batch_size": 64}),
    "lstm-256": Variant(LSTM | {"timesteps": 256, "batch_size": 4}),
    "lstm-reset": Variant(LSTM | {"state": "reset"}),
    "lstm-256-reset": Variant(LSTM | {"timesteps": 256, "batch_size": 4, "state": "reset"}),
    "lstm-256-learned": Variant(
        LSTM | {"timesteps": 256, "batch_size": 4, "state": "reset"}, learned_state
    ),
    "lstm-256-kept": Variant(
        LSTM | {"timesteps": 256, "batch_size": 4, "state": "reset"}, kept_state
    ),
    "lstm-curriculum": Variant(LSTM | CURRICULUM),
    "lstm-resets": Variant(LSTM | CURRICULUM | {"resets": 0.05}),
    "lstm-chrono": Variant(LSTM, chrono),
    "lstm-open": Variant(LSTM, open_gates),
    "lstm-2x160": Variant(LSTM | {"units": (160, 160)}),
    "mingru": Variant(MINGRU),
    "mingru-32": Variant(MINGRU | {"timesteps": 32, "batch_size": 32}),
    "mingru-512": Variant(MINGRU | {"timesteps": 512, "batch_size": 2}),
    "mingru-reset": Variant(MINGRU | {"state": "reset"}),
    "mingru-chrono": Variant(MINGRU, chrono),
}


def measured(name: str, seed: int, steps: int, out: Path) -> dict[str, Any]:
    """Train variant ``name`` in ``out`` and measure its memory."""
    variant = VARIANTS[name]
    settings = variant.settings | {"steps": steps, "patience": 0, "seed": seed}
    with start(["longrange"], settings, out, device="cpu", cache=out.parent / "cache") as session:
        trainer = session.trainer
        variant.change(trainer)
        begun, nats = time.perf_counter(), math.nan
        for report in trainer.reports():
            nats = report.validation_loss_nats or nats
        seconds = time.perf_counter() - begun
        predictor, held_out = trainer.predictor, trainer.text.ids[trainer._training_chars :]
        found = templates.measure(predictor, bundled.bank("english.bank"), spans=SPANS, gate=0.0)
        seen = context.measure(predictor, held_out)
    return {
        "variant": name,
        "seed": seed,
        "seconds": round(seconds, 1),
        "bits_per_char": round(nats_to_bits(nats), 4),
        "effective_context": [seen.effective, seen.effective_low, seen.effective_high],
        "span50": str(found.to_json()["span50"]),
        "accuracy": {row.span: round(row.accuracy.value, 3) for row in found.rows},
    }


def main(given: Sequence[str] | None = None) -> None:
    """Print one line of JSON per training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(VARIANTS), help="names of variants")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--steps", type=int, default=STEPS, help="updates")
    options = parser.parse_args(given)
    torch.set_num_threads(1)
    for seed in map(int, options.seeds.split(",")):
        for name in options.only.split(","):
            with tempfile.TemporaryDirectory() as folder:
                row = measured(name, seed, options.steps, Path(folder, "run"))
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
