"""Vector math: error bounds against exact values, special values against IEEE 754, one result on every vector width."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from ranvier.compiler.native import vmath
from ranvier.compiler.native.builder import Function
from ranvier.compiler.native.target import ISAS, host

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
ULP = runpy.run_path(str(SCRIPTS / "ulp.py"))
evaluate, reference, ulps, samples = (ULP[name] for name in ("evaluate", "reference", "ulps", "samples"))

HOST_ISAS = [isa for isa in (ISAS["avx512"], ISAS["avx2"]) if host().has(isa)]
ONE, TWO = sorted(set(vmath.OPS) - {"pow", "atan2"}), ["atan2", "pow"]
# Largest error in ULP: (float32, float64). docs/vector-math.md states the same bounds.
BOUNDS = {
    "atan2": (2, 2), "cos": (0.6, 1), "erf": (2, 1.5), "exp": (1, 1), "expm1": (2, 2), "log": (1, 1), "log1p": (1, 1),
    "pow": (0.6, 2), "sigmoid": (2.5, 2.5), "sin": (0.6, 1), "tanh": (3, 3),
}  # fmt: skip
inf, nan = np.inf, np.nan

pytestmark = pytest.mark.skipif(not HOST_ISAS, reason="runs AVX2 and AVX-512 code")


def bound(op: str, dtype) -> float:
    return BOUNDS[op][dtype == np.float64]


def same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Equal, with the sign of zeros; any NaN equals any other."""
    return (np.isnan(a) & np.isnan(b)) | ((a == b) & (np.signbit(a) == np.signbit(b)))


def bits(a: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(a), nan, a).astype(a.dtype).view(f"i{a.itemsize}")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op", sorted(vmath.OPS))
def test_error_stays_within_the_bound(op: str, dtype, rng) -> None:
    count = 3_000 if (op, dtype) == ("erf", np.float64) else 40_000  # mpmath is slow
    arguments = samples(op, dtype, count, int(rng.integers(1 << 31)))
    error = ulps(evaluate(op, *arguments), reference(op, *arguments))
    worst = int(np.argmax(error))
    assert error[worst] <= bound(op, dtype), f"{op}({[float(a[worst]) for a in arguments]})"


@pytest.mark.parametrize("op", ONE)
def test_float32_error_over_all_bit_patterns(op: str, rng) -> None:
    stride = 200_003 if op == "erf" else 20_011
    patterns = np.concatenate(list(ULP["every_float"](stride, int(rng.integers(stride)))))
    if op in ("sin", "cos"):
        patterns = patterns[~(np.abs(patterns) > 2.0**48)]
    error = ulps(evaluate(op, patterns), reference(op, patterns))
    worst = int(np.argmax(error))
    assert error[worst] <= bound(op, np.float32), f"{op}({patterns[worst]!r})"


@pytest.mark.parametrize("isa", HOST_ISAS, ids=lambda isa: isa.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op", sorted(vmath.OPS))
def test_special_values(op: str, dtype, isa) -> None:
    info = np.finfo(dtype)
    some = [0.0, 1, 0.5, 0.75, 1.5, 2, 3, 100.5, 1e-20, info.tiny, info.tiny * 0.75, info.smallest_subnormal, inf, nan]
    if op not in ("sin", "cos"):
        some += [1e30, info.max]
    x = np.array([*some, *(-v for v in some)], dtype)
    arguments = (x,) if op in ONE else tuple(a.ravel() for a in np.meshgrid(x, x))
    result, exact = evaluate(op, *arguments, isa=isa), reference(op, *arguments)
    error = ulps(result, exact)
    worst = int(np.argmax(error))
    assert error[worst] <= bound(op, dtype), f"{op}({[float(a[worst]) for a in arguments]})"
    with np.errstate(over="ignore", under="ignore"):
        rounded = exact.astype(dtype)
    edge = (rounded == 0) | ~np.isfinite(rounded)
    if (op, dtype) == ("erf", np.float64):
        edge &= arguments[0] != 0  # mpmath has no -0.0
    assert same(result, rounded)[edge].all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("op", "argument", "expected"),
    [
        ("exp", [inf, -inf, 0.0], [inf, 0.0, 1.0]),
        ("expm1", [inf, -inf, -0.0], [inf, -1.0, -0.0]),
        ("log", [0.0, -0.0, -1.0, inf, 1.0], [-inf, -inf, nan, inf, 0.0]),
        ("log1p", [-1.0, -2.0, inf, -0.0], [-inf, nan, inf, -0.0]),
        ("sin", [-0.0, 0.0, inf, 2.0**49], [-0.0, 0.0, nan, nan]),  # beyond 2**48: NaN, as documented
        ("cos", [-0.0, -inf, -(2.0**49)], [1.0, nan, nan]),
        ("tanh", [inf, -inf, -0.0, 50.0], [1.0, -1.0, -0.0, 1.0]),
        ("sigmoid", [inf, -inf, 0.0], [1.0, 0.0, 0.5]),
        ("erf", [inf, -inf, -0.0, 0.0], [1.0, -1.0, -0.0, 0.0]),
    ],
)
def test_values_at_the_edges(op: str, dtype, argument, expected) -> None:
    result = evaluate(op, np.array([*argument, nan], dtype))
    assert same(result, np.array([*expected, nan], dtype)).all(), result


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pow_takes_the_sign_of_an_odd_power(dtype) -> None:
    x = np.array([-2, -2, -2, -0.0, -0.0, -1, -inf, -inf, nan, 1, -8], dtype)
    y = np.array([3, 2, 0.5, 3, -3, inf, 3, 0.5, 0, nan, 1 / 3], dtype)
    expected = np.array([-8, 4, nan, -0.0, -inf, 1, -inf, inf, 1, 1, nan], dtype)
    assert same(evaluate("pow", x, y), expected).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op", ["sin", "cos"])
