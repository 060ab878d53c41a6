"""Where a command's words go: the result to the standard output, talk beside it, all of it silent on request.

With ``--json`` the standard output holds one JSON document and nothing else; talk moves to the standard error.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

__all__ = ["Console", "plain_data", "side_by_side"]


_ASCII = str.maketrans({"·": ".", "×": "x", "→": ">", "█": "#", "░": ".", "µ": "u"})


class Console:
    """The output of one command.

    Args:
        json: the result is wanted as JSON.
        quiet: no talk, only results.
    """

    def __init__(self, json: bool = False, quiet: bool = False):
        self.json, self.quiet = json, quiet

    @property
    def stream(self) -> TextIO:
        """Where people read."""
        return sys.stderr if self.json else sys.stdout

    @property
    def live(self) -> bool:
        """Whether lines can be rewritten: a terminal that shows talk."""
        return not self.quiet and self.stream.isatty()

    @property
    def width(self) -> int:
        """Columns of the terminal; 100 where there is none."""
        return shutil.get_terminal_size((100, 24)).columns

    @property
    def unicode(self) -> bool:
        """Whether the stream can show more than ASCII."""
        return "utf" in (self.stream.encoding or "").lower()

    def readable(self, text: str) -> str:
        """``text`` in ASCII where the stream knows no more."""
        return text if self.unicode else text.translate(_ASCII)

    def talk(self, text: str = "") -> None:
        """Something for people, left out with ``--quiet``."""
        if not self.quiet:
            print(self.readable(text), file=self.stream, flush=True)

    def tell(self, text: str) -> None:
        """A line of the result for people: printed also with ``--quiet``, but not with ``--json``."""
        if not self.json:
            print(self.readable(text), flush=True)

    def warn(self, text: str) -> None:
        """Something that went wrong, on the standard error."""
        print(f"ranvier: {text}", file=sys.stderr, flush=True)

    def result(self, value: Mapping[str, Any]) -> None:
        """The result for programs, printed with ``--json``."""
        if self.json:
            print(json.dumps(plain_data(value), indent=2, ensure_ascii=False, allow_nan=False), flush=True)


def plain_data(value: Any) -> Any:
    """A value as JSON knows it: NumPy numbers and arrays become plain ones, what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): plain_data(entry) for key, entry in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain_data(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def side_by_side(blocks: Sequence[tuple[str, str]], width: int, rows: int = 0, gap: int = 3) -> str:
    """Blocks of text, each under its title, in as many columns as fit into ``width``.

    Args:
        blocks: ``(title, text)``.
        width: columns of the terminal.
        rows: the most rows of blocks to show; 0 for all.
        gap: empty columns between blocks.
    """
    from ranvier.diagnose.text import cells

    if not blocks:
        return ""
    wide = max(max(cells(line) for line in (title, *body.split("\n"))) for title, body in blocks)
    count = max(1, (width + gap) // (wide + gap))
    lines: list[str] = []
    shown = blocks if not rows else blocks[: rows * count]
    for start in range(0, len(shown), count):
        columns = [[title, *body.split("\n")] for title, body in shown[start : start + count]]
        height = max(map(len, columns))
        for line in range(height):
            parts = [column[line] if line < len(column) else "" for column in columns]
            lines.append((" " * gap).join(part + " " * (wide - cells(part)) for part in parts).rstrip())
        lines.append("")
    return "\n".join(lines[:-1])
