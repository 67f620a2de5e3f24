"""Results of the read-out instrument in one model. Imports no torch."""

from itertools import takewhile
from typing import Any

from msgspec import Struct, to_builtins

from chargen.probes.statistics.intervals import Estimate, flat

SHOWN_LAG = 8  # of the finding


class LagRow(Struct, frozen=True):
    """Accuracy of reading the character that was read ``lag_chars`` before the last one."""

    lag_chars: int
    accuracy: Estimate
    majority: Estimate  # accuracy of the most frequent character
    gain: Estimate  # accuracy minus majority, paired
    untrained: Estimate | None  # accuracy from the state of an untrained network


class PatchRow(Struct, frozen=True):
    """Share of answers that follow a state from the same text with another cue."""

    source: str
    span_chars: int  # from the end of the cue to the target
    distance_chars: int  # from the exchanged state to the target
    part: str  # of the state: whole, h, or c
    follows: Estimate
    cases: int


class ReadoutResult(Struct, frozen=True, tag="readout", tag_field="instrument"):
    seed: int
    trained_timesteps: int | None
    state_values: int  # numbers in the state
    chars: int  # predicted in the scored stretch
    lags: tuple[LagRow, ...]
    patches: tuple[PatchRow, ...] = ()

    @property
    def held_chars(self) -> int | None:
        """The longest lag up to which the state beats the majority; None if it never does."""
        held = takewhile(lambda row: row.gain.low > 0, self.lags)
        return max((row.lag_chars for row in held), default=None)

    def finding(self) -> str:
        """Return what the state holds of the character `SHOWN_LAG` back, and up to which lag."""
        row = next(row for row in self.lags if row.lag_chars >= SHOWN_LAG)
        held = "at no lag" if self.held_chars is None else f"up to {self.held_chars} back"
        found = row.accuracy
        return (
            f"the state tells the character {row.lag_chars} back in {found.value:.0%} "
            f"({100 * found.low:.0f}–{100 * found.high:.0f}%) of cases, guessing in "
            f"{row.majority.value:.0%}; better than guessing {held}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, the same for the same model and seed; shares of 1."""
        return flat(to_builtins(self)) | {"finding": self.finding()}
