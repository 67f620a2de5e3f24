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
        states = x.new_empty(len(x) + 1, *h_0.shape)
        h = states[0] = h_0
        product = repeated(W_hh, len(h_0), len(x))
        for x_t, h_t in zip(x.unbind(), states[1:].unbind(), strict=True):
            h = activation.function(product(h, x_t), out=h_t)
        ctx.save_for_backward(states, W_hh)
        ctx.activation = activation
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor) -> tuple[Tensor | None, ...]:
        states, W_hh = ctx.saved_tensors
        d_sums = torch.empty_like(d_outputs)  # gradient of the pre-activation
        product = repeated(W_hh.t(), len(d_sums[0]), len(d_sums))
        d_h = d_outputs[-1]
        d_before = torch.zeros_like(d_h), *d_outputs[:-1].unbind()
        steps = zip(states[1:].unbind(), d_sums.unbind(), d_before, strict=True)
        for h_t, d_sums_t, d_before_t in reversed(list(steps)):
            ctx.activation.gradient(d_h, h_t, grad_input=d_sums_t)
            d_h = product(d_sums_t, d_before_t)
        return d_sums, d_h, recurrent_gradient(states, d_sums), None
