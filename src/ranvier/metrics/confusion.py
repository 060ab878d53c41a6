"""Metrics made of counts of right and wrong: precision, recall, the area under a curve, the confusion matrix."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.errors import ArgumentError, DataError, ShapeError, describe
from ranvier.layers.checks import number, whole
from ranvier.losses.base import fitted_weights, floats, paired
from ranvier.metrics.base import Metric, accumulate, ratio, register
from ranvier.ops import elementwise as e
from ranvier.ops import reduce as r
from ranvier.ops.creation import zeros
from ranvier.ops.index import scatter_add
from ranvier.ops.shape import broadcast_to, expand_dims, ones_like, reshape
from ranvier.tensor import Tensor, as_tensor

__all__ = ["AUC", "ConfusionMatrix", "Precision", "Recall"]


def _outcomes(who: str, y_true: Any, y_pred: Any, sample_weight: Any, class_id: int | None = None) -> list[Tensor]:
    """Truth, predictions and weights as flat vectors, one entry for each output of each sample."""
    true, pred = paired(who, y_true, y_pred)
    if class_id is not None:
        if class_id >= pred.shape[-1]:
            raise ShapeError(f"{who}: class_id {class_id} does not exist in y_pred of shape {pred.shape}.")
        true, pred = true[..., class_id : class_id + 1], pred[..., class_id : class_id + 1]
    weight = ones_like(pred)
    if sample_weight is not None:
        weight = broadcast_to(expand_dims(fitted_weights(who, sample_weight, pred.shape[:-1], pred), -1), pred.shape)
    n = math.prod(pred.shape)
    return [reshape(t, (n,)) for t in (e.astype(e.not_equal(true, 0), pred.dtype), pred, weight)]


class _Thresholded(Metric):
    """Right among the positive, for one or several thresholds."""

    default_name = ""

    def __init__(self, thresholds: Any = None, class_id: int | None = None, name: str | None = None):
        super().__init__(name if name is not None else self.default_name)
        who = type(self).__name__
        given = thresholds if isinstance(thresholds, list | tuple) else [0.5 if thresholds is None else thresholds]
        if not given:
            raise ArgumentError(f"{who}: expected at least one threshold, got {describe(thresholds)}.")
        self._cuts = [number(who, "every threshold", t, 0, 1) for t in given]
        self.thresholds = thresholds
        self.class_id = None if class_id is None else whole(who, "class_id", class_id, 0)
        self.true_positives = self.add_variable("true_positives", (len(given),))
        self.others = self.add_variable(self._others, (len(given),))

    _others = ""

    def _wrong(self, positive: Tensor, true: Tensor) -> Tensor:
        raise ArgumentError(f"{type(self).__name__}: define _wrong.")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in a batch.

        Args:
            y_true: 0 or 1, or one-hot rows.
            y_pred: probabilities, of the same shape.
            sample_weight: a weight for each sample, or None.
        """
        true, pred, weight = (
            expand_dims(t, 0) for t in _outcomes(self.name, y_true, y_pred, sample_weight, self.class_id)
        )
        cuts = expand_dims(as_tensor(np.asarray(self._cuts, pred.dtype.numpy)), 1)
        positive = e.astype(pred > cuts, pred.dtype)
        accumulate(self.true_positives, r.sum(positive * true * weight, 1))
        accumulate(self.others, r.sum(self._wrong(positive, true) * weight, 1))

    def result(self) -> Tensor:
        right, wrong = self.true_positives.value, self.others.value
        out = e.astype(ratio(right, right + wrong), dtypes.float32)
        return out if isinstance(self.thresholds, list | tuple) else out[0]


