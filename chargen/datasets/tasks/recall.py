"""Associative recall with several queries: pairs are told, and later asked by their keys.

After Arora et al., "Zoology: measuring and improving recall in efficient language models", 2023.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from chargen.datasets.tasks.task import LONGEST_SPAN, Task, Trial, delay, rotated

LETTERS = "abcdefghijklmnopqrstuvwxyz"
VALUES = "01234567"
PAIRS = (2, 4, 8)
PAIR = 3  # characters: a key of two letters and a value
QUERIES = 4  # of a line, at most


class Recall(Task):
    """Lines such as ``kd3ax0....ax0...kd3``: pairs, then queries with delays between.

    The values of a line are all different, so that guessing among those that it holds is right
    once in as many times as there are pairs. Keys are two letters; those whose numbers add up to
    an even one are for training, the others for trials. The span is from the end of the pair's
    value to the value asked. In a trial each pair is asked equally often at every span: none is
    so short that only the last few pairs told could be meant.
    """

    name = "recall"
    purpose = "pairs of a key and a value, later asked by their keys after delays of any length"
    candidates = VALUES
    floors: ClassVar = {f"{pairs} pairs": 1 / pairs for pairs in PAIRS}
    shortest_spans: ClassVar = {f"{pairs} pairs": PAIR * pairs - 1 for pairs in PAIRS}

    def line(self, rng: np.random.Generator) -> str:
        """See `Task.line`."""
        pairs = int(PAIRS[rng.integers(len(PAIRS))])
        told = _pairs(pairs, 0, rng)
        parts, length = list(told), 0
        for place in rng.permutation(pairs)[:QUERIES]:
            wait = delay(LONGEST_SPAN - PAIR * pairs, rng)
            length += wait + PAIR
            if length + PAIR * pairs > LONGEST_SPAN:
                break
            parts.append("." * wait + told[place])
        return "".join(parts) + "\n"

    def trials(self, variant: str, span: int, rng: np.random.Generator) -> list[Trial]:
        """See `Task.trials`: one text, its values exchanged for one another in turn."""
        pairs = int(variant.split(maxsplit=1)[0])
        after = int(rng.integers(pairs))  # pairs told between the one that is asked and the end
        told = _pairs(pairs, 1, rng)
        place = pairs - 1 - after
        delay = span - (PAIR - 1) - PAIR * after
        text = "".join(told) + "." * delay + told[place]
        return [Trial.of(rotated(text, VALUES, by), 1, VALUES) for by in range(len(VALUES))]


def _pairs(pairs: int, odd: int, rng: np.random.Generator) -> list[str]:
    """Keys of one half, all different, each with a value of its own."""
    keys: list[str] = []
    while len(keys) < pairs:
        first, second = rng.integers(len(LETTERS), size=2)
        key = LETTERS[first] + LETTERS[second]
        if (first + second) % 2 == odd and key not in keys:
            keys.append(key)
    values = rng.permutation(len(VALUES))[:pairs]
    return [key + VALUES[value] for key, value in zip(keys, values, strict=True)]
