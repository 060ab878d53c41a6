"""Activations against their formulas in float64, their gradients to second order, and their behaviour at extremes."""

from __future__ import annotations

import math

import numpy as np
import pytest

import ranvier as rv
from ranvier import activations
from ranvier.errors import ArgumentError, GradientError, ShapeError


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    p = np.exp(x - x.max(axis, keepdims=True))
    return p / p.sum(axis, keepdims=True)


ERF = np.vectorize(math.erf)
FORMULAS = {
    "linear": lambda x: x,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "selu": lambda x: 1.05070098 * np.where(x > 0, x, 1.67326324 * (np.exp(x) - 1)),
    "gelu": lambda x: x * 0.5 * (1 + ERF(x / np.sqrt(2))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "softplus": lambda x: np.log(1 + np.exp(x)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softmax": softmax,
    "log_softmax": lambda x: np.log(softmax(x)),
    "step": lambda x: (x > 0).astype(np.float64),
    "exponential": np.exp,
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
}
NO_GRADIENT = ("step",)


def test_every_activation_has_a_formula_here() -> None:
    assert activations.names() == sorted(FORMULAS)


@pytest.mark.parametrize("name", FORMULAS)
def test_values(name: str, rng: np.random.Generator) -> None:
    x = rng.normal(size=(4, 7)) * 3
    assert np.allclose(activations.get(name)(x).numpy(), FORMULAS[name](x), rtol=1e-7, atol=1e-8)
    single = activations.get(name)(x.astype(np.float32))
    assert single.dtype is rv.float32
    assert np.allclose(single.numpy(), FORMULAS[name](x), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", [n for n in FORMULAS if n not in NO_GRADIENT])
def test_gradients(name: str, rng: np.random.Generator) -> None:
    x = rng.normal(size=(3, 5)) * 2
    x += np.where(np.abs(x) < 0.01, 0.1, 0) + np.where(np.abs(np.abs(x) - 3) < 0.01, 0.1, 0)  # keep off the kinks
    rv.check_gradients(activations.get(name), x, order=2)


@pytest.mark.parametrize("name", [n for n in FORMULAS if n not in NO_GRADIENT])
def test_extremes_are_finite_in_value_and_gradient(name: str) -> None:
    if name == "exponential":
        pytest.skip("e**x is meant to overflow")
    x = rv.tensor([[-1e4, -200.0, -0.0, 0.0, 200.0, 1e4]])
    value, slope = rv.value_and_grad(lambda t: rv.sum(activations.get(name)(t)))(x)
    assert np.isfinite(value.item())
    assert np.isfinite(slope.numpy()).all()


@pytest.mark.parametrize("name", FORMULAS)
def test_nan_stays_nan(name: str) -> None:
    out = activations.get(name)(rv.tensor([[np.nan, 1.0]])).numpy()
    if name == "step":
        assert out[0, 0] == 0
    else:
        assert np.isnan(out[0, 0])


def test_integers_become_float32() -> None:
    for name in activations.names():
        if name != "linear":
            assert activations.get(name)(rv.tensor([[1, -2]])).dtype is rv.float32, name


def test_softplus_slope_at_zero_is_a_half() -> None:
    slope = rv.grad(lambda x: rv.sum(activations.softplus(x)))
    assert slope(rv.tensor([0.0])).tolist() == [0.5]
    assert rv.grad(lambda x: rv.sum(slope(x)))(rv.tensor([0.0])).tolist() == [0.25]


def test_relu_arguments() -> None:
    x = rv.tensor([-2.0, 0.5, 1.5, 9.0])
    assert np.allclose(activations.relu(x, negative_slope=0.1).numpy(), [-0.2, 0.5, 1.5, 9.0])
    assert activations.relu(x, max_value=6.0).tolist() == [0.0, 0.5, 1.5, 6.0]
    assert activations.relu(x, threshold=1.0).tolist() == [0.0, 0.0, 1.5, 9.0]
    assert activations.relu(x, negative_slope=0.5, threshold=1.0).tolist() == [-1.5, -0.25, 1.5, 9.0]


def test_gelu_approximation_is_close(rng: np.random.Generator) -> None:
    x = rng.normal(size=100) * 3
    near = activations.gelu(x, approximate=True).numpy()
    assert 0 < np.abs(near - FORMULAS["gelu"](x)).max() < 5e-4
    assert np.allclose(near, 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_axis(axis: int, rng: np.random.Generator) -> None:
    x = rng.normal(size=(3, 4))
    assert np.allclose(activations.softmax(x, axis).numpy(), softmax(x, axis))
    assert np.allclose(activations.log_softmax(x, axis).numpy(), np.log(softmax(x, axis)))


def test_softmax_of_huge_scores() -> None:
    assert activations.softmax([[1e30, 0.0, -1e30]]).tolist() == [[1.0, 0.0, 0.0]]
    assert np.allclose(activations.log_softmax([[1000.0, 0.0]]).numpy(), [[0.0, -1000.0]])


def test_step_passes_no_gradient() -> None:
    with pytest.raises(GradientError, match="does not depend differentiably"):
        rv.grad(lambda x: rv.sum(activations.step(x)))(rv.tensor([1.0]))


def test_names() -> None:
    assert activations.get("logsig") is activations.sigmoid
    assert activations.get("tansig") is activations.tanh
    assert activations.get("swish") is activations.silu
    assert activations.get(None) is activations.linear
    assert activations.get(rv.exp) is rv.exp
    assert activations.serialize(activations.silu) == "silu"
    assert activations.deserialize("silu") is activations.silu
    assert activations.deserialize(None) is activations.linear


def test_errors() -> None:
    with pytest.raises(
        ArgumentError, match=r"unknown activation 'rellu'. Did you mean 'relu'\? Known names: .*softmax"
    ):
        activations.get("rellu")
    with pytest.raises(ArgumentError, match=r"activation: expected a name, .* got 3 \(int\)"):
        activations.get(3)
    with pytest.raises(ArgumentError, match="activation '<lambda>' is not registered"):
        activations.serialize(lambda x: x)
    with pytest.raises(ShapeError, match=r"softmax: expected at least one class on axis -1, got shape \(\)"):
        activations.softmax(rv.tensor(1.0))
    with pytest.raises(ShapeError, match=r"log_softmax: expected at least one class on axis 1, got shape \(2, 0\)"):
        activations.log_softmax(rv.zeros((2, 0)), 1)
    with pytest.raises(ArgumentError, match=r"softmax: expected axis to be an integer, got 'x' \(str\)"):
        activations.softmax(rv.ones((2, 2)), "x")  # type: ignore[arg-type]
