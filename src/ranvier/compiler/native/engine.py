"""From IR text to callable code: optimise, emit, load, and remember.

:class:`KernelStore` is the way in: given kernel specs it returns addresses, taking each kernel from memory, from the
disk cache, or from LLVM, in that order. Its counters say which, so that a test can assert that nothing was compiled.

Kernels come out of the builder already vectorised and unrolled as they should be, so LLVM's part is small: variables
into registers, and loops tested at the end. Code generation itself then reduces strengths, hoists and removes common
subexpressions. Measured on a matrix product with epilogue, Adam, softmax and a chain of tanh, sigmoid and erf (50 to
280 instructions): LLVM's level-1 and level-2 pipelines give code of the same speed within 1 % and take twice as long
altogether (12 ms and 13 ms against 6 ms for the product; combining instructions alone costs 0.6 to 1 ms for nothing).
Instruction selection and register allocation are 80 % of what remains.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import struct
import tempfile
import threading
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import llvmlite.binding as llvm

from ranvier.compiler.native.cache import ObjectCache, digest
from ranvier.compiler.native.target import Isa, fingerprint, host, target_machine
from ranvier.errors import InternalError

__all__ = ["KernelStore", "Spec", "compile_ir", "load_object", "load_objects", "optimised", "symbol"]

_PASSES = ("sroa", "simplify_cfg", "loop_rotate")


class Spec(Protocol):
    """What a kernel description must offer to be compiled."""

    def key(self) -> str:
        """Canonical text: specs with the same key have the same code."""

    def ir(self, name: str, isa: Isa) -> str:
        """The LLVM module that defines the kernel as ``name``."""


def symbol(key: str) -> str:
    """The symbol name of the kernel with this key. Short: LLVM slows down on long names."""
    return "k_" + hashlib.sha256(key.encode()).hexdigest()[:16]


# -- IR to object code ------------------------------------------------------------------------------------------------


def _internal_error(what: str, ir: str) -> InternalError:
    handle, path = tempfile.mkstemp(".ll", "ranvier-")
    with os.fdopen(handle, "w") as file:
        file.write(ir)
    return InternalError(f"compiler: {what}\nThe module is in {path}; please report it with this file.")


def optimised(ir: str, machine: Any) -> Any:
    """Parse, verify and optimise; LLVM aborts the process on a bad module, so nothing unverified gets further."""
    try:
        module = llvm.parse_assembly(ir)
        module.triple, module.data_layout = machine.triple, str(machine.target_data)
        module.verify()
    except RuntimeError as error:
        raise _internal_error(f"LLVM refused generated code: {error}", ir) from error
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    passes = llvm.create_new_function_pass_manager()
    for name in _PASSES:
        getattr(passes, f"add_{name}_pass")()
    for function in module.functions:
        if not function.is_declaration:
            passes.run(function, builder)
    return module


@functools.cache
def _machine(isa: Isa) -> Any:
    host()  # initialises LLVM
    return target_machine(isa)


def compile_ir(ir: str, isa: Isa) -> bytes:
    """Object code of an IR module for this machine.

    Raises:
        InternalError: LLVM rejects the module, or the code calls a function that the process does not have.
    """
    machine = _machine(isa)
    data = machine.emit_object(optimised(ir, machine))
    missing = [name for name in undefined_symbols(data) if not _resolvable(name)]
    if missing:  # loading such code would end the process
        raise _internal_error(f"generated code calls {', '.join(missing)}, which this process does not have", ir)
    return data


def _resolvable(name: str) -> bool:
    return os.name != "posix" or hasattr(ctypes.CDLL(None), name)


def undefined_symbols(data: bytes) -> list[str]:
    """The functions an ELF object expects from outside. (Other formats: none are reported.)"""
    if data[:6] != b"\x7fELF\x02\x01":  # 64 bits, little-endian
        return []
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    # section header: name, type, flags, address, offset, size, link, info, alignment, entry size
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, table + i * size) for i in range(count)]
    names = []
    for section in sections:
        if section[1] != 2:  # SHT_SYMTAB; its link is the section of the names
            continue
        strings = sections[section[6]][4]
        for at in range(section[4] + 24, section[4] + section[5], 24):  # symbol 0 is a dummy
            name, info, _, index = struct.unpack_from("<IBBH", data, at)
            if index == 0 and name and info >> 4 != 2:  # undefined and not weak
                start = strings + name
                names.append(data[start : data.index(b"\0", start)].decode())
    return names


# -- object code to addresses -----------------------------------------------------------------------------------------

_ENGINES: list[Any] = []  # code lives as long as the process: programs hold bare addresses


def load_objects(objects: Iterable[bytes], names: Iterable[str]) -> dict[str, int]:
    """Make object code executable and return the addresses of ``names``.

    All objects go into one engine: an engine costs about 0.8 ms, an object in it less than 0.1 ms.

    Raises:
        InternalError: an object does not define a name asked for.
    """
    objects, names = list(objects), list(names)
    for name in names:  # asking MCJIT for a name that does not exist would end the process
        if not any(b"\0" + name.encode() + b"\0" in data or b"_" + name.encode() in data for data in objects):
            raise InternalError(f"compiler: object code does not define {name}")
    triple = host().triple
    machine = llvm.Target.from_triple(triple).create_target_machine(reloc="pic", codemodel="small", jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    _ENGINES.append(engine)
    for data in objects:
        engine.add_object_file(llvm.ObjectFileRef.from_data(data))
    engine.finalize_object()
    return {name: engine.get_function_address(name) for name in names}


def load_object(data: bytes, names: Iterable[str]) -> dict[str, int]:
    """Addresses of the functions ``names`` of one object; see :func:`load_objects`."""
    return load_objects([data], names)


# -- the store --------------------------------------------------------------------------------------------------------


@functools.cache
def codegen_version() -> str:
    """A digest of this package's source: cached code must not outlive the code generator that made it."""
    folder = os.path.dirname(os.path.abspath(__file__))
    total = hashlib.sha256()
    for name in sorted(os.listdir(folder)):
        if name.endswith(".py"):
            with open(os.path.join(folder, name), "rb") as file:
                total.update(name.encode() + b"\0" + file.read())
    return total.hexdigest()


