"""What instruments that need the network itself see of it."""

from __future__ import annotations

from chargen.recurrent import LAYERS, CharModel, RecurrentLayer


def layers_of(model: CharModel) -> list[RecurrentLayer]:
    """The layers, the one that reads the characters first."""
    return [layer for layer in model.stack.layers if isinstance(layer, RecurrentLayer)]


def cell_of(model: CharModel) -> str:
    """The name of its cell."""
    return next(name for name, kind in LAYERS.items() if type(layers_of(model)[0]) is kind)
