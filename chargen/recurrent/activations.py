"""Activation functions by name, each with its slope written in terms of its own output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from chargen.errors import ChargenError


@dataclass(frozen=True)
class Activation:
    """``function`` is differentiable; ``in_place`` overwrites; ``slope(y)`` is dy/dx from y."""

    function: Callable[[Tensor], Tensor]
    in_place: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


def _same(x: Tensor) -> Tensor:
    return x


ACTIVATIONS = {
    "tanh": Activation(torch.tanh, torch.tanh_, lambda y: 1 - y * y),
    "relu": Activation(torch.relu, torch.relu_, lambda y: (y > 0).to(y.dtype)),
    "sigmoid": Activation(torch.sigmoid, torch.sigmoid_, lambda y: y * (1 - y)),
    "linear": Activation(_same, _same, torch.ones_like),
}


def activation_named(name: str) -> Activation:
    """The activation called ``name``; `ChargenError` where there is none."""
    try:
        return ACTIVATIONS[name]
    except KeyError:
        raise ChargenError(
            f"activation {name!r} is unknown: choose one of {', '.join(ACTIVATIONS)}"
        ) from None
