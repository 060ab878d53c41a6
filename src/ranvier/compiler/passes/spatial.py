"""Images: convolutions become kernels' own words, and the batch moves inside.

Users hold images as (batch, *pixels, channels). Compiled code keeps them as (*pixels, batch, channels) from the first
convolution on: a pixel is then a small contiguous matrix, which is what a register tile wants (see
``native/convolution.py``). This pass gives every value that a convolution makes that order, and carries it through
whatever works position by position: elementwise ops, reductions, padding, slicing. Transposes appear only where a
value enters or leaves this world; the ones that meet cancel.

For batches too small to fill a tile images stay as they are, and so does the image of a single convolution: moving it
in and out would cost more than it gains.

Pooling and depthwise convolution stay with the images they work on, wherever the batch is (``windows.py``).

Made here: ``convolve`` (a convolution or its adjoint, of an image and weights [groups (* taps), k, filters]) and
``correlate`` (partial sums of the gradient of the weights, one for each chunk of the image).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ranvier import dtypes
from ranvier.compiler.graph import Graph, Value
from ranvier.compiler.native.convolution import Geometry
from ranvier.compiler.native.convolution_gradient import gradient_chunks
from ranvier.compiler.native.taps import Axis, adjoint, forward, identity
from ranvier.compiler.passes.layout import elementwise
from ranvier.compiler.passes.windows import LOWERED, is_window, lower_window
from ranvier.compiler.views import row_strides

__all__ = ["IMAGE_OPS", "place_images"]

_BATCH = 8  # samples from which on the batch moves inside
_VECTOR = 16  # channels that fill a vector
_FEW = 5  # channels for which the last axis is padded beforehand, see native/convolution_gradient.py

_CONVOLUTIONS = frozenset({"conv", "conv_input", "conv_kernel"})
IMAGE_OPS = _CONVOLUTIONS | frozenset(LOWERED)
"""The ops of the table that this pass replaces."""


def place_images(graph: Graph) -> Graph:
    """The graph with convolutions as ``convolve`` and ``correlate``, images in the order that suits them."""
    return _Placer(graph).graph


def inside(rank: int) -> tuple[int, ...]:
    """The axes of (batch, *pixels, channels) in the order (*pixels, batch, channels)."""
    return (*range(1, rank - 1), 0, rank - 1)


def _outside(rank: int) -> tuple[int, ...]:
    """The way back."""
    return (rank - 2, *range(rank - 2), rank - 1)


def transpose(v: Value, axes: tuple[int, ...]) -> Value:
    """A transposed view."""
    return v.like("transpose", [v], {"axes": axes}, shape=tuple(v.shape[a] for a in axes))


def _reshape(v: Value, shape: tuple[int, ...]) -> Value:
    return v if v.shape == shape else v.like("reshape", [v], {"shape": shape}, shape=shape)


class _Placer:
    """Walks the graph; each old value gets a new one in its own order, in the other order, or in both."""

    def __init__(self, graph: Graph):
        self.own: dict[int, Value] = {}
        self.inner: dict[int, Value] = {}
        nodes = graph.nodes()
        self.chain = max(sum(v.op == name for v in nodes) for name in ("conv", "conv_input")) > 1
        for v in nodes:
            if v.op in LOWERED and is_window(v):
                self._window(v)
            elif v.op in _CONVOLUTIONS:
                self._convolution(v)
            elif not self._carried(v):
                self.own[id(v)] = self._again(v, [self.as_own(x) for x in v.inputs])
        self.graph = Graph(
            [self.as_own(v) for v in graph.inputs], [self.as_own(v) for v in graph.outputs], graph.variables,
            graph.updates,
        )  # fmt: skip

    def _again(self, v: Value, inputs: Sequence[Value]) -> Value:
        return v if all(a is b for a, b in zip(v.inputs, inputs, strict=True)) else v.like(v.op, inputs, v.attrs)

    def as_own(self, old: Value) -> Value:
        """The new value in its own order."""
        if id(old) not in self.own:
            made = self.inner[id(old)]
            self.own[id(old)] = transpose(made, _outside(made.ndim))
        return self.own[id(old)]

    def as_inner(self, old: Value, rank: int = 0) -> Value:
        """The new value with the batch inside, as if it had ``rank`` axes."""
        if rank > old.ndim:
            return transpose(_reshape(self.as_own(old), (1,) * (rank - old.ndim) + old.shape), inside(rank))
        if id(old) not in self.inner:
            made = self.own[id(old)]
            self.inner[id(old)] = transpose(made, inside(made.ndim))
        return self.inner[id(old)]

    # -- what is carried along --------------------------------------------------------------------------------------

    def _carried(self, v: Value) -> bool:
        """Whether ``v`` works position by position on a value whose batch is inside; if so it is done there."""
        if v.ndim >= 3 and elementwise(v):
            if not any(id(x) in self.inner and x.shape == v.shape for x in v.inputs):
                return False
            inputs = [self.as_own(x) if x.ndim < 2 else self.as_inner(x, v.ndim) for x in v.inputs]
            self.inner[id(v)] = v.like(v.op, inputs, v.attrs, shape=_turned(v.shape))
            return True
        if not v.inputs or id(v.inputs[0]) not in self.inner:
            return False
        if v.op.startswith("reduce_"):
            self._reduction(v)
            return True
        law = _ATTRIBUTES.get(v.op)
        if law is None or any(id(x) not in self.inner for x in v.inputs):
            return False
        inputs = [self.inner[id(x)] for x in v.inputs]
        self.inner[id(v)] = v.like(v.op, inputs, law(v.attrs, v.ndim), shape=_turned(v.shape))
        return True

    def _reduction(self, v: Value) -> None:
        x = v.inputs[0]
        order = inside(x.ndim)  # position in the inner order -> axis
        axes = tuple(sorted(order.index(a) for a in v.attrs["axes"]))
        left = [a for i, a in enumerate(order) if i not in axes]  # axes that stay, in the inner order
        shape = tuple(x.shape[a] for a in left)
        made = v.like(v.op, [self.inner[id(x)]], {**v.attrs, "axes": axes}, shape=shape)
        stay = sorted(left)
        if left != stay and len(left) >= 3 and left == [stay[i] for i in inside(len(stay))]:
            self.inner[id(v)] = made
        else:
            self.own[id(v)] = made if left == stay else transpose(made, tuple(left.index(a) for a in stay))

    # -- windows ----------------------------------------------------------------------------------------------------

    def _window(self, v: Value) -> None:
        """Pooling and depthwise convolution: they follow their images, unless channels are too few to fill vectors."""
        image = v.inputs[0]
        placed = any(id(x) in self.inner for x in v.inputs)
        within = image.shape[0] >= _BATCH and (placed or image.shape[-1] < _VECTOR)
        weights = v.op in ("conv", "conv_input")
        inputs = [
            self.as_inner(x) if within and not (weights and i) else self.as_own(x) for i, x in enumerate(v.inputs)
        ]
        made = lower_window(v, inputs, within)
        (self.inner if within and v.op != "conv_kernel" else self.own)[id(v)] = made

    # -- convolutions -----------------------------------------------------------------------------------------------

    def _convolution(self, v: Value) -> None:
        image, other = v.inputs
        within = image.shape[0] >= _BATCH and (self.chain or id(image) in self.inner)
        x = self.as_inner(image) if within else self.as_own(image)
        if v.op == "conv_kernel":
            g = self.as_inner(other) if within else self.as_own(other)
            self.own[id(v)] = _correlate(v, x, g, within)
        else:
            made = _convolve(v, x, self.as_own(other), within)
            (self.inner if within else self.own)[id(v)] = made


def _turned(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[a] for a in inside(len(shape)))


def _by_axis(*names: str) -> Callable[[dict[str, Any], int], dict[str, Any]]:
    """Attributes that have one entry for each axis, in the inner order."""

    def law(attrs: dict[str, Any], rank: int) -> dict[str, Any]:
        return {**attrs, **{n: tuple(attrs[n][a] for a in inside(rank)) for n in names}}

    return law


def _of_axes(name: str) -> Callable[[dict[str, Any], int], dict[str, Any]]:
    """An attribute that names an axis, or several."""

    def law(attrs: dict[str, Any], rank: int) -> dict[str, Any]:
        place, value = inside(rank).index, attrs[name]
        return {**attrs, name: place(value) if isinstance(value, int) else tuple(sorted(map(place, value)))}

    return law


_ATTRIBUTES: dict[str, Callable[[dict[str, Any], int], dict[str, Any]]] = {
    "slice": _by_axis("starts", "stops", "steps"),
    "embed": _by_axis("shape", "starts", "steps"),
    "flip": _of_axes("axes"),
    "concatenate": _of_axes("axis"),
}


# -- geometry ---------------------------------------------------------------------------------------------------------


def _axes(v: Value) -> list[Axis]:
    """The image's axes of a convolution node, from the image it reads to the image it makes."""
    attrs = v.attrs
    if v.op == "conv":
        sizes, taps = v.inputs[0].shape[1:-1], v.inputs[1].shape[:-2]
    elif v.op == "conv_input":
        sizes, taps = attrs["size"], v.inputs[1].shape[:-2]
    else:
        sizes, taps = v.inputs[0].shape[1:-1], attrs["size"]
    rest = zip(sizes, taps, attrs["strides"], attrs["dilation"], attrs["padding"], strict=True)
    axes = [forward(*one) for one in rest]
    return [adjoint(a) for a in axes] if v.op == "conv_input" else axes


