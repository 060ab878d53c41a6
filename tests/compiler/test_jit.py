"""``rv.jit`` from outside: what is traced again and what is not, which arguments are taken, and what errors say."""

from __future__ import annotations

import numpy as np
import pytest

import ranvier as rv
from ranvier.compiler.passes import kernels
from ranvier.errors import ArgumentError, DTypeError, GradientError, ResourceError, ShapeError, TraceError

# -- tracing ------------------------------------------------------------------------------------------------------


def test_a_training_loop_compiles_once(rng):
    w = rv.Variable(rng.normal(size=(8, 3)).astype("f"), name="w")

    @rv.jit
    def step(x, y):
        loss, (slope,) = rv.value_and_grad(lambda x, y: rv.mean((x @ w - y) ** 2), wrt=[w])(x, y)
        w.assign(w - 0.1 * slope)
        return loss

    x, y = rng.normal(size=(16, 8)).astype("f"), rng.normal(size=(16, 3)).astype("f")
    losses = [step(x + 0, rv.tensor(y)).item() for _ in range(5)]
    assert step.traces == 1
    assert losses == sorted(losses, reverse=True)
    step(x[:7], y[:7])
    step(x[:7], y[:7])
    assert step.traces == 2, "the last, smaller batch has a version of its own"
    assert len({round(v, 6) for v in losses}) == 5


def test_a_version_for_each_shape_dtype_and_static_value():
    calls = []

    @rv.jit
    def f(x, mode, flag=None):
        calls.append((x.shape, x.dtype.name, mode, flag))
        return x * 2 if mode == "double" else x + 1

    for _ in range(2):
        assert f(np.ones(3), "double").tolist() == [2, 2, 2]
        assert f(np.ones(3), "more").tolist() == [2, 2, 2]
        assert f(np.ones(3, "f"), "more").tolist() == [2, 2, 2]
        assert f(np.ones(4, "f"), "more").shape == (4,)
        assert f(np.ones(4, "f"), "more", True).shape == (4,)
        assert f(np.ones(4, "f"), "more", False).shape == (4,)
        assert f(1.0, "more", False).item() == 2.0
        assert f(1, "more", False).item() == 2
    assert f.traces == len(calls) == 8


def test_numbers_are_traced_not_baked_in():
    f = rv.jit(lambda x, rate: x * rate)
    assert [f(2.0, r).item() for r in (0.5, 1.5, -1.0)] == [1.0, 3.0, -2.0]
    assert f.traces == 1


def test_nests_in_and_out():
    @rv.jit
    def f(batch, pair):
        a, (b, c) = pair
        return {"sum": batch["x"] + a, "parts": [b, (c, None)], "n": 3}

    out = f({"y": np.ones(2), "x": np.array([1.0, 2.0])}, (1.0, [2.0, np.float64(3)]))
    assert out["sum"].tolist() == [2.0, 3.0]
    assert out["parts"][0].item() == 2.0
    assert out["parts"][1][0].item() == 3.0
    assert out["parts"][1][1] is None
    assert out["n"].item() == 3
    assert f({"x": np.ones(2), "y": np.ones(2)}, (1.0, [2.0, np.float64(3)]))["sum"].tolist() == [2.0, 2.0]
    assert f.traces == 1


def test_functions_without_arguments_or_results():
    v = rv.Variable(1.0)
    f = rv.jit(lambda: v.assign(v * 2))
    assert f() is None
    assert f.run(9) is None
    assert v.numpy() == 1024
    assert rv.jit(lambda x: ())(1.0) == ()
    assert rv.jit(lambda: rv.ones(3))().tolist() == [1, 1, 1]


def test_compiled_functions_call_each_other(rng):
    inner = rv.jit(lambda x: rv.tanh(x) * 2)
    outer = rv.jit(lambda x: inner(x) + inner(x + 1))
    x = rng.normal(size=5)
    np.testing.assert_allclose(outer(x).numpy(), 2 * np.tanh(x) + 2 * np.tanh(x + 1), rtol=1e-13)
    assert inner.traces == 0


