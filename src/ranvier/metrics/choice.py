"""What "accuracy" means: it depends on the shapes of targets and outputs."""

from __future__ import annotations

from typing import Any

from ranvier import losses
from ranvier.errors import ArgumentError
from ranvier.metrics.accuracy import BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy
from ranvier.metrics.base import MeanMetricWrapper, Metric, get

__all__ = ["resolve"]


def resolve(identifier: Any, y_true_shape: Any, y_pred_shape: Any, from_logits: bool = False) -> Metric:
    """The metric meant by ``compile(metrics=[...])`` for given outputs, named as the user wrote it.

    "accuracy" is binary for one output, sparse for integer labels beside several outputs, else categorical;
    "crossentropy" likewise. Names of losses are metrics too.

    Args:
        identifier: name, configuration, class, object or function.
        y_true_shape: shape of the targets, the batch axis first.
        y_pred_shape: shape of the predictions, the batch axis first.
        from_logits: whether predictions are logits; a binary accuracy then cuts at 0.

    Raises:
        ArgumentError: it means no metric.

    Example:
        >>> from ranvier import metrics
        >>> metrics.resolve("accuracy", (None,), (None, 10))
        SparseCategoricalAccuracy(name='accuracy')
    """
    if not isinstance(identifier, str):
        return get(identifier)
    true, pred = tuple(y_true_shape), tuple(y_pred_shape)
    binary = len(pred) < 2 or pred[-1] == 1
    sparse = not binary and (len(true) < len(pred) or true[-1] == 1)
    if identifier in ("accuracy", "acc"):
        if binary:
            return BinaryAccuracy(identifier, 0.0 if from_logits else 0.5)
        return SparseCategoricalAccuracy(identifier) if sparse else CategoricalAccuracy(identifier)
    if identifier in ("crossentropy", "ce"):
        kind: Any = losses.SparseCategoricalCrossentropy if sparse else losses.CategoricalCrossentropy
        kind = losses.BinaryCrossentropy if binary else kind
        return MeanMetricWrapper(kind(from_logits=from_logits), identifier)
    try:
        found = get(identifier)
    except ArgumentError as error:
        try:
            found = MeanMetricWrapper(losses.get(identifier))
        except ArgumentError:
            raise ArgumentError(
                f"{error.message} Losses are metrics too: {', '.join(losses.names())}.", error.where
            ) from None
    found.name = identifier
    return found
