"""What is chosen where the user chooses nothing: the cell, its size, and how it is trained.

Chosen by the budget, the text and the kind of device, never by a clock, so that the same command
makes the same model. How it was found stands in docs/recipe.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chargen.training.schedule import MINUTES

CELL, PLAIN_CELL = "mingru", "lstm"
UNITS = (256,)  # of a plain stack
# From so many characters read on, layers and units in residual blocks: narrow and deep wins short
# budgets. On a GPU they are a guess.
SIZES = {
    "processor": ((0.0, 4, 96), (3.5e6, 4, 128), (7.5e6, 5, 128), (30e6, 6, 160)),
    "GPU": ((0.0, 6, 256),),
}
CHARS_A_MINUTE = 1_500_000  # that two cores read with the smallest of these
FASTER = 1.3  # times as many of bfloat16, where a processor multiplies it
# Share dropped from so many readings of the text on, by that rate, of which a larger model makes
# about two thirds: what is read often is learned by heart.
DROPOUT = ((0.0, 0.0), (8.0, 0.1), (12.0, 0.2), (35.0, 0.3))
# Most readings of a text from so many characters on: a short one is learned by heart after few.
READINGS = ((0.0, 7.0), (1.5e4, 5.0), (2e5, 10.0), (7e5, math.inf))


@dataclass(frozen=True)
class Recipe:
    """How a kind of stack is trained, where nothing else is said."""

    timesteps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    beta2: float


RECIPES = {
    "plain": Recipe(64, 16, 0.004, 0.01, 0.999),
    "residual": Recipe(128, 8, 0.007, 0.1, 0.99),
}


def completed(
    given: Mapping[str, Any], training_chars: int, device: str, multiplies_bfloat16: bool
) -> tuple[dict[str, Any], list[str]]:
    """Settings by name with what was not ``given`` chosen, and in words what was and why.

    ``device`` is its kind, as torch names it; whether the processor ``multiplies_bfloat16`` counts
    where it is the device: on a GPU that was not tried. Timesteps and batch size are left to
    `chargen.training.schedule.fit`, which knows what the text can fill.
    """
    given = {name: value for name, value in given.items() if value is not None}
    chosen = {**_shape(given), **given}
    notes = []
    if chosen["stack"] == "residual":
        lower = device == "cpu" and multiplies_bfloat16
        if lower:
            chosen.setdefault("precision", "bfloat16")
        faster = lower and chosen["precision"] == "bfloat16"
        chars_a_minute = CHARS_A_MINUTE * (FASTER if faster else 1)
        chars = _chars(given, RECIPES["residual"], training_chars, chars_a_minute)
        (most,) = _last(READINGS, training_chars)
        if chars > most * training_chars and not {"steps", "epochs"} & set(given):
            chars = most * training_chars
            chosen |= {"epochs": most, "minutes": given.get("minutes", MINUTES)}
            notes.append(
                f"--epochs {most:g} beside the minutes: read more often, so short a text is "
                "learned by heart"
            )
        if "units" not in given:
            kind = "processor" if device == "cpu" else "GPU"
            layers, units = _last(SIZES[kind], chars)
            chosen["units"] = (units,) * layers
            notes.append(
                f"{layers} layers of {units} units in residual blocks, for about "
                f"{chars / chars_a_minute:.2g} minutes on a {kind} (--units chooses others, --cell "
                "lstm a plain stack)"
            )
        if "dropout" not in given:
            times = chars / training_chars
            (share,) = _last(DROPOUT, times)
            chosen["dropout"] = share
            if share:
                notes.append(f"--dropout {share}, since the text is read about {times:.0f} times")
        if faster and "precision" not in given:
            notes.append("--precision bfloat16, since this processor multiplies that faster")
    for name in ("learning_rate", "weight_decay", "beta2"):
        chosen.setdefault(name, getattr(RECIPES[chosen["stack"]], name))
    return chosen, notes


def _shape(given: Mapping[str, Any]) -> dict[str, Any]:
    """Whoever says how many units there are, and no more, means a plain stack of LSTM layers."""
    says_units = "units" in given or "activation" in given
    plain = given.get("stack") == "plain" or (says_units and "stack" not in given)
    cell = given.get("cell", PLAIN_CELL if plain else CELL)
    stack = "residual" if cell == CELL else "plain"
    return {"cell": cell, "stack": stack, "units": UNITS}


def _chars(
    given: Mapping[str, Any], recipe: Recipe, training_chars: int, chars_a_minute: float
) -> float:
    """About how many characters will be read within the budget."""
    if "steps" in given:
        timesteps = given.get("timesteps", recipe.timesteps)
        batch_size = given.get("batch_size", recipe.batch_size)
        return float(given["steps"] * timesteps * batch_size)
    of_epochs = given.get("epochs", math.inf) * training_chars
    minutes = given.get("minutes", math.inf if "epochs" in given else MINUTES)
    return float(min(of_epochs, minutes * chars_a_minute))


def _last(steps: tuple[tuple[float, ...], ...], value: float) -> tuple[Any, ...]:
    """What stands beside the last bound that ``value`` reaches."""
    return [step[1:] for step in steps if step[0] <= value][-1]
