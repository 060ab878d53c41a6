"""Every gradient rule of the op table against central differences in float64, and proof that the check would notice.

The first-order check here moves one element at a time and shares no code with ``rv.check_gradients``; second order uses
that function, which tests/core/test_autodiff.py checks against known answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import dtypes
from ranvier.autodiff import gradients
from ranvier.ops.table import Op
from ranvier.tensor import Tensor

from . import op_records as records

WITH_RULES = [op for op in records.OPS.values() if op.vjps]
RULES = [(op, i) for op in WITH_RULES for i, rule in enumerate(op.vjps) if rule is not None]


def floating_samples(op: Op, rng: np.random.Generator) -> list[records.Sample]:
    """Samples in float64 whose result is floating, and fine enough to take differences of."""
    found = []
    for arrays, attrs in records.samples(op, rng):
        if op.infer([rv.asarray(a) for a in arrays], **attrs).dtype in (dtypes.float32, dtypes.float64):
            found.append((arrays, attrs))
    return found


def numeric(function: Callable[..., Tensor], arrays: list[np.ndarray], u: np.ndarray, eps: float) -> list[np.ndarray]:
    """``u . d function / d x`` for every element x, by central differences."""
    out = []
    for k, a in enumerate(arrays):
        slope = np.zeros(a.shape)
        for at in np.ndindex(a.shape):
            ends = []
            for step in (eps, -eps):
                moved = [b.copy() for b in arrays]
                moved[k][at] += step
                ends.append(function(*map(rv.asarray, moved)).numpy().astype(np.float64))
            slope[at] = np.sum((ends[0] - ends[1]) * u) / (2 * eps)
        out.append(slope)
    return out


def first_order_agrees(op: Op, sample: records.Sample, rng: np.random.Generator) -> bool:
    """Whether the record's rules give the derivative along a random cotangent."""
    arrays, attrs = sample
    moving = [i for i, a in enumerate(arrays) if a.dtype == np.float64]
    if op.name == "custom_gradient":
        moving = moving[1:]  # the value itself, whose derivative the rule replaces

    def function(*values: Tensor) -> Tensor:
        inputs: list[Any] = [rv.asarray(a) for a in arrays]
        for i, v in zip(moving, values, strict=True):
            inputs[i] = v
        if op.name == "custom_gradient":
            inputs[0] = rv.stop_gradient(inputs[1])
        return records.run(op, inputs, attrs)

    watched = [rv.Variable(arrays[i]).value for i in moving]
    out = function(*watched)
    u = rng.normal(size=out.shape)
    found = gradients([out], watched, [rv.asarray(u, out.dtype)])
    eps = 2.0**-14 if out.dtype is dtypes.float64 else 2.0**-8
    expected = numeric(function, [arrays[i] for i in moving], u, eps)
    tolerance = {"float64": 2e-7, "float32": 2e-4}[out.dtype.name]
    for g, e in zip(found, expected, strict=True):
        if g is None or g.shape != e.shape or g.dtype is not dtypes.float64:
            return False
        scale = max(1.0, float(np.abs(e).max(initial=0)))
        if not np.allclose(g.numpy(), e, rtol=0, atol=tolerance * scale):
            return False
    return True


@pytest.mark.parametrize("op", WITH_RULES, ids=[op.name for op in WITH_RULES])
def test_first_order(op: Op, rng: np.random.Generator) -> None:
    chosen = floating_samples(op, rng)
    assert chosen
    for sample in chosen:
        assert first_order_agrees(op, sample, rng), f"{op.name} on {[a.shape for a in sample[0]]} {sample[1]}"


