"""Vector math: exp, log, tanh and their kin for any number of float or double lanes.

LLVM has no vector libm: ``llvm.exp.v16f32`` becomes sixteen scalar calls. So the elementary functions are written
here, with the kernel language of ``builder.py``, from textbook range reductions and our own minimax polynomials
(``scripts/fit_vmath.py`` derives every coefficient; ``docs/vector-math.md`` lists the measured errors).

    y = vmath.call(f, "tanh", x)                 # written out where it is called: right inside hot loops
    y = vmath.call(f, "tanh", x, inline=False)   # one shared function: right for long unrolled epilogues

All lanes take the same path: special values are put right by selects, never by branches. Nothing relies on fast-math
flags, and the results do not depend on the vector width: AVX2 and AVX-512 give the same bits.

Reading guide: the constants first, then building blocks (polynomial, reduction, scaling), then one function per op.
In the comments ``u`` is a squared argument, ``r`` a reduced one, and "word" means one term of a constant split into
an unevaluated sum of floats.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from .builder import Function, Value, element, lanes, vector

__all__ = ["COEFFICIENTS", "OPS", "call"]


class _Format(NamedTuple):
    """The numbers that differ between float and double."""

    name: str
    integer: str
    mantissa: int  # explicit bits of the significand
    bias: int
    ln2: tuple[float, float]  # words of ln 2; products with a reduction's n are exact inside an fma
    exp_low: float  # exp rounds to 0 from here down
    exp_high: float  # exp overflows from here up
    one: float  # |x| from which tanh rounds to 1
    minus_one: float  # x below which expm1 rounds to -1
    tiny: float  # |x| below which expm1(x) and log1p(x) round to x
    erf_one: float  # |x| from which erf rounds to 1
    guard: int  # exponent offset that keeps an underflowing 2**n a normal number


_FLOAT = _Format(
    "f32", "i32", 23, 127, (0.6931471824645996, -1.9046542121259336e-09),
    -104.0, 89.0, 10.0, -18.0, 2.0**-30, 4.0, 64,
)  # fmt: skip
_DOUBLE = _Format(
    "f64", "i64", 52, 1023, (0.6931471805599453, 2.3190468138462996e-17),
    -746.0, 710.0, 20.0, -38.0, 2.0**-60, 6.0, 256,
)  # fmt: skip

_HALF_PI = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)  # words of pi/2, double
_HALF_PI_FLOAT = (1.5707963705062866, -4.371138828673793e-08)
_TWO_OVER_PI = 0.6366197723675814
_LOG2E = 1.4426950408889634
_SINE_RANGE = 2.0**48  # beyond, the sine's argument reduction has no digits left and the result is NaN

# (name, type) -> coefficients, lowest power first. Printed by scripts/fit_vmath.py; the error of a fit is relative to
# the function it serves, before any rounding of the evaluation.
COEFFICIENTS: dict[tuple[str, str], tuple[float, ...]] = {
    ("exp", "float"): (  # error 2**-26.1
        0.4999999701976776, 0.16666539013385773, 0.04166774824261665, 0.008367125876247883, 0.0013836233410984278,
    ),
    ("exp", "double"): (  # error 2**-60.4
        0.5, 0.16666666666666677, 0.04166666666666669, 0.008333333333321785, 0.001388888888887787,
        0.0001984126988467297, 2.480158729722887e-05, 2.7557246417892264e-06, 2.7557332990666214e-07,
        2.510810294393316e-08, 2.088701836864201e-09,
    ),
    ("exp_half", "double"): (  # error 2**-30.1
        0.500000004415005, 0.16666658935067186, 0.04166634741725192, 0.00833541319062772, 0.0013941937120696547,
        0.00018627299749751064,
    ),
    ("log", "float"): (  # error 2**-29.9
        0.33333340287208557, -0.2500016689300537, 0.19999565184116364, -0.16655169427394867, 0.14277157187461853,
        -0.1273113340139389, 0.11695881932973862, -0.0908798798918724, 0.037407226860523224,
    ),
    ("log_ratio", "double"): (  # error 2**-66.8
        0.6666666666666666, 0.4000000000000275, 0.28571428570741053, 0.22222222302672792, 0.18181813320230186,
        0.15384758771984167, 0.1333237750455693, 0.11709753803121632, 0.11917512872378237,
    ),
    ("log_half", "double"): (  # error 2**-42.2
        0.6666666671009686, 0.39999984683396683, 0.285731791197884, 0.22135282368269354, 0.20120699210128135,
    ),
    ("log_tail", "double"): (  # error 2**-75.7
        0.4, 0.2857142857142711, 0.22222222222596497, 0.18181818131367375, 0.15384619408988956, 0.13333133683982953,
        0.1177091624986371, 0.10409297917972489, 0.10719267629020965, 0.04175434555053263,
    ),
    ("sin_half", "double"): (  # error 2**-28.0
        -0.16666654599176306, 0.008332160111468381, -0.0001951519588678766,
    ),
    ("sin", "double"): (  # error 2**-57.9
        -0.1666666666666663, 0.00833333333332184, -0.00019841269829358395, 2.755731353841589e-06,
        -2.5050734366858352e-08, 1.5895431670213367e-10,
    ),
    ("cos_half", "double"): (  # error 2**-33.9
        -0.499999996942303, 0.04166662033258901, -0.0013886680863309912, 2.438349060991438e-05,
    ),
    ("cos", "double"): (  # error 2**-63.9
        0.041666666666666595, -0.001388888888887334, 2.4801587288999623e-05, -2.755731421606153e-07,
        2.0875705231658257e-09, -1.1358739285715561e-11,
    ),
    ("atan", "float"): (  # error 2**-27.0
        -0.33333298563957214, 0.1999852955341339, -0.14264015853405, 0.10950887948274612, -0.08399361371994019,
        0.057883188128471375, -0.03109997697174549, 0.01087114680558443, -0.0017836176557466388,
    ),
    ("atan", "double"): (  # error 2**-56.5
        -0.3333333333333307, 0.1999999999995175, -0.1428571428258817, 0.11111111007344192, -0.09090907007832146,
        0.07692279889253871, -0.06666404425833296, 0.05880529822192807, -0.05253526845267253, 0.04722348598047402,
        -0.04219244273229967, 0.03664317609970465, -0.02990577626665538, 0.02198711690788747, -0.013902616812893679,
        0.007197913005393635, -0.0028856231966641, 0.0008315641658081375, -0.00015221208270478382,
        1.3230090511139137e-05,
    ),
    ("erf_near", "float"): (  # error 2**-24.4
        0.12837912142276764, -0.37612318992614746, 0.11280113458633423, -0.026709191501140594, 0.004914857447147369,
        -0.0005619577132165432,
    ),
    ("erf_near", "double"): (  # error 2**-55.9
        0.12837916709551256, -0.37612638903183343, 0.11283791670936955, -0.026866170641960542, 0.005223977596753967,
        -0.0008548325486190847, 0.00012055280542084538, -1.4924466703385134e-05, 1.6444165999706062e-06,
        -1.6184126557603837e-07, 1.3617356826851303e-08, -7.609168364956761e-10,
    ),
    ("erf_far", "float"): (  # error 2**-31.1
        -1.1286942958831787, -0.6349697113037109, -0.10653053969144821, 0.024009760469198227, -0.003757315455004573,
        0.00035054763429798186, -1.3957441296952311e-05,
    ),
    ("erf_far", "double"): (  # error 2**-57.5
        -1.1283791108468826, -0.636620252780866, -0.10277082665441731, 0.019124963589256045, 0.00021203835003581837,
        -0.0016926104147703075, 0.0005746611213736173, 9.730945355529031e-07, -9.548563100441904e-05,
        5.603818702327396e-05, -2.0351283211470587e-05, 5.385235041164056e-06, -1.078129525670237e-06,
        1.630244879497941e-07, -1.8130821916876668e-08, 1.4024267722321349e-09, -6.744761779002604e-11,
        1.5188426311679091e-12,
    ),
}  # fmt: skip


# -- building blocks ----------------------------------------------------------------------------------------------


def _format(x: Value) -> _Format:
    return _FLOAT if element(x.kind) == "float" else _DOUBLE


def _bits(f: Function, x: Value) -> Value:
    return f.cast("bitcast", x, _format(x).integer)


def _from_bits(f: Function, i: Value) -> Value:
    return f.cast("bitcast", i, "float" if element(i.kind) == "i32" else "double")


def _pattern(value: float, fmt: _Format) -> int:
    """The bits of a number as an integer."""
    return int.from_bytes(struct.pack(">f" if fmt is _FLOAT else ">d", value), "big")


def _poly(f: Function, name: str, u: Value) -> Value:
    """Horner's rule: the fewest operations, and loops hide the latency of the chain."""
    *rest, last = COEFFICIENTS[name, element(u.kind)]
    total = f.const(last, u.kind)
    for c in reversed(rest):
        total = f.fma(total, u, c)
    return total


