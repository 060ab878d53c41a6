"""The op table: one op, one record.

An :class:`Op` holds everything about one primitive: its meaning in NumPy (the reference, which defines it), its
shape-and-dtype rule, its gradient written in ops, and the samples and errors the test suite is generated from. An op
is called like a function. Called on concrete tensors it runs its reference at once and, if an input is being watched,
links the result to its inputs so that it can be differentiated; called on traced tensors it is recorded instead.

Gradients are vector-Jacobian products: ``vjps[i](g, out, *inputs, **attrs)`` gives the cotangent of input ``i`` from
the cotangent ``g`` of the output. They are written in ops, so they work eagerly, traced and compiled, and to any
order. ``None`` in place of a rule means "no gradient flows here" and must be declared with a reason.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ranvier import dtypes
from ranvier.dtypes import FROM_NUMPY, DType, round_bfloat16
from ranvier.errors import DTypeError, InternalError, ResourceError, ShapeError, TraceError
from ranvier.tensor import Node, Tensor, as_tensor

__all__ = ["TABLE", "Aval", "Op", "apply", "broadcast_shapes", "no_grad", "origin", "scope", "state"]

TABLE: dict[str, Op] = {}


class Aval(NamedTuple):
    """The abstract value of an op's result: what is known before running."""

    shape: tuple[int, ...]
    dtype: DType


class _State(threading.local):
    """What the current thread is doing: recording gradients or not, tracing or not."""

    recording = True
    trace: Any = None  # a compiler trace that records ops on symbolic tensors
    scope: str = ""  # path of the layer being called, for plans and error messages
    where: tuple[str, int] | None = None  # the source line that traced ops belong to, if not the caller's
    compute: DType | None = None  # floating variables are read in this dtype (in layers of mixed precision)


state = _State()


@contextmanager
def no_grad() -> Iterator[None]:
    """Run a block without recording gradients.

    Example:
        >>> import ranvier as rv
        >>> w = rv.Variable([1.0, 2.0], name="w")
        >>> with rv.no_grad():
        ...     y = rv.sum(w * w)
        >>> y.requires_grad
        False
    """
    before, state.recording = state.recording, False
    try:
        yield
    finally:
        state.recording = before


