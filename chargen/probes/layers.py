"""The recurrent layers of a model, for instruments that need the network itself."""

from __future__ import annotations

from chargen.recurrent import LAYERS, CharModel, RecurrentLayer


def layers_of(model: CharModel) -> list[RecurrentLayer]:
    """Return the recurrent layers from input to output."""
    return [layer for layer in model.stack.layers if isinstance(layer, RecurrentLayer)]


def cell_of(model: CharModel) -> str:
    """Return the name of the model's cell."""
    return next(name for name, kind in LAYERS.items() if type(layers_of(model)[0]) is kind)
