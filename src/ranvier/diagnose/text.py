"""The terminal's view of a run: tables, the confusion matrix and small images as plain text.

Everything returns text except :func:`print_table`. Widths are counted in terminal cells, so that Chinese class names
line up too, and control characters in names are shown as marks instead of being sent to the terminal.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np

from ranvier.diagnose.confusion import checked
from ranvier.diagnose.pictures import grey_levels
from ranvier.errors import ArgumentError, ShapeError, describe

__all__ = ["confusion_text", "image_text", "print_table", "table_text"]

_SHADES = {"shade": " ░▒▓█", "ascii": " .:*#"}


def plain(value: object) -> str:
    """A value as one line of printable text."""
    shown = str(value).replace("\t", " ").replace("\n", " ")
    return "".join("\ufffd" if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co") else letter for letter in shown)


def cells(shown: str) -> int:
    """How many terminal cells a text takes: two for wide East Asian characters, none for combining marks."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in shown)
    return len(shown) + wide - sum(unicodedata.combining(letter) > 0 for letter in shown)


def _padded(shown: str, width: int, right: bool) -> str:
    space = " " * (width - cells(shown))
    return space + shown if right else shown + space


def table_text(headers: Sequence[object], rows: Sequence[Sequence[object]], right: Sequence[int] = ()) -> str:
    """Rows under headers, aligned, with a rule between.

    Args:
        headers: one per column.
        rows: each with as many entries as there are headers.
        right: numbers of the columns that are aligned to the right.

    Raises:
        ShapeError: a row has another number of entries than there are headers.

    Example:
        >>> print(table_text(["layer", "parameters"], [["dense", 2080], ["dense_1", 330]], right=[1]))
        layer    parameters
        -------  ----------
        dense          2080
        dense_1         330
    """
    head = [plain(entry) for entry in headers]
    body = [[plain(entry) for entry in row] for row in rows]
    for index, row in enumerate(body):
        if len(row) != len(head):
            raise ShapeError(f"table_text: expected {len(head)} entries a row, row {index} has {len(row)}.")
    widths = [max(cells(row[column]) for row in [head, *body]) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *body]
    return "\n".join(
        "  ".join(_padded(entry, widths[column], column in right) for column, entry in enumerate(line)).rstrip()
        for line in lines
    )


def print_table(
    headers: Sequence[object],
    rows: Sequence[Sequence[object]],
    right: Sequence[int] = (),
    *,
    title: str = "",
    file: TextIO | None = None,
) -> None:
    """Print a table: with rules and colours on a terminal, as :func:`table_text` gives it elsewhere.

    Args:
        headers: one per column.
        rows: each with as many entries as there are headers.
        right: numbers of the columns that are aligned to the right.
        title: a line above the table.
        file: where to; by default the standard output.
    """
    out = file if file is not None else sys.stdout
    if not out.isatty():
        out.write((plain(title) + "\n" if title else "") + table_text(headers, rows, right) + "\n")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(plain(title)) if title else None, box=box.SIMPLE_HEAD, title_justify="left")
    for column, header in enumerate(headers):
        table.add_column(Text(plain(header)), justify="right" if column in right else "left")
    for row in rows:
        table.add_row(*(Text(plain(entry)) for entry in row))  # Text: "[" in a name is no markup
    Console(file=out).print(table)


