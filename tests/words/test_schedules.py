"""Learning-rate schedules against their formulas, eagerly and compiled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier.errors import ArgumentError
from ranvier.jit import jit
from ranvier.optimizers import schedules as s


def cosine(t: float, top: float, steps: float, alpha: float = 0.0) -> float:
    return top * ((1 - alpha) * 0.5 * (1 + math.cos(math.pi * min(t, steps) / steps)) + alpha)


def cycled(t: float) -> float:
    whole = max(1, math.ceil(t / 10)) * 10
    return (0.5 - 0.1) * (1 - t / whole) ** 2 + 0.1


CASES: list[tuple[s.LearningRateSchedule, Any]] = [
    (s.ExponentialDecay(0.5, 10, 0.9), lambda t: 0.5 * 0.9 ** (t / 10)),
    (s.ExponentialDecay(0.5, 10, 0.9, staircase=True), lambda t: 0.5 * 0.9 ** (t // 10)),
    (s.InverseTimeDecay(0.5, 10, 0.9), lambda t: 0.5 / (1 + 0.9 * t / 10)),
    (s.InverseTimeDecay(0.5, 10, 0.9, staircase=True), lambda t: 0.5 / (1 + 0.9 * (t // 10))),
    (s.PolynomialDecay(0.5, 10), lambda t: (0.5 - 1e-4) * (1 - min(t, 10) / 10) + 1e-4),
    (s.PolynomialDecay(0.5, 10, 0.1, 2.0), lambda t: (0.5 - 0.1) * (1 - min(t, 10) / 10) ** 2 + 0.1),
    (s.PolynomialDecay(0.5, 10, 0.1, 2, cycle=True), cycled),
    (s.CosineDecay(0.5, 10), lambda t: cosine(t, 0.5, 10)),
    (s.CosineDecay(0.5, 10, alpha=0.1), lambda t: cosine(t, 0.5, 10, 0.1)),
    (
        s.CosineDecay(0.1, 10, 0.1, warmup_target=0.5, warmup_steps=5),
        lambda t: 0.1 + 0.4 * t / 5 if t < 5 else cosine(t - 5, 0.5, 10, 0.1),
    ),
    (s.CosineDecay(0.0, 10, warmup_target=0.5, warmup_steps=0), lambda t: cosine(t, 0.5, 10)),
    (s.PiecewiseConstantDecay([10, 20], [0.5, 0.2, 0.1]), lambda t: 0.5 if t <= 10 else 0.2 if t <= 20 else 0.1),
    (s.PiecewiseConstantDecay([], [0.5]), lambda t: 0.5),
]


def test_every_schedule_is_tested_here() -> None:
    assert {type(made).__name__ for made, _ in CASES} == set(s.names())


@pytest.mark.parametrize("number", range(len(CASES)))
def test_values(number: int) -> None:
    made, formula = CASES[number]
    compiled = jit(lambda t: made(t))
    for t in (0, 1, 4, 5, 9, 10, 11, 15, 19, 20, 21, 35, 1000):
        rate = made(rv.tensor(t))
        assert (rate.dtype, rate.shape) == (rv.float32, ())
        assert np.isclose(rate.item(), formula(t), rtol=1e-5, atol=1e-7), t
        assert np.isclose(compiled(rv.tensor(t)).item(), formula(t), rtol=1e-5, atol=1e-7), t
    again = s.deserialize(s.serialize(made))
    assert repr(again) == repr(made)
    assert s.get(made) is made


ERRORS: list[tuple[Any, str]] = [
    (lambda: s.ExponentialDecay(0, 10, 0.9), "ExponentialDecay: expected initial_learning_rate .* above 0, got 0"),
    (lambda: s.ExponentialDecay(math.nan, 10, 0.9), "ExponentialDecay: expected initial_learning_rate .* got nan"),
    (lambda: s.ExponentialDecay(0.1, 0, 0.9), "ExponentialDecay: expected decay_steps .* above 0, got 0"),
    (lambda: s.ExponentialDecay(0.1, 10, -1), "ExponentialDecay: expected decay_rate"),
    (lambda: s.InverseTimeDecay(-1, 10, 0.9), "InverseTimeDecay: expected initial_learning_rate"),
    (lambda: s.InverseTimeDecay(0.1, -10, 0.9), "InverseTimeDecay: expected decay_steps"),
    (lambda: s.InverseTimeDecay(0.1, 10, -1), "InverseTimeDecay: expected decay_rate .* at least 0, got -1"),
    (lambda: s.PolynomialDecay("x", 10), "PolynomialDecay: expected initial_learning_rate"),
    (lambda: s.PolynomialDecay(0.1, None), "PolynomialDecay: expected decay_steps"),
    (lambda: s.PolynomialDecay(0.1, 10, -1), "PolynomialDecay: expected end_learning_rate"),
    (lambda: s.PolynomialDecay(0.1, 10, power=0), "PolynomialDecay: expected power"),
    (lambda: s.CosineDecay(0, 10), "CosineDecay: expected initial_learning_rate .* above 0, got 0"),
    (lambda: s.CosineDecay(0.1, 0), "CosineDecay: expected decay_steps"),
    (lambda: s.CosineDecay(0.1, 10, -1), "CosineDecay: expected alpha"),
    (lambda: s.CosineDecay(0.1, 10, warmup_target=-1), "CosineDecay: expected warmup_target"),
    (lambda: s.CosineDecay(0.1, 10, warmup_target=1, warmup_steps=-1), "CosineDecay: expected warmup_steps"),
    (lambda: s.PiecewiseConstantDecay([1], [1]), "expected one value more than boundaries, got 1 values and 1 bound"),
    (lambda: s.PiecewiseConstantDecay([2, 1], [1, 2, 3]), r"PiecewiseConstantDecay: expected boundaries that rise"),
    (lambda: s.PiecewiseConstantDecay([-1], [1, 2]), "PiecewiseConstantDecay: expected every boundary"),
    (lambda: s.PiecewiseConstantDecay([1], [1, math.nan]), "PiecewiseConstantDecay: expected every value"),
    (lambda: s.LearningRateSchedule()(1), "LearningRateSchedule: define __call__"),
    (lambda: s.get(0.1), "schedule: expected a name, a configuration or an object, got 0.1"),
]


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors(number: int) -> None:
    call, text = ERRORS[number]
    with pytest.raises(ArgumentError, match=text):
        call()
