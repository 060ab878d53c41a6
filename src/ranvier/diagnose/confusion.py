"""Which classes are taken for which: the confusion matrix counted, summed up, and drawn.

Row = what it is, column = what the model said; entry = how often. The diagonal holds what was right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ranvier.diagnose.charts import colour
from ranvier.diagnose.markup import count, element, percent, text
from ranvier.errors import ArgumentError, DataError, ShapeError, describe

__all__ = ["ClassScore", "Confusion", "class_scores", "confusion_counts", "confusion_svg", "most_confused"]

Counts = np.ndarray[Any, np.dtype[np.int64]]

_CHARACTER = 7.9  # width of a bold character at 13 pixels in the wider of the usual fonts


class Confusion(NamedTuple):
    """One kind of mistake: ``times`` samples of class ``true`` were taken for class ``said``."""

    true: str
    said: str
    times: int


class ClassScore(NamedTuple):
    """How one class fared. ``recall`` = right / total, ``precision`` = right / said; NaN where that divides by 0."""

    name: str
    total: int
    right: int
    said: int
    recall: float
    precision: float
    taken_for: str


def confusion_counts(y_true: Any, y_pred: Any, classes: int | None = None) -> Counts:
    """The confusion matrix of true and predicted classes.

    Args:
        y_true: whole numbers from 0, shape ``(samples,)``.
        y_pred: the same for what the model said.
        classes: number of classes; by default the largest number that occurs, plus 1.

    Returns:
        int64 ``(classes, classes)``; entry ``[i, j]`` counts samples of class i that were called j.

    Raises:
        ShapeError: not two vectors of one length.
        DataError: entries that are no class numbers.

    Example:
        >>> confusion_counts([0, 1, 1, 2], [0, 1, 2, 2])
        array([[1, 0, 0],
               [0, 1, 1],
               [0, 0, 1]])
    """
    true, said = np.asarray(y_true), np.asarray(y_pred)
    if true.ndim != 1 or true.shape != said.shape:
        raise ShapeError(
            f"confusion_counts: expected two vectors of one length, got {describe(true)} and {describe(said)}."
        )
    for name, array in (("y_true", true), ("y_pred", said)):
        if len(array) and (array.dtype.kind not in "iu" or int(array.min()) < 0):
            raise DataError(f"confusion_counts: {name} must hold class numbers 0, 1, 2, ...; got {describe(array)}.")
    highest = max(int(true.max()), int(said.max())) + 1 if len(true) else 0
    size = highest if classes is None else classes
    if highest > size:
        raise DataError(f"confusion_counts: expected classes 0 to {size - 1}, found {highest - 1}.")
    flat = true.astype(np.int64) * size + said.astype(np.int64)
    return np.bincount(flat, minlength=size * size).reshape(size, size).astype(np.int64)


def checked(matrix: Any, labels: Sequence[object] | None, who: str) -> tuple[Counts, list[str]]:
    """A matrix as int64 and its labels as text, or an error that says what is wrong with them."""
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ShapeError(f"{who}: expected a square confusion matrix, got {describe(counts)}.")
    if counts.dtype.kind not in "iu" or int(counts.min()) < 0:
        raise DataError(f"{who}: expected counts (whole numbers from 0), got {describe(counts)}.")
    names = [str(index) for index in range(len(counts))] if labels is None else [str(label) for label in labels]
    if len(names) != len(counts):
        raise ArgumentError(f"{who}: {len(counts)} classes, but {len(names)} labels.")
    return counts.astype(np.int64), names


def most_confused(matrix: Any, labels: Sequence[object] | None = None, limit: int = 5) -> list[Confusion]:
    """The most frequent mistakes, most frequent first.

    Args:
        matrix: counts as from :func:`confusion_counts`.
        labels: class names; by default the class numbers.
        limit: how many to give at most.
    """
    counts, names = checked(matrix, labels, "most_confused")
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(index), len(counts)) for index in order]
    return [Confusion(names[i], names[j], int(wrong[i, j])) for i, j in pairs if wrong[i, j]]


def class_scores(matrix: Any, labels: Sequence[object] | None = None) -> list[ClassScore]:
    """Recall, precision and the commonest mistake of every class.

    Args:
        matrix: counts as from :func:`confusion_counts`.
        labels: class names; by default the class numbers.
    """
    counts, names = checked(matrix, labels, "class_scores")
    scores = []
    for index, name in enumerate(names):
        row, right = counts[index], int(counts[index, index])
        total, said = int(row.sum()), int(counts[:, index].sum())
        others = [(int(times), other) for other, times in enumerate(row) if other != index and times]
        most = max(others, key=lambda pair: pair[0], default=(0, -1))
        taken_for = f"{names[most[1]]} ({most[0]})" if most[0] else ""
        recall, precision = right / total if total else math.nan, right / said if said else math.nan
        scores.append(ClassScore(name, total, right, said, recall, precision, taken_for))
    return scores


def _summary(counts: Counts, names: list[str]) -> str:
    right, total = int(np.trace(counts)), int(counts.sum())
    pairs = most_confused(counts, names, 3)
    worst = "; ".join(f"{pair.true} taken for {pair.said} {count(pair.times)} times" for pair in pairs)
    told = f" Most frequent mistakes: {worst}." if worst else ""
    return f"Confusion matrix of {len(names)} classes: {count(right)} of {count(total)} right.{told}"


def number_ink(strength: float) -> str:
    """The colour that a number is readable in on a fill of some strength, on light pages and on dark ones."""
    return "on-fill" if strength > 0.84 else "on-mid" if strength > 0.6 else "ink"


def _cell(counts: Counts, names: list[str], i: int, j: int, x: float, y: float, size: float, scale: float) -> str:
    """One square: blue for right, orange for wrong, the stronger the more."""
    value, total = int(counts[i, j]), int(counts[i].sum())
    share = value / total if total else 0.0
    strength = 0.15 + 0.85 * share if i == j else 0.10 + 0.90 * (value / scale) ** 0.7
    hue = "blue" if i == j else "orange"
    fill = f"fill:{colour(hue)};fill-opacity:{strength:.2f}" if value else f"fill:{colour('muted')};fill-opacity:0.06"
    inside = size - max(1.0, size * 0.05)
    parts = [element("rect", x=x, y=y, width=inside, height=inside, rx=min(3.0, size / 10), style=fill)]
    font = min(14.0, size * 0.44, size * 1.5 / max(1, len(count(value))))
    if value and size >= 15:
        ink = number_ink(strength)
        at = {"x": x + inside / 2, "y": y + inside / 2 + font * 0.36, "text_anchor": "middle", "font_size": font}
        parts.append(element("text", count(value), **at, style=f"fill:{colour(ink)};font-weight:600"))
    said = f"{names[i]}, called {names[j]}: {count(value)} of {count(total)}"
    return element("g", element("title", text(said)), *parts)


def _turned(x: float, y: float) -> str:
    """The transformation that writes upwards from a point."""
    return f"translate({x:.1f} {y:.1f}) rotate(-90)"


def _whole_percent(right: int, total: int) -> str:
    """A share in whole percent that says 100 or 0 only when it is exactly that."""
    if not total:
        return "–"
    rounded = round(100 * right / total)
    return percent(min(max(rounded, 1 if right else 0), 100 if right == total else 99) / 100, 0)


def confusion_svg(matrix: Any, labels: Sequence[object] | None = None, *, width: int = 430) -> str:
    """The confusion matrix as one ``<svg>`` element, with each class's share of right answers beside its row.

    Args:
        matrix: counts, ``(classes, classes)``; row = what it is, column = what the model said.
        labels: class names; by default the class numbers.
        width: of the picture, in its own units.

    Raises:
        ShapeError: the matrix is not square.
        DataError: the matrix holds other things than counts.
        ArgumentError: the number of labels is another than that of the classes.
    """
    counts, names = checked(matrix, labels, "confusion_svg")
    short = [name if len(name) <= 14 else name[:13] + "…" for name in names]
    longest = max(len(name) for name in short)
    right, labels_wide = 46.0, 24 + _CHARACTER * longest
    size = min(92.0, (width - labels_wide - right) / len(names))
    left = labels_wide + (width - labels_wide - right - size * len(names)) / 2  # few classes stand in the middle
    upright = _CHARACTER * longest + 4 > size
    top = 28 + (_CHARACTER * longest if upright else 16.0)
    edge = left + size * len(names) + right
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    scale = float(max(4, wrong.max()))  # a single mistake among few stays pale
    muted, ink = f"fill:{colour('muted')}", f"fill:{colour('ink')};font-weight:600"
    font = min(13.0, size * 0.8)
    middle, centre = left + size * len(names) / 2, top + size * len(names) / 2
    parts = [
        element("text", "the model said", x=middle, y=13.0, text_anchor="middle", style=muted),
        element("text", "right", x=edge - 4, y=top - 8, text_anchor="end", style=muted),
        element("text", "it is", transform=_turned(left - labels_wide + 13, centre), text_anchor="middle", style=muted),
    ]  # fmt: skip
    for i, name in enumerate(short):
        x, y, row = left + (i + 0.48) * size, top + i * size, top + (i + 0.48) * size + 4.5
        if upright:
            turned = _turned(x + 4, top - 6)
            parts.append(element("text", text(name), transform=turned, font_size=font, style=ink))
        else:
            parts.append(element("text", text(name), x=x, y=top - 8, text_anchor="middle", font_size=font, style=ink))
        parts.append(element("text", text(name), x=left - 8, y=row, text_anchor="end", font_size=font, style=ink))
        parts += [_cell(counts, names, i, j, left + j * size, y, size, scale) for j in range(len(names))]
        total = int(counts[i].sum())
        shown = _whole_percent(int(counts[i, i]), total)
        parts.append(
            element("text", shown, x=edge - 4, y=row, text_anchor="end", font_size=min(font, 12.5), style=muted)
        )
    height = math.ceil(top + size * len(names) + 6)
    attributes = {"viewBox": f"0 0 {width} {height}", "role": "img", "class_": "chart matrix", "font_size": "12.5"}
    return element("svg", *parts, **attributes, aria_label=_summary(counts, names), xmlns="http://www.w3.org/2000/svg")
