"""What the verbs' parsers share: the shape of the help, and the types of arguments.

A value that cannot be right (``--epochs -1``) is refused while the command line is read, before anything is done.
"""

from __future__ import annotations

import argparse
import math
import textwrap
from collections.abc import Sequence
from typing import Any

__all__ = ["Parser", "common", "learning_rate", "natural", "positive", "seed", "widths"]


class Parser(argparse.ArgumentParser):
    """A parser whose help ends with examples.

    Args:
        description: what the command does.
        examples: command lines to show.
        after: text to show after them.
        **options: as for argparse.
    """

    def __init__(self, *, description: str = "", examples: Sequence[str] = (), after: str = "", **options: Any):
        self.about, self.examples, self.after = description, tuple(examples), after
        parts = ["examples:\n" + "\n".join(f"  {line}" for line in examples)] if examples else []
        epilog = "\n\n".join([*parts, after] if after else parts)
        formatter = argparse.RawDescriptionHelpFormatter
        wrapped = textwrap.fill(description, 79)  # the formatter leaves texts as they are
        super().__init__(description=wrapped, epilog=epilog, formatter_class=formatter, allow_abbrev=False, **options)


def common(parser: argparse.ArgumentParser, default: Any = argparse.SUPPRESS) -> None:
    """Options that every command has (and that may also stand before the command's name)."""
    parser.add_argument(
        "--traceback", action="store_true", default=default, help="after an error, also show where in the code it arose"
    )


def _whole(text: str, least: int, most: int, what: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"expected {what}, got {text!r}")
    return value


def positive(text: str) -> int:
    """A whole number of at least 1."""
    return _whole(text, 1, 2**31 - 1, "a whole number of at least 1")


def natural(text: str) -> int:
    """A whole number of at least 0."""
    return _whole(text, 0, 2**31 - 1, "a whole number of at least 0")


def seed(text: str) -> int:
    """A whole number that random numbers can start from."""
    return _whole(text, 0, 2**32 - 1, "a whole number from 0 to 4294967295")


def learning_rate(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def widths(text: str) -> tuple[int, ...]:
    """Widths of hidden layers, separated by commas; ``none`` for no hidden layer."""
    if text.strip().lower() in ("none", ""):
        return ()
    what = "widths such as 128,64 (each from 1 to 65536), or none"
    return tuple(_whole(part.strip() or "0", 1, 65536, what) for part in text.split(","))
