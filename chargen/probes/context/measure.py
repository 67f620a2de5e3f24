"""Instrument (b), first half: how many bits a character are lost with only the last n in view?

Text that a predictor has read is taken away but for its last n characters, in two ways: *swap*
puts another part of the same text in its place, as long as what was taken, so that the state
stays natural; *reset* begins at those n from the state of no text. After Khandelwal et al.,
"Sharp nearby, fuzzy far away: how neural language models use context", 2018, on characters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chargen.evaluation import Meter, Segments, nats_to_bits, states_after, surprisals
from chargen.files import Progress
from chargen.predictors import NextCharPredictor
from chargen.probes.context.sites import BLOCK, FEWEST_POSITIONS, Sites, shortest_text, stretch
from chargen.probes.context.warm import Warm
from chargen.probes.plain import count, maybe_count, number
from chargen.probes.statistics.intervals import Estimate, block_bootstrap
from chargen.render.text import counted

CONTEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
POSITIONS = 4096
BAR_BITS = 0.0144  # excess that counts as none: 1 % of perplexity, log2(1.01)


@dataclass(frozen=True)
class ContextRow:
    """What it costs to have only so many characters in view."""

    context: int  # characters in view, at least; 0: none but those of the swapped text
    context_most: int  # and at most, see `measure`
    swap: Estimate  # excess, bits a character
    reset: Estimate | None  # None at 0, where no character has been read
    difference: Estimate | None  # reset - swap
    beyond_timesteps: bool | None  # longer than gradients travelled; None where not known

    @property
    def disagree(self) -> bool:
        """Whether reset and swap differ by more than `BAR_BITS`, and surely so."""
        difference = self.difference
        if difference is None or difference.low <= 0 <= difference.high:
            return False
        return abs(difference.value) >= BAR_BITS

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; ``excess_bits`` is that of swap, bits a character."""
        reset = self.reset.to_json("reset_excess_bits") if self.reset else {}
        difference = self.difference.to_json("reset_minus_swap_bits") if self.difference else {}
        return {
            "context_chars": self.context,
            "context_most_chars": self.context_most,
            "beyond_timesteps": self.beyond_timesteps,
            **self.swap.to_json("excess_bits"),
            **reset,
            **difference,
            "disagree": self.disagree,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ContextRow:
        """What `to_json` wrote."""
        return cls(
            count(values["context_chars"]),
            count(values["context_most_chars"]),
            Estimate.from_json(values, "excess_bits"),
            _estimate(values, "reset_excess_bits"),
            _estimate(values, "reset_minus_swap_bits"),
            values["beyond_timesteps"],
        )


@dataclass(frozen=True)
class ContextResult:
    """What the instrument found. Where ``refusal`` is not empty, nothing is claimed."""

    seed: int
    trained_timesteps: int | None  # how far back gradients travelled, characters
    positions: int  # characters that were predicted, the same ones in every row
    full: int  # characters before each of them that "all" means, at least
    full_bits: float  # bits a character with all of them in view
    rows: tuple[ContextRow, ...]  # by context, ascending, from 0
    effective: tuple[int | None, int | None, int | None]  # with its bounds; None: beyond the rows
    refusal: str
    chars: int = 0  # of the text
    block_bits: tuple[float, ...] = ()  # of each block of positions, with all in view, summed

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, the same for the same predictor, text and seed."""
        value, low, high = self.effective
        return {
            "instrument": "context",
            "seed": self.seed,
            "trained_timesteps": self.trained_timesteps,
            "positions": self.positions,
            "chars": self.chars,
            "full_context_chars": self.full,
            "bits_per_char": self.full_bits if self.rows else None,
            "bar_bits": BAR_BITS,
            "effective_context_chars": value,
            "effective_context_low_chars": low,
            "effective_context_high_chars": high,
            "disagree_at_chars": [row.context for row in self.rows if row.disagree],
            "refusal": self.refusal or None,
            "finding": self.finding(),
            "contexts": [row.to_json() for row in self.rows],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ContextResult:
        """What `to_json` wrote; `KeyError`, `TypeError` or `ValueError` for anything else."""
        rows = tuple(map(ContextRow.from_json, values["contexts"]))
        contexts = [row.context for row in rows]
        if not rows and not values["refusal"]:
            raise ValueError("neither contexts nor why there are none")
        if contexts != sorted(set(contexts)) or (rows and (contexts[0] != 0 or len(rows) < 2)):
            raise ValueError(f"contexts {contexts} are not ascending from 0")
        value, low, high = (
            maybe_count(values[f"effective_context_{end}chars"]) for end in ("", "low_", "high_")
        )
        return cls(
            count(values["seed"]),
            maybe_count(values["trained_timesteps"]),
            count(values["positions"]),
            count(values["full_context_chars"]),
            number(values["bits_per_char"] or 0.0),
            rows,
            (value, low, high),
            str(values["refusal"] or ""),
            count(values["chars"]),
        )

    def finding(self) -> str:
        """One sentence: the effective context, and where swap and reset disagree."""
        if self.refusal:
            return self.refusal
        steps = self.trained_timesteps
        trained = f"; trained on {counted(steps, 'timestep')}" if steps else ""
        found = _finding(self.effective, self.rows[-1].context)
        return f"{found}{trained}{_disagreement(self.rows[1:])}"


def measure(
    predictor: NextCharPredictor,
    ids: np.ndarray,
    *,
    contexts: Sequence[int] = CONTEXTS,
    positions: int = POSITIONS,
    seed: int = 0,
    trained_timesteps: int | None = None,
    progress: Progress = lambda done, total: None,
) -> ContextResult:
    """Measure what each of ``contexts`` costs at ``positions`` characters of ``ids``, ``(L,)``.

    ``ids`` must be text that the predictor was not trained on. The positions lie in blocks of 32
    spread evenly over it, each block at random in its share, and are the same for every context;
    "all" is the text from twice the longest context before the block on. Excess is paired:
    position by position, bits with the last n characters - bits with all. Its intervals are from
    a bootstrap of blocks. A text too short for the longest contexts is measured without them, one
    that has fewer than 2,000 positions (or ``positions``, if that is less) is refused.

    What is exact: under 32, every position has exactly n characters in view. From 32 on one read
    serves a stretch of n/16 positions (32 at most), of which the first has exactly n in view and
    the last n/16 - 1 more; every one has n at least, so that a predictor with a memory of m
    characters shows no excess from n = m on. The other text is read once a block, and its
    state, taken after (all - n) characters, goes before each of the block's stretches. All that
    is read begins in one state to which the first characters of ``ids``, of which none is
    predicted, have led (`chargen.probes.context.warm`); reset alone begins with that of no text.

    The effective context is the smallest n from which on the upper bound of the swap's excess
    stays under `BAR_BITS`. Its interval is the 95 % range of the same figure over the bootstrap's
    draws, each excess raised by as much as its upper bound lies above it.
    """
    if not contexts or min(contexts) < 1 or positions < 1:
        raise ValueError(f"contexts {contexts} and positions {positions} must be above 0")
    sites = Sites.of(len(ids), sorted({*contexts}), positions, np.random.default_rng([seed, 0]))
    if sites is None:
        fewest = min(positions, FEWEST_POSITIONS)
        needed = shortest_text(min(contexts), fewest)
        refusal = f"not measured: the text has {len(ids)} characters, {needed} are needed"
        nothing = (None,) * 3
        return ContextResult(seed, trained_timesteps, 0, 0, 0.0, (), nothing, refusal, len(ids))
    full, costs = _read(predictor, ids, sites, progress)
    means, draws = _statistics(full, costs, np.random.default_rng([seed, 1]))
    rows = _rows(sites.contexts, means, draws, trained_timesteps)
    effective = _effective((0, *sites.contexts), rows, means, draws)
    return ContextResult(
        seed=seed,
        trained_timesteps=trained_timesteps,
        positions=full.size,
        full=sites.full,
        full_bits=float(full.mean()),
        rows=rows,
        effective=effective,
        refusal="",
        chars=len(ids),
        block_bits=tuple(full.sum(axis=1).tolist()),
    )


def _read(
    predictor: NextCharPredictor, ids: np.ndarray, sites: Sites, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Bits with all in view, ``(K, BLOCK)``, and with each context: ``(2, 1 + C, K, BLOCK)``.

    The first axis is swap, reset; the second the contexts, 0 first, where reset has no meaning.
    """
    begins, ends = sites.begins, sites.begins + BLOCK
    stretches = {n: sites.stretches(n) for n in sites.contexts}
    whole = Segments(begins - sites.full, begins, ends)
    total = whole.chars + len(begins) * sites.full
    total += sum(2 * some.segments.chars for some in stretches.values())
    read = Meter(progress, total).read
    warm = Warm(predictor, ids[: sites.full])
    full = surprisals(warm, ids, whole, None, read)
    costs = np.zeros((2, 1 + len(stretches), *full.shape))
    lengths = [sites.full - n for n in (*sites.contexts[::-1], 0)]
    swapped = states_after(warm, ids, sites.swaps, lengths, read)
    for place, (_, last, after) in zip(range(len(stretches), -1, -1), swapped, strict=True):
        if not place:
            targets = ids[begins[:, None] + np.arange(BLOCK)].astype(np.int64)
            nats = -np.take_along_axis(last, targets, axis=1).astype(np.float64)
            costs[:, 0] = nats_to_bits(nats)
            continue
        some = stretches[sites.contexts[place - 1]]
        for way, state in enumerate((some.states(after), None)):
            there = surprisals(predictor, ids, some.segments, state, read)
            costs[way, place] = there.reshape(full.shape)
    return full, costs


def _statistics(
    full: np.ndarray, costs: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Mean excess of swap, of reset and their difference: ``(3, 1 + C)``; ``(draws, 3, 1 + C)``."""
    swap, reset = costs - full
    excess = np.stack([swap, reset, reset - swap])  # (3, 1 + C, K, BLOCK)
    sums = excess.sum(axis=3)
    means = sums.sum(axis=2) / full.size
    K = len(full)
    draws = block_bootstrap(sums.reshape(-1, K).T, np.full(K, full.shape[1]), rng)
    return means, draws.reshape(-1, *means.shape)


def _rows(
    contexts: Sequence[int], means: np.ndarray, draws: np.ndarray, timesteps: int | None
) -> tuple[ContextRow, ...]:
    rows = []
    for place, n in enumerate((0, *contexts)):
        swap, reset, difference = (
            Estimate.of(float(means[way, place]), draws[:, way, place]) for way in range(3)
        )
        beyond = None if timesteps is None else n > timesteps
        most = n + stretch(n) - 1 if n else 0
        row = ContextRow(n, most, swap, reset, difference, beyond)
        rows.append(row if n else replace(row, reset=None, difference=None))
    return tuple(rows)


def _effective(
    contexts: Sequence[int], rows: Sequence[ContextRow], means: np.ndarray, draws: np.ndarray
) -> tuple[int | None, int | None, int | None]:
    """The effective context and its bounds, see `measure`; None is beyond the longest."""
    highs = np.array([row.swap.high for row in rows])
    places = _first_settled(draws[:, 0] + (highs - means[0]) < BAR_BITS)
    low, high = np.quantile(places, [0.025, 0.975], method="inverted_cdf").astype(int)
    (place,) = _first_settled(highs[None] < BAR_BITS)
    low, high = min(low, place), max(high, place)
    named = [*contexts, None]
    return named[place], named[low], named[high]


def _first_settled(under: np.ndarray) -> np.ndarray:
    """The first column from which on each row is true, ``(N,)``; the number of columns if none."""
    trailing = np.logical_and.accumulate(under[:, ::-1], axis=1).sum(axis=1)
    settled: np.ndarray = under.shape[1] - trailing
    return settled


def _estimate(values: Mapping[str, Any], name: str) -> Estimate | None:
    return Estimate.from_json(values, name) if name in values else None


def _finding(effective: tuple[int | None, int | None, int | None], longest: int) -> str:
    value, low, high = effective
    if value is None:
        least = "" if low is None else f" (95 %: {low} or more)"
        return f"uses more than {counted(longest, 'character')} of context{least}"
    if value == 0:
        return "uses no context: with all of it swapped, predictions are as good"
    upper = f"over {longest}" if high is None else str(high)
    between = "" if low == high else f" (95 %: {low} to {upper})"
    return f"uses {counted(value, 'character')} of context{between}"


def _disagreement(rows: Sequence[ContextRow]) -> str:
    """Where reset and swap disagree; mostly that is everywhere up to some context."""
    apart = [row.context for row in rows if row.disagree]
    if not apart:
        return ""
    if len(apart) > 1 and apart == [row.context for row in rows[: len(apart)]]:
        return f"; reset and swap disagree up to {apart[-1]}"
    return f"; reset and swap disagree at {', '.join(map(str, apart))}"
