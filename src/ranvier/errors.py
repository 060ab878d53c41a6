"""Every exception Ranvier raises, in one tree.

    RanvierError
    ├── UserError                something in the calling program or its data is wrong
    │   ├── ShapeError           (ValueError)       shapes do not fit
    │   ├── DTypeError           (TypeError)        a dtype is not accepted here
    │   ├── ArgumentError        (ValueError)       an argument's value is not accepted
    │   ├── IndexRangeError      (IndexError)       an index lies outside its axis
    │   ├── GradientError        (ValueError)       a gradient was asked for where none exists
    │   ├── TraceError           (TypeError)        a traced tensor was used where a concrete value is needed
    │   ├── DataError            (ValueError)       training data or a data file is unusable
    │   ├── FileFormatError      (ValueError)       a model or run file is damaged or not one
    │   ├── SaveError            (OSError)          a file could not be written
    │   ├── NonFiniteError       (ArithmeticError)  a NaN or infinity where none may be
    │   └── ResourceError        (MemoryError)      not enough memory for what was asked
    └── InternalError            (RuntimeError)     a defect of Ranvier itself: please report it

A message says who raised it, what was expected, what was given and the likely fix. The line of the user's program
that led to it is added by :class:`UserError` itself.
"""

from __future__ import annotations

import linecache
import os
import sys
from types import FrameType
from typing import Any

__all__ = [
    "ArgumentError",
    "DTypeError",
    "DataError",
    "FileFormatError",
    "GradientError",
    "IndexRangeError",
    "InternalError",
    "NonFiniteError",
    "RanvierError",
    "ResourceError",
    "SaveError",
    "ShapeError",
    "TraceError",
    "UserError",
    "user_line",
]

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def user_line(skip: int = 1) -> tuple[str, int] | None:
    """File and line of the innermost frame that is not Ranvier's own, or None."""
    frame: FrameType | None = sys._getframe(skip)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_PACKAGE) and name[0] != "<":
            return name, frame.f_lineno
        frame = frame.f_back
    return None


class RanvierError(Exception):
    """Base of all errors raised by Ranvier."""


class UserError(RanvierError):
    """The caller's program or data is at fault. The message ends with the caller's source line.

    Args:
        message: who, what was expected, what was given, the likely fix.
        where: file and line to blame; by default the innermost line outside Ranvier.
    """

    #: the innermost layer it happened in, as messages name it
    layer: str | None = None

    def __init__(self, message: str, where: tuple[str, int] | None = None):
        self.message = message
        self.where = where if where is not None else user_line(2)
        super().__init__(message)

    def happened_in(self, layer: str) -> None:
        """Put a layer's name before the message, unless it is there already or an inner layer's is.

        Args:
            layer: kind and name, as in ``Conv2D 'first'``.
        """
        if self.layer is None:
            self.layer = layer
            if layer not in self.message:
                self.message = f"{layer}: {self.message}"
                self.args = (self.message,)

    def __str__(self) -> str:
        if self.where is None:
            return self.message
        file, line = self.where
        source = linecache.getline(file, line).strip()
        place = f"{os.path.basename(file)}:{line}"
        return f"{self.message}\n  at {place}: {source}" if source else f"{self.message}\n  at {place}"


class ShapeError(UserError, ValueError):
    """Shapes do not fit together, or do not fit what a layer was built for."""


class DTypeError(UserError, TypeError):
    """A dtype is not accepted here."""


class ArgumentError(UserError, ValueError):
    """An argument's value is not accepted."""


class IndexRangeError(UserError, IndexError):
    """An index lies outside the axis it indexes."""


class GradientError(UserError, ValueError):
    """A gradient was asked for where none exists."""


class TraceError(UserError, TypeError):
    """A traced (symbolic) tensor was used where a concrete value is needed."""


class DataError(UserError, ValueError):
    """Training data or a data file is unusable."""


class FileFormatError(UserError, ValueError):
    """A model or run file is damaged, or is not one."""


class SaveError(UserError, OSError):
    """A file could not be written; what was there before is unchanged."""


class NonFiniteError(UserError, ArithmeticError):
    """A NaN or an infinity appeared where none may be."""


class ResourceError(UserError, MemoryError):
    """There is not enough memory for what was asked."""


class InternalError(RanvierError, RuntimeError):
    """A defect of Ranvier itself."""


def describe(value: Any) -> str:
    """A short description of a value for error messages: shape and dtype of arrays, else type and repr."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None:
        return f"{type(value).__name__}(shape={tuple(shape)}, dtype={dtype})"
    text = repr(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return f"{text} ({type(value).__name__})"
