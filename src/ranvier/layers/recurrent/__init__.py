"""Recurrent layers: cells, the RNN over a cell, SimpleRNN, LSTM and GRU, and the wrappers for sequences."""

from ranvier.layers.recurrent.bidirectional import Bidirectional
from ranvier.layers.recurrent.cells import GRUCell, LSTMCell, SimpleRNNCell
from ranvier.layers.recurrent.layers import GRU, LSTM, SimpleRNN
from ranvier.layers.recurrent.rnn import RNN
from ranvier.layers.recurrent.stacked import StackedRNNCells
from ranvier.layers.recurrent.time_distributed import TimeDistributed

__all__ = [
    "GRU", "LSTM", "RNN", "Bidirectional", "GRUCell", "LSTMCell", "SimpleRNN", "SimpleRNNCell", "StackedRNNCells",
    "TimeDistributed",
]  # fmt: skip
