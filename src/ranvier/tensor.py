"""The tensor: an n-dimensional array that knows how it was computed.

A tensor is concrete (it holds a NumPy array) or traced (it stands for a value inside a function that is being
compiled). Either kind may carry a :class:`Node` that says which op made it from which inputs; differentiation walks
these links. Tensors never change: operators make new ones. For values that change there is :class:`ranvier.Variable`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier import dtypes
from ranvier.dtypes import FROM_NUMPY, DType, as_dtype
from ranvier.errors import ArgumentError, DTypeError, ShapeError, TraceError, describe

if TYPE_CHECKING:
    from ranvier.ops.table import Op

__all__ = ["Node", "Tensor", "as_tensor", "tensor"]


class Node:
    """How a tensor was computed: ``op`` applied to ``inputs`` with ``attrs``; ``where`` is the user's source line.

    Traced tensors also carry the ``scope`` (layer path) and the ``serial`` number of their recording, which tells what
    a loop's body made from what it found outside.
    """

    __slots__ = ("attrs", "inputs", "op", "scope", "serial", "where")

    def __init__(
        self,
        op: Op | None,
        inputs: tuple[Tensor, ...],
        attrs: dict[str, Any],
        where: tuple[str, int] | None = None,
        scope: str = "",
        serial: int = 0,
    ):
        self.op, self.inputs, self.attrs, self.where, self.scope = op, inputs, attrs, where, scope
        self.serial = serial


class Tensor:
    """An n-dimensional array of one dtype.

    Build one with :func:`ranvier.tensor`. Arithmetic follows NumPy's broadcasting and the array-API standard's
    promotion; the usual operators, indexing and reductions are available as methods.

    Example:
        >>> import ranvier as rv
        >>> x = rv.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> x.ndim, x.shape, x.dtype
        (2, (2, 2), ranvier.float32)
        >>> (x @ x).numpy()
        array([[ 7., 10.],
               [15., 22.]], dtype=float32)
    """

    __slots__ = ("__weakref__", "_data", "_dtype", "_mask", "_node", "_shape")

    # NumPy hands binary operations to us instead of looping over our elements.
    __array_priority__ = 1000
    __array_ufunc__ = None

    _data: np.ndarray | None
    _dtype: DType
    _mask: Tensor | None  # which time steps count; set by layers only, see layers/masks.py
    _node: Node | None
    _shape: tuple[int, ...]

    def __init__(self, value: Any, dtype: Any = None):
        made = tensor(value, dtype)
        self._data, self._dtype, self._node, self._shape = made._data, made._dtype, None, made._shape

    @classmethod
    def _wrap(cls, data: np.ndarray, dtype: DType) -> Tensor:
        """A concrete tensor around ``data``, unchecked: the fast way for ops."""
        self = cls.__new__(cls)
        self._data, self._dtype, self._node, self._shape = data, dtype, None, data.shape
        return self

    @classmethod
    def _symbol(cls, shape: tuple[int, ...], dtype: DType, node: Node) -> Tensor:
        """A traced tensor: no data, only shape, dtype and origin."""
        self = cls.__new__(cls)
        self._data, self._dtype, self._node, self._shape = None, dtype, node, shape
        return self

    # -- facts ----------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each axis."""
        return self._shape

    @property
    def dtype(self) -> DType:
        """The data type."""
        return self._dtype

    @property
    def ndim(self) -> int:
        """The number of axes (0 for a scalar)."""
        return len(self._shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self._shape)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients can flow from this tensor to something that is being watched."""
        return self._node is not None

    @property
    def device(self) -> str:
        """Where the data lives: always ``"cpu"``."""
        return "cpu"

    # -- leaving the tensor world ---------------------------------------------------------------------------------

    def _concrete(self, purpose: str) -> np.ndarray:
        if self._data is None:
            raise TraceError(
                f"{purpose} needs a concrete value, but this tensor (shape {self._shape}, {self._dtype}) belongs to a "
                "function that is being compiled, where values are not known yet. Use rv.where, rv.cond or "
                "rv.while_loop instead of Python control flow, or compute this outside the compiled function."
            )
        return self._data

    def numpy(self) -> np.ndarray:
        """The values as a read-only NumPy view, without a copy (bfloat16 comes as float32)."""
        view = self._concrete("Tensor.numpy()").view()
        view.flags.writeable = False
        return view

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        data = self._concrete("numpy.asarray(tensor)")
        if dtype is not None and np.dtype(dtype) != data.dtype:
            if copy is False:
                raise ArgumentError(f"numpy.asarray(copy=False): {self._dtype} cannot become {dtype} without a copy.")
            return data.astype(dtype)
        return data.copy() if copy else self.numpy()

    def __dlpack__(self, **options: Any) -> Any:
        # NumPy refuses to export read-only memory to consumers of the old protocol, so hand out the array itself.
        return self._concrete("DLPack export").__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # kDLCPU

    def to_device(self, device: str) -> Tensor:
        """This tensor: there is one device, ``"cpu"``.

        Args:
            device: ``"cpu"``.

        Raises:
            ArgumentError: another device.
        """
        if device != "cpu":
            raise ArgumentError(f"Tensor.to_device: expected 'cpu', the only device, got {device!r}.")
        return self

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        """The module whose functions take this tensor: ``ranvier``."""
        return sys.modules[__name__.partition(".")[0]]

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and worker processes get the values; how they were computed stays here.
        return _restore, (np.array(self._concrete("copying a tensor")), self._dtype.name)

    def __copy__(self) -> Tensor:
        return self  # tensors never change

    def _one(self, purpose: str, advice: str = "") -> Any:
        """The single value as a Python number, or an error that says who asked."""
        data = self._concrete(purpose)
        if data.size != 1:
            raise ArgumentError(f"{purpose}: expected a tensor with one element, got shape {self._shape}.{advice}")
        return data.item()

    def item(self) -> Any:
        """The single value as a Python number.

        Raises:
            ArgumentError: there is not exactly one element.
        """
        return self._one("Tensor.item()")

    def tolist(self) -> Any:
        """The values as nested Python lists."""
        return self._concrete("Tensor.tolist()").tolist()

    def __float__(self) -> float:
        return float(self._one("float(tensor)"))

    def __int__(self) -> int:
        return int(self._one("int(tensor)"))

    def __complex__(self) -> complex:
        return complex(self._one("complex(tensor)"))

    def __index__(self) -> int:
        if self._dtype.is_float:
            raise DTypeError(f"an index must be an integer, got a {self._dtype} tensor.")
        return int(self._one("a tensor used as an index"))

    def __bool__(self) -> bool:
        return bool(self._one("bool(tensor)", " Say what is meant with rv.all or rv.any."))

    def __len__(self) -> int:
        if not self._shape:
            raise ArgumentError("len(): a 0-dimensional tensor has no length.")
        return self._shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self._shape:
            raise ArgumentError("iteration: a 0-dimensional tensor has no elements to walk through; use Tensor.item().")
        return (self[i] for i in range(self._shape[0]))

    def __contains__(self, value: Any) -> bool:
        return bool(_r.any(_e.equal(self, value)))

    def __repr__(self) -> str:
        if self._data is None:
            return f"Tensor(traced, shape={self._shape}, dtype={self._dtype})"
        body = np.array2string(self._data, separator=", ", prefix="Tensor(")
        return f"Tensor({body}, dtype={self._dtype})"

    # -- gradients ------------------------------------------------------------------------------------------------

    def backward(self) -> None:
        """Differentiate this scalar and add the gradients to ``variable.grad`` of every variable it depends on.

        Raises:
            GradientError: the tensor is no scalar, or depends on no variable.

        Example:
            >>> import ranvier as rv
            >>> w = rv.Variable([1.0, 2.0], name="w")
            >>> rv.sum(w * w).backward()
            >>> w.grad.tolist()
            [2.0, 4.0]
        """
        from ranvier.autodiff import backward

        backward(self)

    # -- operators ------------------------------------------------------------------------------------------------
    # Each is the op of the same meaning; ops are imported at the foot of this file because they build on Tensor.

    def __add__(self, other: Any) -> Tensor:
        return _e.add(self, other)

    def __radd__(self, other: Any) -> Tensor:
        return _e.add(other, self)

    def __sub__(self, other: Any) -> Tensor:
        return _e.subtract(self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return _e.subtract(other, self)

    def __mul__(self, other: Any) -> Tensor:
        return _e.multiply(self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return _e.multiply(other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return _e.divide(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return _e.divide(other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return _e.floor_divide(self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return _e.floor_divide(other, self)

    def __mod__(self, other: Any) -> Tensor:
        return _e.remainder(self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return _e.remainder(other, self)

    def __pow__(self, other: Any) -> Tensor:
        return _e.power(self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return _e.power(other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return _c.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return _c.matmul(other, self)

    def __neg__(self) -> Tensor:
        return _e.negative(self)

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return _e.abs(self)

    def __invert__(self) -> Tensor:
        return _e.logical_not(self) if self._dtype is dtypes.bool_ else _e.bitwise_not(self)

    def __and__(self, other: Any) -> Tensor:
        return (_e.logical_and if self._dtype is dtypes.bool_ else _e.bitwise_and)(self, other)

    def __or__(self, other: Any) -> Tensor:
        return (_e.logical_or if self._dtype is dtypes.bool_ else _e.bitwise_or)(self, other)

    def __xor__(self, other: Any) -> Tensor:
        return (_e.logical_xor if self._dtype is dtypes.bool_ else _e.bitwise_xor)(self, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __lshift__(self, other: Any) -> Tensor:
        return _e.left_shift(self, other)

    def __rlshift__(self, other: Any) -> Tensor:
        return _e.left_shift(other, self)

    def __rshift__(self, other: Any) -> Tensor:
        return _e.right_shift(self, other)

    def __rrshift__(self, other: Any) -> Tensor:
        return _e.right_shift(other, self)

    def __lt__(self, other: Any) -> Tensor:
        return _e.less(self, other)

    def __le__(self, other: Any) -> Tensor:
        return _e.less_equal(self, other)

    def __gt__(self, other: Any) -> Tensor:
        return _e.less(other, self)

    def __ge__(self, other: Any) -> Tensor:
        return _e.less_equal(other, self)

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        return NotImplemented if other is None or isinstance(other, str) else _e.equal(self, other)

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        return NotImplemented if other is None or isinstance(other, str) else _e.not_equal(self, other)

    __hash__ = None  # type: ignore[assignment]  # == compares elements, so tensors are no dictionary keys

    def __getitem__(self, key: Any) -> Tensor:
        return _i.getitem(self, key)

    # -- methods with array-API names -----------------------------------------------------------------------------

    @property
    def T(self) -> Tensor:
        """The transpose: all axes reversed."""
        return _s.transpose(self)

    @property
    def mT(self) -> Tensor:
        """The transpose of the last two axes."""
        return _s.matrix_transpose(self)

    def astype(self, dtype: Any) -> Tensor:
        """The same values in another dtype; see :func:`ranvier.astype`."""
        return _e.astype(self, dtype)

    def reshape(self, *shape: Any) -> Tensor:
        """The same values in another shape; see :func:`ranvier.reshape`."""
        return _s.reshape(self, shape[0] if len(shape) == 1 else shape)

    def flatten(self) -> Tensor:
        """The same values along one axis, in row-major order."""
        return _s.reshape(self, (-1,) if self.size else (0,))

    def squeeze(self, axis: Any = None) -> Tensor:
        """Axes of size 1 removed; see :func:`ranvier.squeeze`."""
        return _s.squeeze(self, axis)

    def transpose(self, *axes: Any) -> Tensor:
        """Axes reordered; see :func:`ranvier.transpose`."""
        return _s.transpose(self, (axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes) or None)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """See :func:`ranvier.sum`."""
        return _r.sum(self, axis, keepdims)

    def prod(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """See :func:`ranvier.prod`."""
        return _r.prod(self, axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """See :func:`ranvier.mean`."""
        return _r.mean(self, axis, keepdims)

    def var(self, axis: Any = None, keepdims: bool = False, correction: float = 0) -> Tensor:
        """See :func:`ranvier.var`."""
        return _r.var(self, axis, keepdims, correction)

    def std(self, axis: Any = None, keepdims: bool = False, correction: float = 0) -> Tensor:
        """See :func:`ranvier.std`."""
        return _r.std(self, axis, keepdims, correction)

    def max(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """See :func:`ranvier.max`."""
        return _r.max(self, axis, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """See :func:`ranvier.min`."""
        return _r.min(self, axis, keepdims)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """See :func:`ranvier.argmax`."""
        return _r.argmax(self, axis, keepdims)

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """See :func:`ranvier.argmin`."""
        return _r.argmin(self, axis, keepdims)

    def all(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """See :func:`ranvier.all`."""
        return _r.all(self, axis, keepdims)

    def any(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """See :func:`ranvier.any`."""
        return _r.any(self, axis, keepdims)


# -- entering the tensor world ------------------------------------------------------------------------------------


def tensor(value: Any, dtype: Any = None) -> Tensor:
    """A tensor from a number, nested lists, a NumPy array or anything with ``__array__`` or DLPack.

    Python floats become float32 and Python integers int64; arrays keep their dtype. The data is copied, so later
    changes to ``value`` do not show.

    Args:
        value: the data.
        dtype: the dtype wanted; by default that of the data. Conversion follows :func:`ranvier.astype`, but Python
            integers must fit.

    Raises:
        DTypeError: complex, string or object data.
        ShapeError: nested lists of uneven length.
        ArgumentError: a Python integer that the dtype cannot hold.

    Example:
        >>> import ranvier as rv
        >>> rv.tensor([[1, 2], [3, 4]])
        Tensor([[1, 2],
                [3, 4]], dtype=int64)
    """
    wanted = None if dtype is None else as_dtype(dtype)
    made = as_tensor(value, wanted)
    if wanted is None or wanted is made._dtype:
        if made is value or made._node is not None or made._data is None or made._data.flags.writeable:
            return made
        return Tensor._wrap(np.array(made._data), made._dtype)  # read-only here may still be writable elsewhere
    if wanted.kind in ("int", "uint") and made._dtype is dtypes.int64 and _is_python(value) and made.size:
        info, data = np.iinfo(wanted.numpy), made._concrete("tensor")
        low, high = int(data.min()), int(data.max())
        if low < info.min or high > info.max:
            bad = low if low < info.min else high
            raise ArgumentError(f"tensor: the integer {bad} does not fit into {wanted} ({info.min} to {info.max}).")
    return _e.astype(made, wanted)


def as_tensor(value: Any, like: DType | None = None, copy: bool = True) -> Tensor:
    """``value`` as a tensor.

    Args:
        value: tensor, variable, array, number or nested lists.
        like: the dtype that Python floats are read in if it is float64 (so that no digit is lost).
        copy: False: an array's memory is shared, and the caller promises not to change it.
    """
    if type(value) is Tensor:
        return value
    if isinstance(value, np.ndarray):
        return _from_array(value, copy)
    if isinstance(value, bool | np.bool_):
        return Tensor._wrap(np.asarray(value, np.bool_), dtypes.bool_)
    if isinstance(value, float) and not isinstance(value, np.floating):
        wide = np.asarray(value)
        if like is dtypes.float64:
            return Tensor._wrap(wide, dtypes.float64)
        return Tensor._wrap(_narrow(wide), dtypes.float32)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ArgumentError(f"tensor: the integer {value} does not fit into int64.")
        return Tensor._wrap(np.asarray(value, np.int64), dtypes.int64)
    read = getattr(value, "_read", None)  # a Variable: its current value
    if read is not None:
        return read()
    return _convert(value, like)


def _is_python(value: Any) -> bool:
    """Whether ``value`` is a Python number or a nest of lists of them."""
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return type(value) in (bool, int, float)


def _narrow(wide: np.ndarray) -> np.ndarray:
    """float64 as float32; too large becomes infinite, silently."""
    with np.errstate(over="ignore"):
        return wide.astype(np.float32)


def _restore(array: np.ndarray, name: str) -> Tensor:
    """Undo ``Tensor.__reduce__``."""
    return Tensor._wrap(array, as_dtype(name))


def _from_array(array: np.ndarray, copy: bool) -> Tensor:
    if type(array) is not np.ndarray:  # masked arrays, matrices, memory maps
        array = _plain(array)
    dtype = FROM_NUMPY.get(array.dtype)
    if dtype is None:
        if array.dtype.name == "bfloat16":  # the ml_dtypes package's
            return Tensor._wrap(array.astype(np.float32), dtypes.bfloat16)
        _refuse_objects(array)
        dtype = as_dtype(array.dtype)  # foreign byte order is converted; anything else is refused
        return Tensor._wrap(array.astype(dtype.numpy), dtype)
    if (copy and array.flags.writeable) or not array.flags.aligned:
        array = np.array(array)  # tensors never change, so they share no memory that can
    return Tensor._wrap(array, dtype)


def _plain(array: np.ndarray) -> np.ndarray:
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise DTypeError("tensor: a masked array has missing values; fill them first, for example with a.filled(0).")
    return np.asarray(array)


def _refuse_objects(array: np.ndarray) -> None:
    kind = {"O": "object", "U": "text", "S": "text", "V": "record", "c": "complex"}.get(array.dtype.kind)
    if kind == "complex":
        raise DTypeError(
            f"tensor: expected real numbers, got {array.dtype.name} data of shape {array.shape}. Give real and "
            "imaginary part as arrays of their own."
        )
    if kind is not None:
        entries = [] if kind == "record" else np.ravel(array).tolist()
        odd = [v for v in entries if not isinstance(v, bool | int | float | np.number)] or entries
        example = f" such as {odd[0]!r}" if odd else ""
        raise DTypeError(f"tensor: expected numbers, got {kind} data{example}.")


def _convert(value: Any, like: DType | None) -> Tensor:
    nested = isinstance(value, list | tuple)
    if nested and _holds_tensor(value):
        return _s.stack([as_tensor(v, like) for v in value])
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            array = np.from_dlpack(value)
        else:
            array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError, BufferError) as error:
        if "inhomogeneous" in str(error):
            found = str(error).split(". ")[-1].rstrip(".")
            raise ShapeError(f"tensor: nested lists must have even lengths. {found}.") from None
        raise DTypeError(f"tensor: cannot read {describe(value)}: {error}") from None
    if nested and array.dtype.char in "OQ":
        _check_integers(value)
    python_floats = array.dtype == np.float64 and not hasattr(value, "dtype")
    if python_floats and like is not dtypes.float64:
        return Tensor._wrap(_narrow(array), dtypes.float32)
    return _from_array(array, copy=not nested)


def _holds_tensor(nest: Any) -> bool:
    """Whether a tensor or variable, which gradients may flow to, lies anywhere in nested lists."""
    for v in nest:
        if type(v) not in (float, int) and (
            _holds_tensor(v) if isinstance(v, list | tuple) else isinstance(v, Tensor) or hasattr(v, "_read")
        ):
            return True
    return False


def _check_integers(value: Any) -> None:
    """Name the integer that made NumPy fall back to objects."""
    for v in np.ravel(np.asarray(value, object)):
        if isinstance(v, int) and not -(2**63) <= v < 2**63:
            raise ArgumentError(f"tensor: the integer {v} does not fit into int64.")


from ranvier.ops import contraction as _c  # noqa: E402  (ops build on Tensor)
from ranvier.ops import elementwise as _e  # noqa: E402
from ranvier.ops import index as _i  # noqa: E402
from ranvier.ops import reduce as _r  # noqa: E402
from ranvier.ops import shape as _s  # noqa: E402
