"""Instrument (b), second half: what is gained where a text itself hangs on what stood before?

Mined from any text: a bracket or quote that closes, and a word that comes back after one earlier
use. Asked by how far back the cue lies: how many bits cheaper is the target with the cue in view?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chargen.evaluation import Meter, OnRead, Segments, states_after, surprisals
from chargen.files import Progress
from chargen.predictors import NextCharPredictor, select
from chargen.probes.mined.mining import LONGEST, Group, Plan
from chargen.probes.mined.result import FEWEST_CASES, MinedResult, MinedRow
from chargen.probes.statistics.intervals import Estimate, block_bootstrap

NGRAM_CHARS = 32  # that an n-gram reads before a target: more than it looks back
BLOCK_CHARS = 1024  # of text whose cases the bootstrap draws together
SLICE = 64  # cases of like distance that are read side by side


def measure(
    predictor: NextCharPredictor,
    ids: np.ndarray,
    *,
    ngram: NextCharPredictor | None = None,
    ngram_name: str = "20-gram",
    untrained: NextCharPredictor | None = None,
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
    exact up to order 33; ``untrained``, a control, is asked all that the predictor is. 256 cases
    a bin at most, drawn at random; under 100 no number is given.

    What is exact: every target is read from its own cue on. Full readings go through the text in
    streams that are warmed on twice ``longest`` characters.
    """
    if longest < 2 or longest & (longest - 1):
        raise ValueError(f"longest is {longest}, it must be a power of two above 1")
    plan = Plan.of(predictor.vocabulary, ids, longest, seed)
    asked = [group for group in plan.groups if len(group) >= FEWEST_CASES]
    found = _read(predictor, ngram, untrained, plan, asked, progress) if asked else {}
    rows = []
    for place, group in enumerate(plan.groups):
        rng = np.random.default_rng([seed, 2, place])
        full, gain, over, control = _estimates(group, found.get((group.kind, group.distance)), rng)
        beyond = None if trained_timesteps is None else group.distance > trained_timesteps
        most = 2 * group.distance - 1
        rows.append(
            MinedRow(
                group.kind, group.distance, most, beyond, len(group), full, gain, over, control
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
    untrained: np.ndarray | None


Key = tuple[str, int]
"""A group's kind and distance."""


def _read(
    predictor: NextCharPredictor,
    ngram: NextCharPredictor | None,
    untrained: NextCharPredictor | None,
    plan: Plan,
    groups: Sequence[Group],
    progress: Progress,
) -> Mapping[Key, _Bits]:
    networks = [predictor, *([untrained] if untrained else [])]
    read = Meter(progress, _chars(plan, groups, len(networks), ngram is not None)).read
    own, *control = (_gains(network, plan, groups, read) for network in networks)
    found = {}
    for group in groups:
        key = group.kind, group.distance
        full, gain = own[key]
        over = None
        if ngram is not None:
            costs = surprisals(ngram, plan.ids, _ngram_segments(group), None, read)
            over = costs.sum(axis=1) - full
        found[key] = _Bits(full, gain, over, control[0][key][1] if control else None)
    return found


def _gains(
    predictor: NextCharPredictor, plan: Plan, groups: Sequence[Group], read: OnRead
) -> Mapping[Key, tuple[np.ndarray, np.ndarray]]:
    """What each group's targets cost with all in view and what they gained, ``(N,)`` bits each."""
    known = plan.in_place(surprisals(predictor, plan.ids, plan.streams, None, read))
    found = {}
    lengths = _lengths(plan, groups)
    for length, _, state in states_after(predictor, plan.ids, plan.swaps, lengths, read):
        for group in (some for some in groups if plan.swap_chars(some) == length):
            gains = []
            for part in group.slices(SLICE):
                swapped_state = select(state, part.swaps)
                swapped = surprisals(predictor, plan.ids, part.segments, swapped_state, read)
                gains.append((swapped - part.rows_of(known)).sum(axis=1))
            full = group.rows_of(known).sum(axis=1)
            found[group.kind, group.distance] = full, np.concatenate(gains)
    return found


def _lengths(plan: Plan, groups: Sequence[Group]) -> list[int]:
    """How much of the other text is read, ascending."""
    return sorted({plan.swap_chars(group) for group in groups})


def _ngram_segments(group: Group) -> Segments:
    starts = (group.starts - NGRAM_CHARS).clip(min=0)
    return Segments(starts, group.starts, group.ends)


def _chars(plan: Plan, groups: Sequence[Group], networks: int, ngram: bool) -> int:
    """The characters that are read."""
    each = plan.streams.chars + len(plan.swaps) * _lengths(plan, groups)[-1]
    for group in groups:
        each += sum(part.segments.chars for part in group.slices(SLICE))
    ngrams = (_ngram_segments(group).chars for group in groups)
    return networks * each + (sum(ngrams) if ngram else 0)


def _estimates(
    group: Group, found: _Bits | None, rng: np.random.Generator
) -> tuple[Estimate | None, Estimate | None, Estimate | None, Estimate | None]:
    """What targets cost in full, gained over swap and the n-gram, and an untrained network's gain.

    Each with its interval; all share the bootstrap's draws.
    """
    if found is None:
        return None, None, None, None
    columns = [found.full, found.gain, found.over_ngram, found.untrained]
    there = [place for place, column in enumerate(columns) if column is not None]
    values = np.stack([column for column in columns if column is not None], axis=1)  # (N, 2..4)
    blocks, block_of = np.unique(group.starts // BLOCK_CHARS, return_inverse=True)
    sums = np.zeros((len(blocks), values.shape[1]))
    np.add.at(sums, block_of, values)
    draws = block_bootstrap(sums, np.bincount(block_of), rng)
    told = {
        place: Estimate.of(float(values[:, column].mean()), draws[:, column])
        for column, place in enumerate(there)
    }
    return told[0], told[1], told.get(2), told.get(3)
