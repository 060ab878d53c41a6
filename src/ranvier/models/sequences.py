"""What models need to know about sequences: how long they may be, and which layers keep states between batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ranvier.errors import ShapeError
from ranvier.layers import Embedding

__all__ = ["check_batches", "fits", "open_shape", "states_batch"]


def fits(known: Sequence[int | None], shape: Sequence[int | None]) -> bool:
    """Whether samples of a shape fit a known one, in which None stands for any size. The batch is not looked at.

    Args:
        known: what is expected.
        shape: what there is.
    """
    return len(known) == len(shape) and all(a in (None, b) for a, b in zip(known[1:], shape[1:], strict=True))


def open_shape(model: Any) -> tuple[int | None, ...]:
    """The shapes a built model takes: that of its Input; without one, all axes between batch and features are open.

    Integers that are looked up (words) have no axis of features, so for them the last axis is open too.

    Args:
        model: the model.
    """
    known = tuple(model.built_shape)
    first = getattr(model, "_input", None) or next(iter(model.layers), None)
    declared = None if first is None else first.batch_input_shape
    if declared is not None and len(declared) == len(known):
        return tuple(declared)
    dtype = model._keeper.input_dtype
    looked_up = isinstance(first, Embedding) or (dtype is not None and not dtype.is_float)
    end = len(known) if looked_up else len(known) - 1
    return tuple(None if 0 < axis < end else size for axis, size in enumerate(known))


def states_batch(model: Any) -> tuple[Any, int | None] | None:
    """A stateful layer and the number of sequences it keeps states of (None: not yet known); None without such layers.

    Args:
        model: the model.
    """
    found = [layer for layer in model._tree() if getattr(layer, "stateful", False)]
    for layer in found:
        size = getattr(layer, "batch_of_states", None)
        if size is not None:
            return layer, size
    return (found[0], None) if found else None


def check_batches(who: str, model: Any, rows: int, size: int) -> None:
    """Refuse batches of different sizes for a model with a stateful layer.

    Args:
        who: the method, for the message.
        model: the model.
        rows: rows of the data.
        size: rows of a batch.

    Raises:
        ShapeError: the batches would not all have the size that the layer's states have.
    """
    found = states_batch(model)
    if found is None:
        return
    layer, known = found
    expected = size if known is None else known
    if size != expected or rows % expected:
        raise ShapeError(
            f"{who}: the layer {layer.name!r} is stateful, so every batch must have the same {expected} sequences, got "
            f"{rows} samples in batches of {size}. Use batch_size={expected} and a multiple of {expected} samples."
        )
