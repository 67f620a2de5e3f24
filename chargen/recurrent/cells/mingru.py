"""The minimal gated recurrent unit (Feng et al. 2024, "Were RNNs all we needed?")."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from chargen.recurrent.activations import Activation
from chargen.recurrent.layer import LayerState, RecurrentLayer


class MinGRU(RecurrentLayer):
    """A layer of minimal gated recurrent units: what is kept, and what is added, the input decides.

        z_t = sigmoid(x_t W_xz + b_z)
        n_t = tanh(x_t W_xn + b_n)
        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

    ``tanh`` is the ``activation``; the paper has none there. z is, as in `chargen.recurrent.GRU`,
    how much of the old state stays, which the paper calls 1 - z. Nothing but the sum itself waits
    for the step before: there is no W_hh, and all products are made for all steps at once. Each
    unit alone remembers; what several of them hold comes together in the layer above. The columns
    of the weights are the blocks ``z, n``. The state is ``(h,)``.
    """

    blocks = 2
    mixes = False

    def gates(self, projected: Tensor, state: LayerState) -> dict[str, Tensor]:
        """``z`` and ``n``; see `RecurrentLayer.gates`."""
        z, n = projected.chunk(2, dim=-1)
        return {"z": z.sigmoid(), "n": self.activation.function(n)}

    def step(self, projected: Tensor, state: LayerState) -> LayerState:
        """See `RecurrentLayer.step`."""
        (h,) = state
        z, n = self.gates(projected, state).values()
        return ((1 - z) * n + z * h,)

    def scan(self, projected: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """See `RecurrentLayer.scan`; a step is one multiplication and one addition a unit."""
        outputs = _MinGRUScan.apply(projected, *state, self.activation)
        return outputs, (outputs[-1],)


class _MinGRUScan(torch.autograd.Function):
    """``h_t = z_t h_{t-1} + added_t`` is all that is done step by step, there and back."""

    @staticmethod
    def forward(ctx: Any, projected: Tensor, h_0: Tensor, activation: Activation) -> Tensor:
        of_z, of_n = projected.chunk(2, dim=2)
        z, n = torch.sigmoid(of_z), activation.function(of_n)
        outputs = torch.sub(1, z).mul_(n)  # what is added
        h = h_0
        for z_t, h_t in zip(z.unbind(), outputs.unbind(), strict=True):
            h = h_t.addcmul_(z_t, h)
        ctx.save_for_backward(z, n, outputs, h_0)
        ctx.activation = activation
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor) -> tuple[Tensor | None, ...]:
        z, n, outputs, h_0 = ctx.saved_tensors
        d_hs = d_outputs.clone(memory_format=torch.contiguous_format)
        at = d_hs.unbind()
        d_h = at[-1]
        for t, z_t in reversed(list(enumerate(z.unbind()))[1:]):
            d_h = at[t - 1].addcmul_(z_t, d_h)
        d_projected = z.new_empty(*z.shape[:2], 2 * z.shape[2])
        d_z, d_n = d_projected.chunk(2, dim=2)
        torch.sub(1, z, out=d_z).mul_(d_hs)  # lent to d_h (1 - z) for a moment
        torch.mul(d_z, ctx.activation.slope(n), out=d_n)
        d_z.mul_(z)
        d_z[1:].mul_(outputs[:-1] - n[1:])
        d_z[0].mul_(h_0 - n[0])
        return d_projected, d_hs[0] * z[0], None
