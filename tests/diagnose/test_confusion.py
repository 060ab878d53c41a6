"""The confusion matrix: counted as scikit-learn counts, drawn with every number, told in words."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from ranvier.diagnose import Confusion, class_scores, confusion_counts, confusion_svg, most_confused
from ranvier.errors import ArgumentError, DataError, ShapeError

SVG = "{http://www.w3.org/2000/svg}"
MATRIX = np.array([[36, 0, 1], [2, 30, 5], [0, 0, 0]])


@pytest.mark.smoke
def test_counts_against_a_loop():
    random = np.random.default_rng(0)
    true, said = random.integers(0, 7, 500), random.integers(0, 7, 500)
    expected = np.zeros((7, 7), int)
    for i, j in zip(true, said, strict=True):
        expected[i, j] += 1
    assert np.array_equal(confusion_counts(true, said), expected)
    assert confusion_counts(true.astype(np.uint8), said, classes=9).shape == (9, 9)


def test_counts_and_scores_against_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    random = np.random.default_rng(1)
    true, said = random.integers(0, 5, 300), random.integers(0, 5, 300)
    counts = confusion_counts(true, said)
    assert np.array_equal(counts, metrics.confusion_matrix(true, said))
    scores = class_scores(counts)
    assert [s.recall for s in scores] == pytest.approx(metrics.recall_score(true, said, average=None))
    assert [s.precision for s in scores] == pytest.approx(metrics.precision_score(true, said, average=None))


def test_nothing_counted():
    assert confusion_counts([], [], classes=3).tolist() == [[0] * 3] * 3


@pytest.mark.parametrize(
    "true, said, classes, error, message",
    [
        ([0, 1], [0], None, ShapeError, "two vectors of one length"),
        ([[0]], [[0]], None, ShapeError, "two vectors of one length"),
        ([0, -1], [0, 1], None, DataError, "y_true must hold class numbers"),
        ([0, 1], [0.0, 1.0], None, DataError, "y_pred must hold class numbers"),
        ([0, 1], [0, 5], 3, DataError, "expected classes 0 to 2, found 5"),
    ],
)
def test_counts_refuse(true, said, classes, error, message):
    with pytest.raises(error, match=message):
        confusion_counts(true, said, classes)


def test_most_confused():
    assert most_confused(MATRIX, ["a", "b", "c"]) == [
        Confusion("b", "c", 5),
        Confusion("b", "a", 2),
        Confusion("a", "c", 1),
    ]
    assert most_confused(MATRIX, limit=1) == [Confusion("1", "2", 5)]
    assert most_confused(np.diag([3, 4])) == []


def test_scores():
    a, b, c = class_scores(MATRIX, ["a", "b", "c"])
    assert (a.total, a.right, a.said, a.taken_for) == (37, 36, 38, "c (1)")
    assert (a.recall, a.precision) == (36 / 37, 36 / 38)
    assert b.taken_for == "c (5)"
    assert np.isnan(c.recall)
    assert c.precision == 0
    assert c.taken_for == ""


def test_drawing_shows_every_number():
    tree = ET.fromstring(confusion_svg(MATRIX, ["cat", "dog", "T-shirt/top & <more>"]))
    shown = [node.text for node in tree.iter(f"{SVG}text")]
    for value in MATRIX.ravel():
        assert not value or str(value) in shown
    titles = [node.text for node in tree.iter(f"{SVG}title")]
    assert len(titles) == 9
    assert "dog, called cat: 2 of 37" in titles
    assert "97\u202f%" in shown
    assert "–" in shown  # the class without samples
    assert tree.get("role") == "img"
    assert "66 of 74 right" in tree.get("aria-label")
    assert "dog taken for T-shirt/top & <more> 5 times" in tree.get("aria-label")


@pytest.mark.parametrize("classes", [1, 2, 3, 10, 26, 100])
def test_drawing_stays_inside_its_frame(classes):
    matrix = np.random.default_rng(0).integers(0, 5000, (classes, classes))
    tree = ET.fromstring(confusion_svg(matrix, [f"a name of class {index}" for index in range(classes)]))
    width, height = (float(part) for part in tree.get("viewBox").split()[2:])
    for square in tree.iter(f"{SVG}rect"):
        assert float(square.get("x")) >= 0
        assert float(square.get("x")) + float(square.get("width")) <= width
        assert float(square.get("y")) + float(square.get("height")) <= height


def test_hundred_percent_means_all():
    assert "100\u202f%" not in confusion_svg([[999, 1], [1, 9999]])
    assert "99\u202f%" in confusion_svg([[999, 1], [1, 9999]])
    assert "100\u202f%" in confusion_svg([[3, 0], [0, 4]])


@pytest.mark.parametrize(
    "matrix, labels, error, message",
    [
        ([[1, 2]], None, ShapeError, "expected a square confusion matrix"),
        (np.zeros((0, 0), int), None, ShapeError, "expected a square"),
        ([[0.5]], None, DataError, "expected counts"),
        ([[-1]], None, DataError, "expected counts"),
        ([[1]], ["a", "b"], ArgumentError, "1 classes, but 2 labels"),
    ],
)
def test_drawing_refuses(matrix, labels, error, message):
    with pytest.raises(error, match=f"confusion_svg: .*{message}|confusion_svg: {message}"):
        confusion_svg(matrix, labels)
