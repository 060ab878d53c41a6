"""Pooling layers: equal to plain loops, to Keras and to PyTorch in outputs and gradients, and clear on bad input."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import layers
from ranvier.errors import ArgumentError, ShapeError

from . import spatial_reference as reference

EPSILON = 2.0**-24  # half the distance from 1 to the next float32
SHAPES = {1: (3, 9, 4), 2: (2, 7, 6, 3), 3: (2, 4, 5, 3, 2)}

# Size of the window, strides, padding: overlapping windows, windows with gaps between them, odd and even.
WINDOWS = [
    *itertools.product([1, 2, 3], [None, 1, 2, 3], ["valid", "same"]),
    (2, 5, "valid"),
    (3, 4, "same"),
]


def tolerance(terms: int) -> float:
    """How far two means or gradients of ``terms`` numbers may differ: each side rounds ``terms`` times at most."""
    return 2 * (terms + 1) * EPSILON


@pytest.fixture
def peer() -> Any:
    """Keras and its gradients."""
    return pytest.importorskip("tests.words.keras_peer", reason="needs Keras", exc_type=ImportError)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", ["Max", "Average"])
def test_plain_loops(kind: str, rank: int, rng: np.random.Generator) -> None:
    """Maxima are exact; means of small integers are exact up to the one division."""
    x = rng.integers(-9, 10, size=SHAPES[rank]).astype(np.float32)
    for size, strides, padding in WINDOWS:
        layer = getattr(layers, f"{kind}Pooling{rank}D")(size, strides, padding)
        want = reference.pool(x, size, strides, padding, np.max if kind == "Max" else np.mean).astype(np.float32)
        for got in (layer(x), rv.jit(layer)(x)):
            assert got.shape == want.shape == layer.compute_output_shape(x.shape), (size, strides, padding)
            if kind == "Max":
                assert np.array_equal(got.numpy(), want)
            else:
                assert np.abs(got.numpy() - want).max() <= 2 * EPSILON * 9, (size, strides, padding)


def symmetric(shape: tuple[int, ...], layer: Any) -> bool:
    """Whether "same" adds as much in front as behind, on every axis."""
    ones = (1,) * layer.rank
    for n, k, s, d in zip(shape[1:-1], layer.pool_size, layer.strides, ones, strict=True):
        count, low = reference.places(n, k, s, d, layer.padding)
        if layer.padding == "same" and max((count - 1) * s + k - n, 0) != 2 * low:
            return False
    return True


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", ["Max", "Average"])
@pytest.mark.filterwarnings("ignore")
def test_outputs_and_gradients_are_those_of_keras(kind: str, rank: int, rng: np.random.Generator, peer: Any) -> None:
    shape = SHAPES[rank]
    for size, strides, padding in WINDOWS:
        ours, theirs = (
            getattr(room, f"{kind}Pooling{rank}D")(size, strides, padding) for room in (layers, peer.keras.layers)
        )
        assert ours.compute_output_shape((None, *shape[1:])) == theirs.compute_output_shape((None, *shape[1:]))
        if kind == "Average" and peer.keras.backend.backend() == "torch" and not symmetric(shape, ours):
            continue  # Keras on PyTorch repeats border values there, unlike Keras on JAX and TensorFlow
        x = rng.normal(size=shape).astype(np.float32)
        peer.compare(ours, theirs, x, rng, tolerance(3**rank))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.filterwarnings("ignore")
def test_global_pooling_is_that_of_keras(rank: int, rng: np.random.Generator, peer: Any) -> None:
    shape = SHAPES[rank]
    for kind, keepdims in itertools.product(("Max", "Average"), (False, True)):
        name = f"Global{kind}Pooling{rank}D"
        ours, theirs = (getattr(room, name)(keepdims=keepdims) for room in (layers, peer.keras.layers))
        assert ours.compute_output_shape((None, *shape[1:])) == theirs.compute_output_shape((None, *shape[1:]))
        x = rng.normal(size=shape).astype(np.float32)
        peer.compare(ours, theirs, x, rng, tolerance(int(np.prod(shape[1:-1]))))


@pytest.mark.filterwarnings("ignore")
def test_the_mean_of_a_masked_signal(rng: np.random.Generator, peer: Any) -> None:
    x = rng.normal(size=SHAPES[1]).astype(np.float32)
    mask = np.arange(9) < np.array([[9], [1], [5]])
    for keepdims in (False, True):
        ours, theirs = (room.GlobalAveragePooling1D(keepdims=keepdims) for room in (layers, peer.keras.layers))
        peer.compare(ours, theirs, x, rng, tolerance(9), mask=mask)
    model = rv.Sequential([layers.Masking(), layers.GlobalAveragePooling1D()])
    want = np.stack([rows[keep].mean(0) for rows, keep in zip(x, mask, strict=True)])
    got = model(np.where(mask[..., None], x, 0))
    assert np.abs(got.numpy() - want).max() <= tolerance(9) * np.abs(x).max()
    assert getattr(got, "_mask", None) is None


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_against_pytorch(rank: int, rng: np.random.Generator) -> None:
    """PyTorch keeps channels first, and does not count what lies outside when told so."""
    torch = pytest.importorskip("torch", reason="parity with PyTorch needs torch", exc_type=ImportError)
    first, last = (0, rank + 1, *range(1, rank + 1)), (0, *range(2, rank + 2), 1)
    x = rng.normal(size=SHAPES[rank]).astype(np.float32)
    source = torch.tensor(x.transpose(first))
    for size, strides, padding in ((2, 2, 0), (3, 1, 1), (3, 2, 0)):
        word = "same" if padding else "valid"
        largest = getattr(torch.nn.functional, f"max_pool{rank}d")(source, size, strides, padding)
        got = getattr(layers, f"MaxPooling{rank}D")(size, strides, word)(x)
        assert np.array_equal(got.numpy(), largest.numpy().transpose(last))
        options = {"count_include_pad": False}
        means = getattr(torch.nn.functional, f"avg_pool{rank}d")(source, size, strides, padding, **options)
        got = getattr(layers, f"AveragePooling{rank}D")(size, strides, word)(x)
        want = means.numpy().transpose(last)
        assert np.abs(got.numpy() - want).max() <= tolerance(size**rank) * np.abs(x).max()


def test_not_a_number_is_the_largest() -> None:
    x = rv.tensor([[[1.0], [np.nan], [3.0], [-np.inf]]])
    assert np.isnan(layers.MaxPooling1D(2)(x).numpy()[0, 0, 0])
    assert layers.MaxPooling1D(2)(x).numpy()[0, 1, 0] == 3.0
    assert np.isnan(layers.GlobalMaxPooling1D()(x).numpy()).all()


def test_the_first_of_equals_gets_the_gradient() -> None:
    layer = layers.MaxPooling1D(3)
    slope = rv.grad(lambda x: rv.sum(layer(x)))(rv.tensor([[[1.0], [2.0], [2.0]]]))
    assert slope.numpy().ravel().tolist() == [0.0, 1.0, 0.0]


def test_bytes_become_floats() -> None:
    x = np.array([[[200], [250], [10], [0]]], np.uint8)
    assert layers.AveragePooling1D(2)(x).tolist() == [[[225.0], [5.0]]]
    assert layers.MaxPooling1D(2)(x).dtype is rv.float32
    assert layers.GlobalAveragePooling1D()(x).tolist() == [[115.0]]


def test_other_names_and_defaults_of_keras() -> None:
    assert layers.MaxPool2D is layers.MaxPooling2D and layers.GlobalAvgPool1D is layers.GlobalAveragePooling1D
    assert type(layers.deserialize({"class_name": "AvgPool3D", "config": {"pool_size": 2}})) is layers.AveragePooling3D
    assert layers.MaxPooling3D().get_config()["strides"] == [2, 2, 2]
    assert layers.MaxPooling2D((2, 3)).strides == (2, 3)


IMAGE = rv.ones((2, 5, 4, 3))

ERRORS: list[tuple[Any, type[Exception], str]] = [
    (
        lambda: layers.MaxPooling2D(0, name="p"),
        ArgumentError,
        "MaxPooling2D 'p': expected pool_size .* least 1, .* got 0",
    ),
    (lambda: layers.MaxPooling2D((2,), name="p"), ArgumentError, r"MaxPooling2D 'p': expected pool_size .* got \(2,\)"),
    (lambda: layers.MaxPooling2D(2, 0, name="p"), ArgumentError, "MaxPooling2D 'p': expected strides .* got 0"),
    (lambda: layers.AveragePooling1D(2, -1), ArgumentError, "AveragePooling1D .* expected strides .* got -1"),
    (lambda: layers.AveragePooling1D(1.5), ArgumentError, r"expected pool_size .* got 1.5 \(float\)"),
    (
        lambda: layers.MaxPooling2D(padding="full", name="p"),
        ArgumentError,
        "MaxPooling2D 'p': expected padding to be 'valid' or 'same', got 'full'",
    ),
    (lambda: layers.MaxPooling1D(padding="causal"), ArgumentError, "expected padding to be 'valid' or 'same'"),
    (
        lambda: layers.MaxPooling2D(data_format="channels_first", name="p"),
        ArgumentError,
        "MaxPooling2D 'p': expected data_format to be 'channels_last'",
    ),
    (
        lambda: layers.GlobalMaxPooling2D("channels_first", name="g"),
        ArgumentError,
        "GlobalMaxPooling2D 'g': expected data",
    ),
    (
        lambda: layers.MaxPooling2D(5, name="p")(IMAGE),
        ShapeError,
        r"MaxPooling2D 'p': expected .* pool_size \(5, 5\) fits into, got spatial size 5x4 .* padding='same'",
    ),
    (
        lambda: layers.MaxPooling2D(name="p")(rv.ones((2, 5, 4))),
        ShapeError,
        r"MaxPooling2D 'p': .*\(batch, height, width",
    ),
    (
        lambda: layers.GlobalMaxPooling1D(name="g")(IMAGE),
        ShapeError,
        r"GlobalMaxPooling1D 'g': .*\(batch, steps, channels",
    ),
    (
        lambda: layers.GlobalAveragePooling1D(name="g")(rv.ones((2, 0, 3))),
        ShapeError,
        r"GlobalAveragePooling1D 'g': expected an input with at least one place, got \(None, 0, 3\)",
    ),
    (lambda: layers.GlobalMaxPooling2D()(rv.ones((2, 5, 0, 3))), ShapeError, "at least one place"),
    (lambda: layers.AveragePooling1D(1, padding="same")(rv.ones((2, 0, 3))), ShapeError, "No size may be 0"),
]


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_bad_input(number: int) -> None:
    call, error, text = ERRORS[number]
    with pytest.raises(error, match=text):
        call()


def test_an_input_that_no_longer_fits() -> None:
    layer = layers.MaxPooling2D(4, name="pool")
    layer(IMAGE)
    with pytest.raises(ShapeError, match=r"MaxPooling2D 'pool': .*pool_size \(4, 4\) fits into, got spatial size 3x9"):
        layer(rv.ones((2, 3, 9, 3)))
    assert layer(rv.ones((2, 9, 9, 7))).shape == (2, 2, 2, 7)  # channels are not fixed: there are no weights
