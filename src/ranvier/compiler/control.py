"""Traced control flow: loops and branches whose bodies are graphs of their own.

A body is traced once on symbols. What it uses from outside (tensors recorded before it, variables) is *captured*: it
becomes an input of the body. Every output of a loop is an application of one op (``scan``, ``cond`` or ``while``) to
the same inputs with the same record, so differentiation sees ordinary one-output ops.

The gradient of a scan is a scan in the other direction over the carries that the first one had: each turn replays the
body and pulls the cotangents back through it. The record lists those carries as further outputs; unless a gradient
asks for them, they are never stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ranvier import autodiff, tree
from ranvier.compiler.graph import Graph
from ranvier.compiler.trace import Trace, build_graph, placeholder, serials
from ranvier.errors import GradientError, ShapeError, user_line
from ranvier.ops.control import check_same
from ranvier.ops.table import Aval, Op, state
from ranvier.tensor import Node, Tensor, as_tensor

__all__ = ["cond", "scan", "while_loop"]


class _Record:
    """What all outputs of one control op share.

    Attributes:
        outputs: shape and dtype of each output.
        inputs: the tensors the op is applied to.
    """

    def __init__(self, outputs: Sequence[tuple[tuple[int, ...], Any]], inputs: Sequence[Tensor], **facts: Any):
        self.outputs, self.inputs, self._facts = list(outputs), tuple(inputs), facts
        self._pulled: dict[Any, Any] = {}
        self.pull: Callable[[int, Tensor], list[Tensor | None]] | None = None

    def attrs(self) -> dict[str, Any]:
        """The attributes of the graph's node."""
        return dict(self._facts)

    def apply(self, op: Op) -> list[Tensor]:
        """A symbolic tensor for each output."""
        where = user_line(3)
        return [
            Tensor._symbol(
                shape, dtype, Node(op, self.inputs, {"record": self, "index": i}, where, state.scope, next(serials))
            )
            for i, (shape, dtype) in enumerate(self.outputs)
        ]

    def cotangent(self, g: Tensor, index: int, of: int) -> Tensor | None:
        """The cotangent of input ``of`` from the cotangent of output ``index``; computed once for all inputs."""
        key = (id(g), index)
        if key not in self._pulled:
            if self.pull is None:
                raise GradientError(
                    "while_loop: a compiled loop of unknown length cannot be differentiated backwards. "
                    "Use rv.scan with a fixed length."
                )
            self._pulled[key] = (g, self.pull(index, g))  # g is kept so that its id stays its own
        return self._pulled[key][1][of]


def _infer(inputs: Sequence[Tensor], record: _Record, index: int) -> Aval:
    return Aval(*record.outputs[index])


def _unreachable(*arrays: Any, **attrs: Any) -> Any:
    raise AssertionError("control ops exist in traces only")


class _ControlOp(Op):
    """An op of many inputs whose gradient is asked of its record."""

    def __init__(self, name: str):
        super().__init__(name, _unreachable, _infer, family="control", arity=0, doc="Made by the compiler.")

    def vjp_rule(self, index: int) -> Callable[..., Any]:
        """The record pulls the cotangent of one output back to all inputs."""

        def rule(
            g: Tensor, out: Tensor, *inputs: Tensor, record: _Record, index: int, of: int = index
        ) -> Tensor | None:
            return record.cotangent(g, index, of)

        return rule


SCAN, COND, WHILE = (_ControlOp(name) for name in ("scan", "cond", "while"))


# -- bodies -------------------------------------------------------------------------------------------------------


def _trace_body(parent: Trace, function: Callable[..., Any], symbols: Sequence[Tensor]) -> tuple[Any, int]:
    """Call ``function`` inside a trace of its own; its result, and the serial number at which the body began."""
    start = next(serials)
    before, state.trace = state.trace, Trace(parent)
    try:
        return function(*symbols), start
    finally:
        state.trace = before


def _captured(outputs: Sequence[Tensor], symbols: Sequence[Tensor], start: int) -> list[Tensor]:
    """Symbolic tensors from outside that the body's outputs depend on."""
    known = {id(t) for t in symbols}
    found: dict[int, Tensor] = {}
    stack, seen = list(outputs), set()
    while stack:
        t = stack.pop()
        if t._data is not None or id(t) in seen or id(t) in known:
            continue
        seen.add(id(t))
        node = t._node
        if node.op is None or node.serial < start:  # type: ignore[union-attr]
            found[id(t)] = t
        else:
            stack.extend(node.inputs)  # type: ignore[union-attr]
    return list(found.values())


