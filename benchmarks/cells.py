"""Loss, speed and memory of each cell after equal training time, with its best known settings.

    python -m benchmarks.cells tinyshakespeare.txt --only lstm,gru --minutes 2

One thread. Settings come from docs/experiments.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.sampling import ours, rate
from chargen import api
from chargen.probes.context import measure as context
from chargen.sampling import engine

BEST: dict[str, dict[int, dict[str, Any]]] = {  # settings by minimum budget in minutes
    "simple": {
        0: {"units": (256, 256), "learning_rate": 0.01},
        10: {"units": (256, 256), "learning_rate": 0.007, "dropout": 0.1},
        60: {"units": (256, 256), "learning_rate": 0.01, "dropout": 0.1},
    },
    "lstm": {0: {}},  # the defaults of chargen train
    "gru": {
        0: {"units": (192, 192), "learning_rate": 0.02},
        10: {"units": (256, 256), "learning_rate": 0.02, "dropout": 0.2},
    },
    "gru-before": {
        0: {"cell": "gru", "reset_after": False, "units": (192, 192), "learning_rate": 0.02}
    },
    "mingru": {
        0: {"units": (192,) * 3, "learning_rate": 0.02, "stack": "plain"},
        60: {"units": (384,) * 3, "learning_rate": 0.01, "dropout": 0.1, "stack": "plain"},
    },
    "blocks": {0: {"cell": "mingru"}},  # residual blocks with the defaults
}
WRITTEN = 20_000  # characters


def trained(
    text: str, settings: dict[str, Any], minutes: float, seed: int, folder: Path
) -> tuple[api.TrainedModel, dict[str, Any]]:
    """Return a trained model and the last record of its progress."""
    kept = {"minutes": minutes, "patience": 0, "seed": seed, "device": "cpu"}
    model = api.train([text], folder, cache=folder.parent / "cache", **kept, **settings)
    return model, json.loads((folder / "progress.jsonl").read_text().splitlines()[-1])


def measured(text: str, name: str, minutes: float, seed: int, recalls: bool) -> dict[str, Any]:
    """Return one cell's row; ``recalls`` adds span50 of a second training on longrange."""
    settings = [own for fewest, own in BEST[name].items() if fewest <= minutes][-1]
    settings = {"cell": name} | settings
    with tempfile.TemporaryDirectory() as kept:
        model, last = trained(text, settings, minutes, seed, Path(kept, "run"))
        predicted = context.measure(model.predictor, model.held_out())
        shape = model.run.description.model
        own = engine.Engine(shape, model.run.weights(), len(model.vocabulary))
        state = model.network.stack.initial_state(1)
        row = {
            "cell": name,
            "minutes": minutes,
            "seed": seed,
            "units": shape.units,
            "parameters": sum(weight.numel() for weight in model.network.parameters()),
            "nats": round(model.evaluate().loss_nats, 4),
            "chars_read": last["chars"],
            "chars_a_second": round(last["chars"] / last["seconds"]),
            "written_a_second": round(rate(ours(own, 1), 1, WRITTEN)),
            "effective_context": [
                predicted.effective,
                predicted.effective_low,
                predicted.effective_high,
            ],
            "state_bytes": sum(part.numel() * part.element_size() for p in state for part in p),
        }
        if recalls:
            model, _ = trained("longrange", settings, minutes, seed, Path(kept, "recalling"))
            found = model.probe_longrange(only=("templates",)).to_json()["templates"]
            row["span50"] = found["span50"] or found["finding"]
            row["right"] = {span["span_chars"]: span["accuracy"] for span in found["spans"]}
    return row


def main(given: Sequence[str] | None = None) -> None:
    """Print one line of JSON per cell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    parser.add_argument("--only", default=",".join(BEST), help="names of cells")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--recalls", action="store_true", help="also train on longrange and run the probe"
    )
    options = parser.parse_args(given)
    torch.set_num_threads(1)
    for name in options.only.split(","):
        row = measured(options.text, name, options.minutes, options.seed, options.recalls)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
