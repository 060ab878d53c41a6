"""Evaluating, predicting, building and summing up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranvier as rv


def small(activation: str | None = None) -> rv.Sequential:
    return rv.Sequential(
        [rv.Input((4,)), rv.layers.Dense(6, activation="relu"), rv.layers.Dense(3, activation=activation)]
    )


def forward(model: Any, x: np.ndarray) -> np.ndarray:
    w1, b1, w2, b2 = model.get_weights()
    return np.maximum(x @ w1 + b1, 0) @ w2 + b2


@pytest.mark.parametrize("rows", [1, 2, 31, 32, 33, 256, 300])
def test_predict_for_any_number_of_rows(rng: np.random.Generator, rows: int) -> None:
    model = small()
    x = rng.normal(size=(rows, 4)).astype(np.float32)
    expected = forward(model, x)
    for _ in range(2):  # the second time takes the short way
        np.testing.assert_allclose(model.predict(x), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.predict(x, batch_size=7), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.predict_on_batch(x), expected, rtol=1e-5, atol=1e-6)


def test_predict_gives_arrays_of_their_own(rng: np.random.Generator) -> None:
    model = small()
    x = rng.normal(size=(1, 4))
    first = model.predict(x)
    kept = first.copy()
    first[...] = 0  # writable
    again = model.predict(x)
    model.predict(x + 1)
    assert (again == kept).all()


def test_predict_sees_new_weights(rng: np.random.Generator) -> None:
    model = small()
    x = rng.normal(size=(1, 4)).astype(np.float32)
    model.predict(x)
    model.predict(x)
    model.set_weights([w * 2 for w in model.get_weights()])
    np.testing.assert_allclose(model.predict(x), forward(model, x), rtol=1e-5, atol=1e-6)
    model.add(rv.layers.Dense(1, kernel_initializer="ones"))
    assert model.predict(x).shape == (1, 1)
    model.pop()
    assert model.predict(x).shape == (1, 3)


def test_the_short_way_still_checks_shapes(rng: np.random.Generator) -> None:
    model = small()
    x = rng.normal(size=(1, 4)).astype(np.float32)
    model.predict(x)
    model.predict(x)
    with pytest.raises(
        rv.errors.ShapeError, match=r"predict: .* takes samples of shape \(4,\), got x of shape \(1, 5\)"
    ):
        model.predict(np.ones((1, 5), np.float32))
    with pytest.raises(rv.errors.ShapeError, match=r"use x\[None\] for one sample"):
        model.predict(np.ones(4, np.float32))
    np.testing.assert_allclose(
        model.predict(np.asfortranarray(np.repeat(x, 2, 0))[:1]), forward(model, x), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("batch", [1, 4, 5, 64])
def test_evaluate_does_not_depend_on_the_batch_size(rng: np.random.Generator, batch: int) -> None:
    model = small("softmax")
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = rng.normal(size=(13, 4)).astype(np.float32), rng.integers(0, 3, 13)
    z = forward(model, x).astype(np.float64)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    found = model.evaluate(x, y, batch_size=batch, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(-np.log(p[np.arange(13), y]).mean(), rel=1e-5)
    assert found["accuracy"] == pytest.approx((p.argmax(1) == y).mean(), rel=1e-6)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(list(found.values()), rel=1e-5)
    assert model.metrics_names == ["loss", "accuracy"]


def test_without_metrics_evaluate_returns_a_number(rng: np.random.Generator) -> None:
    model = small()
    model.compile("sgd", "mse")
    x = rng.normal(size=(5, 4)).astype(np.float32)
    y = rng.normal(size=(5, 3))
    expected = ((forward(model, x) - y) ** 2).mean()
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_accuracy_of_logits_cuts_at_zero() -> None:
    model = rv.Sequential([rv.Input((1,)), rv.layers.Dense(1, kernel_initializer="ones")])
    model.compile("sgd", rv.losses.BinaryCrossentropy(from_logits=True), metrics=["accuracy"])
    found = model.evaluate([[0.25], [-0.25]], [1, 0], verbose=0, return_dict=True)
    assert found["accuracy"] == 1.0


def test_a_metric_with_several_values(rng: np.random.Generator) -> None:
    model = small("softmax")
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[rv.metrics.ConfusionMatrix(3)])
    x, y = rng.normal(size=(13, 4)).astype(np.float32), rng.integers(0, 3, 13)
    _, matrix = model.evaluate(x, y, batch_size=4, verbose=0)
    guess = forward(model, x).argmax(1)
    expected = [[int(((y == i) & (guess == j)).sum()) for j in range(3)] for i in range(3)]
    assert np.asarray(matrix).tolist() == expected


# -- building -----------------------------------------------------------------------------------------------------


def test_weights_exist_before_data_when_the_input_is_known() -> None:
    assert small().count_params() == 4 * 6 + 6 + 6 * 3 + 3
    by_keyword = rv.Sequential([rv.layers.Dense(6, input_shape=(4,)), rv.layers.Dense(3)])
    assert [w.shape for w in by_keyword.weights] == [(4, 6), (6,), (6, 3), (3,)]
    assert by_keyword.output_shape == (None, 3)
    model = rv.Sequential()
    model.add(rv.Input((4,)))
    model.add(rv.layers.Reshape((2, 2)))
    model.add(rv.layers.Flatten())
    assert model.output_shape == (None, 4)
    assert model.weights == []


def test_without_an_input_the_first_data_decides() -> None:
    model = rv.Sequential([rv.layers.Dense(2), rv.layers.Dense(1)])
    with pytest.raises(rv.errors.ArgumentError, match="has no weights yet"):
        model.count_params()
    assert model.predict(np.ones((1, 3))).shape == (1, 1)
    assert model.input_shape == (None, 3)
    assert model.count_params() == 8 + 3


def test_a_failed_first_use_leaves_nothing_behind() -> None:
    model = rv.Sequential([rv.layers.Dense(2), rv.layers.Reshape((5,)), rv.layers.Dense(1)])
    rv.set_random_seed(5)
    with pytest.raises(rv.errors.ShapeError, match=r"Reshape 'reshape\w*': samples of shape \(2,\) have 2 numbers"):
        model.predict(np.ones((1, 3)))
    assert not model.built
    assert not any(layer.built for layer in model.layers)
    assert model.weights == []
    assert rv.random.default_generator.state.numpy().tolist() == [5, 0]
    model.pop(), model.pop()
    assert model.predict(np.ones((1, 7))).shape == (1, 2)


def test_weights_in_keras_order(rng: np.random.Generator) -> None:
    norm = rv.layers.Normalization()
    norm.adapt(rng.normal(size=(9, 4)))
    model = rv.Sequential([rv.Input((4,)), norm, rv.layers.Dense(2)])
    names = [w.name.split("/")[1] for w in model.weights]
    assert names == ["mean", "variance", "kernel", "bias"]
    assert [w.name.split("/")[1] for w in model.trainable_variables] == ["kernel", "bias"]
    assert [w.name.split("/")[1] for w in model.non_trainable_variables] == ["mean", "variance"]


def test_models_inside_models(rng: np.random.Generator) -> None:
    inner = small("relu")
    outer = rv.Sequential([inner, rv.layers.Dense(2)])
    x = rng.normal(size=(3, 4)).astype(np.float32)
    assert outer.output_shape == (None, 2)
    w, b = outer.get_weights()[-2:]
    np.testing.assert_allclose(outer.predict(x), np.maximum(forward(inner, x), 0) @ w + b, rtol=1e-5, atol=1e-6)
    outer.compile("sgd", "mse")
    outer.fit(x, np.zeros((3, 2)), verbose=0)


def test_summary_before_any_data() -> None:
    lines: list[str] = []
    small().summary(print_fn=lines.append)
    text = lines[0]
    assert "(None, 6)" in text
    assert "(None, 3)" in text
    assert "2 layers, 2 with weights (the input layer does not count)" in text
    assert "51 weights (204 B): 51 trainable, 0 not" in text


def test_summary_of_a_model_that_is_not_built(capsys: pytest.CaptureFixture[str]) -> None:
    rv.Sequential([rv.layers.Dense(2)]).summary()
    text = capsys.readouterr().out
    assert "1 layer (the input layer does not count)" in text
    assert "not built yet" in text


def test_layers_by_name_and_number() -> None:
    model = rv.Sequential([rv.layers.Dense(2, name="a"), rv.layers.Dense(1, name="b")])
    assert model.get_layer("b") is model.layers[1] is model.get_layer(index=-1)
    with pytest.raises(rv.errors.ArgumentError, match=r"there is no layer 'c'. Layers: a, b."):
        model.get_layer("c")
    with pytest.raises(rv.errors.ArgumentError, match="there are 2 layers, none has the number 2"):
        model.get_layer(index=2)
    with pytest.raises(rv.errors.ArgumentError, match="either a name or an index"):
        model.get_layer()


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        (["dense"], "expected a layer, got 'dense'"),
        ([rv.layers.Dense], "got the class Dense; make one of it"),
        ([rv.layers.Dense(1, name="a"), rv.layers.Dense(1, name="a")], "there is a layer 'a' already"),
        ([rv.layers.Dense(1), rv.Input((2,))], "an Input stands before all other layers"),
        (7, "expected a list of layers, got 7"),
    ],
)
def test_what_is_no_list_of_layers(layers: Any, text: str) -> None:
    with pytest.raises(rv.errors.ArgumentError, match=text):
        rv.Sequential(layers)


def test_a_layer_twice() -> None:
    layer = rv.layers.Dense(3)
    with pytest.raises(rv.errors.ArgumentError, match="is in the model already"):
        rv.Sequential([layer, layer])


def test_a_layer_that_does_not_fit_is_not_added() -> None:
    model = small()
    with pytest.raises(rv.errors.ShapeError, match="do not fill"):
        model.add(rv.layers.Reshape((7,)))
    assert len(model.layers) == 2
    assert model.predict(np.ones((1, 4))).shape == (1, 3)


def test_explain_names_the_layers(rng: np.random.Generator) -> None:
    model = small("softmax")
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    before = model.get_weights()
    text = model.explain(rng.normal(size=(20, 4)), rng.integers(0, 3, 20), batch_size=8)
    assert model.layers[0].name in text
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
    with pytest.raises(rv.errors.ArgumentError, match="explain: expected batch_size to be a positive integer, got 0"):
        model.explain(rng.normal(size=(20, 4)), rng.integers(0, 3, 20), batch_size=0)
