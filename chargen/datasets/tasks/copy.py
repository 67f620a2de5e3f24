"""Copy memory: some symbols, a delay of any length, then the same symbols again.

After Hochreiter & Schmidhuber, "Long short-term memory", 1997, in the form of Arjovsky et al.,
"Unitary evolution recurrent neural networks", 2016, but that the delay is random and ends in a
delimiter: to count its steps is no help.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from chargen.datasets.tasks.task import LONGEST_SPAN, Task, Trial, delay, drawn, rotated

SYMBOLS = "abcdefgh"
LENGTH = 10  # symbols to be copied


class Copy(Task):
    """Lines such as ``hcabbefgad......|hcabbefgad``.

    The span of every symbol is from its end to its copy: the other nine, the delay and the
    delimiter.
    """

    name = "copy"
    purpose = "ten symbols, a delay of any length, and the same ten symbols again"
    candidates = SYMBOLS
    floors: ClassVar = {"": 1 / len(SYMBOLS)}
    shortest_spans: ClassVar = {"": LENGTH}

    def line(self, rng: np.random.Generator) -> str:
        """See `Task.line`."""
        return _line(delay(LONGEST_SPAN - LENGTH, rng), rng) + "\n"

    def trials(self, variant: str, span: int, rng: np.random.Generator) -> list[Trial]:
        """See `Task.trials`: one text, its symbols exchanged for one another in turn."""
        text = _line(span - LENGTH, rng)
        return [Trial.of(rotated(text, SYMBOLS, by), LENGTH, SYMBOLS) for by in range(len(SYMBOLS))]


def _line(delay: int, rng: np.random.Generator) -> str:
    symbols = drawn(SYMBOLS, LENGTH, rng)
    return f"{symbols}{'.' * delay}|{symbols}"
