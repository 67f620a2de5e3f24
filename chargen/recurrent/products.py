"""The product that a step loop makes again and again with one matrix."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

Product = Callable[[Tensor, Tensor], Tensor]

WORTH_PACKING = 16  # products: laying a matrix out takes as long as several with it


def repeated(W: Tensor, rows: int, times: int) -> Product:
    """A function of ``x`` ``(rows, F)`` and ``y`` ``(rows, G)`` that is ``x W + y``, W ``(F, G)``.

    It will be called ``times`` times. W is read when this is called: a later change of W does not
    show. Not differentiable.
    """
    if times < WORTH_PACKING:
        return lambda x, y: torch.addmm(y, x, W)
    if W.device.type == "cpu" and W.dtype == torch.float32 and _has_onednn():
        return _packed(W, rows)
    return lambda x, y: torch.addmm(y, x, W)


def _packed(W: Tensor, rows: int) -> Product:
    """oneDNN lays W out once for many products, which are then about twice as fast.

    torch reaches it through operators that its own compiler uses and that promise nothing.
    """
    packed = torch.ops.mkldnn._reorder_linear_weight(W.t().contiguous(), rows)
    product = torch.ops.mkldnn._linear_pointwise.binary
    return lambda x, y: product(x, y, packed, None, "add")


@cache
def _has_onednn() -> bool:
    """Whether these operators are there and do what they do where they were tried."""
    x, W, y = (torch.arange(n).float().view(2, -1) for n in (4, 6, 6))
    try:
        return torch.equal(_packed(W, 2)(x, y), torch.addmm(y, x, W))
    except (AttributeError, RuntimeError, TypeError):
        return False
