"""Control flow on tensors: ``scan``, ``cond`` and ``while_loop``.

Eagerly these are Python's own ``for``, ``if`` and ``while``, so their bodies are recorded op by op and differentiate
like any other code. Inside a compiled function, where values are not known yet, the body is traced once and the
compiler makes a loop or a branch of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ranvier import tree
from ranvier.errors import ArgumentError, ShapeError
from ranvier.ops import shape as s
from ranvier.ops.table import state
from ranvier.tensor import as_tensor

__all__ = ["cond", "scan", "while_loop"]


def _tensors(nest: Any) -> Any:
    leaves, structure = tree.flatten(nest)
    return tree.unflatten(structure, [as_tensor(x) for x in leaves])


def _traced(*nests: Any) -> bool:
    return state.trace is not None and any(
        as_tensor(x)._data is None for nest in nests for x in tree.flatten(nest)[0]
    )


def check_same(name: str, before: Any, after: Any) -> None:
    """A loop's carried values must keep their structure, shapes and dtypes."""
    old, old_structure = tree.flatten(before)
    new, new_structure = tree.flatten(after)
    if old_structure != new_structure:
        raise ShapeError(f"{name}: the body must return a carry of the structure it was given.")
    for a, b in zip(old, new, strict=True):
        b = as_tensor(b)
        if a.shape != b.shape or a.dtype is not b.dtype:
            raise ShapeError(
                f"{name}: the carry must keep its shape and dtype, but {a.shape} {a.dtype} became {b.shape} {b.dtype}."
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
        length: the number of turns; by default the first axis of ``xs``.
        reverse: go from the last slice to the first (outputs keep the order of ``xs``).

    Returns:
        The last carry, and the outputs stacked along a new first axis.

    Raises:
        ShapeError: lengths differ, or the carry changes its shape or dtype.

    Example:
        >>> import ranvier as rv
        >>> total, sums = rv.scan(lambda c, x: (c + x, c + x), rv.tensor(0.0), rv.tensor([1.0, 2.0, 3.0]))
        >>> total.item(), sums.tolist()
        (6.0, [1.0, 3.0, 6.0])
    """
    init, xs = _tensors(init), _tensors(xs)
    slices, structure = tree.flatten(xs)
    lengths = {t.shape[0] for t in slices if t.ndim} | ({length} if length is not None else set())
    if len(lengths) != 1 or any(t.ndim == 0 for t in slices):
        raise ShapeError(f"scan: expected one common length along the first axis, got {sorted(map(str, lengths)) or 'none'}.")
    turns = lengths.pop()
    if _traced(init, xs) or state.trace is not None:
        return state.trace.scan(function, init, xs, turns, reverse)
    carry, outputs = init, []
    for t in reversed(range(turns)) if reverse else range(turns):
        new, y = function(carry, tree.unflatten(structure, [x[t] for x in slices]))
        new = _tensors(new)
        check_same("scan", carry, new)
        carry = new
        outputs.append(_tensors(y))
    if not outputs:
        raise ArgumentError("scan: cannot run zero turns eagerly: the shape of the outputs is unknown.")
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

    Example:
        >>> import ranvier as rv
        >>> rv.cond(rv.tensor(True), lambda x: x + 1, lambda x: x - 1, rv.tensor(1.0)).item()
        2.0
    """
    p = as_tensor(predicate)
    if p.size != 1:
        raise ShapeError(f"cond: expected a single boolean, got shape {p.shape}.")
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
        ShapeError: the carry changes its shape or dtype.

    Example:
        >>> import ranvier as rv
        >>> rv.while_loop(lambda c: c < 100, lambda c: c * 2, rv.tensor(3)).item()
        192
    """
    carry = _tensors(init)
    if state.trace is not None and any(t._data is None for t in tree.flatten(carry)[0]):
        return state.trace.while_loop(condition, function, carry)
    while bool(as_tensor(condition(carry))):
        new = _tensors(function(carry))
        check_same("while_loop", carry, new)
        carry = new
    return carry


