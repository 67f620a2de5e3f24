"""Recurrent cells, one a file and side by side comparable."""

from chargen.recurrent.cells.gru import GRU
from chargen.recurrent.cells.gru_before import GRUBefore
from chargen.recurrent.cells.lstm import LSTM
from chargen.recurrent.cells.mingru import MinGRU
from chargen.recurrent.cells.simple import SimpleRNN

CELLS = {"simple": SimpleRNN, "lstm": LSTM, "gru": GRU, "gru-before": GRUBefore, "mingru": MinGRU}

__all__ = ["CELLS", "GRU", "LSTM", "GRUBefore", "MinGRU", "SimpleRNN"]
