"""Learning-rate schedules: the learning rate as a function of the number of steps done, written in ops.

A schedule is given to an optimizer in place of a number. It is computed inside the compiled step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ranvier import dtypes
from ranvier.errors import ArgumentError
from ranvier.layers.checks import number
from ranvier.layers.registry import Configurable, Registry
from ranvier.ops import elementwise as e
from ranvier.tensor import Tensor, as_tensor

__all__ = [
    "CosineDecay",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "get",
    "names",
    "register",
    "serialize",
]

registry = Registry("schedule", "ranvier.optimizers.schedules")
register, serialize, deserialize, names = registry.register, registry.serialize, registry.deserialize, registry.names


def get(identifier: Any) -> Any:
    """The schedule meant by a configuration or an object.

    Args:
        identifier: a :class:`LearningRateSchedule`, or what :func:`serialize` returned.

    Raises:
        ArgumentError: it means no schedule.
    """
    return registry.get(identifier, LearningRateSchedule)


class LearningRateSchedule(Configurable):
    """Base of all schedules: ``schedule(step)`` returns the learning rate of the step after ``step`` steps.

    A schedule of your own defines ``__call__(self, step)`` in ops.
    """

    registry = registry

    def __call__(self, step: Any) -> Tensor:
        """The learning rate.

        Args:
            step: how many steps have been done.
        """
        raise ArgumentError(f"{type(self).__name__}: define __call__(self, step) to return the learning rate.")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_config().items() if k != 'name')})"


def _turns(step: Any) -> Tensor:
    return e.astype(as_tensor(step), dtypes.float32)


def _power(base: float, exponent: Tensor) -> Tensor:
    return e.power(as_tensor(float(base)), exponent)


@register
class ExponentialDecay(LearningRateSchedule):
    """``initial_learning_rate * decay_rate ** (step / decay_steps)``.

    Args:
        initial_learning_rate: the learning rate of the first step, above 0.
        decay_steps: steps after which the rate is multiplied by ``decay_rate`` once, above 0.
        decay_rate: the factor, above 0.
        staircase: fall only at whole multiples of ``decay_steps``.
        name: a name, kept for Keras.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> from ranvier.optimizers import schedules
        >>> schedules.ExponentialDecay(0.5, 10, 0.5)(20).item()
        0.125
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ):
        who = "ExponentialDecay"
        self.initial_learning_rate = number(who, "initial_learning_rate", initial_learning_rate, 0, above=True)
        self.decay_steps = number(who, "decay_steps", decay_steps, 0, above=True)
        self.decay_rate = number(who, "decay_rate", decay_rate, 0, above=True)
        self.staircase, self.name = bool(staircase), name

    def __call__(self, step: Any) -> Tensor:
        p = _turns(step) / self.decay_steps
        return _power(self.decay_rate, e.floor(p) if self.staircase else p) * self.initial_learning_rate


@register
class InverseTimeDecay(LearningRateSchedule):
    """``initial_learning_rate / (1 + decay_rate * step / decay_steps)``.

    Args:
        initial_learning_rate: the learning rate of the first step, above 0.
        decay_steps: the unit in which steps are counted, above 0.
        decay_rate: how fast it falls, not negative.
        staircase: fall only at whole multiples of ``decay_steps``.
        name: a name, kept for Keras.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> from ranvier.optimizers import schedules
        >>> schedules.InverseTimeDecay(0.5, 10, 1.0)(10).item()
        0.25
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
    ):
        who = "InverseTimeDecay"
        self.initial_learning_rate = number(who, "initial_learning_rate", initial_learning_rate, 0, above=True)
        self.decay_steps = number(who, "decay_steps", decay_steps, 0, above=True)
        self.decay_rate = number(who, "decay_rate", decay_rate, 0)
        self.staircase, self.name = bool(staircase), name

    def __call__(self, step: Any) -> Tensor:
        p = _turns(step) / self.decay_steps
        return self.initial_learning_rate / ((e.floor(p) if self.staircase else p) * self.decay_rate + 1.0)


@register
class PolynomialDecay(LearningRateSchedule):
    """``(initial - end) * (1 - step / decay_steps) ** power + end``, and ``end`` after ``decay_steps``.

    Args:
        initial_learning_rate: the learning rate of the first step, above 0.
        decay_steps: the number of steps the fall takes, above 0.
        end_learning_rate: the learning rate at the end, not negative.
        power: 1 for a straight line.
        cycle: start again, from ever lower, with ``decay_steps`` taken to the next multiple above ``step``.
        name: a name, kept for Keras.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> from ranvier.optimizers import schedules
        >>> schedules.PolynomialDecay(1.0, 10, 0.0)(5).item()
        0.5
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ):
        who = "PolynomialDecay"
        self.initial_learning_rate = number(who, "initial_learning_rate", initial_learning_rate, 0, above=True)
        self.decay_steps = number(who, "decay_steps", decay_steps, 0, above=True)
        self.end_learning_rate = number(who, "end_learning_rate", end_learning_rate, 0)
        self.power = number(who, "power", power, 0, above=True)
        self.cycle, self.name = bool(cycle), name

    def __call__(self, step: Any) -> Tensor:
        t = _turns(step)
        if self.cycle:
            p = t / (e.maximum(e.ceil(t / self.decay_steps), 1.0) * self.decay_steps)
        else:
            p = e.minimum(t, self.decay_steps) / self.decay_steps
        left = 1.0 - p
        shape = left if self.power == 1 else e.power(left, as_tensor(float(self.power)))
        return shape * (self.initial_learning_rate - self.end_learning_rate) + self.end_learning_rate


