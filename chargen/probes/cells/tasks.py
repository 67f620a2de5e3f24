"""Instrument (d): memory tasks with a known chance level.

The model reads trials of an exact span. A trial's character is correct if the model gives the
correct candidate the highest probability among the task's K candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chargen.datasets.tasks import Task, Trial
from chargen.errors import ChargenError
from chargen.evaluation import Segments, predictions
from chargen.predictors import NextCharPredictor
from chargen.probes.cells.result import VariantScores, by_round
from chargen.text.vocabulary import UnknownCharacterError

SPANS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)  # characters; the nearest span of the task is used
TRIALS = 400  # minimum per span and variant
PREFIX_CHARS = (32, 128)  # minimum and limit of the lines of the task before a trial


def measure(
    predictor: NextCharPredictor,
    task: Task,
    *,
    spans: Sequence[int] = SPANS,
    trials: int = TRIALS,
    seed: int = 0,
    untrained: NextCharPredictor | None = None,
) -> tuple[VariantScores, ...]:
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
        untrained: A predictor that is evaluated on the same trials.

    Raises:
        ChargenError: The predictor's vocabulary lacks a character of the task.
    """
    found = []
    for variant, chance in task.floors.items():
        used = task.nearest(spans, variant)
        batches = [_TrialBatch.generate(task, variant, span, trials, seed) for span in used]
        credits = tuple(tuple(batch.credits(predictor).tolist()) for batch in batches)
        controls = [batch.credits(untrained) for batch in batches] if untrained else []
        tallies = tuple((min(float(one.sum()), len(one)), len(one)) for one in controls)
        rounds = tuple(by_round(one.tolist(), len(task.candidates)) for one in controls)
        found.append(VariantScores(variant, chance, tuple(used), credits, tallies, rounds))
    return tuple(found)


@dataclass(frozen=True)
class _TrialBatch:
    """N trials of one variant and span, each at the end of a text of T characters."""

    task: Task
    texts: tuple[str, ...]
    before: tuple[int, ...]  # characters before each trial
    trials: tuple[Trial, ...]

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
        return cls(task, texts, before, tuple(trials))

    def credits(self, predictor: NextCharPredictor) -> np.ndarray:
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
        for found in predictions(predictor, ids, segments):
            columns = found.places - segments.begins[found.rows]
            scores = found.log_probs[:, candidates]  # (n, K)
            best = scores == scores.max(axis=1, keepdims=True)
            correct = best[np.arange(len(best)), answers[found.rows, columns]]
            credit[found.rows, columns] = correct / best.sum(axis=1)
        mean: np.ndarray = credit.mean(axis=1)
        return mean


def _lines(task: Task, chars: int, rng: np.random.Generator) -> str:
    """Return the last ``chars`` characters of random lines of the task's corpus."""
    text = ""
    while len(text) < chars:
        text += task.line(rng)
    return text[len(text) - chars :]