def _leaves(nest: Any) -> list[Tensor]:
    return [as_tensor(x) for x in tree.flatten(nest)[0]]


def _symbols(tensors: Sequence[Tensor], skip: int = 0) -> list[Tensor]:
    return [placeholder(t.shape[skip:], t.dtype) for t in tensors]


# -- scan ---------------------------------------------------------------------------------------------------------


def scan(parent: Trace, function: Callable[..., Any], init: Any, xs: Any, turns: int, reverse: bool) -> tuple[Any, Any]:
    """Trace a scan; see :func:`ranvier.scan`."""
    carry_leaves, carry_structure = tree.flatten(init)
    x_leaves, x_structure = tree.flatten(xs)
    symbols = _symbols(carry_leaves) + _symbols(x_leaves, 1)
    n = len(carry_leaves)
    shapes: list[Any] = []

    def flat(*values: Tensor) -> list[Tensor]:
        carry, y = function(tree.unflatten(carry_structure, values[:n]), tree.unflatten(x_structure, values[n:]))
        check_same("scan", tree.unflatten(carry_structure, values[:n]), carry)
        shapes[:] = [tree.flatten(y)[1]]
        return [*_leaves(carry), *_leaves(y)]

    outputs, start = _trace_body(parent, flat, symbols)
    captured = _captured(outputs, symbols, start)
    body = build_graph([*symbols, *captured], [*outputs, *symbols[:n]])
    avals = [(t.shape, t.dtype) for t in outputs[:n]]
    avals += [((turns, *t.shape), t.dtype) for t in [*outputs[n:], *symbols[:n]]]
    record = _Record(
        avals, [*carry_leaves, *x_leaves, *captured], body=body, carries=n, slices=len(x_leaves), turns=turns,
        reverse=reverse,
    )  # fmt: skip
    made = record.apply(SCAN)
    record.pull = _scan_gradient(flat, record, made, n, len(x_leaves), len(outputs) - n, turns, reverse)
    return tree.unflatten(carry_structure, made[:n]), tree.unflatten(shapes[0], made[n : len(outputs)])


def _zeros(shape: tuple[int, ...], dtype: Any) -> Tensor:
    return Tensor._wrap(np.zeros(shape, dtype.numpy), dtype)


def _scan_gradient(
    flat: Callable[..., list[Tensor]], record: _Record, made: list[Tensor], n: int, slices: int, ys: int, turns: int,
    reverse: bool,
) -> Callable[[int, Tensor], list[Tensor | None]]:  # fmt: skip
    """The function that pulls the cotangent of one output back to all inputs by a scan the other way."""
    inputs = record.inputs
    floating = [i for i, t in enumerate(inputs) if t.dtype.is_float]
    carried = [i for i in floating if i < n]
    sliced = [i for i in floating if n <= i < n + slices]
    constant = [i for i in floating if i >= n + slices]

    def pull(index: int, g: Tensor) -> list[Tensor | None]:
        if index >= n + ys:
            return _pull_entry_carry(index - n - ys, g)
        states = made[n + ys :]
        first = [g if i == index else _zeros(inputs[i].shape, inputs[i].dtype) for i in carried]
        totals = [_zeros(inputs[i].shape, inputs[i].dtype) for i in constant]

        def back(carry: Any, slice_: Any) -> Any:
            cotangents, sums = carry
            here, gy = slice_
            outputs = flat(*here)
            seeds, wrt = [], [here[i] for i in carried + sliced] + [inputs[i] for i in constant]
            chosen = []
            for i, c in zip(carried, cotangents, strict=True):
                chosen.append(outputs[i])
                seeds.append(c)
            if gy is not None:
                chosen.append(outputs[index])
                seeds.append(gy)
            found = autodiff.gradients(chosen, wrt, seeds, create_graph=True)
            found = [f if f is not None else _zeros(t.shape, t.dtype) for f, t in zip(found, wrt, strict=True)]
            after = len(carried) + len(sliced)
            new_sums = [s + f for s, f in zip(sums, found[after:], strict=True)]
            return (found[: len(carried)], new_sums), found[len(carried) : after]

        per_turn = [*states, *inputs[n : n + slices]]
        (left, sums), slopes = state.trace.scan(
            back, (first, totals), (per_turn, g if index >= n else None), turns, not reverse
        )
        result: list[Tensor | None] = [None] * len(inputs)
        for i, value in zip([*carried, *sliced, *constant], [*left, *slopes, *sums], strict=True):
            result[i] = value
        return result

    def _pull_entry_carry(which: int, g: Tensor) -> list[Tensor | None]:
        """Cotangents of the carries on entry, as a second differentiation asks for them: those of a scan that
        returns them as ordinary outputs.
        """

        def with_entry(carry: Any, x: Any) -> Any:
            outputs = flat(*carry, *x)
            return outputs[:n], [*outputs[n:], carry[which]]

        _, outputs = state.trace.scan(with_entry, list(inputs[:n]), list(inputs[n : n + slices]), turns, reverse)
        wrt = list(inputs)
        return autodiff.gradients([outputs[-1]], wrt, [g], create_graph=True)

    return pull


