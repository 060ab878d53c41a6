"""Line charts as SVG text: the curves of a training run, without a plotting library.

A chart stands by itself (as an image for screen readers it carries its summary), takes the page's colours through CSS
variables where the page sets them, shows the values of an epoch when the pointer rests on it, and leaves gaps where a
value is not finite rather than inventing one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ranvier.diagnose.markup import element, number, percent, text
from ranvier.errors import ArgumentError

__all__ = ["colour", "line_chart"]

_PALETTE = (
    ("blue", "#2b6cb0"),
    ("orange", "#c05621"),
    ("green", "#2f7d4f"),
    ("purple", "#7b4fb3"),
    ("brown", "#8a6d3b"),
    ("grey", "#5c6470"),
)
_OTHERS = {
    "ink": "#1f2328",
    "muted": "#5c6470",
    "rule": "#e4e0d8",
    "surface": "#ffffff",
    "on-fill": "#ffffff",
    "on-mid": "#1f2328",
}
_CHARACTER = 6.7  # mean width of a character at 12.5 pixels, enough to keep labels inside the picture
_MAX_POINTS = 600
_MAX_HOVER = 300


def colour(name: str) -> str:
    """A colour as CSS: the page's variable of that name, or its default where there is no page."""
    return f"var(--{name}, {(dict(_PALETTE) | _OTHERS)[name]})"


@dataclass(frozen=True)
class _Axis:
    """The vertical axis: its end points, whether it is logarithmic, its marks, how a value is written."""

    low: float
    high: float
    log: bool
    ticks: tuple[float, ...]
    percent: bool

    def place(self, value: float) -> float:
        """Where a value lies: 0 at the bottom, 1 at the top."""
        if self.log:
            return (math.log10(value) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        return (value - self.low) / (self.high - self.low)

    def drawable(self, value: float) -> bool:
        return math.isfinite(value) and (value > 0 or not self.log)

    def tick_text(self, value: float) -> str:
        if not self.percent:
            return number(value, 3)
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else 1.0
        return percent(value, 0 if step > 0.0099 else 1 if step > 0.00099 else 2)

    def value_text(self, value: float) -> str:
        return percent(value, 1 if abs(value) < 0.9995 or value == 1 else 2) if self.percent else number(value)


def _linear_ticks(low: float, high: float, target: int = 5) -> tuple[float, ...]:
    """About ``target`` round numbers (steps of 1, 2 or 5) whose ends enclose ``low`` and ``high``."""
    raw = (high - low) / target
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(index * step, 12) for index in range(first, last + 1))


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Powers of ten between two values, with 2 and 5 between them where there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors, every in (((1.0,), max(1, math.ceil((last - first) / 6))), ((1.0, 2.0, 5.0), 1)):
        marks = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
        inside = [mark for mark in marks if low <= mark <= high]
        if len(inside) >= 3:
            break
    return tuple(inside or (low, high))


def _axis(values: Sequence[float], scale: str, share: bool) -> _Axis:
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite), max(finite)
    log = scale == "log" or (scale == "auto" and not share and low > 0 and high / low > 60)
    if log and high > 0:
        positive = [value for value in finite if value > 0]
        low, high = min(positive) / 1.25, max(positive) * 1.25
        return _Axis(low, high, True, _log_ticks(low, high), share)
    if not share:
        low = min(low, 0.0)
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = (
            (low - 0.05, min(1.0, high + 0.05)) if share else (low - abs(low or 1) / 2, high + abs(high or 1) / 2)
        )
    marks = _linear_ticks(low, high)
    if share and high <= 1:
        marks = tuple(mark for mark in marks if -1e-9 <= mark <= 1 + 1e-9)
    return _Axis(marks[0], marks[-1], False, marks, share)


def _whole_ticks(first: int, last: int) -> list[int]:
    if last <= first:
        return [first]
    marks = [int(mark) for mark in _linear_ticks(first, last, 5) if first <= mark <= last and float(mark).is_integer()]
    return marks if first in marks or (marks and marks[0] - first > (last - first) * 0.12) is False else [first, *marks]


