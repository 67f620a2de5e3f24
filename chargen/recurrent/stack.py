"""Layers over layers, each with its own number of units."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from chargen.recurrent.layer import LayerState, RecurrentLayer

StackState = tuple[LayerState, ...]


def drop(values: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Inverted dropout (Srivastava et al. 2014) whose randomness is an argument, any shape.

    Without a ``generator`` nothing is dropped, so that only training drops.
    """
    if not share or generator is None:
        return values
    # Laid out as the values are, and of their type: a product of mixed ones takes twice as long.
    kept = torch.empty_like(values, requires_grad=False).uniform_(generator=generator)
    return values * kept.ge_(share).div_(1 - share)


class Stack(nn.Module):
    """Layers toward the output: each reads the sequence of h that the one below it puts out.

    Every layer but the last must have ``return_sequences``, or the next has no sequence to read.
    What happens between layers, at all timesteps at once, is `begin`, `enter`, `leave` and `end`;
    time is the layers' alone.
    """

    def __init__(self, layers: Iterable[RecurrentLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        if not len(self.layers):
            raise ValueError("a stack holds at least one layer")
        if not all(layer.return_sequences for layer in list(self.layers)[:-1]):
            raise ValueError("every layer below another one needs return_sequences=True")

    def forward(
        self,
        inputs: Tensor,
        state: StackState | None = None,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, StackState]:
        """Read ``inputs``, ``(N, T, F)`` or ids ``(N, T)``; returns what the last layer puts out.

        ``dropout`` is the share dropped of each layer's output, by ``generator``; without a
        generator nothing is dropped, so that only training drops.
        """
        states = []
        below = self.begin(inputs)
        for index, layer in enumerate(self.layers):
            own = None if state is None else state[index]
            cell_state, window = (None, ()) if own is None else self.parted(index, own)
            read, window = self.enter(index, below, window)
            outputs, cell_state = layer(read, cell_state)
            below = self.leave(index, below, read, outputs, dropout, generator)
            states.append((*cell_state, *window))
        return self.end(below), tuple(states)

    def initial_state(self, batch_size: int) -> StackState:
        """The state before the first character: zeros, ``(N, H)`` each; the layers are built."""
        numbers = range(len(self.layers))
        return tuple(self.layer(index).initial_state(batch_size) for index in numbers)

    def layer(self, index: int) -> RecurrentLayer:
        """Layer number ``index``, from 0 on."""
        return cast(RecurrentLayer, self.layers[index])

    def parted(self, index: int, state: LayerState) -> tuple[LayerState, LayerState]:
        """What layer number ``index`` remembers, and what is remembered for it beside that."""
        cell_parts = len(self.layer(index).parts)
        return state[:cell_parts], state[cell_parts:]

    def begin(self, inputs: Tensor) -> Tensor:
        """What the first layer is entered by: the inputs themselves."""
        return inputs

    def enter(self, index: int, below: Tensor, window: LayerState) -> tuple[Tensor, LayerState]:
        """What layer number ``index`` reads of ``below``, and its next ``window``."""
        return below, window

    def leave(
        self,
        index: int,
        below: Tensor,
        read: Tensor,
        outputs: Tensor,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """What is handed on where layer number ``index`` ``read`` and put out ``outputs``."""
        return drop(outputs, dropout, generator)

    def end(self, below: Tensor) -> Tensor:
        """What the head reads: what the last layer handed on."""
        return below
