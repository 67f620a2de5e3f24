"""Settings of models, training, sampling and comparisons, checked against their types.

Imports no torch.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from sys import float_info
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from msgspec import Meta, Struct, convert
from msgspec.structs import asdict, fields, force_setattr, replace

from chargen.cells import ACTIVATION_NAMES, CELL_NAMES, CELLS, Cell, cell_named
from chargen.errors import ChargenError

STACK_NAMES = ("plain", "residual")
SMALLEST = 1e-6  # added to the mean square that RMS normalization divides by
CONVOLVED = 4  # characters that a residual block weighs before its layer reads
STATE_NAMES = ("carry", "reset")
WEIGHT_FORMATS = ("float32", "int8")  # of the matrices in inference
PRECISIONS = ("float32", "bfloat16")  # of the operands of large matmuls
DOCUMENT_NAMES = ("none", "file", "line", "blank-line")
INSTRUMENTS = ("templates", "context", "mined", "gradient", "readout")
MINUTES = 5.0  # default training budget
SAMPLE_CHARS = 500  # default length of a sample
BUDGETS = ("steps", "epochs", "minutes")
MORE_BUDGETS = ("more_steps", "more_minutes")
MOST_LAYERS = 100
HELD_OUT = 0.1  # default share of a text that is held out
MOST_HELD_OUT = 5_000_000  # characters held out by default
LONGEST_ASKED = 8192  # largest measured span, in characters
RECENT = 32  # window of the repetition penalty, in characters
COMPARED = ("longrange", "copy", "recall", "flipflop", "brackets")  # corpora with known answers


def widened(units: int) -> int:
    """E: the numbers inside the feed-forward of a residual block."""
    return 2 * units


def _one_of(names: tuple[str, ...]) -> Meta:
    rule = f"one of {', '.join(names)}"
    return Meta(pattern=rf"^({'|'.join(names)})\Z", description=rule, extra={"names": names})


# Types of settings; the description completes the sentence "--flag VALUE: must be …".
Count = Annotated[int, Meta(ge=1, lt=2**31, description="a whole number of 1 or more")]
Natural = Annotated[int, Meta(ge=0, le=2**63 - 1, description="a whole number of 0 or more")]
Positive = Annotated[float, Meta(gt=0, le=float_info.max, description="a number above 0")]
NonNegative = Annotated[float, Meta(ge=0, le=float_info.max, description="0 or more")]
Rate = Annotated[float, Meta(ge=0, lt=1, description="0 to below 1")]
Share = Annotated[float, Meta(gt=0, le=1, description="above 0 and at most 1")]
Penalty = Annotated[float, Meta(ge=1, le=float_info.max, description="1 (none) or more")]
LossSteps = Annotated[int, Meta(ge=1, description="all, last, or how many of the last steps count")]
CellName = Annotated[str, _one_of(CELL_NAMES)]
Task = Annotated[str, _one_of(COMPARED)]


def flag(name: str) -> str:
    """Return the command-line option of a setting."""
    return f"--{name.replace('_', '-')}"


def shown(value: object) -> str:
    """Return the value of a setting as on the command line."""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _refuse(name: str, value: object, rule: str) -> ChargenError:
    return ChargenError(f"{flag(name)} {shown(value)}: must be {rule}")


def _one_of_these(names: Collection[str]) -> None:
    if len(names) > 1:
        raise ChargenError(f"{' and '.join(map(flag, names))}: give one budget")


def _rule(kind: Any) -> str:
    """Return the description of a type, or of the first described type inside it."""
    described = [meta.description for meta in getattr(kind, "__metadata__", ())]
    return next(filter(None, (*described, *map(_rule, get_args(kind)))), "")


@cache
def types_of(kind: "type[Settings]") -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all settings; `ChargenError` names a value that does not fit its field's type."""

    def __post_init__(self) -> None:
        for name, kind in types_of(type(self)).items():
            value = getattr(self, name)
            if get_origin(kind) is tuple and isinstance(value, int | float | str):
                value = (value,)  # one value instead of several
            try:
                force_setattr(self, name, convert(value, kind))
            except ValueError:
                raise _refuse(name, value, _rule(kind)) from None


