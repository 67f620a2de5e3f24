"""What a person sees while a model trains, and how they stop it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from chargen.cli.events import Events
from chargen.cli.terminal import say
from chargen.evaluation import nats_to_bits
from chargen.render.text import visible_line
from chargen.sampling import generate
from chargen.settings import SamplingSettings, TrainingSettings
from chargen.training import Report, Trainer, TrainingSession
from chargen.training.schedule import MINUTES

Show = Literal["normal", "quiet", "verbose"]

SAMPLE_CHARS = 120
VERBOSE_CHARS = 600
SECONDS_BETWEEN_SAMPLES = 30


class Signals:
    """Catches signals while it is entered, so that a step ends before the program does.

    ``caught`` is the number of the signal that came, or ``None``. A second one, which an impatient
    finger or a parent process sends, changes nothing, so that what is being saved is saved; a
    third does what it does elsewhere: it ends the program at once.
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        self.caught: int | None = None
        self._came = 0
        self._numbers = numbers
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        for number in self._numbers:
            self._before[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self._came += 1
        if self.caught is None:
            self.caught = number
        elif self._came == 2:
            with contextlib.suppress(OSError, ValueError):  # past buffers that may be in use
                os.write(sys.stderr.fileno(), b"\nsaving; once more ends at once, unsaved\n")
        else:
            self.__exit__()
            signal.raise_signal(number)


class Reading:
    """A bar for a corpus that takes more than a moment to be read, on a terminal alone."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Any = None

    def show(self, done: int, of: int) -> None:
        """``done`` bytes are read, ``of`` so many or, where that is 0, of nobody knows how many."""
        if self._bar is None or done < self._bar.n:  # read a second time, to be encoded
            self.close()
            self._bar = tqdm(
                desc="reading the corpus",
                total=of or None,
                unit="B",
                unit_scale=True,
                delay=1,
                leave=False,
                disable=self._quiet or not sys.stderr.isatty(),
            )
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def watch(
    session: TrainingSession,
    should_stop: Callable[[], bool],
    show: Show = "normal",
    tensorboard: bool = False,
) -> None:
    """Train to the end, showing a bar on a terminal and a line a validation elsewhere.

    ``quiet`` shows what goes wrong alone; ``verbose`` a line a validation on a terminal too, with
    more in it. With ``tensorboard``, event files are written. Of a group's processes the first one
    shows and writes.
    """
    trainer = session.trainer
    if not trainer.group.leads:
        session.run(should_stop)
        return
    tell = _tell_nothing if show == "quiet" else _say
    for note in session.notes:
        tell(visible_line(note))
    tell(_opening(trainer))
    shows_bar = sys.stderr.isatty() and show != "quiet"
    next_sample = SECONDS_BETWEEN_SAMPLES / 3
    with contextlib.ExitStack() as stack:
        events = None
        if tensorboard:
            events = stack.enter_context(Events(trainer.run.path, trainer.counters.step))
        bar = stack.enter_context(
            tqdm(
                total=100,
                disable=not shows_bar,
                bar_format="{percentage:3.0f}%|{bar}| {desc}",
                dynamic_ncols=True,
            )
        )
        for report in trainer.reports(should_stop):
            bar.n = 100 * report.budget_used
            bar.set_description_str(_line(report, trainer), refresh=False)
            bar.update(0)
            if report.validation_loss_nats is None:
                continue
            with bar.external_write_mode(file=sys.stderr):
                if not shows_bar or show == "verbose":
                    tell(_line(report, trainer, show == "verbose"))
                for wrong in _wrong(report, events):
                    _say(wrong)
                if show != "quiet" and report.seconds >= next_sample:
                    next_sample = report.seconds + SECONDS_BETWEEN_SAMPLES
                    chars = VERBOSE_CHARS if show == "verbose" else SAMPLE_CHARS
                    tell(_sample(trainer, chars), dim=True)
    tell(_closing(trainer))


def _wrong(report: Report, events: Events | None) -> Iterator[str]:
    """What could not be written of a validation."""
    if report.unsaved:
        yield f"{visible_line(report.unsaved)}; the next validation tries again"
    if events is not None and (lost := events.write(report)):
        yield visible_line(lost)


def _tell_nothing(text: str, **style: Any) -> None:
    """Instead of `_say`, where nobody wants to hear it."""


def _say(text: str, **style: Any) -> None:
    """On standard error; that nobody reads it any more is no reason to stop training."""
    with contextlib.suppress(BrokenPipeError):
        say(text, err=True, **style)


def _opening(trainer: Trainer) -> str:
    description, settings = trainer.run.description, trainer.settings
    model, corpus = description.model, description.corpus
    size = trainer.group.size
    together = f", {size} processes" if size > 1 else ""
    weights = sum(parameter.numel() for parameter in trainer.model.parameters())
    return (
        f"{visible_line(corpus.name)}: {corpus.chars:,} characters, "
        f"{len(description.vocabulary)} different; "
        f"{corpus.chars - corpus.training_chars:,} held out\n"
        f"{model.described()}, {weights:,} weights; "
        f"{_read(settings)}, "
        f"state {settings.state}, seed {settings.seed}{together}"
    )


def _read(settings: TrainingSettings) -> str:
    """How the text is read, in words: "64 texts side by side, 16 timesteps, then 4 and 256"."""
    first, *others = settings.stages()
    then = "".join(f", then {one.batch_size} and {one.timesteps}" for one in others)
    return f"{first.batch_size} texts side by side, {first.timesteps} timesteps{then}"


def _line(report: Report, trainer: Trainer, verbose: bool = False) -> str:
    best = trainer.counters.best_loss
    shown = f"{best:.3f}" if trainer.counters.progress_lines else "-"
    left = report.seconds / max(report.budget_used, 1e-9) - report.seconds
    line = (
        f"step {report.step}  loss {report.train_loss_nats:.3f}  best validation {shown}  "
        f"{report.chars / report.seconds:,.0f} chars/s  {left:.0f} s left"
    )
    if not verbose:
        return line
    return (
        f"{line}  validation {report.validation_loss_nats:.4f}  learning rate "
        f"{report.learning_rate:.2e}  gradient norm {report.gradient_norm:.3g}"
    )


def _sample(trainer: Trainer, chars: int) -> str:
    vocabulary, rng = trainer.vocabulary, np.random.default_rng(trainer.counters.step)
    prompt = vocabulary.opening
    settings = SamplingSettings(temperature=0.8)
    rows = list(generate(trainer.predictor, prompt, chars, settings, rng))
    text = vocabulary.decode(np.concatenate(rows)).strip()
    return "    " + text.replace("\n", "\n    ")


def _closing(trainer: Trainer) -> str:
    counters, path = trainer.counters, visible_line(str(trainer.run.path))
    best = counters.best_loss
    validated = (
        f"Best validation loss {best:.4f} nats, {nats_to_bits(best):.3f} bits per character."
        if counters.progress_lines
        else "Not validated yet."
    )
    return (
        f"ended after {counters.step:,} steps and {counters.seconds:.0f} s: {trainer.ending}. "
        f"{validated}\n"
        f"Next: chargen sample {path}\n"
        f"      chargen evaluate {path}\n"
        f"      chargen probe-longrange {path}\n"
        f"      chargen watch {path} --once\n"
        f"      chargen train --resume --out {path}{_more(trainer)}"
    )


def _more(trainer: Trainer) -> str:
    """With what budget a run is gone on with: twice the old one, where that is used up."""
    settings = trainer.settings
    if trainer.ending == "stopped":
        return ""
    if settings.steps:
        return f" --steps {2 * settings.steps}"
    if settings.epochs:
        return f" --epochs {2 * settings.epochs:g}"
    return f" --minutes {2 * (settings.minutes or MINUTES):g}"
