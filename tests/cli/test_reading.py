"""Files of samples: every kind read, every damage refused with the place where it is."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranvier.cli.reading import fit_shape, read_classes, read_samples
from ranvier.data.idx import write_idx
from ranvier.errors import DataError

pytestmark = pytest.mark.smoke


def written(folder: Path, name: str, text: str | bytes) -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_npy(tmp_path: Path, rng: np.random.Generator) -> None:
    x = rng.normal(size=(5, 3))
    np.save(tmp_path / "x.npy", x)
    table = read_samples(str(tmp_path / "x.npy"))
    np.testing.assert_array_equal(table.x, x)
    assert table.y is None


@pytest.mark.parametrize(("names", "x", "y"), [(("x", "y"), "x", "y"), (("x_test", "x", "y_test"), "x_test", "y_test"),
                                               (("anything",), "anything", None)])  # fmt: skip
def test_npz(names: tuple[str, ...], x: str, y: str | None, tmp_path: Path) -> None:
    arrays = {name: np.arange(4) + 10 * i for i, name in enumerate(names)}
    np.savez(tmp_path / "data.npz", **arrays)
    table = read_samples(str(tmp_path / "data.npz"))
    np.testing.assert_array_equal(table.x, arrays[x])
    if y is None:
        assert table.y is None
    else:
        np.testing.assert_array_equal(table.y, arrays[y])


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx(suffix: str, tmp_path: Path) -> None:
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    write_idx(tmp_path / f"images-idx3-ubyte{suffix}", images)
    np.testing.assert_array_equal(read_samples(str(tmp_path / f"images-idx3-ubyte{suffix}")).x, images)


@pytest.mark.parametrize(
    "text",
    [
        "1,2\n3,4\n",
        "a,b\n1,2\n3,4\n",
        "1;2\n3;4",
        "a\tb\r\n1\t2\r\n\r\n3\t4\r\n",
        "1 2\n3 4\n",
        "\ufeffa,b\n 1, 2\n3,4\n",
    ],
)
def test_csv_with_and_without_header(text: str, tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_samples(written(tmp_path, "t.csv", text)).x, [[1, 2], [3, 4]])


def test_csv_columns_are_found_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", "id,b,a,species\n7,2,1,cat\n8,4,3,dog\n")
    table = read_samples(path, ("a", "b"), 2)
    np.testing.assert_array_equal(table.x, [[1, 2], [3, 4]])
    assert table.y == ["cat", "dog"]


def test_csv_with_one_column_more_ends_with_the_class(tmp_path: Path) -> None:
    table = read_samples(written(tmp_path, "t.csv", "1,2,0\n3,4,1\n"), (), 2)
    np.testing.assert_array_equal(table.x, [[1, 2], [3, 4]])
    assert table.y == ["0", "1"]


def test_csv_class_column_by_name(tmp_path: Path) -> None:
    table = read_samples(written(tmp_path, "t.csv", "label,u,v\n1,5,6\n0,7,8\n"), (), 2)
    np.testing.assert_array_equal(table.x, [[5, 6], [7, 8]])
    assert table.y == ["1", "0"]


class Grabs:
    """An object that would run code if it were unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("grabbed",)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickles_are_refused_unopened(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    array = np.array([Grabs()], dtype=object)
    np.save("x.npy", array, allow_pickle=True) if suffix == ".npy" else np.savez("x.npz", x=array)
    with pytest.raises(DataError, match="holds Python objects, which are never loaded"):
        read_samples("x" + suffix)
    assert not os.path.exists("grabbed")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "the file is empty"),
        ("t.csv", "\n\n \n", "holds no rows"),
        ("t.csv", "a,b\n", "holds a header but no rows"),
        ("t.csv", "1,2\n3\n", r"line 2 has 1 columns, expected 2"),
        ("t.csv", "a,b\n1,2\n3,x\n", r"line 3, column 2 \(b\): expected a finite number, found 'x'"),
        ("t.csv", "a,b\n1,\n", r"line 2, column 2 \(b\): expected a finite number, found nothing"),
        ("t.csv", "1,nan\n", r"line 1, column 2: expected a finite number, found 'nan'"),
        ("t.csv", b"1,\xff\xfe2\n", r"not a text in UTF-8 \(byte 2\)"),
        ("t.png", b"\x89PNG\r\n\x1a\n", "not a NumPy"),
        ("x.npy", b"\x93NUMPY\x01\x00", "cannot be read as a NumPy array"),
        ("x.npz", b"PK\x03\x04junk", "cannot be read as NumPy arrays"),
        ("i-ubyte", b"\x00\x00\x08\x03\x00\x00", "IDX|idx|header|truncated"),
        ("i.gz", gzip.compress(b"hello"), "IDX"),
    ],
)
def test_damaged_files(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_samples(written(tmp_path, name, content))


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file. Expected a \.npy"):
        read_samples(str(tmp_path / "none.npy"))
    with pytest.raises(DataError, match=r"a folder\. Expected"):
        read_samples(str(tmp_path))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array(["a", "b"]), "expected real numbers"),
        (np.ones(3, complex), "expected real numbers"),
        (np.array([[1.0, 2.0], [np.nan, 4.0]]), r"nan at index \(1, 0\)"),
        (np.array([np.inf]), r"inf at index \(0,\)"),
    ],
)
def test_values_that_are_no_finite_numbers(array: Any, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(DataError, match=message):
        read_samples(str(tmp_path / "x.npy"))


@pytest.mark.parametrize(
    ("given", "wanted", "shape"),
    [
        ((5, 8, 8), (8, 8), (5, 8, 8)),
        ((8, 8), (8, 8), (1, 8, 8)),
        ((5, 64), (8, 8), (5, 8, 8)),
        ((64,), (8, 8), (1, 8, 8)),
        ((5, 8, 8, 1), (8, 8), (5, 8, 8)),
        ((5, 13), (13,), (5, 13)),
        ((13,), (13,), (1, 13)),
        ((5, 8, 8), (64,), (5, 64)),
        ((5, 3, 2), (None, 2), (5, 3, 2)),
    ],
)
def test_samples_take_the_shape_of_the_model(given: Any, wanted: Any, shape: Any) -> None:
    x = np.arange(np.prod(given)).reshape(given)
    found = fit_shape("f", x, wanted)
    assert found.shape == shape
    np.testing.assert_array_equal(found.ravel(), x.ravel())


@pytest.mark.parametrize(
    ("given", "wanted", "message"),
    [
        ((5, 13), (30,), r"f: the model takes samples of 30 numbers, it holds ndarray\(shape=\(5, 13\)"),
        ((5, 28, 28), (8, 8), r"samples of 8 × 8 numbers.*Expected shape \(samples, 8, 8\)"),
        ((0, 8, 8), (8, 8), "holds no samples"),
    ],
)
def test_samples_that_do_not_fit(given: Any, wanted: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit_shape("f", np.zeros(given), wanted)


def test_classes_by_number_and_by_name() -> None:
    names = ("cat", "dog")
    np.testing.assert_array_equal(read_classes("f", ["dog", "cat", "1"], names, 2, 3), [1, 0, 1])
    np.testing.assert_array_equal(read_classes("f", np.array([[0.0], [1.0]]), names, 2, 2), [0, 1])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 2], "row 1: expected a class from 0 to 1 or one of cat, dog; found 2"),
        ([0, -1], "row 1: expected a class from 0 to 1"),
        ([0.5, 1], "row 0: expected a class"),
        (["cow", "dog"], "row 0: expected a class from 0 to 1 or one of cat, dog; found 'cow'"),
        ([float("nan"), 1], "row 0: expected a class"),
        ([0, 1, 1], "expected one class for each of 2 samples"),
    ],
)
def test_classes_that_are_none(y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_classes("f", y, ("cat", "dog"), 2, 2)
