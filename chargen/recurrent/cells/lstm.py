"""Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate of Gers et al. 2000)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import one_hot

from chargen.recurrent.activations import ACTIVATIONS, Activation
from chargen.recurrent.layer import LayerState, RecurrentLayer
from chargen.recurrent.products import factor, multiplies_bfloat16, repeated, times

HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.aten, "mkldnn_rnn_layer")
LSTM_MODE = 2  # what torch calls an LSTM there
WIDEST = 2  # times as many characters as units: with more, reading rows of W_xh is faster


class LSTM(RecurrentLayer):
    """A layer of LSTM units: c is added to, not overwritten, so that gradients pass through time.

        i_t, f_t, o_t = sigmoid(x_t W_x{i,f,o} + h_{t-1} W_h{i,f,o} + b_{i,f,o})
        g_t = tanh(x_t W_xg + h_{t-1} W_hg + b_g)
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * tanh(c_t)

    ``tanh`` is the ``activation``, both times. The columns of the weights are the blocks
    ``i, f, g, o``, as torch has them. b_f starts at 1, so that a new cell remembers
    (Jozefowicz et al. 2015).
    The state is ``(h, c)``.
    """

    blocks = 4
    parts = ("h", "c")

    def build(self, features: int, generator: torch.Generator | None = None) -> None:
        """See `RecurrentLayer.build`."""
        super().build(features, generator)
        self.b_h.data[self.units : 2 * self.units] = 1.0

    def gates(self, projected: Tensor, state: LayerState) -> dict[str, Tensor]:
        """``i``, ``f``, ``g`` and ``o``; see `RecurrentLayer.gates`."""
        h, _ = state
        i, f, g, o = (projected + h @ self.W_hh).chunk(4, dim=-1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), self.activation.function(g), o.sigmoid()
        return {"i": i, "f": f, "g": g, "o": o}

    def step(self, projected: Tensor, state: LayerState) -> LayerState:
        """See `RecurrentLayer.step`."""
        _, c = state
        i, f, g, o = self.gates(projected, state).values()
        c = f * c + i * g
        return o * self.activation.function(c), c

    def read(self, inputs: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """See `RecurrentLayer.read`; by oneDNN where it can."""
        if self._suits_onednn(inputs):
            return self._by_onednn(inputs, state)
        return super().read(inputs, state)

    def _suits_onednn(self, inputs: Tensor) -> bool:
        """Whether oneDNN has this layer, and does not lose by multiplying with one-hot vectors."""
        return (
            HAS_ONEDNN
            and inputs.device.type == "cpu"
            and self.W_hh.dtype == torch.float32
            and self.activation is ACTIVATIONS["tanh"]
            and (inputs.is_floating_point() or len(self.W_xh) <= WIDEST * self.units)
        )

    def _by_onednn(self, inputs: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """The whole layer as one call, which ``torch.nn.LSTM`` makes too; it knows its gradient.

        It wants the weights transposed, adds two biases, and reads one-hot vectors as they are:
        with few characters that is cheaper than anything that is done step by step. What is not
        contiguous it takes for something else. Where training has factors rounded, x, h and the
        weights are, and their gradients; c and the biases, and theirs, are not.
        """
        x = inputs.transpose(0, 1)
        if not inputs.is_floating_point():
            x = one_hot(x, len(self.W_xh)).to(self.W_xh.dtype)
        h, c = state
        factors = [x, self.W_xh.t(), self.W_hh.t(), h]
        if multiplies_bfloat16():
            factors = [factor(tensor) for tensor in factors]
        x, W_x, W_h, h = (tensor.contiguous() for tensor in factors)
        outputs, _, c, _ = torch.ops.aten.mkldnn_rnn_layer(
            x, W_x, W_h, self.b_h, torch.zeros_like(self.b_h),
            h, c.contiguous(), False, [], LSTM_MODE, self.units, 1, True, False, False, True,
        )  # fmt: skip
        outputs = outputs.to(self.W_hh.dtype)
        return outputs, (outputs[-1], c)

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
        outputs, cells, bent = projected.new_empty(3, T, N, H)  # h, c and tanh(c)
        product = repeated(W_hh, N, T)
        h, c = h_0, c_0
        # Every view is made before the loop, in bulk: one by one they cost as much as the sums.
        views = (projected, gates[..., : 2 * H], *gates.chunk(4, dim=2), outputs, cells, bent)
        for x_t, both, i, f, g, o, h_t, c_t, bent_t in zip(
            *(view.unbind() for view in views), strict=True
        ):
            sums_of_both, of_g, of_o = product(h, x_t).split([2 * H, H, H], dim=1)
            torch.sigmoid(sums_of_both, out=both)
            activation.into(of_g, g)
            torch.sigmoid(of_o, out=o)
            c = torch.mul(f, c, out=c_t).addcmul_(i, g)
            h = torch.mul(o, activation.into(c, bent_t), out=h_t)
        ctx.save_for_backward(gates, cells, bent, outputs, h_0, c_0, W_hh)
        ctx.activation = activation
        return outputs, c.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
        gates, cells, bent, outputs, h_0, c_0, W_hh = ctx.saved_tensors
        T, N, H = outputs.shape
        i, f, g, o = gates.chunk(4, dim=2)
        # d_c = d_h * into_c + (what later steps send); the sum of each gate then gets d_c, or of
        # o d_h, times a factor that the forward pass alone determines.
        into_c = o * ctx.activation.slope(bent)
        d_sums = torch.empty_like(gates)
        d_i, d_f, d_g, d_o = d_sums.chunk(4, dim=2)
        torch.mul(g, i * (1 - i), out=d_i)
        torch.mul(torch.cat([c_0[None], cells[:-1]]), f * (1 - f), out=d_f)
        torch.mul(i, ctx.activation.slope(g), out=d_g)
        torch.mul(bent, o * (1 - o), out=d_o)
        product = repeated(W_hh.t(), N, T)
        d_h, d_c = d_outputs[-1], d_last
        views = (f, into_c, d_sums, d_sums[..., : 3 * H].view(T, N, 3, H), d_o)
        steps = zip(*(view.unbind() for view in views), strict=True)
        for t, (f_t, into_c_t, d_sums_t, d_ifg_t, d_o_t) in reversed(list(enumerate(steps))):
            d_o_t.mul_(d_h)
            d_c = torch.addcmul(d_c, d_h, into_c_t)
            d_ifg_t.mul_(d_c[:, None])
            d_c.mul_(f_t)
            if t:
                d_h = product(d_sums_t, d_outputs[t - 1])
        d_W_hh = times(outputs[:-1].flatten(0, 1).t(), d_sums[1:].flatten(0, 1))
        d_W_hh.addmm_(h_0.t(), d_sums[0])
        return d_sums, d_sums[0] @ W_hh.t(), d_c, d_W_hh, None
