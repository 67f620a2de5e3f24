"""Recurrent layers, stacks of them, and the character model."""

from chargen.recurrent.cells import GRU, LAYERS, LSTM, MinGRU, SimpleRNN
from chargen.recurrent.layer import RecurrentLayer
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.recurrent.residual import ForwardMode
from chargen.recurrent.stack import Stack

__all__ = [
    "GRU",
    "LAYERS",
    "LSTM",
    "CharModel",
    "ForwardMode",
    "MinGRU",
    "NetworkPredictor",
    "RecurrentLayer",
    "SimpleRNN",
    "Stack",
]
