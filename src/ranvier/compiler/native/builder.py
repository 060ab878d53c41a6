"""The kernel language: Python that reads like the loop nest it makes.

A kernel is written with a :class:`Function`. Its values carry Python operators, loops are ``with`` blocks,
and accumulators are :class:`Var` objects that LLVM turns into registers:

    f = Function("axpy", [("x", "ptr"), ("y", "ptr"), ("n", "i64")])
    with f.loop(0, f["n"], step=16) as i:
        x = f.load(f["x"], i, vector("float", 16))
        y = f.load(f["y"], i, vector("float", 16))
        f.store(f.fma(x, 2.0, y), f["y"], i)
    text = f.module()

The output is LLVM IR text. Only this file writes IR syntax for arithmetic, memory and control flow. Types are the
IR's own names (``"float"``, ``"i64"``, ``"<16 x float>"``). No fast-math flag is ever written: floating-point
arithmetic is rounded operation by operation, fused only where :meth:`Function.fma` is asked for.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Sequence

__all__ = ["Function", "Value", "Var", "element", "float_literal", "lanes", "vector"]

Number = bool | int | float

BITS = {"i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "bfloat": 16, "float": 32, "double": 64, "ptr": 64}
BYTES = {"i1": 1, "i8": 1, "i16": 2, "i32": 4, "i64": 8, "bfloat": 2, "float": 4, "double": 8, "ptr": 8}


def vector(kind: str, count: int) -> str:
    """The type of ``count`` lanes of ``kind``; the scalar type itself when ``count`` is 1."""
    return kind if count == 1 else f"<{count} x {kind}>"


def lanes(kind: str) -> int:
    """How many lanes a type has (1 for a scalar)."""
    return int(kind[1 : kind.index(" ")]) if kind[0] == "<" else 1


def element(kind: str) -> str:
    """The scalar type of a vector type, or the scalar type itself."""
    return kind[kind.index("x") + 2 : -1] if kind[0] == "<" else kind


def is_float(kind: str) -> bool:
    return element(kind) in ("float", "double", "bfloat")


def float_literal(value: float, kind: str) -> str:
    """An exact IR literal. IR writes float constants as the bits of the equal double, bfloat with an ``R`` prefix."""
    if kind == "bfloat":
        (bits,) = struct.unpack(">I", struct.pack(">f", value))
        if value == value:  # to nearest, ties to even; a NaN keeps its upper bits, which say that it is quiet
            bits += 0x7FFF + (bits >> 16 & 1)
        return f"0xR{bits >> 16:04X}"
    if kind == "float":
        (value,) = struct.unpack(">f", struct.pack(">f", value))  # round to float32 first, ties to even
    return f"0x{struct.pack('>d', value).hex().upper()}"


class Value:
    """One SSA value: a name, a type, and the function that computes it."""

    __slots__ = ("function", "kind", "name")

    def __init__(self, function: Function, name: str, kind: str):
        self.function, self.name, self.kind = function, name, kind

    def __add__(self, other):
        return self.function.binary("add", self, other)

    def __radd__(self, other):
        return self.function.binary("add", other, self)

    def __sub__(self, other):
        return self.function.binary("sub", self, other)

    def __rsub__(self, other):
        return self.function.binary("sub", other, self)

    def __mul__(self, other):
        return self.function.binary("mul", self, other)

    def __rmul__(self, other):
        return self.function.binary("mul", other, self)

    def __truediv__(self, other):
        return self.function.binary("div", self, other)

    def __rtruediv__(self, other):
        return self.function.binary("div", other, self)

    def __floordiv__(self, other):  # of non-negative integers: indices and sizes
        return self.function.binary("udiv", self, other)

    def __mod__(self, other):  # of non-negative integers: indices and sizes
        return self.function.binary("urem", self, other)

    def __and__(self, other):
        return self.function.binary("and", self, other)

    def __or__(self, other):
        return self.function.binary("or", self, other)

    def __xor__(self, other):
        return self.function.binary("xor", self, other)

    def __lshift__(self, other):
        return self.function.binary("shl", self, other)

    def __rshift__(self, other):  # logical: the vacated bits are zero
        return self.function.binary("lshr", self, other)

    def __neg__(self):
        return self.function.neg(self)

    def __lt__(self, other):
        return self.function.compare("lt", self, other)

    def __le__(self, other):
        return self.function.compare("le", self, other)

    def __gt__(self, other):
        return self.function.compare("gt", self, other)

    def __ge__(self, other):
        return self.function.compare("ge", self, other)

    def eq(self, other: Value | Number) -> Value:
        """Equality as a value (``==`` keeps its Python meaning of identity)."""
        return self.function.compare("eq", self, other)

    def __repr__(self):
        return f"{self.kind} {self.name}"


class Var:
    """A mutable local: read with :meth:`get`, written with :meth:`set`. LLVM's SROA keeps it in a register."""

    __slots__ = ("function", "kind", "slot")

    def __init__(self, function: Function, kind: str, slot: str):
        self.function, self.kind, self.slot = function, kind, slot

    def get(self) -> Value:
        return self.function.emit(f"load {self.kind}, ptr {self.slot}", self.kind)

    def set(self, value: Value | Number) -> None:
        value = self.function.as_value(value, self.kind)
        self.function.line(f"store {self.kind} {value.name}, ptr {self.slot}")


