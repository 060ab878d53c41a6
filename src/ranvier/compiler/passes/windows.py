"""Lowering of pooling and depthwise convolution to the compiler's own ops ``window`` and ``window_weights``.

``window(x, [index or weights])`` reads ``x[*(axis.size), ...]`` and gives ``[*(axis.out), ...]``: the attribute
``axes`` (of :class:`~ranvier.compiler.native.taps.Axis`) tells of its first axes, the rest (channels, or batch and
channels) is one block that is carried along. Its ``kind``:

    argmax     number of the tap with the largest element
    take, put  elements at the taps that an index names; the adjoint
    sum        sum of the elements
    weighted   sum of the elements times weights[tap, channel]

``window_weights(x, g)`` is the gradient of ``weighted`` by the weights, in parts [chunk, tap, channel] yet to be added.
"""

from __future__ import annotations

from collections.abc import Sequence

from ranvier import dtypes
from ranvier.compiler.graph import Value
from ranvier.compiler.native.taps import Axis, adjoint, forward, identity
from ranvier.compiler.native.window_weights import chunks_for

__all__ = ["LOWERED", "is_window", "lower_window"]

_POOLING = {
    "window_argmax": "argmax", "window_take": "take", "window_put": "put", "window_sum": "sum", "window_spread": "sum",
}  # fmt: skip
_DEPTHWISE = ("conv", "conv_input", "conv_kernel")
_ADJOINTS = ("window_put", "window_spread", "conv_input")
LOWERED = (*_POOLING, *_DEPTHWISE)
"""The ops of the table that :func:`is_window` may accept."""


def _depthwise(v: Value) -> bool:
    """Whether a convolution, or a gradient of one, sees one channel at a time."""
    if v.op not in _DEPTHWISE:
        return False
    one, filters = (v.shape if v.op == "conv_kernel" else v.inputs[1].shape)[-2:]
    groups = v.attrs["groups"]
    if one != 1 or (groups == 1 and filters > 1):  # one channel only and many filters: that is a product
        return False
    return filters == groups or v.dtype is not dtypes.bfloat16  # repeated channels are rounded before they are added


def _axes(v: Value) -> tuple[Axis, ...]:
    """The spatial axes of a table op: of the forward window, or of the adjoint where the op is one."""
    attrs = v.attrs
    if v.op == "conv_kernel":
        window, size = attrs["size"], v.inputs[0].shape[1:-1]
    else:
        window = attrs["window"] if v.op in _POOLING else v.inputs[1].shape[:-2]
        size = attrs["size"] if v.op in _ADJOINTS else v.inputs[0].shape[1:-1]
    parts = zip(size, window, attrs["strides"], attrs["dilation"], attrs["padding"], strict=True)
    axes = [forward(*part) for part in parts]
    return tuple(adjoint(a) for a in axes) if v.op in _ADJOINTS else tuple(axes)


def is_window(v: Value) -> bool:
    """Whether :func:`lower_window` takes ``v``: a pooling op, or a depthwise convolution; there must be elements."""
    if v.size == 0 or any(x.size == 0 for x in v.inputs):
        return False
    if v.op in ("window_take", "window_put") and v.inputs[1].dtype.name in ("int64", "uint32"):
        return False  # numbers that int32 does not hold must find nothing
    return v.op in _POOLING or _depthwise(v)


def lower_window(v: Value, inputs: Sequence[Value], within: bool = False) -> Value:
    """A pooling op or depthwise convolution as ``window`` (or ``window_weights``, added up).

    Args:
        v: a node that :func:`is_window` accepts.
        inputs: its inputs; where ``within``, images have the batch inside: (*spatial, batch, channels).
        within: so has the result.
    """
    batch, given = v.inputs[0].shape[0], list(inputs)
    axes = _axes(v) if within else (identity(batch), *_axes(v))
    several = 1 if v.op in _POOLING else _filters(v) // v.attrs["groups"]  # filters of one channel
    if several > 1 and v.op != "conv_input":
        given[0] = _repeated(given[0], several)
    if v.op == "conv_kernel":
        return _weights(v, axes, given)
    kind = _POOLING.get(v.op, "weighted")
    if kind in ("take", "put") and given[1].dtype is not dtypes.int32:
        given[1] = given[1].like("cast", [given[1]], {"dtype": dtypes.int32}, dtype=dtypes.int32)
    if kind == "weighted":
        kernel = given[1]
        table = (kernel.size // kernel.shape[-1], kernel.shape[-1])
        given[1] = kernel.like("reshape", [kernel], {"shape": table}, shape=table)
    channels = v.shape[-1] if kind != "weighted" else given[1].shape[-1]
    inner = (batch, channels) if within else (channels,)
    made = v.like("window", given, {"kind": kind, "axes": axes}, shape=(*(a.out for a in axes), *inner))
    return _added(made, several) if several > 1 and v.op == "conv_input" else made


def _filters(v: Value) -> int:
    return (v.shape if v.op == "conv_kernel" else v.inputs[1].shape)[-1]


def _repeated(x: Value, times: int) -> Value:
    """Every channel so many times, side by side."""
    shape = (*x.shape, times)
    column = x.like("reshape", [x], {"shape": (*x.shape, 1)}, shape=(*x.shape, 1))
    wide = x.like("broadcast_to", [column], {"shape": shape}, shape=shape)
    flat = (*x.shape[:-1], x.shape[-1] * times)
    return x.like("reshape", [wide], {"shape": flat}, shape=flat)


def _added(x: Value, times: int) -> Value:
    """The adjoint: so many channels side by side become one."""
    shape = (*x.shape[:-1], x.shape[-1] // times)
    split = x.like("reshape", [x], {"shape": (*shape, times)}, shape=(*shape, times))
    return x.like("reduce_sum", [split], {"axes": (split.ndim - 1,)}, shape=shape)


def _weights(v: Value, axes: tuple[Axis, ...], images: Sequence[Value]) -> Value:
    """The gradient of a depthwise kernel: parts, their sum, the kernel's shape."""
    x = images[0]
    inner, taps = x.shape[len(axes) :], v.size // v.shape[-1]
    chunks = chunks_for(axes, inner[0] if len(inner) == 2 else 1, inner[-1])
    dtype = dtypes.float64 if v.dtype is dtypes.float64 else dtypes.float32
    channels = v.shape[-1]
    parts = v.like("window_weights", images, {"axes": axes}, shape=(chunks, taps, channels), dtype=dtype)
    if chunks == 1:
        total = parts
    else:
        flat = parts.like("reshape", [parts], {"shape": (chunks, taps * channels)}, shape=(chunks, taps * channels))
        total = flat.like("reduce_sum", [flat], {"axes": (0,)}, shape=(taps * channels,))
    made = total.like("reshape", [total], {"shape": v.shape}, shape=v.shape)
    return made if dtype is v.dtype else made.like("cast", [made], {"dtype": v.dtype}, dtype=v.dtype)
