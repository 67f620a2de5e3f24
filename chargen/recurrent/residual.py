"""Residual blocks around recurrent layers.

The parts come from He et al. 2016 (residual connections), Zhang & Sennrich 2019 (RMSNorm), De et
al. 2024 (short convolution and gate around a linear recurrence; arXiv 2402.19427) and Shazeer 2020
(SwiGLU). Axes: N sequences per batch, T time steps, D units, the width of the residual stream and
of each layer, E the width of the feed-forward network.

Backward passes are written by hand where autograd's saved tensors and zero-filled gradients would
take longer than the arithmetic.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu

from chargen.recurrent.layer import LayerState
from chargen.recurrent.matmul import matmul, to_precision
from chargen.settings import SMALLEST, block_shapes


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

    def leave(
        self, x: Tensor, c: Tensor, h: Tensor, masks: tuple[Tensor | None, ...], precision: str
    ) -> Tensor:
        """Return x after the block; the dropout ``masks`` apply to what each half adds."""
        weights = (self.g_ff, self.W_gate, self.W_out, self.W_up, self.W_down)
        left: Tensor = _Leave.apply(x, c, h, *masks, precision, *weights)
        return left


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


class _Leave(torch.autograd.Function):
    """The part of a block after its layer, as one function to save calls."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, c: Tensor, h: Tensor, *given: Any) -> Tensor:
        mask, other_mask, precision, g, *weights = given
        weights = [to_precision(W, precision) for W in weights]
        W_gate, W_out, W_up, W_down = weights
        c, h = (to_precision(part.flatten(0, -2), precision) for part in (c, h))
        gate = matmul(c, W_gate)
        opened = silu(gate)
        gated = opened * h
        middle = x + _masked(matmul(gated, W_out), mask).view_as(x)
        normed, scale = _normed(middle)
        v = to_precision(normed * g, precision).flatten(0, -2)
        both = matmul(v, W_up)
        a, b = both.chunk(2, dim=-1)
        widened_opened = silu(a)
        w = widened_opened * b
        ctx.save_for_backward(
            c, h, gate, opened, gated, normed, scale, g, v, both, widened_opened, w, *weights,
            mask, other_mask,
        )  # fmt: skip
        return middle.add_(_masked(matmul(w, W_down), other_mask).view_as(x))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_left: Tensor) -> tuple[Tensor | None, ...]:
        (
            c, h, gate, opened, gated, normed, scale, g, v, both, widened_opened, w,
            W_gate, W_out, W_up, W_down, mask, other_mask,
        ) = ctx.saved_tensors  # fmt: skip
        dtype, shape = d_left.dtype, d_left.shape
        d = _masked(d_left.flatten(0, -2), other_mask).to(c.dtype)
        d_w, d_W_down = matmul(d, W_down.t()), matmul(w.t(), d)
        (a, b), d_both = both.chunk(2, dim=-1), torch.empty_like(both)
        d_a, d_b = d_both.chunk(2, dim=-1)
        torch.mul(d_w, b, out=d_a)
        torch.ops.aten.silu_backward(d_a, a, grad_input=d_a)
        torch.mul(d_w, widened_opened, out=d_b)
        d_v, d_W_up = matmul(d_both, W_up.t()), matmul(v.t(), d_both)
        d_x, d_g = _norm_slopes(d_v.to(dtype).view(shape), normed, scale, g)
        d_x += d_left
        d = _masked(d_x.flatten(0, -2), mask).to(c.dtype)
        d_gated, d_W_out = matmul(d, W_out.t()), matmul(gated.t(), d)
        d_gate = torch.ops.aten.silu_backward(d_gated * h, gate)
        d_h, d_c = d_gated.mul_(opened), matmul(d_gate, W_gate.t())
        d_W_gate = matmul(c.t(), d_gate)
        of_weights = [d_W.to(dtype) for d_W in (d_g, d_W_gate, d_W_out, d_W_up, d_W_down)]
        of_inputs = (d_x, d_c.to(dtype).view(shape), d_h.to(dtype).view(shape))
        return *of_inputs, None, None, None, *of_weights


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


def _masked(values: Tensor, mask: Tensor | None) -> Tensor:
    return values if mask is None else values * mask
