"""What random programs do: one function for each kind of step, with the error bound of its result.

Each action takes a :class:`~tests.compiler.programs.Run`, picks values that suit it and returns the new value, or None
if there are none. ``ACTIONS`` gives each a weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import ranvier as rv

from .programs import EPSILON, NUMBERS, Item, Run, broadcasts

__all__ = ["ACTIONS"]

INF = math.inf


def _exact(t: Any, scale: float = INF) -> Item:
    return Item(t, scale, 0.0)


def _rank(n: int) -> Callable[[Item], bool]:
    return lambda x: x.t.ndim >= n


# -- elementwise --------------------------------------------------------------------------------------------------


def unary(run: Run) -> Item | None:
    """A function that is not rounded exactly."""
    x = run.number()
    if x is None:
        return None
    names = ["exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "sigmoid", "erf", "sqrt", "rsqrt"]
    name = str(run.rng.choice(names))
    x = run.tame(x)
    if name in ("log", "rsqrt", "sqrt"):
        x = Item(rv.sqrt(x.t * x.t + 0.5), x.scale + 1, x.error + 4 * x.epsilon * (x.scale + 1))
    if name == "log1p":
        x = Item(x.t * x.t, x.scale**2, 2 * x.scale * x.error + x.epsilon * x.scale**2)
    slope = {"exp": 20.1, "expm1": 20.1, "log": 1.5, "rsqrt": 1.5, "erf": 1.2}.get(name, 1.0)
    scale = {"exp": 21.0, "expm1": 21.0, "log": 3.0, "log1p": 4.0, "sqrt": 3.0, "rsqrt": 1.5}.get(name, 1.0)
    return run.approximate(getattr(rv, name)(x.t), scale, slope * x.error, x, ulps=8)


def exact_unary(run: Run) -> Item | None:
    """An op whose result IEEE 754 gives to the bit, or an integer one."""
    names = ["neg", "abs", "sign", "relu", "floor", "ceil", "round", "trunc", "sqrt", "bits", "square"]
    name = str(run.rng.choice(names))
    if name in ("floor", "ceil", "round", "trunc", "sqrt"):
        x = run.number(exact=True)
        return None if x is None else _exact(getattr(rv, name)(x.t), x.scale + 1)
    if name == "bits":
        x = run.pick(lambda x: x.kind in ("bool", "int", "uint"))
        return None if x is None else _exact(rv.bitwise_not(x.t))
    x = run.pick(lambda x: x.kind in NUMBERS and (x.exact or name in ("neg", "square") or not run.program.smooth))
    if x is None or (name == "sign" and not x.exact):
        return None
    if name == "square":
        x = x if x.exact else run.tame(x, 50.0)
        return Item(x.t * x.t, x.scale**2, 0.0 if x.exact else 2.1 * x.scale * x.error + x.epsilon * x.scale**2)
    function = {"neg": rv.negative, "abs": rv.abs, "sign": rv.sign, "relu": rv.relu}[name]
    made = function(x.t)
    return Item(made + 0 if name == "relu" else made, x.scale, x.error)  # relu(-0.0) may have either sign


def arithmetic(run: Run) -> Item | None:
    """Sums, differences and products: of anything."""
    x = run.pick(lambda x: x.kind in NUMBERS)
    if x is None:
        return None
    y = run.partner(x)
    if x.kind != "float":
        op = [rv.add, rv.subtract, rv.multiply, rv.maximum, rv.minimum][int(run.rng.integers(5))]
        return _exact(op(x.t, y.t))
    if x.exact and y.exact:
        op = [rv.add, rv.subtract, rv.multiply][int(run.rng.integers(3))]
        return _exact(op(x.t, y.t), max(x.scale + y.scale, x.scale * y.scale))
    x, y = run.tame(x, 50.0), run.tame(y, 50.0)
    if run.coin():
        op = rv.add if run.coin() else rv.subtract
        return run.approximate(op(x.t, y.t), x.scale + y.scale, x.error + y.error, x, ulps=1)
    error = x.error * y.scale + y.error * x.scale
    return run.approximate(x.t * y.t, x.scale * y.scale, error, x, ulps=1)


def scalars(run: Run) -> Item | None:
    """Python numbers beside tensors, among them those that the simplifier knows."""
    x = run.pick(lambda x: x.kind == "float")
    if x is None:
        return None
    c = float(run.rng.choice([0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 4.0, 3.0, 0.25]))
    which = int(run.rng.integers(5))
    if not x.exact:
        x = run.tame(x, 50.0)
    if which < 3:
        op = [rv.add, rv.subtract, rv.multiply][which]
        t = op(x.t, c) if run.coin() else op(c, x.t)
        return Item(t, x.scale + 4 if which < 2 else x.scale * 4, 0.0 if x.exact else _rounded(x, 4, 4))
    if which == 3:
        return Item(x.t / (c or 2.0), x.scale * 4, 0.0 if x.exact else _rounded(x, 4, 0))
    return Item(x.t - x.t * c, x.scale * 5, 0.0 if x.exact else _rounded(x, 5, 0))


def _rounded(x: Item, factor: float, offset: float) -> float:
    return 1.01 * factor * x.error + 3 * x.epsilon * (factor * x.scale + offset)


def division(run: Run) -> Item | None:
    """Quotients; the divisor is never near 0 unless both are exact."""
    x = run.number()
    if x is None:
        return None
    y = run.partner(x)
    if x.exact and y.exact and not run.program.smooth:
        divisor = rv.where(rv.equal(y.t, 0), 1, y.t)
        if run.coin(0.3):
            op = rv.remainder if run.coin() else rv.floor_divide
            return _exact(op(x.t, divisor) + 0.0)
        return _exact(x.t / divisor)
    x, y = run.tame(x, 10.0), run.tame(y, 10.0)
    divisor = y.t * y.t + 1.0
    error = 2.5 * y.scale * y.error + 3 * x.epsilon * (y.scale**2 + 1)
    return run.approximate(x.t / divisor, x.scale, x.error + x.scale * error, x)


def integers(run: Run) -> Item | None:
    """Integer division, shifts, bits and powers."""
    x = run.pick(lambda x: x.kind in ("int", "uint"))
    if x is None:
        return None
    y = run.partner(x)
    which = int(run.rng.integers(8))
    if which < 2:  # the smallest integer by -1 has no quotient
        divisor = rv.maximum(y.t, 0) if which else rv.where(rv.less(y.t, 0), y.t - 1, y.t)
        return _exact((rv.remainder if run.coin() else rv.floor_divide)(x.t, divisor))
    if which == 2:
        return _exact(rv.power(x.t, rv.remainder(y.t, 6)))
    if which == 3:
        op = rv.left_shift if run.coin() else rv.right_shift
        return _exact(op(x.t, rv.remainder(y.t, 7)))
    op = [rv.bitwise_and, rv.bitwise_or, rv.bitwise_xor, rv.bitwise_xor][which - 4]
    return _exact(op(x.t, y.t))


def powers(run: Run) -> Item | None:
    """Powers and angles of floating values."""
    x = run.number()
    if x is None:
        return None
    y = run.tame(run.partner(x), 2.0)
    x = run.tame(x, 2.0)
    base = Item(x.t * x.t + 0.5, 4.5, 4.2 * x.error + 2 * x.epsilon * 4.5)
    if run.coin():
        slope = 10.2 * base.error + 31.0 * y.error  # of b**y where b <= 4.5, |y| <= 2, b >= 0.5
        return run.approximate(rv.power(base.t, y.t), 20.3, slope * 2, x, ulps=16)
    return run.approximate(rv.atan2(y.t, base.t), 1.6, 2 * (base.error + y.error), x, ulps=8)


def compare(run: Run) -> Item | None:
    """A comparison of exact values."""
    x = run.pick(lambda x: x.exact)
    if x is None:
        return None
    y = run.partner(x, exact=True)
    name = str(run.rng.choice(["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]))
    return _exact(getattr(rv, name)(x.t, y.t))


def logic(run: Run) -> Item | None:
    """Boolean algebra, and the questions that give booleans."""
    x = run.pick(lambda x: x.kind == "bool")
    if x is None or run.coin(0.3):
        y = run.number(exact=True)
        return None if y is None else _exact([rv.isnan, rv.isinf, rv.isfinite][int(run.rng.integers(3))](y.t))
    y = run.partner(x)
    which = int(run.rng.integers(6))
    if which == 0:
        return _exact(rv.logical_not(x.t))
    op = [rv.logical_and, rv.logical_or, rv.logical_xor, rv.maximum, rv.bitwise_xor][which - 1]
    return _exact(op(x.t, y.t))


def select(run: Run) -> Item | None:
    """``where`` by an exact condition, and the larger or smaller of two."""
    x = run.pick(lambda x: x.kind in NUMBERS and (x.exact or not run.program.smooth))
    if x is None:
        return None
    y = run.partner(x)
    bounds = max(x.scale, y.scale), max(x.error, y.error)
    if run.coin(0.3) and (y.exact or not run.program.smooth):
        return Item((rv.maximum if run.coin() else rv.minimum)(x.t, y.t) + 0, *bounds)
    both = Item(rv.where(True, x.t, y.t), *bounds)
    condition = run.pick(lambda c: c.kind == "bool" and broadcasts(c, both))
    if condition is None:
        z = run.partner(x, exact=True)
        condition = _exact(rv.greater(z.t, 0)) if z.exact else None
    if condition is None:
        return None
    return Item(rv.where(condition.t, x.t, y.t if run.coin(0.8) else 0), *bounds)


def convert(run: Run) -> Item | None:
    """Another dtype: exact values to any, others to a floating one."""
    x = run.pick()
    if x is None:
        return None
    floats = ["float32", "float64"] if run.program.smooth else ["float32", "float64", "bfloat16"]
    names = floats if not x.exact else [*floats, "bool", "int8", "int16", "int32", "int64", "uint8"]
    wanted = str(run.rng.choice(names))
    if not x.exact:
        return run.cast(x, wanted)
    if x.kind == "bool":
        return _exact(x.t.astype(wanted), 1.0)
    return _exact(x.t.astype(wanted), x.scale if x.kind == "float" and wanted in EPSILON else INF)


def bits(run: Run) -> Item | None:
    """The bits of exact values under another name, and identities of gradients."""
    x = run.pick(lambda x: x.exact and x.kind in ("int", "uint") and x.name in ("int8", "uint8", "int32", "int64"))
    if x is None or run.coin(0.3):
        y = run.pick()
        return None if y is None else Item(rv.stop_gradient(y.t), y.scale, y.error)
    other = {"int8": "uint8", "uint8": "int8", "int32": "int32", "int64": "int64"}[x.name]
    return _exact(rv.bitcast(x.t, other))


# -- reductions ---------------------------------------------------------------------------------------------------


def _count(x: Item, axis: Any) -> int:
    axes = range(x.t.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    return math.prod(x.t.shape[a] for a in axes)


def _axes(run: Run, x: Item) -> Any:
    if run.coin(0.2):
        return None
    if x.t.ndim > 1 and run.coin(0.25):
        return tuple(sorted(int(a) for a in run.rng.choice(x.t.ndim, 2, replace=False)))
    return run.axis(x)


def sums(run: Run) -> Item | None:
    """Sums, means, variances, products."""
    x = run.pick(_rank(1))
    if x is None:
        return None
    axis, keep = _axes(run, x), run.coin()
    if x.kind != "float":
        return _exact(rv.sum(x.t, axis, keepdims=keep))
    x = run.tame(x, 10.0)
    n = max(_count(x, axis), 1)
    which = int(run.rng.integers(6))
    if which < 3:
        error = n * x.error + x.epsilon * x.scale * n * (2 + 0.02 * n if x.name != "bfloat16" else n)
        return Item(rv.sum(x.t, axis, keepdims=keep), n * x.scale, error + x.epsilon * x.scale * n)
    share = x.error + x.epsilon * x.scale * (4 + 0.02 * n if x.name != "bfloat16" else n + 4)
    if which < 5 or x.name == "bfloat16":
        return Item(rv.mean(x.t, axis, keepdims=keep), x.scale, share)
    return Item(rv.var(x.t, axis, keepdims=keep), 4 * x.scale**2, 9 * x.scale * share + 9 * x.epsilon * x.scale**2)


def products(run: Run) -> Item | None:
    """The product along an axis: a tree of multiplications, each exact to the bit."""
    x = run.pick(lambda x: x.t.ndim > 0 and x.kind in NUMBERS and x.exact)
    if x is None:
        return None
    return _exact(rv.prod(x.t, run.axis(x), keepdims=run.coin()))


def extremes(run: Run) -> Item | None:
    """The largest and the smallest, their places, and quantifiers."""
    x = run.pick(lambda x: x.t.ndim > 0 and x.t.size > 0 and (x.exact or not run.program.smooth))
    if x is None:
        return None
    which = int(run.rng.integers(6))
    if which < 3:
        made = (rv.max if run.coin() else rv.min)(x.t, _axes(run, x), keepdims=run.coin())
        return Item(made if x.kind == "bool" else made + 0, x.scale, x.error)
    if not x.exact:
        return None
    if which == 3:
        return _exact((rv.any if run.coin() else rv.all)(x.t, _axes(run, x)))
    axis = None if run.coin(0.2) else run.axis(x)
    if x.kind == "bool":
        return None
    return _exact((rv.argmax if run.coin() else rv.argmin)(x.t, axis, keepdims=run.coin()))


def softmax(run: Run) -> Item | None:
    """Softmax, its logarithm, and normalisation along an axis."""
    x = run.pick(lambda x: x.kind == "float" and x.t.ndim > 0 and x.t.size > 0)
    if x is None:
        return None
    axis = -1 if run.coin(0.7) else run.axis(x)
    x, n = run.tame(x, 8.0), x.t.shape[axis]
    e, slack = x.epsilon, (n if x.name == "bfloat16" else 4 + 0.02 * n)
    which = int(run.rng.integers(4))
    if which == 0:
        top = rv.stop_gradient(rv.max(x.t, axis, keepdims=True))
        power = rv.exp(x.t - top)
        relative = 2 * x.error + e * (2 * x.scale + 16 + slack)
        return Item(power / rv.sum(power, axis, keepdims=True), 1.0, 3 * relative)
    log = rv.logsumexp(x.t, axis, keepdims=True)
    error = x.error + e * (4 * x.scale + 4 * math.log(n + 1) + 16 + slack)
    if which == 1:
        return Item(log, x.scale + math.log(n + 1), 2 * error)
    if which == 2:
        return Item(x.t - log, 2 * x.scale + math.log(n + 1), 3 * error)
    middle = rv.mean(x.t, axis, keepdims=True)
    spread = rv.sqrt(rv.mean((x.t - middle) ** 2, axis, keepdims=True) + 1.0)
    share = x.error + e * x.scale * (4 + slack)
    return Item((x.t - middle) / spread, 2 * x.scale, 40 * x.scale * (2 * x.scale) * share + 40 * e * x.scale)


# -- shapes -------------------------------------------------------------------------------------------------------


def _moved(x: Item, t: Any) -> Item:
    return Item(t, x.scale, x.error)


def transposes(run: Run) -> Item | None:
    """Axes in another order."""
    x = run.pick(_rank(2))
    if x is None:
        return None
    return _moved(x, rv.transpose(x.t, [int(a) for a in run.rng.permutation(x.t.ndim)]))


def reshapes(run: Run) -> Item | None:
    """Flattened, cut in two, or with axes of size 1 put in or taken out."""
    x = run.pick()
    if x is None:
        return None
    which = int(run.rng.integers(5))
    if which == 0:
        return _moved(x, rv.reshape(x.t, (x.t.size,)))
    if which == 1:
        return _moved(x, rv.expand_dims(x.t, int(run.rng.integers(x.t.ndim + 1))))
    if which == 2:
        return _moved(x, rv.squeeze(x.t))
    size = x.t.size
    divisors = [d for d in (2, 3, 4, 5, 7, 8, 16, 31, 64) if size and size % d == 0]
    if not divisors:
        return None
    d = int(run.rng.choice(divisors))
    return _moved(x, rv.reshape(x.t, (d, size // d) if run.coin() else (size // d, d)))


def slices(run: Run) -> Item | None:
    """Slices with steps of both signs, single indices, new axes, flips."""
    x = run.pick(_rank(1))
    if x is None:
        return None
    if run.coin(0.2):
        return _moved(x, rv.flip(x.t, run.axis(x) if run.coin() else None))
    key: list[Any] = []
    for n in x.t.shape:
        which = int(run.rng.integers(6))
        if which < 3 or n < 2:
            key.append(slice(None))
        elif which == 3:
            key.append(int(run.rng.integers(-n, n)))
        else:
            step = int(run.rng.choice([1, 1, 2, 3, -1, -2]))
            a, b = sorted(int(i) for i in run.rng.integers(0, n + 1, 2))
            key.append(slice(a, b, step) if step > 0 else slice(b, a or None, step))
    if run.coin(0.15):
        key.insert(int(run.rng.integers(len(key) + 1)), None)
    return _moved(x, x.t[tuple(key)])


def repeats(run: Run) -> Item | None:
    """Broadcasts, tiles and repetitions."""
    x = run.pick(lambda x: x.t.size <= 4000)
    if x is None:
        return None
    which = int(run.rng.integers(3))
    if which == 0 or x.t.ndim == 0:
        shape = (int(run.rng.choice(run.program.dims)), *x.t.shape)
        return _moved(x, rv.broadcast_to(x.t, shape))
    if which == 1:
        return _moved(x, rv.tile(x.t, tuple(int(n) for n in run.rng.integers(1, 3, x.t.ndim))))
    return _moved(x, rv.repeat(x.t, 2, axis=run.axis(x)))


def joins(run: Run) -> Item | None:
    """Concatenations, stacks, paddings, embeddings, pieces."""
    x = run.pick(_rank(1))
    if x is None:
        return None
    which, axis = int(run.rng.integers(5)), run.axis(x)
    rest = [n for i, n in enumerate(x.t.shape) if i != axis % x.t.ndim]

    def fits(y: Item) -> bool:
        other = [n for i, n in enumerate(y.t.shape) if i != axis % x.t.ndim]
        return y.t.dtype is x.t.dtype and y.t.ndim == x.t.ndim and other == rest

    y = run.pick(fits) or x
    bounds = max(x.scale, y.scale), max(x.error, y.error)
    if which < 2:
        return Item(rv.concatenate([x.t, y.t] if run.coin(0.7) else [x.t, y.t, x.t], axis), *bounds)
    if which == 2:
        return _moved(x, rv.stack([x.t, rv.negative(x.t)] if x.kind in NUMBERS else [x.t, x.t], axis=axis))
    if which == 3:
        pairs = [tuple(int(n) for n in run.rng.integers(0, 3, 2)) for _ in x.t.shape]
        value = int(run.rng.integers(2)) if x.kind in NUMBERS else 0
        return Item(rv.pad(x.t, pairs, value=value), max(x.scale, 1.0), x.error)
    steps = [int(n) for n in run.rng.integers(1, 3, x.t.ndim)]
    starts = [int(n) for n in run.rng.integers(0, 2, x.t.ndim)]
    shape = [a + max(n, 1) * c + 1 for a, n, c in zip(starts, x.t.shape, steps, strict=True)]
    return _moved(x, rv.embed(x.t, shape, starts, steps))


# -- products -----------------------------------------------------------------------------------------------------


def matmul(run: Run) -> Item | None:
    """Products of matrices, vectors and batches, with either factor transposed, in any dtype of numbers."""
    x = run.pick(lambda x: x.kind in NUMBERS and x.t.ndim >= 1 and x.t.size <= 20_000)
    if x is None:
        return None
    x = run.tame(x) if x.kind == "float" else x

    def fits(y: Item) -> bool:
        same = y.t.dtype is x.t.dtype and y.t.ndim >= 1 and y.t.size <= 20_000
        return (
            same
            and x.t.shape[-1] in (y.t.shape[-2:][0], y.t.shape[-1])
            and (x.t.ndim < 3 or y.t.ndim < 3 or x.t.shape[0] == y.t.shape[0] or 1 in (x.t.shape[0], y.t.shape[0]))
        )

    y = run.pick(fits) or x
    y = run.tame(y) if y.kind == "float" else y
    a, b = x.t, y.t
    k = a.shape[-1]
    if b.ndim >= 2 and (b.shape[-2] != k or (b.shape[-1] == k and run.coin(0.3))):
        b = rv.swapaxes(b, -1, -2)
    if a.ndim >= 2 and b.ndim >= 2 and a.size * b.size / max(k, 1) > 4e6:
        return None
    made = rv.matmul(a, b)
    if x.kind != "float":
        return _exact(made)
    e = 2.0**-23 if x.name == "bfloat16" else x.epsilon
    error = k * (x.error * y.scale + y.error * x.scale) + e * k * x.scale * y.scale * (4 + 0.05 * k)
    return Item(made, k * x.scale * y.scale + 1e-9, error + 2 * x.epsilon * k * x.scale * y.scale + 1e-30)


def dense(run: Run) -> Item | None:
    """A dense layer on a variable or an argument, with bias and activation: what contractions are fused with."""
    x = run.pick(lambda x: x.kind == "float" and x.t.ndim == 2 and x.t.size <= 20_000)
    if x is None:
        return None
    w = run.pick(lambda w: w.t.dtype is x.t.dtype and w.t.ndim == 2 and w.t.shape[0] == x.t.shape[1])
    if w is None:
        w = Item(rv.tensor(run.rng.normal(size=(x.t.shape[1], 12)), x.name), 8.0, 0.0)
    x, w = run.tame(x), run.tame(w)
    k = x.t.shape[1]
    e = 2.0**-23 if x.name == "bfloat16" else x.epsilon
    error = k * (x.error * w.scale + w.error * x.scale) + e * k * x.scale * w.scale * (4 + 0.05 * k)
    made = rv.matmul(x.t, w.t) * (1 / (k + 1))
    suited = (made.shape, made.shape[1:], (made.shape[0], 1), ())
    bias = run.pick(lambda b: b.t.dtype is x.t.dtype and b.t.shape in suited)
    extra = 0.0
    if bias is not None:
        bias = run.tame(bias)
        made, extra = made + bias.t, bias.error
    error = error / (k + 1) + extra + 4 * x.epsilon * (x.scale * w.scale + 3)
    if run.coin(0.3) and not run.program.smooth:
        return Item(rv.relu(made) + 0, x.scale * w.scale + 3, error)
    return run.approximate(rv.tanh(made), 1.0, error, x, ulps=8)


# -- indices ------------------------------------------------------------------------------------------------------


def _index(run: Run, n: int, shape: tuple[int, ...]) -> Any:
    """Positions below ``n``: known ones, or computed ones."""
    if run.coin(0.6):
        return run.rng.integers(-n, n, shape)
    x = run.pick(lambda x: x.kind in ("int", "uint") and x.t.size == math.prod(shape) and x.t.size > 0)
    if x is None:
        return run.rng.integers(0, n, shape)
    return rv.reshape(rv.remainder(x.t.astype("int64"), n), shape)


def take(run: Run) -> Item | None:
    """Slices by position along an axis, or one element for each position."""
    x = run.pick(lambda x: x.t.ndim > 0 and x.t.size > 0)
    if x is None:
        return None
    axis = run.axis(x)
    n = x.t.shape[axis]
    if run.coin():
        shape = [(4,), (n,), (2, 3), (), (1,)][int(run.rng.integers(5))]
        return _moved(x, rv.take(x.t, _index(run, n, shape), axis))
    shape = list(x.t.shape)
    shape[axis] = int(run.rng.choice([1, 2, n, n, 5]))
    return _moved(x, rv.take_along_axis(x.t, _index(run, n, tuple(shape)), axis))


def scatter(run: Run) -> Item | None:
    """Additions at positions along an axis."""
    x = run.pick(lambda x: x.t.ndim > 0 and x.t.size > 0 and x.kind in NUMBERS)
    if x is None:
        return None
    x = run.tame(x) if x.kind == "float" else x
    axis = run.axis(x)
    n, along = x.t.shape[axis], run.coin()
    count = int(run.rng.choice([1, 2, 4, 7]))
    shape = list(x.t.shape)
    shape[axis] = count
    index = _index(run, n, tuple(shape) if along else (count,))
    y = run.partner(x)
    y = run.tame(y) if y.kind == "float" else y
    size = [1 if i == axis % x.t.ndim else m for i, m in enumerate(x.t.shape)]
    if list(np.broadcast_shapes(y.t.shape, size)) != size:
        y = Item(rv.take(x.t, 0, axis), x.scale, x.error)
        y = Item(rv.expand_dims(y.t, axis % x.t.ndim), x.scale, x.error)
    updates = rv.broadcast_to(y.t, tuple(shape)) if y.t.shape != () or run.coin() else y.t + rv.zeros(shape, y.name)
    base = rv.zeros_like(x.t) if run.coin(0.4) else x.t
    made = (rv.add_along_axis if along else rv.scatter_add)(base, index, updates, axis)
    if x.kind != "float":
        return _exact(made)
    scale = x.scale + count * y.scale
    return Item(made, scale, x.error + count * y.error + 2 * (count + 1) * x.epsilon * scale)


def one_hot(run: Run) -> Item | None:
    """One-hot rows, also of positions out of range."""
    x = run.pick(lambda x: x.kind in ("int", "uint") and x.t.size <= 500)
    if x is None:
        return None
    classes = int(run.rng.choice([1, 3, 10, 16, 33]))
    return _exact(rv.one_hot(x.t, classes, str(run.rng.choice(["float32", "float64", "int32"]))), 1.0)


def random(run: Run) -> Item | None:
    """Random bits and uniform numbers of the program's own stream."""
    state = run.variables[-1]
    now = state.value
    state.assign(now + np.array([0, 1]))
    shape = run.program.shapes[int(run.rng.integers(len(run.program.shapes)))]
    word = int(run.rng.integers(2))
    made = rv.ops.random.random_bits(now, shape=shape, word=word)
    if run.coin(0.3):
        return _exact(made.astype(str(run.rng.choice(["int64", "int32", "uint8"]))))
    return _exact((made >> 8).astype("float32") * 2.0**-24, 1.0)


