"""Nested brackets: which one closes what was opened long ago, with other pairs between?

The language of balanced brackets of k kinds (Dyck-k) of bounded depth; for what recurrent
networks can hold of it see Hewitt et al., "RNNs can generate bounded hierarchical languages with
optimal memory", 2020.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from chargen.datasets.tasks.task import LONGEST_SPAN, Task, Trial, delay, log_uniform

OPENERS, CLOSERS = "([{<", ")]}>"
DEPTH = 3  # of what stands between the outermost brackets


class Brackets(Task):
    """Lines such as ``{([]<>)()}``.

    The span is from the end of the opening bracket to its closing one. Complete pairs stand
    between, their kinds drawn apart from that of the outermost: the kind that was opened last is
    right once in four times, as any guess is.
    """

    name = "brackets"
    purpose = "brackets of four kinds, opened and closed in order, with others between"
    candidates = CLOSERS
    floors: ClassVar = {"": 1 / len(CLOSERS)}
    shortest_spans: ClassVar = {"": 2}
    stride = 2

    def line(self, rng: np.random.Generator) -> str:
        """See `Task.line`."""
        kind = int(rng.integers(len(OPENERS)))
        pairs = delay(LONGEST_SPAN // 2, rng)
        return OPENERS[kind] + _between(2 * pairs, DEPTH, rng) + CLOSERS[kind] + "\n"

    def trials(self, variant: str, span: int, rng: np.random.Generator) -> list[Trial]:
        """See `Task.trials`: the same between brackets of each kind in turn."""
        between = _between(span, DEPTH, rng)
        texts = (opener + between + closer for opener, closer in zip(OPENERS, CLOSERS, strict=True))
        return [Trial.of(text, 1, CLOSERS) for text in texts]


def _between(chars: int, depth: int, rng: np.random.Generator) -> str:
    """Complete pairs of exactly ``chars`` characters, an even number, nested up to ``depth``."""
    parts = []
    while chars:
        kind = int(rng.integers(len(OPENERS)))
        inside = 2 * log_uniform(chars // 2 - 1, rng) if depth > 1 else 0
        parts.append(OPENERS[kind] + _between(inside, depth - 1, rng) + CLOSERS[kind])
        chars -= inside + 2
    return "".join(parts)