def test_sine_next_to_multiples_of_half_pi(op: str, dtype, rng) -> None:
    """Where the reduction cancels most: the floats nearest to n pi/2, up to the end of the range."""
    n = np.floor(np.exp2(rng.uniform(0, 47, 20_000))).astype(np.longdouble)
    x = (n * (np.longdouble(np.pi) + np.longdouble(1.2246467991473532e-16)) / 2).astype(dtype)
    assert ulps(evaluate(op, x), reference(op, x)).max() <= bound(op, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op", sorted(vmath.OPS))
def test_every_width_gives_the_same_bits(op: str, dtype, rng) -> None:
    arguments = [a[:1003] for a in samples(op, dtype, 4000, int(rng.integers(1 << 31)))]
    expected = bits(evaluate(op, *arguments, count=1))
    for isa in HOST_ISAS:
        for count in (4, 8, 16, 32):
            assert np.array_equal(bits(evaluate(op, *arguments, isa=isa, count=count)), expected), (isa.name, count)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op", ["exp", "pow", "tanh"])
def test_shared_function_gives_the_same_bits(op: str, dtype, rng) -> None:
    arguments = samples(op, dtype, 1003, int(rng.integers(1 << 31)))
    for isa in HOST_ISAS:
        shared = evaluate(op, *arguments, isa=isa, inline=False)
        assert np.array_equal(bits(shared), bits(evaluate(op, *arguments, isa=isa)))


def test_shared_function_is_defined_once() -> None:
    text = ULP["build"]("exp", "float", ISAS["avx512"], inline=False, copies=4)
    assert text.count("define internal <16 x float> @rv_exp_f32_16(") == 1
    assert text.count("call <16 x float> @rv_exp_f32_16(") == 5  # four copies, and the rest


@pytest.mark.parametrize("op", sorted(vmath.OPS))
def test_no_fast_math_flags(op: str) -> None:
    text = ULP["build"](op, "double", ISAS["avx512"])
    words = set(text.split())
    assert words & {"fadd", "fmul", "fcmp"}
    assert not words & {"fast", "nnan", "ninf", "nsz", "arcp", "contract", "afn", "reassoc"}


def test_arguments_must_be_floats_of_one_type() -> None:
    f = Function("f", [("x", "<8 x float>"), ("y", "<8 x double>"), ("i", "i32")])
    with pytest.raises(AssertionError, match="pow needs arguments of one type"):
        vmath.call(f, "pow", f["x"], f["y"])
    with pytest.raises(AssertionError, match="exp needs float or double lanes, got i32"):
        vmath.call(f, "exp", f["i"])


@pytest.mark.parametrize(("name", "kind"), [("sin_half", "double"), ("exp", "float"), ("cos_half", "double")])
def test_coefficients_are_those_of_the_script(name: str, kind: str) -> None:
    script = runpy.run_path(str(SCRIPTS / "fit_vmath.py"))
    (task,) = (t for t in script["FITS"] if (t.name, t.kind) == (name, kind))
    values, error = script["fit"](task)
    assert tuple(values) == vmath.COEFFICIENTS[name, kind]
    assert error < -26  # the base-2 logarithm of the largest weighted error: below half a float ULP


def test_every_coefficient_has_its_fit() -> None:
    fits = runpy.run_path(str(SCRIPTS / "fit_vmath.py"))["FITS"]
    assert {(t.name, t.kind): t.count for t in fits} == {k: len(v) for k, v in vmath.COEFFICIENTS.items()}
