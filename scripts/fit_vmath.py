"""Derive the polynomial coefficients of the vector math functions (compiler/native/vmath.py).

    python scripts/fit_vmath.py            # print the table as Python source
    python scripts/fit_vmath.py --check    # say how the table in vmath.py differs from a fresh fit, if it does

Each fit is a weighted minimax polynomial found by the Remez exchange in 60-digit arithmetic. The weight turns the
error of the polynomial into the relative error of the function it serves. Coefficients are then rounded to the
working type one at a time, lowest power first, and the rest is fitted again around the rounded ones, so that the
rounding of an early coefficient is absorbed by the later ones.

Needs mpmath (a development dependency).
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp

mp.mp.dps = 60
LN2 = mp.log(2)


@dataclass(frozen=True)
class Fit:
    """``g`` on [low, high] by ``sum(c[i] * u**i)`` with ``count`` coefficients; the error is scaled by ``weight``."""

    name: str
    kind: str
    count: int
    low: object
    high: object
    g: Callable
    weight: Callable


def _exp(r):
    """expm1(r) = r + r*r*q(r)."""
    return mp.mpf(1) / 2 if r == 0 else (mp.expm1(r) - r) / r**2


def _exp_weight(r):  # relative to expm1(r), which is stricter than relative to exp(r)
    return mp.mpf(0) if r == 0 else abs(r**2 / mp.expm1(r))


def _log(f):
    """log1p(f) = f - f*f/2 + f**3 * q(f)."""
    return mp.mpf(1) / 3 if f == 0 else (mp.log1p(f) - f + f * f / 2) / f**3


def _log_weight(f):
    return mp.mpf(0) if f == 0 else abs(f**3 / mp.log1p(f))


def _atanh(s):
    return mp.log((1 + s) / (1 - s))


def _log_ratio(z):
    """log((1+s)/(1-s)) = 2s + s * z * q(z) with z = s*s."""
    s = mp.sqrt(z)
    return mp.mpf(2) / 3 if z == 0 else (_atanh(s) - 2 * s) / (s * z)


def _log_ratio_weight(z):
    s = mp.sqrt(z)
    return mp.mpf(0) if z == 0 else s * z / _atanh(s)


def _log_tail(z):
    """log((1+s)/(1-s)) = 2s + s * z * (2/3 + z * q(z)) with z = s*s."""
    return mp.mpf(2) / 5 if z == 0 else (_log_ratio(z) - mp.mpf(2) / 3) / z


def _log_tail_weight(z):
    return z * _log_ratio_weight(z)


def _sin(u):
    """sin(r) = r + r*u*q(u) with u = r*r."""
    r = mp.sqrt(u)
    return -mp.mpf(1) / 6 if u == 0 else (mp.sin(r) - r) / (r * u)


def _sin_weight(u):
    r = mp.sqrt(u)
    return mp.mpf(0) if u == 0 else r * u / mp.sin(r)


def _cos(u):
    """cos(r) = 1 - u/2 + u*u*q(u) with u = r*r."""
    return mp.mpf(1) / 24 if u == 0 else (mp.cos(mp.sqrt(u)) - 1 + u / 2) / u**2


def _cos_weight(u):
    return u**2 / mp.cos(mp.sqrt(u))


def _cos_short(u):
    """cos(r) = 1 + u*q(u) with u = r*r."""
    return -mp.mpf(1) / 2 if u == 0 else (mp.cos(mp.sqrt(u)) - 1) / u


def _cos_short_weight(u):
    return u / mp.cos(mp.sqrt(u))


def _atan(u):
    """atan(a) = a + a*u*q(u) with u = a*a."""
    a = mp.sqrt(u)
    return -mp.mpf(1) / 3 if u == 0 else (mp.atan(a) - a) / (a * u)


def _atan_weight(u):
    a = mp.sqrt(u)
    return mp.mpf(0) if u == 0 else a * u / mp.atan(a)


def _erf_near(u):
    """erf(x) = x + x*q(u) with u = x*x, near zero."""
    x = mp.sqrt(u)
    return 2 / mp.sqrt(mp.pi) - 1 if u == 0 else mp.erf(x) / x - 1


def _erf_near_weight(u):
    x = mp.sqrt(u)
    return mp.sqrt(mp.pi) / 2 if u == 0 else x / mp.erf(x)


def _erf_far(t):
    """erf(t) = 1 - exp(t * q(t)), away from zero."""
    return mp.log(mp.erfc(t)) / t


def _erf_far_weight(t):
    return t * mp.erfc(t) / mp.erf(t)


HALF_LN2 = LN2 / 2 * mp.mpf("1.0001")  # the reduction may land a rounding error outside
QUARTER_PI2 = (mp.pi / 4 * mp.mpf("1.0001")) ** 2
RATIO_HIGH = mp.mpf("0.04")  # s = f / (2 + f) with f in [-1/4, 1/2] lies in [-1/7, 1/5]

FITS = [
    Fit("exp", "float", 5, -HALF_LN2, HALF_LN2, _exp, _exp_weight),
    Fit("exp", "double", 11, -HALF_LN2, HALF_LN2, _exp, _exp_weight),
    Fit("exp_half", "double", 6, -HALF_LN2, HALF_LN2, _exp, _exp_weight),
    Fit("log", "float", 9, mp.mpf("-0.25"), mp.mpf("0.5"), _log, _log_weight),
    Fit("log_ratio", "double", 9, mp.mpf(0), RATIO_HIGH, _log_ratio, _log_ratio_weight),
    Fit("log_half", "double", 5, mp.mpf(0), RATIO_HIGH, _log_ratio, _log_ratio_weight),
    Fit("log_tail", "double", 10, mp.mpf(0), RATIO_HIGH, _log_tail, _log_tail_weight),
    Fit("sin_half", "double", 3, mp.mpf(0), QUARTER_PI2, _sin, _sin_weight),
    Fit("sin", "double", 6, mp.mpf(0), QUARTER_PI2, _sin, _sin_weight),
    Fit("cos_half", "double", 4, mp.mpf(0), QUARTER_PI2, _cos_short, _cos_short_weight),
    Fit("cos", "double", 6, mp.mpf(0), QUARTER_PI2, _cos, _cos_weight),
    Fit("atan", "float", 9, mp.mpf(0), mp.mpf(1), _atan, _atan_weight),
    Fit("atan", "double", 20, mp.mpf(0), mp.mpf(1), _atan, _atan_weight),
    Fit("erf_near", "float", 6, mp.mpf(0), mp.mpf(1), _erf_near, _erf_near_weight),
    Fit("erf_near", "double", 12, mp.mpf(0), mp.mpf(1), _erf_near, _erf_near_weight),
    Fit("erf_far", "float", 7, mp.mpf(1), mp.mpf("4"), _erf_far, _erf_far_weight),
    Fit("erf_far", "double", 18, mp.mpf(1), mp.mpf("6"), _erf_far, _erf_far_weight),
]


def _grid(low, high, count):
    """Chebyshev-spaced points: extrema crowd at the ends."""
    centre, half = (low + high) / 2, (high - low) / 2
    return [centre - half * mp.cos(mp.pi * i / (count - 1)) for i in range(count)]


def remez(g, weight, low, high, powers) -> tuple[list, object]:
    """Weighted minimax coefficients for the given powers, and the largest weighted error on a dense grid."""
    count = len(powers)
    points = [x for x in _grid(low, high, 40 * count + 1) if weight(x) > mp.mpf(10) ** -20]
    wanted, weights = [g(x) for x in points], [weight(x) for x in points]
    picks = [round(i * (len(points) - 1) / count) for i in range(count + 1)]
    for _ in range(30):
        rows = [[points[p] ** k for k in powers] + [(-1) ** i / weights[p]] for i, p in enumerate(picks)]
        *solution, level = mp.lu_solve(mp.matrix(rows), mp.matrix([wanted[p] for p in picks]))
        errors = [
            w * (sum(c * x**k for c, k in zip(solution, powers, strict=True)) - y)
            for x, y, w in zip(points, wanted, weights, strict=True)
        ]
        worst = max(abs(e) for e in errors)
        if worst <= abs(level) * mp.mpf("1.001"):
            break
        picks = _exchange(errors, count + 1)
    return solution, worst


def _exchange(errors, count):
    """The largest point of each run of equal sign; then drop end points until ``count`` are left."""
    runs = []
    for i, e in enumerate(errors):
        if runs and (errors[runs[-1]] > 0) == (e > 0):
            if abs(e) > abs(errors[runs[-1]]):
                runs[-1] = i
        else:
            runs.append(i)
    while len(runs) > count:
        runs.pop(0 if abs(errors[runs[0]]) < abs(errors[runs[-1]]) else -1)
    if len(runs) < count:
        raise ArithmeticError(f"only {len(runs)} alternations for {count}: use more digits or fewer coefficients")
    return runs


def round_to(value, kind: str) -> float:
    """The nearest float or double, as a Python float."""
    result = float(value)
    return struct.unpack("f", struct.pack("f", result))[0] if kind == "float" else result


def fit(task: Fit) -> tuple[list[float], float]:
    """Rounded coefficients, lowest power first, and the base-2 logarithm of their largest weighted error."""
    fixed: list[float] = []

    def rest(u):
        return task.g(u) - sum(mp.mpf(c) * u**i for i, c in enumerate(fixed))

    rounds = 3  # the later coefficients matter less than the rounding of the evaluation
    for first in range(rounds):
        solution, _ = remez(rest, task.weight, task.low, task.high, range(first, task.count))
        fixed.append(round_to(solution[0], task.kind))
    fixed += [round_to(c, task.kind) for c in solution[1:]]
    points = _grid(task.low, task.high, 501)
    worst = max(abs(task.weight(u) * rest(u)) for u in points)
    return fixed, float(mp.log(worst, 2))


def words(value, kind: str, count: int) -> list[float]:
    """``value`` as an unevaluated sum of ``count`` numbers of ``kind``, largest first."""
    out = []
    for _ in range(count):
        out.append(round_to(value, kind))
        value -= mp.mpf(out[-1])
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the table in vmath.py")
    parser.add_argument("--only", help="fit the entries of this name only")
    options = parser.parse_args()
    if options.check:
        from ranvier.compiler.native.vmath import COEFFICIENTS
    same = True
    for task in FITS:
        if options.only not in (None, task.name):
            continue
        values, error = fit(task)
        if options.check:
            equal = list(COEFFICIENTS[task.name, task.kind]) == values
            same &= equal
            print(f"{task.name:10} {task.kind:7} {'same' if equal else 'DIFFERENT'}")
            continue
        print(f'    ("{task.name}", "{task.kind}"): (  # error 2**{error:.1f}')
        lines, line = [], "       "
        for value in values:
            if len(line) + len(repr(value)) > 115:
                lines, line = [*lines, line], "       "
            line += f" {value!r},"
        print("\n".join([*lines, line]) + "\n    ),")
    if not options.check and options.only is None:
        for kind in ("float", "double"):
            print(kind, "ln 2 =", words(LN2, kind, 2), " pi/2 =", words(mp.pi / 2, kind, 3))
    raise SystemExit(not same)


if __name__ == "__main__":
    main()