# op -> (integer instruction, float instruction)
_BINARY = {
    "add": ("add", "fadd"), "sub": ("sub", "fsub"), "mul": ("mul", "fmul"), "div": ("sdiv", "fdiv"),
    "rem": ("srem", "frem"), "udiv": ("udiv", None), "urem": ("urem", None), "and": ("and", None), "or": ("or", None),
    "xor": ("xor", None), "shl": ("shl", None), "lshr": ("lshr", None), "ashr": ("ashr", None),
}  # fmt: skip
# op -> (signed integer predicate, float predicate). Float predicates are ordered: false when either side is NaN,
# except "ne", which is true then, as in IEEE 754 and NumPy, and "ugt".
_COMPARE = {
    "lt": ("slt", "olt"), "le": ("sle", "ole"), "gt": ("sgt", "ogt"), "ge": ("sge", "oge"),
    "eq": ("eq", "oeq"), "ne": ("ne", "une"), "ult": ("ult", None), "ule": ("ule", None), "ugt": ("ugt", "ugt"),
    "uge": ("uge", None), "uno": (None, "uno"), "ord": (None, "ord"),
}  # fmt: skip


class Function:
    """One native function under construction.

    Args:
        name: the symbol's name.
        arguments: ``(name, type)`` pairs; read them back with ``f["name"]``.
        returns: the return type.
        attributes: IR attributes of pointer arguments, by name (for example ``{"x": "noalias readonly"}``).
        target_width: the vector width in bits that LLVM must treat as legal (512 keeps AVX-512 registers in use).
        linkage: the symbol's linkage (``internal`` for helpers).
        noinline: keep this function out of its callers, so that its registers are allocated apart from theirs.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[tuple[str, str]],
        returns: str = "void",
        attributes: dict[str, str] | None = None,
        target_width: int = 512,
        linkage: str = "",
        noinline: bool = False,
    ):
        self.name, self.returns, self.linkage, self.noinline = name, returns, linkage, noinline
        self._attributes = attributes or {}
        self._arguments = list(arguments)
        self._values = {n: Value(self, f"%{n}", kind) for n, kind in arguments}
        self._entry: list[str] = []  # allocas: LLVM promotes only those in the entry block
        self._lines: list[str] = []
        self._count = 0
        self._block = "entry.body"
        self.declarations: set[str] = set()
        self.helpers: dict[str, str] = {}  # other functions this one calls: name -> definition text
        self._width = target_width

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    # -- plumbing -----------------------------------------------------------------------------------------------

    def fresh(self, stem: str = "v") -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def line(self, text: str) -> None:
        self._lines.append("  " + text)

    def emit(self, text: str, kind: str) -> Value:
        name = "%" + self.fresh()
        self._lines.append(f"  {name} = {text}")
        return Value(self, name, kind)

    def label(self, name: str) -> None:
        self._lines.append(f"{name}:")
        self._block = name

    def branch(self, target: str) -> None:
        self.line(f"br label %{target}")

    def const(self, value: Number, kind: str) -> Value:
        """A constant; a vector type gets the value in every lane."""
        scalar = element(kind)
        if scalar == "ptr":
            text = "null"
        elif scalar in ("float", "double", "bfloat"):
            text = float_literal(float(value), scalar)
        else:
            text = ("true" if value else "false") if scalar == "i1" else str(int(value))
        return Value(self, text if scalar == kind else f"splat ({scalar} {text})", kind)

    def vector_const(self, values: Sequence[Number], scalar: str) -> Value:
        """A constant vector with one value for each lane."""
        items = ", ".join(f"{scalar} {self.const(v, scalar).name}" for v in values)
        return Value(self, f"<{items}>", vector(scalar, len(values)))

    def as_value(self, value: Value | Number, kind: str) -> Value:
        """``value`` as a value of ``kind``: numbers become constants, scalars fill every lane of a vector type."""
        if not isinstance(value, Value):
            return self.const(value, kind)
        if value.kind == kind:
            return value
        if value.kind == element(kind):
            return self.splat(value, lanes(kind))
        raise TypeError(f"{self.name}: {value!r} cannot stand for a value of type {kind}")

    def _pair(self, a: Value | Number, b: Value | Number) -> tuple[Value, Value]:
        kinds = [v.kind for v in (a, b) if isinstance(v, Value)]
        kind = max(kinds, key=lanes)
        return self.as_value(a, kind), self.as_value(b, kind)

    # -- arithmetic ---------------------------------------------------------------------------------------------

    def binary(self, op: str, a: Value | Number, b: Value | Number) -> Value:
        a, b = self._pair(a, b)
        instruction = _BINARY[op][is_float(a.kind)]
        if instruction is None:
            raise TypeError(f"{self.name}: {op!r} is not defined for {a.kind}")
        return self.emit(f"{instruction} {a.kind} {a.name}, {b.name}", a.kind)

    def neg(self, a: Value) -> Value:
        return self.emit(f"fneg {a.kind} {a.name}", a.kind) if is_float(a.kind) else self.binary("sub", 0, a)

    def compare(self, op: str, a: Value | Number, b: Value | Number) -> Value:
        a, b = self._pair(a, b)
        float_ = is_float(a.kind)
        predicate = _COMPARE[op][float_]
        kind = vector("i1", lanes(a.kind))
        return self.emit(f"{'fcmp' if float_ else 'icmp'} {predicate} {a.kind} {a.name}, {b.name}", kind)

    def select(self, condition: Value, a: Value | Number, b: Value | Number) -> Value:
        a, b = self._pair(a, b)
        if lanes(condition.kind) > lanes(a.kind):
            kind = vector(a.kind, lanes(condition.kind))
            a, b = self.as_value(a, kind), self.as_value(b, kind)
        return self.emit(f"select {condition.kind} {condition.name}, {a.kind} {a.name}, {b.kind} {b.name}", a.kind)

    def call(self, name: str, arguments: Sequence[Value], returns: str, declare: bool = True) -> Value:
        """Call ``name``. A type of ``"void"`` gives a value that must not be used."""
        kinds = ", ".join(v.kind for v in arguments)
        text = f"call {returns} @{name}({', '.join(f'{v.kind} {v.name}' for v in arguments)})"
        if declare:
            self.declarations.add(f"declare {returns} @{name}({kinds})")
        if returns == "void":
            self.line(text)
            return Value(self, "", "void")
        return self.emit(text, returns)

    def intrinsic(self, name: str, *arguments: Value) -> Value:
        """An LLVM intrinsic overloaded on the type of its first argument, e.g. ``intrinsic("sqrt", x)``."""
        kind = arguments[0].kind
        short = {"float": "f32", "double": "f64", "bfloat": "bf16"}.get(element(kind), element(kind))
        suffix = f"v{lanes(kind)}{short}" if kind[0] == "<" else short
        return self.call(f"llvm.{name}.{suffix}", arguments, kind)

    def fma(self, a: Value | Number, b: Value | Number, c: Value | Number) -> Value:
        """``a * b + c`` with one rounding."""
        kind = max((v.kind for v in (a, b, c) if isinstance(v, Value)), key=lanes)
        return self.intrinsic("fma", *(self.as_value(v, kind) for v in (a, b, c)))

    def sqrt(self, a: Value) -> Value:
        return self.intrinsic("sqrt", a)

    def fabs(self, a: Value) -> Value:
        return self.intrinsic("fabs", a)

    def cast(self, instruction: str, a: Value, scalar: str) -> Value:
        """A conversion instruction (``sext``, ``sitofp``, ``fptosi``, ``bitcast``, ...) to lanes of ``scalar``."""
        kind = vector(scalar, lanes(a.kind))
        return a if kind == a.kind else self.emit(f"{instruction} {a.kind} {a.name} to {kind}", kind)

    # -- vectors ------------------------------------------------------------------------------------------------

    def splat(self, a: Value, count: int) -> Value:
        if count == 1:
            return a
        kind = vector(a.kind, count)
        one = self.emit(f"insertelement {kind} poison, {a.kind} {a.name}, i64 0", kind)
        return self.emit(f"shufflevector {kind} {one.name}, {kind} poison, <{count} x i32> zeroinitializer", kind)

    def extract(self, a: Value, lane: Value | int) -> Value:
        lane = self.as_value(lane, "i64")
        return self.emit(f"extractelement {a.kind} {a.name}, i64 {lane.name}", element(a.kind))

    def insert(self, a: Value, value: Value, lane: Value | int) -> Value:
        lane = self.as_value(lane, "i64")
        return self.emit(f"insertelement {a.kind} {a.name}, {value.kind} {value.name}, i64 {lane.name}", a.kind)

    def shuffle(self, a: Value, b: Value, pattern: Sequence[int]) -> Value:
        """Lanes picked from ``a`` (0 ...) and ``b`` (lanes(a) ...)."""
        mask = ", ".join(f"i32 {i}" for i in pattern)
        kind = vector(element(a.kind), len(pattern))
        return self.emit(f"shufflevector {a.kind} {a.name}, {b.kind} {b.name}, <{len(pattern)} x i32> <{mask}>", kind)

    def lane_numbers(self, count: int, scalar: str = "i64") -> Value:
        """The constant vector 0, 1, ..., count - 1."""
        return self.const(0, scalar) if count == 1 else self.vector_const(range(count), scalar)

    def first_lanes(self, n: Value | int, count: int) -> Value:
        """A mask whose first ``n`` lanes of ``count`` are set (none if ``n`` is negative)."""
        if isinstance(n, int):
            return self.vector_const([i < n for i in range(count)], "i1")
        if n.kind == "i64":  # compared in lanes of 32 bits: half the registers of 64
            n = self.cast("trunc", self.select(n < count, n, count), "i32")
        return self.compare("lt", self.lane_numbers(count, n.kind), n)

    def any_lane(self, mask: Value) -> Value:
        """Whether a mask (or a single ``i1``) has a lane set, as an ``i1``."""
        count = lanes(mask.kind)
        if count == 1:
            return mask
        return self.compare("ne", self.emit(f"bitcast {mask.kind} {mask.name} to i{count}", f"i{count}"), 0)

    def fold(self, a: Value, combine) -> Value:
        """Combine all lanes pairwise in halves (a fixed tree): ``combine(x, y)`` must be associative in meaning."""
        count = lanes(a.kind)
        while count > 1:
            half = count // 2
            low = self.shuffle(a, a, range(half)) if half > 1 else self.extract(a, 0)
            high = self.shuffle(a, a, range(half, count)) if half > 1 else self.extract(a, 1)
            a, count = combine(low, high), half
        return a

    # -- memory -------------------------------------------------------------------------------------------------

    def at(self, base: Value, index: Value | int, scalar: str) -> Value:
        """The address of element ``index`` of an array of ``scalar`` at ``base``."""
        if isinstance(index, int) and index == 0:
            return base
        index = self.as_value(index, "i64")
        return self.emit(f"getelementptr inbounds {scalar}, ptr {base.name}, i64 {index.name}", "ptr")

    def load(
        self, base: Value, index: Value | int, kind: str, mask: Value | None = None, align: int | None = None
    ) -> Value:
        """Load ``kind`` from element ``index`` (counted in scalars). Lanes outside ``mask`` are zero and not read.

        Booleans are stored as bytes, so ``i1`` is loaded as ``i8``; any byte but 0 is true.
        """
        scalar = element(kind)
        if scalar == "i1":
            return self.compare("ne", self.load(base, index, vector("i8", lanes(kind)), mask), 0)
        if scalar == "bfloat" and mask is not None:  # as bits: not every target can move masked bfloat lanes
            return self.cast("bitcast", self.load(base, index, vector("i16", lanes(kind)), mask, align), "bfloat")
        address = self.at(base, index, scalar)
        align = align or BYTES[scalar]
        if mask is None:
            return self.emit(f"load {kind}, ptr {address.name}, align {align}", kind)
        name = f"llvm.masked.load.v{lanes(kind)}{_short(scalar)}.p0"
        self.declarations.add(f"declare {kind} @{name}(ptr, {mask.kind}, {kind})")
        return self.emit(
            f"call {kind} @{name}(ptr align {align} {address.name}, {mask.kind} {mask.name}, {kind} zeroinitializer)",
            kind,
        )

    def store(
        self, value: Value, base: Value, index: Value | int, mask: Value | None = None, align: int | None = None
    ) -> None:
        """Store at element ``index`` (counted in scalars); lanes outside ``mask`` stay as they are."""
        scalar = element(value.kind)
        if scalar == "i1":
            return self.store(self.cast("zext", value, "i8"), base, index, mask)
        if scalar == "bfloat" and mask is not None:
            return self.store(self.cast("bitcast", value, "i16"), base, index, mask, align)
        if mask is not None and mask.name[0] == "<" and mask.name.count("true") == 1:
            # As a scalar: LLVM 22 writes too many bytes when it narrows the value of a one-lane masked store.
            lane = mask.name.strip("<>").split(", ").index("i1 true")
            place = index if lane == 0 else self.as_value(index, "i64") + lane
            return self.store(self.extract(value, lane), base, place, None, BYTES[scalar])
        address = self.at(base, index, scalar)
        align = align or BYTES[scalar]
        if mask is None:
            self.line(f"store {value.kind} {value.name}, ptr {address.name}, align {align}")
            return None
        name = f"llvm.masked.store.v{lanes(value.kind)}{_short(scalar)}.p0"
        self.declarations.add(f"declare void @{name}({value.kind}, ptr, {mask.kind})")
        self.line(
            f"call void @{name}({value.kind} {value.name}, ptr align {align} {address.name}, {mask.kind} {mask.name})"
        )
        return None

    def gather(self, base: Value, offsets: Value, scalar: str, mask: Value | None = None) -> Value:
        """Load one element for each lane: ``base[offsets]``. Lanes outside ``mask`` are zero and not read."""
        if scalar == "i1":
            return self.compare("ne", self.gather(base, offsets, "i8", mask), 0)
        if scalar == "bfloat":  # as bits: not every target can move masked bfloat lanes
            return self.cast("bitcast", self.gather(base, offsets, "i16", mask), "bfloat")
        count = lanes(offsets.kind)
        kind, mask = vector(scalar, count), mask or self.const(True, vector("i1", count))
        places = self._places(base, offsets, scalar)
        name = f"llvm.masked.gather.v{count}{_short(scalar)}.v{count}p0"
        self.declarations.add(f"declare {kind} @{name}(<{count} x ptr>, {mask.kind}, {kind})")
        where = f"<{count} x ptr> align {BYTES[scalar]} {places}, {mask.kind} {mask.name}"
        return self.emit(f"call {kind} @{name}({where}, {kind} zeroinitializer)", kind)

    def scatter(self, value: Value, base: Value, offsets: Value, mask: Value | None = None) -> None:
        """Store one element for each lane, in the order of the lanes: ``base[offsets] = value``."""
        scalar, count = element(value.kind), lanes(value.kind)
        if scalar == "i1":
            return self.scatter(self.cast("zext", value, "i8"), base, offsets, mask)
        if scalar == "bfloat":
            return self.scatter(self.cast("bitcast", value, "i16"), base, offsets, mask)
        mask = mask or self.const(True, vector("i1", count))
        places = self._places(base, offsets, scalar)
        name = f"llvm.masked.scatter.v{count}{_short(scalar)}.v{count}p0"
        self.declarations.add(f"declare void @{name}({value.kind}, <{count} x ptr>, {mask.kind})")
        where = f"<{count} x ptr> align {BYTES[scalar]} {places}, {mask.kind} {mask.name}"
        self.line(f"call void @{name}({value.kind} {value.name}, {where})")
        return None

    def _places(self, base: Value, offsets: Value, scalar: str) -> str:
        kind = vector("ptr", lanes(offsets.kind))
        return self.emit(f"getelementptr {scalar}, ptr {base.name}, {offsets.kind} {offsets.name}", kind).name

    def var(self, initial: Value | Number, kind: str | None = None) -> Var:
        """A mutable local that starts as ``initial``."""
        kind = kind or initial.kind  # type: ignore[union-attr]
        slot = "%" + self.fresh("slot")
        self._entry.append(f"  {slot} = alloca {kind}")
        var = Var(self, kind, slot)
        var.set(initial)
        return var

    def scratch(self, scalar: str, count: int, align: int = 64) -> Value:
        """A small array on the stack."""
        slot = "%" + self.fresh("scratch")
        self._entry.append(f"  {slot} = alloca [{count} x {scalar}], align {align}")
        return Value(self, slot, "ptr")

    # -- control ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def loop(self, start: Value | int, stop: Value | int, step: int = 1) -> Iterator[Value]:
        """``for i in range(start, stop, step)`` over i64, with ``step > 0``. A single known turn becomes no loop."""
        if isinstance(start, int) and isinstance(stop, int) and start < stop <= start + step:
            yield self.const(start, "i64")
            return
        start, stop = self.as_value(start, "i64"), self.as_value(stop, "i64")
        tag = self.fresh("loop")
        head, body, latch, done = (f"{tag}.{part}" for part in ("head", "body", "latch", "done"))
        before = self._block
        self.branch(head)
        self.label(head)
        index = Value(self, f"%{tag}.i", "i64")
        self.line(f"{index.name} = phi i64 [ {start.name}, %{before} ], [ %{tag}.next, %{latch} ]")
        more = self.compare("lt", index, stop)
        self.line(f"br i1 {more.name}, label %{body}, label %{done}")
        self.label(body)
        yield index
        self.branch(latch)
        self.label(latch)
        self.line(f"%{tag}.next = add nuw nsw i64 {index.name}, {step}")
        self.branch(head)
        self.label(done)

    @contextlib.contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Run the block only if ``condition`` (an ``i1``) holds."""
        tag = self.fresh("when")
        self.line(f"br i1 {condition.name}, label %{tag}.then, label %{tag}.done")
        self.label(f"{tag}.then")
        yield
        self.branch(f"{tag}.done")
        self.label(f"{tag}.done")

    @contextlib.contextmanager
    def forever(self) -> Iterator[str]:
        """An endless loop; leave it with ``f.leave(label, condition)``, where ``label`` is what the block yields."""
        tag = self.fresh("forever")
        self.branch(f"{tag}.body")
        self.label(f"{tag}.body")
        yield f"{tag}.done"
        self.branch(f"{tag}.body")
        self.label(f"{tag}.done")

    def leave(self, label: str, condition: Value) -> None:
        onward = self.fresh("onward")
        self.line(f"br i1 {condition.name}, label %{label}, label %{onward}")
        self.label(onward)

    def ret(self, value: Value | None = None) -> None:
        self.line("ret void" if value is None else f"ret {value.kind} {value.name}")

    # -- text ---------------------------------------------------------------------------------------------------

    def definition(self) -> str:
        """This function alone, as IR text. The last block must be open for a ``void`` function; it then returns."""
        if self.returns == "void":
            self.ret()
        arguments = ", ".join(
            f"{kind} {self._attributes.get(name, '')} %{name}".replace("  ", " ") for name, kind in self._arguments
        )
        body = ["entry:", *self._entry, "  br label %entry.body", "entry.body:", *self._lines]
        attributes = "noinline " if self.noinline else ""
        attributes += (
            f'nounwind "prefer-vector-width"="{self._width}" "min-legal-vector-width"="{self._width}" '
            '"no-trapping-math"="true"'
        )
        head = f"define {self.linkage} {self.returns} @{self.name}({arguments}) {attributes} {{".replace("  ", " ")
        return "\n".join([head, *body, "}"])

    def module(self) -> str:
        """The whole module: declarations, helper functions, this function."""
        own = self.definition()
        return "\n".join([*sorted(self.declarations), *self.helpers.values(), own, ""])


def _short(scalar: str) -> str:
    return {"float": "f32", "double": "f64", "bfloat": "bf16"}.get(scalar, scalar)
