"""Window ops: what pooling is made of, over one to three spatial axes, channels last.

Max pooling is ``window_argmax`` (which tap of each window is largest) followed by ``window_take`` (the elements at
those taps); its gradient ``window_put`` adds each value back to where it came from. Average pooling is ``window_sum``
over the number of elements inside; its gradient ``window_spread`` is the adjoint of the sum. Taps that fall outside
the image are left out everywhere. The references loop over the taps of the window.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.errors import DTypeError, ShapeError
from ranvier.ops import elementwise as e
from ranvier.ops.spatial import Padding, RealOp, floats, padding_pairs, per_axis, places, span, taps
from ranvier.ops.table import Aval, apply, require_kind
from ranvier.tensor import Tensor

__all__ = ["average_pool", "max_pool"]

Sizes = tuple[int, ...]
Windows = tuple[Sizes, Sizes, Padding, Sizes]  # size, strides, padding, dilation
Samples = list[tuple[tuple[Any, ...], dict[str, Any]]]


# -- shape rules --------------------------------------------------------------------------------------------------


def _require_image(name: str, x: Tensor) -> int:
    """A floating tensor with a batch axis, one to three spatial axes and channels; the number of spatial axes."""
    require_kind(name, x, "float")
    if not 3 <= x.ndim <= 5:
        raise ShapeError(f"{name}: expected an image (batch, 1 to 3 spatial axes, channels), got shape {x.shape}.")
    return x.ndim - 2


def _require_filled(name: str, sizes: Sizes, counts: Sizes, windows: Windows) -> None:
    """Refuse windows that lie over padding alone: they have no largest element and no mean."""
    far = [  # seen at once, without counting
        low >= reach or high >= reach + step - 1
        for (low, high), reach, step in zip(windows[2], span(windows[0], windows[3]), windows[1], strict=True)
    ]
    if any(far) or any([0 in inside for inside in _inside(sizes, counts, windows)]):
        raise ShapeError(
            f"{name}: expected every window to have an element inside the image, got spatial size {sizes}, window "
            f"{windows[0]}, strides {windows[1]}, padding {windows[2]} and dilation {windows[3]}. Use less padding or "
            "dilation."
        )


def _inside(sizes: Sizes, counts: Sizes, windows: Windows) -> list[np.ndarray]:
    """For each axis, how many taps of each window lie inside the image; windows are boxes, so these multiply."""
    found = []
    for axis, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        total = np.zeros(count, np.int64)
        for tap in taps((size,), (count,), *[(part[axis],) for part in windows]):  # type: ignore[arg-type]
            total[tap.out[1]] += 1
        found.append(total)
    return found


def _argmax_infer(inputs: Sequence[Tensor], window: Sizes, strides: Sizes, padding: Padding, dilation: Sizes) -> Aval:
    (x,) = inputs
    _require_image("window_argmax", x)
    sizes = x.shape[1:-1]
    counts = places("window_argmax", "window", sizes, window, strides, padding, dilation)
    _require_filled("window_argmax", sizes, counts, (window, strides, padding, dilation))
    return Aval((x.shape[0], *counts, x.shape[-1]), dtypes.int32)


def _gathered(name: str, x: Tensor, sizes: Sizes, attrs: dict[str, Any]) -> Sizes:
    """Shape of what windows over an image of ``sizes`` give, with the batch and channels of ``x``."""
    rank = _require_image(name, x)
    if not isinstance(sizes, tuple) or len(sizes) != rank:
        raise ShapeError(f"{name}: expected size to have one entry for each of the {rank} spatial axes, got {sizes}.")
    return (x.shape[0], *places(name, "window", sizes, **attrs), x.shape[-1])


def _require_taps(name: str, index: Tensor, shape: Sizes) -> None:
    if index.dtype.kind not in ("int", "uint"):
        raise DTypeError(f"{name}: expected integer tap numbers, got {index.dtype}. Convert them with astype('int32').")
    if index.shape != shape:
        raise ShapeError(f"{name}: expected tap numbers of shape {shape}, got {index.shape}.")


def _take_infer(inputs: Sequence[Tensor], **attrs: Any) -> Aval:
    x, index = inputs
    shape = _gathered("window_take", x, x.shape[1:-1], attrs)
    _require_taps("window_take", index, shape)
    return Aval(shape, x.dtype)


def _put_infer(inputs: Sequence[Tensor], size: Sizes, **attrs: Any) -> Aval:
    g, index = inputs
    _require_made("window_put", g, size, attrs)
    _require_taps("window_put", index, g.shape)
    return Aval((g.shape[0], *size, g.shape[-1]), g.dtype)


def _sum_infer(inputs: Sequence[Tensor], **attrs: Any) -> Aval:
    (x,) = inputs
    return Aval(_gathered("window_sum", x, x.shape[1:-1], attrs), x.dtype)


def _spread_infer(inputs: Sequence[Tensor], size: Sizes, **attrs: Any) -> Aval:
    (g,) = inputs
    _require_made("window_spread", g, size, attrs)
    return Aval((g.shape[0], *size, g.shape[-1]), g.dtype)


def _require_made(name: str, g: Tensor, size: Sizes, attrs: dict[str, Any]) -> None:
    shape = _gathered(name, g, size, attrs)
    if g.shape != shape:
        raise ShapeError(
            f"{name}: expected shape {shape}, as these windows over an image of size {size} make, got {g.shape}."
        )


# -- references ---------------------------------------------------------------------------------------------------


def _made_places(x: np.ndarray, *attrs: Any) -> Sizes:
    return places("window", "window", x.shape[1:-1], *attrs)


def _argmax_reference(x: np.ndarray, window: Sizes, strides: Sizes, padding: Padding, dilation: Sizes) -> np.ndarray:
    attrs = (window, strides, padding, dilation)
    counts = _made_places(x, *attrs)
    best = np.full((x.shape[0], *counts, x.shape[-1]), -np.inf, x.dtype)
    index = np.full(best.shape, -1, np.int32)
    for tap in taps(x.shape[1:-1], counts, *attrs):
        value, most, found = x[tap.inside], best[tap.out], index[tap.out]
        better = (found < 0) | (value > most) | (np.isnan(value) & ~np.isnan(most))
        best[tap.out] = np.where(better, value, most)
        index[tap.out] = np.where(better, np.int32(tap.number), found)
    return index


def _take_reference(
    x: np.ndarray, index: np.ndarray, window: Sizes, strides: Sizes, padding: Padding, dilation: Sizes
) -> np.ndarray:
    out = np.zeros(index.shape, x.dtype)
    for tap in taps(x.shape[1:-1], index.shape[1:-1], window, strides, padding, dilation):
        out[tap.out] = np.where(index[tap.out] == tap.number, x[tap.inside], out[tap.out])
    return out


def _put_reference(
    g: np.ndarray, index: np.ndarray, size: Sizes, window: Sizes, strides: Sizes, padding: Padding, dilation: Sizes
) -> np.ndarray:
    out = np.zeros((g.shape[0], *size, g.shape[-1]), g.dtype)
    zero = g.dtype.type(0)
    for tap in taps(size, g.shape[1:-1], window, strides, padding, dilation):
        out[tap.inside] += np.where(index[tap.out] == tap.number, g[tap.out], zero)
    return out


def _sum_reference(x: np.ndarray, window: Sizes, strides: Sizes, padding: Padding, dilation: Sizes) -> np.ndarray:
    attrs = (window, strides, padding, dilation)
    counts = _made_places(x, *attrs)
    out = np.zeros((x.shape[0], *counts, x.shape[-1]), x.dtype)
    for tap in taps(x.shape[1:-1], counts, *attrs):
        out[tap.out] += x[tap.inside]
    return out


def _spread_reference(
    g: np.ndarray, size: Sizes, window: Sizes, strides: Sizes, padding: Padding, dilation: Sizes
) -> np.ndarray:
    out = np.zeros((g.shape[0], *size, g.shape[-1]), g.dtype)
    for tap in taps(size, g.shape[1:-1], window, strides, padding, dilation):
        out[tap.inside] += g[tap.out]
    return out


# -- records ------------------------------------------------------------------------------------------------------

# Spatial size, window, strides, padding, dilation: apart, overlapping, padded, dilated, with elements left over.
_CASES: list[tuple[Sizes, Sizes, Sizes, Padding, Sizes]] = [
    ((6,), (2,), (2,), ((0, 0),), (1,)),
    ((5,), (3,), (1,), ((1, 2),), (1,)),
    ((5, 4), (2, 3), (2, 1), ((0, 0), (1, 1)), (1, 1)),
    ((6, 5), (2, 2), (1, 3), ((0, 1), (0, 0)), (3, 2)),
    ((3, 2, 3), (2, 1, 3), (1, 2, 2), ((1, 0), (0, 0), (1, 1)), (1, 1, 1)),
]


def _sample_images(rng: np.random.Generator) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Images whose elements all differ, so that no window has a tie near which differences would fail."""
    found = []
    for case, (size, window, strides, padding, dilation) in enumerate(_CASES):
        shape = (1 + case % 2, *size, 1 + case % 3)
        x = rng.permutation(int(np.prod(shape))).reshape(shape) / 10 - 2.0
        found.append((x, {"window": window, "strides": strides, "padding": padding, "dilation": dilation}))
    return found


