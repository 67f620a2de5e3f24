"""The loss: cross-entropy of the next character, in nats a character."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from chargen.text.windows import IGNORED


def next_char_loss(logits: Tensor, targets: Tensor, counted: int | None = None) -> Tensor:
    """Mean of ``-log softmax(logits)[target]`` over the steps that count, a scalar.

    ``logits`` is ``(N, T, V)``, ``targets`` ``(N, T)``; targets equal to `IGNORED` do not count.
    The sum over time steps of the lesson is this mean times the number of counted steps.
    Where these are some rows of a batch, ``counted`` is how many steps count in all of it: the
    losses of its shares, and their gradients, then add up to those of the whole.
    """
    steps = (targets != IGNORED).sum().clamp(min=1) if counted is None else max(1, counted)
    # Time first, as the model computes them, so that flattening copies nothing.
    flat = logits.transpose(0, 1).flatten(0, 1)
    total = cross_entropy(flat, targets.t().flatten(), ignore_index=IGNORED, reduction="sum")
    return total / steps
