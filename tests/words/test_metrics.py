"""Metrics against scikit-learn and plain counting: over batches, with weights, compiled, after a reset."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

import ranvier as rv
from ranvier import losses, metrics
from ranvier.errors import ArgumentError, DataError, DTypeError, ShapeError
from ranvier.jit import jit

N, CLASSES = 60, 6


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(CLASSES, dtype=np.float32)[labels]


def draw(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Truth and predictions of N samples."""
    if kind == "real":
        y = rng.normal(size=(N, 3)).astype(np.float32) * [1, 5, 2] + [0, 3, 100]
        return y.astype(np.float32), (y + rng.normal(size=(N, 3))).astype(np.float32)
    if kind == "bits":
        y = rng.integers(0, 2, N)
        y[:2] = 0, 1
        p = np.clip(y * 0.3 + rng.uniform(0, 0.7, N), 0, 1)
        return y, (np.round(p * 50) / 50).astype(np.float32)  # with ties
    labels = rng.integers(0, CLASSES, N)
    scores = rng.normal(size=(N, CLASSES)).astype(np.float32) + one_hot(labels)
    return (labels if kind == "labels" else one_hot(labels)), scores


def top_k(y: np.ndarray, p: np.ndarray, w: Any, k: int) -> float:
    labels = y if y.ndim == 1 else y.argmax(1)
    return float(sk.top_k_accuracy_score(labels, p, k=k, sample_weight=w, labels=range(CLASSES)))


def r2(y: np.ndarray, p: np.ndarray, w: Any, how: str = "uniform_average") -> Any:
    return sk.r2_score(y, p, sample_weight=w, multioutput=how)


def adjusted(y: np.ndarray, p: np.ndarray, w: Any) -> float:
    return float(1 - (1 - r2(y, p, w)) * (N - 1) / (N - 3))


def thresholded_auc(y: np.ndarray, p: np.ndarray, w: Any, n: int = 200) -> float:
    """Trapezoids under the ROC points of n evenly spaced thresholds."""
    w = np.ones(len(y)) if w is None else w
    cuts = np.array([-1e-7, *(np.arange(1, n - 1) / (n - 1)), 1 + 1e-7])
    above = p.astype(np.float64)[None] > cuts[:, None]
    tpr, fpr = (above @ (w * y)) / (w * y).sum(), (above @ (w * (1 - y))) / (w * (1 - y)).sum()
    return float(((fpr[:-1] - fpr[1:]) * (tpr[:-1] + tpr[1:]) / 2).sum())


def hits(y: np.ndarray, p: np.ndarray, w: Any) -> float:
    return float(sk.accuracy_score(y if y.ndim == 1 else y.argmax(1), p.argmax(1), sample_weight=w))


