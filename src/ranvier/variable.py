"""Variables: named tensors that change.

A variable is a parameter, a running mean, an optimizer slot, a random state. Reading one gives a tensor; assigning
replaces it. Compiled functions take the variables they read as inputs and update the ones they write in their own
memory; the plain NumPy value is fetched back only when somebody asks for it.
"""

from __future__ import annotations

import itertools
from typing import Any, Protocol

import numpy as np

from ranvier import dtypes
from ranvier.dtypes import round_bfloat16
from ranvier.errors import ArgumentError, DTypeError, ShapeError
from ranvier.ops.table import state
from ranvier.tensor import Node, Tensor, as_tensor, tensor

__all__ = ["Variable"]

_numbers = itertools.count()


class Home(Protocol):
    """Where compiled functions keep a variable; see ``compiler/storage.py``."""

    def pull(self) -> np.ndarray:
        """The current value as a plain array."""


class Variable:
    """A named, mutable tensor.

    Args:
        value: initial value.
        name: its name in errors, files and summaries.
        trainable: whether gradients are taken by it.
        dtype: dtype; by default that of the value.

    Example:
        >>> import ranvier as rv
        >>> w = rv.Variable([1.0, 2.0], name="w")
        >>> w.assign(w * 2)
        >>> w.numpy()
        array([2., 4.], dtype=float32)
    """

    __array_priority__ = 1000
    __array_ufunc__ = None

    def __init__(self, value: Any, name: str | None = None, trainable: bool = True, dtype: Any = None):
        made = tensor(value, dtype)
        if made._data is None:
            raise ArgumentError(
                "Variable: the initial value must be concrete; make variables outside compiled functions."
            )
        self.name = name if name is not None else f"variable_{next(_numbers)}"
        self.shape, self.dtype = made.shape, made.dtype
        self.grad: Tensor | None = None
        self._trainable = bool(trainable) and made.dtype.is_float
        self._home: Any = None  # where compiled functions keep the value
        self._leaf: Tensor | None = None  # the current value as a tensor; None: it is newer in _home
        self._set(np.array(made._data))

    def _set(self, data: np.ndarray) -> None:
        leaf = Tensor._wrap(data, self.dtype)
        if self._trainable:
            leaf._node = Node(None, (), {"variable": self})
        self._leaf = leaf

    def _read(self) -> Tensor:
        """The current value: a traced tensor while tracing, else a tensor that is watched if trainable."""
        if state.trace is not None:
            return state.trace.read(self)
        if self._leaf is None:
            self._set(self._home.pull())
        return self._leaf  # type: ignore[return-value]

    @property
    def trainable(self) -> bool:
        """Whether gradients are taken by this variable."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        wanted = bool(value) and self.dtype.is_float
        if wanted != self._trainable:
            data = self.numpy()
            self._trainable = wanted
            self._set(data)
            if self._home is not None:
                self._home.stale = True

    @property
    def value(self) -> Tensor:
        """The current value."""
        return self._read()

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    def assign(self, value: Any) -> None:
        """Replace the value.

        Args:
            value: a tensor of the same shape; its dtype is converted within its kind.

        Raises:
            ShapeError: another shape.
            DTypeError: a floating value for an integer variable.
        """
        t = as_tensor(value)
        if t.shape != self.shape:
            raise ShapeError(f"variable {self.name!r}: expected a value of shape {self.shape}, got {t.shape}.")
        if t.dtype is not self.dtype:
            if t.dtype.is_float and not self.dtype.is_float:
                raise DTypeError(f"variable {self.name!r}: expected a {self.dtype} value, got {t.dtype}; use astype.")
            t = t.astype(self.dtype)
        if state.trace is not None:
            state.trace.assign(self, t)
            return
        data = np.array(t._concrete(f"variable {self.name!r}: assignment"))
        self._set(round_bfloat16(data) if self.dtype is dtypes.bfloat16 else data)
        if self._home is not None:
            self._home.stale = True

    def assign_add(self, value: Any) -> None:
        """Add to the value.

        Args:
            value: what to add; broadcasts to the variable's shape.
        """
        self.assign(self._read() + value)

    def assign_sub(self, value: Any) -> None:
        """Subtract from the value.

        Args:
            value: what to subtract; broadcasts to the variable's shape.
        """
        self.assign(self._read() - value)

    def numpy(self) -> np.ndarray:
        """A copy of the current value as a NumPy array."""
        return np.array(self._read().numpy())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._read().__array__(dtype, copy)

    def __repr__(self) -> str:
        frozen = "" if self._trainable else ", trainable=False"
        return f"Variable({self.name!r}, shape={self.shape}, dtype={self.dtype}{frozen})"

    def __getattr__(self, name: str) -> Any:
        # Methods of Tensor (sum, reshape, astype, T, ...) work on the current value.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._read(), name)

    def __getitem__(self, key: Any) -> Tensor:
        return self._read()[key]

    def __len__(self) -> int:
        return len(self._read())

    def __bool__(self) -> bool:
        return bool(self._read())

    def __float__(self) -> float:
        return float(self._read())

    def __int__(self) -> int:
        return int(self._read())


def _operator(name: str) -> Any:
    method = getattr(Tensor, name)
    return lambda self, *others: method(self._read(), *others)


# Python looks operators up on the class, so each is forwarded to the current value by name.
for _name in (
    "add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow matmul rmatmul neg pos abs "
    "invert and or xor lt le gt ge"
).split():
    setattr(Variable, f"__{_name}__", _operator(f"__{_name}__"))
