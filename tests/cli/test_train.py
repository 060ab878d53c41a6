"""``ranvier train``: accuracy, run folders, and orderly ends."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranvier import config, datasets
from ranvier.cli import main
from ranvier.cli.recipes import RECIPES
from ranvier.data.idx import write_idx
from ranvier.diagnose.report import accuracy_interval
from ranvier.models import load_model

FILES = ["environment.json", "history.csv", "model.safetensors", "report.html", "results.json", "settings.json"]


def read(run: str, name: str) -> Any:
    return json.loads(Path(run, name).read_text("utf-8"))


def relu(x: Any) -> Any:
    return np.maximum(x, 0)


@pytest.mark.smoke
def test_the_folder_holds_what_is_promised(digits_run: str) -> None:
    assert sorted(os.listdir(digits_run)) == FILES
    settings, environment = read(digits_run, "settings.json"), read(digits_run, "environment.json")
    assert settings["command"] == "ranvier train digits --epochs 6 --hidden 48,24"
    assert (settings["hidden"], settings["input_shape"], settings["seed"]) == ([48, 24], [8, 8], 0)
    assert settings["class_names"] == [str(digit) for digit in range(10)]
    assert environment["numpy"] == np.__version__
    with open(Path(digits_run, "history.csv"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(1, 7)]
    assert list(rows[0]) == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])


@pytest.mark.smoke
def test_results_are_those_of_the_saved_weights(digits_run: str) -> None:
    """The network written out in NumPy says the same."""
    mean, variance, *weights = sorted_weights(digits_run)
    _, (x, y) = datasets.digits.load_data()
    values = ((x.astype(np.float64) - mean) / np.sqrt(variance)).reshape(len(x), 64)
    for kernel, bias in zip(weights[0::2], weights[1::2], strict=True):
        scores = values @ kernel + bias
        values = relu(scores)
    right = int((scores.argmax(axis=1) == y).sum())
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    results = read(digits_run, "results.json")
    assert (results["test_right"], results["test_total"]) == (right, 360)
    assert results["test_accuracy"] == right / 360
    assert results["test_accuracy_interval"] == list(accuracy_interval(right, 360))
    assert results["test_loss"] == pytest.approx(-logs[np.arange(360), y].mean(), rel=1e-4)
    assert np.trace(results["confusion"]) == right
    assert np.sum(results["confusion"], axis=1).tolist() == np.bincount(y).tolist()
    assert results["parameters"] == 64 * 48 + 48 + 48 * 24 + 24 + 24 * 10 + 10


def sorted_weights(run: str) -> list[Any]:
    model = load_model(os.path.join(run, "model.safetensors"))
    return [weight.astype(np.float64) for layer in model.layers for weight in layer.get_weights()]


@pytest.mark.smoke
def test_the_report_is_one_page_that_loads_nothing(digits_run: str) -> None:
    text = Path(digits_run, "report.html").read_text("utf-8")
    page = ET.fromstring(text.partition("\n")[2] if text.startswith("<!DOCTYPE") else text)
    assert len(page.findall(".//{*}svg")) >= 3  # loss, accuracy, confusion matrix
    pictures = [image.get("src", "") for image in page.findall(".//{*}img")]
    assert len(pictures) >= 48  # mistakes, and the units of the first layer
    assert all(source.startswith("data:image/png;base64,") for source in pictures)
    words = " ".join(page.itertext())
    for told in ("6", "360", "ranvier predict", "Adam, learning rate 0.002", "64"):
        assert told in words


@pytest.mark.parametrize("seed", [0, 1])
def test_digits_reach_the_bar(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "digits", "--seed", str(seed), "--json", "--quiet", "--out", str(tmp_path / "run")]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["test_accuracy"] >= 0.975
    assert results["run"] == str(tmp_path / "run")


@pytest.mark.parametrize(("name", "bar"), [("iris", 0.9), ("wine", 0.94), ("breast-cancer", 0.95)])
def test_tables_are_learned(name: str, bar: float, tmp_path: Path) -> None:
    assert main(["train", name, "--quiet", "--out", str(tmp_path / "run")]) == 0
    assert read(str(tmp_path / "run"), "results.json")["test_accuracy"] >= bar
    settings = read(str(tmp_path / "run"), "settings.json")
    whole = datasets.load(name.replace("-", "_"))
    assert settings["class_names"] == list(whole.target_names)
    assert settings["feature_names"] == list(whole.feature_names)


@pytest.mark.parametrize(
    ("name", "folder", "bar"), [("mnist", "mnist", 0.982), ("fashion-mnist", "fashion_mnist", 0.89)]
)
def test_images_reach_the_bar(name: str, folder: str, bar: float, shared_data: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    assert main(["train", name, "--data", str(shared_data / folder), "--quiet", "--out", out]) == 0
    assert read(out, "results.json")["test_accuracy"] >= bar
    # settings.json holds the command that repeats the run, folder included
    assert f"--data {shared_data / folder}" in read(out, "settings.json")["command"]


def test_the_same_seed_gives_the_same_weights_for_any_number_of_threads(tmp_path: Path) -> None:
    for out, *more in (("a",), ("b", "--threads", "1"), ("c", "--seed", "1")):
        with config.override(threads=0):
            line = ["train", "wine", "--epochs", "3", "--quiet", "--out", str(tmp_path / out), *more]
            assert main(line) == 0
    a, b, c = (sorted_weights(str(tmp_path / out)) for out in "abc")
    assert all(np.array_equal(one, two) for one, two in zip(a, b, strict=True))
    assert not all(np.array_equal(one, two) for one, two in zip(a, c, strict=True))


@pytest.mark.smoke
def test_what_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "run")
    assert main(["train", "digits", "--epochs", "2", "--hidden", "8", "--out", out]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert lines[0] == "handwritten digits, 8 × 8 pixels: 1,437 to learn from, 360 held out"
    assert lines[1] == "network 64 → 8 → 10, 610 parameters; Adam from 0.002, batches of 32, seed 0"
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["1/2", "2/2"]
    results = read(out, "results.json")
    assert f"test accuracy {100 * results['test_accuracy']:.2f} %" in printed.out
    assert "mistakes, most often" in printed.out
    assert "██" in printed.out  # wrong digits as pictures
    for told in (f"run folder {out}", f"{out}/report.html", f"ranvier predict {out} FILE"):
        assert told in printed.out


@pytest.mark.smoke
def test_json_is_alone_on_the_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "iris", "--epochs", "2", "--json", "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["status"] == "finished"
    assert "epoch 1/2" in printed.err
    assert main(["train", "iris", "--epochs", "2", "--json", "--quiet", "--out", str(tmp_path / "other")]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.smoke
def test_quiet_prints_two_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "iris", "--epochs", "2", "--quiet", "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()] == ["test", "run"]


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("digits --data x", "ranvier: --data: digits is part of Ranvier, not read from a folder. Leave --data out.\n"),
        (
            "mnist --data none",
            "ranvier: mnist: none is not a folder. Expected a folder with train-images-idx3-ubyte.gz",
        ),
        ("digits --out full", "ranvier: full exists already and is not replaced. Choose another folder with --out.\n"),
        ("digits --out file/run", "ranvier: the run folder file/run cannot be made: "),
        ("digits --learning-rate 1e30", "ranvier: fit: the loss became NaN or infinite at step"),
    ],
)
def test_what_goes_wrong_is_one_message(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("full").mkdir()
    Path("full", "mine").write_text("keep")
    Path("file").write_text("keep")
    assert main(["train", *line.split(), "--quiet"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(message)
    assert "Traceback" not in printed.err
    assert sorted(os.listdir(".")) == ["file", "full"]
    assert os.listdir("full") == ["mine"]


@pytest.mark.smoke
def test_traceback_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "digits", "--data", "x", "--traceback"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.smoke
def test_without_network_the_message_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.chdir(tmp_path)
    with config.override(data_dir=str(tmp_path / "data")):
        assert main(["train", "fashion-mnist"]) == 1
    told = capsys.readouterr().err
    assert "could not be downloaded" in told
    assert "Check the network connection" in told
    assert "`ranvier train fashion-mnist --data FOLDER`" in told
    assert not Path("runs").exists()


def tiny_mnist(folder: Path, rng: np.random.Generator) -> str:
    folder.mkdir()
    for part, count in (("train", 256), ("t10k", 64)):
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, 28, 28)).astype(np.uint8))
        write_idx(folder / f"{part}-labels-idx1-ubyte", rng.integers(0, 10, count).astype(np.uint8))
    return str(folder)


@pytest.mark.smoke
def test_idx_files_of_ones_own(tmp_path: Path, rng: np.random.Generator) -> None:
    data, out = tiny_mnist(tmp_path / "data", rng), str(tmp_path / "run")
    line = ["train", "mnist", "--data", data, "--epochs", "2", "--hidden", "8", "--quiet", "--out", out]
    assert main(line) == 0
    assert read(out, "results.json")["test_total"] == 64
    assert main(["evaluate", out, data]) == 0
    assert main(["predict", out, os.path.join(data, "t10k-images-idx3-ubyte.gz"), "--json"]) == 0


def start(*arguments: str, **options: Any) -> Any:
    return subprocess.Popen(
        [sys.executable, "-m", "ranvier", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options,
    )  # fmt: skip


@pytest.mark.smoke
def test_ctrl_c_keeps_what_was_learned(tmp_path: Path) -> None:
    process = start("train", "digits", "--epochs", "1000000", "--hidden", "16", "--out", "run", cwd=tmp_path)
    while not process.stdout.readline().startswith("epoch"):
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors.startswith("ranvier: interrupted after ")
    assert errors.endswith("what was learned is kept in run\n")
    assert "Traceback" not in errors
    assert sorted(os.listdir(tmp_path / "run")) == FILES
    results = read(str(tmp_path / "run"), "results.json")
    assert results["status"] == "interrupted"
    assert 1 <= results["epochs"] < 1_000_000
    assert "interrupted before its end" in (tmp_path / "run" / "report.html").read_text("utf-8")
    assert main(["evaluate", str(tmp_path / "run"), "digits"]) == 0


@pytest.mark.smoke
def test_without_a_home(tmp_path: Path) -> None:
    gone = ("HOME", "XDG_CACHE_HOME", "RANVIER_CACHE_DIR", "RANVIER_DATA_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in gone}
    process = start("train", "iris", "--epochs", "1", "--quiet", cwd=tmp_path, env=environment)
    printed, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    run = printed.splitlines()[-1].removeprefix("run folder ")
    assert run.startswith(os.path.join("runs", "iris-"))
    assert sorted(os.listdir(tmp_path / run)) == FILES


@pytest.mark.smoke
def test_a_folder_that_may_not_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if os.geteuid() == 0:
        place = "/proc/ranvier-test/run"  # root may write anywhere but here
    else:
        (tmp_path / "locked").mkdir(mode=0o500)
        place = str(tmp_path / "locked" / "run")
    assert main(["train", "iris", "--quiet", "--out", place]) == 1
    assert capsys.readouterr().err.startswith(f"ranvier: the run folder {place} cannot be made: ")


@pytest.mark.smoke
def test_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ranvier.cli import run_folder

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device", "report.html")

    monkeypatch.setattr(run_folder.RunWriter, "write_text", full)
    assert main(["train", "iris", "--epochs", "1", "--quiet", "--out", str(tmp_path / "a" / "run")]) == 1
    assert capsys.readouterr().err == "ranvier: report.html: No space left on device\n"
    assert os.listdir(tmp_path) == []


@pytest.mark.smoke
def test_every_bundled_data_set_can_be_trained_on() -> None:
    assert set(datasets.names()) == {name.replace("-", "_") for name, recipe in RECIPES.items() if recipe.bundled}
