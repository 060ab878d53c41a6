"""Run native kernels on NumPy arrays, and the same nests in plain NumPy as the independent reference."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from ranvier.compiler.native.engine import compile_ir, load_object
from ranvier.compiler.native.expr import Instr
from ranvier.compiler.native.nest import Nest
from ranvier.compiler.native.target import ISAS, Isa, host

NUMPY = {name: np.dtype(name) for name in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint32", "float32",
                                           "float64")} | {"bfloat16": np.dtype(ml_dtypes.bfloat16)}  # fmt: skip
HERE = [isa for isa in (ISAS["avx512"], ISAS["avx2"]) if host().has(isa)]
_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)


@functools.lru_cache(maxsize=512)
def compiled(spec: Any, isa: Isa) -> Any:
    """The kernel of a spec as a callable (buffers, lo, hi, state)."""
    return _KERNEL(load_object(compile_ir(spec.ir("kernel", isa), isa), ["kernel"])["kernel"])


def call(spec: Any, isa: Isa, buffers: Sequence[np.ndarray], cuts: Sequence[int] = ()) -> int:
    """Run all units of a kernel in place, in ranges that end at ``cuts``, last range first. Returns the error code."""
    pointers = np.array([b.ctypes.data for b in buffers], np.uint64)
    state = np.zeros(8, np.int64)
    kernel, bounds = compiled(spec, isa), [0, *cuts, spec.units]
    for lo, hi in reversed(list(zip(bounds[:-1], bounds[1:], strict=True))):
        kernel(pointers.ctypes.data, lo, hi, state.ctypes.data)
    return int(state[0])


class Builder:
    """Bodies in one line per value: ``e("add", a, b)``; the dtype is the builder's unless said otherwise."""

    def __init__(self, dtype: str):
        self.dtype = dtype
        self.body: list[Instr] = []

    def __call__(self, op: str, *args: int, dtype: str | None = None, attrs: tuple[Any, ...] = ()) -> int:
        self.body.append(Instr(op, dtype or self.dtype, args, attrs))
        return len(self.body) - 1

    def load(self, operand: int, dtype: str | None = None) -> int:
        return self("load", dtype=dtype, attrs=(operand,))

    def const(self, value: float, dtype: str | None = None) -> int:
        return self("const", dtype=dtype, attrs=(value,))

    def iota(self, dim: int, dtype: str) -> int:
        return self("iota", dtype=dtype, attrs=(dim,))

    def gather(self, operand: int, axis: int, index: int) -> int:
        return self("gather", index, attrs=(operand, axis))


# -- the reference ----------------------------------------------------------------------------------------------------


def view(nest: Nest, buffers: Sequence[np.ndarray], o: int) -> np.ndarray:
    """An operand as an array over all loops of the nest, sharing memory."""
    spec, size = nest.operands[o], buffers[o].itemsize
    start = buffers[o].reshape(-1)[spec.offset :]
    return np.lib.stride_tricks.as_strided(start, nest.dims, [s * size for s in spec.strides])


UNARY = {
    "neg": np.negative, "abs": np.abs, "sign": np.sign, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "tanh": np.tanh,
    "floor": np.floor, "ceil": np.ceil, "round": np.rint, "trunc": np.trunc, "isnan": np.isnan, "isinf": np.isinf,
    "isfinite": np.isfinite, "logical_not": np.logical_not, "bitwise_not": np.invert,
    "relu": lambda x: np.maximum(x, np.zeros((), x.dtype)),
}  # fmt: skip
BINARY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide, "pow": np.power,
    "maximum": np.maximum, "minimum": np.minimum, "remainder": np.remainder, "floor_divide": np.floor_divide,
    "equal": np.equal, "not_equal": np.not_equal, "less": np.less, "less_equal": np.less_equal,
    "logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor,
    "bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor,
    "left_shift": np.left_shift, "right_shift": np.right_shift,
}  # fmt: skip
REDUCE = {
    "sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum, "and": np.bitwise_and,
    "or": np.bitwise_or,
}  # fmt: skip


