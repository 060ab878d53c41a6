"""Samples and weights as pictures: grids of small images for a page.

Grey images are drawn as dark ink on paper; a dark page turns them round (class ``ink`` in the page's style). Weights
use a diverging scale: blue for negative, paper for zero, orange for positive, the same scale for all units, so that
a pale picture means small weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ranvier.diagnose.markup import element, number, percent, text
from ranvier.diagnose.png import png_data_uri
from ranvier.errors import ArgumentError, ShapeError, describe

__all__ = ["Example", "diverging", "grey_levels", "image_grid", "weight_pictures"]

Array = np.ndarray[Any, Any]

# Negative, zero, positive: equally dark at both ends, and told apart by every common kind of colour vision.
_STOPS = np.array(
    [[23, 62, 112], [58, 120, 184], [158, 196, 226], [249, 247, 242], [244, 190, 148], [214, 106, 44], [126, 50, 14]],
    dtype=np.float64,
)


@dataclass(frozen=True, eq=False)
class Example:
    """One sample that the model was asked about.

    Attributes:
        image: ``(rows, columns)`` or ``(rows, columns, 3)``, any numbers; None if the sample is no picture.
        true: what it is.
        said: what the model said.
        confidence: the probability the model gave to its answer, 0 to 1, or None.
        note: anything else worth a line, such as the row number.
    """

    image: Any
    true: object
    said: object
    confidence: float | None = None
    note: str = ""


def grey_levels(image: Any, low: float | None = None, high: float | None = None) -> Array:
    """An image as uint8 pixels: ``low`` becomes 0, ``high`` 255; by default the image's own extremes.

    Args:
        image: any real numbers; NaN counts as ``low``.
        low: the value of black.
        high: the value of white.
    """
    values = np.asarray(image, dtype=np.float64)
    finite = values[np.isfinite(values)]
    bottom = low if low is not None else (float(finite.min()) if finite.size else 0.0)
    top = high if high is not None else (float(finite.max()) if finite.size else 1.0)
    spread = top - bottom if top > bottom else 1.0
    scaled = np.nan_to_num((values - bottom) / spread, nan=0.0, posinf=1.0, neginf=0.0)
    return np.rint(np.clip(scaled, 0.0, 1.0) * 255).astype(np.uint8)


def diverging(values: Any, limit: float | None = None) -> Array:
    """Signed numbers as RGB pixels: blue below zero, paper at zero, orange above.

    Args:
        values: any shape; NaN is drawn as zero.
        limit: the size that gets the full colour; by default the largest size that occurs.

    Returns:
        uint8, the shape of ``values`` with three channels added.
    """
    array = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0)
    finite = np.abs(array[np.isfinite(array)])
    bound = limit if limit is not None else (float(finite.max()) if finite.size else 0.0)
    position = np.clip(array / (bound or 1.0), -1.0, 1.0) * 0.5 + 0.5
    place = position * (len(_STOPS) - 1)
    below = np.minimum(place.astype(np.int64), len(_STOPS) - 2)
    part = (place - below)[..., None]
    mixed: Array = np.rint(_STOPS[below] * (1 - part) + _STOPS[below + 1] * part).astype(np.uint8)
    return mixed


def _picture(image: Any, alt: str, low: float | None, high: float | None) -> str:
    """An ``<img>`` with the picture inside its address."""
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or not array.size:
        raise ShapeError(f"image_grid: expected (rows, columns) or (rows, columns, 3), got {describe(array)}.")
    levels = grey_levels(array, low, high)
    ink = array.ndim == 2
    attributes = {"src": png_data_uri(255 - levels if ink else levels), "alt": alt, "class_": "ink" if ink else None}
    return element("img", **attributes, width=array.shape[1], height=array.shape[0])


def image_grid(examples: Sequence[Example], *, low: float | None = None, high: float | None = None) -> str:
    """Samples side by side, each with what it is, what the model said and how sure it was.

    Args:
        examples: the samples, drawn in this order.
        low: the value drawn as paper; by default the smallest that occurs in any of the images.
        high: the value drawn as full ink; by default the largest.

    Raises:
        ShapeError: an image is neither grey nor RGB.
    """
    images = [np.asarray(example.image, np.float64) for example in examples if example.image is not None]
    finite = [image[np.isfinite(image)] for image in images]
    if low is None:
        low = min((float(values.min()) for values in finite if values.size), default=None)
    if high is None:
        high = max((float(values.max()) for values in finite if values.size), default=None)
    cards = []
    for example in examples:
        sure = "" if example.confidence is None else f"{percent(example.confidence, 0)} sure"
        alt = f"A sample of class {example.true}, called {example.said}" + (f", {sure}" if sure else "")
        picture = "" if example.image is None else _picture(example.image, alt, low, high)
        told = (
            element("b", text(example.true), class_="right")
            + element("span", " read as ", class_="muted")
            + element("b", text(example.said), class_="wrong")
        )
        lines = [element("span", told)]
        lines += [element("span", text(line), class_="muted small") for line in (sure, example.note) if line]
        cards.append(element("figure", picture, element("figcaption", *lines)))
    return element("div", *cards, class_="samples")


def weight_pictures(
    weights: Any, shape: tuple[int, ...] | None = None, *, limit: int = 64, names: Sequence[object] | None = None
) -> str:
    """The incoming weights of a first layer: one picture per unit, or one table of squares if inputs are no image.

    Args:
        weights: the kernel, ``(inputs, units)``.
        shape: ``(rows, columns)`` or ``(rows, columns, channels)`` of one input image; None if it is none.
        limit: the most units to draw; those with the largest weights are chosen, in their order.
        names: names of the inputs, used when ``shape`` is None.

    Raises:
        ShapeError: the kernel is no matrix, or has another number of inputs than ``shape`` or ``names``.
        ArgumentError: ``limit`` is below 1.
    """
    kernel = np.asarray(weights, dtype=np.float64)
    if kernel.ndim != 2 or not kernel.size:
        raise ShapeError(f"weight_pictures: expected a kernel (inputs, units), got {describe(kernel)}.")
    if limit < 1:
        raise ArgumentError(f"weight_pictures: limit must be 1 or more, got {limit!r}.")
    if shape is not None and math.prod(shape) != len(kernel):
        raise ShapeError(f"weight_pictures: images of {tuple(shape)} have {math.prod(shape)} pixels, but the kernel "
                         f"has {len(kernel)} inputs.")  # fmt: skip
    finite = np.abs(kernel[np.isfinite(kernel)])
    bound = float(np.quantile(finite, 0.998)) if finite.size else 0.0  # one stray weight must not pale all others
    norms = np.nan_to_num(np.linalg.norm(kernel, axis=0))
    units = sorted(np.argsort(-norms, kind="stable")[:limit].tolist())
    body = _unit_grid(kernel, shape, units, bound) if shape is not None else _unit_table(kernel, units, bound, names)
    ramp = png_data_uri(diverging(np.linspace(-1, 1, 97)[None, :]))
    legend = element(
        "p",
        element("span", f"−{number(bound, 2)}"),
        element("img", src=ramp, alt="Colour scale from blue through paper to orange", class_="ramp signed"),
        element("span", f"+{number(bound, 2)}"),
        class_="legend muted small",
    )
    shown = kernel.shape[1]
    some = f"The {len(units)} of {shown:,} units with the largest weights." if len(units) < shown else ""
    return element("div", legend, body, element("p", some, class_="muted small") if some else "")


def _unit_grid(kernel: Array, shape: tuple[int, ...], units: list[int], bound: float) -> str:
    """One small picture per unit, its channels averaged."""
    cards = []
    for unit in units:
        image = kernel[:, unit].reshape(shape)
        flat = image if image.ndim == 2 else image.mean(axis=-1)
        picture = element(
            "img", src=png_data_uri(diverging(flat, bound)), alt=f"Weights into unit {unit}", class_="signed",
            width=flat.shape[1], height=flat.shape[0],
        )  # fmt: skip
        cards.append(element("figure", picture, element("figcaption", str(unit), class_="muted small")))
    return element("div", *cards, class_="weights")


def _unit_table(kernel: Array, units: list[int], bound: float, names: Sequence[object] | None) -> str:
    """A table of coloured squares: a row per input, a column per unit. The weight itself is each square's title."""
    labels = [f"input {index}" for index in range(len(kernel))] if names is None else [str(name) for name in names]
    if len(labels) != len(kernel):
        raise ShapeError(f"weight_pictures: {len(kernel)} inputs, but {len(labels)} names.")
    colours = diverging(kernel, bound)
    head = element("tr", element("th", "input", scope="col"), *(element("th", str(u), scope="col") for u in units))
    rows = []
    for index, label in enumerate(labels[:200]):
        cells = [
            element(
                "td",
                element(
                    "i", class_="signed", style="background:rgb({},{},{})".format(*colours[index, unit].tolist()),
                    title=f"{label}, unit {unit}: {number(float(kernel[index, unit]), 3)}",
                ),
            )
            for unit in units
        ]  # fmt: skip
        rows.append(element("tr", element("th", text(label), scope="row"), *cells))
    table = element("table", element("thead", head), element("tbody", *rows), class_="squares")
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label="Weights of the first layer")
