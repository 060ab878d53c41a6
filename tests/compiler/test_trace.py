"""Tracing: what a function did, as a graph, with its lines, layers and variables."""

from __future__ import annotations

import numpy as np
import pytest

import ranvier as rv
from ranvier.compiler.graph import Graph, verify
from ranvier.compiler.interpret import run
from ranvier.compiler.trace import trace
from ranvier.errors import ArgumentError, TraceError
from ranvier.ops.table import TABLE, apply, scope, state
from ranvier.tensor import Tensor

OPS = {name: op for name, op in TABLE.items() if op.family != "control"}


def made(function: object, *arguments: object) -> Graph:
    return trace([rv.asarray(a) for a in arguments], lambda symbols: function(*symbols))[0]  # type: ignore[operator]


def ops(graph: Graph) -> list[str]:
    return [v.op for v in graph.nodes()]


def test_a_function_becomes_its_ops() -> None:
    graph = made(lambda x, y: rv.tanh(x + y) * 2.0, np.ones((2, 3), np.float32), np.ones(3, np.float32))
    assert ops(graph) == ["input", "input", "add", "tanh", "const", "mul"]
    assert [(v.shape, str(v.dtype)) for v in graph.nodes()[2:4]] == [((2, 3), "float32")] * 2
    assert graph.arguments == graph.inputs and graph.results == graph.outputs


def test_every_node_knows_its_line_and_layer() -> None:
    def function(x: Tensor) -> Tensor:
        with scope("outer"), scope("inner"):
            y = rv.exp(x)
        return y * 2

    graph = made(function, np.ones(3))
    first = function.__code__.co_firstlineno
    nodes = {v.op: v for v in graph.nodes()}
    assert nodes["exp"].scope == "outer/inner" and nodes["mul"].scope == ""
    assert nodes["exp"].where == (__file__, first + 2) and nodes["mul"].where == (__file__, first + 3)


def test_concrete_tensors_are_constants_and_are_computed_at_once() -> None:
    table = rv.tensor([1.0, 2.0])
    graph = made(lambda x: x * rv.exp(table * 2), np.ones(2, np.float32))
    assert ops(graph) == ["input", "const", "mul"]
    np.testing.assert_array_equal(graph.nodes()[1].attrs["value"], np.exp(np.array([2, 4], np.float32)))


def test_variables_become_inputs_and_updates() -> None:
    a, b, unused = rv.Variable([1.0], "a"), rv.Variable([2.0], "b"), rv.Variable([3.0], "unused")

    def function(x: Tensor) -> Tensor:
        b.assign(a + x)
        b.assign(b * 2)  # reads the new value
        assert unused.name == "unused"
        return b + 1

    graph = made(function, np.ones(1, np.float32))
    assert [v.name for v in graph.variables] == ["a", "b"] and graph.updates == [1]
    assert len(graph.arguments) == 1 and len(graph.inputs) == 3 and len(graph.results) == 1
    x, a_now, b_now = np.array([10.0], np.float32), np.array([1.0], np.float32), np.array([7.0], np.float32)
    result, new = run(graph, [x, a_now, b_now])
    assert (result.item(), new.item()) == (23.0, 22.0)
    assert b.numpy().tolist() == [2.0], "tracing changes no variable"


def test_equal_traces_of_equal_functions() -> None:
    from ranvier.compiler.graph import format_graph

    def function(x: Tensor) -> object:
        return rv.grad(lambda t: rv.sum(rv.logsumexp(t * t, axis=1)))(x), {"b": x[0], "a": rv.max(x)}

    texts = {format_graph(made(function, np.ones((3, 4)))) for _ in range(3)}
    assert len(texts) == 1


@pytest.mark.parametrize("name", list(OPS))
def test_graphs_mean_what_ops_mean(name: str, rng: np.random.Generator) -> None:
    """Trace one op, verify its graph, interpret it: the same bits as eagerly."""
    op = OPS[name]
    low, high = op.domain
    given = op.samples(rng) if op.samples else [(tuple(rng.uniform(low, high, (3, 4)) for _ in range(op.arity)), {})]
    for arrays, attrs in given:
        if op.samples is None:
            kind = "float64" if "float" in op.kinds else "int64" if "int" in op.kinds else "bool"
            arrays = tuple(a.astype(kind) for a in arrays)
        inputs = tuple(rv.asarray(a) for a in arrays)
        graph = made(lambda *symbols, attrs=attrs: apply(op, symbols, attrs), *inputs)
        verify(graph)
        (found,) = run(graph, arrays)
        np.testing.assert_array_equal(found, apply(op, inputs, attrs).numpy(), strict=True)


