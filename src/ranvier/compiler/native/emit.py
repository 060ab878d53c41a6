"""Elementwise ops as vector code: one instruction of a body in, one IR value out.

Every kernel generator (nests, contraction epilogues, scatters) walks its body and hands each elementwise instruction
to :func:`emit_instr`. What each op means is defined by NumPy, including NaN, infinities, -0.0 and integer wraparound.
Where C leaves a result open, this file decides it once, for every target:

- a float becomes an integer by truncation; out of range saturates, NaN gives 0;
- integer division or remainder by zero gives 0, and the most negative integer divided by -1 wraps to itself;
- a shift by the width of the type or more (or by a negative count) shifts every bit out;
- a negative integer exponent gives 0.

How dtypes live in registers: bool as ``i1`` lanes (bytes in memory), integers as themselves (the IR type does not know
the sign, so comparisons and conversions look at the dtype), bfloat16 as its bits in ``i16``: widened to float for each
op and rounded back, to nearest with ties to even, by integer arithmetic that gives the same bits on every machine. (The
IR's own ``bfloat`` is not used: some CPUs convert it by calling a library, others flush denormals.)
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .builder import BITS, Function, Value, element, float_literal, is_float, lanes, vector
from .expr import Body, Instr

__all__ = [
    "ELEMENTWISE", "HEAVY", "ITEMSIZE", "KINDS", "REDUCTIONS", "combine", "constant", "emit_instr", "identity",
    "is_signed", "kind", "literal", "operand_dtypes", "round_bfloat16", "truth", "widen_bfloat16",
]  # fmt: skip

# dtype -> IR type of one lane. Loads and stores of Function know that i1 lanes are bytes in memory.
KINDS = {
    "bool": "i1", "int8": "i8", "uint8": "i8", "int16": "i16", "int32": "i32", "uint32": "i32", "int64": "i64",
    "bfloat16": "i16", "float32": "float", "float64": "double", "pairs": "i32",
}  # fmt: skip
ITEMSIZE = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "int32": 4, "uint32": 4, "int64": 8, "bfloat16": 2, "float32": 4,
    "float64": 8, "pairs": 4,
}  # fmt: skip
REDUCTIONS = frozenset(f"reduce_{what}" for what in ("sum", "max", "min", "prod", "and", "or"))
# Ops that cost as much as some twenty additions: worth keeping a result of instead of computing it again.
HEAVY = frozenset((
    "exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "sigmoid", "erf", "pow", "atan2", "remainder", "floor_divide",
))  # fmt: skip


def kind(dtype: str, count: int = 1) -> str:
    """The IR type of ``count`` lanes of ``dtype``."""
    return vector(KINDS[dtype], count)


def is_signed(dtype: str) -> bool:
    return dtype not in ("bool", "uint8", "uint32")


def constant(f: Function, value: Any, dtype: str, count: int = 1) -> Value:
    """``value`` converted to ``dtype`` in every lane; integers wrap."""
    if dtype in ("float32", "float64"):
        return f.const(float(value), kind(dtype, count))
    if dtype == "bfloat16":
        text = float_literal(float(value), "bfloat")
        return f.const(int(text.removeprefix("0xR"), 16), kind(dtype, count))
    if dtype == "bool":
        return f.const(bool(value), kind(dtype, count))
    bits = 8 * ITEMSIZE[dtype]
    number = int(value) & ((1 << bits) - 1)
    return f.const(number - (1 << bits) if number >> (bits - 1) else number, kind(dtype, count))


def literal(value: Value) -> float | int | None:
    """The number a constant value stands for (the same in every lane), or None if it is computed."""
    text = value.name
    if text.startswith("splat"):
        text = text[text.index("(") + 1 : -1].split()[1]
    if text.startswith("0x"):
        return struct.unpack(">d", bytes.fromhex(text[2:]))[0]
    return int(text) if text.lstrip("-").isdigit() else None


# -- bfloat16 -----------------------------------------------------------------------------------------------------


def widen_bfloat16(f: Function, x: Value) -> Value:
    """The same numbers as floats: bfloat16 is the upper half of a float."""
    known = literal(x)
    if known is not None:
        (number,) = struct.unpack(">f", struct.pack(">I", (int(known) & 0xFFFF) << 16))
        return f.const(number, vector("float", lanes(x.kind)))
    return f.cast("bitcast", f.cast("zext", x, "i32") << 16, "float")


def round_bfloat16(f: Function, x: Value) -> Value:
    """Floats rounded to the nearest bfloat16, ties to even; NaN stays NaN."""
    bits = f.cast("bitcast", x, "i32")
    upper = bits >> 16
    rounded = (bits + ((upper & 1) + 0x7FFF)) >> 16
    chosen = f.select(f.compare("uno", x, x), upper | 0x40, rounded)  # rounding must not carry a NaN into infinity
    return f.cast("trunc", chosen, "i16")


# -- dispatch -----------------------------------------------------------------------------------------------------


class _Op(NamedTuple):
    """What an op's emitter sees: arguments with equal lane counts, their dtypes, the result's dtype."""

    f: Function
    name: str
    dtype: str
    args: list[Value]
    dtypes: tuple[str, ...]
    lanes: int

    @property
    def kind(self) -> str:
        return kind(self.dtype, self.lanes)


_GUESS = {"i1": "bool", "i64": "int64", "float": "float32", "double": "float64"}


def _guess_dtypes(instr: Instr, args: Sequence[Value]) -> tuple[str, ...]:
    """The arguments' dtypes where their IR types, or the result's dtype, tell them."""
    found = []
    for arg in args:
        scalar = element(arg.kind)
        same = instr.op not in ("cast", "bitcast") and KINDS.get(instr.dtype) == scalar
        dtype = _GUESS.get(scalar) or (instr.dtype if same else None)
        assert dtype is not None, f"{instr.op} of {scalar}: which dtype? Pass the arguments' dtypes to emit_instr."
        found.append(dtype)
    return tuple(found)


def operand_dtypes(body: Body, instr: Instr) -> tuple[str, ...]:
    """The dtypes of an instruction's arguments."""
    return tuple(body[a].dtype for a in instr.args)


