"""Starting again: kernels come from disk; whatever is wrong with the cache costs time and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ranvier as rv

from . import mlp
from .processes import child

PROGRAM = f"""
import runpy, sys
sys.argv = ["mlp.py", "20 16 4", "8", "3"]
runpy.run_path({str(mlp.__file__)!r}, run_name="__main__")
"""


def start(directory: Path | str | None, **environment: str | None) -> tuple[str, int, int]:
    """(digest of the weights, kernels compiled, kernels from disk) in a fresh process; warnings are errors."""
    done = child(PROGRAM, RANVIER_CACHE_DIR=None if directory is None else str(directory), **environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    digest, compiled, hits = done.stdout.split()
    return digest, int(compiled), int(hits)


@pytest.fixture(scope="module")
def warm(tmp_path_factory) -> tuple[Path, str, int]:
    """A filled cache, the digest of the run that filled it, and how many kernels it holds."""
    folder = tmp_path_factory.mktemp("kernels") / "cache"
    digest, compiled, hits = start(folder)
    assert compiled > 5
    assert hits == 0
    return folder, digest, compiled


def copied(warm: tuple[Path, str, int], tmp_path: Path) -> Path:
    target = tmp_path / "cache"
    target.mkdir(mode=0o700)
    for file in warm[0].iterdir():
        (target / file.name).write_bytes(file.read_bytes())
        (target / file.name).chmod(0o600)
    return target


def test_a_warm_start_compiles_nothing(warm):
    folder, digest, count = warm
    assert start(folder) == (digest, 0, count)


DAMAGE = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "header only": lambda data: data[:52],
    "one bit": lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
    "noise": lambda data: b"\x00\xff" * 500,
    "longer": lambda data: data + b"more",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files_are_compiled_again(warm, tmp_path, name):
    folder = copied(warm, tmp_path)
    for file in folder.iterdir():
        file.write_bytes(DAMAGE[name](file.read_bytes()))
    assert start(folder) == (warm[1], warm[2], 0)
    assert start(folder) == (warm[1], 0, warm[2]), "the damaged files have been replaced"


def test_files_under_each_others_names(warm, tmp_path):
    """Each file is whole, but it is not the kernel that its name promises."""
    folder = copied(warm, tmp_path)
    files = sorted(f for f in folder.iterdir() if f.suffix == ".kernel")
    contents = [f.read_bytes() for f in files]
    for file, data in zip(files, contents[1:] + contents[:1], strict=True):
        file.write_bytes(data)
    assert start(folder)[:2] == (warm[1], warm[2])


def test_two_processes_fill_the_cache_at_once(warm, tmp_path):
    folder = tmp_path / "cache"
    paths = os.pathsep.join([str(Path(rv.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "RANVIER_CACHE_DIR": str(folder)}
    running = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", PROGRAM], env=environment, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]  # fmt: skip
    done = [p.communicate(timeout=120) for p in running]
    assert [error for _, error in done] == [""] * 3
    assert {out.split()[0] for out, _ in done} == {warm[1]}
    assert start(folder) == (warm[1], 0, warm[2])
    assert not [f.name for f in folder.iterdir() if f.suffix != ".kernel"]


@pytest.mark.parametrize(
    "environment",
    [
        {"HOME": None, "XDG_CACHE_HOME": None, "LOCALAPPDATA": None},
        {"HOME": "/dev/null/nowhere", "XDG_CACHE_HOME": None},
        {"HOME": "not/absolute", "XDG_CACHE_HOME": "neither"},
    ],
    ids=["unset", "not a folder", "relative"],
)
def test_no_place_for_a_cache(warm, environment):
    assert start(None, **environment) == (warm[1], warm[2], 0)


def test_a_folder_that_cannot_be_written(warm, tmp_path):
    assert start("/proc/ranvier-cache") == (warm[1], warm[2], 0)
    folder = copied(warm, tmp_path)
    folder.chmod(0o500)
    try:
        assert start(folder) == (warm[1], 0, warm[2])
    finally:
        folder.chmod(0o700)


def test_without_a_cache_nothing_is_written(warm, tmp_path):
    assert start(tmp_path / "cache", RANVIER_CACHE="0") == (warm[1], warm[2], 0)
    assert not (tmp_path / "cache").exists()


def test_kernels_are_shared_by_models_of_one_process():
    """The second model of the same shapes finds all its code in memory."""
    mlp.train((20, 16, 4), 8, 1)
    _, step = mlp.train((20, 16, 4), 8, 1)
    store = next(iter(step._made.values())).executor.machine.store
    before = store.compiled, store.disk_hits
    mlp.train((20, 16, 4), 8, 1)
    assert (store.compiled, store.disk_hits) == before


def test_importing_loads_nothing_heavy():
    done = child("import sys, ranvier; print([m for m in ('rich', 'sklearn', 'matplotlib') if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr
