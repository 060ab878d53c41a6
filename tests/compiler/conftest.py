"""Compiler tests run with the graph verified after every pass; golden texts lie in ``golden/``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ranvier as rv

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    """``python -m pytest tests/compiler --update-golden`` writes the golden texts anew."""
    parser.addoption("--update-golden", action="store_true", help="write the golden texts of the compiler's tests anew")


@pytest.fixture(autouse=True)
def _verified() -> Iterator[None]:
    with rv.config.override(verify=True):
        yield


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A function that compares a text with the golden one of this test."""
    path = GOLDEN / f"{request.path.stem}.{request.node.name}.txt"

    def compare(text: str) -> None:
        text = text.rstrip() + "\n"
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            return
        hint = "to write it: python -m pytest tests/compiler --update-golden, then look at the difference"
        assert path.exists(), f"there is no golden text {path}; {hint}"
        assert text == path.read_text(), hint

    return compare
