"""Training runs of a comparison: settings, run directory, and scores of the trained model."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from msgspec import json

from chargen.api import TrainedModel, load
from chargen.datasets import bundled
from chargen.datasets.tasks import TASKS, Task, Trial
from chargen.errors import ChargenError
from chargen.evaluation import Segments, nats_to_bits, predictions
from chargen.files import read_json, write_file
from chargen.predictors import NextCharPredictor
from chargen.probes.cells.result import RunScores, VariantScores, by_round
from chargen.probes.templates import measure as templates
from chargen.probes.templates.cases import nearest_spans
from chargen.probes.templates.scoring import credit_of
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.runs.checkpoint import WEIGHTS, Checkpoint
from chargen.runs.directory import BEST, LAST, Run, is_run
from chargen.settings import ComparisonSettings, ModelSettings

ANSWERS = "answers.json"
LARGEST_ANSWERS = 2**22  # bytes
UNTRAINED = "untrained"
TRIALS = 400  # minimum per span and variant
PREFIX_CHARS = (32, 128)  # minimum and limit of the lines of the task before a trial


@cache
def model_shape(cell: str, parameters: int, vocabulary_size: int) -> tuple[ModelSettings, int]:
    """Return a one-layer model with about ``parameters`` weights, and its number of weights."""

    def count(units: int) -> int:
        return ModelSettings(cell, (units,)).parameters(vocabulary_size)

    if count(1) > parameters:
        told = f"must be at least {count(1)}, the weights of one {cell} unit"
        raise ChargenError(f"--parameters {parameters}: {told}")
    largest = bisect_right(range(1, parameters + 1), parameters, key=count)
    units = min((largest, largest + 1), key=lambda units: abs(count(units) - parameters))
    return ModelSettings(cell, (units,)), count(units)


@cache
def vocabulary_size(task: str) -> int:
    return len(set(bundled.read(task)))


@dataclass(frozen=True)
class ComparedRun:
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
        best = run.best_loss()
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
        return measure_task(model.predictor, task, seed=settings.seed, untrained=bare)
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


def measure_task(
    predictor: NextCharPredictor,
    task: Task,
    *,
    spans: Sequence[int] = templates.SPANS,
    trials: int = TRIALS,
    seed: int = 0,
    untrained: NextCharPredictor | None = None,
) -> tuple[VariantScores, ...]:
    """Evaluate a predictor, and ``untrained``, on trials of every variant and span of a task.

    In each round every candidate is correct once. A trial follows other lines of the task, cut at a
    random length. The spans are the task's shortest and those nearest to ``spans``.
    """
    found = []
    for number, (variant, chance) in enumerate(task.floors.items()):
        used = task.nearest(spans, variant)
        own, control = [], []
        for span in used:  # the trials do not depend on other spans and variants
            rng = np.random.default_rng([seed, number, span])
            batch: list[Trial] = []
            while len(batch) < trials:
                batch += task.trials(variant, span, rng)
            texts = _texts(task, batch, rng)
            own.append(_credits(predictor, task, batch, texts))
            if untrained is not None:
                control.append(_credits(untrained, task, batch, texts))
        credits = tuple(tuple(one.tolist()) for one in own)
        totals = tuple((min(float(one.sum()), len(one)), len(one)) for one in control)
        rounds = tuple(by_round(one.tolist(), len(task.candidates)) for one in control)
        found.append(VariantScores(variant, chance, tuple(used), credits, totals, rounds))
    return tuple(found)


def _texts(task: Task, trials: Sequence[Trial], rng: np.random.Generator) -> list[str]:
    T = max(len(trial.text) for trial in trials) + int(rng.integers(*PREFIX_CHARS))
    texts = []
    for trial in trials:
        before = ""
        while len(before) < T - len(trial.text):
            before += task.line(rng)
        texts.append((before + trial.text)[len(before) + len(trial.text) - T :])
    return texts


def _credits(
    predictor: NextCharPredictor, task: Task, trials: Sequence[Trial], texts: Sequence[str]
) -> np.ndarray:
    """Return the fraction of each trial's targets that is correct, ``(N,)``."""
    ids = predictor.vocabulary.encode("".join(texts)).astype(np.int64)
    candidates = predictor.vocabulary.encode(task.candidates).astype(np.int64)
    starts, T = np.arange(len(texts)) * len(texts[0]), len(texts[0])
    before = np.array([T - len(trial.text) for trial in trials])
    places = np.array([trial.places for trial in trials]) + before[:, None]  # (N, Q)
    answers = np.array([trial.answers for trial in trials])
    credit = np.zeros(places.shape)
    segments = Segments(starts, starts + places[:, 0], starts + T)
    for found in predictions(predictor, ids, segments):
        columns = found.places - segments.begins[found.rows]
        shares = credit_of(found.log_probs[:, candidates])  # (n, K)
        credit[found.rows, columns] = shares[np.arange(len(shares)), answers[found.rows, columns]]
    return credit.mean(axis=1)
