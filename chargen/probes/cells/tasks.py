"""Instrument (d): tasks that need memory and whose floor is known.

Trials of exact spans are put to a predictor that learned the task's corpus, and what counts is
which of the task's candidates it holds the likeliest where one is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chargen.datasets.tasks import LONGEST_SPAN, Task, Trial
from chargen.errors import ChargenError
from chargen.evaluation import Meter, Segments, predictions
from chargen.files import Progress
from chargen.predictors import NextCharPredictor
from chargen.probes.statistics.intervals import Proportion
from chargen.probes.statistics.span50 import FEWEST_SPANS, Span50, fit
from chargen.text.vocabulary import UnknownCharacterError

SPANS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)  # or the nearest that a task has
TRIALS = 400  # a span and variant, at least: a 95 % interval no wider than 4.9 points either way
PREFIX_CHARS = (32, 128)  # of the task's own lines before a trial, at least and under
SOLVED = 0.95  # the share that is right, at every span up to the trained length


@dataclass(frozen=True)
class TaskRow:
    """What was found at one span of one variant."""

    variant: str  # such as "4 pairs"; empty for a task that has but one
    span: int  # characters from the end of what must be remembered to the start of its place
    beyond_corpus: bool  # longer than any span of the corpus
    beyond_timesteps: bool | None  # longer than gradients travelled; None where that is not known
    floor: float  # what guessing wins
    right: Proportion  # a trial that asks several characters counts the share that is right
    controls: Mapping[str, Proportion]
    credits: tuple[float, ...]  # what each trial won, 0 .. 1

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; shares are of 1, spans in characters."""
        return {
            "variant": self.variant,
            "span_chars": self.span,
            "beyond_corpus": self.beyond_corpus,
            "beyond_timesteps": self.beyond_timesteps,
            "chance": self.floor,
            **self.right.to_json(),
            "controls": {name: one.to_json() for name, one in self.controls.items()},
        }


