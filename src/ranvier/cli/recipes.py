"""What ``ranvier train`` knows about each data set: how to read it, and settings that work.

All networks are multilayer perceptrons of one form: the raw values are normalised inside the model (so that it takes
data as it is found), then hidden layers with relu and dropout, then a softmax over the classes; Adam with a learning
rate that falls along a cosine. Widths, dropout and the number of epochs are round numbers that were compared on a
handful of splits and seeds; nothing is chosen by the test part during a run, which is only watched.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["NAMES", "RECIPES", "Recipe", "TrainingData", "load_data", "module_name"]


@dataclass(frozen=True)
class Recipe:
    """A data set's name on the command line, and the settings it is trained with by default.

    Attributes:
        name: as typed.
        title: what it is, for headings.
        hidden: widths of the hidden layers.
        epochs: passes over the training data.
        batch_size: samples for one step.
        learning_rate: of the first step; it falls to 0 along a cosine.
        dropout: share of the hidden units left out in each step.
        input_dropout: the same for the inputs.
        bundled: whether the data is inside the wheel; else it is read from IDX files.
        pixels: for images, the values of paper and of full ink; None if the inputs are no images.
    """

    name: str
    title: str
    hidden: tuple[int, ...]
    epochs: int
    batch_size: int
    learning_rate: float = 0.001
    dropout: float = 0.0
    input_dropout: float = 0.0
    bundled: bool = True
    pixels: tuple[float, float] | None = None


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "digits", "handwritten digits, 8 × 8 pixels", (256, 128), 40, 32, 0.002, 0.3, 0.1, pixels=(0, 16)
        ),
        Recipe(
            "mnist", "MNIST, handwritten digits of 28 × 28 pixels", (512, 256), 10, 128, 0.001, 0.3, 0.1,
            bundled=False, pixels=(0, 255),
        ),
        Recipe(
            "fashion-mnist", "Fashion-MNIST, clothing in 28 × 28 pixels", (512, 256), 14, 128, 0.001, 0.2,
            bundled=False, pixels=(0, 255),
        ),
        Recipe("iris", "Fisher's irises, three species", (16,), 100, 16, 0.01),
        Recipe("wine", "wines of three growers", (32,), 60, 16, 0.005, 0.2),
        Recipe("breast-cancer", "breast cancer Wisconsin, malignant or benign", (32,), 60, 16, 0.003, 0.2),
    )
}  # fmt: skip

NAMES = tuple(RECIPES)


@dataclass(frozen=True)
class TrainingData:
    """A data set, ready for training: arrays, and the names of what is in them."""

    x_train: Any
    y_train: Any
    x_test: Any
    y_test: Any
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...] = field(default=())


def module_name(name: str) -> str:
    """The name a data set has in Python: ``fashion-mnist`` is ``ranvier.datasets.fashion_mnist``."""
    return name.replace("-", "_")


def load_data(recipe: Recipe, folder: str | None = None) -> TrainingData:
    """Read a data set.

    Args:
        recipe: which.
        folder: where its IDX files are; None: the wheel, or the cache filled by a download.

    Raises:
        DataError: a file is missing or damaged, or the download failed.
    """
    from ranvier import datasets

    if recipe.bundled:
        whole = datasets.load(module_name(recipe.name))
        train, test = datasets.stratified_split(whole.y)
        names = () if recipe.pixels else whole.feature_names
        return TrainingData(
            _values(whole.x[train]), whole.y[train], _values(whole.x[test]), whole.y[test], whole.target_names, names
        )
    source = datasets.mnist if recipe.name == "mnist" else datasets.fashion_mnist
    (x_train, y_train), (x_test, y_test) = source.load_data(folder)
    return TrainingData(x_train, y_train, x_test, y_test, tuple(source.CLASS_NAMES))


def _values(x: Any) -> Any:
    """Measurements as float32, in which networks compute; pixels stay bytes."""
    return x if x.dtype == "uint8" else x.astype("float32")
