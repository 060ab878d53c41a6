"""The error classes: one tree, each also a Python class that callers know, each message with the user's own line."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import errors

PYTHON_CLASS = {
    "ShapeError": ValueError, "DTypeError": TypeError, "ArgumentError": ValueError, "IndexRangeError": IndexError,
    "GradientError": ValueError, "TraceError": TypeError, "DataError": ValueError, "FileFormatError": ValueError,
    "NonFiniteError": ArithmeticError, "ResourceError": MemoryError, "SaveError": OSError,
}  # fmt: skip
CLASSES = [getattr(errors, name) for name in PYTHON_CLASS]


@pytest.mark.smoke
def test_the_tree() -> None:
    found = {n for n, c in vars(errors).items() if inspect.isclass(c) and issubclass(c, errors.UserError)} - {
        "UserError"
    }
    assert found == set(PYTHON_CLASS)
    for name, parent in PYTHON_CLASS.items():
        made = getattr(errors, name)
        assert issubclass(made, parent) and issubclass(made, errors.UserError)
        assert issubclass(made, errors.RanvierError) and not issubclass(made, errors.InternalError)
        assert (made.__doc__ or "").strip()
    assert issubclass(errors.InternalError, RuntimeError) and not issubclass(errors.InternalError, errors.UserError)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda c: c.__name__)
def test_messages_end_with_the_line_to_blame(kind: type[errors.UserError]) -> None:
    error = kind("somebody: expected this, got that.")  # this line
    assert str(error).splitlines()[0] == "somebody: expected this, got that."
    assert "test_errors.py" in str(error) and 'error = kind("somebody' in str(error) and "# this line" in str(error)
    assert error.message == "somebody: expected this, got that." and error.where[0] == __file__
    with pytest.raises(kind, match="expected this"):
        raise error
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind and str(again) == str(error)


def test_an_error_can_be_given_its_line() -> None:
    error = errors.ShapeError("message", ("/nowhere/model.py", 12))
    assert str(error) == "message\n  at model.py:12"


@pytest.mark.parametrize(
    "call, kind",
    [
        (lambda: rv.ones((2, 3)) + rv.ones((4, 5)), errors.ShapeError),
        (lambda: rv.ones(2) & 1, errors.DTypeError),
        (lambda: rv.sum(rv.ones(2), axis=9), errors.ArgumentError),
        (lambda: rv.ones(2)[7], errors.IndexRangeError),
        (lambda: rv.grad(lambda x: x)(rv.ones(2)), errors.GradientError),
        (lambda: rv.jit(lambda x: float(x))(rv.ones(())), errors.TraceError),
        (lambda: rv.zeros(2**61), errors.ResourceError),
    ],
)
def test_the_line_is_the_users(call: Any, kind: type[errors.UserError]) -> None:
    with pytest.raises(kind, match=r"at test_errors.py:\d+: \(lambda: rv\."):
        call()


def test_the_line_is_found_from_deep_inside() -> None:
    def loss(x: Any) -> Any:
        return rv.sum(rv.logsumexp(x) @ x)  # the culprit

    with pytest.raises(errors.ShapeError, match="# the culprit"):
        rv.grad(loss)(rv.ones(3))
    with pytest.raises(errors.ShapeError, match="# the culprit"):
        rv.jit(loss)(rv.ones(3))


def test_code_without_a_file_has_no_line() -> None:
    code = "import ranvier as rv\ntry:\n    rv.ones(2)[5]\nexcept IndexError as e:\n    print(repr(str(e)), e.where)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "'indexing: index 5 is out of range for axis 0 of size 2.' None"


def test_descriptions() -> None:
    assert errors.describe(np.ones((2, 3), np.int8)) == "ndarray(shape=(2, 3), dtype=int8)"
    assert errors.describe(rv.ones(2)) == "Tensor(shape=(2,), dtype=float32)"
    assert errors.describe(3) == "3 (int)" and errors.describe("a") == "'a' (str)"
    assert len(errors.describe("x" * 1000)) < 80 and errors.describe("x" * 1000).endswith("... (str)")


def test_internal_errors_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(x: Any) -> Any:
        raise ValueError("a defect")

    monkeypatch.setattr(rv.exp, "reference", broken)
    with pytest.raises(errors.InternalError, match="op 'exp' failed on inputs its shape rule accepts: a defect"):
        rv.exp(1.0)


def test_the_innermost_layer_is_named_once() -> None:
    class Inner(rv.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs @ rv.ones((7, 2))

    class Outer(rv.layers.Layer):
        def __init__(self, **common: Any):
            super().__init__(**common)
            self.inner = Inner(name="inside")

        def call(self, inputs: Any) -> Any:
            return self.inner(inputs)

    with pytest.raises(rv.errors.ShapeError, match=r"^Inner 'inside': matmul: ") as caught:
        Outer(name="outside")(rv.ones((1, 3)))
    assert caught.value.layer == "Inner 'inside'"
    assert "Outer" not in str(caught.value).splitlines()[0]
