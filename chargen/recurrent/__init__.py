"""Recurrent layers over time, stacks of them, and the character model."""

from chargen.recurrent.cells import CELLS, GRU, LSTM, GRUBefore, MinGRU, SimpleRNN
from chargen.recurrent.layer import RecurrentLayer
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.recurrent.residual import ResidualStack
from chargen.recurrent.stack import Stack

__all__ = [
    "CELLS",
    "GRU",
    "LSTM",
    "CharModel",
    "GRUBefore",
    "MinGRU",
    "NetworkPredictor",
    "RecurrentLayer",
    "ResidualStack",
    "SimpleRNN",
    "Stack",
]
