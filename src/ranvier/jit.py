"""``rv.jit``: compile a Python function of tensors into one native call.

The first call with given shapes and dtypes traces the function, compiles the graph and keeps the result; later calls
go straight to it. Tensors, arrays and Python numbers are traced; strings, booleans and None are part of the key.
Variables the function reads and assigns are found by tracing.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ranvier import config, tree
from ranvier.compiler.execute import NativeExecutor
from ranvier.compiler.graph import Graph, format_graph
from ranvier.compiler.guard import report
from ranvier.compiler.machine import machine
from ranvier.compiler.pipeline import stages
from ranvier.compiler.reference import ReferenceExecutor
from ranvier.compiler.trace import trace
from ranvier.dtypes import FROM_NUMPY, DType
from ranvier.errors import ArgumentError, TraceError
from ranvier.ops.table import state
from ranvier.tensor import Tensor, as_tensor

__all__ = ["Jitted", "Specialisation", "jit"]

_STATIC = (bool, str, type(None))


class Specialisation:
    """One compiled version of a function: for one set of shapes, dtypes and static values."""

    def __init__(self, graph: Graph, structure: Any, dtypes: Sequence[DType]):
        self.graph, self.structure, self.dtypes = graph, structure, tuple(dtypes)
        self.results = [(v.shape, v.dtype) for v in graph.results]
        self._single = tree.flatten(0)[1] == structure
        if config.get("backend") == "reference":
            self.executor: Any = ReferenceExecutor(graph)
        else:
            self.executor = NativeExecutor(graph)

    def call(self, arrays: Sequence[np.ndarray], steps: int) -> Any:
        """Run ``steps`` times; the outputs of the last run in the function's own structure."""
        out = self.executor.run(arrays, steps)
        if self.graph.guards:
            report(self.graph.guards)
        if self._single:
            return Tensor._wrap(out[0], self.results[0][1])
        tensors = [Tensor._wrap(a, dtype) for a, (_, dtype) in zip(out, self.results, strict=True)]
        return tree.unflatten(self.structure, tensors)


