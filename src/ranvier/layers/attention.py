"""Attention: every step of one sequence takes a weighted mean of the steps of another, the weights from a comparison.

``softmax(q @ k.T) @ v`` throughout, on matrices (steps, features) for each sample, or each sample and head. What may be
compared with what is said by masks, which are ANDed: of the steps that are only filled up, of the future
(``use_causal_mask``), or of one's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.layers.activation_layers import masked_softmax
from ranvier.layers.base import Layer, register
from ranvier.layers.checks import number
from ranvier.layers.dropout import Dropout
from ranvier.ops import elementwise as e
from ranvier.ops import reduce as r
from ranvier.ops import shape as s
from ranvier.tensor import Tensor
from ranvier.variable import Variable

__all__ = ["AdditiveAttention", "Attention", "causal_mask"]


def causal_mask(steps: int, others: int) -> Tensor:
    """True where step i may see step j, that is ``j <= i``: shape ``(steps, others)``.

    Args:
        steps: number of steps that look.
        others: number of steps that are looked at.
    """
    rows, columns = (Tensor._wrap(np.arange(n, dtype=np.int32), dtypes.int32) for n in (steps, others))
    return s.expand_dims(rows, 1) >= s.expand_dims(columns, 0)


def _both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """``a and b`` of two masks, None being True."""
    return b if a is None else a if b is None else e.logical_and(a, b)


class _Attention(Layer):
    """What the layers share: the inputs, the masks, and the mean."""

    supports_masking = True

    def __init__(self, use_scale: bool, dropout: float, seed: int | None = None, **common: Any):
        super().__init__(**common)
        who = type(self).__name__
        self.use_scale, self.seed = bool(use_scale), seed
        self.dropout = float(number(who, "dropout", dropout, 0, 1, below=True))
        self._dropout = Dropout(self.dropout, seed=seed, name="dropout", dtype=self.dtype_policy)
        self.scale: Variable | None = None

    def call(
        self,
        inputs: Any,
        mask: Any = None,
        training: bool = False,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        shapes = [x.shape for x in inputs] if isinstance(inputs, list | tuple) else inputs.shape
        query, value, key = self._parts(shapes, inputs)
        seen, shown = self._masks(mask, query, value)
        allowed = None if shown is None else s.expand_dims(shown, -2)
        if use_causal_mask:
            allowed = _both(allowed, causal_mask(query.shape[-2], value.shape[-2]))
        weights = _softmax(self._scores(query, key), allowed)
        out = self._dropout(weights, training=training) @ value
        if seen is not None:
            out = e.where(s.expand_dims(seen, -1), out, 0)
        return (out, weights) if return_attention_scores else out

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        """How much each query is like each key."""
        raise ArgumentError(f"{self._who()}: define _scores(self, query, key).")

    def _parts(self, shapes: Any, inputs: Any = None) -> Any:
        """The three inputs (or shapes), the value serving as key where there is none; an error if they do not fit."""
        who = self._who()
        listed = shapes is not None and all(isinstance(shape, tuple | list) for shape in shapes)
        if not listed or len(shapes) not in (2, 3):
            given = f"a list of {len(shapes)}" if listed else "something else"
            raise ShapeError(
                f"{who}: expected [query, value] or [query, value, key], got {given} (shapes {shapes}). Call it as "
                "layer([query, value])."
            )
        query, value, key = [*map(tuple, shapes), tuple(shapes[1])][:3]
        if min(len(query), len(value), len(key)) < 2 or value[:-1] != key[:-1]:
            raise ShapeError(
                f"{who}: expected value and key with the same steps, got shapes query {query}, value {value}, key "
                f"{key}: all are (batch, steps, features)."
            )
        if value[-2] == 0:
            raise ShapeError(f"{who}: expected at least one step to attend to, got a value of shape {value}.")
        if query[-1] != key[-1]:
            raise ShapeError(f"{who}: query {query} and key {key} are compared and must have the same last axis.")
        if query[:-2] != value[:-2]:
            raise ShapeError(f"{who}: query {query} and value {value} belong to different batches.")
        if inputs is None:
            return query, value, key
        return [*inputs, inputs[1]][:3]

    def _masks(self, mask: Any, query: Tensor, value: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The masks of query and value, if they are there and fit."""
        if mask is None:
            return None, None
        if not isinstance(mask, list | tuple) or len(mask) not in (2, 3):
            raise ArgumentError(f"{self._who()}: expected mask=[query_mask, value_mask], got {describe(mask)}.")
        for m, x, name in ((mask[0], query, "query"), (mask[1], value, "value")):
            if m is not None and m.shape != x.shape[:-1]:
                raise ShapeError(
                    f"{self._who()}: expected a {name} mask of shape {x.shape[:-1]}, one entry for each step, got "
                    f"{m.shape}."
                )
        return mask[0], mask[1]

    def compute_output_shape(self, input_shape: Any) -> Any:
        query, value, _ = self._parts(input_shape)
        return (*query[:-1], value[-1])

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The query's mask.

        Args:
            inputs: query, value and perhaps key.
            mask: their masks.
        """
        return None if mask is None else mask[0]


def _softmax(scores: Tensor, allowed: Tensor | None) -> Tensor:
    """Softmax over the keys. As in Keras, a query that may see nothing sees everything, in equal parts or nearly so."""
    if allowed is None:
        return masked_softmax(scores, (-1,), None)
    return masked_softmax(e.where(allowed, scores, scores - 1e9), (-1,), None)


@register
class Attention(_Attention):
    """``softmax(q @ k.T) @ v``: for each query a mean of the values, weighted by likeness of query and key.

    Args:
        use_scale: whether the scores are multiplied by a weight, ``scale``, that starts at 1.
        score_mode: "dot" compares by ``q @ k.T``; "concat" by ``sum(tanh(q + k))`` times a weight.
        dropout: share of the weights left out while training.
        seed: a seed of its own for the dropout; None for the global generator.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``[query, value]`` or ``[query, value, key]``, each ``(batch, steps, features)``; the output is
        ``(batch, query's steps, value's features)``. With ``return_attention_scores=True`` also the weights,
        ``(batch, query's steps, value's steps)``. Masks are ``[query_mask, value_mask]``; ``use_causal_mask=True``
        lets no step see a later one. The weights ``scale`` and ``concat_score_weight`` are single numbers.

    Raises:
        ArgumentError: an argument is out of range, or the mask is no list.
        ShapeError: the inputs do not fit together, or a mask does not fit its input.

    Source:
        Luong et al., "Effective approaches to attention-based neural machine translation", 2015.

    Example:
        >>> query, value = rv.tensor([[[0.0, 9.0]]]), rv.tensor([[[9.0, 0.0], [0.0, 9.0]]])
        >>> rv.layers.Attention()([query, value]).numpy().round(3).tolist()
        [[[0.0, 9.0]]]
    """

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        **common: Any,
    ):
        super().__init__(use_scale, dropout, seed, **common)
        if score_mode not in ("dot", "concat"):
            raise ArgumentError(f"Attention: expected score_mode to be 'dot' or 'concat', got {describe(score_mode)}.")
        self.score_mode = score_mode
        self.concat_score_weight: Variable | None = None

    def build(self, input_shape: Any) -> None:
        self._parts(input_shape)
        if self.use_scale:
            self.scale = self.add_weight("scale", (), "ones")
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight("concat_score_weight", (), "ones")

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        if self.concat_score_weight is None:
            scores = query @ s.matrix_transpose(key)
            return scores if self.scale is None else scores * self.scale.value
        together = s.expand_dims(query, -2) + s.expand_dims(key, -3)
        together = together if self.scale is None else together * self.scale.value
        return r.sum(e.tanh(together), -1) * self.concat_score_weight.value


@register
class AdditiveAttention(_Attention):
    """``softmax(sum(scale * tanh(q + k))) @ v``: attention that compares by a small network (Bahdanau et al., 2015).

    Args:
        use_scale: whether there is a weight ``scale`` for each feature; else 1.
        dropout: share of the weights left out while training.
        **common: ``seed``, the dropout's own, and name, trainable and dtype, as for every layer.

    Shape:
        as for :class:`Attention`; ``scale`` has the shape ``(features,)``.

    Raises:
        ArgumentError: an argument is out of range, or the mask is no list.
        ShapeError: the inputs do not fit together, or a mask does not fit its input.

    Example:
        >>> query, value = rv.ones((2, 3, 4)), rv.ones((2, 5, 4))
        >>> rv.layers.AdditiveAttention()([query, value]).shape
        (2, 3, 4)
    """

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **common: Any):
        super().__init__(use_scale, dropout, **common)

    def build(self, input_shape: Any) -> None:
        query, _, _ = self._parts(input_shape)
        if self.use_scale:
            self.scale = self.add_weight("scale", (query[-1],), "glorot_uniform")

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        together = e.tanh(s.expand_dims(query, -2) + s.expand_dims(key, -3))
        return r.sum(together if self.scale is None else together * self.scale.value, -1)