def test_gradients_of_compiled_functions(rng):
    inner = rv.jit(lambda x: rv.sum(x**3))
    x = rng.normal(size=4)
    np.testing.assert_allclose(rv.jit(rv.grad(inner))(x).numpy(), 3 * x**2, rtol=1e-12)
    np.testing.assert_allclose(rv.grad(inner)(x).numpy(), 3 * x**2, rtol=1e-12)
    np.testing.assert_allclose(rv.grad(lambda x: inner(x * 2) + rv.sum(x))(x).numpy(), 24 * x**2 + 1, rtol=1e-12)
    with rv.no_grad():
        assert not inner(rv.Variable(x) * 1.0).requires_grad


def test_compiling_twice_is_compiling_once():
    f = rv.jit(lambda x: x * 2)
    g = rv.jit(f)
    assert f(3.0).item() == g(3.0).item() == 6.0
    assert (f.traces, g.traces) == (1, 1)


def test_the_function_keeps_its_name():
    @rv.jit
    def step(x):
        """What it does."""
        return x

    assert (step.__name__, step.__doc__) == ("step", "What it does.")


# -- arguments ----------------------------------------------------------------------------------------------------

ODD = {
    "transposed": lambda x: np.asfortranarray(x),
    "every second": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "swapped bytes": lambda x: x.astype(x.dtype.newbyteorder()),
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "misaligned": lambda x: _misaligned(x),
}


def _misaligned(x):
    raw = np.zeros(x.nbytes + 1, np.uint8)
    out = raw[1:].view(x.dtype).reshape(x.shape)
    out[...] = x
    return out


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int64"])
def test_arrays_of_any_layout(name, dtype, rng):
    f = rv.jit(lambda x: x + rv.transpose(x[:, ::-1]))
    for _ in range(3):
        x = ODD[name]((rng.normal(size=(6, 6)) * 10).astype(dtype))
        want = np.asarray(x + x[:, ::-1].T)
        got = f(x).numpy()
        assert got.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(got, want)
    assert f.traces == 1


def test_read_only_arrays_are_read(rng):
    x = rng.normal(size=5)
    x.flags.writeable = False
    np.testing.assert_array_equal(rv.jit(lambda x: x * 2)(x).numpy(), x * 2)


def test_an_array_changed_between_calls_is_read_again():
    f = rv.jit(lambda x: x + 1)
    for x in (np.zeros(3), np.zeros((2, 3))[:, ::2].T, np.zeros(3, ">f8")):
        assert not (f(x).numpy() - 1).any()
        x[...] = 4
        assert (f(x).numpy() == 5).all()


def test_results_are_the_callers_own():
    v = rv.Variable(np.zeros(3))

    @rv.jit
    def f(x):
        v.assign(v + 1)
        return x, v.value, x + 1

    x = np.ones(3)
    first = f(x)
    x[...] = 7
    second = f(x)
    assert [t.tolist() for t in first] == [[1, 1, 1], [1, 1, 1], [2, 2, 2]]
    assert [t.tolist() for t in second] == [[7, 7, 7], [2, 2, 2], [8, 8, 8]]


def test_variables_may_be_arguments():
    v = rv.Variable(np.arange(3.0))
    f = rv.jit(lambda x: x * 2)
    assert f(v).tolist() == [0, 2, 4]
    v.assign(v + 1)
    assert f(v).tolist() == [2, 4, 6]
    assert f.traces == 1


def test_the_order_of_kinds_of_argument_does_not_matter(rng):
    f = rv.jit(lambda x: x * 2)
    x = rng.normal(size=4).astype("f")
    for value in (x, rv.tensor(x), rv.tensor(x, "bfloat16"), x.astype("f8"), rv.Variable(x), x.astype(">f4")):
        got = f(value)
        t = value.value if isinstance(value, rv.Variable) else rv.tensor(value)
        assert got.dtype is t.dtype
        np.testing.assert_array_equal(got.numpy(), t.numpy() * 2)
    assert f.traces == 3


