"""Training runs of a comparison: settings, run directory, and scores of the trained model."""

from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from msgspec import json

from chargen.api import TrainedModel, load
from chargen.datasets import bundled
from chargen.datasets.tasks import TASKS
from chargen.errors import ChargenError
from chargen.evaluation import nats_to_bits
from chargen.files import read_json, write_file
from chargen.probes.cells import tasks
from chargen.probes.cells.result import RunScores, VariantScores
from chargen.probes.templates import measure as templates
from chargen.probes.templates.cases import nearest_spans
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.runs.checkpoint import WEIGHTS, Checkpoint
from chargen.runs.directory import BEST, LAST, Run, is_run
from chargen.settings import ComparisonSettings, ModelSettings

ANSWERS = "answers.json"
LARGEST_ANSWERS = 2**22  # bytes
UNTRAINED = "untrained"


@cache
def model_shape(cell: str, parameters: int, vocabulary_size: int) -> tuple[ModelSettings, int]:
    """Return a one-layer model with about ``parameters`` weights, and its number of weights."""

    def count(units: int) -> int:
        return ModelSettings(cell, (units,)).parameters(vocabulary_size)

    if count(1) > parameters:
        raise ChargenError(
            f"--parameters {parameters}: must be at least {count(1)}, the weights of one {cell} "
            "unit"
        )
    largest = bisect_right(range(1, parameters + 1), parameters, key=count)
    units = min((largest, largest + 1), key=lambda units: abs(count(units) - parameters))
    return ModelSettings(cell, (units,)), count(units)


@cache
def vocabulary_size(task: str) -> int:
    return len(set(bundled.read(task)))


@dataclass(frozen=True)
class ComparedRun:
    """One training run of a comparison."""

    comparison: Path  # its directory
    settings: ComparisonSettings
    cell: str
    learning_rate: float
    seed: int

    @property
    def path(self) -> Path:
        return self.comparison / f"{self.cell}-rate{self.learning_rate:g}-seed{self.seed}"

    @property
    def log(self) -> Path:
        return self.path.with_suffix(self.path.suffix + ".log")

    def arguments(self, threads: int) -> list[str]:
        """Return the arguments of ``chargen`` that start the run or resume it."""
        settings, (budget, amount) = self.settings, self.settings.budget
        model, _ = model_shape(self.cell, settings.parameters, vocabulary_size(settings.task))
        flags = {
            "out": self.path,
            "cell": self.cell,
            "stack": model.stack,
            "units": ",".join(map(str, model.units)),
            "seed": self.seed,
            "learning-rate": self.learning_rate,
            "timesteps": settings.timesteps,
            "batch-size": settings.batch_size,
            "precision": "float32",  # the default depends on the cell
            "patience": 0,  # equal budgets: no early stopping
            budget: amount,
            "threads": threads,
            "device": "cpu",
        }
        started = is_run(self.path) and (self.path / LAST).is_file()
        given = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
        corpus = self.comparison / f"{settings.task}.txt"
        return ["train", str(corpus), *given, "--resume" if started else "--overwrite"]

    def read_scores(self) -> RunScores | None:
        """Return the scores of the finished run; None if it is not finished."""
        try:
            return read_json(self.path / ANSWERS, RunScores, LARGEST_ANSWERS)
        except FileNotFoundError:
            return None
        except ChargenError as error:
            raise ChargenError(f"{error}; delete the file to evaluate the run again") from None

    def evaluate(self, diverged: bool, trials: bool, untrained: bool) -> RunScores:
        """Evaluate the run's best weights and write the scores to ``answers.json``.

        ``trials``: also on the trials of the task; ``untrained``: so is the initial network.
        """
        run = Run.open(self.path)
        lines = run.progress()
        if not lines:  # it diverged before any validation: the initial weights are the best ones
            described, size = run.description, len(run.description.vocabulary)
            initial = CharModel.seeded(described.model, size, described.training.seed).state_dict()
            arrays = {WEIGHTS + name: value.numpy() for name, value in initial.items()}
            run.write_checkpoint(BEST, Checkpoint(arrays, {"step": 0}))
        model = load(self.path, device="cpu")
        losses = (line["validation_loss_nats"] for line in lines)
        best = min((loss for loss in losses if loss is not None), default=None)
        scores = RunScores(
            bits_per_char=nats_to_bits(model.evaluate().loss_nats if best is None else best),
            chars=lines[-1]["chars"] if lines else 0,
            seconds=float(lines[-1]["seconds"]) if lines else 0.0,
            diverged=diverged,
            seed=self.seed,
            answers=_evaluate_trials(model, self.settings, untrained) if trials else (),
        )
        write_file(self.path / ANSWERS, json.encode(scores) + b"\n")
        return scores


def _evaluate_trials(
    model: TrainedModel, settings: ComparisonSettings, untrained: bool
) -> tuple[VariantScores, ...]:
    bare = NetworkPredictor(model.initial_network(), model.vocabulary) if untrained else None
    if settings.task in TASKS:
        task = TASKS[settings.task]
        return tasks.measure(model.predictor, task, seed=settings.seed, untrained=bare)
    bank = bundled.bank(bundled.BANKS[settings.task])
    # Without a knowledge gate all cells are evaluated on the same trials.
    rows = templates.measure(
        model.predictor,
        bank,
        spans=nearest_spans(bank, templates.SPANS),
        seed=settings.seed,
        controls=lambda: {UNTRAINED: bare} if bare else {},
        gate=0.0,
    ).rows
    spans, credits = zip(*((row.span, row.credits) for row in rows), strict=True)
    controls = [row.controls[UNTRAINED] for row in rows if bare]
    tallies = tuple((one.accuracy.value * one.frames, one.frames) for one in controls)
    return (VariantScores("", rows[0].chance, spans, credits, tallies),)
