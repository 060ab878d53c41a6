"""Data types, their promotion, and the rounding that defines bfloat16.

Ranvier has bool, int8, int16, int32, int64, uint8, bfloat16, float32 and float64 (uint32 carries random bits).
Promotion follows the array-API standard: within a kind the wider type wins, uint8 with a signed type gives the
smallest signed type that holds both. Where the standard leaves mixed kinds open, the floating type wins (int64 with
float32 gives float32), and bool gives way to any number. Python scalars never widen a tensor.

NumPy has no bfloat16. Eagerly, a bfloat16 tensor is carried by a float32 array whose values are all representable
in bfloat16; compiled code and files store two bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ranvier.errors import ArgumentError, DTypeError

__all__ = [
    "DType", "DTypePolicy", "FloatInfo", "IntegerInfo", "as_dtype", "as_policy", "bfloat16", "bool_", "finfo",
    "float32", "float64", "iinfo", "int8", "int16", "int32", "int64", "isdtype", "promote", "result_type",
    "round_bfloat16", "uint8", "uint32",
]  # fmt: skip


class DType:
    """A data type.

    Attributes:
        name: its name, for example ``"float32"``.
        kind: ``"bool"``, ``"int"``, ``"uint"`` or ``"float"``.
        itemsize: bytes per element as compiled code and files store it.
        numpy: the NumPy dtype that carries it.
    """

    __slots__ = ("is_float", "itemsize", "kind", "name", "numpy")

    def __init__(self, name: str, kind: str, itemsize: int, numpy: Any):
        self.name, self.kind, self.itemsize, self.numpy = name, kind, itemsize, np.dtype(numpy)
        self.is_float = kind == "float"

    def __repr__(self) -> str:
        return f"ranvier.{self.name}"

    def __str__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, str) and other == self.name)

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self) -> tuple[Any, ...]:  # copies and worker processes get the same object
        return as_dtype, (self.name,)


bool_ = DType("bool", "bool", 1, np.bool_)
int8 = DType("int8", "int", 1, np.int8)
int16 = DType("int16", "int", 2, np.int16)
int32 = DType("int32", "int", 4, np.int32)
int64 = DType("int64", "int", 8, np.int64)
uint8 = DType("uint8", "uint", 1, np.uint8)
uint32 = DType("uint32", "uint", 4, np.uint32)
bfloat16 = DType("bfloat16", "float", 2, np.float32)
float32 = DType("float32", "float", 4, np.float32)
float64 = DType("float64", "float", 8, np.float64)

_ALL = (bool_, int8, int16, int32, int64, uint8, uint32, bfloat16, float32, float64)
_BY_NAME = {d.name: d for d in _ALL} | {"float": float32, "int": int64}
FROM_NUMPY = {d.numpy: d for d in _ALL if d is not bfloat16}
_BY_PYTHON: dict[Any, DType] = {bool: bool_, int: int64, float: float32}


def as_dtype(value: Any) -> DType:
    """The :class:`DType` meant by a dtype, a name, a NumPy dtype or a Python type.

    Args:
        value: for example ``rv.float32``, ``"float32"``, ``np.float32`` or ``float``.

    Raises:
        DTypeError: Ranvier has no such type (complex, object, string, float16, uint64 ...).

    Example:
        >>> import ranvier as rv
        >>> rv.as_dtype("float64")
        ranvier.float64
    """
    if isinstance(value, DType):
        return value
    found = _BY_NAME.get(value) if isinstance(value, str) else None
    if found is None and isinstance(value, type):
        found = _BY_PYTHON.get(value)
    if found is None and isinstance(value, str | type | np.dtype):  # np.dtype(None) would be float64
        try:
            found = FROM_NUMPY.get(np.dtype(value).newbyteorder("="))
        except TypeError:
            found = None
    if found is None:
        raise DTypeError(
            f"dtype {value!r} is not supported. Ranvier has {', '.join(d.name for d in _ALL)}; "
            "convert the data first, for example with x.astype('float32')."
        )
    return found


class DTypePolicy:
    """In which dtypes a layer keeps its weights and computes.

    Attributes:
        name: the dtype's name, or ``"mixed_bfloat16"``.
        variable_dtype: of the weights.
        compute_dtype: of inputs, outputs and everything between.
    """

    __slots__ = ("compute_dtype", "name", "variable_dtype")

    def __init__(self, value: Any):
        mixed = isinstance(value, str) and value == "mixed_bfloat16"
        self.variable_dtype = float32 if mixed else as_dtype(value)
        self.compute_dtype = bfloat16 if mixed else self.variable_dtype
        self.name = "mixed_bfloat16" if mixed else self.variable_dtype.name

    def __repr__(self) -> str:
        return f"DTypePolicy({self.name!r})"

    @property
    def mixed(self) -> bool:
        """Whether weights are rounded for computing."""
        return self.compute_dtype is not self.variable_dtype


def as_policy(value: Any) -> DTypePolicy:
    """The :class:`DTypePolicy` meant by a policy, its name, or a dtype.

    Args:
        value: for example ``"mixed_bfloat16"`` or ``rv.float32``.

    Raises:
        DTypeError: Ranvier has no such type.
    """
    return value if isinstance(value, DTypePolicy) else DTypePolicy(value)


def promote(a: DType, b: DType) -> DType:
    """The dtype that an operation on ``a`` and ``b`` has.

    Args:
        a: a dtype.
        b: a dtype.

    Example:
        >>> import ranvier as rv
        >>> rv.promote(rv.uint8, rv.int8), rv.promote(rv.int64, rv.float32)
        (ranvier.int16, ranvier.float32)
    """
    if a is b:
        return a
    if a.kind == "bool" or b.kind == "bool":
        return b if a.kind == "bool" else a
    if a.is_float or b.is_float:
        if a.is_float and b.is_float:
            return a if a.itemsize >= b.itemsize else b
        return a if a.is_float else b
    if a.kind == b.kind:
        return a if a.itemsize >= b.itemsize else b
    signed, unsigned = (a, b) if a.kind == "int" else (b, a)
    if signed.itemsize > unsigned.itemsize:
        return signed
    return {1: int16, 4: int64}[unsigned.itemsize]


def round_bfloat16(x: np.ndarray) -> np.ndarray:
    """Round float32 values to the nearest bfloat16, ties to even; NaN stays NaN.

    Args:
        x: values of any floating dtype (float64 is rounded to float32 first).

    Shape:
        any; the result has the same shape, dtype float32.
    """
    with np.errstate(over="ignore"):  # beyond float32: infinity
        x = np.ascontiguousarray(x, np.float32).reshape(np.shape(x))
    bits = x.view(np.uint32)
    rounded = (bits + (((bits >> np.uint32(16)) & np.uint32(1)) + np.uint32(0x7FFF))) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(x), np.float32(np.nan), rounded.view(np.float32))


# -- inspection, as in the array-API standard ---------------------------------------------------------------------


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype that an operation on all the arguments has.

    Args:
        *arrays_and_dtypes: tensors, arrays, dtypes or Python numbers (which never widen the others).

    Raises:
        ArgumentError: no argument.

    Example:
        >>> import ranvier as rv
        >>> rv.result_type(rv.tensor([1, 2]), rv.float64, 2.5)
        ranvier.float64
    """
    if not arrays_and_dtypes:
        raise ArgumentError("result_type: expected at least one tensor, dtype or number, got none.")
    numbers = [x for x in arrays_and_dtypes if type(x) in (bool, int, float)]
    found: DType | None = None
    for x in arrays_and_dtypes:
        if type(x) not in (bool, int, float):
            dtype = as_dtype(getattr(x, "dtype", x))
            found = dtype if found is None else promote(found, dtype)
    for x in numbers:
        own = _BY_PYTHON[type(x)]
        if found is None or _RANK[own.kind] > _RANK[found.kind]:
            found = own
    return found  # type: ignore[return-value]


