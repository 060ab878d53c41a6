"""docs/architecture.md names every file, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.smoke

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "ranvier"
ROW = re.compile(r"^\| `([\w./]+\.py)` \| (.*) \|$", re.MULTILINE)


def test_map_equals_tree() -> None:
    listed = [name for name, _ in ROW.findall((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))]
    present = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))
    assert sorted(listed) == present, "run: python scripts/update_map.py"


def test_every_file_says_what_it_is() -> None:
    silent = [name for name, text in ROW.findall((ROOT / "docs" / "architecture.md").read_text("utf-8")) if not text]
    assert silent == [], f"files without a docstring: {silent}"


def test_map_is_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "update_map.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
