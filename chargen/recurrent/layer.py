"""The one driver that owns time; a cell in `cells/` says what happens at one step of it.

Axes: N texts, T timesteps, F input features, H units. Inside, time comes first, ``(T, N, H)``, so
that what one step reads and writes lies together in memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from chargen.recurrent.activations import activation_named
from chargen.recurrent.products import linear

LayerState = tuple[Tensor, ...]
"""What a layer remembers: tensors ``(N, H)``, the first of which is its output h."""


class RecurrentLayer(nn.Module):
    """A layer of ``units`` memory units that share their weights across time.

    Parameters hold one block of H columns for each gate of the cell (``blocks`` of them):
    ``W_xh`` ``(F, blocks * H)``, ``W_hh`` ``(H, blocks * H)``, ``b_h`` ``(blocks * H,)``; a cell
    that does not mix the state has no ``W_hh``.
    ``features`` (F) is taken from the first input where it is not given. ``generator`` draws the
    initial weights; without one, torch's own does. W_hh starts orthogonal block by block
    (Saxe et al. 2014), W_xh uniform after Glorot & Bengio 2010, biases at zero.
    """

    blocks = 1
    mixes = True  # whether units read each other's state: W_hh is there
    parts: tuple[str, ...] = ("h",)  # what the tensors of the state are called

    W_xh: nn.Parameter
    W_hh: nn.Parameter
    b_h: nn.Parameter

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
        self.activation = activation_named(activation)
        self.return_sequences = return_sequences
        if features is not None:
            self.build(features, generator)

    @property
    def built(self) -> bool:
        """Whether the number of input features is known and the weights exist."""
        return "W_xh" in self._parameters

    def build(self, features: int, generator: torch.Generator | None = None) -> None:
        """Make the weights for ``features`` inputs."""
        H, columns = self.units, self.blocks * self.units
        self.W_xh = nn.Parameter(torch.empty(features, columns))
        if self.mixes:
            self.W_hh = nn.Parameter(torch.empty(H, columns))
        self.b_h = nn.Parameter(torch.zeros(columns))
        for block in range(self.blocks):
            own = slice(block * H, (block + 1) * H)
            nn.init.xavier_uniform_(self.W_xh.data[:, own], generator=generator)
            if self.mixes:
                nn.init.orthogonal_(self.W_hh.data[:, own], generator=generator)

    def initial_state(self, batch_size: int) -> LayerState:
        """The state before the first character: zeros, ``(N, H)`` each."""
        return tuple(self.b_h.new_zeros(batch_size, self.units) for _ in self.parts)

    def project(self, inputs: Tensor) -> Tensor:
        """``x_t W_xh + b_h`` for all t at once, as ``(T, N, blocks * H)``.

        ``inputs`` is ``(N, T, F)``, or ``(N, T)`` integers that stand for one-hot vectors, whose
        product with W_xh is a row of it.
        """
        if inputs.is_floating_point():
            return linear(inputs.transpose(0, 1), self.W_xh, self.b_h)
        return embedding(inputs.transpose(0, 1), self.W_xh).add_(self.b_h)

    def gates(self, projected: Tensor, state: LayerState) -> dict[str, Tensor]:
        """What a step decides before it changes the state, by the letters of the cell's equations.

        ``projected`` ``(..., blocks * H)`` and ``state`` ``(..., H)`` each, for one step or, where
        the states before them are known, for many; the gates are ``(..., H)``. None by default.
        """
        return {}

    def step(self, projected: Tensor, state: LayerState) -> LayerState:
        """One step, the reference: ``projected`` ``(N, blocks * H)`` and the state to the next."""
        raise NotImplementedError

    def scan(self, projected: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """All steps, ``(T, N, blocks * H)`` to h at each, ``(T, N, H)``, and the last state.

        This is the reference, a loop over `step`; a cell may do the same faster.
        """
        outputs = []
        for projected_t in projected:
            state = self.step(projected_t, state)
            outputs.append(state[0])
        return torch.stack(outputs), state

    def read(self, inputs: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """`project` and `scan`; a cell may do both at once."""
        return self.scan(self.project(inputs), state)

    def forward(self, inputs: Tensor, state: LayerState | None = None) -> tuple[Tensor, LayerState]:
        """Read ``inputs``, ``(N, T, F)`` floats or ``(N, T)`` ids, from ``state`` on.

        Returns h at every step, ``(N, T, H)``, with ``return_sequences``, else the last,
        ``(N, H)``, and the state after it.
        """
        if inputs.ndim not in (2, 3) or inputs.shape[1] == 0:
            raise ValueError(
                f"inputs are (N, T, F) or ids (N, T), T > 0, not {tuple(inputs.shape)}"
            )
        if not self.built:
            if inputs.ndim == 2:
                raise ValueError("give features=V before reading ids: they do not tell V")
            self.build(inputs.shape[2])
        if state is None:
            state = self.initial_state(inputs.shape[0])
        outputs, state = self.read(inputs, state)
        return (outputs.transpose(0, 1) if self.return_sequences else outputs[-1]), state
