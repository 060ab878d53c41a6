"""What users get wrong: each a typed error that says who, what was expected, what came; and nothing half-done."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier.errors import ArgumentError, DataError, DTypeError, NonFiniteError, ShapeError

X = np.arange(24, dtype=np.float32).reshape(8, 3) / 24
Y = np.array([0, 1, 2, 0, 1, 2, 0, 1])
SPARSE = "sparse_categorical_crossentropy"


def network(units: int = 3, activation: str | None = "softmax", loss: Any = SPARSE, shape: Any = (3,)) -> rv.Sequential:
    start = [] if shape is None else [rv.Input(shape)]
    model = rv.Sequential([*start, rv.layers.Dense(4, name="first"), rv.layers.Dense(units, activation, name="last")])
    model.compile("sgd", loss)
    return model


def changed(array: np.ndarray, where: Any, value: Any) -> np.ndarray:
    out = np.array(array)
    out[where] = value
    return out


def refuses(model: Any, error: type[Exception], text: str, x: Any = X, y: Any = Y, **options: Any) -> None:
    """``fit`` raises the error with the text, and leaves model and random numbers as they were."""
    built, weights = model.built, model.get_weights()
    state = rv.random.default_generator.state.numpy().tolist()
    with pytest.raises(error, match=re.escape(text)) as caught:
        model.fit(x, y, verbose=0, **options)
    assert "at test_bad_input.py" in str(caught.value)  # the user's own line
    assert "object at 0x" not in str(caught.value)
    assert model.built == built
    assert all((a == b).all() for a, b in zip(weights, model.get_weights(), strict=True))
    assert rv.random.default_generator.state.numpy().tolist() == state


# -- arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch_size": 0}, "fit: expected batch_size to be a positive integer, got 0 (int)."),
        ({"batch_size": -1}, "fit: expected batch_size to be a positive integer, got -1 (int)."),
        ({"batch_size": 2.5}, "fit: expected batch_size to be a positive integer, got 2.5 (float)."),
        ({"batch_size": True}, "fit: expected batch_size to be a positive integer, got True (bool)."),
        ({"batch_size": "32"}, "got '32' (str). Write batch_size=32 without quotes."),
        ({"epochs": -1}, "fit: expected epochs to be an integer of at least 0, got -1 (int)."),
        ({"epochs": 2.5}, "fit: expected epochs to be an integer of at least 0, got 2.5 (float)."),
        ({"initial_epoch": -1}, "fit: expected initial_epoch to be an integer of at least 0, got -1 (int)."),
        ({"validation_freq": 0}, "fit: expected validation_freq to be a positive integer, got 0 (int)."),
        ({"validation_batch_size": 0}, "fit: expected validation_batch_size to be a positive integer"),
        ({"validation_split": 1}, "validation_split to be a number between 0 and 1 (both excluded), got 1 (int)."),
        ({"validation_split": -0.1}, "validation_split to be a number between 0 and 1 (both excluded), got -0.1"),
        ({"validation_split": "a"}, "validation_split to be a number between 0 and 1 (both excluded), got 'a'"),
        ({"validation_split": 0.99}, "validation_split=0.99 of 8 rows leaves 0 for training and 8 for validation."),
        ({"validation_data": X}, "fit: expected validation_data to be (x, y) or (x, y, sample_weight), got ndarray"),
        ({"validation_data": (X,)}, "fit: expected validation_data to be (x, y) or (x, y, sample_weight)"),
        ({"shuffle": "yes"}, "fit: expected shuffle to be True or False, got 'yes' (str)."),
        ({"check_data": "no"}, "fit: expected check_data to be 'warn', 'error' or 'ignore', got 'no' (str)."),
        (
            {"callbacks": [rv.callbacks.History]},
            "got <class 'ranvier.callbacks.history.History'> (type). Make an object",
        ),
        ({"callbacks": ["stop"]}, "callbacks: expected objects derived from Callback, got 'stop' (str)."),
        (
            {"class_weight": [1, 2]},
            "fit: expected class_weight to be a dictionary from class number to weight, got [1, 2]",
        ),
        ({"class_weight": {3: 1.0}}, "fit: class_weight names class 3, but the classes are the numbers 0 to 2."),
        ({"class_weight": {"a": 1.0}}, "fit: class_weight names class 'a', but the classes are the numbers 0 to 2."),
        ({"class_weight": {0: -1}}, "fit: expected class_weight[0] to be a finite number of at least 0, got -1 (int)."),
    ],
)
def test_arguments(options: dict[str, Any], text: str) -> None:
    refuses(network(), ArgumentError, text, **options)
    refuses(network(shape=None), ArgumentError, text, **options)


def test_verbose() -> None:
    with pytest.raises(ArgumentError, match="fit: expected verbose to be 'auto', 0, 1 or 2, got 3"):
        network().fit(X, Y, verbose=3)
    with pytest.raises(ArgumentError, match="evaluate: expected verbose to be 'auto', 0, 1 or 2, got 'loud'"):
        network().evaluate(X, Y, verbose="loud")


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "32"])
def test_batch_size_elsewhere(size: Any) -> None:
    with pytest.raises(ArgumentError, match="evaluate: expected batch_size to be a positive integer"):
        network().evaluate(X, Y, batch_size=size, verbose=0)
    with pytest.raises(ArgumentError, match="predict: expected batch_size to be a positive integer"):
        network().predict(X, batch_size=size)


def test_weights_of_samples() -> None:
    refuses(network(), ShapeError, "fit: expected one sample weight for each of the 8 samples, shape (8,), got shape",
            sample_weight=np.ones(7))  # fmt: skip
    refuses(network(), DataError, "sample weights to be finite and not negative, got -1 in row 2.",
            sample_weight=changed(np.ones(8), 2, -1))  # fmt: skip
    refuses(
        network(), DTypeError, "expected numbers in sample_weight, got text data of shape (8,)", sample_weight=["a"] * 8
    )


# -- data ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        (None, ArgumentError, "fit: expected x to be an array, got None."),
        (X[:7], DataError, "fit: x has 7 samples but y has 8. They must have one row for each sample"),
        (X[:0], DataError, "fit: expected at least one sample in x, got shape (0, 3)."),
        (X[:, :0], DataError, "fit: axis 1 of x is empty, got shape (8, 0)."),
        ([], DataError, "fit: expected at least one sample in x, got shape (0,)."),
        (3.0, ShapeError, "fit: expected x to have an axis of samples, got the single number 3.0."),
        (
            X.astype(object), DTypeError,
            "fit: expected numbers in x, got object data of shape (8, 3). They can be read as numbers: use numpy",
        ),
        (X.astype(str), DTypeError, "got text data of shape (8, 3). They can be read as numbers"),
        (
            [[1, "red", 2]] * 8, DTypeError,
            "fit: expected numbers in x, got text data of shape (8, 3) with 'red' in column 1. Turn texts into",
        ),
        (
            changed(X.astype(object), (2, 1), "red"), DTypeError,
            "fit: expected numbers in x, got object data of shape (8, 3) with 'red' in column 1. Turn texts into",
        ),
        (changed(X.astype(object), (2, 1), None), DTypeError, "object data of shape (8, 3) with None in column 1."),
        (X.astype(complex), DTypeError, "fit: expected numbers in x, got complex data of shape (8, 3). Give real and"),
        (np.zeros((8, 3), "M8[D]"), DTypeError, "fit: expected numbers in x, got date data of shape (8, 3)"),
        (np.ma.masked_less(X, 0.1), DataError, "fit: x is a masked array with values missing. Fill them first"),
        ([[1, 2, 3], [1, 2]] * 4, ShapeError, "fit: the rows of x have different lengths; make them equal"),
        (
            np.ones((8, 5)), ShapeError,
            "(layer 'first') takes samples of shape (3,), got x of shape (8, 5): samples of shape (5,). Check the",
        ),
        (np.ones((8, 3, 2)), ShapeError, "takes samples of shape (3,), got x of shape (8, 3, 2)"),
        (np.ones(8), ShapeError, "takes samples of shape (3,), got x of shape (8,)"),
    ],
)  # fmt: skip
def test_samples(x: Any, error: type[Exception], text: str) -> None:
    refuses(network(), error, text, x=x)


@pytest.mark.parametrize(
    ("y", "error", "text"),
    [
        (None, ArgumentError, "fit: expected y, the targets, got None."),
        (Y[:6], DataError, "fit: x has 8 samples but y has 6."),
        (changed(Y, 3, 3), DataError,
         "fit: expected labels from 0 to 2, because the last layer 'last' has 3 outputs, got 3 in row 3 of y."),
        (Y + 1, DataError, "got 3 in row 2 of y. Labels count from 0: subtract the smallest one."),
        (Y + 7, DataError, "got 9 in row 2 of y. Give the last layer 10 units, or check the labels."),
        (changed(Y, 5, -1), DataError, "got -1 in row 5 of y."),
        (Y.astype(float), DTypeError,
         "fit: expected integer class labels in y for sparse categorical crossentropy, got float64 of shape (8,)."),
        (Y + 0.5, DTypeError, "Use y.astype('int64') if they are whole numbers, or a regression loss if they are not."),
        (np.eye(3, dtype=int)[Y], ShapeError, "got shape (8, 3). For one-hot rows use categorical crossentropy."),
        (np.stack([Y, Y], 1), ShapeError, "fit: expected one label in y for each output of the last layer 'last'"),
        (["cat"] * 8, DTypeError, "fit: expected numbers in y, got text data of shape (8,) with 'cat'."),
        (["cat"] * 8, DTypeError, "Turn texts into rv.one_hot or numpy.unique(..., return_inverse=True)"),
        (Y * 1j, DTypeError, "fit: expected numbers in y, got complex data of shape (8,)."),
    ],
)  # fmt: skip
def test_labels(y: Any, error: type[Exception], text: str) -> None:
    refuses(network(), error, text, y=y)
    refuses(network(shape=None), error, text, y=y)


@pytest.mark.parametrize(
    ("loss", "activation", "units", "y", "error", "text"),
    [
        ("mse", None, 2, np.ones((8, 3)), ShapeError,
         "fit: the last layer 'last' gives an output of shape (samples, 2), but y has shape (8, 3). Check the units"),
        ("categorical_crossentropy", "softmax", 3, Y, ShapeError,
         "but y has shape (8,). For integer labels use sparse categorical crossentropy, or rv.one_hot."),
        ("binary_crossentropy", "sigmoid", 1, Y, DataError,
         "fit: expected targets from 0 to 1 for binary crossentropy behind the last layer 'last', got 2 in row 2"),
        ("binary_crossentropy", "sigmoid", 1, np.sign(Y - 0.5), DataError, "For labels -1 and 1 use (y + 1) / 2."),
        ("categorical_crossentropy", "softmax", 3, np.eye(3)[Y] * 2, DataError, "from 0 to 1 for categorical"),
    ],
)  # fmt: skip
def test_targets(loss: str, activation: Any, units: int, y: Any, error: type[Exception], text: str) -> None:
    refuses(network(units, activation, loss), error, text, y=y)


def test_validation_data_is_checked_before_training_starts() -> None:
    refuses(network(), DataError, "fit, validation data: expected labels from 0 to 2",
            validation_data=(X, changed(Y, 0, 9)))  # fmt: skip
    refuses(network(shape=None), ShapeError, "fit, validation data: the model", validation_data=(X[:, :2], Y))


# -- NaN ----------------------------------------------------------------------------------------------------------


def test_nan_in_data_is_a_warning_that_names_the_column() -> None:
    bad = changed(changed(X, (4, 1), np.nan), (6, 0), np.inf)
    with pytest.warns(UserWarning, match=r"fit: x holds NaN in column 1 \(row 4\), and 1 more such value"):
        with pytest.raises(NonFiniteError, match=r"Row [46] of x in that batch holds NaN or infinity: drop or fill it"):
            network().fit(bad, Y, verbose=0)
    with pytest.raises(NonFiniteError, match="the loss became NaN"):
        network().fit(bad, Y, verbose=0, check_data="ignore")  # no warning: the suite turns warnings into errors


def test_nan_in_data_is_an_error_if_asked() -> None:
    bad = changed(X, (4, 1), np.nan)
    refuses(
        network(), DataError, "fit: x holds NaN in column 1 (row 4). Training would give NaN", x=bad, check_data="error"
    )
    refuses(network(loss="mse", activation=None), DataError, "fit: y holds infinity in column 2 (row 7).",
            y=changed(np.ones((8, 3)), (7, 2), np.inf), check_data="error")  # fmt: skip
    image = changed(np.ones((8, 2, 2)), (1, 1, 0), np.nan)
    model = rv.Sequential([rv.layers.Flatten(), rv.layers.Dense(3, "softmax")])
    model.compile("sgd", SPARSE)
    refuses(model, DataError, "x holds NaN in position (1, 0) of the samples (row 1)", x=image, check_data="error")


def test_huge_but_finite_data_is_no_nan() -> None:
    history = network(loss="mse", activation=None).fit(
        X * 0, np.zeros((8, 3)) + np.float32(1e10), verbose=0, check_data="error"
    )
    assert np.isfinite(history.history["loss"]).all()
    from ranvier.models.data_adapter import check_finite

    check_finite("fit", "x", np.full((4, 2), 3e38, np.float32), "error")  # the sum overflows, the values are fine


def test_numbers_too_large_for_float32() -> None:
    refuses(
        network(), DataError, "x holds infinity in column 0 (row 2)", x=changed(X.astype(float), (2, 0), 1e300),
        check_data="error",
    )  # fmt: skip


def test_targets_of_nothing_but_nan() -> None:
    refuses(network(1, "sigmoid", "binary_crossentropy"), DataError, "y holds NaN in column 0 (row 0), and 7 more",
            y=np.full(8, np.nan), check_data="error")  # fmt: skip


# -- compile ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "loss", "text"),
    [
        ("softmax", rv.losses.SparseCategoricalCrossentropy(from_logits=True),
         "compile: SparseCategoricalCrossentropy(from_logits=True): expected logits, but the last layer 'last' ends"),
        ("sigmoid", rv.losses.BinaryCrossentropy(from_logits=True), "BinaryCrossentropy(from_logits=True): expected"),
        (None, SPARSE, "compile: SparseCategoricalCrossentropy: expected probabilities, but the last layer"),
        ("relu", "binary_crossentropy", "expected probabilities, but the last layer 'last' ends with relu"),
    ],
)  # fmt: skip
def test_activation_and_loss_that_contradict_each_other(activation: Any, loss: Any, text: str) -> None:
    model = rv.Sequential([rv.layers.Dense(1, activation, name="last"), rv.layers.Dropout(0.1)])
    with pytest.raises(ArgumentError, match=re.escape(text)):
        model.compile("sgd", loss)
    assert not model.compiled
    late = rv.Sequential([rv.layers.Dense(1, "linear" if activation == "softmax" else "softmax")])
    late.compile("sgd", rv.losses.SparseCategoricalCrossentropy(from_logits=activation == "softmax"))
    late.add(rv.layers.Dense(3, activation, name="last"))
    if (isinstance(loss, str) and loss == SPARSE) or activation == "softmax":
        refuses(late, ArgumentError, "the last layer 'last' ends with")


def test_a_guess_about_the_last_layer_is_only_a_warning() -> None:
    class Own(rv.Model):
        def __init__(self) -> None:
            super().__init__()
            self.out = rv.layers.Dense(3, "softmax", name="out")

        def call(self, inputs: Any) -> Any:
            return rv.log(self.out(inputs))

    with pytest.warns(UserWarning, match="expected logits, but the last layer 'out' ends with softmax"):
        Own().compile("sgd", rv.losses.SparseCategoricalCrossentropy(from_logits=True))


def test_compile_names() -> None:
    model = rv.Sequential([rv.layers.Dense(1)])
    for options, text in (
        ({"optimizer": "adamm"}, "adamm"),
        ({"loss": "msee"}, "msee"),
        ({"loss": "mse", "metrics": ["acuracy"]}, "acuracy"),
        ({"loss": "mse", "metrics": 3}, "expected metrics to be a list"),
        ({"loss": rv.losses.MeanSquaredError(reduction="none")}, "has reduction 'none', but training needs one number"),
    ):
        with pytest.raises(ArgumentError, match=text):
            model.compile(**options)
    assert not model.compiled


def test_before_compile_and_without_loss_or_weights() -> None:
    model = rv.Sequential([rv.Input((3,)), rv.layers.Dense(3)])
    refuses(model, ArgumentError, f"fit: the model {model.name!r} is not compiled. Call model.compile(")
    with pytest.raises(ArgumentError, match=r"evaluate: the model 'sequential\w*' is not compiled"):
        model.evaluate(X, Y)
    model.compile("sgd")
    refuses(model, ArgumentError, "fit: compile was given no loss.")
    empty = rv.Sequential()
    empty.compile("sgd", "mse")
    refuses(empty, ArgumentError, "has no layers. Add some, for example rv.layers.Dense(1).")
    flat = rv.Sequential([rv.layers.Flatten()])
    flat.compile("sgd", "mse")
    refuses(flat, ArgumentError, "has no weights to train.", y=X)


def test_a_model_that_never_called_super() -> None:
    class Forgetful(rv.Model):
        def __init__(self) -> None:
            self.out = rv.layers.Dense(1)

    with pytest.raises(ArgumentError, match=r"Forgetful: __init__ must call super\(\).__init__\(\) first"):
        Forgetful().compile("sgd", "mse")


def test_fit_within_fit() -> None:
    model = network()
    again = rv.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: model.fit(X, Y, verbose=0))
    with pytest.raises(ArgumentError, match="is being trained already, by another thread or a callback"):
        model.fit(X, Y, verbose=0, callbacks=[again])
    model.fit(X, Y, verbose=0)  # and the model is free again


def test_sample_weights_need_a_loss_for_each_sample() -> None:
    model = network(loss=lambda true, pred: rv.mean(pred))
    with pytest.raises(ArgumentError, match="returns one number for the whole batch, so samples cannot be weighted"):
        model.fit(X, Y, sample_weight=np.ones(8), verbose=0)
