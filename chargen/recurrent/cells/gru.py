"""The GRU layer (Cho et al. 2014), in the convention of cuDNN and torch.nn.GRU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from chargen.cells import cell_named
from chargen.recurrent.layer import Activation, LayerState, RecurrentLayer
from chargen.recurrent.matmul import recurrent_gradient, repeated


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
        candidates = projected.new_empty(T, N, H)
        outputs = projected.new_empty(T, N, H)
        product = repeated(W_hh, N, T)
        # `gates` first holds what the product is added to: x of r and z, and b_m for
        # m = h W_hn + b_m, since x_n is outside the reset. Then it holds r, z and m.
        gates = projected.clone()
        gates[:, :, 2 * H :] = b_m
        views = (projected[:, :, 2 * H :], gates, *gates.split([2 * H, H], 2), candidates, outputs)
        h = h_0
        for x_n, gates_t, both, m, n, h_t in zip(*(view.unbind() for view in views), strict=True):
            of_both, of_m = product(h, gates_t).split([2 * H, H], dim=1)
            r, z = torch.sigmoid(of_both, out=both).chunk(2, dim=1)
            m.copy_(of_m)
            activation.function(torch.addcmul(x_n, r, m), out=n)
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
        # In place: allocating tensors of this size takes longer than computing them.
        torch.sub(1, r, out=into_r).mul_(r).mul_(into_n).mul_(m)
        torch.sub(h_0, candidates[0], out=into_m[0])  # temporarily h_{t-1} - n_t
        torch.sub(outputs[:-1], candidates[1:], out=into_m[1:])
        torch.sub(1, z, out=into_z).mul_(z).mul_(into_m)
        torch.mul(into_n, r, out=into_m)
        product = repeated(W_hh.t(), N, T)
        d_hs = torch.empty_like(outputs)
        views = (factors, factors.view(T, N, 3 * H), z, d_hs, d_outputs)
        factors_at, d_gates_at, z_at, d_h_at, d_output = (view.unbind() for view in views)
        d_h = d_h_at[-1].copy_(d_output[-1])
        for t in range(T - 1, -1, -1):
            factors_at[t].mul_(d_h[:, None])  # (N, 3, H), now the gates' gradients
            if t:
                d_h = torch.addcmul(d_output[t - 1], d_h, z_at[t])
                d_h = d_h_at[t - 1].copy_(product(d_gates_at[t], d_h))
        d_gates = factors.view(T, N, 3 * H)
        d_h_0 = torch.addmm(d_h * z[0], d_gates[0], W_hh.t())
        d_W_hh = recurrent_gradient(outputs, h_0, d_gates)
        d_m = d_gates[:, :, 2 * H :]
        d_b_m = d_m.sum((0, 1))
        torch.mul(d_hs, into_n, out=d_m)  # from m to x_n, which is outside the reset
        return d_gates, d_h_0, d_W_hh, d_b_m, None
