"""Tensors: construction, facts, operators, indexing, conversion, and what is refused."""

from __future__ import annotations

import copy
import math
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier.errors import (
    ArgumentError,
    DTypeError,
    IndexRangeError,
    ResourceError,
    ShapeError,
)
from ranvier.tensor import Tensor

# -- construction and facts ---------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_the_array_of_the_notes() -> None:
    # Three samples of two rows and two columns, as introductions to tensors show it.
    x = rv.tensor(np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]], [[9, 10], [11, 12]]]))
    assert x.ndim == 3
    assert x.shape == (3, 2, 2)
    assert x.size == len(x) * 4 == 12
    assert x.dtype is rv.int64
    assert rv.tensor(12).ndim == 0 and rv.tensor([12, 3]).ndim == 1 and rv.tensor([[1, 2], [3, 4]]).ndim == 2


@pytest.mark.smoke
@pytest.mark.parametrize(
    "value, shape, dtype",
    [
        (3, (), "int64"),
        (3.5, (), "float32"),
        (True, (), "bool"),
        ([1, 2], (2,), "int64"),
        ([1, 2.5], (2,), "float32"),
        ([True, False], (2,), "bool"),
        ([], (0,), "float32"),
        ([[], []], (2, 0), "float32"),
        ((1, 2, 3), (3,), "int64"),
        (range(4), (4,), "int64"),
        (np.float64(1.5), (), "float64"),
        (np.float32(1.5), (), "float32"),
        (np.int8(3), (), "int8"),
        (np.bool_(True), (), "bool"),
        (np.ones((2, 3), np.uint8), (2, 3), "uint8"),
        (np.ones(2, ">f4"), (2,), "float32"),
        ([np.float64(1.0), 2.0], (2,), "float32"),
        ([np.ones(2), np.ones(2)], (2, 2), "float32"),
    ],
)
def test_construction(value: Any, shape: tuple[int, ...], dtype: str) -> None:
    made = rv.tensor(value)
    assert (made.shape, made.dtype) == (shape, dtype)
    np.testing.assert_array_equal(made.numpy(), np.asarray(list(value) if isinstance(value, range) else value))
    assert rv.Tensor(value).tolist() == made.tolist() == rv.asarray(value).tolist()


def test_wanted_dtypes_lose_no_digit() -> None:
    assert rv.tensor(0.1, "float64").item() == 0.1
    assert rv.tensor([0.1, 1e300], "float64").tolist() == [0.1, 1e300]
    assert rv.tensor([[0.1], [1 / 3]], rv.float64).tolist() == [[0.1], [1 / 3]]
    assert rv.tensor(2**53 + 1).item() == 2**53 + 1
    assert (rv.tensor([0.1], "float64") + [0.2]).tolist() == [0.1 + 0.2]
    assert (rv.tensor([0.1], "float64") * 0.7).tolist() == [0.1 * 0.7]
    v = rv.Variable([0.1, 0.2], dtype="float64")
    v.assign([0.3, 0.4])
    assert v.numpy().tolist() == [0.3, 0.4]


def test_values_beyond_a_dtype() -> None:
    assert rv.tensor([1e300, -1e300, np.nan]).tolist()[:2] == [math.inf, -math.inf]
    assert rv.tensor([300.0, -5.0, np.nan], "uint8").tolist() == [255, 0, 0]
    with pytest.raises(ArgumentError, match="the integer 300 does not fit into uint8"):
        rv.tensor([1, 300], "uint8")
    with pytest.raises(ArgumentError, match="the integer -1 does not fit into uint8"):
        rv.tensor(-1, "uint8")
    assert rv.tensor(np.array([300, -1]), "uint8").tolist() == [44, 255]  # arrays wrap, as in NumPy


@pytest.mark.parametrize("nest", [[1.0, "x"], [[1.0, 2.0], "xx"], ["x", 1.0]])
def test_lists_that_hold_tensors_keep_their_gradients(nest: Any) -> None:
    def build(part: Any, x: Tensor) -> Any:
        return [build(p, x) for p in part] if isinstance(part, list) else x if part == "x" else part

    if nest == [[1.0, 2.0], "xx"]:
        g = rv.grad(lambda x: rv.sum(rv.tensor([[1.0, 2.0], [x, x * x]])))(rv.tensor(3.0))
        assert g.item() == 7.0
    else:
        assert rv.grad(lambda x: rv.sum(rv.tensor(build(nest, x)) * 2))(rv.tensor(3.0)).item() == 2.0


def test_tensors_do_not_follow_the_array_they_came_from() -> None:
    a = np.arange(6.0)
    made = [rv.tensor(a), rv.asarray(a), rv.reshape(a, (2, 3)), rv.Tensor(a), rv.transpose(a.reshape(2, 3)), rv.flip(a)]
    before = [t.tolist() for t in made]
    a[:] = -1
    assert [t.tolist() for t in made] == before


