"""The report of a training run: one HTML file that shows what was done, how well, where it failed, and what next.

It is made of plain values (:class:`RunReport`), so that anything that trains can fill one in; what is left empty is
left out of the page.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ranvier.data.atomic import atomic_write
from ranvier.diagnose.charts import line_chart
from ranvier.diagnose.confusion import class_scores, confusion_svg, most_confused
from ranvier.diagnose.markup import count, element, number, percent, text
from ranvier.diagnose.page import page
from ranvier.diagnose.pictures import Example, image_grid, weight_pictures
from ranvier.errors import ArgumentError

__all__ = ["LayerRow", "RunReport", "accuracy_interval", "render_report", "write_report"]

_SHARES = ("accuracy", "precision", "recall", "auc", "top_k", "f1")  # metrics that are shares of one, by name


@dataclass(frozen=True)
class LayerRow:
    """One line of the network table.

    Attributes:
        name: the layer's name.
        kind: its class and what matters about it, such as ``"Dense, relu"``.
        output: the shape of its output, such as ``"32"`` or ``"28 × 28 × 1"``.
        parameters: how many numbers it learns.
    """

    name: str
    kind: str
    output: str
    parameters: int


@dataclass(kw_only=True)
class RunReport:
    """Everything a report shows. Only ``title`` is needed.

    Attributes:
        title: what was trained on what.
        summary: one to three sentences about the run.
        right: how many test samples were answered rightly (classification).
        total: how many test samples there were.
        headline: for other tasks, the main figure as ``(value, what it is)``; used when ``total`` is 0.
        figures: further figures beside the main one, ``(name, value)``.
        facts: what was done: task, data counts, loss, optimizer, ..., ``(name, value)``.
        layers: the network, one row per layer.
        history: values per epoch by name, as Keras names them: ``loss``, ``accuracy``, ``val_loss``, ....
        validation_name: what the ``val_`` curves were measured on.
        confusion: counts, ``(classes, classes)``; row = what it is.
        class_names: one per class.
        mistakes: samples the model got wrong, most telling first.
        image_range: values drawn as paper and as full ink in the pictures of samples; None: their extremes.
        weights: kernel of the first layer, ``(inputs, units)``.
        weight_shape: ``(rows, columns)`` or ``(rows, columns, channels)`` if the inputs form an image.
        input_names: names of the inputs if they do not.
        settings: how to repeat the run.
        environment: on what it ran.
        commands: what to do next, ``(purpose, command)``.
        created: date and time, as text.
        version: of Ranvier.
    """

    title: str
    summary: str = ""
    right: int = 0
    total: int = 0
    headline: tuple[str, str] | None = None
    figures: Sequence[tuple[str, str]] = ()
    facts: Sequence[tuple[str, str]] = ()
    layers: Sequence[LayerRow] = ()
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    validation_name: str = "validation"
    confusion: Any = None
    class_names: Sequence[object] | None = None
    mistakes: Sequence[Example] = ()
    image_range: tuple[float, float] | None = None
    weights: Any = None
    weight_shape: tuple[int, ...] | None = None
    input_names: Sequence[object] | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, object] = field(default_factory=dict)
    commands: Sequence[tuple[str, str]] = ()
    created: str = ""
    version: str = ""


def accuracy_interval(right: int, total: int) -> tuple[float, float]:
    """Between which shares the accuracy lies with 95 % confidence, given ``right`` of ``total`` (Wilson's interval).

    Args:
        right: right answers.
        total: samples, at least 1.

    Source:
        E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    Example:
        >>> [round(end, 3) for end in accuracy_interval(352, 360)]
        [0.957, 0.989]
    """
    if not 0 <= right <= total or total < 1:
        raise ArgumentError(f"accuracy_interval: expected 0 <= right <= total and total >= 1, got {right} of {total}.")
    z, share = 1.959964, right / total
    scale = 1 + z * z / total
    middle = (share + z * z / (2 * total)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def _pairs(rows: Sequence[tuple[str, object]], class_: str) -> str:
    """Names and values as a description list."""
    items = []
    for name, value in rows:
        item = element("dt", text(name)) + element("dd", text(value if isinstance(value, str) else number(value)))
        items.append(element("div", item) if class_ == "tiles" else item)
    return element("dl", *items, class_=class_)


def _section(title: str, lead: str, *body: str) -> str:
    return element("section", element("h2", text(title)), element("p", text(lead)) if lead else "", *body)


def _header(report: RunReport) -> str:
    when = f" · {text(report.created)}" if report.created else ""
    brand = element("p", element("b", "Ranvier"), " run report", when, class_="brand")
    lead = element("p", text(report.summary), class_="lead") if report.summary else ""
    return element("header", brand, element("h1", text(report.title)), lead, _headline(report))


def _headline(report: RunReport) -> str:
    """The main figure, large, with its uncertainty; the others beside it."""
    main = ""
    if report.total:
        low, high = accuracy_interval(report.right, report.total)
        told = f"{count(report.right)} of {count(report.total)} test samples right"
        sure = f"95 % confidence: {percent(low)} to {percent(high)}"
        main = element("div", percent(report.right / report.total), class_="big")
        main += element("p", text(told), element("br"), element("span", text(sure), class_="muted small"))
    elif report.headline is not None:
        main = element("div", text(report.headline[0]), class_="big") + element("p", text(report.headline[1]))
    tiles = _pairs(report.figures, "tiles") if report.figures else ""
    parts = [element("div", part) for part in (main, tiles) if part]
    return element("div", *parts, class_="card headline") if parts else ""


def _network(layers: Sequence[LayerRow]) -> str:
    head = element(
        "tr", *(element("th", name, scope="col") for name in ("Layer", "Kind", "Output")),
        element("th", "Parameters", scope="col", class_="num"),
    )  # fmt: skip
    rows = [
        element(
            "tr", element("th", text(layer.name), scope="row"), element("td", text(layer.kind)),
            element("td", text(layer.output)), element("td", count(layer.parameters), class_="num"),
        )
        for layer in layers
    ]  # fmt: skip
    total = sum(layer.parameters for layer in layers)
    foot = element(
        "tr", element("th", "Sum", scope="row"), element("td"), element("td"),
        element("td", count(total), class_="num"),
    )  # fmt: skip
    table = element("table", element("thead", head), element("tbody", *rows), element("tfoot", foot))
    return element("div", table, class_="scroll")


def _what(report: RunReport) -> str:
    cards = []
    if report.facts:
        cards.append(element("div", element("h3", "Task and data"), _pairs(report.facts, "facts"), class_="card"))
    if report.layers:
        cards.append(element("div", element("h3", "Network"), _network(report.layers), class_="card"))
    return _section("What was done", "", element("div", *cards, class_="two")) if cards else ""


def _metrics(history: Mapping[str, Sequence[float]]) -> list[str]:
    """Names worth a chart, without their ``val_`` twins: losses first, then accuracies, then the rest."""
    names = list(dict.fromkeys(name.removeprefix("val_") for name in history))
    names = [name for name in names if name not in ("epoch", "lr", "learning_rate", "time", "seconds")]
    return sorted(names, key=lambda name: (name != "loss", "accuracy" not in name))


def _is_share(name: str) -> bool:
    return any(word in name for word in _SHARES)


def _learning(report: RunReport) -> str:
    history, charts = report.history, []
    for name in _metrics(history)[:4]:
        twins = {"training": history.get(name, ()), report.validation_name: history.get(f"val_{name}", ())}
        series = {key: values for key, values in twins.items() if len(values)}
        if series:
            title = name.replace("_", " ").capitalize()
            svg = line_chart(series, title=title, share=_is_share(name))
            charts.append(element("figure", element("h3", text(title)), svg, class_="card"))
    if not charts:
        return ""
    lead = "Each point is one pass over the training data. Where training goes on improving and the other curve does "
    lead += "not, the network begins to learn its examples by heart."
    return _section("How it learned", lead, element("div", *charts, class_="two"), _reading(report))


def _reading(report: RunReport) -> str:
    """The curves in one sentence: the best epoch, and how far training is ahead at the end."""
    for name, better in (("val_loss", min), ("loss", min)):
        values = [float(value) for value in report.history.get(name, ()) if math.isfinite(value)]
        if len(values) > 1:
            best = better(values)
            epoch = [float(value) for value in report.history[name]].index(best) + 1
            where = report.validation_name if name.startswith("val_") else "training"
            told = (
                f"The {where} loss was lowest, {number(best)}, after epoch {epoch:,} of {len(report.history[name]):,}."
            )
            ours, theirs = report.history.get("accuracy", ()), report.history.get("val_accuracy", ())
            if len(ours) and len(theirs) and math.isfinite(ours[-1]) and math.isfinite(theirs[-1]):
                gap = 100 * (ours[-1] - theirs[-1])
                told += f" At the end, training accuracy is {abs(gap):.1f} points {'above' if gap >= 0 else 'below'} "
                told += f"{report.validation_name} accuracy."
            return element("p", text(told), class_="muted small", style="margin:0.9rem 0 0")
    return ""


def _classes(report: RunReport) -> str:
    """The matrix in words and numbers: the same facts for those who cannot see the picture."""
    columns = [element("th", name, scope="col", class_="num") for name in ("Samples", "Recall", "Precision")]
    columns = [element("th", "Class", scope="col"), *columns, element("th", "Taken for", scope="col")]
    head = element("tr", *columns)
    rows = []
    for score in class_scores(report.confusion, report.class_names):
        shares = [percent(share) if math.isfinite(share) else "–" for share in (score.recall, score.precision)]
        cells = [element("td", cell, class_="num") for cell in (count(score.total), *shares)]
        name = element("th", text(score.name), scope="row")
        rows.append(element("tr", name, *cells, element("td", text(score.taken_for or "–"))))
    table = element("table", element("thead", head), element("tbody", *rows), class_="narrow")
    kind = "scroll" if len(rows) <= 16 else "scroll tall"
    note = "Recall is the share of a class that was found; precision, how often the network is right when it names it."
    return element("div", table, class_=kind, tabindex=0, role="region", aria_label="Results by class") + element(
        "p", note, class_="muted small", style="margin:0.8rem 0 0"
    )


def _wrong(report: RunReport) -> str:
    body = []
    if report.confusion is not None:
        svg = confusion_svg(report.confusion, report.class_names)
        matrix = element("figure", element("h3", "Confusion matrix"), svg, class_="card")
        table = element("div", element("h3", "By class"), _classes(report), class_="card")
        body.append(element("div", matrix, table, class_="two"))
        pairs = most_confused(report.confusion, report.class_names, 4)
        times = [f"{pair.true} taken for {pair.said} ({count(pair.times)})" for pair in pairs if pair.times > 1]
        if times:
            body.append(element("p", text("Most frequent: " + ", ".join(times) + "."), class_="muted small"))
    if report.mistakes:
        low, high = report.image_range or (None, None)
        grid = image_grid(report.mistakes, low=low, high=high)
        wrong = report.total - report.right
        some = len(report.mistakes) < wrong
        title = f"{count(len(report.mistakes))} of the {count(wrong)} mistakes" if some else "Every mistake"
        body.append(element("div", element("h3", title), grid, class_="card"))
    if not body:
        return ""
    lead = "A row holds the test samples of one class, a column what the network called them. Blue is right, orange "
    lead += "is wrong." if report.confusion is not None else ""
    lead = lead if report.confusion is not None else "Test samples that the network got wrong."
    return _section("Where it was wrong", lead, element("div", *body, class_="stack"))


def _first_layer(report: RunReport) -> str:
    if report.weights is None:
        return ""
    pictures = weight_pictures(report.weights, report.weight_shape, names=report.input_names)
    lead = "One picture per unit of the first layer. " if report.weight_shape else "One column per unit. "
    lead += "Orange inputs push the unit up, blue ones hold it down, pale ones leave it cold."
    return _section("What the first layer looks for", lead, element("div", pictures, class_="card"))


def _epochs(report: RunReport) -> str:
    names = list(report.history)
    length = max((len(values) for values in report.history.values()), default=0)
    if not length:
        return ""
    key = "val_loss" if "val_loss" in report.history else "loss"
    losses = [float(value) for value in report.history.get(key, ())]
    best = min((value for value in losses if math.isfinite(value)), default=math.nan)
    titles = [name.replace("val_", f"{report.validation_name} ").replace("_", " ") for name in names]
    head = [element("th", "epoch", scope="col")]
    head += [element("th", text(title), scope="col", class_="num") for title in titles]
    rows = []
    every = math.ceil(length / 300)  # a longer table helps nobody, and history.csv has every row
    for index in sorted({*range(0, length, every), length - 1}):
        cells = [element("th", str(index + 1), scope="row")]
        for name in names:
            values = report.history[name]
            value = float(values[index]) if index < len(values) else math.nan
            shown = "" if index >= len(values) else percent(value, 2) if _is_share(name) else number(value)
            cells.append(element("td", shown, class_="num"))
        chosen = index < len(losses) and losses[index] == best
        rows.append(element("tr", *cells, class_="best" if chosen else None))
    table = element("table", element("thead", element("tr", *head)), element("tbody", *rows))
    box = element("div", table, class_="scroll tall", tabindex=0, role="region", aria_label="Values of every epoch")
    opened = "open" if length <= 12 else None
    summary = element(
        "summary", f"All {count(length)} epochs" if every == 1 else f"Every {every}th of {length:,} epochs"
    )
    note = element("p", "The shaded row has the lowest loss.", class_="muted small", style="margin:0.75rem 0 0")
    return _section("Every epoch", "", element("details", summary, box, note, class_="card", open=opened))


def _run(report: RunReport) -> str:
    cards = []
    for title, rows in (("Settings", report.settings), ("Environment", report.environment)):
        if rows:
            cards.append(element("div", element("h3", title), _pairs(list(rows.items()), "facts"), class_="card"))
    return _section("Settings and environment", "", element("div", *cards, class_="two")) if cards else ""


def _next(report: RunReport) -> str:
    steps = [
        element("li", text(purpose), element("pre", element("code", text(command))))
        for purpose, command in report.commands
    ]
    return _section("What to do next", "", element("ol", *steps, class_="steps")) if steps else ""


def render_report(report: RunReport) -> str:
    """The report as the text of an HTML page.

    Args:
        report: what to show.

    Example:
        >>> html = render_report(RunReport(title="Digits", right=352, total=360))
        >>> "352 of 360 test samples right" in html
        True
    """
    parts = [_header, _what, _learning, _wrong, _first_layer, _epochs, _run, _next]
    made = f"Written by Ranvier {report.version}".strip()
    foot = element(
        "footer", text(f"{made}. This page holds everything it shows and loads nothing."), class_="muted small"
    )
    return page(f"{report.title} · Ranvier", "".join(part(report) for part in parts) + foot)


def write_report(path: str | os.PathLike[str], report: RunReport) -> None:
    """Write the report as one self-contained HTML file; it appears whole or not at all.

    Args:
        path: the file to create or replace.
        report: what to show.

    Raises:
        OSError: the folder is missing or read-only, or the disk is full.
    """
    data = render_report(report).encode("utf-8")
    with atomic_write(path) as file:
        file.write(data)
