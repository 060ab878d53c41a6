"""Embedding: a row of a table for each integer, learned like any other weight."""

from __future__ import annotations

from typing import Any

import numpy as np

from ranvier import dtypes, initializers, regularizers
from ranvier.compiler.guard import Guard
from ranvier.errors import IndexRangeError
from ranvier.layers.base import Layer, register
from ranvier.layers.checks import whole
from ranvier.ops import elementwise as e
from ranvier.ops import shape as s
from ranvier.ops.index import take_op
from ranvier.ops.table import apply
from ranvier.tensor import Tensor

__all__ = ["Embedding"]


@register
class Embedding(Layer):
    """``y = embeddings[x]``: each integer becomes its row of the table.

    Used for words, characters, categories: numbers that only say which. An index outside the table is an error, never
    another row: at once where the value is known, and after the call (in ``fit``, before the step has changed
    anything) where it was met inside compiled code.

    Args:
        input_dim: rows of the table: the largest integer is ``input_dim - 1``.
        output_dim: length of a row.
        embeddings_initializer: how the table starts.
        embeddings_regularizer: penalty on the table.
        mask_zero: 0 fills up sequences: the layers behind leave such steps out (see ``Masking``).
        weights: a table to start from, instead of the initializer.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        integers ``(batch, ...)`` give ``(batch, ..., output_dim)``. Floating inputs lose their fraction, as in Keras.

    Raises:
        ArgumentError: input_dim or output_dim are no positive integers.
        IndexRangeError: an integer that is not in the table.
        ShapeError: the given table has another shape.

    Example:
        >>> layer = rv.layers.Embedding(3, 2, weights=np.array([[0, 0], [1, 1], [2, 2]]))
        >>> layer(rv.tensor([[2, 0]])).tolist()
        [[[2.0, 2.0], [0.0, 0.0]]]
        >>> layer
        Embedding(3 -> 2)
    """

    takes_integers = True

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        **common: Any,
    ):
        super().__init__(**common)
        self.input_dim = whole("Embedding", "input_dim", input_dim)
        self.output_dim = whole("Embedding", "output_dim", output_dim)
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.mask_zero = self.supports_masking = bool(mask_zero)
        self._guard = Guard(self.input_dim, self._out_of_range)
        if weights is not None:
            self.build((None,))
            self.set_weights(weights if isinstance(weights, list | tuple) and len(weights) == 1 else [weights])

    @classmethod
    def _arguments(cls) -> list[str]:
        return [name for name in super()._arguments() if name != "weights"]

    def build(self, input_shape: Any) -> None:
        self.embeddings = self.add_weight(
            "embeddings",
            (self.input_dim, self.output_dim),
            self.embeddings_initializer,
            regularizer=self.embeddings_regularizer,
        )

    def call(self, inputs: Tensor) -> Tensor:
        index, legal = self._guard.checked(whole_numbers(inputs))
        rows = apply(take_op, (self.embeddings.value, index), {"axis": 0})
        return rows if legal is None else e.where(s.expand_dims(legal, -1), rows, np.nan)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape, self.output_dim)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Where the input is not 0, if 0 fills up.

        Args:
            inputs: the integers.
            mask: not looked at.
        """
        return inputs != 0 if self.mask_zero else None

    def check_data(self, who: str, x: np.ndarray) -> None:
        """Refuse data with integers that are not in the table, naming the place.

        Args:
            who: what the data is given to, for the message.
            x: the data.

        Raises:
            IndexRangeError: there are some.
        """
        with np.errstate(invalid="ignore"):
            bad = ~((x > -1) & (x < self.input_dim)) if x.dtype.kind == "f" else (x < 0) | (x >= self.input_dim)
        if bad.any():
            place = tuple(int(i) for i in np.argwhere(bad)[0])
            where = f"row {place[0]}" + (f", position {', '.join(map(str, place[1:]))}" if len(place) > 1 else "")
            error = self._out_of_range(x[place])
            raise IndexRangeError(f"{who}: x holds {x[place]:g} in {where}. {error.message}")

    def _converted(self, x: Tensor) -> Tensor:
        return x  # a dtype for weights is too coarse for integers: bfloat16 holds them up to 256 only

    def _out_of_range(self, value: Any) -> IndexRangeError:
        fix = (
            f"Give input_dim={int(value) + 1} or more, or check how the integers were made"
            if value >= self.input_dim
            else "Count from 0"
        )
        return IndexRangeError(
            f"{self._who()}: expected integers from 0 to {self.input_dim - 1} (input_dim={self.input_dim}), got "
            f"{value:g}. {fix}."
        )

    def _describe(self) -> str:
        return f"{self.input_dim} -> {self.output_dim}"


def whole_numbers(x: Tensor) -> Tensor:
    """Integers of any kind as int64; floats without their fraction. NaN becomes -1, which no table has."""
    if x.dtype.is_float:
        limit = 2.0**31  # numbers beyond are out of every range, and would not fit
        x = e.clip(e.where(e.isnan(x), -1, x), -limit, limit)
    return e.astype(x, dtypes.int64)