def emit_instr(
    f: Function, instr: Instr, args: Sequence[Value], count: int, dtypes: Sequence[str] | None = None
) -> Value:
    """The value of one elementwise instruction.

    Args:
        f: the function to write into.
        instr: any op of a body but leaves and reductions; ``const`` is allowed.
        args: values of its arguments; scalars fill all lanes.
        count: lanes of the result (1 for a scalar).
        dtypes: the arguments' dtypes (:func:`operand_dtypes`). They may be left out where the IR types tell them;
            comparing or converting integers of up to 32 bits, signed or not, and bfloat16, needs them.
    """
    if instr.op == "const":
        return constant(f, instr.attrs[0], instr.dtype, count)
    known = tuple(dtypes) if dtypes is not None else _guess_dtypes(instr, args)
    values = [f.splat(a, count) if lanes(a.kind) < count else a for a in args]
    if instr.op in _BIT_EXACT:
        return _EMITTERS[instr.op](_Op(f, instr.op, instr.dtype, values, known, count))
    wide = [widen_bfloat16(f, a) if d == "bfloat16" else a for a, d in zip(values, known, strict=True)]
    known = tuple("float32" if d == "bfloat16" else d for d in known)
    dtype = "float32" if instr.dtype == "bfloat16" else instr.dtype
    result = _EMITTERS[instr.op](_Op(f, instr.op, dtype, wide, known, count))
    return round_bfloat16(f, result) if instr.dtype == "bfloat16" else result


def truth(f: Function, x: Value) -> Value:
    """``x != 0`` in every lane; NaN is true, as in NumPy."""
    return x if element(x.kind) == "i1" else f.compare("ne", x, 0)


# -- arithmetic ---------------------------------------------------------------------------------------------------


def _arithmetic(o: _Op) -> Value:
    a, b = o.args
    if o.dtype == "bool":  # NumPy: + is or, * is and
        assert o.name != "sub", "bool has no subtraction"
        return o.f.binary("or" if o.name == "add" else "and", a, b)
    return o.f.binary(o.name, a, b)


def _divide(o: _Op) -> Value:
    assert is_float(o.kind), "div is for floats; cast integers first, or use floor_divide"
    return o.f.binary("div", *o.args)


def _negative(o: _Op) -> Value:
    return o.f.neg(o.args[0])


def _absolute(o: _Op) -> Value:
    (x,) = o.args
    if is_float(x.kind):
        return o.f.fabs(x)
    return o.f.select(x < 0, o.f.neg(x), x) if is_signed(o.dtype) else x


def _sign(o: _Op) -> Value:
    f, (x,) = o.f, o.args
    if not is_signed(o.dtype):
        return f.cast("zext", truth(f, x), element(o.kind)) if o.dtype != "bool" else x
    one, less, zero = f.const(1, o.kind), f.const(-1, o.kind), f.const(0, o.kind)
    if not is_float(o.kind):
        return f.select(x > 0, one, f.select(x < 0, less, zero))
    unsigned = f.select(f.compare("eq", x, 0), zero, x)  # NaN stays; -0.0 becomes 0.0
    return f.select(x > 0, one, f.select(x < 0, less, unsigned))


