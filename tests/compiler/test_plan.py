"""Plans: no two live values share memory, variables are updated in place where that is safe, and order is respected."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import ranvier as rv
from ranvier.compiler.graph import Value
from ranvier.compiler.kernel import Control, Kernel
from ranvier.compiler.plan import Plan, nbytes, reads, writes
from ranvier.compiler.views import view

from . import mlp
from .programs import Program


def plan_of(function, *arguments) -> Plan:
    return rv.jit(function).specialise(*arguments)[0].executor.plan


def root(v: Value) -> Value:
    return v if v.layout else view(v).root


def clashes(plan: Plan) -> list[str]:
    """Values that are written over while somebody still wants them; a step may write over what it reads in place."""
    places, steps = plan.places, plan.steps
    last: dict[int, int] = {id(root(v)): len(steps) for v in plan.graph.results}
    for i, step in enumerate(steps):
        for v in reads(step):
            last[id(v)] = max(last.get(id(v), i), i)
    found = []
    first = len(plan.graph.inputs) - len(plan.graph.variables)
    new = {id(v): i for i, v in zip(plan.graph.updates, plan.graph.outputs[len(plan.graph.results) :], strict=True)}
    alive: dict[int, Value] = {id(v): v for v in [*plan.graph.inputs, *plan.constants]}
    for i, step in enumerate(steps):
        inplace = step.inplace if isinstance(step, Kernel) else frozenset()
        for v in writes(step):
            for x in list(alive.values()):
                same = places.get(id(x)) and places.get(id(v)) and overlap(places[id(x)], places[id(v)])
                if x is v or not same:
                    continue
                if last.get(id(x), -1) > i or (last.get(id(x), -1) == i and not allowed(step, x, v, inplace)):
                    found.append(f"step {i} writes {v!r} over {x!r}, read until step {last[id(x)]}")
                del alive[id(x)]
        for v in writes(step):
            alive[id(v)] = v
    for v, index in ((v, new[id(v)]) for v in plan.graph.outputs if id(v) in new):
        if places[id(v)].kind == "variable" and places[id(v)].index != index:
            found.append(f"{v!r} lies in another variable")
    assert all(places[id(v)].kind == "variable" for v in plan.graph.inputs[first:])
    return found


def overlap(a, b) -> bool:
    if a.kind != b.kind:
        return False
    return a.index < b.index + b.nbytes and b.index < a.index + a.nbytes if a.kind == "arena" else a.index == b.index


def allowed(step, x: Value, v: Value, inplace) -> bool:
    return x not in reads(step) or (id(x), id(v)) in inplace


def plans_inside(plan: Plan) -> list[Plan]:
    inner = [p for s in plan.steps if isinstance(s, Control) for p in s.plans]
    return [plan, *(q for p in inner for q in plans_inside(p))]


@pytest.mark.parametrize("seed", range(2000, 2040))
def test_live_values_do_not_share_memory(seed):
    program = Program(seed, smooth=seed % 4 == 0)
    variables = program.variables()
    plan = plan_of(program.function(variables), *program.arguments)
    assert [c for p in plans_inside(plan) for c in clashes(p)] == []


def test_the_check_sees(rng):
    plan = plan_of(lambda x: rv.sum(rv.exp(x) @ rv.tanh(x), axis=0) @ rv.sin(x), rng.normal(size=(20, 20)))
    assert clashes(plan) == []
    arena = [i for i, p in plan.places.items() if p.kind == "arena"]
    for i in arena:
        plan.places[i] = dataclasses.replace(plan.places[i], index=0)
    assert clashes(plan) != []


# -- updates ------------------------------------------------------------------------------------------------------


def copies(plan: Plan) -> list[Value]:
    """Variables whose new value is copied into them after all."""
    inputs = {id(v) for v in plan.graph.inputs}
    return [v for s in plan.steps for v in writes(s) if id(v) in inputs]


@pytest.mark.parametrize("sizes", [(64, 32, 10), (784, 512, 256, 10), (30, 16, 1)])
def test_a_training_step_copies_no_weights(sizes):
    net = mlp.Net(sizes)
    plan = plan_of(net.step, *mlp.batch(sizes, 16))
    large = [v for v in copies(plan) if v.size > 1]
    assert large == [], "weights, means and slots are updated in their own memory"


def test_updates_in_place_and_not(rng):
    a, b = (rv.Variable(rng.normal(size=(6, 6)).astype("f")) for _ in range(2))

    def counted(function) -> int:
        return len(copies(plan_of(function)))

    assert counted(lambda: a.assign(a * 2 + b)) == 0
    assert counted(lambda: a.assign(rv.transpose(b) * 2)) == 0
    assert counted(lambda: a.assign(rv.transpose(a.value))) == 1, "other elements are still to be read"
    assert counted(lambda: a.assign(a + a[:1])) == 1
    assert counted(lambda: a.assign(rv.take(a.value, np.arange(6)[::-1], 0))) == 1
    assert counted(lambda: [a.assign(a * 2), b.assign(b + a)]) == 0
    assert counted(lambda: [a.assign(b * 2), b.assign(b + 1)]) == 0, "the update of b waits for its reader"

    def exchange():
        x, y = a.value, b.value
        a.assign(y * 2)
        b.assign(x * 3)

    assert counted(exchange) == 1

    def shared():
        y = a + b
        a.assign(y)
        b.assign(y)

    assert counted(shared) == 1


def test_readers_come_before_the_update(rng):
    """A reader that was recorded after the update's kernel still sees the old value."""
    v = rv.Variable(np.arange(4.0))
    kept = rng.normal(size=(4, 4))

    @rv.jit
    def f(x):
        old = v.value
        v.assign(old * 2)
        return rv.matmul(x, old), rv.sum(old), old[::-1]

    for _ in range(3):
        old = v.numpy()
        a, b, c = f(kept)
        np.testing.assert_allclose(a.numpy(), kept @ old)
        assert b.item() == old.sum()
        np.testing.assert_array_equal(c.numpy(), old[::-1])
        np.testing.assert_array_equal(v.numpy(), old * 2)


