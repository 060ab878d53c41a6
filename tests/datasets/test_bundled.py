"""The data sets inside the wheel: published facts, scikit-learn's copies, and the fixed split."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from ranvier import datasets
from ranvier.datasets import bundled, stratified_split
from ranvier.datasets.catalog import CATALOG
from ranvier.errors import ArgumentError, DataError, ShapeError

FILES = resources.files("ranvier.datasets").joinpath("files")

# Published facts: samples per class (UCI), and sums that scikit-learn's documentation or the sources allow to check.
COUNTS = {
    "digits": [178, 182, 177, 183, 181, 182, 181, 179, 174, 180],
    "iris": [50, 50, 50],
    "wine": [59, 71, 48],
    "breast_cancer": [212, 357],
}
SHAPES = {"digits": (1797, 8, 8), "iris": (150, 4), "wine": (178, 13), "breast_cancer": (569, 30)}


@pytest.mark.smoke
@pytest.mark.parametrize("name", sorted(COUNTS))
def test_counts_and_shapes(name):
    data = datasets.load(name)
    assert data.x.shape == SHAPES[name]
    assert data.x.dtype == (np.uint8 if name == "digits" else np.float64)
    assert data.y.dtype == np.int64
    assert np.bincount(data.y).tolist() == COUNTS[name]
    assert len(data.target_names) == len(COUNTS[name])
    assert len(data.feature_names) == int(np.prod(SHAPES[name][1:])) == len(set(data.feature_names))
    assert np.isfinite(data.x).all()
    assert "CC BY 4.0" in data.licence
    assert "doi.org" in data.source


def test_published_values():
    digits = datasets.load("digits")
    assert (int(digits.x.min()), int(digits.x.max())) == (0, 16)
    assert digits.x[0].tolist()[0] == [0, 0, 5, 13, 9, 1, 0, 0]  # first row of the first 0, as in scikit-learn's tour
    iris = datasets.load("iris")
    assert iris.x[0].tolist() == [5.1, 3.5, 1.4, 0.2]
    assert iris.x[34].tolist() == [4.9, 3.1, 1.5, 0.2]  # the two rows in which the copy at UCI departs from Fisher
    assert iris.x[37].tolist() == [4.9, 3.6, 1.4, 0.1]
    assert iris.x.mean(0).round(2).tolist() == [5.84, 3.06, 3.76, 1.2]
    wine = datasets.load("wine")
    assert wine.x[0, [0, 12]].tolist() == [14.23, 1065.0]
    assert (wine.x[:, 12].min(), wine.x[:, 12].max()) == (278.0, 1680.0)
    cancer = datasets.load("breast_cancer")
    assert (cancer.x[:, 0].min(), cancer.x[:, 0].max()) == (6.981, 28.11)
    assert (cancer.x[:, 23].min(), cancer.x[:, 23].max()) == (185.2, 4254.0)


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_equal_to_scikit_learn(name):
    sklearn = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    theirs = getattr(sklearn, f"load_{name}")()
    ours = datasets.load(name)
    assert np.array_equal(ours.x.reshape(len(ours.x), -1), theirs.data)
    assert np.array_equal(ours.y, theirs.target)
    assert list(ours.feature_names) == list(theirs.feature_names)
    assert list(ours.target_names) == [str(text) for text in theirs.target_names]


def test_files_are_small_and_hold_no_pickles():
    total = 0
    for name in COUNTS:
        data = FILES.joinpath(f"{name}.npz").read_bytes()
        total += len(data)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert sorted(archive.namelist()) == ["x.npy", "y.npy"]
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            assert all(arrays[key].dtype.kind in "uif" for key in arrays)
    assert total < 300_000


def test_readme_states_source_licence_and_checksum_of_every_file():
    text = FILES.joinpath("README.md").read_text(encoding="utf-8")
    for name, entry in CATALOG.items():
        assert f"## {name}.npz" in text
        for part in (entry.source, entry.licence, entry.sha256):
            assert part in text


def test_damaged_file_is_refused(monkeypatch):
    entry = dataclasses.replace(CATALOG["iris"], sha256="0" * 64)
    monkeypatch.setitem(bundled.CATALOG, "iris", entry)
    with pytest.raises(DataError, match=r"installed file of 'iris' is damaged: expected SHA-256 0000"):
        datasets.load("iris")


def test_unknown_name():
    with pytest.raises(ArgumentError, match=r"expected one of breast_cancer, digits, iris, wine; got 'irises'"):
        datasets.load("irises")
    with pytest.raises(ArgumentError, match=r"mnist is read by ranvier.datasets.mnist.load_data\(\)"):
        datasets.load("mnist")
    with pytest.raises(ArgumentError, match=r"got 3"):
        datasets.load(3)


def test_arrays_are_new_each_time():
    first = datasets.load("iris")
    first.x[:] = 0
    assert datasets.load("iris").x[0, 0] == 5.1
    assert repr(first) == "Dataset('iris', x=float64(150, 4), classes=3)"


@pytest.mark.parametrize("name, held", [("digits", 360), ("iris", 30), ("wine", 36), ("breast_cancer", 114)])
def test_split(name, held):
    whole = datasets.load(name)
    (x_train, y_train), (x_test, y_test) = getattr(datasets, name).load_data()
    assert len(x_test) == len(y_test) == held
    assert len(x_train) == len(y_train) == len(whole.x) - held
    share = np.bincount(whole.y) * held / len(whole.y)
    assert np.abs(np.bincount(y_test) - share).max() < 1
    rows = np.concatenate([x_train, x_test]).reshape(len(whole.x), -1)
    together = np.column_stack([rows, np.concatenate([y_train, y_test])])
    original = np.column_stack([whole.x.reshape(len(rows), -1), whole.y])
    assert np.array_equal(together[np.lexsort(together.T)], original[np.lexsort(original.T)])
    assert len(set(y_train[:10].tolist())) > 1  # shuffled: the first rows are not all of one class
    other = getattr(datasets, name).load_data(seed=1)
    assert not np.array_equal(other[1][1], y_test) or not np.array_equal(other[1][0], x_test)


def test_the_default_split_never_changes():
    """Results are compared between people and versions: these are the first labels of the digits as of version 0.1."""
    (_, y_train), (_, y_test) = datasets.digits.load_data()
    assert y_train[:10].tolist() == [6, 6, 6, 6, 6, 9, 7, 6, 9, 9]
    assert y_test[:10].tolist() == [2, 8, 2, 6, 6, 7, 1, 9, 8, 5]
    assert np.bincount(y_test).tolist() == [36, 37, 35, 37, 36, 36, 36, 36, 35, 36]


def test_split_is_stratified_to_the_sample():
    y = np.repeat([3, 5, 9], [70, 20, 10])
    for fraction, counts in [(0.1, [7, 2, 1]), (0.5, [35, 10, 5]), (0.9, [63, 18, 9])]:
        train, test = stratified_split(y, fraction)
        assert sorted(np.concatenate([train, test]).tolist()) == list(range(100))
        assert [int((y[test] == label).sum()) for label in (3, 5, 9)] == counts
    train, test = stratified_split(["a", "b"], 0.999)
    assert len(train) == len(test) == 1


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan"), "0.2", True, None])
def test_bad_fraction(fraction):
    with pytest.raises(ArgumentError, match=r"fraction must lie between 0 and 1"):
        stratified_split([0, 1, 0, 1], fraction)


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, True, None])
def test_bad_seed(seed):
    with pytest.raises(ArgumentError, match=r"seed must be an integer from 0"):
        stratified_split([0, 1, 0, 1], 0.5, seed)


@pytest.mark.parametrize("y", [[], [1], 3, [[0, 1], [1, 0]]])
def test_bad_labels(y):
    with pytest.raises(ShapeError, match=r"at least two labels in one dimension"):
        stratified_split(y)


def test_every_file_of_the_folder_is_known():
    folder = Path(str(FILES))
    assert {path.name for path in folder.iterdir()} == {f"{name}.npz" for name in CATALOG} | {"README.md"}
