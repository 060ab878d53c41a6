"""Adagrad: steps divided by the root of the sum of all squared gradients so far."""

from __future__ import annotations

from typing import Any

from ranvier.layers.checks import number
from ranvier.ops import elementwise as e
from ranvier.optimizers.base import Optimizer, register
from ranvier.tensor import Tensor

__all__ = ["Adagrad"]


@register
class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients so far (Duchi et al., 2011).

    The rule, for each variable w with gradient g::

        s = s + g**2
        w = w - lr * g / sqrt(s + epsilon)

    Args:
        learning_rate: a number above 0, or a schedule.
        initial_accumulator_value: what the sum s starts from, not negative.
        epsilon: keeps the divisor from 0.
        **common: weight_decay, clipnorm, clipvalue, global_clipnorm, name, as for every optimizer.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> w = rv.Variable([1.0])
        >>> rv.optimizers.Adagrad(0.1, initial_accumulator_value=0.0).apply([rv.tensor([2.0])], [w])
        >>> w.numpy().round(3)
        array([0.9], dtype=float32)
    """

    slot_names = ("accumulator",)

    def __init__(
        self, learning_rate: Any = 0.001, initial_accumulator_value: float = 0.1, epsilon: float = 1e-7, **common: Any
    ):
        super().__init__(learning_rate, **common)
        start = number("Adagrad", "initial_accumulator_value", initial_accumulator_value, 0)
        self.initial_accumulator_value = self.initial_slot_value = start
        self.epsilon = number("Adagrad", "epsilon", epsilon, 0)

    def update(self, scalars: Any, w: Tensor, g: Tensor, *slots: Tensor) -> tuple[Tensor, ...]:
        lr, (s,) = scalars, slots
        s = s + g * g
        return w - g * lr / e.sqrt(s + self.epsilon), s
