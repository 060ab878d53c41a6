"""Control flow on tensors: ``scan``, ``cond`` and ``while_loop``.

Eagerly these are Python's own ``for``, ``if`` and ``while``, so their bodies are recorded op by op and differentiate
like any other code. Inside a compiled function, where values are not known yet, the body is traced once and the
compiler makes a loop or a branch of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ranvier import dtypes, tree
from ranvier.errors import ArgumentError, DTypeError, ShapeError, describe
from ranvier.ops import shape as s
from ranvier.ops.table import state
from ranvier.tensor import Tensor, as_tensor

__all__ = ["cond", "scan", "while_loop"]


def _tensors(nest: Any) -> Any:
    leaves, structure = tree.flatten(nest)
    return tree.unflatten(structure, [as_tensor(x) for x in leaves])


def _single_boolean(name: str, value: Any) -> Tensor:
    p = as_tensor(value)
    if p.size != 1:
        raise ShapeError(f"{name}: expected a single boolean, got shape {p.shape}. Reduce it with rv.all or rv.any.")
    if p.dtype is not dtypes.bool_:
        raise DTypeError(f"{name}: expected a boolean, got {p.dtype}. Compare it, for example x > 0.")
    return p


def _turn(function: Callable[[Any, Any], Any], carry: Any, x: Any) -> tuple[Any, Any]:
    out = function(carry, x)
    if not isinstance(out, tuple | list) or len(out) != 2:
        raise ArgumentError(f"scan: expected the function to return (carry, output), got {describe(out)}.")
    return out[0], out[1]


def check_same(name: str, before: Any, after: Any) -> None:
    """A loop's carried values must keep their structure, shapes and dtypes."""
    old, old_structure = tree.flatten(before)
    new, new_structure = tree.flatten(after)
    if old_structure != new_structure:
        raise ShapeError(
            f"{name}: the structure must stay the same from turn to turn, but {len(old)} values became {len(new)}, or "
            "they are nested in another way."
        )
    for a, b in zip(old, new, strict=True):
        b = as_tensor(b)
        if a.shape != b.shape or a.dtype is not b.dtype:
            raise ShapeError(
                f"{name}: shape and dtype must stay the same from turn to turn, but {a.shape} {a.dtype} became "
                f"{b.shape} {b.dtype}."
            )


def scan(
    function: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any = None, length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """Loop over the first axis, carrying a state: ``carry, y = function(carry, x)``.

    Args:
        function: takes the carry and one slice of ``xs``; returns the next carry and one output (None for none).
        init: the first carry, a tensor or a nest.
        xs: what is looped over, a tensor or a nest of equal first axes; None with ``length``.
        length: the number of turns, at least 1; by default the first axis of ``xs``.
        reverse: go from the last slice to the first (outputs keep the order of ``xs``).

    Returns:
        The last carry, and the outputs stacked along a new first axis.

    Raises:
        ShapeError: lengths differ, or the carry or the outputs change their shape or dtype from turn to turn.
        ArgumentError: no turn at all, or the function does not return a pair.

    Example:
        >>> import ranvier as rv
        >>> total, sums = rv.scan(lambda c, x: (c + x, c + x), rv.tensor(0.0), rv.tensor([1.0, 2.0, 3.0]))
        >>> total.item(), sums.tolist()
        (6.0, [1.0, 3.0, 6.0])
    """
    init, xs = _tensors(init), _tensors(xs)
    slices, structure = tree.flatten(xs)
    if length is not None and (isinstance(length, bool) or not isinstance(length, int | np.integer) or length < 0):
        raise ArgumentError(f"scan: expected length to be a positive integer, got {describe(length)}.")
    lengths = {t.shape[0] for t in slices if t.ndim} | ({int(length)} if length is not None else set())
    if len(lengths) != 1 or any([t.ndim == 0 for t in slices]):
        found = ", ".join([str(t.shape) for t in slices]) or "no slices"
        given = "" if length is None else f" and {length=}"
        raise ShapeError(f"scan: expected one common length along the first axis, got {found}{given}.")
    (turns,) = lengths
    if turns == 0:
        raise ArgumentError("scan: expected at least one turn, got 0: the shape of the outputs would be unknown.")
    if state.trace is not None:
        return state.trace.scan(function, init, xs, turns, reverse)
    carry, outputs = init, []
    for t in reversed(range(turns)) if reverse else range(turns):
        new, y = _turn(function, carry, tree.unflatten(structure, [x[t] for x in slices]))
        check_same("scan", carry, new)
        carry = _tensors(new)
        outputs.append(_tensors(y))
        check_same("scan (outputs)", outputs[0], outputs[-1])
    if reverse:
        outputs.reverse()
    leaves = [tree.flatten(y)[0] for y in outputs]
    stacked = [s.stack(list(column)) for column in zip(*leaves, strict=True)]
    return carry, tree.unflatten(tree.flatten(outputs[0])[1], stacked)


def cond(predicate: Any, true_function: Callable[..., Any], false_function: Callable[..., Any], *operands: Any) -> Any:
    """``true_function(*operands)`` if the predicate holds, else ``false_function(*operands)``.

    Args:
        predicate: one boolean.
        true_function: taken if it is true.
        false_function: taken if it is false; returns the same structure, shapes and dtypes.
        *operands: arguments of both.

    Raises:
        ShapeError: the predicate is no scalar, or the branches differ (compiled).
        DTypeError: the predicate is not boolean.

    Example:
        >>> import ranvier as rv
        >>> rv.cond(rv.tensor(True), lambda x: x + 1, lambda x: x - 1, rv.tensor(1.0)).item()
        2.0
    """
    p = _single_boolean("cond", predicate)
    if p._data is None:
        return state.trace.cond(s.reshape(p, ()), true_function, false_function, _tensors(operands))
    return _tensors((true_function if bool(p) else false_function)(*operands))


def while_loop(condition: Callable[[Any], Any], function: Callable[[Any], Any], init: Any) -> Any:
    """Repeat ``carry = function(carry)`` while ``condition(carry)`` holds.

    Eagerly gradients flow through the turns that were taken. Compiled, the number of turns is not known beforehand,
    so asking for a gradient is an error: use :func:`scan`.

    Args:
        condition: from the carry to one boolean.
        function: from the carry to the next carry.
        init: the first carry, a tensor or a nest.

    Raises:
        ShapeError: the carry changes its shape or dtype, or the condition is no scalar.
        DTypeError: the condition is not boolean.

    Example:
        >>> import ranvier as rv
        >>> rv.while_loop(lambda c: c < 100, lambda c: c * 2, rv.tensor(3)).item()
        192
    """
    carry = _tensors(init)
    if state.trace is not None and any([t._data is None for t in tree.flatten(carry)[0]]):
        return state.trace.while_loop(condition, function, carry)
    while bool(_single_boolean("while_loop (condition)", condition(carry))):
        new = function(carry)
        check_same("while_loop", carry, new)
        carry = _tensors(new)
    return carry
