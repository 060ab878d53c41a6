"""Bidirectional: a recurrent layer that reads the sequence forwards, and one that reads it backwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ranvier.errors import ArgumentError, describe
from ranvier.layers.base import Layer, deserialize, get, register, serialize
from ranvier.layers.recurrent.rnn import RNN
from ranvier.ops.elementwise import astype
from ranvier.ops.shape import concatenate, flip
from ranvier.tensor import Tensor
from ranvier.tree import flatten, unflatten

__all__ = ["Bidirectional"]

MODES = ("concat", "sum", "mul", "ave", None)


def _copied(layer: Any, prefix: str, **changes: Any) -> Any:
    """A new layer of the same configuration, with weights of its own."""
    data = serialize(layer)
    name = f"{prefix}_{layer.name.removeprefix(prefix + '_')}"
    return deserialize({**data, "config": {**data["config"], "name": name, **changes}})


@register
class Bidirectional(Layer):
    """Two recurrent layers over the same sequence: ``y = merge(forward(x), backward(x))``, each in the order of time.

    The layer given is a pattern: the forward layer is made anew from its configuration, and so is the backward layer,
    with ``go_backwards`` the other way, unless one is given.

    Args:
        layer: a recurrent layer.
        merge_mode: "concat" puts the two outputs side by side, "sum", "mul" and "ave" combine them number by number,
            None returns both.
        weights: arrays to start with, in the order of ``get_weights``.
        backward_layer: another layer for the way back; its ``go_backwards`` must differ from the layer's.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, time, features)`` gives what the layer gives, with twice as many numbers for "concat"; states follow,
        the forward layer's first, if the layer returns them.

    Raises:
        ArgumentError: no recurrent layer, an unknown merge mode, or layers that do not fit together.

    Example:
        >>> layer = rv.layers.Bidirectional(rv.layers.LSTM(8, return_sequences=True))
        >>> layer(rv.ones((2, 10, 3))).shape
        (2, 10, 16)
    """

    supports_masking = True

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        weights: Any = None,
        backward_layer: Any = None,
        **common: Any,
    ):
        super().__init__(**common)
        pattern, given = _checked("layer", layer), None
        if backward_layer is not None:
            given = _checked("backward_layer", backward_layer)
        if merge_mode not in MODES:
            raise ArgumentError(
                f"Bidirectional: expected merge_mode to be one of {', '.join(map(repr, MODES))}, got "
                f"{describe(merge_mode)}."
            )
        self.merge_mode = merge_mode
        self.forward_layer = _copied(pattern, "forward")
        self.backward_layer = (
            given if given is not None else _copied(pattern, "backward", go_backwards=not pattern.go_backwards)
        )
        self._check_pair()
        for direction in (self.forward_layer, self.backward_layer):
            if hasattr(direction, "zero_output_for_mask"):  # as Keras: a merged sequence is 0 at masked steps
                direction.zero_output_for_mask = direction.return_sequences
        self._first_weights = None if weights is None else _Arrays(weights)
        self.mixes_samples = getattr(pattern, "stateful", False)
        self._freeze_inside()

    def _check_pair(self) -> None:
        ahead, back = self.forward_layer, self.backward_layer
        if ahead.go_backwards == back.go_backwards:
            raise ArgumentError(
                f"Bidirectional: expected the two layers to go in different directions, got go_backwards="
                f"{ahead.go_backwards} for both. Set go_backwards=True in the backward layer."
            )
        for name in ("stateful", "return_sequences", "return_state"):
            there, here = getattr(ahead, name, False), getattr(back, name, False)
            if there != here:
                raise ArgumentError(
                    f"Bidirectional: expected the same {name} in both layers, got {there} forwards, {here} backwards."
                )

    @property
    def layer(self) -> Any:
        """The forward layer."""
        return self.forward_layer

    @classmethod
    def _arguments(cls) -> list[str]:
        return [name for name in super()._arguments() if name != "weights"]

    @property
    def stateful(self) -> bool:
        """Whether states are kept from batch to batch."""
        return bool(getattr(self.forward_layer, "stateful", False))

    @property
    def return_sequences(self) -> bool:
        """Whether all time steps are returned."""
        return bool(getattr(self.forward_layer, "return_sequences", False))

    @property
    def return_state(self) -> bool:
        """Whether the last states are returned."""
        return bool(getattr(self.forward_layer, "return_state", False))

    def build(self, input_shape: Any) -> None:
        self.forward_layer.build(input_shape)
        self.backward_layer.build(input_shape)
        if self._first_weights is not None:
            self.set_weights(self._first_weights.arrays)

    def reset_state(self) -> None:
        """Forget the states kept between batches.

        Raises:
            ArgumentError: the layers are not stateful.
        """
        for layer in (self.forward_layer, self.backward_layer):
            layer.reset_state()

    def reset_states(self) -> None:
        """The same as :meth:`reset_state`.

        Raises:
            ArgumentError: the layers are not stateful.
        """
        self.reset_state()

    def compute_output_shape(self, input_shape: Any) -> Any:
        found = self.forward_layer.compute_output_shape(input_shape)
        shape, states = (found[0], tuple(found[1:])) if self.return_state else (found, ())
        if self.merge_mode == "concat":
            shape = (*shape[:-1], None if shape[-1] is None else 2 * shape[-1])
        merged = (shape, shape) if self.merge_mode is None else (shape,)
        return merged[0] if self.merge_mode is not None and not states else (*merged, *states, *states)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        mine = (mask[0] if isinstance(mask, list | tuple) else mask) if self.return_sequences else None
        both = [mine, mine] if self.merge_mode is None else [mine]
        return both if len(both) > 1 or self.return_state else mine

    def call(self, sequences: Tensor, initial_state: Any = None, mask: Any = None) -> Any:
        """Both ways.

        Args:
            sequences: shape ``(batch, time, features)``.
            initial_state: the states to start with, the forward layer's first.
            mask: boolean ``(batch, time)``: False leaves a time step out.

        Raises:
            ArgumentError: another number of initial states than the two layers have.
        """
        starts = self._halves(initial_state)
        found = [
            _outputs(layer, sequences, start, mask, layer is self.backward_layer)
            for layer, start in zip((self.forward_layer, self.backward_layer), starts, strict=True)
        ]
        (y, states), (back, back_states) = (self._parted(out) for out in found)
        merged = self._merged(astype(y, self.compute_dtype), astype(back, self.compute_dtype))
        if self.return_state:
            return (*(merged if self.merge_mode is None else (merged,)), *states, *back_states)
        return merged

    def _halves(self, given: Any) -> tuple[Any, Any]:
        if given is None:
            return None, None
        count = 2 * len(getattr(self.forward_layer, "state_size", [None]))
        if not isinstance(given, list | tuple) or len(given) != count:
            raise ArgumentError(
                f"{self._who()}: expected initial_state to be a list of {count} states, the forward layer's first, got "
                f"{describe(given)}."
            )
        return list(given[: count // 2]), list(given[count // 2 :])

    def _parted(self, out: Any) -> tuple[Any, tuple[Any, ...]]:
        return (out[0], tuple(out[1:])) if self.return_state else (out, ())

    def _merged(self, y: Tensor, back: Tensor) -> Any:
        match self.merge_mode:
            case "concat":
                return concatenate([y, back], -1)
            case "sum":
                return y + back
            case "mul":
                return y * back
            case "ave":
                return (y + back) / 2
        return y, back

    def _describe(self) -> str:
        mode = "" if self.merge_mode == "concat" else f", merge_mode={self.merge_mode!r}"
        return f"{self.forward_layer!r}{mode}"


class _Arrays:
    """Arrays to start with; an object of its own, so that they are not taken for weights."""

    def __init__(self, arrays: Sequence[Any]):
        self.arrays = list(arrays)


def _checked(what: str, layer: Any) -> Any:
    found = get(layer) if isinstance(layer, dict) else layer
    if not isinstance(found, Layer) or not hasattr(found, "go_backwards"):
        raise ArgumentError(
            f"Bidirectional: expected {what} to be a recurrent layer, such as rv.layers.LSTM(8), got {describe(layer)}."
        )
    return found


def _outputs(layer: Any, sequences: Tensor, start: Any, mask: Any, turned: bool) -> Any:
    """What a layer returns, its sequence turned round if the layer is the one for the way back, as Keras does."""
    options: dict[str, Any] = {} if start is None else {"initial_state": start}
    if layer._mask_arguments.whole:
        options["mask"] = mask
    if not turned or not layer.return_sequences:
        return layer(sequences, **options)
    if isinstance(layer, RNN) and layer.go_backwards:
        return layer(sequences, time_order=True, **options)  # spares turning it round twice
    out = layer(sequences, **options)
    leaves, structure = flatten(out)
    return unflatten(structure, [flip(leaves[0], 1), *leaves[1:]])
