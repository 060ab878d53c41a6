"""The public surface is enumerated: `__all__` is sorted and complete, and every public name is documented as it is."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.smoke

SOURCE = Path(__file__).resolve().parents[2] / "src" / "ranvier"

# The compiler's rooms are documented for their readers, but are no namespace of the user; the command line is used by
# its commands.
INNER = ("compiler", "cli")


def module_names(inner: bool = False) -> list[str]:
    """Dotted names of the package's modules; without `inner`, only those in the user's namespaces."""
    names = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if path.stem == "__main__" or (not inner and parts[0] in INNER):
            continue
        if not inner and any(part.startswith("_") and part != "__init__" for part in parts):
            continue
        names.append(".".join(("ranvier", *(part for part in parts if part != "__init__"))))
    return names


def order(name: str) -> tuple[int, list[tuple[int, str]]]:
    """Sorting key of `__all__`, as ruff sorts: CONSTANTS, then Classes, then the rest; int8 before int16."""
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    parts = re.findall(r"\d+|\D+", name)
    return kind, [(int(part), "") if part.isdigit() else (0, part) for part in parts]


@cache
def load(name: str) -> ModuleType:
    return importlib.import_module(name)


def public_namespaces() -> list[str]:
    """`ranvier`, its rooms and their folders: what a user can reach by attribute and is meant to."""
    return [name for name in module_names() if name.count(".") <= 1 or hasattr(load(name), "__path__")]


def defined_here(module: ModuleType) -> set[str]:
    """Public functions and classes that a module defines, or for a folder, takes from the files inside it."""
    inside = module.__name__ if not hasattr(module, "__path__") else module.__name__ + "."
    found = set()
    for name, value in vars(module).items():
        if name.startswith("_") or not (inspect.isclass(value) or inspect.isroutine(value)):
            continue
        origin = getattr(value, "__module__", "") or ""
        if origin == module.__name__ or (hasattr(module, "__path__") and origin.startswith(inside)):
            found.add(name)
    return found


@cache
def nodes() -> list[ast.AST]:
    """Every import from a module and every attribute look-up in the package."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))]
    return [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom | ast.Attribute)]


def used_elsewhere(module: ModuleType) -> set[str]:
    """Names of a module that other files of the package import from it: shared inside the house, not public."""
    found: set[str] = set()
    short = module.__name__.split(".")[-1]
    for node in nodes():
        if isinstance(node, ast.ImportFrom):
            if node.module in (module.__name__, short):
                found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == short:
            found.add(node.attr)
    return found


def documented() -> list[tuple[str, str, object]]:
    """Module, name and value of every public function and class, each once."""
    seen, found = set(), []
    for module_name in public_namespaces():
        for name in getattr(load(module_name), "__all__", ()):
            value = getattr(load(module_name), name)
            if (inspect.isclass(value) or inspect.isroutine(value)) and id(value) not in seen:
                seen.add(id(value))
                found.append((module_name, name, value))
    return found


def arguments_of(value: object) -> list[str] | None:
    """Parameter names of a function or constructor, or None when Python cannot tell."""
    try:
        signature = inspect.signature(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return [name for name in signature.parameters if name not in ("self", "cls")]


def documented_arguments(docstring: str) -> list[str] | None:
    """Names listed in the `Args:` section, or None without such a section."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", inspect.cleandoc(docstring), re.MULTILINE)
    if section is None:
        return None
    lines = section[1].splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    names: list[str] = []
    for line in lines:
        entry = re.match(rf" {{{indent}}}((?:\*{{0,2}}\w+(?:, )?)+)(?: \([^)]*\))?:", line)
        if entry:
            names += [name.lstrip("*") for name in entry[1].split(", ")]
    return names


def test_all_is_sorted_and_names_exist() -> None:
    wrong = []
    for name in module_names(inner=True):
        module = load(name)
        listed = getattr(module, "__all__", None)
        if listed is None:
            continue
        if list(listed) != sorted(set(listed), key=order):
            wrong.append(f"{name}.__all__ is not sorted: {sorted(set(listed), key=order)}")
        missing = [entry for entry in listed if not hasattr(module, entry)]
        if missing:
            wrong.append(f"{name}.__all__ names what is not there: {missing}")
    assert not wrong, "\n".join(wrong)


def test_public_modules_enumerate_their_names() -> None:
    silent = [name for name in module_names() if not hasattr(load(name), "__all__")]
    assert silent == [], "modules without __all__"


def test_all_is_complete() -> None:
    wrong = []
    for name in public_namespaces():
        module = load(name)
        extra = defined_here(module) - set(getattr(module, "__all__", ()))
        loose = sorted(extra if hasattr(module, "__path__") else extra - used_elsewhere(module))
        if loose:
            wrong.append(f"{name}: {loose}: list them in __all__, or start them with an underscore")
    assert not wrong, "\n".join(wrong)


def test_public_names_have_docstrings() -> None:
    bare = []
    for module_name, name, value in documented():
        own = value.__dict__.get("__doc__") if inspect.isclass(value) else value.__doc__
        if not (own or "").strip():
            bare.append(f"{module_name}.{name}")
        elif inspect.isclass(value):
            bare += [
                f"{module_name}.{name}.{method}"
                for method, function in vars(value).items()
                if inspect.isfunction(function)
                and not method.startswith("_")
                and not inspect.getdoc(getattr(value, method))
            ]
    assert bare == [], "public names without a docstring"


def test_documented_arguments_are_the_real_ones() -> None:
    wrong = []
    for module_name, name, value in documented():
        places = [(name, value)]
        if inspect.isclass(value):
            places += [
                (f"{name}.{method}", function)
                for method, function in vars(value).items()
                if inspect.isfunction(function) and (not method.startswith("_") or method == "__init__")
            ]
        for place, target in places:
            listed, real = documented_arguments(getattr(target, "__doc__", None) or ""), arguments_of(target)
            if listed is not None and real is not None and listed != real:
                wrong.append(f"{module_name}.{place}: documented {listed}, in the signature {real}")
    assert not wrong, "\n".join(wrong)


def test_the_argument_reader() -> None:
    text = (
        "Summary.\n\nArgs:\n    x: an array, shape: any.\n        More: about it.\n"
        "    y, z (float): two.\n    **rest: other.\n\nReturns:\n    q: no."
    )
    assert documented_arguments(text) == ["x", "y", "z", "rest"]
    assert documented_arguments("Only a summary.") is None
