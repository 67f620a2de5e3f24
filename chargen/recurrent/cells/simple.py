"""The simple recurrent layer (Elman 1990)."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from chargen.recurrent.layer import Activation, LayerState, RecurrentLayer
from chargen.recurrent.matmul import recurrent_gradient, repeated

KERNELS = {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu}


class SimpleRNN(RecurrentLayer, name="simple", kernels=KERNELS):
    """A simple recurrent layer.

        h_t = tanh(x_t W_xh + h_{t-1} W_hh + b_h)

    ``tanh`` stands for the activation function. The state is ``(h,)``.
    """

    def scan(self, projected: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        outputs = _SimpleScan.apply(projected, *state, self.W_hh, self.activation)
        return outputs, (outputs[-1],)


class _SimpleScan(torch.autograd.Function):
    """BPTT with one matmul per time step in the loop and the rest in bulk."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, h_0: Tensor, W_hh: Tensor, activation: Activation) -> Tensor:
        outputs = torch.empty_like(x)
        product = repeated(W_hh, len(h_0), len(x))
        h = h_0
        for x_t, h_t in zip(x.unbind(), outputs.unbind(), strict=True):
            h = activation.function(product(h, x_t), out=h_t)
        ctx.save_for_backward(outputs, h_0, W_hh)
        ctx.activation = activation
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor) -> tuple[Tensor | None, ...]:
        outputs, h_0, W_hh = ctx.saved_tensors
        d_sums = torch.empty_like(outputs)  # gradient of the pre-activation
        product = repeated(W_hh.t(), len(h_0), len(outputs))
        d_h = d_outputs[-1]
        d_before = torch.zeros_like(h_0), *d_outputs[:-1].unbind()
        steps = zip(outputs.unbind(), d_sums.unbind(), d_before, strict=True)
        for h_t, d_sums_t, d_before_t in reversed(list(steps)):
            ctx.activation.gradient(d_h, h_t, d_sums_t)
            d_h = product(d_sums_t, d_before_t)
        return d_sums, d_h, recurrent_gradient(outputs, h_0, d_sums), None
