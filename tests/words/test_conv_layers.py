"""Convolution layers: exact on small integers, equal to Keras and PyTorch, gradients too, and clear on bad input."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import layers
from ranvier.errors import ArgumentError, DTypeError, ResourceError, ShapeError
from ranvier.initializers.random import fans

from . import spatial_reference as reference

EPSILON = 2.0**-24  # half the distance from 1 to the next float32

Options = dict[str, Any]


def tolerance(terms: int) -> float:
    """How far two sums of ``terms`` random products may differ, relative to the greatest result.

    Rounding errors of a sum grow like the square root of its length, as do sums of random terms themselves. Two sides,
    and results up to four standard deviations from the mean, make the factor.
    """
    return 8 * EPSILON * terms**0.5


def bounds(x: np.ndarray, ours: Any, y_shape: Any) -> list[float]:
    """Tolerances of output, input gradient and weight gradients by the number of products in each."""
    window = int(np.prod(ours.kernel_size))
    places = int(np.prod([n or len(x) for n in y_shape[:-1]]))
    return [tolerance(window * x.shape[-1]), tolerance(window * y_shape[-1]), tolerance(places)]


def grid(rank: int, **values: Any) -> list[Options]:
    """All combinations that the layer accepts: no strides together with dilation."""
    combined = [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]
    return [o for o in combined if o.get("strides", 1) == 1 or o.get("dilation_rate", 1) == 1]


CONVOLUTIONS: list[tuple[str, tuple[int, ...], list[Options]]] = [
    (
        "Conv1D", (3, 11, 4),
        grid(
            1, filters=[6], kernel_size=[1, 2, 3, 4], strides=[1, 2, 3], padding=["valid", "same", "causal"],
            dilation_rate=[1, 2], groups=[1, 2],
        ),
    ),
    (
        "Conv2D", (2, 7, 6, 3),
        [
            *grid(2, filters=[4], kernel_size=[1, 2, 3, 5], strides=[1, 2], padding=["valid", "same"]),
            {"filters": 2, "kernel_size": (3, 1), "strides": (1, 3), "activation": "relu"},
            {"filters": 6, "kernel_size": (2, 3), "dilation_rate": (1, 2), "groups": 3, "padding": "same"},
            {"filters": 3, "kernel_size": 3, "dilation_rate": 2, "use_bias": False, "activation": "tanh"},
            {"filters": 1, "kernel_size": (7, 6)},
        ],
    ),
    (
        "Conv3D", (2, 4, 5, 3, 2),
        [
            *grid(3, filters=[3], kernel_size=[1, 2], strides=[1, 2], padding=["valid", "same"]),
            {"filters": 4, "kernel_size": (2, 3, 1), "dilation_rate": (1, 2, 1), "groups": 2, "padding": "same"},
        ],
    ),
    (
        "Conv1DTranspose", (3, 5, 4),
        [
            *grid(
                1, filters=[3], kernel_size=[1, 2, 3, 4], strides=[1, 2, 3], padding=["valid", "same"],
                dilation_rate=[1, 2],
            ),
            *grid(
                1, filters=[3], kernel_size=[2, 3, 5], strides=[3], padding=["valid", "same"],
                output_padding=[0, 1, 2],
            ),
        ],
    ),
    (
        "Conv2DTranspose", (2, 4, 3, 3),
        [
            *grid(2, filters=[2], kernel_size=[2, 3], strides=[1, 2], padding=["valid", "same"]),
            {"filters": 4, "kernel_size": (3, 2), "strides": (1, 2), "output_padding": (0, 1), "padding": "same"},
            {"filters": 4, "kernel_size": (1, 4), "strides": (3, 1), "activation": "sigmoid", "use_bias": False},
            {"filters": 3, "kernel_size": 2, "dilation_rate": (2, 3)},
        ],
    ),
    (
        "Conv3DTranspose", (1, 2, 3, 2, 2),
        [
            *grid(3, filters=[3], kernel_size=[2, 3], strides=[1, 2], padding=["valid", "same"]),
            {"filters": 1, "kernel_size": (1, 2, 3), "strides": (1, 2, 3), "output_padding": (0, 1, 2)},
        ],
    ),
    (
        "DepthwiseConv1D", (3, 9, 4),
        grid(1, kernel_size=[1, 2, 3], strides=[1, 2], padding=["valid", "same"], depth_multiplier=[1, 3]),
    ),
    (
        "DepthwiseConv2D", (2, 7, 6, 3),
        [
            *grid(2, kernel_size=[1, 2, 3], strides=[1, 2], padding=["valid", "same"], depth_multiplier=[1, 2]),
            {"kernel_size": (2, 3), "dilation_rate": 2, "padding": "same", "activation": "relu"},
            {"kernel_size": 3, "dilation_rate": (1, 2), "use_bias": False},
        ],
    ),
    (
        "SeparableConv1D", (3, 9, 4),
        grid(1, filters=[5], kernel_size=[1, 3], strides=[1, 2], padding=["valid", "same"], depth_multiplier=[1, 2]),
    ),
    (
        "SeparableConv2D", (2, 7, 6, 3),
        [
            *grid(2, filters=[5], kernel_size=[2, 3], strides=[1, 2], padding=["valid", "same"]),
            {"filters": 2, "kernel_size": 2, "depth_multiplier": 3, "dilation_rate": 2, "activation": "relu"},
        ],
    ),
]  # fmt: skip
FAMILIES = pytest.mark.parametrize("name, shape, options", CONVOLUTIONS, ids=[case[0] for case in CONVOLUTIONS])


@pytest.fixture
def peer() -> Any:
    """Keras and its gradients."""
    return pytest.importorskip("tests.words.keras_peer", reason="needs Keras", exc_type=ImportError)


@FAMILIES
@pytest.mark.filterwarnings("ignore")
def test_outputs_and_gradients_are_those_of_keras(
    name: str, shape: tuple[int, ...], options: list[Options], rng: np.random.Generator, peer: Any
) -> None:
    for chosen in options:
        ours, theirs = getattr(layers, name)(**chosen), getattr(peer.keras.layers, name)(**chosen)
        x = rng.normal(size=shape).astype(np.float32)
        y_shape = ours.compute_output_shape(shape)
        assert y_shape == tuple(theirs.compute_output_shape(shape)), chosen
        ours.build(shape)
        peer.compare(ours, theirs, x, rng, bounds(x, ours, y_shape))


@FAMILIES
@pytest.mark.filterwarnings("ignore")
def test_shapes_and_configurations_are_those_of_keras(
    name: str, shape: tuple[int, ...], options: list[Options], peer: Any
) -> None:
    for chosen in options:
        ours, theirs = getattr(layers, name)(**chosen), getattr(peer.keras.layers, name)(**chosen)
        for size in (shape[1], shape[1] + 1, shape[1] + 8):
            space = (size, *shape[2:])
            for batch in (None, 1, 5):
                want = tuple(theirs.compute_output_shape((batch, *space[:-1], shape[-1])))
                assert ours.compute_output_shape((batch, *space[:-1], shape[-1])) == want, chosen
        opened = (None, *(None,) * (len(shape) - 2), shape[-1])
        assert ours.compute_output_shape(opened)[1:-1] == opened[1:-1]
        config, wanted = ours.get_config(), theirs.get_config()
        for key in set(config) & set(wanted) - {"name", "dtype"}:
            if isinstance(wanted[key], int | str | tuple | list | None):
                value = tuple(config[key]) if isinstance(config[key], list) else config[key]
                assert value == (tuple(wanted[key]) if isinstance(wanted[key], list) else wanted[key]), (name, key)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_against_pytorch(rank: int, rng: np.random.Generator) -> None:
    """PyTorch keeps channels first and kernels as (filters, channels, ...)."""
    torch = pytest.importorskip("torch", reason="parity with PyTorch needs torch", exc_type=ImportError)
    first, last = (0, rank + 1, *range(1, rank + 1)), (0, *range(2, rank + 2), 1)
    x = rng.normal(size=(2, *(7, 6, 5)[:rank], 4)).astype(np.float32)
    for strides, dilation, groups in ((1, 1, 1), (2, 1, 2), (1, 2, 1), (3, 1, 4)):
        layer = getattr(layers, f"Conv{rank}D")(8, 3, strides, dilation_rate=dilation, groups=groups)
        y = layer(x).numpy()
        kernel, bias = layer.get_weights()
        arguments = {"stride": strides, "dilation": dilation, "groups": groups}
        convolve = getattr(torch.nn.functional, f"conv{rank}d")
        theirs = convolve(
            torch.tensor(x.transpose(first)), torch.tensor(np.moveaxis(kernel, (-1, -2), (0, 1)).copy()),
            torch.tensor(bias), **arguments,
        )  # fmt: skip
        want = theirs.numpy().transpose(last)
        assert np.abs(y - want).max() <= tolerance(4 * 3**rank) * np.abs(want).max()

        turned = getattr(layers, f"Conv{rank}DTranspose")(3, 3, strides, dilation_rate=dilation)
        y = turned(x).numpy()
        kernel, bias = turned.get_weights()
        theirs = getattr(torch.nn.functional, f"conv_transpose{rank}d")(
            torch.tensor(x.transpose(first)), torch.tensor(np.moveaxis(kernel, (-1, -2), (0, 1)).copy()),
            torch.tensor(bias), stride=strides, dilation=dilation,
        )  # fmt: skip
        want = theirs.numpy().transpose(last)
        assert np.abs(y - want).max() <= tolerance(4 * 3**rank) * np.abs(want).max()


@FAMILIES
def test_exact_on_small_integers(
    name: str, shape: tuple[int, ...], options: list[Options], rng: np.random.Generator
) -> None:
    """Sums of small integers have no rounding, so every bit must be that of the plain loops, eager and compiled."""
    picked = [options[i] for i in rng.choice(len(options), size=4, replace=False)]
    for chosen in picked:
        layer = getattr(layers, name)(**{**chosen, "activation": None})
        x = rng.integers(-4, 5, size=shape).astype(np.float32)
        layer.build(shape)
        layer.set_weights([rng.integers(-3, 4, size=w.shape) for w in layer.get_weights()])
        weights = layer.get_weights()
        window = [chosen.get(key, default) for key, default in (("strides", 1), ("padding", "valid"))]
        spread = chosen.get("dilation_rate", 1)
        if "Transpose" in name:
            size = layer.compute_output_shape(shape)[1:-1]
            want = reference.conv_transpose(x, weights[0], layer.strides, low_of(layer, size, shape), size, spread)
        elif name.startswith("Conv"):
            want = reference.conv(x, weights[0], *window, spread, chosen.get("groups", 1))
        else:
            want = reference.depthwise(x, weights[0], *window, spread)
        if name.startswith("Separable"):
            want = reference.conv(want, weights[1])
        want = want + (weights[-1] if layer.use_bias else 0)
        assert np.array_equal(layer(x).numpy(), want), chosen
        assert np.array_equal(rv.jit(layer)(x).numpy(), want), chosen


def low_of(layer: Any, size: tuple[int, ...], shape: tuple[int, ...]) -> list[int]:
    """What "same" cuts off in front: half of what the windows reach beyond the wanted size, less rounded down."""
    found = []
    for n, m, k, s, d in zip(shape[1:-1], size, layer.kernel_size, layer.strides, layer.dilation_rate, strict=True):
        excess = (n - 1) * s + (k - 1) * d + 1 - m
        found.append(max(excess, 0) // 2 if layer.padding == "same" else 0)
    return found


def test_initial_fans_count_the_window(peer: Any) -> None:
    from keras.src.initializers.random_initializers import compute_fans

    assert peer.keras is not None
    for shape in ((3, 4, 5), (3, 3, 16, 32), (2, 3, 4, 5, 6), (5, 5, 8, 1), (1, 1, 7, 9)):
        assert fans(shape) == compute_fans(shape)


def test_kernels_start_with_the_variance_of_glorot() -> None:
    """A uniform kernel of n numbers has a sample variance within 6 standard deviations, about v * sqrt(0.8 / n)."""
    for layer, shape, count in (
        (layers.Conv2D(64, 3), (None, 9, 9, 32), 9 * (32 + 64)),
        (layers.Conv1DTranspose(64, 5), (None, 9, 32), 5 * (32 + 64)),
        (layers.DepthwiseConv2D(5, depth_multiplier=4), (None, 9, 9, 64), 25 * (64 + 4)),
    ):
        layer.build(shape)
        kernel, variance = layer.get_weights()[0], 2 / count
        assert np.abs(kernel).max() <= (3 * variance) ** 0.5
        assert abs(kernel.var() - variance) < 6 * variance * (0.8 / kernel.size) ** 0.5


def test_bytes_become_floats(rng: np.random.Generator) -> None:
    x = rng.integers(0, 256, size=(2, 5, 5, 1), dtype=np.uint8)
    layer = layers.Conv2D(2, 3, kernel_initializer="ones")
    assert layer(x).dtype is rv.float32
    assert np.array_equal(layer(x).numpy(), layer(x.astype(np.float32)).numpy())
    assert layers.Conv2D(2, 3, dtype="float64")(x).dtype is rv.float64


def test_penalties_and_frozen_weights() -> None:
    layer = layers.SeparableConv1D(
        2, 3, depthwise_initializer="ones", pointwise_initializer="ones", bias_initializer="ones",
        depthwise_regularizer=rv.regularizers.L2(0.5), pointwise_regularizer="l1", bias_regularizer=rv.sum,
    )  # fmt: skip
    layer.build((None, 5, 4))
    assert np.allclose([penalty.item() for penalty in layer.losses], [6.0, 0.08, 2.0])
    assert [w.name for w in layer.weights] == [
        f"{layer.name}/{w}" for w in ("depthwise_kernel", "pointwise_kernel", "bias")
    ]
    layer.trainable = False
    assert layer.losses == [] and layer.trainable_weights == []


def test_other_names_of_keras() -> None:
    assert layers.Convolution2D is layers.Conv2D
    assert type(layers.deserialize({"class_name": "Convolution2D", "config": {"filters": 2, "kernel_size": 3}})) is (
        layers.Conv2D
    )
    assert layers.Conv2D(2, 3, padding="SAME").padding == "same"
    assert layers.Conv2D(2, 3).name.startswith("conv2d")


IMAGE = rv.ones((2, 5, 4, 3))
SIGNAL = rv.ones((2, 5, 3))

ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: layers.Conv2D(0, 3, name="c"), ArgumentError, "Conv2D 'c': expected filters to be an integer of at least"),
    (lambda: layers.Conv2D(2, 0, name="c"), ArgumentError, r"Conv2D 'c': expected kernel_size .* at least 1, .* got 0"),
    (
        lambda: layers.Conv2D(2, (3, 3, 3), name="c"),
        ArgumentError,
        r"Conv2D 'c': expected kernel_size .* got \(3, 3, 3",
    ),
    (lambda: layers.Conv1D(2, "3"), ArgumentError, r"Conv1D 'conv1d.*': expected kernel_size .* got '3' \(str\)"),
    (lambda: layers.Conv2D(2, 3, strides=0, name="c"), ArgumentError, r"Conv2D 'c': expected strides .* got 0"),
    (lambda: layers.Conv2D(2, 3, strides=(1, -1)), ArgumentError, r"expected strides .* got \(1, -1\)"),
    (lambda: layers.Conv2D(2, 3, dilation_rate=0), ArgumentError, "expected dilation_rate .* got 0"),
    (lambda: layers.Conv2D(2, 3, dilation_rate=2.0), ArgumentError, r"expected dilation_rate .* got 2.0 \(float\)"),
    (
        lambda: layers.Conv2D(2, 3, padding="full", name="c"),
        ArgumentError,
        "Conv2D 'c': expected padding to be 'valid' or 'same', got 'full'",
    ),
    (
        lambda: layers.Conv2D(2, 3, padding="causal"),
        ArgumentError,
        "expected padding to be 'valid' or 'same', got 'cau",
    ),
    (lambda: layers.Conv1D(2, 3, padding=1), ArgumentError, "'valid' or 'same' or 'causal', got 1"),
    (
        lambda: layers.Conv2D(2, 3, data_format="channels_first", name="c"),
        ArgumentError,
        r"Conv2D 'c': expected data_format to be 'channels_last', got 'channels_first' .*rv.moveaxis\(x, 1, -1\)",
    ),
    (
        lambda: layers.Conv2D(2, 3, strides=2, dilation_rate=2, name="c"),
        ArgumentError,
        r"Conv2D 'c': expected strides or dilation_rate above 1, not both, got strides=\(2, 2\) and dilation_rate=\(2",
    ),
    (
        lambda: layers.Conv2D(4, 3, groups=3, name="c"),
        ArgumentError,
        "Conv2D 'c': expected groups to divide filters, got groups=3 and filters=4",
    ),
    (lambda: layers.Conv2D(4, 3, groups=0), ArgumentError, "expected groups to be an integer of at least 1, got 0"),
    (
        lambda: layers.Conv2D(4, 3, groups=2, name="c")(IMAGE),
        ShapeError,
        r"Conv2D 'c': expected groups to divide the input's channels, got groups=2 and 3 channels \(shape \(None, 5, 4",
    ),
    (lambda: layers.Conv2D(2, 3, activation="rel"), ArgumentError, "unknown activation 'rel'"),
    (lambda: layers.Conv2D(2, 3, kernel_initializer="x"), ArgumentError, "unknown initializer 'x'"),
    (
        lambda: layers.Conv2D(2, 3, kernel=3),
        ArgumentError,
        "Conv2D: unknown argument 'kernel'. Known: filters, kernel_",
    ),
    (
        lambda: layers.Conv2D(2, (3, 5), name="c")(IMAGE),
        ShapeError,
        (
            r"Conv2D 'c': expected an input that kernel_size \(3, 5\) fits into, got spatial size 5x4 \(shape "
            r"\(None, 5, 4, 3\)\). Choose padding='same', a smaller kernel_size, or larger inputs"
        ),
    ),
    (
        lambda: layers.Conv2D(2, 3, dilation_rate=2, name="c")(IMAGE),
        ShapeError,
        (
            r"Conv2D 'c': expected .* kernel_size \(3, 3\) with dilation_rate \(2, 2\), which reaches over 5x5, "
            r"fits into, got spatial size 5x4 .* smaller kernel_size or dilation_rate"
        ),
    ),
    (
        lambda: layers.Conv2D(2, 3, name="c")(rv.ones((2, 28, 28))),
        ShapeError,
        r"Conv2D 'c': expected one input of shape \(batch, height, width, channels\), got \(None, 28, 28\).*x\[...,",
    ),
    (
        lambda: layers.Conv1D(2, 3, name="c")(IMAGE),
        ShapeError,
        r"Conv1D 'c': expected one input of shape \(batch, steps, channels\), got \(None, 5, 4, 3\)",
    ),
    (
        lambda: layers.Conv3D(2, 3)(IMAGE),
        ShapeError,
        r"expected one input of shape \(batch, depth, height, width, chan",
    ),
    (lambda: layers.Conv2D(2, 3).build((None, 5, 5, None)), ShapeError, "with at least one channel, got"),
    (lambda: layers.Conv2D(2, 3)(rv.ones((2, 5, 5, 0))), ShapeError, "with at least one channel, got"),
    (lambda: layers.Conv1D(2, 1, padding="same")(rv.ones((2, 0, 3))), ShapeError, "spatial size 0 .* No size may be 0"),
    (lambda: layers.Conv1DTranspose(2, 3)(rv.ones((2, 0, 3))), ShapeError, "Conv1DTranspose .* No size may be 0"),
    (
        lambda: layers.Conv2DTranspose(2, 3, strides=2, output_padding=2, name="t"),
        ArgumentError,
        r"Conv2DTranspose 't': expected output_padding below strides on every axis, got output_padding=\(2, 2\) and",
    ),
    (lambda: layers.Conv2DTranspose(2, 3, output_padding=-1), ArgumentError, "expected output_padding .* got -1"),
    (
        lambda: layers.Conv1DTranspose(2, 2, 2, "same", 0, name="t")(rv.ones((1, 1, 3))),
        ShapeError,
        r"Conv1DTranspose 't': expected an input with at least one output, got shape \(None, 1, 3\)",
    ),
    (lambda: layers.Conv2DTranspose(2, 3, padding="causal"), ArgumentError, "expected padding to be 'valid' or 'same'"),
    (lambda: layers.Conv2DTranspose(2, 3, 2, dilation_rate=2), ArgumentError, "above 1, not both"),
    (
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=0),
        ArgumentError,
        "expected depth_multiplier to be an integer",
    ),
    (
        lambda: layers.DepthwiseConv2D(9, name="d")(IMAGE),
        ShapeError,
        r"DepthwiseConv2D 'd': .*kernel_size \(9, 9\) fits",
    ),
    (
        lambda: layers.SeparableConv1D(3, 9, name="s")(SIGNAL),
        ShapeError,
        r"SeparableConv1D 's': .*kernel_size \(9,\) fits",
    ),
    (lambda: layers.SeparableConv2D(3, 3, padding="causal"), ArgumentError, "expected padding to be 'valid' or 'same'"),
    (
        lambda: layers.Conv2D(2, 3, name="c")(np.array([["a"]])),
        DTypeError,
        "Conv2D 'c': tensor: expected numbers, got t",
    ),
    (lambda: layers.Conv2D(2, 3, dtype="int32"), DTypeError, "Conv2D: expected a floating dtype for the weights"),
]


ERRORS += [
    (lambda: layers.Conv2D(2, 3, name="c")([IMAGE, IMAGE]), ShapeError, r"Conv2D 'c': expected one input of shape"),
    (lambda: layers.Conv2D(2, 3).compute_output_shape("abcd"), ShapeError, "expected one input of shape .* got 'abcd'"),
    (
        lambda: layers.Conv2D(4, 10**5, padding="same", name="c")(IMAGE),
        ShapeError,
        r"Conv2D 'c': random numbers: at most 2\*\*32 in one draw",
    ),
    (
        lambda: layers.Conv2DTranspose(4, 3, strides=10**7, name="t")(IMAGE),
        ResourceError,
        r"Conv2DTranspose 't': conv_input: a float32 result of shape .* GiB",
    ),
]


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_bad_input(number: int) -> None:
    call, error, text = ERRORS[number]
    with pytest.raises(error, match=text):
        call()


def test_input_other_than_built_for() -> None:
    layer = layers.Conv2D(2, 3, name="edges")
    layer(IMAGE)
    with pytest.raises(ShapeError, match=r"Conv2D 'edges': expected 3 features on axis -1 .* got an input of shape"):
        layer(rv.ones((2, 5, 4, 1)))
    with pytest.raises(ShapeError, match=r"Conv2D 'edges': expected an input with 4 axes, got shape \(5, 4, 3\)"):
        layer(rv.ones((5, 4, 3)))
    with pytest.raises(ShapeError, match=r"Conv2D 'edges': .*kernel_size \(3, 3\) fits into, got spatial size 5x2"):
        layer(rv.ones((2, 5, 2, 3)))
    assert layer(rv.ones((1, 9, 8, 3))).shape == (1, 7, 6, 2)  # other sizes are welcome


def test_a_refused_input_leaves_no_weights() -> None:
    layer = layers.Conv2D(2, 9)
    with pytest.raises(ShapeError, match="fits into"):
        layer(IMAGE)
    assert not layer.built and layer.weights == []
    layer(rv.ones((2, 9, 9, 3)))
    assert layer.built
