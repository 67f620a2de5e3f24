"""Recurrent layers with their fast training forms, one cell per file."""

from chargen.recurrent.cells.gru import GRU
from chargen.recurrent.cells.lstm import LSTM
from chargen.recurrent.cells.mingru import MinGRU
from chargen.recurrent.cells.simple import SimpleRNN

LAYERS = {"simple": SimpleRNN, "lstm": LSTM, "gru": GRU, "mingru": MinGRU}

__all__ = ["GRU", "LAYERS", "LSTM", "MinGRU", "SimpleRNN"]
