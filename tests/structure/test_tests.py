"""The tests themselves: an expected error or warning is always matched by its text, exceptions carry reasons."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.smoke

TESTS = Path(__file__).resolve().parents[1]


def called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def unmatched(source: str) -> list[int]:
    """Lines of `pytest.raises(...)` and `pytest.warns(...)` without a match pattern."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and called(node) in ("raises", "warns"):
            patterns = [keyword.value for keyword in node.keywords if keyword.arg == "match"]
            if not patterns or (isinstance(patterns[0], ast.Constant) and not patterns[0].value):
                lines.append(node.lineno)
    return lines


def test_expected_errors_are_matched() -> None:
    found = [
        f"{path.relative_to(TESTS).as_posix()}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        for line in unmatched(path.read_text(encoding="utf-8"))
    ]
    assert found == [], "pytest.raises without match=: " + ", ".join(found)


def test_the_check_sees() -> None:
    assert unmatched(
        "with pytest.raises(ValueError):\n    f()\nwith pytest.raises(ValueError, match='x'):\n    f()"
    ) == [1]
    assert unmatched("with raises(ValueError, match=''):\n    f()") == [1]