# -- along an axis, over images --------------------------------------------------------------------------------------


def running(run: Run) -> Item | None:
    """Running sums, products and maxima."""
    x = run.pick(lambda x: x.t.ndim > 0 and x.kind != "bool")
    if x is None:
        return None
    axis, back, which = run.axis(x), run.coin(), int(run.rng.integers(3))
    n = x.t.shape[axis]
    if which == 0 and (x.exact or not run.program.smooth):
        return Item(rv.cumulative_max(x.t, axis, reverse=back), x.scale, x.error)
    if x.kind != "float" or (x.exact and which == 1):
        return _exact((rv.cumulative_sum if which else rv.cumulative_prod)(x.t, axis, reverse=back))
    x = run.tame(x)
    scale = n * x.scale + 1
    return Item(rv.cumulative_sum(x.t, axis, reverse=back), scale, 1.01 * n * x.error + 2 * n * x.epsilon * scale)


def sorting(run: Run) -> Item | None:
    """Sorted values, the largest, and their places."""
    x = run.pick(lambda x: x.t.ndim > 0 and x.t.size > 0 and (x.exact or not run.program.smooth))
    if x is None:
        return None
    axis, down = run.axis(x), run.coin()
    if run.coin(0.4):
        return Item(rv.sort(x.t, axis, down), x.scale, x.error)  # no value moves by more than the largest error
    k = int(run.rng.integers(1, x.t.shape[axis] + 1))
    values, places = rv.top_k(x.t, k, axis)
    if run.coin() or not x.exact:
        return Item(values, x.scale, x.error)
    return _exact(rv.argsort(x.t, axis, down) if run.coin() else places)


