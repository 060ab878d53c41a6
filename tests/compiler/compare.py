"""Compiled code against the reference: run a function on both and say where they differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import ranvier as rv
from ranvier import tree

from .programs import Program

__all__ = ["Outcome", "check", "difference", "outcome", "same_bits"]

STEPS = (1, 1, 2, 3)  # how often a program runs in one call, by its seed
GRADIENT = 2e-3  # of the largest gradient: no bound is carried through differentiation


@dataclass
class Outcome:
    """What a program gave: results, the variables afterwards, gradients."""

    results: list[np.ndarray]
    variables: list[np.ndarray]
    gradients: list[np.ndarray]


def outcome(program: Program, steps: int = 1, **settings: Any) -> Outcome:
    """Compile and run a program under some settings."""
    with rv.config.override(**settings):
        variables = program.variables()
        function = program.function(variables)
        if program.smooth:
            momenta = [rv.Variable(np.ones(s.value.shape), dtype=s.dtype) for s in program.slots]
            train = program.seed % 2 == 0 and momenta
            step = _trained(program, function, variables, momenta) if train else _differentiated(program, function)
            results, gradients = rv.jit(step).run(steps, *program.arguments)
            gradients = [gradients, *(v.numpy() for v in momenta)]
        else:
            results, gradients = rv.jit(function).run(steps, *program.arguments), []
    return Outcome(*([np.asarray(x) for x in tree.flatten(part)[0]] for part in (results, variables, gradients)))


def _differentiated(program: Program, function: Callable[..., Any]) -> Callable[..., Any]:
    """The program's results, and the gradient of its loss by every argument."""

    def f(*arguments: Any) -> Any:
        results: list[Any] = []

        def loss(*inner: Any) -> Any:
            results[:] = function(*inner)
            return program.loss(results)

        _, back = rv.vjp(loss, *arguments)
        found = back(rv.ones((), "float64"))
        return results, [g for g in found if g is not None]

    return f


def _trained(
    program: Program, function: Callable[..., Any], variables: Sequence[rv.Variable], momenta: Sequence[rv.Variable]
) -> Callable[..., Any]:
    """A step of training: the gradients by the variables, which then move along a running mean of these."""

    def f(*arguments: Any) -> Any:
        def loss(*inner: Any) -> Any:
            results = function(*inner)
            return program.loss(results) + sum(rv.mean(v * v).astype("float64") for v in variables[:-1]), results

        (_, results), slopes = rv.value_and_grad(loss, wrt=variables[:-1], has_aux=True)(*arguments)
        for v, m, g in zip(variables, momenta, slopes, strict=False):
            m.assign(0.9 * m + g)
            v.assign(v - 0.1 * m)
        return results, slopes

    return f


def difference(want: np.ndarray, got: np.ndarray, bound: float) -> str:
    """Where two arrays differ by more than a bound (or at all in NaN, infinities, dtype and shape); "" if nowhere."""
    if want.shape != got.shape or want.dtype != got.dtype:
        return f"expected {want.dtype}{list(want.shape)}, got {got.dtype}{list(got.shape)}"
    if want.dtype.kind != "f":
        wrong = np.asarray(want != got)
    else:
        with np.errstate(all="ignore"):
            near = np.abs(want.astype(np.float64) - got) <= bound
            wrong = np.asarray(~((want == got) | (np.isnan(want) & np.isnan(got)) | near))
    if not wrong.any():
        return ""
    at = tuple(int(i) for i in np.unravel_index(np.argmax(wrong), wrong.shape))
    count = f"{wrong.sum()} of {want.size} differ by more than {bound:.3g}"
    return f"{count}; at {at} expected {want[at]!r}, got {got[at]!r}"


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are the same to the last bit."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def check(seed: int, smooth: bool = False, **settings: Any) -> str:
    """Run the program of a seed on both backends; what is wrong, or ""."""
    program, steps = Program(seed, smooth), 1 if smooth else STEPS[seed % len(STEPS)]
    want = outcome(program, steps, backend="reference")
    bounds = [e + GRADIENT * (smooth and i >= len(want.results)) for i, e in enumerate(program.errors)]
    got = outcome(program, steps, backend="native", **settings)
    pairs: list[tuple[str, np.ndarray, np.ndarray, float]] = []
    named = [("result", want.results, got.results), ("variable", want.variables, got.variables)]
    rest = iter(bounds)
    for name, a, b in named:
        pairs += [(f"{name} {i}", x, y, next(rest)) for i, (x, y) in enumerate(zip(a, b, strict=True))]
    for i, (x, y) in enumerate(zip(want.gradients, got.gradients, strict=True)):
        pairs.append((f"gradient {i}", x, y, GRADIENT * _largest(x) + 1e-7))
    found = [f"{name}: {text}" for name, x, y, bound in pairs if (text := difference(x, y, bound))]
    return "\n".join(found)


def _largest(x: np.ndarray) -> float:
    finite = np.abs(x[np.isfinite(x)])
    return float(finite.max()) if finite.size else 0.0


def values(nests: Sequence[Any]) -> list[np.ndarray]:
    """The leaves of nests of tensors, as arrays."""
    return [t.numpy() for nest in nests for t in tree.flatten(nest)[0]]
