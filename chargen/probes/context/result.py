"""Results of the context instrument, in one model and compared between models."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from msgspec import Struct, convert, field, to_builtins

from chargen.probes.statistics.intervals import Count, Estimate, flat, nested, text_mean
from chargen.render.text import counted
from chargen.text.mutual_information import MutualInformation

BLOCK = 32  # consecutive positions
THRESHOLD_BITS = 0.0144  # negligible excess: 1% of perplexity, log2(1.01)
CLASSES = ("letter", "digit", "space", "punctuation", "other scripts")


class ContextRow(Struct, frozen=True, omit_defaults=True):
    """Excess bits per character with a limited context."""

    context: Count = field(name="context_chars")  # fewest characters; 0: only replaced text
    context_most: Count = field(name="context_most_chars")  # see `measure`
    beyond_timesteps: bool | None  # longer than the BPTT length; None if that is unknown
    swap: Estimate = field(name="excess_bits")  # after context replacement
    reset: Estimate | None = field(name="reset_excess_bits", default=None)
    difference: Estimate | None = field(name="reset_minus_swap_bits", default=None)

    @property
    def disagree(self) -> bool:
        """Return True if reset and swap differ by `THRESHOLD_BITS` or more, significantly."""
        apart = self.difference
        if apart is None or apart.low <= 0 <= apart.high:
            return False
        return abs(apart.value) >= THRESHOLD_BITS


class PlaceRow(Struct, frozen=True):
    """Loss at the positions of one kind; kinds with fewer than 100 positions are left out."""

    name: str  # a character class, or distances from the beginning of the document
    positions: Count
    bits: Estimate = field(name="bits_per_char")  # with full context; excess after swap
    excess: tuple[Estimate, ...] = field(name="excess_bits", default=())


class NgramRow(Struct, frozen=True):
    """Loss of an n-gram of the training text at the same positions."""

    order: Count  # it sees order - 1 characters
    bits: Estimate = field(name="bits_per_char")
    gain: Estimate | None = field(name="gain_bits", default=None)  # over the next shorter one


class ContextResult(Struct, frozen=True, tag="context", tag_field="instrument"):
    """Result in one model. With a ``refusal`` there are no rows and no claim is made."""

    seed: Count
    trained_timesteps: Count | None  # BPTT length in training, characters
    positions: Count  # predicted characters, the same in every row
    full: Count = field(name="full_context_chars")  # fewest characters of full context
    full_bits: float | None = field(name="bits_per_char")  # with full context; None without rows
    rows: tuple[ContextRow, ...] = field(name="contexts")  # ascending from 0
    # Effective context length and its 95% interval; None: longer than the last row's.
    effective: Count | None = field(name="effective_context_chars")
    effective_low: Count | None = field(name="effective_context_low_chars")
    effective_high: Count | None = field(name="effective_context_high_chars")
    refusal: str | None = None
    chars: Count = 0  # length of the text
    documents: Count = 1  # of the text, where training reset the state
    lower_bound: bool = False  # swap could only take another part of the same document
    classes: tuple[PlaceRow, ...] = ()  # by character class
    beginnings: tuple[PlaceRow, ...] = ()  # by distance from the beginning of the document
    ngrams: tuple[NgramRow, ...] = ()  # by order
    # Of as many characters as the sample, and of a text that the model generated.
    text_memory: MutualInformation | None = field(name="text_mutual_information", default=None)
    sample_memory: MutualInformation | None = field(name="sample_mutual_information", default=None)
    continuations: Count = 0  # each scored as a whole; 0: characters were predicted one by one
    block_bits: tuple[float, ...] = ()  # full-context bits summed by block; not in the JSON

    def __post_init__(self) -> None:
        contexts = [row.context for row in self.rows]
        if contexts != sorted({0, *contexts} if not self.refusal else ()) or len(contexts) == 1:
            raise ValueError(f"contexts {contexts}, ascending from 0, or a refusal are needed")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, the same for the same predictor, text and seed."""
        values: dict[str, Any] = flat(to_builtins(self))
        del values["block_bits"]
        for value, row in zip(values["contexts"], self.rows, strict=True):
            value["disagree"] = row.disagree
        apart = [row.context for row in self.rows if row.disagree]
        added = {"bar_bits": THRESHOLD_BITS, "disagree_at_chars": apart}
        return values | added | {"finding": self.finding()}

    @classmethod
    def from_json(cls, values: Any) -> "ContextResult":
        """Decode what `to_json` returned; a ``ValueError`` names the field that does not fit."""
        return convert(nested(values), cls)

    def finding(self) -> str:
        """Return the effective context length and the training length, or the refusal."""
        steps = self.trained_timesteps
        trained = f"; trained with {counted(steps, 'timestep')}" if steps else ""
        scored = f"; from {counted(self.continuations, 'continuation')}" * bool(self.continuations)
        return self.refusal or f"{self.effective_text()}{trained}{scored}"

    def effective_text(self) -> str:
        """Return the effective context length with its interval as a phrase, or the refusal."""
        if self.refusal:
            return self.refusal
        longest = self.rows[-1].context
        if self.effective is None:
            low = self.effective_low
            least = "" if low is None else f" (95%: {low} or more)"
            return f"uses more than {counted(longest, 'character')} of context{least}"
        high = f"over {longest}" if self.effective_high is None else self.effective_high
        ends = dict.fromkeys((str(self.effective_low), str(high)))
        noted = f" (95%: {' to '.join(ends)}{'; lower bound' * self.lower_bound})"
        if self.effective == 0:
            return f"uses no context: replacing all of it costs nothing{noted}"
        least = "at least " * self.lower_bound
        return f"uses {least}{counted(self.effective, 'character')} of context{noted}"


class BitsComparison(Struct, frozen=True, tag="context", tag_field="instrument"):
    """Paired difference in bits per character between two models with full context."""

    first: str
    second: str
    positions: int  # characters that both predicted
    difference: Estimate = field(name="difference_bits_per_char")  # first - second

    def to_json(self) -> dict[str, Any]:
        return flat(to_builtins(self))


def compare_bits(results: Mapping[str, ContextResult]) -> tuple[BitsComparison, ...]:
    """Compare the full-context bits of every pair of models, paired by block of one text."""
    found = []
    for (first, one), (second, other) in combinations(results.items(), 2):
        if (positions := one.positions) and one.continuations == other.continuations:
            apart = np.subtract(one.block_bits, other.block_bits)
            mean = text_mean(apart, np.full(len(apart), positions / len(apart)))
            found.append(BitsComparison(first, second, positions, mean.estimate()))
    return tuple(found)
