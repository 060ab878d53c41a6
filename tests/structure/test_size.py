"""Files stay under 800 lines and functions under 80, so that each can be read in one sitting."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.smoke

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("src", "tests", "scripts", "benchmarks")
FILE_LINES, FUNCTION_LINES = 800, 80

# Longer than the limit, with the present length and the reason. These lists only shrink: when something gets shorter,
# its number must follow, and nothing may be added without a reason.
LONG_FILES: dict[str, tuple[int, str]] = {}
LONG_FUNCTIONS: dict[str, tuple[int, str]] = {}


def python_files() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from `def` to its end, not counting its docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def test_file_length() -> None:
    long = {}
    for path in python_files():
        count = len(path.read_text(encoding="utf-8").splitlines())
        if count > FILE_LINES:
            long[path.relative_to(ROOT).as_posix()] = count
    assert long == {name: count for name, (count, _) in LONG_FILES.items()}


def test_function_length() -> None:
    long = {}
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and body_lines(node) > FUNCTION_LINES:
                long[f"{path.relative_to(ROOT).as_posix()}:{node.name}"] = body_lines(node)
    assert long == {name: count for name, (count, _) in LONG_FUNCTIONS.items()}