@dataclass(frozen=True)
class TaskResult:
    """What the instrument found."""

    task: str
    seed: int
    trained_timesteps: int | None  # how far back gradients travelled, characters
    rows: tuple[TaskRow, ...]  # by variant, then by span
    span50: Mapping[str, Span50]  # by variant; without those that have too few spans

    def of(self, variant: str) -> tuple[TaskRow, ...]:
        """The rows of one variant, by span."""
        return tuple(row for row in self.rows if row.variant == variant)

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, the same for the same predictor and seed."""
        return {
            "instrument": "task",
            "task": self.task,
            "seed": self.seed,
            "trained_timesteps": self.trained_timesteps,
            "longest_trained_span_chars": LONGEST_SPAN,
            "span50": {variant: half.to_json() for variant, half in self.span50.items()},
            "spans": [row.to_json() for row in self.rows],
        }


def measure(
    predictor: NextCharPredictor,
    task: Task,
    *,
    spans: Sequence[int] = SPANS,
    trials: int = TRIALS,
    seed: int = 0,
    controls: Mapping[str, NextCharPredictor] | None = None,
    trained_timesteps: int | None = None,
    progress: Progress = lambda done, total: None,
) -> TaskResult:
    """Ask ``predictor`` at ``trials`` trials, or a few more, of each variant and span of ``task``.

    Spans are those that the task can make nearest to ``spans``, and its shortest. In each round
    of trials, as many as there are candidates, every candidate is right equally often. Every
    trial stands after other lines of the task, cut at random, whose length does not depend on the
    span. ``controls`` answer the same trials. A predictor whose vocabulary lacks a character of
    the task is a `ChargenError`.
    """
    asked = [(variant, span) for variant in task.floors for span in task.nearest(spans, variant)]
    batches = [_Batch.make(task, variant, span, trials, seed) for variant, span in asked]
    others = controls or {}
    meter = Meter(progress, sum(batch.chars for batch in batches) * (1 + len(others)))
    rows = []
    for batch in batches:
        won = batch.won(predictor, task, meter)
        answers = {name: _proportion(batch.won(one, task, meter)) for name, one in others.items()}
        rows.append(batch.row(task, won, answers, trained_timesteps))
    by_variant = ([row for row in rows if row.variant == variant] for variant in task.floors)
    together = len(task.candidates)
    halves = {some[0].variant: _span50(some, together, seed) for some in by_variant}
    fitted = {variant: half for variant, half in halves.items() if half}
    return TaskResult(task.name, seed, trained_timesteps, tuple(rows), fitted)


@dataclass(frozen=True)
class _Batch:
    """N trials of one variant and span, each at the end of a text of one length."""

    variant: str
    span: int
    texts: tuple[str, ...]  # (N,) of one length T
    before: tuple[int, ...]  # (N,) the characters before each trial
    trials: tuple[Trial, ...]  # (N,)

    @classmethod
    def make(cls, task: Task, variant: str, span: int, least: int, seed: int) -> _Batch:
        """A function of the arguments alone; other spans and variants do not change it."""
        rng = np.random.default_rng([seed, list(task.floors).index(variant), span])
        trials: list[Trial] = []
        while len(trials) < least:
            trials += task.trials(variant, span, rng)
        chars = max(len(trial.text) for trial in trials) + int(rng.integers(*PREFIX_CHARS))
        before = tuple(chars - len(trial.text) for trial in trials)
        texts = tuple(
            _lines(task, count, rng) + trial.text
            for trial, count in zip(trials, before, strict=True)
        )
        return cls(variant, span, texts, before, tuple(trials))

    @property
    def chars(self) -> int:
        """The characters that a predictor reads."""
        return len(self.texts) * (len(self.texts[0]) - 1)

    def row(
        self,
        task: Task,
        won: np.ndarray,
        controls: Mapping[str, Proportion],
        trained_timesteps: int | None,
    ) -> TaskRow:
        """What is to be known about these trials, of which each won so much."""
        return TaskRow(
            variant=self.variant,
            span=self.span,
            beyond_corpus=self.span > LONGEST_SPAN,
            beyond_timesteps=None if trained_timesteps is None else self.span > trained_timesteps,
            floor=task.floors[self.variant],
            right=_proportion(won),
            controls=controls,
            credits=tuple(won.tolist()),
        )

    def won(self, predictor: NextCharPredictor, task: Task, meter: Meter) -> np.ndarray:
        """What each trial won, ``(N,)``: the share of its characters that are right."""
        try:
            ids = predictor.vocabulary.encode("".join(self.texts)).astype(np.int64)
        except UnknownCharacterError as error:
            raise ChargenError(
                f"{task.name}: not learned: {error}; train on the {task.name} corpus"
            ) from None
        candidates = predictor.vocabulary.encode(task.candidates).astype(np.int64)
        N, T = len(self.texts), len(self.texts[0])
        starts = np.arange(N) * T
        places = np.array([trial.places for trial in self.trials])  # (N, Q)
        places += np.array(self.before)[:, None]
        answers = np.array([trial.answers for trial in self.trials])
        credit = np.zeros(places.shape)
        segments = Segments(starts, starts + places[:, 0], starts + T)
        for found in predictions(predictor, ids, segments, on_read=meter.read):
            columns = found.places - segments.begins[found.rows]
            held = found.log_probs[:, candidates]  # (n, K)
            best = held == held.max(axis=1, keepdims=True)
            own = best[np.arange(len(best)), answers[found.rows, columns]]
            credit[found.rows, columns] = own / best.sum(axis=1)
        won: np.ndarray = credit.mean(axis=1)
        return won


def _lines(task: Task, chars: int, rng: np.random.Generator) -> str:
    """The end of some lines of the task's corpus."""
    text = ""
    while len(text) < chars:
        text += task.line(rng)
    return text[len(text) - chars :]


def _proportion(won: np.ndarray) -> Proportion:
    return Proportion(min(float(won.sum()), float(len(won))), len(won))


def _span50(rows: Sequence[TaskRow], together: int, seed: int) -> Span50 | None:
    if len(rows) < FEWEST_SPANS:
        return None
    won = [by_round(row.credits, together) for row in rows]
    return fit([row.span for row in rows], won, rows[0].floor, seed)


def by_round(won: Sequence[float], together: int) -> tuple[float, ...]:
    """What each round won on average, of trials in their order, so many ``together`` in a round.

    The trials of a round say the same but for what is asked, and often come out the same: it is
    rounds that are independent, and that a bootstrap draws.
    """
    return tuple(np.reshape(won, (-1, together)).mean(axis=1).tolist())
