"""What is chosen where the user chooses nothing: the cell, its size, and how it is trained.

Chosen by the budget, the text and the `Machine`, never by a clock, so that the same command makes
the same model. How it was found stands in docs/recipe.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chargen.training.schedule import MINUTES

CELL, PLAIN_CELL = "mingru", "lstm"
UNITS, PLAIN_DECAY = (256,), 0.1  # of a plain stack
# Units of a plain stack over which its rate falls as one over them (Yang et al. 2022).
WIDE = 256
DEEP = {"lstm": 0.5}  # of the rate of one layer, for a plain stack of several
FASTER = 1.3  # times as many characters a minute of bfloat16, where a processor multiplies it
ROUNDED = {("plain", "lstm"), ("residual", "mingru")}  # stacks and cells of which that is so
WORTH_ROUNDING = 96  # units of the widest layer from which on that is seen
# Most readings of a text from so many characters on: a short one is learned by heart after few.
READINGS = {
    "residual": ((0.0, 7.0), (1.5e4, 5.0), (2e5, 10.0), (7e5, math.inf)),
    "plain": ((0.0, 50.0), (2e5, math.inf)),
}
# Least dropout of a plain stack that reads a text from so many characters on, and so often.
LEAST_DROPOUT, OFTEN = ((0.0, 0.5), (2e5, 0.3), (7e5, 0.0)), 10


@dataclass(frozen=True)
class Machine:
    """What trains: the kind of ``device``, as torch names it.

    Whether the processor ``multiplies_bfloat16`` counts where it is the device: on a GPU that is no
    faster. How many threads it has does not: a smaller model for one was no better.
    """

    device: str = "cpu"
    multiplies_bfloat16: bool = False

    @property
    def kind(self) -> str:
        """The kind of device in the words of the notes."""
        return "processor" if self.device == "cpu" else "GPU"


@dataclass(frozen=True)
class Recipe:
    """How a kind of stack is trained, where nothing else is said."""

    timesteps: int
    batch_size: int
    learning_rate: float
    beta2: float
    average: float


@dataclass(frozen=True)
class Sizes:
    """What a stack is made of and held back by, by the budget.

    Layers and units stand beside the characters that the smallest of these would read from which
    on they are chosen; weight decay and dropout beside how often it would read the text, of which
    the largest make a quarter. What is read often is learned by heart.
    """

    chars_a_minute: float
    shapes: tuple[tuple[float, int, int], ...]
    restraints: tuple[tuple[float, float, float], ...]


PLAIN = Recipe(64, 16, 0.02, 0.999, 0.07)
# Timesteps one after the other of one layer of these cells, of as many characters a batch.
STAGES = {"lstm": (16, 64, 256)}
READ_BY = ("timesteps", "batch_size", "curriculum", "loss_on")  # what says how a text is read
PLAIN_RATES = {"simple": 0.007, "lstm": 0.03}  # of cells that another rate suits
SELDOM_DECAYS = {"lstm": 0.03}  # of one layer of these cells that reads a text less than OFTEN
RESIDUAL = {
    "processor": Recipe(128, 8, 0.007, 0.99, 0.07),
    "GPU": Recipe(256, 32, 0.007, 0.99, 0.07),  # a step takes as long whatever its size
}
SIZES = {
    "processor": Sizes(
        1.5e6,  # of two cores
        (
            (0, 4, 96),
            (3.5e6, 4, 128),
            (7.5e6, 5, 128),
            (14e6, 5, 192),
            (35e6, 6, 192),
            (8e7, 6, 256),
        ),
        (
            (0, 0.1, 0.0),
            (6, 0.2, 0.0),
            (8, 0.3, 0.05),
            (14, 0.4, 0.1),
            (35, 0.5, 0.15),
            (80, 0.6, 0.2),
        ),
    ),
    "GPU": Sizes(12e6, ((0, 6, 256),), ((0, 0.1, 0.0), (6, 0.1, 0.1), (10, 0.1, 0.3))),
}
GATED_SIZES = Sizes(  # of a plain stack, wherever it is trained
    2.4e6,  # of two cores
    ((0, 1, 256), (6e6, 1, 384), (2e7, 2, 256), (8e7, 2, 384)),
    (
        (0, PLAIN_DECAY, 0.0),
        (5, PLAIN_DECAY, 0.1),
        (10, PLAIN_DECAY, 0.2),
        (50, PLAIN_DECAY, 0.35),
    ),
)


def recipe_of(cell: str, stack: str, machine: Machine) -> Recipe:
    """How a ``stack`` of ``cell`` is trained on a ``machine``."""
    if stack == "residual":
        return RESIDUAL[machine.kind]
    return replace(PLAIN, learning_rate=PLAIN_RATES.get(cell, PLAIN.learning_rate))


def completed(
    given: Mapping[str, Any], training_chars: int, machine: Machine
) -> tuple[dict[str, Any], list[str]]:
    """Settings by name with what was not ``given`` chosen, and in words what was and why.

    Timesteps and batch size without a curriculum are left to `chargen.training.schedule.fit`, which
    knows what the text can fill.
    """
    given = {name: value for name, value in given.items() if value is not None}
    chosen = {**_shape(given, machine), **given}
    cell, stack = chosen["cell"], chosen["stack"]
    recipe = recipe_of(cell, stack, machine)
    rounds = (
        machine.device == "cpu"
        and machine.multiplies_bfloat16
        and given.get("precision") != "float32"
        and (stack, cell) in ROUNDED
    )
    speed = FASTER if rounds else 1.0
    if stack == "residual":
        more, notes = _in_blocks(given, training_chars, machine.kind, speed)
    else:
        more, notes = _in_layers(given, cell, training_chars, speed)
        units = (more | given)["units"]
        slower = min(1.0, WIDE / max(units)) * (DEEP.get(cell, 1.0) if len(units) > 1 else 1.0)
        recipe = replace(recipe, learning_rate=recipe.learning_rate * slower)
        if len(units) == 1 and not set(READ_BY) & set(given):
            more |= _in_stages(STAGES.get(cell, ()), recipe, training_chars)
    chosen = {**chosen, **more, **given}
    if rounds and "precision" not in given and max(chosen["units"]) >= WORTH_ROUNDING:
        chosen["precision"] = "bfloat16"
        notes.append("--precision bfloat16, since this processor multiplies that faster")
    for name in ("learning_rate", "beta2", "average"):
        chosen.setdefault(name, getattr(recipe, name))
    return chosen, notes


def _in_blocks(
    given: Mapping[str, Any], training_chars: int, kind: str, speed: float
) -> tuple[dict[str, Any], list[str]]:
    """What the budget chooses of a residual stack, as `completed` returns it."""
    sizes = SIZES[kind]
    chars_a_minute = sizes.chars_a_minute * speed
    chars = _chars(given, RESIDUAL[kind], training_chars, chars_a_minute)
    chars, chosen, notes = _at_most("residual", given, training_chars, chars)
    if "units" not in given:
        layers, units = _last(sizes.shapes, chars)
        chosen["units"] = (units,) * layers
        notes.append(
            f"{layers} layers of {units} units in residual blocks, for about "
            f"{chars / chars_a_minute:.2g} minutes on a {kind} (--units chooses others, --cell "
            "lstm a plain stack)"
        )
    restraint, why = _restraint(given, sizes, chars / training_chars)
    return chosen | restraint, notes + why


def _in_layers(
    given: Mapping[str, Any], cell: str, training_chars: int, speed: float
) -> tuple[dict[str, Any], list[str]]:
    """What the budget chooses of a plain stack, as `completed` returns it."""
    chosen: dict[str, Any] = {"units": UNITS, "weight_decay": PLAIN_DECAY}
    if "units" in given or cell == "simple":
        return chosen, []
    chars_a_minute = GATED_SIZES.chars_a_minute * speed
    chars = _chars(given, PLAIN, training_chars, chars_a_minute)
    chars, ended, notes = _at_most("plain", given, training_chars, chars)
    layers, units = _last(GATED_SIZES.shapes, chars)
    notes.append(
        f"{layers} layer{'s' * (layers > 1)} of {units} {cell} units, for about "
        f"{chars / chars_a_minute:.2g} minutes on a processor (--units chooses others)"
    )
    times = chars / training_chars
    (least,) = _last(LEAST_DROPOUT, training_chars) if times >= OFTEN else (0.0,)
    restraint, why = _restraint(given, GATED_SIZES, times, least)
    if layers == 1 and times < OFTEN:
        restraint["weight_decay"] = SELDOM_DECAYS.get(cell, PLAIN_DECAY)
    return {**chosen, **ended, "units": (units,) * layers, **restraint}, notes + why


def _in_stages(stages: tuple[int, ...], recipe: Recipe, training_chars: int) -> dict[str, Any]:
    """How a text is read with the timesteps of these ``stages``, where it fills their batches."""
    chars = recipe.timesteps * recipe.batch_size
    if not stages or training_chars <= chars:
        return {}
    *earlier, last = stages
    return {"curriculum": tuple(earlier), "timesteps": last, "batch_size": chars // last}


def _at_most(
    stack: str, given: Mapping[str, Any], training_chars: int, chars: float
) -> tuple[float, dict[str, Any], list[str]]:
    """How many of so many ``chars`` a ``stack`` is to read of a short text, and what ends it."""
    (most,) = _last(READINGS[stack], training_chars)
    if chars <= most * training_chars or {"steps", "epochs"} & set(given):
        return chars, {}, []
    note = (
        f"--epochs {most:g} beside the minutes: read more often, so short a text is "
        "learned by heart"
    )
    ended = {"epochs": most, "minutes": given.get("minutes", MINUTES)}
    return most * training_chars, ended, [note]


def _restraint(
    given: Mapping[str, Any], sizes: Sizes, times: float, least_dropout: float = 0.0
) -> tuple[dict[str, float], list[str]]:
    """What holds back a model that reads the text so many ``times``, where nothing is ``given``."""
    names = ("weight_decay", "dropout")
    usual = dict(zip(names, _last(sizes.restraints, 0), strict=True))
    chosen = dict(zip(names, _last(sizes.restraints, times), strict=True))
    chosen["dropout"] = max(chosen["dropout"], least_dropout)
    chosen = {name: value for name, value in chosen.items() if name not in given}
    told = [
        f"--{name.replace('_', '-')} {value:g}"
        for name, value in chosen.items()
        if value != usual[name]
    ]
    why = f"{' and '.join(told)}, since the text is read up to {times:.0f} times"
    return chosen, [why] if told else []


def _shape(given: Mapping[str, Any], machine: Machine) -> dict[str, Any]:
    """LSTM layers on a processor, minGRU in residual blocks elsewhere, where nothing is said.

    Whoever says how many units there are, and no more, means LSTM layers too.
    """
    plain = given.get("stack") == "plain" or (
        "stack" not in given
        and (machine.device == "cpu" or bool({"units", "activation"} & set(given)))
    )
    cell = given.get("cell", PLAIN_CELL if plain else CELL)
    stack = "residual" if cell == CELL else "plain"
    return {"cell": cell, "stack": stack}


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
