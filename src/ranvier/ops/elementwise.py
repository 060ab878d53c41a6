"""Elementwise ops: one value in, one value out, with NumPy broadcasting between inputs.

Inputs of binary ops are brought to one dtype first (:func:`ranvier.promote`); Python scalars take the dtype of the
tensor they meet. Each record below reads: name, meaning, gradient rule for each input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.dtypes import DType, as_dtype, promote
from ranvier.errors import DTypeError
from ranvier.ops.table import Aval, Op, apply, broadcast_shapes, require_kind
from ranvier.tensor import Tensor, as_tensor

__all__ = [
    "abs", "add", "astype", "atan2", "bitcast", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "ceil",
    "clip", "cos", "divide", "equal", "erf", "exp", "expm1", "floor", "floor_divide", "greater", "greater_equal",
    "isfinite", "isinf", "isnan", "left_shift", "less", "less_equal", "log", "log1p", "logical_and", "logical_not",
    "logical_or", "logical_xor", "maximum", "minimum", "multiply", "negative", "not_equal", "power", "reciprocal",
    "relu", "remainder", "right_shift", "round", "rsqrt", "sigmoid", "sign", "sin", "sqrt", "square", "stop_gradient",
    "subtract", "tanh", "trunc", "where",
]  # fmt: skip


# -- coercion -----------------------------------------------------------------------------------------------------


def _scalar(value: Any, like: DType) -> Tensor:
    """A Python number beside a tensor takes the tensor's dtype, unless it is of a higher kind."""
    if isinstance(value, float) and not like.is_float:
        return as_tensor(value)
    if isinstance(value, int) and not isinstance(value, bool) and like.kind == "bool":
        return as_tensor(value)
    return Tensor._wrap(np.asarray(value).astype(like.numpy), like)


def coerce(values: Sequence[Any]) -> tuple[Tensor, ...]:
    """Tensors of one dtype from tensors, arrays and Python numbers."""
    made = [v if type(v) is Tensor else None if type(v) in (int, float, bool) else as_tensor(v) for v in values]
    known = [t._dtype for t in made if t is not None]
    if known:
        dtype = known[0]
        for other in known[1:]:
            if other is not dtype:
                dtype = promote(dtype, other)
        made = [_scalar(v, dtype) if t is None else t for t, v in zip(made, values, strict=True)]
    else:
        made = [as_tensor(v) for v in values]
        dtype = made[0]._dtype  # type: ignore[union-attr]
    for t in made:
        dtype = promote(dtype, t._dtype)  # type: ignore[union-attr]
    return tuple(t if t._dtype is dtype else apply(cast, (t,), {"dtype": dtype}) for t in made)  # type: ignore[union-attr,misc]


class Unary(Op):
    """An elementwise op of one input. ``to_float``: integers are converted to float32 first."""

    def __init__(
        self,
        name: str,
        reference: Callable[..., Any],
        vjp: Callable[..., Any] | None,
        doc: str,
        *,
        kinds: str = "float",
        result: DType | None = None,
        **options: Any,
    ):
        def infer(inputs: Sequence[Tensor]) -> Aval:
            require_kind(name, inputs[0], kinds)
            return Aval(inputs[0].shape, result or inputs[0].dtype)

        super().__init__(
            name, reference, infer, (vjp,) if vjp else (), family="elementwise", arity=1, doc=doc, kinds=kinds, **options
        )

    def __call__(self, x: Any) -> Tensor:  # type: ignore[override]
        x = as_tensor(x)
        if self.kinds == "float" and not x._dtype.is_float:
            x = apply(cast, (x,), {"dtype": dtypes.float32})
        elif x._dtype.kind == "bool" and "bool" not in self.kinds:
            require_kind(self.name, x, self.kinds)
        return apply(self, (x,), {})


