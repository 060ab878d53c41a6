"""Layers that make one tensor of several, and the residual unit: equal to Keras, to their formulas, masks, errors."""

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
# Sums and products of at most four numbers; only Dot sums more (24 products, forward and back).
BOUND = 8 * EPS
DOT = 60 * EPS

CASES: list[tuple[str, dict[str, Any], list[tuple[int, ...]]]] = [
    ("Add", {}, [(3, 4), (3, 4)]),
    ("Add", {}, [(3, 4)] * 4),
    ("Add", {}, [(3, 2, 4), (3, 4)]),
    ("Add", {}, [(3, 1, 4), (3, 2, 1)]),
    ("Subtract", {}, [(3, 4), (3, 4)]),
    ("Multiply", {}, [(3, 4), (3, 4), (3, 4)]),
    ("Multiply", {}, [(3, 2, 4), (3, 1, 4)]),
    ("Average", {}, [(3, 4), (3, 4), (3, 4)]),
    ("Maximum", {}, [(3, 4), (3, 4), (3, 4)]),
    ("Minimum", {}, [(3, 4), (3, 4)]),
    ("Concatenate", {}, [(3, 4), (3, 2), (3, 1)]),
    ("Concatenate", {"axis": 1}, [(3, 4, 2), (3, 1, 2)]),
    ("Dot", {"axes": 1}, [(3, 4), (3, 4)]),
    ("Dot", {"axes": -1}, [(3, 2, 4), (3, 5, 4)]),
    ("Dot", {"axes": (1, 2)}, [(3, 4), (3, 5, 4)]),
    ("Dot", {"axes": (2, 1)}, [(3, 2, 4), (3, 4, 5)]),
    ("Dot", {"axes": (1, 3)}, [(2, 4, 3), (2, 3, 2, 4)]),
    ("Dot", {"axes": 1, "normalize": True}, [(3, 4), (3, 4)]),
    ("Dot", {"axes": (2, 1), "normalize": True}, [(3, 2, 4), (3, 4, 5)]),
]


@pytest.mark.parametrize("name, options, shapes", CASES, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(CASES)])
def test_those_of_keras(
    name: str, options: dict[str, Any], shapes: list[tuple[int, ...]], rng: np.random.Generator
) -> None:
    x = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    ours, theirs = getattr(layers, name)(**options), getattr(keras.layers, name)(**options)
    compare(ours, theirs, x, rng, DOT if name == "Dot" else BOUND)
    open_shapes = [(None, *shape[1:]) for shape in shapes]
    assert ours.compute_output_shape(open_shapes) == tuple(theirs.compute_output_shape(open_shapes))
    eager = ours(x).numpy()
    assert np.allclose(jit(lambda *parts: ours(list(parts)))(*x).numpy(), eager, atol=DOT)
    function = getattr(layers, name.lower())
    assert np.array_equal(function(x, **options).numpy(), eager)
    assert np.array_equal(function(tuple(x), **options).numpy(), eager)


def test_one_input_and_integers() -> None:
    x = rv.tensor([[1.0, 2.0]])
    assert layers.add([x]).tolist() == [[1.0, 2.0]]
    y = layers.add([x, np.array([[1, 2]])])
    assert (y.dtype, y.tolist()) == (rv.float32, [[2.0, 4.0]])
    assert layers.concatenate([np.array([[True]]), x]).tolist() == [[1.0, 1.0, 2.0]]


def masked(rng: np.random.Generator, shape: tuple[int, ...] = (3, 5, 2)) -> tuple[Any, np.ndarray]:
    x = rng.normal(size=shape).astype(np.float32)
    mask = rng.random(shape[:2]) < 0.6
    x[~mask] = 0
    return layers.Masking()(x), mask