def test_a_batch_buffer_may_be_reused_before_backward() -> None:
    w, batch = rv.Variable([1.0, 1.0]), np.array([2.0, 3.0], np.float32)
    loss = rv.sum(w * batch)
    batch[:] = 0
    loss.backward()
    assert w.grad.tolist() == [2.0, 3.0]


def test_tensors_are_not_written_through_their_numpy_view() -> None:
    x = rv.tensor([1.0, 2.0])
    assert np.shares_memory(x.numpy(), x.numpy())
    with pytest.raises(ValueError, match="read-only"):
        x.numpy()[0] = 5
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(x)[0] = 5
    with pytest.raises(TypeError, match="does not support item assignment"):
        x[0] = 5  # type: ignore[index]


# -- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value, error, text",
    [
        ("text", DTypeError, "expected numbers, got text data such as 'text'"),
        (["a", "b"], DTypeError, "expected numbers, got text data such as 'a'"),
        (None, DTypeError, "expected numbers, got object data such as None"),
        ([None, 1], DTypeError, "expected numbers, got object"),
        ({"a": 1}, DTypeError, "expected numbers, got object"),
        (object, DTypeError, "expected numbers, got object"),
        (1j, DTypeError, "expected real numbers, got complex128"),
        (np.zeros(2, np.complex64), DTypeError, "expected real numbers, got complex64"),
        (np.array([1, "a"], object), DTypeError, "expected numbers, got object data such as 'a'"),
        (np.array(["x"]), DTypeError, "expected numbers, got text data such as 'x'"),
        (np.array([b"x"]), DTypeError, "expected numbers, got text data such as b'x'"),
        (np.array(["2020-01-01"], "datetime64[D]"), DTypeError, "M8.* is not supported"),
        (np.zeros(2, [("a", "f4")]), DTypeError, "expected numbers, got record data"),
        (np.zeros(2, np.float16), DTypeError, "float16.* is not supported.*astype"),
        (np.zeros(2, np.uint64), DTypeError, "uint64.* is not supported"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), DTypeError, "masked array has missing values"),
        ([[1, 2], [3]], ShapeError, "nested lists must have even lengths"),
        ([1, [2]], ShapeError, "nested lists must have even lengths"),
        (2**63, ArgumentError, "9223372036854775808 does not fit into int64"),
        ([1, 2**70], ArgumentError, "1180591620717411303424 does not fit into int64"),
        ([2**63], ArgumentError, "9223372036854775808 does not fit into int64"),
    ],
    ids=str,
)
def test_what_is_no_tensor(value: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        rv.tensor(value)
    with pytest.raises(error, match=text):
        rv.exp(value)


def _misaligned(a: np.ndarray) -> np.ndarray:
    raw = np.zeros(a.nbytes + 1, np.uint8)
    out = raw[1:].view(a.dtype).reshape(a.shape)
    out[...] = a
    assert not out.flags.aligned
    return out


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[::-1],
        lambda a: a[:, ::-2],
        lambda a: a.T,
        np.asfortranarray,
        lambda a: np.lib.stride_tricks.as_strided(a, (3, 3), (a.strides[1], a.strides[1])),
        lambda a: np.broadcast_to(a[0], (3, a.shape[1])),
        lambda a: a.astype(">f8"),
        _misaligned,
        lambda a: a[:0],
        np.ma.masked_array,
        lambda a: a.view(np.matrix),
    ],
)
def test_unusual_memory(view: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator) -> None:
    a = view(rng.normal(size=(4, 6)))
    plain = np.ascontiguousarray(a, np.float64)
    for made in (rv.tensor(a), rv.asarray(a)):
        np.testing.assert_array_equal(made.numpy(), plain)
        np.testing.assert_allclose((made * 2 + rv.exp(made)).numpy(), plain * 2 + np.exp(plain), rtol=1e-14)
        np.testing.assert_allclose(rv.sum(made, 0).numpy(), plain.sum(0), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0), (1,) * 33, (1,) * 64], ids=str)
