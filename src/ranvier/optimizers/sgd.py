"""Gradient descent, with momentum."""

from __future__ import annotations

from typing import Any

from ranvier.layers.checks import number
from ranvier.optimizers.base import Optimizer, register
from ranvier.tensor import Tensor

__all__ = ["SGD"]


@register
class SGD(Optimizer):
    """Gradient descent, with momentum (Polyak, 1964) and Nesterov's look-ahead (1983).

    The rule, for each variable w with gradient g::

        if momentum == 0:
            w = w - lr * g
        else:
            m = momentum * m - lr * g
            w = w + m                          # plain
            w = w + momentum * m - lr * g      # nesterov

    Args:
        learning_rate: a number above 0, or a schedule.
        momentum: from 0 to 1; the share of the last step that is kept.
        nesterov: whether to look ahead.
        **common: weight_decay, clipnorm, clipvalue, global_clipnorm, name, as for every optimizer.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> w = rv.Variable([1.0])
        >>> rv.optimizers.SGD(0.5).apply([rv.tensor([1.0])], [w])
        >>> w.numpy()
        array([0.5], dtype=float32)
    """

    def __init__(self, learning_rate: Any = 0.01, momentum: float = 0.0, nesterov: bool = False, **common: Any):
        super().__init__(learning_rate, **common)
        self.momentum, self.nesterov = number("SGD", "momentum", momentum, 0, 1), bool(nesterov)

    def slots(self) -> tuple[str, ...]:
        return ("momentum",) if self.momentum else ()

    def update(self, scalars: Any, w: Tensor, g: Tensor, *slots: Tensor) -> tuple[Tensor, ...]:
        lr = scalars
        if not slots:
            return (w - g * lr,)
        m = slots[0] * self.momentum - g * lr
        return (w + m * self.momentum - g * lr if self.nesterov else w + m), m
