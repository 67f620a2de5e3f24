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

from chargen.arithmetic.plain import SMALLEST
from chargen.recurrent.layer import LayerState, RecurrentLayer
from chargen.recurrent.products import linear
from chargen.recurrent.stack import Stack, StackState, drop
from chargen.settings import CONVOLVED, widened


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
        u = _Norm.apply(x, self.g_in)
        before = torch.stack(window[::-1])
        c = _Convolution.apply(torch.cat([before, u]), self.W_conv)
        last = torch.cat([before, u[-len(window) :]])[-len(window) :]
        return c, tuple(last.unbind()[::-1])

    def leave(
        self, x: Tensor, c: Tensor, h: Tensor, dropout: float, generator: torch.Generator | None
    ) -> Tensor:
        """x after the block; of what is added to it the share ``dropout`` is dropped."""
        gated = _Gated.apply(linear(c, self.W_gate), h)
        x = x + drop(linear(gated, self.W_out), dropout, generator)
        wide = linear(_Norm.apply(x, self.g_ff), self.W_up)
        return x + drop(linear(_GatedHalves.apply(wide), self.W_down), dropout, generator)


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
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = scale.square_().div_(x.shape[-1]).add_(SMALLEST).rsqrt_()
        normed = x * scale
        ctx.save_for_backward(normed, scale, g)
        return normed * g

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, Tensor]:
        normed, scale, g = ctx.saved_tensors
        products = d * normed
        along = (products @ (g / len(g))).unsqueeze(-1)
        d_x = (d * g).addcmul_(normed, along, value=-1).mul_(scale)
        return d_x, products.flatten(0, -2).sum(0)


class _Convolution(torch.autograd.Function):
    """``u`` ``(K - 1 + T, N, D)`` to ``(T, N, D)``: of K steps each, weighted by W ``(K, D)``."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, W: Tensor) -> Tensor:
        K, T = len(W), len(u) - len(W) + 1
        sums = u[K - 1 :] * W[0]
        for k in range(1, K):
            sums.addcmul_(u[K - 1 - k : K - 1 - k + T], W[k])
        ctx.save_for_backward(u, W)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, Tensor]:
        u, W = ctx.saved_tensors
        K, T = len(W), len(d)
        d_u, d_W = torch.zeros_like(u), torch.empty_like(W)
        for k in range(K):
            own = slice(K - 1 - k, K - 1 - k + T)
            d_u[own].addcmul_(d, W[k])
            torch.sum(u[own] * d, (0, 1), out=d_W[k])
        return d_u, d_W


class _Gated(torch.autograd.Function):
    """``silu(a) * b``."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        opened = silu(a)
        ctx.save_for_backward(a, b, opened)
        return opened * b

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, Tensor]:
        a, b, opened = ctx.saved_tensors
        return torch.ops.aten.silu_backward(d * b, a), opened * d


class _GatedHalves(torch.autograd.Function):
    """``silu(a) * b`` of the halves ``a, b`` of ``(..., 2 * E)``; their gradients lie together."""

    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        a, b = both.chunk(2, dim=-1)
        opened = silu(a)
        ctx.save_for_backward(both, opened)
        return opened * b

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> Tensor:
        both, opened = ctx.saved_tensors
        (a, b), d_both = both.chunk(2, dim=-1), torch.empty_like(both)
        d_a, d_b = d_both.chunk(2, dim=-1)
        torch.mul(d, b, out=d_a)
        torch.ops.aten.silu_backward(d_a, a, grad_input=d_a)
        torch.mul(d, opened, out=d_b)
        return d_both
