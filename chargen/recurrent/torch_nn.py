"""Conversion of a `CharModel` to a module of standard `torch.nn` layers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from chargen.errors import ChargenError
from chargen.recurrent.layer import RecurrentLayer
from chargen.recurrent.model import CharModel
from chargen.settings import ModelSettings

# The layer of each cell, and the activation functions that it supports.
KINDS: dict[str, tuple[Callable[..., nn.RNNBase], tuple[str, ...]]] = {
    "simple": (nn.RNN, ("tanh", "relu")),
    "lstm": (nn.LSTM, ("tanh",)),
    "gru": (nn.GRU, ("tanh",)),
}

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
    """Return a copy made of `torch.nn` layers; `ChargenError` if `torch.nn` has no such layer."""
    cell, activation = settings.cell, settings.activation
    kind, supported = KINDS.get(cell, (nn.RNN, ()))
    lacking = {
        cell: not supported,
        "gru with reset_after=False": not settings.reset_after,
        "residual blocks": settings.stack == "residual",
        f"{cell} with {activation}, only with {' or '.join(supported)}": activation
        not in supported,
    }
    for name, is_lacking in lacking.items():
        if is_lacking:
            raise ChargenError(f"torch.nn has no {name}; use chargen.recurrent")
    nonlinearity = {"nonlinearity": activation} if cell == "simple" else {}

    def layer_of(own: RecurrentLayer) -> nn.RNNBase:
        """Return one layer: same gate order, transposed matrices, a second bias."""
        F, H = len(own.W_xh), own.units
        made = kind(F, H, batch_first=True, device=own.W_hh.device, **nonlinearity)
        of_h = torch.zeros_like(own.b_h)
        if cell == "gru":
            of_h[2 * H :] = own.weights["b_m"]
        given = (own.W_xh.t(), own.W_hh.t(), own.b_h, of_h)
        for parameter, value in zip(made.parameters(), given, strict=True):
            parameter.copy_(value)
        return made

    H, V = model.W_hy.shape
    head = nn.Linear(H, V, device=model.W_hy.device)
    with torch.no_grad():
        head.weight.copy_(model.W_hy.t())
        head.bias.copy_(model.b_y)
        return TorchCharModel([layer_of(layer) for layer in model.layers], head)
