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
from ranvier.dtypes import DType, as_dtype, promote, round_bfloat16
from ranvier.errors import ArgumentError, DTypeError, ShapeError
from ranvier.ops.table import Aval, Op, apply, broadcast_shapes, require_kind, same_aval
from ranvier.tensor import Tensor, as_tensor

__all__ = [
    "abs", "add", "astype", "atan2", "bitcast", "bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_not",
    "bitwise_or", "bitwise_right_shift", "bitwise_xor", "ceil", "clip", "cos", "divide", "equal", "erf", "exp", "expm1",
    "floor", "floor_divide", "greater", "greater_equal", "isfinite", "isinf", "isnan", "left_shift", "less",
    "less_equal", "log", "log1p", "logical_and", "logical_not", "logical_or", "logical_xor", "maximum", "minimum",
    "multiply", "negative", "not_equal", "positive", "pow", "power", "reciprocal", "relu", "remainder", "right_shift",
    "round", "rsqrt", "sigmoid", "sign", "sin", "sqrt", "square", "stop_gradient", "subtract", "tanh", "trunc", "where",
]  # fmt: skip


# -- coercion -----------------------------------------------------------------------------------------------------

_PYTHON = (int, float, bool)


def _scalar(value: Any, like: DType, widen: bool = False) -> Tensor:
    """A Python number beside a tensor takes the tensor's dtype, unless it is of a higher kind.

    An integer that does not fit is refused, or with ``widen`` becomes int64.
    """
    kind = type(value)
    if like.is_float:
        if -3e38 < value < 3e38 or like is dtypes.float64:
            data = np.array(value, like.numpy)
        else:  # NaN, infinite, or becoming infinite
            with np.errstate(over="ignore"):
                data = np.array(value, np.float64).astype(like.numpy)
        return Tensor._wrap(round_bfloat16(data) if like is dtypes.bfloat16 else data, like)
    if kind is float or (kind is int and like.kind == "bool"):
        return as_tensor(value)
    try:
        return Tensor._wrap(np.array(value, like.numpy), like)
    except OverflowError:
        if widen:
            return as_tensor(value)
        raise ArgumentError(
            f"the integer {value} does not fit into {like}, the dtype of the tensor it meets. Convert the tensor "
            "first, for example with x.astype('int64')."
        ) from None


def coerce(values: Sequence[Any], widen: bool = False) -> tuple[Tensor, ...]:
    """Tensors of one dtype from tensors, arrays, lists and Python numbers (``widen``: see :func:`_scalar`)."""
    made = [None if type(v) in _PYTHON else v if type(v) is Tensor else as_tensor(v) for v in values]
    known = [t._dtype for t in made if t is not None]
    if known:
        dtype = known[0]
        for other in known[1:]:
            if other is not dtype:
                dtype = promote(dtype, other)
        if dtype is dtypes.float64:  # lists of Python floats were read as float32; read them again, exactly
            pairs = zip(values, made, strict=True)
            made = [as_tensor(v, dtype) if isinstance(v, list | tuple) else t for v, t in pairs]
        full = [t if t is not None else _scalar(v, dtype, widen) for v, t in zip(values, made, strict=True)]
    else:
        full = [as_tensor(v) for v in values]
        dtype = full[0]._dtype
    for t in full:
        dtype = promote(dtype, t._dtype)
    return tuple([t if t._dtype is dtype else apply(cast, (t,), {"dtype": dtype}) for t in full])


class Unary(Op):
    """An elementwise op of one input; those defined on real numbers only convert integers to float32 first."""

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
            name,
            reference,
            infer,
            (vjp,) if vjp else (),
            family="elementwise",
            arity=1,
            doc=doc,
            kinds=kinds,
            **options,
        )

    def __call__(self, x: Any) -> Tensor:
        if type(x) is not Tensor:
            x = as_tensor(x)
        if x._dtype.kind not in self.accepted:
            if self.kinds != "float":
                require_kind(self.name, x, self.kinds)
            x = apply(cast, (x,), {"dtype": dtypes.float32})
        return apply(self, (x,), {})


class Binary(Op):
    """An elementwise op of two inputs, which are brought to one dtype first."""

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
            name,
            reference,
            infer,
            vjps,
            family="elementwise",
            arity=2,
            broadcasts=True,
            doc=doc,
            kinds=kinds,
            **options,
        )
        self.compares = result is dtypes.bool_  # so no dtype of the result is at stake

    def __call__(self, x: Any, y: Any) -> Tensor:
        if type(x) is not Tensor or type(y) is not Tensor or x._dtype is not y._dtype:
            x, y = self._coerce(x, y)
        if x._dtype.kind not in self.accepted:
            if self.kinds != "float":
                require_kind(self.name, x, self.kinds)
            x, y = (apply(cast, (t,), {"dtype": dtypes.float32}) for t in (x, y))
        return apply(self, (x, y), {})

    def _coerce(self, x: Any, y: Any) -> tuple[Tensor, ...]:
        if type(x) is Tensor and type(y) in _PYTHON:  # the usual case, x * 2.0, without detours
            t = _scalar(y, x._dtype, self.compares)
            if t._dtype is x._dtype:
                return x, t
        return coerce((x, y), self.compares)


