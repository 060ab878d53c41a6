"""Embedding: equal to Keras and PyTorch; an index outside the table is an error everywhere, never another row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import layers
from ranvier.errors import ArgumentError, IndexRangeError, ShapeError
from ranvier.jit import jit
from ranvier.layers.masks import mask_of

from .keras_peer import array, compare, keras

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the peers

OUT = "expected integers from 0 to 6 .input_dim=7., got {}. {}"
HIGH, LOW = OUT.format(7, "Give input_dim=8 or more"), OUT.format(-1, "Count from 0")


@pytest.mark.parametrize("shape", [(4,), (4, 5), (2, 3, 2)])
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_those_of_keras(shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> None:
    x = rng.integers(0, 7, shape).astype(dtype)
    ours, theirs = layers.Embedding(7, 3), keras.layers.Embedding(7, 3)
    # a row's gradient is the sum of at most 20 numbers; the output is copied
    compare(ours, theirs, x, rng, [0.0, 20 * 2.0**-24])
    assert ours.compute_output_shape((None, *shape[1:])) == tuple(theirs.compute_output_shape((None, *shape[1:])))
    assert np.array_equal(jit(ours)(x).numpy(), ours(x).numpy())


def test_gradients_of_repeated_rows(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x = np.array([[0, 1, 1], [6, 1, 0]])
    table = rng.normal(size=(7, 2)).astype(np.float32)
    ours = layers.Embedding(7, 2, weights=table)
    theirs = torch.nn.Embedding(7, 2, _weight=torch.tensor(table))
    factors = rng.normal(size=(2, 3, 2)).astype(np.float32)
    (theirs(torch.tensor(x)) * torch.tensor(factors)).sum().backward()
    eager = rv.value_and_grad(lambda: rv.sum(ours(x) * factors), wrt=ours.trainable_weights)()[1][0].numpy()
    step = jit(lambda t: rv.value_and_grad(lambda: rv.sum(ours(t) * factors), wrt=ours.trainable_weights)()[1][0])
    for got in (eager, step(x).numpy()):
        assert np.allclose(got, theirs.weight.grad.numpy(), rtol=4 * 2.0**-24, atol=4 * 2.0**-24)


def test_floats_lose_their_fraction_and_booleans_count() -> None:
    table = np.arange(14.0).reshape(7, 2)
    layer = layers.Embedding(7, 2, weights=[table])
    assert np.array_equal(layer(np.array([[0.9, 3.0, 6.5, -0.5]])).numpy()[0], table[[0, 3, 6, 0]])
    assert np.array_equal(jit(layer)(np.array([[0.9, 3.0, 6.5]])).numpy()[0], table[[0, 3, 6]])
    assert np.array_equal(layer(np.array([True, False])).numpy(), table[[1, 0]])
    coarse = layers.Embedding(1000, 1, dtype="bfloat16", weights=(np.arange(1000)[:, None] == 257) * 1.0)
    assert coarse(np.array([256.0, 257.0, 258.0])).numpy().ravel().tolist() == [0.0, 1.0, 0.0]  # 257 has 9 bits


def test_masks(rng: np.random.Generator) -> None:
    x = np.array([[1, 2, 0], [3, 0, 0]])
    layer = layers.Embedding(7, 3, mask_zero=True)
    theirs = keras.layers.Embedding(7, 3, mask_zero=True)
    assert np.array_equal(mask_of(layer(x)).numpy(), array(theirs.compute_mask(keras.ops.convert_to_tensor(x))))
    assert mask_of(layers.Embedding(7, 3)(x)) is None
    model = rv.Sequential([layer, layers.LSTM(4), layers.Dense(1)])
    longer = np.array([[1, 2, 0, 0, 0], [3, 0, 0, 0, 0]])
    assert np.allclose(model(x).numpy(), model(longer).numpy(), atol=1e-6)  # what is filled up changes nothing


# -- indices outside the table ------------------------------------------------------------------------------------


def fitted(*before: Any, rows: int = 40) -> tuple[Any, np.ndarray, np.ndarray]:
    rv.set_random_seed(1)
    model = rv.Sequential([*before, layers.Embedding(7, 4, name="words"), layers.Flatten(), layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.random.default_rng(1).integers(0, 7, (rows, 3))
    return model, x, x.sum(1).astype(np.float32)


@pytest.mark.parametrize("bad, text", [(7, HIGH), (-1, LOW), (2**40, "got 1.09951e\\+12"), (-(2**62), "Count from 0")])
def test_eagerly_and_in_jit(bad: int, text: str) -> None:
    layer = layers.Embedding(7, 3, name="words")
    x = np.array([[0, 1], [bad, 6]])
    with pytest.raises(IndexRangeError, match=f"Embedding 'words': .*{text}"):
        layer(x)
    compiled = jit(layer)
    with pytest.raises(IndexRangeError, match=f"Embedding 'words': .*{text}"):
        compiled(x)
    good = np.array([[0, 1], [2, 6]])
    assert np.array_equal(compiled(good).numpy(), layer(good).numpy())  # the error is reported once
    with pytest.raises(IndexRangeError, match=f"Embedding 'words': .*{text}"):
        compiled.run(3, x)
    for nan in (np.nan, np.inf):
        with pytest.raises(IndexRangeError, match="Embedding 'words'"):
            layer(np.array([nan]))
        with pytest.raises(IndexRangeError, match="Embedding 'words'"):
            jit(layer)(np.array([nan], np.float32))


def test_data_is_refused_at_the_door() -> None:
    for before in ((), (rv.Input((3,)),), (rv.Input((3,), dtype="int32"),)):
        model, x, y = fitted(*before)
        model.fit(x, y, verbose=0)
        start = model.get_weights()
        for bad, text in ((7, HIGH), (-1, LOW)):
            wrong = x.copy()
            wrong[11, 2] = bad
            place = rf"x holds {bad} in row 11, position 2\. Embedding 'words': {text}"
            with pytest.raises(IndexRangeError, match=f"fit: {place}"):
                model.fit(wrong, y, verbose=0)
            with pytest.raises(IndexRangeError, match=f"fit, validation data: {place}"):
                model.fit(x, y, validation_data=(wrong, y), verbose=0)
            with pytest.raises(IndexRangeError, match=f"evaluate: {place}"):
                model.evaluate(wrong, y, verbose=0)
            with pytest.raises(IndexRangeError, match=f"predict: {place}"):
                model.predict(wrong, verbose=0)
            with pytest.raises(IndexRangeError, match=f"predict: {place}"):
                model.predict(wrong.astype(np.float32), verbose=0)
        assert all(np.array_equal(a, b) for a, b in zip(start, model.get_weights(), strict=True))
        assert model.predict(x[:32], verbose=0).shape == (32, 1)


class Shifted(rv.Model):
    """Computes its indices, so that nobody can check them beforehand."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.flat, self.out = layers.Embedding(7, 4, name="words"), layers.Flatten(), layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        return self.out(self.flat(self.table(inputs + 1)))


