"""Runs every example in the documentation.

Markdown (README*.md, CONTRIBUTING.md, docs/*.md): every block marked ``python`` runs, in order, in one namespace per
file. A block marked ``text`` that follows with nothing but blank lines between must equal what the block printed
(``...`` stands for anything). Docstrings: every ``>>>`` example of every module of the package runs as a doctest, with
``rv`` and ``np`` at hand. Warnings are errors. Everything runs in an empty temporary folder with its own kernel cache.

Usage: ``python scripts/docs_check.py [name ...]`` (file names or module names; without names, everything).
"""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import os
import pkgutil
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """The Markdown files whose examples run."""
    return sorted([*ROOT.glob("README*.md"), ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


def examples(text: str) -> Iterator[tuple[int, str, str | None]]:
    """Line number, source and expected output (or None) of each Python block."""
    blocks = list(BLOCK.finditer(text))
    for position, block in enumerate(blocks):
        if block[1] != "python":
            continue
        expected = None
        follower = blocks[position + 1] if position + 1 < len(blocks) else None
        if follower is not None and follower[1] == "text" and not text[block.end() : follower.start()].strip():
            expected = follower[2]
        yield text.count("\n", 0, block.start()) + 2, block[2], expected


def run_page(path: Path) -> list[str]:
    """Run the blocks of one page; returns a message per failure."""
    failures: list[str] = []
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for line, source, expected in examples(path.read_text(encoding="utf-8")):
        where = f"{path.relative_to(ROOT)}:{line}"
        printed = io.StringIO()
        try:
            # Blank lines before the code make the line numbers of a traceback those of the page.
            code = compile("\n" * (line - 1) + source, str(path), "exec")
            with contextlib.redirect_stdout(printed):
                exec(code, namespace)  # noqa: S102 - running the page's own code is the purpose
        except Exception:  # noqa: BLE001 - whatever an example raises is reported
            failures.append(f"{where}: the example raised\n{traceback.format_exc()}")
            break  # later blocks build on this one
        if expected is not None and not doctest.OutputChecker().check_output(expected, printed.getvalue(), FLAGS):
            failures.append(f"{where}: expected output\n{expected}\ngot\n{printed.getvalue()}")
    return failures


def modules() -> list[str]:
    """Names of all modules of the package."""
    package = importlib.import_module("ranvier")
    found = pkgutil.walk_packages(package.__path__, "ranvier.", onerror=_reraise)
    return ["ranvier", *(info.name for info in found if not info.name.endswith("__main__"))]


def _reraise(name: str) -> None:
    raise ImportError(f"docs_check: {name} cannot be imported") from sys.exception()


def run_docstrings(name: str) -> tuple[int, list[str]]:
    """Run the doctests of one module; returns how many examples ran and a message per failing docstring."""
    module = importlib.import_module(name)
    shared = {"rv": importlib.import_module("ranvier"), "np": importlib.import_module("numpy")}
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    failures, count = [], 0
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs=shared):
        report = io.StringIO()
        result = runner.run(test, out=report.write)
        count += result.attempted
        if result.failed:
            failures.append(report.getvalue())
    return count, failures


def main(names: list[str]) -> int:
    """Run the chosen pages and modules, report, and return the exit status."""
    warnings.simplefilter("error")
    failures: list[str] = []
    blocks = lines = 0
    with tempfile.TemporaryDirectory(prefix="ranvier-docs-") as folder:
        os.environ["RANVIER_CACHE_DIR"] = os.path.join(folder, "cache")
        os.chdir(folder)
        for path in pages():
            if not names or path.name in names:
                blocks += len(list(examples(path.read_text(encoding="utf-8"))))
                failures += run_page(path)
        for name in modules():
            if not names or name in names:
                count, failed = run_docstrings(name)
                lines += count
                failures += failed
        os.chdir(ROOT)
    for failure in failures:
        print(failure, file=sys.stderr)
    print(f"docs-check: {blocks} blocks in pages, {lines} lines in docstrings, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