def confusion_text(matrix: Any, labels: Sequence[object] | None = None) -> str:
    """The confusion matrix as aligned text, zeros as dots, with each class's share of right answers at the end.

    Args:
        matrix: counts, ``(classes, classes)``; row = what it is, column = what the model said.
        labels: class names; by default the class numbers.

    Raises:
        ShapeError: the matrix is not square.
        DataError: the matrix holds other things than counts.
        ArgumentError: the number of labels is another than that of the classes.

    Example:
        >>> print(confusion_text([[36, 0], [2, 35]], ["cat", "dog"]))
             cat  dog    right
        cat   36    ·  100.0 %
        dog    2   35   94.6 %
    """
    counts, names = checked(matrix, labels, "confusion_text")
    names = [plain(name) for name in names]
    short = [name if cells(name) <= 8 else _cut(name, 7) + "…" for name in names]
    width = max([len(str(int(counts.max()))), *(cells(name) for name in short)])
    first = max(cells(name) for name in names)
    lines = [" " * first + "".join("  " + _padded(name, width, True) for name in short) + "    right"]
    for index, name in enumerate(names):
        total, right = int(counts[index].sum()), int(counts[index, index])
        entries = "".join(f"  {value or '·':>{width}}" for value in counts[index].tolist())
        share = f"{100 * right / total:5.1f} %" if total else "      –"
        lines.append(f"{_padded(name, first, False)}{entries}  {share}")
    return "\n".join(lines)


def _cut(shown: str, width: int) -> str:
    """As many letters as fit into ``width`` cells."""
    while cells(shown) > width:
        shown = shown[:-1]
    return shown


def image_text(
    image: Any, *, low: float | None = None, high: float | None = None, style: str = "auto", colour: bool = False
) -> str:
    """A small grey image as text, bright where the values are high.

    Args:
        image: ``(rows, columns)`` of real numbers; ``(rows, columns, 1)`` and RGB are accepted, RGB is averaged.
        low: the value drawn as empty; by default the smallest.
        high: the value drawn as full; by default the largest.
        style: ``"shade"``: two characters a pixel in five shades (best for 8 x 8); ``"half"``: half-block
            characters, two pixels above each other in one character (best for 28 x 28); ``"ascii"``: as ``"shade"``
            for terminals without these characters; ``"auto"``: shades up to 12 rows, half blocks beyond.
        colour: paint half blocks in 24 greys with terminal colour codes; otherwise a pixel is full or empty.

    Raises:
        ShapeError: not an image.
        ArgumentError: unknown style.

    Example:
        >>> print(image_text([[0, 1], [1, 0]], style="half"))
        ▄▀
        >>> print(image_text([[0, 8], [16, 12]], style="ascii"))
          ::
        ##**
    """
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[2] in (1, 3, 4):
        array = array[:, :, :3].mean(axis=2)
    if array.ndim != 2 or not array.size:
        raise ShapeError(f"image_text: expected an image (rows, columns), got {describe(image)}.")
    if style not in ("auto", "half", "shade", "ascii"):
        raise ArgumentError(f"image_text: style must be 'auto', 'half', 'shade' or 'ascii', got {style!r}.")
    levels = grey_levels(array, low, high)
    chosen = style if style != "auto" else ("shade" if len(levels) <= 12 and not colour else "half")
    if chosen != "half":
        ramp = _SHADES[chosen]
        index = (levels.astype(np.int64) * (len(ramp) - 1) + 127) // 255
        return "\n".join("".join(2 * ramp[i] for i in row).rstrip() for row in index.tolist())
    if len(levels) % 2:
        levels = np.vstack([levels, np.zeros((1, levels.shape[1]), np.uint8)])
    pairs = zip(levels[0::2].tolist(), levels[1::2].tolist(), strict=True)
    return "\n".join(_painted(top, bottom) if colour else _blocks(top, bottom) for top, bottom in pairs)


def _blocks(top: list[int], bottom: list[int]) -> str:
    """Two rows of pixels as one row of characters: full or empty halves."""
    return "".join(" ▄▀█"[2 * (a > 127) + (b > 127)] for a, b in zip(top, bottom, strict=True)).rstrip()


def _painted(top: list[int], bottom: list[int]) -> str:
    """Two rows of pixels as upper half blocks: foreground = upper pixel, background = lower."""
    shades = ((232 + a * 23 // 255, 232 + b * 23 // 255) for a, b in zip(top, bottom, strict=True))
    return "".join(f"\x1b[38;5;{a};48;5;{b}m▀" for a, b in shades) + "\x1b[0m"
