"""Networks with convolutions: `fit` equals plain gradient descent, on any number of threads, and files keep them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import layers
from ranvier.errors import ShapeError

EPSILON = 2.0**-24  # half the distance from 1 to the next float32
RATE, BATCH, SAMPLES = 0.1, 8, 20  # the last batch of an epoch is smaller


def image_classifier(**common: Any) -> list[Any]:
    return [
        layers.Conv2D(6, 3, padding="same", activation="relu", **common),
        layers.MaxPooling2D(**common),
        layers.Conv2D(8, 3, activation="relu", **common),
        layers.Flatten(**common),
        layers.Dense(3, activation="softmax", **common),
    ]


def signal_classifier(**common: Any) -> list[Any]:
    return [
        layers.Conv1D(5, 3, padding="causal", dilation_rate=2, activation="tanh", **common),
        layers.AveragePooling1D(3, 2, "same", **common),
        layers.SeparableConv1D(7, 3, padding="same", activation="tanh", **common),
        layers.GlobalAveragePooling1D(**common),
        layers.Dense(3, activation="softmax", **common),
    ]


def grouped_classifier(**common: Any) -> list[Any]:
    return [
        layers.ZeroPadding2D(((1, 0), (0, 1)), **common),
        layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2, activation="tanh", **common),
        layers.Conv2D(8, (1, 3), groups=2, activation="sigmoid", kernel_regularizer="l2", **common),
        layers.GlobalMaxPooling2D(**common),
        layers.Dense(3, activation="softmax", **common),
    ]


def autoencoder(**common: Any) -> list[Any]:
    return [
        layers.Conv2D(4, 3, strides=2, padding="same", activation="tanh", **common),
        layers.Conv2DTranspose(3, 3, strides=2, padding="same", activation="tanh", **common),
        layers.UpSampling2D(2, interpolation="bilinear", **common),
        layers.Conv2D(2, 2, strides=2, **common),
    ]


def volume_classifier(**common: Any) -> list[Any]:
    return [
        layers.Conv3D(3, 2, activation="tanh", **common),
        layers.MaxPooling3D((1, 2, 2), **common),
        layers.Flatten(**common),
        layers.Dense(3, activation="softmax", **common),
    ]


# Network, shape of a sample, and the longest sum in it: products of a convolution or of a weight gradient.
NETWORKS = [
    (image_classifier, (7, 6, 2), BATCH * 7 * 6),
    (signal_classifier, (13, 3), BATCH * 13),
    (grouped_classifier, (6, 7, 2), BATCH * 4 * 4),
    (autoencoder, (6, 4, 2), BATCH * 12 * 8),
    (volume_classifier, (3, 5, 5, 2), BATCH * 2 * 4 * 4),
]
EACH = pytest.mark.parametrize("network, shape, terms", NETWORKS, ids=[n.__name__ for n, _, _ in NETWORKS])


def data(network: Any, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, str]:
    """Always the same samples: a largest value or a bend that rounding decides would be chance otherwise."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(SAMPLES, *shape)).astype(np.float32)
    return (
        (x, x, "mse") if network is autoencoder else (x, rng.integers(0, 3, SAMPLES), "sparse_categorical_crossentropy")
    )


def made(network: Any, shape: tuple[int, ...], loss: str, **common: Any) -> rv.Sequential:
    rv.set_random_seed(7)
    model = rv.Sequential([rv.Input(shape, **common), *network(**common)])
    model.compile(rv.optimizers.SGD(RATE), loss)
    return model


@EACH
def test_fit_is_plain_gradient_descent(network: Any, shape: tuple[int, ...], terms: int) -> None:
    """The compiled steps in float32 against eager steps in float64.

    Each gradient may be off by the rounding of its longest sum, 8 * EPSILON * sqrt(terms) of the greatest number in it,
    once for each of at most 6 layers on its way back; `slack` adds that up over the steps.
    """
    x, y, loss = data(network, shape)
    model = made(network, shape, loss)
    start = model.get_weights()
    model.fit(x, y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0)

    exact = made(network, shape, loss, dtype="float64")
    exact.set_weights(start)
    measure = rv.losses.get(loss)
    slack = [np.abs(w).max(initial=0) * EPSILON for w in start]
    for at in [*range(0, SAMPLES, BATCH)] * 2:
        rows = slice(at, at + BATCH)

        def total(rows: slice = rows) -> Any:
            value = measure(y[rows], exact(x[rows].astype(np.float64), training=True))
            return sum(exact.losses, value)

        gradients = rv.grad(total, wrt=exact.trainable_weights)()
        for i, (weight, gradient) in enumerate(zip(exact.trainable_weights, gradients, strict=True)):
            weight.assign(weight - RATE * gradient)
            slack[i] += RATE * 6 * 8 * EPSILON * terms**0.5 * np.abs(gradient.numpy()).max()
    for name, got, want, bound in zip(
        [w.name for w in model.weights], model.get_weights(), exact.get_weights(), slack, strict=True
    ):
        assert np.abs(got - want).max() <= bound, (name, np.abs(got - want).max(), bound)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(start, model.get_weights(), strict=True))


