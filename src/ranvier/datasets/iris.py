"""Fisher's irises: three species told apart by four lengths.

One species is linearly separable from the others; the other two overlap.
"""

from __future__ import annotations

from ranvier.datasets.bundled import Split, load_split

__all__ = ["load_data"]


def load_data(*, test_fraction: float = 0.2, seed: int = 0) -> Split:
    """150 irises, with a fixed fifth held out.

    Args:
        test_fraction: share of the samples held out for testing, between 0 and 1; stratified by class.
        seed: which split; the default is the same for everybody.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``.
        x: float64 ``(samples, 4)``, in centimetres.
        y: int64 ``(samples,)``: 0 setosa, 1 versicolor, 2 virginica.

    Source:
        R. A. Fisher (1936), https://doi.org/10.24432/C56C76, CC BY 4.0.

    Example:
        >>> from ranvier.datasets import iris
        >>> (x_train, y_train), (x_test, y_test) = iris.load_data()
        >>> x_train.shape, x_test.shape
        ((120, 4), (30, 4))
    """
    return load_split("iris", test_fraction, seed)
