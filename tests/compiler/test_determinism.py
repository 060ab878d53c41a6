"""The same bits: on one thread and two, in two processes, with a cold and a warm cache, in one call or many."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ranvier as rv
from ranvier.compiler import bind, execute
from ranvier.compiler.native.target import ISAS, host

from . import mlp

LARGE, SMALL = (784, 512, 256, 10), (64, 32, 10)
BATCH = {LARGE: 128, SMALL: 32}


def state(net: mlp.Net) -> list[np.ndarray]:
    return [v.numpy() for v in net.state]


def equal(a: mlp.Net, b: mlp.Net) -> bool:
    return all(x.tobytes() == y.tobytes() for x, y in zip(state(a), state(b), strict=True))


@pytest.fixture(scope="module")
def alone() -> dict[tuple[int, ...], mlp.Net]:
    """The networks after ten steps on one thread."""
    with rv.config.override(threads=1):
        return {sizes: mlp.train(sizes, BATCH[sizes], 10)[0] for sizes in (LARGE, SMALL)}


@pytest.mark.parametrize("sizes", [LARGE, SMALL], ids=["large", "small"])
def test_two_threads(alone, sizes, monkeypatch):
    if sizes == SMALL:  # alone it would not be worth a second thread
        monkeypatch.setattr(execute, "_PARALLEL_SECONDS", 0.0)
        monkeypatch.setattr(bind, "SPLIT_SECONDS", 0.0)
    with rv.config.override(threads=2):
        net, step = mlp.train(sizes, BATCH[sizes], 10)
    assert next(iter(step._made.values())).executor.threads == 2
    assert equal(net, alone[sizes])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sizes", [LARGE, SMALL], ids=["large", "small"])
def test_ten_calls_are_one_call_of_ten_steps(alone, sizes, threads):
    def ten(step, x, y):
        for _ in range(10):
            step(x, y)

    with rv.config.override(threads=threads):
        net, _ = mlp.train(sizes, BATCH[sizes], 10, ten)
    assert equal(net, alone[sizes])


def in_a_process(sizes: tuple[int, ...], steps: int, **settings: str) -> tuple[str, int, int]:
    """(digest, kernels compiled, kernels from disk) of training in a process of its own."""
    paths = os.pathsep.join([str(Path(rv.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, **{f"RANVIER_{k.upper()}": v for k, v in settings.items()}}
    line = [sys.executable, mlp.__file__, " ".join(map(str, sizes)), str(BATCH[sizes]), str(steps)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    digest, compiled, hits = done.stdout.split()
    return digest, int(compiled), int(hits)


def test_processes_and_caches(alone, tmp_path):
    """Cold, warm, without a cache, on one thread and on two: always the digest of this process."""
    want = mlp.digest(alone[LARGE])
    cold = in_a_process(LARGE, 10, cache_dir=str(tmp_path), threads="2")
    warm = in_a_process(LARGE, 10, cache_dir=str(tmp_path), threads="1")
    assert cold[0] == warm[0] == want
    assert cold[1] > 5
    assert cold[2] == 0
    assert warm[1] == 0, "a warm start compiles nothing"
    assert warm[2] == cold[1]
    assert in_a_process(SMALL, 10, cache="0")[0] == mlp.digest(alone[SMALL])


def test_random_numbers_do_not_depend_on_the_backend(alone):
    """Dropout masks are exact: after a step the random state is the same, and so is which units were dropped."""
    masks = []
    for backend in ("native", "reference"):
        with rv.config.override(backend=backend):
            g = rv.random.Generator(4)
            f = rv.jit(lambda g=g: [g.bernoulli((37, 5), 0.3), g.uniform((100,)), g.normal((64,))])
            masks.append([t.numpy().tobytes() for t in f.run(3)] + [g.state.numpy().tobytes()])
    assert masks[0] == masks[1]


@pytest.mark.skipif(not host().has(ISAS["avx2"]), reason="this machine has no AVX2")
def test_narrow_and_wide_vectors_agree(alone):
    """AVX2 and AVX-512 add in different orders; after ten steps the weights still agree to five digits."""
    with rv.config.override(isa="avx2"):
        net, _ = mlp.train(SMALL, BATCH[SMALL], 10)
    for a, b in zip(state(net), state(alone[SMALL]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5)
    assert net.random.state.numpy().tobytes() == alone[SMALL].random.state.numpy().tobytes()


def test_both_backends_agree(alone):
    with rv.config.override(backend="reference"):
        net, _ = mlp.train(SMALL, BATCH[SMALL], 10)
    for a, b in zip(state(net), state(alone[SMALL]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5)
