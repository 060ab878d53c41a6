"""Runs the demo and copies what it prints into both READMEs, between the ``demo`` marks.

The progress lines are cut to the first and the last two, so that the block fits on the first screen.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- demo:begin -->", "<!-- demo:end -->"
COMMAND = "ranvier train digits"


def run_demo() -> str:
    """What the demo prints, as a plain 100-column terminal shows it."""
    program = Path(sys.executable).parent / "ranvier"
    with tempfile.TemporaryDirectory(prefix="ranvier-demo-") as folder:
        environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "RANVIER_CACHE_DIR": f"{folder}/cache"}
        result = subprocess.run(
            [program, *COMMAND.split()[1:]], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    if result.returncode:
        sys.exit(f"update_readme: `{COMMAND}` failed with status {result.returncode}:\n{result.stderr}")
    return result.stdout


def shorten(output: str) -> str:
    """Keep the first and the last two of the lines that report an epoch."""
    lines = [line.rstrip() for line in output.strip("\n").splitlines()]
    epochs = [number for number, line in enumerate(lines) if line.lower().startswith("epoch")]
    dropped = set(epochs[1:-2])
    if not dropped:
        return "\n".join(lines)
    kept = [line if number not in dropped else "..." for number, line in enumerate(lines)]
    return "\n".join(line for number, line in enumerate(kept) if line != "..." or kept[number - 1] != "...")


def main() -> int:
    """Rewrite the block in every README."""
    block = f"{BEGIN}\n\n```text\n{shorten(run_demo())}\n```\n\n{END}"
    for name in ("README.md", "README.zh.md"):
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        path.write_text(before + block + rest.split(END)[1], encoding="utf-8")
        print(f"{name} rewritten")
    return 0


if __name__ == "__main__":
    sys.exit(main())
