"""Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate of Gers et al. 2000)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from chargen.recurrent.activations import Activation
from chargen.recurrent.layer import LayerState, RecurrentLayer


class LSTM(RecurrentLayer):
    """A layer of LSTM units: c is added to, not overwritten, so that gradients pass through time.

        i_t, f_t, o_t = sigmoid(x_t W_x{i,f,o} + h_{t-1} W_h{i,f,o} + b_{i,f,o})
        g_t = tanh(x_t W_xg + h_{t-1} W_hg + b_g)
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * tanh(c_t)

    ``tanh`` is the ``activation``, both times. The columns of the weights are the blocks
    ``i, f, o, g``. b_f starts at 1, so that a new cell remembers (Jozefowicz et al. 2015).
    The state is ``(h, c)``.
    """

    blocks = 4
    parts = 2

    def build(self, features: int, generator: torch.Generator | None = None) -> None:
        """See `RecurrentLayer.build`."""
        super().build(features, generator)
        self.b_h.data[self.units : 2 * self.units] = 1.0

    def step(self, projected: Tensor, state: LayerState) -> LayerState:
        """See `RecurrentLayer.step`."""
        h, c = state
        i, f, o, g = (projected + h @ self.W_hh).chunk(4, dim=1)
        i, f, o, g = i.sigmoid(), f.sigmoid(), o.sigmoid(), self.activation.function(g)
        c = f * c + i * g
        return o * self.activation.function(c), c

    def scan(self, projected: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """See `RecurrentLayer.scan`; the same with a backward pass written by hand."""
        outputs, c = _LSTMScan.apply(projected, *state, self.W_hh, self.activation)
        return outputs, (outputs[-1], c)


class _LSTMScan(torch.autograd.Function):
    """Back-propagation through time with everything that does not wait for a step done in bulk."""

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, h_0: Tensor, c_0: Tensor, W_hh: Tensor, activation: Activation
    ) -> tuple[Tensor, Tensor]:
        T, N, H = len(projected), *h_0.shape
        gates = torch.empty_like(projected)
        outputs, bent = projected.new_empty(2, T, N, H)  # h and tanh(c)
        cells = projected.new_empty(T + 1, N, H)
        cells[0] = c_0
        h = h_0
        for t in range(T):
            gates_t, c, bent_t = gates[t], cells[t + 1], bent[t]
            torch.addmm(projected[t], h, W_hh, out=gates_t)
            gates_t[:, : 3 * H].sigmoid_()
            i, f, o, g = gates_t.chunk(4, dim=1)
            activation.in_place(g)
            torch.mul(f, cells[t], out=c).addcmul_(i, g)
            activation.in_place(bent_t.copy_(c))
            h = torch.mul(o, bent_t, out=outputs[t])
        ctx.save_for_backward(gates, cells, bent, outputs, h_0, W_hh)
        ctx.activation = activation
        return outputs, cells[T].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
        gates, cells, bent, outputs, h_0, W_hh = ctx.saved_tensors
        T, N, H = outputs.shape
        i, f, o, g = gates.chunk(4, dim=2)
        # d_c = d_h * into_c + (what later steps send), and each gate's sum gets d_c or d_h times
        # a factor that the forward pass alone determines.
        into_c = o * ctx.activation.slope(bent)
        factors = torch.empty(T, N, 4, H, dtype=gates.dtype, device=gates.device)
        torch.mul(g, i * (1 - i), out=factors[:, :, 0])
        torch.mul(cells[:-1], f * (1 - f), out=factors[:, :, 1])
        torch.mul(bent, o * (1 - o), out=factors[:, :, 2])
        torch.mul(i, ctx.activation.slope(g), out=factors[:, :, 3])
        d_h, d_c = d_outputs[-1], d_last
        for t in range(T - 1, -1, -1):
            d_c = torch.addcmul(d_c, d_h, into_c[t])
            d_sums = factors[t]  # (N, 4, H), overwritten by the gradients
            d_sums[:, 2].mul_(d_h)
            d_sums[:, :2].mul_(d_c[:, None])
            d_sums[:, 3].mul_(d_c)
            d_c = d_c * f[t]
            if t:
                d_h = torch.addmm(d_outputs[t - 1], d_sums.view(N, 4 * H), W_hh.t())
        d_projected = factors.view(T, N, 4 * H)
        d_W_hh = outputs[:-1].flatten(0, 1).t() @ d_projected[1:].flatten(0, 1)
        d_W_hh.addmm_(h_0.t(), d_projected[0])
        return d_projected, d_projected[0] @ W_hh.t(), d_c, d_W_hh, None
