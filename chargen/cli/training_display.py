"""Progress of a training on standard error, and the signals that stop it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from chargen.cli.terminal import handled, say
from chargen.errors import ChargenError
from chargen.evaluation import nats_to_bits
from chargen.files import UnwritableError, linked, writing
from chargen.render.text import command, counted, visible_line
from chargen.settings import MINUTES, SamplingSettings
from chargen.text.documents import DOCUMENT_ENDS

if TYPE_CHECKING:
    from chargen.api import TrainedModel
    from chargen.training.loop import Report, Trainer
    from chargen.training.session import TrainingSession

SAMPLE_CHARS = 120
MORE_SAMPLE_CHARS = 600  # with --verbose
SAMPLE_LINES = 6  # that share them, if each line is a document
SECONDS_BETWEEN_SAMPLES = 30
SAMPLE_TEMPERATURE = 0.8
CHEAP_BASELINE_CHARS = 2_000_000  # training characters up to which an n-gram takes a few seconds

FOLDER = "tensorboard"  # in the run directory
TAGS = {  # field of a report: TensorBoard tag
    "train_loss_nats": "loss_nats/training",
    "validation_loss_nats": "loss_nats/validation",
    "learning_rate": "learning_rate",
    "gradient_norm": "gradient_norm",
}


class Signals(contextlib.ExitStack):
    """Catches SIGINT and SIGTERM in a ``with`` block; the third ends the program at once."""

    caught: int | None = None  # the first one
    _count = 0

    def __enter__(self) -> Signals:
        self.enter_context(handled(self._catch, signal.SIGINT, signal.SIGTERM))
        return self

    def are_caught(self) -> bool:
        return self.caught is not None

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        self.caught = self.caught or number
        if self._count == 2:
            with contextlib.suppress(OSError, ValueError):  # past buffers that may be in use
                os.write(sys.stderr.fileno(), b"\nsaving; once more ends at once, unsaved\n")
        elif self._count > 2:
            self.close()
            signal.raise_signal(number)


class TrainingDisplay:
    """Shows a training: a bar on a terminal, a line per validation elsewhere.

    ``beginning`` is the first line without a terminal, before PyTorch is loaded, or empty.
    """

    def __init__(self, quiet: bool, verbose: bool, tensorboard: bool, beginning: str) -> None:
        self._quiet, self._verbose = quiet, verbose
        self._tensorboard, self._beginning = tensorboard, beginning
        self._signals = Signals()
        self._has_terminal = sys.stderr.isatty() and not quiet
        self._bar: Any = tqdm(disable=True)
        self._reads = False  # the bar shows the reading of the corpus
        self._trainer: Trainer | None = None
        self._validation: float | None = None  # the latest validation loss
        self._steps = 0  # of this training, without those before it was resumed
        self._next_sample = SECONDS_BETWEEN_SAMPLES / 3
        self._events: EventWriter | None = None

    @property
    def exit_code(self) -> int:
        """0, or 128 plus the signal that stopped training, here or in another rank."""
        is_stopped = self._trainer is not None and self._trainer.ending == "stopped"
        number = self._signals.caught or signal.SIGTERM * is_stopped
        return 128 + number if number else 0

    def __enter__(self) -> TrainingDisplay:
        self._open_bar(desc="loading PyTorch", bar_format="{desc} ...")
        if self._beginning and not self._has_terminal:
            self._tell(visible_line(self._beginning))
        return self

    def _open_bar(self, **style: Any) -> None:
        self._bar.close()
        self._bar = tqdm(disable=not self._has_terminal, leave=False, **style)

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def reading(self, done: int, total: int) -> None:
        if not self._reads or done < self._bar.n:
            style = {"total": total or None, "unit": "B", "unit_scale": True, "delay": 1}
            self._open_bar(desc="reading the corpus", **style)
            self._reads = True
        self._bar.update(done - self._bar.n)

    def run(self, session: TrainingSession) -> None:
        """Train to the end; of several processes, rank 0 shows the training."""
        self._bar.close()
        self._trainer = trainer = session.trainer
        with self._signals, contextlib.ExitStack() as stack:
            if not trainer.group.leads:
                session.run(self._signals.are_caught)
                return
            self._tell(_overview(trainer))
            for note in session.notes:
                self._tell(f"note: {visible_line(note)}")
            if self._tensorboard:
                self._events = EventWriter(trainer.run.path, trainer.counters.step)
                stack.callback(self._events.close)
            bar = "{percentage:3.0f}%|{bar}| {desc}"
            self._open_bar(total=100, bar_format=bar, dynamic_ncols=True)
            stack.callback(self._bar.close)
            for report in trainer.reports(self._signals.are_caught):
                self._show(report, trainer)

    def _show(self, report: Report, trainer: Trainer) -> None:
        self._steps += 1
        self._validation = report.validation_loss_nats or self._validation
        self._bar.n = 100 * report.budget_used
        self._bar.set_description_str(self._line(report, trainer), refresh=False)
        self._bar.update(0)
        if not report.validates:
            return
        with self._bar.external_write_mode(file=sys.stderr):
            if not self._has_terminal or self._verbose:
                self._tell(self._line(report, trainer, self._verbose))
            if report.unsaved:
                say(f"{visible_line(report.unsaved)}; the next validation tries again", err=True)
            try:
                if self._events:
                    self._events.write(report)
            except UnwritableError as error:
                self._events = None
                lost = f"{error}; training continues without event files"
                say(visible_line(lost), err=True)
            if report.seconds >= self._next_sample and not self._quiet:
                self._next_sample = report.seconds + SECONDS_BETWEEN_SAMPLES
                chars = MORE_SAMPLE_CHARS if self._verbose else SAMPLE_CHARS
                self._tell(_sample(trainer, chars), dim=True)

    def _line(self, report: Report, trainer: Trainer, verbose: bool = False) -> str:
        loss = self._validation
        shown = "-" if loss is None else f"{loss:.3f} ({nats_to_bits(loss):.3f} bits/char)"
        left = report.seconds / max(report.budget_used, 1e-9) - report.seconds
        line = (
            f"epoch {report.chars / trainer.run.description.corpus.training_chars:.2f}  "
            f"loss {report.train_loss_nats:.3f}  validation {shown}  "
            f"{report.chars / report.seconds:,.0f} chars/s  {tqdm.format_interval(left)} left"
        )
        return line + verbose * (
            f"  step {report.step}  best {trainer.counters.best_loss or 0.0:.4f}  learning rate "
            f"{report.learning_rate:.2e}  gradient norm {report.gradient_norm:.3g}"
        )

    def summarize(self, model: TrainedModel) -> None:
        """Print the result, an n-gram baseline unless the corpus is large, and a next command."""
        trainer = self._trainer
        if trainer is None or not trainer.group.leads or self._quiet:
            return
        counters, margin, best = trainer.counters, None, trainer.counters.best_loss
        stopped = trainer.ending == "stopped"
        ended = "Stopped" if stopped else f"Done: {trainer.ending}"
        self._tell(f"{ended} ({counted(counters.step, 'step')}, {counters.seconds:.0f} s).")
        if not (self._steps or stopped):
            self._tell(f"No step was needed; to train longer: {_resumed(trainer)}")
        if best is not None:
            bits = nats_to_bits(best)
            self._tell(f"Best validation loss {best:.4f} nats ({bits:.3f} bits per character).")
            cheap = trainer.run.description.corpus.training_chars <= CHEAP_BASELINE_CHARS
            if cheap and not stopped:
                baseline = model.baseline().loss_nats
                margin = baseline - best
                better = f"{abs(margin):.4f} nats {'better' if margin >= 0 else 'worse'}"
                self._tell(f"The 6-gram baseline has {baseline:.4f} nats: the model is {better}.")
        elif not stopped:
            self._tell("No text is held out: the model is the last one, and its loss is unknown.")
        try:
            if forgotten := model.forgetting():
                before, after = (f"{loss:.4f}" for loss in forgotten)
                self._tell(f"The old text has {after} nats, {before} before fine-tuning.")
        except ChargenError as error:
            self._tell(f"The loss on the old text is unknown: {visible_line(str(error))}")
        self._tell(f"Next: {next_command(trainer, stopped, margin)}")

    def _tell(self, text: str, **style: Any) -> None:
        if not self._quiet:
            say(text, err=True, **style)


class EventWriter:
    """Writes a run's event files; TensorBoard ignores earlier events after ``step``."""

    def __init__(self, run: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = run / FOLDER
        if self._folder.is_symlink():
            raise linked(self._folder)
        with writing(self._folder):
            self._writer = SummaryWriter(str(self._folder), purge_step=step + 1)

    def write(self, report: Report) -> None:
        """Add a validation; raises `UnwritableError`."""
        with writing(self._folder):
            for name, tag in TAGS.items():
                if (value := getattr(report, name)) is not None:
                    self._writer.add_scalar(tag, value, report.step)
            self._writer.flush()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._writer.close()


def _overview(trainer: Trainer) -> str:
    description, settings = trainer.run.description, trainer.settings
    facts = description.facts()
    stages = " → ".join(f"{one.batch_size}×{one.timesteps}" for one in settings.stages())
    budgets = [counted(settings.steps, "step")] if settings.steps else []
    budgets += [f"{settings.epochs:g} epochs"] if settings.epochs else []
    if settings.minutes or not budgets:
        budgets += [f"{settings.minutes or MINUTES:g} min"]
    if settings.patience and settings.validation != 0:
        patience = counted(settings.patience, "validation")
        budgets[-1] += f", or {patience} without improvement"
    rate = settings.learning_rate
    multiples = {"recurrent": settings.recurrent_rate, "input": settings.input_rate}
    own = [f"{rate * one:.3g} for {name} weights" for name, one in multiples.items() if one != 1]
    rates = f"{rate:.3g} ({', '.join(own)})" if own else f"{rate:.3g}"
    processes = f"{trainer.group.size} processes" if trainer.group.size > 1 else ""
    speed = facts.get("machine", "").partition(", ")[0]
    device = filter(None, [str(trainer.device), settings.precision, processes, speed])
    rows = {
        "data": f"{facts['corpus']}; vocabulary {len(description.vocabulary)}",
        "model": f"{facts['model']}, {facts['parameters']} parameters",
        "schedule": f"batch × length {stages}, learning rate {rates}, "
        f"state {settings.state}, seed {settings.seed}",
        "budget": " or ".join(budgets),
        "device": ", ".join(device),
        "run": str(trainer.run.path),
    }
    return "\n".join(f"{name:<10}{visible_line(text)}" for name, text in rows.items())


def _sample(trainer: Trainer, chars: int) -> str:
    import numpy as np

    from chargen.sampling import generate

    vocabulary, step = trainer.run.description.vocabulary, trainer.counters.step
    settings = SamplingSettings(temperature=SAMPLE_TEMPERATURE)
    generator = np.random.default_rng(step)
    end = DOCUMENT_ENDS.get(trainer.settings.documents, "\0")  # no text contains NUL
    count = SAMPLE_LINES if end == "\n" else 1
    given = vocabulary.opening, chars // count, settings, generator, count
    texts = map(vocabulary.decode, np.stack(list(generate(trainer.predictor.advance, *given)), 1))
    text = "\n".join(text.strip().split(end)[0] for text in texts).replace("\n", "\n    ")
    return f"sample at step {step}, temperature {SAMPLE_TEMPERATURE}:\n    {text}"


def next_command(trainer: Trainer, stopped: bool, margin: float | None) -> str:
    # A run that stopped improving is not resumed: more training would overfit it.
    worse = margin is not None and margin < 0 and not trainer.ending.startswith("no improvement")
    if stopped or worse:
        return _resumed(trainer)
    probes = trainer.run.description.corpus.sources[0].startswith("longrange")
    return command("probe-longrange" if probes else "sample", trainer.run.path)


def _resumed(trainer: Trainer) -> str:
    """Return the command that resumes a run, a finished one for once more as long."""
    settings, more = trainer.settings, ["--more-steps", str(trainer.counters.step)]
    if trainer.ending.startswith("time") or not (settings.steps or settings.epochs):
        more = ["--more-minutes", f"{settings.minutes or MINUTES:g}"]
    more = [] if trainer.ending == "stopped" else more
    return command("train", "--resume", "--out", trainer.run.path, *more)
