"""Losses: how far predictions are from the truth. Names, arguments and defaults follow Keras 3.

Each loss is a function of ``(y_true, y_pred)`` that gives one number for each sample, and a class that averages them,
with sample weights. A sample of weight 0 has no influence at all: it is left out of the sum and of the count.
"""

from ranvier.losses.base import Loss, deserialize, get, names, register, serialize
from ranvier.losses.classification import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    binary_crossentropy,
    categorical_crossentropy,
    sparse_categorical_crossentropy,
)
from ranvier.losses.regression import (
    Huber,
    MeanAbsoluteError,
    MeanSquaredError,
    huber,
    mean_absolute_error,
    mean_squared_error,
)

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Huber",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "deserialize",
    "get",
    "huber",
    "mean_absolute_error",
    "mean_squared_error",
    "names",
    "register",
    "serialize",
    "sparse_categorical_crossentropy",
]