def _relu(o: _Op) -> Value:
    f, (x,) = o.f, o.args
    if not is_signed(o.dtype):
        return x
    zero = f.const(0, o.kind)
    return f.select(zero > x, zero, x)  # NaN is not below 0 and stays; one max instruction on x86


def _extreme(o: _Op) -> Value:
    return extreme(o.f, o.name, o.dtype, *o.args)


def extreme(f: Function, name: str, dtype: str, a: Value, b: Value) -> Value:
    """``maximum`` or ``minimum``; NaN in either argument gives NaN."""
    if dtype == "bool":
        return f.binary("or" if name == "maximum" else "and", a, b)
    wins = "gt" if name == "maximum" else "lt"
    if not is_float(a.kind):
        return f.select(f.compare(wins if is_signed(dtype) else "u" + wins, a, b), a, b)
    # x86's own max gives its second operand if either is NaN. With a constant that is not NaN in the first place
    # that is already right; otherwise a NaN in `a` must be put back.
    for first, second in ((a, b), (b, a)):
        number = literal(first)
        if number is not None and not math.isnan(number):
            return f.select(f.compare(wins, first, second), first, second)
    better = f.select(f.compare(wins, a, b), a, b)
    return f.select(f.compare("uno", a, a), a, better)


def _power(o: _Op) -> Value:
    f, (base, exponent) = o.f, o.args
    if is_float(o.kind):
        number = literal(exponent)
        if number == 2:
            return base * base
        if number == 1:
            return base
        return _vector_math(o)
    bits = BITS[element(o.kind)]
    result, square, left = f.var(f.const(1, o.kind)), f.var(base), f.var(exponent)
    with f.loop(0, bits):  # square and multiply; wraps like NumPy
        odd = f.cast("trunc", left.get(), "i1")
        result.set(f.select(odd, result.get() * square.get(), result.get()))
        square.set(square.get() * square.get())
        left.set(left.get() >> 1)
    if not is_signed(o.dtype):
        return result.get()
    return f.select(exponent < 0, f.const(0, o.kind), result.get())


def _vector_math(o: _Op) -> Value:
    from . import vmath

    return vmath.call(o.f, o.name, *o.args)


def _square_root(o: _Op) -> Value:
    return o.f.sqrt(o.args[0])


_ROUNDING = {"floor": "floor", "ceil": "ceil", "trunc": "trunc", "round": "roundeven"}


def _rounding(o: _Op) -> Value:
    (x,) = o.args
    return o.f.intrinsic(_ROUNDING[o.name], x) if is_float(x.kind) else x


# -- division with a remainder --------------------------------------------------------------------------------------


def _floor_division(o: _Op) -> Value:
    a, b = o.args
    divide = _divide_floats if is_float(o.kind) else _divide_integers
    quotient, rest = divide(o.f, o.dtype, a, b)
    return quotient if o.name == "floor_divide" else rest


def _divide_integers(f: Function, dtype: str, a: Value, b: Value) -> tuple[Value, Value]:
    """Quotient rounded down and remainder with the divisor's sign; both 0 where the divisor is 0."""
    zero, one = f.const(0, a.kind), f.const(1, a.kind)
    by_zero = f.compare("eq", b, 0)
    if not is_signed(dtype):
        safe = f.select(by_zero, one, b)
        quotient = _exact_quotient(f, dtype, a, safe)
        return f.select(by_zero, zero, quotient), f.select(by_zero, zero, a - quotient * safe)
    by_minus_one = f.compare("eq", b, -1)  # the one other divisor that CPUs trap on, with the most negative number
    safe = f.select(by_zero | by_minus_one, one, b)
    quotient = _exact_quotient(f, dtype, a, safe)
    rest = a - quotient * safe
    below = f.compare("ne", rest, 0) & f.compare("ne", rest < 0, safe < 0)
    quotient = f.select(below, quotient - 1, quotient)
    quotient = f.select(by_zero, zero, f.select(by_minus_one, f.neg(a), quotient))
    return quotient, f.select(below, rest + safe, rest)


