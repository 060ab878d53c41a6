"""The graph: its printed grammar, and a verifier that rejects one malformed program for each of its rules."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

import ranvier as rv
from ranvier import dtypes
from ranvier.compiler.graph import COMPILER_OPS, Graph, Value, constant, format_graph, verify, with_inputs
from ranvier.compiler.trace import trace
from ranvier.errors import InternalError
from ranvier.ops.table import TABLE, scope
from ranvier.tensor import Tensor

F32, F64, I64 = dtypes.float32, dtypes.float64, dtypes.int64


def made(function: Callable[..., object], *arguments: object) -> Graph:
    """The graph of a function."""
    return trace([rv.asarray(a) for a in arguments], lambda symbols: function(*symbols))[0]


def argument(*shape: int, dtype: dtypes.DType = F32) -> Value:
    return Value("input", (), {}, shape, dtype)


# -- printing -----------------------------------------------------------------------------------------------------

REF = r"%\d+"
NODE = rf"{REF}: [a-z]+\d*\[[\d, ]*\] = [a-z_0-9]+\(({REF}(, {REF})*)?\)( .*)?"
RETURN = rf"return ({REF}(, {REF})*)?"
UPDATE = rf"update \S+ = {REF}"


def test_printed_graphs_follow_the_grammar() -> None:
    w = rv.Variable(np.ones((3, 2)), name="w", dtype="float32")

    def step(x: Tensor) -> Tensor:
        with scope("dense"):
            y = rv.tanh(x @ w + 0.5)
        w.assign(w - 0.1 * rv.sum(y))
        return rv.mean(y, axis=0)

    graph = made(step, np.ones((4, 3), np.float32))
    text = format_graph(graph)
    lines = text.splitlines()
    kinds = [
        next(n for n, p in (("node", NODE), ("return", RETURN), ("update", UPDATE)) if re.fullmatch(p, s))
        for s in lines
    ]
    assert kinds == ["node"] * (len(lines) - 2) + ["return", "update"]
    defined: set[str] = set()
    for line in lines:
        used = re.findall(REF, line.split("=", 1)[1] if "=" in line else line)
        assert set(used) <= defined, "every node is defined before its users"
        if re.fullmatch(NODE, line):
            name = line.split(":")[0]
            assert name not in defined, "and once"
            defined.add(name)
    assert "update w = " in text and "# dense test_graph.py:" in text and "matmul(" in text
    verify(graph)


def test_nodes_come_before_their_users_however_deep() -> None:
    v = first = argument(2)
    for _ in range(100_000):
        v = Value("neg", [v], {}, (2,), F32)
    graph = Graph([first], [v])
    order = graph.nodes()
    assert len(order) == 100_001 and order[0] is first and order[-1] is v
    assert len(graph.rewrite(lambda v, inputs: with_inputs(v, inputs)).nodes()) == 100_001


def test_rewriting_keeps_what_does_not_change() -> None:
    graph = made(lambda x: rv.exp(x) + rv.exp(x) * 2, np.ones(3, np.float32))
    again = graph.rewrite(lambda v, inputs: with_inputs(v, inputs))
    assert again.outputs[0] is graph.outputs[0] and again.inputs == graph.inputs
    swapped = graph.rewrite(lambda v, inputs: v.like("neg", inputs, {}) if v.op == "exp" else with_inputs(v, inputs))
    assert [v.op for v in swapped.nodes()].count("neg") == 2
    verify(swapped)


# -- verifying ------------------------------------------------------------------------------------------------------


def test_traced_graphs_are_right() -> None:
    w = rv.Variable([1.0, 2.0])

    def step(x: Tensor) -> object:
        value, (slope,) = rv.value_and_grad(lambda: rv.sum(rv.sigmoid(x * w) ** 2), wrt=[w])()
        w.assign(w - slope)
        total, _ = rv.scan(lambda c, s: (rv.cond(s > 0, lambda: c + s, lambda: c), None), rv.tensor(0.0), x)
        return value, total, rv.while_loop(lambda c: c < 10, lambda c: c * 2, total)

    verify(made(step, np.ones(2, np.float32)))


def _stray() -> Graph:
    return Graph([argument(2)], [argument(2)])


def _unknown() -> Graph:
    x = argument(2)
    return Graph([x], [Value("frobnicate", [x], {}, (2,), F32, ("/home/user/model.py", 7))])


def _arity() -> Graph:
    x = argument(2)
    return Graph([x], [Value("add", [x], {}, (2,), F32)])


def _wrong_shape() -> Graph:
    x, y = argument(2, 3), argument(3)
    return Graph([x, y], [Value("add", [x, y], {}, (2,), F32)])


def _wrong_dtype() -> Graph:
    x = argument(2)
    return Graph([x], [Value("less", [x, x], {}, (2,), F32)])


def _refused() -> Graph:
    x, y = argument(2, 3), argument(4, 3)
    return Graph([x, y], [Value("matmul", [x, y], {}, (2, 3), F32)])


def _refused_dtype() -> Graph:
    x = argument(2, dtype=I64)
    return Graph([x], [Value("exp", [x], {}, (2,), I64)])


def _missing_attribute() -> Graph:
    x = argument(2)
    return Graph([x], [Value("reshape", [x], {}, (2,), F32)])


def _reshaped() -> Graph:
    x = argument(2, 3)
    return Graph([x], [Value("reshape", [x], {"shape": (5,)}, (5,), F32)])


def _constant() -> Graph:
    return Graph([], [Value("const", (), {"value": np.ones(3, np.float32)}, (2,), F32)])


def _constant_dtype() -> Graph:
    return Graph([], [Value("const", (), {"value": np.ones(2)}, (2,), F32)])


def _no_constant() -> Graph:
    return Graph([], [Value("const", (), {}, (), F32)])


def _copy() -> Graph:
    x = argument(2)
    return Graph([x], [Value("copy", [x], {}, (3,), F32)])


def _relayout() -> Graph:
    x = argument(2, 3)
    return Graph([x], [Value("relayout", [x], {"transpose": True}, (2, 3), F32)])


def _contract() -> Graph:
    x, y = argument(2, 3), argument(2, 4)
    return Graph([x, y], [Value("contract", [x, y], {"ta": False}, (2, 4), F32)])


def _contract_result() -> Graph:
    x, y = argument(2, 3), argument(2, 4)
    return Graph([x, y], [Value("contract", [x, y], {"ta": True}, (2, 4), F32)])


def _contract_inputs() -> Graph:
    x = argument(2, 2)
    return Graph([x], [Value("contract", [x], {"ta": True}, (2, 2), F32)])


def _projection() -> Graph:
    x = argument(2)
    return Graph([x], [Value("project", [x], {"index": 0}, (2,), F32)])


def _body() -> Graph:
    x, inner = argument(4), argument()
    body = Graph([inner], [Value("add", [inner], {}, (), F32)])
    loop = Value("scan", [x], {"body": body, "carries": 0, "slices": 1, "turns": 4, "reverse": False}, (), F32)
    return Graph([x], [Value("project", [loop], {"index": 0}, (4,), F32)])


def _loop(outer: Value, inner: Value, out: Value, shape: tuple[int, ...], carries: int = 0, index: int = 0) -> Graph:
    attrs = {"body": Graph([inner], [out]), "carries": carries, "slices": 1 - carries, "turns": 4, "reverse": False}
    loop = Value("scan", [outer], attrs, (), F32)
    return Graph([outer], [Value("project", [loop], {"index": index}, shape, F32)])


def _slices() -> Graph:
    return _loop(argument(3), inner := argument(), inner, (4,))


def _carry() -> Graph:
    return _loop(argument(2), inner := argument(2), inner.like("reduce_sum", [inner], {"axes": (0,)}, shape=()), (), 1)


def _stack() -> Graph:
    return _loop(argument(4), inner := argument(), inner, (3,))


def _output() -> Graph:
    return _loop(argument(4), inner := argument(), inner, (4,), index=1)


def _inputs() -> Graph:
    graph = _loop(argument(4), inner := argument(), inner, (4,))
    graph.outputs[0].inputs[0].inputs = ()
    return graph


def _update() -> Graph:
    x = argument(3)
    return Graph([x], [x], [], [0])


def _update_shape() -> Graph:
    w, x = argument(2), argument(3)
    return Graph([x, w], [x], [rv.Variable([1.0, 2.0], name="w")], [0])


MALFORMED = [
    (_stray, r"an input that the graph does not list: <input float32\[2\]>"),
    (_unknown, r"an unknown op: <frobnicate float32\[2\]> reading \['<input float.* from /home/user/model.py:7"),
    (_arity, "expected 2 inputs: <add"),
    (_wrong_shape, r"its rule gives float32\[2, 3\]: <add float32\[2\]>"),
    (_wrong_dtype, r"its rule gives bool\[2\]: <less"),
    (_refused, r"its rule refuses it \(matmul: shapes"),
    (_refused_dtype, r"its rule refuses it \(exp: expected floating input, got int64"),
    (_missing_attribute, "its rule refuses it .*missing 1 required positional argument: 'shape'"),
    (_reshaped, r"its rule refuses it \(reshape: cannot turn"),
    (_constant, "a const whose value has another shape or dtype"),
    (_constant_dtype, "a const whose value has another shape or dtype"),
    (_no_constant, "a const whose value has another shape or dtype"),
    (_copy, r"expected float32\[2\]: <copy float32\[3\]>"),
    (_relayout, r"expected float32\[3, 2\]: <relayout"),
    (_contract, r"a product of shapes \[2, 3\] and \[2, 4\]: <contract"),
    (_contract_result, r"expected float32\[3, 4\]: <contract"),
    (_contract_inputs, "expected 2 inputs: <contract"),
    (_projection, "a projection of what is no loop or branch"),
    (_body, "in a body of scan: expected 2 inputs: <add"),
    (_slices, r"expected input 0 to be float32\[4\]: <scan"),
    (_carry, r"a carry of float32\[2\] becomes float32\[\]: <scan"),
    (_stack, r"expected float32\[4\]: <project float32\[3\]>"),
    (_output, "there is no output 1: <project"),
    (_inputs, "a body of 1 inputs and 1 outputs for 4 turns: <scan"),
    (_update, r"updates \[0\] name no variable"),
    (_update_shape, r"updates variable 'w' of float32\[2\]: <input float32\[3\]>"),
]  # fmt: skip


@pytest.mark.parametrize("build, text", MALFORMED, ids=[build.__name__ for build, _ in MALFORMED])
def test_malformed_programs_are_rejected(build: Callable[[], Graph], text: str) -> None:
    with pytest.raises(InternalError, match=f"(?s)graph after some pass.*{text}"):
        verify(build(), "some pass")


def test_the_verifier_runs_after_every_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    from ranvier.compiler import pipeline

    def broken(graph: Graph) -> Graph:
        return graph.rewrite(lambda v, inputs: v.like(v.op, inputs, v.attrs, shape=(9,)) if v.op == "exp" else v)

    monkeypatch.setattr(pipeline, "simplify", broken)
    with pytest.raises(InternalError, match=r"graph after simplify: its rule gives float32\[3\]: <exp float32\[9\]>"):
        rv.jit(lambda x: rv.exp(x))(rv.ones(3))


def test_every_op_is_known_or_the_compilers_own() -> None:
    assert not COMPILER_OPS & {name for name, op in TABLE.items() if op.family != "control"}


def test_constants_carry_their_origin() -> None:
    like = Value("neg", [argument()], {}, (), F32, ("model.py", 3), "dense")
    c = constant(np.ones(2), F64, like)
    assert (c.where, c.scope, c.shape, c.dtype, c.ndim, c.size) == (("model.py", 3), "dense", (2,), F64, 1, 2)