@pytest.mark.parametrize(
    "value, error, text",
    [
        (np.array(["a"]), DTypeError, "expected numbers"),
        (np.array([1j]), DTypeError, "complex128"),
        (np.array([None]), DTypeError, "expected numbers"),
        (np.float16(1), DTypeError, "float16"),
        (lambda x: x, (ArgumentError, DTypeError), "tensors, arrays, numbers|expected numbers"),
        (2**70, ArgumentError, "does not fit into int64"),
    ],
)
def test_arguments_that_are_no_numbers(value, error, text):
    f = rv.jit(lambda x: x)
    with pytest.raises(error, match=text):
        f(value)
    assert f(1.0).item() == 1.0


@pytest.mark.parametrize("steps", [0, -1, 2.5, True, "3", None])
def test_run_wants_a_count(steps):
    f = rv.jit(lambda x: x)
    with pytest.raises(ArgumentError, match=r"jit\.run: expected steps to be a positive integer, got"):
        f.run(steps, 1.0)


def test_run_is_repetition(rng):
    def make():
        v, g = rv.Variable(np.ones(3)), rv.random.Generator(3)

        def f(x):
            v.assign(v * 0.5 + x * g.uniform((3,), dtype="float64"))
            return rv.sum(v)

        return v, rv.jit(f)

    x = rng.normal(size=3)
    (a, once), (b, many) = make(), make()
    singles = [once(x).item() for _ in range(10)]
    assert many.run(10, x).item() == singles[-1]
    assert a.numpy().tobytes() == b.numpy().tobytes()
    assert many.run(1, x).item() == once(x).item()


# -- values that are not known yet --------------------------------------------------------------------------------

