"""Residual blocks round recurrent layers: what they are, and what is done in one of them.

The parts are those of He et al. 2016 (residuals), Zhang & Sennrich 2019 (RMS norm), De et al. 2024
(a short convolution before a gated linear recurrence, a gate after it; arXiv 2402.19427) and
Shazeer 2020 (gated feed-forward, "SwiGLU"). Axes: N texts, T timesteps, D numbers that flow past
the blocks, which are also the units of each layer, E those inside the feed-forward.

Backward passes are written by hand where what autograd keeps, and the zeros into which it writes
parts of a gradient, would take longer than the sums themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding, silu

from chargen.recurrent.layer import LayerState, RecurrentLayer
from chargen.recurrent.products import factor, linear, times
from chargen.recurrent.stack import Stack, StackState, drop
from chargen.settings import CONVOLVED, SMALLEST, widened


class Block(nn.Module):
    """What stands round one recurrent layer: ``x`` ``(T, N, D)`` to ``x`` of that shape.

        u_t = norm(x_t) * g_in
        c_t = sum over k of W_conv[k] * u_{t-k}
        h_t = the layer's, which reads c_t
        x_t = x_t + (h_t * silu(c_t W_gate)) W_out
        a_t, b_t = (norm(x_t) * g_ff) W_up
        x_t = x_t + (silu(a_t) * b_t) W_down

    with ``norm(x) = x / sqrt(mean(x²) + 1e-6)`` and ``silu(x) = x * sigmoid(x)``. ``W_conv`` is
    ``(CONVOLVED, D)``, a number a unit and distance; ``W_gate`` and ``W_out`` ``(D, D)``;
    ``W_up`` ``(D, 2 * E)``, ``W_down`` ``(E, D)``; the gains ``(D,)``.
    """

    def __init__(self, D: int, generator: torch.Generator | None) -> None:
        super().__init__()
        E = widened(D)
        self.g_in = nn.Parameter(torch.ones(D))
        self.W_conv = nn.Parameter(torch.empty(CONVOLVED, D))
        self.W_gate, self.W_out = (nn.Parameter(torch.empty(D, D)) for _ in range(2))
        self.g_ff = nn.Parameter(torch.ones(D))
        self.W_up = nn.Parameter(torch.empty(D, 2 * E))
        self.W_down = nn.Parameter(torch.empty(E, D))
        nn.init.normal_(self.W_conv, std=0.1, generator=generator)
        self.W_conv.data[0] += 1.0
        for W in (self.W_gate, self.W_out, self.W_up, self.W_down):
            nn.init.normal_(W, std=len(W) ** -0.5, generator=generator)

    def enter(self, x: Tensor, window: LayerState) -> tuple[Tensor, LayerState]:
        """c, and the window of u after it: u_t, u_{t-1} and so on, ``(N, D)`` each."""
        c, u = _Enter.apply(x, torch.stack(window[::-1]), self.g_in, self.W_conv)
        return c, u[-len(window) :].unbind()[::-1]

    def leave(
        self, x: Tensor, c: Tensor, h: Tensor, dropout: float, generator: torch.Generator | None
    ) -> Tensor:
        """x after the block; of what is added to it the share ``dropout`` is dropped."""
        masks = [_mask(x, dropout, generator) for _ in range(2)]
        weights = (self.W_gate, self.W_out, self.g_ff, self.W_up, self.W_down)
        left: Tensor = _Leave.apply(x, c, h, *masks, *weights)
        return left


class ResidualStack(Stack):
    """Layers in residual blocks, all of D units: each adds to what flows past it.

        x_t = W_in[character]
        a `Block` round each layer
        what the head reads is norm(x_t) * g_out

    ``W_in`` is ``(V, D)`` for V = ``size``. Each layer's state is followed by what its block
    convolves: ``CONVOLVED - 1`` tensors ``(N, D)``, the latest first.
    """

    def __init__(
        self,
        layers: Iterable[RecurrentLayer],
        size: int,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(layers)
        units = {self.layer(index).units for index in range(len(self.layers))}
        if len(units) > 1:
            raise ValueError(f"layers in residual blocks have the same units, not {sorted(units)}")
        (D,) = units
        self.W_in = nn.Parameter(torch.empty(size, D))
        nn.init.normal_(self.W_in, generator=generator)
        self.blocks = nn.ModuleList(Block(D, generator) for _ in self.layers)
        self.g_out = nn.Parameter(torch.ones(D))

    def forward(
        self,
        inputs: Tensor,
        state: StackState | None = None,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, StackState]:
        """See `Stack.forward`; dropped is a share of what each half of a block adds."""
        state = self.initial_state(len(inputs)) if state is None else state
        return super().forward(inputs, state, dropout, generator)

    def initial_state(self, batch_size: int) -> StackState:
        """See `Stack.initial_state`."""
        window = self.g_out.new_zeros(CONVOLVED - 1, batch_size, len(self.g_out)).unbind()
        return tuple((*state, *window) for state in super().initial_state(batch_size))

    def block(self, index: int) -> Block:
        """What stands round layer number ``index``."""
        return cast(Block, self.blocks[index])

    def begin(self, inputs: Tensor) -> Tensor:
        """See `Stack.begin`; ``(N, T, D)``, time first in memory, as all that follows."""
        first = inputs.transpose(0, 1)
        if inputs.is_floating_point():
            return linear(first, self.W_in).transpose(0, 1)
        return embedding(first, self.W_in).transpose(0, 1)

    def enter(self, index: int, below: Tensor, window: LayerState) -> tuple[Tensor, LayerState]:
        """See `Stack.enter`."""
        read, window = self.block(index).enter(below.transpose(0, 1), window)
        return read.transpose(0, 1), window

    def leave(
        self,
        index: int,
        below: Tensor,
        read: Tensor,
        outputs: Tensor,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See `Stack.leave`."""
        x, c, h = (part.transpose(0, 1) for part in (below, read, outputs))
        return self.block(index).leave(x, c, h, dropout, generator).transpose(0, 1)

    def end(self, below: Tensor) -> Tensor:
        """See `Stack.end`."""
        normed: Tensor = _Norm.apply(below.transpose(0, 1), self.g_out)
        return normed.transpose(0, 1)