def _minimum(f: Function, x: Value, high: float) -> Value:
    """Clamp from above; NaN stays NaN because the comparison is then false (one ``min`` instruction on x86)."""
    return f.select(x > high, high, x)


def _maximum(f: Function, x: Value, low: float) -> Value:
    return f.select(x < low, low, x)


def _sign_of(f: Function, x: Value) -> Value:
    fmt = _format(x)
    return _bits(f, x) & f.const(-(1 << (fmt.mantissa + (8 if fmt is _FLOAT else 11))), _bits(f, x).kind)


def _copysign(f: Function, magnitude: Value, sign: Value) -> Value:
    return f.intrinsic("copysign", magnitude, sign)


def _flip(f: Function, x: Value, sign_bits: Value) -> Value:
    """``x`` negated where the sign bit is set in ``sign_bits``."""
    return _from_bits(f, _bits(f, x) ^ sign_bits)


class _Reduced(NamedTuple):
    """``x = n ln2 + r``, with ``exp(r) = 1 + r + r*r*q``."""

    shifted: Value  # n plus a large constant: n as an integer sits in its low bits
    n: Value
    r: Value
    q: Value

    def exp(self, f: Function) -> Value:
        """The exponential of r, in the form with the fewest roundings."""
        return f.fma(f.fma(self.q, self.r, 1.0), self.r, 1.0)

    def expm1(self, f: Function) -> Value:
        """The same less 1, accurate near zero."""
        return f.fma(self.q * self.r, self.r, self.r)


