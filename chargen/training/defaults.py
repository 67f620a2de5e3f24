"""Default hyperparameters, chosen from the budget, the corpus size and the hardware.

The experiments behind each number are in docs/explanation/defaults.md.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from msgspec import structs

from chargen.errors import ChargenError
from chargen.render.text import about, counted
from chargen.settings import MINUTES, GivenSettings, ModelSettings, TrainingSettings

RESIDUAL_CELL, PLAIN_CELL = "mingru", "lstm"
PLAIN_UNITS, PLAIN_WEIGHT_DECAY = (256,), 0.1
# Units above which a plain stack's learning rate falls as 1 / units (Yang et al. 2022).
FULL_RATE_UNITS = 256
FULL_ONE_LSTM_UNITS, ONE_LSTM_BETA2 = 384, 0.99  # of one LSTM layer
RECURRENT_UNITS = 128  # up to twice as many, W_hh of an LSTM has half of the learning rate
BFLOAT16_SPEEDUP = 1.3  # on CPUs with bfloat16 instructions, where the speed is not measured
BFLOAT16_STACKS = {("plain", "lstm"), ("residual", "mingru")}
BFLOAT16_UNITS = 96  # units of the widest layer from which bfloat16 is measurably faster
# Maximum epochs, indexed by the number of training characters: short texts overfit.
MOST_EPOCHS = {
    "residual": ((0.0, 7.0), (1.5e4, 5.0), (2e5, 10.0), (7e5, math.inf)),
    "plain": ((0.0, 50.0), (2e5, math.inf)),
}
MANY_EPOCHS = 10  # from here on no smaller model is chosen for a short time
CURRICULA = {"lstm": (16, 64, 256)}  # timesteps of each stage, for a plain stack
WINDOW_SETTINGS = ("timesteps", "batch_size", "curriculum", "loss_on")  # disable the curriculum
# Of the measured speed: training also validates, and its last stage has small batches.
SUSTAINED = 0.88
SPEED_UNIT = 1e6  # measured characters per minute are rounded to this times a power of √2
PLAIN_RATES = {"simple": 0.007, "lstm": 0.03}
ONE_LAYER_INPUT_RATES = {"simple": 8.0}  # in one plain layer; 4 for other cells
# Weight decay of one plain layer below a number of epochs, indexed by training characters.
FEW_EPOCHS_DECAYS, FEW_EPOCHS = {"lstm": 0.03}, ((0.0, 10), (2e5, 6), (7e5, 10))


@dataclass(frozen=True)
class Hardware:
    """The device that trains."""

    device: str = "cpu"  # torch type
    fast_bfloat16: bool = False  # the CPU has instructions for it
    chars_per_minute: float | None = None  # measured with `reference_settings`

    @property
    def rounded_speed(self) -> float | None:
        """The measured speed, rounded so that noise rarely changes what is chosen from it."""
        if self.chars_per_minute is None:
            return None
        sustained = SUSTAINED * self.chars_per_minute
        return SPEED_UNIT * 2 ** (round(2 * math.log2(sustained / SPEED_UNIT)) / 2)

    @property
    def kind(self) -> str:
        return "CPU" if self.device == "cpu" else "GPU"


@dataclass(frozen=True)
class Preset:
    """Window sizes and optimizer settings for one kind of stack."""

    timesteps: int
    batch_size: int
    learning_rate: float
    beta2: float = 0.99
    average: float = 0.07
    recurrent_rate: float = 1.0
    input_rate: float = 1.0


@dataclass(frozen=True)
class SizeTable:
    """Model size and regularization thresholds, indexed by training budget."""

    reference: tuple[int, ...]  # units of the model whose speed counts
    chars_per_minute: float  # of that model, where it is not measured
    # Least characters that the reference reads, layers, units, speed as a multiple of its speed.
    shapes: tuple[tuple[float, int, int, float], ...]
    # By training characters: its epochs, weight decay, dropout and weight of the n-gram teacher.
    regularization: tuple[tuple[float, tuple[tuple[float, ...], ...]], ...]


PLAIN = Preset(64, 16, 0.02, beta2=0.999)
RESIDUAL = {"CPU": Preset(128, 8, 0.007), "GPU": Preset(256, 32, 0.007)}
RESIDUAL_SIZES = {
    "CPU": SizeTable(
        (96,) * 4,
        1.5e6,  # on two cores
        (
            (0, 4, 96, 1), (3.5e6, 4, 128, 0.72), (7.5e6, 5, 128, 0.55),
            (14e6, 5, 192, 0.3), (35e6, 6, 192, 0.25), (8e7, 6, 256, 0.15),
        ),
        (
            (0, (
                (0, 0.1, 0), (6, 0.2, 0), (8, 0.3, 0.05), (14, 0.4, 0.1), (35, 0.5, 0.15),
                (80, 0.6, 0.2),
            )),
        ),
    ),
    "GPU": SizeTable(
        (256,) * 6, 12e6, ((0, 6, 256, 1),), ((0, ((0, 0.1, 0), (6, 0.1, 0.1), (10, 0.1, 0.3))),)
    ),
}  # fmt: skip
PLAIN_SIZES = SizeTable(
    PLAIN_UNITS,
    2.4e6,  # on two cores; used for GPUs too
    ((0, 1, 256, 1), (7e6, 1, 384, 0.55), (2e7, 2, 256, 0.42), (8e7, 2, 384, 0.22)),
    (
        (0, ((0, 0.1, 0, 0), (10, 0.1, 0.5, 0))),
        (2e5, ((0, 0.1, 0, 0), (6, 0.1, 0.1, 0), (9, 0.1, 0.2, 0), (12, 0.1, 0.3, 0))),
        (7e5, ((0, 0.1, 0, 0), (9, 0.1, 0.05, 0), (80, 0.1, 0.1, 0.2))),
    ),
)


# Shapes for a time in which the reference reads less than `SMALL_BELOW` characters. Smaller models
# read more, which helps in few epochs only.
SMALL_BELOW, SMALL_LSTM = 2.4e6, ((0, 1, 96, 3.5), (4e5, 1, 128, 2.4), (1.5e6, 1, 160, 2.0))


def measures_speed(given: GivenSettings, device: str) -> bool:
    """Return True if the measured speed of this machine decides how much is read."""
    training = given.training
    return device == "cpu" and bool(training.minutes or not (training.steps or training.epochs))


def reference_settings(
    given: GivenSettings, training_chars: int, hardware: Hardware
) -> tuple[ModelSettings, TrainingSettings]:
    """Return the settings whose training speed `Hardware.chars_per_minute` states.

    The model is the given one, or a small one.
    """
    cell, stack = _architecture(given, hardware)
    table = PLAIN_SIZES if stack == "plain" else RESIDUAL_SIZES[hardware.kind]
    units = given.model.units if "units" in given.names else table.reference
    fixed = {"cell": cell, "stack": stack, "units": units, "curriculum": ()}
    reference = GivenSettings.parse(given.values() | fixed)
    return choose_defaults(reference, training_chars, hardware)[:2]


def preset_of(cell: str, stack: str, hardware: Hardware) -> Preset:
    if stack == "residual":
        return RESIDUAL[hardware.kind]
    return replace(PLAIN, learning_rate=PLAIN_RATES.get(cell, PLAIN.learning_rate))


def _for_units(preset: Preset, cell: str, units: tuple[int, ...]) -> Preset:
    is_one_lstm, widest = (cell, len(units)) == ("lstm", 1), max(units)
    full = min(widest, FULL_ONE_LSTM_UNITS if is_one_lstm else FULL_RATE_UNITS)
    return replace(
        preset,
        learning_rate=preset.learning_rate * full / widest,
        beta2=ONE_LSTM_BETA2 if is_one_lstm else preset.beta2,
        recurrent_rate=min(0.5, RECURRENT_UNITS / full) if cell == "lstm" else 1.0,
        input_rate=ONE_LAYER_INPUT_RATES.get(cell, 4.0) if len(units) == 1 else 1.0,
    )


def choose_defaults(
    given: GivenSettings, training_chars: int, hardware: Hardware
) -> tuple[ModelSettings, TrainingSettings, list[str]]:
    """Complete the given settings, which are never changed; return notes on the choices too."""
    cell, stack = _architecture(given, hardware)
    preset = preset_of(cell, stack, hardware)
    plain = stack == "plain"
    rounds = hardware.fast_bfloat16 and hardware.kind == "CPU" and (stack, cell) in BFLOAT16_STACKS
    rounds = rounds and (given.training.precision != "float32" or "precision" not in given.names)
    chosen: dict[str, Any] = {"weight_decay": PLAIN_WEIGHT_DECAY}
    units = given.model.units if "units" in given.names else PLAIN_UNITS
    notes: list[str] = []
    if not plain or ("units" not in given.names and cell != "simple"):
        table = PLAIN_SIZES if plain else RESIDUAL_SIZES[hardware.kind]
        usual = table.chars_per_minute * (BFLOAT16_SPEEDUP if rounds else 1.0)
        speed = hardware.rounded_speed or usual
        (most,) = _row(MOST_EPOCHS[stack], training_chars)
        open_budget = not (given.training.steps or given.training.epochs)
        limit = most * training_chars if open_budget else math.inf
        read = chars = min(limit, _planned_chars(given, preset, training_chars, speed))
        if "units" not in given.names:
            timed = chars == (given.training.minutes or MINUTES) * speed
            units, read = _size(cell, table, chars, timed, chars < MANY_EPOCHS * training_chars)
            number = counted(len(units), "layer" if plain else "residual block")
            notes.append(
                f"using {number} of {units[0]} {cell} units: about {about(read)} characters are "
                "planned (override with --units)"
            )
        if chars == limit:
            chosen |= {"epochs": most, "minutes": given.training.minutes or MINUTES}
            capped = f"capped at {most:g} epochs to avoid overfitting a short text"
            notes.insert(0, f"{capped} (override with --epochs)")
        epochs = max(read, chars) / training_chars  # larger models overfit in fewer than these
        (rows,) = _row(table.regularization, training_chars)
        more, why = _regularization(given, rows, epochs, read / training_chars)
        chosen |= more
        notes += why
        (few,) = _row(FEW_EPOCHS, training_chars)
        if plain and len(units) == 1 and epochs < few:
            chosen["weight_decay"] = FEW_EPOCHS_DECAYS.get(cell, PLAIN_WEIGHT_DECAY)
    if plain:
        preset = _for_units(preset, cell, units)
        batch = preset.timesteps * preset.batch_size  # characters
        fits = training_chars > batch and given.names.isdisjoint(WINDOW_SETTINGS)
        if fits and cell in CURRICULA:
            *earlier, last = CURRICULA[cell]
            chosen |= {"curriculum": tuple(earlier), "timesteps": last, "batch_size": batch // last}
    if rounds and "precision" not in given.names and max(units) >= BFLOAT16_UNITS:
        chosen["precision"] = "bfloat16"
        notes.append("using precision bfloat16: this CPU multiplies it faster")
    chosen |= {name: one for name, one in vars(preset).items() if name not in WINDOW_SETTINGS}
    chosen = {name: value for name, value in chosen.items() if name not in given.names}
    activation = given.model.activation if "activation" in given.names else ""
    model = structs.replace(given.model, cell=cell, units=units, activation=activation, stack=stack)
    training, adapted = fit(structs.replace(given.training, **chosen), training_chars, preset)
    return model, training, notes + adapted


def _architecture(given: GivenSettings, hardware: Hardware) -> tuple[str, str]:
    """Return cell and stack: an LSTM on a CPU or for given units, residual minGRU on a GPU."""
    model, names = given.model, given.names
    plain = hardware.device == "cpu" or not names.isdisjoint({"units", "activation"})
    plain = model.stack == "plain" if "stack" in names else plain
    cell = model.cell if "cell" in names else PLAIN_CELL if plain else RESIDUAL_CELL
    stack = "residual" if cell == RESIDUAL_CELL else "plain"
    return cell, model.stack if "stack" in names else stack


def _planned_chars(given: GivenSettings, preset: Preset, chars: int, speed: float) -> float:
    training = given.training
    if training.steps:
        timesteps = training.timesteps or preset.timesteps
        return float(training.steps * timesteps * (training.batch_size or preset.batch_size))
    by_epochs = (training.epochs or math.inf) * chars
    minutes = training.minutes or (math.inf if training.epochs else MINUTES)
    return float(min(by_epochs, minutes * speed))


def _size(
    cell: str, table: SizeTable, chars: float, timed: bool, few_epochs: bool
) -> tuple[tuple[int, ...], float]:
    """Return the units of each layer, and the characters that such a model reads.

    The reference reads ``chars``; ``timed`` if a time ends the training.
    """
    small = timed and few_epochs and chars < SMALL_BELOW and (cell, table) == ("lstm", PLAIN_SIZES)
    layers, width, speed = _row(SMALL_LSTM if small else table.shapes, chars)
    return (width,) * layers, chars * (speed if timed else 1)


def _regularization(
    given: GivenSettings, rows: tuple[tuple[float, ...], ...], epochs: float, planned: float
) -> tuple[dict[str, float], list[str]]:
    names = ("weight_decay", "dropout", "distillation")
    chosen = dict(zip(names, _row(rows, epochs), strict=False))
    stronger = [
        f"{name.replace('_', ' ')} {value:g}"
        for (name, value), usual in zip(chosen.items(), _row(rows, 0), strict=True)
        if value != usual and name not in given.names
    ]
    why = f"using {' and '.join(stronger)}: about {counted(round(planned), 'epoch')} are planned"
    return chosen, [why] if stronger else []


def _row(table: tuple[tuple[Any, ...], ...], value: float) -> tuple[Any, ...]:
    """Return the rest of the last row whose threshold ``value`` reaches."""
    return [row[1:] for row in table if row[0] <= value][-1]


def _check_size(name: str, value: int, most: int, limit: str) -> None:
    if value > most:
        raise ChargenError(f"--{name} {value}: {limit} at most {most}; lower it")


def fit(
    settings: TrainingSettings, training_chars: int, usual: Preset = PLAIN
) -> tuple[TrainingSettings, list[str]]:
    """Choose timesteps and batch size that the training text can fill, with a note if it is short.

    Raises `ChargenError` if a size that the user gave does not fit.
    """
    targets = training_chars - 1
    room = targets // (settings.batch_size or 1)
    timesteps = settings.timesteps or max(1, min(usual.timesteps, room))
    text = f"the training text of {training_chars} characters"
    _check_size("timesteps", timesteps, targets, f"{text} allows")
    most = targets // timesteps
    batch_size = settings.batch_size or min(usual.batch_size, most)
    _check_size("batch-size", batch_size, most, f"{text} and --timesteps {timesteps} allow")
    if isinstance(settings.loss_on, int):
        _check_size("loss-on", settings.loss_on, timesteps, "--timesteps allows")
    chosen = {"timesteps": timesteps, "batch_size": batch_size}
    notes = [
        f"short text: {name.replace('_', ' ')} {value} instead of {getattr(usual, name)}"
        for name, value in chosen.items()
        if getattr(settings, name) is None and value < getattr(usual, name)
    ]
    return structs.replace(settings, **chosen), notes