class Jitted:
    """A compiled function; made by :func:`jit`.

    Attributes:
        traces: how often the function has been traced so far.
    """

    def __init__(self, function: Callable[..., Any]):
        self._function = function
        self._made: dict[Any, Specialisation] = {}
        self._quick: dict[Any, Specialisation] = {}
        self.traces = 0
        self._tracing = threading.RLock()
        functools.update_wrapper(self, function, updated=())  # not the attributes of another compiled function

    def _split(self, args: tuple[Any, ...]) -> tuple[Any, list[Tensor]]:
        """The key of a specialisation, and the traced leaves."""
        leaves, structure = tree.flatten(list(args))
        tensors: list[Tensor] = []
        key: list[Any] = [structure]
        for x in leaves:
            if isinstance(x, _STATIC):
                key.append(x)
                continue
            try:
                t = as_tensor(x, copy=False)  # read within this call only
            except TypeError as error:
                if not callable(x):
                    raise
                raise ArgumentError(
                    f"jit: arguments are tensors, arrays, numbers, strings, booleans or nests of them, got {x!r}. "
                    "Let the function close over other objects."
                ) from error
            tensors.append(t)
            key.append((t._shape, t._dtype.name))
        return tuple(map(_hashable, key)), tensors

    def _specialise(self, args: tuple[Any, ...], key: Any, tensors: Sequence[Tensor]) -> Specialisation:
        leaves, structure = tree.flatten(list(args))

        def call(symbols: Sequence[Tensor]) -> Any:
            rest = iter(symbols)
            filled = [x if isinstance(x, _STATIC) else next(rest) for x in leaves]
            return self._function(*tree.unflatten(structure, filled))

        graph, out_structure = trace(tensors, call)
        made = Specialisation(graph, out_structure, [t.dtype for t in tensors])
        self._made[key] = made
        self.traces += 1
        return made

    def _find(self, args: tuple[Any, ...]) -> tuple[Specialisation, list[np.ndarray]]:
        key, tensors = self._split(args)
        found = self._made.get(key)
        if found is None:
            with self._tracing:
                found = self._made.get(key) or self._specialise(args, key, tensors)
        arrays = [t._data for t in tensors]
        if any(a is None for a in arrays):
            raise TraceError("jit: a traced tensor was passed to a compiled function; call the plain function there.")
        return found, arrays  # type: ignore[return-value]

    def __call__(self, *args: Any, **named: Any) -> Any:
        if named:
            raise ArgumentError(
                f"jit: {getattr(self._function, '__name__', 'the function')!r} was called with named arguments "
                f"({', '.join(named)}). Compiled functions take positional arguments only."
            )
        if state.trace is not None:
            return self._function(*args)  # inside another trace its ops join that trace
        quick = self._quick_find(args)
        if quick is None:
            if state.recording and any(map(_differentiated, tree.flatten(args)[0])):
                return self._function(*args)  # op by op: a native call leaves nothing to differentiate
            quick = self._find(args)
        found, arrays = quick
        return found.call(arrays, 1)

    def _quick_find(self, args: tuple[Any, ...]) -> tuple[Specialisation, list[np.ndarray]] | None:
        """The specialisation for plain arrays and tensors, without taking nests apart."""
        arrays: list[np.ndarray] = []
        key: list[Any] = []
        for x in args:
            kind = type(x)
            if kind is Tensor:
                if x._data is None or x._node is not None:
                    return None
                arrays.append(x._data)
                key.append((x._shape, x._dtype))
            elif kind is np.ndarray and x.dtype in FROM_NUMPY:
                arrays.append(x)
                key.append((x.shape, x.dtype))
            elif x is None:
                key.append(None)
            else:
                return None
        quick = tuple(key)
        found = self._quick.get(quick)
        if found is None:
            found, _ = self._find(args)
            self._quick[quick] = found
        return found, arrays

    def run(self, steps: int, *args: Any) -> Any:
        """Run the function ``steps`` times in one native call; variables carry over from one run to the next.

        Args:
            steps: how often, at least 1.
            *args: the function's arguments, the same for every run.

        Returns:
            What the last run returned.

        Raises:
            ArgumentError: ``steps`` is no positive integer.
        """
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ArgumentError(f"jit.run: expected steps to be a positive integer, got {steps!r}.")
        quick = self._quick_find(args)
        found, arrays = self._find(args) if quick is None else quick
        return found.call(arrays, steps)

    def specialise(self, *args: Any) -> tuple[Specialisation, list[np.ndarray]]:
        """The compiled version for these arguments, and the arrays it is run on: for callers that run it many times.

        Args:
            *args: the function's arguments.
        """
        return self._find(args)

    def graph(self, *args: Any) -> str:
        """The traced graph as text.

        Args:
            *args: example arguments.
        """
        return format_graph(self._find(args)[0].graph)

    def stages(self, *args: Any) -> dict[str, str]:
        """The graph after each of the compiler's passes, as text, by the pass's name.

        Args:
            *args: example arguments.
        """
        graph = self._find(args)[0].graph
        made = stages(graph, machine(config.get("isa")).isa)
        return {name: format_graph(after) for name, after in made.items()}

    def explain(self, *args: Any) -> str:
        """The plan as text: each kernel, the ops it fuses, their source lines, FLOPs, bytes and roofline time.

        Args:
            *args: example arguments.
        """
        return self._find(args)[0].executor.explain()

    def profile(self, *args: Any, steps: int = 100) -> str:
        """Run the function and put each kernel's measured time beside the plan. Variables advance.

        Args:
            *args: arguments.
            steps: how many runs are averaged.
        """
        found, arrays = self._find(args)
        return found.executor.profile(arrays, steps)


def _differentiated(x: Any) -> bool:
    """Whether a gradient may be asked for by what ``x`` was made from."""
    node = x._node if type(x) is Tensor and x._data is not None else None
    return node is not None and "variable" not in node.attrs


def _hashable(part: Any) -> Any:
    return repr(part) if isinstance(part, tuple) and part and isinstance(part[0], type) else part


def jit(function: Callable[..., Any]) -> Jitted:
    """Compile a function of tensors.

    Args:
        function: its positional arguments are tensors, arrays, numbers, strings, booleans or nests of them; it
            returns a tensor or a nest of tensors. It may read and assign variables. Gradients are taken inside it
            (``rv.jit(rv.grad(f))``); called on tensors that are being differentiated, it runs op by op.

    Raises:
        TraceError: while tracing, Python control flow on a tensor's value, or another use of unknown values.

    Example:
        >>> import ranvier as rv
        >>> @rv.jit
        ... def step(x):
        ...     return rv.sum(rv.tanh(x) ** 2)
        >>> round(step(rv.tensor([0.5, 1.0])).item(), 4)
        0.7936
    """
    return Jitted(function)