def images(run: Run) -> Item | None:
    """Convolutions, pooling, mirrored padding and resizing of values with three axes."""
    x = run.pick(lambda x: x.kind == "float" and x.t.ndim == 3 and x.t.size > 0)
    if x is None:
        return None
    _, n, channels = x.t.shape
    which, k, stride = int(run.rng.integers(6)), int(run.rng.integers(1, 4)), int(run.rng.integers(1, 3))
    padding = str(run.rng.choice(["valid", "same"]))
    if which == 0 and (x.exact or not run.program.smooth):
        return Item(rv.max_pool(x.t, k, stride, padding), x.scale, x.error)
    if which == 1:
        mode = str(run.rng.choice(["reflect", "symmetric", "edge"]))
        return _moved(x, rv.pad(x.t, [(0, 0), (k, stride), (0, 1)], mode))
    if which == 2:
        return _moved(x, rv.resize(x.t, int(run.rng.integers(1, 2 * n + 1))))
    x = run.tame(x)
    if which == 3:
        return run.approximate(rv.average_pool(x.t, k, stride, padding), x.scale, x.error, x)
    groups = channels if run.coin(0.3) else 1
    filters = groups * int(run.rng.integers(1, 4))
    turned = which == 4 and groups == 1
    kernel = run.rng.choice([-1.0, 0.5, 1.0], (k, filters, channels) if turned else (k, channels // groups, filters))
    weights = rv.tensor(kernel, x.name)
    made = rv.conv_transpose(x.t, weights, stride, padding) if turned else rv.conv(
        x.t, weights, stride, padding, 1, groups
    )  # fmt: skip
    terms = k * channels // groups
    scale = terms * x.scale
    return Item(made, scale, 1.01 * terms * x.error + 2 * (terms + 2) * x.epsilon * scale)


# -- control and variables ----------------------------------------------------------------------------------------


def control(run: Run) -> Item | None:
    """A loop over the first axis, a branch, or a loop of unknown length."""
    which = int(run.rng.integers(3))
    if which == 0:
        x = run.pick(lambda x: x.kind == "float" and x.t.ndim > 0 and 0 < x.t.shape[0] <= 20)
        if x is None or x.name == "bfloat16":
            return None
        x = run.tame(x)
        start = rv.zeros(x.t.shape[1:], x.name)
        last, every = rv.scan(lambda c, s: (rv.tanh(c * 0.5 + s), c - s), start, x.t, reverse=run.coin())
        return run.approximate(every if run.coin() else last, 4.0, 3 * x.error, x, ulps=32)
    if which == 1:
        flag = run.pick(lambda x: x.kind == "bool" and x.t.size == 1)
        x = run.number()
        if x is None or flag is None:
            return None
        x = run.tame(x)
        made = rv.cond(flag.t, lambda v: v * 2.0, lambda v: v[::-1] if v.ndim else v + 1.0, x.t)
        return Item(made, 2 * x.scale + 1, 0.0 if x.exact else _rounded(x, 2, 1))
    x = run.pick(lambda x: x.name in ("int32", "int64") and x.t.size == 1)
    if x is None:
        return None
    start = rv.remainder(rv.reshape(x.t, ()), 17)
    return _exact(rv.while_loop(lambda c: c < 100, lambda c: c * 2 + 3, start))


def assign(run: Run) -> Item | None:
    """A new value for a variable: computed, taken over from another variable, exchanged, or rearranged."""
    slots = run.program.slots
    if not slots or run.program.smooth:
        return None
    i = int(run.rng.integers(len(slots)))
    slot, v = slots[i], run.variables[i]
    old = Item(v.value, slot.scale, slot.error)
    if run.coin(0.3):
        facts = [(s.dtype, s.value.shape, s.error) for s in slots]
        alike = [j for j, fact in enumerate(facts) if fact == facts[i]]
        j = int(run.rng.choice(alike))
        w = run.variables[j]
        a, b = v.value, w.value
        v.assign(b)
        if run.coin():
            w.assign(a)
        return old
    if run.coin(0.3):
        t = old.t
        if t.ndim and t.size:
            t = [rv.flip(t, 0), rv.take(t, run.rng.permutation(t.shape[0]), 0), rv.broadcast_to(t[:1], t.shape)][
                int(run.rng.integers(3))
            ]
        if t.ndim == 2 and t.shape[0] == t.shape[1] and run.coin():
            t = rv.transpose(t)
        v.assign(t)
        return old
    return _computed(run, v, old, exact=slot.error == 0)


def _computed(run: Run, v: rv.Variable, old: Item, exact: bool) -> Item | None:
    x = run.pick(lambda x: x.t.dtype is old.t.dtype and x.t.shape == old.t.shape and (x.exact or not exact))
    if x is None:
        return None
    if exact:
        v.assign(x.t if run.coin(0.5) or x.kind == "bool" else old.t + x.t)
        return old if run.coin() else None
    x = run.tame(x)
    if 1.01 * (0.5 * old.error + 0.25 * x.error) + 8 * old.epsilon * 8 > old.error:
        return None
    v.assign(old.t * 0.5 + x.t * 0.25)
    return old if run.coin() else None


ACTIONS: dict[str, tuple[float, Callable[[Run], Item | None]]] = {
    "unary": (7, unary), "exact_unary": (7, exact_unary), "arithmetic": (16, arithmetic), "scalars": (6, scalars),
    "division": (4, division), "integers": (5, integers), "powers": (2, powers), "compare": (4, compare),
    "logic": (3, logic), "select": (7, select), "convert": (6, convert), "bits": (2, bits), "sums": (9, sums),
    "products": (1.5, products), "extremes": (6, extremes), "softmax": (4, softmax), "transposes": (4, transposes),
    "reshapes": (5, reshapes), "slices": (7, slices), "repeats": (3, repeats), "joins": (4, joins),
    "matmul": (7, matmul), "dense": (6, dense), "take": (5, take), "scatter": (4, scatter), "one_hot": (2, one_hot),
    "running": (3, running), "sorting": (3, sorting), "images": (6, images), "random": (2, random),
    "control": (2, control), "assign": (7, assign),
}  # fmt: skip
