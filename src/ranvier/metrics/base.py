"""What a metric is: variables, updated batch by batch. And the mean, which most metrics are."""

from __future__ import annotations

from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.errors import ArgumentError, describe
from ranvier.layers.base import _concretely
from ranvier.layers.masks import mask_of
from ranvier.layers.registry import Configurable, Registry, snake_case
from ranvier.losses.base import Loss, fitted_weights, floats, weighted_sum
from ranvier.losses.base import get as get_loss
from ranvier.ops import elementwise as e
from ranvier.ops import reduce as r
from ranvier.ops.table import no_grad
from ranvier.tensor import Tensor, as_tensor
from ranvier.variable import Variable

__all__ = ["Mean", "MeanMetricWrapper", "Metric", "deserialize", "get", "names", "register", "serialize"]

registry = Registry("metric", "ranvier.metrics")
register, serialize, deserialize, names = registry.register, registry.serialize, registry.deserialize, registry.names


def get(identifier: Any) -> Any:
    """The metric meant by a name, a configuration, a class, an object or a function of (y_true, y_pred).

    Args:
        identifier: for example ``"mae"`` or ``Precision()``; None gives None. See :func:`ranvier.metrics.resolve` for
            "accuracy", whose meaning depends on the output.

    Raises:
        ArgumentError: it means no metric.

    Example:
        >>> from ranvier import metrics
        >>> metrics.get("mae")
        MeanAbsoluteError(name='mean_absolute_error')
    """
    found = None if identifier is None else registry.get(identifier)
    return found if found is None or isinstance(found, Metric) else MeanMetricWrapper(found)


def ratio(x: Tensor, y: Tensor) -> Tensor:
    """``x / y``, and 0 where y is 0."""
    return x / e.where(e.equal(y, 0), 1, y)


class Metric(Configurable):
    """Base of all metrics.

    A metric of your own makes its state with :meth:`add_variable` in ``__init__``, and defines ``update_state`` and
    ``result`` in ops.

    Args:
        name: its name in histories; by default made from the class name.
    """

    registry = registry

    def __init__(self, name: str | None = None):
        self.name = name if name is not None else snake_case(type(self).__name__)
        self._state: list[Variable] = []

    def add_variable(self, name: str, shape: tuple[int, ...] = ()) -> Variable:
        """A float64 variable of zeros that :meth:`reset_state` sets back.

        Args:
            name: its name inside the metric.
            shape: its shape.
        """
        with _concretely():
            made = Variable(np.zeros(shape, np.float64), f"{self.name}_{name}", trainable=False)
        self._state.append(made)
        return made

    @property
    def variables(self) -> list[Variable]:
        """The state."""
        return list(self._state)

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Take in a batch.

        Args:
            *args: usually y_true, y_pred and sample_weight.
            **kwargs: the same by name.
        """
        raise ArgumentError(f"{type(self).__name__}: define update_state(self, y_true, y_pred, sample_weight=None).")

    def result(self) -> Tensor:
        """The metric over all batches since the last reset."""
        raise ArgumentError(f"{type(self).__name__}: define result(self).")

    def reset_state(self) -> None:
        """Forget all batches."""
        for v in self._state:
            v.assign(np.zeros(v.shape, np.float64))

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """Take in a batch and return the result so far.

        Args:
            *args: as for ``update_state``.
            **kwargs: as for ``update_state``.
        """
        with no_grad():
            self.update_state(*args, **kwargs)
            return self.result()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_config().items())})"


def accumulate(variable: Variable, amount: Any) -> None:
    """Add a batch's share, widened to the state's float64."""
    variable.assign(variable.value + e.astype(amount, dtypes.float64))


@register
class Mean(Metric):
    """The weighted mean of values, ``sum(w * x) / sum(w)``.

    Args:
        name: its name in histories.

    Example:
        >>> from ranvier import metrics
        >>> mean = metrics.Mean()
        >>> mean.update_state([1.0, 3.0])
        >>> mean.update_state([5.0, 100.0], sample_weight=[1.0, 0.0])
        >>> mean.result().item()
        3.0
    """

    def __init__(self, name: str | None = "mean"):
        super().__init__(name)
        self.total, self.count = self.add_variable("total"), self.add_variable("count")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Take in a batch.

        Args:
            values: numbers.
            sample_weight: a weight for each, or for each entry of the first axes.

        Raises:
            ShapeError: the weights do not fit.
        """
        x, w = floats(values), None
        if sample_weight is not None:
            given = as_tensor(sample_weight)
            if 0 < given.ndim < x.ndim and given.shape == x.shape[: given.ndim]:
                x = r.mean(x, tuple(range(given.ndim, x.ndim)))
            w = fitted_weights(self.name, given, x.shape, x)
        accumulate(self.total, weighted_sum(x, w))
        accumulate(self.count, float(x.size) if w is None else r.sum(w))

    def result(self) -> Tensor:
        return e.astype(ratio(self.total.value, self.count.value), dtypes.float32)


class ValueMean(Mean):
    """The mean of a number for each sample: :meth:`values` of (y_true, y_pred)."""

    def values(self, y_true: Any, y_pred: Any) -> Tensor:
        """A number for each sample."""
        raise ArgumentError(f"{type(self).__name__}: define values(self, y_true, y_pred).")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        """Take in a batch.

        Args:
            y_true: the truth.
            y_pred: the predictions.
            sample_weight: a weight for each sample, or None.

        Masked time steps of ``y_pred`` are left out.
        """
        values, kept = self.values(y_true, y_pred), mask_of(y_pred)
        if kept is not None:
            weights = fitted_weights(f"{self.name}, mask of the predictions", kept, values.shape, values)
            if sample_weight is not None:
                weights = weights * fitted_weights(self.name, sample_weight, values.shape, values)
            sample_weight = weights
        super().update_state(values, sample_weight)


@register
class MeanMetricWrapper(ValueMean):
    """The mean of a function of (y_true, y_pred) that returns a number for each sample.

    Args:
        fn: the function, or a loss (by object, name or configuration).
        name: its name in histories; by default the function's.

    Raises:
        ArgumentError: neither a function nor a loss.

    Example:
        >>> from ranvier import losses, metrics
        >>> metric = metrics.MeanMetricWrapper(losses.huber)
        >>> metric([[0.0]], [[1.0]]).item()
        0.5
    """

    def __init__(self, fn: Any, name: str | None = None):
        if isinstance(fn, str | dict):
            fn = get_loss(fn)
        if not callable(fn):
            raise ArgumentError(f"MeanMetricWrapper: expected a function of (y_true, y_pred), got {describe(fn)}.")
        usual = fn.name if isinstance(fn, Loss) else getattr(fn, "__name__", "metric")
        super().__init__(name if name is not None else usual)
        self.fn = fn

    def values(self, y_true: Any, y_pred: Any) -> Tensor:
        function = self.fn.call if isinstance(self.fn, Loss) else self.fn
        return as_tensor(function(as_tensor(y_true), as_tensor(y_pred)))
