"""What a loss is: a number for each sample, and how they become one.

The helpers here bring ``y_true`` and ``y_pred`` into one shape (strictly: nothing broadcasts by accident) and apply
sample weights; metrics use them too.
"""

from __future__ import annotations

import math
from typing import Any

from ranvier.dtypes import float32
from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.layers.masks import mask_of, with_mask
from ranvier.layers.registry import Configurable, Registry, snake_case
from ranvier.ops import elementwise as e
from ranvier.ops import reduce as r
from ranvier.ops.shape import broadcast_to, expand_dims, reshape
from ranvier.tensor import Tensor, as_tensor

__all__ = ["Loss", "deserialize", "get", "names", "register", "serialize", "wide"]

registry = Registry("loss", "ranvier.losses")
register, serialize, deserialize, names = registry.register, registry.serialize, registry.deserialize, registry.names

REDUCTIONS = ("sum_over_batch_size", "sum", "none")


def get(identifier: Any) -> Any:
    """The loss meant by a name, a configuration, a class, an object or a function of (y_true, y_pred).

    Args:
        identifier: for example ``"mse"`` or ``BinaryCrossentropy(from_logits=True)``; None gives None.

    Raises:
        ArgumentError: it means no loss.

    Example:
        >>> from ranvier import losses
        >>> losses.get("mse")
        MeanSquaredError()
    """
    found = None if identifier is None else registry.get(identifier)
    return found if found is None or isinstance(found, Loss) else FunctionLoss(found)


# -- shapes -------------------------------------------------------------------------------------------------------


def floats(x: Any, like: Tensor | None = None) -> Tensor:
    """``x`` as a floating tensor, of the dtype of ``like`` if given."""
    t = as_tensor(x)
    wanted = like.dtype if like is not None else t.dtype if t.dtype.is_float else "float32"
    return e.astype(t, wanted)


def paired(who: str, y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """Both as floating tensors of one shape with at least two axes; a last axis of size 1 may be missing in one."""
    pred = floats(y_pred)
    true = floats(y_true, pred)
    if true.ndim == pred.ndim + 1 and true.shape[-1] == 1:
        pred = expand_dims(pred, -1)
    elif pred.ndim == true.ndim + 1 and pred.shape[-1] == 1:
        true = expand_dims(true, -1)
    if true.shape != pred.shape:
        hint = ""
        if true.ndim == pred.ndim - 1 and true.shape == pred.shape[:-1]:
            hint = " For integer class labels use a sparse loss or metric, or rv.one_hot."
        raise ShapeError(f"{who}: expected y_true of the shape of y_pred, {pred.shape}, got {true.shape}.{hint}")
    return (expand_dims(true, -1), expand_dims(pred, -1)) if pred.ndim == 1 else (true, pred)


def fitted_weights(who: str, sample_weight: Any, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Sample weights broadcast to per-sample values of ``shape``."""
    w = floats(sample_weight, like)
    if w.ndim == len(shape) + 1 and w.shape[-1] == 1:
        w = reshape(w, w.shape[:-1])
    if w.ndim > len(shape) or any(a not in (b, 1) for a, b in zip(w.shape, shape, strict=False)):
        raise ShapeError(f"{who}: expected one weight for each of the samples of shape {shape}, got shape {w.shape}.")
    return broadcast_to(reshape(w, w.shape + (1,) * (len(shape) - w.ndim)), shape)


def weighted_sum(values: Tensor, weights: Tensor | None, axis: Any = None) -> Tensor:
    """``sum(weights * values)``, where weight 0 leaves a value out, even if it is NaN."""
    if weights is None:
        return r.sum(values, axis)
    return r.sum(e.where(e.not_equal(weights, 0), values * weights, 0), axis)


def wide(x: Any) -> Any:
    """Predictions in float32 at least: losses and metrics are not computed in narrower floats."""
    if isinstance(x, Tensor) and x.dtype.is_float and x.dtype.itemsize < 4:
        return with_mask(e.astype(x, float32), mask_of(x))
    return x


class Loss(Configurable):
    """Base of all losses: ``loss(y_true, y_pred, sample_weight=None)``.

    A loss of your own defines ``call(y_true, y_pred)``, which returns one number for each sample.

    Args:
        name: its name in histories; by default made from the class name.
        reduction: "sum_over_batch_size" (``sum(w * l)`` divided by the number of samples whose weight is not 0),
            "sum", or "none" for one number per sample.

    Raises:
        ArgumentError: unknown reduction.
    """

    registry = registry

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size"):
        who = type(self).__name__
        self.reduction = "none" if reduction is None else reduction
        if self.reduction not in REDUCTIONS:
            raise ArgumentError(
                f"{who}: expected reduction to be one of {', '.join(REDUCTIONS)}, got {describe(reduction)}."
            )
        self.name = name if name is not None else snake_case(who)

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        """The loss of each sample.

        Args:
            y_true: the truth.
            y_pred: the predictions.
        """
        raise ArgumentError(f"{type(self).__name__}: define call(self, y_true, y_pred), the loss of each sample.")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """The loss of a batch.

        Args:
            y_true: the truth.
            y_pred: the predictions.
            sample_weight: a weight for each sample, or None.

        Masked time steps of ``y_pred`` (see ``ranvier.layers.Masking``) count as if their weight were 0.

        Raises:
            ShapeError: shapes do not fit.
        """
        y_pred = wide(y_pred)
        values = as_tensor(self.call(y_true, y_pred))
        weights = None
        if sample_weight is not None:
            weights = fitted_weights(self.name, sample_weight, values.shape, values)
        if mask_of(y_pred) is not None:
            kept = fitted_weights(f"{self.name}, mask of the predictions", mask_of(y_pred), values.shape, values)
            weights = kept if weights is None else weights * kept
        if self.reduction == "none":
            return values if weights is None else e.where(e.not_equal(weights, 0), values * weights, 0)
        total = weighted_sum(values, weights)
        if self.reduction == "sum":
            return total
        if weights is None:
            return total / float(math.prod(values.shape))
        count = r.sum(e.astype(e.not_equal(weights, 0), values.dtype))
        return total / e.maximum(count, 1)

    def check_activation(self, activation: str | None, layer: str) -> None:
        """Refuse a last layer whose output this loss cannot mean: probabilities where scores belong, or the reverse.

        Args:
            activation: registered name of the last layer's activation; None if it is not known.
            layer: name of the last layer, for the message.

        Raises:
            ArgumentError: loss and activation contradict each other.
        """

    def __repr__(self) -> str:
        config = {k: v for k, v in self.get_config().items() if k not in ("name", "reduction")}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in config.items())})"


class FunctionLoss(Loss):
    """A function of (y_true, y_pred) as a loss; it has no configuration unless it is registered."""

    def __init__(self, function: Any, name: str | None = None, reduction: str | None = "sum_over_batch_size"):
        super().__init__(name or getattr(function, "__name__", "loss"), reduction)
        self.function = function

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        return as_tensor(self.function(as_tensor(y_true), as_tensor(y_pred)))
