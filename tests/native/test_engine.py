"""Compiling and loading kernels, and the promise that nothing is compiled twice."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ranvier.compiler.native import engine, target
from ranvier.compiler.native.builder import Function, vector
from ranvier.compiler.native.cache import ObjectCache
from ranvier.compiler.native.driver import DRIVER
from ranvier.errors import ArgumentError, InternalError

from . import driver_kernels as kernels

HOST_ISAS = [isa for isa in target.ISAS.values() if target.host().has(isa)]


def scaled(name: str, lanes: int) -> str:
    """``y[i] = 2 x[i] + 1`` for n vectors of float32."""
    f = Function(name, [("x", "ptr"), ("y", "ptr"), ("n", "i64")])
    with f.loop(0, f["n"]) as i:
        f.store(f.fma(f.load(f["x"], i * lanes, vector("float", lanes)), 2.0, 1.0), f["y"], i * lanes)
    return f.module()


@pytest.mark.smoke
@pytest.mark.parametrize("isa", HOST_ISAS, ids=lambda isa: isa.name)
def test_compile_and_call(isa, rng) -> None:
    name = f"scaled_{isa.name}"
    lanes = isa.lanes("float32")
    address = engine.load_object(engine.compile_ir(scaled(name, lanes), isa), [name])[name]
    x = rng.integers(-1000, 1000, 3 * lanes).astype(np.float32)
    y = np.zeros_like(x)
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(address)
    call(x.ctypes.data, y.ctypes.data, 3)
    np.testing.assert_array_equal(y, 2 * x + 1)


def test_memcpy_is_found(rng) -> None:
    """LLVM calls memcpy for large copies: a symbol outside the object."""
    ir = (
        "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)\n"
        "define void @copy_it(ptr %to, ptr %from, i64 %n) {\n"
        "  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %from, i64 %n, i1 false)\n  ret void\n}\n"
    )
    data = engine.compile_ir(ir, target.host_isa())
    address = engine.load_object(data, ["copy_it"])["copy_it"]
    x = rng.integers(0, 255, 100_000).astype(np.uint8)
    y = np.zeros_like(x)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(address)(
        y.ctypes.data, x.ctypes.data, 99_999
    )
    np.testing.assert_array_equal(y[:-1], x[:-1])
    assert y[-1] == 0


def dump_of(error: InternalError) -> str:
    path = Path(str(error).split("The module is in ")[1].split(";", maxsplit=1)[0])
    text = path.read_text(encoding="utf-8")
    path.unlink()
    return text


@pytest.mark.parametrize(
    "ir", ["define void @f() {", "define i32 @f(i32 %x) {\n  %y = add i32 %z, 1\n  ret i32 %y\n}", "nonsense"]
)
def test_malformed_module_is_an_internal_error(ir) -> None:
    with pytest.raises(InternalError, match="LLVM refused generated code") as caught:
        engine.compile_ir(ir, target.host_isa())
    assert dump_of(caught.value) == ir


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the symbols of ELF objects")
def test_unknown_external_function() -> None:
    ir = "declare void @no_such_function_7()\ndefine void @f() {\n  call void @no_such_function_7()\n  ret void\n}"
    with pytest.raises(InternalError, match="calls no_such_function_7, which this process does not have") as caught:
        engine.compile_ir(ir, target.host_isa())
    assert dump_of(caught.value) == ir


def test_missing_name() -> None:
    data = engine.compile_ir("define void @present() {\n  ret void\n}", target.host_isa())
    with pytest.raises(InternalError, match="does not define absent"):
        engine.load_object(data, ["absent"])


# -- targets ----------------------------------------------------------------------------------------------------------


def test_lanes() -> None:
    assert [target.Isa("avx512", 512).lanes(d) for d in ("bool", "bfloat16", "float32", "float64")] == [64, 32, 16, 8]


def test_narrower_isa_keeps_to_its_registers() -> None:
    text = {
        name: target.assembly(scaled("f", 16), target.ISAS[name], "x86_64-unknown-linux-gnu")
        for name in ("avx512", "avx2")
    }
    assert "zmm" in text["avx512"]
    assert "zmm" not in text["avx2"]
    assert "ymm" in text["avx2"]


@pytest.mark.skipif(not target.host().has(target.ISAS["avx512"]), reason="this processor has no AVX-512")
def test_host_code_for_avx2_has_no_avx512() -> None:
    machine = target.target_machine(target.host_isa("avx2"))
    assert "zmm" not in machine.emit_assembly(engine.optimised(scaled("f", 16), machine))


def test_assembly_for_arm() -> None:
    text = target.assembly(scaled("f", 4), target.ISAS["neon"])
    assert "fmla" in text or "fmad" in text


@pytest.mark.parametrize("isa", target.ISAS.values(), ids=lambda isa: isa.name)
def test_the_driver_assembles_for_every_target(isa) -> None:
    triple = "aarch64-linux-gnu" if isa.name == "neon" else "x86_64-unknown-linux-gnu"
    text = target.assembly(DRIVER.ir("entry", isa), isa, triple)
    assert "rv_barrier" in text
    assert ("pause" in text) == (isa.name in ("avx2", "avx512"))
    assert ("isb" in text) == (isa.name == "neon")


def test_host_isa_setting() -> None:
    assert target.host_isa("auto") == target.host_isa(None) == HOST_ISAS[0]
    assert target.host_isa(HOST_ISAS[-1].name) == HOST_ISAS[-1]
    with pytest.raises(ArgumentError, match="got 'sse9', which is not a known instruction set"):
        target.host_isa("sse9")
    absent = next(isa for isa in target.ISAS.values() if isa not in HOST_ISAS)
    with pytest.raises(ArgumentError, match=f"got '{absent.name}', which this machine does not have"):
        target.host_isa(absent.name)


# -- the store --------------------------------------------------------------------------------------------------------


def counts(store: engine.KernelStore) -> tuple[int, int, int]:
    return store.compiled, store.disk_hits, store.memory_hits


def call(address: int, n: int) -> list[int]:
    x, y = np.arange(n), np.zeros(n, np.int64)
    buffers = kernels.pointers(x, y)
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(address)
    function(buffers, 0, n, None)
    return y.tolist()


@pytest.mark.smoke
def test_each_kernel_is_compiled_once(tmp_path) -> None:
    specs = [kernels.Scramble(9, factor) for factor in (1, 2, 3, 2)]
    store = engine.KernelStore(target.host_isa(), ObjectCache(tmp_path / "cache"))
    first = store.get(specs)
    assert counts(store) == (3, 0, 1)
    assert first[1] == first[3]
    assert store.get(specs) == first
    assert counts(store) == (3, 0, 5)
    again = engine.KernelStore(target.host_isa(), ObjectCache(tmp_path / "cache"))
    second = again.get(specs)
    assert counts(again) == (0, 3, 1)
    for addresses in (first, second):
        for address, spec in zip(addresses, specs, strict=True):
            assert call(address, 9) == [(8 - u) * spec.factor + u for u in range(9)]


def test_without_a_disk_cache() -> None:
    store = engine.KernelStore(target.host_isa())
    store.get([kernels.Count(), kernels.Count()])
    assert counts(store) == (1, 0, 1)


def test_damaged_entries_are_rebuilt(tmp_path) -> None:
    spec = kernels.Scramble(11, 5)
    for damage in (lambda d: d[:-1], lambda d: d[:60] + bytes([d[60] ^ 1]) + d[61:], lambda d: b"", lambda d: d + b"x"):
        engine.KernelStore(target.host_isa(), ObjectCache(tmp_path)).get([spec])
        (file,) = tmp_path.iterdir()
        file.write_bytes(damage(file.read_bytes()))
        store = engine.KernelStore(target.host_isa(), ObjectCache(tmp_path))
        (address,) = store.get([spec])
        assert counts(store) == (1, 0, 0)
        assert call(address, 11) == [(10 - u) * 5 + u for u in range(11)]


@pytest.mark.parametrize("what", ("codegen_version", "fingerprint"))
def test_other_code_generator_or_machine_is_a_miss(tmp_path, monkeypatch, what) -> None:
    cache = ObjectCache(tmp_path)
    engine.KernelStore(target.host_isa(), cache).get([kernels.Count()])
    monkeypatch.setattr(engine, what, lambda *_: "something else")
    store = engine.KernelStore(target.host_isa(), cache)
    store.get([kernels.Count()])
    assert counts(store) == (1, 0, 0)


def test_isas_do_not_share_code(tmp_path) -> None:
    cache = ObjectCache(tmp_path)
    for isa in HOST_ISAS:
        store = engine.KernelStore(isa, cache)
        store.get([kernels.Count()])
        assert counts(store) == (1, 0, 0)


SOURCE = """
import sys
from ranvier.compiler.native import cache, engine, runtime
from ranvier.compiler.native.target import host_isa
import driver_kernels as kernels
store = engine.KernelStore(host_isa(), cache.ObjectCache(sys.argv[1]))
runtime.Runtime(store.isa, store)
store.get([kernels.Scramble(9, factor) for factor in range(20)])
print(store.compiled, store.disk_hits)
"""


def start(folder: Path) -> subprocess.Popen:
    here = Path(__file__).resolve().parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1] / "src")])}
    return subprocess.Popen(
        [sys.executable, "-c", SOURCE, str(folder)], env=environment, stdout=subprocess.PIPE, text=True
    )


def test_processes_share_the_cache(tmp_path) -> None:
    together = [start(tmp_path / "cache") for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in together]
    assert [sum(map(int, output.split())) for output in outputs] == [21, 21]
    warm, _ = start(tmp_path / "cache").communicate(timeout=60)
    assert warm.split() == ["0", "21"]
