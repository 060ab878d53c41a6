"""What the recurrent cells share: a cell is one time step, ``output, states = cell(x, states)``.

A cell's step has two parts. The product of the input with ``kernel`` does not depend on the state, so it is computed
for all time steps in one contraction (:meth:`Cell.project`); only the product of the state with ``recurrent_kernel``
and the gates are left inside the loop (:meth:`Cell.step`). The gates are equal blocks of columns of one matrix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ranvier import activations, initializers, random, regularizers
from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.layers.base import InputSpec, Layer
from ranvier.layers.checks import number, whole
from ranvier.ops.creation import zeros
from ranvier.ops.elementwise import where
from ranvier.ops.shape import reshape
from ranvier.random import Generator
from ranvier.tensor import Tensor, as_tensor
from ranvier.variable import Variable

__all__ = ["Cell", "columns", "state_list"]


def state_list(who: str, states: Any, count: int) -> list[Tensor]:
    """The states a cell was given, as a list.

    Args:
        who: the cell, for the message.
        states: one tensor, or a list of them.
        count: how many the cell has.

    Raises:
        ArgumentError: another number of states.
    """
    found = list(states) if isinstance(states, list | tuple) else [states]
    if len(found) != count or any(s is None for s in found):
        raise ArgumentError(
            f"{who}: expected {count} state{'s' * (count > 1)}, got {describe(states)}. "
            "Start with cell.get_initial_state(batch_size)."
        )
    return [as_tensor(s) for s in found]


def columns(x: Any, number: int, count: int = 1, of: int = 1) -> Any:
    """Some of the equal blocks of columns that the gates are.

    Args:
        x: a tensor or variable whose last axis is cut.
        number: the first block.
        count: how many blocks.
        of: how many there are in all.
    """
    width = x.shape[-1] // of
    return x[..., number * width : (number + count) * width]


class Cell(Layer):
    """Base of SimpleRNNCell, LSTMCell and GRUCell: their weights, their dropout, and how a step is cut in two.

    Args:
        units: size of the state.
        gates: how many blocks of columns the kernels have.
        options: the other arguments, by name; each is kept in the attribute of its name.
        **common: name, trainable and dtype, as for every layer.

    Attributes:
        state_size: size of the state, or a list of sizes.
        output_size: size of the output.

    Raises:
        ArgumentError: an argument is out of range or unknown.
    """

    output_is_state = True  # the output is the first state, so a loop need not carry it apart

    def __init__(self, units: int, gates: int, options: dict[str, Any], **common: Any):
        super().__init__(**common)
        who = type(self).__name__
        self.units, self.use_bias, self.seed = whole(who, "units", units), bool(options["use_bias"]), options["seed"]
        self.activation = activations.get(options["activation"])
        self.kernel_initializer = initializers.get(options["kernel_initializer"])
        self.recurrent_initializer = initializers.get(options["recurrent_initializer"])
        self.bias_initializer = initializers.get(options["bias_initializer"])
        self.kernel_regularizer = regularizers.get(options["kernel_regularizer"])
        self.recurrent_regularizer = regularizers.get(options["recurrent_regularizer"])
        self.bias_regularizer = regularizers.get(options["bias_regularizer"])
        self.dropout = float(number(who, "dropout", options["dropout"], 0, 1, below=True))
        self.recurrent_dropout = float(number(who, "recurrent_dropout", options["recurrent_dropout"], 0, 1, below=True))
        self._generator = None if self.seed is None else Generator(self.seed)
        self._gates = gates
        self.state_size: Any = self.units
        self.output_size = self.units
        self.bias: Variable | None = None

    @classmethod
    def _arguments(cls) -> list[str]:
        return [name for name in super()._arguments() if name not in ("gates", "options")]

    # -- weights --------------------------------------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1] if len(input_shape) == 2 else None
        if not features:
            raise ShapeError(f"{self._who()}: expected input of shape (batch, features), got {tuple(input_shape)}.")
        width = self.units * self._gates
        self.kernel = self.add_weight(
            "kernel", (features, width), self.kernel_initializer, regularizer=self.kernel_regularizer
        )
        self.recurrent_kernel = self.add_weight(
            "recurrent_kernel", (self.units, width), self.recurrent_initializer,
            regularizer=self.recurrent_regularizer,
        )  # fmt: skip
        if self.use_bias:
            self._build_bias(width)
        self.input_spec = InputSpec(ndim=2, axes={-1: features})

    def _build_bias(self, width: int) -> None:
        self.bias = self.add_weight("bias", (width,), self.bias_initializer, regularizer=self.bias_regularizer)

    def get_initial_state(self, batch_size: int) -> list[Tensor]:
        """States of zeros, to start with.

        Args:
            batch_size: how many sequences.
        """
        sizes = self.state_size if isinstance(self.state_size, list) else [self.state_size]
        return [zeros((batch_size, n), self.compute_dtype) for n in sizes]

    # -- a step in two parts ---------------------------------------------------------------------------------------

    def project(self, inputs: Tensor, training: bool = False) -> Tensor:
        """The part of the step that does not depend on the state: ``inputs @ kernel + bias``, for any number of steps.

        Args:
            inputs: shape ``(..., batch, features)``.
            training: draw an input dropout mask (the same for all steps).
        """
        if training and self.dropout:
            inputs = inputs * self._kept(self.dropout, inputs.shape[-2:])
        rows = inputs if inputs.ndim == 2 else reshape(inputs, (math.prod(inputs.shape[:-1]), inputs.shape[-1]))
        z, bias = rows @ self.kernel, self._input_bias()
        z = z if bias is None else z + bias
        return z if inputs.ndim == 2 else reshape(z, (*inputs.shape[:-1], z.shape[-1]))

    def _input_bias(self) -> Any:
        """What is added to the product of the input."""
        return self.bias

    def kept_states(self, batch: int, training: bool) -> Tensor | None:
        """The recurrent dropout mask, drawn once for all steps of a sequence: 0 or ``1 / (1 - rate)``; None for none.

        Args:
            batch: how many sequences.
            training: whether anything is dropped at all.
        """
        if not training or not self.recurrent_dropout:
            return None
        return self._kept(self.recurrent_dropout, (batch, self.units))

    def _kept(self, rate: float, shape: Sequence[int]) -> Tensor:
        generator = self._generator or random.default_generator
        keep = generator.uniform(tuple(shape), dtype=self.compute_dtype) >= rate
        return where(keep, zeros((), self.compute_dtype) + 1 / (1 - rate), 0)

    def step(self, z: Tensor, states: Sequence[Tensor], kept: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """The part of the step that depends on the state: the output and the next states.

        Args:
            z: the projected input, shape ``(batch, gates * units)``.
            states: the states before, ``(batch, units)`` each.
            kept: the recurrent dropout mask, or None.
        """
        raise ArgumentError(f"{self._who()}: define step(self, z, states, kept).")

    def call(self, inputs: Tensor, states: Any, training: bool = False) -> Any:  # type: ignore[override]
        """One time step.

        Args:
            inputs: shape ``(batch, features)``.
            states: the states before: a list, or one tensor for a cell with one state.
            training: whether dropout is on.
        """
        count = len(self.state_size) if isinstance(self.state_size, list) else 1
        before = state_list(self._who(), states, count)
        kept = self.kept_states(inputs.shape[0], training)
        output, after = self.step(self.project(inputs, training), before, kept)
        return output, after if isinstance(states, list | tuple) else after[0]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.units)

    def _describe(self) -> str:
        return f"{self.kernel.shape[0]} -> {self.units}" if self.built else str(self.units)
