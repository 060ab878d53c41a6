"""Compile a kernel spec and run it on NumPy arrays: the least machinery that the kernel tests need."""

from __future__ import annotations

import ctypes

import numpy as np

from ranvier.compiler.native import target
from ranvier.compiler.native.engine import compile_ir, load_objects

ISAS = target.ISAS
HOST_ISAS = [isa for isa in ISAS.values() if target.host().has(isa)]
TRIPLES = {"avx512": "x86_64-unknown-linux-gnu", "avx2": "x86_64-unknown-linux-gnu", "neon": "aarch64-linux-gnu"}


def assembly(spec, isa: target.Isa) -> str:
    """Assembly text for the ISA's usual machine, whatever machine this is."""
    return target.assembly(spec.ir("kernel", isa), isa, TRIPLES[isa.name])


class Kernel:
    """A compiled spec; call it with the arrays of its buffers, in order."""

    count = 0

    def __init__(self, spec, isa: target.Isa):
        Kernel.count += 1
        name = f"kernel{Kernel.count}"
        address = load_objects([compile_ir(spec.ir(name, isa), isa)], [name])[name]
        self.spec = spec
        self.call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(address)
        self.state = np.zeros(8, np.int64)

    def bind(self, *arrays):
        pointers = (ctypes.c_void_p * len(arrays))(*[a.ctypes.data for a in arrays])
        state = self.state.ctypes.data

        def run(lo=0, hi=self.spec.units):
            self.call(pointers, lo, hi, state)

        run.arrays = arrays
        return run

    def __call__(self, *arrays, pieces: int = 1):
        """Run all units, in ``pieces`` calls, the last piece first (units must not depend on their order)."""
        run = self.bind(*arrays)
        cuts = [self.spec.units * i // pieces for i in range(pieces + 1)]
        for i in reversed(range(pieces)):
            run(cuts[i], cuts[i + 1])