def _exact_quotient(f: Function, dtype: str, a: Value, b: Value) -> Value:
    """``a / b`` towards zero for ``b`` other than 0 and -1.

    CPUs have no vector division of integers. Up to 32 bits a double's quotient, truncated, is exact: it is off by less
    than 2**-53 of itself, and a quotient below 2**32 is at least 2**-32 away from the next integer or is one.
    """
    signed = is_signed(dtype)
    if element(a.kind) == "i64" or literal(b) is not None:
        return f.binary("div" if signed else "udiv", a, b)
    to, back = ("sitofp", "fptosi") if signed else ("uitofp", "fptoui")
    return f.cast(back, f.cast(to, a, "double") / f.cast(to, b, "double"), element(a.kind))


def _divide_floats(f: Function, dtype: str, a: Value, b: Value) -> tuple[Value, Value]:
    """Quotient rounded down and remainder with the divisor's sign, by NumPy's rules for infinities and zeros."""
    zero, one = f.const(0, a.kind), f.const(1, a.kind)
    rest = _float_modulus(f, dtype, a, b)
    quotient = (a - rest) / b
    nonzero = f.compare("ne", rest, 0)
    other_side = nonzero & f.compare("ne", rest < 0, b < 0)
    signed_zero = f.intrinsic("copysign", zero, b)
    remainder = f.select(other_side, rest + b, f.select(nonzero, rest, signed_zero))
    quotient = f.select(other_side, quotient - one, quotient)
    down = f.intrinsic("floor", quotient)
    down = f.select(quotient - down > 0.5, down + one, down)
    plain = a / b
    down = f.select(f.compare("ne", quotient, 0), down, f.intrinsic("copysign", zero, plain))
    by_zero = f.compare("eq", b, 0)  # the remainder is NaN then: C's fmod
    return f.select(by_zero, plain, down), f.select(by_zero, rest, remainder)


def _float_modulus(f: Function, dtype: str, a: Value, b: Value) -> Value:
    """C's ``fmod``, exactly: each turn takes off as many whole divisors as a double can count, without rounding."""
    if dtype == "float32":
        wide = [f.cast("fpext", x, "double") for x in (a, b)]
        return f.cast("fptrunc", _float_modulus(f, "float64", *wide), "float")
    infinite = f.const(math.inf, a.kind)
    size, divisor = f.fabs(a), f.fabs(b)
    legal = (size < infinite) & (divisor > 0)
    rest = f.var(f.select(legal, size, 0.0))
    huge = f.const(2.0**1000, a.kind)
    with f.forever() as done:
        left = rest.get()
        active = legal & (divisor <= f.fabs(left))
        f.leave(done, f.binary("xor", f.any_lane(active), True))
        step = divisor  # times 2**1000, twice if need be, where the quotient would overflow
        for _ in range(2):
            larger = step * huge
            step = f.select(larger <= f.fabs(left), larger, step)
        turns = f.intrinsic("roundeven", left / step)
        rest.set(f.select(active, f.fma(f.neg(turns), step, left), left))
    left = rest.get()
    left = f.select(left < 0, left + divisor, left)
    nan = f.select(f.compare("uno", b, b), b, f.const(math.nan, a.kind))
    return f.select(legal, f.intrinsic("copysign", left, a), f.select(f.compare("uno", a, a), a, nan))


# -- tests, logic, bits ---------------------------------------------------------------------------------------------


def _classify(o: _Op) -> Value:
    f, (x,) = o.f, o.args
    if not is_float(x.kind):
        return f.const(o.name == "isfinite", o.kind)
    if o.name == "isnan":
        return f.compare("uno", x, x)
    return f.compare("eq" if o.name == "isinf" else "lt", f.fabs(x), math.inf)


_COMPARISONS = {"equal": "eq", "not_equal": "ne", "less": "lt", "less_equal": "le"}


def _compare(o: _Op) -> Value:
    a, b = o.args
    predicate = _COMPARISONS[o.name]
    if predicate in ("lt", "le") and not is_signed(o.dtypes[0]):
        predicate = "u" + predicate
    return o.f.compare(predicate, a, b)


def _logical(o: _Op) -> Value:
    a, b = (truth(o.f, x) for x in o.args)
    return o.f.binary(o.name.removeprefix("logical_"), a, b)


def _logical_not(o: _Op) -> Value:
    return o.f.binary("xor", truth(o.f, o.args[0]), True)


def _bitwise(o: _Op) -> Value:
    return o.f.binary(o.name.removeprefix("bitwise_"), *o.args)


def _bitwise_not(o: _Op) -> Value:
    return o.f.binary("xor", o.args[0], True if o.dtype == "bool" else -1)


