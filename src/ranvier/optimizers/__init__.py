"""Optimizers: rules that turn gradients into better weights. Names, arguments and defaults follow Keras 3.

Each rule stands as code in its class's docstring, and the class is that code. All variables of a step share the step's
scalars (learning rate, bias corrections), so the compiler can update them in one loop over a flat arena.
"""

from ranvier.optimizers import schedules
from ranvier.optimizers.adagrad import Adagrad
from ranvier.optimizers.adam import Adam, AdamW
from ranvier.optimizers.base import Optimizer, deserialize, get, names, register, serialize
from ranvier.optimizers.rmsprop import RMSprop
from ranvier.optimizers.sgd import SGD

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "deserialize",
    "get",
    "names",
    "register",
    "schedules",
    "serialize",
]
