"""Metrics for numbers: mean squared and absolute error, their root, and the share of variance explained."""

from __future__ import annotations

from typing import Any

from ranvier import dtypes
from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.layers.checks import whole
from ranvier.losses.base import fitted_weights, paired, weighted_sum
from ranvier.losses.regression import mean_absolute_error, mean_squared_error
from ranvier.metrics.base import Metric, ValueMean, accumulate, ratio, register
from ranvier.ops import elementwise as e
from ranvier.ops import reduce as r
from ranvier.ops.shape import expand_dims
from ranvier.tensor import Tensor, as_tensor
from ranvier.variable import Variable

__all__ = ["MeanAbsoluteError", "MeanSquaredError", "R2Score", "RootMeanSquaredError"]


@register("mse", "MSE")
class MeanSquaredError(ValueMean):
    """``mean((y_true - y_pred)**2)``.

    Args:
        name: its name in histories.

    Example:
        >>> from ranvier import metrics
        >>> metrics.MeanSquaredError()([[0.0], [2.0]], [[1.0], [4.0]]).item()
        2.5
    """

    def __init__(self, name: str | None = "mean_squared_error"):
        super().__init__(name)

    def values(self, y_true: Any, y_pred: Any) -> Tensor:
        return mean_squared_error(y_true, y_pred)


@register("mae", "MAE")
class MeanAbsoluteError(ValueMean):
    """``mean(|y_true - y_pred|)``.

    Args:
        name: its name in histories.

    Example:
        >>> metric = rv.metrics.MeanAbsoluteError()
        >>> metric.update_state([[0.0], [0.0]], [[1.0], [-3.0]])
        >>> metric.result().item()
        2.0
    """

    def __init__(self, name: str | None = "mean_absolute_error"):
        super().__init__(name)

    def values(self, y_true: Any, y_pred: Any) -> Tensor:
        return mean_absolute_error(y_true, y_pred)


@register("rmse", "RMSE")
class RootMeanSquaredError(ValueMean):
    """``sqrt(mean((y_true - y_pred)**2))``, in the unit of the data.

    Args:
        name: its name in histories.

    Example:
        >>> metric = rv.metrics.RootMeanSquaredError()
        >>> metric.update_state([[0.0], [0.0]], [[3.0], [-3.0]])
        >>> metric.result().item()
        3.0
    """

    def __init__(self, name: str | None = "root_mean_squared_error"):
        super().__init__(name)

    def values(self, y_true: Any, y_pred: Any) -> Tensor:
        return mean_squared_error(y_true, y_pred)

    def result(self) -> Tensor:
        return e.sqrt(super().result())


AGGREGATIONS = (None, "uniform_average", "variance_weighted_average")


@register
class R2Score(Metric):
    """The share of variance explained: ``1 - sum(w (y - p)**2) / sum(w (y - mean(y))**2)``.

    For targets that never vary it is 1 if the predictions are exact, else 0.

    Args:
        class_aggregation: several outputs become one number by "uniform_average" or "variance_weighted_average"; None
            gives one for each.
        num_regressors: number of inputs, for the adjusted score; 0 for the plain one.
        name: its name in histories.

    Raises:
        ArgumentError: an argument is out of range.
        ShapeError: the number of outputs changes between batches.

    Example:
        >>> from ranvier import metrics
        >>> round(metrics.R2Score()([[1.0], [2.0], [3.0]], [[1.0], [2.0], [4.0]]).item(), 6)
        0.5
    """

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str | None = "r2_score",
    ):
        super().__init__(name)
        if class_aggregation not in AGGREGATIONS:
            raise ArgumentError(
                f"R2Score: expected class_aggregation to be one of {', '.join(map(str, AGGREGATIONS))}, "
                f"got {describe(class_aggregation)}."
            )
        self.class_aggregation = class_aggregation
        self.num_regressors = whole("R2Score", "num_regressors", num_regressors, 0)
        self.count, self.samples = self.add_variable("count"), self.add_variable("samples")
        self.sums: tuple[Variable, ...] = ()  # of y, of y**2 and of squared errors; their size is that of the output

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in a batch.

        Args:
            y_true: the truth, ``(batch,)`` or ``(batch, outputs)``.
            y_pred: the predictions, of the same shape.
            sample_weight: a weight for each sample, or None.
        """
        # Squares of data with a large mean lose the variance in float32, so everything here is float64.
        true, pred = (e.astype(t, dtypes.float64) for t in paired("r2_score", as_tensor(y_true), y_pred))
        if true.ndim != 2:
            raise ShapeError(f"{self.name}: expected y_true of shape (batch, outputs), got {true.shape}.")
        if not self.sums:
            names = ("sum", "squared_sum", "residual")
            self.sums = tuple(self.add_variable(name, true.shape[1:]) for name in names)
        if self.sums[0].shape != true.shape[1:]:
            raise ShapeError(f"{self.name}: expected {self.sums[0].shape[0]} outputs, as before, got {true.shape[1]}.")
        w = None
        if sample_weight is not None:
            flat = fitted_weights(self.name, sample_weight, true.shape[:1], true)
            accumulate(self.count, r.sum(flat))
            accumulate(self.samples, r.sum(e.astype(e.not_equal(flat, 0), dtypes.float64)))
            w = expand_dims(flat, -1)
        else:
            accumulate(self.count, float(true.shape[0]))
            accumulate(self.samples, float(true.shape[0]))
        for v, values in zip(self.sums, (true, e.square(true), e.square(true - pred)), strict=True):
            accumulate(v, weighted_sum(values, w, 0))

    def result(self) -> Tensor:
        if not self.sums:
            return as_tensor(0.0)
        n, (total, squares, residual) = self.count.value, (v.value for v in self.sums)
        variation = e.maximum(squares - total * ratio(total, n), 0)
        exact = e.astype(e.equal(residual, 0), dtypes.float64)
        score = e.where(variation > 0, 1 - ratio(residual, variation), exact)
        if self.class_aggregation == "uniform_average":
            score = r.mean(score)
        elif self.class_aggregation == "variance_weighted_average":
            score = ratio(r.sum(score * variation), r.sum(variation))
        if self.num_regressors:
            samples = self.samples.value
            rest = samples - 1.0 - float(self.num_regressors)
            score = e.where(rest > 0, 1 - ratio((1 - score) * (samples - 1.0), rest), score)
        return e.astype(score, dtypes.float32)
