"""Results of the instrument for natural dependencies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct, to_builtins

from chargen.probes.mined.mining import KINDS
from chargen.probes.statistics.intervals import Estimate, flat
from chargen.render.text import counted

FEWEST_CASES = 100  # fewer cases at a distance are not reported


class MinedRow(
    Struct,
    frozen=True,
    omit_defaults=True,
    rename={
        "distance": "distance_chars",
        "distance_most": "distance_most_chars",
        "gain": "gain_from_cue_bits",
        "before": "gain_over_swap_bits",
        "over_ngram": "gain_over_ngram_bits",
        "untrained": "untrained_gain_from_cue_bits",
        "untrained_before": "untrained_gain_over_swap_bits",
    },
):
    """Bits per target of one kind of dependency at distances of one power of two."""

    kind: str
    distance: int  # shortest distance between cue and target, characters
    distance_most: int
    beyond_timesteps: bool | None  # longer than the BPTT length; None if that is unknown
    cases: int
    target_bits: Estimate | None = None  # bits with full context; None: too few cases
    gain: Estimate | None = None  # bits gained over another cue; None: too few cases
    before: Estimate | None = None  # bits gained over other text up to the end of the cue
    over_ngram: Estimate | None = None  # bits gained over the n-gram, if there is one
    untrained: Estimate | None = None  # gain of the untrained network, if there is one
    untrained_before: Estimate | None = None

    def distances(self, to: str = "–") -> str:
        """Return the distances as text, such as ``8–15``."""
        most = self.distance_most
        return str(most) if most == self.distance else f"{self.distance}{to}{most}"


class MinedResult(
    Struct,
    frozen=True,
    tag="mined",
    tag_field="instrument",
    rename={"full": "full_context_chars", "rows": "distances"},
):
    """Result in one model; a text without cases gives no rows."""

    seed: int
    trained_timesteps: int | None  # BPTT length in training, characters
    chars: int  # length of the mined text
    full: int  # fewest characters of full context
    ngram: str | None  # name of the n-gram baseline
    rows: tuple[MinedRow, ...]  # by kind, then distance
    documents: int = 1  # of the text, where training reset the state

    def of_kind(self, kind: str) -> tuple[MinedRow, ...]:
        """Return the rows of one kind, by distance."""
        return tuple(row for row in self.rows if row.kind == kind)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, the same for the same predictors, text and seed."""
        values: dict[str, Any] = flat(to_builtins(self))
        return values | {"fewest_cases": FEWEST_CASES, "finding": self.finding()}

    def finding(self) -> str:
        """Return the longest distance at which each kind gains from its cue."""
        steps = self.trained_timesteps
        trained = f"; trained with {counted(steps, 'timestep')}" if steps else ""
        return "; ".join(_finding(kind, self.of_kind(kind)) for kind in KINDS) + trained


def _finding(kind: str, rows: Sequence[MinedRow]) -> str:
    known = [(row, row.gain) for row in rows if row.gain]
    if not known:
        return f"{kind}: no distance has {FEWEST_CASES} cases"
    gained = 0
    while gained < len(known) and known[gained][1].low > 0:
        gained += 1
    row, gain = known[max(0, gained - 1)]
    noun = "character" if row.distance_most == 1 else "characters"
    if not gained:
        return f"{kind}: no gain at {row.distances(' to ')} {noun}"
    return (
        f"{kind}: gains from its cue up to {counted(row.distance_most, 'character')} back "
        f"({gain.value:.2f} bits, 95%: {gain.low:.2f} to {gain.high:.2f}, "
        f"at {row.distances(' to ')} {noun})"
    )