_RANK = {"bool": 0, "int": 1, "uint": 1, "float": 2}
_KINDS = {
    "bool": ("bool",), "signed integer": ("int",), "unsigned integer": ("uint",), "integral": ("int", "uint"),
    "real floating": ("float",), "complex floating": (), "numeric": ("int", "uint", "float"),
}  # fmt: skip


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is of a kind.

    Args:
        dtype: a dtype.
        kind: a dtype, one of "bool", "signed integer", "unsigned integer", "integral", "real floating",
            "complex floating" and "numeric", or a tuple of these.

    Raises:
        ArgumentError: an unknown kind.

    Example:
        >>> import ranvier as rv
        >>> rv.isdtype(rv.bfloat16, "real floating"), rv.isdtype(rv.int8, (rv.int16, "bool"))
        (True, False)
    """
    wanted = as_dtype(dtype)
    if isinstance(kind, tuple):
        return any([isdtype(wanted, k) for k in kind])
    if isinstance(kind, str):
        if kind not in _KINDS:
            raise ArgumentError(f"isdtype: expected a kind from {', '.join(map(repr, _KINDS))}, got {kind!r}.")
        return wanted.kind in _KINDS[kind]
    return wanted is as_dtype(kind)


@dataclass(frozen=True)
class FloatInfo:
    """Limits of a floating dtype; made by :func:`finfo`.

    Attributes:
        bits: width in bits.
        eps: distance from 1 to the next larger number.
        max: largest finite number.
        min: smallest finite number.
        smallest_normal: smallest positive number of full precision.
        dtype: the dtype.
    """

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


@dataclass(frozen=True)
class IntegerInfo:
    """Limits of an integer dtype; made by :func:`iinfo`.

    Attributes:
        bits: width in bits.
        max: largest number.
        min: smallest number.
        dtype: the dtype.
    """

    bits: int
    max: int
    min: int
    dtype: DType


def finfo(type: Any) -> FloatInfo:
    """Limits of a floating dtype.

    Args:
        type: a floating dtype, or a tensor of one.

    Raises:
        DTypeError: no floating dtype.

    Example:
        >>> import ranvier as rv
        >>> rv.finfo(rv.bfloat16).eps
        0.0078125
    """
    dtype = as_dtype(getattr(type, "dtype", type))
    if not dtype.is_float:
        raise DTypeError(f"finfo: expected a floating dtype, got {dtype}. For integers use rv.iinfo.")
    if dtype is bfloat16:  # the exponents of float32, 8 bits of precision
        largest = float(2 - 2.0**-7) * 2.0**127
        return FloatInfo(16, 2.0**-7, largest, -largest, 2.0**-126, dtype)
    info = np.finfo(dtype.numpy)
    return FloatInfo(info.bits, float(info.eps), float(info.max), float(info.min), float(info.smallest_normal), dtype)


def iinfo(type: Any) -> IntegerInfo:
    """Limits of an integer dtype.

    Args:
        type: an integer dtype, or a tensor of one.

    Raises:
        DTypeError: no integer dtype.

    Example:
        >>> import ranvier as rv
        >>> rv.iinfo(rv.int8).min
        -128
    """
    dtype = as_dtype(getattr(type, "dtype", type))
    if dtype.kind not in ("int", "uint"):
        raise DTypeError(f"iinfo: expected an integer dtype, got {dtype}. For floating dtypes use rv.finfo.")
    info = np.iinfo(dtype.numpy)
    return IntegerInfo(info.bits, int(info.max), int(info.min), dtype)
