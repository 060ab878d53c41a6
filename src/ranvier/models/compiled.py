"""What ``compile`` was told: optimizer, loss and metrics, resolved from their names and checked against the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ranvier import losses, metrics, optimizers
from ranvier.errors import ArgumentError, describe
from ranvier.losses.base import FunctionLoss
from ranvier.metrics import Mean, Metric
from ranvier.models.data_adapter import warn
from ranvier.variable import Variable

__all__ = ["Compiled", "loss_kind"]

_KINDS: dict[str, tuple[Any, ...]] = {
    "sparse": (losses.SparseCategoricalCrossentropy, losses.sparse_categorical_crossentropy),
    "categorical": (losses.CategoricalCrossentropy, losses.categorical_crossentropy),
    "binary": (losses.BinaryCrossentropy, losses.binary_crossentropy),
    "values": (
        losses.MeanSquaredError, losses.MeanAbsoluteError, losses.Huber,
        losses.mean_squared_error, losses.mean_absolute_error, losses.huber,
    ),
}  # fmt: skip


def loss_kind(loss: Any) -> str:
    """What targets a loss reads: "sparse", "categorical", "binary" or "values"; "free" for losses not known here."""
    meaning = loss.function if isinstance(loss, FunctionLoss) else type(loss)
    return next((kind for kind, known in _KINDS.items() if meaning in known), "free")


def _as_list(who: str, value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, str | Metric) or callable(value):
        return [value]
    if not isinstance(value, list | tuple):
        raise ArgumentError(f"compile: expected {who} to be a list of metrics or their names, got {describe(value)}.")
    return list(value)


class Clock:
    """Where a compiled loop stands, in variables that the step itself moves on.

    Attributes:
        position: the number of the next step in this epoch.
        bad: the first step whose loss was not finite, or -1.
    """

    def __init__(self) -> None:
        self.position = Variable(np.asarray(0, np.int64), "position", trainable=False)
        self.bad = Variable(np.asarray(-1, np.int64), "bad_step", trainable=False)
        self._start, self._none = np.asarray(0, np.int64), np.asarray(-1, np.int64)

    def reset(self) -> None:
        """Back to the start of an epoch."""
        self.position.assign(self._start)
        self.bad.assign(self._none)


class Compiled:
    """Optimizer, loss and metrics of one ``compile``.

    Args:
        optimizer: name, configuration or object.
        loss: name, configuration, object, function or None.
        given_metrics: what ``compile(metrics=...)`` was given.
        weighted: the same for metrics that take sample weights into account.
        forward: which words mean logits.

    Raises:
        ArgumentError: something is unknown here.
    """

    def __init__(self, optimizer: Any, loss: Any, given_metrics: Any, weighted: Any):
        self.optimizer = optimizers.get(optimizer)
        self.loss = losses.get(loss)
        self._given = loss, _as_list("metrics", given_metrics), _as_list("weighted_metrics", weighted)
        if self.loss is not None and self.loss.reduction == "none":
            raise ArgumentError(
                f"compile: the loss {self.loss.name!r} has reduction 'none', but training needs one number. Use "
                "'sum_over_batch_size' or 'sum'."
            )
        self.kind = "free" if self.loss is None else loss_kind(self.loss)
        self.loss_tracker = Mean("loss")
        self.metrics: list[Metric] = []
        self.weighted: list[Metric] = []
        self.scalar_loss = False  # a loss of one's own that returns the mean already
        self._shapes: Any = None
        for given in (*self._given[1], *self._given[2]):
            metrics.resolve(given, (None, 1), (None, 1))  # an unknown name is refused now, not at the first fit

    @property
    def from_logits(self) -> bool:
        """Whether the loss takes predictions for logits."""
        return bool(getattr(self.loss, "from_logits", False))

    def resolve(self, y_shape: Sequence[int], output_shape: Sequence[int | None]) -> None:
        """Make the metrics, now that shapes of targets and outputs are known."""
        shapes = len(y_shape), tuple(y_shape[1:]), tuple(output_shape[1:])
        if self._shapes == shapes:
            return
        arguments = (None, *y_shape[1:]), (None, *output_shape[1:]), self.from_logits
        plain = [metrics.resolve(m, *arguments) for m in self._given[1]]
        weighted = [metrics.resolve(m, *arguments) for m in self._given[2]]
        taken = {"loss"}
        for metric, prefix in (*((m, "") for m in plain), *((m, "weighted_") for m in weighted)):
            if metric.name in taken:
                metric.name = prefix + metric.name
            name, number = metric.name, 1
            while metric.name in taken:
                metric.name, number = f"{name}_{number}", number + 1
            taken.add(metric.name)
        self.metrics, self.weighted, self._shapes = plain, weighted, shapes

    @property
    def trackers(self) -> list[Metric]:
        """The loss's mean, then the metrics, in the order of logs."""
        return [self.loss_tracker, *self.metrics, *self.weighted]

    def reset(self) -> None:
        """Forget what was counted."""
        for tracker in self.trackers:
            tracker.reset_state()

    def results(self) -> dict[str, Any]:
        """Loss and metrics as Python numbers (arrays for those that give more than one)."""
        found: dict[str, Any] = {}
        for tracker in self.trackers:
            if (
                isinstance(tracker, Mean) and type(tracker).result is Mean.result
            ):  # nearly all are means: no need for ops
                count = float(tracker.count.numpy())
                found[tracker.name] = float(np.float32(float(tracker.total.numpy()) / count)) if count else 0.0
                continue
            value = tracker.result().numpy()
            found[tracker.name] = float(value) if value.ndim == 0 else np.array(value)
        return found

    def check_output(self, activation: str | None, layer: str, certain: bool) -> None:
        """Refuse (or, where it is not certain which layer comes last, warn about) an output the loss cannot mean."""
        if self.loss is None:
            return
        try:
            self.loss.check_activation(activation, layer)
        except ArgumentError as error:
            if certain:
                raise ArgumentError(f"compile: {error.message}") from None
            warn(f"compile: {error.message}")

    def config(self) -> dict[str, Any]:
        """Everything as JSON data, to compile a loaded model again."""
        loss, plain, weighted = self._given
        return {
            "optimizer": optimizers.serialize(self.optimizer),
            "loss": loss if loss is None or isinstance(loss, str) else losses.serialize(self._plain_loss()),
            "metrics": [_metric_config(m) for m in plain],
            "weighted_metrics": [_metric_config(m) for m in weighted],
        }

    def _plain_loss(self) -> Any:
        return self.loss.function if isinstance(self.loss, FunctionLoss) else self.loss


def _metric_config(given: Any) -> Any:
    if isinstance(given, str):
        return given
    return metrics.serialize(given if callable(given) and not isinstance(given, Metric) else metrics.get(given))