class Binary(Op):
    """An elementwise op of two inputs of one dtype."""

    def __init__(
        self,
        name: str,
        reference: Callable[..., Any],
        vjps: Sequence[Callable[..., Any] | None],
        doc: str,
        *,
        kinds: str = "bool int float",
        result: DType | None = None,
        **options: Any,
    ):
        def infer(inputs: Sequence[Tensor]) -> Aval:
            x, y = inputs
            require_kind(name, x, kinds)
            shape = x.shape if x.shape == y.shape else broadcast_shapes(name, x.shape, y.shape)
            return Aval(shape, result or x.dtype)

        super().__init__(
            name, reference, infer, vjps, family="elementwise", arity=2, broadcasts=True, doc=doc, kinds=kinds, **options
        )

    def __call__(self, x: Any, y: Any) -> Tensor:  # type: ignore[override]
        if not (type(x) is Tensor and type(y) is Tensor and x._dtype is y._dtype):
            x, y = coerce((x, y))
        if self.kinds == "float" and not x._dtype.is_float:
            x, y = (apply(cast, (t,), {"dtype": dtypes.float32}) for t in (x, y))
        elif x._dtype.kind == "bool" and "bool" not in self.kinds:
            require_kind(self.name, x, self.kinds)
        return apply(self, (x, y), {})


# -- casts and identities -----------------------------------------------------------------------------------------


def _cast_reference(x: np.ndarray, dtype: DType) -> np.ndarray:
    if x.dtype.kind == "f" and dtype.kind in ("int", "uint"):
        # Saturate, and send NaN to 0: C leaves both undefined, so CPUs disagree.
        info = np.iinfo(dtype.numpy)
        high = np.nextafter(x.dtype.type(info.max), x.dtype.type(0)) if float(info.max) != info.max else info.max
        inside = np.where(np.isnan(x), x.dtype.type(0), np.clip(x, x.dtype.type(info.min), x.dtype.type(high)))
        out = inside.astype(dtype.numpy)
        return np.where(x > x.dtype.type(high), np.asarray(info.max, dtype.numpy), out)
    return x.astype(dtype.numpy)


def _cast_infer(inputs: Sequence[Tensor], dtype: DType) -> Aval:
    return Aval(inputs[0].shape, dtype)


def _cast_vjp(g: Tensor, out: Tensor, x: Tensor, dtype: DType) -> Tensor | None:
    return astype(g, x.dtype) if x.dtype.is_float else None


cast = Op(
    "cast",
    _cast_reference,
    _cast_infer,
    (_cast_vjp,),
    family="elementwise",
    doc="Convert to another dtype. Floats become integers by truncation; out of range saturates and NaN gives 0.",
    samples=lambda rng: [
        ((rng.normal(size=(3, 4)) * 3,), {"dtype": d}) for d in (dtypes.float32, dtypes.int32, dtypes.bool_)
    ],
)


def astype(x: Any, dtype: Any) -> Tensor:
    """Convert to another dtype.

    Floats become integers by truncation towards zero; out of range saturates and NaN becomes 0. Numbers become bool
    by ``x != 0``.

    Args:
        x: any tensor.
        dtype: the dtype wanted.

    Example:
        >>> import ranvier as rv
        >>> rv.astype([1.7, -1.7], "int32").tolist()
        [1, -1]
    """
    t, wanted = as_tensor(x), as_dtype(dtype)
    return t if t._dtype is wanted else apply(cast, (t,), {"dtype": wanted})


def _bitcast_infer(inputs: Sequence[Tensor], dtype: DType) -> Aval:
    if inputs[0].dtype.itemsize != dtype.itemsize or dtypes.bfloat16 in (inputs[0].dtype, dtype):
        raise DTypeError(
            f"bitcast: expected a dtype of the same width other than bfloat16, got {inputs[0].dtype} to {dtype}."
        )
    return Aval(inputs[0].shape, dtype)


bitcast_op = Op(
    "bitcast",
    lambda x, dtype: np.ascontiguousarray(x).view(dtype.numpy).reshape(x.shape),
    _bitcast_infer,
    family="elementwise",
    no_gradient="reads bits",
    samples=lambda rng: [((rng.normal(size=(3, 4)).astype(np.float32),), {"dtype": dtypes.int32})],
    errors=[((np.ones(2, np.float32),), {"dtype": dtypes.int64}, DTypeError, "same width")],
)


def bitcast(x: Any, dtype: Any) -> Tensor:
    """The same bits read as another dtype of the same width.

    Args:
        x: any tensor but bfloat16.
        dtype: the dtype wanted.

    Raises:
        DTypeError: the widths differ.

    Example:
        >>> import ranvier as rv
        >>> hex(rv.bitcast(rv.tensor(1.0), "int32").item())
        '0x3f800000'
    """
    return bitcast_op(x, dtype=as_dtype(dtype))


