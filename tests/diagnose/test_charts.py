"""Charts are well-formed, put values where they belong, and survive the histories that real runs leave."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest

from ranvier.diagnose import line_chart
from ranvier.diagnose.charts import _linear_ticks, _log_ticks, _thin
from ranvier.diagnose.markup import element, number, percent, text
from ranvier.errors import ArgumentError

SVG = "{http://www.w3.org/2000/svg}"


def paths(svg: str) -> list[list[list[tuple[float, float]]]]:
    """For every curve its pieces, each a list of points."""
    found = []
    for path in ET.fromstring(svg).iter(f"{SVG}path"):
        pieces = [piece for piece in path.get("d").split("M") if piece.strip()]
        points = [re.findall(r"(-?[\d.]+) (-?[\d.]+)", piece) for piece in pieces]
        found.append([[(float(x), float(y)) for x, y in piece] for piece in points])
    return found


def axis(svg: str) -> list[tuple[float, float]]:
    """Height in the picture and value of each mark of the vertical axis."""
    marks = []
    for node in ET.fromstring(svg).findall(f"{SVG}text"):
        if node.get("text-anchor") == "end":
            shown = node.text.replace("\u202f", "").replace(",", "")
            value = float(shown.rstrip("%")) / (100 if shown.endswith("%") else 1)
            marks.append((float(node.get("y")) - 4, value))
    return marks


@pytest.mark.smoke
@pytest.mark.parametrize("share", [False, True])
def test_points_stand_at_their_values(share):
    values = [0.9, 0.25, 0.5, 0.125, 0.75]
    svg = line_chart({"training": values}, title="T", scale="linear", share=share)
    (low_y, low), *_, (high_y, high) = axis(svg)
    ((points,),) = paths(svg)
    for (_, y), value in zip(points, values, strict=True):
        assert low + (y - low_y) / (high_y - low_y) * (high - low) == pytest.approx(value, abs=0.002)
    steps = [x for x, _ in points]
    gaps = [b - a for a, b in zip(steps, steps[1:], strict=False)]
    assert max(gaps) - min(gaps) < 0.11  # equally spaced up to the one decimal that is written


def test_logarithmic_axis():
    values = [10.0, 1.0, 0.1, 0.01]
    svg = line_chart({"loss": values}, title="Loss")
    assert "logarithmic scale" in svg
    ((points,),) = paths(svg)
    drops = [b[1] - a[1] for a, b in zip(points, points[1:], strict=False)]
    assert max(drops) - min(drops) < 0.11  # equal factors, equal distances
    marks = {value: y for y, value in axis(svg)}
    for (_, y), value in zip(points, values, strict=True):
        assert marks[value] == pytest.approx(y, abs=0.06)


def test_zero_and_negative_values_leave_gaps_on_a_logarithmic_axis():
    svg = line_chart({"loss": [1.0, 0.5, 0.0, 0.2, 0.1]}, title="Loss", scale="log")
    assert [len(piece) for piece in paths(svg)[0]] == [2, 2]
    svg = line_chart({"loss": [-1.0, -2.0]}, title="Loss", scale="log")  # nothing positive: falls back to linear
    assert len(paths(svg)[0][0]) == 2


def test_not_finite_values_leave_gaps():
    svg = line_chart({"a": [1, math.nan, 3, 2, math.inf, 1], "b": [2] * 6}, title="T")
    first, second = paths(svg)
    assert [len(piece) for piece in first] == [1, 2, 1]
    assert [len(piece) for piece in second] == [6]
    assert len(ET.fromstring(svg).findall(f"{SVG}circle")) == 2  # lone points are drawn as dots
    assert "nan" not in re.sub(r"<title>.*?</title>", "", svg).lower().replace("a nan", "")


@pytest.mark.parametrize(
    "values",
    [[0.5], [0.0], [1.0] * 5, [0.0] * 5, [-3.0, -3.0], [1e-30, 2e-30], [1e30, 1e29], [1e-300, 1e300], [0.999999, 1.0]],
)
@pytest.mark.parametrize("share", [False, True])
def test_degenerate_ranges(values, share):
    svg = line_chart({"a": values}, title="T", share=share)
    tree = ET.fromstring(svg)
    width, height = (float(part) for part in tree.get("viewBox").split()[2:])
    for piece in paths(svg)[0]:
        for x, y in piece:
            assert 0 <= x <= width
            assert 0 <= y <= height
    assert "inf" not in svg
    assert "nan" not in svg


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf, -math.inf]])
def test_nothing_to_draw(values):
    svg = line_chart({"a": values}, title="Loss")
    assert "no finite values" in ET.fromstring(svg).get("aria-label")


def test_the_summary_tells_the_numbers():
    svg = line_chart({"training": [2.5, 0.25], "test": [2.4, 0.3125]}, title="Loss")
    tree = ET.fromstring(svg)
    assert tree.get("role") == "img"
    assert tree.get("aria-label") == (
        "Loss: training from 2.5 to 0.25, lowest 0.25, highest 2.5; "
        "test from 2.4 to 0.3125, lowest 0.3125, highest 2.4."
    )
    assert "epoch 2: training 0.25, test 0.3125" in svg


def test_labels_do_not_overlap():
    svg = line_chart({name: [1.0, 0.5 + 0.001 * index] for index, name in enumerate("abcde")}, title="T")
    places = sorted(
        float(node.get("y")) for node in ET.fromstring(svg).findall(f"{SVG}text") if node.text in tuple("abcde")
    )
    assert len(places) == 5
    assert all(b - a >= 15.9 for a, b in zip(places, places[1:], strict=False))
    assert places[-1] < float(ET.fromstring(svg).get("viewBox").split()[3])


def test_hostile_names():
    svg = line_chart({"<script>alert(1)</script>\x00&": [1, 2]}, title='"><img onerror=x>')
    tree = ET.fromstring(svg)
    assert not list(tree.iter(f"{SVG}script"))
    assert tree.get("aria-label").startswith('"><img onerror=x>')


def test_long_histories_are_thinned_but_keep_their_extremes():
    values = [math.sin(index / 50) for index in range(100_000)]
    values[77_777], values[12_345] = 9.0, -9.0
    kept = dict(_thin(list(enumerate(values, 1))))
    assert len(kept) <= 700
    assert kept[77_778] == 9.0
    assert kept[12_346] == -9.0
    assert 1 in kept
    assert 100_000 in kept
    assert len(line_chart({"a": values}, title="T")) < 40_000


@pytest.mark.parametrize("low, high", [(0, 1), (0, 2.31), (0.123, 0.124), (-5, 1234), (0, 1e-7), (3e8, 4e8)])
def test_linear_ticks_enclose_and_are_round(low, high):
    marks = _linear_ticks(low, high)
    assert marks[0] <= low
    assert marks[-1] >= high
    assert 3 <= len(marks) <= 8
    step = marks[1] - marks[0]
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - nice) for nice in (1, 2, 5, 10)) < 1e-6


@pytest.mark.parametrize("low, high", [(0.001, 10), (0.4, 3), (1, 1e12), (0.02, 0.03), (0.9, 1.1)])
def test_log_ticks_lie_inside(low, high):
    marks = _log_ticks(low, high)
    assert 1 <= len(marks) <= 9
    assert all(low <= mark <= high for mark in marks)


def test_refuses():
    with pytest.raises(ArgumentError, match="line_chart: expected at least one series"):
        line_chart({}, title="T")
    with pytest.raises(ArgumentError, match="scale must be 'linear', 'log' or 'auto', got 'cubic'"):
        line_chart({"a": [1]}, title="T", scale="cubic")


@pytest.mark.parametrize(
    "value, shown",
    [
        (0.0813449, "0.08134"),
        (1437, "1,437"),
        (12.5, "12.5"),
        (123456.789, "123,457"),
        (1.25e-7, "1.25e-07"),
        (3e9, "3e+09"),
        (-0.5, "-0.5"),
        (0.0, "0"),
        (math.nan, "NaN"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (True, "True"),
        (None, "None"),
    ],
)
def test_numbers(value, shown):
    assert number(value) == shown


def test_markup():
    assert percent(0.97777) == "97.8\u202f%"
    assert text("a\x00\x1b[31m<&>\ufffe\"'") == "a\ufffd\ufffd[31m&lt;&amp;&gt;\ufffd&quot;&#x27;"
    assert element("td") == "<td></td>"
    assert element("br") == "<br/>"
    assert element("a", "x", href="a&b", title=None, aria_label=1.5) == '<a href="a&amp;b" aria-label="1.5">x</a>'
