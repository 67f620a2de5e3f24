"""Flip-flop: a bit is written, many are to be ignored, and the one last written is read.

After Liu et al., "Exposing attention glitches with flip-flop language modeling", 2023.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from chargen.datasets.tasks.task import LONGEST_SPAN, Task, Trial, delay, drawn, rotated

BITS = "01"
EVENTS = 12  # writes and reads of a line, about


class FlipFlop(Task):
    """Lines such as ``w1i0i1i1r1i0r1w0r0``: w writes a bit, i bits mean nothing, r tells the last.

    The span of a read is from the end of the bit written to the bit read: the ignored pairs
    between and the ``r``. In a trial nothing else is written or read between, so that nothing
    tells the bit a second time.
    """

    name = "flipflop"
    purpose = "a bit is written, others are to be ignored, and the one last written is read"
    candidates = BITS
    floors: ClassVar = {"": 1 / 2}
    shortest_spans: ClassVar = {"": 1}
    stride = 2

    def line(self, rng: np.random.Generator) -> str:
        """See `Task.line`."""
        bit = drawn(BITS, 1, rng)
        parts = [f"w{bit}"]
        since = 0  # characters since the write
        for _ in range(EVENTS):
            pairs = delay(LONGEST_SPAN // 2 - 1, rng)
            since += 2 * pairs + 2
            if since - 1 > LONGEST_SPAN or rng.random() < 1 / 2:
                bit = drawn(BITS, 1, rng)
                parts.append(f"{_ignored(pairs, rng)}w{bit}")
                since = 0
            else:
                parts.append(f"{_ignored(pairs, rng)}r{bit}")
        return "".join(parts) + "\n"

    def trials(self, variant: str, span: int, rng: np.random.Generator) -> list[Trial]:
        """See `Task.trials`: one text and the same with every bit turned over."""
        bit = drawn(BITS, 1, rng)
        text = f"w{bit}{_ignored(span // 2, rng)}r{bit}"
        return [Trial.of(rotated(text, BITS, by), 1, BITS) for by in range(len(BITS))]


def _ignored(pairs: int, rng: np.random.Generator) -> str:
    return "".join("i" + bit for bit in drawn(BITS, pairs, rng))