# name -> (metric, kind of data, truth of (y, p, weights))
CASES: dict[str, tuple[Any, str, Any]] = {
    "Mean": (lambda: metrics.MeanMetricWrapper(lambda y, p: p), "bits", lambda y, p, w: np.average(p, weights=w)),
    "MeanMetricWrapper": (
        lambda: metrics.MeanMetricWrapper(losses.Huber(2.0)), "real",
        lambda y, p, w: np.average(
            np.where(abs(y - p) < 2, (y - p) ** 2 / 2, 2 * abs(y - p) - 2).mean(1), weights=w
        ),
    ),
    "Accuracy": (metrics.Accuracy, "bits", lambda y, p, w: np.average(y == p, weights=w)),
    "BinaryAccuracy": (metrics.BinaryAccuracy, "bits", lambda y, p, w: sk.accuracy_score(y, p > 0.5, sample_weight=w)),
    "BinaryAccuracy-cut": (
        lambda: metrics.BinaryAccuracy(threshold=0.3), "bits",
        lambda y, p, w: sk.accuracy_score(y, p > np.float32(0.3), sample_weight=w),
    ),
    "CategoricalAccuracy": (metrics.CategoricalAccuracy, "rows", hits),
    "SparseCategoricalAccuracy": (metrics.SparseCategoricalAccuracy, "labels", hits),
    "TopKCategoricalAccuracy": (metrics.TopKCategoricalAccuracy, "rows", lambda y, p, w: top_k(y, p, w, 5)),
    "TopKCategoricalAccuracy-2": (
        lambda: metrics.TopKCategoricalAccuracy(2), "rows", lambda y, p, w: top_k(y, p, w, 2),
    ),
    "SparseTopKCategoricalAccuracy": (
        lambda: metrics.SparseTopKCategoricalAccuracy(3), "labels", lambda y, p, w: top_k(y, p, w, 3),
    ),
    "MeanSquaredError": (
        metrics.MeanSquaredError, "real", lambda y, p, w: sk.mean_squared_error(y, p, sample_weight=w),
    ),
    "RootMeanSquaredError": (
        metrics.RootMeanSquaredError, "real", lambda y, p, w: np.sqrt(sk.mean_squared_error(y, p, sample_weight=w)),
    ),
    "MeanAbsoluteError": (
        metrics.MeanAbsoluteError, "real", lambda y, p, w: sk.mean_absolute_error(y, p, sample_weight=w),
    ),
    "R2Score": (metrics.R2Score, "real", r2),
    "R2Score-each": (lambda: metrics.R2Score(None), "real", lambda y, p, w: r2(y, p, w, "raw_values")),
    "R2Score-variance": (
        lambda: metrics.R2Score("variance_weighted_average"), "real", lambda y, p, w: r2(y, p, w, "variance_weighted"),
    ),
    "R2Score-adjusted": (lambda: metrics.R2Score(num_regressors=2), "real", adjusted),
    "Precision": (metrics.Precision, "bits", lambda y, p, w: sk.precision_score(y, p > 0.5, sample_weight=w)),
    "Recall": (metrics.Recall, "bits", lambda y, p, w: sk.recall_score(y, p > 0.5, sample_weight=w)),
    "Precision-cuts": (
        lambda: metrics.Precision(thresholds=[0.25, 0.75]), "bits",
        lambda y, p, w: [sk.precision_score(y, p > t, sample_weight=w) for t in (0.25, 0.75)],
    ),
    "Recall-class": (
        lambda: metrics.Recall(0.0, class_id=1), "rows",
        lambda y, p, w: sk.recall_score(y[:, 1], p[:, 1] > 0, sample_weight=w),
    ),
    "AUC": (metrics.AUC, "bits", thresholded_auc),
    "AUC-10": (lambda: metrics.AUC(10), "bits", lambda y, p, w: thresholded_auc(y, p, w, 10)),
    "ConfusionMatrix": (
        lambda: metrics.ConfusionMatrix(CLASSES), "labels",
        lambda y, p, w: sk.confusion_matrix(y, p.argmax(1), labels=range(CLASSES), sample_weight=w),
    ),
    "ConfusionMatrix-rows": (
        lambda: metrics.ConfusionMatrix(CLASSES), "rows",
        lambda y, p, w: sk.confusion_matrix(y.argmax(1), p.argmax(1), labels=range(CLASSES), sample_weight=w),
    ),
    "ConfusionMatrix-binary": (
        lambda: metrics.ConfusionMatrix(2), "bits", lambda y, p, w: sk.confusion_matrix(y, p > 0.5, sample_weight=w),
    ),
}  # fmt: skip
EACH = pytest.mark.parametrize("name", CASES)
BATCHES = (slice(0, 25), slice(25, 26), slice(26, N))


def test_every_metric_is_tested_here() -> None:
    assert {name.split("-")[0] for name in CASES} == set(metrics.names())


@EACH
@pytest.mark.parametrize("weighted", [False, True])
def test_values_over_batches(name: str, weighted: bool, rng: np.random.Generator) -> None:
    make, kind, truth = CASES[name]
    y, p = draw(kind, rng)
    w = rng.uniform(0.5, 2, N).astype(np.float32) if weighted else None
    metric = make()
    for batch in BATCHES:
        metric.update_state(y[batch], p[batch], None if w is None else w[batch])
    result = metric.result()
    assert result.dtype is rv.float32
    assert np.allclose(result.numpy(), truth(y, p, w), rtol=1e-5, atol=1e-6)
    metric.reset_state()
    assert all((v.numpy() == 0).all() for v in metric.variables)
    assert np.allclose(metric(y, p, w).numpy(), truth(y, p, w), rtol=1e-5, atol=1e-6)