def broadcast_shapes(name: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape under NumPy's broadcasting rule; a :class:`ShapeError` naming the axis otherwise."""
    rank = max(map(len, shapes))
    out = []
    for axis in range(-rank, 0):
        sizes = {s[axis] for s in shapes if len(s) >= -axis} - {1}
        if len(sizes) > 1:
            given, differing = " and ".join(map(str, shapes)), " and ".join(map(str, sorted(sizes)))
            raise ShapeError(
                f"{name}: shapes {given} do not broadcast: axis {axis} has sizes {differing}. Sizes must be equal or 1."
            )
        out.append(sizes.pop() if sizes else 1)
    return tuple(out)


@contextmanager
def origin(node: Node) -> Iterator[None]:
    """Ops traced inside the block belong to the layer and the source line of ``node``: the gradient of an op to the
    op's own.
    """
    if state.trace is None:
        yield
        return
    before = state.scope, state.where
    state.scope, state.where = node.scope, node.where
    try:
        yield
    finally:
        state.scope, state.where = before


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Ops traced inside the block belong to layer ``name`` (nested blocks make a path)."""
    before = state.scope
    state.scope = f"{before}/{name}" if before else name
    try:
        yield
    finally:
        state.scope = before


class Op:
    """One primitive operation.

    Args:
        name: its name in the table, in plans and in error messages.
        reference: its meaning: NumPy arrays and attributes in, an array out.
        infer: ``infer(inputs, **attrs) -> Aval``; raises the user's errors.
        vjps: one rule for each input (one rule for all inputs of an n-ary op), or None for no gradient.
        no_gradient: why an input without a rule has none.
        family: elementwise, reduce, shape, contraction, index, random or control.
        arity: number of inputs; -1 for any.
        broadcasts: inputs of different shapes broadcast; the differentiator undoes it in one place.
        joint: the one rule gives the cotangents of all inputs at once, as a sequence.
        doc: the docstring of the op as users see it.
        domain: elementwise: where its sample inputs are drawn from.
        kinds: which dtypes its first input may have ("bool", "int", "float").
        samples: ``samples(rng) -> list of (arrays, attrs)`` for generated tests.
        errors: ``(arrays, attrs, error class, text)`` for generated tests.
    """

    def __init__(
        self,
        name: str,
        reference: Callable[..., Any],
        infer: Callable[..., Aval],
        vjps: Sequence[Callable[..., Any] | None] = (),
        *,
        family: str,
        no_gradient: str = "",
        arity: int = 1,
        broadcasts: bool = False,
        joint: bool = False,
        doc: str = "",
        domain: tuple[float, float] = (-2.0, 2.0),
        kinds: str = "bool int float",
        samples: Callable[[np.random.Generator], list[tuple[tuple[Any, ...], dict[str, Any]]]] | None = None,
        errors: Sequence[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = (),
    ):
        self.name, self.reference, self.infer, self.vjps = name, reference, infer, tuple(vjps)
        self.family, self.no_gradient, self.arity, self.broadcasts = family, no_gradient, arity, broadcasts
        self.joint = joint
        self.domain, self.kinds, self.samples, self.errors = domain, kinds, samples, tuple(errors)
        words = kinds.split()
        self.accepted = frozenset([*words, "uint"] if "int" in words else words)  # kinds as DType.kind spells them
        self.moves = family == "shape"  # moves values about, so no floating-point flags can be raised
        self.__doc__ = doc
        self.__name__ = self.__qualname__ = name
        if name in TABLE:
            raise InternalError(f"op {name!r} is defined twice")
        TABLE[name] = self

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def vjp_rule(self, index: int) -> Callable[..., Any] | None:
        """The gradient rule of input ``index``, or None."""
        return self.vjps[index if self.arity >= 0 else 0] if self.vjps else None

    def __call__(self, *inputs: Any, **attrs: Any) -> Tensor:
        return apply(self, tuple([as_tensor(x) for x in inputs]), attrs)


def apply(op: Op, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> Tensor:
    """Run or record ``op``. This is the one door through which every operation goes."""
    data, watched, narrow = [], False, False
    for t in inputs:
        x = t._data
        if x is None:
            return _record(op, inputs, attrs)
        data.append(x)
        if t._node is not None:
            watched = True
        if t._dtype is dtypes.bfloat16:
            narrow = True
    try:
        if op.moves:
            out = op.reference(*data, **attrs)
        else:
            with np.errstate(all="ignore"):  # NaN and infinity are values, not warnings
                out = op.reference(*data, **attrs)
    except (ValueError, TypeError, IndexError) as error:
        op.infer(inputs, **attrs)  # the rule knows how to say what is wrong
        raise InternalError(f"op {op.name!r} failed on inputs its shape rule accepts: {error}") from error
    except MemoryError:
        shape, dtype = op.infer(inputs, **attrs)
        raise out_of_memory(op.name, shape, dtype) from None
    if type(out) is not np.ndarray:
        out = np.asarray(out)
    dtype = FROM_NUMPY[out.dtype]
    if narrow or op.name == "cast":  # bfloat16 is carried by float32, so the array cannot tell
        dtype = op.infer(inputs, **attrs).dtype
        if dtype is dtypes.bfloat16 and not op.moves:
            out = round_bfloat16(out)
    result = Tensor._wrap(out, dtype)
    if watched and dtype.is_float and op.vjps and state.recording:
        result._node = Node(op, inputs, attrs)
    return result


def _record(op: Op, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> Tensor:
    if state.trace is None:
        raise TraceError(
            f"{op.name}: a traced tensor was used after its function had been compiled. It has left the "
            "function through a global, an attribute or a closure; return it instead."
        )
    made = state.trace.record(op, inputs, attrs)
    if not state.recording and op.vjps and made._dtype.is_float:
        made = state.trace.record(TABLE["stop_gradient"], (made,), {})  # no_grad means the same in a trace
    return made


# -- rules shared by many ops -------------------------------------------------------------------------------------

try:
    _MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
except (AttributeError, ValueError, OSError):  # no such question on this system: only the allocator can refuse
    _MEMORY = 2**62


def out_of_memory(name: str, shape: tuple[int, ...], dtype: DType) -> ResourceError:
    """The error for a result that does not fit into memory."""
    size = math.prod(shape) * dtype.numpy.itemsize
    return ResourceError(
        f"{name}: a {dtype} result of shape {shape} needs {size / 2**30:,.1f} GiB; this machine has "
        f"{_MEMORY / 2**30:,.1f} GiB, and not all of it is free. Work on smaller pieces."
    )


def require_memory(name: str, shape: tuple[int, ...], dtype: DType) -> None:
    """Refuse what can never fit, before the system promises memory that it does not have."""
    if math.prod(shape) * dtype.numpy.itemsize > _MEMORY:
        raise out_of_memory(name, shape, dtype)


def same_aval(inputs: Sequence[Tensor], **attrs: Any) -> Aval:
    """The result is like the first input."""
    return Aval(inputs[0].shape, inputs[0].dtype)


def require_kind(name: str, tensor: Tensor, kinds: str) -> None:
    """Raise a :class:`DTypeError` unless the dtype is one of ``kinds`` ("bool", "int", "float")."""
    kind = "int" if tensor.dtype.kind == "uint" else tensor.dtype.kind
    if kind not in kinds.split():
        allowed = " or ".join({"bool": "bool", "int": "integer", "float": "floating"}[k] for k in kinds.split())
        raise DTypeError(
            f"{name}: expected {allowed} input, got {tensor.dtype} of shape {tensor.shape}. Convert it with astype."
        )