def _shift(o: _Op) -> Value:
    f, (x, by) = o.f, o.args
    bits = BITS[element(x.kind)]
    inside = f.compare("ult", by, bits)
    if o.name == "right_shift" and is_signed(o.dtype):
        return f.binary("ashr", x, f.select(inside, by, f.const(bits - 1, x.kind)))
    return f.select(inside, f.binary("shl" if o.name == "left_shift" else "lshr", x, by), f.const(0, x.kind))


def _where(o: _Op) -> Value:
    condition, a, b = o.args
    return o.f.select(truth(o.f, condition), a, b)


def _high_product(o: _Op) -> Value:
    a, b = (o.f.cast("zext", x, "i64") for x in o.args)
    return o.f.cast("trunc", (a * b) >> 32, "i32")


# -- conversions ------------------------------------------------------------------------------------------------------


def _bitcast(o: _Op) -> Value:
    (x,) = o.args
    if element(x.kind) == "i1":
        return o.f.cast("zext", x, element(o.kind))
    return truth(o.f, x) if o.dtype == "bool" else o.f.cast("bitcast", x, element(o.kind))


def _cast(o: _Op) -> Value:
    f, (x,), (source,) = o.f, o.args, o.dtypes
    target = element(o.kind)
    if o.dtype == "bool":
        return truth(f, x)
    if is_float(x.kind):
        if is_float(o.kind):
            return f.cast("fpext" if BITS[target] > BITS[element(x.kind)] else "fptrunc", x, target)
        return _saturating(f, x, o.dtype, o.kind)
    if is_float(o.kind):
        return f.cast("sitofp" if is_signed(source) else "uitofp", x, target)
    widen = "sext" if is_signed(source) else "zext"
    return f.cast(widen if BITS[target] > BITS[element(x.kind)] else "trunc", x, target)


def _saturating(f: Function, x: Value, dtype: str, result: str) -> Value:
    instruction = "fptosi" if is_signed(dtype) else "fptoui"

    def suffix(k: str) -> str:
        return float_or_int if lanes(k) == 1 else f"v{lanes(k)}{float_or_int}"

    float_or_int = element(result)
    to = suffix(result)
    float_or_int = {"float": "f32", "double": "f64"}[element(x.kind)]
    return f.call(f"llvm.{instruction}.sat.{to}.{suffix(x.kind)}", [x], result)


_EMITTERS: dict[str, Callable[[_Op], Value]] = {
    "add": _arithmetic, "sub": _arithmetic, "mul": _arithmetic, "div": _divide, "pow": _power, "neg": _negative,
    "abs": _absolute, "sign": _sign, "relu": _relu, "maximum": _extreme, "minimum": _extreme, "sqrt": _square_root,
    "remainder": _floor_division, "floor_divide": _floor_division, "isnan": _classify, "isinf": _classify,
    "isfinite": _classify, "logical_not": _logical_not, "bitwise_not": _bitwise_not, "left_shift": _shift,
    "right_shift": _shift, "where": _where, "cast": _cast, "bitcast": _bitcast, "mul_high_u32": _high_product,
    **dict.fromkeys(("exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "sigmoid", "erf", "atan2"), _vector_math),
    **dict.fromkeys(_ROUNDING, _rounding), **dict.fromkeys(_COMPARISONS, _compare),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), _logical),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor"), _bitwise),
}  # fmt: skip
ELEMENTWISE = frozenset(_EMITTERS)
# Ops that only choose or reinterpret: bfloat16 goes through them as it is.
_BIT_EXACT = frozenset(("where", "bitcast"))

# -- reductions -------------------------------------------------------------------------------------------------------


def identity(op: str, dtype: str) -> Any:
    """The value that changes nothing in a reduction, as a Python number."""
    what = op.removeprefix("reduce_")
    if what in ("sum", "or"):
        return 0
    if what in ("prod", "and"):
        return -1 if what == "and" and dtype != "bool" else 1
    if dtype in ("float32", "float64", "bfloat16"):
        return -math.inf if what == "max" else math.inf
    if dtype == "bool":
        return what == "min"
    bits, signed = 8 * ITEMSIZE[dtype], is_signed(dtype)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return low if what == "max" else high


def combine(f: Function, op: str, dtype: str, a: Value, b: Value) -> Value:
    """One step of a reduction over values of ``dtype``."""
    what = op.removeprefix("reduce_")
    if what in ("max", "min"):
        return extreme(f, what + "imum", dtype, a, b)
    if what in ("and", "or"):
        return f.binary(what, a, b)
    if dtype == "bool":
        return f.binary("or" if what == "sum" else "and", a, b)
    return f.binary("add" if what == "sum" else "mul", a, b)