# -- cond ---------------------------------------------------------------------------------------------------------


def cond(parent: Trace, predicate: Tensor, true_function: Any, false_function: Any, operands: Any) -> Any:
    """Trace a branch; see :func:`ranvier.cond`."""
    leaves, structure = tree.flatten(operands)
    branches, structures = [], []
    for function in (true_function, false_function):
        symbols = _symbols(leaves)

        def flat(*values: Tensor, function: Any = function) -> list[Tensor]:
            out = function(*tree.unflatten(structure, values))
            structures.append(tree.flatten(out)[1])
            return _leaves(out)

        outputs, start = _trace_body(parent, flat, symbols)
        branches.append((flat, symbols, outputs, start))
    yes, no = branches[0][2], branches[1][2]
    if structures[0] != structures[1] or [(t.shape, t.dtype) for t in yes] != [(t.shape, t.dtype) for t in no]:
        raise ShapeError(
            f"cond: both branches must return the same structure, shapes and dtypes; got "
            f"{[(t.shape, t.dtype.name) for t in yes]} and {[(t.shape, t.dtype.name) for t in no]}."
        )
    captured = {id(t): t for _, symbols, outputs, start in branches for t in _captured(outputs, symbols, start)}
    outside = list(captured.values())
    graphs: list[Graph] = [build_graph([*symbols, *outside], outputs) for _, symbols, outputs, _ in branches]
    record = _Record([(t.shape, t.dtype) for t in yes], [predicate, *leaves, *outside], true=graphs[0], false=graphs[1])
    made = record.apply(COND)
    flats = (branches[0][0], branches[1][0])

    def pull(index: int, g: Tensor) -> list[Tensor | None]:
        floating = [i for i, t in enumerate(record.inputs) if t.dtype.is_float]

        def side(flat: Any) -> Any:
            def back(g: Tensor, *values: Tensor) -> list[Tensor]:
                wrt = [*values, *outside]
                chosen = [wrt[i - 1] for i in floating]
                found = autodiff.gradients([flat(*values)[index]], chosen, [g], create_graph=True)
                return [f if f is not None else _zeros(t.shape, t.dtype) for f, t in zip(found, chosen, strict=True)]

            return back

        slopes = cond(state.trace, predicate, side(flats[0]), side(flats[1]), (g, *leaves))
        result: list[Tensor | None] = [None] * len(record.inputs)
        for i, value in zip(floating, slopes, strict=True):
            result[i] = value
        return result

    record.pull = pull
    return tree.unflatten(structures[0], made)


# -- while --------------------------------------------------------------------------------------------------------


def while_loop(parent: Trace, condition: Callable[[Any], Any], function: Callable[[Any], Any], init: Any) -> Any:
    """Trace a loop of unknown length; see :func:`ranvier.while_loop`."""
    leaves, structure = tree.flatten(init)
    symbols, tested = _symbols(leaves), _symbols(leaves)

    def flat(*values: Tensor) -> list[Tensor]:
        carry = tree.unflatten(structure, values)
        new = function(carry)
        check_same("while_loop", carry, new)
        return _leaves(new)

    def test(*values: Tensor) -> list[Tensor]:
        flag = as_tensor(condition(tree.unflatten(structure, values)))
        if flag.size != 1 or flag.dtype.name != "bool":
            raise ShapeError(f"while_loop: the condition must be a single boolean, got {flag.shape} {flag.dtype}.")
        return [flag]

    outputs, start = _trace_body(parent, flat, symbols)
    flags, test_start = _trace_body(parent, test, tested)
    captured = {id(t): t for t in _captured(outputs, symbols, start)}
    captured |= {id(t): t for t in _captured(flags, tested, test_start)}
    outside = list(captured.values())
    record = _Record(
        [(t.shape, t.dtype) for t in leaves], [*leaves, *outside], carries=len(leaves),
        condition=build_graph([*tested, *outside], flags), body=build_graph([*symbols, *outside], outputs),
    )  # fmt: skip
    return tree.unflatten(structure, record.apply(WHILE))