@EACH
def test_samples_of_weight_zero_have_no_influence(name: str, rng: np.random.Generator) -> None:
    make, kind, truth = CASES[name]
    y, p = draw(kind, rng)
    padded_p = np.concatenate([p, np.full_like(p[:4], np.nan)])
    padded_y = np.concatenate([y, y[:4]])
    w = np.array([1.0] * N + [0.0] * 4)
    metric = make()
    metric.update_state(padded_y, padded_p, w)
    assert np.allclose(metric.result().numpy(), truth(y, p, None), rtol=1e-5, atol=1e-6)


@EACH
def test_compiled_equals_eager(name: str, rng: np.random.Generator) -> None:
    make, kind, _ = CASES[name]
    y, p = draw(kind, rng)
    w = rng.uniform(0.5, 2, N).astype(np.float32)
    eager, compiled = make(), make()
    update, result = jit(lambda *batch: compiled.update_state(*batch)), jit(lambda: compiled.result())
    for batch in (slice(0, 30), slice(30, N)):
        eager.update_state(y[batch], p[batch], w[batch])
        update(y[batch], p[batch], w[batch])
    assert update.traces == 1
    for a, b in zip(eager.variables, compiled.variables, strict=True):
        assert np.allclose(a.numpy(), b.numpy(), rtol=1e-6)
    assert np.allclose(result().numpy(), eager.result().numpy(), rtol=1e-5, atol=1e-6)


@EACH
def test_nothing_seen_yet(name: str) -> None:
    assert (CASES[name][0]().result().numpy() == 0).all()


def test_state_counts_beyond_float32() -> None:
    mean = metrics.Mean()
    mean.update_state([1.0])
    mean.count.assign(2.0**24)
    mean.total.assign(2.0**24)
    mean.update_state([1.0])
    assert mean.count.numpy() == 2**24 + 1


def test_mean_of_more_axes() -> None:
    mean = metrics.Mean()
    assert mean([[1.0, 3.0], [5.0, 7.0]]).item() == 4
    mean.reset_state()
    assert mean([[1.0, 3.0], [5.0, 7.0]], sample_weight=[1.0, 0.0]).item() == 2
    mean.reset_state()
    assert mean([[1.0, 3.0], [5.0, 7.0]], sample_weight=[[1.0, 0.0], [0.0, 1.0]]).item() == 4
    assert mean(10.0).item() == 6


def test_auc_is_close_to_the_exact_area(rng: np.random.Generator) -> None:
    y, p = draw("bits", rng)
    assert abs(metrics.AUC(1000)(y, p).item() - sk.roc_auc_score(y, p)) < 2e-3
    low, high = (metrics.AUC(20, summation_method=m)(y, p).item() for m in ("minoring", "majoring"))
    middle = metrics.AUC(20)(y, p).item()
    assert low < middle < high
    assert np.isclose((low + high) / 2, middle)
    z = np.log((p + 1e-3) / (1 - p + 1e-3))
    assert abs(metrics.AUC(1000, from_logits=True)(y, z).item() - sk.roc_auc_score(y, p)) < 3e-3


def test_auc_of_precision_and_recall(rng: np.random.Generator) -> None:
    y, p = rng.integers(0, 2, 5000), rng.uniform(size=5000)
    p = 0.5 * p + 0.3 * y
    exact = sk.average_precision_score(y, p)
    for method in ("interpolation", "minoring", "majoring"):
        assert abs(metrics.AUC(1000, "PR", method)(y, p).item() - exact) < 0.01


def test_auc_ends() -> None:
    assert metrics.AUC()([0, 1], [0.0, 1.0]).item() == 1
    assert metrics.AUC()([1, 0], [0.0, 1.0]).item() == 0
    assert metrics.AUC()([1, 0], [0.5, 0.5]).item() == 0.5


def test_r2_of_constant_targets_and_large_means(rng: np.random.Generator) -> None:
    assert metrics.R2Score()([2.0, 2.0], [2.0, 2.0]).item() == 1
    assert metrics.R2Score()([2.0, 2.0], [2.0, 3.0]).item() == 0
    y = (1e4 + rng.normal(size=500)).astype(np.float32)
    p = (y + rng.normal(size=500) * 0.5).astype(np.float32)
    assert np.isclose(metrics.R2Score()(y, p).item(), sk.r2_score(y.astype(np.float64), p), rtol=1e-5)
    assert metrics.R2Score(num_regressors=5)([1.0, 2.0], [1.0, 2.5]).item() == 0.5


