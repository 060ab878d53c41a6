"""Masks: which time steps of a sequence count.

A mask is a boolean tensor of the shape of its sequence's first axes, ``(batch, time)``, False where a step is only
filled up. It travels with the tensor it belongs to, from layer to layer: a layer that makes one (``Masking``,
``Embedding(mask_zero=True)``) attaches it to its output, a layer whose ``call`` has an argument ``mask`` is given that
of its input, and one that ``supports_masking`` hands it on. Losses and metrics leave masked steps out. Ops on tensors
lose it, as in Keras.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ranvier import dtypes
from ranvier.errors import user_line
from ranvier.ops.elementwise import not_equal
from ranvier.ops.shape import reshape_op
from ranvier.ops.table import apply
from ranvier.tensor import Tensor, as_tensor

__all__ = ["MaskArguments", "as_mask", "attach", "mask_arguments", "mask_of", "masks_of", "with_mask"]


def mask_of(x: Any) -> Tensor | None:
    """The mask that travels with a tensor, or None.

    Args:
        x: a tensor (anything else has none).
    """
    return getattr(x, "_mask", None)


def masks_of(nest: Any) -> Any:
    """The masks of a nest of tensors, in the same nest; None if there is none at all.

    Args:
        nest: a tensor, or lists, tuples and dictionaries of them.
    """
    if isinstance(nest, Tensor):
        return mask_of(nest)
    if isinstance(nest, dict):
        named = {k: masks_of(v) for k, v in nest.items()}
        return named if any(m is not None for m in named.values()) else None
    if isinstance(nest, list | tuple):
        found = [masks_of(v) for v in nest]
        return found if any(m is not None for m in found) else None
    return None


def as_mask(given: Any) -> Any:
    """A mask as boolean tensors: arrays and numbers become tensors, and 0 means False.

    Args:
        given: a mask, None, or a nest of them.
    """
    if given is None:
        return None
    if isinstance(given, dict):
        return {k: as_mask(v) for k, v in given.items()}
    if isinstance(given, tuple) or (isinstance(given, list) and any(m is None or hasattr(m, "shape") for m in given)):
        return [as_mask(m) for m in given]
    mask = as_tensor(given)
    return mask if mask.dtype is dtypes.bool_ else not_equal(mask, 0)


def with_mask(x: Tensor, mask: Tensor | None) -> Tensor:
    """The tensor with this mask. The one given is not changed: it may be somebody else's.

    Args:
        x: a tensor.
        mask: its mask, or None.
    """
    if mask is None or mask_of(x) is mask:
        return x
    made = apply(reshape_op, (x,), {"shape": x.shape})
    made._mask = mask
    return made


def attach(outputs: Any, masks: Any, inputs: Sequence[Tensor]) -> Any:
    """A layer's outputs with their masks; an output that has one already keeps it.

    Args:
        outputs: what ``call`` returned: a tensor or a nest.
        masks: what ``compute_mask`` returned: None, a mask for the (first) output, or a nest of masks.
        inputs: the layer's inputs, which are not to be changed if they are handed through.
    """
    if masks is None:
        return outputs
    if isinstance(outputs, Tensor):
        mask = masks[0] if isinstance(masks, list | tuple) and masks else masks
        if not isinstance(mask, Tensor) or mask_of(outputs) is not None:
            return outputs
        if any(outputs is x for x in inputs):
            return with_mask(outputs, mask)
        outputs._mask = mask
        return outputs
    if isinstance(outputs, dict):
        named = masks if isinstance(masks, dict) else {}
        return {k: attach(v, named.get(k), inputs) for k, v in outputs.items()}
    if isinstance(outputs, list | tuple):
        row = list(masks) if isinstance(masks, list | tuple) else [masks]
        row += [None] * (len(outputs) - len(row))
        made = [attach(v, m, inputs) for v, m in zip(outputs, row, strict=False)]
        return type(outputs)(*made) if hasattr(outputs, "_fields") else type(outputs)(made)
    return outputs


_warned: dict[
    str | tuple[str, type[Warning], int], int
] = {}  # what was said already: a network is traced more than once


class MaskArguments(NamedTuple):
    """Which arguments of a ``call`` are masks: ``mask`` of the first argument, ``value_mask`` of ``value``, ...

    Attributes:
        whole: there is an argument ``mask``.
        named: (position, name, name of the mask's argument) for each argument that has a mask of its own.
    """

    whole: bool = False
    named: tuple[tuple[int, str, str], ...] = ()

    def fill(self, inputs: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Put masks into ``kwargs`` where none is given; returns the mask of the first argument.

        Args:
            inputs: the first argument.
            args: the other positional arguments.
            kwargs: the arguments by name.
        """
        previous = masks_of(inputs)
        if self.whole:
            given = kwargs.get("mask")
            previous = previous if given is None else as_mask(given)
            kwargs["mask"] = previous
        for position, name, argument in self.named:
            values = (inputs, *args)
            value = values[position] if position < len(values) else kwargs.get(name)
            given = kwargs.get(argument)
            kwargs[argument] = masks_of(value) if given is None else as_mask(given)
            if position == 0:
                previous = kwargs[argument]
        return previous


def mask_arguments(call: Callable[..., Any]) -> MaskArguments:
    """The mask arguments of a layer's ``call``.

    Args:
        call: the function, whose first argument is the layer.
    """
    names = list(inspect.signature(call).parameters)[1:]
    named = [(i, n, f"{n}_mask") for i, n in enumerate(names) if f"{n}_mask" in names]
    return MaskArguments("mask" in names[1:], tuple(named))


def warn_of_loss(who: str) -> None:
    """Say that a layer loses the mask of its input, blaming the user's own line."""
    file, line = user_line(2) or ("ranvier", 0)
    message = (
        f"{who}: the input has a mask (some time steps do not count), but this layer does not support masking: the "
        "layers after it will not see the mask. Reduce the sequence with a layer that does, or set supports_masking."
    )
    warnings.warn_explicit(message, UserWarning, file, line, registry=_warned)
