"""Adam and AdamW: momentum divided by a running root mean square, both corrected for their start at 0."""

from __future__ import annotations

import math
from typing import Any

from ranvier.layers.checks import number
from ranvier.ops import elementwise as e
from ranvier.optimizers.base import Optimizer, register
from ranvier.tensor import Tensor

__all__ = ["Adam", "AdamW"]


def _one_minus_power(beta: float, step: Tensor) -> Tensor:
    """``1 - beta**step``, without the loss of digits that the subtraction would bring for beta near 1."""
    return -e.expm1(step * math.log(beta)) if beta > 0 else step * 0.0 + 1.0


@register
class Adam(Optimizer):
    """Momentum divided by a running root mean square of the gradient (Kingma and Ba, 2014).

    The rule, for each variable w with gradient g, at step t = 1, 2, ...::

        alpha = lr * sqrt(1 - beta_2**t) / (1 - beta_1**t)     # once a step
        m = m + (g - m) * (1 - beta_1)
        v = v + (g**2 - v) * (1 - beta_2)
        if amsgrad:
            h = maximum(h, v)
            w = w - m * alpha / (sqrt(h) + epsilon)
        else:
            w = w - m * alpha / (sqrt(v) + epsilon)

    Args:
        learning_rate: a number above 0, or a schedule.
        beta_1: from 0 up to but without 1; the share of the old mean that is kept.
        beta_2: the same for the mean square.
        epsilon: keeps the divisor from 0.
        amsgrad: divide by the largest mean square so far (Reddi et al., 2018).
        **common: weight_decay, clipnorm, clipvalue, global_clipnorm, name, as for every optimizer.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> w = rv.Variable([1.0])
        >>> rv.optimizers.Adam(0.1).apply([rv.tensor([5.0])], [w])
        >>> w.numpy().round(3)
        array([0.9], dtype=float32)
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **common: Any,
    ):
        super().__init__(learning_rate, **common)
        who = type(self).__name__
        self.beta_1 = number(who, "beta_1", beta_1, 0, 1, below=True)
        self.beta_2 = number(who, "beta_2", beta_2, 0, 1, below=True)
        self.epsilon, self.amsgrad = number(who, "epsilon", epsilon, 0), bool(amsgrad)

    def slots(self) -> tuple[str, ...]:
        return ("m", "v", "h") if self.amsgrad else ("m", "v")

    def scalars(self, learning_rate: Tensor, step: Tensor) -> Any:
        return learning_rate * e.sqrt(_one_minus_power(self.beta_2, step)) / _one_minus_power(self.beta_1, step)

    def update(self, scalars: Any, w: Tensor, g: Tensor, *slots: Tensor) -> tuple[Tensor, ...]:
        alpha, (m, v) = scalars, slots[:2]
        m = m + (g - m) * (1 - self.beta_1)
        v = v + (g * g - v) * (1 - self.beta_2)
        if self.amsgrad:
            h = e.maximum(slots[2], v)
            return w - m * alpha / (e.sqrt(h) + self.epsilon), m, v, h
        return w - m * alpha / (e.sqrt(v) + self.epsilon), m, v


@register
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2017): first ``w -= w * weight_decay * lr``, then Adam.

    The rule, for each variable w with gradient g, at step t = 1, 2, ...::

        w = w - w * weight_decay * lr
        w = Adam's rule

    Args:
        learning_rate: a number above 0, or a schedule.
        weight_decay: share of the weights that a step with learning rate 1 takes away.
        beta_1: from 0 up to but without 1; the share of the old mean that is kept.
        beta_2: the same for the mean square.
        epsilon: keeps the divisor from 0.
        amsgrad: divide by the largest mean square so far.
        **common: clipnorm, clipvalue, global_clipnorm, name, as for every optimizer.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> w = rv.Variable([1.0])
        >>> rv.optimizers.AdamW(0.1, weight_decay=0.5).apply([rv.tensor([5.0])], [w])
        >>> w.numpy().round(3)
        array([0.85], dtype=float32)
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **common: Any,
    ):
        decay = number("AdamW", "weight_decay", weight_decay, 0)
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=decay, **common)
