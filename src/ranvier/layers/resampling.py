"""Layers that change the size of signals, images and volumes: UpSampling, ZeroPadding and Cropping. No weights."""

from __future__ import annotations

from typing import Any

from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.layers.base import register
from ranvier.layers.windows import Spatial, arguments_of, channels_last, choice, times
from ranvier.ops.resize import pad, resize
from ranvier.ops.shape import repeat
from ranvier.ops.spatial import per_axis
from ranvier.tensor import Tensor

__all__ = [
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "UpSampling1D",
    "UpSampling2D",
    "UpSampling3D",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
]


class UpSampling(Spatial):
    """Base of the layers that enlarge by whole factors."""

    size: Any

    def _factors(self) -> tuple[int, ...]:
        return self.size if isinstance(self.size, tuple) else (self.size,)

    def call(self, inputs: Tensor) -> Tensor:
        self._check_rank(inputs.shape)
        for axis, factor in enumerate(self._factors(), 1):
            inputs = repeat(inputs, factor, axis) if factor > 1 else inputs
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        self._check_rank(input_shape)
        space = zip(input_shape[1:-1], self._factors(), strict=True)
        return (input_shape[0], *(None if n is None else n * factor for n, factor in space), input_shape[-1])

    def _describe(self) -> str:
        return times(self._factors())


@register
class UpSampling1D(UpSampling):
    """Every step of a signal several times: ``y[n, i, c] = x[n, i // size, c]``.

    Args:
        size: how often, at least once.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, steps, channels)`` gives ``(batch, steps * size, channels)``.

    Raises:
        ArgumentError: the size is no positive integer.
        ShapeError: the input has other axes.

    Example:
        >>> rv.layers.UpSampling1D(2)(rv.tensor([[[1.0], [2.0]]])).tolist()
        [[[1.0], [1.0], [2.0], [2.0]]]
    """

    rank = 1

    def __init__(self, size: int = 2, **common: Any):
        super().__init__(**common)
        self.size = per_axis(self._who(), "size", size, 1)[0]


@register
class UpSampling2D(UpSampling):
    """Images enlarged by whole factors.

    ``y[n, i, j, c] = x[n, i // size[0], j // size[1], c]`` with "nearest"; with "bilinear" the mean of the four pixels
    around ``((i + 1/2) / size[0] - 1/2, (j + 1/2) / size[1] - 1/2)``, weighted by their nearness.

    Args:
        size: factors for height and width; one integer for both.
        data_format: "channels_last" or None, which means it.
        interpolation: "nearest" or "bilinear".
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, height, width, channels)`` gives ``(batch, height * size[0], width * size[1], channels)``.

    Raises:
        ArgumentError: an argument is not what is described above.
        ShapeError: the input has other axes.

    Example:
        >>> x = rv.reshape(rv.tensor([1.0, 2.0]), (1, 1, 2, 1))
        >>> rv.layers.UpSampling2D((1, 2))(x).numpy().ravel().tolist()
        [1.0, 1.0, 2.0, 2.0]
        >>> rv.layers.UpSampling2D((1, 2), interpolation="bilinear")(x).numpy().ravel().tolist()
        [1.0, 1.25, 1.75, 2.0]
    """

    rank = 2

    def __init__(
        self, size: Any = (2, 2), data_format: str | None = None, interpolation: str = "nearest", **common: Any
    ):
        super().__init__(**common)
        self.size = per_axis(self._who(), "size", size, 2)
        self.data_format = channels_last(self._who(), data_format)
        self.interpolation = choice(self._who(), "interpolation", interpolation, ("nearest", "bilinear"))

    def call(self, inputs: Tensor) -> Tensor:
        if self.interpolation == "nearest":
            return super().call(inputs)
        shape = self.compute_output_shape(inputs.shape)
        return resize(self._floating(inputs), shape[1:-1], self.interpolation)

    def _describe(self) -> str:
        return super()._describe() + (", bilinear" if self.interpolation == "bilinear" else "")


