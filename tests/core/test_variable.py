"""Variables: reading, assigning, identity, gradients, copies, and what is refused."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier.errors import ArgumentError, DTypeError, ShapeError, TraceError
from ranvier.tensor import Tensor

# -- values -------------------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_reading_and_assigning() -> None:
    v = rv.Variable([1.0, 2.0], name="v")
    before = v.value
    v.assign([3.0, 4.0])
    assert v.numpy().tolist() == v.value.tolist() == [3.0, 4.0]
    assert before.tolist() == [1.0, 2.0], "a value that was read stays what it was"
    v.assign_add(1)
    v.assign_sub([0.5, 0.25])
    assert v.numpy().tolist() == [3.5, 4.75]
    assert (v.shape, v.dtype, v.ndim, v.size, v.name, v.trainable) == ((2,), rv.float32, 1, 2, "v", True)
    assert repr(v) == "Variable('v', shape=(2,), dtype=float32)"
    assert repr(rv.Variable(1, "n")) == "Variable('n', shape=(), dtype=int64, trainable=False)"


def test_operators_in_place_change_the_variable() -> None:
    v = same = rv.Variable([1.0, 2.0])
    v += 1
    v -= 0.5
    v *= 4
    v /= 2
    v **= 2
    assert v is same and v.numpy().tolist() == [9.0, 25.0]
    n = kept = rv.Variable([7, 12])
    n //= 2
    n %= 4
    n |= 8
    n &= 11
    n ^= 1
    n <<= 2
    n >>= 1
    assert n is kept and n.numpy().tolist() == [
        ((((7 // 2) % 4 | 8) & 11) ^ 1) * 2,
        ((((12 // 2) % 4 | 8) & 11) ^ 1) * 2,
    ]
    m = rv.Variable(np.eye(2, dtype=np.float32))
    m @= [[1.0, 2.0], [3.0, 4.0]]
    assert m.numpy().tolist() == [[1.0, 2.0], [3.0, 4.0]]
    with pytest.raises(DTypeError, match="expected a int64 value, got float32"):
        n += 0.5
    with pytest.raises(ShapeError, match=r"expected a value of shape \(2,\), got \(3, 2\)"):
        v += rv.zeros((3, 2))


def test_variables_work_like_tensors() -> None:
    a = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    v = rv.Variable(a)
    assert (v + 1).tolist() == (1 + v).tolist() == (a + 1).tolist() and isinstance(v + v, Tensor)
    assert (v @ v).tolist() == (a @ a).tolist() and (2**v).tolist() == (2**a).tolist()
    assert (-v).tolist() == (-a).tolist() and abs(-v).tolist() == a.tolist() and (v > 2).tolist() == (a > 2).tolist()
    assert v[1, 0].item() == 3.0 and v.sum(0).tolist() == [4.0, 6.0] and v.T.tolist() == a.T.tolist()
    assert len(v) == 2 and [row.tolist() for row in v] == a.tolist() and 4.0 in v
    assert np.asarray(v).tolist() == a.tolist() and rv.exp(v).shape == (2, 2) and rv.tensor(v).tolist() == a.tolist()
    assert np.from_dlpack(v).tolist() == a.tolist()
    n = rv.Variable(2)
    assert int(n) == 2 and float(n) == 2.0 and bool(n) and [0, 1, 2][n] == 2 and complex(n) == 2
    assert (~n).item() == -3 and (5 & n).item() == 0 and (1 << n).item() == 4
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        v.nonsense  # noqa: B018


def test_equality_is_identity_between_variables_only() -> None:
    a, b = rv.Variable([1.0]), rv.Variable([1.0])
    assert a == a and a != b and (a == b) is False
    assert [b, a].index(a) == 1 and a in [b, a] and {a: 1, b: 2}[b] == 2 and len({a, b, a}) == 2
    assert (a == 1.0).tolist() == [True] and (a == b.value).tolist() == [True] and (a != 2).tolist() == [True]


def test_a_variable_owns_its_memory() -> None:
    given = np.ones(2, np.float32)
    v = rv.Variable(given)
    given[:] = 5
    copied = v.numpy()
    copied[:] = 7
    np.from_dlpack(v)
    assert v.numpy().tolist() == [1.0, 1.0]
    v.assign(given)
    given[:] = 9
    assert v.numpy().tolist() == [5.0, 5.0]


def test_dtypes_are_converted_within_their_kind() -> None:
    v = rv.Variable([0.0], dtype="bfloat16")
    v.assign([0.1])
    assert v.numpy().tolist() == [0.10009765625]
    w = rv.Variable([0.0])
    w.assign(np.array([1.5], np.float64))
    w.assign([3])
    assert w.dtype is rv.float32 and w.numpy().tolist() == [3.0]
    with pytest.raises(DTypeError, match="variable 'n': expected a int64 value, got float32; use astype"):
        rv.Variable([1], name="n").assign([1.5])
    with pytest.raises(ArgumentError, match="the integer 300 does not fit into uint8"):
        rv.Variable([1], dtype="uint8").assign([300])


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: rv.Variable("text"), DTypeError, "expected numbers, got text"),
        (lambda: rv.Variable([1.0], name=3), ArgumentError, "Variable: expected name to be a string, got 3"),
        (
            lambda: rv.Variable([1.0], name="v").assign([1.0, 2.0]),
            ShapeError,
            r"variable 'v': expected .* \(1,\), got \(2,\)",
        ),
        (lambda: rv.Variable([1.0]).assign(None), DTypeError, "expected numbers, got object"),
        (lambda: rv.Variable([1.0], dtype="complex64"), DTypeError, "complex64.* is not supported"),
    ],
)
def test_what_is_refused(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_a_refused_assignment_changes_nothing() -> None:
    v = rv.Variable([1.0, 2.0])
    for value in ([1.0], "x", None, [[1.0, 2.0]]):
        with pytest.raises((ShapeError, DTypeError), match="expected"):
            v.assign(value)
    assert v.numpy().tolist() == [1.0, 2.0]


def test_names_are_made_up_when_not_given() -> None:
    a, b = rv.Variable(1.0), rv.Variable(1.0)
    assert a.name != b.name and a.name.startswith("variable_")


# -- gradients ----------------------------------------------------------------------------------------------------


def test_trainable_can_be_switched() -> None:
    v = rv.Variable([2.0], trainable=False)
    assert not (v * 2).requires_grad
    v.trainable = True
    rv.sum(v * v).backward()
    assert v.grad.tolist() == [4.0] and v.numpy().tolist() == [2.0]
    v.trainable = False
    assert not (v * 2).requires_grad
    n = rv.Variable([1])
    n.trainable = True
    assert not n.trainable, "integers have no gradient"


def test_a_frozen_variable_gets_no_gradient_in_compiled_code_either() -> None:
    w, frozen = rv.Variable([2.0], "w"), rv.Variable([3.0], "frozen", trainable=False)

    def step() -> Tensor:
        rv.sum(w * frozen).backward()
        g, w.grad = w.grad, None
        assert frozen.grad is None
        return g

    assert step().tolist() == rv.jit(step)().tolist() == [3.0]


def test_gradients_belong_to_the_value_that_was_read() -> None:
    v = rv.Variable([2.0])
    loss = rv.sum(v * v)
    v.assign([100.0])
    loss.backward()
    assert v.grad.tolist() == [4.0]


def test_plain_descent_finds_the_minimum() -> None:
    w = rv.Variable([5.0, -3.0])
    for _ in range(100):
        w.grad = None
        rv.sum((w - [1.0, 2.0]) ** 2).backward()
        w -= 0.1 * w.grad
    np.testing.assert_allclose(w.numpy(), [1.0, 2.0], atol=1e-6)


# -- compiled functions ---------------------------------------------------------------------------------------------


def test_compiled_functions_update_variables() -> None:
    v, count = rv.Variable([1.0, 2.0]), rv.Variable(0)

    @rv.jit
    def step(x: Tensor) -> Tensor:
        v.assign_add(x)
        count.assign(count + 1)
        return rv.sum(v)

    assert step(rv.tensor([1.0, 1.0])).item() == 5.0
    assert step.run(3, rv.tensor([1.0, 1.0])).item() == 11.0
    assert v.numpy().tolist() == [5.0, 6.0] and int(count) == 4
    v.assign([0.0, 0.0])  # between compiled calls
    assert step(rv.tensor([1.0, 2.0])).item() == 3.0
    v += 1
    assert step(rv.tensor([0.0, 0.0])).item() == 5.0
    twin = copy.deepcopy(v)
    v.assign([9.0, 9.0])
    assert twin.numpy().tolist() == [2.0, 3.0]


def test_variables_cannot_be_made_of_unknown_values() -> None:
    with pytest.raises(ArgumentError, match="the initial value must be concrete"):
        rv.jit(lambda x: rv.Variable(x) + 1)(rv.tensor([1.0]))
    v = rv.Variable([1.0])
    with pytest.raises(TraceError, match="needs a concrete value"):
        rv.jit(lambda x: x + v.numpy())(rv.tensor([1.0]))


# -- copies -------------------------------------------------------------------------------------------------------


def test_copies() -> None:
    v = rv.Variable([1.0, 2.0], name="v", trainable=False, dtype="float64")
    rv.jit(lambda: v * 2)()  # now compiled code keeps memory for it
    for made in (copy.copy(v), copy.deepcopy(v), pickle.loads(pickle.dumps(v))):
        assert (made.name, made.dtype, made.trainable, made.numpy().tolist()) == ("v", rv.float64, False, [1.0, 2.0])
        made.assign([5.0, 5.0])
        assert v.numpy().tolist() == [1.0, 2.0]
    nested = copy.deepcopy({"a": v, "b": [v]})
    assert nested["a"] is nested["b"][0] and nested["a"] is not v


def test_a_dropped_variable_is_collected() -> None:
    v = rv.Variable([1.0])
    rv.sum(v * 2).backward()
    reference = weakref.ref(v)
    del v
    gc.collect()
    assert reference() is None