def _image_samples(rng: np.random.Generator) -> Samples:
    return [((x,), attrs) for x, attrs in _sample_images(rng)]


def _take_samples(rng: np.random.Generator) -> Samples:
    return [((x, _argmax_reference(x, **attrs)), attrs) for x, attrs in _sample_images(rng)]


def _put_samples(rng: np.random.Generator) -> Samples:
    found = []
    for x, attrs in _sample_images(rng):
        index = _argmax_reference(x, **attrs)
        found.append(((rng.normal(size=index.shape), index), {"size": x.shape[1:-1], **attrs}))
    return found


def _spread_samples(rng: np.random.Generator) -> Samples:
    return [((g,), attrs) for (g, _), attrs in _put_samples(rng)]


def _attrs(rank: int = 1, **changed: Any) -> dict[str, Any]:
    plain = {"window": (2,) * rank, "strides": (1,) * rank, "padding": ((0, 0),) * rank, "dilation": (1,) * rank}
    return {**plain, **changed}


_X = np.ones((1, 4, 2))
_SIZED = {"size": (4,), **_attrs()}
_WRONG: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ((np.ones((4, 2)),), _attrs(), ShapeError, "expected an image"),
    ((_X,), _attrs(window=(5,)), ShapeError, r"window that fits.*\(5,\).*\(4,\)"),
    ((_X,), _attrs(dilation=(4,)), ShapeError, r"stretches it over \(5,\)"),
    ((_X,), _attrs(strides=(0,)), ValueError, "expected strides"),
    ((_X,), _attrs(window=(0,)), ValueError, "expected the size of the window"),
    ((_X,), _attrs(padding=((-1, 0),)), ValueError, "expected padding"),
    ((np.ones((1, 0, 2)),), _attrs(padding=((2, 2),)), ShapeError, "window that fits"),
]


