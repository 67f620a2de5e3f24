"""Instrument (b), second half: what is gained where a text itself hangs on what stood before?

Mined from any text: a bracket or quote that closes, and a word that comes back after one earlier
use. Asked by how far back the cue lies: how many bits cheaper is the target with the cue in view?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chargen.predictors import NextCharPredictor, select
from chargen.probes import Progress
from chargen.probes.mining import CLOSERS, LONGEST, WORDS, Group, Plan
from chargen.probes.reading import Meter, Read, bits, cost, states_after
from chargen.probes.statistics import Estimate, block_bootstrap

FEWEST_CASES = 100  # a bin with fewer prints no number
NGRAM_CHARS = 32  # that an n-gram reads before a target: more than it looks back
BLOCK_CHARS = 1024  # of text whose cases the bootstrap draws together
SLICE = 64  # cases of like distance that are read side by side


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

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; bits are those of a whole target."""
        told = {
            "target_bits": self.target_bits,
            "gain_over_swap_bits": self.gain,
            "gain_over_ngram_bits": self.over_ngram,
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


def measure(
    predictor: NextCharPredictor,
    ids: np.ndarray,
    *,
    ngram: NextCharPredictor | None = None,
    ngram_name: str = "20-gram",
    longest: int = LONGEST,
    seed: int = 0,
    trained_timesteps: int | None = None,
    progress: Progress = lambda done, total: None,
) -> MinedResult:
    """Measure what cues less than ``longest`` characters back, a power of two, are worth.

    ``ids`` is ``(L,)``, text that the predictor was not trained on; its first 131,072 characters
    are mined. "All" is the text from twice ``longest`` before a target on, at least. With *swap*
    everything up to the end of the cue gives way to another part of the same text, about as long,
    which does not hold the word, or in which nothing awaits the closing character at its end; so
    the gain is that of the cue and of what stood before it. A word is scored whole, from its
    first character on. ``ngram`` reads 32 characters before each of the same targets, which is
    exact up to order 33. 256 cases a bin at most, drawn at random; under 100 no number is given.

    What is exact: every target is read from its own cue on. Full readings go through the text in
    streams that are warmed on twice ``longest`` characters.
    """
    if longest < 2 or longest & (longest - 1):
        raise ValueError(f"longest is {longest}, it must be a power of two above 1")
    plan = Plan.of(predictor.vocabulary, ids, longest, seed)
    asked = [group for group in plan.groups if len(group) >= FEWEST_CASES]
    found = _read(predictor, ngram, plan, asked, progress) if asked else {}
    rows = []
    for place, group in enumerate(plan.groups):
        rng = np.random.default_rng([seed, 2, place])
        estimates = _estimates(group, found.get((group.kind, group.distance)), rng)
        beyond = None if trained_timesteps is None else group.distance > trained_timesteps
        rows.append(
            MinedRow(
                group.kind, group.distance, 2 * group.distance - 1, len(group), *estimates, beyond
            )
        )
    name = ngram_name if ngram else None
    return MinedResult(seed, trained_timesteps, len(plan.ids), plan.full, name, tuple(rows))


@dataclass(frozen=True)
class _Bits:
    """What the targets of a group cost and what they gained, bits a target, each ``(N,)``."""

    full: np.ndarray
    gain: np.ndarray
    over_ngram: np.ndarray | None


Found = Mapping[tuple[str, int], _Bits]
"""By kind and distance."""


def _read(
    predictor: NextCharPredictor,
    ngram: NextCharPredictor | None,
    plan: Plan,
    groups: Sequence[Group],
    progress: Progress,
) -> Found:
    lengths = sorted({plan.swap_chars(group) for group in groups})
    read = Meter(progress, _chars(plan, groups, lengths, ngram is not None)).read
    known = plan.in_place(bits(predictor, plan.ids, *plan.streams, None, read))
    found = {}
    for length, _, state in states_after(predictor, plan.ids, plan.swaps, lengths, read):
        for group in (some for some in groups if plan.swap_chars(some) == length):
            gains = []
            for part in group.slices(SLICE):
                places = part.cue_ends, part.starts, part.ends
                swapped = bits(predictor, plan.ids, *places, select(state, part.swaps), read)
                gains.append((swapped - part.rows_of(known)).sum(axis=1))
            full = group.rows_of(known).sum(axis=1)
            over = None if ngram is None else _ngram_bits(ngram, plan.ids, group, read) - full
            found[group.kind, group.distance] = _Bits(full, np.concatenate(gains), over)
    return found


def _ngram_bits(ngram: NextCharPredictor, ids: np.ndarray, group: Group, read: Read) -> np.ndarray:
    starts = (group.starts - NGRAM_CHARS).clip(min=0)
    told: np.ndarray = bits(ngram, ids, starts, group.starts, group.ends, None, read).sum(axis=1)
    return told


def _chars(plan: Plan, groups: Sequence[Group], lengths: Sequence[int], ngram: bool) -> int:
    """The characters that are read."""
    total = cost(plan.streams[0], plan.streams[2]) + len(plan.swaps) * lengths[-1]
    for group in groups:
        total += sum(cost(part.cue_ends, part.ends) for part in group.slices(SLICE))
        if ngram:
            total += cost((group.starts - NGRAM_CHARS).clip(min=0), group.ends)
    return total


def _estimates(
    group: Group, found: _Bits | None, rng: np.random.Generator
) -> tuple[Estimate | None, Estimate | None, Estimate | None]:
    """What targets cost in full, gained over swap and over the n-gram, with intervals."""
    if found is None:
        return None, None, None
    columns = [found.full, found.gain, *([] if found.over_ngram is None else [found.over_ngram])]
    values = np.stack(columns, axis=1)  # (N, 2 or 3)
    blocks, block_of = np.unique(group.starts // BLOCK_CHARS, return_inverse=True)
    sums = np.zeros((len(blocks), values.shape[1]))
    np.add.at(sums, block_of, values)
    draws = block_bootstrap(sums, np.bincount(block_of), rng)
    full, gain, *over = (
        Estimate.of(float(mean), draws[:, column])
        for column, mean in enumerate(values.mean(axis=0))
    )
    return full, gain, over[0] if over else None


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
        return f"{kind}: no gain at {least.distance} to {least.distance_most} characters"
    row, gain = best
    return (
        f"{kind}: gains from its cue up to {row.distance_most} characters back ({gain.value:.2f} "
        f"bits, 95 % {gain.low:.2f} to {gain.high:.2f}, at {row.distance} to {row.distance_most})"
    )