BRANCHES = {
    "if": (lambda x: x if x.sum() > 0 else -x, "needs a concrete value"),
    "float": (lambda x: x * float(x[0]), "needs a concrete value"),
    "range": (lambda x: [x for _ in range(x.astype("int64")[0])], "needs a concrete value"),
    "item": (lambda x: x.item(), "needs a concrete value"),
    "numpy": (lambda x: np.tanh(np.asarray(x)), "needs a concrete value"),
    "tolist": (lambda x: x.tolist(), "needs a concrete value"),
    "mask": (lambda x: x[x > 0], "boolean mask"),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_python_decisions_on_unknown_values(name):
    function, text = BRANCHES[name]
    with pytest.raises(TraceError, match=text) as caught:
        rv.jit(function)(np.ones(3))
    assert "test_jit.py" in str(caught.value), "the user's line is named"
    assert rv.ones(2).tolist() == [1, 1], "tracing has ended"


def test_messages_say_what_to_use_instead():
    with pytest.raises(TraceError, match=r"rv\.where, rv\.cond or rv\.while_loop"):
        rv.jit(lambda x: x if x > 0 else -x)(1.0)


def test_leaked_values():
    kept = []

    @rv.jit
    def f(x):
        kept.append(x * 2)
        return x

    f(1.0)
    with pytest.raises(TraceError, match=r"used after its function had been compiled.*return it instead"):
        kept[0] + 1
    with pytest.raises(TraceError, match="belongs to a function that is being compiled"):
        kept[0].numpy()
    with pytest.raises(TraceError, match="from another compiled function"):
        rv.jit(lambda x: x + kept[0])(1.0)
    with pytest.raises(TraceError, match="a traced tensor was passed to a compiled function"):
        f(kept[0])
    assert f(2.0).item() == 2.0


def test_an_error_in_the_function_leaves_nothing_behind():
    v = rv.Variable(np.ones(2))

    @rv.jit
    def f(x):
        v.assign(v + rv.reshape(x, (2,)))
        if x.ndim == 2:
            raise KeyError("user's own")
        return v.value

    with pytest.raises(KeyError, match="user's own"):
        f(np.ones((1, 2)))
    assert v.numpy().tolist() == [1, 1]
    assert f(np.ones(2)).tolist() == [2, 2]
    assert (v + 1).tolist() == [3, 3]


def test_assignments_are_checked_while_tracing():
    v, n = rv.Variable(np.ones(2), name="bias"), rv.Variable(np.ones(2, np.int64), name="count")
    with pytest.raises(ShapeError, match=r"variable 'bias': expected a value of shape \(2,\), got \(3,\)"):
        rv.jit(lambda x: v.assign(x))(np.ones(3))
    with pytest.raises(DTypeError, match="variable 'count': expected a int64 value, got float64"):
        rv.jit(lambda x: n.assign(x))(np.ones(2))
    assert v.numpy().tolist() == [1, 1]
    rv.jit(lambda x: v.assign(x))(np.ones(2, np.int32))
    assert v.numpy().dtype == np.float64


def test_shape_errors_name_the_users_line():
    with pytest.raises(ShapeError, match=r"matmul: shapes \(2, 3\) and \(2, 3\) do not fit.*\n  at test_jit.py:\d+: "):
        rv.jit(lambda x: x @ x)(np.ones((2, 3)))


def test_a_traced_gradient_leaves_no_trace():
    w = rv.Variable(np.ones(2))

    @rv.jit
    def f():
        rv.sum(w * w).backward()
        return w.grad

    assert f().tolist() == [2, 2]
    assert w.grad is None
    with pytest.raises(GradientError, match="scalar"):
        rv.jit(lambda x: rv.grad(lambda x: x * 2)(x))(np.ones(2))


def test_too_large_for_memory():
    def f(x):
        wide = rv.broadcast_to(x, (1 << 20, 1 << 17))
        return rv.concatenate([wide, rv.tanh(wide)], axis=0)

    with pytest.raises(ResourceError, match=r"needs .* MiB for intermediate values.*Use a smaller batch"):
        rv.jit(f)(np.ones((1, 1), "f"))


# -- callbacks ----------------------------------------------------------------------------------------------------


def test_an_exception_in_a_callback_reaches_the_caller(monkeypatch):
    v = rv.Variable(np.zeros(2))
    fail = []
    real = kernels.evaluate

    def evaluate(node, inputs):
        if fail:
            raise fail[0]
        return real(node, inputs)

    monkeypatch.setattr(kernels, "evaluate", evaluate)

    @rv.jit
    def f(a, b):
        v.assign(v + 1.0)
        return rv.matmul(a, b)  # integers have no native product

    a = np.arange(6).reshape(2, 3)
    assert f(a, a.T).tolist() == (a @ a.T).tolist()
    assert "1 op(s) run on the reference" in f.explain(a, a.T)
    for error in (ZeroDivisionError("inside"), KeyboardInterrupt()):
        fail[:] = [error]
        with pytest.raises(type(error), match=r"inside|^$"):
            f.run(5, a, a.T)
        fail.clear()
        assert f(a, a.T).tolist() == (a @ a.T).tolist()
    assert v.numpy().tolist() == [5, 5], "the step with the error is the last of its run"


# -- texts --------------------------------------------------------------------------------------------------------


def test_graph_and_profile(rng):
    v = rv.Variable(np.ones((4, 3), "f"), name="w")

    @rv.jit
    def f(x):
        v.assign(v * 0.5)
        return rv.sum(rv.tanh(x @ v))

    x = rng.normal(size=(5, 4)).astype("f")
    text = f.graph(x)
    assert "float32[5, 3] = matmul(%0, %3)" in text
    assert "update w = " in text
    assert "test_jit.py:" in text
    before = v.numpy()
    table = f.profile(x, steps=4)
    assert "us a step over 4 steps" in table
    assert "product 5x4x3" in table
    np.testing.assert_array_equal(v.numpy(), before * 0.5**5, err_msg="one run to warm up, then four")


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_both_backends_have_all_methods(backend, rng):
    x = rng.normal(size=3)
    with rv.config.override(backend=backend):
        f = rv.jit(lambda x: rv.exp(x))
        np.testing.assert_allclose(f(x).numpy(), np.exp(x), rtol=1e-14)
        np.testing.assert_allclose(f.run(2, x).numpy(), np.exp(x), rtol=1e-14)
        assert "exp" in f.explain(x)
        assert "exp" in f.profile(x, steps=2)
        assert "exp" in f.graph(x)
