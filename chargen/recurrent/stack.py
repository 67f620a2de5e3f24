"""Stacks of recurrent layers, plain or in residual blocks."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from chargen.recurrent.layer import LayerState, RecurrentLayer
from chargen.recurrent.matmul import linear
from chargen.recurrent.residual import EVALUATION, ForwardMode, Norm, ResidualBlock, drop
from chargen.settings import CONVOLVED

StackState = tuple[LayerState, ...]
Run = Callable[[RecurrentLayer, Tensor, Any], tuple[Tensor, LayerState]]
"""Maps a layer, its input and its state to h of all time steps, ``(N, T, H)``, and its state."""


class Stack(nn.Module):
    """Recurrent layers from the input to the output; each reads the sequence of h of the one below.

    Every layer but the last must have ``return_sequences``. With ``size``, V, each layer of D units
    is in a residual block:

        x_t = W_in[id_t]
        x_t = block(x_t), one `ResidualBlock` for each layer
        y_t = norm(x_t) * g_out, which the softmax head reads

    ``W_in`` is ``(V, D)``. The state of each layer is then followed by its convolution window:
    ``CONVOLVED - 1`` tensors ``(N, D)``, the latest first.
    """

    layers: list[RecurrentLayer]
    blocks: list[ResidualBlock]  # one for each layer, or none

    def __init__(
        self,
        layers: Iterable[RecurrentLayer],
        size: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)  # type: ignore[assignment]
        self.blocks = nn.ModuleList()  # type: ignore[assignment]
        if not len(self.layers):
            raise ValueError("a stack holds at least one layer")
        if not all(layer.return_sequences for layer in self.layers[:-1]):
            raise ValueError("every layer below another one needs return_sequences=True")
        if size is None:
            return
        units = {layer.units for layer in self.layers}
        if len(units) > 1:
            raise ValueError(f"layers in residual blocks have the same units, not {sorted(units)}")
        (D,) = units
        self.W_in = nn.Parameter(torch.empty(size, D))
        nn.init.normal_(self.W_in, generator=generator)
        self.blocks.extend(ResidualBlock(D, generator) for _ in self.layers)
        self.g_out = nn.Parameter(torch.ones(D))

    def forward(
        self,
        inputs: Tensor,
        state: StackState | None = None,
        mode: ForwardMode = EVALUATION,
        run: Run | None = None,
    ) -> tuple[Tensor, StackState]:
        """Run the stack over ``inputs``, ``(N, T, F)`` or ids ``(N, T)``, from zeros by default.

        Return the output of the last layer, and the state after the last time step. ``run`` stands
        in for the call of each layer.
        """
        run = run or (lambda layer, read, start: layer(read, start, mode.precision))
        states = []
        if not self.blocks:
            x = inputs
            for layer, own in zip(self.layers, state or [None] * len(self.layers), strict=True):
                outputs, after = run(layer, x, own)
                x = drop(outputs, mode)
                states.append(after)
            return x, tuple(states)
        x = inputs.transpose(0, 1)
        is_hot = inputs.is_floating_point()
        x = linear(x, self.W_in, None, mode.precision) if is_hot else embedding(x, self.W_in)
        state = self.initial_state(len(inputs)) if state is None else state
        for layer, block, own in zip(self.layers, self.blocks, state, strict=True):
            parts = len(layer.cell.state)
            c, window = block.enter(x, own[parts:])
            outputs, after = run(layer, c.transpose(0, 1), own[:parts])
            x = block.leave(x, c, outputs.transpose(0, 1), mode)
            states.append((*after, *window))
        return Norm.apply(x, self.g_out).transpose(0, 1), tuple(states)

    def initial_state(self, batch_size: int) -> StackState:
        states = (layer.initial_state(batch_size) for layer in self.layers)
        if not self.blocks:
            return tuple(states)
        window = self.g_out.new_zeros(CONVOLVED - 1, batch_size, len(self.g_out)).unbind()
        return tuple((*state, *window) for state in states)
