"""The house stands: imports point only downwards, and `import ranvier` stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.smoke

SOURCE = Path(__file__).resolve().parents[2] / "src" / "ranvier"

# Room -> floor. A new room must be given a floor here (and in scripts/update_map.py).
FLOORS = {
    **dict.fromkeys(("cli", "deploy", "lab"), 5),
    **dict.fromkeys(("models", "callbacks", "data", "datasets", "diagnose", "sklearn", "zoo"), 4),
    **dict.fromkeys(("layers", "activations", "losses", "optimizers", "metrics", "initializers", "regularizers"), 3),
    **dict.fromkeys(("jit", "compiler"), 2),
    **dict.fromkeys(
        ("tensor", "ops", "autodiff", "variable", "random", "dtypes", "errors", "config", "tree", "version"), 1
    ),
}
ROOF = 6  # __init__.py and __main__.py see the whole house

# "file: imported module" -> reason. Only ever shorter: an entry that is no longer needed fails the test.
EXCEPTIONS: dict[str, str] = {}

HEAVY = ("sklearn", "matplotlib", "rich", "torch", "jax", "pooch", "pandas", "scipy")


def floor_of(path: Path) -> int:
    parts = path.relative_to(SOURCE).parts
    if len(parts) == 1 and parts[0] in ("__init__.py", "__main__.py"):
        return ROOF
    room = parts[0].removesuffix(".py")
    assert room in FLOORS, f"{path.name}: the room {room!r} has no floor; give it one in FLOORS"
    return FLOORS[room]


def imported(path: Path) -> list[tuple[int, str]]:
    """Line and absolute dotted name of every import in a file, also those inside functions."""
    package = ("ranvier", *path.relative_to(SOURCE).parts[:-1])
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            # `from ranvier import ops` names a room; `from ranvier.ops import table` names one already
            found += [
                (node.lineno, f"{module}.{alias.name}" if module == "ranvier" else module) for alias in node.names
            ]
    return found


def test_imports_point_downwards() -> None:
    upward, used = [], set()
    for path in sorted(SOURCE.rglob("*.py")):
        floor, name = floor_of(path), path.relative_to(SOURCE).as_posix()
        for line, module in imported(path):
            parts = module.split(".")
            if parts[0] != "ranvier":
                continue
            target = FLOORS.get(parts[1], ROOF) if len(parts) > 1 else ROOF
            if target > floor:
                key = f"{name}: {module}"
                used.add(key)
                if key not in EXCEPTIONS:
                    upward.append(f"{name}:{line} (floor {floor}) imports {module} (floor {target})")
    assert not upward, "imports that point upwards:\n" + "\n".join(upward)
    assert used == set(EXCEPTIONS), f"exceptions no longer needed: {set(EXCEPTIONS) - used}"


def test_import_ranvier_is_light() -> None:
    code = "import sys, ranvier; print(' '.join(sorted({name.split('.')[0] for name in sys.modules})))"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.split())
    assert "numpy" in loaded
    assert not loaded & set(HEAVY), (
        f"`import ranvier` loads {sorted(loaded & set(HEAVY))}; import them where they are used"
    )


def test_public_modules_import_without_warnings() -> None:
    code = (
        "import importlib, pkgutil, ranvier\n"
        "for info in pkgutil.walk_packages(ranvier.__path__, 'ranvier.'):\n"
        "    if not info.name.endswith('__main__'):\n"
        "        importlib.import_module(info.name)\n"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
