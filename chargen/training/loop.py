"""The training loop: yields a report a step, draws nothing, prints nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from chargen.checkpoints import WEIGHTS, Checkpoint, below
from chargen.errors import ChargenError
from chargen.evaluation import evaluate
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.recurrent.stack import StackState
from chargen.runs import BEST, LAST, Run
from chargen.settings import TrainingSettings
from chargen.text.vocabulary import Vocabulary
from chargen.text.windows import Batches, ShuffledWindows, Streams
from chargen.training.loss import next_char_loss
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

    def to_json(self) -> dict[str, float | int | None]:
        """A line of ``progress.jsonl``."""
        return {name: value for name, value in vars(self).items() if name != "budget_used"}


@dataclass
class Counters:
    """The numbers that move; with the tensors they are all that a checkpoint holds."""

    step: int = 0
    epoch: int = 0
    batch: int = 0  # of the epoch
    chars: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0  # of the batches since the last validation
    loss_batches: int = 0
    best_loss: float = math.inf
    since_best: int = 0  # validations
    progress_lines: int = 0


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

        The best and the last weights are kept in the run's folder. Raises `ChargenError` where
        the loss is no number any more; the checkpoints are then those of the last validation.
        """
        counters = self.counters
        started = time.monotonic() - counters.seconds
        while not self._ended(should_stop):
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
            if validation_loss is not None:
                self._keep(report, validation_loss)
            yield report
        self.save()

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
        kept = "keeps the last good weights" if self.counters.progress_lines else "has no weights"
        return ChargenError(
            f"training diverged at step {step} ({how}): {self.run.path} {kept}; try a lower "
            "--learning-rate or --clip-norm"
        )

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    def _validate(self) -> float:
        """Nats a character over the held-out text."""
        return evaluate(self.predictor, self._ids, self._training_chars).loss_nats

    def _keep(self, report: Report, validation_loss: float) -> None:
        """Write down a validation, and the weights where they are the best so far."""
        counters = self.counters
        counters.loss_sum, counters.loss_batches = 0.0, 0
        counters.since_best += 1
        if validation_loss < counters.best_loss:
            counters.best_loss, counters.since_best = validation_loss, 0
            values = {"step": counters.step, "validation_loss_nats": validation_loss}
            self.run.write_checkpoint(BEST, Checkpoint(self._weights(), values))
        self.run.append_progress(report.to_json())
        counters.progress_lines += 1
        self.save()

    def save(self) -> None:
        """Write ``last.safetensors``: everything that `restore` needs."""
        arrays = self._weights()
        for number, state in self._optimizer.state_dict()["state"].items():
            for name, value in state.items():
                arrays[f"optimizer.{number}.{name}"] = value.cpu().numpy()
        for layer, parts in enumerate(self._state or ()):
            for part, tensor in enumerate(parts):
                arrays[f"state.{layer}.{part}"] = tensor.cpu().numpy()
        arrays["generator"] = self._generator.get_state().numpy()
        self.run.write_checkpoint(LAST, Checkpoint(arrays, vars(self.counters)))

    def restore(self) -> None:
        """Go back to where `save` was called last; `ChargenError` where the file does not fit."""
        checkpoint = self.run.read_checkpoint(LAST)
        try:
            self.counters = Counters(**checkpoint.values)
            arrays = {name: self._tensor(array) for name, array in checkpoint.arrays.items()}
            self.model.load_state_dict(below(arrays, WEIGHTS))
            optimizer: dict[str, Any] = self._optimizer.state_dict()
            optimizer["state"] = {}
            for name, tensor in below(arrays, "optimizer.").items():
                number, key = name.split(".")
                optimizer["state"].setdefault(int(number), {})[key] = tensor
            self._optimizer.load_state_dict(optimizer)
            self._generator.set_state(arrays["generator"].cpu())
            self._state = _nested(below(arrays, "state."))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ChargenError(f"{self.run.path / LAST}: does not fit the run ({reason})") from None
        self.run.keep_progress(self.counters.progress_lines)

    def _weights(self) -> dict[str, np.ndarray]:
        weights = self.model.state_dict().items()
        return {WEIGHTS + name: value.cpu().numpy() for name, value in weights}


def _nested(parts: dict[str, Tensor]) -> StackState | None:
    """Carried state from its tensors, which are named ``layer.part``."""
    layers: dict[int, dict[int, Tensor]] = {}
    for name, tensor in parts.items():
        layer, part = map(int, name.split("."))
        layers.setdefault(layer, {})[part] = tensor
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
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    biases = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
