"""The usual model: one layer after another."""

from __future__ import annotations

from typing import Any

from ranvier.dtypes import DType
from ranvier.errors import ArgumentError, ShapeError, UserError, describe
from ranvier.layers import Dropout, Flatten, InputLayer, Layer, Reshape, deserialize, register, serialize
from ranvier.layers.masks import with_mask
from ranvier.models.building import all_or_nothing, layer_output
from ranvier.models.model import Model, checked_layers
from ranvier.ops.elementwise import astype
from ranvier.tensor import Tensor

__all__ = ["Sequential"]


@register
class Sequential(Model):
    """Layers, each of which takes the output of the one before.

    With an :func:`ranvier.Input` (or ``input_shape=`` on the first layer) the weights are made at once; without, when
    the model first sees data.

    Args:
        layers: the layers, in order.
        **common: name, trainable and dtype, as for every layer.

    Raises:
        ArgumentError: something in the list is no layer, is there twice, or has a name that is there already.
        ShapeError: a layer does not fit the one before.

    Example:
        >>> model = rv.Sequential([rv.Input((64,)), rv.layers.Dense(32, activation="relu"), rv.layers.Dense(10)])
        >>> model.count_params(), model.output_shape
        (2410, (None, 10))
    """

    def __init__(self, layers: Any = None, **common: Any):
        super().__init__(**common)
        self._layers: list[Layer] = []
        self._outputs: list[tuple[tuple[int | None, ...], DType]] = []  # of each layer, once built
        self._masks: list[Any] = []  # the shapes of the masks that go with them, None where there is none
        self._input: InputLayer | None = None
        for layer in checked_layers("Sequential", layers):
            self.add(layer)

    def add(self, layer: Any) -> None:
        """Put a layer at the end.

        Args:
            layer: the layer.

        Raises:
            ArgumentError: no layer, one that is there already, or one with a name that is there already.
            ShapeError: it does not fit the layer before.
        """
        self._check_new(layer)
        if isinstance(layer, InputLayer):
            self._input = layer
            self._start(layer.batch_shape)
        else:
            shape = layer.batch_input_shape if not self._layers and self._input is None else None
            if shape is None and not self._layers and isinstance(layer, Sequential) and layer.built:
                shape = layer.built_shape
            self._layers.append(layer)
            try:
                if shape is not None:
                    self._start(shape)
                elif self.built:
                    self._extend()
            except BaseException:
                self._layers.pop()
                raise
        self._keeper.engine.forget()

    def pop(self) -> Layer:
        """Take the last layer away.

        Raises:
            ArgumentError: there is none.
        """
        if not self._layers:
            raise ArgumentError(f"{self._who()}: there is no layer to take away.")
        layer = self._layers.pop()
        del self._outputs[len(self._layers) :], self._masks[len(self._layers) :]
        if self.built:
            self._keeper.output = self._outputs[-1] if self._outputs else (self.built_shape, self.compute_dtype)
            self._keeper.output_for = None
        self._keeper.engine.forget()
        return layer

    def _check_new(self, layer: Any) -> None:
        if isinstance(layer, type) and issubclass(layer, Layer):
            raise ArgumentError(f"{self._who()}: expected a layer, got the class {layer.__name__}; make one of it.")
        if not isinstance(layer, Layer):
            raise ArgumentError(f"{self._who()}: expected a layer, got {describe(layer)}.")
        if isinstance(layer, InputLayer) and (self._layers or self._input is not None):
            raise ArgumentError(f"{self._who()}: an Input stands before all other layers, and only once.")
        if layer is self or any(layer is other for other in self._layers):
            raise ArgumentError(f"{self._who()}: the layer {layer.name!r} is in the model already; make a second one.")
        if any(layer.name == other.name for other in self._layers):
            raise ArgumentError(
                f"{self._who()}: there is a layer {layer.name!r} already. Give the new one another name."
            )

    # -- building -------------------------------------------------------------------------------------------------

    def _start(self, shape: tuple[int | None, ...]) -> None:
        """The shape of the input is known: make all weights, unless they depend on sizes that are open."""
        try:
            self.build(shape)
        except UserError:
            if None not in shape[1:]:
                raise

    def build(self, input_shape: Any) -> None:
        """Make all weights, for a shape of the input. Done by the first call, fit or predict if not before.

        Args:
            input_shape: sizes with None for the batch axis, and for axes that may have any size, such as the time.

        Raises:
            ShapeError: a layer does not fit, or needs to know a size that is open.
        """
        if self._input is not None:
            self._check_against_input(input_shape)
        outputs: list[Any] = []
        masks: list[Any] = []
        with all_or_nothing(self):
            now: Any = (tuple(input_shape), self._keeper.input_dtype or self.compute_dtype)
            mask: Any = None
            for layer in self._layers:
                now, mask = layer_output(layer, now[0], now[1], mask)
                outputs.append(now)
                masks.append(mask)
        self._outputs, self._masks, self._keeper.output = outputs, masks, now

    def _extend(self) -> None:
        """A layer was added to a model that has its weights."""
        now = self._outputs[-1] if self._outputs else (self.built_shape, self.compute_dtype)
        try:
            with all_or_nothing(self._layers[-1]):
                now, mask = layer_output(self._layers[-1], now[0], now[1], self._masks[-1] if self._masks else None)
        except UserError:
            if None not in self.built_shape[1:]:
                raise
            self.built, self.built_shape, self._keeper.output = False, None, None  # wait for data
            self._outputs, self._masks = [], []
            return
        self._outputs.append(now)
        self._masks.append(mask)
        self._keeper.output, self._keeper.output_for = now, None

    def _check_against_input(self, shape: Any) -> None:
        expected = self._input.batch_shape  # type: ignore[union-attr]
        if len(shape) != len(expected) or any(
            a is not None and b is not None and a != b for a, b in zip(shape, expected, strict=True)
        ):
            raise ShapeError(f"{self._who()}: expected input of shape {expected}, got {tuple(shape)}.")

    def call(self, inputs: Tensor, mask: Any = None) -> Any:
        """Through all layers.

        Args:
            inputs: a tensor, the batch axis first.
            mask: which time steps count, boolean ``(batch, time)``; by default the mask that came with the input.
        """
        as_they_are = inputs.dtype.is_float or self._keeps_integers()
        x = with_mask(inputs if as_they_are else astype(inputs, self.compute_dtype), mask)
        if self._input is not None:
            x = self._input(x)
        for layer in self._layers:
            x = layer(x)
        return x

    def _first_layer(self) -> Layer | None:
        first = self._layers[0] if self._layers else None
        return first._first_layer() if isinstance(first, Model) else first

    def _keeps_integers(self) -> bool:
        return getattr(self._first_layer(), "takes_integers", False)

    def _output_layer(self) -> tuple[Layer | None, bool]:
        for layer in reversed(self._layers):
            if isinstance(layer, Sequential):
                return layer._output_layer()
            if isinstance(layer, Model):
                return None, False
            if not isinstance(layer, Dropout | Flatten | Reshape):
                return layer, True
        return None, False

    # -- description ----------------------------------------------------------------------------------------------

    @property
    def layers(self) -> list[Layer]:
        """The layers, in order (without the input layer)."""
        return list(self._layers)

    def get_config(self) -> dict[str, Any]:
        """Name and layers as plain JSON data."""
        whole = [self._input, *self._layers] if self._input is not None else self._layers
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": self.dtype_policy.name,
            "layers": [serialize(layer) for layer in whole],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A new model from what ``get_config`` returned.

        Args:
            config: name and layers.

        Raises:
            ArgumentError: not such a configuration.
        """
        layers = config.get("layers")
        if not isinstance(layers, list):
            raise ArgumentError(f"Sequential.from_config: expected 'layers' to be a list, got {describe(layers)}.")
        return super().from_config({**config, "layers": [deserialize(layer) for layer in layers]})

    def _describe(self) -> str:
        return ", ".join(map(repr, self._layers))