def _padded(x: Value, axis: Axis, at: int) -> tuple[Value, Axis]:
    """The image with zeros where the taps of one axis reach outside, and the axis on it."""
    ends = [o * axis.out_step + t * axis.tap_step + axis.offset for o in (0, axis.out - 1) for t in (0, axis.taps - 1)]
    low, high = max(0, -min(ends)), max(0, max(ends) + 1 - axis.size)
    shape = tuple(n + (low + high) * (i == at) for i, n in enumerate(x.shape))
    starts = tuple(low * (i == at) for i in range(x.ndim))
    wide = x.like("embed", [x], {"shape": shape, "starts": starts, "steps": (1,) * x.ndim}, shape=shape)
    return wide, Axis(axis.out, shape[at], axis.taps, axis.out_step, axis.tap_step, axis.offset + low)


def _geometry(
    v: Value, x: Value, axes: Sequence[Axis], filters: int, groups: int, within: bool
) -> tuple[Value, Geometry]:
    """How the pixels of an image lie, and the image itself, padded if that has to be."""
    axes, channels = list(axes), x.shape[-1]
    own = (channels // groups, filters // groups, groups)
    if within:
        if own[0] < _FEW and axes[-1].in_step == 1 and axes[-1].taps > 1 and not axes[-1].full:
            x, axes[-1] = _padded(x, axes[-1], x.ndim - 3)
        rows = x.shape[-2]
        out = (*(a.out for a in axes), rows, filters)
        return x, Geometry(
            tuple(axes), row_strides(x.shape)[:-2], row_strides(out)[:-2], rows, channels, filters, *own
        )  # fmt: skip
    batch, last = x.shape[0], axes[-1]
    if last.in_step != 1 or last.out < min(batch, 4):  # the rows of a tile are samples, whole images apart
        out = (batch, *(a.out for a in axes), filters)
        a_steps, c_steps = row_strides(x.shape), row_strides(out)
        return x, Geometry(tuple(axes), a_steps[1:-1], c_steps[1:-1], batch, a_steps[0], c_steps[0], *own)
    if not last.full:
        x, last = _padded(x, last, x.ndim - 2)
    out = (batch, *(a.out for a in axes), filters)
    a_steps, c_steps = row_strides(x.shape), row_strides(out)
    reached = max(last.offset, last.offset + (last.taps - 1) * last.tap_step) + 1
    along = Axis(1, reached, last.taps, 1, last.tap_step, last.offset)
    placed = (identity(batch), *axes[:-1], along)
    return x, Geometry(placed, a_steps[:-1], (*c_steps[:-2], 0), last.out, channels * last.out_step, filters, *own)


# -- nodes ------------------------------------------------------------------------------------------------------------


def _convolve(v: Value, x: Value, w: Value, within: bool) -> Value:
    groups, back = v.attrs["groups"], v.op == "conv_input"
    x, geometry = _geometry(v, x, _axes(v), v.shape[-1], groups, within)
    taps, channels, filters = math.prod(w.shape[:-2]), w.shape[-2], w.shape[-1] // groups
    if back:
        w = _reshape(w, (taps, channels, groups, filters))
        if groups > 1:
            w = transpose(w, (2, 0, 3, 1))
        else:
            w = transpose(_reshape(w, (taps, channels, filters)), (0, 2, 1))
        w = _reshape(w, (groups * taps, filters, channels))
    else:
        w = _reshape(w, (taps * channels, groups, filters))
        w = transpose(w, (1, 0, 2)) if groups > 1 else _reshape(w, (1, taps * channels, filters))
    shape = _turned(v.shape) if within else v.shape
    return v.like("convolve", [x, w], {"geometry": geometry}, shape=shape)


def _correlate(v: Value, x: Value, g: Value, within: bool) -> Value:
    x, geometry = _geometry(v, x, _axes(v), g.shape[-1], v.attrs["groups"], within)
    chunks = gradient_chunks(geometry, v.dtype.numpy.itemsize)
    sums = dtypes.float64 if v.dtype is dtypes.float64 else dtypes.float32
    parts = v.like(
        "correlate", [x, g], {"geometry": geometry, "chunks": chunks}, shape=(chunks, *v.shape), dtype=sums
    )  # fmt: skip
    total = parts.like("reduce_sum", [parts], {"axes": (0,)}, shape=v.shape)
    return total if v.dtype is sums else total.like("cast", [total], {"dtype": v.dtype}, dtype=v.dtype)
