"""The small words of HTML and SVG that charts and reports are written with: elements, escaping, numbers.

Everything that reaches a page goes through :func:`text` or :func:`element`, so that a class name such as ``<b>`` or a
path with an ampersand shows as it is and can never become markup. The output is well-formed XML as well as HTML.
"""

from __future__ import annotations

import html
import math
import re
from typing import Any

__all__ = ["count", "element", "number", "percent", "text"]

_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # not allowed in XML 1.0
_SPACE = "\u202f"  # narrow no-break space


def text(value: object) -> str:
    """Any value as escaped text; characters that no page may contain become a replacement mark."""
    return html.escape(_ILLEGAL.sub("\ufffd", str(value)))


def element(tag: str, *content: str, **attributes: object) -> str:
    """``<tag attributes>content</tag>``; content is markup already, attribute values are escaped here.

    A trailing underscore in an attribute's name is dropped (``class_``), other underscores become hyphens, and an
    attribute of None is left out. Numbers are written with at most two decimals.

    Example:
        >>> element("p", text("a < b"), class_="note")
        '<p class="note">a &lt; b</p>'
    """
    parts = [tag]
    for name, value in attributes.items():
        if value is not None:
            shown = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
            parts.append(f'{name.rstrip("_").replace("_", "-")}="{text(shown)}"')
    inside = "".join(content)
    opening = " ".join(parts)
    return f"<{opening}>{inside}</{tag}>" if inside else _empty(tag, opening)


def _empty(tag: str, opening: str) -> str:
    """An element without content: HTML wants a closing tag except for its void elements and inside SVG."""
    closes_itself = ("br", "circle", "hr", "img", "input", "line", "link", "meta", "path", "polyline", "rect", "stop")
    return f"<{opening}/>" if tag in closes_itself else f"<{opening}></{tag}>"


def count(value: int) -> str:
    """A whole number with thousands separated: ``1,437``."""
    return f"{value:,}"


def number(value: Any, digits: int = 4) -> str:
    """A measured number in ``digits`` significant digits, without needless zeros or exponents.

    Example:
        >>> number(0.0813449), number(1437), number(1.25e-7), number(float("nan"))
        ('0.08134', '1,437', '1.25e-07', 'NaN')
    """
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return count(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size < -5 or size >= 7:
        return f"{value:.{digits - 1}g}"
    shown = f"{value:,.{max(0, digits - 1 - size)}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def percent(share: float, decimals: int = 1) -> str:
    """A share as a percentage: ``97.8 %`` (with a narrow space that does not break)."""
    return f"{100 * share:.{decimals}f}{_SPACE}%" if math.isfinite(share) else "NaN"