@EACH
def test_the_same_bits_on_any_number_of_threads(network: Any, shape: tuple[int, ...], terms: int) -> None:
    x, y, loss = data(network, shape)
    found = []
    for threads in (1, 2):
        with rv.config.override(threads=threads):
            model = made(network, shape, loss)
            model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0)
            found.append([w.tobytes() for w in model.get_weights()] + [model.predict(x).tobytes()])
    assert found[0] == found[1]


@EACH
def test_files_keep_everything(network: Any, shape: tuple[int, ...], terms: int, tmp_path: Path) -> None:
    x, y, loss = data(network, shape)
    model = made(network, shape, loss)
    model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)
    model.save(tmp_path / "net.safetensors")
    again = rv.load_model(tmp_path / "net.safetensors")
    assert [type(layer) for layer in again.layers] == [type(layer) for layer in model.layers]
    assert [layer.get_config() for layer in again.layers] == [layer.get_config() for layer in model.layers]
    assert np.array_equal(again.predict(x), model.predict(x))
    for trained in (model, again):
        rv.set_random_seed(1)
        trained.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), again.get_weights(), strict=True))


def test_the_first_layer_may_name_the_shape() -> None:
    model = rv.Sequential([layers.Conv2D(4, 3, input_shape=(8, 8, 1)), layers.GlobalMaxPooling2D(), layers.Dense(2)])
    assert model.built
    assert model.count_params() == (9 * 4 + 4) + (4 * 2 + 2)
    assert [layer.built_shape for layer in model.layers] == [(None, 8, 8, 1), (None, 6, 6, 4), (None, 4)]


def test_a_network_without_fixed_sizes(rng: np.random.Generator) -> None:
    """Convolutions and global pooling take images of any size, with the same weights."""
    model = rv.Sequential([layers.Conv2D(4, 3, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dense(2)])
    small = rng.normal(size=(3, 5, 6, 1)).astype(np.float32)
    assert model(small).shape == (3, 2)
    assert model(rng.normal(size=(2, 9, 4, 1)).astype(np.float32)).shape == (2, 2)
    model.compile("sgd", "mse")
    model.fit(small, np.zeros((3, 2), np.float32), epochs=1, verbose=0)


def test_open_sizes_may_be_said(rng: np.random.Generator, tmp_path: Path) -> None:
    model = rv.Sequential([rv.Input((None, 3)), layers.Conv1D(4, 3, padding="causal"), layers.GlobalMaxPooling1D()])
    model.compile("sgd", "mse")
    model.fit(rng.normal(size=(5, 6, 3)), np.zeros((5, 4)), verbose=0)
    longer = rng.normal(size=(2, 50, 3)).astype(np.float32)
    found = model.predict(longer, verbose=0)
    assert np.allclose(found, model(longer).numpy(), rtol=0, atol=8 * EPSILON * 9**0.5 * np.abs(found).max())
    model.save(tmp_path / "open.safetensors")
    assert np.array_equal(rv.load_model(tmp_path / "open.safetensors").predict(longer, verbose=0), found)


def test_layers_that_do_not_fit_are_named_when_the_model_is_built() -> None:
    with pytest.raises(ShapeError, match=r"Conv2D 'deep': .*kernel_size \(3, 3\) fits into, got spatial size 2x2"):
        rv.Sequential([rv.Input((8, 8, 1)), layers.MaxPooling2D(4), layers.Conv2D(4, 3, name="deep")])
    with pytest.raises(
        ShapeError, match=r"Conv2D 'first': expected one input of shape \(batch, height, width, channels"
    ):
        rv.Sequential([rv.Input((8, 8)), layers.Conv2D(4, 3, name="first")])


def test_what_is_wrong_with_images_is_said(rng: np.random.Generator) -> None:
    model = rv.Sequential([rv.Input((8, 6, 1)), layers.Conv2D(2, 3, name="first"), layers.Flatten(), layers.Dense(1)])
    model.compile("sgd", "mse")
    y = np.zeros((4, 1))
    with pytest.raises(ShapeError, match=r"'first'\) takes samples of shape \(8, 6, 1\), .* use x\[..., None\]"):
        model.fit(rng.normal(size=(4, 8, 6)), y)
    with pytest.raises(ShapeError, match=r"Channels are the last axis: use np.moveaxis\(x, 1, -1\)"):
        model.predict(rng.normal(size=(4, 1, 8, 6)))


@pytest.mark.parametrize("filters", [3, 20])
def test_gradients_of_arguments_read_nothing_behind_them(filters: int, rng: np.random.Generator) -> None:
    """In checked mode an argument ends at a page that must not be touched; the gradient of the output is one here."""
    x = rng.normal(size=(2, 6, 5, 2)).astype(np.float32)
    kernel = rng.normal(size=(3, 2, 2, filters)).astype(np.float32)
    g = rng.normal(size=(2, 4, 4, filters)).astype(np.float32)

    def gradients(x: Any, kernel: Any, g: Any) -> Any:
        return rv.grad(lambda x, kernel: rv.sum(rv.conv(x, kernel) * g), argnums=(0, 1))(x, kernel)

    with rv.config.override(checked=True):
        found = rv.jit(gradients)(x, kernel, g)
    for got, want in zip(found, gradients(*map(rv.tensor, (x, kernel, g))), strict=True):
        # sums of at most 2 * 4 * 4 pixels or 3 * 2 * 20 taps and filters
        assert np.abs(got.numpy() - want.numpy()).max() <= 8 * EPSILON * 120**0.5 * np.abs(want.numpy()).max()
