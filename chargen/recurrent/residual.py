"""Residual blocks around recurrent layers.

The parts come from He et al. 2016 (residual connections), Zhang & Sennrich 2019 (RMSNorm), De et
al. 2024 (short convolution and gate around a linear recurrence; arXiv 2402.19427) and Shazeer 2020
(SwiGLU). Axes: N sequences per batch, T time steps, D units, the width of the residual stream and
of each layer, E the width of the feed-forward network.

The backward passes of norm and convolution are written by hand: autograd's saved tensors and
zero-filled gradients would take longer than the arithmetic.
"""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu

from chargen.recurrent.layer import LayerState
from chargen.recurrent.matmul import linear
from chargen.settings import SMALLEST, block_shapes


class ForwardMode(NamedTuple):
    """Dropout and precision of a forward pass; the default is evaluation."""

    dropout: float = 0.0  # share of a layer's outputs that is dropped
    generator: torch.Generator | None = None  # for dropout; None turns dropout off
    precision: str = "float32"  # of large matmuls, one of `chargen.settings.PRECISIONS`


EVALUATION = ForwardMode()


def drop(values: Tensor, mode: ForwardMode) -> Tensor:
    """Apply inverted dropout (Srivastava et al. 2014) to a tensor of any shape."""
    if not mode.dropout or mode.generator is None:
        return values
    # In the layout and type of the values: a product of mixed types takes twice as long.
    kept = torch.empty_like(values, requires_grad=False).uniform_(generator=mode.generator)
    return values * kept.ge_(mode.dropout).div_(1 - mode.dropout)


class ResidualBlock(nn.Module):
    """The residual block of one recurrent layer, from ``x`` ``(T, N, D)`` to that shape.

        u_t = norm(x_t) * g_in
        c_t = sum over k of W_conv[k] * u_{t-k}
        h_t = layer(c_t)
        x_t = x_t + (h_t * silu(c_t W_gate)) W_out
        a_t, b_t = (norm(x_t) * g_ff) W_up
        x_t = x_t + (silu(a_t) * b_t) W_down

    with ``norm(x) = x / sqrt(mean(x²) + 1e-6)`` and ``silu(x) = x * sigmoid(x)``. ``W_conv`` is
    ``(CONVOLVED, D)``, a depthwise convolution; ``W_gate`` and ``W_out`` are ``(D, D)``, ``W_up``
    ``(D, 2 * E)``, ``W_down`` ``(E, D)``, the gains ``(D,)``.
    """

    g_in: nn.Parameter
    W_conv: nn.Parameter
    W_gate: nn.Parameter
    W_out: nn.Parameter
    g_ff: nn.Parameter
    W_up: nn.Parameter
    W_down: nn.Parameter

    def __init__(self, D: int, generator: torch.Generator | None) -> None:
        super().__init__()
        for name, shape in block_shapes(D).items():
            W = nn.Parameter(torch.ones(shape))
            self.register_parameter(name, W)
            if len(shape) == 2:
                std = 0.1 if name == "W_conv" else len(W) ** -0.5
                nn.init.normal_(W, std=std, generator=generator)
        self.W_conv.data[0] += 1.0

    def enter(self, x: Tensor, window: LayerState) -> tuple[Tensor, LayerState]:
        """Return c, and the next window: u_t, u_{t-1} and so on, ``(N, D)`` each."""
        c, u = _Enter.apply(x, torch.stack(window[::-1]), self.g_in, self.W_conv)
        return c, u[-len(window) :].unbind()[::-1]

    def leave(self, x: Tensor, c: Tensor, h: Tensor, mode: ForwardMode) -> Tensor:
        """Return x after the block; dropout applies to what each half adds."""
        product = partial(linear, precision=mode.precision)
        x = x + drop(product(silu(product(c, self.W_gate)) * h, self.W_out), mode)
        a, b = product(Norm.apply(x, self.g_ff), self.W_up).chunk(2, dim=-1)
        return x + drop(product(silu(a) * b, self.W_down), mode)


class Norm(torch.autograd.Function):
    """``x / sqrt(mean(x²) + SMALLEST) * g``, g ``(D,)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, g: Tensor) -> Tensor:
        normed, scale = _normed(x)
        ctx.save_for_backward(normed, scale, g)
        return normed * g

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, Tensor]:
        return _norm_slopes(d, *ctx.saved_tensors)


class _Enter(torch.autograd.Function):
    """Norm and convolution: from ``x`` ``(T, N, D)`` and the inputs ``before`` to c and u."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, before: Tensor, g: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
        normed, scale = _normed(x)
        K, T = len(W), len(x)
        u = x.new_empty(K - 1 + T, *x.shape[1:])
        u[: K - 1] = before
        torch.mul(normed, g, out=u[K - 1 :])
        c = u[K - 1 :] * W[0]
        for k in range(1, K):
            c.addcmul_(u[K - 1 - k : K - 1 - k + T], W[k])
        ctx.save_for_backward(normed, scale, g, u, W)
        ctx.set_materialize_grads(False)  # u seldom has a gradient
        return c, u

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor | None, d_later: Tensor | None) -> tuple[Tensor | None, ...]:
        normed, scale, g, u, W = ctx.saved_tensors
        K, T = len(W), len(normed)
        d_u = torch.zeros_like(u) if d_later is None else d_later.clone()
        d_W = torch.zeros_like(W)
        if d is not None:
            for k in range(K):
                own = slice(K - 1 - k, K - 1 - k + T)
                d_u[own].addcmul_(d, W[k])
                torch.sum(u[own] * d, (0, 1), out=d_W[k])
        d_x, d_g = _norm_slopes(d_u[K - 1 :], normed, scale, g)
        return d_x, d_u[: K - 1], d_g, d_W


def _normed(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``x * scale`` and ``scale = 1 / sqrt(mean(x²) + SMALLEST)``."""
    scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    scale = scale.square_().div_(x.shape[-1]).add_(SMALLEST).rsqrt_()
    return x * scale, scale


def _norm_slopes(d: Tensor, normed: Tensor, scale: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of x and g, given the gradient ``d`` of ``normed * g``."""
    along = d * normed
    d_g = along.flatten(0, -2).sum(0)
    mean = (along @ (g / len(g))).unsqueeze(-1)
    return (d * g).addcmul_(normed, mean, value=-1).mul_(scale), d_g
