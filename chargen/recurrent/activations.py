"""Activation functions by name, each with its slope written in terms of its own output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from chargen.errors import ChargenError


@dataclass(frozen=True)
class Activation:
    """``function`` is differentiable; ``into(x, out)`` is not; ``slope(y)`` is dy/dx from y."""

    function: Callable[[Tensor], Tensor]
    into: Callable[[Tensor, Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


def _into(function: Callable[..., Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, out: function(x, out=out)


ACTIVATIONS = {
    "tanh": Activation(torch.tanh, _into(torch.tanh), lambda y: 1 - y * y),
    "relu": Activation(
        torch.relu, lambda x, out: torch.clamp(x, min=0, out=out), lambda y: (y > 0).to(y.dtype)
    ),
    "sigmoid": Activation(torch.sigmoid, _into(torch.sigmoid), lambda y: y * (1 - y)),
    "linear": Activation(lambda x: x, lambda x, out: out.copy_(x), torch.ones_like),
}


def activation_named(name: str) -> Activation:
    """The activation called ``name``; `ChargenError` where there is none."""
    try:
        return ACTIVATIONS[name]
    except KeyError:
        raise ChargenError(
            f"activation {name!r} is unknown: choose one of {', '.join(ACTIVATIONS)}"
        ) from None
