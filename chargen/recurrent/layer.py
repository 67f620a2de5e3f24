"""The base class of recurrent layers: parameters, the loop over time, and the reference step.

Axes: N sequences per batch, T time steps, F input features, H units. Tensors inside a layer are
time-major, ``(T, N, H)``, so that the values of one time step are contiguous in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, one_hot

from chargen.cells import CELLS, Cell, CellOps
from chargen.errors import ChargenError
from chargen.recurrent.matmul import linear

LayerState = tuple[Tensor, ...]
"""The state of a layer: one tensor ``(N, H)`` for each name in `Cell.state`; the first is h."""

MAX_ONE_HOT_RATIO = 2  # V / H; above it, selecting rows of W_xh is faster than one-hot matmuls

OPS = CellOps(torch.matmul, lambda x, parts: x.chunk(parts, dim=-1), torch.sigmoid)


class Activation(NamedTuple):
    """An activation ``function(x, out=None)``; ``gradient(d_y, y, grad_input=d_x)`` writes d_x."""

    function: Callable[..., Tensor]
    gradient: Callable[..., Tensor]


ACTIVATIONS = {
    "tanh": Activation(torch.tanh, torch.ops.aten.tanh_backward.grad_input),
    "relu": Activation(
        lambda x, out=None: torch.threshold(x, 0, 0, out=out),
        lambda d_y, y, grad_input: torch.mul(d_y, y > 0, out=grad_input),
    ),
    "sigmoid": Activation(torch.sigmoid, torch.ops.aten.sigmoid_backward.grad_input),
    "linear": Activation(
        lambda x, out=None: x if out is None else out.copy_(x),
        lambda d_y, y, grad_input: grad_input.copy_(d_y),
    ),
}

Kernels = Mapping[str, Callable[..., Any]]
"""torch's functions for a whole layer, by activation function; on a GPU they call cuDNN."""

REGISTERED: dict[str, type[RecurrentLayer]] = {}
"""The layer class of each cell, by the cell's name."""


