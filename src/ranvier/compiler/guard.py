"""Guards: checks of values that are only known while compiled code runs, reported when the call returns.

Compiled code cannot stop in the middle. What it can do is remember: a guard keeps the smallest and the largest index it
has seen in two variables, which the compiled function updates like any other. Whoever ran the function looks at them
afterwards (:meth:`Guard.report`) and raises the error that eager code would have raised at once. A training step also
asks :meth:`Guard.fine`, and changes nothing if the answer is no.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ranvier.ops import elementwise as e
from ranvier.ops import reduce as r
from ranvier.ops import shape as s
from ranvier.ops.table import no_grad, state
from ranvier.tensor import Tensor
from ranvier.variable import Variable

__all__ = ["Guard", "report"]


class Guard:
    """Keeps watch over indices into a range.

    Args:
        size: legal indices are ``0`` to ``size - 1``.
        error: makes the error for an index that is not.

    Attributes:
        size: as given.
        seen: the smallest and the largest index since the last report; 0 at first.
    """

    def __init__(self, size: int, error: Callable[[int], Exception]):
        self.size, self._error = size, error
        self.seen = tuple(Variable(np.int64(0), f"{name} index", trainable=False) for name in ("least", "greatest"))

    def checked(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """The indices, legal for certain, and where they were so from the start, if nobody else will say that.

        Where values are known, an illegal one is an error now; in a compiled function it is one after the run. Inside
        the body of a loop nothing can be remembered: there the caller must make the places that are not legal
        unmistakable, for example NaN.

        Args:
            index: int64.
        """
        if index.size == 0:
            return index, None
        if index._data is not None:
            low, high = int(index._data.min()), int(index._data.max())
            if low < 0 or high >= self.size:
                raise self._error(low if low < 0 else high)
            return index, None
        legal = e.clip(index, 0, self.size - 1)
        if state.trace.parent is not None:
            return legal, e.equal(index, legal)
        state.trace.guards[id(self)] = self
        with no_grad():
            flat = s.reshape(index, (index.size,))
            least, greatest = self.seen
            least.assign(e.minimum(least.value, r.min(flat)))
            greatest.assign(e.maximum(greatest.value, r.max(flat)))
        return legal, None

    def fine(self) -> Tensor:
        """Whether all indices so far were legal, as a tensor."""
        least, greatest = self.seen
        return e.logical_and(least.value >= 0, greatest.value < self.size)

    def report(self) -> None:
        """Raise the error if an illegal index was seen since the last report."""
        low, high = (int(v.numpy()) for v in self.seen)
        if low < 0 or high >= self.size:
            for v in self.seen:
                v.assign(0)
            raise self._error(low if low < 0 else high)


def report(guards: Sequence[Any]) -> None:
    """Let every guard of a function that has run say what it saw.

    Args:
        guards: the guards.
    """
    for guard in guards:
        guard.report()
