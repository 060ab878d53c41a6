"""Initializers: the values weights start from, written as their distributions.

An initializer is called with a shape and a dtype and returns a tensor. Names, arguments and defaults are those of
Keras 3. Without a seed the values come from the global generator (``rv.set_random_seed``); with one, every call
returns the same values.
"""

from ranvier.initializers.base import Initializer, deserialize, get, names, register, serialize
from ranvier.initializers.constant import Constant, Identity, Ones, Zeros
from ranvier.initializers.random import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
)

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "deserialize",
    "get",
    "names",
    "register",
    "serialize",
]
