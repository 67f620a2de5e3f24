"""The minimal gated recurrent unit (Feng et al. 2024, "Were RNNs all we needed?")."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from chargen.recurrent.activations import Activation
from chargen.recurrent.layer import LayerState, RecurrentLayer

TOGETHER = 8  # timesteps in a stretch


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
        _add_up(z, outputs, h_0)
        ctx.save_for_backward(z, n, outputs, h_0)
        ctx.activation = activation
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor) -> tuple[Tensor | None, ...]:
        z, n, outputs, h_0 = ctx.saved_tensors
        d_hs = d_outputs.clone(memory_format=torch.contiguous_format)
        _add_up(z[1:], d_hs[:-1], d_hs[-1], backward=True)
        d_projected = z.new_empty(*z.shape[:2], 2 * z.shape[2])
        d_z, d_n = d_projected.chunk(2, dim=2)
        torch.sub(1, z, out=d_z).mul_(d_hs)  # lent to d_h (1 - z) for a moment
        torch.mul(d_z, ctx.activation.slope(n), out=d_n)
        d_z.mul_(z)
        d_z[1:].mul_(outputs[:-1] - n[1:])
        d_z[0].mul_(h_0 - n[0])
        return d_projected, d_hs[0] * z[0], None


def _add_up(keep: Tensor, sums: Tensor, first: Tensor, backward: bool = False) -> None:
    """``sums_t += keep_t * sums_{t-1}``, ``first`` before them all; or t + 1, from the last down.

    In place, ``(T, N, H)``. Stretches of `TOGETHER` timesteps are added up side by side, as if
    nothing came before them, and then what did, times all that is kept of it: few large operations
    take less than one small one a timestep.
    """
    alone = len(sums) % TOGETHER
    odd, even = slice(alone), slice(alone, None)
    if backward:
        odd, even = slice(len(sums) - alone, None), slice(len(sums) - alone)
    before = first
    singles = (_turns(part[odd], 0, backward) for part in (keep, sums))
    for keep_t, sum_t in zip(*singles, strict=True):
        before = sum_t.addcmul_(keep_t, before)
    if alone == len(sums):
        return
    keep, sums = (part[even].unflatten(0, (-1, TOGETHER)) for part in (keep, sums))
    kept = torch.empty_like(keep)  # of what came before the stretch
    steps = [_turns(part, 1, backward) for part in (keep, sums, kept)]
    steps[2][0].copy_(steps[0][0])
    for (_, sum_before, kept_before), (keep_t, sum_t, kept_t) in pairwise(zip(*steps, strict=True)):
        sum_t.addcmul_(keep_t, sum_before)
        torch.mul(keep_t, kept_before, out=kept_t)
    came = torch.empty_like(kept[:, 0])
    cames = _turns(came, 0, backward)
    cames[0].copy_(before)
    lasts = (_turns(part[-1], 0, backward) for part in steps[1:])
    for (here, then), sum_last, kept_last in zip(pairwise(cames), *lasts, strict=False):
        torch.addcmul(sum_last, kept_last, here, out=then)
    sums.addcmul_(kept, came.unsqueeze(1))


def _turns(values: Tensor, dim: int, backward: bool) -> tuple[Tensor, ...]:
    """The parts along a dimension, first to last or last to first."""
    parts = values.unbind(dim)
    return parts[::-1] if backward else parts
