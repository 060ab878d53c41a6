"""UpSampling, ZeroPadding and Cropping: equal to NumPy and Keras in outputs and gradients, and clear on bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import layers
from ranvier.errors import ArgumentError, ShapeError

SHAPES = {1: (3, 5, 2), 2: (2, 5, 4, 3), 3: (2, 4, 5, 3, 2)}
EPSILON = 2.0**-24  # half the distance from 1 to the next float32

CASES: list[tuple[str, int, list[Any]]] = [
    ("UpSampling", 1, [1, 2, 5]),
    ("UpSampling", 2, [1, 3, (2, 1), (1, 4)]),
    ("UpSampling", 3, [2, (1, 2, 3), (3, 1, 1)]),
    ("ZeroPadding", 1, [0, 2, (1, 0), (0, 3)]),
    ("ZeroPadding", 2, [0, 2, (1, 3), ((1, 2), (3, 0)), ((0, 0), (0, 1))]),
    ("ZeroPadding", 3, [1, (1, 0, 2), ((1, 2), (0, 0), (0, 3))]),
    ("Cropping", 1, [0, 1, (2, 0), (0, 4)]),
    ("Cropping", 2, [0, 1, (2, 0), ((1, 2), (0, 3))]),
    ("Cropping", 3, [1, (1, 0, 1), ((1, 2), (0, 0), (0, 2))]),
]
EACH = pytest.mark.parametrize("family, rank, values", CASES, ids=[f"{f}{r}D" for f, r, _ in CASES])


@pytest.fixture
def peer() -> Any:
    """Keras and its gradients."""
    return pytest.importorskip("tests.words.keras_peer", reason="needs Keras", exc_type=ImportError)


@EACH
@pytest.mark.filterwarnings("ignore")
def test_outputs_and_gradients_are_those_of_keras(
    family: str, rank: int, values: list[Any], rng: np.random.Generator, peer: Any
) -> None:
    """Values are copied, so outputs are equal bit for bit; a gradient of upsampling sums up to 18 numbers."""
    for value in values:
        ours, theirs = (getattr(room, f"{family}{rank}D")(value) for room in (layers, peer.keras.layers))
        x = rng.normal(size=SHAPES[rank]).astype(np.float32)
        for batch in (None, 7):
            shape = (batch, *x.shape[1:])
            assert ours.compute_output_shape(shape) == tuple(theirs.compute_output_shape(shape)), value
        peer.compare(ours, theirs, x, rng, [0.0, 2 * 18 * EPSILON])
        name = {"UpSampling": "size", "ZeroPadding": "padding", "Cropping": "cropping"}[family]
        assert getattr(ours, name) == getattr(theirs, name)
        assert np.array_equal(rv.jit(ours)(x).numpy(), ours(x).numpy())


def open_shapes() -> list[tuple[Any, tuple[Any, ...], tuple[Any, ...]]]:
    return [
        (layers.UpSampling2D(2), (None, None, 4, 3), (None, None, 8, 3)),
        (layers.ZeroPadding1D(2), (None, None, 3), (None, None, 3)),
        (layers.Cropping3D(1), (None, 4, None, 5, 2), (None, 2, None, 3, 2)),
    ]


def test_open_sizes() -> None:
    for layer, shape, want in open_shapes():
        assert layer.compute_output_shape(shape) == want


@pytest.mark.filterwarnings("ignore")
def test_bilinear_is_that_of_keras(rng: np.random.Generator, peer: Any) -> None:
    """Every output is a mean of four inputs; every input gradient a sum of at most (2 * 4)**2 numbers."""
    for size in (1, 2, (3, 1), (2, 4)):
        ours, theirs = (room.UpSampling2D(size, interpolation="bilinear") for room in (layers, peer.keras.layers))
        x = rng.normal(size=SHAPES[2]).astype(np.float32)
        peer.compare(ours, theirs, x, rng, [12 * EPSILON, 2 * 64 * EPSILON])


def test_integers_stay_integers() -> None:
    x = np.arange(8, dtype=np.uint8).reshape(1, 4, 2)
    for layer in (layers.UpSampling1D(2), layers.ZeroPadding1D(1), layers.Cropping1D(1)):
        assert layer(x).dtype is rv.uint8
    assert layers.ZeroPadding1D((0, 1))(x).numpy()[0, -1].tolist() == [0, 0]


def test_cropping_undoes_padding(rng: np.random.Generator) -> None:
    x = rng.normal(size=SHAPES[2]).astype(np.float32)
    borders = ((1, 2), (0, 3))
    assert np.array_equal(layers.Cropping2D(borders)(layers.ZeroPadding2D(borders)(x)).numpy(), x)


IMAGE = rv.ones((2, 5, 4, 3))

ERRORS: list[tuple[Any, type[Exception], str]] = [
    (
        lambda: layers.UpSampling1D(0, name="u"),
        ArgumentError,
        "UpSampling1D 'u': expected size .* at least 1, .* got 0",
    ),
    (lambda: layers.UpSampling2D((2, 2, 2)), ArgumentError, r"expected size .* got \(2, 2, 2\)"),
    (lambda: layers.UpSampling2D(1.5), ArgumentError, r"expected size .* got 1.5 \(float\)"),
    (
        lambda: layers.UpSampling2D(2, "channels_first", name="u"),
        ArgumentError,
        "UpSampling2D 'u': expected data_format",
    ),
    (
        lambda: layers.UpSampling2D(2, interpolation="cubic", name="u"),
        ArgumentError,
        "UpSampling2D 'u': expected interpolation to be 'nearest' or 'bilinear', got 'cubic'",
    ),
    (lambda: layers.UpSampling1D(name="u")(IMAGE), ShapeError, r"UpSampling1D 'u': .*\(batch, steps, channels\), got"),
    (
        lambda: layers.ZeroPadding1D(-1, name="z"),
        ArgumentError,
        r"ZeroPadding1D 'z': expected padding to be an integer of at least 0 or a pair \(in front, behind\), got -1",
    ),
    (lambda: layers.ZeroPadding1D((1, 2, 3)), ArgumentError, r"expected padding .* got \(1, 2, 3\)"),
    (
        lambda: layers.ZeroPadding2D((1, 2, 3), name="z"),
        ArgumentError,
        r"ZeroPadding2D 'z': expected padding to be an integer of at least 0, 2 of them, or 2 pairs \(in front, behind",
    ),
    (lambda: layers.ZeroPadding2D("1"), ArgumentError, "expected padding .* got '1'"),
    (lambda: layers.ZeroPadding3D(((1, 1), (1, 1))), ArgumentError, "3 of them, or 3 pairs"),
    (
        lambda: layers.ZeroPadding2D(name="z")(rv.ones((2, 5, 4))),
        ShapeError,
        r"ZeroPadding2D 'z': .*\(batch, height, wid",
    ),
    (lambda: layers.Cropping2D(-1, name="c"), ArgumentError, "Cropping2D 'c': expected cropping .* got -1"),
    (
        lambda: layers.Cropping2D(((3, 2), (0, 0)), name="c")(IMAGE),
        ShapeError,
        r"Cropping2D 'c': expected an input larger than cropping \(\(3, 2\), \(0, 0\)\), got shape \(None, 5, 4, 3\)",
    ),
    (
        lambda: layers.Cropping1D(3, name="c")(rv.ones((1, 5, 1))),
        ShapeError,
        "Cropping1D 'c': expected an input larger",
    ),
]


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_bad_input(number: int) -> None:
    call, error, text = ERRORS[number]
    with pytest.raises(error, match=text):
        call()
