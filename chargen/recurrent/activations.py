"""Activation functions by name, each with its derivative as a function of the output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from chargen.errors import ChargenError


@dataclass(frozen=True)
class Activation:
    """An activation function: differentiable, into a buffer, and its derivative dy/dx from y."""

    function: Callable[[Tensor], Tensor]
    into: Callable[[Tensor, Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


ACTIVATIONS = {
    "tanh": Activation(torch.tanh, lambda x, out: torch.tanh(x, out=out), lambda y: 1 - y * y),
    "relu": Activation(
        torch.relu, lambda x, out: torch.clamp(x, min=0, out=out), lambda y: (y > 0).to(y.dtype)
    ),
    "sigmoid": Activation(
        torch.sigmoid, lambda x, out: torch.sigmoid(x, out=out), lambda y: y * (1 - y)
    ),
    "linear": Activation(lambda x: x, lambda x, out: out.copy_(x), torch.ones_like),
}


def activation_named(name: str) -> Activation:
    """Return the activation called ``name``; raise `ChargenError` for an unknown name."""
    if name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ChargenError(f"activation {name!r} is unknown: choose one of {known}")
    return ACTIVATIONS[name]
