"""Training against a network written out in NumPy: same batches, same weights after every step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranvier as rv

FEATURES, HIDDEN, CLASSES = 5, 7, 3


def data(rng: np.random.Generator, n: int = 22) -> tuple[np.ndarray, np.ndarray]:
    x = rng.normal(size=(n, FEATURES)).astype(np.float32)
    return x, rng.integers(0, CLASSES, n)


def start(rng: np.random.Generator) -> list[np.ndarray]:
    shapes = [(FEATURES, HIDDEN), (HIDDEN,), (HIDDEN, CLASSES), (CLASSES,)]
    return [rng.normal(size=s, scale=0.5).astype(np.float32) for s in shapes]


def network(weights: list[np.ndarray], l2: float = 0.0) -> rv.Sequential:
    penalty = rv.regularizers.L2(l2) if l2 else None
    model = rv.Sequential(
        [
            rv.Input((FEATURES,)),
            rv.layers.Dense(HIDDEN, activation="tanh", kernel_regularizer=penalty),
            rv.layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    model.set_weights(weights)
    return model


def by_hand(
    weights: list[np.ndarray], x: np.ndarray, y: np.ndarray, batch: int, epochs: int, rate: float = 0.5,
    sample: np.ndarray | None = None, l2: float = 0.0,
) -> tuple[list[np.ndarray], list[float], list[float]]:  # fmt: skip
    """Plain gradient descent in float64: the weights, and loss and accuracy of each epoch as Keras counts them."""
    w1, b1, w2, b2 = (w.astype(np.float64) for w in weights)
    losses, right = [], []
    for _ in range(epochs):
        total = hits = 0.0
        for at in range(0, len(x), batch):
            xb, yb = x[at : at + batch].astype(np.float64), y[at : at + batch]
            sb = np.ones(len(xb)) if sample is None else sample[at : at + batch].astype(np.float64)
            h = np.tanh(xb @ w1 + b1)
            z = h @ w2 + b2
            p = np.exp(z - z.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            picked = p[np.arange(len(xb)), yb]
            loss = -(sb * np.log(picked)).sum() / len(xb) + l2 * (w1**2).sum()
            total += loss * len(xb)
            hits += (p.argmax(1) == yb).sum()
            dz = p.copy()
            dz[np.arange(len(xb)), yb] -= 1
            dz *= sb[:, None] / len(xb)
            dh = dz @ w2.T * (1 - h**2)
            steps = (xb.T @ dh + 2 * l2 * w1, dh.sum(0), h.T @ dz, dz.sum(0))
            w1, b1, w2, b2 = (w - rate * g for w, g in zip((w1, b1, w2, b2), steps, strict=True))
        losses.append(total / len(x))
        right.append(hits / len(x))
    return [w1, b1, w2, b2], losses, right


def trained(weights: list[np.ndarray], x: Any, y: Any, l2: float = 0.0, **options: Any) -> Any:
    model = network(weights, l2)
    model.compile(rv.optimizers.SGD(0.5), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, model.fit(x, y, shuffle=False, verbose=0, **options)


def close(got: Any, expected: Any) -> None:
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=3e-5, atol=3e-6)


@pytest.mark.smoke
@pytest.mark.parametrize("batch", [11, 8, 100])
def test_weights_and_history_are_those_of_plain_gradient_descent(rng: np.random.Generator, batch: int) -> None:
    """11 divides the 22 samples, 8 leaves a smaller last batch, 100 is more than there are."""
    x, y = data(rng)
    weights = start(rng)
    model, history = trained(weights, x, y, batch_size=batch, epochs=3)
    expected, losses, right = by_hand(weights, x, y, batch, 3)
    close(model.get_weights(), expected)
    close(history.history["loss"], losses)
    close(history.history["accuracy"], right)
    assert history.epoch == [0, 1, 2]
    assert history.stopped_by is None
    assert history.params["steps"] == -(-22 // batch)


def test_sample_weights_class_weights_and_penalties(rng: np.random.Generator) -> None:
    x, y = data(rng)
    weights, sample = start(rng), rng.uniform(0, 2, 22).astype(np.float32)
    sample[4] = 0
    factors = np.array([2.0, 1.0, 0.25])[y]
    model, history = trained(
        weights, x, y, 0.01, batch_size=8, epochs=2, sample_weight=sample, class_weight={0: 2.0, 2: 0.25}
    )
    expected, losses, right = by_hand(weights, x, y, 8, 2, sample=sample * factors, l2=0.01)
    close(model.get_weights(), expected)
    close(history.history["loss"], losses)
    close(history.history["accuracy"], right)  # metrics are not weighted unless asked


def test_weighted_metrics_use_sample_weights(rng: np.random.Generator) -> None:
    x, y = data(rng)
    sample = rng.uniform(0, 2, 22).astype(np.float32)
    model = network(start(rng))
    model.compile(rv.optimizers.SGD(0.5), "sparse_categorical_crossentropy", ["accuracy"], ["accuracy"])
    found = model.evaluate(x, y, sample_weight=sample, verbose=0, return_dict=True)
    hit = model.predict(x).argmax(1) == y
    assert list(found) == ["loss", "accuracy", "weighted_accuracy"]
    assert found["accuracy"] == pytest.approx(hit.mean(), rel=1e-5)
    assert found["weighted_accuracy"] == pytest.approx((hit * sample).sum() / sample.sum(), rel=1e-5)


def test_a_loss_that_averages_by_itself_sees_real_rows_only(rng: np.random.Generator) -> None:
    x = rng.normal(size=(11, 2)).astype(np.float32)
    y = (x @ np.array([[1.0], [2.0]])).astype(np.float32)
    models = []
    for loss in ("mse", lambda true, pred: rv.mean((true - pred) ** 2)):
        model = rv.Sequential([rv.Input((2,)), rv.layers.Dense(1, kernel_initializer="ones")])
        model.compile(rv.optimizers.SGD(0.1), loss)
        history = model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        models.append((model.get_weights(), history.history["loss"], model.evaluate(x, y, batch_size=4, verbose=0)))
    close(models[0][0], models[1][0])
    close(models[0][1], models[1][1])
    assert models[0][2] == pytest.approx(models[1][2], rel=1e-5)


def test_shuffling_goes_through_all_rows_and_follows_the_seed(rng: np.random.Generator) -> None:
    x, y = data(rng)
    weights = start(rng)

    def run(seed: int) -> list[np.ndarray]:
        model = network(weights)
        model.compile(rv.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
        rv.set_random_seed(seed)
        model.fit(x, y, batch_size=8, epochs=1, verbose=0)
        return model.get_weights()

    first, again, other = run(3), run(3), run(4)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))
    rv.set_random_seed(3)
    order = np.asarray(rv.random.permutation(22))
    assert sorted(order.tolist()) == list(range(22))
    close(first, by_hand(weights, x[order], y[order], 8, 1)[0])


def test_two_fits_equal_one_long_one(rng: np.random.Generator) -> None:
    x, y = data(rng)
    weights = start(rng)
    results = []
    for parts in ((4,), (1, 3)):
        model = network(weights)
        model.compile("adam", "sparse_categorical_crossentropy")
        rv.set_random_seed(9)
        done = 0
        for epochs in parts:
            model.fit(x, y, batch_size=8, epochs=done + epochs, initial_epoch=done, verbose=0)
            done += epochs
        results.append(model.get_weights())
    assert all((a == b).all() for a, b in zip(*results, strict=True))


def test_validation_split_holds_out_the_last_rows(rng: np.random.Generator) -> None:
    x, y = data(rng, 20)
    weights = start(rng)
    model, history = trained(weights, x, y, batch_size=8, epochs=2, validation_split=0.3)
    other, same = trained(weights, x[:14], y[:14], batch_size=8, epochs=2, validation_data=(x[14:], y[14:]))
    assert history.history == same.history
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert history.params["samples"] == 14
    p = model.predict(x[14:]).astype(np.float64)
    expected = -np.log(p[np.arange(6), y[14:]]).mean()
    assert history.history["val_loss"][-1] == pytest.approx(expected, rel=1e-5)
    assert history.history["val_accuracy"][-1] == pytest.approx((p.argmax(1) == y[14:]).mean())
    close(model.get_weights(), other.get_weights())


def test_validation_weights_and_frequency(rng: np.random.Generator) -> None:
    x, y = data(rng, 10)
    sample = np.linspace(0, 1, 10)
    _, history = trained(
        start(rng), x, y, epochs=4, validation_data=(x, y, sample), validation_freq=2, validation_batch_size=3
    )
    assert len(history.history["val_loss"]) == 2
    model, _ = trained(start(rng), x, y, epochs=1, validation_data=(x, y, sample))
    p = model.predict(x)[np.arange(10), y].astype(np.float64)
    assert model.evaluate(x, y, sample_weight=sample, verbose=0)[0] == pytest.approx(
        -(sample * np.log(p)).mean(), rel=1e-5
    )


def test_train_on_batch_is_one_step(rng: np.random.Generator) -> None:
    x, y = data(rng, 8)
    weights = start(rng)
    model = network(weights)
    model.compile(rv.optimizers.SGD(0.5), "sparse_categorical_crossentropy", metrics=["accuracy"])
    before = model.test_on_batch(x, y, return_dict=True)
    model.reset_metrics()
    returned = model.train_on_batch(x, y)
    expected, losses, right = by_hand(weights, x, y, 8, 1)
    close(model.get_weights(), expected)
    close(returned, [losses[0], right[0]])
    assert before["loss"] == pytest.approx(losses[0], rel=1e-5)


def test_frozen_layers_stay(rng: np.random.Generator) -> None:
    x, y = data(rng)
    weights = start(rng)
    model = network(weights)
    model.layers[0].trainable = False
    model.compile(rv.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=1, verbose=0)
    after = model.get_weights()
    assert (after[0] == weights[0]).all()
    assert (after[2] != weights[2]).any()


def test_dropout_is_only_active_in_training(rng: np.random.Generator) -> None:
    model = rv.Sequential([rv.Input((4,)), rv.layers.Dropout(0.5), rv.layers.Dense(1, kernel_initializer="ones")])
    x = np.ones((16, 4), np.float32)
    assert (model.predict(x) == 4).all()
    model.compile(rv.optimizers.SGD(1e-9), "mse")
    rv.set_random_seed(0)
    history = model.fit(x, np.full(16, 4.0), epochs=1, verbose=0)
    assert history.history["loss"][0] > 0.5  # some inputs were dropped
    assert model.evaluate(x, np.full(16, 4.0), verbose=0) == pytest.approx(0, abs=1e-6)


def test_one_compile_for_many_epochs_and_a_partial_batch(rng: np.random.Generator) -> None:
    x, y = data(rng)
    model, _ = trained(start(rng), x, y, batch_size=8, epochs=3, validation_data=(x[:10], y[:10]))
    model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    steps = [s.step for segments in model._keeper.engine._segments.values() for s in segments]
    assert [s.traces for s in steps] == [1, 1]  # training and evaluation


def test_a_model_of_ones_own(rng: np.random.Generator) -> None:
    class TwoPaths(rv.Model):
        def __init__(self) -> None:
            super().__init__()
            self.paths = [rv.layers.Dense(3, activation="relu"), rv.layers.Dense(2, activation="tanh")]
            self.gain = rv.Variable([1.0], name="gain")
            self.out = rv.layers.Dense(1)

        def call(self, inputs: Any, training: bool = False) -> Any:
            return self.out(rv.concatenate([p(inputs) for p in self.paths], axis=-1)) * self.gain

    x = rng.normal(size=(20, 4)).astype(np.float32)
    y = x[:, :1] * 2
    model = TwoPaths()
    model.compile(rv.optimizers.Adam(0.05), "mse", metrics=["mae"])
    history = model.fit(x, y, epochs=15, batch_size=10, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0] / 2
    assert [w.name.split("/")[-1] for w in model.weights] == [
        "gain",
        "kernel",
        "bias",
        "kernel",
        "bias",
        "kernel",
        "bias",
    ]
    np.testing.assert_allclose(model.predict(x), model(x).numpy(), rtol=1e-5, atol=1e-6)
    assert model.get_weights()[0] != 1.0


@pytest.mark.parametrize("kind", ["list", "float64", "fortran", "strided", "int", "tensor", "big-endian"])
def test_data_of_many_kinds_trains_alike(rng: np.random.Generator, kind: str) -> None:
    x = rng.integers(0, 9, (12, FEATURES)).astype(np.float32)
    y = rng.integers(0, CLASSES, 12)
    weights = start(rng)
    forms: dict[str, Any] = {
        "list": x.tolist(),
        "float64": x.astype(np.float64),
        "fortran": np.asfortranarray(x),
        "strided": np.repeat(x, 2, axis=0)[::2],
        "int": x.astype(np.uint8),
        "tensor": rv.tensor(x),
        "big-endian": x.astype(">f4"),
    }
    model, _ = trained(weights, x, y, batch_size=5, epochs=1)
    other, _ = trained(weights, forms[kind], y.tolist() if kind == "list" else y, batch_size=5, epochs=1)
    assert all((a == b).all() for a, b in zip(model.get_weights(), other.get_weights(), strict=True))


def test_tables_are_recognised_by_their_methods(rng: np.random.Generator) -> None:
    class Table:
        """What pandas and polars have in common."""

        def __init__(self, array: np.ndarray):
            self.array, self.columns, self.shape = array, [f"c{i}" for i in range(array.shape[1])], array.shape

        def to_numpy(self) -> np.ndarray:
            return self.array

        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return self.array.astype(dtype) if dtype is not None else self.array

        def __len__(self) -> int:
            return len(self.array)

    x, y = data(rng)
    weights = start(rng)
    model, _ = trained(weights, x, y, epochs=1)
    other, _ = trained(weights, Table(x.astype(np.float64)), y, epochs=1)
    assert all((a == b).all() for a, b in zip(model.get_weights(), other.get_weights(), strict=True))
    bad = x.astype(np.float64)
    bad[3, 2] = np.nan
    with pytest.raises(rv.errors.DataError, match=r"fit: x holds NaN in column 'c2' \(row 3\)"):
        trained(weights, Table(bad), y, epochs=1, check_data="error")


def test_targets_with_or_without_a_last_axis(rng: np.random.Generator) -> None:
    x = rng.normal(size=(9, 2)).astype(np.float32)
    y = rng.integers(0, 2, 9)
    results = []
    for targets in (y, y[:, None], y.astype(np.float64), y.astype(bool)):
        model = rv.Sequential([rv.Input((2,)), rv.layers.Dense(1, activation="sigmoid", kernel_initializer="ones")])
        model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
        model.fit(x, targets, verbose=0, shuffle=False)
        results.append(model.get_weights()[0].tolist())
    assert results[1:] == results[:-1]
