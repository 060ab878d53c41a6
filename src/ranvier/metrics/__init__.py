"""Metrics: what a person wants to know about predictions. Names, arguments and defaults follow Keras 3.

A metric keeps its state in variables, so that it can be updated inside a compiled step: ``update_state`` for each
batch, ``result`` whenever asked, ``reset_state`` to start again. A sample of weight 0 has no influence at all. State
is float64, because float32 stops counting at 2**24.
"""

from ranvier.losses.regression import mean_absolute_error, mean_squared_error
from ranvier.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from ranvier.metrics.base import Mean, MeanMetricWrapper, Metric, deserialize, get, names, register, serialize
from ranvier.metrics.choice import resolve
from ranvier.metrics.confusion import AUC, ConfusionMatrix, Precision, Recall
from ranvier.metrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score, RootMeanSquaredError

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "ConfusionMatrix",
    "Mean",
    "MeanAbsoluteError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "R2Score",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "binary_accuracy",
    "categorical_accuracy",
    "deserialize",
    "get",
    "mean_absolute_error",
    "mean_squared_error",
    "names",
    "register",
    "resolve",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]
