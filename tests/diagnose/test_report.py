"""The report: complete, well-formed, self-contained, readable in both colour schemes."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

from ranvier import datasets
from ranvier.diagnose import (
    Example,
    LayerRow,
    RunReport,
    accuracy_interval,
    confusion_counts,
    render_report,
    write_report,
)
from ranvier.diagnose.confusion import number_ink
from ranvier.diagnose.page import _STYLE
from ranvier.errors import ArgumentError

VOID = {"br", "hr", "img", "input", "link", "meta", "circle", "line", "path", "rect"}


def sample() -> RunReport:
    """A run on the digits whose "network" takes every twentieth test digit for its successor."""
    _, (x, y) = datasets.digits.load_data()
    said = y.copy()
    said[::20] = (said[::20] + 1) % 10
    wrong = np.flatnonzero(said != y)
    return RunReport(
        title="Digits <& more>",
        summary="A multilayer perceptron was trained on 1,437 digits.",
        right=int((said == y).sum()),
        total=len(y),
        figures=[("Test loss", "0.0813"), ("Parameters", "2,410")],
        facts=[("Task", "Classification, 10 classes"), ("Training samples", "1,437")],
        layers=[LayerRow("dense", "Dense, relu", "32", 2080), LayerRow("dense_1", "Dense, softmax", "10", 330)],
        history={
            "loss": [1.9, 0.5, 0.2],
            "accuracy": [0.4, 0.85, 0.95],
            "val_loss": [1.7, 0.4, 0.45],
            "val_accuracy": [0.5, 0.9, 0.93],
        },
        validation_name="test",
        confusion=confusion_counts(y, said, 10),
        class_names=range(10),
        mistakes=[Example(x[i], y[i], said[i], 0.5, f"test row {i}") for i in wrong[:6]],
        image_range=(0, 16),
        weights=np.random.default_rng(0).normal(size=(64, 32)),
        weight_shape=(8, 8),
        settings={"seed": 0, "epochs": 3, "optimizer": "Adam(0.001)"},
        environment={"Python": "3.11.9"},
        commands=[("Ask it about a picture", "ranvier predict runs/digits <file>")],
        created="1 March 2026",
        version="0.1.0",
    )


class Balanced(HTMLParser):
    """Notes tags that are closed in the wrong order, and which tags occur."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes, self.problems = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.problems.append(f"<{tag}/> is no void element of HTML")

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}>")


def parse(html: str) -> Balanced:
    parser = Balanced()
    parser.feed(html)
    parser.close()
    return parser


def words(html: str) -> str:
    return re.sub(r"[ \n]+", " ", "".join(ET.fromstring(html.partition("\n")[2]).itertext()))


@pytest.mark.smoke
def test_well_formed_as_html_and_as_xml():
    html = render_report(sample())
    parser = parse(html)
    assert parser.problems == []
    assert parser.open == []
    assert html.startswith("<!DOCTYPE html>\n")
    ET.fromstring(html.partition("\n")[2])


def test_everything_is_told():
    html = render_report(sample())
    told = words(html)
    for part in (
        "Digits <& more>",
        "A multilayer perceptron was trained on 1,437 digits.",
        "95.0\u202f%",
        "342 of 360 test samples right",
        "Test loss",
        "0.0813",
        "Training samples",
        "Dense, relu",
        "2,080",
        "2,410",
        "The test loss was lowest, 0.4, after epoch 2 of 3.",
        "training accuracy is 2.0 points above test accuracy",
        "6 of the 18 mistakes",
        "Adam(0.001)",
        "3.11.9",
        "ranvier predict runs/digits <file>",
        "1 March 2026",
        "All 3 epochs",
        "93.00\u202f%",
        "Written by Ranvier 0.1.0",
    ):
        assert part in told, part
    assert html.count("Weights into unit") == 32
    assert html.count("A sample of class") == 6


def test_nothing_is_loaded_from_elsewhere():
    html = render_report(sample())
    parser = parse(html)
    assert not {"script", "iframe", "object", "embed", "form", "base"} & set(parser.tags)
    for tag, name, value in parser.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "srcset", "action"):
            assert value.startswith("data:"), (tag, name)
    outside = set(re.findall(r"https?://[^\"'&\s)]+", html))
    assert outside == {"http://www.w3.org/2000/svg"}
    assert "url(" not in html
    assert "@import" not in html
    policy = [value for tag, name, value in parser.attributes if (tag, name) == ("meta", "content")]
    assert any("default-src 'none'" in value for value in policy)


def test_pictures_have_names():
    parser = parse(render_report(sample()))
    assert parser.tags.count("img") == sum(1 for tag, name, value in parser.attributes if (tag, name) == ("img", "alt"))
    assert all(value for tag, name, value in parser.attributes if (tag, name) == ("img", "alt"))
    assert parser.tags.count("svg") == sum((tag, name) == ("svg", "aria-label") for tag, name, _ in parser.attributes)
    assert ("html", "lang", "en") in parser.attributes
    assert any(name == "content" and "width=device-width" in value for _, name, value in parser.attributes)


