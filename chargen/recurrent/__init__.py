"""Recurrent layers, stacks of them, and the character model."""

from chargen.recurrent.cells import GRU, LAYERS, LSTM, MinGRU, SimpleRNN
from chargen.recurrent.layer import RecurrentLayer
from chargen.recurrent.model import CharModel
from chargen.recurrent.stack import Stack

__all__ = ["GRU", "LAYERS", "LSTM", "CharModel", "MinGRU", "RecurrentLayer", "SimpleRNN", "Stack"]