# -- casts and identities -----------------------------------------------------------------------------------------


def _cast_reference(x: np.ndarray, dtype: DType) -> np.ndarray:
    if x.dtype.kind != "f" or dtype.kind not in ("int", "uint"):
        return x.astype(dtype.numpy)
    # Saturate, and send NaN to 0: C leaves both undefined, so CPUs disagree. ``past`` is a power of two, hence exact.
    info = np.iinfo(dtype.numpy)
    past = x.dtype.type(int(info.max) + 1)
    inside = np.where((x > info.min) & (x < past), x, 0).astype(dtype.numpy)
    return np.where(x >= past, dtype.numpy.type(info.max), np.where(x <= info.min, dtype.numpy.type(info.min), inside))


cast = Op(
    "cast",
    _cast_reference,
    lambda inputs, dtype: Aval(inputs[0].shape, dtype),
    (lambda g, out, x, dtype: astype(g, x.dtype),),
    family="elementwise",
    no_gradient="integers and booleans have none",
    doc="Convert to another dtype. Floats become integers by truncation; out of range saturates and NaN gives 0.",
    samples=lambda rng: [
        ((rng.normal(size=(3, 4)) * 3,), {"dtype": d})
        for d in (dtypes.float64, dtypes.float32, dtypes.bfloat16, dtypes.int32, dtypes.uint8, dtypes.bool_)
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
    given = inputs[0].dtype
    if given.itemsize != dtype.itemsize or dtypes.bfloat16 in (given, dtype) or dtype is dtypes.bool_:
        raise DTypeError(
            f"bitcast: expected a dtype of the same width other than bfloat16 and bool, got {given} to {dtype}."
        )
    return Aval(inputs[0].shape, dtype)


bitcast_op = Op(
    "bitcast",
    lambda x, dtype: np.ascontiguousarray(x).view(dtype.numpy).reshape(x.shape),
    _bitcast_infer,
    family="elementwise",
    no_gradient="reads bits",
    doc="The same bits read as another dtype of the same width.",
    samples=lambda rng: [
        ((rng.normal(size=(3, 4)).astype(np.float32),), {"dtype": dtypes.int32}),
        ((rng.normal(size=(3, 4)),), {"dtype": dtypes.int64}),
        ((rng.integers(0, 255, (5,), np.uint8),), {"dtype": dtypes.int8}),
    ],
    errors=[
        ((np.ones(2, np.float32),), {"dtype": dtypes.int64}, DTypeError, "same width"),
        ((np.ones(2, np.int8),), {"dtype": dtypes.bool_}, DTypeError, "other than bfloat16 and bool"),
    ],
)


def bitcast(x: Any, dtype: Any) -> Tensor:
    """The same bits read as another dtype of the same width.

    Args:
        x: any tensor but bfloat16.
        dtype: the dtype wanted; not bool, which has only two patterns.

    Raises:
        DTypeError: the widths differ.

    Example:
        >>> import ranvier as rv
        >>> hex(rv.bitcast(rv.tensor(1.0), "int32").item())
        '0x3f800000'
    """
    t, wanted = as_tensor(x), as_dtype(dtype)
    bitcast_op.infer((t,), dtype=wanted)  # NumPy would accept more
    return apply(bitcast_op, (t,), {"dtype": wanted})


stop_gradient = Op(
    "stop_gradient",
    lambda x: x,
    same_aval,
    family="elementwise",
    no_gradient="stopping gradients is its purpose",
    doc="The same values, but no gradient flows through.",
    samples=lambda rng: [((rng.normal(size=(3, 4)),), {})],
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
erf = Unary("erf", _erf, lambda g, out, x: g * (2 / math.sqrt(math.pi)) * exp(-(x * x)), "The error function of x.")
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
logical_not = Unary("logical_not", np.logical_not, None, "Boolean negation.", kinds="bool", no_gradient="boolean")
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
    corner = logical_and(equal(x, 0), equal(y, 0))  # x**0 is 1 everywhere: its slope at 0 is 0, not 0 * inf
    return g * y * power_op(where(corner, 1, x), y - 1)


def _pow_exponent(g: Tensor, out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return g * out * log(where(x > 0, x, 1))  # 0**y and negative bases have no real derivative here: 0


def _power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "f":
        return np.power(x, y)
    return np.where(y < 0, x.dtype.type(0), np.power(x, np.maximum(y, 0)))


power_op = Binary(
    "pow",
    _power,
    (_pow_base, _pow_exponent),
    "``x ** y``. An integer to a negative power gives 0 (NumPy refuses; compiled code cannot stop).",
    kinds=_NUMBERS,
    domain=(0.5, 2.5),
)
maximum = Binary(
    "maximum",
    np.maximum,
    (lambda g, out, x, y: _share(g, x > y, x, y), lambda g, out, x, y: _share(g, y > x, x, y)),
    "The larger of x and y; NaN if either is. Equal inputs share the gradient.",
)
minimum = Binary(
    "minimum",
    np.minimum,
    (lambda g, out, x, y: _share(g, x < y, x, y), lambda g, out, x, y: _share(g, y < x, x, y)),
    "The smaller of x and y; NaN if either is. Equal inputs share the gradient.",
)


def _share(g: Tensor, mine: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The cotangent where this input was chosen, half of it on ties, else 0 (chosen, not multiplied: g may be inf)."""
    return where(mine, g, where(equal(x, y), g * 0.5, 0))


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
    doc="x where the condition holds, else y; all three broadcast.",
    kinds="bool",
    samples=lambda rng: [
        ((rng.random((3, 4)) < 0.5, rng.normal(size=(3, 4)), rng.normal(size=(4,))), {}),
        ((rng.random((3, 1)) < 0.5, rng.normal(size=(1, 4)), rng.normal(size=())), {}),
    ],
    errors=[
        ((np.ones(2, bool), np.ones(3), np.ones(3)), {}, ShapeError, "do not broadcast"),
        ((np.ones(2), np.ones(2), np.ones(2)), {}, DTypeError, "expected bool input"),
    ],
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
    c = as_tensor(condition)
    if c._dtype is not dtypes.bool_:
        require_kind("where (condition)", c, "bool")
    return apply(where_op, (c, x, y), {})


# -- composed -----------------------------------------------------------------------------------------------------


def power(x: Any, y: Any) -> Tensor:
    """``x ** y``. Small constant exponents become products, roots and reciprocals.

    Args:
        x: the base.
        y: the exponent. Where base and exponent are integer tensors, negative exponents give 0.

    Raises:
        ArgumentError: an integer base with a negative constant exponent.

    Example:
        >>> import ranvier as rv
        >>> rv.power(rv.tensor([1.0, 2.0, 3.0]), 2).tolist()
        [1.0, 4.0, 9.0]
    """
    if type(y) is not int and type(y) is not float:
        return power_op(x, y)
    t = as_tensor(x)
    if not t._dtype.is_float:
        if type(y) is float:
            t = astype(t, dtypes.float32)
        elif y < 0:
            raise ArgumentError(
                f"power: {t.dtype} to the power {y} is no integer. Convert the base first, for example with "
                "x.astype('float32')."
            )
    if y == 2:
        return t * t
    if y == 1:
        return t
    if y == 3:
        return t * t * t
    if y == 0.5:
        return sqrt(t)
    if y == -1:
        return reciprocal(t)
    return power_op(t, y)


def square(x: Any) -> Tensor:
    """``x * x``.

    Args:
        x: any numeric tensor.

    Example:
        >>> import ranvier as rv
        >>> rv.square(rv.tensor([1.0, -3.0])).tolist()
        [1.0, 9.0]
    """
    t = as_tensor(x)
    return t * t


def reciprocal(x: Any) -> Tensor:
    """``1 / x``.

    Args:
        x: any numeric tensor; integers are converted to float32.

    Example:
        >>> import ranvier as rv
        >>> rv.reciprocal(rv.tensor([2.0, 4.0])).tolist()
        [0.5, 0.25]
    """
    return divide(1.0, x)


def rsqrt(x: Any) -> Tensor:
    """``1 / sqrt(x)``.

    Args:
        x: a floating tensor.

    Example:
        >>> import ranvier as rv
        >>> rv.rsqrt(rv.tensor([4.0, 16.0])).tolist()
        [0.5, 0.25]
    """
    return reciprocal(sqrt(x))


def clip(x: Any, min: Any = None, max: Any = None) -> Tensor:
    """``x`` limited to ``[min, max]``; the gradient is 0 outside and one half at a limit.

    Args:
        x: any numeric tensor.
        min: lower limit, or None.
        max: upper limit, or None; it wins where the limits cross.

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

    Example:
        >>> import ranvier as rv
        >>> rv.greater(rv.tensor([1, 2, 3]), 2).tolist()
        [False, False, True]
    """
    return less(y, x)


def greater_equal(x: Any, y: Any) -> Tensor:
    """``x >= y``.

    Args:
        x: any tensor.
        y: any tensor.

    Example:
        >>> import ranvier as rv
        >>> rv.greater_equal(rv.tensor([1, 2, 3]), 2).tolist()
        [False, True, True]
    """
    return less_equal(y, x)


def positive(x: Any) -> Tensor:
    """``x`` itself.

    Args:
        x: any tensor.

    Example:
        >>> import ranvier as rv
        >>> rv.positive(rv.tensor([-1.0, 2.0])).tolist()
        [-1.0, 2.0]
    """
    return as_tensor(x)


# Names of the array-API standard for ops that NumPy and Keras call otherwise.
pow = power
bitwise_invert = bitwise_not
bitwise_left_shift = left_shift
bitwise_right_shift = right_shift
