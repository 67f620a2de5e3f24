"""The minGRU layer (Feng et al. 2024, "Were RNNs all we needed?")."""

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from chargen.recurrent.layer import Activation, LayerState, RecurrentLayer

CHUNK = 8  # time steps at most; a divisor of T


class MinGRU(RecurrentLayer, name="mingru"):
    """A minGRU layer, whose gates depend on the input alone.

        z_t = sigmoid(x_t W_xz + b_z)
        n_t = tanh(x_t W_xn + b_n)
        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

    ``tanh`` stands for the activation function, which the paper omits. z is the share of the
    previous state that is kept, as in `chargen.recurrent.GRU`; the paper calls it 1 - z. There is
    no W_hh: each unit reads its own state alone, and all matmuls run for all time steps at once.
    The gate order is ``z, n``. The state is ``(h,)``.
    """

    def scan(self, projected: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        outputs = _MinGRUScan.apply(projected, *state, self.activation)
        return outputs, (outputs[-1],)


class _MinGRUScan(torch.autograd.Function):
    """A linear recurrence, ``h_t = z_t * h_{t-1} + added_t``, in both directions."""

    @staticmethod
    def forward(ctx: Any, projected: Tensor, h_0: Tensor, activation: Activation) -> Tensor:
        of_z, of_n = projected.chunk(2, dim=2)
        z, n = torch.sigmoid(of_z), activation.function(of_n)
        outputs = torch.sub(1, z).mul_(n)  # added_t
        _scan(z, outputs, h_0)
        ctx.save_for_backward(z, n, outputs, h_0)
        ctx.activation = activation
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor) -> tuple[Tensor | None, ...]:
        z, n, outputs, h_0 = ctx.saved_tensors
        d_hs = d_outputs.clone(memory_format=torch.contiguous_format)
        _scan(z.roll(-1, 0), d_hs, torch.zeros_like(h_0), backward=True)
        d_projected = z.new_empty(*z.shape[:2], 2 * z.shape[2])
        d_z, d_n = d_projected.chunk(2, dim=2)
        torch.sub(1, z, out=d_z).mul_(d_hs)  # temporarily d_h (1 - z)
        ctx.activation.gradient(d_z, n, grad_input=d_n)
        d_z.mul_(z)
        d_z[1:].mul_(outputs[:-1] - n[1:])
        d_z[0].mul_(h_0 - n[0])
        return d_projected, d_hs[0] * z[0], None


def _scan(keep: Tensor, sums: Tensor, first: Tensor, backward: bool = False) -> None:
    """Compute ``sums_t += keep_t * sums_{t-1}`` in place, ``(T, N, H)``.

    ``first`` comes before the first sum; ``backward`` runs from the last time step down. The scan
    runs over the steps of all chunks in parallel, each from zero, and then adds the carry of the
    chunk before it: a few large operations are faster than a small one per time step.
    """
    size = math.gcd(len(sums), CHUNK)
    keep, sums = (part.unflatten(0, (-1, size)) for part in (keep, sums))
    kept = torch.empty_like(keep)  # product of keep from the start of the chunk
    steps = [_slices(part, 1, backward) for part in (keep, sums, kept)]
    steps[2][0].copy_(steps[0][0])
    for (_, sum_before, kept_before), (keep_t, sum_t, kept_t) in pairwise(zip(*steps, strict=True)):
        sum_t.addcmul_(keep_t, sum_before)
        torch.mul(keep_t, kept_before, out=kept_t)
    carry = torch.empty_like(kept[:, 0])
    carries = _slices(carry, 0, backward)
    carries[0].copy_(first)
    lasts = (_slices(part[-1], 0, backward) for part in steps[1:])
    for (here, then), sum_last, kept_last in zip(pairwise(carries), *lasts, strict=False):
        torch.addcmul(sum_last, kept_last, here, out=then)
    sums.addcmul_(kept, carry.unsqueeze(1))


def _slices(values: Tensor, dim: int, backward: bool) -> tuple[Tensor, ...]:
    parts = values.unbind(dim)
    return parts[::-1] if backward else parts
