"""Stacks of recurrent layers, plain or in residual blocks."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from chargen.recurrent.layer import LayerState, RecurrentLayer
from chargen.recurrent.matmul import linear
from chargen.recurrent.residual import EVALUATION, ForwardMode, Norm, ResidualBlock, drop
from chargen.settings import CONVOLVED

StackState = tuple[LayerState, ...]


class Stack(nn.Module):
    """Recurrent layers from the input to the output; each reads the sequence of h of the one below.

    Every layer but the last must have ``return_sequences``. With ``size``, V, each layer of D units
    is in a residual block:

        x_t = W_in[id_t]
        x_t = block(x_t), one `ResidualBlock` for each layer
        y_t = norm(x_t) * g_out, which the softmax head reads

    ``W_in`` is ``(V, D)``. The state of each layer is then followed by its convolution window:
    ``CONVOLVED - 1`` tensors ``(N, D)``, the latest first. `begin`, `enter`, `leave` and `end`
    define what happens between layers, for all time steps at once; sequences between them are
    ``(N, T, D)``, time-major in memory.
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
        self, inputs: Tensor, state: StackState | None = None, mode: ForwardMode = EVALUATION
    ) -> tuple[Tensor, StackState]:
        """Run the stack over ``inputs``, ``(N, T, F)`` or ids ``(N, T)``, from zeros by default.

        Return the output of the last layer, and the state after the last time step.
        """
        if state is None and self.blocks:
            state = self.initial_state(len(inputs))
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
        states = (layer.initial_state(batch_size) for layer in self.layers)
        if not self.blocks:
            return tuple(states)
        window = self.g_out.new_zeros(CONVOLVED - 1, batch_size, len(self.g_out)).unbind()
        return tuple((*state, *window) for state in states)

    def parted(self, index: int, state: LayerState) -> tuple[LayerState, LayerState]:
        """Split the state of layer ``index`` into its cell's part and the convolution window."""
        cell_parts = len(self.layers[index].cell.state)
        return state[:cell_parts], state[cell_parts:]

    def begin(self, inputs: Tensor, mode: ForwardMode = EVALUATION) -> Tensor:
        """Return the input of the first layer or block."""
        if not self.blocks:
            return inputs
        first = inputs.transpose(0, 1)
        if inputs.is_floating_point():
            return linear(first, self.W_in, None, mode.precision).transpose(0, 1)
        return embedding(first, self.W_in).transpose(0, 1)

    def enter(self, index: int, below: Tensor, window: LayerState) -> tuple[Tensor, LayerState]:
        """Return what layer ``index`` reads, and its next convolution window."""
        if not self.blocks:
            return below, window
        c, window = self.blocks[index].enter(below.transpose(0, 1), window)
        return c.transpose(0, 1), window

    def leave(
        self,
        index: int,
        below: Tensor,
        read: Tensor,
        outputs: Tensor,
        mode: ForwardMode = EVALUATION,
    ) -> Tensor:
        """Return the input of the next layer, given what layer ``index`` read and put out."""
        if not self.blocks:
            return drop(outputs, mode)
        x, c, h = (part.transpose(0, 1) for part in (below, read, outputs))
        return self.blocks[index].leave(x, c, h, mode).transpose(0, 1)

    def end(self, below: Tensor) -> Tensor:
        """Return what the softmax head reads."""
        if not self.blocks:
            return below
        normed: Tensor = Norm.apply(below.transpose(0, 1), self.g_out)
        return normed.transpose(0, 1)