def elementwise(op: str, dtype: str, args: Sequence[np.ndarray]) -> np.ndarray:
    """What one instruction means, by NumPy."""
    out = NUMPY[dtype]
    with np.errstate(all="ignore"):
        if op == "where":
            return np.where(args[0] != 0, args[1], args[2])
        if op == "bitcast":
            return np.ascontiguousarray(args[0]).view(out)
        if op == "cast":
            return cast(args[0], dtype)
        args = [a.astype(np.float32) if a.dtype == NUMPY["bfloat16"] else a for a in args]  # one rounding per op
        return (UNARY[op](*args) if op in UNARY else BINARY[op](*args)).astype(out)


def cast(x: np.ndarray, dtype: str) -> np.ndarray:
    """A conversion; floats become integers by truncation, saturating, NaN giving 0."""
    out = NUMPY[dtype]
    if out.kind not in "iu" or (x.dtype.kind in "iub"):
        return (x.astype(np.float32) if out == NUMPY["bfloat16"] and x.dtype.kind != "f" else x).astype(out)
    limits, wide = np.iinfo(out), x.astype(np.float64)
    rows = [0 if v != v else min(max(int(np.clip(v, -1e30, 1e30)), limits.min), limits.max) for v in wide.ravel()]
    return np.array(rows, np.int64).astype(out).reshape(x.shape)


def reference(nest: Nest, buffers: Sequence[np.ndarray]) -> None:
    """What a nest means: every value as an array over all loops, in NumPy."""
    rank, values = len(nest.dims), []
    axis = {"none": -1, "last": rank - 1, "middle": rank - 2}[nest.reduce]
    valid = nest.valid or (nest.dims[-1] if rank else 1)
    for instr in nest.body:
        values.append(_value(nest, buffers, values, instr, axis, valid))
    for target, i in nest.stores:
        value = np.broadcast_to(values[i], nest.dims).copy()
        if nest.valid and nest.operands[target].strides[-1]:
            value[..., valid:] = 0
        out = view(nest, buffers, target)
        for place in np.ndindex(*nest.dims) if 0 in nest.operands[target].strides else ():
            out[place] = value[place]
        if 0 not in nest.operands[target].strides:
            out[...] = value


def _value(
    nest: Nest, buffers: Sequence[np.ndarray], values: list[np.ndarray], instr: Instr, axis: int, valid: int
) -> np.ndarray:
    if instr.op == "const":
        return np.full(nest.dims, np.array(instr.attrs[0]).astype(NUMPY[instr.dtype]))
    if instr.op == "load":
        return view(nest, buffers, instr.attrs[0]).copy()
    if instr.op == "iota":
        return np.broadcast_to(np.indices(nest.dims)[instr.attrs[0]], nest.dims).astype(NUMPY[instr.dtype])
    if instr.op == "gather":
        operand = nest.operands[instr.attrs[0]]
        places = [i * s for i, s in zip(np.indices(nest.dims), operand.strides, strict=True)]
        places[instr.attrs[1]] = values[instr.args[0]].astype(np.int64) * operand.strides[instr.attrs[1]]
        return buffers[instr.attrs[0]].reshape(-1)[operand.offset + sum(places)]
    args = [values[a] for a in instr.args]
    if not instr.op.startswith("reduce_"):
        return elementwise(instr.op, instr.dtype, args)
    x = args[0]
    if axis == len(nest.dims) - 1:
        x = x[..., :valid]
    wide = {"float32": np.float64, "bfloat16": np.float64}.get(instr.dtype, NUMPY[instr.dtype])
    with np.errstate(all="ignore"):
        total = REDUCE[instr.op.removeprefix("reduce_")].reduce(x.astype(wide), axis=axis, keepdims=True)
    return np.broadcast_to(total.astype(np.float32).astype(NUMPY[instr.dtype]) if wide is np.float64 and instr.dtype
                           != "float64" else total.astype(NUMPY[instr.dtype]), nest.dims)  # fmt: skip