def test_indices_computed_inside_a_model() -> None:
    """The step that meets one changes nothing, and neither do those after it; then the error comes."""
    x = np.random.default_rng(2).integers(0, 6, (40, 3))
    y = x.sum(1).astype(np.float32)
    model = Shifted()
    model.compile(rv.optimizers.SGD(0.01), "mse")
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    twin = Shifted()
    twin.compile(rv.optimizers.SGD(0.01), "mse")
    twin(x)
    twin.set_weights(model.get_weights())
    wrong = x.copy()
    wrong[17, 1] = 6  # in the third batch
    with pytest.raises(IndexRangeError, match=f"Embedding 'words': {HIGH}"):
        model.fit(wrong, y, batch_size=8, shuffle=False, verbose=0)
    twin.fit(x[:16], y[:16], batch_size=8, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        assert np.allclose(a, b, rtol=1e-5, atol=1e-6)
    for use in (
        lambda: model.evaluate(wrong, y, verbose=0), lambda: model.predict(wrong, verbose=0),
        lambda: model.predict(wrong[:32], verbose=0), lambda: model.predict(wrong[:32], verbose=0),
        lambda: model.train_on_batch(wrong, y), lambda: model.test_on_batch(wrong, y), lambda: model(wrong),
    ):  # fmt: skip
        with pytest.raises(IndexRangeError, match=f"Embedding 'words': {HIGH}"):
            use()
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"][0])  # and all is well again
    assert np.allclose(model.predict(x, verbose=0), model(x).numpy(), atol=1e-5)


def test_inside_a_loop_a_wrong_index_gives_nan() -> None:
    layer = layers.Embedding(7, 2, weights=np.ones((7, 2)))

    def walk(x: Any) -> Any:
        return rv.scan(lambda total, i: (total + layer(i), total), rv.zeros((2,)), x)[0]

    assert jit(walk)(np.array([0, 6, 3])).tolist() == [3.0, 3.0]
    assert np.isnan(jit(walk)(np.array([0, 7, 3])).numpy()).all()
    with pytest.raises(IndexRangeError, match=HIGH):
        walk(rv.tensor(np.array([0, 7, 3])))


def test_integers_reach_the_table_as_they_are() -> None:
    """Larger than float32 can count."""
    model = rv.Sequential([rv.Input((1,)), layers.Embedding(2**24 + 3, 1, embeddings_initializer="zeros")])
    table = np.zeros((2**24 + 3, 1), np.float32)
    table[2**24 + 1] = 5
    model.set_weights([table])
    assert model.predict(np.array([[2**24 + 1], [2**24]]), verbose=0).ravel().tolist() == [5.0, 0.0]


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (
        lambda: layers.Embedding(0, 3),
        ArgumentError,
        "Embedding: expected input_dim to be an integer of at least 1, got 0",
    ),
    (lambda: layers.Embedding(3, 2.0), ArgumentError, "Embedding: expected output_dim to be an integer"),
    (lambda: layers.Embedding(3, 2, weights=np.ones((2, 2))), ShapeError, r"expected shape \(3, 2\) for weight"),
    (lambda: layers.Embedding(3, 2, embeddings_initializer="x"), ArgumentError, "unknown initializer 'x'"),
]


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors(number: int) -> None:
    call, error, text = ERRORS[number]
    with pytest.raises(error, match=text):
        call()