class _Norm(torch.autograd.Function):
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
    """``x`` ``(T, N, D)`` and the window before it to c and to all of u, window and own."""

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
        ctx.set_materialize_grads(False)  # u's is seldom any
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
    """What a block does after its layer: in one, since each part of its own costs calls."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        c: Tensor,
        h: Tensor,
        mask: Tensor | None,
        other_mask: Tensor | None,
        W_gate: Tensor,
        W_out: Tensor,
        g: Tensor,
        W_up: Tensor,
        W_down: Tensor,
    ) -> Tensor:
        weights = [factor(W) for W in (W_gate, W_out, W_up, W_down)]
        W_gate, W_out, W_up, W_down = weights
        c, h = factor(c.flatten(0, -2)), factor(h.flatten(0, -2))
        gate = times(c, W_gate)
        opened = silu(gate)
        gated = opened * h
        middle = x + _masked(times(gated, W_out), mask).view_as(x)
        normed, scale = _normed(middle)
        v = factor(normed * g).flatten(0, -2)
        both = times(v, W_up)
        a, b = both.chunk(2, dim=-1)
        widened_opened = silu(a)
        w = widened_opened * b
        ctx.save_for_backward(
            c, h, gate, opened, gated, normed, scale, g, v, both, widened_opened, w, *weights,
            mask, other_mask,
        )  # fmt: skip
        return middle.add_(_masked(times(w, W_down), other_mask).view_as(x))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_left: Tensor) -> tuple[Tensor | None, ...]:
        (
            c, h, gate, opened, gated, normed, scale, g, v, both, widened_opened, w,
            W_gate, W_out, W_up, W_down, mask, other_mask,
        ) = ctx.saved_tensors  # fmt: skip
        dtype, shape = d_left.dtype, d_left.shape
        d = _masked(d_left.flatten(0, -2), other_mask).to(c.dtype)
        d_w, d_W_down = times(d, W_down.t()), times(w.t(), d)
        (a, b), d_both = both.chunk(2, dim=-1), torch.empty_like(both)
        d_a, d_b = d_both.chunk(2, dim=-1)
        torch.mul(d_w, b, out=d_a)
        torch.ops.aten.silu_backward(d_a, a, grad_input=d_a)
        torch.mul(d_w, widened_opened, out=d_b)
        d_v, d_W_up = times(d_both, W_up.t()), times(v.t(), d_both)
        d_x, d_g = _norm_slopes(d_v.to(dtype).view(shape), normed, scale, g)
        d_x += d_left
        d = _masked(d_x.flatten(0, -2), mask).to(c.dtype)
        d_gated, d_W_out = times(d, W_out.t()), times(gated.t(), d)
        d_gate = torch.ops.aten.silu_backward(d_gated * h, gate)
        d_h, d_c = d_gated.mul_(opened), times(d_gate, W_gate.t())
        d_W_gate = times(c.t(), d_gate)
        of_weights = [d_W.to(dtype) for d_W in (d_W_gate, d_W_out, d_g, d_W_up, d_W_down)]
        of_inputs = (d_x, d_c.to(dtype).view(shape), d_h.to(dtype).view(shape))
        return *of_inputs, None, None, *of_weights


def _normed(x: Tensor) -> tuple[Tensor, Tensor]:
    """``x * scale`` and ``scale``, 1 / sqrt(mean(x²) + SMALLEST)."""
    scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    scale = scale.square_().div_(x.shape[-1]).add_(SMALLEST).rsqrt_()
    return x * scale, scale


def _norm_slopes(d: Tensor, normed: Tensor, scale: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of x and g where that of ``normed * g`` is ``d``."""
    along = d * normed
    d_g = along.flatten(0, -2).sum(0)
    mean = (along @ (g / len(g))).unsqueeze(-1)
    return (d * g).addcmul_(normed, mean, value=-1).mul_(scale), d_g


def _mask(like: Tensor, share: float, generator: torch.Generator | None) -> Tensor | None:
    """What `drop` would make of ones, ``(T * N, D)``; none where nothing is dropped."""
    if not share or generator is None:
        return None
    return drop(torch.ones_like(like), share, generator).flatten(0, -2)


def _masked(values: Tensor, mask: Tensor | None) -> Tensor:
    return values if mask is None else values * mask