@register
class UpSampling3D(UpSampling):
    """Volumes enlarged by whole factors: every number fills a block of ``size``.

    Args:
        size: factors for the three axes; one integer for all.
        data_format: "channels_last" or None, which means it.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, depth, height, width, channels)`` with the three axes in the middle multiplied by ``size``.

    Raises:
        ArgumentError: an argument is not what is described above.
        ShapeError: the input has other axes.

    Example:
        >>> rv.layers.UpSampling3D((1, 2, 3))(rv.ones((1, 4, 4, 4, 2))).shape
        (1, 4, 8, 12, 2)
    """

    rank = 3

    def __init__(self, size: Any = (2, 2, 2), data_format: str | None = None, **common: Any):
        super().__init__(**common)
        self.size = per_axis(self._who(), "size", size, 3)
        self.data_format = channels_last(self._who(), data_format)


# -- borders ------------------------------------------------------------------------------------------------------


def borders(who: str, name: str, value: Any, rank: int) -> tuple[tuple[int, ...], ...]:
    """Two integers, in front and behind, for each axis: from one for all, one for each axis, or pairs."""
    entries = (value,) if rank == 1 else value if isinstance(value, tuple | list) else (value,) * rank
    try:
        pairs = tuple(per_axis(who, name, entry, 2, 0) for entry in entries)
    except ArgumentError:
        pairs = ()
    if len(pairs) != rank:
        several = "a pair" if rank == 1 else f"{rank} of them, or {rank} pairs"
        raise ArgumentError(
            f"{who}: expected {name} to be an integer of at least 0{',' if rank > 1 else ' or'} {several} (in front, "
            f"behind), got {describe(value)}."
        )
    return pairs


class Borders(Spatial):
    """Base of the layers that add to or take from the borders. Signals keep one pair, the others one for each axis."""

    def _keep(self, name: str, value: Any) -> Any:
        pairs = borders(self._who(), name, value, self.rank)
        return pairs[0] if self.rank == 1 else pairs

    def _kept(self) -> Any:
        """What ``_keep`` returned."""

    def _widths(self) -> tuple[tuple[int, int], ...]:
        return (self._kept(),) if self.rank == 1 else self._kept()

    def _describe(self) -> str:
        return str(self._kept())


class ZeroPadding(Borders):
    """Zeros around the input.

    Args:
        padding: how many on each side: one integer, one for each axis, or a pair (in front, behind) for each axis.
        data_format: "channels_last" or None, which means it.
        **common: name, trainable and dtype, as for every layer.

    Raises:
        ArgumentError: an argument is not what is described above.
        ShapeError: the input has other axes.
    """

    def __init__(self, padding: Any = 1, data_format: str | None = None, **common: Any):
        super().__init__(**common)
        self.padding = self._keep("padding", padding)
        self.data_format = channels_last(self._who(), data_format)

    def _kept(self) -> Any:
        return self.padding

    def call(self, inputs: Tensor) -> Tensor:
        self._check_rank(inputs.shape)
        return pad(inputs, ((0, 0), *self._widths(), (0, 0)))

    def compute_output_shape(self, input_shape: Any) -> Any:
        self._check_rank(input_shape)
        space = zip(input_shape[1:-1], self._widths(), strict=True)
        return (input_shape[0], *(None if n is None else n + sum(pair) for n, pair in space), input_shape[-1])


@register
class ZeroPadding1D(ZeroPadding):
    """Zeros in front of a signal and behind it.

    Args:
        padding: how many on both sides, or a pair (in front, behind).
        data_format: "channels_last" or None, which means it.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, steps, channels)`` gives ``(batch, steps + in front + behind, channels)``.

    Raises:
        ArgumentError: an argument is not what is described above.
        ShapeError: the input has other axes.

    Example:
        >>> rv.layers.ZeroPadding1D((2, 0))(rv.tensor([[[1.0], [2.0]]])).tolist()
        [[[0.0], [0.0], [1.0], [2.0]]]
    """

    rank = 1


