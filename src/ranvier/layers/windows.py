"""What layers over spatial axes share: checks of their arguments, sizes of their outputs, text of their arguments.

Channels last: a signal is ``(batch, steps, channels)``, an image ``(batch, height, width, channels)``, a volume
``(batch, depth, height, width, channels)``. Convolutions and pooling slide a window over the axes in the middle.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.layers.base import InputSpec, Layer
from ranvier.ops.elementwise import astype
from ranvier.tensor import Tensor

__all__ = ["Spatial", "arguments_of", "channels_last", "choice", "output_size", "times"]

T = TypeVar("T", bound=type)

AXES = {
    1: "(batch, steps, channels)",
    2: "(batch, height, width, channels)",
    3: "(batch, depth, height, width, channels)",
}


def choice(who: str, name: str, value: Any, legal: tuple[str, ...]) -> str:
    """``value`` in lower case if it is one of the ``legal`` words.

    Args:
        who: whose argument it is, for the message.
        name: the argument's name.
        value: what was given.
        legal: the words.

    Raises:
        ArgumentError: anything else.

    Example:
        >>> choice("Conv2D", "padding", "SAME", ("valid", "same"))
        'same'
    """
    if not isinstance(value, str) or value.lower() not in legal:
        words = " or ".join(repr(word) for word in legal)
        raise ArgumentError(f"{who}: expected {name} to be {words}, got {describe(value)}.")
    return value.lower()


def channels_last(who: str, value: Any) -> str:
    """``"channels_last"``, the only order of axes there is; None means it too.

    Args:
        who: whose argument it is, for the message.
        value: what was given as ``data_format``.

    Raises:
        ArgumentError: anything else.

    Example:
        >>> channels_last("Conv2D", None)
        'channels_last'
    """
    if value is not None and value != "channels_last":
        raise ArgumentError(
            f"{who}: expected data_format to be 'channels_last', got {describe(value)}. Channels are the last axis "
            "everywhere: rv.moveaxis(x, 1, -1) brings data of the other order into this one."
        )
    return "channels_last"


def output_size(size: int | None, window: int, stride: int, dilation: int, padding: str) -> int | None:
    """How many places a window of ``window`` taps finds along an axis; 0 or less if it does not fit.

    Args:
        size: length of the axis, None where it is open.
        window: number of taps.
        stride: steps from one place to the next.
        dilation: steps from one tap to the next.
        padding: "valid", "same" or "causal".

    Example:
        >>> output_size(28, 3, 1, 1, "valid"), output_size(28, 3, 2, 1, "same")
        (26, 14)
    """
    if size is None:
        return None
    return (size - (window - 1) * dilation - 1) // stride + 1 if padding == "valid" else -(-size // stride)


def times(values: tuple[int, ...]) -> str:
    """Sizes as text: ``3x3``.

    Args:
        values: the sizes.

    Example:
        >>> times((3, 3))
        '3x3'
    """
    return "x".join(map(str, values))


def arguments_of(base: type, *more: str) -> Callable[[T], T]:
    """Decorator: the arguments and errors of a class's documentation are those of its base.

    They stand in place of the line ``{arguments}``, so that the layers for 1, 2 and 3 axes need not repeat them.

    Args:
        base: the class whose docstring has the sections ``Args`` and ``Raises``.
        *more: lines to put first under ``Args``.
    """
    text = inspect.cleandoc(base.__doc__ or "")
    section = re.search(r"^Args:\n(.*?)(?=^Example:|\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None, base
    lines = "Args:\n" + "".join(f"    {line}\n" for line in more) + section[1].rstrip()

    def fill(cls: T) -> T:
        cls.__doc__ = inspect.cleandoc(cls.__doc__ or "").replace("{arguments}", lines)
        return cls

    return fill


class Spatial(Layer):
    """Base of layers over ``rank`` spatial axes between the batch and the channels."""

    rank = 0

    def build(self, input_shape: Any) -> None:
        self._check_rank(input_shape)
        self.compute_output_shape(input_shape)
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def _check_rank(self, shape: Any) -> None:
        plain = isinstance(shape, tuple | list) and all(n is None or isinstance(n, int | np.integer) for n in shape)
        if not plain or len(shape) != self.rank + 2:
            given = tuple(shape) if plain else describe(shape)
            hint = " x[..., None] adds an axis for one channel, x[None] one for a batch of one."
            raise ShapeError(
                f"{self._who()}: expected one input of shape {AXES[self.rank]}, got {given}."
                f"{hint if plain and len(shape) < self.rank + 2 else ''}"
            )

    def _floating(self, x: Tensor) -> Tensor:
        """Integers, bytes of an image for example, become numbers of the layer's dtype."""
        return x if x.dtype.is_float else astype(x, self.compute_dtype)

    def _slide(
        self, shape: Any, name: str, window: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...],
        padding: str,
    ) -> tuple[int | None, ...]:  # fmt: skip
        """Sizes of the spatial axes after a window has slid over them.

        Raises:
            ShapeError: it fits nowhere.
        """
        self._check_rank(shape)
        space = tuple(shape[1:-1])
        found = tuple(
            output_size(n, k, s, d, padding) for n, k, s, d in zip(space, window, strides, dilation, strict=True)
        )
        if any(n is not None and n < 1 for n in found):
            reach = tuple((k - 1) * d + 1 for k, d in zip(window, dilation, strict=True))
            spread = f" with dilation_rate {dilation}, which reaches over {times(reach)}," if max(dilation) > 1 else ""
            less = f"a smaller {name}{' or dilation_rate' if spread else ''}"
            fix = f"Choose padding='same', {less}, or larger inputs." if 0 not in space else "No size may be 0."
            raise ShapeError(
                f"{self._who()}: expected an input that {name} {window}{spread} fits into, got spatial size "
                f"{'x'.join('?' if n is None else str(n) for n in space)} (shape {tuple(shape)}). {fix}"
            )
        return found
