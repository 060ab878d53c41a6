"""Handwritten digits, 8 x 8 pixels: the data set of the first network one trains.

1,797 images by 13 writers. The values are small integers (0 to 16): divide by 16 before training.
"""

from __future__ import annotations

from ranvier.datasets.bundled import Split, load_split

__all__ = ["load_data"]


def load_data(*, test_fraction: float = 0.2, seed: int = 0) -> Split:
    """1,797 handwritten digits, with a fixed fifth held out.

    Args:
        test_fraction: share of the samples held out for testing, between 0 and 1; stratified by class.
        seed: which split; the default is the same for everybody.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``.
        x: uint8 ``(samples, 8, 8)``, values 0 to 16.
        y: int64 ``(samples,)``, the digit.

    Source:
        E. Alpaydin and C. Kaynak (1998), https://doi.org/10.24432/C50P49, CC BY 4.0.

    Example:
        >>> from ranvier.datasets import digits
        >>> (x_train, y_train), (x_test, y_test) = digits.load_data()
        >>> x_train.shape, x_test.shape
        ((1437, 8, 8), (360, 8, 8))
    """
    return load_split("digits", test_fraction, seed)
