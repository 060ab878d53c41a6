"""The small data sets that travel inside the wheel: reading them, whole or split.

Every file is checked against the catalogue's checksum before it is parsed, so that a damaged installation is an error
and not a strange model.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from ranvier.datasets.catalog import CATALOG
from ranvier.datasets.split import stratified_split
from ranvier.errors import ArgumentError, DataError

__all__ = ["Dataset", "Split", "load", "load_split", "names"]

Array = np.ndarray[Any, Any]
Split = tuple[tuple[Array, Array], tuple[Array, Array]]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A whole data set in its original order, with its story.

    Attributes:
        name: the name it was loaded by.
        x: the features. ``digits``: uint8 ``(1797, 8, 8)``; the others: float64 ``(samples, features)``.
        y: the classes as int64 ``(samples,)``, counting from 0.
        feature_names: one name per feature (for images, one per pixel, row by row).
        target_names: one name per class.
        description: what was measured, in a few sentences.
        source: who made it and where it is published.
        licence: the licence it is published under.
    """

    name: str
    x: Array
    y: Array
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    description: str
    source: str
    licence: str

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, x={self.x.dtype}{self.x.shape}, classes={len(self.target_names)})"


def names() -> tuple[str, ...]:
    """The names that :func:`load` knows, in alphabetical order.

    Example:
        >>> names()
        ('breast_cancer', 'digits', 'iris', 'wine')
    """
    return tuple(sorted(CATALOG))


def load(name: str) -> Dataset:
    """A data set that ships with Ranvier. The arrays are new, so changing them changes nothing else.

    Args:
        name: ``"breast_cancer"``, ``"digits"``, ``"iris"`` or ``"wine"``.

    Raises:
        ArgumentError: no such data set.
        DataError: the installed file is damaged.

    Example:
        >>> iris = load("iris")
        >>> iris.x.shape, iris.target_names
        ((150, 4), ('setosa', 'versicolor', 'virginica'))
    """
    entry = CATALOG.get(name) if isinstance(name, str) else None
    if entry is None:
        hint = f" {name} is read by ranvier.datasets.{name}.load_data()." if name in ("mnist", "fashion_mnist") else ""
        raise ArgumentError(f"datasets.load: expected one of {', '.join(names())}; got {name!r}.{hint}")
    data = resources.files("ranvier.datasets").joinpath("files", f"{name}.npz").read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != entry.sha256:
        raise DataError(
            f"datasets.load: the installed file of {name!r} is damaged: expected SHA-256 {entry.sha256}, found {found}."
            " Install Ranvier again."
        )
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        x, y = arrays["x"], arrays["y"]
    facts = (entry.feature_names, entry.target_names, entry.description, entry.source, entry.licence)
    return Dataset(name, x, y, *facts)


def load_split(name: str, test_fraction: float = 0.2, seed: int = 0) -> Split:
    """A bundled data set as ``(x_train, y_train), (x_test, y_test)``.

    The parts are stratified by class and shuffled; with the default arguments the split is the same for everybody, so
    that results can be compared.

    Args:
        name: as in :func:`load`.
        test_fraction: share held out, between 0 and 1.
        seed: which split.
    """
    data = load(name)
    train, test = stratified_split(data.y, test_fraction, seed)
    return (data.x[train], data.y[train]), (data.x[test], data.y[test])
