"""The GRU layer (Cho et al. 2014), in the convention of cuDNN and torch.nn.GRU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from chargen.cells import cell_named
from chargen.recurrent.layer import ACTIVATIONS, Activation, LayerState, RecurrentLayer
from chargen.recurrent.matmul import recurrent_gradient, repeated

IN_CACHE = 2**17  # values of a tensor; larger ones are computed in parts, from the cache


class GRU(RecurrentLayer, name="gru", kernels={"tanh": torch.gru}):
    """A GRU layer; z is the share of the previous state that is kept.

        r_t, z_t = sigmoid(x_t W_x{r,z} + h_{t-1} W_h{r,z} + b_{r,z})
        n_t = tanh(x_t W_xn + b_n + r_t * (h_{t-1} W_hn + b_m))
        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

    ``tanh`` stands for the activation function; ``b_m`` is another parameter ``(H,)``. With
    ``reset_after=False`` the reset gate applies before the matmul, as Cho et al. 2014 and Keras'
    ``reset_after=False`` have it, and there is no b_m:

        n_t = tanh(x_t W_xn + b_n + (r_t * h_{t-1}) W_hn)

    That form takes two matmuls per time step, one after the other, and has no fast scan. The gate
    order is ``r, z, n``. The state is ``(h,)``.
    """

    b_m: nn.Parameter

    def __init__(self, *given: Any, reset_after: bool = True, **named: Any) -> None:
        self.cell = cell_named("gru", reset_after)
        super().__init__(*given, **named)
        self.kernel = self.kernel if reset_after else None

    def scan(self, projected: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        if not self.cell.extra:
            return super().scan(projected, state)
        outputs = _GRUScan.apply(projected, *state, self.W_hh, self.b_m, self.activation)
        return outputs, (outputs[-1],)


class _GRUScan(torch.autograd.Function):
    """BPTT in which every gradient within a step is d_h times a factor computed in bulk."""

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, h_0: Tensor, W_hh: Tensor, b_m: Tensor, activation: Activation
    ) -> Tensor:
        T, N, H = len(projected), *h_0.shape
        states, candidates = projected.new_empty(T + 1, N, H), projected.new_empty(T, N, H)
        h = states[0] = h_0
        product = repeated(W_hh, N, T)
        # What the product is added to: x of r and z, and b_m for m = h W_hn + b_m, since x_n is
        # outside the reset. One buffer for all time steps stays in the cache.
        added = torch.cat([projected[0, :, : 2 * H], b_m.expand(N, H)], 1)
        added_rz, gates = added[:, : 2 * H], torch.empty_like(projected)  # r, z and m
        views = (gates, gates[..., : 2 * H], *gates.chunk(3, 2), candidates, states[1:])
        views = (*projected.split([2 * H, H], 2), *views)
        for x_rz, x_n, rzm, rz, r, z, m, n, h_t in zip(*(v.unbind() for v in views), strict=True):
            added_rz.copy_(x_rz)
            rzm.copy_(product(h, added))
            rz.sigmoid_()
            activation.function(torch.addcmul(x_n, r, m), out=n)
            h = torch.lerp(n, h, z, out=h_t)
        ctx.save_for_backward(gates, candidates, states, W_hh)
        ctx.activation = activation
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradient, sigmoid_gradient = ctx.activation.gradient, ACTIVATIONS["sigmoid"].gradient
        gates, candidates, states, W_hh = ctx.saved_tensors
        T, N, H = candidates.shape
        factors = torch.empty(T, N, 3, H, dtype=gates.dtype, device=gates.device)
        d_gates, product = factors.view(T, N, 3 * H), repeated(W_hh.t(), N, T)
        d_hs, factors_n = torch.empty_like(candidates), torch.empty_like(candidates)
        d_h, d_before = d_outputs[-1], reversed((states.new_zeros(N, H), *d_outputs[:-1].unbind()))
        made = factors_n, factors, d_gates, d_hs, d_hs[:, :, None]
        views = (*gates.chunk(3, 2), candidates, states[:-1], *made)
        parts = zip(*(view.split(max(1, IN_CACHE // (N * H))) for view in views), strict=True)
        for r, z, m, n, h, into_n, into, *of_steps in reversed(list(parts)):
            into_r, into_z, into_m = into.unbind(2)
            # In place: allocating tensors of this size takes longer than computing them.
            gradient(torch.sub(1, z, out=into_n), n, grad_input=into_n)
            sigmoid_gradient(torch.mul(into_n, m, out=into_r), r, grad_input=into_r)
            sigmoid_gradient(torch.sub(h, n, out=into_z), z, grad_input=into_z)
            torch.mul(into_n, r, out=into_m)
            steps = zip(*(view.unbind() for view in (z, into, *of_steps)), strict=True)
            for z_t, factors_t, d_gates_t, d_h_t, row in reversed(list(steps)):
                d_h_t.copy_(d_h)
                factors_t.mul_(row)  # (N, 3, H), now the gates' gradients
                d_h = product(d_gates_t, torch.addcmul(next(d_before), d_h, z_t))
        d_m = d_gates[:, :, 2 * H :]
        of_weights = recurrent_gradient(states, d_gates), d_m.sum((0, 1))
        torch.mul(d_hs, factors_n, out=d_m)  # from m to x_n, which is outside the reset
        return d_gates, d_h, *of_weights, None
