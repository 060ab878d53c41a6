"""MNIST and its relatives: finding the four IDX files, downloading them if need be, checking that they fit together.

A file in the user's own folder may hold any images in this format (the strict checks are those of the IDX reader and
those below). A downloaded file must have the published SHA-256 checksum.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from ranvier.data.idx import read_idx
from ranvier.datasets.bundled import Split
from ranvier.datasets.store import data_folder, download
from ranvier.errors import DataError, describe

__all__ = ["FASHION_MNIST", "MNIST", "ImageSet", "load_images"]

Array = np.ndarray[Any, Any]

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@dataclass(frozen=True)
class ImageSet:
    """A published set of four IDX files: where it is, and the SHA-256 of each ``.gz`` file."""

    name: str
    classes: int
    mirrors: tuple[str, ...]
    sha256: tuple[tuple[str, str], ...]


MNIST = ImageSet(
    name="mnist",
    classes=10,
    mirrors=(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ),
    sha256=(
        (TRAIN_IMAGES, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        (TRAIN_LABELS, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        (TEST_IMAGES, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        (TEST_LABELS, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
)

FASHION_MNIST = ImageSet(
    name="fashion_mnist",
    classes=10,
    mirrors=(
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
            "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/"
        ),
    ),
    sha256=(
        (TRAIN_IMAGES, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        (TRAIN_LABELS, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        (TEST_IMAGES, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        (TEST_LABELS, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
)


def load_images(which: ImageSet, path: str | os.PathLike[str] | None = None) -> Split:
    """``(x_train, y_train), (x_test, y_test)`` of an image set, from ``path`` or from the cache."""
    if path is None:
        folder = os.path.join(data_folder(), which.name)
        files = {name: download(which.name, which.mirrors, name + ".gz", sha, folder) for name, sha in which.sha256}
    else:
        folder = os.fspath(path)
        files = {name: _find(which.name, folder, name) for name, _ in which.sha256}
    train = _pair(which, files[TRAIN_IMAGES], files[TRAIN_LABELS])
    test = _pair(which, files[TEST_IMAGES], files[TEST_LABELS])
    if train[0].shape[1:] != test[0].shape[1:]:
        raise DataError(
            f"{which.name}: {files[TRAIN_IMAGES]} holds images of {train[0].shape[1:]} pixels, but "
            f"{files[TEST_IMAGES]} of {test[0].shape[1:]}."
        )
    return train, test


def _find(name: str, folder: str, stem: str) -> str:
    """The file in ``folder``: plain or compressed, also under the name with a dot that some unpackers give it."""
    dotted = stem.replace("-idx", ".idx")
    for candidate in (stem, stem + ".gz", dotted, dotted + ".gz"):
        file = os.path.join(folder, candidate)
        if os.path.exists(file):
            return file
    if not os.path.isdir(folder):
        raise DataError(f"{name}: {folder} is not a folder. Expected a folder with {stem}.gz and its three companions.")
    raise DataError(f"{name}: expected {stem} or {stem}.gz in {folder}, found neither.")


def _pair(which: ImageSet, image_file: str, label_file: str) -> tuple[Array, Array]:
    """Images and their labels, checked to belong together."""
    images, labels = read_idx(image_file), read_idx(label_file)
    if images.ndim != 3 or images.dtype != np.uint8:
        raise DataError(f"{image_file}: expected uint8 images (count, rows, columns), found {describe(images)}.")
    if labels.ndim != 1 or labels.dtype != np.uint8:
        raise DataError(f"{label_file}: expected uint8 labels (count,), found {describe(labels)}.")
    if len(images) != len(labels):
        raise DataError(f"{label_file}: {len(labels):,} labels, but {image_file} holds {len(images):,} images.")
    if not images.size:
        raise DataError(f"{image_file}: holds no pixels: shape {images.shape}.")
    if int(labels.max()) >= which.classes:
        row = int(np.argmax(labels >= which.classes))
        raise DataError(
            f"{label_file}: expected labels 0 to {which.classes - 1}, found {int(labels[row])} in row {row}."
        )
    return images, labels
