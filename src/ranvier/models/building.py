"""Making a model's weights from the shape of its input alone: the model is traced once on symbols.

Nothing is computed: the trace calls every layer with a symbolic tensor, and each layer makes its weights when it meets
its first input. If that fails somewhere, all layers become as they were before, and so does the random generator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ranvier import random
from ranvier.compiler.trace import trace
from ranvier.dtypes import DType, bool_
from ranvier.errors import ShapeError
from ranvier.layers.base import _context
from ranvier.layers.masks import masks_of, with_mask
from ranvier.tensor import Tensor
from ranvier.tree import unflatten

__all__ = ["all_or_nothing", "layer_output", "output_of"]

OPEN = 2  # what stands for an open batch axis while tracing; 1 would broadcast
OPEN_SIZES = (64, 96)  # what stands for other open axes, one after the other: what differs in the results is open


def output_of(function: Callable[[Tensor], Any], shape: Sequence[int | None], dtype: DType) -> Any:
    """What a function of one tensor returns for a shape: (shape, dtype) pairs, with the batch axis open if it was.

    Args:
        function: a layer or model.
        shape: of the input, None for open axes.
        dtype: of the input.

    Raises:
        ShapeError: the number of results depends on an open size.
    """
    if None not in shape[1:]:
        found, structure = _traced(function, shape, dtype)
        return unflatten(structure, found)
    (found, structure), (other, again) = (
        _traced(function, (*shape[:1], *(size if n is None else n for n in shape[1:])), dtype) for size in OPEN_SIZES
    )
    if structure != again or any(len(a[0]) != len(b[0]) for a, b in zip(found, other, strict=True)):
        raise ShapeError(f"the results of an input of shape {tuple(shape)} depend on the open sizes.")
    merged = [
        (tuple(m if m == n else None for m, n in zip(a[0], b[0], strict=True)), a[1])
        for a, b in zip(found, other, strict=True)
    ]
    return unflatten(structure, merged)


def _traced(function: Callable[[Tensor], Any], shape: Sequence[int | None], dtype: DType) -> tuple[list[Any], Any]:
    """Shapes and dtypes of the results, and their structure, for a shape of which only the batch axis may be open."""
    sizes = tuple(OPEN if n is None else n for n in shape)
    example = Tensor._wrap(np.broadcast_to(np.zeros((), dtype.numpy), sizes), dtype)
    open_batch = bool(shape) and shape[0] is None
    before, _context.open_batch = _context.open_batch, open_batch
    try:
        graph, structure = trace([example], lambda symbols: function(symbols[0]))
    finally:
        _context.open_batch = before
    found = []
    for value in graph.results:
        first = None if open_batch and value.shape[:1] == (OPEN,) else value.shape[:1]
        found.append(((None, *value.shape[1:]) if first is None else value.shape, value.dtype))
    return found, structure


def layer_output(layer: Any, shape: Any, dtype: Any, mask: Any = None) -> tuple[Any, Any]:
    """What a layer returns, as :func:`output_of` says it, and the shape of the mask that goes with it (or None).

    Args:
        layer: the layer.
        shape: of its input.
        dtype: of its input.
        mask: shape of the input's mask, or None.
    """

    def call(x: Tensor) -> Any:
        if mask is not None:
            sizes = tuple(x.shape[axis] if n is None else n for axis, n in enumerate(mask))
            x = with_mask(x, Tensor._wrap(np.ones(sizes, np.bool_), bool_))
        y = layer(x)
        return [y, masks_of(y)]

    fresh = not layer.built
    output, masks = output_of(call, shape, dtype)
    if fresh and isinstance(layer.built_shape, tuple) and len(layer.built_shape) == len(shape):
        layer.built_shape = tuple(shape)  # not the sizes that stood for open ones
    return output, masks[0] if isinstance(masks, tuple) else None


@contextmanager
def all_or_nothing(model: Any) -> Iterator[None]:
    """If the block fails, layers that it built are as before, unbuilt, and no random numbers have been used up.

    Args:
        model: a model or layer.
    """
    fresh = [layer for layer in model._tree() if not layer.built]
    before = [(layer, dict(vars(layer)), len(layer._own), len(layer._penalised)) for layer in fresh]
    state = random.default_generator.state.numpy() if fresh else None
    try:
        yield
    except BaseException:
        for layer, attributes, own, penalised in before:
            vars(layer).clear()
            vars(layer).update(attributes)
            del layer._own[own:], layer._penalised[penalised:]
        if state is not None:
            random.default_generator.state.assign(state)
        raise
