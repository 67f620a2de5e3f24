"""Stacks of recurrent layers, each with its own number of units."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from chargen.recurrent.layer import LayerState, RecurrentLayer

StackState = tuple[LayerState, ...]


@dataclass(frozen=True)
class ForwardMode:
    """Dropout and precision of a forward pass; the default is evaluation."""

    dropout: float = 0.0  # share of a layer's outputs that is dropped
    generator: torch.Generator | None = None  # for dropout; None turns dropout off
    precision: str = "float32"  # of large matmuls, one of `chargen.settings.PRECISIONS`


EVALUATION = ForwardMode()


def drop(values: Tensor, mode: ForwardMode) -> Tensor:
    """Apply inverted dropout (Srivastava et al. 2014) to a tensor of any shape."""
    if not mode.dropout or mode.generator is None:
        return values
    # In the layout and type of the values: a product of mixed types takes twice as long.
    kept = torch.empty_like(values, requires_grad=False).uniform_(generator=mode.generator)
    return values * kept.ge_(mode.dropout).div_(1 - mode.dropout)


class Stack(nn.Module):
    """Recurrent layers from the input to the output; each reads the sequence of h of the one below.

    Every layer but the last must have ``return_sequences``. `begin`, `enter`, `leave` and `end`
    define what happens between layers, for all time steps at once; subclasses override them.
    """

    def __init__(self, layers: Iterable[RecurrentLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        if not len(self.layers):
            raise ValueError("a stack holds at least one layer")
        if not all(layer.return_sequences for layer in list(self.layers)[:-1]):
            raise ValueError("every layer below another one needs return_sequences=True")

    def forward(
        self, inputs: Tensor, state: StackState | None = None, mode: ForwardMode = EVALUATION
    ) -> tuple[Tensor, StackState]:
        """Run the stack over ``inputs``, ``(N, T, F)`` or ids ``(N, T)``.

        Returns:
            The output of the last layer, and the state after the last time step.
        """
        states = []
        below = self.begin(inputs, mode)
        for index, layer in enumerate(self.layers):
            cell_state, window = (None, ()) if state is None else self.parted(index, state[index])
            read, window = self.enter(index, below, window)
            outputs, cell_state = layer(read, cell_state, mode.precision)
            below = self.leave(index, below, read, outputs, mode)
            states.append((*cell_state, *window))
        return self.end(below), tuple(states)

    def initial_state(self, batch_size: int) -> StackState:
        """Return the zero state of every layer."""
        numbers = range(len(self.layers))
        return tuple(self.layer(index).initial_state(batch_size) for index in numbers)

    def layer(self, index: int) -> RecurrentLayer:
        """Return layer number ``index``, counted from 0."""
        return cast(RecurrentLayer, self.layers[index])

    def parted(self, index: int, state: LayerState) -> tuple[LayerState, LayerState]:
        """Split the state of layer ``index`` into its cell's part and the rest."""
        cell_parts = len(self.layer(index).cell.state)
        return state[:cell_parts], state[cell_parts:]

    def begin(self, inputs: Tensor, mode: ForwardMode = EVALUATION) -> Tensor:
        """Return the input of the first layer."""
        return inputs

    def enter(self, index: int, below: Tensor, window: LayerState) -> tuple[Tensor, LayerState]:
        """Return what layer ``index`` reads, and its next convolution window."""
        return below, window

    def leave(
        self,
        index: int,
        below: Tensor,
        read: Tensor,
        outputs: Tensor,
        mode: ForwardMode = EVALUATION,
    ) -> Tensor:
        """Return the input of the next layer, given what layer ``index`` read and put out."""
        return drop(outputs, mode)

    def end(self, below: Tensor) -> Tensor:
        """Return what the softmax head reads."""
        return below
