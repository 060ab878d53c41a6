"""Random programs: functions of tensors and variables that use the whole op table, made from a seed.

A program is a Python function that can be traced on any backend, and for each of its results a bound on how far two
right implementations may differ. The bound is carried along while the function runs, as ``error`` of every value:

* 0 means "the same bits": the value comes from the inputs by moves, integer and boolean work, and floating-point ops
  that IEEE 754 rounds exactly. Only such values may decide something (comparisons, indices, rounding).
* Otherwise it is a forward error bound, made with the usual rules from the bounds of the inputs and from ``scale``, a
  bound on the magnitude.

So a test over thousands of programs needs no tolerance that somebody chose until it passed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import ranvier as rv
from ranvier.errors import RanvierError

__all__ = ["Program"]

LIMIT = 60_000  # elements of a value
DTYPES = ("float32", "float64", "bfloat16", "bool", "int8", "int16", "int32", "int64", "uint8")
WEIGHTS = (0.40, 0.14, 0.08, 0.07, 0.05, 0.05, 0.07, 0.08, 0.06)
EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52, "bfloat16": 2.0**-7}
ROOM = {"float32": 2e-5, "float64": 1e-13, "bfloat16": 0.5}  # error that a variable may gather over all runs
NUMBERS = frozenset({"int", "uint", "float"})


@dataclass
class Item:
    """A value of the program: its tensor, a bound on its finite magnitudes, and a bound on its error."""

    t: Any
    scale: float
    error: float

    @property
    def exact(self) -> bool:
        return self.error == 0

    @property
    def kind(self) -> str:
        return self.t.dtype.kind

    @property
    def name(self) -> str:
        return self.t.dtype.name

    @property
    def epsilon(self) -> float:
        return EPSILON.get(self.name, 0.0)


@dataclass
class Slot:
    """A variable: how it starts, whether it only ever holds exact values, and its bounds."""

    value: np.ndarray
    dtype: str
    scale: float
    error: float


class Program:
    """A random program.

    Args:
        seed: decides everything.
        smooth: nothing but smooth functions of inexact values, no NaN, no infinity: for programs that are
            differentiated.

    Attributes:
        arguments: NumPy arrays or tensors to call it with.
        slots: the variables it uses.
        errors: after a call, the error bound of each result, then of each variable.
    """

    def __init__(self, seed: int, smooth: bool = False):
        rng = np.random.default_rng([seed, int(smooth)])
        self.seed, self.smooth = seed, smooth
        self.special = not smooth and rng.random() < 0.35
        sizes = [1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 32, 33, 40, 48, 64, 65, 100, 130]
        self.dims = [int(n) for n in rng.choice(sizes, 3)]
        if not smooth and rng.random() < 0.08:
            self.dims[int(rng.integers(3))] = 0
        self.shapes = self._shapes(rng)
        self.arguments = [self._argument(rng) for _ in range(int(rng.integers(1, 5)))]
        self.slots = [self._weight(rng) if smooth else self._slot(rng) for _ in range(int(rng.integers(0, 5)))]
        self.length = int(rng.integers(4, 24))
        self.errors: list[float] = []

    # -- inputs ---------------------------------------------------------------------------------------------------

    def _shapes(self, rng: np.random.Generator) -> list[tuple[int, ...]]:
        a, b, c = self.dims
        shapes = [(a, b), (a, b), (b,), (a, 1), (b, c), (a, c), (b, a), (c,), (), (1, b), (1,)]
        if a * b * c <= LIMIT:
            shapes += [(a, b, c), (c, a, b)]
        if rng.random() < 0.03:
            shapes += [(70_001,)] * 4
        return shapes

    def values(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """Random values; with NaN, infinities, signed zeros and small numbers among them in special programs."""
        if dtype == "bool":
            return rng.random(shape) < 0.5
        if dtype in EPSILON:
            x = rng.normal(size=shape) * 2
            if self.special and x.size:
                odd = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 2.5], size=shape)
                x = np.where(rng.random(shape) < 0.05, odd, x)
            if rng.random() < 0.3:
                x = np.rint(x)
            return np.asarray(x).astype("float64" if dtype == "float64" else "float32")
        low, high = (0, 9) if dtype == "uint8" else (-6, 7)
        if rng.random() < 0.2:
            low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        return np.asarray(rng.integers(low, high, shape)).astype(dtype)

    def _argument(self, rng: np.random.Generator) -> Any:
        dtype = str(rng.choice(["float32", "float32", "float64"]) if self.smooth else rng.choice(DTYPES, p=WEIGHTS))
        shape = self.shapes[int(rng.integers(len(self.shapes)))]
        array = self.values(rng, shape, dtype)
        if dtype == "bfloat16":
            return rv.tensor(array, "bfloat16")
        if array.ndim == 2 and rng.random() < 0.1:
            return np.asfortranarray(array)
        return rv.tensor(array) if rng.random() < 0.5 else array

    def _slot(self, rng: np.random.Generator) -> Slot:
        dtype = str(rng.choice(DTYPES, p=WEIGHTS))
        shape = self.shapes[int(rng.integers(len(self.shapes)))]
        if math.prod(shape) > LIMIT:
            shape = ()
        approximate = dtype in EPSILON and rng.random() < 0.5
        if approximate:
            return Slot(np.clip(np.nan_to_num(self.values(rng, shape, dtype)), -4, 4), dtype, 8.0, ROOM[dtype])
        return Slot(self.values(rng, shape, dtype), dtype, math.inf, 0.0)

    def _weight(self, rng: np.random.Generator) -> Slot:
        """A variable to be trained: a program that is differentiated reads it, but does not assign it."""
        shape = self.shapes[int(rng.integers(11))]
        return Slot(self.values(rng, shape, "float32"), str(rng.choice(["float32", "float32", "float64"])), 16.0, 0.0)

    def variables(self) -> list[rv.Variable]:
        """Fresh variables: one for each slot, then the state of the random numbers."""
        made = [rv.Variable(s.value, name=f"v{i}", dtype=s.dtype) for i, s in enumerate(self.slots)]
        return [*made, rv.Variable(np.array([self.seed, 5]), name="stream", trainable=False)]

    # -- the function ---------------------------------------------------------------------------------------------

    def function(self, variables: list[rv.Variable]) -> Callable[..., Any]:
        """The program as a function of its arguments that reads and assigns these variables."""

        def f(*arguments: Any) -> list[Any]:
            run = Run(self, variables)
            for x in arguments:
                t = rv.ops.table.as_tensor(x)
                run.keep(Item(t, 16.0 if t.dtype.is_float else math.inf, 0.0))
            for _ in range(self.length):
                run.step()
            chosen = run.results()
            self.errors = [x.error for x in chosen] + [s.error for s in self.slots] + [0.0]
            return [x.t for x in chosen]

        return f

    def loss(self, results: list[Any]) -> Any:
        """A bounded number that depends on every floating result."""
        total = rv.tensor(0.0, "float64")
        for t in results:
            if t.dtype.is_float and t.size:
                total = total + rv.mean(rv.tanh(t.astype("float64") * 0.1))
        return total


def broadcasts(x: Item, y: Item) -> bool:
    """Whether two values broadcast to something that is not too large."""
    try:
        return math.prod(np.broadcast_shapes(x.t.shape, y.t.shape)) <= 2 * LIMIT
    except ValueError:
        return False


class Run:
    """One tracing of a program: its values so far."""

    def __init__(self, program: Program, variables: list[rv.Variable]):
        self.program, self.variables = program, variables
        self.rng = np.random.default_rng([program.seed, 77])
        self.items: list[Item] = []
        self.used: set[int] = set()
        for slot, v in zip(program.slots, variables, strict=False):
            self.keep(Item(v.value, slot.scale, slot.error))

    def keep(self, x: Item) -> None:
        self.items.append(x)

    def step(self) -> None:
        """One random action; what cannot be done with the values at hand is left out."""
        from .actions import ACTIONS  # the table of actions reads this module

        names = list(ACTIONS)
        weights = np.array([ACTIONS[n][0] for n in names], float)
        action = ACTIONS[names[int(self.rng.choice(len(names), p=weights / weights.sum()))]][1]
        try:
            made = action(self)
        except RanvierError:
            return
        if made is not None and made.t.size <= max(LIMIT, 70_001):
            self.keep(made)

    # -- choosing values ------------------------------------------------------------------------------------------

    def pick(self, accept: Callable[[Item], bool] = lambda x: True) -> Item | None:
        """A random value, the later ones more often."""
        fitting = [x for x in self.items if accept(x)]
        if not fitting:
            return None
        weights = np.arange(1, len(fitting) + 1, dtype=float)
        found = fitting[int(self.rng.choice(len(fitting), p=weights / weights.sum()))]
        self.used.add(id(found))
        return found

    def number(self, exact: bool = False) -> Item | None:
        """A floating value."""
        return self.pick(lambda x: x.kind == "float" and (x.exact or not exact))

    def partner(self, x: Item, exact: bool = False) -> Item:
        """A value that broadcasts with ``x``, in its dtype; else ``x`` itself."""

        def accept(y: Item) -> bool:
            same = y.t.dtype is x.t.dtype or (y.kind == x.kind == "float")
            return same and (y.exact or not exact) and broadcasts(x, y)

        found = self.pick(accept)
        if found is None:
            return x
        return found if found.t.dtype is x.t.dtype else self.cast(found, x.name)

    def cast(self, x: Item, dtype: str) -> Item:
        """``x`` in another floating dtype."""
        error = x.error + (EPSILON[dtype] * x.scale if x.error else 0.0)
        return Item(x.t.astype(dtype), x.scale, error)

    def axis(self, x: Item) -> int:
        """A random axis, counted from either end."""
        a = int(self.rng.integers(x.t.ndim))
        return a if self.rng.random() < 0.5 else a - x.t.ndim

    def coin(self, p: float = 0.5) -> bool:
        return bool(self.rng.random() < p)

    def tame(self, x: Item, bound: float = 3.0) -> Item:
        """``x`` limited to a moderate size, so that functions of it have moderate errors."""
        if x.scale <= bound:
            return x
        if x.exact or not self.program.smooth:
            return Item(rv.clip(x.t, -bound, bound), bound, x.error)
        return self.approximate(rv.tanh(x.t * (1 / bound)) * bound, bound, x.error, x)

    def approximate(self, t: Any, scale: float, error: float, like: Item, ulps: float = 4.0) -> Item:
        """A result whose own rounding adds ``ulps`` units of its scale to the error it inherits."""
        return Item(t, scale, 1.01 * error + ulps * EPSILON[t.dtype.name] * scale + 1e-38)

    def results(self) -> list[Item]:
        """Up to six values that nothing reads (the last ones), and one of all."""
        ends = [x for x in self.items if id(x) not in self.used]
        return ends[-6:] + [self.items[int(self.rng.integers(len(self.items)))]]
