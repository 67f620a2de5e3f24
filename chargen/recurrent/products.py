"""The product that a step loop makes again and again with one matrix."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Product = Callable[[Tensor, Tensor], Tensor]

# oneDNN lays a matrix out once for many products; torch reaches it through the operators that its
# own compiler uses. Where they are missing, a plain product does the same at about half the speed.
_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def repeated(W: Tensor, rows: int) -> Product:
    """A function of ``x`` ``(rows, F)`` and ``y`` ``(rows, G)`` that is ``x W + y``, W ``(F, G)``.

    W is read when this is called: a later change of W does not show. Not differentiable.
    """
    if not (_ONEDNN and W.device.type == "cpu" and W.dtype == torch.float32):
        return lambda x, y: torch.addmm(y, x, W)
    packed = torch.ops.mkldnn._reorder_linear_weight(W.t().contiguous(), rows)
    product = torch.ops.mkldnn._linear_pointwise.binary
    return lambda x, y: product(x, y, packed, None, "add")
