"""Several cells, several seeds, one budget: what the difference between architectures is worth.

A cell that was trained once is one observation, however many sentences it was asked. Intervals
are therefore from a bootstrap over seeds, then over trials (A. C. Davison and D. V. Hinkley,
"Bootstrap methods and their application", 1997, 3.8). All seeds answer the same trials, so for
the mean these are drawn once for all of them: a set of trials that happens to be easy is so for
every seed (A. B. Owen, "The pigeonhole bootstrap", 2007).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from chargen.probes.cells.result import Answers, CellResult, Training, VariantResult
from chargen.probes.cells.tasks import SOLVED, TaskResult, by_round
from chargen.probes.statistics.intervals import BOOTSTRAP_DRAWS, Estimate, wilson
from chargen.probes.statistics.span50 import Span50, said
from chargen.probes.templates.result import TemplatesResult


def answers_of(result: TemplatesResult | TaskResult, control: str) -> tuple[Answers, ...]:
    """What a model won, a variant at a time; ``control`` names the untrained network's answers."""
    if isinstance(result, TemplatesResult):
        rows = result.rows
        controls = [row.controls[control].choice for row in rows if control in row.controls]
        spans, credits = tuple(r.span for r in rows), tuple(r.credits for r in rows)
        return (Answers("", rows[0].chance, spans, credits, tuple(controls)),)
    found = []
    for variant in dict.fromkeys(row.variant for row in result.rows):
        own = result.of(variant)
        controls = [row.controls[control] for row in own if control in row.controls]
        spans, credits = tuple(row.span for row in own), tuple(row.credits for row in own)
        found.append(Answers(variant, own[0].floor, spans, credits, tuple(controls)))
    return tuple(found)


def gather(
    cell: str,
    units: tuple[int, ...],
    parameters: int,
    learning_rate: float,
    tuning: Mapping[float, float | None],
    trainings: Sequence[Training],
    timesteps: int,
    seed: int,
    together: int = 1,
) -> CellResult:
    """Put the trainings of one cell together; the bootstrap is a function of ``seed``.

    So many trials ``together``, one after the other, are a round: they are drawn as one.
    """
    rng = np.random.default_rng([seed, 2])
    S = len(trainings)
    bits = np.array([one.bits_per_char for one in trainings])
    drawn = bits[rng.integers(S, size=(BOOTSTRAP_DRAWS, S))].mean(axis=1)
    by_variant = zip(*(one.answers for one in trainings), strict=True)
    return CellResult(
        cell=cell,
        units=units,
        parameters=parameters,
        learning_rate=learning_rate,
        tuning=tuning,
        trainings=tuple(trainings),
        variants=tuple(_variant(answers, timesteps, seed, together, rng) for answers in by_variant),
        bits_per_char=Estimate.of(float(bits.mean()), drawn),
    )


def _variant(
    answers: tuple[Answers, ...],
    timesteps: int,
    seed: int,
    together: int,
    rng: np.random.Generator,
) -> VariantResult:
    trials = tuple(map(len, answers[0].credits))
    rounds = [[by_round(won, together) for won in one.credits] for one in answers]
    dealt = [replace(one, credits=tuple(won)) for one, won in zip(answers, rounds, strict=True)]
    text, chars = _median_span50([half for one in dealt if (half := one.span50(seed))], rng)
    return VariantResult(
        answers=answers,
        accuracy=tuple(
            _mean(np.array(won), count * len(answers), rng)
            for won, count in zip(zip(*rounds, strict=True), trials, strict=True)
        ),
        span50=text,
        span50_chars=chars,
        solved=tuple(_solves(one, timesteps) for one in answers),
        trials=trials,
    )


def _mean(won: np.ndarray, trials: int, rng: np.random.Generator) -> Estimate:
    """The mean over S seeds of what each won on average in the same R rounds: ``won``, ``(S, R)``.

    Its interval is that of the bootstrap, and never narrower than Wilson's of all ``trials``.
    """
    S, R = won.shape
    times = rng.multinomial(R, np.full(R, 1 / R), BOOTSTRAP_DRAWS)  # (draws, R)
    shares = times @ won.T / R  # (draws, S)
    seeds = rng.integers(S, size=(BOOTSTRAP_DRAWS, S))
    mean = float(won.mean())
    found = Estimate.of(mean, np.take_along_axis(shares, seeds, axis=1).mean(axis=1))
    # Where every trial was right no draw differs, and yet the next trial might be wrong.
    low, high = wilson(mean * trials, trials)
    return Estimate(mean, min(found.low, low), max(found.high, high))


def _median_span50(
    halves: Sequence[Span50], rng: np.random.Generator
) -> tuple[str, tuple[float, float, float] | None]:
    """The median over seeds; a seed whose curve fits nothing leaves none that means anything.

    Of each seed that is drawn, once or more often, its own draws of rounds are taken.
    """
    unfit = sum(not half.fits for half in halves)
    if not halves or unfit:
        return (f"no fit in {unfit} of {len(halves)} seeds" if unfit else "not fitted"), None
    S = len(halves)
    drawn = np.array([half.drawn for half in halves])  # (S, draws)
    seeds = rng.integers(S, size=(BOOTSTRAP_DRAWS, S))
    columns = rng.integers(drawn.shape[1], size=seeds.shape)
    medians = _median(drawn[seeds, columns])
    low, high = np.quantile(medians, [0.025, 0.975], method="inverted_cdf")
    middle = float(_median(np.array([[half.chars for half in halves]]))[0])
    chars = (middle, min(float(low), middle), max(float(high), middle))
    return said(*chars, halves[0].first, halves[0].last), chars


def _median(values: np.ndarray) -> np.ndarray:
    """Of each row, one of its values: between a number and infinity there is no middle."""
    S = values.shape[1]
    middle: np.ndarray = np.sort(values, axis=1)[:, (S - 1) // 2]
    return middle


def _solves(answers: Answers, timesteps: int) -> bool:
    """Right in `SOLVED` at every span up to ``timesteps``, of which there must be one."""
    shares = zip(answers.spans, answers.accuracy, strict=True)
    within = [share for span, share in shares if span <= timesteps]
    return bool(within) and min(within) >= SOLVED
