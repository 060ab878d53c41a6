"""Noise: what it does to mean and deviation, whole maps that share one fate, seeds, steps, and nothing while in use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import layers
from ranvier.errors import ArgumentError, ShapeError
from ranvier.jit import jit

ALL: list[tuple[Any, tuple[int, ...]]] = [
    (lambda **o: layers.Dropout(0.3, **o), (40, 30)),
    (lambda **o: layers.SpatialDropout1D(0.3, **o), (40, 5, 30)),
    (lambda **o: layers.SpatialDropout2D(0.3, **o), (40, 3, 2, 30)),
    (lambda **o: layers.SpatialDropout3D(0.3, **o), (40, 2, 2, 2, 30)),
    (lambda **o: layers.GaussianNoise(0.5, **o), (40, 30)),
    (lambda **o: layers.GaussianDropout(0.3, **o), (40, 30)),
    (lambda **o: layers.AlphaDropout(0.3, **o), (40, 30)),
]
EACH = pytest.mark.parametrize("number", range(len(ALL)))


@EACH
def test_only_while_training_and_by_its_seed(number: int, rng: np.random.Generator) -> None:
    make, shape = ALL[number]
    x = rv.tensor(rng.normal(size=shape).astype(np.float32))
    layer, twin = make(seed=7), make(seed=7)
    assert layer(x) is x
    first, second = layer(x, training=True).numpy(), layer(x, training=True).numpy()
    assert not np.array_equal(first, second)
    assert np.array_equal(twin(x, training=True).numpy(), first)
    step = jit(lambda t: make(seed=7)(t, training=True))
    assert np.allclose(step(x).numpy(), first, rtol=1e-5, atol=1e-5)  # normal deviates agree to single precision
    rv.set_random_seed(3)
    free = make()(x, training=True).numpy()
    rv.set_random_seed(3)
    assert np.array_equal(make()(x, training=True).numpy(), free)
    assert layer.weights == [] and layer.compute_output_shape((None, *shape[1:])) == (None, *shape[1:])


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_spatial_dropout_leaves_out_whole_maps(rank: int, rng: np.random.Generator) -> None:
    layer = getattr(layers, f"SpatialDropout{rank}D")(0.4, seed=int(rng.integers(2**31)))
    x = np.ones((60, *(3,) * rank, 50), np.float32)
    y = layer(x, training=True).numpy()
    one = y[(slice(None), *(slice(0, 1),) * rank)]
    assert np.array_equal(y, np.broadcast_to(one, y.shape))
    kept = one != 0
    assert np.allclose(one[kept], 1 / 0.6, rtol=4 * 2.0**-24)
    assert abs(kept.mean() - 0.6) < 6 * np.sqrt(0.24 / kept.size)


def test_noise_shape(rng: np.random.Generator) -> None:
    x = np.ones((30, 4, 20), np.float32)
    y = layers.Dropout(0.5, noise_shape=(None, 1, None), seed=1)(x, training=True).numpy()
    assert np.array_equal(y, np.broadcast_to(y[:, :1], y.shape))
    z = layers.AlphaDropout(0.5, (1, None, None), seed=1)(x, training=True).numpy()
    assert np.array_equal(z, np.broadcast_to(z[:1], z.shape))


def test_gaussian_noise_has_its_deviation(rng: np.random.Generator) -> None:
    n = 40_000
    x = np.full((n // 100, 100), 3.0, np.float32)
    y = layers.GaussianNoise(0.5, seed=int(rng.integers(2**31)))(x, training=True).numpy().astype(np.float64) - 3
    # six standard errors: of the mean s / sqrt(n), of the deviation s / sqrt(2 n)
    assert abs(y.mean()) < 6 * 0.5 / n**0.5
    assert abs(y.std() - 0.5) < 6 * 0.5 / (2 * n) ** 0.5
    y = layers.GaussianDropout(0.2, seed=int(rng.integers(2**31)))(x, training=True).numpy().astype(np.float64) / 3
    assert abs(y.mean() - 1) < 6 * 0.5 / n**0.5
    assert abs(y.std() - 0.5) < 6 * 0.5 / (2 * n) ** 0.5
    assert layers.GaussianNoise(0.0)(rv.ones(3), training=True).tolist() == [1.0, 1.0, 1.0]


def test_alpha_dropout_keeps_mean_and_variance(rng: np.random.Generator) -> None:
    n = 40_000
    x = rng.normal(size=(n // 100, 100)).astype(np.float32)
    y = layers.AlphaDropout(0.3, seed=int(rng.integers(2**31)))(x, training=True).numpy().astype(np.float64)
    assert abs(y.mean()) < 6 / n**0.5
    assert abs(y.std() - 1) < 6 / n**0.5  # the fourth moment is below 3, so the normal's standard error is enough
    low = -1.6732632423543772 * 1.0507009873554804
    a = (0.7 * (1 + 0.3 * low**2)) ** -0.5
    left = np.isclose(y, a * low * 0.7, atol=1e-6)  # a * low + b with b = -a * low * rate
    assert abs(left.mean() - 0.3) < 6 * np.sqrt(0.21 / n)
    assert np.allclose(y[~left], a * (x[~left] - 0.3 * low), atol=1e-5)


def test_gradient_passes_where_the_signal_did() -> None:
    x = np.ones((5, 4, 6), np.float32)
    mask = layers.SpatialDropout1D(0.5, seed=4)(x, training=True).numpy()
    layer = layers.SpatialDropout1D(0.5, seed=4)
    assert np.array_equal(rv.grad(lambda t: rv.sum(layer(t, training=True)))(x).numpy(), mask)
    noise = layers.GaussianNoise(0.5, seed=4)
    assert (rv.grad(lambda t: rv.sum(noise(t, training=True)))(x).numpy() == 1).all()


def test_fit_draws_anew_each_step() -> None:
    model = rv.Sequential([rv.Input((3,)), layers.GaussianNoise(1.0, seed=1), layers.Dense(1, use_bias=False)])
    model.compile("sgd", "mse")
    x = np.zeros((32, 3), np.float32)
    losses = [model.train_on_batch(x, np.ones((32, 1), np.float32)) for _ in range(2)]
    assert len(set(losses)) == 2


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: layers.SpatialDropout1D(1.0), ArgumentError, "SpatialDropout1D: expected rate .* below 1, got 1"),
    (lambda: layers.SpatialDropout2D(0.5, name="s")(rv.ones((2, 3))), ShapeError, "'s': expected an input with 4 axes"),
    (lambda: layers.SpatialDropout2D(0.5, noise_shape=(1,)), ArgumentError, "unknown argument 'noise_shape'"),
    (lambda: layers.SpatialDropout3D(0.5, seed=-1), ArgumentError, "random seed: expected an integer"),
    (lambda: layers.GaussianNoise(-1), ArgumentError, "GaussianNoise: expected stddev .* at least 0, got -1"),
    (lambda: layers.GaussianDropout(1), ArgumentError, "GaussianDropout: expected rate .* below 1, got 1"),
    (lambda: layers.AlphaDropout(-0.5), ArgumentError, "AlphaDropout: expected rate .* got -0.5"),
    (lambda: layers.Dropout(0.5, noise_shape=3), ArgumentError, "Dropout: expected noise_shape to be a tuple of sizes"),
    (lambda: layers.Dropout(0.5, noise_shape=(0, 1)), ArgumentError, "Dropout: expected noise_shape"),
    (
        lambda: layers.Dropout(0.5, noise_shape=(None, 2), name="d")(rv.ones((2, 3)), training=True), ShapeError,
        r"Dropout 'd': noise_shape \(None, 2\) does not fit an input of shape \(2, 3\)",
    ),
    (lambda: layers.AlphaDropout(0.5, (None,))(rv.ones((2, 3)), training=True), ShapeError, "does not fit an input"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors(number: int) -> None:
    call, error, text = ERRORS[number]
    with pytest.raises(error, match=text):
        call()
