"""Wines of three growers, told apart by thirteen chemical measurements.

The measurements differ in scale by a factor of a thousand: normalise them before training.
"""

from __future__ import annotations

from ranvier.datasets.bundled import Split, load_split

__all__ = ["load_data"]


def load_data(*, test_fraction: float = 0.2, seed: int = 0) -> Split:
    """178 wines, with a fixed fifth held out.

    Args:
        test_fraction: share of the samples held out for testing, between 0 and 1; stratified by class.
        seed: which split; the default is the same for everybody.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``.
        x: float64 ``(samples, 13)``.
        y: int64 ``(samples,)``, the grower (0, 1 or 2).

    Source:
        S. Aeberhard and M. Forina (1992), https://doi.org/10.24432/C5PC7J, CC BY 4.0.

    Example:
        >>> from ranvier.datasets import wine
        >>> (x_train, y_train), (x_test, y_test) = wine.load_data()
        >>> x_train.shape, x_test.shape
        ((142, 13), (36, 13))
    """
    return load_split("wine", test_fraction, seed)
