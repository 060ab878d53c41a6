"""``ranvier datasets``: which data sets there are, where they come from, and under which licence."""

from __future__ import annotations

import argparse
from typing import Any

from ranvier.cli import arguments
from ranvier.cli.console import Console
from ranvier.cli.recipes import RECIPES, Recipe, module_name

__all__ = ["add", "run"]

_PUBLISHED = {  # of the sets that are not inside the wheel: samples, features, classes, source, licence
    "mnist": (70_000, 784, 10, "Y. LeCun, C. Cortes, C. Burges (1998)", "CC BY-SA 3.0"),
    "fashion-mnist": (70_000, 784, 10, "H. Xiao, K. Rasul, R. Vollgraf (2017)", "MIT"),
}


def add(verbs: Any) -> None:
    """Declare the verb and its options."""
    parser = verbs.add_parser(
        "datasets",
        help="the data sets that can be trained on",
        description="List the data sets that `ranvier train` knows: size, where they are, source and licence.",
        examples=("ranvier datasets", "ranvier datasets --json"),
    )
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    arguments.common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the list; returns the exit code."""
    from ranvier.diagnose.text import table_text

    console = Console(args.json)
    facts = [_facts(recipe) for recipe in RECIPES.values()]
    console.result({"datasets": facts})
    rows = [[f["name"], f"{f['samples']:,}", f["features"], f["classes"], f["where"], f["title"]] for f in facts]
    console.tell(table_text(["name", "samples", "features", "classes", "where", "what"], rows, right=[1, 2, 3]))
    console.tell("")
    for fact in facts:
        console.tell(f"{fact['name']}: {fact['source']}. Licence: {fact['licence']}.")
    return 0


def _facts(recipe: Recipe) -> dict[str, Any]:
    from ranvier import datasets

    if recipe.bundled:
        whole = datasets.load(module_name(recipe.name))
        numbers = (len(whole.x), whole.x[0].size, len(whole.target_names))
        source, licence, where = whole.source, whole.licence, "inside"
    else:
        *three, source, licence = _PUBLISHED[recipe.name]
        numbers, where = tuple(three), "download"  # type: ignore[assignment]
    names = ("name", "title", "samples", "features", "classes", "where", "source", "licence")
    return dict(zip(names, (recipe.name, recipe.title, *numbers, where, source, licence), strict=True))
