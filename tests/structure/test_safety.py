"""Opening a file never runs code, and only config.py reads the environment."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.smoke

SOURCE = Path(__file__).resolve().parents[2] / "src" / "ranvier"
UNSAFE_MODULES = {
    "cPickle", "cloudpickle", "code", "dill", "imp", "joblib", "marshal", "pickle", "runpy", "shelve", "yaml",
}  # fmt: skip
UNSAFE_CALLS = {"__import__", "eval", "exec", "execfile"}
UNSAFE_ATTRIBUTES = {"SourceFileLoader", "load_module", "module_from_spec", "spec_from_file_location"}


def violations(check: Callable[[ast.AST], str | None], skip: tuple[str, ...] = ()) -> list[str]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if name in skip:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = check(node)
            if text:
                found.append(f"{name}:{getattr(node, 'lineno', 0)}: {text}")
    return found


def names(node: ast.AST) -> Iterator[str]:
    """Modules that an import statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name.split(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module.split(".")[0]


def unsafe(node: ast.AST) -> str | None:
    for name in names(node):
        if name in UNSAFE_MODULES:
            return f"imports {name}"
    if isinstance(node, ast.ImportFrom):
        for alias in node.names:
            if alias.name in UNSAFE_ATTRIBUTES:
                return f"imports {alias.name}"
    if isinstance(node, ast.Attribute) and node.attr in UNSAFE_ATTRIBUTES:
        return f"uses {node.attr}"
    if not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Name) and node.func.id in UNSAFE_CALLS:
        return f"calls {node.func.id}"
    for keyword in node.keywords:
        plain_false = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
        if keyword.arg == "allow_pickle" and not plain_false:
            return "passes allow_pickle, and not the constant False"
    if isinstance(node.func, ast.Attribute) and node.func.attr == "import_module":
        if not (node.args and isinstance(node.args[0], ast.Constant)):
            return "imports a module whose name is computed"
    return None


def reads_environment(node: ast.AST) -> str | None:
    words = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    if isinstance(node, ast.Attribute) and node.attr in words:
        return f"uses {node.attr}"
    if isinstance(node, ast.ImportFrom) and node.module == "os" and {alias.name for alias in node.names} & words:
        return "imports the environment from os"
    return None


def test_nothing_runs_code_from_files() -> None:
    assert violations(unsafe) == []


def test_only_config_reads_the_environment() -> None:
    assert violations(reads_environment, skip=("config.py",)) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "import yaml.loader",
        "eval('1')",
        "exec(text)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "importlib.util.spec_from_file_location('m', path)",
        "importlib.import_module(name)",
    ],
)
def test_the_check_sees(line: str) -> None:
    assert any(unsafe(node) for node in ast.walk(ast.parse(line)))


@pytest.mark.parametrize("line", ["model.compile(x)", "np.load(p, allow_pickle=False)", "re.compile('x')"])
def test_the_check_allows(line: str) -> None:
    assert not any(unsafe(node) for node in ast.walk(ast.parse(line)))
