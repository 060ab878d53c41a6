"""A machine that does not play along: full disks, no home; in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TRAIN = """
import hashlib, numpy as np, ranvier as rv
rv.set_random_seed(3)
x = np.random.default_rng(0).normal(size=(64, 5)).astype("float32")
model = rv.Sequential([rv.Input((5,)), rv.layers.Dense(7, "tanh"), rv.layers.Dense(2, "softmax")])
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(x, (x[:, 0] > 0).astype(int), epochs=2, verbose=0)
print(hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest())
"""
LIMITED = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit is an error then
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
"""
SAVE = """
import os, numpy as np, ranvier as rv
from ranvier.errors import SaveError
model = rv.Sequential([rv.Input((100,)), rv.layers.Dense(100)])
try:
    model.save("model.safetensors")
except SaveError as error:
    print(error.message)
"""


def run(program: str, folder: Path, **environment: str) -> str:
    """What a Python process of its own prints, with these variables and no others that matter to Ranvier."""
    gone = ("HOME", "XDG_CACHE_HOME", "RANVIER_CACHE_DIR", "RANVIER_DATA_DIR")
    kept = {name: value for name, value in os.environ.items() if name not in gone}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        check=False,
        env=kept | environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.strip()


def test_home_that_is_unset_or_no_folder(tmp_path: Path) -> None:
    usual = run(TRAIN, tmp_path, RANVIER_CACHE_DIR=str(tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir())
    work = tmp_path / "work"
    work.mkdir()
    places = [{}, {"HOME": ""}, {"HOME": "/dev/null"}, {"HOME": "relative"}]
    assert [run(TRAIN, work, **place) for place in places] == [usual] * len(places)
    assert list(work.iterdir()) == [], "nothing is left where the program happened to run"


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of a process")
def test_a_cache_that_can_hold_nothing(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    limited = LIMITED.format(limit=64) + TRAIN.replace("print(", "import sys; sys.stdout.write(")
    assert run(limited, tmp_path, RANVIER_CACHE_DIR=str(cache)) == run(TRAIN, tmp_path)
    assert list(cache.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of a process")
def test_a_model_too_large_for_the_disk(tmp_path: Path) -> None:
    text = "save: cannot write model.safetensors: File too large"
    limited = LIMITED.format(limit=4096) + SAVE
    assert text in run(limited, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert run(SAVE, tmp_path) == ""
    before = (tmp_path / "model.safetensors").read_bytes()
    printed = run(limited, tmp_path)
    assert text in printed and "The old file is unchanged." in printed
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
    assert (tmp_path / "model.safetensors").read_bytes() == before