def test_hostile_text_stays_text():
    evil = "</title><script>alert(1)</script>\x00\x1b<img src=x onerror=y>"
    report = RunReport(
        title=evil,
        summary=evil,
        headline=(evil, evil),
        figures=[(evil, evil)],
        facts=[(evil, evil)],
        layers=[LayerRow(evil, evil, evil, 1)],
        history={evil: [1.0, 2.0]},
        validation_name=evil,
        confusion=[[1, 2], [3, 4]],
        class_names=[evil, evil + "2"],
        mistakes=[Example(np.zeros((2, 2)), evil, evil, 0.5, evil)],
        weights=np.ones((2, 2)),
        input_names=[evil, evil],
        settings={evil: evil},
        environment={evil: evil},
        commands=[(evil, evil)],
        created=evil,
        version=evil,
    )
    parser = parse(render_report(report))
    assert parser.problems == []
    assert "script" not in parser.tags
    assert not any(name == "onerror" for _, name, _ in parser.attributes)
    assert ET.fromstring(render_report(report).partition("\n")[2]) is not None


@pytest.mark.parametrize("name", [item.name for item in dataclasses.fields(RunReport) if item.name != "title"])
def test_any_part_may_be_missing(name):
    field = next(item for item in dataclasses.fields(RunReport) if item.name == name)
    value = field.default if field.default is not dataclasses.MISSING else field.default_factory()
    parser = parse(render_report(dataclasses.replace(sample(), **{name: value})))
    assert parser.problems == []


def test_only_a_title():
    html = render_report(RunReport(title="Empty"))
    assert parse(html).problems == []
    assert "<section" not in html
    assert parse(html).tags.count("h1") == 1


def test_a_run_that_broke():
    report = RunReport(
        title="Broken",
        history={"loss": [2.0, math.nan, math.inf], "val_loss": [math.nan] * 3, "accuracy": []},
        total=0,
        headline=("NaN", "loss after step 17"),
    )
    assert parse(render_report(report)).problems == []
    assert "NaN" in words(render_report(report))


def test_long_histories_stay_small():
    report = RunReport(title="Long", history={"loss": [1 / (index + 1) for index in range(20_000)]})
    html = render_report(report)
    assert len(html) < 150_000
    assert "of 20,000 epochs" in words(html)


def test_interval():
    # Newcombe 1998 (Statistics in Medicine 17:857), Table I: Wilson's method for 81/263, 15/148, 0/20, 1/29
    for right, total, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        assert accuracy_interval(right, total) == pytest.approx((low, high), abs=5e-5)
    for right, total in [(1, 0), (-1, 5), (6, 5)]:
        with pytest.raises(ArgumentError, match="accuracy_interval: expected 0 <= right <= total"):
            accuracy_interval(right, total)


def test_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "report.html"
    write_report(path, sample())
    assert path.read_text(encoding="utf-8") == render_report(sample())
    assert os.listdir(tmp_path) == ["report.html"]
    with pytest.raises(FileNotFoundError, match="absent"):
        write_report(tmp_path / "absent" / "report.html", sample())


# ---- colours ---------------------------------------------------------------------------------------------------


def schemes() -> list[dict[str, str]]:
    """The variables of the light and of the dark scheme."""
    blocks = re.findall(r":root \{(.*?)\n *\}", _STYLE, re.DOTALL)[:2]
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks]


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    "ink, ground",
    [
        *((ink, ground) for ink in ("ink", "muted") for ground in ("paper", "surface", "wash")),
        *((ink, "surface") for ink in ("blue", "orange", "green", "purple", "brown", "grey")),
        ("on-fill", "blue"),
        ("on-fill", "orange"),
    ],
)
def test_contrast(scheme, ink, ground):
    """WCAG 2.2, success criterion 1.4.3: at least 4.5 : 1 for text (brown is used for lines only: 3 : 1)."""
    colours = schemes()[scheme]
    assert contrast(colours[ink], colours[ground]) >= (3.0 if ink == "brown" else 4.5)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("hue", ["blue", "orange"])
def test_numbers_in_the_confusion_matrix_are_readable_on_every_strength(scheme, hue):
    colours = schemes()[scheme]
    for step in range(101):
        strength = step / 100
        mixed = "#"
        for i in (1, 3, 5):
            fill, ground = int(colours[hue][i : i + 2], 16), int(colours["surface"][i : i + 2], 16)
            mixed += f"{round(fill * strength + ground * (1 - strength)):02x}"
        assert contrast(colours[number_ink(strength)], mixed) >= 3.5, strength  # bold, and also in the table beside
