"""Random programs give the same on compiled code and on the reference, within the bound each carries along.

``RANVIER_FUZZ=2000`` runs so many seeds instead of the few; ``RANVIER_FUZZ_FROM=5000`` begins there.
"""

from __future__ import annotations

import os

import pytest

from ranvier.compiler import bind, execute
from ranvier.compiler.native.target import ISAS, host

from .compare import check, outcome, same_bits
from .programs import Program

FIRST = int(os.environ.get("RANVIER_FUZZ_FROM", "0"))
MORE = int(os.environ.get("RANVIER_FUZZ", "0"))


def seeds(few: int) -> range:
    """``few`` seeds, or as many as asked for."""
    return range(FIRST, FIRST + (MORE or few))


@pytest.mark.parametrize("seed", seeds(110))
def test_programs(seed):
    assert check(seed, denormals="keep") == ""


@pytest.mark.parametrize("seed", seeds(24))
def test_gradients(seed):
    assert check(seed, smooth=True, denormals="keep") == ""


@pytest.mark.parametrize("seed", seeds(14))
def test_checked(seed):
    assert check(seed + 300_000, denormals="keep", checked=True) == ""


@pytest.mark.skipif(not host().has(ISAS["avx2"]), reason="this machine has no AVX2")
@pytest.mark.parametrize("seed", seeds(14))
def test_narrow_vectors(seed):
    assert check(seed + 600_000, denormals="keep", isa="avx2") == ""


@pytest.mark.parametrize("seed", seeds(14))
def test_all_kernels_split_over_two_threads(seed, monkeypatch):
    monkeypatch.setattr(execute, "_PARALLEL_SECONDS", 0.0)
    monkeypatch.setattr(bind, "SPLIT_SECONDS", 0.0)
    program = Program(seed + 900_000)
    alone, together = (outcome(program, 3, denormals="keep", threads=n) for n in (1, 2))
    for a, b in zip(alone.results + alone.variables, together.results + together.variables, strict=True):
        assert same_bits(a, b)


def test_programs_replay():
    a, b = Program(7), Program(7)
    assert [x.shape for x in a.arguments] == [x.shape for x in b.arguments]
    assert a.length == b.length
    assert [s.value.tobytes() for s in a.slots] == [s.value.tobytes() for s in b.slots]
