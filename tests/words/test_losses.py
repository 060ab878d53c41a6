"""Losses against their formulas in float64 and scikit-learn; reductions and weights; gradients to second order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss

import ranvier as rv
from ranvier import losses
from ranvier.errors import ArgumentError, DataError, DTypeError, ShapeError
from ranvier.jit import jit

pytestmark = pytest.mark.smoke

BATCH, CLASSES = 6, 4


def softmax(z: np.ndarray) -> np.ndarray:
    p = np.exp(z - z.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def smooth(y: np.ndarray, amount: float, n: int) -> np.ndarray:
    return y * (1 - amount) + amount / n


def binary(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(-1)


def huber(y: np.ndarray, p: np.ndarray, delta: float) -> np.ndarray:
    d = np.abs(y - p)
    return np.where(d <= delta, d**2 / 2, delta * d - delta**2 / 2).mean(-1)


# name -> (loss, formula of (y, scores), what y is, what scores become before the loss)
CASES: dict[str, tuple[losses.Loss, Any, str, Any]] = {
    "mse": (losses.MeanSquaredError(), lambda y, p: ((y - p) ** 2).mean(-1), "real", None),
    "mae": (losses.MeanAbsoluteError(), lambda y, p: np.abs(y - p).mean(-1), "real", None),
    "huber": (losses.Huber(), lambda y, p: huber(y, p, 1.0), "real", None),
    "huber-2": (losses.Huber(delta=0.3), lambda y, p: huber(y, p, 0.3), "real", None),
    "bce": (losses.BinaryCrossentropy(), lambda y, z: binary(y, sigmoid(z)), "bits", sigmoid),
    "bce-logits": (losses.BinaryCrossentropy(from_logits=True), lambda y, z: binary(y, sigmoid(z)), "bits", None),
    "bce-smooth": (
        losses.BinaryCrossentropy(label_smoothing=0.2), lambda y, z: binary(smooth(y, 0.2, 2), sigmoid(z)),
        "bits", sigmoid,
    ),
    "bce-logits-smooth": (
        losses.BinaryCrossentropy(True, 0.2), lambda y, z: binary(smooth(y, 0.2, 2), sigmoid(z)), "bits", None,
    ),
    "cce": (losses.CategoricalCrossentropy(), lambda y, z: -(y * np.log(softmax(z))).sum(-1), "rows", softmax),
    "cce-logits": (losses.CategoricalCrossentropy(True), lambda y, z: -(y * np.log(softmax(z))).sum(-1), "rows", None),
    "cce-smooth": (
        losses.CategoricalCrossentropy(False, 0.1),
        lambda y, z: -(smooth(y, 0.1, CLASSES) * np.log(softmax(z))).sum(-1), "rows", softmax,
    ),
    "cce-logits-smooth": (
        losses.CategoricalCrossentropy(True, 0.1),
        lambda y, z: -(smooth(y, 0.1, CLASSES) * np.log(softmax(z))).sum(-1), "rows", None,
    ),
    "scce": (
        losses.SparseCategoricalCrossentropy(),
        lambda y, z: -np.log(np.take_along_axis(softmax(z), y[:, None], 1)[:, 0]), "labels", softmax,
    ),
    "scce-logits": (
        losses.SparseCategoricalCrossentropy(from_logits=True),
        lambda y, z: -np.log(np.take_along_axis(softmax(z), y[:, None], 1)[:, 0]), "labels", None,
    ),
}  # fmt: skip
EACH = pytest.mark.parametrize("name", CASES)


def targets(kind: str, rng: np.random.Generator) -> np.ndarray:
    if kind == "real":
        return rng.normal(size=(BATCH, CLASSES))
    if kind == "bits":
        return rng.integers(0, 2, (BATCH, CLASSES)).astype(np.float64)
    labels = rng.integers(0, CLASSES, BATCH)
    return np.eye(CLASSES)[labels] if kind == "rows" else labels


def data(name: str, rng: np.random.Generator, spread: float = 2) -> tuple[Any, ...]:
    loss, formula, kind, link = CASES[name]
    y, z = targets(kind, rng), rng.normal(size=(BATCH, CLASSES)) * spread
    return loss, y, z if link is None else link(z), formula(y, z)


def test_every_loss_is_tested_here() -> None:
    assert {type(case[0]).__name__ for case in CASES.values()} == set(losses.names())


@EACH
def test_values(name: str, rng: np.random.Generator) -> None:
    loss, y, p, expected = data(name, rng)
    assert np.allclose(loss.call(y, p).numpy(), expected, rtol=1e-9)
    assert np.isclose(loss(y, p).item(), expected.mean(), rtol=1e-9)
    single = loss(y.astype(np.float32) if y.dtype == np.float64 else y, p.astype(np.float32))
    assert single.dtype is rv.float32
    assert np.isclose(single.item(), expected.mean(), rtol=1e-5)


@EACH
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "none", None])
def test_reductions_and_weights(name: str, reduction: str | None, rng: np.random.Generator) -> None:
    loss, y, p, expected = data(name, rng)
    config = {**loss.get_config(), "reduction": reduction}
    loss = type(loss).from_config(config)
    w = rng.uniform(0.5, 2, BATCH)
    w[2] = 0
    for weights, values, count in (
        (None, expected, BATCH),
        (w, expected * w, BATCH - 1),
        (w[:, None], expected * w, BATCH - 1),
    ):
        out = loss(y, p, weights).numpy()
        wanted = {"sum_over_batch_size": values.sum() / count, "sum": values.sum()}.get(str(reduction), values)
        assert np.allclose(out, wanted, rtol=1e-9)


@EACH
def test_samples_of_weight_zero_have_no_influence(name: str, rng: np.random.Generator) -> None:
    loss, y, p, expected = data(name, rng)
    rows = [np.concatenate([a, a[:2]]) for a in (y, p)]
    rows[1][-1] = np.nan
    w = np.array([1.0] * BATCH + [0.0, 0.0])
    assert np.isclose(loss(rows[0], rows[1], w).item(), expected.mean(), rtol=1e-9)
    rows[1][-1] = p[0]
    slope = rv.grad(lambda t: loss(rows[0], t, w))(rv.tensor(rows[1])).numpy()
    assert (slope[-2:] == 0).all()
    assert np.allclose(slope[:-2], rv.grad(lambda t: loss(y, t))(rv.tensor(p)).numpy())
    assert loss(y, p, np.zeros(BATCH)).item() == 0


@EACH
def test_gradients(name: str, rng: np.random.Generator) -> None:
    loss, y, p, _ = data(name, rng, 0.7)  # probabilities near 0 would need smaller steps than 1e-5
    rv.check_gradients(lambda t: loss.call(y, t), p, order=2)
    if CASES[name][2] == "real":
        rv.check_gradients(lambda t: loss.call(t, p), y)


@EACH
def test_compiled_equals_eager(name: str, rng: np.random.Generator) -> None:
    loss, y, p, _ = data(name, rng)
    y = y.astype(np.float32) if y.dtype == np.float64 else y
    p, w = p.astype(np.float32), np.linspace(0, 1, BATCH, dtype=np.float32)

    def step(y: Any, p: Any, w: Any) -> Any:
        return rv.value_and_grad(lambda t: loss(y, t, w))(p)

    for a, b in zip(step(rv.tensor(y), rv.tensor(p), rv.tensor(w)), jit(step)(y, p, w), strict=True):
        assert np.allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)


def test_logits_and_probabilities_agree_in_gradient(rng: np.random.Generator) -> None:
    z, labels = rng.normal(size=(BATCH, CLASSES)), rng.integers(0, CLASSES, BATCH)
    rows = np.eye(CLASSES)[labels]
    expected = (softmax(z) - rows) / BATCH
    ways = [
        lambda t: losses.SparseCategoricalCrossentropy(True)(labels, t),
        lambda t: losses.SparseCategoricalCrossentropy()(labels, rv.exp(t) / rv.sum(rv.exp(t), -1, True)),
        lambda t: losses.CategoricalCrossentropy(True)(rows, t),
        lambda t: losses.CategoricalCrossentropy()(rows, rv.exp(t) / rv.sum(rv.exp(t), -1, True)),
    ]
    for way in ways:
        assert np.allclose(rv.grad(way)(rv.tensor(z)).numpy(), expected, rtol=1e-9)


def test_against_scikit_learn(rng: np.random.Generator) -> None:
    p, labels = softmax(rng.normal(size=(50, CLASSES))), np.arange(50) % CLASSES
    assert np.isclose(losses.SparseCategoricalCrossentropy()(labels, p).item(), log_loss(labels, p))
    q, bits = sigmoid(rng.normal(size=50)), np.arange(50) % 2
    assert np.isclose(losses.BinaryCrossentropy()(bits, q).item(), log_loss(bits, q))


def test_extreme_logits_are_finite() -> None:
    z = rv.tensor([[1e4, -1e4, 0.0], [-1e30, 1e30, 0.0]])
    for loss, y, value in (
        (losses.SparseCategoricalCrossentropy(True), [1, 1], 1e4),
        (losses.CategoricalCrossentropy(True), [[0.0, 1, 0], [0, 1, 0]], 1e4),
        (losses.BinaryCrossentropy(True), [[0.0, 1, 0], [0, 1, 0]], None),
    ):
        out, slope = rv.value_and_grad(lambda t, loss=loss, y=y: loss(y, t))(z)
        assert np.isfinite(out.item())
        assert np.isfinite(slope.numpy()).all()
        if value:
            assert np.isclose(out.item(), value, rtol=1e-3)


def test_certain_probabilities_are_clipped() -> None:
    for loss, y in ((losses.SparseCategoricalCrossentropy(), [1]), (losses.CategoricalCrossentropy(), [[0.0, 1.0]])):
        assert np.isclose(loss(y, [[1.0, 0.0]]).item(), -math.log(1e-7), rtol=1e-4)
        assert 0 <= loss(y, [[0.0, 1.0]]).item() < 2e-7
    assert np.isclose(losses.BinaryCrossentropy()([[1.0]], [[0.0]]).item(), -math.log(1e-7), rtol=1e-4)
    assert np.isfinite(losses.BinaryCrossentropy()([[0.0]], [[1.0]]).item())


def test_binary_slope_at_zero_logit() -> None:
    loss = losses.BinaryCrossentropy(from_logits=True)
    assert rv.grad(lambda z: loss([[1.0], [0.0]], z))(rv.zeros((2, 1))).tolist() == [[-0.25], [0.25]]


def test_shapes_that_may_differ(rng: np.random.Generator) -> None:
    y, p = rng.normal(size=5), rng.normal(size=5)
    expected = ((y - p) ** 2).tolist()
    for a, b in ((y, p), (y[:, None], p), (y, p[:, None]), (y[:, None], p[:, None])):
        assert np.allclose(losses.mean_squared_error(a, b).numpy(), expected)
    z = rng.normal(size=(5, 3))
    a, b = (
        losses.sparse_categorical_crossentropy([0, 1, 2, 0, 1], z, True),
        losses.sparse_categorical_crossentropy(np.array([[0], [1], [2], [0], [1]], np.uint8), z, True),
    )
    assert np.array_equal(a.numpy(), b.numpy())
    assert np.allclose(losses.sparse_categorical_crossentropy([True], [[0.0, 0.0]], True).numpy(), [math.log(2)])


def test_sequences(rng: np.random.Generator) -> None:
    z, labels = rng.normal(size=(2, 5, 3)), rng.integers(0, 3, (2, 5))
    expected = -np.log(np.take_along_axis(softmax(z), labels[..., None], -1)[..., 0])
    assert np.allclose(losses.sparse_categorical_crossentropy(labels, z, True).numpy(), expected)
    assert np.allclose(losses.SparseCategoricalCrossentropy(True)(labels, z).item(), expected.mean())
    w = np.array([1.0, 0.0])  # a weight for each sequence
    assert np.allclose(losses.SparseCategoricalCrossentropy(True)(labels, z, w).item(), expected[0].mean())
    assert np.allclose(losses.MeanSquaredError()(z, np.zeros((2, 5, 3))).item(), (z**2).mean())


def test_axis_of_classes(rng: np.random.Generator) -> None:
    z, y = rng.normal(size=(2, 3, 5)), np.eye(3)[rng.integers(0, 3, (2, 5))]
    moved = np.moveaxis(z, 1, 2)
    expected = -(y * np.log(softmax(moved))).sum(-1)
    for logits, values in ((True, z), (False, np.moveaxis(softmax(moved), 2, 1))):
        loss = losses.CategoricalCrossentropy(logits, axis=1)
        assert np.allclose(loss.call(np.moveaxis(y, 2, 1), values).numpy(), expected)


def test_names_and_functions() -> None:
    for name, kind in (
        ("mse", losses.MeanSquaredError), ("MSE", losses.MeanSquaredError), ("mae", losses.MeanAbsoluteError),
        ("mean_squared_error", losses.MeanSquaredError), ("huber", losses.Huber),
        ("binary_crossentropy", losses.BinaryCrossentropy),
        ("categorical_crossentropy", losses.CategoricalCrossentropy),
        ("sparse_categorical_crossentropy", losses.SparseCategoricalCrossentropy),
        ("SparseCategoricalCrossentropy", losses.SparseCategoricalCrossentropy),
    ):  # fmt: skip
        assert type(losses.get(name)) is kind
    assert losses.get(None) is None

    def cubic(y: Any, p: Any) -> Any:
        return rv.mean(rv.abs(y - p) ** 3, -1)

    own = losses.get(cubic)
    assert own.name == "cubic"
    assert own([[0.0], [0.0]], [[1.0], [2.0]]).item() == 4.5
    assert own([[0.0], [0.0]], [[1.0], [2.0]], [1, 0]).item() == 1
    assert repr(losses.Huber(2.0)) == "Huber(delta=2.0)"


def test_activation_and_loss_that_contradict_each_other() -> None:
    logits, probabilities = losses.SparseCategoricalCrossentropy(True), losses.SparseCategoricalCrossentropy()
    for fine in ("softmax", "sigmoid", "hard_sigmoid", None, "my_own"):
        probabilities.check_activation(fine, "out")
    for fine in ("linear", "relu", None, "my_own"):
        logits.check_activation(fine, "out")
    losses.MeanSquaredError().check_activation("softmax", "out")
    with pytest.raises(
        ArgumentError,
        match=r"SparseCategoricalCrossentropy\(from_logits=True\): expected logits, but the last layer 'out' ends with "
        r"softmax, which gives probabilities. Use SparseCategoricalCrossentropy\(\), or remove the activation",
    ):
        logits.check_activation("softmax", "out")
    with pytest.raises(
        ArgumentError,
        match=r"BinaryCrossentropy: expected probabilities, but the last layer 'out' ends with linear. Add "
        r"activation='sigmoid', or use BinaryCrossentropy\(from_logits=True\)",
    ):
        losses.BinaryCrossentropy().check_activation("linear", "out")
    with pytest.raises(ArgumentError, match="Add activation='softmax'"):
        losses.CategoricalCrossentropy().check_activation("relu", "out")


SCCE = losses.SparseCategoricalCrossentropy(from_logits=True)
ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: SCCE([1.0], rv.ones((1, 3))), DTypeError, r"expected integer class labels, got float32 of shape \(1,\)"),
    (lambda: SCCE([3], rv.ones((1, 3))), DataError, "expected labels from 0 to 2 for y_pred with 3 classes, got 3"),
    (lambda: SCCE([-1], rv.ones((1, 3))), DataError, "expected labels from 0 to 2 .* got -1"),
    (lambda: SCCE([0, 1], rv.ones((1, 3))), ShapeError, r"labels of shape \(1,\) for y_pred of shape \(1, 3\)"),
    (lambda: SCCE(np.eye(3, dtype=int), rv.ones((3, 3))), ShapeError, "For one-hot rows use categorical crossentropy"),
    (lambda: SCCE(0, rv.tensor(1.0)), ShapeError, "expected y_pred to have an axis of classes"),
    (lambda: losses.MeanSquaredError()(rv.ones((4, 1)), rv.ones((4, 3))), ShapeError,
     r"mean_squared_error: expected y_true of the shape of y_pred, \(4, 3\), got \(4, 1\)"),
    (lambda: losses.MeanAbsoluteError()(rv.ones(4), rv.ones(3)), ShapeError, "mean_absolute_error: expected y_true"),
    (lambda: losses.Huber()(rv.ones((4, 2)), rv.ones((4, 3))), ShapeError, "huber: expected y_true"),
    (lambda: losses.CategoricalCrossentropy()([0, 1], rv.ones((2, 3))), ShapeError, "For integer class labels"),
    (lambda: losses.BinaryCrossentropy()(rv.ones((2, 2)), rv.ones((2, 3))), ShapeError, "binary_crossentropy: exp"),
    (lambda: losses.MeanSquaredError("mean"), ArgumentError, "MeanSquaredError: expected reduction to be one of"),
    (lambda: losses.MeanSquaredError()(rv.ones((4, 1)), rv.ones((4, 1)), rv.ones(3)), ShapeError,
     r"mean_squared_error: expected one weight for each of the samples of shape \(4,\), got shape \(3,\)"),
    (lambda: losses.MeanSquaredError()(rv.ones((4, 1)), rv.ones((4, 1)), rv.ones((4, 2))), ShapeError, "one weight"),
    (lambda: losses.Huber(0), ArgumentError, "Huber: expected delta to be a finite number above 0, got 0"),
    (lambda: losses.BinaryCrossentropy(label_smoothing=2), ArgumentError, "BinaryCrossentropy: expected label_s"),
    (lambda: losses.CategoricalCrossentropy(label_smoothing="x"), ArgumentError, "CategoricalCrossentropy: exp"),
    (lambda: losses.get("msee"), ArgumentError, r"unknown loss 'msee'. Did you mean 'mse'\? Known names: Bin"),
    (lambda: losses.get(3), ArgumentError, "loss: expected a name, a configuration or an object, got 3"),
    (lambda: losses.Loss()(rv.ones(1), rv.ones(1)), ArgumentError, "Loss: define call"),
    (lambda: losses.serialize(losses.get(rv.add)), ArgumentError, "is not registered"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors(number: int) -> None:
    call, error, text = ERRORS[number]
    with pytest.raises(error, match=text):
        call()
