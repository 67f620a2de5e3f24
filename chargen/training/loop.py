"""The training loop: yields a report a step, draws nothing, prints nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from chargen.distributed.group import ProcessGroup
from chargen.errors import ChargenError, NoNumbersError
from chargen.evaluation import losses
from chargen.files import UnwritableError, reason
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.runs.checkpoint import Checkpoint
from chargen.runs.directory import LAST, Run
from chargen.settings import TrainingSettings
from chargen.text.encoding import EncodedCorpus
from chargen.text.vocabulary import Vocabulary
from chargen.text.windows import Batches, Resets, ShuffledWindows, Streams
from chargen.training.keeping import Keeper
from chargen.training.learner import Learner, Step
from chargen.training.saved import (
    ENVIRONMENT,
    Counters,
    differences,
    environment,
    finite,
    parts,
    told_of_memory,
)
from chargen.training.schedule import Schedule, steps_between_validations


@dataclass(frozen=True)
class Report:
    """Where training stands after a step."""

    step: int
    chars: int  # read in training so far, each epoch anew
    seconds: float
    train_loss_nats: float  # mean since the last validation
    validation_loss_nats: float | None  # over the whole held-out text, where this step validated
    learning_rate: float
    gradient_norm: float  # before clipping
    budget_used: float  # 0 to 1
    unsaved: str = ""  # why a save failed at this step; the next validation tries again

    def to_json(self) -> dict[str, float | int | None]:
        """A line of ``progress.jsonl``."""
        left_out = ("budget_used", "unsaved")
        return {name: value for name, value in vars(self).items() if name not in left_out}


class Trainer:
    """A model, its optimizer and its place in the text; `reports` moves them on.

    ``text`` is the whole corpus; ``settings`` must have been fitted to it
    (`chargen.training.schedule.fit`). All processes of ``group`` have a trainer and do the same
    with it; what they do together is what one alone does, and the first writes it down.
    """

    def __init__(
        self,
        run: Run,
        model: CharModel,
        text: EncodedCorpus,
        settings: TrainingSettings,
        group: ProcessGroup | None = None,
    ) -> None:
        self.run = run
        self.model = model
        self.settings = settings
        self.group = group or ProcessGroup()
        self.counters = Counters()
        self.ending = ""  # why training ended, once it has
        self._text = text
        self._training_chars = run.description.corpus.training_chars
        self._stages = settings.stages()
        self._learner = Learner(model, settings, self.group)
        self._read_as(0)
        self._schedule = Schedule.of(settings, len(self._batches))
        self._validate_every = steps_between_validations(
            settings, len(text.ids), self._training_chars
        )
        self._keeper = Keeper(run)
        self._clock = 0.0  # seconds of training, the first process's
        self._is_told_to_stop = False

    @property
    def vocabulary(self) -> Vocabulary:
        """The characters that the model reads and writes."""
        return self.run.description.vocabulary

    @property
    def predictor(self) -> NetworkPredictor:
        """The model as it is now, of averaged weights where they are."""
        return NetworkPredictor(self._learner.predicting, self.vocabulary)

    def reports(self, should_stop: Callable[[], bool] = lambda: False) -> Iterator[Report]:
        """Train until the budget is used, validation stops improving or ``should_stop`` says so.

        The best and the last weights are kept in the run's folder. A save that fails on the way is
        told in the report, and tried again at the next validation. Raises `ChargenError` where the
        loss is no number any more, where memory runs out, and where the last save fails; the
        checkpoints are then those of the last save that did not.
        """
        started = time.monotonic() - self.counters.seconds
        while not self._ended(should_stop):
            try:
                report = self._report(started, should_stop)
            except (MemoryError, RuntimeError) as error:
                told = told_of_memory(error, self.run.description)
                if told is None:
                    raise
                raise told from None
            yield report
        try:
            self.save()
        except UnwritableError as error:
            raise UnwritableError(f"{error}; {self.run.path} {self._keeper.kept()}") from None

    def _report(self, started: float, should_stop: Callable[[], bool]) -> Report:
        """A step, and a validation where one is due."""
        counters = self.counters
        rate = self._schedule.rate(counters.step, self._clock)
        norm = self._train_step(rate, [float(should_stop()), time.monotonic() - started])
        counters.seconds = time.monotonic() - started
        if self.group.size == 1:
            self._clock = counters.seconds
        used = self._schedule.used(counters.step, self._clock)
        train_loss = counters.loss_sum / counters.loss_batches
        validation_loss = None
        if used >= 1 or counters.step % self._validate_every == 0:
            validation_loss = self._validate()
            if not math.isfinite(validation_loss):
                raise self._diverged(f"validation loss {validation_loss:g}", counters.step)
            counters.seconds = time.monotonic() - started
        report = Report(
            counters.step,
            counters.chars,
            counters.seconds,
            train_loss,
            validation_loss,
            rate,
            norm,
            min(1.0, used),
        )
        return report if validation_loss is None else self._keep(report, validation_loss)

    def _ended(self, should_stop: Callable[[], bool]) -> bool:
        counters, patience = self.counters, self.settings.patience
        # Several processes must all stop at one step: who is told to says so in the step before.
        stop = should_stop() if self.group.size == 1 else self._is_told_to_stop
        if self._schedule.used(counters.step, self._clock) >= 1:
            self.ending = "the budget is used"
        elif patience and counters.since_best >= patience:
            self.ending = f"no improvement in {patience} validations"
        elif stop:
            self.ending = "stopped"
        return bool(self.ending)

    def _train_step(self, rate: float, said: list[float]) -> float:
        """One update; returns the gradient's norm before clipping."""
        counters, learner = self.counters, self._learner
        self._go_on_to_stage()
        batch = self._batches.batch(counters.epoch, counters.batch, learner.rows)
        carry = self.settings.state == "carry" and counters.batch > 0
        stop, seconds = said
        step = learner.step(batch, rate, carry=carry, said=[stop, seconds * self.group.leads])
        self._heed(step)
        counters.step += 1
        counters.chars += batch.chars
        counters.loss_sum += step.nats
        counters.loss_batches += 1
        counters.batch += 1
        if counters.batch == len(self._batches):
            counters.epoch, counters.batch = counters.epoch + 1, 0
        return step.norm

    def _go_on_to_stage(self) -> None:
        """Begin the stage that is due, if it is another: at the text's beginning."""
        counters, stages = self.counters, len(self._stages)
        used = self._schedule.used(counters.step, self._clock)
        due = min(int(used * stages), stages - 1)
        # A larger budget, with which a run is resumed, takes no stage back.
        if due > counters.stage:
            counters.epoch, counters.batch = counters.epoch + 1, 0
            counters.since_best = 0
            self._read_as(due)

    def _read_as(self, stage: int) -> None:
        """Read the text in the batches of a stage."""
        settings = self._stages[stage]
        assert settings.batch_size is not None
        self.counters.stage = stage
        self._batches = _batches(self._text, self._training_chars, settings)
        self._learner.share(settings.batch_size)

    def _heed(self, step: Step) -> None:
        if not (math.isfinite(step.nats) and math.isfinite(step.norm)):
            how = f"loss {step.nats:g}, gradient norm {step.norm:g}"
            raise self._diverged(how, self.counters.step + 1)
        stops, self._clock = step.said
        self._is_told_to_stop = stops > 0

    def _diverged(self, how: str, step: int) -> ChargenError:
        if not self.group.leads:
            self.group.broadcast(None)  # wait until rank 0, which reports it, has ended
        return ChargenError(
            f"training diverged at step {step} ({how}): {self.run.path} "
            f"{self._keeper.left()}; try a lower --learning-rate or --clip-norm"
        )

    def _validate(self) -> float:
        """Nats a character over the held-out text; NaN where the predictions are no numbers."""
        text, group, start = self._text, self.group, self._training_chars
        try:
            sums = losses(
                self.predictor,
                text.ids,
                start,
                starts=text.starts,
                rank=group.rank,
                size=group.size,
            )
        except NoNumbersError:
            sums = np.full(2, math.nan)
        return float(group.sum(sums)[0] / (len(text.ids) - start))

    def _keep(self, report: Report, validation_loss: float) -> Report:
        """Write down a validation, and the weights where they are the best so far."""
        counters = self.counters
        counters.loss_sum, counters.loss_batches = 0.0, 0
        counters.since_best += 1
        if validation_loss < counters.best_loss:
            counters.best_loss, counters.since_best = validation_loss, 0
            values = {"step": counters.step, "validation_loss_nats": validation_loss}
            self._keeper.best = self._checked(Checkpoint(self._learner.weights(), values))
        self._keeper.report(report.to_json())
        counters.progress_lines += 1
        try:
            self.save()
        except UnwritableError as error:
            self._keeper.copy_best()  # training changes the weights themselves
            return replace(report, unsaved=str(error))
        return report

    def save(self) -> None:
        """Write ``last.safetensors``: everything that `restore` needs, and what it counts before.

        Nothing is written where this step is saved already. `ChargenError` where the weights are
        no numbers any more, `UnwritableError` where the system refuses; the last save then stands.
        """
        if self.group.broadcast(self._keeper.saved_step == self.counters.step):
            return
        arrays = self._learner.arrays()
        now = environment(self._learner.device, self.group.size)
        values = {**self.counters.to_json(), ENVIRONMENT: now}
        checkpoint = self._checked(Checkpoint(arrays, values))
        if self.group.leads:
            self._keeper.save(checkpoint, self.counters.step)

    def forgive(self) -> None:
        """Let a run that patience ended go on, from now on and wherever it is resumed again."""
        if self.counters.since_best:
            self.counters.since_best, self._keeper.saved_step = 0, None
            self.save()

    def _checked(self, checkpoint: Checkpoint) -> Checkpoint:
        if not finite(checkpoint):
            raise self._diverged("its weights are no numbers", self.counters.step)
        return checkpoint

    def restore(self, checkpoint: Checkpoint) -> list[str]:
        """Go back to where `save` made ``checkpoint``; returns what the user should know.

        It must have been checked (`chargen.training.saved.check`). `ChargenError` where it does
        not fit all the same.
        """
        try:
            self.counters, before = parts(checkpoint)
            self._read_as(self.counters.stage)
            if self.counters.batch >= len(self._batches):
                raise ValueError(f"batch {self.counters.batch} of {len(self._batches)}")
            self._learner.restore(checkpoint.arrays, self.counters.step, before)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise misfit(self.run, error) from None
        self._clock = self.counters.seconds
        if self.group.leads:
            self._keeper.go_on(self.counters)
        differ = differences(before, environment(self._learner.device, self.group.size))
        return [f"{differ}: results may differ in the last digits"] if differ else []


def misfit(run: Run, error: Exception) -> ChargenError:
    """What the user is told of a ``last.safetensors`` that is not this run's."""
    return ChargenError(f"{run.path / LAST}: does not fit the run ({reason(error)})")


def _batches(text: EncodedCorpus, training_chars: int, settings: TrainingSettings) -> Batches:
    assert settings.batch_size is not None
    assert settings.timesteps is not None
    ids, sizes = text.ids[:training_chars], (settings.batch_size, settings.timesteps)
    if settings.state == "carry":
        return Streams(ids, *sizes, text.starts, _resets(text.vocabulary, settings))
    return ShuffledWindows(ids, *sizes, settings.seed, text.starts)


def _resets(vocabulary: Vocabulary, settings: TrainingSettings) -> Resets | None:
    if not settings.resets:
        return None
    return Resets(settings.resets, int(vocabulary.opening[0]), settings.seed)
