"""Data to learn with: four small sets inside the wheel, MNIST and Fashion-MNIST from files or a download.

>>> from ranvier import datasets
>>> (x_train, y_train), (x_test, y_test) = datasets.digits.load_data()
>>> datasets.load("wine").x.shape
(178, 13)

``load_data`` is called and answers as in Keras. Sources and licences: ``files/README.md`` and
``load(name).licence``.
"""

from ranvier.datasets import breast_cancer, digits, fashion_mnist, iris, mnist, wine
from ranvier.datasets.bundled import Dataset, load, names
from ranvier.datasets.split import stratified_split

__all__ = [
    "Dataset",
    "breast_cancer",
    "digits",
    "fashion_mnist",
    "iris",
    "load",
    "mnist",
    "names",
    "stratified_split",
    "wine",
]
