"""Traced control flow: loops and branches whose bodies are graphs of their own.

A body is traced once on symbols. What it uses from outside (tensors recorded before it, variables) is *captured*: it
becomes an input of the body. A loop or branch is one application of an op (``scan``, ``cond`` or ``while``), whose
value stands for all outputs together; each output is a *projection* of it. So its gradient, too, is asked for once,
with the cotangents of all outputs that have one (see :func:`_together`).

The gradient of a scan is a scan in the other direction over the carries that the first one had: each turn replays the
body and pulls the cotangents back through it. The record lists those carries as further outputs; unless a gradient
asks for them, they are never stored. What is replayed is the recording, never the Python function: by then the names
it uses may mean something else (``h = rv.cond(flag, lambda: h + 1, lambda: h)``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ranvier import autodiff, dtypes, tree
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
        self._pulled: dict[int, tuple[Tensor, list[Tensor | None]]] = {}
        self.pull: Callable[[dict[int, Tensor]], list[Tensor | None]] | None = None  # from cotangents by output
        self.again: Callable[[Sequence[Tensor], Node], list[Tensor]]  # the same op on other inputs

    def attrs(self) -> dict[str, Any]:
        """The attributes of the graph's node."""
        return dict(self._facts)

    def apply(self, op: Op, origin: Node | None) -> list[Tensor]:
        """A symbolic tensor for each output; ``origin`` is the node that is replayed, if one is."""
        where, scope = (user_line(4), state.scope) if origin is None else (origin.where, origin.scope)
        whole = Tensor._symbol((), dtypes.float32, Node(op, self.inputs, {"record": self}, where, scope, next(serials)))
        return [
            Tensor._symbol(
                shape, dtype, Node(PROJECT, (whole,), {"record": self, "index": i}, where, scope, next(serials))
            )
            for i, (shape, dtype) in enumerate(self.outputs)
        ]

    def cotangent(self, g: Tensor, of: int) -> Tensor | None:
        """The cotangent of input ``of`` from that of all outputs together; computed once for all inputs."""
        if id(g) not in self._pulled:
            if self.pull is None:
                raise GradientError(
                    "while_loop: a compiled loop of unknown length cannot be differentiated backwards. "
                    "Use rv.scan with a fixed length."
                )
            self._pulled[id(g)] = (g, self.pull(_apart(g)))  # g is kept so that its id stays its own
        return self._pulled[id(g)][1][of]


def _infer(inputs: Sequence[Tensor], record: _Record, index: int = -1) -> Aval:
    return Aval(*record.outputs[index]) if index >= 0 else Aval((), dtypes.float32)


def _unreachable(*arrays: Any, **attrs: Any) -> Any:
    raise AssertionError("control ops exist in traces only")


class _ControlOp(Op):
    """An op of many inputs whose gradient is asked of its record."""

    def __init__(self, name: str):
        super().__init__(name, _unreachable, _infer, family="control", arity=0, doc="Made by the compiler.")

    def vjp_rule(self, index: int) -> Callable[..., Any]:
        """The record pulls the cotangents of the outputs back to all inputs."""
        return lambda g, out, *inputs, record: record.cotangent(g, index)


def _together(g: Tensor, out: Tensor, whole: Tensor, record: _Record, index: int) -> Tensor:
    """The cotangent of one output as one of all outputs together: a symbol that only remembers it.

    Differentiation adds such symbols up like any others, and :func:`_apart` reads the sum.
    """
    node = Node(TOGETHER, (g,), {"record": record, "index": index}, serial=next(serials))
    return Tensor._symbol((), dtypes.float32, node)


def _apart(g: Tensor) -> dict[int, Tensor]:
    """The cotangent of each output that has one, from that of all outputs together."""
    found: dict[int, Tensor] = {}
    stack = [g]
    while stack:
        node = stack.pop()._node
        assert node is not None
        if node.op is TOGETHER:
            index, part = node.attrs["index"], node.inputs[0]
            found[index] = found[index] + part if index in found else part
        else:
            stack.extend(reversed(node.inputs))  # a sum
    return found


