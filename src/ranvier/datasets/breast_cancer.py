"""Breast cancer Wisconsin (diagnostic): malignant or benign, from thirty features of cell nuclei.

Note the coding, which is scikit-learn's: 0 is malignant, 1 is benign. Normalise the features before training.
"""

from __future__ import annotations

from ranvier.datasets.bundled import Split, load_split

__all__ = ["load_data"]


def load_data(*, test_fraction: float = 0.2, seed: int = 0) -> Split:
    """569 aspirates of breast masses, with a fixed fifth held out.

    Args:
        test_fraction: share of the samples held out for testing, between 0 and 1; stratified by class.
        seed: which split; the default is the same for everybody.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``.
        x: float64 ``(samples, 30)``.
        y: int64 ``(samples,)``: 0 malignant, 1 benign.

    Source:
        W. Wolberg, O. Mangasarian, N. Street and W. Street (1993), https://doi.org/10.24432/C5DW2B, CC BY 4.0.

    Example:
        >>> from ranvier.datasets import breast_cancer
        >>> (x_train, y_train), (x_test, y_test) = breast_cancer.load_data()
        >>> x_train.shape, x_test.shape
        ((455, 30), (114, 30))
    """
    return load_split("breast_cancer", test_fraction, seed)
