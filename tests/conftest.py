"""What every test can ask for: random numbers that can be replayed, the folder of real data, a private kernel cache."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent

# One seed per run. It differs from run to run, so that the suite explores, and is printed, so that a failure replays.
SEED = int(os.environ.get("RANVIER_TEST_SEED") or random.SystemRandom().randrange(2**31))

# A shell that starts the suite in the background lets it ignore Ctrl-C, and every child with it; some tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Set before the first `import ranvier`: tests neither read nor fill the user's own cache of compiled kernels.
_CACHE = tempfile.mkdtemp(prefix="ranvier-test-cache-")
os.environ["RANVIER_CACHE_DIR"] = _CACHE


def _replay(config: pytest.Config) -> str:
    arguments = " ".join(config.invocation_params.args)
    return f"random seed {SEED}; to replay: RANVIER_TEST_SEED={SEED} python -m pytest {arguments}".rstrip()


def pytest_report_header(config: pytest.Config) -> str:
    """Print the seed before the tests."""
    return _replay(config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the seed again where a failure is being read."""
    if terminalreporter.stats.get("failed") or terminalreporter.stats.get("error"):
        terminalreporter.write_line(_replay(config))


def pytest_unconfigure() -> None:
    """Remove the kernel cache of this run."""
    shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers of this test: they depend on the seed and the test's name, not on the order of tests."""
    return np.random.default_rng([SEED, zlib.crc32(request.node.nodeid.encode())])


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest) -> None:
    """Seed the global generators too, for code under test (and peers) that uses them."""
    seed = zlib.crc32(f"{SEED} {request.node.nodeid}".encode())
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - scikit-learn falls back to the global generator


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets: RANVIER_TEST_DATA, or ../shared/data beside the repository."""
    named = os.environ.get("RANVIER_TEST_DATA")
    if named:
        folder = Path(named)
        if not folder.is_dir():
            pytest.fail(f"RANVIER_TEST_DATA names {named}, which is not a folder")
        return folder
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real data sets not found: name their folder with RANVIER_TEST_DATA, or put them in ../shared/data")
    return folder
