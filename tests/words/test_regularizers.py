"""Regularizers: values, gradients, names and errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

import ranvier as rv
from ranvier import regularizers
from ranvier.errors import ArgumentError


@pytest.mark.parametrize(
    "made, l1, l2",
    [
        (regularizers.L1(), 0.01, 0.0),
        (regularizers.L1(0.3), 0.3, 0.0),
        (regularizers.L2(), 0.0, 0.01),
        (regularizers.L2(0.5), 0.0, 0.5),
        (regularizers.L1L2(), 0.0, 0.0),
        (regularizers.L1L2(0.3, 0.5), 0.3, 0.5),
    ],
)
def test_values_gradients_config(
    made: regularizers.Regularizer, l1: float, l2: float, rng: np.random.Generator
) -> None:
    w = rng.normal(size=(4, 3))
    assert np.isclose(made(w).item(), l1 * np.abs(w).sum() + l2 * (w**2).sum())
    slope = rv.grad(made)(rv.tensor(w)).numpy()
    assert np.allclose(slope, l1 * np.sign(w) + 2 * l2 * w)
    rv.check_gradients(made, w, order=2)
    again = regularizers.deserialize(regularizers.serialize(made))
    assert repr(again) == repr(made)


def test_variables_and_float32() -> None:
    assert regularizers.L1L2(1.0, 1.0)(rv.Variable([1.0, -2.0])).item() == 8.0


def test_names() -> None:
    assert repr(regularizers.get("l1")) == "L1(l1=0.01)"
    assert repr(regularizers.get("l2")) == "L2(l2=0.01)"
    assert repr(regularizers.get("l1_l2")) == "L1L2(l1=0.0, l2=0.0)"
    assert repr(regularizers.get("L2")) == "L2(l2=0.01)"
    assert regularizers.get(None) is None
    assert regularizers.get(rv.sum) is rv.sum


def test_errors() -> None:
    for kind, text in ((regularizers.L1, "L1: expected l1"), (regularizers.L2, "L2: expected l2")):
        for bad in (-1, math.nan, math.inf, "x", None, True):
            with pytest.raises(ArgumentError, match=f"{text} to be a finite number of at least 0, got"):
                kind(bad)
    with pytest.raises(ArgumentError, match="L1L2: expected l2 to be a finite number"):
        regularizers.L1L2(0.1, -0.1)
    with pytest.raises(ArgumentError, match=r"unknown regularizer 'l3'.* Known names: L1, L1L2, L2"):
        regularizers.get("l3")
    with pytest.raises(ArgumentError, match="Regularizer: define __call__"):
        regularizers.Regularizer()(rv.ones(2))