def test_unusual_shapes(shape: tuple[int, ...]) -> None:
    x = rv.ones(shape)
    assert x.shape == shape and x.ndim == len(shape) and x.size == math.prod(shape)
    assert (x + x).shape == (rv.exp(x) * 2).shape == rv.transpose(x).numpy().T.shape == shape
    assert rv.sum(x).item() == math.prod(shape)
    assert rv.reshape(x, (x.size,)).shape == (x.size,)
    assert rv.grad(lambda t: rv.sum(t * t))(x).shape == shape
    assert repr(x).startswith("Tensor(")


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: rv.zeros((1,) * 65), ShapeError, "at most 64 axes are possible, got 65"),
        (lambda: rv.reshape(1.0, (1,) * 65), ShapeError, "reshape: cannot turn"),
        (lambda: rv.zeros((2, -1)), ShapeError, r"zeros: expected a shape of non-negative integers, got \(2, -1\)"),
        (lambda: rv.ones(2.5), ShapeError, "ones: expected a shape of non-negative integers, got 2.5"),
        (lambda: rv.full("ab", 1), ShapeError, "full: expected a shape"),
        (lambda: rv.zeros(True), ShapeError, "zeros: expected a shape"),
        (lambda: rv.zeros(None), ShapeError, "zeros: expected a shape"),
        (lambda: rv.zeros(2**62), ResourceError, r"zeros: a float32 result of shape .* needs .* GiB"),
        (lambda: rv.zeros((2**40, 2**40)), ShapeError, "more elements than memory can hold"),
        (lambda: rv.eye(2**31), ResourceError, "eye: a float32 result"),
        (lambda: rv.eye(-1), ShapeError, "eye: expected a shape"),
        (lambda: rv.arange(2**45), ResourceError, "arange: a float64 result"),
        (lambda: rv.arange(0, 1e30), ArgumentError, "is no finite range"),
        (lambda: rv.arange(0, 1, np.nan), ArgumentError, "is no finite range"),
        (lambda: rv.arange(3, 4, 0), ArgumentError, "step must not be 0"),
        (lambda: rv.arange("a"), ArgumentError, "arange: expected numbers, got 'a'"),
        (lambda: rv.linspace(0, 1, 2**45), ResourceError, "linspace: a float64 result"),
        (lambda: rv.linspace(0, 1, -1), ArgumentError, "num to be a non-negative integer, got -1"),
        (lambda: rv.linspace(0, 1, 2.5), ArgumentError, "num to be a non-negative integer, got 2.5"),
        (lambda: rv.linspace(None, 1, 3), ArgumentError, "linspace: expected numbers, got None"),
        (lambda: rv.tile(rv.ones(3), (2**20, 2**20)), ResourceError, "tile: a float32 result"),
        (lambda: rv.tile(rv.ones(3), -1), ShapeError, "tile: expected a shape"),
        (lambda: rv.repeat(rv.ones(3), 2**45, 0), ResourceError, "repeat: a float32 result"),
        (lambda: rv.repeat(rv.ones(3), -1, 0), ShapeError, "repeat: expected a shape"),
        (lambda: rv.repeat(rv.ones(3), 2, 3), ArgumentError, "repeat: axis 3 is out of range for 1 axes"),
        (lambda: rv.full((2,), "a"), DTypeError, "expected numbers, got text"),
        (lambda: rv.full((2,), rv.ones(3)), ShapeError, "broadcast_to"),
        (lambda: rv.embed(rv.ones(3), (2,), (0,)), ShapeError, "does not fit into"),
        (lambda: rv.embed(rv.ones(3), (2**45,), (0,)), ResourceError, "embed: a float32 result"),
        (lambda: rv.one_hot([1], 2**45), ResourceError, "one_hot: a float32 result"),
        (lambda: rv.pad(rv.ones(3), 1), ShapeError, "expected 1 pairs of non-negative integers"),
        (lambda: rv.pad(rv.ones(3), [(1, -1)]), ShapeError, "expected 1 pairs of non-negative integers"),
        (lambda: rv.pad(rv.ones(3), [(1.5, 1)]), ArgumentError, "pad: expected widths to be integers"),
    ],
)
def test_sizes_that_cannot_be(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("axis", [-100000, 2**31, 3, -4])
@pytest.mark.parametrize(
    "call",
    [
        rv.sum, rv.max, rv.mean, rv.var, rv.prod, rv.argmax, rv.all, rv.logsumexp, rv.squeeze, rv.flip,
        lambda x, axis: rv.concatenate([x, x], axis), lambda x, axis: rv.split(x, 2, axis),
        lambda x, axis: rv.swapaxes(x, 0, axis), lambda x, axis: rv.moveaxis(x, axis, 0),
        lambda x, axis: rv.repeat(x, 2, axis), lambda x, axis: rv.take(x, 0, axis),
        lambda x, axis: rv.take_along_axis(x, rv.zeros((2, 2, 2), "int64"), axis),
        lambda x, axis: rv.vecdot(x, x, axis),
    ],
)  # fmt: skip
def test_axes_out_of_range(call: Callable[..., Any], axis: int) -> None:
    with pytest.raises(ArgumentError, match=f"{axis}.* out of range"):
        call(rv.ones((2, 2, 2)), axis=axis)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda x: rv.sum(x, 1.0), ArgumentError, "sum: expected axis to be an integer"),
        (lambda x: rv.sum(x, True), ArgumentError, "sum: expected axis to be an integer"),
        (lambda x: rv.sum(x, "a"), ArgumentError, "sum: expected axis to be an integer"),
        (lambda x: rv.sum(x, (0, -2)), ArgumentError, "names the same axis twice"),
        (lambda x: rv.flip(x, (0, 0)), ArgumentError, "names the same axis twice"),
        (lambda x: rv.expand_dims(x, (0, 0)), ArgumentError, "names the same axis twice"),
        (lambda x: rv.argmax(x, (0, 1)), ArgumentError, "argmax: expected one axis or None"),
        (lambda x: rv.squeeze(x, 0), ShapeError, "do not all have size 1"),
        (lambda x: rv.squeeze(rv.tensor(1.0), 0), ArgumentError, "squeeze: axis 0 is out of range for 0 axes"),
        (lambda x: rv.transpose(x, (0, 0)), ArgumentError, "not a permutation"),
        (lambda x: rv.transpose(x, (0,)), ArgumentError, "not a permutation"),
        (lambda x: rv.transpose(x, 0), ArgumentError, "not a permutation"),
        (lambda x: rv.transpose(x, "ab"), ArgumentError, "expected axes to be integers"),
        (lambda x: rv.tensor([1.0]).mT, ShapeError, "matrix_transpose: expected at least two axes"),
        (lambda x: rv.moveaxis(x, (0, 1), 0), ArgumentError, "one destination for each source"),
        (lambda x: rv.reshape(x, (5,)), ShapeError, r"reshape: cannot turn shape \(2, 3\) \(6 elements\) into \(5,\)"),
        (lambda x: rv.reshape(x, (-1, -1)), ShapeError, "reshape: cannot turn"),
        (lambda x: rv.reshape(x, (4, -1)), ShapeError, "reshape: cannot turn"),
        (lambda x: rv.reshape(x, (-2, -3)), ShapeError, "reshape: cannot turn"),
        (lambda x: rv.reshape(x[:0], (-1, 0)), ShapeError, "reshape: cannot turn"),
        (lambda x: rv.reshape(x, (2.0, 3)), ArgumentError, "reshape: expected sizes to be integers"),
        (lambda x: rv.reshape(x, "a"), ArgumentError, "reshape: expected sizes to be integers"),
        (lambda x: rv.broadcast_to(x, (2,)), ShapeError, "broadcast_to"),
        (lambda x: rv.concatenate([]), ArgumentError, "expected at least one tensor"),
        (lambda x: rv.stack([]), ArgumentError, "stack: expected at least one tensor"),
        (lambda x: rv.stack([x, x[0]]), ShapeError, r"expected equal shapes, got \(2, 3\) and \(3,\)"),
        (lambda x: rv.stack([x, x], 5), ArgumentError, "stack: axis 5 is out of range"),
        (lambda x: rv.concatenate([x, x[0]]), ShapeError, "differ outside axis 0"),
        (lambda x: rv.concatenate([rv.tensor(1.0)]), ArgumentError, "concatenate: axis 0 is out of range for 0 axes"),
        (lambda x: rv.split(x, 2, 1), ShapeError, "split: axis 1 of size 3 does not divide into 2"),
        (lambda x: rv.split(x, 0), ShapeError, "does not divide into 0"),
        (lambda x: rv.split(x, [0.5]), ArgumentError, "split: expected positions to be integers"),
        (lambda x: x @ 2, ShapeError, "expected at least one axis on each side"),
        (lambda x: x @ x, ShapeError, r"matmul: shapes \(2, 3\) and \(2, 3\) do not fit"),
        (lambda x: x[0] @ x, ShapeError, r"matmul: shapes \(3,\) and \(2, 3\) do not fit: 3 columns meet 2 rows"),
        (lambda x: rv.ones((2, 3, 4)) @ rv.ones((3, 4, 5)), ShapeError, "batch axes"),
        (lambda x: (x > 0) @ (x > 0).T, DTypeError, "matmul: expected integer or floating input, got bool"),
        (lambda x: rv.outer(x, x), ShapeError, "outer: expected two vectors"),
        (lambda x: rv.dot(x, x), ShapeError, "dot: expected two vectors of one length"),
        (lambda x: rv.tensordot(x, x, -1), ArgumentError, "axes to be a non-negative integer, got -1"),
        (lambda x: rv.tensordot(x, x, 1), ShapeError, "tensordot: the last 1 axes"),
        (lambda x: rv.where(x, 1.0, 2.0), DTypeError, r"where \(condition\): expected bool input, got float32"),
        (lambda x: rv.logical_and(x, x), DTypeError, "logical_and: expected bool input, got float32"),
        (lambda x: x & 1, DTypeError, "bitwise_and: expected bool or integer input, got float32"),
        (lambda x: ~x, DTypeError, "bitwise_not: expected bool or integer input"),
        (lambda x: (x > 0) + (x > 0), DTypeError, "add: expected integer or floating input, got bool"),
        (lambda x: x + "a", DTypeError, "expected numbers, got text"),
        (lambda x: x + None, DTypeError, "expected numbers, got object data such as None"),
        (lambda x: rv.max(x[:0]), ShapeError, "max: cannot reduce over an axis of size 0"),
        (lambda x: rv.argmin(x[:0]), ShapeError, "argmin: cannot reduce over an axis of size 0"),
        (lambda x: rv.bitcast(x, "int64"), DTypeError, "same width"),
        (lambda x: x.astype("uint8") + 300, ArgumentError, "the integer 300 does not fit into uint8.*astype"),
        (lambda x: x.astype("int64") ** -1, ArgumentError, "int64 to the power -1 is no integer"),
        (lambda x: bool(x), ArgumentError, r"bool\(tensor\): expected a tensor with one element.*rv.all or rv.any"),
        (lambda x: int(x), ArgumentError, r"int\(tensor\): expected a tensor with one element, got shape \(2, 3\)"),
        (lambda x: float(x), ArgumentError, r"float\(tensor\): expected a tensor with one element"),
        (lambda x: x.item(), ArgumentError, r"Tensor.item\(\): expected a tensor with one element"),
        (lambda x: [1][x[0, 0]], DTypeError, "an index must be an integer, got a float32 tensor"),
        (lambda x: len(x[0, 0]), ArgumentError, "0-dimensional tensor has no length"),
        (lambda x: iter(x[0, 0]), ArgumentError, "0-dimensional tensor has no elements to walk through"),
        (lambda x: x.to_device("cuda"), ArgumentError, "expected 'cpu', the only device, got 'cuda'"),
    ],
)
def test_misuse(call: Callable[[Tensor], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(rv.ones((2, 3)))


# -- operators ----------------------------------------------------------------------------------------------------

BINARY = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow,
    operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne,
]  # fmt: skip


@pytest.mark.parametrize("operation", BINARY, ids=lambda f: f.__name__)
def test_binary_operators(operation: Callable[[Any, Any], Any], rng: np.random.Generator) -> None:
    a, b = rng.uniform(0.5, 3, (3, 4)).astype(np.float32), rng.uniform(0.5, 3, 4).astype(np.float32)
    meant = operation(a, b)
    for left, right in (
        (rv.tensor(a), rv.tensor(b)),
        (rv.tensor(a), b),
        (rv.Variable(a), rv.tensor(b)),
        (a, rv.tensor(b)),
    ):
        out = operation(left, right)
        assert isinstance(out, Tensor)
        np.testing.assert_allclose(out.numpy(), meant, rtol=1e-6)
    for scalar in (2, 2.0, True):
        np.testing.assert_allclose(operation(rv.tensor(a), scalar).numpy(), operation(a, np.float32(scalar)), rtol=1e-6)
        np.testing.assert_allclose(operation(scalar, rv.tensor(a)).numpy(), operation(np.float32(scalar), a), rtol=1e-6)


@pytest.mark.parametrize("operation", [operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift])
def test_bit_operators(operation: Callable[[Any, Any], Any]) -> None:
    a = np.array([1, 2, 5, 12])
    np.testing.assert_array_equal(operation(rv.tensor(a), 3).numpy(), operation(a, 3))
    np.testing.assert_array_equal(operation(3, rv.tensor(a)).numpy(), operation(3, a))
    if operation not in (operator.lshift, operator.rshift):
        flags = np.array([True, False])
        np.testing.assert_array_equal(operation(rv.tensor(flags), True).numpy(), operation(flags, True))
        np.testing.assert_array_equal(operation(True, rv.tensor(flags)).numpy(), operation(True, flags))


def test_unary_operators() -> None:
    x = rv.tensor([-1, 2])
    assert (
        (-x).tolist() == [1, -2] and (+x).tolist() == [-1, 2] and abs(x).tolist() == [1, 2] and (~x).tolist() == [0, -3]
    )
    assert (~rv.tensor([True, False])).tolist() == [False, True]
    assert (x @ x).item() == 5


@pytest.mark.parametrize(
    "made, dtype, values",
    [
        (lambda: rv.tensor([250], "uint8") + 10, "uint8", [4]),
        (lambda: rv.tensor([1], "uint8") - 2, "uint8", [255]),
        (lambda: 1 - rv.tensor([2], "uint8"), "uint8", [255]),
        (lambda: rv.tensor([127], "int8") + rv.tensor([1], "int8"), "int8", [-128]),
        (lambda: -rv.tensor([-128], "int8"), "int8", [-128]),
        (lambda: rv.tensor([7, -7]) // 0, "int64", [0, 0]),
        (lambda: rv.tensor([7, -7]) % 0, "int64", [0, 0]),
        (lambda: rv.tensor([7, -7]) // 2, "int64", [3, -4]),
        (lambda: rv.tensor([7, -7]) % 4, "int64", [3, 1]),
        (lambda: rv.tensor([-128], "int8") // -1, "int8", [-128]),
        (lambda: rv.tensor([7, 8]) / 2, "float32", [3.5, 4.0]),
        (lambda: rv.tensor([2, 3]) ** 2, "int64", [4, 9]),
        (lambda: rv.tensor([2, 3]) ** 2.0, "float32", [4.0, 9.0]),
        (lambda: rv.tensor([4, 9]) ** 0.5, "float32", [2.0, 3.0]),
        (lambda: rv.tensor([2, 3, 0]) ** rv.tensor([-1, 2, -2]), "int64", [0, 9, 0]),
        (lambda: rv.tensor([True, False]) + 1, "int64", [2, 1]),
        (lambda: rv.tensor([True, False]) * 1.5, "float32", [1.5, 0.0]),
        (lambda: rv.tensor([1, 2], "int8") + 1.5, "float32", [2.5, 3.5]),
        (lambda: rv.tensor([200], "uint8") < 300, "bool", [True]),
        (lambda: rv.tensor([200], "uint8") == -1, "bool", [False]),
        (lambda: rv.greater(1000, rv.tensor([1], "int8")), "bool", [True]),
        (lambda: rv.tensor([1.0]) * np.float64(2), "float64", [2.0]),
        (lambda: rv.sum(rv.tensor([True, True])), "int64", 2),
        (lambda: rv.sum(rv.tensor([200, 100], "uint8")), "int64", 300),
        (lambda: rv.prod(rv.tensor([100, 100], "int8")), "int64", 10000),
        (lambda: rv.mean(rv.tensor([1, 2])), "float32", 1.5),
        (lambda: rv.max(rv.tensor([False, True])), "bool", True),
        (lambda: rv.prod(rv.tensor([])), "float32", 1.0),
        (lambda: rv.logsumexp(rv.tensor([])), "float32", -math.inf),
        (lambda: rv.logsumexp(rv.tensor([-math.inf, -math.inf])), "float32", -math.inf),
        (lambda: rv.logsumexp(rv.tensor([math.inf, math.inf])), "float32", math.inf),
        (lambda: rv.logsumexp(rv.tensor([1e38, -1e38])), "float32", float(np.float32(1e38))),
        (lambda: rv.one_hot(rv.tensor([44], "uint8"), 301).sum(), "float32", 1.0),
    ],
)
def test_results_at_the_edges_of_dtypes(made: Callable[[], Tensor], dtype: str, values: Any) -> None:
    out = made()
    assert out.dtype == dtype
    assert out.tolist() == values


def test_means_of_nothing_are_nan() -> None:
    assert math.isnan(rv.mean(rv.tensor([])).item())
    assert math.isnan(rv.var(rv.tensor([])).item())


def test_comparison_with_what_is_no_number() -> None:
    x = rv.tensor([1.0])
    assert (x == None) is False and (x != None) is True  # noqa: E711 - this comparison is what is tested
    assert (x == "text") is False
    assert 1.0 in x and 2.0 not in x
    assert rv.tensor(3.0) in rv.tensor([1.0, 3.0])


def test_hash_is_refused() -> None:
    with pytest.raises(TypeError, match="unhashable type"):
        {rv.tensor(1.0): 1}


def test_python_numbers_from_tensors() -> None:
    assert float(rv.tensor(1.5)) == 1.5 and int(rv.tensor([7])) == 7 and bool(rv.tensor(0)) is False
    assert complex(rv.tensor(2.0)) == 2 + 0j
    assert "abc"[rv.tensor(1)] == "b" and list(range(rv.tensor(3))) == [0, 1, 2]
    assert rv.tensor([[1, 2]]).tolist() == [[1, 2]] and type(rv.tensor(1).item()) is int


def test_methods_are_the_functions(rng: np.random.Generator) -> None:
    a = rng.normal(size=(3, 1, 4))
    x = rv.asarray(a)
    for name in ("sum", "prod", "mean", "var", "std", "max", "min", "argmax", "argmin", "squeeze"):
        np.testing.assert_allclose(getattr(x, name)(1).numpy(), getattr(a, name)(1), rtol=1e-12, err_msg=name)
    assert (x > 0).all(0).tolist() == (a > 0).all(0).tolist() and (x > 0).any().item() == bool((a > 0).any())
    assert x.flatten().tolist() == a.flatten().tolist() and rv.zeros((0, 3)).flatten().shape == (0,)
    assert x.T.shape == (4, 1, 3) and x.mT.shape == (3, 4, 1)
    assert x.reshape(4, -1).shape == x.reshape((4, 3)).shape == (4, 3)
    assert x.transpose(2, 0, 1).shape == x.transpose((2, 0, 1)).shape == (4, 3, 1) and x.transpose().shape == (4, 1, 3)
    assert x.astype("int32").dtype is rv.int32 and x.device == "cpu" and x.to_device("cpu") is x


# -- indexing -----------------------------------------------------------------------------------------------------


def _random_key(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """A random index of every kind NumPy knows, in range."""
    key: list[Any] = []
    common = tuple(int(n) for n in rng.integers(1, 4, size=rng.integers(1, 3)))
    axis, dots = 0, False
    while axis < len(shape) or rng.random() < 0.2:
        kind = rng.random()
        if kind < 0.12:
            key.append(None)
        elif kind < 0.2 and not dots:
            dots = True
            key.append(Ellipsis)
            axis += int(rng.integers(0, len(shape) - axis + 1))
        elif axis >= len(shape) or kind > 0.92:
            break
        else:
            n = shape[axis]
            axis += 1
            if kind < 0.4 and n:
                key.append(int(rng.integers(-n, n)))
            elif kind < 0.7 or not n:
                ends = [None if rng.random() < 0.3 else int(rng.integers(-n - 2, n + 3)) for _ in range(2)]
                key.append(slice(*ends, int(rng.choice([-3, -2, -1, 1, 2, 3])) if rng.random() < 0.6 else None))
            else:
                part = common[rng.integers(0, len(common)) :] if rng.random() < 0.8 else ()
                key.append(rng.integers(-n, n, size=tuple(1 if rng.random() < 0.2 else m for m in part)))
    if rng.random() < 0.15 and shape:
        rank = int(rng.integers(1, len(shape) + 1))
        key = [rng.random(shape[:rank]) < 0.5, *([None] if rng.random() < 0.5 else [])]
    return tuple(key)


def test_random_indices_are_numpys(rng: np.random.Generator) -> None:
    checked = 0
    for _ in range(1500):
        shape = tuple(int(n) for n in rng.integers(0 if rng.random() < 0.1 else 1, 5, size=rng.integers(0, 5)))
        a = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
        key = _random_key(rng, shape)
        try:
            meant = a[key]
        except IndexError:  # index arrays that do not broadcast
            with pytest.raises((IndexRangeError, ShapeError), match="indexing"):
                rv.tensor(a)[key]
            continue
        out = rv.tensor(a)[key]
        assert out.shape == meant.shape, (shape, key)
        np.testing.assert_array_equal(out.numpy(), meant, err_msg=f"{shape} {key}")
        checked += 1
    assert checked > 1000


@pytest.mark.parametrize(
    "key",
    [
        0, -1, (1, 2), slice(None), slice(None, None, -1), slice(-1, None, -2), Ellipsis, (Ellipsis, 0), None, (),
        (None, Ellipsis, None), [0, 2, 1], [], [True, False, True], (slice(1, 1),), (0, slice(None), [1, 2]),
        ([0, 1], slice(None), [1, 2]), (slice(None), [[0, 1], [1, 0]]), ([0, 1], [1, 0], 0), (0, [1], Ellipsis),
        np.array(1), np.int32(1), (np.int64(0), np.array([1, 1])), True, False, (True, 0), np.array(True),
        (slice(None), np.array([True, False, True, False])), np.ones((3, 4), bool), np.zeros((3, 4, 5), bool),
    ],
    ids=str,
)  # fmt: skip
def test_indices_are_numpys(key: Any, rng: np.random.Generator) -> None:
    a = rng.normal(size=(3, 4, 5))
    out = rv.asarray(a)[key]
    np.testing.assert_array_equal(out.numpy(), a[key], strict=True)
    if out.size:
        rv.check_gradients(lambda x: x[key] ** 2, rv.asarray(a))


@pytest.mark.parametrize("key", [rv.tensor(1), rv.tensor([0, 2]), rv.tensor([True, False, True]), (rv.tensor([0]), 1)])
def test_tensors_as_indices(key: Any) -> None:
    a = np.arange(12).reshape(3, 4)
    plain = tuple(np.asarray(k) for k in key) if isinstance(key, tuple) else np.asarray(key)
    assert rv.tensor(a)[key].tolist() == a[plain].tolist()


@pytest.mark.parametrize(
    "key, error, text",
    [
        (3, IndexRangeError, "index 3 is out of range for axis 0 of size 3"),
        (-4, IndexRangeError, "index -4 is out of range for axis 0 of size 3"),
        ((0, 7), IndexRangeError, "index 7 is out of range for axis 1 of size 2"),
        ((0, 0, 0), IndexRangeError, r"3 indices for a tensor of shape \(3, 2\) with 2 axes"),
        ([0, 5], IndexRangeError, "indexing: index 5 is out of range for an axis of size 3"),
        ([0, -4], IndexRangeError, "indexing: index -4 is out of range"),
        ((Ellipsis, Ellipsis), ArgumentError, "only one '...' may stand in an index"),
        (1.0, DTypeError, "indexing: expected integer indices, got float32"),
        ("a", DTypeError, "expected numbers, got text"),
        ([True, False], IndexRangeError, r"a mask of shape \(2,\) cannot select from axes of shape \(3,\)"),
        (np.ones((3, 3), bool), IndexRangeError, "a mask of shape"),
        (slice(0, 2, 0), ArgumentError, "the step of a slice must not be 0"),
        (slice(0.5, 2), DTypeError, "expected the bounds of a slice to be integers, got 0.5"),
        (([0, 1], [0, 1, 1]), ShapeError, r"indexing: shapes \(2,\) and \(3,\) do not broadcast"),
    ],
    ids=str,
)
def test_indices_that_are_refused(key: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        rv.zeros((3, 2))[key]


def test_iteration() -> None:
    x = rv.tensor([[1, 2], [3, 4]])
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]]
    first, second = x
    assert first.tolist() == [1, 2] and second[1].item() == 4
    assert list(rv.zeros((0, 3))) == []
    assert rv.grad(lambda t: sum(row[0] * (i + 1) for i, row in enumerate(t)))(x.astype("float32")).tolist() == [
        [1, 0],
        [2, 0],
    ]


# -- other libraries ----------------------------------------------------------------------------------------------


def test_numpy_reads_tensors() -> None:
    x = rv.tensor([[1.0, 2.0]])
    assert np.asarray(x).dtype == np.float32 and np.array(x, np.float64).tolist() == [[1.0, 2.0]]
    assert np.shares_memory(np.asarray(x), x.numpy())
    copied = np.array(x)
    copied[0, 0] = 9
    assert x.tolist() == [[1.0, 2.0]]
    with pytest.raises(ArgumentError, match=r"copy=False\): float32 cannot become"):
        np.asarray(x, np.float64, copy=False)
    with pytest.raises(TypeError, match="does not support ufuncs"):
        np.exp(x)


def test_dlpack_with_numpy_copies_nothing() -> None:
    for dtype in (np.float32, np.float64, np.int8, np.int64, np.uint8, np.bool_):
        a = np.ones((2, 3), dtype)
        x = rv.from_dlpack(a)
        assert np.shares_memory(x.numpy(), a)
        assert np.shares_memory(np.from_dlpack(x), a)
        assert x.__dlpack_device__() == (1, 0)
    b = np.arange(4.0)
    assert np.shares_memory(rv.asarray(b, copy=False).numpy(), b)
    assert not np.shares_memory(rv.asarray(b).numpy(), b)
    assert rv.from_dlpack(x) is x


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: rv.asarray([1.0], copy=False), r"asarray\(copy=False\)"),
        (lambda: rv.asarray(np.ones(2), "float32", copy=False), r"asarray\(copy=False\).*cannot become"),
        (lambda: rv.asarray(np.ones(2, ">f8"), copy=False), r"asarray\(copy=False\)"),
        (lambda: rv.from_dlpack([1.0]), "from_dlpack: cannot share the memory"),
        (lambda: rv.from_dlpack(np.ones(2, ">f8")), "from_dlpack: cannot share the memory"),
    ],
)
def test_sharing_that_cannot_be(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        call()


def test_torch_both_ways() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    there = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    here = rv.from_dlpack(there)
    there[0, 0] = 7
    assert here[0, 0].item() == 7, "memory is shared"
    back = torch.from_dlpack(rv.tensor([[1.0, 2.0]]))
    assert back.tolist() == [[1.0, 2.0]]
    assert rv.tensor(there).tolist() == there.tolist() and not np.shares_memory(rv.tensor(there).numpy(), there.numpy())
    with pytest.raises(DTypeError, match=r"cannot read Tensor.*requires grad"):
        rv.tensor(torch.ones(2, requires_grad=True))


def test_ml_dtypes_bfloat16() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    x = rv.tensor(np.array([1.0, 2.5], ml_dtypes.bfloat16))
    assert x.dtype is rv.bfloat16 and x.tolist() == [1.0, 2.5]


def test_copies_and_pickles() -> None:
    x = rv.grad(lambda t: rv.sum(t**3), create_graph=True)(rv.tensor([1.0, 2.0]))
    assert x.requires_grad
    for made in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert made.tolist() == x.tolist() and made.dtype is x.dtype and not made.requires_grad
    assert copy.copy(x) is x
    narrow = rv.tensor([0.1], "bfloat16")
    assert pickle.loads(pickle.dumps(narrow)).dtype is rv.bfloat16


def test_array_namespace() -> None:
    assert rv.tensor(1.0).__array_namespace__() is rv
    for name in (
        "abs add all any arange argmax argmin asarray astype atan2 bitwise_and bitwise_invert bitwise_left_shift "
        "bitwise_or bitwise_right_shift bitwise_xor broadcast_arrays broadcast_to ceil clip concat cos divide e "
        "empty empty_like equal exp expand_dims expm1 eye finfo flip float32 floor floor_divide from_dlpack full "
        "full_like greater greater_equal iinfo inf int8 isdtype isfinite isinf isnan less less_equal linspace log "
        "log1p logical_and logical_not logical_or logical_xor matmul matrix_transpose max maximum mean min "
        "minimum moveaxis multiply nan negative newaxis not_equal ones ones_like permute_dims pi positive pow "
        "prod reciprocal remainder repeat reshape result_type round sign sin sqrt square squeeze stack std "
        "subtract sum take take_along_axis tanh tensordot tile trunc uint8 var vecdot where zeros zeros_like"
    ).split():
        assert hasattr(rv, name), name
        assert name in rv.__all__, name
    assert rv.pi == math.pi and rv.newaxis is None and math.isnan(rv.nan)


def test_repr() -> None:
    assert repr(rv.tensor([[1, 2], [3, 4]])) == "Tensor([[1, 2],\n        [3, 4]], dtype=int64)"
    assert repr(rv.tensor(1.5)) == "Tensor(1.5, dtype=float32)"
    assert len(repr(rv.zeros((1000, 1000)))) < 1000
