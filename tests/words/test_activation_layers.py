"""Activations as layers: equal to Keras over their arguments, masks of softmax, extremes, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import layers
from ranvier.errors import ArgumentError, ShapeError
from ranvier.jit import jit
from ranvier.layers.masks import mask_of

from .keras_peer import array, compare, keras

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the peers

EPS = 2.0**-24
# An exponential to 2 ulp of arguments up to 10, whose own rounding is 5 ulp then, and a sum of at most 12 on both ways.
BOUND = 60 * EPS

CASES: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("ReLU", {}, (4, 6)),
    ("ReLU", {"max_value": 1.0}, (4, 6)),
    ("ReLU", {"negative_slope": 0.2}, (4, 6)),
    ("ReLU", {"threshold": 0.5}, (4, 6)),
    ("ReLU", {"max_value": 1.5, "negative_slope": 0.2, "threshold": 0.5}, (4, 6)),
    ("LeakyReLU", {}, (4, 6)),
    ("LeakyReLU", {"negative_slope": 0.01}, (4, 6)),
    ("PReLU", {}, (4, 6)),
    ("PReLU", {"alpha_initializer": "glorot_uniform"}, (3, 4, 5)),
    ("PReLU", {"alpha_initializer": "glorot_uniform", "shared_axes": [1, 2]}, (2, 3, 4, 5)),
    ("PReLU", {"alpha_initializer": "ones", "shared_axes": 1}, (2, 3, 4)),
    ("ELU", {}, (4, 6)),
    ("ELU", {"alpha": 0.3}, (4, 6)),
    ("Softmax", {}, (4, 6)),
    ("Softmax", {"axis": 1}, (3, 4, 5)),
    ("Softmax", {"axis": [1, 2]}, (3, 4, 3)),
    ("Softmax", {"axis": [-1]}, (3, 4, 3)),
]


@pytest.mark.parametrize("name, options, shape", CASES, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(CASES)])
def test_those_of_keras(name: str, options: dict[str, Any], shape: tuple[int, ...], rng: np.random.Generator) -> None:
    x = (rng.normal(size=shape) * 2).astype(np.float32)
    ours, theirs = getattr(layers, name)(**options), getattr(keras.layers, name)(**options)
    compare(ours, theirs, x, rng, BOUND)
    assert np.allclose(jit(ours)(x).numpy(), ours(x).numpy(), atol=BOUND)
    step = jit(lambda t: rv.grad(lambda u: rv.sum(ours(u) ** 2))(t))
    assert np.allclose(step(x).numpy(), rv.grad(lambda u: rv.sum(ours(u) ** 2))(rv.tensor(x)).numpy(), atol=10 * BOUND)


def test_masks_of_softmax_are_those_of_keras(rng: np.random.Generator) -> None:
    x = rng.normal(size=(3, 4, 5)).astype(np.float32)
    whole = rng.random((3, 4, 5)) < 0.6
    whole[1, 2] = False  # nothing is left
    ours, theirs = layers.Softmax(), keras.layers.Softmax()
    for mask in (whole, whole[:1], whole[0, 0], whole.astype(np.float32)):
        expected = array(theirs(x, mask=keras.ops.convert_to_tensor(mask)))
        assert np.allclose(ours(x, mask=mask).numpy(), expected, atol=BOUND)
        assert np.allclose(jit(lambda t, m: ours(t, mask=m))(x, mask).numpy(), expected, atol=BOUND)
    y = ours(x, mask=whole).numpy()
    assert (y[~whole] == 0).all()
    assert np.allclose(y.sum(-1), whole.any(-1), atol=BOUND)
    assert np.isfinite(rv.grad(lambda t: rv.sum(ours(t, mask=whole) ** 2))(x).numpy()).all()
    both = layers.Softmax(axis=[1, 2])(x, mask=whole).numpy()
    assert np.allclose(both.sum((1, 2)), 1, atol=BOUND)


def test_extremes() -> None:
    x = rv.tensor([[-np.inf, 0.0, 1e30]])
    assert layers.Softmax()(x).tolist() == [[0.0, 0.0, 1.0]]
    assert layers.ELU(2.0)(x).tolist() == [[-2.0, 0.0, 1.0000000150474662e30]]
    assert layers.ReLU(max_value=6)(x).tolist() == [[0.0, 0.0, 6.0]]
    assert np.isnan(layers.Softmax()(rv.tensor([[np.nan, 0.0]])).numpy()).all()
    for layer in (layers.ReLU(), layers.LeakyReLU(), layers.PReLU(), layers.ELU()):
        assert np.isnan(layer(rv.tensor([[np.nan]])).numpy()).all()


def test_integers_become_floats() -> None:
    for layer in (layers.ReLU(), layers.LeakyReLU(), layers.PReLU(), layers.ELU(), layers.Softmax()):
        assert layer(np.array([[1, 2]])).dtype is rv.float32


def test_masks_pass(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    x[:, 2] = 0
    masked = layers.Masking()(x)
    for layer in (layers.ReLU(), layers.LeakyReLU(), layers.PReLU(), layers.ELU(), layers.GaussianNoise(0.1),
                  layers.LayerNormalization(), layers.GroupNormalization(2), layers.SpatialDropout1D(0.1)):  # fmt: skip
        assert np.array_equal(mask_of(layer(masked)).numpy(), mask_of(masked).numpy())


def test_prelu_learns_its_slopes(rng: np.random.Generator) -> None:
    x = rng.normal(size=(64, 3)).astype(np.float32)
    model = rv.Sequential([rv.Input((3,)), layers.PReLU()])
    model.compile(rv.optimizers.Adam(0.05), "mse")
    model.fit(x, np.where(x > 0, x, -0.5 * x), epochs=60, verbose=0)
    assert np.allclose(model.get_weights()[0], -0.5, atol=0.05)


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: layers.ReLU(max_value=-1), ArgumentError, "ReLU: expected max_value to be a finite number of at least 0"),
    (lambda: layers.ReLU(negative_slope=None), ArgumentError, "ReLU: expected negative_slope"),
    (lambda: layers.ReLU(threshold=-1), ArgumentError, "ReLU: expected threshold"),
    (lambda: layers.LeakyReLU(-0.1), ArgumentError, "LeakyReLU: expected negative_slope .* at least 0, got -0.1"),
    (lambda: layers.ELU("x"), ArgumentError, "ELU: expected alpha to be a finite number, got 'x'"),
    (lambda: layers.PReLU(shared_axes="x"), ArgumentError, "PReLU: expected axis to be an integer or a list"),
    (
        lambda: layers.PReLU(shared_axes=[2], name="p")(rv.ones((2, 3))), ShapeError,
        r"PReLU 'p': shared axis 2 does not exist in an input of shape \(None, 3\); axes of a sample count from 1",
    ),
    (lambda: layers.PReLU().build((None, None)), ShapeError, "expected a known size of at least 1 on axis 1"),
    (lambda: layers.Softmax(axis="x"), ArgumentError, "Softmax: expected axis to be an integer or a list of them"),
    (lambda: layers.Softmax(axis=2, name="s")(rv.ones((2, 3))), ShapeError, "Softmax 's': expected at least one class"),
    (lambda: layers.Softmax()(rv.ones((2, 0))), ShapeError, "expected at least one class on axis -1"),
    (
        lambda: layers.Softmax(name="s")(rv.ones((2, 3)), mask=np.ones((2, 2), bool)), ShapeError,
        r"Softmax 's': expected a mask that broadcasts to the input's shape \(2, 3\), got \(2, 2\)",
    ),
    (lambda: layers.Softmax()(rv.ones((2, 3)), mask=np.ones((1, 2, 3), bool)), ShapeError, "expected a mask that br"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors(number: int) -> None:
    call, error, text = ERRORS[number]
    with pytest.raises(error, match=text):
        call()