class KernelStore:
    """Addresses of compiled kernels, by spec.

    Args:
        isa: the instruction set to compile for.
        cache: object code on disk; None keeps nothing between processes.

    Attributes:
        compiled, disk_hits, memory_hits: how many kernels came from LLVM, from disk, and from this store itself.
    """

    def __init__(self, isa: Isa, cache: ObjectCache | None = None):
        self.isa, self.cache = isa, cache
        self.compiled = self.disk_hits = self.memory_hits = 0
        self._addresses: dict[str, int] = {}
        self._lock = threading.RLock()

    def get(self, specs: Sequence[Spec]) -> list[int]:
        """The address of each spec's kernel, compiling those that are nowhere to be found."""
        keys = [f"{self.isa.name}:{spec.key()}" for spec in specs]
        with self._lock:
            fresh: dict[str, bytes] = {}
            for key, spec in zip(keys, specs, strict=True):
                if key in self._addresses or key in fresh:
                    self.memory_hits += 1
                else:
                    fresh[key] = self._object(key, spec)
            if fresh:
                names = {key: symbol(key) for key in fresh}
                loaded = load_objects(fresh.values(), names.values())
                self._addresses.update({key: loaded[name] for key, name in names.items()})
            return [self._addresses[key] for key in keys]

    def _object(self, key: str, spec: Spec) -> bytes:
        entry = ""
        if self.cache is not None:
            entry = digest(key, codegen_version(), fingerprint(self.isa))
            data = self.cache.load(entry)
            if data is not None and symbol(key).encode() in data:  # not another kernel's file under this name
                self.disk_hits += 1
                return data
        data = compile_ir(spec.ir(symbol(key), self.isa), self.isa)
        self.compiled += 1
        if self.cache is not None:
            self.cache.save(entry, data)
        return data
