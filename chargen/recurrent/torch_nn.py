"""A `CharModel` as a plain module of `torch.nn` layers, for whoever goes on in torch alone."""

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
LACKING = {  # and what it has instead
    "gru-before": "its GRU resets after the product",
    "mingru": "its units read each other's state",
}
ACTIVATIONS = {"simple": ("tanh", "relu"), "lstm": ("tanh",), "gru": ("tanh",)}  # that it has

TorchState = list[Any]
"""What each of its layers remembers, as `torch.nn` has it: ``(1, N, H)``, or a pair of these."""


class TorchCharModel(nn.Module):
    """Recurrent layers of `torch.nn`, one on the other, and a linear head.

        logits, state = module(ids, state)

    ``ids`` is ``(N, T)`` int64; ``logits`` ``(N, T, V)``, whose softmax is the distribution of the
    next character; ``state`` a list of what `torch.nn` gives for each layer, ``None`` before the
    first character: ``h`` ``(1, N, H)``, or ``(h, c)`` of an LSTM. The submodules are ``layers``,
    each ``batch_first``, the first of which reads one-hot characters, and ``head``.
    """

    def __init__(self, layers: list[nn.RNNBase], head: nn.Linear) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.head = head

    def forward(self, ids: Tensor, state: TorchState | None = None) -> tuple[Tensor, TorchState]:
        """See the class."""
        outputs = nn.functional.one_hot(ids, self.head.out_features).to(self.head.weight.dtype)
        after = []
        for number, layer in enumerate(self.layers):
            outputs, own = layer(outputs, None if state is None else state[number])
            after.append(own)
        return self.head(outputs), after


def to_torch(model: CharModel, settings: ModelSettings) -> TorchCharModel:
    """The same model, with weights of its own on the same device.

    `ChargenError` where `torch.nn` has no such cell, stack or activation.
    """
    cell, activation = settings.cell, settings.activation
    if cell in LACKING:
        raise ChargenError(f"torch.nn has no {cell}: {LACKING[cell]}; use chargen.recurrent")
    if settings.stack == "residual":
        raise ChargenError("torch.nn has no residual blocks round layers; use chargen.recurrent")
    if activation not in ACTIVATIONS[cell]:
        raise ChargenError(
            f"torch.nn has no {cell} with activation {activation}, only with "
            f"{' or '.join(ACTIVATIONS[cell])}; use chargen.recurrent"
        )
    own = [layer for layer in model.stack.layers if isinstance(layer, RecurrentLayer)]
    H, V = model.W_hy.shape
    head = nn.Linear(H, V, device=model.W_hy.device)
    with torch.no_grad():
        head.weight.copy_(model.W_hy.t())
        head.bias.copy_(model.b_y)
        return TorchCharModel([_layer(cell, activation, layer) for layer in own], head)


def _layer(cell: str, activation: str, layer: RecurrentLayer) -> nn.RNNBase:
    """One layer: blocks in the same order, matrices transposed, and a second bias."""
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
