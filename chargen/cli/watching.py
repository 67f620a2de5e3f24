"""What a person sees while a model trains, and how they stop it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
from tqdm import tqdm

from chargen.cli.terminal import say
from chargen.evaluation import nats_to_bits
from chargen.reports.visible import visible_line
from chargen.sampling import first_prompt, generate
from chargen.settings import SamplingSettings
from chargen.training import Report, Session, Trainer

SAMPLE_CHARS = 120
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

    def __init__(self) -> None:
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
                disable=not sys.stderr.isatty(),
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


def watch(session: Session, should_stop: Callable[[], bool]) -> None:
    """Train to the end, showing a bar on a terminal and a line a validation elsewhere.

    Of a group's processes the first one shows it.
    """
    trainer = session.trainer
    if not trainer.group.leads:
        session.run(should_stop)
        return
    for note in session.notes:
        _say(visible_line(note))
    _say(_opening(trainer))
    shows_bar = sys.stderr.isatty()
    next_sample = SECONDS_BETWEEN_SAMPLES / 3
    with tqdm(
        total=100,
        disable=not shows_bar,
        bar_format="{percentage:3.0f}%|{bar}| {desc}",
        dynamic_ncols=True,
    ) as bar:
        for report in trainer.reports(should_stop):
            bar.n = 100 * report.budget_used
            bar.set_description_str(_line(report, trainer), refresh=False)
            bar.update(0)
            if report.validation_loss_nats is None:
                continue
            if not shows_bar:
                _say(_line(report, trainer))
            if report.unsaved:
                with bar.external_write_mode(file=sys.stderr):
                    _say(f"{visible_line(report.unsaved)}; the next validation tries again")
            if report.seconds >= next_sample:
                next_sample = report.seconds + SECONDS_BETWEEN_SAMPLES
                with bar.external_write_mode(file=sys.stderr):
                    _say(_sample(trainer), dim=True)
    _say(_closing(trainer))


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
        f"{model.cell} of {' + '.join(map(str, model.units))} units, {weights:,} weights; "
        f"{settings.batch_size} texts side by side, {settings.timesteps} timesteps, "
        f"state {settings.state}, seed {settings.seed}{together}"
    )


def _line(report: Report, trainer: Trainer) -> str:
    best = trainer.counters.best_loss
    shown = f"{best:.3f}" if trainer.counters.progress_lines else "-"
    left = report.seconds / max(report.budget_used, 1e-9) - report.seconds
    return (
        f"step {report.step}  loss {report.train_loss_nats:.3f}  best validation {shown}  "
        f"{report.chars / report.seconds:,.0f} chars/s  {left:.0f} s left"
    )


def _sample(trainer: Trainer) -> str:
    vocabulary, rng = trainer.vocabulary, np.random.default_rng(trainer.counters.step)
    prompt = first_prompt(vocabulary)
    settings = SamplingSettings(temperature=0.8)
    rows = list(generate(trainer.predictor, prompt, SAMPLE_CHARS, settings, rng))
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
        f"      chargen probe-longrange {path}"
    )
