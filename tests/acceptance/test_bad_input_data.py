"""Bad data through every door: not only ``fit`` but also batches, predictions, calls, adapt, weights and loops."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier.errors import ArgumentError, DataError, DTypeError, SaveError, ShapeError

X = np.linspace(-1, 1, 40, dtype=np.float32).reshape(10, 4)
Y = np.arange(10) % 3


def network() -> rv.Sequential:
    model = rv.Sequential([rv.Input((4,)), rv.layers.Dense(3, activation="softmax", name="out")], name="net")
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def same(a: Any, b: Any) -> bool:
    return all((p == q).all() for p, q in zip(a, b, strict=True))


WRONG_SAMPLES = [
    (X[:, :2], ShapeError, "the model 'net' (layer 'out') takes samples of shape (4,), got x of shape (10, 2)"),
    (X.astype(object), DTypeError, "expected numbers in x, got object data of shape (10, 4)."),
    (X.astype(str), DTypeError, "expected numbers in x, got text data of shape (10, 4)."),
    (X * 1j, DTypeError, "expected numbers in x, got complex data of shape (10, 4)."),
    (X[:0], DataError, "expected at least one sample in x, got shape (0, 4)."),
    (X[:, :0], DataError, "axis 1 of x is empty, got shape (10, 0)."),
    (None, ArgumentError, "expected x to be an array, got None."),
    ({"a": X}, DTypeError, "expected x to be one array, got a dictionary with 'a'. Models with several inputs"),
]
SEVERAL_TARGETS = (
    "x has 10 samples but y has 2. They must have one row for each sample: check how they were split or loaded. A list "
    "of arrays is not taken for several outputs: give one array."
)
WRONG_TARGETS = [
    (Y[:5], DataError, "x has 10 samples but y has 5. They must have one row for each sample"),
    (Y + 1, DataError, "expected labels from 0 to 2, because the last layer 'out' has 3 outputs, got 3 in row 2"),
    (Y - 1, DataError, "expected labels from 0 to 2, because the last layer 'out' has 3 outputs, got -1 in row 0"),
    (Y.astype(float), DTypeError, "expected integer class labels in y for sparse categorical crossentropy"),
    ([Y, Y], DataError, SEVERAL_TARGETS),
    ({"out": Y}, DTypeError, "expected y to be one array, got a dictionary with 'out'."),
]  # fmt: skip


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
@pytest.mark.parametrize(
    ("x", "y", "error", "text"),
    [(x, Y, e, t) for x, e, t in WRONG_SAMPLES] + [(X, y, e, t) for y, e, t in WRONG_TARGETS],
)
def test_with_targets(method: str, x: Any, y: Any, error: type[Exception], text: str) -> None:
    model = network()
    before = model.get_weights()
    quiet = {"verbose": 0} if method in ("fit", "evaluate") else {}
    with pytest.raises(error, match=re.escape(f"{method}: {text}")):
        getattr(model, method)(x, y, **quiet)
    assert same(before, model.get_weights())


@pytest.mark.parametrize("method", ["predict", "predict_on_batch"])
@pytest.mark.parametrize(("x", "error", "text"), WRONG_SAMPLES)
def test_predictions(method: str, x: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        getattr(network(), method)(x)


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        (X[:, :2], ShapeError, "expected 4 features on axis 1"),
        (X[:, :0], ShapeError, "expected 4 features on axis 1"),
        (X.astype(str), DTypeError, "Sequential 'net': tensor: expected numbers, got text data such as '-1.0'."),
        ([[1, None, 2, 3]], DTypeError, "Sequential 'net': tensor: expected numbers, got object data such as None."),
        (X * 1j, DTypeError, "Sequential 'net': tensor: expected real numbers, got complex64 data of shape (10, 4)."),
        (None, DTypeError, "Sequential 'net': tensor: expected numbers, got object data such as None."),
    ],
)
def test_calls(x: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        network()(x)


def test_adapt_names_the_layer_and_keeps_what_it_had() -> None:
    layer = rv.layers.Normalization(name="norm")
    layer.adapt(X)
    before = layer.get_weights()
    for bad, error, text in (
        (X.astype(str), DTypeError, "Normalization 'norm': tensor: expected numbers, got text data"),
        (X * 1j, DTypeError, "Normalization 'norm': tensor: expected real numbers, got complex64 data"),
        (X[:0], DataError, r"Normalization 'norm': expected at least one sample to adapt to, got shape \(0, 4\)"),
        (X * np.nan, DataError, "Normalization 'norm': the data holds NaN or infinity in feature 0, 1, 2, 3"),
    ):
        with pytest.raises(error, match=text):
            layer.adapt(bad)
        assert same(before, layer.get_weights())


def test_weights_name_the_model_and_change_all_or_nothing() -> None:
    model = network()
    before = model.get_weights()
    for bad, error, text in (
        ([np.ones((4, 3))], ArgumentError, "Sequential 'net': expected 2 weight arrays, got 1"),
        ([np.ones((4, 3)), np.ones(4)], ShapeError, r"expected shape \(3,\) for weight 'out/bias', got \(4,\)"),
        ([np.ones((4, 3)), ["a"] * 3], DTypeError, "Sequential 'net', weights: tensor: expected numbers, got text"),
    ):
        with pytest.raises(error, match=text):
            model.set_weights(bad)
        assert same(before, model.get_weights())


@pytest.mark.parametrize("outputs", [1, 2, 3])
@pytest.mark.parametrize("nest", [tuple, list])
def test_models_with_several_outputs(outputs: int, nest: Any) -> None:
    class Several(rv.Model):
        def __init__(self) -> None:
            super().__init__(name="several")
            self.heads = [rv.layers.Dense(i + 1) for i in range(outputs)]

        def call(self, inputs: Any) -> Any:
            return nest(head(inputs) for head in self.heads)

    model = Several()
    assert [p.shape for p in model.predict(X)] == [(10, i + 1) for i in range(outputs)]
    assert model.output_shape is None
    model.compile("sgd", "mse")
    for method in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises(ArgumentError, match="the model 'several' has several outputs; fit and evaluate take"):
            method(X, X[:, :1])


def test_a_model_without_output() -> None:
    class Forgetful(rv.Model):
        def call(self, inputs: Any) -> Any:
            rv.exp(inputs)

    model = Forgetful(name="forgetful")
    model.compile("sgd", "mse")
    with pytest.raises(ArgumentError, match=r"fit: the model 'forgetful' gives no output. Return a tensor from its"):
        model.fit(X, X, verbose=0)


def test_layers_called_on_layers() -> None:
    text = "Dense 'd': expected a tensor, got the layer 'i'. Put layers one after another into rv.Sequential"
    with pytest.raises(ArgumentError, match=text):
        rv.layers.Dense(3, name="d")(rv.Input((4,), name="i"))


@pytest.mark.parametrize("optimizer", ["SGD", "RMSprop", "Adagrad", "Adam", "AdamW"])
@pytest.mark.parametrize("rate", [float("nan"), -1.0, float("inf"), 0.0, "fast", None, True])
def test_learning_rates(optimizer: str, rate: Any) -> None:
    text = re.escape(f"{optimizer}: expected learning_rate to be a finite number above 0, got {rate!r}")
    with pytest.raises(ArgumentError, match=text):
        getattr(rv.optimizers, optimizer)(rate)
    made = getattr(rv.optimizers, optimizer)(0.5)
    if rate != 0.0:
        with pytest.raises(ArgumentError, match=f"{optimizer}: expected learning_rate to be"):
            made.learning_rate = rate
    assert float(made.learning_rate) == 0.5


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_log_on_a_full_disk_is_an_error_that_keeps_what_was_learned() -> None:
    model = network()
    before = model.get_weights()
    with pytest.raises(SaveError, match="CSVLogger: epoch 1 cannot be written to /dev/full: No space left on device"):
        model.fit(X, Y, verbose=0, callbacks=[rv.callbacks.CSVLogger("/dev/full")])
    assert not same(before, model.get_weights())
    model.fit(X, Y, verbose=0)
