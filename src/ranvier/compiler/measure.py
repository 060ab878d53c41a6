"""This machine's roofline: the speed of the contraction's own inner loop, and of copying memory."""

from __future__ import annotations

import time

import numpy as np

from ranvier import config
from ranvier.compiler.machine import machine
from ranvier.compiler.native.contraction import Contraction, EpilogueOperand, a_panels_k, panel_width
from ranvier.compiler.native.expr import Instr
from ranvier.compiler.native.runtime import Op, program

__all__ = ["measure_peak"]


def measure_peak(repeats: int = 5) -> tuple[float, float]:
    """(FLOP/s, bytes/s) of one core: a product that fits the first caches, and a copy that fits none."""
    here = machine(config.get("isa"))
    width = panel_width(64, here.isa)
    spec = Contraction(
        batch=1, m=64, n=width, k=256, dtype="float32", a=a_panels_k(64, width), b_batch=0, width=width, c="panels",
        c_batch=0, c_ld=0, operands=(EpilogueOperand("float32", "tile"),), body=(Instr("acc", "float32"),),
        stores=((0, 0),), isa=here.isa.name,
    )  # fmt: skip
    (code,) = here.store.get([spec])
    a, b, c = np.zeros((3, 1 << 15), np.float32)
    table = np.array([x.ctypes.data for x in (a, b, c)], np.int64)
    state = np.zeros(8, np.int64)
    rows = program([[Op.KERNEL, code, table.ctypes.data, spec.units, 0, 0], [Op.END]])
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        here.runtime.run(rows.ctypes.data, 50, 1, state.ctypes.data)
        best = min(best, time.perf_counter() - start)
    source = np.ones(1 << 23, np.float32)
    target = np.empty_like(source)
    fastest = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        np.copyto(target, source)
        fastest = min(fastest, time.perf_counter() - start)
    return 50 * spec.flops / best, 2 * source.nbytes / fastest
