"""The gated recurrent unit (Cho et al. 2014), in the convention of cuDNN and torch.nn.GRU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from chargen.recurrent.activations import Activation
from chargen.recurrent.layer import LayerState, RecurrentLayer
from chargen.recurrent.products import repeated, times


class GRU(RecurrentLayer):
    """A layer of gated recurrent units: z says how much of the old state stays.

        r_t, z_t = sigmoid(x_t W_x{r,z} + h_{t-1} W_h{r,z} + b_{r,z})
        n_t = tanh(x_t W_xn + b_n + r_t * (h_{t-1} W_hn + b_m))
        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

    ``tanh`` is the ``activation``. r applies after the product with W_hn (``reset_after`` in
    Keras), which makes one product a step of all three; b_m, the parameter ``b_m`` ``(H,)``,
    stands inside the reset and is therefore no part of b_n. The columns of the weights are the
    blocks ``r, z, n``. The state is ``(h,)``.
    """

    blocks = 3

    b_m: nn.Parameter

    def build(self, features: int, generator: torch.Generator | None = None) -> None:
        """See `RecurrentLayer.build`."""
        super().build(features, generator)
        self.b_m = nn.Parameter(torch.zeros(self.units))

    def gates(self, projected: Tensor, state: LayerState) -> dict[str, Tensor]:
        """``r``, ``z`` and ``n``; see `RecurrentLayer.gates`."""
        (h,) = state
        x_r, x_z, x_n = projected.chunk(3, dim=-1)
        h_r, h_z, h_n = (h @ self.W_hh).chunk(3, dim=-1)
        r, z = (x_r + h_r).sigmoid(), (x_z + h_z).sigmoid()
        return {"r": r, "z": z, "n": self.activation.function(x_n + r * (h_n + self.b_m))}

    def step(self, projected: Tensor, state: LayerState) -> LayerState:
        """See `RecurrentLayer.step`."""
        (h,) = state
        _, z, n = self.gates(projected, state).values()
        return ((1 - z) * n + z * h,)

    def scan(self, projected: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """See `RecurrentLayer.scan`; the same with a backward pass written by hand."""
        outputs = _GRUScan.apply(projected, *state, self.W_hh, self.b_m, self.activation)
        return outputs, (outputs[-1],)


class _GRUScan(torch.autograd.Function):
    """Back-propagation through time; every gradient within a step is d_h times a known factor."""

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, h_0: Tensor, W_hh: Tensor, b_m: Tensor, activation: Activation
    ) -> Tensor:
        T, N, H = len(projected), *h_0.shape
        candidates = projected.new_empty(T, N, H)
        outputs = projected.new_empty(T, N, H)
        product = repeated(W_hh, N, T)
        # Each step's gates, r, z and m = h W_hn + b_m, come where that stood to which the product
        # is added: x of r and z; b_m for m, since x_n stands outside the reset.
        gates = projected.clone()
        gates[:, :, 2 * H :] = b_m
        views = (projected[:, :, 2 * H :], gates, *gates.split([2 * H, H], 2), candidates, outputs)
        h = h_0
        for x_n, gates_t, both, m, n, h_t in zip(*(view.unbind() for view in views), strict=True):
            of_both, of_m = product(h, gates_t).split([2 * H, H], dim=1)
            r, z = torch.sigmoid(of_both, out=both).chunk(2, dim=1)
            m.copy_(of_m)
            activation.into(torch.addcmul(x_n, r, m), n)
            h = torch.lerp(n, h, z, out=h_t)
        ctx.save_for_backward(gates, candidates, outputs, h_0, W_hh)
        ctx.activation = activation
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor) -> tuple[Tensor | None, ...]:
        gates, candidates, outputs, h_0, W_hh = ctx.saved_tensors
        T, N, H = outputs.shape
        r, z, m = gates.chunk(3, dim=2)
        into_n = ctx.activation.slope(candidates).mul_(1 - z)
        factors = torch.empty(T, N, 3, H, dtype=gates.dtype, device=gates.device)
        into_r, into_z, into_m = factors.unbind(2)
        # In place: what is as large as all timesteps costs more to allocate than to compute.
        torch.sub(1, r, out=into_r).mul_(r).mul_(into_n).mul_(m)
        torch.sub(h_0, candidates[0], out=into_m[0])  # lent to h_{t-1} - n_t for a moment
        torch.sub(outputs[:-1], candidates[1:], out=into_m[1:])
        torch.sub(1, z, out=into_z).mul_(z).mul_(into_m)
        torch.mul(into_n, r, out=into_m)
        product = repeated(W_hh.t(), N, T)
        d_hs = torch.empty_like(outputs)
        views = (factors, factors.view(T, N, 3 * H), z, d_hs, d_outputs)
        factors_at, d_gates_at, z_at, d_h_at, d_output = (view.unbind() for view in views)
        d_h = d_h_at[-1].copy_(d_output[-1])
        for t in range(T - 1, -1, -1):
            factors_at[t].mul_(d_h[:, None])  # (N, 3, H), overwritten by the gates' gradients
            if t:
                d_h = torch.addcmul(d_output[t - 1], d_h, z_at[t])
                d_h = d_h_at[t - 1].copy_(product(d_gates_at[t], d_h))
        d_gates = factors.view(T, N, 3 * H)
        d_h_0 = torch.addmm(d_h * z[0], d_gates[0], W_hh.t())
        d_W_hh = times(outputs[:-1].flatten(0, 1).t(), d_gates[1:].flatten(0, 1))
        d_W_hh.addmm_(h_0.t(), d_gates[0])
        d_m = d_gates[:, :, 2 * H :]
        d_b_m = d_m.sum((0, 1))
        torch.mul(d_hs, into_n, out=d_m)  # x_n stands where m does, but outside the reset
        return d_gates, d_h_0, d_W_hh, d_b_m, None
