"""The training loop: yields a report a step, draws nothing, prints nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from chargen.checkpoints import WEIGHTS, Checkpoint, below
from chargen.errors import ChargenError, NoNumbersError
from chargen.evaluation import evaluate
from chargen.files import UnwritableError, reason
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.recurrent.stack import StackState
from chargen.runs import BEST, LAST, Run
from chargen.settings import TrainingSettings
from chargen.text.vocabulary import Vocabulary
from chargen.text.windows import Batches, ShuffledWindows, Streams
from chargen.training.loss import next_char_loss
from chargen.training.saved import (
    ENVIRONMENT,
    GENERATOR,
    OPTIMIZER,
    STATE,
    Counters,
    by_decay,
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

    ``ids`` is the whole corpus ``(L,)``, the first ``training_chars`` of which are trained on;
    ``settings`` must have been fitted to it (`chargen.training.schedule.fit`).
    """

    def __init__(
        self,
        run: Run,
        model: CharModel,
        ids: np.ndarray,
        settings: TrainingSettings,
    ) -> None:
        self.run = run
        self.model = model
        self.settings = settings
        self.counters = Counters()
        self.ending = ""  # why training ended, once it has
        self._ids = ids
        self._training_chars = run.description.corpus.training_chars
        self._batches = _batches(ids[: self._training_chars], settings)
        self._schedule = Schedule.of(settings, len(self._batches))
        self._validate_every = steps_between_validations(settings, len(ids), self._training_chars)
        self._device = model.b_y.device
        self._generator = torch.Generator(self._device).manual_seed(settings.seed)
        self._state: StackState | None = None
        self._optimizer = _optimizer(model, settings)
        self._saved_step: int | None = None  # that ``last.safetensors`` is of
        self._progress_bytes = 0  # of ``progress.jsonl``, that it counts
        self._lines: list[dict[str, float | int | None]] = []  # of progress, that it does not yet
        self._best: Checkpoint | None = None  # that is to be written yet

    @property
    def vocabulary(self) -> Vocabulary:
        """The characters that the model reads and writes."""
        return self.run.description.vocabulary

    @property
    def predictor(self) -> NetworkPredictor:
        """The model as it is now."""
        return NetworkPredictor(self.model, self.vocabulary)

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
                report = self._report(started)
            except (MemoryError, RuntimeError) as error:
                told = told_of_memory(error, self.run.description)
                if told is None:
                    raise
                raise told from None
            yield report
        try:
            self.save()
        except UnwritableError as error:
            raise UnwritableError(f"{error}; {self.run.path} {self._kept()}") from None

    def _report(self, started: float) -> Report:
        """A step, and a validation where one is due."""
        counters = self.counters
        rate = self._schedule.rate(counters.step, counters.seconds)
        norm = self._train_step(rate)
        counters.seconds = time.monotonic() - started
        used = self._schedule.used(counters.step, counters.seconds)
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
        if self._schedule.used(counters.step, counters.seconds) >= 1:
            self.ending = "the budget is used"
        elif patience and counters.since_best >= patience:
            self.ending = f"no improvement in {patience} validations"
        elif should_stop():
            self.ending = "stopped"
        return bool(self.ending)

    def _train_step(self, rate: float) -> float:
        """One update; returns the gradient's norm before clipping."""
        counters, settings = self.counters, self.settings
        inputs, targets = self._batches.batch(counters.epoch, counters.batch)
        if settings.state == "reset" or counters.batch == 0:
            self._state = None
        last = settings.counted_steps(inputs.shape[1])
        logits, state = self.model(
            self._tensor(inputs), self._state, last, settings.dropout, self._generator
        )
        loss = next_char_loss(logits, self._tensor(targets[:, -last:]))
        self._optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm).item()
        nats = loss.item()
        if not (math.isfinite(nats) and math.isfinite(norm)):
            raise self._diverged(f"loss {nats:g}, gradient norm {norm:g}", counters.step + 1)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._state = tuple(tuple(part.detach() for part in layer) for layer in state)
        counters.step += 1
        counters.chars += inputs.size
        counters.loss_sum += nats
        counters.loss_batches += 1
        counters.batch += 1
        if counters.batch == len(self._batches):
            counters.epoch, counters.batch = counters.epoch + 1, 0
        return norm

    def _diverged(self, how: str, step: int) -> ChargenError:
        kept = "has no weights" if self._saved_step is None else "keeps the last good weights"
        return ChargenError(
            f"training diverged at step {step} ({how}): {self.run.path} {kept}; try a lower "
            "--learning-rate or --clip-norm"
        )

    def _kept(self) -> str:
        if self._saved_step is None:
            return "has no save yet: --resume begins from the beginning"
        return f"can be resumed from its last good save, step {self._saved_step}, with --resume"

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    def _validate(self) -> float:
        """Nats a character over the held-out text; NaN where the predictions are no numbers."""
        try:
            return evaluate(self.predictor, self._ids, self._training_chars).loss_nats
        except NoNumbersError:
            return math.nan

    def _keep(self, report: Report, validation_loss: float) -> Report:
        """Write down a validation, and the weights where they are the best so far."""
        counters = self.counters
        counters.loss_sum, counters.loss_batches = 0.0, 0
        counters.since_best += 1
        if validation_loss < counters.best_loss:
            counters.best_loss, counters.since_best = validation_loss, 0
            values = {"step": counters.step, "validation_loss_nats": validation_loss}
            self._best = self._checked(Checkpoint(self._weights(), values))
        self._lines.append(report.to_json())
        counters.progress_lines += 1
        try:
            self.save()
        except UnwritableError as error:
            if self._best is not None:  # training changes the weights themselves
                copies = {name: array.copy() for name, array in self._best.arrays.items()}
                self._best = Checkpoint(copies, self._best.values)
            return replace(report, unsaved=str(error))
        return report

    def save(self) -> None:
        """Write ``last.safetensors``: everything that `restore` needs, and what it counts before.

        Nothing is written where this step is saved already. `ChargenError` where the weights are
        no numbers any more, `UnwritableError` where the system refuses; the last save then stands.
        """
        if self._saved_step == self.counters.step:
            return
        checkpoint = self._checked(self._checkpoint())
        if self._best is not None:
            self.run.write_checkpoint(BEST, self._best)
            self._best = None
        written = self._progress_bytes
        if self._lines:
            written = self.run.append_progress(*self._lines, start=written)
        self.run.write_checkpoint(LAST, checkpoint)
        self._lines, self._progress_bytes = [], written
        self._saved_step = self.counters.step

    def forgive(self) -> None:
        """Let a run that patience ended go on, from now on and wherever it is resumed again."""
        if self.counters.since_best:
            self.counters.since_best, self._saved_step = 0, None
            self.save()

    def _checked(self, checkpoint: Checkpoint) -> Checkpoint:
        if not finite(checkpoint):
            raise self._diverged("its weights are no numbers", self.counters.step)
        return checkpoint

    def _checkpoint(self) -> Checkpoint:
        arrays = self._weights()
        for number, state in self._optimizer.state_dict()["state"].items():
            for name, value in state.items():
                arrays[f"{OPTIMIZER}{number}.{name}"] = value.cpu().numpy()
        carried = self._state if self.settings.state == "carry" else None
        for layer, tensors in enumerate(carried or ()):
            for part, tensor in enumerate(tensors):
                arrays[f"{STATE}{layer}.{part}"] = tensor.cpu().numpy()
        arrays[GENERATOR] = self._generator.get_state().numpy()
        values = {**self.counters.to_json(), ENVIRONMENT: environment(self._device)}
        return Checkpoint(arrays, values)

    def restore(self, checkpoint: Checkpoint) -> list[str]:
        """Go back to where `save` made ``checkpoint``; returns what the user should know.

        It must have been checked (`chargen.training.saved.check`). `ChargenError` where it does
        not fit all the same.
        """
        try:
            self.counters, before = parts(checkpoint)
            if self.counters.batch >= len(self._batches):
                raise ValueError(f"batch {self.counters.batch} of {len(self._batches)}")
            # Copied into memory of torch's own, as an unbroken run has it.
            arrays = {name: torch.tensor(array) for name, array in checkpoint.arrays.items()}
            self.model.load_state_dict(below(arrays, WEIGHTS))
            optimizer: dict[str, Any] = self._optimizer.state_dict()
            optimizer["state"] = {}
            for name, tensor in below(arrays, OPTIMIZER).items():
                number, key = name.split(".")
                optimizer["state"].setdefault(int(number), {})[key] = tensor
            self._optimizer.load_state_dict(optimizer)
            self._state = _nested(below(arrays, STATE), self._device)
            now = environment(self._device)
            differ = differences(before, now)
            notes = [f"{differ}: results may differ in the last digits"] if differ else []
            if before.get("device", now["device"]).split()[:1] == [self._device.type]:
                self._generator.set_state(arrays[GENERATOR])
            else:  # another kind of device draws other numbers
                self._generator.manual_seed(self.settings.seed + self.counters.step)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise misfit(self.run, error) from None
        self._progress_bytes = self.run.keep_progress(self.counters.progress_lines)
        self._saved_step = self.counters.step
        return notes

    def _weights(self) -> dict[str, np.ndarray]:
        weights = self.model.state_dict().items()
        return {WEIGHTS + name: value.cpu().numpy() for name, value in weights}


def misfit(run: Run, error: Exception) -> ChargenError:
    """What the user is told of a ``last.safetensors`` that is not this run's."""
    return ChargenError(f"{run.path / LAST}: does not fit the run ({reason(error)})")


def _nested(parts: dict[str, Tensor], device: torch.device) -> StackState | None:
    """Carried state on ``device`` from its tensors, which are named ``layer.part``."""
    layers: dict[int, dict[int, Tensor]] = {}
    for name, tensor in parts.items():
        layer, part = map(int, name.split("."))
        layers.setdefault(layer, {})[part] = tensor.to(device)
    state = (tuple(of[part] for part in sorted(of)) for _, of in sorted(layers.items()))
    return tuple(state) or None


def _batches(ids: np.ndarray, settings: TrainingSettings) -> Batches:
    assert settings.batch_size is not None
    assert settings.timesteps is not None
    if settings.state == "carry":
        return Streams(ids, settings.batch_size, settings.timesteps)
    return ShuffledWindows(ids, settings.batch_size, settings.timesteps, settings.seed)


def _optimizer(model: CharModel, settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019); biases do not decay."""
    matrices, biases = by_decay(model)
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