def test_masks(rng: np.random.Generator) -> None:
    (a, m), (b, n) = masked(rng), masked(rng)
    plain = rv.ones((3, 5, 2))
    assert np.array_equal(mask_of(layers.Add()([a, b])).numpy(), m | n)
    assert mask_of(layers.Add()([a, plain])) is None
    assert np.array_equal(mask_of(layers.Concatenate(1)([a, b])).numpy(), np.concatenate([m, n], 1))
    assert np.array_equal(mask_of(layers.Concatenate(1)([a, plain])).numpy(), np.concatenate([m, np.ones_like(m)], 1))
    assert np.array_equal(mask_of(layers.Concatenate()([a, b])).numpy(), m | n)
    assert mask_of(layers.Concatenate()([plain, plain])) is None
    assert mask_of(layers.Dot(axes=-1)([a, b])) is None
    theirs = keras.layers.Concatenate(1)
    pair = [keras.ops.convert_to_tensor(v) for v in (a.numpy(), b.numpy())]
    found = theirs.compute_mask(pair, [keras.ops.convert_to_tensor(m), keras.ops.convert_to_tensor(n)])
    assert np.array_equal(array(found), np.concatenate([m, n], 1))


class TwoPaths(rv.Model):
    """A model that joins two branches."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow, self.out = layers.Dense(8, "relu"), layers.Dense(8, "tanh"), layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        a, b = self.wide(inputs), self.narrow(inputs)
        return self.out(layers.concatenate([layers.add([a, b]), layers.multiply([a, b]), layers.maximum([a, b])]))


def test_functions_in_a_model_train(rng: np.random.Generator) -> None:
    x = rng.normal(size=(64, 4)).astype(np.float32)
    y = x[:, :1] * x[:, 1:2]
    model = TwoPaths()
    model.compile(rv.optimizers.Adam(0.01), "mse")
    history = model.fit(x, y, epochs=30, verbose=0).history["loss"]
    assert history[-1] < history[0] / 2


# -- the residual unit --------------------------------------------------------------------------------------------


def test_residual_is_its_equation(rng: np.random.Generator) -> None:
    x = rng.normal(size=(4, 6)).astype(np.float32)
    first, second = layers.Dense(5, "relu"), layers.Dense(6)
    block = layers.Residual([first, second])
    y = block(x).numpy()
    assert np.array_equal(y, (rv.tensor(x) + second(first(x))).numpy())
    assert block.weights == [*first.weights, *second.weights]
    second.set_weights([np.zeros((5, 6)), np.zeros(6)])
    assert np.array_equal(block(x).numpy(), x)  # doing nothing is what it can do best
    slope = rv.grad(lambda t: rv.sum(block(t)))(x).numpy()
    assert (slope == 1).all()  # and the gradient passes unchanged


def test_residual_with_a_projection(rng: np.random.Generator) -> None:
    x = rng.normal(size=(4, 6)).astype(np.float32)
    inner, way = layers.Dense(3), layers.Dense(3, use_bias=False)
    block = layers.Residual(inner, shortcut=way)
    assert np.allclose(block(x).numpy(), way(x).numpy() + inner(x).numpy(), atol=BOUND)
    assert block.compute_output_shape((None, 6)) == (None, 3)
    assert np.allclose(jit(block)(x).numpy(), block(x).numpy(), atol=40 * EPS)
    for order in (1, 2):
        inner64 = layers.Residual(
            layers.Dense(3, "tanh", dtype="float64"), layers.Dense(3, dtype="float64"), dtype="float64"
        )
        rv.check_gradients(inner64, x.astype(np.float64), order=order)


def test_residual_networks_train_save_and_freeze(tmp_path: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=(48, 4)).astype(np.float32)
    model = rv.Sequential([
        rv.Input((4,)),
        *(layers.Residual([layers.BatchNormalization(), layers.ReLU(), layers.Dense(4), layers.Dropout(0.1)])
          for _ in range(3)),
        layers.Dense(1),
    ])  # fmt: skip
    model.compile(rv.optimizers.Adam(0.01), "mse")
    history = model.fit(x, x.sum(1), epochs=20, verbose=0).history["loss"]
    assert history[-1] < history[0] / 2
    model.save(tmp_path / "deep.safetensors")
    again = rv.load_model(tmp_path / "deep.safetensors")
    assert np.array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    assert again.layers[0].count_params() == 4 * 4 + 4 * 4 + 4
    model.layers[0].trainable = False
    assert not model.layers[0].layers[0].trainable  # frozen all the way down


def test_residual_hands_masks_on(rng: np.random.Generator) -> None:
    x, mask = masked(rng)
    assert np.array_equal(mask_of(layers.Residual(layers.Dense(2))(x)).numpy(), mask)


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: layers.Add(name="a")(rv.ones((2, 3))), ShapeError, "Add 'a': expected a list of at least 1 tensor, got"),
    (lambda: layers.Add()([]), ShapeError, "expected a list of at least 1 tensor"),
    (
        lambda: layers.Add(name="a")([rv.ones((2, 3)), rv.ones((2, 4))]), ShapeError,
        r"Add 'a': inputs of shapes \(None, 3\), \(None, 4\) do not fit together on axis 1",
    ),
    (lambda: layers.Add()([rv.ones((2, 3)), rv.ones((4, 3))]), ShapeError, "do not fit together on the batch"),
    (lambda: layers.Add()([rv.ones((1, 3)), rv.ones((4, 3))]), ShapeError, "do not fit together on the batch"),
    (lambda: layers.Subtract()([rv.ones((2, 3))]), ShapeError, "Subtract .* a list of exactly 2 tensors, got 1"),
    (lambda: layers.Subtract()([rv.ones((2, 3))] * 3), ShapeError, "a list of exactly 2 tensors, got 3 of them"),
    (lambda: layers.Concatenate(axis=0), ArgumentError, r"Concatenate: expected axis .* not 0 \(the batch\), got 0"),
    (lambda: layers.Concatenate(axis="x"), ArgumentError, "Concatenate: expected axis"),
    (
        lambda: layers.Concatenate(axis=3)([rv.ones((2, 3))]), ShapeError, "axis 3 does not fit inputs of shape",
    ),
    (
        lambda: layers.Concatenate(name="c")([rv.ones((2, 3, 1)), rv.ones((2, 4, 1))]), ShapeError,
        r"Concatenate 'c': inputs of shapes .* may differ on axis -1 only",
    ),
    (lambda: layers.Concatenate()([rv.ones((2, 3, 1)), rv.ones((2, 3))]), ShapeError, "may differ on axis -1 only"),
    (lambda: layers.Dot(axes=0), ArgumentError, r"Dot: expected axes .* not 0 \(the batch\)"),
    (lambda: layers.Dot(axes=(1, 2, 3)), ArgumentError, "Dot: expected axes to be an integer or two of them"),
    (lambda: layers.Dot(axes=1)([rv.ones((2, 3)), rv.ones((2, 4))]), ShapeError, "axis 1 of .* has size 3, but axis 1"),
    (lambda: layers.Dot(axes=2)([rv.ones((2, 3)), rv.ones((2, 3))]), ShapeError, "axis 2 does not fit an input"),
    (lambda: layers.Dot(axes=1)([rv.ones((2, 3)), rv.ones((4, 3))]), ShapeError, "do not fit together on the batch"),
    (lambda: layers.Residual([]), ArgumentError, "Residual: expected at least one layer, got an empty list"),
    (lambda: layers.Residual(layers.Dense), ArgumentError, "expected a layer or a list of layers, .*make one of the"),
    (lambda: layers.Residual([layers.Dense(2), 3]), ArgumentError, "expected a layer or a list of layers, got 3"),
    (lambda: layers.Residual(layers.Dense(2), shortcut="x"), ArgumentError, "expected a layer .* got 'x'"),
    (
        lambda: layers.Residual(layers.Dense(4), name="r")(rv.ones((2, 3))), ShapeError,
        r"Residual 'r': the layers give shape \(2, 4\), but the input has \(2, 3\). Give a shortcut .*Dense\(4\)",
    ),
    (
        lambda: layers.Residual(layers.Dense(4), layers.Dense(5, name="p"))(rv.ones((2, 3))), ShapeError,
        r"but the shortcut 'p' gives \(2, 5\)",
    ),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors(number: int) -> None:
    call, error, text = ERRORS[number]
    with pytest.raises(error, match=text):
        call()
