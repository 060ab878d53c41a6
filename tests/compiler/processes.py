"""Programs run in a process of their own: what could crash, fork, or must start from nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import ranvier as rv

__all__ = ["child"]


def child(source: str, *arguments: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Run a program text; environment variables that are None are taken away."""
    paths = os.pathsep.join([str(Path(rv.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    changed = {**os.environ, "PYTHONPATH": paths, **environment}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(source), *arguments],
        env={k: v for k, v in changed.items() if v is not None},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
