"""Trained runs for the tests of the command line, each made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranvier.cli import main


def train(folder: Path, *arguments: str) -> str:
    path = str(folder / "run")
    assert main(["train", *arguments, "--quiet", "--out", path]) == 0
    return path


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network that reads digits."""
    return train(tmp_path_factory.mktemp("digits"), "digits", "--epochs", "6", "--hidden", "48,24")


@pytest.fixture(scope="session")
def wine_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network that knows wines."""
    return train(tmp_path_factory.mktemp("wine"), "wine", "--epochs", "25")
