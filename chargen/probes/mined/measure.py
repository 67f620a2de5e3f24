"""Natural dependencies: bits gained from a cue that lies some distance back in the text.

The cases are mined from any text (`chargen.probes.mined.mining`): brackets and quotes that close,
and words that return after one earlier use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from chargen.evaluation import Meter, OnRead, Segments, states_after, surprisals
from chargen.files import Progress
from chargen.predictors import NextCharPredictor, select
from chargen.probes.mined.mining import LONGEST, Group, Plan
from chargen.probes.mined.result import FEWEST_CASES, MinedResult, MinedRow
from chargen.probes.statistics.intervals import Estimate, block_bootstrap

NGRAM_CHARS = 32  # context that the n-gram reads before a target
BLOCK_CHARS = 1024  # characters of text whose cases the bootstrap resamples together
SLICE = 64  # cases of similar distance that are read in parallel

Bits = Mapping[str, np.ndarray]
"""Bits per target of N cases, ``(N,)`` each, by the name of an estimate of `MinedRow`."""


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
    """Measure the bits gained from cues at distances below ``longest``, a power of two.

    Full context is at least twice ``longest``. With *swap*, the text up to the end of the cue is
    replaced by another part of the same text of about equal length that does not contain the word,
    or leave the bracket open; the gain belongs to the cue and all text before it. A word is scored
    as a whole. At most 256 cases per kind and power of two are drawn; under 100 are not reported.
    Every target is read from the end of its cue. With full context the text is read in streams
    with a burn-in of twice ``longest`` characters.

    Args:
        predictor: the model under test.
        ids: text that the model was not trained on, ``(L,)``; the first 131,072 characters count.
        ngram: baseline that reads 32 characters before each target, exact up to order 33.
        ngram_name: its name in the result.
        untrained: a network of the same shape before training, measured like the model.
        longest: upper limit of the distances, in characters.
        seed: seed of cases, replacements and bootstrap.
        trained_timesteps: BPTT length in training, to be marked.
        progress: called with the characters read and their total.
    """
    if longest < 2 or longest & (longest - 1):
        raise ValueError(f"longest is {longest}, it must be a power of two above 1")
    plan = Plan.of(predictor.vocabulary, ids, longest, seed)
    numbered = list(enumerate(plan.groups))
    measured = {i: group for i, group in numbered if len(group) >= FEWEST_CASES}
    found = _read(predictor, ngram, untrained, plan, measured, progress) if measured else {}
    rows = []
    for place, group in numbered:
        beyond = None if trained_timesteps is None else group.distance > trained_timesteps
        rng = np.random.default_rng([seed, 2, place])
        estimates = _estimates(group, found[place], rng) if place in found else {}
        most = 2 * group.distance - 1
        rows.append(MinedRow(group.kind, group.distance, most, beyond, len(group), **estimates))
    name = ngram_name if ngram else None
    return MinedResult(seed, trained_timesteps, len(plan.ids), plan.full, name, tuple(rows))


def _read(
    predictor: NextCharPredictor,
    ngram: NextCharPredictor | None,
    untrained: NextCharPredictor | None,
    plan: Plan,
    groups: Mapping[int, Group],
    progress: Progress,
) -> Mapping[int, Bits]:
    """Measure the groups with the model and its controls."""
    starts = {place: (group.starts - NGRAM_CHARS).clip(min=0) for place, group in groups.items()}
    before = {
        place: Segments(starts[place], group.starts, group.cases[:, 3])
        for place, group in groups.items()
    }
    total = _chars(plan, list(groups.values())) * (2 if untrained else 1)
    total += sum(segments.chars for segments in before.values()) if ngram else 0
    on_read = Meter(progress, total).read
    own = _gains(predictor, plan, groups, on_read)
    control = _gains(untrained, plan, groups, on_read) if untrained else {}
    found = {}
    for place, (full, gain) in own.items():
        bits = {"target_bits": full, "gain": gain}
        if ngram:
            short = surprisals(ngram, plan.ids, before[place], None, on_read)
            bits["over_ngram"] = short.sum(axis=1) - full
        if untrained:
            bits["untrained"] = control[place][1]
        found[place] = bits
    return found


def _gains(
    predictor: NextCharPredictor, plan: Plan, groups: Mapping[int, Group], on_read: OnRead
) -> Mapping[int, tuple[np.ndarray, np.ndarray]]:
    """Return each group's bits with full context and bits gained over swap, ``(N,)`` each."""
    streams = plan.streams
    rows = surprisals(predictor, plan.ids, streams, None, on_read)
    parts = (row[:n] for row, n in zip(rows, streams.ends - streams.begins, strict=True))
    full = np.concatenate([np.zeros(plan.full), *parts])  # (L,)
    found = {}
    lengths = sorted({plan.swap_chars(group.distance) for group in groups.values()})
    for length, _, state in states_after(predictor, plan.ids, plan.swaps, lengths, on_read):
        for place, group in groups.items():
            if plan.swap_chars(group.distance) != length:
                continue
            gains = []
            for part in _slices(group):
                after = select(state, part.swaps)
                swapped = surprisals(predictor, plan.ids, part.segments, after, on_read)
                gains.append((swapped - part.at_targets(full)).sum(axis=1))
            found[place] = group.at_targets(full).sum(axis=1), np.concatenate(gains)
    return found


def _slices(group: Group) -> Sequence[Group]:
    return [group[first : first + SLICE] for first in range(0, len(group), SLICE)]


def _chars(plan: Plan, groups: Sequence[Group]) -> int:
    """Return the number of characters that `_gains` reads."""
    swaps = len(plan.swaps) * max(plan.swap_chars(group.distance) for group in groups)
    cases = sum(part.segments.chars for group in groups for part in _slices(group))
    return plan.streams.chars + swaps + cases


def _estimates(group: Group, found: Bits, rng: np.random.Generator) -> dict[str, Estimate]:
    """Return the mean of each with its interval; all share the bootstrap's draws."""
    values = np.stack(list(found.values()), axis=1)  # (N, 2..4)
    blocks, block_of = np.unique(group.starts // BLOCK_CHARS, return_inverse=True)
    sums = np.zeros((len(blocks), values.shape[1]))
    np.add.at(sums, block_of, values)
    draws = block_bootstrap(sums, np.bincount(block_of), rng)
    return {
        name: Estimate.of(float(values[:, column].mean()), draws[:, column])
        for column, name in enumerate(found)
    }