def _thin(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most about ``_MAX_POINTS`` points that keep the lowest and highest of every stretch."""
    if len(points) <= _MAX_POINTS:
        return points
    size = math.ceil(2 * len(points) / _MAX_POINTS)
    kept = [points[0]]
    for start in range(0, len(points), size):
        finite = [point for point in points[start : start + size] if math.isfinite(point[1])]
        if finite:
            kept += sorted({min(finite, key=lambda p: p[1]), max(finite, key=lambda p: p[1])})
    return [*kept, points[-1]]


@dataclass(frozen=True)
class _Frame:
    """Where things are in the picture."""

    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    first: int
    last: int
    axis: _Axis

    def x(self, step: float) -> float:
        share = (step - self.first) / (self.last - self.first) if self.last > self.first else 0.5
        return self.left + share * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        return self.top + (1 - self.axis.place(value)) * (self.height - self.top - self.bottom)


def _label(x: float, y: float, shown: str, *, anchor: str = "start", fill: str = "muted", weight: int = 400) -> str:
    style = f"fill:{colour(fill)};font-weight:{weight}"
    return element("text", text(shown), x=round(x, 1), y=round(y, 1), text_anchor=anchor, style=style)


def _grid(frame: _Frame, x_label: str) -> str:
    """Horizontal rules with their values, the marks of the lower axis, its name."""
    parts = []
    for mark in frame.axis.ticks:
        y = frame.y(mark)
        line = {"x1": frame.left, "x2": float(frame.width - frame.right), "y1": y, "y2": y}
        parts.append(element("line", **line, style=f"stroke:{colour('rule')}"))
        parts.append(_label(frame.left - 8, y + 4, frame.axis.tick_text(mark), anchor="end"))
    base = frame.height - frame.bottom
    steps = _whole_ticks(frame.first, frame.last)
    parts += [_label(frame.x(step), base + 20, f"{step:,}", anchor="middle") for step in steps]
    middle = (frame.left + frame.width - frame.right) / 2
    parts.append(_label(middle, frame.height - 6, x_label, anchor="middle"))
    return "".join(parts)


def _curve(frame: _Frame, points: list[tuple[int, float]], hue: str, dash: str | None) -> str:
    """One series as a path that is interrupted where values are missing; a lone point becomes a dot."""
    commands, dots, pen = [], [], False
    for index, (step, value) in enumerate(points):
        if not frame.axis.drawable(value):
            pen = False
            continue
        x, y = f"{frame.x(step):.1f}", f"{frame.y(value):.1f}"
        following = points[index + 1][1] if index + 1 < len(points) else math.nan
        if not pen and not frame.axis.drawable(following):
            dots.append(element("circle", cx=x, cy=y, r=3, style=f"fill:{colour(hue)}"))
        commands.append(f"{'L' if pen else 'M'}{x} {y}")
        pen = True
    width = 2.25 if len(points) <= _MAX_HOVER else 1.25
    style = f"fill:none;stroke:{colour(hue)};stroke-width:{width};stroke-linejoin:round;stroke-linecap:round"
    return element("path", d=" ".join(commands), style=style, stroke_dasharray=dash) + "".join(dots) if commands else ""


def _end_labels(frame: _Frame, series: Mapping[str, list[tuple[int, float]]]) -> str:
    """Each curve's name at its end, moved apart where two would overlap."""
    ends = []
    for (name, points), (hue, _) in zip(series.items(), _PALETTE * 4, strict=False):
        drawn = [value for _, value in points if frame.axis.drawable(value)]
        if drawn:
            ends.append((frame.y(drawn[-1]) + 4, name, hue))
    ends.sort()
    places: list[float] = []
    for y, _, _ in ends:
        places.append(max(y, places[-1] + 16) if places else y)
    surplus = max(0.0, places[-1] - (frame.height - frame.bottom + 4)) if places else 0.0
    x = frame.width - frame.right + 8
    labels = zip(ends, places, strict=True)
    return "".join(_label(x, y - surplus, name, fill=hue, weight=600) for (_, name, hue), y in labels)


def _hover(frame: _Frame, series: Mapping[str, Sequence[float]], x_label: str) -> str:
    """For every step an invisible strip; pointing at it shows the step's values (the page's style does the showing)."""
    steps = range(frame.first, frame.last + 1)
    if len(steps) > _MAX_HOVER:
        return ""
    half = (frame.width - frame.left - frame.right) / max(1, len(steps) - 1) / 2
    parts = []
    for index, step in enumerate(steps):
        x, inside = frame.x(step), []
        values = [(name, row[index]) for name, row in series.items() if index < len(row)]
        caption = f"{x_label} {step}: " + ", ".join(f"{name} {frame.axis.value_text(value)}" for name, value in values)
        rule = {"x1": x, "x2": x, "y1": frame.top, "y2": float(frame.height - frame.bottom)}
        inside.append(element("line", **rule, style=f"stroke:{colour('muted')}"))
        for (_, value), (hue, _) in zip(values, _PALETTE * 4, strict=False):
            if frame.axis.drawable(value):
                style = f"fill:{colour(hue)};stroke:{colour('surface')};stroke-width:1.5"
                inside.append(element("circle", cx=x, cy=frame.y(value), r=4, style=style))
        inside.append(_label(frame.left, 14, caption, fill="ink"))
        width = min(x + half, frame.width - frame.right + half) - (x - half)
        strip = element(
            "rect",
            x=x - half,
            y=frame.top,
            width=width,
            height=frame.height - frame.top - frame.bottom,
            style="fill:transparent",
        )
        parts.append(element("g", strip, element("g", *inside, class_="tip", opacity=0), class_="hit"))
    return "".join(parts)


def _summary(title: str, series: Mapping[str, Sequence[float]], axis: _Axis | None) -> str:
    """The chart in words, for those who cannot see it."""
    parts = []
    for name, values in series.items():
        finite = [float(value) for value in values if math.isfinite(value)]
        if finite and axis is not None:
            ends = f"from {axis.value_text(finite[0])} to {axis.value_text(finite[-1])}"
            parts.append(
                f"{name} {ends}, lowest {axis.value_text(min(finite))}, highest {axis.value_text(max(finite))}"
            )
    return f"{title}: " + ("; ".join(parts) if parts else "no finite values") + "."


def line_chart(
    series: Mapping[str, Sequence[float]],
    *,
    title: str,
    x_label: str = "epoch",
    first: int = 1,
    share: bool = False,
    scale: str = "auto",
    width: int = 410,
    height: int = 265,
) -> str:
    """Curves over the epochs as one ``<svg>`` element.

    Args:
        series: values by name, one per epoch, drawn in this order (blue, orange, green, ...).
        title: what is drawn; read out by screen readers, not printed in the picture.
        x_label: what one step along the lower axis is.
        first: the number of the first step.
        share: the values are shares of one and are written as percentages (if they do lie between 0 and 1).
        scale: ``"linear"``, ``"log"`` or ``"auto"`` (logarithmic when the values span a factor above 60).
        width: of the picture, in its own units; it grows and shrinks with the page.
        height: of the picture.

    Raises:
        ArgumentError: no series, or an unknown scale.

    Example:
        >>> svg = line_chart({"training": [2.3, 0.9, 0.4], "validation": [2.2, 1.0, 0.6]}, title="Loss")
        >>> svg.startswith("<svg") and 'aria-label="Loss: training from 2.3 to 0.4' in svg
        True
    """
    if not series:
        raise ArgumentError("line_chart: expected at least one series, got none.")
    if scale not in ("linear", "log", "auto"):
        raise ArgumentError(f"line_chart: scale must be 'linear', 'log' or 'auto', got {scale!r}.")
    plain = {str(name): [float(value) for value in values] for name, values in series.items()}
    finite = [value for values in plain.values() for value in values if math.isfinite(value)]
    share = share and all(-1e-6 <= value <= 1 + 1e-6 for value in finite)
    axis = _axis(finite, scale, share) if finite else None
    attributes = {"viewBox": f"0 0 {width} {height}", "role": "img", "class_": "chart", "font_size": "12.5"}
    attributes |= {"aria_label": _summary(title, plain, axis), "xmlns": "http://www.w3.org/2000/svg"}
    if axis is None:
        return element("svg", _label(width / 2, height / 2, "no finite values", anchor="middle"), **attributes)
    left = 16 + _CHARACTER * max(len(axis.tick_text(mark)) for mark in axis.ticks)
    right = 16 + _CHARACTER * max(len(name) for name in plain) * 1.05
    last = first + max(len(values) for values in plain.values()) - 1
    frame = _Frame(width, height, left, right, 24, 46, first, last, axis)
    points = {name: _thin(list(enumerate(values, first))) for name, values in plain.items()}
    body = [_grid(frame, x_label + (" (values on a logarithmic scale)" if axis.log else ""))]
    for index, row in enumerate(points.values()):
        hue = _PALETTE[index % len(_PALETTE)][0]
        body.append(_curve(frame, row, hue, None if index < len(_PALETTE) else "5 4"))
    body += [_end_labels(frame, points), _hover(frame, plain, x_label)]
    return element("svg", *body, **attributes)
