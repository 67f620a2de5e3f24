"""The matrix products of the model: large ones, and the one that a step loop repeats.

On a CPU oneDNN makes them, which torch ships but asks for few of them: what torch asks instead
leaves half of some processors unused. torch reaches it through operators that its own compiler
uses and that promise nothing; where they are missing, everything below does without.

Training may have the factors of large products rounded to bfloat16, float32 with 16 of its 24 bits
of precision left out: where a processor multiplies such numbers, it multiplies twice as many. The
products come out rounded too, the gradients of factors among them, and a residual block gates them
so; weights and their updates, what flows past the blocks, and the state but for the h of an LSTM
stay float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Product = Callable[[Tensor, Tensor], Tensor]

WORTH_ASKING = 2**20  # multiplications: so many take as long as one call of oneDNN's
WORTH_PACKING = 16  # products: laying a matrix out takes as long as several with it

_factors: ContextVar[str] = ContextVar("factors", default="float32")


@contextmanager
def factors_of(precision: str) -> Iterator[None]:
    """Within it factors are rounded to ``precision``, and later those of their gradients.

    It is one of `chargen.settings.PRECISIONS`.
    """
    token = _factors.set(precision)
    try:
        yield
    finally:
        _factors.reset(token)


def precision() -> str:
    """What `factors_of` says here."""
    return _factors.get()


def multiplies_bfloat16() -> bool:
    """Whether this processor does, so that it is faster than float32; where torch knows."""
    if not hasattr(torch.cpu, "get_capabilities"):
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def linear(x: Tensor, W: Tensor, b: Tensor | None = None) -> Tensor:
    """``x W + b``, x ``(..., F)``, W ``(F, G)``, b ``(G,)`` or none; differentiable."""
    if precision() != "float32" or _suits_onednn(x.shape[:-1].numel(), W):
        flat: Tensor = _Linear.apply(x.flatten(0, -2), W, b)
        return flat.unflatten(0, x.shape[:-1])
    return x @ W if b is None else x @ W + b


def factor(x: Tensor) -> Tensor:
    """``x``, rounded where `factors_of` says so."""
    return x.bfloat16() if precision() == "bfloat16" else x


def times(x: Tensor, W: Tensor, b: Tensor | None = None) -> Tensor:
    """``x W``, ``(N, F)`` by ``(F, G)``, and with ``b`` ``(G,)`` the sum. Not differentiable."""
    if _suits_onednn(len(x), W):
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, W.t(), b, "none", [], "")
        return product
    return x @ W if b is None else torch.addmm(b, x, W)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
        dtype, x, W = x.dtype, factor(x), factor(W)
        ctx.save_for_backward(x, W)
        if x.dtype == dtype:
            return times(x, W, b)
        sums = times(x, W).to(dtype)
        return sums if b is None else sums.add_(b)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_sums: Tensor) -> tuple[Tensor | None, ...]:
        x, W = ctx.saved_tensors
        d = d_sums.to(x.dtype)
        d_x = times(d, W.t()).to(d_sums.dtype) if ctx.needs_input_grad[0] else None
        d_b = d_sums.sum(0) if ctx.needs_input_grad[2] else None
        return d_x, times(x.t(), d).to(d_sums.dtype), d_b


def repeated(W: Tensor, rows: int, uses: int) -> Product:
    """A function of ``x`` ``(rows, F)`` and ``y`` ``(rows, G)`` that is ``x W + y``, W ``(F, G)``.

    It will be called ``uses`` times. W is read when this is called: a later change of W does not
    show. Not differentiable.
    """
    if uses >= WORTH_PACKING and _suits_onednn(rows, W):
        return _packed(W, rows)
    return lambda x, y: torch.addmm(y, x, W)


def _packed(W: Tensor, rows: int) -> Product:
    """oneDNN lays W out once for many products, which are then about twice as fast."""
    packed = torch.ops.mkldnn._reorder_linear_weight(W.t().contiguous(), rows)
    product = torch.ops.mkldnn._linear_pointwise.binary
    return lambda x, y: product(x, y, packed, None, "add")


def _suits_onednn(rows: int, W: Tensor) -> bool:
    """Whether oneDNN multiplies so many rows with W, and faster."""
    return (
        rows * W.numel() > WORTH_ASKING
        and W.device.type == "cpu"
        and W.dtype == torch.float32
        and _has_onednn()
    )


@cache
def _has_onednn() -> bool:
    """Whether these operators are there and do what they do where they were tried."""
    x, W, y = (torch.arange(n).float().view(2, -1) for n in (4, 6, 6))
    try:
        plain = torch.ops.mkldnn._linear_pointwise(x, W.t(), y[0], "none", [], "")
        packed = _packed(W, 2)(x, y)
        return torch.equal(plain, x @ W + y[0]) and torch.equal(packed, x @ W + y)
    except (AttributeError, RuntimeError, TypeError):
        return False
