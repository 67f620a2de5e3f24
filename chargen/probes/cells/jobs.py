"""One training of a comparison: its settings, its folder, and what it left there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from chargen.api import TrainedModel, load
from chargen.datasets import bundled
from chargen.datasets.tasks import TASKS
from chargen.errors import ChargenError
from chargen.evaluation import nats_to_bits
from chargen.files import write_file
from chargen.predictors import NextCharPredictor
from chargen.probes.cells import tasks
from chargen.probes.cells.measure import answers_of
from chargen.probes.cells.result import Answers, Training
from chargen.probes.templates import measure as templates
from chargen.probes.templates.cases import nearest_spans
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.runs.checkpoint import WEIGHTS, Checkpoint
from chargen.runs.directory import BEST, LAST, Run, is_run
from chargen.settings import ComparisonSettings, ModelSettings

ANSWERS = "answers.json"
UNTRAINED = "untrained"


@cache
def shape(cell: str, parameters: int, size: int) -> tuple[ModelSettings, int]:
    """One layer of ``cell`` with about so many parameters for V = ``size``, and how many it has.

    `ChargenError` where even one unit has more.
    """

    def count(units: int) -> int:
        return ModelSettings(cell, (units,)).parameters(size)

    if count(1) > parameters:
        raise ChargenError(
            f"--parameters {parameters}: one unit of {cell} takes {count(1)}; give as many or more"
        )
    above = 2
    while count(above) <= parameters:
        above *= 2
    under = above // 2
    while above - under > 1:  # count(under) <= parameters < count(above)
        middle = (under + above) // 2
        under, above = (middle, above) if count(middle) <= parameters else (under, middle)
    units = min((under, above), key=lambda units: abs(count(units) - parameters))
    return ModelSettings(cell, (units,)), count(units)


@cache
def vocabulary_size(task: str) -> int:
    """The different characters of the text that is learned."""
    return len(set(bundled.read(task)))


@dataclass(frozen=True)
class Job:
    """A training that a comparison wants."""

    settings: ComparisonSettings
    cell: str
    learning_rate: float
    seed: int
    folder: Path

    @classmethod
    def of(cls, out: Path, settings: ComparisonSettings, cell: str, rate: float, seed: int) -> Job:
        """The training of ``cell`` in the comparison whose folder is ``out``."""
        return cls(settings, cell, rate, seed, out / f"{cell}-rate{rate:g}-seed{seed}")

    @property
    def corpus(self) -> Path:
        """The text that all trainings of the comparison read."""
        return self.folder.parent / f"{self.settings.task}.txt"

    @property
    def log(self) -> Path:
        """What the training's process says."""
        return self.folder.with_suffix(self.folder.suffix + ".log")

    def arguments(self, threads: int) -> list[str]:
        """Of ``chargen``: begin it, or go on with it."""
        settings, (budget, amount) = self.settings, self.settings.budget
        model, _ = shape(self.cell, settings.parameters, vocabulary_size(settings.task))
        flags = {
            "out": self.folder,
            "cell": self.cell,
            "stack": model.stack,
            "units": ",".join(map(str, model.units)),
            "seed": self.seed,
            "learning-rate": self.learning_rate,
            "timesteps": settings.timesteps,
            "batch-size": settings.batch_size,
            "precision": "float32",  # of all: some cells would be rounded by themselves, some not
            "patience": 0,  # one budget for all: no cell ends early
            budget: amount,
            "threads": threads,
            "device": "cpu",
        }
        begun = is_run(self.folder) and (self.folder / LAST).is_file()
        how = "--resume" if begun else "--overwrite"
        given = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
        return ["train", str(self.corpus), *given, how]

    def used(self) -> float:
        """The share of the budget that was used when it was last validated, 0 to 1."""
        if not is_run(self.folder):
            return 0.0
        lines = Run.open(self.folder).progress()
        if not lines:
            return 0.0
        budget, amount = self.settings.budget
        spent = lines[-1]["seconds"] / 60 if budget == "minutes" else lines[-1]["step"]
        return min(1.0, float(spent) / amount)

    def finished(self) -> Training | None:
        """What was found when it ended; None where it did not end yet."""
        file = self.folder / ANSWERS
        if not file.is_file():
            return None
        try:
            values = json.loads(file.read_text("utf-8"))
            answers = tuple(map(Answers.from_json, values.pop("answers")))
            return Training(cell=self.cell, seed=self.seed, answers=answers, **values)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ChargenError(f"{file}: damaged ({error}); delete it") from None

    def finish(self, diverged: bool, ask: bool, untrained: bool) -> Training:
        """Read what the training left, ``ask`` its best weights, and write both down.

        With ``untrained`` the network as it was before it learned anything is asked too. What
        diverged before it was ever validated has no other weights than those.
        """
        if not Run.open(self.folder).progress():
            _keep_initial(self.folder)
        model = load(self.folder, device="cpu")
        lines = model.run.progress()
        best = min((line["validation_loss_nats"] for line in lines), default=None)
        values: dict[str, Any] = {
            "bits_per_char": nats_to_bits(model.evaluate().loss_nats if best is None else best),
            "chars": lines[-1]["chars"] if lines else 0,
            "seconds": lines[-1]["seconds"] if lines else 0.0,
            "diverged": diverged,
        }
        answers = _asked(model, self.settings, untrained) if ask else ()
        said = json.dumps({**values, "answers": [one.to_json() for one in answers]})
        write_file(self.folder / ANSWERS, (said + "\n").encode())
        return Training(cell=self.cell, seed=self.seed, answers=answers, **values)


def _keep_initial(folder: Path) -> None:
    """Give a run that has no weights those that it began with."""
    run = Run.open(folder)
    description = run.description
    size, seed = len(description.vocabulary), description.training.seed
    weights = CharModel.seeded(description.model, size, seed).state_dict()
    arrays = {WEIGHTS + name: value.numpy() for name, value in weights.items()}
    run.write_checkpoint(BEST, Checkpoint(arrays, {"step": 0}))


def _asked(
    model: TrainedModel, settings: ComparisonSettings, untrained: bool
) -> tuple[Answers, ...]:
    controls: Mapping[str, NextCharPredictor] = {}
    if untrained:
        controls = {UNTRAINED: NetworkPredictor(model.initial_network(), model.vocabulary)}
    if settings.task in TASKS:
        measured = tasks.measure(
            model.predictor, TASKS[settings.task], seed=settings.seed, controls=controls
        )
        return answers_of(measured, UNTRAINED)
    bank = bundled.bank(bundled.BANKS[settings.task])
    # Without a gate: of a cell that learned nothing the same is asked as of the others.
    spans = nearest_spans(bank, templates.SPANS)
    found = templates.measure(
        model.predictor, bank, spans=spans, seed=settings.seed, controls=controls, gate=0.0
    )
    return answers_of(found, UNTRAINED)
