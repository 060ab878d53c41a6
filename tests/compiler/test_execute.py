"""Running compiled functions: variables between them, Python threads, forks, and memory that does not grow."""

from __future__ import annotations

import gc
import os
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import ranvier as rv
from ranvier.compiler import execute
from ranvier.optimizers import Adam

from .processes import child

# -- variables that several functions keep ------------------------------------------------------------------------


def layout(v: rv.Variable) -> int:
    return v._home.layout


def test_a_variable_in_two_layouts(rng):
    start = rng.normal(size=(40, 50)).astype("f")
    w = rv.Variable(start, name="w")
    x = rng.normal(size=(9, 40)).astype("f")

    @rv.jit
    def panels(x):
        y = x @ w
        w.assign(w * 0.5)
        return y

    @rv.jit
    def rows(x):
        w.assign(w + 1.0)
        return rv.sum(w, axis=1)

    want = start.astype("f8")
    for turn in range(4):
        np.testing.assert_allclose(panels(x).numpy(), x @ want, rtol=1e-4, atol=1e-4)
        assert layout(w) > 0
        want = want * 0.5
        if turn % 2:
            np.testing.assert_allclose(w.numpy(), want, rtol=1e-5)
        want = want + 1
        np.testing.assert_allclose(rows(x).numpy(), want.sum(1), rtol=1e-4)
        assert layout(w) == 0
        if turn == 2:
            want = rng.normal(size=want.shape)
            w.assign(want.astype("f"))
    np.testing.assert_allclose(w.numpy(), want, rtol=1e-4, atol=1e-4)
    assert panels.traces == rows.traces == 1


def test_assignments_between_calls_are_seen():
    v = rv.Variable(np.zeros(3))

    @rv.jit
    def f():
        v.assign(v + 1)
        return v * 10

    assert f().tolist() == [10] * 3
    v.assign(np.full(3, 5.0))
    assert f().tolist() == [60] * 3
    assert v.numpy().tolist() == [6] * 3
    v.assign_add(1.0)
    v.assign_sub(np.array([0, 1, 2]))
    assert f().tolist() == [80, 70, 60]
    held = v.value
    f()
    assert held.tolist() == [8, 7, 6], "a tensor read before does not change"
    assert v.numpy().tolist() == [9, 8, 7]


def test_trainable_may_change_between_calls():
    v = rv.Variable(np.ones(2))
    f = rv.jit(lambda: v.assign(v * 2))
    f()
    v.trainable = False
    f()
    v.trainable = True
    f()
    assert v.numpy().tolist() == [8, 8]
    rv.sum(v * v).backward()
    assert v.grad.tolist() == [16, 16]


