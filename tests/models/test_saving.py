"""One file: what goes in comes out, and nothing else is ever taken for a model."""

from __future__ import annotations

import errno
import gzip
import json
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import ranvier as rv
from ranvier.errors import ArgumentError, FileFormatError, SaveError

X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3)
Y = np.array([0, 1, 0, 1, 1, 0, 0, 1])


def network() -> rv.Sequential:
    return rv.Sequential(
        [
            rv.Input((3,)),
            rv.layers.Dense(4, activation="relu", kernel_regularizer=rv.regularizers.L2(0.01), name="first"),
            rv.layers.Dropout(0.25, name="drop"),
            rv.layers.Dense(2, activation="softmax", name="last"),
        ],
        name="net",
    )


def trained() -> rv.Sequential:
    model = network()
    model.compile(rv.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(X, Y, batch_size=4, epochs=2, verbose=0)
    return model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.fixture
def saved(path: Path) -> Path:
    network().save(path)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a model that was trained."""
    path = tmp_path_factory.mktemp("whole") / "model.safetensors"
    trained().save(path)
    return path.read_bytes()


@pytest.fixture
def tiny(path: Path) -> Path:
    """A file as short as they come."""
    rv.Sequential([rv.Input((1,)), rv.layers.Dense(1, name="a")], name="n").save(path)
    return path


def same(a: Any, b: Any) -> bool:
    return len(a) == len(b) and all((p == q).all() for p, q in zip(a, b, strict=True))


@pytest.mark.smoke
def test_a_model_comes_back_as_it_was(path: Path) -> None:
    model = trained()
    model.save(path)
    loaded = rv.load_model(path)
    assert type(loaded) is rv.Sequential
    assert loaded.name == "net"
    assert loaded.get_config() == model.get_config()
    assert same(loaded.get_weights(), model.get_weights())
    assert (loaded.predict(X) == model.predict(X)).all()
    assert loaded.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)
    assert os.listdir(path.parent) == [path.name]


def test_training_goes_on_where_it_stopped(path: Path) -> None:
    model = trained()
    model.save(path)
    loaded = rv.load_model(path)
    results = []
    for m in (model, loaded):
        rv.set_random_seed(11)
        m.fit(X, Y, batch_size=4, epochs=3, verbose=0)
        results.append(m.get_weights())
    assert same(*results)


def test_the_file_is_plain_safetensors(path: Path) -> None:
    model = trained()
    model.save(path)
    with safe_open(path, "numpy") as file:
        assert {"first/kernel", "first/bias", "last/kernel", "last/bias"} < set(file.keys())
        assert (file.get_tensor("first/kernel") == model.get_weights()[0]).all()
        about = json.loads(file.metadata()["ranvier"])
    assert about["weights"] == ["first/kernel", "first/bias", "last/kernel", "last/bias"]
    assert about["input"] == {"shape": [None, 3], "dtype": "float32"}
    assert about["compile"]["metrics"] == ["accuracy"]
    assert "optimizer/adam_iterations" in about["optimizer"]


def test_without_compile(path: Path) -> None:
    trained().save(path)
    assert not rv.load_model(path, compile=False).compiled
    network().save(path)
    assert not rv.load_model(path).compiled


def test_layers_with_statistics_and_models_inside(path: Path, rng: np.random.Generator) -> None:
    norm = rv.layers.Normalization()
    norm.adapt(rng.normal(size=(20, 3)))
    inner = rv.Sequential([rv.layers.Dense(2), rv.layers.Activation("tanh")])
    model = rv.Sequential([norm, inner, rv.layers.Rescaling(2.0), rv.layers.Dense(1, use_bias=False)])
    expected = model.predict(X)
    model.save(path)
    loaded = rv.load_model(path)
    assert (loaded.predict(X) == expected).all()
    assert same(loaded.get_weights(), model.get_weights())


def test_a_registered_model_of_ones_own(path: Path) -> None:
    @rv.layers.register
    class SavedTwice(rv.Model):
        def __init__(self, width: int = 2, **common: Any):
            super().__init__(**common)
            self.width = width
            self.inner = [rv.layers.Dense(width), rv.layers.Dense(width)]

        def call(self, inputs: Any) -> Any:
            return self.inner[1](self.inner[0](inputs))

    model = SavedTwice(5)
    expected = model.predict(X)
    model.save(path)
    loaded = rv.load_model(path)
    assert type(loaded) is SavedTwice
    assert loaded.width == 5
    assert (loaded.predict(X) == expected).all()


def test_a_model_that_saw_no_data_and_one_without_input(path: Path) -> None:
    rv.Sequential([rv.layers.Dense(2)]).save(path)
    loaded = rv.load_model(path)
    assert not loaded.built
    assert loaded.predict(X).shape == (8, 2)


def test_a_class_that_is_not_registered(path: Path) -> None:
    class Private(rv.Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    with pytest.raises(ArgumentError, match="'Private' is not registered, so it cannot be written to a file"):
        Private().save(path)
    assert not path.exists()


def test_a_loss_that_cannot_be_written_does_not_lose_the_model(path: Path) -> None:
    model = network()
    model.compile("sgd", lambda true, pred: rv.mean((true - pred) ** 2, -1))
    with pytest.warns(UserWarning, match="the file will not say how the model was compiled"):
        model.save(path)
    assert same(rv.load_model(path).get_weights(), model.get_weights())


@pytest.mark.parametrize("name", ["../up", "model.h5", 7, None])
def test_where_a_model_cannot_go(name: Any) -> None:
    with pytest.raises(ArgumentError, match=r"save: expected the path of a file that ends in .safetensors"):
        network().save(name)


def test_overwrite(saved: Path) -> None:
    with pytest.raises(ArgumentError, match=r"exists already. Choose another name, or save with overwrite=True"):
        network().save(saved, overwrite=False)


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match=r"save: cannot write .*: No such file .*Choose a folder that exists"):
        network().save(tmp_path / "nowhere" / "model.safetensors")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOSPC, "No space left .*Free some space. The old file is unchanged"),
        (errno.EROFS, "Read-only file system"),
    ],
)
def test_a_full_or_read_only_disk(saved: Path, monkeypatch: pytest.MonkeyPatch, number: int, text: str) -> None:
    before = saved.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("ranvier.data.atomic.os.fsync", fail)
    with pytest.raises(SaveError, match=text):
        network().save(saved)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(saved: Path) -> None:
    saved.parent.chmod(0o500)
    try:
        with pytest.raises(SaveError, match="Permission denied"):
            network().save(saved)
    finally:
        saved.parent.chmod(0o700)


# -- files that are no models -------------------------------------------------------------------------------------


def refused(path: Path, text: str) -> None:
    with pytest.raises(FileFormatError, match=text) as caught:
        rv.load_model(path)
    assert str(path) in str(caught.value)


def test_truncated_at_every_byte(tiny: Path) -> None:
    data = tiny.read_bytes()
    for length in range(len(data)):
        tiny.write_bytes(data[:length])
        with pytest.raises(FileFormatError, match=r"expected|not a valid"):
            rv.load_model(tiny)


def test_every_byte_flipped(tiny: Path) -> None:
    """Whatever is damaged is noticed; only padding may change without harm."""
    data = tiny.read_bytes()
    expected = rv.load_model(tiny).get_weights()
    for at in range(len(data)):
        tiny.write_bytes(data[:at] + bytes([data[at] ^ 0x11]) + data[at + 1 :])
        try:
            loaded = rv.load_model(tiny)
        except FileFormatError:
            continue
        assert same(loaded.get_weights(), expected)


def build(tensors: dict[str, Any], payload: bytes, **metadata: str) -> bytes:
    header = json.dumps({"__metadata__": metadata, **tensors} if metadata else tensors).encode()
    return struct.pack("<Q", len(header)) + header + payload


def entry(shape: Any, start: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "expected a safetensors file, found an empty file"),
        (b"\x01\x02\x03", "expected at least 8 bytes, found 3: the file is truncated"),
        (bytes(8), "a header that starts with"),
        (struct.pack("<Q", 2**63) + b"{}", "a header of at most 16,777,216 bytes, found 9,223,372,036,854,775,808"),
        (struct.pack("<Q", 3) + b"{}", "expected a header of 3 bytes, found only 2 bytes"),
        (struct.pack("<Q", 2) + b"\xff\xfe", "a header that starts with"),
        (struct.pack("<Q", 4) + b'{"\xff"', "expected a header in JSON"),
        (struct.pack("<Q", 200_001) + b"{" + b'"a":[' * 20_000 + b" " * 100_000, "nesting 20001 deep"),
        (build({}, b""), "found a safetensors file without its description. It holds weights only"),
        (build({"a": entry([2], 0, 8), "b": entry([2], 0, 8)}, bytes(8)), "tensors overlap or leave a gap"),
        (build({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)), "tensors overlap or leave a gap"),
        (build({"a": entry([2], 0, 8), "b": entry([2], 12, 20)}, bytes(20)), "tensors overlap or leave a gap"),
        (build({"a": entry([2], 0, 8)}, bytes(9)), "something follows the last tensor"),
        (build({"a": entry([2], 0, 8)}, bytes(7)), "the file is truncated"),
        (build({"a": entry([3], 0, 8)}, bytes(8)), r"expected 12 bytes for 'a' of shape \(3,\), found 8"),
        (build({"a": entry([2**62, 4], 0, 0)}, b""), "bytes for 'a' of shape"),
        (build({"a": entry([-1, 4], 0, 16)}, bytes(16)), "a shape of at most 32 integers for 'a'"),
        (build({"a": entry([1.0], 0, 4)}, bytes(4)), "a shape of at most 32 integers for 'a'"),
        (build({"a": entry([True], 0, 4)}, bytes(4)), "a shape of at most 32 integers for 'a'"),
        (build({"a": entry([1] * 33, 0, 4)}, bytes(4)), "a shape of at most 32 integers for 'a'"),
        (build({"a": entry(None, 0, 4)}, bytes(4)), "a shape of at most 32 integers for 'a'"),
        (build({"a": entry([1], 4, 0)}, bytes(4)), "expected 4 bytes for 'a'"),
        (build({"a": entry([1], 0, 4, "F33")}, bytes(4)), "expected a dtype out of .* found 'F33'"),
        (
            build({"../../etc/passwd": entry([1], 0, 4)}, bytes(4)),
            "printable names of tensors, found '../../etc/passwd'",
        ),
        (build({"a\u202eb": entry([1], 0, 4)}, bytes(4)), "printable names of tensors"),
        (build({"a\0": entry([1], 0, 4)}, bytes(4)), "printable names of tensors"),
        (build({"a" * 600: entry([1], 0, 4)}, bytes(4)), "printable names of tensors"),
        (build({"__class__": entry([1], 0, 4)}, bytes(4)), "printable names of tensors"),
        (build({"a": {"shape": [1]}}, bytes(4)), "expected dtype, shape and data_offsets for 'a'"),
        (build({"a": [1]}, bytes(4)), "expected dtype, shape and data_offsets for 'a'"),
        (struct.pack("<Q", 15) + b'{"a":1,"a":2}  ', "found the key 'a' twice"),
        (struct.pack("<Q", 9) + b'{"a":NaN}', "found the number NaN"),
        (build({"__metadata__": {"a": 1}}, b""), "expected the metadata to be texts"),
        (pickle.dumps({"weights": [1.0, 2.0]}), "found a pickle, which Ranvier never opens: it could run any program"),
        (gzip.compress(b"x" * 100), "found a gzip file"),
        (b"PK\x03\x04" + b"x" * 100, "found a zip archive"),
        (b"\x89HDF\r\n\x1a\n" + b"x" * 100, "found an HDF5 file"),
        (b"\x93NUMPY\x01\x00" + b"x" * 100, "found a NumPy file"),
        (b'{"layers": []}', "found a text that starts with '{'"),
    ],
)
def test_files_that_are_something_else(path: Path, data: bytes, text: str) -> None:
    path.write_bytes(data)
    refused(path, text)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    refused(tmp_path / "missing.safetensors", "cannot be opened: No such file")
    refused(tmp_path, "found a folder, pipe or device|cannot be opened")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        refused(tmp_path / "pipe", "found a folder, pipe or device")
    with pytest.raises(ArgumentError, match="load_model: expected the path of a file, got 7"):
        rv.load_model(7)
    network().save(tmp_path / "big.safetensors")
    with pytest.raises(FileFormatError, match="expected at most 100 bytes, found"):
        rv.load_model(tmp_path / "big.safetensors", max_bytes=100)


def edited(path: Path, change: Callable[[dict[str, Any], dict[str, np.ndarray]], Any]) -> None:
    """Rewrite a model file after a change of description and tensors; checksums are made right again."""
    with safe_open(path, "numpy") as file:
        about = json.loads(file.metadata()["ranvier"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dictionary
    change(about, tensors)
    if isinstance(about.get("checksums"), dict):
        about["checksums"] = {k: zlib.crc32(np.ascontiguousarray(v).tobytes()) for k, v in tensors.items()}
    text = json.dumps(about)
    save_file(tensors, path, metadata={"ranvier": text, "crc32": str(zlib.crc32(text.encode()))})


def layer(about: dict[str, Any], index: int = 1) -> dict[str, Any]:
    return about["model"]["config"]["layers"][index]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda a, t: layer(a).update(class_name="Evil"), "the structure in it cannot be built: .*'Evil'"),
        (lambda a, t: layer(a).update(class_name="os.system"), "the structure in it cannot be built: .*'os.system'"),
        (lambda a, t: layer(a).update(class_name=["Dense"]), "the structure in it cannot be built"),
        (lambda a, t: layer(a)["config"].update(units=0), "expected units to be .*, got 0"),
        (lambda a, t: layer(a)["config"].update(units="10"), "expected units to be .*, got '10'"),
        (lambda a, t: layer(a)["config"].update(units=True), "expected units to be .*, got True"),
        (lambda a, t: layer(a)["config"].update(units=5), r"expected shape \(3, 5\) for 'first/kernel', .* \(3, 4\)"),
        (lambda a, t: layer(a)["config"].update(color="red"), "unknown entries color"),
        (lambda a, t: layer(a)["config"].update(activation="evil"), "the structure in it cannot be built: .*'evil'"),
        (lambda a, t: a["model"].update(class_name="Dense"), "cannot be built|the description of a model"),
        (lambda a, t: a.update(model=layer(a)), "expected the description of a model"),
        (lambda a, t: a.update(model=None), "expected the description of a model, found None"),
        (lambda a, t: a.update(format=2), "expected format 1, found 2"),
        (lambda a, t: a.update(format=True), "expected format 1, found True"),
        (lambda a, t: a.pop("input"), "a description with"),
        (lambda a, t: a.update(extra=1), "a description with"),
        (lambda a, t: a["input"].update(shape=[None, 4]), "Sequential 'net': expected input of shape|input of shape"),
        (lambda a, t: a["input"].update(shape=[None, -3]), "expected the shape of the input"),
        (lambda a, t: a["input"].update(dtype="float31"), "cannot be built"),
        (lambda a, t: a["weights"].pop(), "a checksum for each tensor"),
        (lambda a, t: a["weights"].reverse(), r"expected shape \(3, 4\) for"),
        (lambda a, t: a.update(weights=["first/kernel"] * 4), "a checksum for each tensor"),
        (lambda a, t: t.pop("first/bias"), "expected a checksum for each tensor"),
        (lambda a, t: t.update({"more": np.zeros(2)}), "expected a checksum for each tensor"),
        (lambda a, t: t.update({"first/bias": np.zeros(5, np.float32)}), r"expected shape \(4,\) for 'first/bias'"),
        (lambda a, t: t.update({"first/bias": np.zeros(4)}), "expected float32 for 'first/bias', .* found float64"),
        (lambda a, t: a.update(checksums=None), "expected a checksum for each tensor"),
        (lambda a, t: a["model"]["config"].update(layers=[layer(a)] * 10_001), "expected at most 10,000 layers"),
        (lambda a, t: a["compile"]["optimizer"].update(class_name="Evil"), "cannot be compiled as described: .*'Evil'"),
        (lambda a, t: a["compile"].update(loss="evil"), "cannot be compiled as described: .*'evil'"),
        (lambda a, t: a["compile"].update(metrics=7), "cannot be compiled as described"),
        (lambda a, t: a["compile"].pop("loss"), "in 'compile'"),
        (lambda a, t: a["compile"]["optimizer"].update(class_name="SGD", config={}), "values of the optimizer"),
        (lambda a, t: t.update({"optimizer/adam_iterations": np.zeros(3, np.int64)}),
         r"expected shape \(\) for 'optimizer/adam_iterations'"),
    ],
)  # fmt: skip
def test_descriptions_that_do_not_fit(path: Path, whole: bytes, change: Callable[..., Any], text: str) -> None:
    path.write_bytes(whole)
    edited(path, change)
    refused(path, text)


def test_the_edits_alone_do_no_harm(path: Path) -> None:
    model = trained()
    model.save(path)
    edited(path, lambda about, tensors: None)
    assert same(rv.load_model(path).get_weights(), model.get_weights())


def test_a_wrong_checksum(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[-1] ^= 1
    saved.write_bytes(bytes(data))
    refused(saved, "expected the checksum .*: its numbers are damaged")


def test_numbers_that_are_not_finite_are_kept(path: Path) -> None:
    model = network()
    weights = model.get_weights()
    weights[0][0, 0], weights[0][0, 1], weights[1][0] = np.nan, np.inf, -0.0
    model.set_weights(weights)
    model.save(path)
    got = rv.load_model(path).get_weights()
    assert all(a.tobytes() == b.tobytes() for a, b in zip(got, weights, strict=True))