stop_gradient = Op(
    "stop_gradient",
    lambda x: x,
    lambda inputs: Aval(inputs[0].shape, inputs[0].dtype),
    family="elementwise",
    no_gradient="stopping gradients is its purpose",
    doc="The same values, but no gradient flows through.",
)

# -- one input ----------------------------------------------------------------------------------------------------

negative = Unary("neg", np.negative, lambda g, out, x: -g, "``-x``.", kinds="int float")
abs = Unary("abs", np.abs, lambda g, out, x: g * sign(x), "``|x|``; its gradient at 0 is 0.", kinds="int float")
sign = Unary("sign", np.sign, None, "-1, 0 or 1 by the sign of x.", kinds="int float", no_gradient="piecewise constant")
exp = Unary("exp", np.exp, lambda g, out, x: g * out, "``e**x``.")
expm1 = Unary("expm1", np.expm1, lambda g, out, x: g * (out + 1), "``e**x - 1``, accurate near 0.")
log = Unary("log", np.log, lambda g, out, x: g / x, "The natural logarithm.", domain=(0.1, 4.0))
log1p = Unary("log1p", np.log1p, lambda g, out, x: g / (x + 1), "``log(1 + x)``, accurate near 0.", domain=(-0.9, 4.0))
sqrt = Unary("sqrt", np.sqrt, lambda g, out, x: g * 0.5 / out, "The square root.", domain=(0.1, 4.0))
sin = Unary("sin", np.sin, lambda g, out, x: g * cos(x), "The sine; x in radians.")
cos = Unary("cos", np.cos, lambda g, out, x: -(g * sin(x)), "The cosine; x in radians.")
tanh = Unary("tanh", np.tanh, lambda g, out, x: g * (1 - out * out), "The hyperbolic tangent.")


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(x.dtype)


def _erf(x: np.ndarray) -> np.ndarray:
    flat = [math.erf(v) for v in np.ravel(x).tolist()]
    return np.array(flat, x.dtype).reshape(x.shape)


sigmoid = Unary("sigmoid", _sigmoid, lambda g, out, x: g * out * (1 - out), "``1 / (1 + e**-x)``.")
erf = Unary(
    "erf", _erf, lambda g, out, x: g * (2 / math.sqrt(math.pi)) * exp(-(x * x)), "The error function of x."
)
relu = Unary(
    "relu",
    lambda x: np.maximum(x, np.zeros((), x.dtype)),
    lambda g, out, x: where(out > 0, g, 0),  # from the output, so the input need not be kept
    "``max(x, 0)``; its gradient at 0 is 0. NaN stays NaN.",
    kinds="int float",
)
floor = Unary("floor", np.floor, None, "The largest integer <= x.", no_gradient="piecewise constant")
ceil = Unary("ceil", np.ceil, None, "The smallest integer >= x.", no_gradient="piecewise constant")
round = Unary("round", np.rint, None, "The nearest integer, ties to even.", no_gradient="piecewise constant")
trunc = Unary("trunc", np.trunc, None, "The integer part, towards 0.", no_gradient="piecewise constant")
isnan = Unary("isnan", np.isnan, None, "Whether x is NaN.", result=dtypes.bool_, no_gradient="boolean")
isinf = Unary("isinf", np.isinf, None, "Whether x is infinite.", result=dtypes.bool_, no_gradient="boolean")
isfinite = Unary(
    "isfinite", np.isfinite, None, "Whether x is neither NaN nor infinite.", result=dtypes.bool_, no_gradient="boolean"
)
logical_not = Unary(
    "logical_not", np.logical_not, None, "Boolean negation.", kinds="bool", no_gradient="boolean"
)
bitwise_not = Unary("bitwise_not", np.invert, None, "Each bit inverted.", kinds="bool int", no_gradient="integer")

# -- two inputs ---------------------------------------------------------------------------------------------------

_NUMBERS = "int float"

