"""Masks travel with tensors from layer to layer, into losses, metrics and fit, eagerly and compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier.errors import ArgumentError, ShapeError
from ranvier.layers import Dense, Dropout, Flatten, Layer, Masking
from ranvier.layers.masks import as_mask, attach, mask_of, masks_of, with_mask

pytestmark = pytest.mark.smoke


class Seen(Layer):
    """Keeps the mask it was given."""

    def call(self, x: Any, mask: Any = None) -> Any:
        self.mask = mask
        return x * 2.0


class Keeps(Seen):
    supports_masking = True


class FirstOnly(Layer):
    """One mask for the first of two outputs."""

    supports_masking = True

    def call(self, x: Any) -> Any:
        return x + 1.0, x + 2.0

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return [mask, None]


class Pair(Layer):
    """Two arguments, each with a mask of its own."""

    def call(self, query: Any, value: Any = None, query_mask: Any = None, value_mask: Any = None) -> Any:
        self.masks = query_mask, value_mask
        return query


def sample() -> tuple[np.ndarray, np.ndarray]:
    x = np.ones((2, 3, 4), np.float32)
    x[0, 2] = 0
    x[1, 1] = 0
    x[1, 2, :3] = 0  # not all features: counts
    return x, np.array([[True, True, False], [True, False, True]])


def test_masking_is_its_formula() -> None:
    x, mask = sample()
    x[0, 0, 0] = 0
    layer = Masking()
    y = layer(x)
    assert np.array_equal(mask_of(y).numpy(), mask)
    assert np.array_equal(y.numpy(), np.where(mask[..., None], x, 0))
    other = Masking(mask_value=1.0)(x)
    assert np.array_equal(mask_of(other).numpy(), (x != 1).any(-1))
    with pytest.raises(ArgumentError, match="Masking: expected mask_value to be a finite number, got 'x'"):
        Masking("x")
    with pytest.raises(ShapeError, match=r"Masking 'm': expected an input with at least 2 axes, got shape \(3,\)"):
        Masking(name="m")(rv.ones(3))


def test_a_mask_goes_on_and_is_given_to_those_who_take_it() -> None:
    x, mask = sample()
    seen, after, last = Keeps(), Seen(), Seen()
    y = last(after(Dropout(0.5)(seen(Dense(5)(Masking()(x))))))
    assert np.array_equal(seen.mask.numpy(), mask)
    assert np.array_equal(after.mask.numpy(), mask)
    assert last.mask is None  # the layer before takes a mask but does not hand it on
    assert mask_of(y) is None


def test_sequential_carries_masks() -> None:
    x, mask = sample()
    seen = Keeps()
    model = rv.Sequential([rv.Input((3, 4)), Masking(), rv.Sequential([Dense(2), seen]), Dense(1)])
    assert np.array_equal(mask_of(model(x)).numpy(), mask)
    plain = rv.Sequential([rv.Input((3, 4)), Dense(2), Seen()])
    plain(x, mask=mask)
    assert np.array_equal(plain.layers[1].mask.numpy(), mask)
    plain(x)
    assert plain.layers[1].mask is None
    integers = rv.Sequential([Masking(), Keeps()])
    assert np.array_equal(mask_of(integers((x > 0).astype(int))).numpy(), mask)


def test_a_mask_given_by_hand_is_used_and_does_not_stick_to_the_input() -> None:
    x, mask = sample()
    t = rv.tensor(x)
    layer = Keeps()
    y = layer(t, mask=mask.astype(int))
    assert layer.mask.dtype is rv.bool_
    assert np.array_equal(mask_of(y).numpy(), mask)
    assert mask_of(t) is None

    class Same(Layer):
        supports_masking = True

        def call(self, x: Any, mask: Any = None) -> Any:
            return x

    y = Same()(t, mask=mask)
    assert np.array_equal(mask_of(y).numpy(), mask)
    assert mask_of(t) is None
    assert np.array_equal(y.numpy(), x)


def test_conversion_of_the_dtype_keeps_the_mask() -> None:
    x, mask = sample()
    layer = Keeps()
    layer(Masking(dtype="float64")(x))
    assert np.array_equal(layer.mask.numpy(), mask)


def test_masks_of_several_inputs_and_outputs() -> None:
    x, mask = sample()
    m, plain = Masking()(x), rv.tensor(x)
    first, second = FirstOnly()(m)
    assert mask_of(second) is None
    assert np.array_equal(mask_of(first).numpy(), mask)
    seen = Pair()
    seen(m, plain)
    assert np.array_equal(seen.masks[0].numpy(), mask)
    assert seen.masks[1] is None
    seen(plain, value=m, query_mask=~mask)
    assert np.array_equal(seen.masks[0].numpy(), ~mask)
    assert np.array_equal(seen.masks[1].numpy(), mask)

    class Sum(Layer):
        def call(self, inputs: Any, mask: Any = None) -> Any:
            self.mask = mask
            return inputs[0] + inputs[1]

    layer = Sum()
    layer([plain, m])
    assert layer.mask[0] is None
    assert np.array_equal(layer.mask[1].numpy(), mask)
    layer([plain, plain])
    assert layer.mask is None


def test_nests() -> None:
    x, mask = sample()
    m, plain = Masking()(x), rv.tensor(x)
    assert masks_of({"a": plain, "b": [plain]}) is None
    found = masks_of({"a": plain, "b": (plain, m)})
    assert found["a"] is None
    assert found["b"][1] is mask_of(m)
    assert as_mask(None) is None
    assert as_mask({"a": [1, 0]})["a"].tolist() == [True, False]
    assert [p if p is None else p.tolist() for p in as_mask((None, [1, 0]))] == [None, [True, False]]
    flag = rv.tensor(mask)
    out = attach({"a": plain + 1, "b": plain + 2}, {"b": flag}, [])
    assert mask_of(out["a"]) is None
    assert mask_of(out["b"]) is flag
    assert attach(None, flag, []) is None
    assert with_mask(plain, None) is plain
    assert with_mask(m, mask_of(m)) is m


def test_a_layer_that_loses_the_mask_says_so() -> None:
    x, _ = sample()
    with pytest.warns(UserWarning, match=r"Flatten 'f': the input has a mask .* this layer does not support masking"):
        Flatten(name="f")(Masking()(x))


def test_compiled_like_eager() -> None:
    x, mask = sample()

    class Mean(Layer):
        def call(self, x: Any, mask: Any = None) -> Any:
            w = rv.expand_dims(rv.astype(mask, "float32"), -1)
            return rv.sum(x * w, 1) / rv.sum(w, 1)

    model = rv.Sequential([Masking(), Dense(3), Mean()])
    expected = model(x).numpy()
    assert np.allclose(rv.jit(model)(x).numpy(), expected, atol=1e-6)
    assert np.allclose(model.predict(x), expected, atol=1e-6)
    dense = model.layers[1]
    z = x @ dense.kernel.numpy() + dense.bias.numpy()
    assert np.allclose(expected, (z * mask[..., None]).sum(1) / mask.sum(1)[:, None], atol=1e-6)


def test_losses_and_metrics_leave_masked_steps_out(rng: np.random.Generator) -> None:
    _, mask = sample()
    pred = with_mask(rv.tensor(rng.normal(size=(2, 3, 4))), rv.tensor(mask))
    y = rng.normal(size=(2, 3, 4))
    each = ((pred.numpy() - y) ** 2).mean(-1)
    w = np.array([1.0, 3.0])
    mse = rv.losses.MeanSquaredError()
    assert np.isclose(mse(y, pred).item(), each[mask].mean())
    assert np.isclose(mse(y, pred, w).item(), (each * w[:, None])[mask].sum() / mask.sum())
    assert np.isclose(rv.losses.MeanSquaredError(reduction="sum")(y, pred).item(), each[mask].sum())
    metric = rv.metrics.MeanSquaredError()
    metric.update_state(y, pred)
    assert np.isclose(metric.result().item(), each[mask].mean())
    metric.reset_state()
    metric.update_state(y, pred, w)
    assert np.isclose(metric.result().item(), (each * w[:, None])[mask].sum() / (w[:, None] * mask).sum())
    flat = with_mask(rv.tensor(rng.normal(size=(2, 3))), rv.tensor(mask))
    with pytest.raises(ShapeError, match=r"mask of the predictions: expected one weight .* got shape \(2, 3\)"):
        mse(np.zeros((2, 3)), flat)


def test_fit_and_evaluate_leave_masked_steps_out(rng: np.random.Generator) -> None:
    n = 10
    x = rng.normal(size=(n, 3, 4)).astype(np.float32)
    mask = rng.random((n, 3)) < 0.6
    mask[:, 0] = True
    x[~mask] = 0
    y = rng.normal(size=(n, 3, 2)).astype(np.float32)
    model = rv.Sequential([rv.Input((3, 4)), Masking(), Dense(2)])
    model.compile(rv.optimizers.SGD(1e-30), "mse", metrics=["mae"], weighted_metrics=["mse"])
    w = rng.uniform(0.5, 2, n).astype(np.float32)
    expected = model.predict(x)
    each, apart = ((expected - y) ** 2).mean(-1), np.abs(expected - y).mean(-1)
    for weights in (None, w):
        ww = np.ones(n, np.float32) if weights is None else weights
        means = [
            (each * ww[:, None])[s][mask[s]].sum() / mask[s].sum() for s in (slice(0, 4), slice(4, 8), slice(8, 10))
        ]
        loss = np.dot(means, [4, 4, 2]) / n  # each batch's mean counts by its number of samples
        found = model.evaluate(x, y, batch_size=4, verbose=0, sample_weight=weights, return_dict=True)
        assert np.isclose(found["loss"], loss, rtol=1e-5)
        assert np.isclose(found["mae"], apart[mask].mean(), rtol=1e-5)
        whole = (each * ww[:, None])[mask].sum() / (ww[:, None] * mask).sum()
        assert np.isclose(found["mse"], whole, rtol=1e-5)
        history = model.fit(x, y, batch_size=4, shuffle=False, verbose=0, sample_weight=weights).history
        assert np.isclose(history["loss"][0], loss, rtol=1e-5)


def test_gradients_do_not_see_masked_targets(rng: np.random.Generator) -> None:
    x, mask = sample()
    y = rng.normal(size=(2, 3, 1)).astype(np.float32)
    changed = np.where(mask[..., None], y, 1e6).astype(np.float32)
    weights = []
    for target in (y, changed):
        rv.set_random_seed(1)
        model = rv.Sequential([rv.Input((3, 4)), Masking(), Dense(1)])
        model.compile(rv.optimizers.SGD(0.1), "mse")
        model.fit(x, target, epochs=2, verbose=0)
        weights.append(model.get_weights()[0])
    assert np.array_equal(*weights)


def test_a_model_of_ones_own_carries_masks(rng: np.random.Generator) -> None:
    """From the number 0 through an embedding and recurrent layers into the loss, compiled."""

    class Tagger(rv.Model):
        def __init__(self) -> None:
            super().__init__()
            self.words = rv.layers.Embedding(10, 4, mask_zero=True)
            self.read = rv.layers.Bidirectional(rv.layers.LSTM(3, return_sequences=True))
            self.tag = Dense(5)

        def call(self, inputs: Any) -> Any:
            return self.tag(self.read(self.words(inputs)))

    x = rng.integers(1, 10, (6, 7))
    x[:3, 4:] = 0
    y = rng.integers(0, 5, (6, 7))
    model = Tagger()
    model.compile("adam", rv.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    scores = model.predict(x)
    assert np.array_equal(mask_of(model(x)).numpy(), x != 0)
    right = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    each = -np.take_along_axis(right, y[..., None], -1)[..., 0]
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert np.isclose(loss, each[x != 0].mean(), rtol=1e-5)
    assert np.isclose(accuracy, (scores.argmax(-1) == y)[x != 0].mean())
    history = model.fit(x, y, epochs=60, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert np.allclose(model.predict(x[:3, :4]), model.predict(x[:3])[:, :4], atol=1e-5)
    line = rv.Sequential([rv.layers.Embedding(10, 4, mask_zero=True), rv.layers.GRU(3)])
    assert np.allclose(line.predict(x[:3]), line.predict(x[:3, :4]), atol=1e-5)