@register
class CosineDecay(LearningRateSchedule):
    """Half a cosine from the initial learning rate down to ``alpha`` times it, after an optional straight warm-up.

    ``lr * ((1 - alpha) * (1 + cos(pi * step / decay_steps)) / 2 + alpha)``. With ``warmup_target`` the rate first rises
    from the initial one to the target in ``warmup_steps`` steps, and the cosine falls from there.

    Args:
        initial_learning_rate: the learning rate of the first step, not negative.
        decay_steps: the number of steps the fall takes, above 0.
        alpha: the share of the learning rate that remains, from 0.
        name: a name, kept for Keras.
        warmup_target: the learning rate at the end of the warm-up; None for no warm-up.
        warmup_steps: the number of steps the warm-up takes.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> from ranvier.optimizers import schedules
        >>> round(schedules.CosineDecay(1.0, 10)(5).item(), 6)
        0.5
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ):
        who, warm = "CosineDecay", warmup_target is not None
        self.initial_learning_rate = number(who, "initial_learning_rate", initial_learning_rate, 0, above=not warm)
        self.decay_steps = number(who, "decay_steps", decay_steps, 0, above=True)
        self.alpha, self.name = number(who, "alpha", alpha, 0), name
        self.warmup_target = number(who, "warmup_target", warmup_target, 0, above=True) if warm else None
        self.warmup_steps = number(who, "warmup_steps", warmup_steps, 0)

    def __call__(self, step: Any) -> Tensor:
        t = _turns(step)
        if self.warmup_target is None:
            return self._fall(e.minimum(t, self.decay_steps), self.initial_learning_rate)
        fall = self._fall(e.clip(t - self.warmup_steps, 0.0, self.decay_steps), self.warmup_target)
        if self.warmup_steps == 0:
            return fall
        slope = (self.warmup_target - self.initial_learning_rate) / self.warmup_steps
        return e.where(t < self.warmup_steps, t * slope + self.initial_learning_rate, fall)

    def _fall(self, t: Tensor, top: float) -> Tensor:
        cosine = (e.cos(t * (math.pi / self.decay_steps)) + 1.0) * 0.5
        return (cosine * (1 - self.alpha) + self.alpha) * top


@register
class PiecewiseConstantDecay(LearningRateSchedule):
    """``values[0]`` up to and with step ``boundaries[0]``, then ``values[1]``, and so on.

    Args:
        boundaries: rising numbers of steps.
        values: one learning rate more than there are boundaries.
        name: a name, kept for Keras.

    Raises:
        ArgumentError: lengths do not fit, boundaries do not rise, or a value is negative.

    Example:
        >>> from ranvier.optimizers import schedules
        >>> schedules.PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.25])(11).item()
        0.5
    """

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant"):
        who = "PiecewiseConstantDecay"
        self.boundaries = [number(who, "every boundary", b, 0) for b in boundaries]
        self.values = [number(who, "every value", v, 0) for v in values]
        self.name = name
        if len(self.values) != len(self.boundaries) + 1:
            raise ArgumentError(
                f"{who}: expected one value more than boundaries, got {len(self.values)} values and "
                f"{len(self.boundaries)} boundaries."
            )
        if any(a >= b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ArgumentError(f"{who}: expected boundaries that rise, got {self.boundaries}.")

    def __call__(self, step: Any) -> Tensor:
        t, out = _turns(step), as_tensor(float(self.values[0]))
        for boundary, value in zip(self.boundaries, self.values[1:], strict=True):
            out = e.where(t > boundary, value, out)
        return out
