"""Aligned and guarded memory, and how much of the machine this process may use."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ranvier.compiler.native.limits import available_bytes, default_threads
from ranvier.compiler.native.memory import ALIGNMENT, allocate

SIZES = (0, 1, 4, 63, 64, 65, 4095, 4096, 4097, 100_000)


@pytest.mark.smoke
@pytest.mark.parametrize("guarded", (False, True))
@pytest.mark.parametrize("nbytes", SIZES)
def test_allocate(nbytes, guarded) -> None:
    buffer = allocate(nbytes, guarded=guarded)
    assert buffer.nbytes == nbytes
    assert buffer.address % ALIGNMENT == 0
    array = buffer.array(np.uint8, (nbytes,))
    assert not array.any()
    if nbytes:
        assert array.ctypes.data == buffer.address
        array[:] = 7
        assert ctypes.c_uint8.from_address(buffer.address + nbytes - 1).value == 7
    assert buffer.check_canaries() is None
    assert buffer.guarded == guarded


def test_array_shares_and_keeps_the_memory() -> None:
    buffer = allocate(4 * 12)
    matrix = buffer.array("float32", (2, 4), offset=16)
    matrix[:] = np.arange(8).reshape(2, 4)
    np.testing.assert_array_equal(buffer.array("float32", (12,)), [0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7])
    del buffer
    gc.collect()
    np.testing.assert_array_equal(matrix[1], [4, 5, 6, 7])


@pytest.mark.parametrize("guarded", (False, True))
def test_array_cannot_reach_outside(guarded) -> None:
    buffer = allocate(40, guarded=guarded)
    with pytest.raises(TypeError, match="buffer is too small"):
        buffer.array("float32", (11,))
    with pytest.raises(TypeError, match="buffer is too small"):
        buffer.array("float32", (10,), offset=4)


def test_fresh_guarded_memory_is_nan() -> None:
    assert np.isnan(allocate(400, zero=False, guarded=True).array("float32", (100,))).all()
    assert np.isnan(allocate(400, zero=False, guarded=True).array("float64", (50,))).all()


@pytest.mark.parametrize("offset", (-1, -64, 100, 127))
def test_canaries_notice(offset) -> None:
    buffer = allocate(100, guarded=True)
    ctypes.c_uint8.from_address(buffer.address + offset).value = 1
    assert buffer.check_canaries() == offset


def test_guarded_memory_is_given_back() -> None:
    for _ in range(200):  # 200 times 64 MiB does not fit in memory, nor in the address space of small systems
        allocate(64 << 20, guarded=True)


@pytest.mark.skipif(os.name != "posix", reason="guard pages are tested by a signal")
@pytest.mark.parametrize("nbytes", (64, 4096, 5120))
@pytest.mark.parametrize("side", ("before", "behind"))
def test_guard_pages_stop_access(nbytes, side) -> None:
    source = f"""
import ctypes, mmap
from ranvier.compiler.native.memory import allocate
buffer = allocate({nbytes}, guarded=True)
page = mmap.PAGESIZE
touch = buffer.address + {nbytes} if {side!r} == "behind" else buffer.address // page * page - 1
print("alive", flush=True)
print(ctypes.c_uint8.from_address(touch).value)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
    result = subprocess.run([sys.executable, "-c", source], capture_output=True, env=environment, check=False)
    assert result.stdout.strip() == b"alive"
    assert -result.returncode in (signal.SIGSEGV, signal.SIGBUS)


@pytest.mark.parametrize("guarded", (False, True))
def test_too_much(guarded) -> None:
    with pytest.raises(MemoryError, match=r"Unable to allocate|cannot map"):
        allocate(1 << 56, guarded=guarded)


# -- limits -----------------------------------------------------------------------------------------------------------


def machine(root: Path, files: dict[str, str]) -> str:
    """A tree with a machine's /proc and /sys/fs/cgroup."""
    for name, text in {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    8000 kB\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def test_available_without_groups(tmp_path) -> None:
    assert available_bytes(machine(tmp_path, {})) == 8000 * 1024


def test_available_in_version_2_groups(tmp_path) -> None:
    group = "sys/fs/cgroup/a"
    files = {
        "proc/self/cgroup": "0::/a/b\n",
        f"{group}/b/memory.max": "max\n",
        f"{group}/b/memory.current": "5000\n",
        f"{group}/memory.max": "100000\n",
        f"{group}/memory.current": "60000\n",
        f"{group}/memory.stat": "anon 50000\ninactive_file 10000\n",
    }
    assert available_bytes(machine(tmp_path, files)) == 50_000


def test_available_in_version_1_groups(tmp_path) -> None:
    files = {
        "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/123\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "70000\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "80000\n",
    }
    assert available_bytes(machine(tmp_path, files)) == 0


@pytest.mark.parametrize(
    "files, expected",
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/x/y\n", "sys/fs/cgroup/x/cpu.max": "190000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "nonsense"}, None),
        (
            {
                "proc/self/cgroup": "5:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            1,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
)
def test_default_threads(tmp_path, files, expected) -> None:
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert default_threads(machine(tmp_path, files)) == (expected or processors)


def test_this_machine() -> None:
    assert 1 <= default_threads() <= (os.cpu_count() or 1)
    assert available_bytes() > 1 << 20
