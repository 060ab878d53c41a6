"""Rewrites the list of files in docs/architecture.md from the first sentence of each module's docstring.

Usage: ``python scripts/update_map.py`` rewrites, ``--check`` only says whether the list is up to date.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "ranvier"
MAP = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- map:begin -->", "<!-- map:end -->"

# Rooms in the order of the house, top floor first; a test holds the same floors against every import.
FLOORS = (
    ("Roof: the public namespace", ("__init__.py", "__main__.py")),
    ("Floor 5: doors", ("cli", "deploy", "lab")),
    ("Floor 4: practice", ("models", "callbacks", "data", "datasets", "diagnose", "sklearn", "zoo")),
    (
        "Floor 3: vocabulary",
        ("layers", "activations", "losses", "optimizers", "metrics", "initializers", "regularizers"),
    ),
    ("Floor 2: compiler", ("jit", "compiler")),
    (
        "Floor 1: core",
        ("tensor", "ops", "autodiff", "variable", "random", "dtypes", "errors", "config", "tree", "version"),
    ),
)


def purpose(path: Path) -> str:
    """The first sentence of a module's docstring, or an empty string."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return paragraph.split(". ")[0].rstrip(".:").replace("|", "\\|")


def room(path: Path) -> str:
    """The room a file belongs to: its first folder, or its own name at the top."""
    parts = path.relative_to(SOURCE).parts
    return parts[0] if len(parts) > 1 or parts[0].startswith("__") else path.stem


def render() -> str:
    """The generated part of the map."""
    files: dict[str, list[Path]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        files.setdefault(room(path), []).append(path)
    lines = [BEGIN]
    for title, rooms in FLOORS:
        here = [path for name in rooms for path in files.pop(name, [])]
        if here:
            lines += ["", f"### {title}", "", "| file | purpose |", "| --- | --- |"]
            lines += [f"| `{path.relative_to(SOURCE).as_posix()}` | {purpose(path)} |" for path in here]
    if files:
        sys.exit(f"update_map: no floor is named for {', '.join(sorted(files))}; add it to FLOORS in {__file__}")
    return "\n".join([*lines, "", END])


def main() -> int:
    """Rewrite the map, or with --check compare only."""
    text = MAP.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    new = before + render() + after
    if new == text:
        return 0
    if "--check" in sys.argv[1:]:
        print("docs/architecture.md does not match the files in src/ranvier. Run: python scripts/update_map.py")
        return 1
    MAP.write_text(new, encoding="utf-8")
    print("docs/architecture.md rewritten")
    return 0


if __name__ == "__main__":
    sys.exit(main())
