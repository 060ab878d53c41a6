"""Small kernels and a Python interpreter of programs: what the tests of the runtime need."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np

from ranvier.compiler.native.builder import Function
from ranvier.compiler.native.runtime import Op
from ranvier.compiler.native.target import Isa

ARGUMENTS = [("buffers", "ptr"), ("lo", "i64"), ("hi", "i64"), ("state", "ptr")]


@dataclass(frozen=True)
class Scramble:
    """``y[u] = x[n - 1 - u] * factor + u`` in int64: with two threads, one reads what the other wrote."""

    n: int
    factor: int = 3

    def key(self) -> str:
        return f"test scramble {self.n} {self.factor}"

    def ir(self, name: str, isa: Isa) -> str:
        f = Function(name, ARGUMENTS)
        x, y = f.load(f["buffers"], 0, "ptr"), f.load(f["buffers"], 1, "ptr")
        with f.loop(f["lo"], f["hi"]) as u:
            f.store(f.load(x, self.n - 1 - u, "i64") * self.factor + u, y, u)
        return f.module()


@dataclass(frozen=True)
class Count:
    """``counts[u] += 1`` for every unit."""

    def key(self) -> str:
        return "test count"

    def ir(self, name: str, isa: Isa) -> str:
        f = Function(name, ARGUMENTS)
        counts = f.load(f["buffers"], 0, "ptr")
        with f.loop(f["lo"], f["hi"]) as u:
            f.store(f.load(counts, u, "i64") + 1, counts, u)
        return f.module()


@dataclass(frozen=True)
class Fail:
    """Sets the error code to 7."""

    def key(self) -> str:
        return "test fail"

    def ir(self, name: str, isa: Isa) -> str:
        f = Function(name, ARGUMENTS)
        f.store(f.const(7, "i64"), f["state"], 0)
        return f.module()


def pointers(*arrays: np.ndarray) -> ctypes.Array:
    return (ctypes.c_void_p * len(arrays))(*[array.ctypes.data for array in arrays])


def word_at(address: int) -> ctypes.c_int64:
    return ctypes.c_int64.from_address(address)


def moved(buffers: int, moves: int, count: int) -> tuple[int, ...]:
    """The addresses of a moving kernel's buffers in this turn (of thread 0)."""
    places = [word_at(buffers + 8 * i).value for i in range(count)]
    for i in range(word_at(moves).value):
        which, counter, stride, mask = (word_at(moves + 8 * (1 + 4 * i + k)).value for k in range(4))
        places[which] += (word_at(counter).value & mask) * stride
    return tuple(places)


def interpret(table: np.ndarray, steps: int, state: np.ndarray, kernels: dict[int, object]) -> int:
    """Run a program in Python. ``kernels`` gives a function ``(buffers, lo, hi)`` for each kernel's address."""
    pc = done = 0
    while True:
        op, a, b, c, d = (int(word) for word in table[pc][:5])
        pc += 1
        if op == Op.END:
            done, pc = done + 1, 0
            if done >= steps or state[0] or state[1]:
                return done
        elif op == Op.KERNEL:
            kernels[a](b, 0, c)
        elif op == Op.MOVING:
            moves, count = (int(word) for word in table[pc - 1][6:8])
            kernels[a](moved(b, moves, count), 0, c)
        elif op == Op.ENTER:
            word_at(a).value = 0
        elif op == Op.LOOP:
            word_at(a).value += 1
            pc = c if word_at(a).value < b else pc
        elif op == Op.JUMP:
            pc = a
        elif op in (Op.BRANCH_FALSE, Op.LESS):
            if state[0]:
                return done
            if op == Op.BRANCH_FALSE:
                pc = b if ctypes.c_int8.from_address(a).value == 0 else pc
            else:
                limit = word_at(b).value if d else b
                pc = pc if word_at(a).value < limit else c
        elif op == Op.ADD:
            word_at(a).value += b
        elif op == Op.SET:
            word_at(a).value = b