SCAN, COND, WHILE = (_ControlOp(name) for name in ("scan", "cond", "while"))
PROJECT = Op("project", _unreachable, _infer, (_together,), family="control", doc="Made by the compiler.")
TOGETHER = Op(
    "cotangents", _unreachable, _infer, family="control", no_gradient="it is gone before anything is differentiated",
    doc="Made by the differentiator.",
)  # fmt: skip


# -- bodies -------------------------------------------------------------------------------------------------------


def _trace_body(parent: Trace, function: Callable[..., Any], symbols: Sequence[Tensor]) -> tuple[Any, int]:
    """Call ``function`` inside a trace of its own; its result, and the serial number at which the body began."""
    start = next(serials)
    before, state.trace = state.trace, Trace(parent)
    try:
        return function(*symbols), start
    finally:
        state.trace = before


class _Body:
    """What a loop or a branch computes, as it was recorded.

    Attributes:
        outputs: its results.
        symbols: its arguments.
        captured: the tensors from outside that it uses.
    """

    def __init__(self, outputs: Sequence[Tensor], symbols: Sequence[Tensor], captured: Sequence[Tensor]):
        self.outputs, self.symbols, self.captured = list(outputs), list(symbols), list(captured)

    def graph(self, *more: Tensor) -> Graph:
        """The body as a graph, with ``more`` outputs."""
        return build_graph([*self.symbols, *self.captured], [*self.outputs, *more])

    def replay(self, values: Sequence[Tensor], outside: Sequence[Tensor]) -> list[Tensor]:
        """Its results for other arguments and other tensors from outside."""
        known = zip([*self.symbols, *self.captured], [*values, *outside], strict=True)
        return _replay(self.outputs, {id(t): new for t, new in known})


def _replay(outputs: Sequence[Tensor], made: dict[int, Tensor]) -> list[Tensor]:
    """Record again what the outputs were made by, from the tensors in ``made`` (iterative)."""
    records: dict[int, list[Tensor]] = {}
    stack = list(outputs)
    while stack:
        t = stack[-1]
        node: Any = t._node
        if id(t) in made or t._data is not None or node is None or node.op is None:
            made.setdefault(id(t), t)
            stack.pop()
            continue
        output = node.op is PROJECT
        if output:
            node = node.inputs[0]._node
        missing = [i for i in node.inputs if id(i) not in made]
        if missing:
            stack.extend(missing)
            continue
        stack.pop()
        inputs = tuple(made[id(i)] for i in node.inputs)
        if output:
            record = node.attrs["record"]
            if id(record) not in records:
                records[id(record)] = record.again(inputs, node)
            made[id(t)] = records[id(record)][t._node.attrs["index"]]  # type: ignore[union-attr]
            continue
        attrs = {**node.attrs, "rule": _moved_rule(node.attrs["rule"], made)} if "rule" in node.attrs else node.attrs
        again = Node(node.op, inputs, attrs, node.where, node.scope, next(serials))
        made[id(t)] = Tensor._symbol(t.shape, t.dtype, again)
    return [made[id(t)] for t in outputs]


def _moved_rule(rule: Callable[[Tensor], Any], made: dict[int, Tensor]) -> Callable[[Tensor], Any]:
    """A user's gradient rule, which may use what its forward pass computed, for the replayed forward pass."""

    def moved(g: Tensor) -> Any:
        found, structure = tree.flatten(rule(g))
        parts = [as_tensor(x) for x in found]
        return tree.unflatten(structure, _replay(parts, {**made, id(g): g}))

    return moved


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
    body = _Body(outputs, symbols, _captured(outputs, symbols, start))
    made = _scan(body, [*carry_leaves, *x_leaves, *body.captured], n, turns, reverse)
    return tree.unflatten(carry_structure, made[:n]), tree.unflatten(shapes[0], made[n : len(outputs)])