def test_gradients_are_traced_ops() -> None:
    x = np.array([0.3, -1.2])
    graph = made(lambda t: rv.grad(lambda v: rv.sum(rv.sin(v) * v))(t), x)
    verify(graph)
    np.testing.assert_allclose(run(graph, [x])[0], np.cos(x) * x + np.sin(x), rtol=1e-15)
    graph = made(lambda t: rv.jvp(lambda v: v * v, [t], [t])[1], x)
    np.testing.assert_allclose(run(graph, [x])[0], 2 * x * x, rtol=1e-15)
    graph = made(lambda t: rv.hessian(lambda v: rv.sum(v**3))(t), x)
    np.testing.assert_allclose(run(graph, [x])[0], np.diag(6 * x), rtol=1e-15)


def test_no_grad_stops_traced_gradients() -> None:
    def function(x: Tensor) -> Tensor:
        with rv.no_grad():
            scale = rv.exp(x)
        return rv.sum(scale * x)

    x = np.array([0.5, 1.0])
    graph = made(lambda t: rv.grad(function)(t), x)
    np.testing.assert_allclose(run(graph, [x])[0], np.exp(x), rtol=1e-15)


def test_random_draws_advance_the_generator() -> None:
    g = rv.random.Generator(5)
    graph = made(lambda: (g.uniform((3,)), g.normal((2,))))
    first, second, new = run(graph, [np.array([5, 0])])
    assert new.tolist() == [5, 2]
    eager = rv.random.Generator(5)
    np.testing.assert_array_equal(first, eager.uniform((3,)).numpy())
    np.testing.assert_array_equal(second, eager.normal((2,)).numpy())


def test_a_long_function_does_not_overflow_the_stack() -> None:
    def function(x: Tensor) -> Tensor:
        for _ in range(20_000):
            x = rv.sin(x)
        return x

    graph = made(lambda x: rv.grad(function)(x), np.ones(()))
    assert len(graph.nodes()) > 20_000


# -- what cannot be traced ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function, text",
    [
        (lambda x: x if x > 0 else -x, r"bool\(tensor\) needs a concrete value.*rv\.where, rv\.cond or rv\.while_loop"),
        (lambda x: float(x), r"float\(tensor\) needs a concrete value"),
        (lambda x: x.numpy(), r"Tensor\.numpy\(\) needs a concrete value"),
        (lambda x: np.asarray(x), r"numpy\.asarray\(tensor\) needs a concrete value"),
        (lambda x: x.tolist(), r"Tensor\.tolist\(\) needs a concrete value"),
        (lambda x: list(range(rv.astype(x, "int32"))), "a tensor used as an index needs a concrete value"),
        (lambda x: rv.ones(3)[rv.reshape(x > 0, (1,))], "a boolean mask selects a number of elements"),
        (lambda x: np.from_dlpack(x), "DLPack export needs a concrete value"),
        (lambda x: x.__reduce__(), "copying a tensor needs a concrete value"),
    ],
)
def test_uses_of_unknown_values(function: object, text: str) -> None:
    with pytest.raises(TraceError, match=f"(?s){text}.*test_trace.py"):
        made(function, np.ones(()))
    assert state.trace is None, "an error leaves no trace behind"


def test_values_that_escape_are_found() -> None:
    kept: list[Tensor] = []
    made(lambda x: kept.append(x * 2) or x, np.ones(2))
    with pytest.raises(TraceError, match="exp: a traced tensor was used after its function had been compiled"):
        rv.exp(kept[0])
    with pytest.raises(
        TraceError, match=r"a traced tensor of shape \(2,\) from another compiled function is used here"
    ):
        made(lambda x: x + kept[0], np.ones(2))
    assert repr(kept[0]) == "Tensor(traced, shape=(2,), dtype=float64)"


def test_traces_do_not_nest() -> None:
    with pytest.raises(TraceError, match="cannot be traced inside another trace"):
        made(lambda x: made(lambda y: y, x), np.ones(2))
    with pytest.raises(ArgumentError, match="the initial value must be concrete"):
        made(lambda x: rv.Variable(x), np.ones(2))


def test_errors_while_tracing_restore_everything() -> None:
    w = rv.Variable([1.0])

    def function(x: Tensor) -> Tensor:
        rv.sum(w * x).backward()
        with rv.no_grad():
            raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        made(function, np.ones(1, np.float32))
    assert state.trace is None and state.recording and w.grad is None and (w * 2).requires_grad
