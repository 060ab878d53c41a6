"""MNIST: 70,000 handwritten digits of 28 x 28 pixels.

Read from a folder of the four published IDX files, or downloaded once into the user's cache.
"""

from __future__ import annotations

import os

from ranvier.datasets.bundled import Split
from ranvier.datasets.images import MNIST, load_images

__all__ = ["CLASS_NAMES", "load_data"]

CLASS_NAMES = tuple(str(digit) for digit in range(10))


def load_data(path: str | os.PathLike[str] | None = None) -> Split:
    """MNIST, split as published: 60,000 images for training, 10,000 for testing.

    Args:
        path: a folder holding the four IDX files, plain or gzip-compressed, under their published names. None: the
            cache folder, filled by a download (with checksums) the first time (needs ``pip install ranvier[data]``).

    Returns:
        ``(x_train, y_train), (x_test, y_test)``: x uint8 ``(samples, 28, 28)``, 0 to 255; y uint8 ``(samples,)``,
        the digit.

    Raises:
        DataError: a file is missing, damaged or of the wrong kind, or it could not be downloaded.

    Source:
        Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits (1998).
    """
    return load_images(MNIST, path)