@register
class Precision(_Thresholded):
    """Share of the samples called positive that are: ``TP / (TP + FP)``; 0 if none is called so.

    Args:
        thresholds: from where a prediction counts as positive, 0.5 by default; a list gives one result for each.
        class_id: look at one class of several outputs.
        name: its name in histories.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> from ranvier import metrics
        >>> metrics.Precision()([1, 0, 1, 0], [0.9, 0.8, 0.2, 0.1]).item()
        0.5
    """

    default_name, _others = "precision", "false_positives"

    def _wrong(self, positive: Tensor, true: Tensor) -> Tensor:
        return positive * (1 - true)


@register
class Recall(_Thresholded):
    """Share of the positive samples that are called so: ``TP / (TP + FN)``; 0 if there are none.

    Args:
        thresholds: from where a prediction counts as positive, 0.5 by default; a list gives one result for each.
        class_id: look at one class of several outputs.
        name: its name in histories.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> from ranvier import metrics
        >>> metrics.Recall()([1, 0, 1, 1], [0.9, 0.8, 0.8, 0.1]).item()
        0.6666666865348816
    """

    default_name, _others = "recall", "false_negatives"

    def _wrong(self, positive: Tensor, true: Tensor) -> Tensor:
        return (1 - positive) * true


@register
class AUC(Metric):
    """The area under the ROC curve (true against false positive rate), or under precision against recall.

    The curve is taken at ``num_thresholds`` evenly spaced thresholds, as in Keras: predictions are counted in the
    buckets between them, and ``result`` sums the buckets from above.

    Args:
        num_thresholds: how many, at least 2; two of them lie just outside [0, 1].
        curve: "ROC" or "PR".
        summation_method: height of the curve between thresholds: "interpolation", "minoring" or "majoring".
        name: its name in histories.
        from_logits: whether predictions are logits.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> from ranvier import metrics
        >>> metrics.AUC()([0, 0, 1, 1], [0.0, 0.5, 0.3, 0.9]).item()
        0.75
    """

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = "auc",
        from_logits: bool = False,
    ):
        super().__init__(name)
        self.num_thresholds = whole("AUC", "num_thresholds", num_thresholds, 2)
        for what, value, legal in (
            ("curve", curve, ("ROC", "PR")),
            ("summation_method", summation_method, ("interpolation", "minoring", "majoring")),
        ):
            if value not in legal:
                raise ArgumentError(f"AUC: expected {what} to be one of {', '.join(legal)}, got {describe(value)}.")
        self.curve, self.summation_method = curve, summation_method
        self.from_logits = bool(from_logits)
        self.positives = self.add_variable("positives", (num_thresholds,))
        self.negatives = self.add_variable("negatives", (num_thresholds,))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in a batch.

        Args:
            y_true: 0 or 1.
            y_pred: probabilities (or logits), of the same shape.
            sample_weight: a weight for each sample, or None.
        """
        if self.from_logits:
            y_pred = e.sigmoid(y_pred)
        true, pred, weight = _outcomes(self.name, y_true, y_pred, sample_weight)
        last = self.num_thresholds - 1
        # Bucket k lies above threshold k: its numbers are positive at thresholds 0 to k.
        bucket = e.astype(e.clip(e.ceil(e.clip(pred, 0, 1) * float(last)) - 1, 0, last - 1), dtypes.int64)
        for state, share in ((self.positives, true), (self.negatives, 1 - true)):
            accumulate(state, scatter_add(zeros(self.num_thresholds, weight.dtype), bucket, weight * share))

    def result(self) -> Tensor:
        place = np.arange(self.num_thresholds)
        reach = as_tensor(place[:, None] <= place[None, :])
        tp, fp = (r.sum(e.where(reach, v.value, 0), 1) for v in (self.positives, self.negatives))
        recall = ratio(tp, tp[:1])
        if self.curve == "ROC":
            area = self._area(ratio(fp, fp[:1]), recall)
        elif self.summation_method == "interpolation":
            area = _interpolated_pr(tp, fp)
        else:
            area = self._area(recall, ratio(tp, tp + fp))
        return e.astype(area, dtypes.float32)

    def _area(self, x: Tensor, y: Tensor) -> Tensor:
        left, right = y[:-1], y[1:]
        if self.summation_method == "interpolation":
            height = (left + right) / 2.0
        else:
            height = (e.minimum if self.summation_method == "minoring" else e.maximum)(left, right)
        return r.sum((x[:-1] - x[1:]) * height)


def _interpolated_pr(tp: Tensor, fp: Tensor) -> Tensor:
    """Area under precision-recall, true positives linear in positives between thresholds (Davis, Goadrich, 2006)."""
    p = tp + fp
    slope = ratio(tp[:-1] - tp[1:], e.maximum(p[:-1] - p[1:], 0))
    intercept = tp[1:] - slope * p[1:]
    both = e.logical_and(p[:-1] > 0, p[1:] > 0)
    growth = e.where(both, ratio(p[:-1], p[1:]), 1)
    return r.sum(ratio(slope * (tp[:-1] - tp[1:] + intercept * e.log(growth)), tp[:1]))


@register
class ConfusionMatrix(Metric):
    """Counts of true classes (rows) against predicted ones (columns).

    Args:
        num_classes: how many classes, at least 2.
        name: its name in histories.

    Shape:
        y_true: labels ``(batch,)`` or one-hot ``(batch, classes)``. y_pred: labels ``(batch,)``, scores
        ``(batch, classes)``, or for two classes the probability of the second, ``(batch, 1)``. The result is
        ``(classes, classes)``.

    Raises:
        ArgumentError: num_classes is no integer above 1.
        DataError: a label is out of range (eager).
        ShapeError: shapes do not fit.

    Example:
        >>> from ranvier import metrics
        >>> metrics.ConfusionMatrix(2)([0, 1, 1], [0, 1, 0]).tolist()
        [[1.0, 0.0], [1.0, 1.0]]
    """

    def __init__(self, num_classes: int, name: str | None = "confusion_matrix"):
        super().__init__(name)
        self.num_classes = whole("ConfusionMatrix", "num_classes", num_classes, 2)
        self.counts = self.add_variable("counts", (self.num_classes, self.num_classes))

    def _classes(self, what: str, value: Any) -> Tensor:
        t, n = as_tensor(value), self.num_classes
        if t.ndim == 2 and t.shape[1] == n:
            return r.argmax(t, 1)
        if t.ndim == 2 and t.shape[1] == 1:
            t = reshape(t, t.shape[:1])
        if t.ndim != 1:
            raise ShapeError(f"{self.name}: expected {what} of shape (batch,) or (batch, {n}), got {t.shape}.")
        if t.dtype.is_float:
            if n != 2:
                raise ShapeError(
                    f"{self.name}: expected integer labels or {n} scores in {what}, got {t.dtype} {t.shape}."
                )
            return e.astype(t > 0.5, dtypes.int64)
        if t._data is not None and t.size and (int(t._data.min()) < 0 or int(t._data.max()) >= n):
            low, high = int(t._data.min()), int(t._data.max())
            bad = low if low < 0 else high
            raise DataError(f"{self.name}: expected labels from 0 to {n - 1} in {what}, got {bad}.")
        return e.astype(t, dtypes.int64)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in a batch.

        Args:
            y_true: labels or one-hot rows.
            y_pred: labels, scores or probabilities.
            sample_weight: a weight for each sample, or None.
        """
        true, pred = self._classes("y_true", y_true), self._classes("y_pred", y_pred)
        if true.shape != pred.shape:
            raise ShapeError(f"{self.name}: expected {true.shape[0]} predictions, one a label, got {pred.shape[0]}.")
        one = floats(as_tensor(np.ones(true.shape, np.float32)))
        weight = one if sample_weight is None else fitted_weights(self.name, sample_weight, true.shape, one)
        n = self.num_classes
        flat = scatter_add(zeros(n * n), true * n + pred, weight)
        accumulate(self.counts, reshape(flat, (n, n)))

    def result(self) -> Tensor:
        return e.astype(self.counts.value, dtypes.float32)