add = Binary("add", np.add, (lambda g, out, x, y: g, lambda g, out, x, y: g), "``x + y``.", kinds=_NUMBERS)
subtract = Binary("sub", np.subtract, (lambda g, out, x, y: g, lambda g, out, x, y: -g), "``x - y``.", kinds=_NUMBERS)
multiply = Binary(
    "mul", np.multiply, (lambda g, out, x, y: g * y, lambda g, out, x, y: g * x), "``x * y``.", kinds=_NUMBERS
)
divide = Binary(
    "div",
    np.divide,
    (lambda g, out, x, y: g / y, lambda g, out, x, y: -(g * out / y)),
    "``x / y``; integers are converted to float32.",
    kinds="float",
    domain=(0.5, 3.0),
)


def _pow_base(g: Tensor, out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return g * y * power_op(x, y - 1)


def _pow_exponent(g: Tensor, out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return g * out * log(where(x > 0, x, 1))  # 0**y and negative bases have no real derivative here: 0


def _integer_power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "f":
        return np.power(x, y)
    return np.where(y < 0, 0, np.power(x, np.maximum(y, 0))).astype(x.dtype)


power_op = Binary(
    "pow", _integer_power, (_pow_base, _pow_exponent), "``x ** y``.", kinds=_NUMBERS, domain=(0.5, 2.5)
)
maximum = Binary(
    "maximum",
    np.maximum,
    (lambda g, out, x, y: g * _share(x, y, x > y), lambda g, out, x, y: g * _share(x, y, y > x)),
    "The larger of x and y; NaN if either is. Equal inputs share the gradient.",
)
minimum = Binary(
    "minimum",
    np.minimum,
    (lambda g, out, x, y: g * _share(x, y, x < y), lambda g, out, x, y: g * _share(x, y, y < x)),
    "The smaller of x and y; NaN if either is. Equal inputs share the gradient.",
)


def _share(x: Tensor, y: Tensor, mine: Tensor) -> Tensor:
    """1 where this input was chosen, 1/2 on ties, 0 elsewhere."""
    half = Tensor._wrap(np.asarray(0.5, x.dtype.numpy), x.dtype)
    return where(equal(x, y), half, astype(mine, x.dtype))


# Integer division by zero gives 0 everywhere (NumPy does so with a warning; CPUs trap).
remainder = Binary(
    "remainder",
    np.remainder,
    (lambda g, out, x, y: g, lambda g, out, x, y: -(g * floor(x / y))),
    "``x - floor(x / y) * y``: the sign of y, as in Python. Integer remainder by 0 gives 0.",
    kinds=_NUMBERS,
    domain=(0.6, 0.9),
)
floor_divide = Binary(
    "floor_divide",
    np.floor_divide,
    (),
    "``floor(x / y)``. Integer division by 0 gives 0.",
    kinds=_NUMBERS,
    domain=(0.6, 0.9),
    no_gradient="piecewise constant",
)
atan2 = Binary(
    "atan2",
    np.arctan2,
    (lambda g, out, y, x: g * x / (x * x + y * y), lambda g, out, y, x: -(g * y / (x * x + y * y))),
    "The angle of the point (y, x), in radians: ``atan2(y, x)``.",
    kinds="float",
    domain=(0.5, 2.0),
)

_BOOL: dict[str, Any] = {"result": dtypes.bool_, "no_gradient": "boolean"}
equal = Binary("equal", np.equal, (), "``x == y``.", **_BOOL)
not_equal = Binary("not_equal", np.not_equal, (), "``x != y``.", **_BOOL)
less = Binary("less", np.less, (), "``x < y``.", **_BOOL)
less_equal = Binary("less_equal", np.less_equal, (), "``x <= y``.", **_BOOL)
logical_and = Binary("logical_and", np.logical_and, (), "Boolean and.", kinds="bool", **_BOOL)
logical_or = Binary("logical_or", np.logical_or, (), "Boolean or.", kinds="bool", **_BOOL)
logical_xor = Binary("logical_xor", np.logical_xor, (), "Boolean exclusive or.", kinds="bool", **_BOOL)

_BITS: dict[str, Any] = {"kinds": "bool int", "no_gradient": "integer"}
bitwise_and = Binary("bitwise_and", np.bitwise_and, (), "Bitwise and.", **_BITS)
bitwise_or = Binary("bitwise_or", np.bitwise_or, (), "Bitwise or.", **_BITS)
bitwise_xor = Binary("bitwise_xor", np.bitwise_xor, (), "Bitwise exclusive or.", **_BITS)
left_shift = Binary("left_shift", np.left_shift, (), "``x << y``.", kinds="int", no_gradient="integer", domain=(0, 3))
right_shift = Binary(
    "right_shift", np.right_shift, (), "``x >> y``: arithmetic for signed types.", kinds="int", no_gradient="integer",
    domain=(0, 3),
)  # fmt: skip

# -- three inputs -------------------------------------------------------------------------------------------------


def _where_infer(inputs: Sequence[Tensor]) -> Aval:
    condition, x, y = inputs
    require_kind("where (condition)", condition, "bool")
    return Aval(broadcast_shapes("where", condition.shape, x.shape, y.shape), x.dtype)


where_op = Op(
    "where",
    np.where,
    _where_infer,
    (None, lambda g, out, c, x, y: where(c, g, 0), lambda g, out, c, x, y: where(c, 0, g)),
    family="elementwise",
    no_gradient="the condition is boolean",
    arity=3,
    broadcasts=True,
    samples=lambda rng: [
        ((rng.random((3, 4)) < 0.5, rng.normal(size=(3, 4)), rng.normal(size=(4,))), {}),
        ((rng.random((3, 1)) < 0.5, rng.normal(size=(1, 4)), rng.normal(size=())), {}),
    ],
    errors=[((np.ones(2, bool), np.ones(3), np.ones(3)), {}, ValueError, "do not broadcast")],
)


def where(condition: Any, x: Any, y: Any) -> Tensor:
    """``x`` where ``condition`` holds, else ``y``. Gradients flow only to the side that was taken.

    Args:
        condition: bool tensor.
        x: values where the condition holds.
        y: values elsewhere.

    Shape:
        all three broadcast together.

    Raises:
        DTypeError: the condition is not boolean.

    Example:
        >>> import ranvier as rv
        >>> x = rv.tensor([-1.0, 2.0])
        >>> rv.where(x > 0, x, 0).tolist()
        [0.0, 2.0]
    """
    x, y = coerce((x, y))
    return apply(where_op, (as_tensor(condition), x, y), {})


# -- composed -----------------------------------------------------------------------------------------------------


def power(x: Any, y: Any) -> Tensor:
    """``x ** y``. Small constant exponents become products, roots and reciprocals.

    Args:
        x: the base.
        y: the exponent. Integer bases with negative exponents give 0.

    Example:
        >>> import ranvier as rv
        >>> rv.power(rv.tensor([1.0, 2.0, 3.0]), 2).tolist()
        [1.0, 4.0, 9.0]
    """
    if type(y) in (int, float):
        t = as_tensor(x)
        if y == 2:
            return t * t
        if y == 1:
            return t
        if y == 3:
            return t * t * t
        if t.dtype.is_float and y == 0.5:
            return sqrt(t)
        if t.dtype.is_float and y == -1:
            return reciprocal(t)
    return power_op(x, y)


def square(x: Any) -> Tensor:
    """``x * x``.

    Args:
        x: any numeric tensor.
    """
    t = as_tensor(x)
    return t * t


def reciprocal(x: Any) -> Tensor:
    """``1 / x``.

    Args:
        x: any numeric tensor; integers are converted to float32.
    """
    return divide(1.0, x)


def rsqrt(x: Any) -> Tensor:
    """``1 / sqrt(x)``.

    Args:
        x: a floating tensor.
    """
    return reciprocal(sqrt(x))


def clip(x: Any, min: Any = None, max: Any = None) -> Tensor:
    """``x`` limited to ``[min, max]``; the gradient is 0 outside.

    Args:
        x: any numeric tensor.
        min: lower limit, or None.
        max: upper limit, or None.

    Example:
        >>> import ranvier as rv
        >>> rv.clip([-2.0, 0.5, 2.0], -1, 1).tolist()
        [-1.0, 0.5, 1.0]
    """
    t = as_tensor(x)
    if min is not None:
        t = maximum(t, min)
    return t if max is None else minimum(t, max)


def greater(x: Any, y: Any) -> Tensor:
    """``x > y``.

    Args:
        x: any tensor.
        y: any tensor.
    """
    return less(y, x)


def greater_equal(x: Any, y: Any) -> Tensor:
    """``x >= y``.

    Args:
        x: any tensor.
        y: any tensor.
    """
    return less_equal(y, x)