class RecurrentLayer(nn.Module):
    """A recurrent layer whose weights are shared across time.

    The parameters are those of `Cell.shapes`, one block of H columns for each gate: ``W_xh``
    ``(F, gates * H)``, ``W_hh`` ``(H, gates * H)``, ``b_h`` ``(gates * H,)``. W_hh is initialized
    orthogonally block by block (Saxe et al. 2014), W_xh uniformly (Glorot & Bengio 2010), biases
    with zeros, from ``generator``, torch's global one by default.

    ``units`` is H; F, the ``features``, is inferred from the first input by default. With
    ``return_sequences`` a layer returns h of every time step instead of the last one.
    """

    cell: Cell
    kernels: Kernels

    W_xh: nn.Parameter
    W_hh: nn.Parameter
    b_h: nn.Parameter

    def __init_subclass__(cls, name: str = "", kernels: Kernels | None = None) -> None:
        if name:
            cls.kernels = kernels or {}
            cls.cell, REGISTERED[name] = CELLS[name], cls

    def __init__(
        self,
        units: int,
        activation: str = "tanh",
        return_sequences: bool = False,
        features: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if units < 1:
            raise ValueError(f"units must be 1 or more, not {units}")
        self.units = units
        if activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ChargenError(f"activation {activation!r} is unknown: choose one of {known}")
        self.activation = ACTIVATIONS[activation]
        self.kernel = self.kernels.get(activation)
        self.return_sequences = return_sequences
        if features is not None:
            self.build(features, generator)

    @property
    def weights(self) -> Mapping[str, nn.Parameter]:
        return self._parameters  # type: ignore[return-value]

    def build(self, features: int, generator: torch.Generator | None = None) -> None:
        """Create the parameters for ``features`` input features."""
        H = self.units
        for name, shape in self.cell.shapes(features, H).items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))
        for start in range(0, len(self.b_h), H):
            block = slice(start, start + H)
            nn.init.xavier_uniform_(self.W_xh.data[:, block], generator=generator)
            if self.cell.recurrent:
                nn.init.orthogonal_(self.W_hh.data[:, block], generator=generator)

    def initial_state(self, batch_size: int) -> LayerState:
        """Return the zero state, ``(N, H)`` per part."""
        return tuple(self.b_h.new_zeros(batch_size, self.units) for _ in self.cell.state)

    def project(self, inputs: Tensor, precision: str = "float32") -> Tensor:
        """Return ``x_t W_xh + b_h`` of every time step, ``(T, N, gates * H)``.

        ``inputs`` is ``(N, T, F)``, or ids ``(N, T)``, which select rows of W_xh.
        """
        if inputs.is_floating_point():
            return linear(inputs.transpose(0, 1), self.W_xh, self.b_h, precision)
        if inputs.numel() > len(self.W_xh):  # then adding b_h to the rows takes fewer additions
            return embedding(inputs.transpose(0, 1), self.W_xh + self.b_h)
        return embedding(inputs.transpose(0, 1), self.W_xh).add_(self.b_h)

    def gates(self, projected: Tensor, state: LayerState) -> dict[str, Tensor]:
        """Return the gates by name of one time step or several, given the state before each."""
        function = self.activation.function
        gates = self.cell.compute(OPS, function, projected, state, self.weights)
        return {name: gate for name, gate in gates.items() if name not in self.cell.state}

    def step(self, projected: Tensor, state: LayerState) -> LayerState:
        """Return the state after one time step: the reference implementation."""
        return self.cell.step(OPS, self.activation.function, projected, state, self.weights)

    def scan(self, projected: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Run all time steps: return h of each, ``(T, N, H)``, and the last state.

        This is the reference, a loop over `step`; subclasses override it with a faster form.
        """
        outputs = []
        for projected_t in projected:
            state = self.step(projected_t, state)
            outputs.append(state[0])
        return torch.stack(outputs), state

    def read(
        self, inputs: Tensor, state: LayerState, precision: str = "float32"
    ) -> tuple[Tensor, LayerState]:
        """Run `project`, then `scan`, or on a GPU both in one call; subclasses may fuse them."""
        if inputs.device.type != "cpu" and precision == "float32" and self.has_kernel(inputs):
            return self.read_at_once(inputs, state)
        return self.scan(self.project(inputs, precision), state)

    def vectors(self, inputs: Tensor) -> Tensor:
        """Return inputs time-major, ``(T, N, F)``, ids as one-hot vectors."""
        x = inputs.transpose(0, 1)
        return x if x.is_floating_point() else one_hot(x, len(self.W_xh)).to(self.W_xh.dtype)

    def has_kernel(self, inputs: Tensor) -> bool:
        """Return True if torch has a function for the layer and the inputs are not too wide."""
        is_narrow = inputs.is_floating_point() or len(self.W_xh) <= MAX_ONE_HOT_RATIO * self.units
        return self.kernel is not None and is_narrow

    def read_at_once(self, inputs: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Run the layer in the one call that ``torch.nn`` makes, on one-hot vectors of ids."""
        assert self.kernel is not None
        x = self.vectors(inputs)
        second = torch.zeros_like(self.b_h)  # the bias of h W_hh
        for name in self.cell.extra:
            second = torch.cat([second[: -self.units], self.weights[name]])
        parts = self.W_xh.t(), self.W_hh.t(), self.b_h, second
        # Parts of one array, which cuDNN reads without copying them.
        flat = torch.cat([part.flatten() for part in parts])
        sizes = [part.numel() for part in parts]
        weights = [own.view(part.shape) for own, part in zip(flat.split(sizes), parts, strict=True)]
        first = [part[None].contiguous() for part in state]
        how = True, 1, 0.0, torch.is_grad_enabled(), False, False
        outputs, *last = self.kernel(x, first if len(first) > 1 else first[0], weights, *how)
        return outputs, tuple(part[0] for part in last)

    def forward(
        self, inputs: Tensor, state: LayerState | None = None, precision: str = "float32"
    ) -> tuple[Tensor, LayerState]:
        """Run the layer over ``(N, T, F)`` floats or ``(N, T)`` ids, from zeros by default.

        Return h of every time step ``(N, T, H)`` with ``return_sequences``, else of the last
        ``(N, H)``, and the state after it.
        """
        if inputs.ndim not in (2, 3) or inputs.shape[1] == 0:
            raise ValueError(f"inputs are (N, T, F) or ids (N, T), T > 0, not {[*inputs.shape]}")
        if "W_xh" not in self._parameters:
            if inputs.ndim == 2:
                raise ValueError("give features=V before reading ids, which do not show V")
            self.build(inputs.shape[2])
        if state is None:
            state = self.initial_state(inputs.shape[0])
        outputs, state = self.read(inputs, state, precision)
        return (outputs.transpose(0, 1) if self.return_sequences else outputs[-1]), state
