"""Attention with several heads: each compares in a space of its own, and what they find is put together."""

from __future__ import annotations

import functools
import math
from typing import Any

from ranvier import initializers, regularizers
from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.layers.activation_layers import masked_softmax
from ranvier.layers.attention import causal_mask
from ranvier.layers.base import Layer, _shapes, register
from ranvier.layers.checks import number, whole
from ranvier.layers.dropout import Dropout
from ranvier.ops import elementwise as e
from ranvier.ops import shape as s
from ranvier.tensor import Tensor
from ranvier.variable import Variable

__all__ = ["MultiHeadAttention"]


def _sizes(who: str, name: str, value: Any) -> tuple[int, ...] | None:
    """One integer or several as a tuple; None stays None."""
    if value is None:
        return None
    given = tuple(value) if isinstance(value, tuple | list) else (value,)
    if not given or any(isinstance(n, bool) or not isinstance(n, int) for n in given):
        raise ArgumentError(f"{who}: expected {name} to be an integer or a list of them, got {describe(value)}.")
    return given


@register
class MultiHeadAttention(Layer):
    """``concatenate(softmax(q_h @ k_h.T / sqrt(key_dim)) @ v_h for h in heads) @ kernel + bias``.

    For every head ``q_h = query @ kernel_q[:, h] + bias_q[h]``, and likewise keys and values (Vaswani et al., 2017).
    All heads are one matrix product each for queries, keys, values and output, and one for each sample and head for
    scores and means.

    Args:
        num_heads: number of heads.
        key_dim: size of queries and keys in each head.
        value_dim: size of values in each head; None for that of the keys.
        dropout: share of the weights (of the steps) left out while training.
        use_bias: whether queries, keys, values and output have biases.
        output_shape: size of the output's last axis, or several axes; None for that of the query.
        attention_axes: the axes that are attended along, counted in the query with the batch as 0; None for all but
            the batch and the features.
        kernel_initializer: how the kernels start.
        bias_initializer: how the biases start.
        kernel_regularizer: penalty on the kernels.
        bias_regularizer: penalty on the biases.
        seed: a seed of its own for the dropout; None for the global generator.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        called as ``layer(query, value, key)``: ``(batch, T, features)`` and ``(batch, S, features)``; the value serves
        as key, and the query as value, if there is none. The output is ``(batch, T, features of the query)``; with
        ``return_attention_scores=True`` also the weights, ``(batch, heads, T, S)``. ``attention_mask`` is ``(batch, T,
        S)``, True where a query may see a key; ``use_causal_mask=True`` lets no step see a later one; the masks that
        come with query, value and key count too. Weights in order: kernel ``(features, heads, size)`` and bias
        ``(heads, size)`` of queries, keys and values, then kernel ``(heads, value_dim, features)`` and bias of the
        output.

    Raises:
        ArgumentError: an argument is out of range.
        ShapeError: the inputs do not fit together or the layer, or a mask does not fit.

    Example:
        >>> layer = rv.layers.MultiHeadAttention(num_heads=2, key_dim=8)
        >>> x = rv.ones((3, 5, 16))
        >>> layer(x, x).shape
        (3, 5, 16)
        >>> [v.shape for v in layer.weights[:2]]
        [(16, 2, 8), (2, 8)]
    """

    supports_masking = True

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: Any = None,
        attention_axes: Any = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        seed: int | None = None,
        **common: Any,
    ):
        super().__init__(**common)
        who = "MultiHeadAttention"
        self.num_heads, self.key_dim = whole(who, "num_heads", num_heads), whole(who, "key_dim", key_dim)
        self.value_dim = self.key_dim if value_dim is None else whole(who, "value_dim", value_dim)
        self.dropout = float(number(who, "dropout", dropout, 0, 1, below=True))
        self.use_bias, self.seed = bool(use_bias), seed
        self.output_shape = _sizes(who, "output_shape", output_shape)
        if self.output_shape is not None and min(self.output_shape) < 1:
            raise ArgumentError(f"{who}: expected sizes of at least 1 in output_shape, got {self.output_shape}.")
        self.attention_axes = _sizes(who, "attention_axes", attention_axes)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self._dropout = Dropout(self.dropout, seed=seed, name="dropout", dtype=self.dtype_policy)

    # -- weights --------------------------------------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        query, value, key = self._parts(input_shape)
        rank = len(query)
        axes = self.attention_axes if self.attention_axes is not None else tuple(range(1, rank - 1))
        axes = tuple(a + rank if a < 0 else a for a in axes)
        if any(not 0 < a < rank - 1 for a in axes) or len(set(axes)) < len(axes):
            raise ShapeError(
                f"{self._who()}: attention_axes {self.attention_axes} do not fit a query of shape {query}: neither the "
                "batch nor the features can be attended along."
            )
        self._axes = axes
        self._features = tuple(shape[-1] for shape in (query, key, value))
        heads = self.num_heads
        sizes = (self.key_dim, self.key_dim, self.value_dim)
        self._inner = [
            self._dense(name, (features, heads, size), (heads, size))
            for name, features, size in zip(("query", "key", "value"), self._features, sizes, strict=True)
        ]
        out = (query[-1],) if self.output_shape is None else self.output_shape
        self._outer = self._dense("attention_output", (heads, self.value_dim, *out), out)

    def _dense(self, name: str, kernel: Any, bias: Any) -> tuple[Variable, Variable | None]:
        made = self.add_weight(f"{name}/kernel", kernel, self.kernel_initializer, regularizer=self.kernel_regularizer)
        if not self.use_bias:
            return made, None
        return made, self.add_weight(f"{name}/bias", bias, self.bias_initializer, regularizer=self.bias_regularizer)

    # -- calling --------------------------------------------------------------------------------------------------

    def __call__(  # type: ignore[override]  # three inputs, by name if one likes
        self, query: Any, value: Any = None, key: Any = None, **kwargs: Any
    ) -> Any:
        """Attend; see the class.

        Args:
            query: what is asked, ``(batch, T, features)``.
            value: what is averaged, ``(batch, S, features)``; by default the query.
            key: what is compared with; by default the value.
            **kwargs: ``attention_mask``, ``query_mask``, ``value_mask``, ``key_mask``, ``return_attention_scores``,
                ``use_causal_mask`` and ``training``.
        """
        self._check_initialised()
        query, value, key = (None if x is None else self._converted_nest(x) for x in (query, value, key))
        for x, name in ((query, "query"), (value, "value"), (key, "key")):
            if not isinstance(x, Tensor) and (x is not None or name == "query"):
                raise ShapeError(
                    f"{self._who()}: expected a tensor as {name}, got {describe(x)}. Call it as layer(query, value)."
                )
        value = query if value is None else value
        if not self.built:
            self.build([_shapes(query), _shapes(value), _shapes(value if key is None else key)])
        return super().__call__(query, value, key, **kwargs)

    def call(
        self,
        query: Any,
        value: Any = None,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        value = query if value is None else value
        self._parts([query.shape, value.shape, value.shape if key is None else key.shape])
        inputs = (query, value if key is None else key, value)
        for x, n, name in zip(inputs, self._features, ("query", "key", "value"), strict=True):
            if x.shape[-1] != n:
                raise ShapeError(f"{self._who()}: expected {n} features in the {name}, got shape {x.shape}.")
        q, k, v = (self._split(x, weights) for x, weights in zip(inputs, self._inner, strict=True))
        allowed = self._allowed(q.shape, k.shape, query_mask, value_mask, key_mask, attention_mask, use_causal_mask)
        scores = (q * (1 / math.sqrt(self.key_dim))) @ s.matrix_transpose(k)
        weights = masked_softmax(scores, (-1,), allowed)
        out = self._join(self._dropout(weights, training=training) @ v, query.shape)
        return (out, self._named(weights, query.shape, value.shape)) if return_attention_scores else out

    def _split(self, x: Tensor, weights: tuple[Variable, Variable | None]) -> Tensor:
        """Project and bring to (batch, ..., heads, steps, size): the attended axes are one."""
        kernel, bias = weights
        features, heads, size = kernel.shape
        y = s.reshape(x, (math.prod(x.shape[:-1]), features)) @ s.reshape(kernel.value, (features, heads * size))
        y = y if bias is None else y + s.reshape(bias.value, (heads * size,))
        batch = [a for a in range(x.ndim - 1) if a not in self._axes]
        y = s.reshape(y, (*x.shape[:-1], heads, size))
        y = s.transpose(y, (*batch, x.ndim - 1, *self._axes, x.ndim))
        steps = math.prod(x.shape[a] for a in self._axes)
        return s.reshape(y, (*(x.shape[a] for a in batch), heads, steps, size))

    def _join(self, means: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Undo :meth:`_split` for the means of all heads, and project."""
        kernel, bias = self._outer
        heads, size, *out = kernel.shape
        rank = len(shape)
        batch = [a for a in range(rank - 1) if a not in self._axes]
        y = s.reshape(means, (*(shape[a] for a in batch), heads, *(shape[a] for a in self._axes), size))
        order = [*batch, rank - 1, *self._axes]  # the axes as they lie now, by what they are in the query
        y = s.transpose(y, (*(order.index(a) for a in range(rank)), rank))
        y = s.reshape(y, (math.prod(shape[:-1]), heads * size))
        y = y @ s.reshape(kernel.value, (heads * size, math.prod(out)))
        y = y if bias is None else y + s.reshape(bias.value, (math.prod(out),))
        return s.reshape(y, (*shape[:-1], *out))

    def _named(self, weights: Tensor, query: tuple[int, ...], value: tuple[int, ...]) -> Tensor:
        """The weights with the attended axes apart again."""
        return s.reshape(
            weights, (*weights.shape[:-2], *(query[a] for a in self._axes), *(value[a] for a in self._axes))
        )

    # -- masks ----------------------------------------------------------------------------------------------------

    def _allowed(
        self, q: Any, k: Any, query_mask: Any, value_mask: Any, key_mask: Any, attention_mask: Any, causal: bool
    ) -> Tensor | None:
        """Where a query may see a key, broadcasting to (batch, ..., heads, T, S); None for everywhere."""
        steps, others, ones = q[-2], k[-2], (1,) * (len(q) - 3)
        found = []
        for name, mask, shape in (
            ("query", query_mask, (steps, 1)), ("value", value_mask, (1, others)), ("key", key_mask, (1, others)),
        ):  # fmt: skip
            if mask is not None:
                if mask.ndim < 2 or mask.shape[0] != q[0] or math.prod(mask.shape[1:]) != max(shape):
                    raise ShapeError(
                        f"{self._who()}: expected a {name} mask of shape ({q[0]}, {max(shape)}), one entry for each "
                        f"step, got {mask.shape}."
                    )
                found.append(s.reshape(mask, (q[0], *ones, *shape)))
        if attention_mask is not None:
            found.append(self._own_mask(attention_mask, (*q[:-1], others)))
        if causal:
            found.append(causal_mask(steps, others))
        return functools.reduce(e.logical_and, found) if found else None

    def _own_mask(self, given: Any, scores: tuple[int, ...]) -> Tensor:
        """The attention mask, with axes of 1 for what it does not speak of (the heads, for one)."""
        mask = self._converted_nest(given)
        mask = mask if mask.dtype.kind == "bool" else mask != 0
        count = 2 * len(self._axes)
        front, last = mask.shape[:-count], mask.shape[-count:]
        split = math.prod(last[: count // 2]), math.prod(last[count // 2 :])
        fits = len(last) == count and len(front) <= len(scores) - 2 and split == scores[-2:]
        if not fits or any(m not in (1, n) for m, n in zip(front, scores, strict=False)):
            raise ShapeError(
                f"{self._who()}: expected an attention_mask of shape ({scores[0]}, {scores[-2]}, {scores[-1]}), True "
                f"where a query may see a key, got {mask.shape}."
            )
        return s.reshape(mask, (*front, *(1,) * (len(scores) - 2 - len(front)), *scores[-2:]))

    # -- shapes ---------------------------------------------------------------------------------------------------

    def _parts(self, shapes: Any) -> tuple[Any, Any, Any]:
        """Shapes of query, value and key; a single shape is that of all three."""
        who = self._who()
        single = isinstance(shapes, tuple | list) and all(n is None or isinstance(n, int) for n in shapes)
        given = [tuple(shapes)] if single else [tuple(shape) for shape in shapes]
        if not 1 <= len(given) <= 3:
            raise ShapeError(f"{who}: expected the shapes of query, value and key, got {shapes}.")
        query, value, key = [*given, *given[-1:] * 2][:3]
        ranks = {len(query), len(value), len(key)}
        if len(ranks) > 1 or min(ranks) < 3:
            raise ShapeError(
                f"{who}: expected query, value and key of shape (batch, steps, features), got {query}, {value}, {key}."
            )
        if 0 in value[1:-1]:
            raise ShapeError(f"{who}: expected at least one step to attend to, got a value of shape {value}.")
        if value[1:-1] != key[1:-1] or (query[0] != value[0] and None not in (query[0], value[0])):
            raise ShapeError(
                f"{who}: value {value} and key {key} must have the same steps, and query {query} their batch."
            )
        return query, value, key

    def compute_output_shape(self, input_shape: Any, value_shape: Any = None, key_shape: Any = None) -> Any:
        """The shape of the output.

        Args:
            input_shape: shape of the query, or a list of all shapes.
            value_shape: shape of the value, if it is not in the list.
            key_shape: shape of the key, if it is not in the list.
        """
        given = [shape for shape in (input_shape, value_shape, key_shape) if shape is not None]
        query, _, _ = self._parts(given if len(given) > 1 else input_shape)
        return query if self.output_shape is None else (*query[:-1], *self.output_shape)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The query's mask.

        Args:
            inputs: the query.
            mask: its mask.
        """
        return mask

    def _describe(self) -> str:
        values = "" if self.value_dim == self.key_dim else f", {self.value_dim}"
        return f"{self.num_heads} heads, {self.key_dim}{values}"