AnySettings = TypeVar("AnySettings", bound=Settings)


class ModelSettings(Settings, frozen=True):
    """Architecture of a model, without its vocabulary."""

    cell: CellName = "lstm"
    units: tuple[Count, ...] = (256,)  # hidden units of each layer, from the input to the output
    activation: Annotated[str, _one_of(("", *ACTIVATION_NAMES))] = ""  # "": the cell's default
    stack: Annotated[str, _one_of(STACK_NAMES)] = "plain"  # stacked layers, or residual blocks
    reset_after: Annotated[bool, Meta(description="True or False")] = True  # see recurrent.GRU

    def __post_init__(self) -> None:
        super().__post_init__()
        force_setattr(self, "activation", self.activation or CELLS[self.cell].activation)
        if not self.reset_after and self.cell != "gru":
            raise _refuse("reset_after", self.reset_after, "True, except for a gru")
        if not self.units:
            raise _refuse("units", "''", "one whole number a layer, as in 256,128")
        if len(self.units) > MOST_LAYERS:
            raise _refuse("units", f"of {len(self.units)} layers", f"{MOST_LAYERS} layers or fewer")
        if self.stack == "residual" and len(set(self.units)) > 1:
            rule = "the same for every layer in residual blocks; --stack plain lets them differ"
            raise _refuse("units", self.units, rule)

    @property
    def described_cell(self) -> Cell:
        return cell_named(self.cell, self.reset_after)

    @property
    def state_names(self) -> tuple[str, ...]:
        """The state of each layer: that of its cell, then the window of its convolution."""
        window = [f"u{k}" for k in range(1, CONVOLVED)] if self.stack == "residual" else []
        return (*self.described_cell.state, *window)

    def described(self) -> str:
        """Describe the model, as in "mingru of 96 + 96 units in residual blocks"."""
        where = " in residual blocks" if self.stack == "residual" else ""
        cell = self.cell if self.reset_after else f"{self.cell} (reset_after=False)"
        return f"{cell} of {' + '.join(map(str, self.units))} units{where}"

    def shapes(self, size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of `chargen.recurrent.CharModel`'s weights, for V = ``size``."""
        shapes: dict[str, tuple[int, ...]] = {}
        residual = self.stack == "residual"
        features = self.units[0] if residual else size
        for number, units in enumerate(self.units):
            of_layer = self.described_cell.shapes(features, units)
            shapes |= {f"stack.layers.{number}.{part}": shape for part, shape in of_layer.items()}
            if residual:
                of_block = block_shapes(units)
                shapes |= {f"stack.blocks.{number}.{part}": of_block[part] for part in of_block}
            features = units
        if residual:
            shapes |= {"stack.W_in": (size, features), "stack.g_out": (features,)}
        return shapes | {"W_hy": (features, size), "b_y": (size,)}

    def parameters(self, size: int) -> int:
        return sum(math.prod(shape) for shape in self.shapes(size).values())

    def check(self, shapes: Mapping[str, tuple[int, ...]], size: int) -> None:
        """Raise `ChargenError` unless ``shapes`` are the shapes of the model's weights."""
        wanted = self.shapes(size)
        if dict(shapes) != wanted:
            odd = min(name for name, _ in set(shapes.items()) ^ set(wanted.items()))
            raise ChargenError(
                f"weights {odd} have shape {shapes.get(odd)}, the settings say {wanted.get(odd)}"
            )


def block_shapes(D: int) -> dict[str, tuple[int, ...]]:
    E = widened(D)
    shapes = {"g_in": (D,), "W_conv": (CONVOLVED, D), "W_gate": (D, D), "W_out": (D, D)}
    return {**shapes, "g_ff": (D,), "W_up": (D, 2 * E), "W_down": (E, D)}


class TrainingSettings(Settings, frozen=True):
    """Training hyperparameters; ``None`` stands for a default that depends on the corpus."""

    timesteps: Count | None = None  # T, truncated BPTT length in characters
    batch_size: Count | None = None  # N, sequences per batch
    curriculum: tuple[Count, ...] = ()  # rising timesteps before these, equal shares of the budget
    loss_on: Literal["all", "last"] | LossSteps = "all"  # time steps of a window in the loss
    state: Annotated[str, _one_of(STATE_NAMES)] = "carry"  # carry it across windows, or reset it
    resets: Rate = 0.0  # share of windows that begin at a zero state, see text.windows.Streams
    steps: Count | None = None  # budget: parameter updates
    epochs: Positive | None = None  # budget: passes over the training text
    minutes: Positive | None = None  # budget: wall-clock time, alone or beside epochs
    learning_rate: Positive = 0.004  # AdamW's peak rate, after the warm-up
    recurrent_rate: Positive = 1.0  # learning rate of W_hh, as a multiple of the others'
    input_rate: Positive = 1.0  # learning rate of the first layer's W_xh, likewise
    weight_decay: NonNegative = 0.01  # AdamW's, of matrices only
    beta2: Rate = 0.999  # AdamW's decay rate of the second-moment estimate
    average: Rate = 0.0  # share of the updates so far that the running average of weights covers
    clip_norm: Positive = 1.0  # maximum gradient norm
    dropout: Rate = 0.0  # share of a layer's outputs that is dropped in training
    distillation: Rate = 0.0  # weight of an n-gram teacher in the loss, see training.teacher
    precision: Annotated[str, _one_of(PRECISIONS)] = "float32"  # of large matmuls' operands
    documents: Annotated[str, _one_of(DOCUMENT_NAMES)] = "none"  # where the state resets to zero
    min_count: Count = 1  # rarer characters of the corpus are read as a placeholder
    validation: Rate | None = None  # share of the corpus, its end, that is held out
    patience: Natural = 10  # validations without improvement before training stops; 0: never
    seed: Natural = 0  # of the initial weights, the dropout and the order of windows

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.curriculum and self.timesteps is not None:
            rising = (*self.curriculum, self.timesteps)
            if not all(before < after for before, after in pairwise(rising)):
                rule = f"rising numbers below --timesteps, which is {self.timesteps}"
                raise _refuse("curriculum", self.curriculum, rule)
        given = [name for name in BUDGETS if getattr(self, name) is not None]
        if given != ["epochs", "minutes"]:  # the first of these to be used up
            _one_of_these(given)
        if self.resets and self.state == "reset":
            raise _refuse("resets", self.resets, "0 with --state reset, which resets every window")

    def stages(self) -> "tuple[TrainingSettings, ...]":
        """Return the settings of each curriculum stage; batches of all have about equal size."""
        batch_size, timesteps = self.window
        return tuple(
            replace(self, timesteps=T, batch_size=batch_size * timesteps // T, curriculum=())
            for T in (*self.curriculum, timesteps)
        )

    @property
    def window(self) -> tuple[int, int]:
        """N and T, once both are chosen."""
        assert self.batch_size is not None
        assert self.timesteps is not None
        return self.batch_size, self.timesteps

    def counted_steps(self, timesteps: int) -> int:
        """Return how many of the last time steps of a window enter the loss."""
        if self.loss_on == "all":
            return timesteps
        return min(timesteps, 1 if self.loss_on == "last" else int(self.loss_on))


class MoreTraining(Settings, frozen=True):
    """A budget beside the training that a resumed run has had; None keeps the run's budget."""

    more_steps: Count | None = None  # parameter updates
    more_minutes: Positive | None = None  # wall-clock time

    def added(self, steps: int, seconds: float) -> dict[str, Any]:
        budget: dict[str, Any] = dict.fromkeys(BUDGETS)
        if self.more_minutes is not None:
            return budget | {"minutes": seconds / 60 + self.more_minutes}
        return budget | {"steps": steps + self.more_steps} if self.more_steps else {}


class SamplingSettings(Settings, frozen=True):
    """Sampling hyperparameters: the choice of the next character from its distribution."""

    temperature: NonNegative = 1.0  # divisor of the log-probabilities; 0 is greedy
    top_k: Count | None = None  # choose among this many of the most probable characters
    top_p: Share | None = None  # choose among the fewest characters that reach this probability
    min_p: Share | None = None  # smallest probability, as a share of the largest
    repetition_penalty: Penalty = 1.0  # divisor of the odds of the RECENT characters
    beam: Count | None = None  # beam width; a beam search draws nothing

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in fields(self) if self.beam is not None else ():
            if field.name != "beam" and getattr(self, field.name) != field.default:
                raise ChargenError(
                    f"--beam and {flag(field.name)}: a beam search draws nothing; leave one out"
                )


class ComparisonSettings(Settings, frozen=True):
    """Settings of a comparison of cells, the same for each of them."""

    task: Task
    cells: tuple[CellName, ...] = ("simple", "lstm", "gru")
    seeds: Count = 5  # trainings of each cell
    parameters: Count = 60_000  # approximate size of each model
    steps: Count | None = None  # budget of each training: parameter updates
    minutes: Positive | None = None  # budget: wall-clock time; 2 where no budget is given
    learning_rates: tuple[Positive, ...] = (0.004,)  # each cell uses its best of several
    timesteps: Count = 64  # T, truncated BPTT length in characters
    batch_size: Count = 16  # N, sequences per batch
    seed: Natural = 0  # of the test cases and the bootstrap

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("cells", "learning_rates"):
            given = tuple(dict.fromkeys(getattr(self, name)))
            if not given:
                raise _refuse(name, "''", "one or more, with commas between")
            force_setattr(self, name, given)
        _one_of_these([name for name in ("steps", "minutes") if getattr(self, name) is not None])
        if self.steps is None and self.minutes is None:
            force_setattr(self, "minutes", 2.0)

    @property
    def budget(self) -> tuple[str, float]:
        """``steps`` or ``minutes``, and how many."""
        return ("minutes", self.minutes) if self.minutes is not None else ("steps", self.steps or 0)


def from_options(kind: type[AnySettings], options: Mapping[str, Any]) -> AnySettings:
    """Build settings from options by name; `ChargenError` for an unknown name or a wrong value."""
    _check_names(options, kind.__struct_fields__)
    return kind(**options)


def _check_names(given: Iterable[str], known: tuple[str, ...]) -> None:
    for name in set(given) - set(known):
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"the settings are {', '.join(known)}"
        raise ChargenError(f"{name}: no such setting; {hint}")


GIVEN = ModelSettings, TrainingSettings, MoreTraining


class GivenSettings(Struct, frozen=True):
    """The settings that a user gave; fields outside ``names`` were left open."""

    model: ModelSettings
    training: TrainingSettings
    more: MoreTraining
    names: frozenset[str]

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> "GivenSettings":
        """Check settings by name; ``None`` leaves one open."""
        _check_names(options, sum((kind.__struct_fields__ for kind in GIVEN), ()))
        given = {name: value for name, value in options.items() if value is not None}
        if not given.keys().isdisjoint(MORE_BUDGETS):
            _one_of_these([name for name in (*MORE_BUDGETS, *BUDGETS) if name in given])
        model, training, more = (
            kind(**{name: given[name] for name in kind.__struct_fields__ if name in given})
            for kind in GIVEN
        )
        return cls(model, training, more, frozenset(given))  # type: ignore[arg-type]

    def values(self) -> dict[str, Any]:
        known = asdict(self.model) | asdict(self.training)
        return {name: known[name] for name in sorted(self.names & known.keys())}
