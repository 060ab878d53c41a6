"""Variables: named tensors that change.

A variable is a parameter, a running mean, an optimizer slot, a random state. Reading one gives a tensor; assigning
replaces it. Compiled functions take the variables they read as inputs and update the ones they write in their own
memory; the plain NumPy value is fetched back only when somebody asks for it.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, Protocol

import numpy as np

from ranvier.errors import ArgumentError, DTypeError, ShapeError, describe
from ranvier.ops.elementwise import astype
from ranvier.ops.table import state
from ranvier.tensor import Node, Tensor, _is_python, as_tensor, tensor

__all__ = ["Home", "Variable"]

_numbers = itertools.count()


class Home(Protocol):
    """Where compiled functions keep a variable; see ``compiler/storage.py``."""

    def pull(self) -> np.ndarray:
        """The current value as a plain array."""


def _forwarded(name: str) -> Any:
    """A method that applies the tensor's method of that name to the current value."""
    method = getattr(Tensor, name)
    return lambda self, *others: method(self._read(), *others)


def _arithmetic(name: str) -> tuple[Any, Any, Any]:
    """An operator, its reflection, and its in-place form, which assigns."""
    method = getattr(Tensor, f"__{name}__")

    def changed(self: Variable, other: Any) -> Variable:
        self.assign(method(self._read(), other))
        return self

    return _forwarded(f"__{name}__"), _forwarded(f"__r{name}__"), changed


class Variable:
    """A named, mutable tensor.

    Operators, indexing and the methods of tensors work on the current value. Only ``==`` and ``!=`` between two
    variables ask whether they are the same variable, so that variables can be found in lists and be keys of
    dictionaries; compare values with ``a.value == b.value``. ``w += x`` and the like change the variable itself.

    Args:
        value: initial value.
        name: its name in errors, files and summaries.
        trainable: whether gradients are taken by it; False for integers.
        dtype: dtype; by default that of the value.

    Attributes:
        name: its name.
        shape: the size of each axis.
        dtype: the data type.
        grad: what ``backward`` has added up so far, or None.

    Raises:
        ArgumentError: made inside a compiled function from a value that is not known yet.

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
        if name is not None and not isinstance(name, str):
            raise ArgumentError(f"Variable: expected name to be a string, got {describe(name)}.")
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
        """The current value: a traced tensor while tracing, else a tensor that is watched if trainable.

        Inside a layer of mixed precision, floating values are rounded to the dtype that it computes in.
        """
        if state.compute is not None and self.dtype.is_float and self.dtype is not state.compute:
            return astype(self._stored(), state.compute)
        return self._stored()

    def _stored(self) -> Tensor:
        """The current value in the variable's own dtype."""
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
        return math.prod(self.shape)

    def assign(self, value: Any) -> None:
        """Replace the value.

        Args:
            value: a tensor of the same shape; its dtype is converted within its kind.

        Raises:
            ShapeError: another shape.
            DTypeError: a floating value for an integer variable.
            ArgumentError: a Python integer that the dtype cannot hold.
        """
        t = as_tensor(value, self.dtype)
        if t.shape != self.shape:
            raise ShapeError(f"variable {self.name!r}: expected a value of shape {self.shape}, got {t.shape}.")
        if t.dtype is not self.dtype:
            if t.dtype.is_float and not self.dtype.is_float:
                raise DTypeError(f"variable {self.name!r}: expected a {self.dtype} value, got {t.dtype}; use astype.")
            t = tensor(value, self.dtype) if _is_python(value) else t.astype(self.dtype)
        if state.trace is not None:
            state.trace.assign(self, t)
            return
        self._set(np.array(t._concrete(f"variable {self.name!r}: assignment")))
        if self._home is not None:
            self._home.stale = True

    def assign_add(self, value: Any) -> None:
        """Add to the value; ``variable += value`` does the same.

        Args:
            value: what to add; broadcasts to the variable's shape.
        """
        self.assign(self._read() + value)

    def assign_sub(self, value: Any) -> None:
        """Subtract from the value; ``variable -= value`` does the same.

        Args:
            value: what to subtract; broadcasts to the variable's shape.
        """
        self.assign(self._read() - value)

    def numpy(self) -> np.ndarray:
        """A copy of the current value as a NumPy array."""
        return np.array(self._read().numpy())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._read().__array__(dtype, copy)

    def __dlpack__(self, **options: Any) -> Any:
        return tensor(self.numpy()).__dlpack__(**options)  # of a copy: the variable's own value must not be written

    def __repr__(self) -> str:
        frozen = "" if self._trainable else ", trainable=False"
        return f"Variable({self.name!r}, shape={self.shape}, dtype={self.dtype}{frozen})"

    def __getattr__(self, name: str) -> Any:
        # Methods of Tensor (sum, reshape, astype, T, ...) work on the current value.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._read(), name)

    # Python looks operators up on the class, so each is forwarded to the current value here.
    __add__, __radd__, __iadd__ = _arithmetic("add")
    __sub__, __rsub__, __isub__ = _arithmetic("sub")
    __mul__, __rmul__, __imul__ = _arithmetic("mul")
    __truediv__, __rtruediv__, __itruediv__ = _arithmetic("truediv")
    __floordiv__, __rfloordiv__, __ifloordiv__ = _arithmetic("floordiv")
    __mod__, __rmod__, __imod__ = _arithmetic("mod")
    __pow__, __rpow__, __ipow__ = _arithmetic("pow")
    __matmul__, __rmatmul__, __imatmul__ = _arithmetic("matmul")
    __and__, __rand__, __iand__ = _arithmetic("and")
    __or__, __ror__, __ior__ = _arithmetic("or")
    __xor__, __rxor__, __ixor__ = _arithmetic("xor")
    __lshift__, __rlshift__, __ilshift__ = _arithmetic("lshift")
    __rshift__, __rrshift__, __irshift__ = _arithmetic("rshift")
    __neg__, __pos__, __abs__, __invert__ = map(_forwarded, ("__neg__", "__pos__", "__abs__", "__invert__"))
    __lt__, __le__, __gt__, __ge__ = map(_forwarded, ("__lt__", "__le__", "__gt__", "__ge__"))
    __getitem__, __len__, __iter__ = map(_forwarded, ("__getitem__", "__len__", "__iter__"))
    __contains__, __bool__ = map(_forwarded, ("__contains__", "__bool__"))
    __float__, __int__, __complex__ = map(_forwarded, ("__float__", "__int__", "__complex__"))
    __index__, __array_namespace__ = map(_forwarded, ("__index__", "__array_namespace__"))
    __dlpack_device__ = _forwarded("__dlpack_device__")

    def __eq__(self, other: Any) -> Any:
        return self is other if isinstance(other, Variable) else self._read() == other

    def __ne__(self, other: Any) -> Any:
        return self is not other if isinstance(other, Variable) else self._read() != other

    def __hash__(self) -> int:
        return id(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and worker processes get the value; the memory that compiled functions keep stays here.
        return Variable, (self.numpy(), self.name, self._trainable, self.dtype)
