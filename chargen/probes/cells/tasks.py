"""Instrument (d): memory tasks with a known chance level.

The model reads trials of an exact span. A trial's character is correct if the model gives the
correct candidate the highest probability among the task's K candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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

SPANS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)  # characters; the nearest span of the task is used
TRIALS = 400  # minimum per span and variant: the 95% interval is at most 4.9 points to either side
PREFIX_CHARS = (32, 128)  # minimum and limit of the lines of the task before a trial
SOLVED = 0.95  # minimum accuracy, at every span up to the training length


@dataclass(frozen=True)
class TaskRow:
    """Accuracy at one span of one variant."""

    variant: str  # such as "4 pairs"; empty for a task with one variant
    span: int  # characters from the end of the cue to the start of the target
    beyond_corpus: bool  # longer than every span of the corpus
    beyond_timesteps: bool | None  # longer than the training length; None if that is unknown
    chance: float
    accuracy: Proportion  # a trial with several targets counts the fraction that is correct
    controls: Mapping[str, Proportion]
    credits: tuple[float, ...]  # of each trial, 0 to 1

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; proportions as fractions of 1, spans in characters."""
        return {
            "variant": self.variant,
            "span_chars": self.span,
            "beyond_corpus": self.beyond_corpus,
            "beyond_timesteps": self.beyond_timesteps,
            "chance": self.chance,
            **self.accuracy.to_json(),
            "controls": {name: one.to_json() for name, one in self.controls.items()},
        }


@dataclass(frozen=True)
class TaskResult:
    """Accuracy of one model on one task."""

    task: str
    seed: int
    trained_timesteps: int | None  # truncated BPTT length in characters
    round_size: int  # trials per round
    rows: tuple[TaskRow, ...]  # by variant, then by span

    @cached_property
    def span50(self) -> dict[str, Span50]:
        """The span50 by variant, except variants with too few spans."""
        return {
            variant: fit(
                [row.span for row in own],
                [by_round(row.credits, self.round_size) for row in own],
                own[0].chance,
                self.seed,
            )
            for variant in dict.fromkeys(row.variant for row in self.rows)
            if len(own := self.of(variant)) >= FEWEST_SPANS
        }

    def of(self, variant: str) -> tuple[TaskRow, ...]:
        """Return the rows of one variant, by span."""
        return tuple(row for row in self.rows if row.variant == variant)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, a function of the predictor and the seed."""
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
    """Evaluate a predictor on trials of every variant and span of a task.

    Each round of trials has one trial per candidate, so that every candidate is correct equally
    often. A trial follows other lines of the task, cut at a random length that does not depend on
    the span.

    Args:
        predictor: The model under test.
        task: The task that the model was trained on.
        spans: Spans in characters. The nearest spans that the task has are used, and its shortest.
        trials: Minimum number of trials per variant and span; rounds are complete.
        seed: Random seed of the trials.
        controls: Predictors that are evaluated on the same trials, by name.
        trained_timesteps: Truncated BPTT length of the model, if known.
        progress: Called with the characters read and their total.

    Raises:
        ChargenError: The predictor's vocabulary lacks a character of the task.
    """
    wanted = [(variant, span) for variant in task.floors for span in task.nearest(spans, variant)]
    batches = [_TrialBatch.generate(task, variant, span, trials, seed) for variant, span in wanted]
    others = controls or {}
    meter = Meter(progress, sum(batch.chars for batch in batches) * (1 + len(others)))
    rows = []
    for batch in batches:
        credits = batch.credits(predictor, meter)
        controlled = {name: proportion(batch.credits(one, meter)) for name, one in others.items()}
        beyond = None if trained_timesteps is None else batch.span > trained_timesteps
        rows.append(
            TaskRow(
                variant=batch.variant,
                span=batch.span,
                beyond_corpus=batch.span > LONGEST_SPAN,
                beyond_timesteps=beyond,
                chance=task.floors[batch.variant],
                accuracy=proportion(credits),
                controls=controlled,
                credits=tuple(credits.tolist()),
            )
        )
    return TaskResult(task.name, seed, trained_timesteps, len(task.candidates), tuple(rows))


@dataclass(frozen=True)
class _TrialBatch:
    """N trials of one variant and span, each at the end of a text of T characters."""

    task: Task
    variant: str
    span: int
    texts: tuple[str, ...]  # (N,)
    before: tuple[int, ...]  # (N,) characters before each trial
    trials: tuple[Trial, ...]  # (N,)

    @classmethod
    def generate(cls, task: Task, variant: str, span: int, least: int, seed: int) -> _TrialBatch:
        """Generate trials from the arguments alone, independent of other spans and variants."""
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
        return cls(task, variant, span, texts, before, tuple(trials))

    @property
    def chars(self) -> int:
        """The number of characters that a predictor reads."""
        return len(self.texts) * (len(self.texts[0]) - 1)

    def credits(self, predictor: NextCharPredictor, meter: Meter) -> np.ndarray:
        """Return the fraction of each trial's targets that is correct, ``(N,)``."""
        task, vocabulary = self.task, predictor.vocabulary
        try:
            ids = vocabulary.encode("".join(self.texts)).astype(np.int64)
        except UnknownCharacterError as error:
            raise ChargenError(
                f"{task.name}: not in the model's training data: {error}; train on the "
                f"{task.name} corpus"
            ) from None
        candidates = vocabulary.encode(task.candidates).astype(np.int64)
        N, T = len(self.texts), len(self.texts[0])
        starts = np.arange(N) * T
        places = np.array([trial.places for trial in self.trials])  # (N, Q)
        places += np.array(self.before)[:, None]
        answers = np.array([trial.answers for trial in self.trials])
        credit = np.zeros(places.shape)
        segments = Segments(starts, starts + places[:, 0], starts + T)
        for found in predictions(predictor, ids, segments, on_read=meter.read):
            columns = found.places - segments.begins[found.rows]
            scores = found.log_probs[:, candidates]  # (n, K)
            best = scores == scores.max(axis=1, keepdims=True)
            correct = best[np.arange(len(best)), answers[found.rows, columns]]
            credit[found.rows, columns] = correct / best.sum(axis=1)
        mean: np.ndarray = credit.mean(axis=1)
        return mean


def proportion(credits: np.ndarray) -> Proportion:
    """Return the mean credit of trials as a proportion."""
    return Proportion(min(float(credits.sum()), float(len(credits))), len(credits))


def by_round(credits: Sequence[float], round_size: int) -> tuple[float, ...]:
    """Return the mean credit of each round of ``round_size`` consecutive trials.

    The trials of a round differ only in the target and their outcomes are correlated. Rounds are
    independent, and a bootstrap resamples them.
    """
    return tuple(np.reshape(credits, (-1, round_size)).mean(axis=1).tolist())


def _lines(task: Task, chars: int, rng: np.random.Generator) -> str:
    """Return the last ``chars`` characters of random lines of the task's corpus."""
    text = ""
    while len(text) < chars:
        text += task.line(rng)
    return text[len(text) - chars :]