def _op(name: str, reference: Any, infer: Any, vjps: Sequence[Callable[..., Any] | None], **more: Any) -> RealOp:
    op = RealOp(name, reference, infer, vjps, family="window", kinds="float", **more)
    op.index_inputs = (1,) if op.arity == 2 else ()
    return op


argmax_op = _op(
    "window_argmax",
    _argmax_reference,
    _argmax_infer,
    (),
    no_gradient="tap numbers are integers",
    doc="The number of the tap (row-major in the window) with the first largest element of x; NaN counts as largest.",
    samples=_image_samples,
    errors=[
        *_WRONG,
        ((np.ones((1, 2, 1)),), _attrs(padding=((2, 0),)), ShapeError, "every window to have an element inside"),
    ],
)
take_op = _op(
    "window_take",
    _take_reference,
    _take_infer,
    (lambda g, out, x, index, **attrs: apply(put_op, (g, index), {"size": x.shape[1:-1], **attrs}), None),
    arity=2,
    no_gradient="tap numbers are integers",
    doc="The element of x at one tap of each window; a tap that lies outside gives 0.",
    samples=_take_samples,
    errors=[
        ((_X, np.zeros((1, 2, 2), np.int32)), _attrs(), ShapeError, r"numbers of shape \(1, 3, 2\), got \(1, 2, 2\)"),
        ((_X, np.zeros((1, 3, 2))), _attrs(), DTypeError, "expected integer tap numbers"),
        ((_X, np.zeros((1, 3, 2), np.int32)), _attrs(window=(5,)), ShapeError, "window that fits"),
    ],
)
put_op = _op(
    "window_put",
    _put_reference,
    _put_infer,
    (lambda g, out, x, index, size, **attrs: apply(take_op, (g, index), attrs), None),
    arity=2,
    no_gradient="tap numbers are integers",
    doc="The adjoint of window_take: every element of g is added where its tap of its window lies.",
    samples=_put_samples,
    errors=[
        ((np.ones((1, 2, 2)), np.zeros((1, 2, 2), np.int32)), _SIZED, ShapeError, r"expected shape \(1, 3, 2\)"),
        ((np.ones((1, 3, 2)), np.zeros((1, 2, 2), np.int32)), _SIZED, ShapeError, "expected tap numbers"),
        ((np.ones((1, 3, 2)), np.zeros((1, 3, 2))), _SIZED, DTypeError, "expected integer tap numbers"),
    ],
)
sum_op = _op(
    "window_sum",
    _sum_reference,
    _sum_infer,
    (lambda g, out, x, **attrs: apply(spread_op, (g,), {"size": x.shape[1:-1], **attrs}),),
    doc="The sum of the elements of x inside each window.",
    samples=_image_samples,
    errors=_WRONG,
)
spread_op = _op(
    "window_spread",
    _spread_reference,
    _spread_infer,
    (lambda g, out, x, size, **attrs: apply(sum_op, (g,), attrs),),
    doc="The adjoint of window_sum: every element of g is added to all elements of its window.",
    samples=_spread_samples,
    errors=[
        ((np.ones((1, 2, 2)),), _SIZED, ShapeError, r"expected shape \(1, 3, 2\)"),
        ((np.ones((1, 3, 2)),), {**_SIZED, "size": (4, 4)}, ShapeError, "expected size"),
    ],
)


