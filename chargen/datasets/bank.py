"""What long-range sentences are made of: facts to tell, and fillers to put between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Half = Literal["training", "test"]


@dataclass(frozen=True)
class FactSet:
    """K facts, cue → target, and the sentence that tells one of them."""

    name: str
    opening: str  # what comes before the cue
    lead: str  # what comes between the filler and the target: the whole span at the shortest
    ending: str  # what comes after the target
    decoy_before: tuple[str, str]  # what stands round another fact's cue before the opening
    decoy_after: tuple[str, str]  # and somewhere among the fillers
    no_cue: str  # a word as long as a cue that is none: the control in which nothing is told
    cues: tuple[str, ...]  # (K,) of one length
    targets: tuple[str, ...]  # (K,) of one length, first characters all different
    line: int = 0  # where the bank says so

    @property
    def shortest_span(self) -> int:
        """The characters from the end of the cue to the start of the target without any filler."""
        return len(self.lead)

    @property
    def decoy_chars(self) -> int:
        """The characters of a decoy among the fillers."""
        head, tail = self.decoy_after
        return len(head) + len(self.cues[0]) + len(tail)


@dataclass(frozen=True)
class Bank:
    """What a bank file says, checked."""

    name: str
    fact_sets: tuple[FactSet, ...]
    training: tuple[str, ...]  # filler phrases that only training text holds
    test: tuple[str, ...]  # filler phrases that only the probe holds
    links: tuple[str, ...]  # short pieces of both, never two in a row

    def phrases(self, half: Half) -> tuple[str, ...]:
        """The filler phrases of one half."""
        return self.training if half == "training" else self.test

    def characters(self, no_cue: bool = True) -> str:
        """Every character that a sentence of this bank can hold, sorted; or all but "no cue"."""
        said = [*self.training, *self.test, *self.links]
        for facts in self.fact_sets:
            said += [facts.opening, facts.lead, facts.ending, *facts.decoy_before]
            said += [*facts.decoy_after, *facts.cues, *facts.targets]
            said += [facts.no_cue] if no_cue else []
        return "".join(sorted(set("".join(said))))
