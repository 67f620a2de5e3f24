"""Recurrent layers with their fast training forms; every file of the folder registers its own."""

from importlib import import_module
from pkgutil import iter_modules

from chargen.cells import CELLS
from chargen.recurrent.cells.gru import GRU
from chargen.recurrent.cells.lstm import LSTM
from chargen.recurrent.cells.mingru import MinGRU
from chargen.recurrent.cells.simple import SimpleRNN
from chargen.recurrent.layer import REGISTERED

for _file in iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")
LAYERS = {name: REGISTERED[name] for name in CELLS}

__all__ = ["GRU", "LAYERS", "LSTM", "MinGRU", "SimpleRNN"]
