"""Reductions cut into chunks (passes/split.py): values against NumPy in float64, bits for one thread and two."""

from __future__ import annotations

import numpy as np
import pytest

import ranvier as rv
from ranvier.compiler import bind, execute
from ranvier.compiler.kernel import Kernel
from ranvier.compiler.native.nest import Nest

U = 2.0**-24
SETTINGS = [{"threads": 1}, {"threads": 2}, {"threads": 2, "checked": True}]


@pytest.fixture(autouse=True)
def _share(monkeypatch):
    """Share even small kernels among the threads."""
    monkeypatch.setattr(execute, "_PARALLEL_SECONDS", 0.0)
    monkeypatch.setattr(bind, "SPLIT_SECONDS", 0.0)


def nests(function, *arguments) -> list[Nest]:
    plan = function.specialise(*arguments)[0].executor.plan
    return [s.spec for s in plan.steps if isinstance(s, Kernel) and isinstance(s.spec, Nest)]


def results(make, *arguments) -> list[np.ndarray]:
    """The results of a compiled function under all settings, after checking that they have the same bits."""
    found = []
    for settings in SETTINGS:
        with rv.config.override(**settings):
            function, variables = make()
            got = [x.numpy() for x in rv.tree.flatten(function(*arguments))[0]]
            found.append(got + [v.numpy() for v in variables])
            big = [n for n in nests(function, *arguments) if n.flops > 200_000]
            assert all(n.units >= 4 for n in big), "a large kernel stayed whole"
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert a.tobytes() == b.tobytes()
    return found[0]


def bound(terms: np.ndarray, axis: int = 0, operations: int = 40) -> np.ndarray:
    """How far a float32 sum may be off: lane sums, trees and chunks keep every path far below 40 + log2 additions
    of blocks of at most 256, so each term takes fewer than 256 + operations roundings.
    """
    return (256 + operations) * U * np.abs(terms).sum(axis)


@pytest.mark.parametrize("rows", [8192, 8191, 10007, 65536])
@pytest.mark.parametrize("columns", [1, 3, 16, 40])
def test_sums_of_columns(rows, columns, rng):
    x = rng.normal(size=(rows, columns)).astype("f")
    if rows * columns < 40000:
        x = np.tile(x, (5, 1))
    total, most, least = results(lambda: (rv.jit(lambda x: [rv.sum(x, 0), rv.max(x * 2, 0), rv.min(x, 0)]), []), x)
    exact = x.astype("d")
    assert (np.abs(total - exact.sum(0)) <= bound(exact)).all()
    np.testing.assert_array_equal(most, 2 * x.max(0))
    np.testing.assert_array_equal(least, x.min(0))


@pytest.mark.parametrize("size", [1 << 16, 100_003, (1 << 18) + 5])
def test_one_long_row(size, rng):
    x = rng.normal(size=size).astype("f")
    total, where, count = results(lambda: (rv.jit(lambda x: [rv.sum(x), rv.max(x), rv.sum(x > 0)]), []), x)
    assert abs(total - x.astype("d").sum()) <= bound(x.astype("d"))
    assert where == x.max()
    assert count == (x > 0).sum()


def test_not_a_number_and_infinity_reach_the_result(rng):
    x = rng.normal(size=(50_000, 4)).astype("f")
    x[40_000, 1], x[3, 2], x[49_999, 3] = np.nan, np.inf, -np.inf
    total, most = results(lambda: (rv.jit(lambda x: [rv.sum(x, 0), rv.max(x, 0)]), []), x)
    np.testing.assert_array_equal(np.isnan(total), [False, True, False, False])
    assert total[2] == np.inf
    assert total[3] == -np.inf
    np.testing.assert_array_equal(most, x.max(0))


def test_integers_and_booleans(rng):
    x = rng.integers(-1000, 1000, (30_000, 5)).astype(np.int32)

    def reduce(x):
        return [rv.sum(x, 0), rv.prod(x % 2 * 2 - 1, 0), rv.any(x == 999, 0), rv.all(x > -1000, 0)]

    total, product, some, every = results(lambda: (rv.jit(reduce), []), x)
    np.testing.assert_array_equal(total, x.sum(0))
    np.testing.assert_array_equal(product, (x % 2 * 2 - 1).prod(0))
    np.testing.assert_array_equal(some, (x == 999).any(0))
    np.testing.assert_array_equal(every, (x > -1000).all(0))


