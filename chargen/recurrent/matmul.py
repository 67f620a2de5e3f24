"""Matrix products of the model: large ones, and the recurrent one that a loop over time repeats.

On CPUs they call oneDNN directly, through operators that torch's compiler uses: for these shapes
``torch.matmul`` uses half of some processors. The operators are private to torch; without them the
functions fall back to ``torch.matmul``, which also computes the weight gradients: their operands
are transposed, and oneDNN would copy them.

``precision="bfloat16"`` casts the operands of large matmuls and of their backward pass to
bfloat16. Parameters, their updates, the residual stream and the state (except h of an LSTM) stay
float32. Processors with bfloat16 instructions multiply twice as many numbers per second that way.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Product = Callable[[Tensor, Tensor], Tensor]

MIN_ONEDNN_SIZE = 2**20  # multiplications; below, the call of oneDNN costs more than it saves
MIN_PACKED_USES = 16  # packing a matrix costs about as much as this many products with it
MIN_PACKED_SIZE = 2**17  # weights; below, torch's product with the unpacked matrix is as fast


def multiplies_bfloat16() -> bool:
    """Return True if torch reports bfloat16 instructions and ONEDNN_MAX_CPU_ISA allows them."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    allowed = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)()
    return allowed and any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def linear(x: Tensor, W: Tensor, b: Tensor | None = None, precision: str = "float32") -> Tensor:
    """Return ``x W + b``, differentiable, for x ``(..., F)``, W ``(F, G)`` and b ``(G,)``."""
    if precision != "float32" or _suits_onednn(x.shape[:-1].numel(), W):
        return _Linear.apply(x.flatten(0, -2), W, b, precision).unflatten(0, x.shape[:-1])
    return x @ W if b is None else x @ W + b


def to_precision(x: Tensor, precision: str) -> Tensor:
    """Return an operand in ``precision``, one of `chargen.settings.PRECISIONS`."""
    return x.bfloat16() if precision == "bfloat16" else x


def matmul(x: Tensor, W: Tensor, b: Tensor | None = None) -> Tensor:
    """Return ``x W`` or ``x W + b`` for ``(N, F)`` by ``(F, G)``. Not differentiable."""
    if _suits_onednn(len(x), W):
        return torch.ops.mkldnn._linear_pointwise(x, W.t(), b, "none", [], "")
    return x @ W if b is None else torch.addmm(b, x, W)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, b: Tensor | None, precision: str) -> Tensor:
        dtype, x, W = x.dtype, to_precision(x, precision), to_precision(W, precision)
        ctx.save_for_backward(x, W)
        if x.dtype == dtype:
            return matmul(x, W, b)
        sums = matmul(x, W).to(dtype)
        return sums if b is None else sums.add_(b)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_sums: Tensor) -> tuple[Tensor | None, ...]:
        x, W = ctx.saved_tensors
        d = d_sums.to(x.dtype)
        d_x = matmul(d, W.t()).to(d_sums.dtype) if ctx.needs_input_grad[0] else None
        d_b = d_sums.sum(0) if ctx.needs_input_grad[2] else None
        return d_x, (x.t() @ d).to(d_sums.dtype), d_b, None


def repeated(W: Tensor, rows: int, uses: int) -> Product:
    """Return a function that maps x ``(rows, F)`` and y ``(rows, G)`` to ``x W + y``.

    W ``(F, G)`` is packed once for ``uses`` calls, so later changes of W have no effect. Not
    differentiable.
    """
    if uses >= MIN_PACKED_USES and W.numel() > MIN_PACKED_SIZE and _suits_onednn(rows, W):
        return _packed(W, rows)
    return lambda x, y: torch.addmm(y, x, W)


def recurrent_gradient(states: Tensor, d_sums: Tensor) -> Tensor:
    """Return the gradient of W_hh, the sum of ``h_{t-1}^T d_sums_t``; ``states`` are h_0 to h_T."""
    return states[:-1].flatten(0, 1).t() @ d_sums.flatten(0, 1)


def _packed(W: Tensor, rows: int) -> Product:
    """Reorder W for oneDNN, which makes a product with it about twice as fast."""
    packed = torch.ops.mkldnn._reorder_linear_weight(W.t().contiguous(), rows)
    linear_add = torch.ops.mkldnn._linear_pointwise.binary
    return lambda x, y: linear_add(x, y, packed, None, "add")


def _suits_onednn(rows: int, W: Tensor) -> bool:
    return (
        rows * W.numel() > MIN_ONEDNN_SIZE
        and W.device.type == "cpu"
        and W.dtype == torch.float32
        and _has_onednn()
    )


@cache
def _has_onednn() -> bool:
    """Return True if torch has the operators and they compute what is expected of them."""
    x, W, y = (torch.arange(n).float().view(2, -1) for n in (4, 6, 6))
    try:
        plain = torch.ops.mkldnn._linear_pointwise(x, W.t(), y[0], "none", [], "")
        packed = _packed(W, 2)(x, y)
        return torch.equal(plain, x @ W + y[0]) and torch.equal(packed, x @ W + y)
    except (AttributeError, RuntimeError, TypeError):
        return False
