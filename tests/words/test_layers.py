"""Every registered layer, found by discovery: configuration, build, call, shape, dtype, repr, eager = compiled.

A new layer needs one line in CASES (its arguments and an input); the test fails until it has one. Its values are
compared with its formula in NumPy, its gradients with finite differences, to second order.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import pytest

import ranvier as rv
from ranvier import layers
from ranvier.errors import ArgumentError, DataError, DTypeError, ShapeError
from ranvier.jit import jit

from . import recurrent_reference, spatial_reference, word_reference

pytestmark = pytest.mark.smoke


class Case(NamedTuple):
    arguments: dict[str, Any]
    shape: Any  # of the input, or a list of shapes
    formula: Any  # of (x, *weights), or (x1, x2, ..., *weights), in NumPy
    text: str  # repr once built
    below: int = 0  # the input is made of integers below this

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return self.shape if isinstance(self.shape, list) else [self.shape]

    def nest(self, parts: Any) -> Any:
        """One thing for each input, in the form the layer takes."""
        return list(parts) if isinstance(self.shape, list) else next(iter(parts))

    def resized(self, batch: int | None) -> Any:
        return self.nest((batch, *shape[1:]) for shape in self.shapes)

    def draw(self, rng: np.random.Generator, dtype: Any = np.float64) -> Any:
        if self.below:
            return rng.integers(0, self.below, self.shape)
        return self.nest(rng.normal(size=shape).astype(dtype) for shape in self.shapes)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


CASES: dict[str, list[Case]] = {
    "Dense": [
        Case({"units": 3, "activation": "relu"}, (4, 5), lambda x, w, b: relu(x @ w + b), "Dense(5 -> 3, relu)"),
        Case({"units": 2, "bias_initializer": "ones"}, (4, 1), lambda x, w, b: x @ w + b, "Dense(1 -> 2)"),
        Case({"units": 3, "use_bias": False}, (2, 4, 5), lambda x, w: x @ w, "Dense(5 -> 3)"),
        Case({"units": 3, "activation": "tansig"}, (2, 2, 5), lambda x, w, b: np.tanh(x @ w), "Dense(5 -> 3, tanh)"),
    ],
    "Activation": [Case({"activation": "sigmoid"}, (4, 5), lambda x: 1 / (1 + np.exp(-x)), "Activation(sigmoid)")],
    "Dropout": [Case({"rate": 0.3}, (4, 5), lambda x: x, "Dropout(0.3)")],
    "Flatten": [
        Case({}, (4, 2, 3), lambda x: x.reshape(4, 6), "Flatten()"),
        Case({}, (4,), lambda x: x.reshape(4, 1), "Flatten()"),
    ],
    "InputLayer": [Case({"shape": (5,)}, (4, 5), lambda x: x, "InputLayer((None, 5))")],
    "Masking": [
        Case({}, (4, 3, 2), lambda x: x, "Masking(0)"),
        Case({"mask_value": 0.5}, (2, 3), lambda x: x, "Masking(0.5)"),
    ],
    "Reshape": [
        Case({"target_shape": (3, -1)}, (4, 6), lambda x: x.reshape(4, 3, 2), "Reshape((3, -1))"),
        Case({"target_shape": (6,)}, (4, 2, 3), lambda x: x.reshape(4, 6), "Reshape((6,))"),
    ],
    "Rescaling": [
        Case({"scale": 0.5, "offset": -1}, (4, 5), lambda x: x * 0.5 - 1, "Rescaling(0.5, -1.0)"),
        Case({"scale": [1, 2]}, (4, 2), lambda x: x * np.array([1, 2]), "Rescaling([1.0, 2.0])"),
    ],
    "Normalization": [
        Case({}, (4, 5), lambda x, m, v: (x - m) / np.sqrt(v), "Normalization()"),
        Case({"mean": [1, 2], "variance": [4, 9]}, (3, 2), lambda x, m, v: (x - [1, 2]) / [2, 3], "Normalization()"),
        Case({"axis": None}, (4, 5), lambda x, m, v: (x - m) / np.sqrt(v), "Normalization(axis=None)"),
        Case(
            {"axis": (1, 2), "mean": 1, "variance": 4}, (4, 2, 3), lambda x, m, v: (x - 1) / 2,
            "Normalization(axis=(1, 2))",
        ),
    ],
}  # fmt: skip
for _reference in (recurrent_reference, spatial_reference, word_reference):
    CASES |= {name: [Case(*case) for case in cases] for name, cases in _reference.CASES.items()}
ALL = [(name, case) for name, cases in CASES.items() for case in cases]
EACH = pytest.mark.parametrize(
    "name, case", ALL, ids=[f"{n}-{'x'.join(map(str, c.shapes[0]))}-{i}" for i, (n, c) in enumerate(ALL)]
)


def make(kind: str, case: Case, **more: Any) -> Any:
    return getattr(layers, kind)(**recurrent_reference.inner_dtype(case.arguments, more.get("dtype")), **more)


def test_every_layer_has_a_case() -> None:
    own = [n for n in layers.names() if layers.register.__self__.find(n).__module__.startswith("ranvier.layers.")]
    assert own == sorted({*CASES, *recurrent_reference.CELLS})


@EACH
def test_value_shape_dtype_repr(name: str, case: Case, rng: np.random.Generator) -> None:
    for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-12)):
        layer = make(name, case, dtype=dtype)
        x = case.draw(rng)
        y = layer(x)
        assert layer.built
        assert y.dtype is rv.as_dtype(dtype)
        assert layer.compute_output_shape(case.resized(None)) == (None, *y.shape[1:])
        assert layer.compute_output_shape(case.shape) == y.shape
        parts = x if isinstance(case.shape, list) else [x]
        assert np.allclose(y.numpy(), case.formula(*parts, *layer.get_weights()), rtol=tolerance, atol=tolerance)
        assert repr(layer) == case.text
        assert all(v.dtype is rv.as_dtype(dtype) for v in layer.weights)


@EACH
def test_configuration_round_trip(name: str, case: Case, rng: np.random.Generator) -> None:
    layer = make(name, case, name="mine", trainable=False)
    data = json.loads(json.dumps(layers.serialize(layer)))
    again = layers.deserialize(data)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    assert (again.name, again.trainable) == ("mine", False)
    x = case.draw(rng, np.float32)
    y = layer(x)
    again(x)
    again.set_weights(layer.get_weights())
    assert np.array_equal(again(x).numpy(), y.numpy())
    assert [v.name for v in again.weights] == [v.name for v in layer.weights]


@EACH
def test_gradients(name: str, case: Case, rng: np.random.Generator) -> None:
    layer = make(name, case, dtype="float64")
    x = case.draw(rng)
    layer(x)
    start = layer.get_weights()
    if case.below:
        return  # integers have no gradient; those by the weights are compared with Keras elsewhere
    for order in (1, 2):
        if isinstance(x, list):
            rv.check_gradients(lambda *parts: layer(list(parts)), *x, order=order)
        else:
            rv.check_gradients(layer, x, order=order)

    def of_weights(*values: Any) -> Any:
        for v, value in zip(layer.weights, values, strict=True):
            object.__setattr__(v, "_read", lambda value=value: value)
        return layer(x)

    if start and name == "Dense":
        try:
            rv.check_gradients(of_weights, *start, order=2)
        finally:
            for v in layer.weights:
                del v._read


@EACH
def test_compiled_equals_eager(name: str, case: Case, rng: np.random.Generator) -> None:
    layer = make(name, case)
    x = case.draw(rng, np.float32)
    eager = layer(x).numpy()
    assert np.allclose(jit(lambda nest: layer(nest))(x).numpy(), eager, rtol=1e-5, atol=1e-6)


@EACH
def test_empty_batch(name: str, case: Case) -> None:
    layer = make(name, case)
    layer.build(case.resized(None))
    y = layer(case.nest(np.zeros((0, *shape[1:]), np.float32) for shape in case.shapes))
    assert y.shape == layer.compute_output_shape(case.resized(0))


@EACH
def test_rooms_for_batches_of_any_size(name: str, case: Case, rng: np.random.Generator) -> None:
    layer = make(name, case)
    x = case.draw(rng, np.float32)
    parts = x if isinstance(case.shape, list) else [x]
    both = layer(case.nest(np.concatenate([part, part]) for part in parts)).numpy()
    assert np.allclose(both, np.concatenate([layer(x).numpy()] * 2), atol=1e-6)


# -- single layers ------------------------------------------------------------------------------------------------


def test_dense_is_its_equation(rng: np.random.Generator) -> None:
    layer = layers.Dense(3)
    x = rv.tensor(rng.normal(size=(2, 5)).astype(np.float32))
    y = layer(x)
    assert np.array_equal(y.numpy(), (x @ layer.kernel + layer.bias).numpy())
    assert [(v.name, v.shape) for v in layer.weights] == [
        (f"{layer.name}/kernel", (5, 3)),
        (f"{layer.name}/bias", (3,)),
    ]
    assert layer.count_params() == 18


def test_dense_initializers_and_regularizers() -> None:
    layer = layers.Dense(
        2, kernel_initializer="ones", bias_initializer=lambda shape, dtype: rv.full(shape, 3, dtype),
        kernel_regularizer="l2", bias_regularizer=rv.sum,
    )  # fmt: skip
    assert layer(rv.ones((1, 4))).tolist() == [[7.0, 7.0]]
    assert np.allclose([t.item() for t in layer.losses], [0.08, 6.0])
    layer.trainable = False
    assert layer.losses == []


def test_dense_takes_integers_and_other_floats() -> None:
    layer = layers.Dense(2, kernel_initializer="ones")
    assert layer(np.array([[1, 2]], np.uint8)).tolist() == [[3.0, 3.0]]
    assert layer(np.array([[True, False]])).dtype is rv.float32
    assert layer(np.ones((1, 2), np.float64)).dtype is rv.float32
    assert layer([[1.0, 2.0]]).tolist() == [[3.0, 3.0]]


def test_bfloat16_layer() -> None:
    layer = layers.Dense(2, dtype="bfloat16", kernel_initializer="ones")
    y = layer(rv.ones((1, 3)))
    assert (y.dtype, y.tolist()) == (rv.bfloat16, [[3.0, 3.0]])
    assert layer.kernel.dtype is rv.bfloat16


def test_dropout_only_while_training(rng: np.random.Generator) -> None:
    x = rv.ones((1000, 20))
    layer = layers.Dropout(0.3, seed=int(rng.integers(2**31)))
    assert layer(x) is x
    y = layer(x, training=True).numpy()
    kept = y != 0
    assert np.allclose(y[kept], 1 / 0.7)
    assert abs(kept.mean() - 0.7) < 6 * np.sqrt(0.21 / y.size)
    assert not np.array_equal(y, layer(x, training=True).numpy())
    assert layers.Dropout(0.0)(x, training=True) is x


def test_dropout_seeds() -> None:
    x = rv.ones((50, 4))
    a, b = layers.Dropout(0.5, seed=3), layers.Dropout(0.5, seed=3)
    assert np.array_equal(a(x, training=True).numpy(), b(x, training=True).numpy())
    assert [v.name for v in a.variables] == ["random_state"]
    assert a.weights == []
    rv.set_random_seed(5)
    free = layers.Dropout(0.5)
    first = free(x, training=True).numpy()
    rv.set_random_seed(5)
    assert np.array_equal(first, free(x, training=True).numpy())


def test_dropout_gradient_follows_the_mask() -> None:
    layer = layers.Dropout(0.5, seed=1)
    x = rv.ones((1, 50))
    mask = layers.Dropout(0.5, seed=1)(x, training=True).numpy()
    slope = rv.grad(lambda t: rv.sum(layer(t, training=True)))(x)
    assert np.array_equal(slope.numpy(), mask)


def test_dropout_draws_anew_in_each_compiled_step() -> None:
    layer = layers.Dropout(0.5, seed=2)
    step = jit(lambda x: layer(x, training=True))
    x = rv.ones((4, 100))
    first, second = step(x).numpy(), step(x).numpy()
    again = layers.Dropout(0.5, seed=2)
    assert np.array_equal(first, again(x, training=True).numpy())
    assert np.array_equal(second, again(x, training=True).numpy())
    assert not np.array_equal(first, second)


def test_normalization_adapts(rng: np.random.Generator) -> None:
    data = rng.normal(5, 3, size=(200, 3)) * [1, 10, 0] + [0, 1e6, 7]
    layer = layers.Normalization()
    layer.adapt(data)
    assert [v.shape for v in layer.weights] == [(3,), (3,)]
    assert layer.trainable_weights == []
    assert np.allclose(layer.get_weights()[0], data.mean(0), rtol=1e-6)
    assert np.allclose(layer.get_weights()[1], data.var(0), rtol=1e-5, atol=1e-12)
    y = layer(data[:, :]).numpy()
    assert np.abs(y[:, 0].mean()) < 1e-5 and np.isclose(y[:, 0].std(), 1, atol=1e-5)
    assert (y[:, 2] == 0).all()  # a feature that never varies
    layer.adapt(data[:100])
    assert np.allclose(layer.get_weights()[0], data[:100].mean(0), rtol=1e-6)


def test_normalization_axes(rng: np.random.Generator) -> None:
    images = rng.normal(size=(10, 4, 4, 3)) * [1, 2, 3] + 5
    whole, channels = layers.Normalization(axis=None), layers.Normalization(axis=-1)
    whole.adapt(images)
    channels.adapt(images)
    assert np.isclose(whole.get_weights()[1], images.var(), rtol=1e-5)
    assert np.allclose(channels.get_weights()[1], images.var((0, 1, 2)), rtol=1e-5)
    assert np.allclose(channels(images).numpy(), (images - images.mean((0, 1, 2))) / images.std((0, 1, 2)), atol=1e-5)


def test_normalization_of_bytes() -> None:
    layer = layers.Normalization()
    layer.adapt(np.array([[0, 255], [255, 255]], np.uint8))
    assert np.allclose(layer(np.array([[255, 0]], np.uint8)).numpy()[0, 0], 1)


def test_normalization_adapts_all_or_nothing() -> None:
    layer = layers.Normalization()
    layer.adapt([[1.0, 2.0], [3.0, 4.0]])
    before = layer.get_weights()
    with pytest.raises(
        DataError, match=r"Normalization 'normalization.*': the data holds NaN or infinity in feature 1"
    ):
        layer.adapt([[1.0, np.nan], [3.0, 4.0]])
    with pytest.raises(ShapeError, match="expected 2 features on axis 1"):
        layer.adapt([[1.0], [2.0]])
    assert all(np.array_equal(a, b) for a, b in zip(before, layer.get_weights(), strict=True))


def test_reshape_of_open_sizes() -> None:
    layer = layers.Reshape((2, -1))
    assert layer.compute_output_shape((None, None)) == (None, 2, None)
    assert layers.Flatten().compute_output_shape((None, 3, None)) == (None, None)
    assert layers.Reshape((0, 5))(rv.zeros((3, 0))).shape == (3, 0, 5)
    assert layers.Reshape((-1, 0))(rv.zeros((3, 0))).shape == (3, 0, 0)


def test_input() -> None:
    layer = layers.Input(shape=(4, None), name="first")
    assert (type(layer), layer.name, layer.batch_input_shape) == (layers.InputLayer, "first", (None, 4, None))
    assert layer(rv.ones((2, 4, 9))).shape == (2, 4, 9)
    assert layers.Input((3,), batch_size=5).batch_shape == (5, 3)


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: layers.Dense(0), ArgumentError, r"Dense: expected units to be an integer of at least 1, got 0 \(int\)"),
    (lambda: layers.Dense(2.5), ArgumentError, r"Dense: expected units .* got 2.5 \(float\)"),
    (lambda: layers.Dense(True), ArgumentError, "got True"),
    (lambda: layers.Dense(2, activation="rel"), ArgumentError, r"unknown activation 'rel'. Did you mean 'relu'\?"),
    (lambda: layers.Dense(2, kernel_initializer="hi"), ArgumentError, "unknown initializer 'hi'"),
    (lambda: layers.Dense(2, kernel_regularizer="hi"), ArgumentError, "unknown regularizer 'hi'"),
    (
        lambda: layers.Dense(2, unit=3),
        ArgumentError,
        "Dense: unknown argument 'unit'. Known: units, activation, .*dtype",
    ),
    (lambda: layers.Dense(2, dtype="int32"), DTypeError, "Dense: expected a floating dtype for the weights, got int32"),
    (lambda: layers.Dense(2, name=""), ArgumentError, "Dense: expected name to be a text without '/'"),
    (lambda: layers.Dense(2, name="a/b"), ArgumentError, "Dense: expected name to be a text without '/'"),
    (lambda: layers.Dense(2, name=3), ArgumentError, "Dense: expected name to be a text without '/', got 3"),
    (lambda: layers.Dense(2, input_shape=4), ShapeError, r"Dense: expected a shape, .* got 4 \(int\)"),
    (
        lambda: layers.Dense(2, name="d")(rv.ones(3)),
        ShapeError,
        r"Dense 'd': expected input of shape \(batch, features\)",
    ),
    (lambda: layers.Dense(2, name="d")(rv.ones((3, 0))), ShapeError, r"Dense 'd': expected input of shape"),
    (lambda: layers.Dense(2, name="d").build((None, None)), ShapeError, r"got \(None, None\)"),
    (lambda: layers.Dense(2, name="d").build("x"), ShapeError, "Dense 'd': expected a shape, a tuple of sizes"),
    (lambda: layers.Dense(2, name="d")(np.array([["a"]])), DTypeError, "Dense 'd': tensor: expected numbers, got text"),
    (
        lambda: layers.Dense(2, name="d")(np.ones((2, 2), complex)),
        DTypeError,
        "Dense 'd': tensor: expected real numbers, got complex128 data of shape",
    ),
    (
        lambda: layers.Dense(2, name="d")(np.array([[{}]])),
        DTypeError,
        "Dense 'd': .*(object|not supported)",
    ),
    (lambda: layers.Dense(2, name="d")([[1.0], [1.0, 2.0]]), ShapeError, "Dense 'd': tensor: nested lists must have"),
    (lambda: layers.Activation("x"), ArgumentError, "unknown activation 'x'"),
    (lambda: layers.Dropout(1), ArgumentError, "Dropout: expected rate .* of at least 0 and below 1, got 1"),
    (lambda: layers.Dropout(-0.1), ArgumentError, "Dropout: expected rate .* got -0.1"),
    (lambda: layers.Dropout("x"), ArgumentError, "Dropout: expected rate .* got 'x'"),
    (lambda: layers.Dropout(0.5, seed=-1), ArgumentError, "random seed: expected an integer"),
    (lambda: layers.Flatten()(rv.tensor(1.0)), ShapeError, "Flatten .*: expected an input with at least 1 axes"),
    (lambda: layers.Reshape(4), ShapeError, r"Reshape: expected target_shape to be a tuple of sizes, got 4"),
    (lambda: layers.Reshape((2, -2)), ShapeError, "Reshape: expected target_shape to be a tuple of sizes"),
    (lambda: layers.Reshape((-1, -1)), ShapeError, "Reshape: expected at most one -1 in target_shape"),
    (
        lambda: layers.Reshape((4,), name="r")(rv.ones((2, 5))),
        ShapeError,
        r"Reshape 'r': samples of shape \(5,\) have 5 ",
    ),
    (lambda: layers.Reshape((4, -1), name="r")(rv.ones((2, 5))), ShapeError, r"do not fill target_shape \(4, -1\)"),
    (lambda: layers.Reshape((0, -1))(rv.ones((2, 5))), ShapeError, r"do not fill target_shape \(0, -1\)"),
    (lambda: layers.Input(4), ShapeError, r"Input: expected a shape such as \(4,\), got the number 4"),
    (lambda: layers.Input(("a",)), ShapeError, "Input: expected a shape, a tuple of sizes"),
    (lambda: layers.Input((0,)), ShapeError, r"Input: expected every size to be at least 1, got \(0,\)"),
    (
        lambda: layers.Input((4,), batch_size=0),
        ArgumentError,
        "Input: expected batch_size to be an integer of at least 1",
    ),
    (
        lambda: layers.Input((4,), name="i")(rv.ones((2, 5))),
        ShapeError,
        "InputLayer 'i': expected 4 features on axis 1",
    ),
    (
        lambda: layers.Input((4,), name="i")(rv.ones(4)),
        ShapeError,
        "InputLayer 'i': expected an input with 2 axes, got",
    ),
    (lambda: layers.Rescaling("x"), ArgumentError, "Rescaling: expected scale to be a finite number or a list"),
    (lambda: layers.Rescaling(1, np.nan), ArgumentError, "Rescaling: expected offset to be a finite number or a list"),
    (lambda: layers.Rescaling([1, None]), ArgumentError, "Rescaling: expected scale"),
    (
        lambda: layers.Normalization(axis="x"),
        ArgumentError,
        "Normalization: expected axis to be an integer, a tuple or",
    ),
    (lambda: layers.Normalization(axis=0), ArgumentError, "Normalization: axis 0 is the batch"),
    (lambda: layers.Normalization(mean=1), ArgumentError, "Normalization: expected mean and variance together"),
    (
        lambda: layers.Normalization(mean=1, variance="x"),
        ArgumentError,
        "Normalization: expected variance to be a finite",
    ),
    (lambda: layers.Normalization(axis=3, name="n")(rv.ones((2, 5))), ShapeError, "Normalization 'n': axis 3 does not"),
    (lambda: layers.Normalization(name="n").build((None, None)), ShapeError, "Normalization 'n': expected known sizes"),
    (lambda: layers.Normalization(name="n").adapt([]), DataError, "Normalization 'n': expected at least one sample"),
    (lambda: layers.Normalization(name="n").adapt(3.0), DataError, "Normalization 'n': expected at least one sample"),
    (lambda: layers.get(3), ArgumentError, "layer: expected a name, a configuration or an object, got 3"),
    (lambda: layers.Layer(name="l")(rv.ones(1)), ArgumentError, r"Layer 'l': define call\(self, inputs\)"),
]


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors(number: int) -> None:
    call, error, text = ERRORS[number]
    with pytest.raises(error, match=text):
        call()


def test_input_that_does_not_fit() -> None:
    layer = layers.Dense(2, name="hidden")
    layer(rv.ones((4, 128)))
    with pytest.raises(ShapeError, match=r"Dense 'hidden': expected 128 features on axis -1 \(it was built for shape "
                       r"\(None, 128\)\), got an input of shape \(32, 100\). Check the columns"):  # fmt: skip
        layer(rv.ones((32, 100)))
    with pytest.raises(ShapeError, match=r"Dense 'hidden': expected an input with at least 2 axes, got shape \(128,\)"):
        layer(rv.ones(128))
