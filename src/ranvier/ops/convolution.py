"""Convolution over one to three spatial axes, channels last, and its two adjoints.

Three ops close the family: ``conv`` is linear in the image and in the kernel, ``conv_input`` is its adjoint in the
image (the transposed convolution) and ``conv_kernel`` its adjoint in the kernel. The gradients of each are the other
two, so derivatives of any order need nothing more. With groups, channels are cut into as many parts as there are
groups, each with a kernel of its own; as many groups as channels make a depthwise convolution.

The references loop over the taps of the kernel; each tap is one matrix product over all pixels that it reaches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ranvier.errors import ArgumentError, DTypeError, ShapeError, describe
from ranvier.ops.spatial import Padding, RealOp, floats, padding_pairs, per_axis, places, span, taps
from ranvier.ops.table import Aval, apply, require_kind
from ranvier.tensor import Tensor

__all__ = ["conv", "conv_transpose"]

Sizes = tuple[int, ...]


# -- shape rules --------------------------------------------------------------------------------------------------


def _require_images(name: str, given: Sequence[tuple[str, Tensor]]) -> int:
    """Floating tensors of one rank from 3 to 5; the number of spatial axes."""
    for _, t in given:
        require_kind(name, t, "float")
        if not 3 <= t.ndim <= 5 or t.ndim != given[0][1].ndim:
            shapes = " and ".join([f"{word} of shape {x.shape}" for word, x in given])
            raise ShapeError(
                f"{name}: expected an image (batch, 1 to 3 spatial axes, channels) and a kernel (as many spatial axes, "
                f"channels in, channels out), got {shapes}."
            )
    return given[0][1].ndim - 2


def _require_groups(name: str, groups: int, channels: int, filters: int) -> None:
    if isinstance(groups, bool) or not isinstance(groups, int | np.integer) or groups < 1:
        raise ArgumentError(f"{name}: expected groups to be an integer of at least 1, got {describe(groups)}.")
    if channels % groups or filters % groups:
        raise ShapeError(
            f"{name}: expected numbers of channels that groups={groups} divides, got {channels} in and {filters} out."
        )


def _require_places(name: str, found: Sizes, given: Sizes) -> None:
    if found != given:
        raise ShapeError(
            f"{name}: expected an image of spatial size {found}, which these sizes, strides and paddings make, "
            f"got {given}."
        )


def _require_size(name: str, size: Any, rank: int) -> None:
    if not isinstance(size, tuple) or len(size) != rank or any([n < 0 for n in size]):
        raise ShapeError(f"{name}: expected size to have one entry for each of the {rank} spatial axes, got {size}.")


def _require_channels(name: str, channels: int, expected: int, kernel: Sizes, groups: int) -> None:
    if channels != expected:
        per_group = f" in {groups} groups" if groups > 1 else ""
        raise ShapeError(
            f"{name}: expected an image with {expected} channels, as the kernel of shape {kernel}{per_group} takes, "
            f"got {channels} channels."
        )


def _conv_infer(inputs: Sequence[Tensor], strides: Sizes, padding: Padding, dilation: Sizes, groups: int) -> Aval:
    x, kernel = inputs
    _require_images("conv", (("an image", x), ("a kernel", kernel)))
    _require_groups("conv", groups, x.shape[-1], kernel.shape[-1])
    _require_channels("conv", x.shape[-1], kernel.shape[-2] * groups, kernel.shape, groups)
    counts = places("conv", "kernel", x.shape[1:-1], kernel.shape[:-2], strides, padding, dilation)
    return Aval((x.shape[0], *counts, kernel.shape[-1]), x.dtype)


def _conv_input_infer(
    inputs: Sequence[Tensor], size: Sizes, strides: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Aval:
    g, kernel = inputs
    rank = _require_images("conv_input", (("an image", g), ("a kernel", kernel)))
    _require_size("conv_input", size, rank)
    channels = kernel.shape[-2] * groups if isinstance(groups, int) else 0
    _require_groups("conv_input", groups, channels, kernel.shape[-1])
    _require_channels("conv_input", g.shape[-1], kernel.shape[-1], kernel.shape, 1)
    counts = places("conv_input", "kernel", size, kernel.shape[:-2], strides, padding, dilation)
    _require_places("conv_input", counts, g.shape[1:-1])
    return Aval((g.shape[0], *size, channels), g.dtype)


def _conv_kernel_infer(
    inputs: Sequence[Tensor], size: Sizes, strides: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Aval:
    x, g = inputs
    rank = _require_images("conv_kernel", (("an image", x), ("an image", g)))
    _require_size("conv_kernel", size, rank)
    _require_groups("conv_kernel", groups, x.shape[-1], g.shape[-1])
    counts = places("conv_kernel", "kernel", x.shape[1:-1], size, strides, padding, dilation)
    _require_places("conv_kernel", counts, g.shape[1:-1])
    if x.shape[0] != g.shape[0]:
        raise ShapeError(f"conv_kernel: expected two images of one batch size, got {x.shape[0]} and {g.shape[0]}.")
    return Aval((*size, x.shape[-1] // groups, g.shape[-1]), x.dtype)


# -- references ---------------------------------------------------------------------------------------------------


def _product(pixels: np.ndarray, matrix: np.ndarray, groups: int) -> np.ndarray:
    """Every pixel's channels times a matrix ``(channels / groups, filters)``, group by group."""
    lead, filters = pixels.shape[:-1], matrix.shape[-1]
    rows, each = math.prod(lead), matrix.shape[0]
    if groups == 1:
        return (pixels.reshape(rows, each) @ matrix).reshape(*lead, filters)
    if each == 1:  # depthwise: no sums, so no products of matrices
        parts = pixels.reshape(rows, groups, 1) * matrix.reshape(groups, filters // groups)
        return parts.reshape(*lead, filters)
    left = pixels.reshape(rows, groups, each).transpose(1, 0, 2)
    right = matrix.reshape(each, groups, filters // groups).transpose(1, 0, 2)
    return np.ascontiguousarray(np.matmul(left, right).transpose(1, 0, 2)).reshape(*lead, filters)


def _conv_reference(
    x: np.ndarray, kernel: np.ndarray, strides: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> np.ndarray:
    x, kernel, size = np.ascontiguousarray(x), np.ascontiguousarray(kernel), x.shape[1:-1]
    counts = places("conv", "kernel", size, kernel.shape[:-2], strides, padding, dilation)
    out = np.zeros((x.shape[0], *counts, kernel.shape[-1]), x.dtype)
    for tap in taps(size, counts, kernel.shape[:-2], strides, padding, dilation):
        out[tap.out] += _product(x[tap.inside], kernel[tap.at], groups)
    return out


def _conv_input_reference(
    g: np.ndarray, kernel: np.ndarray, size: Sizes, strides: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> np.ndarray:
    g, window, (each, filters) = np.ascontiguousarray(g), kernel.shape[:-2], kernel.shape[-2:]
    parts = kernel.reshape(*window, each, groups, filters // groups)
    turned = np.ascontiguousarray(np.moveaxis(parts, (-1, -3), (-3, -1))).reshape(
        *window, filters // groups, groups * each
    )
    out = np.zeros((g.shape[0], *size, each * groups), g.dtype)
    for tap in taps(size, g.shape[1:-1], window, strides, padding, dilation):
        out[tap.inside] += _product(g[tap.out], turned[tap.at], groups)
    return out


def _conv_kernel_reference(
    x: np.ndarray, g: np.ndarray, size: Sizes, strides: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> np.ndarray:
    x, g = np.ascontiguousarray(x), np.ascontiguousarray(g)
    channels, filters = x.shape[-1], g.shape[-1]
    each, share = channels // groups, filters // groups
    out = np.zeros((*size, each, filters), x.dtype)
    for tap in taps(x.shape[1:-1], g.shape[1:-1], size, strides, padding, dilation):
        left, right = x[tap.inside], g[tap.out]
        rows = math.prod(left.shape[:-1])
        left = left.reshape(rows, groups, each).transpose(1, 2, 0)
        right = right.reshape(rows, groups, share).transpose(1, 0, 2)
        out[tap.at] = np.matmul(left, right).transpose(1, 0, 2).reshape(each, filters)
    return out


# -- records ------------------------------------------------------------------------------------------------------

# Spatial size, kernel, strides, padding, dilation, groups, channels in and out: each of them odd in another way.
_CASES: list[tuple[Sizes, Sizes, Sizes, Padding, Sizes, int, int, int]] = [
    ((5,), (3,), (1,), ((1, 1),), (1,), 1, 2, 3),
    ((7,), (2,), (3,), ((0, 2),), (2,), 2, 4, 2),
    ((4, 5), (2, 3), (1, 2), ((0, 0), (1, 2)), (1, 1), 1, 1, 2),
    ((3, 4), (1, 1), (2, 1), ((0, 0), (0, 0)), (1, 1), 1, 3, 2),
    ((4, 3), (2, 2), (1, 1), ((1, 0), (0, 1)), (2, 1), 2, 2, 4),
    ((2, 3, 3), (2, 1, 2), (1, 2, 1), ((0, 0), (1, 0), (0, 1)), (1, 1, 2), 1, 2, 1),
]  # fmt: skip

Samples = list[tuple[tuple[Any, ...], dict[str, Any]]]


def _sample_shapes(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]]:
    """Image, kernel, result and attributes of each case."""
    found = []
    for batch, (size, window, strides, padding, dilation, groups, channels, filters) in enumerate(_CASES):
        attrs = {"strides": strides, "padding": padding, "dilation": dilation, "groups": groups}
        counts = places("conv", "kernel", size, window, strides, padding, dilation)
        shapes = ((1 + batch % 2, *size, channels), (*window, channels // groups, filters))
        x, kernel, g = (rng.normal(size=shape) for shape in (*shapes, (1 + batch % 2, *counts, filters)))
        found.append((x, kernel, g, attrs))
    return found


def _conv_samples(rng: np.random.Generator) -> Samples:
    return [((x, kernel), attrs) for x, kernel, _, attrs in _sample_shapes(rng)]


def _conv_input_samples(rng: np.random.Generator) -> Samples:
    return [((g, k), {"size": x.shape[1:-1], **attrs}) for x, k, g, attrs in _sample_shapes(rng)]


def _conv_kernel_samples(rng: np.random.Generator) -> Samples:
    return [((x, g), {"size": k.shape[:-2], **attrs}) for x, k, g, attrs in _sample_shapes(rng)]


def _attrs(rank: int = 1, **changed: Any) -> dict[str, Any]:
    plain = {"strides": (1,) * rank, "padding": ((0, 0),) * rank, "dilation": (1,) * rank, "groups": 1}
    return {**plain, **changed}


_X, _K = np.ones((1, 5, 2)), np.ones((3, 2, 4))

conv_op = RealOp(
    "conv",
    _conv_reference,
    _conv_infer,
    (
        lambda g, out, x, kernel, **attrs: apply(conv_input_op, (g, kernel), {"size": x.shape[1:-1], **attrs}),
        lambda g, out, x, kernel, **attrs: apply(conv_kernel_op, (x, g), {"size": kernel.shape[:-2], **attrs}),
    ),
    family="convolution",
    arity=2,
    doc="The sum over taps t and channels c of x[n, o * stride + t * dilation - low, c] * kernel[t, c, f].",
    kinds="float",
    samples=_conv_samples,
    errors=[
        ((np.ones((5, 2)), _K), _attrs(), ShapeError, r"expected an image .*got an image of shape \(5, 2\)"),
        ((_X, np.ones((3, 3, 2, 4))), _attrs(), ShapeError, "expected an image"),
        ((_X, np.ones((3, 3, 4))), _attrs(), ShapeError, "expected an image with 3 channels.*got 2 channels"),
        ((_X, np.ones((6, 2, 4))), _attrs(), ShapeError, r"kernel that fits.*\(6,\).*\(5,\)"),
        ((_X, _K), _attrs(dilation=(3,)), ShapeError, r"stretches it over \(7,\)"),
        ((np.ones((1, 0, 2)), _K), _attrs(padding=((4, 4),)), ShapeError, "kernel that fits into the input"),
        ((_X, _K), _attrs(strides=(0,)), ArgumentError, "expected strides .* at least 1"),
        ((_X, _K), _attrs(dilation=(0,)), ArgumentError, "expected dilation .* at least 1"),
        ((_X, _K), _attrs(padding=((0, -1),)), ArgumentError, "expected padding"),
        ((_X, _K), _attrs(groups=0), ArgumentError, "expected groups .* at least 1"),
        ((_X, np.ones((3, 1, 3))), _attrs(groups=2), ShapeError, "groups=2 divides, got 2 in and 3 out"),
    ],
)
conv_input_op = RealOp(
    "conv_input",
    _conv_input_reference,
    _conv_input_infer,
    (
        lambda g, out, x, kernel, size, **attrs: apply(conv_op, (g, kernel), attrs),
        lambda g, out, x, kernel, size, **attrs: apply(conv_kernel_op, (g, x), {"size": kernel.shape[:-2], **attrs}),
    ),
    family="convolution",
    arity=2,
    doc="The adjoint of conv in its image: every pixel of g adds its filters, times the kernel, to what conv read.",
    kinds="float",
    samples=_conv_input_samples,
    errors=[
        ((np.ones((1, 3, 4)), _K), {"size": (6,), **_attrs()}, ShapeError, r"spatial size \(4,\).*got \(3,\)"),
        ((np.ones((1, 3, 3)), _K), {"size": (5,), **_attrs()}, ShapeError, "expected an image with 4 channels"),
        ((np.ones((1, 3, 4)), _K), {"size": (5, 5), **_attrs()}, ShapeError, "expected size"),
        ((np.ones((1, 3, 4)), _K), {"size": (2,), **_attrs()}, ShapeError, "kernel that fits"),
        ((np.ones((1, 3, 4)), _K), {"size": (5,), **_attrs(groups=3)}, ShapeError, "groups=3 divides"),
    ],
)
conv_kernel_op = RealOp(
    "conv_kernel",
    _conv_kernel_reference,
    _conv_kernel_infer,
    (
        lambda g, out, x, y, size, **attrs: apply(conv_input_op, (y, g), {"size": x.shape[1:-1], **attrs}),
        lambda g, out, x, y, size, **attrs: apply(conv_op, (x, g), attrs),
    ),
    family="convolution",
    arity=2,
    doc="The adjoint of conv in its kernel: for each tap, the channels of x times those of g, summed over all pixels.",
    kinds="float",
    samples=_conv_kernel_samples,
    errors=[
        ((_X, np.ones((1, 2, 4))), {"size": (3,), **_attrs()}, ShapeError, r"spatial size \(3,\).*got \(2,\)"),
        ((_X, np.ones((2, 3, 4))), {"size": (3,), **_attrs()}, ShapeError, "one batch size, got 1 and 2"),
        ((_X, np.ones((1, 3, 4))), {"size": (3,), **_attrs(groups=3)}, ShapeError, "groups=3 divides"),
        ((_X, np.ones((1, 3, 4))), {"size": 3, **_attrs()}, ShapeError, "expected size"),
    ],
)


# -- functions ----------------------------------------------------------------------------------------------------


def _images(name: str, x: Any, kernel: Any) -> tuple[Tensor, Tensor, int]:
    """Image and kernel in one floating dtype, and the number of spatial axes."""
    try:
        image, weights = floats((x, kernel))
    except TypeError as error:
        raise DTypeError(f"{name}: expected an image and a kernel of numbers: {error}") from None
    return image, weights, _require_images(name, (("an image", image), ("a kernel", weights)))


def conv(x: Any, kernel: Any, strides: Any = 1, padding: Any = "valid", dilation: Any = 1, groups: int = 1) -> Tensor:
    """Convolution over one to three spatial axes, channels last.

    ``y[n, o, f] = sum over taps t and channels c of x[n, o * stride + t * dilation - low, c] * kernel[t, c, f]``,
    where elements outside ``x`` count as 0. As everywhere in deep learning the kernel is not flipped (a
    cross-correlation).

    Args:
        x: image, signal or volume, floating (integers give float32).
        kernel: the weights.
        strides: the distance between neighbouring results; an integer, or one for each spatial axis.
        padding: "valid" for none; "same" for ``ceil(size / stride)`` results, with as much before as after (the odd
            one after); "causal" (one spatial axis) so that no result reads later elements; or ``(before, after)`` for
            each spatial axis.
        dilation: the distance between neighbouring taps; an integer, or one for each spatial axis.
        groups: cut channels and filters into this many independent parts.

    Shape:
        x: ``(batch, *spatial, channels)``; kernel: ``(*window, channels / groups, filters)``; the result:
        ``(batch, *places, filters)`` with ``places = (size + before + after - (window - 1) * dilation - 1) // stride +
        1``.

    Raises:
        ShapeError: wrong number of axes or channels, groups that do not divide, or a kernel larger than the image.
        ArgumentError: strides, dilation or groups below 1, or an unknown padding.

    Source:
        V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", 2016.

    Example:
        >>> import ranvier as rv
        >>> signal = rv.reshape(rv.tensor([1.0, 2.0, 4.0, 8.0]), (1, 4, 1))
        >>> difference = rv.reshape(rv.tensor([-1.0, 1.0]), (2, 1, 1))
        >>> rv.conv(signal, difference).flatten().tolist()
        [1.0, 2.0, 4.0]
        >>> rv.conv(rv.ones((2, 28, 28, 3)), rv.ones((3, 3, 3, 8)), strides=2, padding="same").shape
        (2, 14, 14, 8)
    """
    image, weights, rank = _images("conv", x, kernel)
    window = weights.shape[:-2]
    per_axis("conv", "the size of the kernel", window, rank)
    steps, spread = per_axis("conv", "strides", strides, rank), per_axis("conv", "dilation", dilation, rank)
    words = ("valid", "same", "causal")
    pairs = padding_pairs("conv", padding, image.shape[1:-1], window, steps, spread, words)
    parts = int(groups) if isinstance(groups, np.integer) else groups
    return conv_op(image, weights, strides=steps, padding=pairs, dilation=spread, groups=parts)


def conv_transpose(
    x: Any, kernel: Any, strides: Any = 1, padding: Any = "valid", dilation: Any = 1, output_padding: Any = None
) -> Tensor:
    """Transposed convolution: the adjoint of :func:`conv`, which spreads every pixel over the window that made it.

    ``y[n, i, c] = sum of x[n, o, f] * kernel[t, c, f] over all o, t, f with o * stride + t * dilation - low == i``.
    With ``reach = (window - 1) * dilation + 1`` the result has ``(size - 1) * stride + max(reach, stride)`` elements
    on an axis for "valid" and ``size * stride`` for "same".

    Args:
        x: image, signal or volume, floating (integers give float32).
        kernel: the weights.
        strides: how many elements of the result lie between neighbouring pixels; an integer, or one for each axis.
        padding: "valid", "same", or ``(before, after)`` for each spatial axis: how much to cut off.
        dilation: the distance between neighbouring taps; an integer, or one for each spatial axis.
        output_padding: elements added at the end; the result then has ``(size - 1) * stride + reach + output_padding``
            ("valid") or ``(size - 1) * stride + reach % 2 + output_padding`` ("same") of them. None: as above.

    Shape:
        x: ``(batch, *spatial, channels)``; kernel: ``(*window, filters, channels)``; the result: ``(batch, *sizes,
        filters)``.

    Raises:
        ShapeError: wrong number of axes or channels, or nothing is left.
        ArgumentError: strides or dilation below 1, an unknown padding, or an output padding not below the stride.

    Example:
        >>> import ranvier as rv
        >>> signal = rv.reshape(rv.tensor([1.0, 2.0]), (1, 2, 1))
        >>> rv.conv_transpose(signal, rv.ones((3, 1, 1)), strides=2).flatten().tolist()
        [1.0, 1.0, 3.0, 2.0, 2.0]
    """
    name = "conv_transpose"
    image, weights, rank = _images(name, x, kernel)
    window = per_axis(name, "the size of the kernel", weights.shape[:-2], rank)
    steps, spread = per_axis(name, "strides", strides, rank), per_axis(name, "dilation", dilation, rank)
    more = per_axis(name, "output_padding", output_padding, rank, 0) if output_padding is not None else (None,) * rank
    _require_channels(name, image.shape[-1], weights.shape[-1], weights.shape, 1)
    sizes, reach = image.shape[1:-1], span(window, spread)
    if 0 in sizes:
        raise ShapeError(f"{name}: expected at least one element on each spatial axis, got {sizes}.")
    word = padding.lower() if isinstance(padding, str) else ""
    cuts = padding_pairs(name, padding if word != "same" else "valid", sizes, window, steps, spread)
    found = [
        _transposed_axis(n, k, s, o, cut if word != "same" else None)
        for n, k, s, o, cut in zip(sizes, reach, steps, more, cuts, strict=True)
    ]
    attrs = {"size": tuple([f[0] for f in found]), "padding": tuple([f[1] for f in found])}
    return conv_input_op(image, weights, strides=steps, dilation=spread, groups=1, **attrs)


def _transposed_axis(
    size: int, reach: int, stride: int, more: int | None, cut: tuple[int, int] | None
) -> tuple[int, tuple[int, int]]:
    """Size of the result and what conv would be padded with, on one axis; ``cut`` is None for "same"."""
    if cut is None:
        wanted = size * stride if more is None else (size - 1) * stride + reach % 2 + more
        total = (size - 1) * stride + reach - wanted
        spare = reach + stride - 2 if more is None else reach + reach % 2 - 2 + more
        low = reach - 1 - min(spare - spare // 2, reach - 1)
    else:
        extra = max(reach, stride) - reach if more is None and cut == (0, 0) else more or 0
        low = cut[0]
        total = sum(cut) - extra
        wanted = (size - 1) * stride + reach - total
    high = total - low
    if wanted < 1:
        raise ShapeError(
            f"conv_transpose: expected padding and output_padding that leave at least one element of the result, got "
            f"{wanted} on an axis."
        )
    if high <= -stride:
        raise ArgumentError(
            f"conv_transpose: expected output_padding to be smaller than the stride {stride}, got {more}: the last "
            f"{-high} elements would never be reached."
        )
    return wanted, (low, max(high, 0))