@register
@arguments_of(ZeroPadding)
class ZeroPadding2D(ZeroPadding):
    """Zeros around an image.

    {arguments}

    Shape:
        ``(batch, height, width, channels)`` gives ``(batch, height + top + bottom, width + left + right, channels)``.

    Example:
        >>> rv.layers.ZeroPadding2D(((0, 1), (2, 2)))(rv.ones((1, 4, 4, 3))).shape
        (1, 5, 8, 3)
    """

    rank = 2


@register
@arguments_of(ZeroPadding)
class ZeroPadding3D(ZeroPadding):
    """Zeros around a volume.

    {arguments}

    Shape:
        ``(batch, depth, height, width, channels)`` with the borders added to the three axes in the middle.

    Example:
        >>> rv.layers.ZeroPadding3D(1)(rv.ones((1, 4, 4, 4, 2))).shape
        (1, 6, 6, 6, 2)
    """

    rank = 3


class Cropping(Borders):
    """The input without its borders.

    Args:
        cropping: how many on each side: one integer, one for each axis, or a pair (in front, behind) for each axis.
        data_format: "channels_last" or None, which means it.
        **common: name, trainable and dtype, as for every layer.

    Raises:
        ArgumentError: an argument is not what is described above.
        ShapeError: the input has other axes, or nothing would be left of it.
    """

    cropping: Any

    def _kept(self) -> Any:
        return self.cropping

    def call(self, inputs: Tensor) -> Tensor:
        self.compute_output_shape(inputs.shape)
        space = zip(inputs.shape[1:-1], self._widths(), strict=True)
        return inputs[(slice(None), *(slice(low, n - high) for n, (low, high) in space))]

    def compute_output_shape(self, input_shape: Any) -> Any:
        self._check_rank(input_shape)
        space = tuple(
            None if n is None else n - sum(pair) for n, pair in zip(input_shape[1:-1], self._widths(), strict=True)
        )
        if any(n is not None and n < 1 for n in space):
            raise ShapeError(
                f"{self._who()}: expected an input larger than cropping {self._kept()}, got shape "
                f"{tuple(input_shape)}, of which nothing would be left."
            )
        return (input_shape[0], *space, input_shape[-1])


@register
class Cropping1D(Cropping):
    """A signal without its ends.

    Args:
        cropping: how many steps on both sides, or a pair (in front, behind).
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, steps, channels)`` gives ``(batch, steps - in front - behind, channels)``.

    Raises:
        ArgumentError: an argument is not what is described above.
        ShapeError: the input has other axes, or nothing would be left of it.

    Example:
        >>> rv.layers.Cropping1D((1, 0))(rv.tensor([[[1.0], [2.0]]])).tolist()
        [[[2.0]]]
    """

    rank = 1

    def __init__(self, cropping: Any = (1, 1), **common: Any):
        super().__init__(**common)
        self.cropping = self._keep("cropping", cropping)


@register
@arguments_of(Cropping)
class Cropping2D(Cropping):
    """An image without its borders.

    {arguments}

    Shape:
        ``(batch, height, width, channels)`` gives ``(batch, height - top - bottom, width - left - right, channels)``.

    Example:
        >>> rv.layers.Cropping2D(((0, 1), (2, 2)))(rv.ones((1, 8, 8, 3))).shape
        (1, 7, 4, 3)
    """

    rank = 2

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **common: Any):
        super().__init__(**common)
        self.cropping = self._keep("cropping", cropping)
        self.data_format = channels_last(self._who(), data_format)


@register
@arguments_of(Cropping)
class Cropping3D(Cropping):
    """A volume without its borders.

    {arguments}

    Shape:
        ``(batch, depth, height, width, channels)`` with the borders taken from the three axes in the middle.

    Example:
        >>> rv.layers.Cropping3D(1)(rv.ones((1, 4, 4, 4, 2))).shape
        (1, 2, 2, 2, 2)
    """

    rank = 3

    def __init__(self, cropping: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None, **common: Any):
        super().__init__(**common)
        self.cropping = self._keep("cropping", cropping)
        self.data_format = channels_last(self._who(), data_format)
