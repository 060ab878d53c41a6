"""Writes docs/cli.md from the command line's own parsers, so that the page cannot say anything else.

Usage: ``python scripts/update_cli_docs.py [--check]`` (with ``--check`` it only says whether the page is up to date).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from ranvier.cli.main import EXIT_CODES, build_parser

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"

HEAD = """# The command line

Written by `python scripts/update_cli_docs.py` from the parsers themselves; a test compares the two.

`ranvier COMMAND --help` prints the same. `python -m ranvier` is the same command. Results go to the standard output,
messages and warnings to the standard error; with `--json` the standard output holds one JSON document and nothing
else.
"""

RUN_FOLDER = """
## The run folder

`ranvier train` writes `runs/DATA-TIME` (or the folder of `--out`). It appears whole or not at all, and an existing
folder is never replaced.

| file | what it holds |
| --- | --- |
| `model.safetensors` | weights, structure and input signature; `rv.load_model` reads it |
| `history.csv` | loss and accuracy on the training and test part, one row for each epoch |
| `settings.json` | the data, its classes, the network, the optimizer, the seed, and the command that repeats the run |
| `environment.json` | versions, processor, threads, time |
| `results.json` | accuracy with its interval, loss, confusion matrix, times; status: finished, interrupted, diverged |
| `report.html` | curves, confusion matrix, misclassified samples and the first layer as pictures, in one file |
"""


def cell(text: str) -> str:
    """Text inside a table."""
    return " ".join(text.split()).replace("|", "\\|")


def rows(parser: argparse.ArgumentParser) -> Iterator[str]:
    """A table row for each argument and option."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction | argparse._HelpAction):
            continue
        name = action.metavar or (action.dest.upper() if not action.option_strings else "")
        if action.choices and not action.metavar:
            name = "{" + ",".join(map(str, action.choices)) + "}"
        takes = f" {name}" if name and action.nargs != 0 else ""
        shown = ", ".join(f"`{option}{takes}`" for option in action.option_strings) or f"`{name}`"
        yield f"| {shown} | {cell(action.help or '')} |"


def section(parser: argparse.ArgumentParser, title: str) -> str:
    """Description, arguments, examples and notes of one parser."""
    examples = "\n".join(getattr(parser, "examples", ()))
    parts = [title, getattr(parser, "about", ""), f"```sh\n{examples}\n```"]
    parts.append("\n".join(["| argument | meaning |", "| --- | --- |", *rows(parser)]))
    after = getattr(parser, "after", "")
    if after and not after.startswith("exit codes"):
        parts.append(after)
    return "\n\n".join(part for part in parts if part)


def page() -> str:
    """The whole page."""
    parser = build_parser()
    verbs = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction)).choices
    parts = [HEAD, section(parser, "## ranvier") + "\n"]
    parts += [section(verb, f"## ranvier {name}") + "\n" for name, verb in verbs.items()]
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    parts.append(f"## Exit codes\n\n| code | meaning |\n| --- | --- |\n{codes}\n")
    parts.append(RUN_FOLDER.lstrip("\n"))
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    """Write the page, or check it."""
    text = page()
    if "--check" in arguments:
        same = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text
        if not same:
            print("docs/cli.md is out of date; run: python scripts/update_cli_docs.py")
        return 0 if same else 1
    PAGE.write_text(text, encoding="utf-8")
    print("docs/cli.md rewritten")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