def test_top_k_with_ties_and_nan() -> None:
    tied = [[0.4, 0.4, 0.2]]
    assert metrics.sparse_top_k_categorical_accuracy([1], tied, 1).tolist() == [1.0]  # as Keras counts
    assert metrics.sparse_top_k_categorical_accuracy([2], tied, 2).tolist() == [0.0]
    assert metrics.sparse_top_k_categorical_accuracy([0], [[np.nan, 0.1, 0.2]], 3).tolist() == [0.0]
    assert metrics.sparse_top_k_categorical_accuracy([[1]], [[0.1, 0.2]], 5).tolist() == [1.0]


def test_what_accuracy_means() -> None:
    for true, pred, kind in (
        ((None,), (None, 1), metrics.BinaryAccuracy),
        ((None, 1), (None, 1), metrics.BinaryAccuracy),
        ((None,), (None,), metrics.BinaryAccuracy),
        ((None,), (None, 10), metrics.SparseCategoricalAccuracy),
        ((None, 1), (None, 10), metrics.SparseCategoricalAccuracy),
        ((None, 10), (None, 10), metrics.CategoricalAccuracy),
        ((None, 5), (None, 5, 10), metrics.SparseCategoricalAccuracy),
    ):
        for name in ("accuracy", "acc"):
            found = metrics.resolve(name, true, pred)
            assert (type(found), found.name) == (kind, name)
    assert metrics.resolve("accuracy", (None,), (None, 1), from_logits=True).threshold == 0
    for true, pred, kind in (
        ((None,), (None, 1), losses.BinaryCrossentropy),
        ((None,), (None, 10), losses.SparseCategoricalCrossentropy),
        ((None, 10), (None, 10), losses.CategoricalCrossentropy),
    ):
        found = metrics.resolve("crossentropy", true, pred, from_logits=True)
        assert (type(found.fn), found.fn.from_logits, found.name) == (kind, True, "crossentropy")
        assert type(metrics.deserialize(metrics.serialize(found)).fn) is kind


def test_resolve_other_names() -> None:
    found = metrics.resolve("mse", (None, 1), (None, 1))
    assert (type(found), found.name) == (metrics.MeanSquaredError, "mse")
    loss = metrics.resolve("huber", (None, 1), (None, 1))
    assert (type(loss.fn), loss.name) == (losses.Huber, "huber")
    mine = metrics.Precision(name="p")
    assert metrics.resolve(mine, (None,), (None, 1)) is mine
    assert metrics.resolve(losses.huber, (None,), (None, 1)).name == "huber"
    with pytest.raises(
        ArgumentError, match=r"unknown metric 'f1'.* Known names: AUC, .* Losses are metrics too: Binary"
    ):
        metrics.resolve("f1", (None,), (None, 1))


def test_get() -> None:
    assert type(metrics.get("auc")) is metrics.AUC
    assert type(metrics.get("AUC")) is metrics.AUC
    assert type(metrics.get(metrics.Recall)) is metrics.Recall
    assert metrics.get(None) is None
    assert metrics.get({"class_name": "AUC", "config": {"num_thresholds": 50}}).num_thresholds == 50
    own = metrics.get(losses.huber)
    assert own([[0.0]], [[1.0]]).item() == 0.5


