"""Runs every example in the documentation, and follows every link in it.

Markdown (README*.md, CONTRIBUTING.md, docs/*.md): every block marked ``python`` runs, in order, in one namespace per
file. A block marked ``text`` that follows with nothing but blank lines between must equal what the block printed
(``...`` stands for anything). Marked ``text varies``, its figures may differ, such as times; marked ``text example``,
everything may: it shows one machine's output, a plan for example, which depends on the processor's vectors.
A block runs as a file called ``example.py``, or as its first line says (``# step.py``), so that messages name lines as
a reader counts them. Links to files and headings of the repository must lead somewhere, and names in running text
(``rv.layers.Dense``) must exist.

Docstrings: every ``>>>`` example of every module of the package runs as a doctest, with ``rv`` and ``np`` at hand.
Warnings are errors. Everything runs in an empty temporary folder with its own kernel cache.

Usage: ``python scripts/docs_check.py [--write] [name ...]`` (file names or module names; without names, everything).
With ``--write`` the ``text`` blocks that are out of date are replaced by what was printed, also where only figures
differ.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import linecache
import os
import pkgutil
import re
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")
FIGURE = re.compile(r"\d[\d.,]*(?:e[+-]?\d+)?(?: (?:s|ms|µs|ns)\b)?")  # a time may come in another unit
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NAME = re.compile(r"`rv\.(\w+(?:\.\w+)*)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)

# A shell that starts this in the background lets it ignore Ctrl-C, which one of the examples presses.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Example(NamedTuple):
    """A Python block: its first line in the page, its code, and what it must print (None: anything)."""

    line: int
    source: str
    expected: str | None
    kind: str = ""  # "varies", "example" or nothing
    span: tuple[int, int] = (0, 0)  # of the expected text in the page


def pages() -> list[Path]:
    """The Markdown files whose examples run."""
    return sorted([*ROOT.glob("README*.md"), ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


# -- pages --------------------------------------------------------------------------------------------------------


def examples(text: str) -> Iterator[Example]:
    """The Python blocks of a page."""
    blocks = list(BLOCK.finditer(text))
    for position, block in enumerate(blocks):
        if block[1] != "python":
            continue
        line = text.count("\n", 0, block.start()) + 2
        follower = blocks[position + 1] if position + 1 < len(blocks) else None
        if follower is not None and follower[1] == "text" and not text[block.end() : follower.start()].strip():
            yield Example(line, block[3], follower[3], follower[2].strip(), follower.span(3))
        else:
            yield Example(line, block[3], None)


def agrees(example: Example, printed: str) -> bool:
    """Whether a block printed what the page says."""
    expected = example.expected or ""
    if example.kind:
        expected, printed = (FIGURE.sub("#", " ".join(text.split())) for text in (expected, printed))
    return doctest.OutputChecker().check_output(expected, printed, FLAGS)


def run_block(source: str, namespace: dict[str, Any]) -> str:
    """Run one block; what it printed."""
    named = FILE.match(source)
    name = named[1] if named else "example.py"
    # Messages quote the source line; the name must not be that of a file, so that the cache is believed.
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, name, "exec"), namespace)  # noqa: S102 - running the page's own code is the purpose
    return printed.getvalue()


def begin() -> None:
    """Each page begins like a fresh program: names of layers are counted from the start, and so are random numbers."""
    package = importlib.import_module("ranvier")
    package.layers.reset_names()
    package.set_random_seed(0)


def run_page(path: Path, write: bool = False) -> list[str]:
    """Run the blocks of one page; returns a message per failure. With ``write``, outdated outputs are replaced."""
    failures: list[str] = []
    begin()
    namespace: dict[str, Any] = {"__name__": "__main__"}
    text = path.read_text(encoding="utf-8")
    changes: list[tuple[tuple[int, int], str]] = []
    for example in examples(text):
        where = f"{path.relative_to(ROOT)}:{example.line}"
        try:
            printed = run_block(example.source, namespace)
        except Exception:  # noqa: BLE001 - whatever an example raises is reported
            failures.append(f"{where}: the example raised\n{traceback.format_exc()}")
            break  # later blocks build on this one
        if example.expected is None:
            continue
        fine = agrees(example, printed)
        if write:
            if not fine or (example.kind and "..." not in example.expected and example.expected != tidy(printed)):
                changes.append((example.span, tidy(printed)))
        elif not fine and example.kind != "example":
            failures.append(f"{where}: expected output\n{example.expected}\ngot\n{printed}")
    for (start, stop), new in reversed(changes):
        text = text[:start] + new + text[stop:]
    if changes:
        path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {len(changes)} outputs rewritten")
    return failures + broken_links(path, text) + unknown_names(path, text)


def tidy(printed: str) -> str:
    """Output as it stands in a page: no spaces at the ends of lines."""
    return "".join(line.rstrip() + "\n" for line in printed.strip("\n").splitlines())


def anchors(text: str) -> set[str]:
    """The names of a page's headings, as GitHub and most others make them."""
    plain = (re.sub(r"[^\w\- ]", "", heading.strip().lower()) for heading in HEADING.findall(BLOCK.sub("", text)))
    return {heading.replace(" ", "-") for heading in plain}


def broken_links(path: Path, text: str) -> list[str]:
    """A message for each link to a file or heading that does not exist."""
    failures = []
    for target in LINK.findall(BLOCK.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue  # elsewhere
        name, _, anchor = target.partition("#")
        file = path.parent / name
        if not file.exists():
            failures.append(f"{path.relative_to(ROOT)}: the link to {target} leads nowhere")
        elif anchor and anchor not in anchors(file.read_text(encoding="utf-8") if name else text):
            failures.append(f"{path.relative_to(ROOT)}: there is no heading {anchor!r} in {name or path.name}")
    return failures


def unknown_names(path: Path, text: str) -> list[str]:
    """A message for each name such as ``rv.layers.Dense`` in running text that does not exist."""
    failures = []
    for name in sorted(set(NAME.findall(BLOCK.sub("", text)))):
        value: Any = importlib.import_module("ranvier")
        for part in name.split("."):
            value = getattr(value, part, None)
        if value is None:
            failures.append(f"{path.relative_to(ROOT)}: there is no rv.{name}")
    return failures


# -- docstrings ---------------------------------------------------------------------------------------------------


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


def main(arguments: list[str]) -> int:
    """Run the chosen pages and modules, report, and return the exit status."""
    write = "--write" in arguments
    names = [a for a in arguments if a != "--write"]
    warnings.simplefilter("error")
    failures: list[str] = []
    blocks = lines = 0
    with tempfile.TemporaryDirectory(prefix="ranvier-docs-") as folder:
        os.environ["RANVIER_CACHE_DIR"] = os.path.join(folder, "cache")
        os.chdir(folder)
        for path in pages():
            if not names or path.name in names:
                blocks += len(list(examples(path.read_text(encoding="utf-8"))))
                failures += run_page(path, write)
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
