"""Results of the instrument for natural dependencies."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from msgspec import Struct, field, to_builtins

from chargen.probes.mined.mining import KINDS
from chargen.probes.statistics.intervals import Estimate, flat
from chargen.render.report import between
from chargen.render.text import counted

FEWEST_CASES = 100  # fewer cases at a distance are not reported


class MinedRow(Struct, frozen=True, omit_defaults=True):
    """Bits per target of one kind at distances of one power of two; None with too few cases."""

    kind: str
    distance: int = field(name="distance_chars")  # the shortest between cue and target
    distance_most: int = field(name="distance_most_chars")
    beyond_timesteps: bool | None  # longer than the BPTT length; None if that is unknown
    cases: int
    target_bits: Estimate | None = None  # with full context
    gain: Estimate | None = field(name="gain_from_cue_bits", default=None)  # over another cue
    # Gain over other text up to the end of the cue, over the n-gram, and in an untrained network.
    before: Estimate | None = field(name="gain_over_swap_bits", default=None)
    over_ngram: Estimate | None = field(name="gain_over_ngram_bits", default=None)
    untrained: Estimate | None = field(name="untrained_gain_from_cue_bits", default=None)
    untrained_before: Estimate | None = field(name="untrained_gain_over_swap_bits", default=None)

    @property
    def distances(self) -> str:
        """The distances as text, such as ``8–15``."""
        most = self.distance_most
        return str(most) if most == self.distance else f"{self.distance}–{most}"


class MinedResult(Struct, frozen=True, tag="mined", tag_field="instrument"):
    """Result in one model; a text without cases gives no rows."""

    seed: int
    trained_timesteps: int | None  # BPTT length in training, characters
    chars: int  # length of the mined text
    full: int = field(name="full_context_chars")  # fewest characters of full context
    ngram: str | None  # name of the n-gram baseline
    rows: tuple[MinedRow, ...] = field(name="distances")  # by kind, then distance
    documents: int = 1  # of the text, where training reset the state

    def of_kind(self, kind: str) -> tuple[MinedRow, ...]:
        return tuple(row for row in self.rows if row.kind == kind)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, the same for the same predictors, text and seed."""
        return flat(to_builtins(self)) | {"fewest_cases": FEWEST_CASES, "finding": self.finding()}

    def finding(self) -> str:
        """Return the longest distance at which each kind gains from its cue."""
        return "; ".join(f"{kind}: {_finding(self.of_kind(kind))}" for kind in KINDS)


def _finding(rows: Sequence[MinedRow]) -> str:
    known = [(row, row.gain) for row in rows if row.gain]
    if not known:
        return f"no distance has {FEWEST_CASES} cases"
    gained = [*takewhile(lambda one: one[1].low > 0, known)]
    if not gained:
        return f"no gain at {known[0][0].distances} characters"
    row, gain = gained[-1]
    most = counted(row.distance_most, "character")
    return f"gain up to {most} back ({gain.value:.2f} bits, {between(gain, 2)})"
