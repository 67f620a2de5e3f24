"""The training loop: yields a report per step and prints nothing."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from msgspec import convert
from msgspec.structs import asdict

from chargen.distributed.group import ProcessGroup
from chargen.errors import ChargenError, NonFiniteError, memory_errors
from chargen.evaluation import losses
from chargen.files import UnwritableError
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.runs.checkpoint import Checkpoint
from chargen.runs.directory import BEST, LAST, Run
from chargen.settings import HELD_OUT, MINUTES, TrainingSettings, shown
from chargen.text.encoding import EncodedCorpus
from chargen.text.windows import Batches, ShuffledWindows, Streams
from chargen.training import checkpoints
from chargen.training.step import TrainingState

WARM_UP_STEPS = 100
WARM_UP_SHARE = 0.1  # maximum share of a budget in steps
VALIDATION_COST = 0.05  # approximate share of the time spent on validation
FORWARD_SHARE = 0.6  # of a training step's time: in float32, and with the warm-up of each stream
FEWEST_STEPS_BETWEEN = 25  # validations
UNRECORDED = ("budget_used", "validates", "unsaved")  # in ``progress.jsonl``


@dataclass(frozen=True)
class Schedule:
    """A budget in steps, seconds or the one of both used more, and the learning rate over it.

    The rate rises linearly during the warm-up and falls linearly to zero at the end.
    """

    peak: float
    steps: float  # infinite without a limit, and so are seconds
    seconds: float

    @classmethod
    def of(cls, settings: TrainingSettings, steps_per_epoch: int) -> "Schedule":
        epochs, minutes = settings.epochs, settings.minutes
        steps = max(1, round(epochs * steps_per_epoch)) if epochs else settings.steps
        minutes = minutes if steps else minutes or MINUTES
        return cls(settings.learning_rate, steps or math.inf, 60 * minutes if minutes else math.inf)

    def used(self, step: int, seconds: float) -> float:
        """Return the fraction of the budget used after ``step`` updates; 1 or more ends it."""
        return max(step / self.steps, seconds / self.seconds)

    def rate(self, step: int, seconds: float) -> float:
        """Return the learning rate of update ``step``, counted from 0."""
        warm_up = max(1.0, min(WARM_UP_STEPS, WARM_UP_SHARE * self.steps))
        warm = min(1.0, (step + 1) / warm_up)
        return self.peak * warm * max(0.0, 1 - self.used(step, seconds))


def steps_between_validations(settings: TrainingSettings, chars: int, training_chars: int) -> int:
    """Return a validation interval that costs a small share of the time on any corpus."""
    held_out = chars - training_chars or chars * HELD_OUT  # or save as often as if it were
    steps = held_out * FORWARD_SHARE / VALIDATION_COST / math.prod(settings.window)
    return max(FEWEST_STEPS_BETWEEN, round(steps))


@dataclass(frozen=True)
class Report:
    """The position and the losses of a training after a step."""

    step: int
    chars: int  # read so far, counted again in every epoch
    seconds: float
    train_loss_nats: float  # mean since the last validation
    validation_loss_nats: float | None  # None except at validations
    learning_rate: float
    gradient_norm: float  # before clipping
    budget_used: float  # 0 to 1
    validates: bool = False  # a step that validates, if a text is held out, and saves
    unsaved: str = ""  # why this step's save failed; the next validation tries again


class Trainer:
    """A model in training; every process of a group calls the same methods, rank 0 writes files."""

    def __init__(
        self, run: Run, model: CharModel, text: EncodedCorpus, group: ProcessGroup
    ) -> None:
        self.run, self.model, self.text, self.group = run, model, text, group
        self.settings = settings = run.description.training
        self.counters = checkpoints.Counters()
        self.ending = ""  # why training ended
        self._training_chars = run.description.corpus.training_chars
        self._stages = settings.stages()
        self._teacher = None
        if settings.distillation:
            from chargen.training.teacher import NgramTeacher  # loads numba

            read = text.ids[: self._training_chars]
            self._teacher = NgramTeacher(read, len(text.vocabulary))
        self._state = TrainingState(model, settings, group)
        self.device = self._state.device
        self._start_stage(0)
        self._schedule = Schedule.of(settings, len(self._batches))
        chars = len(text.ids)
        self._validate_every = steps_between_validations(settings, chars, self._training_chars)
        self._saved_step: int | None = None  # step of the last checkpoint
        self._best: Checkpoint | None = None  # not written yet
        self._lines: list[Mapping[str, Any]] = []  # of ``progress.jsonl``, not written yet
        self._clock = 0.0  # seconds of training on rank 0
        self._stop_requested = False

    @property
    def predictor(self) -> NetworkPredictor:
        """The current model, with averaged weights if the settings ask for an average."""
        return NetworkPredictor(self._state.averaged, self.run.description.vocabulary)

    def reports(self, should_stop: Callable[[], bool] = lambda: False) -> Iterator[Report]:
        """Train until the budget is used, validation stops improving or ``should_stop()`` is true.

        `ChargenError` if the loss is not finite, memory runs out, or the final save fails; the
        previous save stays valid.
        """
        settings, units = self.settings, shown(self.run.description.model.units)
        lower = (
            f"--batch-size {settings.batch_size}, --timesteps {settings.timesteps}, --units "
            f"{units}: out of memory; lower one of them and start over with --overwrite"
        )
        started = time.monotonic() - self.counters.seconds
        while not self._has_ended(should_stop):
            with memory_errors(lower):
                report = self._report(started, should_stop())
            yield report
        try:
            self.save()
        except UnwritableError as error:
            kept = "has no checkpoint yet: --resume starts from the beginning"
            if (step := self._saved_step) is not None:
                kept = f"can be resumed from its last good checkpoint, step {step}, with --resume"
            raise UnwritableError(f"{error}; {self.run.path} {kept}") from None

    def _has_ended(self, should_stop: Callable[[], bool]) -> bool:
        counters, patience = self.counters, self.settings.patience
        # All processes must stop at the same step: a request travels with the step before.
        stop = should_stop() if self.group.size == 1 else self._stop_requested
        if self._schedule.used(counters.step, self._clock) >= 1:
            by_steps = counters.step >= self._schedule.steps
            unit = ("epoch" if self.settings.epochs else "step") if by_steps else "time"
            self.ending = f"{unit} budget reached"
        elif patience and counters.since_best >= patience:
            self.ending = f"no improvement in {patience} validations"
        elif stop:
            self.ending = "stopped"
        return bool(self.ending)

    def _report(self, started: float, stops: bool) -> Report:
        counters, stages = self.counters, len(self._stages)
        due = min(int(self._schedule.used(counters.step, self._clock) * stages), stages - 1)
        if due > counters.stage:  # a run resumed with a larger budget stays in its stage
            counters.epoch, counters.batch, counters.since_best = counters.epoch + 1, 0, 0
            self._start_stage(due)
        rate = self._schedule.rate(counters.step, self._clock)
        batch = self._batches.batch(counters.epoch, counters.batch, self._state.rows)
        carry = self.settings.state == "carry" and counters.batch > 0
        message = [float(stops), (time.monotonic() - started) * self.group.leads]
        nats, norm, sums = self._state.step(batch, rate, carry=carry, message=message)
        if not (math.isfinite(nats) and math.isfinite(norm)):
            how = f"loss {nats:g}, gradient norm {norm:g}"
            raise self._diverged(how, counters.step + 1)
        self._stop_requested, self._clock = sums[0] > 0, sums[1]
        counters.seconds = time.monotonic() - started
        if self.group.size == 1:
            self._clock = counters.seconds
        counters.step += 1
        counters.chars += batch.chars
        counters.loss_sum += nats
        counters.loss_batches += 1
        if not counters.progress_lines and counters.step == 2 ** len(counters.first_losses):
            counters.first_losses[str(counters.step)] = nats
        counters.batch += 1
        if counters.batch == len(self._batches):
            counters.epoch, counters.batch = counters.epoch + 1, 0
        used = self._schedule.used(counters.step, self._clock)
        validates = used >= 1 or counters.step % self._validate_every == 0
        validation_loss = self._validate() if validates else None
        counters.seconds = time.monotonic() - started
        loss = counters.loss_sum / counters.loss_batches
        so_far = counters.step, counters.chars, counters.seconds, loss, validation_loss
        report = Report(*so_far, rate, norm, min(1.0, used), validates)
        return self._record(report) if validates else report

    def _start_stage(self, stage: int) -> None:
        settings, text = self._stages[stage], self.text
        self.counters.stage = stage
        self._state.rows = self.group.rows(settings.window[0])
        ids, opening = text.ids[: self._training_chars], int(text.vocabulary.opening[0])
        given = ids, *settings.window, text.starts, settings.seed
        carried = settings.state == "carry"
        self._batches: Batches = (
            Streams(*given, settings.resets, opening, teacher=self._teacher)
            if carried
            else ShuffledWindows(*given, teacher=self._teacher)
        )

    def _diverged(self, how: str, step: int) -> ChargenError:
        if not self.group.leads:
            self.group.broadcast(None)  # wait until rank 0, which reports it, has ended
        kept = "has no weights" if self._saved_step is None else "keeps the last good weights"
        return ChargenError(
            f"training diverged at step {step} ({how}): {self.run.path} {kept}; try a lower "
            "--learning-rate or --clip-norm"
        )

    def _validate(self) -> float | None:
        text, group, start = self.text, self.group, self._training_chars
        if start == len(text.ids):
            return None
        try:
            share = slice(group.rank, None, group.size)
            sums = losses(self.predictor, text.ids, start, text.starts, share)
        except NonFiniteError:
            sums = np.full(2, math.nan)
        loss = float(group.sum(sums)[0] / (len(text.ids) - start))
        if not math.isfinite(loss):
            raise self._diverged(f"validation loss {loss:g}", self.counters.step)
        return loss

    def _record(self, report: Report) -> Report:
        counters, loss = self.counters, report.validation_loss_nats
        counters.loss_sum, counters.loss_batches = 0.0, 0
        counters.since_best += loss is not None
        if loss is not None and (counters.best_loss is None or loss < counters.best_loss):
            counters.best_loss, counters.since_best = loss, 0
            values = {"step": counters.step, "validation_loss_nats": loss}
            # Copies: training changes the originals, and a failed save is repeated later.
            weights = {name: array.copy() for name, array in self._state.weights().items()}
            self._best = self._checked(Checkpoint(weights, values))
        line = {name: value for name, value in vars(report).items() if name not in UNRECORDED}
        first = {"first_losses_nats": counters.first_losses} if counters.first_losses else {}
        self._lines.append(line | first)
        counters.progress_lines, counters.first_losses = counters.progress_lines + 1, {}
        try:
            self.save()
        except UnwritableError as error:
            return replace(report, unsaved=str(error))
        return report

    def save(self) -> None:
        """Write the best weights and the progress lines, then the checkpoint that counts them.

        What cannot be written waits for the next call; the previous checkpoint survives an error.
        """
        if self.group.broadcast(self._saved_step == self.counters.step):
            return
        self.counters.environment = checkpoints.environment(self.device, self.group.size)
        checkpoint = self._checked(Checkpoint(self._state.arrays(), asdict(self.counters)))
        if not self.group.leads:
            return
        if self._best is not None:
            self.run.write_checkpoint(BEST, self._best)
            self._best = None
        kept = self.counters.progress_lines - len(self._lines)
        self.run.write_progress(kept, self._lines)
        self.run.write_checkpoint(LAST, checkpoint)
        self._lines = []
        self._saved_step = self.counters.step

    def _checked(self, checkpoint: Checkpoint) -> Checkpoint:
        arrays = (array for array in checkpoint.arrays.values() if array.dtype.kind == "f")
        if not all(np.isfinite(array).all() for array in arrays):
            raise self._diverged("its weights are not finite", self.counters.step)
        return checkpoint

    def restore(self, checkpoint: Checkpoint) -> list[str]:
        """Restore a checkpoint that `check_checkpoint` accepted; return notes for the user."""
        try:
            self.counters = convert(checkpoint.values, checkpoints.Counters)
            before = self.counters.environment
            self._start_stage(self.counters.stage)
            if self.counters.batch >= len(self._batches):
                raise ValueError(f"batch {self.counters.batch} of {len(self._batches)}")
            self._state.restore(checkpoint.arrays, self.counters.step, before)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise checkpoints.mismatch(self.run, error) from None
        self._clock = self.counters.seconds
        if self.group.leads:
            self.run.write_progress(self.counters.progress_lines)
            self._saved_step = self.counters.step
        now = checkpoints.environment(self.device, self.group.size)
        changed = ", ".join(
            f"{name} {value} (was {before[name]})"
            for name, value in now.items()
            if before.get(name, value) != value
        )
        return [f"{changed}: results may differ in the last digits"] if changed else []