# -- functions ----------------------------------------------------------------------------------------------------


def _prepared(
    name: str, x: Any, window: Any, strides: Any, padding: Any, dilation: Any
) -> tuple[Tensor, dict[str, Any]]:
    """The image in a floating dtype, and the attributes of its windows, none of which may be empty."""
    (image,) = floats((x,))
    rank = _require_image(name, image)
    sizes = image.shape[1:-1]
    extent = per_axis(name, "the size of the window", window, rank)
    steps = extent if strides is None else per_axis(name, "strides", strides, rank)
    spread = per_axis(name, "dilation", dilation, rank)
    pairs = padding_pairs(name, padding, sizes, extent, steps, spread)
    counts = places(name, "window", sizes, extent, steps, pairs, spread)
    _require_filled(name, sizes, counts, (extent, steps, pairs, spread))
    return image, {"window": extent, "strides": steps, "padding": pairs, "dilation": spread}


def max_pool(x: Any, window: Any, strides: Any = None, padding: Any = "valid", dilation: Any = 1) -> Tensor:
    """The largest element of each window: ``y[n, o, c] = max over taps t of x[n, o * stride + t * dilation - low, c]``.

    Elements outside the image are left out. A NaN makes its windows NaN. Where several elements of a window are
    largest, the gradient goes to the first.

    Args:
        x: image, signal or volume, floating (integers give float32).
        window: its size; an integer, or one for each spatial axis.
        strides: the distance between neighbouring windows; None for the window's size.
        padding: "valid", "same" (``ceil(size / stride)`` results), or ``(before, after)`` for each spatial axis.
        dilation: the distance between neighbouring taps of a window.

    Shape:
        ``(batch, *spatial, channels)`` gives ``(batch, *places, channels)``.

    Raises:
        ShapeError: wrong number of axes, a window larger than the image, or one that lies over padding alone.
        ArgumentError: a size, stride or dilation below 1, or an unknown padding.

    Example:
        >>> import ranvier as rv
        >>> x = rv.reshape(rv.tensor([1.0, 5.0, 2.0, 3.0]), (1, 4, 1))
        >>> rv.max_pool(x, 2).flatten().tolist()
        [5.0, 3.0]
    """
    image, attrs = _prepared("max_pool", x, window, strides, padding, dilation)
    index = apply(argmax_op, (image,), attrs)
    return apply(take_op, (image, index), attrs)


def average_pool(x: Any, window: Any, strides: Any = None, padding: Any = "valid", dilation: Any = 1) -> Tensor:
    """The mean of the elements of each window that lie inside the image; padding does not count.

    Args:
        x: image, signal or volume, floating (integers give float32).
        window: its size; an integer, or one for each spatial axis.
        strides: the distance between neighbouring windows; None for the window's size.
        padding: "valid", "same" (``ceil(size / stride)`` results), or ``(before, after)`` for each spatial axis.
        dilation: the distance between neighbouring taps of a window.

    Shape:
        ``(batch, *spatial, channels)`` gives ``(batch, *places, channels)``.

    Raises:
        ShapeError: wrong number of axes, a window larger than the image, or one that lies over padding alone.
        ArgumentError: a size, stride or dilation below 1, or an unknown padding.

    Example:
        >>> import ranvier as rv
        >>> x = rv.reshape(rv.tensor([1.0, 5.0, 2.0]), (1, 3, 1))
        >>> rv.average_pool(x, 2, padding="same").flatten().tolist()
        [3.0, 2.0]
    """
    image, attrs = _prepared("average_pool", x, window, strides, padding, dilation)
    total = apply(sum_op, (image,), attrs)
    windows = (attrs["window"], attrs["strides"], attrs["padding"], attrs["dilation"])
    inside = functools.reduce(np.multiply.outer, _inside(image.shape[1:-1], total.shape[1:-1], windows))[..., None]
    if inside.min() == inside.max():
        return total / float(inside.min())
    return total / e.astype(Tensor._wrap(inside, dtypes.int64), image.dtype)
