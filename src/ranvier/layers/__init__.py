"""Layers: the parts networks are made of. Names, arguments and defaults follow Keras 3, channels last.

A layer is its equation: ``build`` makes the weights once the input's shape is known, ``call`` computes the output in
ops. :class:`Layer` does the rest; your own layers derive from it the same way.
"""

from ranvier.layers.activation import Activation
from ranvier.layers.base import InputSpec, Layer, deserialize, get, names, register, reset_names, serialize
from ranvier.layers.dense import Dense
from ranvier.layers.dropout import Dropout
from ranvier.layers.input import Input, InputLayer
from ranvier.layers.masking import Masking
from ranvier.layers.preprocessing import Normalization, Rescaling
from ranvier.layers.reshaping import Flatten, Reshape

__all__ = [
    "Activation",
    "Dense",
    "Dropout",
    "Flatten",
    "Input",
    "InputLayer",
    "InputSpec",
    "Layer",
    "Masking",
    "Normalization",
    "Rescaling",
    "Reshape",
    "deserialize",
    "get",
    "names",
    "register",
    "reset_names",
    "serialize",
]
