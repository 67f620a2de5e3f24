"""What the second half of instrument (b), `chargen.probes.mined.measure`, found in one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chargen.probes.mined.mining import CLOSERS, WORDS
from chargen.probes.statistics.intervals import Estimate
from chargen.render.text import counted

FEWEST_CASES = 100  # a bin with fewer prints no number


@dataclass(frozen=True)
class MinedRow:
    """What was found for one kind of dependency at distances of one power of two."""

    kind: str
    distance: int  # characters between cue and target, at least
    distance_most: int
    cases: int
    target_bits: Estimate | None  # what a target costs with all in view; None: too few cases
    gain: Estimate | None  # bits a target gained over swap; None: too few cases
    over_ngram: Estimate | None  # bits a target gained over an n-gram; None: also without one
    beyond_timesteps: bool | None  # longer than gradients travelled; None where not known
    untrained: Estimate | None = None  # what an untrained network gained over swap, bits a target

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; bits are those of a whole target."""
        told = {
            "target_bits": self.target_bits,
            "gain_over_swap_bits": self.gain,
            "gain_over_ngram_bits": self.over_ngram,
            "untrained_gain_over_swap_bits": self.untrained,
        }
        return {
            "kind": self.kind,
            "distance_chars": self.distance,
            "distance_most_chars": self.distance_most,
            "beyond_timesteps": self.beyond_timesteps,
            "cases": self.cases,
            **{k: v for name, some in told.items() if some for k, v in some.to_json(name).items()},
        }


@dataclass(frozen=True)
class MinedResult:
    """What the instrument found, by kind, then distance. Without any case there are no rows."""

    seed: int
    trained_timesteps: int | None  # how far back gradients travelled, characters
    chars: int  # of text in which dependencies were looked for
    full: int  # characters before a target that "all" means, at least
    ngram: str | None  # the name of the n-gram beside it
    rows: tuple[MinedRow, ...]

    def of_kind(self, kind: str) -> tuple[MinedRow, ...]:
        """The rows of one kind, by distance."""
        return tuple(row for row in self.rows if row.kind == kind)

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, the same for the same predictors, text and seed."""
        return {
            "instrument": "mined",
            "seed": self.seed,
            "trained_timesteps": self.trained_timesteps,
            "chars": self.chars,
            "full_context_chars": self.full,
            "ngram": self.ngram,
            "fewest_cases": FEWEST_CASES,
            "finding": self.finding(),
            "distances": [row.to_json() for row in self.rows],
        }

    def finding(self) -> str:
        """One sentence: up to what distance each kind gains from its cue."""
        trained = (
            f"; trained on {self.trained_timesteps} timesteps" if self.trained_timesteps else ""
        )
        return "; ".join(_finding(kind, self.of_kind(kind)) for kind in (WORDS, CLOSERS)) + trained


def _finding(kind: str, rows: Sequence[MinedRow]) -> str:
    told = [(row, row.gain) for row in rows if row.gain]
    if not told:
        return f"{kind}: no distance has {FEWEST_CASES} cases"
    best = None
    for row, gain in told:
        if gain.low <= 0:
            break
        best = row, gain
    if best is None:
        least = told[0][0]
        return f"{kind}: no gain at {_between(least)}"
    row, gain = best
    return (
        f"{kind}: gains from its cue up to {counted(row.distance_most, 'character')} back "
        f"({gain.value:.2f} bits, 95 % {gain.low:.2f} to {gain.high:.2f}, at {_between(row)})"
    )


def _between(row: MinedRow) -> str:
    if row.distance == row.distance_most:
        return counted(row.distance, "character")
    return f"{row.distance} to {row.distance_most} characters"
