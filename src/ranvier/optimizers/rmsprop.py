"""RMSprop: steps divided by a running root mean square of the gradient."""

from __future__ import annotations

from typing import Any

from ranvier.layers.checks import number
from ranvier.ops import elementwise as e
from ranvier.optimizers.base import Optimizer, register
from ranvier.tensor import Tensor

__all__ = ["RMSprop"]


@register
class RMSprop(Optimizer):
    """Steps divided by a running root mean square of the gradient (Hinton, 2012).

    The rule, for each variable w with gradient g::

        v = rho * v + (1 - rho) * g**2
        if centered:
            a = rho * a + (1 - rho) * g
            d = lr * g / sqrt(v - a**2 + epsilon)
        else:
            d = lr * g / sqrt(v + epsilon)
        if momentum > 0:
            m = momentum * m + d
            w = w - m
        else:
            w = w - d

    Args:
        learning_rate: a number above 0, or a schedule.
        rho: from 0 to 1; the share of the old mean square that is kept.
        momentum: from 0 to 1; the share of the last step that is kept.
        epsilon: keeps the divisor from 0.
        centered: subtract the squared mean of the gradient.
        **common: weight_decay, clipnorm, clipvalue, global_clipnorm, name, as for every optimizer.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> w = rv.Variable([1.0])
        >>> rv.optimizers.RMSprop(0.1, rho=0.0).apply([rv.tensor([2.0])], [w])
        >>> w.numpy().round(3)
        array([0.9], dtype=float32)
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **common: Any,
    ):
        super().__init__(learning_rate, **common)
        self.rho, self.momentum = number("RMSprop", "rho", rho, 0, 1), number("RMSprop", "momentum", momentum, 0, 1)
        self.epsilon, self.centered = number("RMSprop", "epsilon", epsilon, 0), bool(centered)

    def slots(self) -> tuple[str, ...]:
        return ("velocity", *(("momentum",) if self.momentum else ()), *(("average",) if self.centered else ()))

    def update(self, scalars: Any, w: Tensor, g: Tensor, *slots: Tensor) -> tuple[Tensor, ...]:
        lr, rho = scalars, self.rho
        state = dict(zip(self.slots(), slots, strict=True))
        v = state["velocity"] = state["velocity"] * rho + g * g * (1 - rho)
        if self.centered:
            a = state["average"] = state["average"] * rho + g * (1 - rho)
            v = v - a * a
        d = g * lr / e.sqrt(v + self.epsilon)
        if self.momentum:
            d = state["momentum"] = state["momentum"] * self.momentum + d
        return w - d, *state.values()
