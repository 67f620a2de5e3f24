"""Result of comparing cells: scores of each run, summaries over seeds, and their JSON."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from chargen.probes.statistics.intervals import Estimate, Proportion
from chargen.probes.statistics.span50 import FEWEST_SPANS, Span50, fit
from chargen.render.text import counted

SOLVED = 0.95  # minimum accuracy, at every span up to the training length


class VariantScores(Struct, frozen=True, forbid_unknown_fields=True):
    """Scores of one trained model in one variant of a task, by span."""

    variant: str  # empty for a task with one variant
    chance: float
    spans: tuple[int, ...]  # ascending, characters
    credits: tuple[tuple[float, ...], ...]  # by span: the credit of each trial, 0 to 1
    untrained: tuple[tuple[float, int], ...] = ()  # by span: successes and trials; () if not run

    @property
    def accuracy(self) -> tuple[float, ...]:
        """The mean credit, by span."""
        return tuple(sum(credits) / len(credits) for credits in self.credits)

    def span50(self, seed: int) -> Span50 | None:
        """Fit the span50; None if the variant has too few spans."""
        if len(self.spans) < FEWEST_SPANS:
            return None
        return fit(self.spans, self.credits, self.chance, seed)


class RunScores(Struct, frozen=True, forbid_unknown_fields=True):
    """Scores of one training run, as ``answers.json`` stores them."""

    bits_per_char: float  # lowest validation loss
    chars: int  # read in training
    seconds: float
    # The loss became NaN or infinite. The best validated weights are evaluated, or the initial
    # weights if there was no validation.
    diverged: bool
    answers: tuple[VariantScores, ...] = ()  # by variant


@dataclass(frozen=True)
class VariantSummary:
    """Scores of one cell in one variant, over all seeds."""

    scores: tuple[VariantScores, ...]  # by seed
    accuracy: tuple[Estimate, ...]  # by span, the mean over seeds
    span50: str  # the median over seeds with its interval, as text
    span50_chars: tuple[float, float, float] | None  # median, low, high; None without a fit
    solved: tuple[bool, ...]  # by seed
    trials: tuple[int, ...]  # by span, of each seed

    @property
    def first(self) -> VariantScores:
        """Scores of the first seed: variant, spans and chance are equal for all seeds."""
        return self.scores[0]

    @property
    def untrained(self) -> tuple[Proportion, ...]:
        """Accuracy of an untrained network by span; empty if it was not evaluated."""
        pairs = next((one.untrained for one in self.scores if one.untrained), ())
        return tuple(Proportion(*pair) for pair in pairs)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; proportions as fractions of 1, spans in characters."""
        first, untrained = self.first, self.untrained
        bounds = zip(("", "_low", "_high"), self.span50_chars or (None,) * 3, strict=True)
        return {
            "variant": first.variant,
            "chance": first.chance,
            "solved_share": sum(self.solved) / len(self.solved),
            "solved": list(self.solved),
            "span50": self.span50,
            **{
                f"span50_chars{end}": round(x, 1)
                if x is not None and first.spans[0] <= x <= first.spans[-1]
                else None
                for end, x in bounds
            },
            "spans": [
                {
                    "span_chars": span,
                    **self.accuracy[place].to_json("accuracy"),
                    "accuracy_by_seed": [one.accuracy[place] for one in self.scores],
                    "trials_a_seed": self.trials[place],
                    "untrained": untrained[place].to_json() if untrained else None,
                }
                for place, span in enumerate(first.spans)
            ],
        }


@dataclass(frozen=True)
class CellSummary:
    """Scores of one cell, trained with several seeds."""

    cell: str
    units: tuple[int, ...]
    parameters: int
    learning_rate: float
    tuning: Mapping[float, float | None]  # learning rate → bits per character; None: diverged
    runs: tuple[RunScores, ...]  # by seed: 0, 1, 2, …
    variants: tuple[VariantSummary, ...]
    bits_per_char: Estimate  # mean over seeds

    @property
    def chars_per_second(self) -> float:
        """The median training speed over seeds, validation included; 0 if nothing was read."""
        rates = [run.chars / run.seconds for run in self.runs if run.seconds > 0]
        return statistics.median(rates) if rates else 0.0

    @property
    def diverged(self) -> int:
        """The number of runs that diverged."""
        return sum(run.diverged for run in self.runs)

    def finding(self) -> str:
        """Return the solved seeds and the span50 of each variant, in one clause."""
        parts = []
        for variant in self.variants:
            solved = f"solved by {sum(variant.solved)} of {counted(len(variant.solved), 'seed')}"
            label = f"{variant.first.variant}: " if variant.first.variant else ""
            parts.append(f"{label}{solved}, span50 {variant.span50}")
        if self.diverged:
            parts.append(f"{counted(self.diverged, 'run')} diverged")
        return f"{self.cell}: {', '.join(parts)}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; keys carry their units."""
        bits: dict[str, float | None] = {**self.bits_per_char.to_json("bits_per_char")}
        if len(self.runs) == 1:  # one run gives no interval
            bits |= {"bits_per_char_low": None, "bits_per_char_high": None}
        return {
            "cell": self.cell,
            "units": list(self.units),
            "parameters": self.parameters,
            "learning_rate": self.learning_rate,
            "tuning": [
                {"learning_rate": rate, "bits_per_char": found}
                for rate, found in self.tuning.items()
            ],
            **bits,
            "chars_per_second": round(self.chars_per_second),
            "diverged": self.diverged,
            "trainings": [
                {
                    "seed": seed,
                    "bits_per_char": run.bits_per_char,
                    "chars": run.chars,
                    "seconds": round(run.seconds, 1),
                    "diverged": run.diverged,
                }
                for seed, run in enumerate(self.runs)
            ],
            "variants": [variant.to_json() for variant in self.variants],
        }


@dataclass(frozen=True)
class CellComparison:
    """Summaries of several cells, trained on one task with one budget."""

    task: str
    budget: str  # such as "2 minutes"
    seed: int  # of the trials
    trained_timesteps: int
    longest_trained_span: int  # characters
    threads: int  # CPU threads of each run
    cells: tuple[CellSummary, ...]

    @property
    def seeds(self) -> int:
        """The number of runs of each cell."""
        return len(self.cells[0].runs)

    def finding(self) -> str:
        """Return which cells solve the task and their span50, in one sentence."""
        cells = "; ".join(cell.finding() for cell in self.cells)
        return f"{self.task}: {cells}; trained on {counted(self.trained_timesteps, 'timestep')}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object with every number of the report."""
        return {
            "task": self.task,
            "budget": self.budget,
            "seed": self.seed,
            "trained_timesteps": self.trained_timesteps,
            "longest_trained_span_chars": self.longest_trained_span,
            "threads": self.threads,
            "solved_at": SOLVED,
            "finding": self.finding(),
            "cells": [cell.to_json() for cell in self.cells],
        }
