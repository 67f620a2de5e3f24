"""Layers over layers, each with its own number of units."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from chargen.recurrent.layer import LayerState, RecurrentLayer

StackState = tuple[LayerState, ...]


def drop(values: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Inverted dropout (Srivastava et al. 2014) whose randomness is an argument, any shape."""
    kept = torch.rand(values.shape, generator=generator, device=values.device) >= share
    return values * kept / (1 - share)


class Stack(nn.Module):
    """Layers toward the output: each reads the sequence of h that the one below it puts out.

    Every layer but the last must have ``return_sequences``, or the next has no sequence to read.
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
        outputs = inputs
        for index, layer in enumerate(self.layers):
            outputs, layer_state = layer(outputs, None if state is None else state[index])
            states.append(layer_state)
            if dropout and generator is not None:
                outputs = drop(outputs, dropout, generator)
        return outputs, tuple(states)