def test_exchanges_and_shared_values(rng):
    a, b = (rv.Variable(rng.normal(size=(33, 40)).astype("f")) for _ in range(2))
    c = rv.Variable(np.zeros((33, 40), "f"))
    x, first, second = rng.normal(size=(5, 33)).astype("f"), a.numpy(), b.numpy()

    @rv.jit
    def f(x):
        y = x @ a, x @ b
        old = a.value
        a.assign(b)
        b.assign(old)
        c.assign(old)
        return (*y, old)

    for turn in range(3):
        p, q = (first, second) if turn % 2 == 0 else (second, first)
        one, two, old = f(x)
        np.testing.assert_allclose(one.numpy(), x @ p, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(two.numpy(), x @ q, rtol=1e-4, atol=1e-4)
        for got, want in ((old, p), (a, q), (b, p), (c, p)):
            assert got.numpy().tobytes() == want.tobytes()


def test_updates_that_rearrange(rng):
    start = rng.normal(size=(50, 50)).astype("f")
    order = rng.permutation(50)
    w = rv.Variable(start)
    for change, want in (
        (lambda v: rv.take(v, order, axis=0), start[order]),
        (lambda v: rv.transpose(v), start.T),
        (lambda v: rv.flip(v, 0), start[::-1]),
        (lambda v: rv.take_along_axis(v, np.argsort(start, axis=1), axis=1), np.sort(start, axis=1)),
        (lambda v: v + v[:1], start + start[:1]),
        (lambda v: v + v[:, 3:4], start + start[:, 3:4]),
        (lambda v: v + rv.transpose(v), start + start.T),
        (lambda v: v @ v, None),
        (lambda v: rv.concatenate([v[25:], v[:25]], axis=0), np.roll(start, 25, axis=0)),
        (lambda v: rv.broadcast_to(v[0], (50, 50)), np.broadcast_to(start[0], (50, 50))),
        (lambda v: rv.scatter_add(v, [1, 1, 7], v[:3]), None),
    ):
        w.assign(start)
        rv.jit(lambda change=change: w.assign(change(w.value)))()
        if want is None:
            want = change(rv.tensor(start)).numpy()
        np.testing.assert_allclose(w.numpy(), want, rtol=1e-4, atol=1e-4)


def test_one_compiled_function_for_many_models(rng):
    """Each closure has variables of its own: they must not be mixed up by what is shared between functions."""

    def make(k):
        w = rv.Variable(np.full((4, 4), float(k), "f"))
        return w, rv.jit(lambda x: (x @ w, w.assign(w + 1))[0])

    made = [make(k) for k in range(10)]
    for turn in range(3):
        for k, (_, f) in enumerate(made):
            assert f(np.eye(4, dtype="f")).numpy()[0, 0] == k + turn


# -- steps in one call --------------------------------------------------------------------------------------------


def test_steps_advance_like_calls(rng):
    x, y = rng.normal(size=(32, 20)).astype("f"), rng.integers(0, 5, 32)

    def make():
        g = np.random.default_rng(1)
        w, b = rv.Variable(g.normal(size=(20, 5)).astype("f")), rv.Variable(np.zeros(5, "f"))
        optimizer = Adam(0.01)
        optimizer.build([w, b])

        def step(x, y):
            def loss(x, y):
                logits = x @ w + b
                return rv.mean(rv.logsumexp(logits, -1) - rv.take_along_axis(logits, y[:, None], -1)[:, 0])

            value, slopes = rv.value_and_grad(loss, wrt=[w, b])(x, y)
            optimizer.apply(slopes, [w, b])
            return value

        return rv.jit(step), [w, b]

    (one, first), (many, second) = make(), make()
    for _ in range(10):
        a = one(x, y)
    b = many.run(10, x, y)
    assert a.item() == b.item()
    for v, w in zip(first, second, strict=True):
        assert v.numpy().tobytes() == w.numpy().tobytes()


# -- Python threads -----------------------------------------------------------------------------------------------


def test_one_compiled_function_in_several_threads(rng):
    f = rv.jit(lambda x: rv.tanh(x @ x) + rv.sum(x))
    inputs = [rng.normal(size=(30, 30)).astype("f") for _ in range(6)]
    want = [np.tanh(x @ x) + x.sum() for x in inputs]
    wrong: list[str] = []

    def work(k):
        for _ in range(25):
            got = f(inputs[k]).numpy()
            if not np.allclose(got, want[k], rtol=1e-3, atol=1e-3):
                wrong.append(f"thread {k}")

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []
    assert f.traces == 1


def test_a_counter_advanced_by_several_threads():
    n = rv.Variable(np.zeros((), np.int64))
    f = rv.jit(lambda: n.assign(n + 1))
    threads = [threading.Thread(target=lambda: [f() for _ in range(50)]) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert int(n) == 200


def test_tracing_in_one_thread_while_another_runs(rng):
    x = rng.normal(size=8)
    inside, go = threading.Event(), threading.Event()

    def slow(x):
        inside.set()
        assert go.wait(10)
        return x * 2

    found = []
    tracer = threading.Thread(target=lambda: found.append(rv.jit(slow)(x)))
    tracer.start()
    assert inside.wait(10)
    assert (rv.tensor(x) + 1).numpy().shape == (8,), "another thread's trace is none of ours"
    assert rv.jit(lambda x: x + 1)(x).shape == (8,)
    go.set()
    tracer.join()
    np.testing.assert_array_equal(found[0].numpy(), x * 2)


# -- processes ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fork_after_use():
    done = child(
        """
        import os, numpy as np, ranvier as rv
        from ranvier.compiler import execute, bind
        execute._PARALLEL_SECONDS = bind.SPLIT_SECONDS = 0.0
        rv.config.set("threads", 2)
        w = rv.Variable(np.ones((200, 200), "f"))
        @rv.jit
        def f(x):
            w.assign(w + x @ w * 0.001)
            return rv.sum(w)
        x = np.eye(200, dtype="f")
        first = f(x).item()
        child = os.fork()
        if child == 0:
            again = [f(x).item() for _ in range(20)]
            new = rv.jit(lambda x: rv.tanh(x) * 3)(x).numpy()
            os._exit(0 if len(set(again)) == 20 and new[0, 0] > 2 else 3)
        here = [f(x).item() for _ in range(20)]
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), here[0] > first)
        """
    )
    assert done.stdout.split() == ["0", "True"], done.stderr


# -- memory -------------------------------------------------------------------------------------------------------


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_calls_leave_nothing_behind(rng):
    w = rv.Variable(rng.normal(size=(64, 32)).astype("f"))

    @rv.jit
    def f(x):
        w.assign(w * 0.999)
        return rv.sum(x @ w)

    x = rng.normal(size=(16, 64)).astype("f")

    def work(turns):
        for _ in range(turns):
            f(x + 1)
            f.run(3, x)

    work(50)
    tracemalloc.start()
    try:
        work(50)
        before = tracemalloc.get_traced_memory()[0]
        work(500)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 20_000, f"{grown} bytes more after 500 calls"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system has no /proc")
def test_many_compiled_functions_leave_nothing_behind(rng):
    x = rng.normal(size=(64, 32)).astype("f")

    def build():
        w = rv.Variable(np.zeros((32, 4096), "f"))
        b = rv.Variable(np.zeros((4096,), "f"))

        @rv.jit
        def f(x):
            loss, (slope, _) = rv.value_and_grad(lambda x: rv.mean((x @ w + b) ** 2), wrt=[w, b])(x)
            w.assign(w - slope)
            return loss

        f(x)

    for _ in range(12):
        build()
    gc.collect()
    before = resident()
    for _ in range(40):
        build()
    gc.collect()
    grown = resident() - before
    assert grown < 24 << 20, f"{grown >> 20} MiB more after 40 functions of 3 MiB each"


def test_a_function_is_collected_with_its_memory():
    import weakref

    def build():
        w = rv.Variable(np.zeros((1000, 100), "f"))
        f = rv.jit(lambda x: w.assign(w + x))
        f(1.0)
        return weakref.ref(next(iter(f._made.values())).executor), weakref.ref(w)

    refs = build()
    gc.collect()
    assert [r() for r in refs] == [None, None]


def test_arguments_are_not_held(rng):
    import weakref

    f = rv.jit(lambda x: x + 1)
    x = rng.normal(size=1000)
    f(x)
    held = weakref.ref(x)
    del x
    gc.collect()
    f(np.zeros(1000))
    gc.collect()
    assert held() is None, "the argument of an earlier call is still alive"


# -- threads of a plan --------------------------------------------------------------------------------------------


def test_threads_setting_is_kept_to(monkeypatch, rng):
    monkeypatch.setattr(execute, "_PARALLEL_SECONDS", 0.0)
    for wanted in (1, 2):
        with rv.config.override(threads=wanted):
            f = rv.jit(lambda x: rv.tanh(x))
            f(rng.normal(size=(300, 300)))
            assert next(iter(f._made.values())).executor.threads == wanted
