"""What the terminal shows: aligned in cells, free of control characters, the right pixels."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest

from ranvier.diagnose import confusion_text, image_text, print_table, table_text
from ranvier.diagnose.text import cells
from ranvier.errors import ArgumentError, DataError, ShapeError


@pytest.mark.smoke
def test_table():
    assert table_text(["layer", "parameters"], [["dense", 2080], ["dense_1", 330]], right=[1]).splitlines() == [
        "layer    parameters",
        "-------  ----------",
        "dense          2080",
        "dense_1         330",
    ]
    assert table_text(["a"], []) == "a\n-"
    with pytest.raises(ShapeError, match="expected 2 entries a row, row 1 has 1"):
        table_text(["a", "b"], [[1, 2], [3]])


def test_wide_and_combining_characters_are_counted_in_cells():
    assert cells("数字") == 4
    assert cells("é") == 1
    assert cells("e\u0301") == 1
    lines = table_text(["x", "y"], [["数字", "1"], ["abcd", "2"]]).splitlines()
    assert lines[2] == "数字  1"
    assert lines[3] == "abcd  2"


def test_control_characters_never_reach_the_terminal():
    shown = table_text(["\x1b[31mred", "a\nb"], [["\x07\x9b", "\u202eabc"]])
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert "\u202e" not in shown
    assert "\x1b" not in confusion_text([[1]], ["\x1b]0;title\x07"])


def test_confusion():
    assert confusion_text([[36, 0], [2, 35]], ["cat", "dog"]).splitlines() == [
        "     cat  dog    right",
        "cat   36    ·  100.0 %",
        "dog    2   35   94.6 %",
    ]


def test_confusion_of_digits_is_aligned():
    matrix = np.diag(np.arange(90, 100)) + np.eye(10, k=3, dtype=int) * 123
    lines = confusion_text(matrix).splitlines()
    assert len(lines) == 11
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split() == ["0", "90", "·", "·", "123", *["·"] * 6, "42.3", "%"]


def test_confusion_with_long_names_and_an_empty_class():
    lines = confusion_text([[5, 1, 0], [0, 7, 0], [0, 0, 0]], ["T-shirt/top", "数字数字数字", "bag"]).splitlines()
    assert len({cells(line.rstrip()) for line in lines}) == 1
    assert "T-shirt…" in lines[0]
    assert lines[3].endswith("–")


def test_confusion_refuses():
    with pytest.raises(ShapeError, match="confusion_text: expected a square"):
        confusion_text([[1, 2]])
    with pytest.raises(DataError, match="confusion_text: expected counts"):
        confusion_text([[1.5]])
    with pytest.raises(ArgumentError, match="confusion_text: 1 classes, but 3 labels"):
        confusion_text([[1]], "abc")


def test_half_blocks_show_each_pixel():
    image = np.random.default_rng(0).integers(0, 2, (6, 9))
    image[0, 0], image[0, 1] = 0, 1  # both values occur
    lines = [line.ljust(9) for line in image_text(image, style="half").splitlines()]
    shown = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}
    for row, line in enumerate(lines):
        for column, letter in enumerate(line):
            assert shown[letter] == (image[2 * row, column], image[2 * row + 1, column])
    assert len(image_text(image[:5], style="half").split("\n")) == 3


def test_shades():
    assert image_text([[0, 4, 8, 12, 16]]) == "  ░░▒▒▓▓██"
    assert image_text([[0, 4, 8, 12, 16]], style="ascii") == "  ..::**##"
    assert image_text([[0, 8]], low=0, high=16) == "  ▒▒"
    assert image_text(np.zeros((28, 28))).count("\n") == 13  # larger images take half blocks


def test_colour_codes():
    shown = image_text([[0, 255], [255, 0]], colour=True)
    assert shown == "\x1b[38;5;232;48;5;255m▀\x1b[38;5;255;48;5;232m▀\x1b[0m"


def test_image_channels_and_refusals():
    grey = np.arange(16).reshape(4, 4)
    assert image_text(grey[:, :, None]) == image_text(grey)
    assert image_text(np.repeat(grey[:, :, None], 3, axis=2)) == image_text(grey)
    with pytest.raises(ShapeError, match=r"image_text: expected an image \(rows, columns\)"):
        image_text([1, 2, 3])
    with pytest.raises(ArgumentError, match="style must be 'auto', 'half', 'shade' or 'ascii', got 'braille'"):
        image_text(grey, style="braille")


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_print_table_plain_and_on_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    plain, terminal = io.StringIO(), Terminal()
    rows = [["[bold]dense", 2080], ["dense_1", 330]]
    print_table(["layer", "parameters"], rows, [1], title="Network", file=plain)
    assert plain.getvalue() == "Network\n" + table_text(["layer", "parameters"], rows, [1]) + "\n"
    print_table(["layer", "parameters"], rows, [1], title="Network", file=terminal)
    for part in ("Network", "[bold]dense", "2080", "parameters"):
        assert part in terminal.getvalue()


def test_rich_is_not_imported_before_it_is_needed():
    code = "import sys, ranvier.diagnose as d; d.table_text(['a'], [[1]]); print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
