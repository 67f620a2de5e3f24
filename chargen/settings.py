"""What a user may set, checked when it is set. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from typing import Any, TypeVar

from chargen.errors import ChargenError

# Cells, and how many columns a unit has in W_xh.
BLOCKS = {"simple": 1, "lstm": 4, "gru": 3, "gru-before": 3, "mingru": 2}
UNMIXED = ("mingru",)  # cells of which each unit reads its own state alone: without W_hh
CELL_NAMES = tuple(BLOCKS)
COMPARED_CELLS = ("simple", "lstm", "gru")  # where no others are named
STACK_NAMES = ("plain", "residual")
SMALLEST = 1e-6  # added to the mean square that RMS normalization divides by
CONVOLVED = 4  # characters that a residual block weighs before its layer reads
ACTIVATION_NAMES = ("tanh", "relu", "sigmoid", "linear")
USUAL = {"mingru": "linear"}  # activations of cells that have tanh nowhere in their paper
STATE_NAMES = ("carry", "reset")
PRECISIONS = ("float32", "bfloat16")  # of the factors of large products
DOCUMENT_NAMES = ("none", "file", "blank-line")
INSTRUMENTS = ("templates", "context", "mined", "gradient")
BUDGETS = ("steps", "epochs", "minutes")
MOST_LAYERS = 100
HELD_OUT = 0.1  # of a text, where nothing else is said
MOST_HELD_OUT = 5_000_000  # characters, where nothing else is said: more would say little more
LONGEST_ASKED = 8192  # span in characters: beyond it a case takes longer to read than anyone waits
RECENT = 32  # characters before the next one, of which a repetition penalty makes each less likely
COMPARED = (
    "longrange",
    "copy",
    "recall",
    "flipflop",
    "brackets",
)  # bundled texts whose answers are known


def widened(units: int) -> int:
    """E: the numbers inside the feed-forward of a residual block."""
    return 2 * units


Settings = TypeVar(
    "Settings", bound="ModelSettings | TrainingSettings | SamplingSettings | ComparisonSettings"
)


def _require(holds: bool, name: str, value: object, rule: str) -> None:
    if not holds:
        raise ChargenError(f"--{name.replace('_', '-')} {value}: must be {rule}")


def _require_choice(value: str, name: str, choices: tuple[str, ...]) -> None:
    _require(value in choices, name, value, f"one of {', '.join(choices)}")


def _require_count(value: int, name: str) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    _require(whole and 1 <= value < 2**31, name, value, "a whole number of 1 or more")


def _require_positive(value: float, name: str) -> None:
    _require(_is_number(value) and value > 0, name, value, "a number above 0")


def _is_number(value: object) -> bool:
    # Above 0 and below infinity alike; `math.isfinite` fails for whole numbers that no float holds.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


@dataclass(frozen=True)
class ModelSettings:
    """The shape of a model, its vocabulary apart."""

    cell: str = "lstm"  # which recurrent cell, one of CELL_NAMES
    units: tuple[int, ...] = (256,)  # memory units of each layer, from the input to the output
    activation: str = ""  # what bends the state, one of ACTIVATION_NAMES; "": the cell's usual one
    stack: str = "plain"  # layers on one another, or each in a residual block of as many units

    def __post_init__(self) -> None:
        _require_choice(self.cell, "cell", CELL_NAMES)
        object.__setattr__(self, "activation", self.activation or USUAL.get(self.cell, "tanh"))
        _require_choice(self.activation, "activation", ACTIVATION_NAMES)
        _require_choice(self.stack, "stack", STACK_NAMES)
        object.__setattr__(self, "units", tuple(self.units))
        _require(len(self.units) > 0, "units", "''", "one whole number a layer, as in 256,128")
        few = len(self.units) <= MOST_LAYERS
        _require(few, "units", f"of {len(self.units)} layers", f"{MOST_LAYERS} layers or fewer")
        for units in self.units:
            _require_count(units, "units")
        if self.stack == "residual":
            shown = ",".join(map(str, self.units))
            same = len(set(self.units)) == 1
            rule = "the same for every layer in residual blocks; --stack plain lets them differ"
            _require(same, "units", shown, rule)

    def described(self) -> str:
        """In words, as in "mingru of 96 + 96 units in residual blocks"."""
        where = " in residual blocks" if self.stack == "residual" else ""
        return f"{self.cell} of {' + '.join(map(str, self.units))} units{where}"

    def shapes(self, size: int) -> dict[str, tuple[int, ...]]:
        """The model's weights by name, for V = ``size``: those of `chargen.recurrent.CharModel`."""
        shapes: dict[str, tuple[int, ...]] = {}
        residual = self.stack == "residual"
        features = self.units[0] if residual else size
        for number, units in enumerate(self.units):
            columns, name = BLOCKS[self.cell] * units, f"stack.layers.{number}."
            shapes[name + "W_xh"] = (features, columns)
            if self.cell not in UNMIXED:
                shapes[name + "W_hh"] = (units, columns)
            shapes[name + "b_h"] = (columns,)
            if self.cell == "gru":
                shapes[name + "b_m"] = (units,)
            if residual:
                shapes |= _of_block(units, f"stack.blocks.{number}.")
            features = units
        if residual:
            shapes |= {"stack.W_in": (size, features), "stack.g_out": (features,)}
        return shapes | {"W_hy": (features, size), "b_y": (size,)}

    def parameters(self, size: int) -> int:
        """How many weights the model has, for V = ``size``."""
        return sum(math.prod(shape) for shape in self.shapes(size).values())

    def check(self, shapes: Mapping[str, tuple[int, ...]], size: int) -> None:
        """`ChargenError` where weights of these ``shapes`` are not those of the model."""
        wanted = self.shapes(size)
        if dict(shapes) != wanted:
            odd = min(name for name, _ in set(shapes.items()) ^ set(wanted.items()))
            raise ChargenError(
                f"weights {odd} have shape {shapes.get(odd)}, the settings say {wanted.get(odd)}"
            )


