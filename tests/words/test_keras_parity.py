"""The same numbers as Keras 3 where Keras is installed: activations, losses, optimizers, schedules, metrics, layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import activations, layers, losses, metrics, optimizers
from ranvier.optimizers import schedules

from .keras_peer import array, compare, keras

pytestmark = pytest.mark.filterwarnings("ignore")

N, CLASSES = 40, 5


def close(ours: Any, theirs: Any, tolerance: float = 2e-6) -> bool:
    return np.allclose(array(ours), array(theirs), rtol=10 * tolerance, atol=tolerance)


@pytest.mark.parametrize("name", activations.names())
def test_activations(name: str, rng: np.random.Generator) -> None:
    if not hasattr(keras.activations, name):
        assert name == "step"
        return
    x = (rng.normal(size=(6, 7)) * 3).astype(np.float32)
    assert close(activations.get(name)(x), getattr(keras.activations, name)(x))


def draw(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    z = rng.normal(size=(N, CLASSES)).astype(np.float32)
    labels = rng.integers(0, CLASSES, N)
    rows = np.eye(CLASSES, dtype=np.float32)[labels]
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    w = rng.uniform(0.5, 2, N).astype(np.float32)
    bits = (z + rng.normal(size=z.shape) > 0).astype(np.float32)
    return {
        "real": (rows * 3, z), "labels": (labels, p), "label logits": (labels, z), "rows": (rows, p),
        "row logits": (rows, z), "bits": (bits, 1 / (1 + np.exp(-z))), "bit logits": (bits, z),
        "binary": (bits[:, 0], 1 / (1 + np.exp(-z[:, 0]))),
    }[kind] + (w,)  # fmt: skip


LOSSES: list[tuple[str, dict[str, Any], str]] = [
    ("MeanSquaredError", {}, "real"),
    ("MeanAbsoluteError", {}, "real"),
    ("Huber", {}, "real"),
    ("Huber", {"delta": 0.5}, "real"),
    ("BinaryCrossentropy", {}, "bits"),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "bit logits"),
    ("BinaryCrossentropy", {"label_smoothing": 0.1}, "bits"),
    ("CategoricalCrossentropy", {}, "rows"),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "row logits"),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, "rows"),
    ("SparseCategoricalCrossentropy", {}, "labels"),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, "label logits"),
]


@pytest.mark.parametrize("name, options, kind", LOSSES, ids=range(len(LOSSES)))
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "none"])
def test_losses(name: str, options: dict[str, Any], kind: str, reduction: str, rng: np.random.Generator) -> None:
    y, p, w = draw(kind, rng)
    ours = getattr(losses, name)(**options, reduction=reduction)
    theirs = getattr(keras.losses, name)(**options, reduction=reduction)
    assert close(ours(y, p), theirs(y, p), 1e-5)
    assert close(ours(y, p, w), theirs(y, p, w), 1e-5)
    assert ours.name == theirs.name


METRICS: list[tuple[str, dict[str, Any], str]] = [
    ("Accuracy", {}, "rows"),
    ("BinaryAccuracy", {}, "bits"),
    ("BinaryAccuracy", {"threshold": 0.3}, "binary"),
    ("CategoricalAccuracy", {}, "rows"),
    ("SparseCategoricalAccuracy", {}, "labels"),
    ("TopKCategoricalAccuracy", {"k": 2}, "rows"),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, "labels"),
    ("MeanSquaredError", {}, "real"),
    ("RootMeanSquaredError", {}, "real"),
    ("MeanAbsoluteError", {}, "real"),
    ("R2Score", {}, "real"),
    ("R2Score", {"class_aggregation": "variance_weighted_average"}, "real"),
    ("Precision", {}, "bits"),
    ("Precision", {"thresholds": [0.3, 0.6]}, "binary"),
    ("Precision", {"class_id": 2, "thresholds": 0.3}, "rows"),
    ("Recall", {}, "binary"),
    ("AUC", {}, "binary"),
    ("AUC", {"num_thresholds": 30, "summation_method": "minoring"}, "binary"),
    ("AUC", {"num_thresholds": 30, "summation_method": "majoring"}, "bits"),
    ("AUC", {"curve": "PR"}, "binary"),
    ("AUC", {"curve": "PR", "summation_method": "majoring"}, "bits"),
]


@pytest.mark.parametrize("name, options, kind", METRICS, ids=range(len(METRICS)))
def test_metrics(name: str, options: dict[str, Any], kind: str, rng: np.random.Generator) -> None:
    y, p, w = draw(kind, rng)
    ours, theirs = getattr(metrics, name)(**options), getattr(keras.metrics, name)(**options)
    assert ours.name.split("_")[0] == theirs.name.split("_")[0]
    for batch, weights in ((slice(0, 30), None), (slice(30, N), w[30:])):
        ours.update_state(y[batch], p[batch], weights)
        theirs.update_state(y[batch], p[batch], weights)
        assert close(ours.result(), theirs.result(), 1e-5)


OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("RMSprop", {}),
    ("RMSprop", {"learning_rate": 0.1, "momentum": 0.5, "centered": True, "rho": 0.8}),
    ("Adagrad", {"learning_rate": 0.1}),
    ("Adam", {}),
    ("Adam", {"learning_rate": 0.1, "amsgrad": True, "beta_1": 0.8, "epsilon": 1e-3}),
    ("Adam", {"learning_rate": 0.1, "clipnorm": 0.5}),
    ("Adam", {"learning_rate": 0.1, "clipvalue": 0.5}),
    ("Adam", {"learning_rate": 0.1, "global_clipnorm": 0.5}),
    ("AdamW", {}),
    ("AdamW", {"learning_rate": 0.1, "weight_decay": 0.3}),
]


@pytest.mark.parametrize("name, options", OPTIMIZERS, ids=range(len(OPTIMIZERS)))
def test_optimizers(name: str, options: dict[str, Any], rng: np.random.Generator) -> None:
    start = [rng.normal(size=s).astype(np.float32) for s in ((3, 4), (4,))]
    ours, theirs = getattr(optimizers, name)(**options), getattr(keras.optimizers, name)(**options)
    mine, other = [rv.Variable(w) for w in start], [keras.Variable(w) for w in start]
    for _ in range(6):
        grads = [rng.normal(size=w.shape).astype(np.float32) for w in start]
        ours.apply(grads, mine)
        theirs.apply([keras.ops.convert_to_tensor(g) for g in grads], other)
    for a, b in zip(mine, other, strict=True):
        assert close(a.numpy(), b, 2e-5)


SCHEDULES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("ExponentialDecay", (0.5, 10, 0.9), {}),
    ("ExponentialDecay", (0.5, 10, 0.9), {"staircase": True}),
    ("InverseTimeDecay", (0.5, 10, 0.9), {}),
    ("PolynomialDecay", (0.5, 10), {"power": 2.0}),
    ("PolynomialDecay", (0.5, 10), {"cycle": True}),
    ("CosineDecay", (0.5, 10), {"alpha": 0.1}),
    ("CosineDecay", (0.1, 10), {"warmup_target": 0.5, "warmup_steps": 5}),
    ("PiecewiseConstantDecay", ([10, 20], [0.5, 0.2, 0.1]), {}),
]


@pytest.mark.parametrize("name, arguments, options", SCHEDULES, ids=range(len(SCHEDULES)))
def test_schedules(name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    ours = getattr(schedules, name)(*arguments, **options)
    theirs = getattr(keras.optimizers.schedules, name)(*arguments, **options)
    for t in (0, 1, 4, 5, 9, 10, 11, 20, 21, 50):
        assert close(ours(rv.tensor(t)), theirs(t)), t


def test_layers(rng: np.random.Generator) -> None:
    x = rng.normal(size=(6, 4, 3)).astype(np.float32)
    for name, options in (
        ("Dense", {"units": 5, "activation": "gelu"}), ("Flatten", {}), ("Reshape", {"target_shape": (3, -1)}),
        ("Rescaling", {"scale": 2.0, "offset": 1.0}), ("Activation", {"activation": "elu"}), ("Dropout", {"rate": 0.5}),
    ):  # fmt: skip
        ours, theirs = getattr(layers, name)(**options), getattr(keras.layers, name)(**options)
        theirs(x)
        ours(x)
        ours.set_weights(theirs.get_weights())
        assert close(ours(x), theirs(x), 1e-5)
        assert ours.compute_output_shape((None, 4, 3)) == theirs.compute_output_shape((None, 4, 3))
        assert [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]
    ours, theirs = layers.Normalization(), keras.layers.Normalization()
    ours.adapt(x)
    theirs.adapt(x)
    assert close(ours(x), theirs(x), 1e-5)


def test_constructor_names_and_defaults_are_those_of_keras() -> None:
    """Every argument we have in common with Keras has its default; ours are a subset but for a few with a reason."""
    import inspect

    ours_only = {
        ("InputLayer", "dtype"), ("MeanMetricWrapper", "fn"), ("BinaryAccuracy", "threshold"),
        ("LSTM", "separate_bias"), ("LSTMCell", "separate_bias"),
    }  # fmt: skip
    checked = 0
    for ours, theirs in (
        (layers, keras.layers), (losses, keras.losses), (optimizers, keras.optimizers), (metrics, keras.metrics),
        (schedules, keras.optimizers.schedules), (rv.initializers, keras.initializers),
        (rv.regularizers, keras.regularizers),
    ):  # fmt: skip
        for name in ours.names():
            if not hasattr(theirs, name) or not getattr(ours, name, None):
                continue
            mine = inspect.signature(getattr(ours, name).__init__).parameters
            keras_names = inspect.signature(getattr(theirs, name).__init__).parameters
            for key, parameter in mine.items():
                if parameter.kind is parameter.VAR_KEYWORD or key == "self":
                    continue
                assert key in keras_names or (name, key) in ours_only, (name, key)
                if key not in keras_names:
                    continue
                default = keras_names[key].default
                if default is not inspect.Parameter.empty and key != "name" and isinstance(default, (int, float, str)):
                    assert parameter.default == default, (name, key)
                    checked += 1
    assert checked > 50


def test_gradients_of_layers(rng: np.random.Generator) -> None:
    """Both sides sum at most 12 products of single precision, forward and back."""
    x = rng.normal(size=(6, 12)).astype(np.float32)
    for options in ({"units": 5, "activation": "gelu"}, {"units": 3, "use_bias": False}):
        compare(layers.Dense(**options), keras.layers.Dense(**options), x, rng, 8 * 2.0**-24 * 12**0.5)
