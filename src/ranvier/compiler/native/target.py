"""Which machine the code is for: vector width, CPU features, and LLVM's target machine.

:class:`Isa` is what code generation needs to know (a name and a vector width). :func:`host_isa` chooses it for this
machine; a narrower one may be asked for, so that AVX2 code can be tested on an AVX-512 machine. llvmlite loads with
the package (some 30 ms), so that the first compiled step need not wait for it.
"""

from __future__ import annotations

import functools
import platform
import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

import llvmlite
import llvmlite.binding as llvm

from ranvier.errors import ArgumentError

__all__ = [
    "Host", "Isa", "assembly", "fingerprint", "host", "host_isa", "llvm_version", "multiplies_pairs", "target_machine",
]  # fmt: skip

_BITS = {"bool": 8, "int8": 8, "uint8": 8, "int16": 16, "bfloat16": 16, "float16": 16, "int32": 32, "uint32": 32,
         "float32": 32, "int64": 64, "float64": 64}  # fmt: skip


@dataclass(frozen=True)
class Isa:
    """A vector instruction set: its name and the width of one register in bits."""

    name: str
    bits: int

    def lanes(self, dtype: str) -> int:
        """How many elements of ``dtype`` one register holds."""
        return self.bits // _BITS[dtype]


ISAS = {isa.name: isa for isa in (Isa("avx512", 512), Isa("avx2", 256), Isa("neon", 128), Isa("generic", 128))}
# What a CPU must have for code made for an ISA to run on it. FMA is part of "avx2" here: every such CPU has it.
_REQUIRED = {"avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"}, "avx2": {"avx2", "fma"}}
# For looking at code meant for other machines (nothing is run there): (cpu, features) by ISA.
_FOREIGN = {"avx512": ("x86-64-v4", ""), "avx2": ("x86-64-v3", ""), "neon": ("generic", "+neon"), "generic": ("", "")}


class Host(NamedTuple):
    """This machine as LLVM sees it. ``features`` are its feature names in order, with the ``+`` or ``-`` sign."""

    triple: str
    cpu: str
    features: tuple[str, ...]

    def has(self, isa: Isa) -> bool:
        if isa.name == "neon":
            return self.triple.split("-")[0] in ("aarch64", "arm64")
        return isa.name == "generic" or all(f"+{name}" in self.features for name in _REQUIRED[isa.name])


@functools.cache
def host() -> Host:
    """This machine. The feature list counts, not the CPU's name: a hypervisor may hide what the name promises."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    # MCJIT on Windows loads ELF objects only.
    triple = llvm.get_process_triple() + ("-elf" if sys.platform == "win32" else "")
    return Host(triple, llvm.get_host_cpu_name(), tuple(f for f in features.split(",") if f))


def multiplies_pairs(isa: Isa) -> bool:
    """Whether this machine has the dot-product instruction of bfloat16, at the width of ``isa``."""
    return isa.name == "avx512" and host().has(isa) and "+avx512bf16" in host().features


def host_isa(setting: str | None = None) -> Isa:
    """The instruction set to generate code for on this machine.

    Args:
        setting: ``"auto"`` or ``None`` for the widest one the machine has; or the name of one it has.

    Raises:
        ArgumentError: the name is unknown, or the machine does not have it.
    """
    machine = host()
    available = [isa.name for isa in ISAS.values() if machine.has(isa)]
    if setting in (None, "auto"):
        return ISAS[available[0]]
    if setting not in available:
        why = "which this machine does not have" if setting in ISAS else "which is not a known instruction set"
        raise ArgumentError(
            f"isa: expected 'auto' or one of {available} on this machine ({platform.machine()}, {machine.cpu}), "
            f"got {setting!r}, {why}. Use 'auto'."
        )
    return ISAS[setting]


def _host_features(isa: Isa) -> str:
    """The host's features; without anything of AVX-512 when narrower code is asked for."""
    features = host().features
    if isa.name in ("avx2", "generic"):
        features = tuple("-" + f[1:] if f[1:].startswith(("avx512", "avx10", "evex512")) else f for f in features)
    return ",".join(features)


def target_machine(isa: Isa, triple: str | None = None) -> Any:
    """LLVM's target machine for ``isa``: of this host, or (with ``triple``) of another kind of machine."""
    if triple is None:
        machine = host()
        triple, cpu, features, jit = machine.triple, machine.cpu, _host_features(isa), True
    else:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        (cpu, features), jit = _FOREIGN[isa.name], False
    # The small code model reaches constants relative to the program counter; LLVM's default for JIT code ("large")
    # spends an extra instruction and a register on each.
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=2, reloc="pic", codemodel="small", jit=jit
    )


def assembly(ir: str, isa: Isa, triple: str = "aarch64-linux-gnu") -> str:
    """The optimised assembly text of a module, for reading and for tests that look for spills."""
    from ranvier.compiler.native.engine import optimised

    machine = target_machine(isa, triple)
    return machine.emit_assembly(optimised(ir, machine))


@functools.cache
def llvm_version() -> str:

    return f"llvmlite {llvmlite.__version__} LLVM {'.'.join(map(str, llvm.llvm_version_info))}"


def fingerprint(isa: Isa) -> str:
    """Everything outside Ranvier that machine code depends on, as text: part of the key of cached code."""
    machine = host()
    return "\n".join([llvm_version(), machine.triple, machine.cpu, isa.name, _host_features(isa)])
