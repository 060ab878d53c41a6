"""Regularizers: penalties on weights that are added to the loss, ``l1 * sum(|w|)`` and ``l2 * sum(w**2)``."""

from __future__ import annotations

from typing import Any

from ranvier.errors import ArgumentError
from ranvier.layers.checks import number
from ranvier.layers.registry import Configurable, Registry
from ranvier.ops import elementwise as e
from ranvier.ops import reduce as r
from ranvier.tensor import Tensor, as_tensor

__all__ = ["L1", "L1L2", "L2", "Regularizer", "deserialize", "get", "names", "register", "serialize"]

registry = Registry("regularizer", "ranvier.regularizers")
register, serialize, deserialize, names = registry.register, registry.serialize, registry.deserialize, registry.names


def get(identifier: Any) -> Any:
    """The regularizer meant by a name, a configuration, a class, an object or a function of one tensor.

    Args:
        identifier: for example ``"l2"`` or ``L2(1e-4)``; None gives None.

    Raises:
        ArgumentError: it means no regularizer.

    Example:
        >>> from ranvier import regularizers
        >>> regularizers.get("l2")
        L2(l2=0.01)
    """
    return None if identifier is None else registry.get(identifier)


class Regularizer(Configurable):
    """Base of all regularizers: ``regularizer(weight)`` returns a scalar."""

    registry = registry

    def __call__(self, x: Any) -> Tensor:
        """The penalty.

        Args:
            x: a weight.
        """
        raise ArgumentError(f"{type(self).__name__}: define __call__(self, x) to return the penalty as a scalar.")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_config().items())})"


@register
class L1(Regularizer):
    """``l1 * sum(|w|)``: drives single weights to 0.

    Args:
        l1: the factor, not negative.

    Raises:
        ArgumentError: the factor is negative or no number.

    Example:
        >>> from ranvier.regularizers import L1
        >>> L1(0.5)(rv.tensor([1.0, -3.0])).item()
        2.0
    """

    def __init__(self, l1: float = 0.01):
        self.l1 = float(number("L1", "l1", l1, 0))

    def __call__(self, x: Any) -> Tensor:
        return r.sum(e.abs(x)) * self.l1


@register
class L2(Regularizer):
    """``l2 * sum(w**2)``: keeps all weights small.

    Args:
        l2: the factor, not negative.

    Raises:
        ArgumentError: the factor is negative or no number.

    Example:
        >>> from ranvier.regularizers import L2
        >>> L2(0.5)(rv.tensor([1.0, -3.0])).item()
        5.0
    """

    def __init__(self, l2: float = 0.01):
        self.l2 = float(number("L2", "l2", l2, 0))

    def __call__(self, x: Any) -> Tensor:
        return r.sum(e.square(x)) * self.l2


@register("l1_l2")
class L1L2(Regularizer):
    """``l1 * sum(|w|) + l2 * sum(w**2)``.

    Args:
        l1: factor of the absolute values, not negative.
        l2: factor of the squares, not negative.

    Raises:
        ArgumentError: a factor is negative or no number.

    Example:
        >>> from ranvier.regularizers import L1L2
        >>> L1L2(0.5, 0.25)(rv.tensor([2.0])).item()
        2.0
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        self.l1, self.l2 = float(number("L1L2", "l1", l1, 0)), float(number("L1L2", "l2", l2, 0))

    def __call__(self, x: Any) -> Tensor:
        w = as_tensor(x)
        return r.sum(e.abs(w)) * self.l1 + r.sum(e.square(w)) * self.l2
