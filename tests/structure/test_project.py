"""The files round the package agree with each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.smoke

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_changelog_starts_with_this_version() -> None:
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert versions[0] == PROJECT["project"]["version"]


def test_every_ruff_exception_has_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    ignored = text.split("\nignore = [\n")[1].split("\n]\n")[0].splitlines()
    assert len(ignored) == len(PROJECT["tool"]["ruff"]["lint"]["ignore"])
    assert [line for line in ignored if not re.search(r'^    "[A-Z]+\d*", +# [\w`"]', line)] == []


def test_makefile_targets_are_described() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    described = set(re.findall(r"^([a-z-]+):.*## \w", text, re.MULTILINE))
    assert targets == described
    assert {"demo", "test", "smoke", "lint", "bench", "docs-check", "clean", "help"} <= targets


def test_both_readmes_show_the_same_commands_and_output() -> None:
    blocks = [
        re.findall(r"^```(?:sh|text|python)\n(.*?)^```", (ROOT / name).read_text("utf-8"), re.MULTILINE | re.DOTALL)
        for name in ("README.md", "README.zh.md")
    ]
    assert blocks[0] == blocks[1]
    assert "ranvier train digits" in blocks[0][0]