def _of_block(D: int, name: str) -> dict[str, tuple[int, ...]]:
    """What stands round a layer of D units; see `chargen.recurrent.residual.Block`."""
    E = widened(D)
    shapes = {
        "g_in": (D,),
        "W_conv": (CONVOLVED, D),
        "W_gate": (D, D),
        "W_out": (D, D),
        "g_ff": (D,),
        "W_up": (D, 2 * E),
        "W_down": (E, D),
    }
    return {name + part: shape for part, shape in shapes.items()}


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained. ``None`` stands for a default that depends on the corpus."""

    timesteps: int | None = None  # T, the characters that gradients travel back; 64 if there are
    batch_size: int | None = None  # N, the texts read side by side; 16 if there are
    curriculum: tuple[int, ...] = ()  # fewer timesteps before these, for a share of the budget each
    loss_on: str | int = "all"  # steps of a window that count: all, last, or how many last ones
    state: str = "carry"  # carry the state from window to window, or reset it at each
    resets: float = 0.0  # share of windows that begin at a zero state though it is carried: more
    # of those that begin as what is written does, see chargen.text.windows.Resets
    steps: int | None = None  # budget: parameter updates
    epochs: float | None = None  # budget: times that the training text is read
    minutes: float | None = None  # budget: time, beside epochs at most; 5 where no budget is given
    learning_rate: float = 0.004  # AdamW's highest rate, after the warm-up
    weight_decay: float = 0.01  # AdamW's, applied to matrices alone
    beta2: float = 0.999  # how much of its mean square gradients AdamW keeps at a step
    average: float = 0.0  # share of the updates so far that the weights kept are averaged over
    clip_norm: float = 1.0  # the gradient's norm is cut down to this
    dropout: float = 0.0  # share of a layer's outputs that is dropped while training
    precision: str = "float32"  # of the factors of large products in training, one of PRECISIONS
    documents: str = "none"  # what a document is; the state is zero where one begins
    validation: float | None = None  # share of the corpus, its end, that is held out
    patience: int = 10  # validations without improvement after which training ends; 0: never
    seed: int = 0  # of the initial weights, the dropout and the order of windows

    def __post_init__(self) -> None:
        for name in ("timesteps", "batch_size", "steps"):
            if getattr(self, name) is not None:
                _require_count(getattr(self, name), name)
        self._check_curriculum()
        for name in ("epochs", "minutes"):
            if getattr(self, name) is not None:
                _require_positive(getattr(self, name), name)
        given = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(given) > 1 and given != ["epochs", "minutes"]:  # the first of these to be used up
            raise ChargenError(f"{' and '.join('--' + name for name in given)}: give one budget")
        if self.loss_on not in ("all", "last"):
            rule = "all, last, or how many of the last steps count"
            whole = type(self.loss_on) is int and self.loss_on >= 1
            _require(whole, "loss_on", self.loss_on, rule)
        _require_choice(self.state, "state", STATE_NAMES)
        resets = self.resets
        _require(_is_number(resets) and 0 <= resets < 1, "resets", resets, "0 to below 1")
        if resets and self.state == "reset":
            raise ChargenError(f"--resets {resets}: --state reset begins all at zeros; give one")
        _require_choice(self.precision, "precision", PRECISIONS)
        _require_choice(self.documents, "documents", DOCUMENT_NAMES)
        _require_positive(self.learning_rate, "learning_rate")
        _require_positive(self.clip_norm, "clip_norm")
        beta2 = self.beta2
        _require(_is_number(beta2) and 0 <= beta2 < 1, "beta2", beta2, "0 to below 1")
        average = self.average
        _require(_is_number(average) and 0 <= average < 1, "average", average, "0 to below 1")
        decay, dropout, held_out = self.weight_decay, self.dropout, self.validation
        _require(_is_number(decay) and decay >= 0, "weight_decay", decay, "0 or more")
        _require(_is_number(dropout) and 0 <= dropout < 1, "dropout", dropout, "0 to below 1")
        if held_out is not None:
            within = _is_number(held_out) and 0 < held_out < 1
            _require(within, "validation", held_out, "between 0 and 1")
        for name in ("patience", "seed"):
            value = getattr(self, name)
            fits = type(value) is int and 0 <= value < 2**63
            _require(fits, name, value, "a whole number of 0 or more")

    def _check_curriculum(self) -> None:
        object.__setattr__(self, "curriculum", tuple(self.curriculum))
        for timesteps in self.curriculum:
            _require_count(timesteps, "curriculum")
        if self.curriculum and self.timesteps is not None:
            rising = (*self.curriculum, self.timesteps)
            shown, rule = ",".join(map(str, self.curriculum)), "rising numbers below --timesteps"
            rises = all(before < after for before, after in pairwise(rising))
            _require(rises, "curriculum", shown, f"{rule}, which is {self.timesteps}")

    def stages(self) -> tuple[TrainingSettings, ...]:
        """One training after another, each for as large a share of the budget.

        Those of the `curriculum`, of fewer timesteps and of so many more texts side by side that a
        batch has as many characters, then one as the settings say. Both sizes must be known.
        """
        assert self.timesteps is not None
        assert self.batch_size is not None
        chars = self.timesteps * self.batch_size
        lengths = (*self.curriculum, self.timesteps)
        return tuple(
            replace(self, timesteps=length, batch_size=chars // length, curriculum=())
            for length in lengths
        )

    def counted_steps(self, timesteps: int) -> int:
        """How many of a window's ``timesteps`` the loss counts, from its end.

        The last window of an epoch may be shorter than what `loss_on` asks for, and counts whole.
        """
        if self.loss_on == "all":
            return timesteps
        return min(timesteps, 1 if self.loss_on == "last" else int(self.loss_on))


@dataclass(frozen=True)
class SamplingSettings:
    """How the next character is chosen from its distribution."""

    temperature: float = 1.0  # log-probabilities are divided by it; 0 takes the likeliest
    top_k: int | None = None  # choose among this many likeliest characters
    top_p: float | None = None  # choose among the fewest likeliest whose shares reach this
    min_p: float | None = None  # leave out what has less than this share of the likeliest's
    repetition_penalty: float = 1.0  # how much less is held of the RECENT characters; 1: no less
    beam: int | None = None  # search the likeliest text among this many, and draw nothing

    def __post_init__(self) -> None:
        heat = self.temperature
        _require(_is_number(heat) and heat >= 0, "temperature", heat, "0 (greedy) or more")
        if self.top_k is not None:
            _require_count(self.top_k, "top_k")
        if self.top_p is not None:
            within = _is_number(self.top_p) and 0 < self.top_p <= 1
            _require(within, "top_p", self.top_p, "above 0 and at most 1")
        if self.min_p is not None:
            within = _is_number(self.min_p) and 0 < self.min_p <= 1
            _require(within, "min_p", self.min_p, "above 0 and at most 1")
        penalty = self.repetition_penalty
        fits = _is_number(penalty) and penalty >= 1
        _require(fits, "repetition_penalty", penalty, "1 (none) or more")
        if self.beam is not None:
            _require_count(self.beam, "beam")
            self._check_beam_alone()

    def _check_beam_alone(self) -> None:
        for field in fields(self):
            if field.name != "beam" and getattr(self, field.name) != field.default:
                flag = field.name.replace("_", "-")
                raise ChargenError(
                    f"--beam and --{flag}: a beam search draws nothing; leave one out"
                )


@dataclass(frozen=True)
class ComparisonSettings:
    """What cells are compared by, the same for each of them."""

    task: str  # one of COMPARED
    cells: tuple[str, ...] = COMPARED_CELLS
    seeds: int = 5  # trainings of each cell
    parameters: int = 60_000  # of each model, about
    steps: int | None = None  # budget of each training: parameter updates
    minutes: float | None = None  # budget: time; 2 where no budget is given
    learning_rates: tuple[float, ...] = (0.004,)  # of several, each cell takes its best
    timesteps: int = 64  # T, the characters that gradients travel back
    batch_size: int = 16  # N, the texts read side by side
    seed: int = 0  # of what is asked, and of the bootstrap

    def __post_init__(self) -> None:
        _require_choice(self.task, "task", COMPARED)
        for name in ("cells", "learning_rates"):
            given = tuple(dict.fromkeys(getattr(self, name)))
            _require(len(given) > 0, name, "''", "one or more, with commas between")
            object.__setattr__(self, name, given)
        for cell in self.cells:
            _require_choice(cell, "cells", CELL_NAMES)
        for rate in self.learning_rates:
            _require_positive(rate, "learning_rates")
        for name in ("seeds", "parameters", "timesteps", "batch_size"):
            _require_count(getattr(self, name), name)
        _require(0 <= self.seed < 2**63, "seed", self.seed, "a whole number of 0 or more")
        if self.steps is not None and self.minutes is not None:
            raise ChargenError("--steps and --minutes: give one budget")
        if self.steps is not None:
            _require_count(self.steps, "steps")
        else:
            minutes = 2.0 if self.minutes is None else self.minutes
            _require_positive(minutes, "minutes")
            object.__setattr__(self, "minutes", minutes)

    @property
    def budget(self) -> tuple[str, float]:
        """The budget of one training, as ``steps`` or ``minutes`` and how many."""
        return ("minutes", self.minutes) if self.minutes is not None else ("steps", self.steps or 0)


def to_json(settings: ModelSettings | TrainingSettings | ComparisonSettings) -> dict[str, Any]:
    """Settings as plain values; `from_json` reads them back."""
    return asdict(settings)


def from_json(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Settings of one kind from plain values, checked; unknown names are a `ChargenError`."""
    known = {field.name for field in fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ChargenError(f"unknown settings: {', '.join(unknown)}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ChargenError(f"settings of the wrong kind: {error}") from None


def split_settings(values: Mapping[str, Any]) -> tuple[ModelSettings, TrainingSettings]:
    """Settings of a model and of its training from one mapping; `ChargenError` for other names."""
    names = {field.name for field in fields(ModelSettings)}
    model = {name: value for name, value in values.items() if name in names}
    others = {name: value for name, value in values.items() if name not in names}
    return from_json(ModelSettings, model), from_json(TrainingSettings, others)