@pytest.mark.parametrize(("rows", "columns"), [(65536, 16), (20_011, 7), (9000, 33)])
def test_batch_normalisation_with_its_gradients(rows, columns, rng):
    """Two dependent reductions, moving averages, a map; backward: several reductions and stores in one nest."""
    x, t = (rng.normal(size=(rows, columns)).astype("f") for _ in range(2))
    x += 3
    gamma, beta = (rng.normal(size=columns).astype("f") for _ in range(2))

    def make():
        moving = rv.Variable(np.zeros(columns, "f"))

        def normalised(x, gamma, beta):
            mean = rv.mean(x, 0)
            apart = x - mean
            variance = rv.mean(apart * apart, 0)
            moving.assign(moving * 0.9 + mean * 0.1)
            return apart / rv.sqrt(variance + 1e-3) * gamma + beta

        def both(x, t, gamma, beta):
            y, back = rv.vjp(normalised, x, gamma, beta)
            return [y, *back(t)]

        return rv.jit(both), [moving]

    y, dx, dgamma, dbeta, moving = results(make, x, t, gamma, beta)
    X, T = x.astype("d"), t.astype("d")
    mean, sd = X.mean(0), np.sqrt(X.var(0) + 1e-3)
    hat = (X - mean) / sd
    np.testing.assert_allclose(moving, mean * 0.1, rtol=1e-4)
    np.testing.assert_allclose(y, hat * gamma + beta, atol=2e-5)
    want = gamma / sd * (T - T.mean(0) - hat * (T * hat).mean(0))
    np.testing.assert_allclose(dx, want, atol=2e-5)
    assert (np.abs(dbeta - T.sum(0)) <= bound(T)).all()
    assert (np.abs(dgamma - (T * hat).sum(0)) <= 2 * bound(T * (np.abs(hat) + 3))).all()


def test_a_stored_value_is_summed_in_the_same_pass(rng):
    """The gradient behind a ReLU is stored and summed: one partial kernel reads it once."""
    g, y = (rng.normal(size=(40_000, 8)).astype("f") for _ in range(2))

    def make():
        def both(g, y):
            kept = rv.where(y > 0, g, 0.0)
            return kept, rv.sum(kept, 0)

        return rv.jit(both), []

    kept, total = results(make, g, y)
    want = np.where(y > 0, g, 0)
    np.testing.assert_array_equal(kept, want)
    assert (np.abs(total - want.astype("d").sum(0)) <= bound(want)).all()
    function, _ = make()
    assert [n.reduce for n in nests(function, g, y)] == ["middle", "middle"]


def test_softmax_of_one_long_row(rng):
    x = rng.normal(size=(2, 200_000)).astype("f") * 3

    def softmax(x):
        e = rv.exp(x - rv.max(x, axis=1, keepdims=True))
        return e / rv.sum(e, axis=1, keepdims=True)

    (found,) = results(lambda: (rv.jit(softmax), []), x)
    e = np.exp(x.astype("d") - x.max(1, keepdims=True))
    np.testing.assert_allclose(found, e / e.sum(1, keepdims=True), rtol=1e-5)


def test_random_bits_do_not_depend_on_the_chunks(rng):
    x = rng.normal(size=(30_000, 6)).astype("f")
    drawn = rv.random.Generator(7).uniform((30_000, 6)).numpy()

    def make():
        source = rv.random.Generator(7)
        return rv.jit(lambda x: rv.sum(x * source.uniform((30_000, 6)), 0)), []

    (found,) = results(make, x)
    terms = x.astype("d") * drawn
    assert (np.abs(found - terms.sum(0)) <= bound(terms)).all()


def test_bfloat16_is_summed_in_float32(rng):
    x = rng.integers(-8, 9, (50_000, 4)).astype("f")
    (found,) = results(lambda: (rv.jit(lambda x: rv.sum(rv.astype(x, "bfloat16"), 0)), []), x)
    total = x.astype("d").sum(0)
    assert (np.abs(found - total) <= 2.0**-8 * np.abs(total)).all()


def test_sums_of_a_matrix_in_panels(rng):
    """Weights that a product reads lie in panels; a penalty on them reduces down their rows."""
    w = rng.normal(size=(6000, 20)).astype("f")
    x = rng.normal(size=(4, 6000)).astype("f")

    def make():
        weights = rv.Variable(w)
        return rv.jit(lambda x: [x @ weights, rv.sum(weights * weights, 0)]), []

    _, squares = results(make, x)
    exact = w.astype("d") ** 2
    assert (np.abs(squares - exact.sum(0)) <= bound(exact)).all()


# -- several axes at once ---------------------------------------------------------------------------------------------


def test_images_are_normalised_in_as_many_kernels_as_matrices(rng):
    x = rng.normal(size=(8, 32, 32, 16)).astype("f")
    gamma = rng.normal(size=16).astype("f")

    def normalised(x, gamma):
        mean = rv.mean(x, (0, 1, 2))
        apart = x - mean
        return apart / rv.sqrt(rv.mean(apart * apart, (0, 1, 2)) + 1e-3) * gamma

    make = lambda: (rv.jit(normalised), [])  # noqa: E731
    (y,) = results(make, x, gamma)
    X = x.astype("d")
    np.testing.assert_allclose(y, (X - X.mean((0, 1, 2))) / np.sqrt(X.var((0, 1, 2)) + 1e-3) * gamma, atol=2e-5)
    images = nests(make()[0], x, gamma)
    flat = x.reshape(-1, 16)
    matrices = nests(rv.jit(lambda x, g: normalised(x[None, None], g)[0, 0]), flat, gamma)
    assert len(images) == len(matrices) <= 5


