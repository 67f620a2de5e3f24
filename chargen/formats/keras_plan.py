"""What a model is made of, and where in its weights file each part lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SUPPORTED = (
    "SimpleRNN, LSTM or GRU layers, one kind, one after the other, on one-hot input or an "
    "Embedding, and a softmax Dense above them"
)


@dataclass(frozen=True)
class Plan:
    """The groups of a weights file that make a character model, from the input to the output."""

    cell: str  # one of `chargen.settings.CELL_NAMES`
    activation: str
    layers: tuple[str, ...]  # groups of the recurrent layers' weights
    head: str
    embedding: str | None = None  # None: the input is one-hot
    skips_zero: bool = False  # id 0 is padding, at which the state stays as it is
    alphabet: tuple[str | None, ...] | None = None  # what each id stands for, if the model says it


Shapes = Mapping[str, tuple[tuple[int, ...], ...]]
"""By group, the shapes of its variables."""