def test_values_made_in_parts_do_not_outlast_their_parts(rng):
    """The zeros around a padded argument depend on nothing, but what uses the padded value depends on the argument."""
    weight, bias = rv.Variable(rng.normal(size=(4, 3))), rv.Variable(rng.normal(size=3))

    @rv.jit
    def f(x):
        return rv.pad(x, ((5, 5), (0, 0))) @ weight + bias

    for _ in range(3):
        x = rng.normal(size=(2, 4))
        want = np.pad(x, ((5, 5), (0, 0))) @ weight.numpy() + bias.numpy()
        np.testing.assert_allclose(f(x).numpy(), want, rtol=1e-12, atol=1e-12)
        bias.assign(rng.normal(size=3))


# -- memory -------------------------------------------------------------------------------------------------------


def test_a_chain_reuses_its_memory(rng):
    x = rng.normal(size=(64, 64)).astype("f")

    def chain(x, length):
        for _ in range(length):
            x = rv.tanh(x @ x)
        return x

    short, long = (plan_of(lambda x, n=n: chain(x, n), x).arena for n in (4, 40))
    assert long <= short * 1.01
    assert long <= 4 * 64 * 64 * 4 + 4096


def test_sizes(rng):
    plan = plan_of(lambda x: rv.exp(x) @ rv.tanh(x), rng.normal(size=(33, 33)).astype("f"))
    for v in plan.keep:
        place = plan.places.get(id(v))
        assert place is None or place.nbytes == nbytes(v) >= v.size * v.dtype.itemsize
    assert plan.flops > 2 * 33**3
    assert plan.bytes > 3 * 33 * 33 * 4


def test_a_plan_keeps_its_values_alive(rng):
    """Places are known by id, so no value of a plan may be collected and its id used again."""
    plan = plan_of(lambda x: rv.sum(rv.exp(x) * 2), rng.normal(size=(5, 5)))
    assert set(plan.places) <= {id(v) for v in (*plan.keep, *plan.constants, *plan.graph.nodes())}


def test_the_border_of_a_padded_value_stays_zero_run_after_run(rng):
    """The zeros around it are written once; nothing may share or take over that memory."""
    state = rv.Variable(np.full((6, 6), 7.0, np.float32), name="state")

    def f(x):
        padded = rv.pad(x, ((1, 1), (1, 1)))
        state.assign(rv.pad(x * 2.0, ((1, 1), (1, 1))))
        return rv.exp(padded), rv.exp(rv.pad(x + 1.0, ((2, 0), (0, 2)))) * 2.0

    step = rv.jit(f)
    for _ in range(3):
        x = rng.standard_normal((4, 4)).astype(np.float32)
        first, second = step(x)
        np.testing.assert_allclose(first.numpy(), np.exp(np.pad(x, 1)), rtol=1e-6)
        np.testing.assert_allclose(second.numpy(), 2 * np.exp(np.pad(x + 1, ((2, 0), (0, 2)))), rtol=1e-6)
        np.testing.assert_array_equal(state.numpy(), np.pad(2 * x, 1))


def test_what_depends_on_weights_alone_runs_again_only_when_they_change(rng):
    """Packed weights last from call to call; every way of changing a weight is seen."""
    w = rv.Variable(rng.standard_normal((40, 70)).astype(np.float32), name="w")
    scale = rv.Variable(np.float32(2.0), name="scale")
    x = rng.standard_normal((3, 70)).astype(np.float32)
    forward = rv.jit(lambda x: x @ rv.exp(w * scale).T)

    def train(x):
        w.assign(w - 0.1)
        return rv.sum(x)

    def want():
        return x.astype(np.float64) @ np.exp(w.numpy().astype(np.float64) * float(scale.numpy())).T

    def check():
        # 70 terms of size exp(2 |w|) |x|: their errors stay below 70 eps of the sum of sizes
        bound = 70 * 6e-8 * (np.abs(x) @ np.exp(np.abs(w.numpy()) * 8).T)
        assert (np.abs(forward(x).numpy() - want()) <= bound).all()

    assert "only when a weight has changed" in forward.explain(x)
    check()
    check()
    w.assign(rng.standard_normal((40, 70)).astype(np.float32))
    check()
    rv.jit(train)(x)  # natively, in the memory that both share
    check()
    scale.assign(np.float32(0.5))
    check()
    rv.jit(lambda: w.assign(w * 2.0))()
    check()
