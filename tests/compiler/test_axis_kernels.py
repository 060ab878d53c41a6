"""Cumulative ops and sorting in compiled functions: native, in checked mode too, the same on two threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranvier as rv


def everything(x: rv.Tensor) -> list[Any]:
    def loss(x: rv.Tensor) -> rv.Tensor:
        total = rv.sum(rv.cumulative_prod(rv.cumulative_sum(x, 1) / 9.0, 0)) + rv.sum(
            rv.cumulative_max(x, 2, reverse=True)
        )
        return total + rv.sum(rv.sort(x, 1) ** 2) + rv.sum(rv.top_k(x, 3)[0] ** 3)

    return [rv.value_and_grad(loss)(x), rv.argsort(x, 0, descending=True), rv.top_k(x.astype("float64"), 2)]


@pytest.fixture
def x(rng: np.random.Generator) -> rv.Tensor:
    return rv.tensor(rng.normal(size=(4, 37, 21)).astype("float32"))


def leaves(nest: Any) -> list[np.ndarray]:
    return [t.numpy() for t in rv.tree.flatten(nest)[0]]


def test_no_op_falls_back_to_the_reference(x: rv.Tensor) -> None:
    step = rv.jit(everything)
    text = str(step.explain(x))
    assert "accumulate" in text and "sort" in text
    assert "reference" not in text, text


def test_checked_mode_agrees(x: rv.Tensor) -> None:
    want = leaves(everything(x))
    for settings in ({"checked": True}, {"threads": 1}, {"threads": 2}):
        with rv.config.override(**settings):
            got = leaves(rv.jit(everything)(x))
        for a, b in zip(want, got, strict=True):
            # Sums of 3108 terms, and gradients of products of four factors, in float32.
            np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4 * max(1.0, np.abs(a).max()))


def test_threads_do_not_change_the_bits(x: rv.Tensor) -> None:
    found = []
    for threads in (1, 2):
        with rv.config.override(threads=threads):
            found.append(leaves(rv.jit(everything)(x)))
    for a, b in zip(*found, strict=True):
        assert a.tobytes() == b.tobytes()


def test_a_running_sum_in_the_variables_own_memory() -> None:
    v = rv.Variable(np.arange(40.0).reshape(4, 10), dtype="float32")

    def step() -> None:
        v.assign(rv.cumulative_sum(v.value, 1))

    rv.jit(step)()
    np.testing.assert_array_equal(v.value.numpy(), np.cumsum(np.arange(40.0).reshape(4, 10), 1))
