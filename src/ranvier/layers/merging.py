"""Layers that make one tensor of several: sums, products, extremes, concatenation, dot products.

Each is called on a list of tensors. Every class has a function of the same name in small letters, for use inside a
``call``: ``rv.layers.add([a, b])`` is ``rv.layers.Add()([a, b])``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.layers.base import Layer, register
from ranvier.layers.statistics import wide
from ranvier.ops import elementwise as e
from ranvier.ops import reduce as r
from ranvier.ops import shape as s
from ranvier.tensor import Tensor

__all__ = [
    "Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract", "add", "average",
    "concatenate", "dot", "maximum", "minimum", "multiply", "subtract",
]  # fmt: skip


def _listed(who: str, shapes: Any, least: int = 1, most: int | None = None) -> list[tuple[int | None, ...]]:
    """Shapes of the inputs as a list, if they are as many as the layer takes."""
    fine = isinstance(shapes, list | tuple) and all(isinstance(shape, list | tuple) for shape in shapes)
    if not fine or len(shapes) < least or (most is not None and len(shapes) > most):
        wanted = f"exactly {least}" if most == least else f"at least {least}"
        given = f"{len(shapes)} of them" if fine else "something else"
        raise ShapeError(
            f"{who}: expected a list of {wanted} tensor{'s' if least > 1 else ''}, got {given} (shapes {shapes}). Call "
            "it as layer([a, b])."
        )
    return [tuple(shape) for shape in shapes]


def _broadcast(who: str, shapes: Sequence[tuple[int | None, ...]]) -> tuple[int | None, ...]:
    """The shape of the elementwise result: sizes of 1 stretch, and shorter samples get axes of 1 behind the batch."""
    rank = max(map(len, shapes))
    full = [(*shape[:1], *(1,) * (rank - len(shape)), *shape[1:]) for shape in shapes]
    out: list[int | None] = []
    for axis, sizes in enumerate(zip(*full, strict=True)):
        known = {n for n in sizes if n is not None and (n != 1 or axis == 0)}
        if len(known) > 1:
            what = "the batch" if axis == 0 else f"axis {axis}"
            raise ShapeError(f"{who}: inputs of shapes {', '.join(map(str, shapes))} do not fit together on {what}.")
        out.append(known.pop() if known else None if None in sizes else 1)
    return tuple(out)


class _Merge(Layer):
    """Elementwise work on a list of tensors of one shape, or of shapes that broadcast."""

    supports_masking = True
    most: int | None = None
    least = 1

    def __init__(self, **common: Any):
        super().__init__(**common)

    def build(self, input_shape: Any) -> None:
        _broadcast(self._who(), _listed(self._who(), input_shape, self.least, self.most))

    def call(self, inputs: Any) -> Tensor:
        tensors = self._tensors(inputs)
        _broadcast(self._who(), [x.shape for x in tensors])
        rank = max(x.ndim for x in tensors)
        return self._merged([
            x if x.ndim == rank else s.reshape(x, (*x.shape[:1], *(1,) * (rank - x.ndim), *x.shape[1:]))
            for x in tensors
        ])  # fmt: skip

    def _tensors(self, inputs: Any) -> list[Tensor]:
        """The inputs, as many as the layer takes; integers among floats become floats."""
        if not isinstance(inputs, list | tuple):
            _listed(self._who(), inputs.shape if isinstance(inputs, Tensor) else inputs, self.least, self.most)
        _listed(self._who(), [x.shape for x in inputs], self.least, self.most)
        return [e.astype(x, self.compute_dtype) for x in inputs]

    def _merged(self, tensors: list[Tensor]) -> Tensor:
        raise ArgumentError(f"{self._who()}: define _merged(self, tensors) to say what the layer computes.")

    def compute_output_shape(self, input_shape: Any) -> Any:
        return _broadcast(self._who(), _listed(self._who(), input_shape, self.least, self.most))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """True where any of the inputs has a step that counts; None if one has no mask.

        Args:
            inputs: the tensors.
            mask: their masks, in a list.
        """
        if mask is None or any(m is None for m in mask):
            return None
        return functools.reduce(e.logical_or, mask)


@register
class Add(_Merge):
    """The sum of the inputs.

    Args:
        **common: name, trainable and dtype, as for every layer.

    Shape:
        a list of tensors of one shape; the output has the same. Axes of size 1 stretch, but for the batch.

    Raises:
        ShapeError: no list of tensors, or shapes that do not fit together.

    Example:
        >>> rv.layers.Add()([rv.tensor([[1.0, 2.0]]), rv.tensor([[10.0, 20.0]])]).tolist()
        [[11.0, 22.0]]
    """

    def _merged(self, tensors: list[Tensor]) -> Tensor:
        return functools.reduce(e.add, tensors)


@register
class Subtract(_Merge):
    """The first input minus the second.

    Args:
        **common: name, trainable and dtype, as for every layer.

    Shape:
        a list of two tensors of one shape; the output has the same. Axes of size 1 stretch, but for the batch.

    Raises:
        ShapeError: no list of two tensors, or shapes that do not fit together.

    Example:
        >>> rv.layers.Subtract()([rv.tensor([[10.0, 20.0]]), rv.tensor([[1.0, 2.0]])]).tolist()
        [[9.0, 18.0]]
    """

    least = most = 2

    def _merged(self, tensors: list[Tensor]) -> Tensor:
        return tensors[0] - tensors[1]


@register
class Multiply(_Merge):
    """The product of the inputs, element by element.

    Args:
        **common: name, trainable and dtype, as for every layer.

    Shape:
        a list of tensors of one shape; the output has the same. Axes of size 1 stretch, but for the batch.

    Raises:
        ShapeError: no list of tensors, or shapes that do not fit together.

    Example:
        >>> rv.layers.Multiply()([rv.tensor([[1.0, 2.0]]), rv.tensor([[10.0, 20.0]])]).tolist()
        [[10.0, 40.0]]
    """

    def _merged(self, tensors: list[Tensor]) -> Tensor:
        return functools.reduce(e.multiply, tensors)


@register
class Average(_Merge):
    """The mean of the inputs, element by element.

    Args:
        **common: name, trainable and dtype, as for every layer.

    Shape:
        a list of tensors of one shape; the output has the same. Axes of size 1 stretch, but for the batch.

    Raises:
        ShapeError: no list of tensors, or shapes that do not fit together.

    Example:
        >>> rv.layers.Average()([rv.tensor([[1.0, 2.0]]), rv.tensor([[3.0, 6.0]])]).tolist()
        [[2.0, 4.0]]
    """

    def _merged(self, tensors: list[Tensor]) -> Tensor:
        return functools.reduce(e.add, tensors) / float(len(tensors))


@register
class Maximum(_Merge):
    """The largest of the inputs, element by element.

    Args:
        **common: name, trainable and dtype, as for every layer.

    Shape:
        a list of tensors of one shape; the output has the same. Axes of size 1 stretch, but for the batch.

    Raises:
        ShapeError: no list of tensors, or shapes that do not fit together.

    Example:
        >>> rv.layers.Maximum()([rv.tensor([[1.0, 2.0]]), rv.tensor([[0.0, 6.0]])]).tolist()
        [[1.0, 6.0]]
    """

    def _merged(self, tensors: list[Tensor]) -> Tensor:
        return functools.reduce(e.maximum, tensors)


@register
class Minimum(_Merge):
    """The smallest of the inputs, element by element.

    Args:
        **common: name, trainable and dtype, as for every layer.

    Shape:
        a list of tensors of one shape; the output has the same. Axes of size 1 stretch, but for the batch.

    Raises:
        ShapeError: no list of tensors, or shapes that do not fit together.

    Example:
        >>> rv.layers.Minimum()([rv.tensor([[1.0, 2.0]]), rv.tensor([[0.0, 6.0]])]).tolist()
        [[0.0, 2.0]]
    """

    def _merged(self, tensors: list[Tensor]) -> Tensor:
        return functools.reduce(e.minimum, tensors)


@register
class Concatenate(_Merge):
    """The inputs side by side along an axis.

    Args:
        axis: the axis, not 0.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        a list of tensors that differ on the axis only; the output has the sum of their sizes there.

    Raises:
        ArgumentError: axis is no integer, or the batch.
        ShapeError: no list of tensors, or shapes that differ elsewhere.

    Example:
        >>> rv.layers.Concatenate()([rv.tensor([[1.0, 2.0]]), rv.tensor([[3.0]])]).tolist()
        [[1.0, 2.0, 3.0]]
    """

    def __init__(self, axis: int = -1, **common: Any):
        super().__init__(**common)
        if isinstance(axis, bool) or not isinstance(axis, int) or axis == 0:
            raise ArgumentError(
                f"Concatenate: expected axis to be an integer, not 0 (the batch), got {describe(axis)}."
            )
        self.axis = axis

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)

    def call(self, inputs: Any) -> Tensor:
        tensors = self._tensors(inputs)
        self.compute_output_shape([x.shape for x in tensors])
        return s.concatenate(tensors, axis=self.axis)

    def compute_output_shape(self, input_shape: Any) -> Any:
        shapes = _listed(self._who(), input_shape)
        rank = len(shapes[0])
        if not -rank <= self.axis < rank or self.axis % rank == 0:
            raise ShapeError(f"{self._who()}: axis {self.axis} does not fit inputs of shape {shapes[0]}.")
        at = self.axis % rank
        fine = all(len(shape) == rank for shape in shapes) and all(
            len({n for n in sizes if n is not None}) <= 1
            for axis, sizes in enumerate(zip(*shapes, strict=True))
            if axis != at
        )
        if not fine:
            raise ShapeError(
                f"{self._who()}: inputs of shapes {', '.join(map(str, shapes))} may differ on axis {self.axis} only."
            )
        sizes = [shape[at] for shape in shapes]
        total = None if None in sizes else sum(n for n in sizes if n is not None)
        return (*shapes[0][:at], total, *shapes[0][at + 1 :])

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The masks side by side; an input without one counts everywhere.

        Args:
            inputs: the tensors.
            mask: their masks, in a list.
        """
        if mask is None or all(m is None for m in mask):
            return None
        whole = [
            s.broadcast_to(True if m is None else s.reshape(m, (*m.shape, *(1,) * (x.ndim - m.ndim))), x.shape)
            for x, m in zip(inputs, mask, strict=True)
        ]
        return r.any(s.concatenate(whole, axis=self.axis), axis=-1)


