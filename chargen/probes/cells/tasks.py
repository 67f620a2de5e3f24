"""Memory tasks with a known chance level: the correct one of K candidates must be the likeliest."""

from collections.abc import Sequence

import numpy as np

from chargen.datasets.tasks import Task, Trial
from chargen.evaluation import Segments, predictions
from chargen.predictors import NextCharPredictor
from chargen.probes.cells.result import VariantScores, by_round
from chargen.probes.templates.measure import SPANS
from chargen.probes.templates.scoring import credit_of

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
    """Evaluate a predictor, and ``untrained``, on trials of every variant and span of a task.

    In each round every candidate is correct once. A trial follows other lines of the task, cut at a
    random length. The spans are the task's shortest and those nearest to ``spans``.
    """
    found = []
    for number, (variant, chance) in enumerate(task.floors.items()):
        used = task.nearest(spans, variant)
        own, control = [], []
        for span in used:  # the trials do not depend on other spans and variants
            rng = np.random.default_rng([seed, number, span])
            batch: list[Trial] = []
            while len(batch) < trials:
                batch += task.trials(variant, span, rng)
            texts = _texts(task, batch, rng)
            own.append(_credits(predictor, task, batch, texts))
            if untrained is not None:
                control.append(_credits(untrained, task, batch, texts))
        found.append(
            VariantScores(
                variant,
                chance,
                tuple(used),
                tuple(tuple(one.tolist()) for one in own),
                tuple((min(float(one.sum()), len(one)), len(one)) for one in control),
                tuple(by_round(one.tolist(), len(task.candidates)) for one in control),
            )
        )
    return tuple(found)


def _texts(task: Task, trials: Sequence[Trial], rng: np.random.Generator) -> list[str]:
    """Return each trial at the end of a text of T characters, after other lines of the corpus."""
    T = max(len(trial.text) for trial in trials) + int(rng.integers(*PREFIX_CHARS))
    texts = []
    for trial in trials:
        before = ""
        while len(before) < T - len(trial.text):
            before += task.line(rng)
        texts.append((before + trial.text)[len(before) + len(trial.text) - T :])
    return texts


def _credits(
    predictor: NextCharPredictor, task: Task, trials: Sequence[Trial], texts: Sequence[str]
) -> np.ndarray:
    """Return the fraction of each trial's targets that is correct, ``(N,)``."""
    ids = predictor.vocabulary.encode("".join(texts)).astype(np.int64)
    candidates = predictor.vocabulary.encode(task.candidates).astype(np.int64)
    starts, T = np.arange(len(texts)) * len(texts[0]), len(texts[0])
    before = np.array([T - len(trial.text) for trial in trials])
    places = np.array([trial.places for trial in trials]) + before[:, None]  # (N, Q)
    answers = np.array([trial.answers for trial in trials])
    credit = np.zeros(places.shape)
    segments = Segments(starts, starts + places[:, 0], starts + T)
    for found in predictions(predictor, ids, segments):
        columns = found.places - segments.begins[found.rows]
        shares = credit_of(found.log_probs[:, candidates])  # (n, K)
        credit[found.rows, columns] = shares[np.arange(len(shares)), answers[found.rows, columns]]
    return credit.mean(axis=1)