@pytest.mark.parametrize("op", WITH_RULES, ids=[op.name for op in WITH_RULES])
def test_second_order(op: Op, rng: np.random.Generator) -> None:
    for arrays, attrs in floating_samples(op, rng):
        if attrs.get("dtype", dtypes.float64) is not dtypes.float64 or not any(a.size for a in arrays):
            continue  # differences of rounded values say nothing
        if op.name == "custom_gradient":
            continue  # its second derivative is that of the user's rule; see test_autodiff.py

        def function(*values: Tensor, arrays: Any = arrays, attrs: Any = attrs) -> Tensor:
            rest = iter(values)
            return records.run(op, [next(rest) if a.dtype == np.float64 else rv.asarray(a) for a in arrays], attrs)

        moving = [a for a in arrays if a.dtype == np.float64]
        # A cube on top makes linear ops curved, so that every rule is differentiated once more.
        rv.check_gradients(lambda *v, f=function: f(*v) ** 3, *moving, order=2, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("op", [op for op in records.OPS.values() if not op.vjps], ids=lambda op: op.name)
def test_ops_without_rules_refuse_to_be_differentiated(op: Op, rng: np.random.Generator) -> None:
    arrays, attrs = records.samples(op, rng)[0]
    if op.name == "random_bits" or arrays[0].dtype.kind != "f" or op.kinds in ("bool", "bool int", "int"):
        return  # no real number goes in
    x = rv.asarray(arrays[0])
    rest = [rv.asarray(a) for a in arrays[1:]]
    with pytest.raises(rv.errors.GradientError, match=r"floating output|does not depend differentiably on argument 0"):
        rv.grad(lambda t: rv.sum(records.public(op)(t, *rest, **attrs)))(x)


# -- mutants: a check that a wrong rule passes is no check -------------------------------------------------------------


def _flipped(g: Any) -> Any:
    return -g


def _scaled(g: Any) -> Any:
    return g * 1.001


def _zeroed(g: Any) -> Any:
    return g * 0


def _shifted(g: Any) -> Any:
    return rv.flip(g) if g.ndim and max(g.shape) > 1 else g * 2  # right values in wrong places


MUTATIONS = (_flipped, _scaled, _zeroed, _shifted)


def _mutant(op: Op, index: int, change: Callable[[Any], Any]) -> tuple[Any, ...]:
    rule = op.vjps[index]
    assert rule is not None

    def wrong(*args: Any, **attrs: Any) -> Any:
        found = rule(*args, **attrs)
        if op.joint:
            return [None if f is None else change(f) for f in found]
        return None if found is None else change(found)

    return (*op.vjps[:index], wrong, *op.vjps[index + 1 :])


@pytest.mark.parametrize("change", MUTATIONS, ids=[m.__name__ for m in MUTATIONS])
@pytest.mark.parametrize("op, index", RULES, ids=[f"{op.name}-{i}" for op, i in RULES])
def test_mutants_die(
    op: Op, index: int, change: Callable[[Any], Any], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [s for s in floating_samples(op, rng) if s[1].get("dtype", dtypes.float64) is dtypes.float64]
    monkeypatch.setattr(op, "vjps", _mutant(op, index, change))
    assert not all([first_order_agrees(op, sample, rng) for sample in chosen]), "a wrong rule went unnoticed"


@pytest.mark.parametrize("op, index", RULES, ids=[f"{op.name}-{i}" for op, i in RULES])
def test_check_gradients_notices_mutants(
    op: Op, index: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    if op.name == "custom_gradient":
        return
    arrays, attrs = next(s for s in floating_samples(op, rng) if s[1].get("dtype", dtypes.float64) is dtypes.float64)
    moving = [a for a in arrays if a.dtype == np.float64]

    def function(*values: Tensor) -> Tensor:
        rest = iter(values)
        return records.run(op, [next(rest) if a.dtype == np.float64 else rv.asarray(a) for a in arrays], attrs)

    rv.check_gradients(function, *moving)
    monkeypatch.setattr(op, "vjps", _mutant(op, index, _flipped))  # one projection could miss less
    with pytest.raises(rv.errors.GradientError, match=r"the gradient is wrong: analytic .* numerical"):
        rv.check_gradients(function, *moving)


def test_a_rule_of_the_wrong_shape_is_an_internal_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rv.exp, "vjps", (lambda g, out, x: rv.reshape(g, (-1,)),))
    with pytest.raises(rv.errors.InternalError, match=r"gradient of op 'exp' for input 0: expected \(2, 2\) float32"):
        rv.grad(lambda x: rv.sum(rv.exp(x)))(rv.ones((2, 2)))


def test_a_missing_rule_is_no_silent_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rv.exp, "vjp_rule", lambda index: None)
    with pytest.raises(rv.errors.GradientError, match="op 'exp' has no gradient rule for input 0"):
        rv.grad(lambda x: rv.sum(rv.exp(x)))(rv.ones(2))


# -- kinks and corners, where differences cannot be asked ------------------------------------------------------------


@pytest.mark.parametrize(
    "function, at, slope",
    [
        (rv.relu, [-1.0, 0.0, 2.0], [0.0, 0.0, 1.0]),
        (rv.abs, [-1.0, 0.0, 2.0], [-1.0, 0.0, 1.0]),
        (lambda x: rv.maximum(x, 0.0), [-1.0, 0.0, 2.0], [0.0, 0.5, 1.0]),
        (lambda x: rv.minimum(x, 0.0), [-1.0, 0.0, 2.0], [1.0, 0.5, 0.0]),
        (lambda x: rv.clip(x, -1, 1), [-2.0, 0.0, 1.0], [0.0, 1.0, 0.5]),
        (lambda x: rv.max(x), [1.0, 3.0, 3.0], [0.0, 0.5, 0.5]),
        (lambda x: rv.min(x), [1.0, 3.0, 1.0], [0.5, 0.0, 0.5]),
        (lambda x: rv.prod(x), [0.0, 2.0, 3.0], [6.0, 0.0, 0.0]),
        (lambda x: rv.prod(x), [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]),
        (lambda x: x**2, [-1.0, 0.0, 2.0], [-2.0, 0.0, 4.0]),
        (lambda x: x**0.0, [-1.0, 0.0, 2.0], [0.0, 0.0, 0.0]),
        (lambda x: rv.power(x, rv.tensor(0.0)), [-1.0, 0.0, 2.0], [0.0, 0.0, 0.0]),
        (lambda x: x**1.5, [0.0, 1.0, 4.0], [0.0, 1.5, 3.0]),
        (lambda x: rv.where(x > 0, x, x * x), [-1.0, 0.0, 2.0], [-2.0, 0.0, 1.0]),
        (lambda x: rv.where(x > 0, rv.log(rv.where(x > 0, x, 1.0)), 0.0), [-1.0, 0.0, 2.0], [0.0, 0.0, 0.5]),
        (lambda x: rv.logsumexp(x), [0.0, -np.inf, 0.0], [0.5, 0.0, 0.5]),
        (rv.sigmoid, [-1e4, 0.0, 1e4], [0.0, 0.25, 0.0]),
        (rv.tanh, [-1e4, 0.0, 1e4], [0.0, 1.0, 0.0]),
    ],
)
def test_values_at_kinks(function: Any, at: list[float], slope: list[float]) -> None:
    assert rv.grad(lambda x: rv.sum(function(x)))(rv.tensor(at)).tolist() == slope


def test_an_infinite_cotangent_stays_where_it_belongs() -> None:
    _, back = rv.vjp(lambda x: rv.maximum(x, 0.0), rv.tensor([-1.0, 2.0]))
    assert back(rv.tensor([np.inf, np.inf]))[0].tolist() == [0.0, np.inf]
    _, back = rv.vjp(lambda x: rv.max(x), rv.tensor([1.0, 2.0]))
    assert back(rv.tensor(np.inf))[0].tolist() == [0.0, np.inf]
    _, back = rv.vjp(lambda x: rv.clip(x, -1, 1), rv.tensor([-5.0, 0.0]))
    assert back(rv.tensor([np.nan, 1.0]))[0].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_gradients_have_the_dtype_of_what_they_belong_to(dtype: str) -> None:
    def function(x: Tensor, w: Tensor) -> Tensor:
        h = rv.tanh(x @ w + 0.5) / 3
        return rv.mean(rv.where(h > 0, h**2, rv.exp(h)) * rv.sigmoid(h)) + rv.max(h) + rv.logsumexp(h)

    x, w = rv.ones((2, 3), dtype), rv.full((3, 4), 0.1, dtype)
    for g, t in zip(rv.grad(function, (0, 1))(x, w), (x, w), strict=True):
        assert g.dtype is t.dtype and g.shape == t.shape


def test_mixed_dtypes_are_pulled_back_through_the_conversion() -> None:
    narrow, wide = rv.tensor([1.0, 2.0]), rv.tensor([3.0, 4.0], "float64")
    g = rv.grad(lambda a, b: rv.sum(a * b), (0, 1))(narrow, wide)
    assert [t.dtype.name for t in g] == ["float32", "float64"]
    assert [t.tolist() for t in g] == [[3.0, 4.0], [1.0, 2.0]]