@register
class Dot(_Merge):
    """The dot products of two inputs along an axis of each, sample by sample.

    Args:
        axes: the axis of both, or one axis of each; not 0.
        normalize: divide by the lengths along the axes first: the cosine of the angle.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, ...)`` and ``(batch, ...)``; the output has the axes of the first without its axis, then those of the
        second without the batch and its axis, or ``(batch, 1)`` if none are left.

    Raises:
        ArgumentError: axes are no such numbers.
        ShapeError: not two tensors, an axis that does not exist, or sizes that differ.

    Example:
        >>> rv.layers.Dot(axes=1)([rv.tensor([[1.0, 2.0]]), rv.tensor([[3.0, 4.0]])]).tolist()
        [[11.0]]
    """

    least = most = 2

    def __init__(self, axes: Any, normalize: bool = False, **common: Any):
        super().__init__(**common)
        pair = tuple(axes) if isinstance(axes, list | tuple) else (axes, axes)
        if len(pair) != 2 or any(isinstance(a, bool) or not isinstance(a, int) or a == 0 for a in pair):
            raise ArgumentError(
                f"Dot: expected axes to be an integer or two of them, not 0 (the batch), got {describe(axes)}."
            )
        self.axes, self.normalize = axes if isinstance(axes, int) else list(axes), bool(normalize)
        self._pair = pair

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)

    def call(self, inputs: Any) -> Tensor:
        a, b = self._tensors(inputs)
        out = self.compute_output_shape([a.shape, b.shape])
        at_a, at_b = self._resolved(a.shape, b.shape)
        if self.normalize:
            a, b = _unit(a, at_a), _unit(b, at_b)
        n, inner = a.shape[0], a.shape[at_a]
        left = s.moveaxis(a, at_a, -1)
        right = s.moveaxis(b, at_b, 1)
        rows, columns = math.prod(left.shape[1:-1]), math.prod(right.shape[2:])
        product = s.reshape(left, (n, rows, inner)) @ s.reshape(right, (n, inner, columns))
        return s.reshape(product, out)

    def _resolved(self, first: Any, second: Any) -> tuple[int, int]:
        pair = []
        for axis, shape in zip(self._pair, (first, second), strict=True):
            if not -len(shape) <= axis < len(shape) or axis % len(shape) == 0:
                raise ShapeError(f"{self._who()}: axis {axis} does not fit an input of shape {tuple(shape)}.")
            pair.append(axis % len(shape))
        return pair[0], pair[1]

    def compute_output_shape(self, input_shape: Any) -> Any:
        first, second = _listed(self._who(), input_shape, 2, 2)
        a, b = self._resolved(first, second)
        if None not in (first[a], second[b]) and first[a] != second[b]:
            raise ShapeError(
                f"{self._who()}: axis {a} of {first} has size {first[a]}, but axis {b} of {second} has {second[b]}."
            )
        if None not in (first[0], second[0]) and first[0] != second[0]:
            raise ShapeError(f"{self._who()}: inputs of shapes {first} and {second} do not fit together on the batch.")
        shape = (*first[:a], *first[a + 1 :], *second[1:b], *second[b + 1 :])
        return (*shape, 1) if len(shape) == 1 else shape

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None: there are no time steps left.

        Args:
            inputs: the tensors.
            mask: their masks.
        """
        return None

    def _describe(self) -> str:
        return f"axes={self.axes}"


def _unit(x: Tensor, axis: int) -> Tensor:
    """``x / max(length, 1e-12)`` along an axis."""
    squares = r.sum(wide(x) * wide(x), (axis,), keepdims=True)
    return e.astype(wide(x) / e.sqrt(e.maximum(squares, 1e-24)), x.dtype)


# -- functions ---------------------------------------------------------------------------------------------------------


def add(inputs: Any, **common: Any) -> Tensor:
    """The sum of tensors. The same as :class:`Add`, called at once.

    Args:
        inputs: a list of tensors.
        **common: name, trainable and dtype, as for every layer.

    Raises:
        ShapeError: no such list, or shapes that do not fit together.

    Example:
        >>> rv.layers.add([rv.tensor([[1.0]]), rv.tensor([[2.0]])]).tolist()
        [[3.0]]
    """
    return Add(**common)(inputs)


def subtract(inputs: Any, **common: Any) -> Tensor:
    """The first of two tensors minus the second. The same as :class:`Subtract`, called at once.

    Args:
        inputs: a list of two tensors.
        **common: name, trainable and dtype, as for every layer.

    Raises:
        ShapeError: no such list, or shapes that do not fit together.

    Example:
        >>> rv.layers.subtract([rv.tensor([[1.0]]), rv.tensor([[2.0]])]).tolist()
        [[-1.0]]
    """
    return Subtract(**common)(inputs)


def multiply(inputs: Any, **common: Any) -> Tensor:
    """The product of tensors, element by element. The same as :class:`Multiply`, called at once.

    Args:
        inputs: a list of tensors.
        **common: name, trainable and dtype, as for every layer.

    Raises:
        ShapeError: no such list, or shapes that do not fit together.

    Example:
        >>> rv.layers.multiply([rv.tensor([[3.0]]), rv.tensor([[2.0]])]).tolist()
        [[6.0]]
    """
    return Multiply(**common)(inputs)


def average(inputs: Any, **common: Any) -> Tensor:
    """The mean of tensors, element by element. The same as :class:`Average`, called at once.

    Args:
        inputs: a list of tensors.
        **common: name, trainable and dtype, as for every layer.

    Raises:
        ShapeError: no such list, or shapes that do not fit together.

    Example:
        >>> rv.layers.average([rv.tensor([[1.0]]), rv.tensor([[2.0]])]).tolist()
        [[1.5]]
    """
    return Average(**common)(inputs)


def maximum(inputs: Any, **common: Any) -> Tensor:
    """The largest of tensors, element by element. The same as :class:`Maximum`, called at once.

    Args:
        inputs: a list of tensors.
        **common: name, trainable and dtype, as for every layer.

    Raises:
        ShapeError: no such list, or shapes that do not fit together.

    Example:
        >>> rv.layers.maximum([rv.tensor([[1.0]]), rv.tensor([[2.0]])]).tolist()
        [[2.0]]
    """
    return Maximum(**common)(inputs)


def minimum(inputs: Any, **common: Any) -> Tensor:
    """The smallest of tensors, element by element. The same as :class:`Minimum`, called at once.

    Args:
        inputs: a list of tensors.
        **common: name, trainable and dtype, as for every layer.

    Raises:
        ShapeError: no such list, or shapes that do not fit together.

    Example:
        >>> rv.layers.minimum([rv.tensor([[1.0]]), rv.tensor([[2.0]])]).tolist()
        [[1.0]]
    """
    return Minimum(**common)(inputs)


def concatenate(inputs: Any, axis: int = -1, **common: Any) -> Tensor:
    """Tensors side by side along an axis. The same as :class:`Concatenate`, called at once.

    Args:
        inputs: a list of tensors.
        axis: the axis, not 0.
        **common: name, trainable and dtype, as for every layer.

    Raises:
        ShapeError: no such list, or shapes that differ elsewhere.

    Example:
        >>> rv.layers.concatenate([rv.tensor([[1.0]]), rv.tensor([[2.0]])]).tolist()
        [[1.0, 2.0]]
    """
    return Concatenate(axis, **common)(inputs)


def dot(inputs: Any, axes: Any = -1, **common: Any) -> Tensor:
    """The dot products of two tensors along an axis of each. The same as :class:`Dot`, called at once.

    Args:
        inputs: a list of two tensors.
        axes: the axis of both, or one axis of each; not 0.
        **common: ``normalize``, and name, trainable and dtype, as for every layer.

    Raises:
        ShapeError: no such list, an axis that does not exist, or sizes that differ.

    Example:
        >>> rv.layers.dot([rv.tensor([[1.0, 2.0]]), rv.tensor([[3.0, 4.0]])]).tolist()
        [[11.0]]
    """
    return Dot(axes, **common)(inputs)