def _exp_reduce(f: Function, x: Value, offset: int, tail: Value | None = None, name: str = "exp") -> _Reduced:
    """Split ``x`` (plus a small ``tail``) for an exponential.

    Adding 1.5 * 2**mantissa rounds x/ln2 to an integer n without a conversion and leaves n + ``offset`` in the low
    bits of the sum. ``x - n ln2`` is exact in its first word: it is a multiple of the last place of ln2 and small.
    """
    fmt = _format(x)
    magic = 1.5 * 2.0**fmt.mantissa + offset
    shifted = f.fma(x, _LOG2E, magic)
    n = shifted - magic
    r = f.fma(n, -fmt.ln2[1], f.fma(n, -fmt.ln2[0], x))
    if tail is not None:
        r = r + tail
    return _Reduced(shifted, n, r, _poly(f, name, r))


def _two_to(f: Function, shifted: Value) -> Value:
    """2**n for a reduction whose offset was the exponent bias (plus a shift): the low bits become the exponent."""
    return _from_bits(f, _bits(f, shifted) << _format(shifted).mantissa)


def _scalef(f: Function, p: Value, n: Value) -> Value | None:
    """``p * 2**n`` by AVX-512's instruction for it, which overflows and underflows as it should; None without it."""
    scalar, count = element(p.kind), lanes(p.kind)
    width = 16 if scalar == "float" else 8
    if f._width < 512 or count % width:
        return None
    suffix, mask, kind = ("ps" if scalar == "float" else "pd"), f"i{width}", vector(scalar, width)
    name = f"llvm.x86.avx512.mask.scalef.{suffix}.512"
    parts = []
    for start in range(0, count, width):
        a, b = (v if count == width else f.shuffle(v, v, range(start, start + width)) for v in (p, n))
        everything, nearest = Value(f, "-1", mask), Value(f, "4", "i32")
        parts.append(f.call(name, [a, b, f.const(0.0, kind), everything, nearest], kind))
    while len(parts) > 1:
        size = lanes(parts[0].kind)
        parts = [f.shuffle(a, b, range(2 * size)) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _exp_of(f: Function, x: Value, tail: Value | None = None) -> Value:
    """``exp(x + tail)`` over the whole range: ``x`` must be clamped so that n fits the exponent twice over.

    Without scalef, 2**n is the product of two powers of half the exponent, so that neither overflows or underflows
    before the result does, and a denormal result is rounded once.
    """
    fmt = _format(x)
    reduced = _exp_reduce(f, x, 2 * fmt.bias, tail)
    p = reduced.exp(f)
    scaled = _scalef(f, p, reduced.n)
    if scaled is not None:
        return scaled
    i = _bits(f, reduced.shifted)
    low, high = ((half >> 1) << fmt.mantissa for half in (i, i + 1))
    return p * _from_bits(f, low) * _from_bits(f, high)


def _exp_down(f: Function, x: Value) -> Value:
    """``exp(x)`` of an ``x <= 0`` clamped to its range: only underflow can happen, so one guarded power will do."""
    fmt = _format(x)
    reduced = _exp_reduce(f, x, fmt.bias + fmt.guard)
    p = reduced.exp(f)
    scaled = _scalef(f, p, reduced.n)
    return scaled if scaled is not None else p * _two_to(f, reduced.shifted) * 2.0**-fmt.guard


class _Split(NamedTuple):
    """``x = (1 + rest) * 2**power`` with ``1 + rest`` in [0.75, 1.5)."""

    power: Value
    rest: Value
    bits: Value  # power + bias in the exponent field


def _log_split(f: Function, x: Value, tiny: bool = True) -> _Split:
    """Exponent and fraction of positive ``x``. Near 1 the power is 0, so logarithms near 1 suffer no cancellation."""
    fmt = _format(x)
    one, step = _pattern(1.0, fmt), 2.0**fmt.mantissa
    shift: Value | float = step + fmt.bias
    if tiny:  # bring denormals into the normal range
        small = x < 2.0 ** (1 - fmt.bias)
        shift = f.select(small, f.const(step + fmt.bias + fmt.mantissa, x.kind), shift)
        x = f.select(small, x * step, x)
    bits = _bits(f, x)
    moved = bits + (one - _pattern(0.75, fmt))
    field = moved & (
        ((1 << (fmt.mantissa + 8 if fmt is _FLOAT else fmt.mantissa + 11)) - 1) ^ ((1 << fmt.mantissa) - 1)
    )
    power = _from_bits(f, (field >> fmt.mantissa) | _pattern(step, fmt)) - shift
    return _Split(power, _from_bits(f, bits - field + one) - 1.0, field)


def _log_of(f: Function, power: Value, rest: Value) -> Value:
    """``power * ln2 + log1p(rest)``, the small terms added first."""
    high, low = _format(rest).ln2
    if element(rest.kind) == "float":
        u = rest * rest
        total = _poly(f, "log", rest) * rest * u
        total = f.fma(u, -0.5, f.fma(power, low, total))
        return f.fma(power, high, rest + total)
    half_square = rest * rest * 0.5
    s = rest / (rest + 2.0)
    u = s * s
    series = f.fma(s, f.fma(u, _poly(f, "log_ratio", u), half_square), power * low)
    return f.fma(power, high, rest - (half_square - series))


def _log_specials(f: Function, result: Value, x: Value, zero: float) -> Value:
    """The edges of a logarithm: -inf at ``zero``, NaN below it, and inf and NaN kept."""
    result = f.select(x < float("inf"), result, x)
    return f.select(x > zero, result, f.select(x.eq(zero), f.const(float("-inf"), x.kind), float("nan")))


# -- the functions ------------------------------------------------------------------------------------------------


def _exp(f: Function, x: Value) -> Value:
    fmt = _format(x)
    return _exp_of(f, _maximum(f, _minimum(f, x, fmt.exp_high), fmt.exp_low))


def _expm1(f: Function, x: Value) -> Value:
    """``2**n (1 + e) - 1``, halved on the way because 2**n overflows before the result does."""
    fmt = _format(x)
    reduced = _exp_reduce(f, _maximum(f, _minimum(f, x, fmt.exp_high), fmt.minus_one), fmt.bias - 1)
    half = _two_to(f, reduced.shifted)
    result = f.fma(half, reduced.expm1(f), half - 0.5)
    return f.select(f.fabs(x) < fmt.tiny, x, result + result)


def _log(f: Function, x: Value) -> Value:
    split = _log_split(f, x)
    return _log_specials(f, _log_of(f, split.power, split.rest), x, 0.0)


def _log1p(f: Function, x: Value) -> Value:
    """The log of ``w = 1 + x``, with the part of ``x`` that the rounding of ``w`` lost added back to the fraction."""
    fmt = _format(x)
    w = x + 1.0
    back = w - 1.0
    lost = (1.0 - (w - back)) + (x - back)  # exact: Knuth's two-sum
    split = _log_split(f, w, tiny=False)
    scale = _from_bits(f, f.const(2 * _pattern(1.0, fmt), split.bits.kind) - split.bits)  # 2**-power
    scale = f.select(x < 2.0 ** (fmt.mantissa + 2), scale, f.const(0.0, x.kind))  # nothing to add, maybe no such power
    result = _log_specials(f, _log_of(f, split.power, f.fma(lost, scale, split.rest)), x, -1.0)
    return f.select(f.fabs(x) < fmt.tiny, x, result)


def _tanh(f: Function, x: Value) -> Value:
    """``-t / (t + 2)`` with ``t = expm1(-2 |x|)``: no cancellation anywhere, one division."""
    fmt = _format(x)
    reduced = _exp_reduce(f, _minimum(f, f.fabs(x), fmt.one) * -2.0, fmt.bias)
    power = _two_to(f, reduced.shifted)
    t = f.fma(power, reduced.expm1(f), power - 1.0)
    return _copysign(f, t / (t + 2.0), x)


def _sigmoid(f: Function, x: Value) -> Value:
    """With ``t = exp(-|x|)``: ``t / (1 + t)`` on the left, so small values keep their digits; ``1 / (1 + t)`` right."""
    t = _exp_down(f, _maximum(f, -f.fabs(x), _format(x).exp_low))
    return f.select(x < 0.0, t, 1.0) / (t + 1.0)


def _erf(f: Function, x: Value) -> Value:
    """``x + x q(x*x)`` below 1, else ``1 - exp(t q(t))`` with ``t = |x|``."""
    fmt = _format(x)
    size = f.fabs(x)
    near = f.fma(_poly(f, "erf_near", x * x), x, x)
    t = _minimum(f, size, fmt.erf_one)
    reduced = _exp_reduce(f, _poly(f, "erf_far", t) * t, fmt.bias)
    far = 1.0 - reduced.exp(f) * _two_to(f, reduced.shifted)
    return f.select(size < 1.0, near, _copysign(f, far, x))


def _sine_parts(f: Function, x: Value, full: bool) -> tuple[Value, Value, Value]:
    """The quadrant (an integer in the low two bits) of ``x``, and sine and cosine of the rest, in [-pi/4, pi/4].

    ``full`` is double accuracy: there the rounding of the reduced argument is kept as a tail and added back.
    """
    magic = 1.5 * 2.0**52
    shifted = f.fma(x, _TWO_OVER_PI, magic)
    n = shifted - magic
    quadrant = _bits(f, shifted)
    first = f.fma(n, -_HALF_PI[0], x)  # exact: a multiple of the last place of pi/2, and small
    if not full:
        r = f.fma(n, -_HALF_PI[1], first)
        u = r * r
        return quadrant, f.fma(_poly(f, "sin_half", u) * u, r, r), f.fma(_poly(f, "cos_half", u), u, 1.0)
    product = n * _HALF_PI[1]
    product_tail = f.fma(n, _HALF_PI[1], -product)
    r = first - product
    back = r - first
    tail = (first - (r - back)) - (product + back)  # what rounding took from r: two-sum of first and -product
    tail = f.fma(n, -_HALF_PI[2], tail - product_tail)
    u = r * r
    half = u * 0.5
    whole = 1.0 - half
    sine = r + f.fma(_poly(f, "sin", u) * u, r, f.fma(-half, tail, tail))
    cosine = whole + (((1.0 - whole) - half) + f.fma(u * u, _poly(f, "cos", u), -(r * tail)))
    return quadrant, sine, cosine


def _sine(f: Function, x: Value, turn: int) -> Value:
    """The sine of ``x`` advanced by ``turn`` quadrants. Float goes through double lanes, which need no tail."""
    narrow = element(x.kind) == "float"
    quadrant, sine, cosine = _sine_parts(f, f.cast("fpext", x, "double") if narrow else x, full=not narrow)
    if turn:
        quadrant = quadrant + turn
    odd = f.compare("ne", quadrant & 1, 0)
    result = _flip(f, f.select(odd, cosine, sine), (quadrant & 2) << 62)
    if narrow:
        result = f.cast("fptrunc", result, "float")
    return f.select(f.fabs(x) <= _SINE_RANGE, result, float("nan"))


def _sin(f: Function, x: Value) -> Value:
    return f.select(x.eq(0.0), x, _sine(f, x, 0))  # keeps the sign of -0.0


def _cos(f: Function, x: Value) -> Value:
    return _sine(f, x, 1)


def _pow(f: Function, x: Value, y: Value) -> Value:
    """``exp(y log |x|)`` in more than working precision, then the sign and the special cases of IEEE 754."""
    size = f.fabs(x)
    result = (_pow_float if element(x.kind) == "float" else _pow_double)(f, size, y)
    inf = float("inf")
    whole = f.intrinsic("trunc", y).eq(y)
    half = y * 0.5
    odd = whole & f.compare("ne", f.intrinsic("trunc", half), half)
    sign = _sign_of(f, x)
    result = _flip(f, result, f.select(odd, sign, f.const(0, sign.kind)))
    undefined = (x < 0.0) & (x > -inf) & f.compare("ne", f.intrinsic("trunc", y), y)
    result = f.select(undefined, f.const(float("nan"), x.kind), result)
    one = x.eq(1.0) | y.eq(0.0) | (size.eq(1.0) & f.fabs(y).eq(inf))
    return f.select(one, f.const(1.0, x.kind), result)


def _pow_float(f: Function, size: Value, y: Value) -> Value:
    """In double lanes: a logarithm of 2**-40 and an exponential of 2**-30 are ample for float."""
    wide = f.cast("fpext", size, "double")
    split = _log_split(f, wide, tiny=False)  # float's denormals are normal doubles
    s = split.rest / (split.rest + 2.0)
    u = s * s
    log = f.fma(split.power, _DOUBLE.ln2[0], f.fma(_poly(f, "log_half", u) * u, s, s + s))
    log = _log_specials(f, log, wide, 0.0)
    e = _maximum(f, _minimum(f, log * f.cast("fpext", y, "double"), 100.0), -120.0)
    reduced = _exp_reduce(f, e, _DOUBLE.bias, name="exp_half")
    return f.cast("fptrunc", reduced.exp(f) * _two_to(f, reduced.shifted), "float")


def _pow_double(f: Function, size: Value, y: Value) -> Value:
    """The logarithm as two words (about 64 bits), because the exponential magnifies its error up to 710 times."""
    high, low = _log_words(f, size)
    product = y * high
    tail = f.fma(y, high, -product) + y * low
    clamped = _maximum(f, _minimum(f, product, _DOUBLE.exp_high), _DOUBLE.exp_low)
    return _exp_of(f, clamped, f.select(clamped.eq(product), tail, f.const(0.0, y.kind)))


def _log_words(f: Function, x: Value) -> tuple[Value, Value]:
    """The log of a double ``x >= 0`` as high + low: 2s + s u (2/3 + u q(u)), ``s = rest / (2 + rest)``, ``u = s*s``."""
    power, rest, _ = _log_split(f, x)
    below = rest + 2.0
    below_low = rest - (below - 2.0)
    inverse = 1.0 / below
    s = rest * inverse
    s_low = f.fma(-s, below_low, f.fma(-s, below, rest)) * inverse
    u = s * s
    u_low = f.fma(s, s, -u) + s * s_low * 2.0
    q = _poly(f, "log_tail", u) * u
    third = 0.6666666666666666
    a = q + third
    a_low = ((third - a) + q) + 3.700743415417188e-17
    t = u * a
    t_low = f.fma(u, a, -t) + f.fma(u, a_low, u_low * a)
    b = t + 2.0
    b_low = ((2.0 - b) + t) + t_low
    m = s * b
    m_low = f.fma(s, b, -m) + f.fma(s, b_low, s_low * b)
    ln2 = 0.6931471805598903, 5.497923018708371e-14  # the first word has 42 bits: power * ln2 is exact
    n = power * ln2[0]
    total = n + m
    total_low = ((n - total) + m) + f.fma(power, ln2[1], m_low)
    high = total + total_low
    finite = (x > 0.0) & (x < float("inf"))
    low = f.select(finite, (total - high) + total_low, f.const(0.0, x.kind))
    return _log_specials(f, high, x, 0.0), low


def _atan2(f: Function, y: Value, x: Value) -> Value:
    """The atan of the smaller size over the larger, then moved to the right octant; the signs of zeros count."""
    steep = f.fabs(y) > f.fabs(x)
    small, large = (f.select(steep, f.fabs(a), f.fabs(b)) for a, b in ((x, y), (y, x)))
    ratio = small / large
    ratio = f.select(large.eq(0.0), f.const(0.0, x.kind), ratio)
    ratio = f.select(small.eq(float("inf")), f.const(1.0, x.kind), ratio)
    u = ratio * ratio
    angle = f.fma(_poly(f, "atan", u) * u, ratio, ratio)
    high, low = _HALF_PI_FLOAT if element(x.kind) == "float" else _HALF_PI[:2]
    angle = f.select(steep, (high - angle) + low, angle)
    bits = _bits(f, x)
    angle = f.select(bits < 0, (2 * high - angle) + 2 * low, angle)
    angle = f.select(f.compare("uno", x, y), f.const(float("nan"), x.kind), angle)
    return _copysign(f, angle, y)


OPS: dict[str, Callable[..., Value]] = {
    "atan2": _atan2,
    "cos": _cos,
    "erf": _erf,
    "exp": _exp,
    "expm1": _expm1,
    "log": _log,
    "log1p": _log1p,
    "pow": _pow,
    "sigmoid": _sigmoid,
    "sin": _sin,
    "tanh": _tanh,
}


def call(f: Function, op: str, x: Value, *more: Value, inline: bool = True) -> Value:
    """The value of ``op`` on the lanes of ``x`` (and ``more``, for pow and atan2).

    Args:
        f: the function under construction.
        op: one of :data:`OPS`.
        x: float or double lanes, any number of them.
        *more: the second argument of pow (the exponent) and atan2, whose order is (y, x); of the type of ``x``.
        inline: write the code at the call (True), or call one shared internal function of the module (False), whose
            definition and declarations ``f`` then carries. A call saves and restores every live vector register, so
            inline in loops; share where one kernel has many copies, since compile time grows with each.
    """
    arguments = [x, *more]
    kind = x.kind
    assert element(kind) in ("float", "double"), f"{f.name}: {op} needs float or double lanes, got {kind}"
    assert all(v.kind == kind for v in arguments), f"{f.name}: {op} needs arguments of one type, got {arguments}"
    if inline:
        return OPS[op](f, *arguments)
    name = f"rv_{op}_{_format(x).name}_{lanes(kind)}"
    if name not in f.helpers:
        names = [f"a{i}" for i in range(len(arguments))]
        helper = Function(name, [(n, kind) for n in names], kind, target_width=f._width, linkage="internal")
        helper.ret(OPS[op](helper, *(helper[n] for n in names)))
        f.helpers[name] = helper.definition()
        f.declarations |= helper.declarations
    operands = ", ".join(f"{v.kind} {v.name}" for v in arguments)
    return f.emit(f"call {kind} @{name}({operands}) noinline", kind)