def test_results_are_not_recorded() -> None:
    w = rv.Variable([[0.5]])
    assert not metrics.MeanSquaredError()([[1.0]], w * 2).requires_grad


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: metrics.SparseCategoricalAccuracy()([1.0], rv.ones((1, 3))), DTypeError, "expected integer class labels"),
    (lambda: metrics.SparseCategoricalAccuracy()([3], rv.ones((1, 3))), DataError, "expected labels from 0 to 2"),
    (lambda: metrics.SparseTopKCategoricalAccuracy()([-1], rv.ones((1, 3))), DataError, "expected labels from 0 to 2"),
    (lambda: metrics.CategoricalAccuracy()([1], rv.ones((1, 3))), ShapeError, "categorical_accuracy: expected y_true"),
    (lambda: metrics.BinaryAccuracy()([1], rv.ones((1, 3))), ShapeError, "binary_accuracy: expected y_true"),
    (lambda: metrics.Accuracy()([1], rv.ones(3)), ShapeError, "accuracy: expected y_true"),
    (lambda: metrics.BinaryAccuracy(threshold="x"), ArgumentError, "BinaryAccuracy: expected threshold to be a finite"),
    (lambda: metrics.TopKCategoricalAccuracy(0), ArgumentError, "TopKCategoricalAccuracy: expected k to be an integer"),
    (lambda: metrics.SparseTopKCategoricalAccuracy(1.5), ArgumentError, "SparseTopKCategoricalAccuracy: expected k"),
    (lambda: metrics.Mean()([1.0, 2.0], [1.0, 2.0, 3.0]), ShapeError, "mean: expected one weight for each"),
    (lambda: metrics.MeanMetricWrapper(3), ArgumentError, "MeanMetricWrapper: expected a function .* got 3"),
    (lambda: metrics.MeanMetricWrapper("x"), ArgumentError, "unknown loss 'x'"),
    (lambda: metrics.Precision(2.0), ArgumentError, "Precision: expected every threshold .* at most 1, got 2.0"),
    (lambda: metrics.Recall([]), ArgumentError, r"Recall: expected at least one threshold, got \[\]"),
    (lambda: metrics.Recall(class_id=-1), ArgumentError, "Recall: expected class_id to be an integer of at least 0"),
    (lambda: metrics.Recall(class_id=3)(rv.ones((2, 3)), rv.ones((2, 3))), ShapeError, "class_id 3 does not exist"),
    (lambda: metrics.Precision()(rv.ones((2, 3)), rv.ones((2, 2))), ShapeError, "precision: expected y_true"),
    (lambda: metrics.AUC(1), ArgumentError, "AUC: expected num_thresholds to be an integer of at least 2, got 1"),
    (lambda: metrics.AUC(curve="X"), ArgumentError, "AUC: expected curve to be one of ROC, PR, got 'X'"),
    (lambda: metrics.AUC(summation_method="x"), ArgumentError, "AUC: expected summation_method to be one of"),
    (lambda: metrics.R2Score("mean"), ArgumentError, "R2Score: expected class_aggregation to be one of"),
    (lambda: metrics.R2Score(num_regressors=-1), ArgumentError, "R2Score: expected num_regressors"),
    (lambda: metrics.R2Score()(rv.ones((2, 3, 4)), rv.ones((2, 3, 4))), ShapeError, r"y_true of shape \(batch, o"),
    (lambda: metrics.ConfusionMatrix(1), ArgumentError, "ConfusionMatrix: expected num_classes to be an"),
    (lambda: metrics.ConfusionMatrix(3)([3], [0]), DataError, "expected labels from 0 to 2 in y_true, got 3"),
    (lambda: metrics.ConfusionMatrix(3)([0], [-1]), DataError, "expected labels from 0 to 2 in y_pred, got -1"),
    (lambda: metrics.ConfusionMatrix(3)([0], [0.5]), ShapeError, r"expected integer labels or 3 scores in y_pred"),
    (lambda: metrics.ConfusionMatrix(3)([0], rv.ones((1, 4))), ShapeError, r"expected y_pred of shape \(batch,\) or"),
    (lambda: metrics.ConfusionMatrix(3)([0, 1], [0]), ShapeError, "expected 2 predictions, one a label, got 1"),
    (lambda: metrics.get(3), ArgumentError, "metric: expected a name, a configuration or an object, got 3"),
    (lambda: metrics.Metric().update_state(), ArgumentError, "Metric: define update_state"),
    (lambda: metrics.Metric().result(), ArgumentError, r"Metric: define result\(self\)"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors(number: int) -> None:
    call, error, text = ERRORS[number]
    with pytest.raises(error, match=text):
        call()


def test_r2_outputs_must_not_change() -> None:
    metric = metrics.R2Score()
    metric.update_state(rv.ones((2, 3)), rv.ones((2, 3)))
    with pytest.raises(ShapeError, match="r2_score: expected 3 outputs, as before, got 2"):
        metric.update_state(rv.ones((2, 2)), rv.ones((2, 2)))
