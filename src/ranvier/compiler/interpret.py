"""The interpreter: runs a graph op by op on the NumPy reference. It defines what compiled code must compute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.compiler.graph import Graph, Value
from ranvier.compiler.window_reference import window, window_weights
from ranvier.dtypes import round_bfloat16
from ranvier.ops.table import TABLE

__all__ = ["evaluate", "run"]


def evaluate(v: Value, inputs: Sequence[Any]) -> Any:
    """The value of one node from the values of its inputs (a list of arrays for bundles of control ops)."""
    if v.op == "const":
        return v.attrs["value"]
    if v.op == "project":
        return inputs[0][v.attrs["index"]]
    if v.op in ("copy", "relayout"):
        return np.swapaxes(inputs[0], -1, -2) if v.attrs.get("transpose") else inputs[0]
    if v.op in _CONTROL:
        return _CONTROL[v.op](v, inputs)
    with np.errstate(all="ignore"):
        if v.op == "window":
            out = window(v.attrs["kind"], v.attrs["axes"], *inputs)
        elif v.op == "window_weights":
            out = window_weights(v.attrs["axes"], v.shape, *inputs)
        elif v.op == "contract":
            out = np.matmul(np.swapaxes(inputs[0], -1, -2) if v.attrs["ta"] else inputs[0], inputs[1])
        else:
            out = np.asarray(TABLE[v.op].reference(*inputs, **v.attrs))
    return round_bfloat16(out) if v.dtype is dtypes.bfloat16 else out


def run(graph: Graph, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The graph's outputs for its inputs (arguments, then variables)."""
    values: dict[int, Any] = {id(v): x for v, x in zip(graph.inputs, inputs, strict=True)}
    for v in graph.nodes():
        if id(v) not in values:
            values[id(v)] = evaluate(v, [values[id(i)] for i in v.inputs])
    return [values[id(v)] for v in graph.outputs]


def _scan(v: Value, inputs: Sequence[Any]) -> list[np.ndarray]:
    """Inputs: carries, sliced arrays, then constants. Outputs: last carries (or all their slots), stacked outputs."""
    body, carries, slices, turns = v.attrs["body"], v.attrs["carries"], v.attrs["slices"], v.attrs["turns"]
    slots, reverse = v.attrs.get("slots"), v.attrs["reverse"]
    carry, xs, constants = list(inputs[:carries]), inputs[carries : carries + slices], inputs[carries + slices :]
    stacked = [np.empty((turns, *o.shape), o.dtype.numpy) for o in body.outputs[carries:]]
    kept = [np.zeros((n, *o.shape), o.dtype.numpy) for n, o in zip(slots or (), body.outputs, strict=False)]
    for count, t in enumerate(reversed(range(turns)) if reverse else range(turns)):
        for whole, before in zip(kept, carry, strict=False):
            whole[slot(count, turns, len(whole), reverse)] = before
        out = run(body, [*carry, *(x[t] for x in xs), *constants])
        carry = out[:carries]
        for column, y in zip(stacked, out[carries:], strict=True):
            column[t] = y
    for whole, last in zip(kept, carry, strict=False):
        whole[slot(turns, turns, len(whole), reverse)] = last
    return [*(kept if slots else carry), *stacked]


def slot(turn: int, turns: int, slots: int, reverse: bool) -> int:
    """Which of its slots holds a scan's carry before a turn."""
    if slots == turns + 1:
        return turns - turn if reverse else turn
    return turn % 2


def _cond(v: Value, inputs: Sequence[Any]) -> list[np.ndarray]:
    return run(v.attrs["true" if inputs[0] else "false"], inputs[1:])


def _while(v: Value, inputs: Sequence[Any]) -> list[np.ndarray]:
    carries = v.attrs["carries"]
    carry, constants = list(inputs[:carries]), inputs[carries:]
    while bool(run(v.attrs["condition"], [*carry, *constants])[0]):
        carry = run(v.attrs["body"], [*carry, *constants])
    return carry


_CONTROL = {"scan": _scan, "cond": _cond, "while": _while}