@pytest.mark.parametrize(
    "axes", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2), (1, 2, 3), (0, 1, 2, 3), (3,), (0, 3)]
)
def test_any_axes_of_an_array_with_broadcasts(axes, rng):
    x = rng.integers(-9, 10, (7, 12, 10, 5)).astype("f")
    b, c = rng.integers(-9, 10, (5,)).astype("f"), rng.integers(-9, 10, (12, 1, 1)).astype("f")

    def reduce(x, b, c):
        y = x * b
        return [rv.sum(y, axes), rv.sum(y + c, axes), rv.max(x, axes), rv.sum(rv.flip(x, 1) * b, axes)]

    found = results(lambda: (rv.jit(reduce), []), x, b, c)
    want = [(x * b).sum(axes), (x * b + c).sum(axes), x.max(axes), (x[:, ::-1] * b).sum(axes)]
    for a, w in zip(found, want, strict=True):
        np.testing.assert_array_equal(a, w)


def test_sums_over_a_batch_of_sequences(rng):
    """The loops inside the reduced one are walked as one where they can be, and else go outside."""
    x, b = rng.integers(-9, 10, (32, 6, 20)).astype("f"), rng.integers(-9, 10, 20).astype("f")
    make = lambda: (rv.jit(lambda x, b: [rv.sum(x, 0), rv.sum(rv.maximum(x + b, 0), 0)]), [])  # noqa: E731
    plain, shifted = results(make, x, b)
    np.testing.assert_array_equal(plain, x.sum(0))
    np.testing.assert_array_equal(shifted, np.maximum(x + b, 0).sum(0))


# -- products with much to add up -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "m", "n"), [(5000, 12, 10), (9001, 33, 40), (4096, 1, 7), (20_000, 40, 1)])
@pytest.mark.parametrize("transposed", [True, False])
def test_products_of_long_columns(rows, m, n, transposed, rng):
    """With everything that may follow: a bias along each axis, a scalar, the product itself."""
    x, y = rng.integers(-3, 4, (rows, m)).astype("f"), rng.integers(-3, 4, (rows, n)).astype("f")
    a = x if transposed else np.ascontiguousarray(x.T)
    bias, column = rng.integers(-9, 10, n).astype("f"), rng.integers(-9, 10, (m, 1)).astype("f")

    def product(a, y, bias, column):
        total = (rv.transpose(a) if transposed else a) @ y
        return [total, rv.maximum(total * 0.5 + bias, column)]

    plain, after = results(lambda: (rv.jit(product), []), a, y, bias, column)
    np.testing.assert_array_equal(plain, x.T @ y)
    np.testing.assert_array_equal(after, np.maximum(x.T @ y * np.float32(0.5) + bias, column))


def test_weights_of_tall_data_are_updated_in_place(rng):
    """The gradient of a layer on 6000 rows in chunks; the optimizer's step follows in the kernel that adds them up."""
    start, x, t = (rng.normal(size=s).astype("f") for s in ((20, 10), (6000, 20), (6000, 10)))

    def make():
        w, slot = rv.Variable(start), rv.Variable(np.zeros((20, 10), "f"))

        def step(x, t):
            slope = rv.transpose(x) @ (x @ w - t) / 6000.0
            slot.assign(slot * 0.9 + slope)
            w.assign(w - slot * 0.1)

        compiled = rv.jit(step)

        def twice(x, t):
            compiled(x, t)
            compiled(x, t)
            return []

        twice.specialise = compiled.specialise
        return twice, [w, slot]

    w, slot = results(make, x, t)
    kernel, held = start.astype("d"), 0.0
    for _ in range(2):
        held = held * 0.9 + x.T.astype("d") @ (x @ kernel - t) / 6000
        kernel = kernel - 0.1 * held
    # sums of 6000 terms, each path with at most 1024 roundings: relative to the sum of what is added up
    size = (np.abs(x).T.astype("d") @ (np.abs(x) @ np.abs(start) + np.abs(t)) / 6000).max()
    np.testing.assert_allclose(slot, held, atol=4 * 1100 * U * size)
    np.testing.assert_allclose(w, kernel, atol=1100 * U * size)
    function, _ = make()
    kinds = [type(s.spec).__name__ for s in function.specialise(x, t)[0].executor.plan.steps]
    assert kinds.count("Contraction") == 2
    assert kinds[-1] == "Nest"
