"""The LSTM layer (Hochreiter & Schmidhuber 1997; forget gate of Gers et al. 2000)."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from chargen.recurrent.layer import ACTIVATIONS, Activation, LayerState, RecurrentLayer
from chargen.recurrent.matmul import multiplies_bfloat16, recurrent_gradient, repeated, to_precision

HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.aten, "mkldnn_rnn_layer")
MIN_STEPS = 8  # time steps; the call copies the weights, which a few steps do not pay for
LSTM_MODE = 2  # the number of the LSTM among the cells of `mkldnn_rnn_layer`


class LSTM(RecurrentLayer, name="lstm", kernels={"tanh": torch.lstm}):
    """An LSTM layer: c is updated additively, so that gradients pass through time.

        i_t, f_t, o_t = sigmoid(x_t W_x{i,f,o} + h_{t-1} W_h{i,f,o} + b_{i,f,o})
        g_t = tanh(x_t W_xg + h_{t-1} W_hg + b_g)
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * tanh(c_t)

    ``tanh`` stands for the activation function. The gate order is ``i, f, g, o``, as in torch.
    b_f is initialized with 1 (Jozefowicz et al. 2015). The state is ``(h, c)``.
    """

    def build(self, features: int, generator: torch.Generator | None = None) -> None:
        super().build(features, generator)
        self.b_h.data[self.units : 2 * self.units] = 1.0
        # Stored in the layout that oneDNN reads and returns, which saves two copies per update.
        self.W_hh.data = self.W_hh.data.t().contiguous().t()

    def read(
        self, inputs: Tensor, state: LayerState, precision: str = "float32"
    ) -> tuple[Tensor, LayerState]:
        """Run the whole layer as the one differentiable call that ``torch.nn.LSTM`` makes.

        The kernel takes transposed weights, two biases, one-hot inputs, and contiguous tensors
        only. With ``precision="bfloat16"`` x, h and the weights are cast; c and the biases are not.
        """
        if not self._suits_onednn(inputs):
            return super().read(inputs, state, precision)
        h, c = state
        precision = precision if multiplies_bfloat16() else "float32"
        operands = (self.vectors(inputs), self.W_xh.t(), self.W_hh.t(), h)
        x, W_x, W_h, h = (to_precision(tensor, precision).contiguous() for tensor in operands)
        outputs, _, c, _ = torch.ops.aten.mkldnn_rnn_layer(
            x, W_x, W_h, self.b_h, torch.zeros_like(self.b_h),
            h, c.contiguous(), False, [], LSTM_MODE, self.units, 1, True, False, False, True,
        )  # fmt: skip
        outputs = outputs.to(self.W_hh.dtype)
        return outputs, (outputs[-1], c)

    def _suits_onednn(self, inputs: Tensor) -> bool:
        return (
            HAS_ONEDNN
            and inputs.device.type == "cpu"
            and self.W_hh.dtype == torch.float32
            and inputs.shape[1] >= MIN_STEPS
            and self.has_kernel(inputs)
        )

    def scan(self, projected: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        outputs, c = _LSTMScan.apply(projected, *state, self.W_hh, self.activation)
        return outputs, (outputs[-1], c)


class _LSTMScan(torch.autograd.Function):
    """BPTT in which everything that does not depend on the previous step runs in bulk."""

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, h_0: Tensor, c_0: Tensor, W_hh: Tensor, activation: Activation
    ) -> tuple[Tensor, Tensor]:
        T, N, H = len(projected), *h_0.shape
        gates = torch.empty_like(projected)
        states, cells = projected.new_empty(2, T + 1, N, H)  # h and c from t = 0 on
        h, c = states[0], cells[0] = h_0, c_0
        act_c = projected.new_empty(T, N, H)  # tanh(c)
        product = repeated(W_hh, N, T)
        # Views are created in bulk: one by one they would take as long as the arithmetic.
        views = (projected, gates[..., : 2 * H], *gates.chunk(4, 2), states[1:], cells[1:], act_c)
        steps = zip(*(view.unbind() for view in views), strict=True)
        for x_t, both, i, f, g, o, h_t, c_t, act_c_t in steps:
            sums_of_both, of_g, of_o = product(h, x_t).split([2 * H, H, H], dim=1)
            torch.sigmoid(sums_of_both, out=both)
            activation.function(of_g, out=g)
            torch.sigmoid(of_o, out=o)
            c = torch.mul(f, c, out=c_t).addcmul_(i, g)
            h = torch.mul(o, activation.function(c, out=act_c_t), out=h_t)
        ctx.save_for_backward(gates, cells, act_c, states, W_hh)
        ctx.activation = activation
        return states[1:], c.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
        gates, cells, act_c, states, W_hh = ctx.saved_tensors
        gradient, sigmoid_gradient = ctx.activation.gradient, ACTIVATIONS["sigmoid"].gradient
        T, N, H = act_c.shape
        i, f, g, o = gates.chunk(4, dim=2)
        # d_c = d_h * into_c + d_c of the next step; the pre-activation of each gate then gets
        # d_c (o: d_h) times a factor that the forward pass alone determines.
        into_c, d_sums = torch.empty_like(act_c), torch.empty_like(gates)
        gradient(o, act_c, grad_input=into_c)
        d_i, d_f, d_g, d_o = d_sums.chunk(4, dim=2)
        sigmoid_gradient(g, i, grad_input=d_i)
        sigmoid_gradient(cells[:-1], f, grad_input=d_f)
        gradient(i, g, grad_input=d_g)
        sigmoid_gradient(act_c, o, grad_input=d_o)
        product = repeated(W_hh.t(), N, T)
        d_h, d_c = d_outputs[-1], d_last
        d_before = torch.zeros_like(d_h), *d_outputs[:-1].unbind()
        views = (f, into_c, d_sums, d_sums[..., : 3 * H].view(T, N, 3, H), d_o)
        steps = zip(*(view.unbind() for view in views), d_before, strict=True)
        for f_t, into_c_t, d_sums_t, d_ifg_t, d_o_t, d_before_t in reversed(list(steps)):
            d_o_t.mul_(d_h)
            d_c = torch.addcmul(d_c, d_h, into_c_t)
            d_ifg_t.mul_(d_c[:, None])
            d_c.mul_(f_t)
            d_h = product(d_sums_t, d_before_t)
        return d_sums, d_h, d_c, recurrent_gradient(states, d_sums), None
