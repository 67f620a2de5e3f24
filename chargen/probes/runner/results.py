"""What the instruments found in one run, and in several that were asked the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chargen.probes.context.result import BitsComparison, ContextResult
from chargen.probes.gradient.result import GradientResult
from chargen.probes.mined.result import MinedResult
from chargen.probes.templates.comparison import PairComparison
from chargen.probes.templates.demonstration import Shown
from chargen.probes.templates.farther import farther
from chargen.probes.templates.result import TemplatesResult

TRAINED, UNTRAINED = "trained", "untrained"


@dataclass(frozen=True)
class Probed:
    """What the instruments found; ``None`` or empty for one that was not asked or could not be."""

    run: str
    templates: TemplatesResult | None = None
    demonstration: tuple[Shown, ...] = ()  # where templates claims nothing: two sentences, for show
    context: Mapping[str, ContextResult] = field(default_factory=dict)
    mined: MinedResult | None = None
    gradient: Mapping[str, GradientResult] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, the same for the same run and seed."""
        return {
            "run": self.run,
            "templates": self.templates and self.templates.to_json(),
            "demonstration": [shown.to_json() for shown in self.demonstration],
            "context": {name: found.to_json() for name, found in self.context.items()},
            "mined": self.mined and self.mined.to_json(),
            "gradient": {name: found.to_json() for name, found in self.gradient.items()},
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class ProbedRuns:
    """What the instruments found in several runs, asked the same, and how the runs compare."""

    runs: tuple[Probed, ...]
    templates: tuple[PairComparison, ...] = ()  # of those runs that know the bank
    context: tuple[BitsComparison, ...] = ()  # of all runs, at the same characters
    warnings: tuple[str, ...] = ()

    def results(self) -> dict[str, TemplatesResult]:
        """What the templates found, by run; also where nothing is claimed."""
        return {run.run: run.templates for run in self.runs if run.templates}

    def finding(self) -> str:
        """One sentence: which run remembers farther, or what else was compared."""
        if self.results():
            return farther(self.results(), self.templates)
        found = [run.context[TRAINED] for run in self.runs if run.context]
        if not found:
            return "nothing was asked that would tell which run remembers farther"
        names = [run.run for run in self.runs if run.context]
        return "; ".join(f"{name} {one.finding()}" for name, one in zip(names, found, strict=True))

    def to_json(self) -> dict[str, Any]:
        """Plain values, the same for the same runs and seed."""
        rows = [row for pair in self.templates for row in pair.to_json()]
        return {
            "runs": [run.to_json() for run in self.runs],
            "comparisons": [*rows, *(pair.to_json() for pair in self.context)],
            "finding": self.finding(),
            "warnings": list(self.warnings),
        }
