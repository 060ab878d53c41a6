"""Initializers: their distributions by statistics, their seeds, shapes, names and errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import initializers
from ranvier.errors import ArgumentError, DTypeError, ShapeError

FAN_IN, FAN_OUT = 400, 200
SHAPE = (FAN_IN, FAN_OUT)
N = FAN_IN * FAN_OUT

# The standard deviation of each on SHAPE, by the formula in its paper; and the limit beyond which nothing may lie.
EXPECTED: dict[str, tuple[float, float]] = {
    "RandomNormal": (0.05, math.inf),
    "RandomUniform": (0.05 / math.sqrt(3), 0.05),
    "TruncatedNormal": (0.05 * 0.8796256610342398, 0.1),
    "VarianceScaling": (math.sqrt(1 / FAN_IN), 2 * math.sqrt(1 / FAN_IN) / 0.8796256),
    "GlorotUniform": (math.sqrt(2 / (FAN_IN + FAN_OUT)), math.sqrt(6 / (FAN_IN + FAN_OUT))),
    "GlorotNormal": (math.sqrt(2 / (FAN_IN + FAN_OUT)), 2 * math.sqrt(2 / (FAN_IN + FAN_OUT)) / 0.8796256),
    "HeUniform": (math.sqrt(2 / FAN_IN), math.sqrt(6 / FAN_IN)),
    "HeNormal": (math.sqrt(2 / FAN_IN), 2 * math.sqrt(2 / FAN_IN) / 0.8796256),
    "LecunUniform": (math.sqrt(1 / FAN_IN), math.sqrt(3 / FAN_IN)),
    "LecunNormal": (math.sqrt(1 / FAN_IN), 2 * math.sqrt(1 / FAN_IN) / 0.8796256),
    "Orthogonal": (math.sqrt(1 / FAN_IN), math.inf),
}
FIXED = ("Zeros", "Ones", "Constant", "Identity")


def test_every_initializer_is_tested_here() -> None:
    assert initializers.names() == sorted([*EXPECTED, *FIXED])


@pytest.mark.parametrize("name", EXPECTED)
def test_distribution(name: str, rng: np.random.Generator) -> None:
    values = getattr(initializers, name)(seed=int(rng.integers(2**31)))(SHAPE)
    assert values.shape == SHAPE
    assert values.dtype is rv.float32
    w = values.numpy().astype(np.float64)
    deviation, limit = EXPECTED[name]
    # Six standard errors: of a mean, and of a standard deviation (at most that of a normal).
    assert abs(w.mean()) < 6 * deviation / math.sqrt(N)
    assert abs(w.std() / deviation - 1) < 6 / math.sqrt(2 * N)
    assert np.abs(w).max() <= limit * (1 + 1e-6)
    if limit < math.inf:
        assert np.abs(w).max() > 0.9 * limit


@pytest.mark.parametrize("name", ["GlorotUniform", "HeUniform", "LecunUniform", "RandomUniform"])
def test_uniform_is_flat(name: str, rng: np.random.Generator) -> None:
    w = getattr(initializers, name)(seed=int(rng.integers(2**31)))(SHAPE).numpy()
    limit = EXPECTED[name][1]
    counts = np.histogram(w, 20, (-limit, limit))[0]
    chi_squared = ((counts - N / 20) ** 2 / (N / 20)).sum()
    assert chi_squared < 60  # 19 degrees of freedom: beyond 60 with probability 4e-6


@pytest.mark.parametrize("name", EXPECTED)
def test_seeds(name: str) -> None:
    kind = getattr(initializers, name)
    seeded = kind(seed=5)
    first = seeded((4, 3)).numpy()
    assert np.array_equal(first, seeded((4, 3)).numpy())
    assert not np.array_equal(first, kind(seed=6)((4, 3)).numpy())
    rv.set_random_seed(1)
    free = kind()
    a, b = free((4, 3)).numpy(), free((4, 3)).numpy()
    rv.set_random_seed(1)
    assert not np.array_equal(a, b)
    assert np.array_equal(a, free((4, 3)).numpy())


@pytest.mark.parametrize("name", [*EXPECTED, "Zeros", "Ones", "Identity"])
def test_shape_dtype_config_repr(name: str) -> None:
    made = getattr(initializers, name)()
    for dtype in (rv.float32, rv.float64, rv.bfloat16):
        w = made((4, 3), dtype)
        assert (w.shape, w.dtype) == ((4, 3), dtype)
    again = initializers.deserialize(initializers.serialize(made))
    assert type(again) is type(made)
    assert again.get_config() == made.get_config()
    assert repr(made).startswith(f"{name}(")
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)[1:]
    assert type(initializers.get(snake)) is type(made)


def test_fixed_values() -> None:
    assert initializers.Zeros()((2, 2)).tolist() == [[0, 0], [0, 0]]
    assert initializers.Ones()((2,)).tolist() == [1, 1]
    assert initializers.Constant(3)((2,)).tolist() == [3, 3]
    assert initializers.Constant([1.0, 2.0])((2, 2)).tolist() == [[1, 2], [1, 2]]
    assert initializers.Identity(2.0)((2, 3)).tolist() == [[2, 0, 0], [0, 2, 0]]


def test_arguments() -> None:
    w = initializers.RandomNormal(mean=3.0, stddev=0.0)((3,))
    assert w.tolist() == [3.0, 3.0, 3.0]
    u = initializers.RandomUniform(2.0, 3.0, seed=1)((1000,)).numpy()
    assert u.min() >= 2 and u.max() < 3
    t = initializers.TruncatedNormal(1.0, 0.5, seed=1)((1000,)).numpy()
    assert t.min() >= 0 and t.max() <= 2


@pytest.mark.parametrize("mode, fan", [("fan_in", FAN_IN), ("fan_out", FAN_OUT), ("fan_avg", (FAN_IN + FAN_OUT) / 2)])
@pytest.mark.parametrize("distribution", ["uniform", "truncated_normal", "untruncated_normal"])
def test_variance_scaling(mode: str, fan: float, distribution: str) -> None:
    w = initializers.VarianceScaling(3.0, mode, distribution, seed=1)(SHAPE).numpy().astype(np.float64)
    assert abs(w.var() / (3 / fan) - 1) < 0.03


def test_fans_of_windows_and_vectors() -> None:
    # A 3 x 3 convolution from 100 to 200 channels connects 900 inputs to each output.
    w = initializers.HeNormal(seed=1)((3, 3, 100, 200)).numpy().astype(np.float64)
    assert abs(w.var() / (2 / 900) - 1) < 0.03
    v = initializers.LecunNormal(seed=1)((5000,)).numpy().astype(np.float64)
    assert abs(v.var() / (1 / 5000) - 1) < 0.15
    assert initializers.GlorotUniform()(()).shape == ()


@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7), (2, 3, 4)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    q = initializers.Orthogonal(gain=2.0, seed=3)(shape, "float64").numpy().reshape(-1, shape[-1]) / 2
    product = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    assert np.allclose(product, np.eye(len(product)), atol=1e-12)


def test_orthogonal_is_uniform_over_rotations_and_reflections() -> None:
    signs = [np.linalg.det(initializers.Orthogonal(seed=s)((3, 3)).numpy()) > 0 for s in range(200)]
    assert 60 < sum(signs) < 140


def test_get() -> None:
    own = lambda shape, dtype: rv.ones(shape, dtype)  # noqa: E731
    assert initializers.get(own) is own
    assert initializers.get(None) is None
    assert isinstance(initializers.get(initializers.HeNormal), initializers.HeNormal)
    made = initializers.get({"class_name": "RandomNormal", "config": {"stddev": 0.5}})
    assert (made.mean, made.stddev, made.seed) == (0.0, 0.5, None)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (
            lambda: initializers.get("he"),
            ArgumentError,
            "unknown initializer 'he'.* Known names: Constant, GlorotNormal",
        ),
        (lambda: initializers.get(3), ArgumentError, r"initializer: expected a name, .* got 3 \(int\)"),
        (lambda: initializers.RandomNormal(seed=-1), ArgumentError, "random seed: expected an integer"),
        (lambda: initializers.RandomNormal(math.nan), ArgumentError, "RandomNormal: expected mean to be a finite"),
        (
            lambda: initializers.RandomNormal(stddev=-1),
            ArgumentError,
            "RandomNormal: expected stddev .* at least 0, got -1",
        ),
        (
            lambda: initializers.RandomUniform(1.0, 1.0),
            ArgumentError,
            "RandomUniform: expected maxval .* above 1, got 1.0",
        ),
        (lambda: initializers.RandomUniform("a"), ArgumentError, "RandomUniform: expected minval .* got 'a'"),
        (lambda: initializers.TruncatedNormal(math.inf), ArgumentError, "TruncatedNormal: expected mean"),
        (lambda: initializers.TruncatedNormal(0, -1), ArgumentError, "TruncatedNormal: expected stddev"),
        (lambda: initializers.VarianceScaling(0), ArgumentError, "VarianceScaling: expected scale .* above 0, got 0"),
        (
            lambda: initializers.VarianceScaling(1, "fan"),
            ArgumentError,
            "expected mode to be one of fan_in, .* got 'fan'",
        ),
        (
            lambda: initializers.VarianceScaling(1, "fan_in", "normal"),
            ArgumentError,
            "expected distribution to be one of",
        ),
        (lambda: initializers.Orthogonal("x"), ArgumentError, "Orthogonal: expected gain"),
        (
            lambda: initializers.Orthogonal()((3,)),
            ShapeError,
            r"Orthogonal: expected a shape with at least two axes, got \(3,\)",
        ),
        (lambda: initializers.Identity("x"), ArgumentError, "Identity: expected gain to be a finite number"),
        (lambda: initializers.Identity()((3,)), ShapeError, r"Identity: expected a shape with two axes, got \(3,\)"),
        (lambda: initializers.RandomNormal()((3,), "int32"), DTypeError, "normal: expected a floating dtype"),
        (lambda: initializers.Initializer()((3,)), ArgumentError, "Initializer: define __call__"),
    ],
)
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
