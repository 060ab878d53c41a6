"""MNIST and Fashion-MNIST: from a folder, from a download (a local server stands in), and everything in between."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from ranvier import config, datasets
from ranvier.data import write_idx
from ranvier.datasets import images, store
from ranvier.errors import DataError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"

TRAIN = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
TEST = TRAIN[:2] + 100
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)


def fill(folder: Path, suffix: str = ".gz", **changed: np.ndarray) -> Path:
    """Four tiny files under the published names; an argument replaces one of the arrays."""
    parts = {"train_images": TRAIN, "train_labels": LABELS, "t10k_images": TEST, "t10k_labels": LABELS[:2]} | changed
    folder.mkdir(exist_ok=True)
    for key, array in parts.items():
        kind = "idx3" if key.endswith("images") else "idx1"
        write_idx(folder / f"{key.replace('_', '-')}-{kind}-ubyte{suffix}", array)
    return folder


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_reads_a_folder(tmp_path, suffix):
    (x_train, y_train), (x_test, y_test) = datasets.mnist.load_data(fill(tmp_path, suffix))
    assert np.array_equal(x_train, TRAIN)
    assert np.array_equal(x_test, TEST)
    assert y_train.tolist() == [3, 1, 4, 1, 5]
    assert y_test.tolist() == [3, 1]


def test_reads_the_dotted_names_some_unpackers_give(tmp_path):
    fill(tmp_path, "")
    for path in list(tmp_path.iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert datasets.fashion_mnist.load_data(str(tmp_path))[0][0].shape == (5, 4, 3)


def test_missing_folder_and_file(tmp_path):
    with pytest.raises(DataError, match=r"absent is not a folder. Expected a folder with train-images-idx3-ubyte.gz"):
        datasets.mnist.load_data(tmp_path / "absent")
    fill(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"mnist: expected t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz in"):
        datasets.mnist.load_data(tmp_path)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"train_labels": LABELS[:4]}, "train-labels-idx1-ubyte.gz: 4 labels, but .* holds 5 images"),
        ({"t10k_labels": LABELS}, "t10k-labels-idx1-ubyte.gz: 5 labels, but .* holds 2 images"),
        ({"train_labels": np.array([0, 1, 10, 1, 255], np.uint8)}, "expected labels 0 to 9, found 10 in row 2"),
        ({"train_images": LABELS}, r"expected uint8 images \(count, rows, columns\)"),
        ({"train_images": TRAIN.astype(np.float32)}, "expected uint8 images"),
        ({"train_labels": TRAIN}, r"expected uint8 labels \(count,\)"),
        ({"train_labels": LABELS.astype(np.int32)}, "expected uint8 labels"),
        ({"t10k_images": TEST[:, :2]}, r"holds images of \(4, 3\) pixels, but .* of \(2, 3\)"),
        ({"train_images": TRAIN[:0], "train_labels": LABELS[:0]}, r"holds no pixels: shape \(0, 4, 3\)"),
        ({"train_images": TRAIN[:, :, :0]}, "holds no pixels"),
    ],
)
def test_files_that_do_not_fit_together(tmp_path, changed, message):
    fill(tmp_path, **changed)
    with pytest.raises(DataError, match=message):
        datasets.mnist.load_data(tmp_path)


def test_images_and_labels_swapped(tmp_path):
    fill(tmp_path)
    a, b = tmp_path / "train-images-idx3-ubyte.gz", tmp_path / "train-labels-idx1-ubyte.gz"
    data = a.read_bytes(), b.read_bytes()
    a.write_bytes(data[1])
    b.write_bytes(data[0])
    with pytest.raises(DataError, match=r"expected uint8 images"):
        datasets.mnist.load_data(tmp_path)


# ---- downloading -----------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path):
    """A local web server for ``tmp_path/web``, which holds four tiny files; gives the image set that describes them."""
    web = fill(tmp_path / "web")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(web))) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        sums = tuple(
            (name, hashlib.sha256((web / f"{name}.gz").read_bytes()).hexdigest()) for name, _ in images.MNIST.sha256
        )
        yield dataclasses.replace(images.MNIST, mirrors=(f"http://127.0.0.1:{httpd.server_port}/",), sha256=sums)
        httpd.shutdown()
        thread.join()


def test_download_once_into_the_data_folder(tmp_path, server):
    pytest.importorskip("pooch", reason="pooch (the extra `data`) is not installed")
    with config.override(data_dir=str(tmp_path / "cache")):
        (x_train, _), _ = images.load_images(server)
        assert np.array_equal(x_train, TRAIN)
        assert len(list((tmp_path / "cache" / "mnist").iterdir())) == 4
        offline = dataclasses.replace(server, mirrors=("http://127.0.0.1:9/",))
        assert np.array_equal(images.load_images(offline)[0][0], TRAIN)  # from the cache, no server asked


def test_a_damaged_cached_file_is_fetched_again(tmp_path, server):
    pytest.importorskip("pooch", reason="pooch (the extra `data`) is not installed")
    with config.override(data_dir=str(tmp_path / "cache")):
        images.load_images(server)
        damaged = tmp_path / "cache" / "mnist" / "train-images-idx3-ubyte.gz"
        damaged.write_bytes(damaged.read_bytes()[:-3])
        assert np.array_equal(images.load_images(server)[0][0], TRAIN)


def test_the_second_mirror_is_asked(tmp_path, server):
    pytest.importorskip("pooch", reason="pooch (the extra `data`) is not installed")
    two = dataclasses.replace(server, mirrors=("http://127.0.0.1:9/", *server.mirrors))
    with config.override(data_dir=str(tmp_path / "cache")):
        assert np.array_equal(images.load_images(two)[1][0], TEST)


def test_wrong_checksum_leaves_nothing(tmp_path, server):
    pytest.importorskip("pooch", reason="pooch (the extra `data`) is not installed")
    wrong = dataclasses.replace(server, sha256=tuple((name, "0" * 64) for name, _ in server.sha256))
    with config.override(data_dir=str(tmp_path / "cache")):
        with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz could not be downloaded"):
            images.load_images(wrong)
    assert list((tmp_path / "cache" / "mnist").iterdir()) == []


def test_offline_message(tmp_path):
    pytest.importorskip("pooch", reason="pooch (the extra `data`) is not installed")
    nowhere = dataclasses.replace(images.FASHION_MNIST, mirrors=("http://127.0.0.1:9/",))
    with config.override(data_dir=str(tmp_path)):
        with pytest.raises(DataError, match=r"Check the network connection, or fetch the four files") as caught:
            images.load_images(nowhere)
    assert "http://127.0.0.1:9/" in str(caught.value)
    assert "ranvier train fashion-mnist --data FOLDER" in str(caught.value)


def test_without_pooch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with config.override(data_dir=str(tmp_path)):
        with pytest.raises(
            DataError, match=r"needs pooch, which is not installed. Run `pip install 'ranvier\[data\]'`"
        ):
            datasets.mnist.load_data()


def test_unwritable_folder(tmp_path):
    pytest.importorskip("pooch", reason="pooch (the extra `data`) is not installed")
    (tmp_path / "file").write_bytes(b"in the way")
    with config.override(data_dir=str(tmp_path / "file")):
        with pytest.raises(DataError, match=r"the folder for downloads .*/file/mnist cannot be made: Not a directory"):
            datasets.mnist.load_data()


def test_published_checksums_are_complete():
    for which in (images.MNIST, images.FASHION_MNIST):
        assert len(which.sha256) == 4
        assert all(len(sha) == 64 and int(sha, 16) for _, sha in which.sha256)
        assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in which.mirrors)


# ---- the folder ------------------------------------------------------------------------------------------------


def test_data_folder_order(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    with config.override(data_dir=""):
        assert store.data_folder() == "/home/somebody/.cache/ranvier/datasets"
        monkeypatch.setenv("XDG_CACHE_HOME", "relative/ignored")
        assert store.data_folder() == "/home/somebody/.cache/ranvier/datasets"
        monkeypatch.setenv("XDG_CACHE_HOME", "/var/xdg")
        assert store.data_folder() == "/var/xdg/ranvier/datasets"
    with config.override(data_dir="/srv/data"):
        assert store.data_folder() == "/srv/data"
    with config.override(data_dir="~/data"):
        assert store.data_folder() == "/home/somebody/data"


def test_home_unset(monkeypatch):
    for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    with config.override(data_dir=""):
        assert os.path.isabs(store.data_folder())  # from the system's table of users
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
        with pytest.raises(DataError, match=r"HOME is unset .* Set RANVIER_DATA_DIR"):
            store.data_folder()


def test_pooch_is_not_imported_before_it_is_needed():
    code = "import sys, ranvier.datasets; print('pooch' in sys.modules, 'requests' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# ---- the real files --------------------------------------------------------------------------------------------

MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="the MNIST files are not on this machine")
def test_real_mnist():
    (x_train, y_train), (x_test, y_test) = datasets.mnist.load_data(SHARED / "mnist")
    assert x_train.shape == (60000, 28, 28)
    assert x_test.shape == (10000, 28, 28)
    assert x_train.dtype == y_train.dtype == np.uint8
    assert np.bincount(y_train).tolist() == MNIST_TRAIN
    assert np.bincount(y_test).tolist() == MNIST_TEST
    assert y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert round(float(x_train.mean()) / 255, 4) == 0.1307
    with gzip.open(SHARED / "mnist" / "train-images-idx3-ubyte.gz") as file:  # the published MD5 of the plain file
        assert hashlib.md5(file.read()).hexdigest() == "6bbc9ace898e44ae57da46a324031adb"


@pytest.mark.skipif(not (SHARED / "fashion_mnist").is_dir(), reason="the Fashion-MNIST files are not on this machine")
def test_real_fashion_mnist():
    folder = SHARED / "fashion_mnist"
    (x_train, y_train), (x_test, y_test) = datasets.fashion_mnist.load_data(folder)
    assert np.bincount(y_train).tolist() == [6000] * 10
    assert np.bincount(y_test).tolist() == [1000] * 10
    assert round(float(x_train.mean()) / 255, 4) == 0.286
    assert round(float(x_train.std()) / 255, 4) == 0.353
    assert x_test.shape == (10000, 28, 28)
    assert len(datasets.fashion_mnist.CLASS_NAMES) == 10
    for name, sha in images.FASHION_MNIST.sha256:
        assert hashlib.sha256((folder / f"{name}.gz").read_bytes()).hexdigest() == sha
