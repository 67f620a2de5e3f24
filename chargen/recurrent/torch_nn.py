"""Conversion of a `CharModel` to a module of standard `torch.nn` layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from chargen.errors import ChargenError
from chargen.recurrent.cells import GRU, SimpleRNN
from chargen.recurrent.layer import RecurrentLayer
from chargen.recurrent.model import CharModel
from chargen.settings import ModelSettings

KINDS: dict[str, Callable[..., nn.RNNBase]] = {"simple": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
SUPPORTED_ACTIVATIONS = {"simple": ("tanh", "relu"), "lstm": ("tanh",), "gru": ("tanh",)}

TorchState = list[Any]
"""The state of each layer as `torch.nn` returns it: ``(1, N, H)``, or a pair for an LSTM."""


class TorchCharModel(nn.Module):
    """Stacked `torch.nn` recurrent layers and a linear head.

        logits, state = module(ids, state)

    ``layers`` are ``batch_first``, the first reads one-hot characters; ``head`` returns logits.
    """

    def __init__(self, layers: list[nn.RNNBase], head: nn.Linear) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.head = head

    def forward(self, ids: Tensor, state: TorchState | None = None) -> tuple[Tensor, TorchState]:
        """Return the logits ``(N, T, V)`` of the next characters, and the state; ids ``(N, T)``."""
        outputs = nn.functional.one_hot(ids, self.head.out_features).to(self.head.weight.dtype)
        after = []
        for number, layer in enumerate(self.layers):
            outputs, own = layer(outputs, None if state is None else state[number])
            after.append(own)
        return self.head(outputs), after


def to_torch(model: CharModel, settings: ModelSettings) -> TorchCharModel:
    """Return a copy of the model made of `torch.nn` layers, on the same device.

    Raises:
        ChargenError: `torch.nn` has no such cell, stack or activation.
    """
    cell, activation = settings.cell, settings.activation
    supported = SUPPORTED_ACTIVATIONS.get(cell, ())
    lacking = {
        cell: not supported,
        "gru with reset_after=False": not settings.reset_after,
        "residual blocks": settings.stack == "residual",
        f"{cell} with activation {activation}, only with {' or '.join(supported)}": (
            activation not in supported
        ),
    }
    for what, lacks in lacking.items():
        if lacks:
            raise ChargenError(f"torch.nn has no {what}; use chargen.recurrent")
    H, V = model.W_hy.shape
    head = nn.Linear(H, V, device=model.W_hy.device)
    with torch.no_grad():
        head.weight.copy_(model.W_hy.t())
        head.bias.copy_(model.b_y)
        return TorchCharModel([_layer(cell, activation, layer) for layer in model.layers], head)


def _layer(cell: str, activation: str, layer: RecurrentLayer) -> nn.RNNBase:
    """Return one layer: same gate order, transposed matrices, a second bias."""
    F, H = len(layer.W_xh), layer.units
    chosen = {"nonlinearity": activation} if isinstance(layer, SimpleRNN) else {}
    made = KINDS[cell](F, H, batch_first=True, device=layer.W_hh.device, **chosen)
    of_h = torch.zeros_like(layer.b_h)
    if isinstance(layer, GRU):
        of_h[2 * H :] = layer.b_m
    given = (layer.W_xh.t(), layer.W_hh.t(), layer.b_h, of_h)
    for parameter, value in zip(made.parameters(), given, strict=True):
        parameter.copy_(value)
    return made