def _scan(
    body: _Body, inputs: Sequence[Tensor], n: int, turns: int, reverse: bool, origin: Node | None = None
) -> list[Tensor]:
    """The outputs of a scan with ``n`` carries: last carries, stacked results, stacked carries on entry."""
    entry = body.symbols[:n]
    avals = [(t.shape, t.dtype) for t in body.outputs[:n]]
    avals += [((turns, *t.shape), t.dtype) for t in [*body.outputs[n:], *entry]]
    record = _Record(
        avals, inputs, body=body.graph(*entry), carries=n, slices=len(body.symbols) - n, turns=turns, reverse=reverse
    )
    made = record.apply(SCAN, origin)
    record.pull = _scan_gradient(body, record, made, n, turns, reverse)
    record.again = lambda new, node: _scan(body, new, n, turns, reverse, node)
    return made


def _own(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Identities to differentiate by: a tensor and another made from it are then two separate inputs."""
    return [autodiff.alias(t) for t in tensors]


def _zeros(shape: tuple[int, ...], dtype: Any) -> Tensor:
    return Tensor._wrap(np.zeros(shape, dtype.numpy), dtype)


def _scan_gradient(
    body: _Body, record: _Record, made: list[Tensor], n: int, turns: int, reverse: bool
) -> Callable[[dict[int, Tensor]], list[Tensor | None]]:
    """The function that pulls the cotangents of the outputs back to all inputs by a scan the other way."""
    inputs, slices, ys = record.inputs, len(body.symbols) - n, len(body.outputs) - n
    outside = inputs[n + slices :]
    floating = [i for i, t in enumerate(inputs) if t.dtype.is_float]
    carried = [i for i in floating if i < n]
    sliced = [i for i in floating if n <= i < n + slices]
    constant = [i for i in floating if i >= n + slices]

    def pull(gs: dict[int, Tensor]) -> list[Tensor | None]:
        """The carries on entry are asked for by a second differentiation only."""
        found = [pull_outputs({i: g for i, g in gs.items() if i < n + ys})] if min(gs) < n + ys else []
        found += [pull_entry_carry(i - n - ys, g) for i, g in gs.items() if i >= n + ys]
        return [_total([f for f in column if f is not None]) for column in zip(*found, strict=True)]

    def pull_outputs(gs: dict[int, Tensor]) -> list[Tensor | None]:
        states = made[n + ys :]
        first = [gs[i] if i in gs else _zeros(inputs[i].shape, inputs[i].dtype) for i in carried]
        totals = [_zeros(inputs[i].shape, inputs[i].dtype) for i in constant]
        stacked = [i for i in gs if i >= n]

        def back(carry: Any, slice_: Any) -> Any:
            cotangents, sums = carry
            here, gys = slice_
            beyond = _own(outside)
            outputs = body.replay(here, beyond)
            wrt = [here[i] for i in carried + sliced] + [beyond[i - n - slices] for i in constant]
            chosen = [outputs[i] for i in carried + stacked]
            found = autodiff.gradients(chosen, wrt, [*cotangents, *gys], create_graph=True)
            found = [f if f is not None else _zeros(t.shape, t.dtype) for f, t in zip(found, wrt, strict=True)]
            after = len(carried) + len(sliced)
            new_sums = [s + f for s, f in zip(sums, found[after:], strict=True)]
            return (found[: len(carried)], new_sums), found[len(carried) : after]

        per_turn = [*states, *inputs[n : n + slices]]
        (left, sums), slopes = state.trace.scan(
            back, (first, totals), (per_turn, [gs[i] for i in stacked]), turns, not reverse
        )
        result: list[Tensor | None] = [None] * len(inputs)
        for i, value in zip([*carried, *sliced, *constant], [*left, *slopes, *sums], strict=True):
            result[i] = value
        return result

    def pull_entry_carry(which: int, g: Tensor) -> list[Tensor | None]:
        """As of a scan that returns the carry on entry as an ordinary output."""
        own = _own(inputs)

        def with_entry(carry: Any, x: Any) -> Any:
            outputs = body.replay([*carry, *x], own[n + slices :])
            return outputs[:n], [*outputs[n:], carry[which]]

        _, outputs = state.trace.scan(with_entry, own[:n], own[n : n + slices], turns, reverse)
        return autodiff.gradients([outputs[-1]], own, [g], create_graph=True)

    return pull


def _total(terms: Sequence[Tensor]) -> Tensor | None:
    total = None
    for t in terms:
        total = t if total is None else total + t
    return total


# -- cond ---------------------------------------------------------------------------------------------------------


def cond(parent: Trace, predicate: Tensor, true_function: Any, false_function: Any, operands: Any) -> Any:
    """Trace a branch; see :func:`ranvier.cond`."""
    leaves, structure = tree.flatten(operands)
    traced, structures = [], []
    for function in (true_function, false_function):
        symbols = _symbols(leaves)

        def flat(*values: Tensor, function: Any = function) -> list[Tensor]:
            out = function(*tree.unflatten(structure, values))
            structures.append(tree.flatten(out)[1])
            return _leaves(out)

        outputs, start = _trace_body(parent, flat, symbols)
        traced.append((outputs, symbols, _captured(outputs, symbols, start)))
    (yes, _, _), (no, _, _) = traced
    if structures[0] != structures[1] or [(t.shape, t.dtype) for t in yes] != [(t.shape, t.dtype) for t in no]:
        raise ShapeError(
            f"cond: both branches must return the same structure, shapes and dtypes; got "
            f"{[(t.shape, t.dtype.name) for t in yes]} and {[(t.shape, t.dtype.name) for t in no]}."
        )
    outside = list({id(t): t for _, _, captured in traced for t in captured}.values())
    branches = [_Body(outputs, symbols, outside) for outputs, symbols, _ in traced]
    return tree.unflatten(structures[0], _cond(branches, [predicate, *leaves, *outside]))


def _cond(branches: Sequence[_Body], inputs: Sequence[Tensor], origin: Node | None = None) -> list[Tensor]:
    """The outputs of a branch; the inputs are the predicate, the operands and the tensors from outside."""
    yes, no = branches
    record = _Record([(t.shape, t.dtype) for t in yes.outputs], inputs, true=yes.graph(), false=no.graph())
    made = record.apply(COND, origin)
    operands, outside = inputs[1 : 1 + len(yes.symbols)], inputs[1 + len(yes.symbols) :]
    floating = [i for i, t in enumerate(inputs) if t.dtype.is_float]

    def pull(gs: dict[int, Tensor]) -> list[Tensor | None]:
        def side(body: _Body) -> Any:
            def back(seeds: list[Tensor], *values: Tensor) -> list[Tensor]:
                beyond = _own(outside)
                chosen = [[*values, *beyond][i - 1] for i in floating]
                outputs = body.replay(values, beyond)
                found = autodiff.gradients([outputs[i] for i in gs], chosen, seeds, create_graph=True)
                return [f if f is not None else _zeros(t.shape, t.dtype) for f, t in zip(found, chosen, strict=True)]

            return back

        slopes = cond(state.trace, inputs[0], side(yes), side(no), (list(gs.values()), *operands))
        result: list[Tensor | None] = [None] * len(inputs)
        for i, value in zip(floating, slopes, strict=True):
            result[i] = value
        return result

    record.pull = pull
    record.again = lambda new, node: _cond(branches, new, node)
    return made


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
    bodies = _Body(outputs, symbols, outside), _Body(flags, tested, outside)
    return tree.unflatten(structure, _while(*bodies, [*leaves, *outside]))


def _while(body: _Body, condition: _Body, inputs: Sequence[Tensor], origin: Node | None = None) -> list[Tensor]:
    """The outputs of a loop of unknown length: the last carries."""
    avals = [(t.shape, t.dtype) for t in body.symbols]
    record = _Record(avals, inputs, carries=len(body.symbols), condition=condition.graph(), body=body.graph())
    record.again = lambda new, node: _while(body, condition, new, node)
    return record.apply(WHILE, origin)
