"""``predict``, ``evaluate``, ``explain`` and ``datasets``: a trained network in use, and every refusal."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss

from ranvier import datasets
from ranvier.cli import main
from ranvier.cli.console import Console, plain_data, side_by_side
from ranvier.cli.progress import duration
from ranvier.cli.score import score
from ranvier.data.idx import write_idx
from ranvier.models import load_model

pytestmark = pytest.mark.smoke

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def held_out() -> tuple[Any, Any]:
    _, (x, y) = datasets.digits.load_data()
    return x, y


def expected(run: str, x: Any) -> Any:
    return load_model(os.path.join(run, "model.safetensors")).predict(x)


def document(capsys: Capture) -> Any:
    printed = capsys.readouterr()
    assert printed.err == ""
    return json.loads(printed.out)


def wine_csv(path: str = "wine.csv", classes: bool = True, header: bool = True) -> str:
    whole = load_wine()
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if header:
            writer.writerow([*datasets.load("wine").feature_names, *(["class"] if classes else [])])
        for x, y in zip(whole.data.tolist(), whole.target.tolist(), strict=True):
            writer.writerow([*x, *([datasets.load("wine").target_names[y]] if classes else [])])
    return path


# -- predict ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["npy", "npz", "idx", "csv", "flat"])
def test_every_kind_of_file_gives_the_same_answers(kind: str, digits_run: str, capsys: Capture) -> None:
    x, _ = held_out()
    if kind == "npy":
        np.save("file", x)
    elif kind == "npz":
        np.savez("file.npz", x=x)
    elif kind == "idx":
        write_idx("file", x)
    elif kind == "csv":
        np.savetxt("file.csv", x.reshape(len(x), 64), delimiter=",", fmt="%d")
    else:
        np.save("file", x.reshape(len(x), 64).astype(np.float64))
    file = next(name for name in ("file", "file.npy", "file.npz", "file.csv") if os.path.exists(name))
    assert main(["predict", digits_run, file, "--json"]) == 0
    found = document(capsys)
    p = expected(digits_run, x)
    assert [row["class"] for row in found["predictions"]] == [str(k) for k in p.argmax(axis=1)]
    np.testing.assert_allclose([row["probabilities"] for row in found["predictions"]], p, atol=1e-5)
    assert found["classes"] == [str(k) for k in range(10)]


def test_the_table_for_people(digits_run: str, capsys: Capture) -> None:
    x, _ = held_out()
    np.save("x.npy", x[:25])
    assert main(["predict", digits_run, "x.npy"]) == 0
    lines = capsys.readouterr().out.splitlines()
    p = expected(digits_run, x[:25])
    assert lines[0].split() == ["row", "class", "probability", "or", "else"]
    for row in range(20):
        k = int(p[row].argmax())
        assert lines[2 + row].split()[:3] == [str(row), str(k), f"{100 * p[row, k]:.1f}"]
    assert lines[22] == "... and 5 more rows; --out answers.csv writes all of them"


def test_one_image_alone(digits_run: str, capsys: Capture) -> None:
    x, _ = held_out()
    np.save("x.npy", x[3])
    assert main(["predict", digits_run, "x.npy", "--json"]) == 0
    assert len(document(capsys)["predictions"]) == 1


def test_tables_by_name_with_columns_in_any_order(wine_run: str, capsys: Capture) -> None:
    names, x = datasets.load("wine").feature_names, load_wine().data
    order = np.arange(13)[::-1]
    rows = [",".join(["id", *(names[i] for i in order)])]
    rows += [",".join([str(n), *(repr(float(x[n, i])) for i in order)]) for n in range(40)]
    Path("t.csv").write_text("\n".join(rows))
    assert main(["predict", wine_run, "t.csv", "--json"]) == 0
    found = document(capsys)["predictions"]
    np.testing.assert_allclose([row["probabilities"] for row in found], expected(wine_run, x[:40]), atol=1e-5)


@pytest.mark.parametrize("kind", ["csv", "json", "npy", "npz"])
def test_answers_in_a_file(kind: str, wine_run: str, capsys: Capture) -> None:
    np.save("x.npy", load_wine().data)
    assert main(["predict", wine_run, "x.npy", "--out", f"answers.{kind}"]) == 0
    assert capsys.readouterr().out == f"178 answers written to answers.{kind}\n"
    p = expected(wine_run, load_wine().data)
    if kind == "csv":
        with open("answers.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        found = np.array([[float(row[f"p(class_{k})"]) for k in range(3)] for row in rows])
        assert [row["class"] for row in rows] == [f"class_{k}" for k in p.argmax(axis=1)]
    elif kind == "json":
        found = np.array([row["probabilities"] for row in json.loads(Path("answers.json").read_text())])
    else:
        found = np.load(f"answers.{kind}", allow_pickle=False)
        found = found if kind == "npy" else found["probabilities"]
    np.testing.assert_allclose(found, p, atol=1e-5)


def test_an_answer_file_is_replaced_only_on_request(wine_run: str, capsys: Capture) -> None:
    np.save("x.npy", load_wine().data)
    Path("a.csv").write_text("keep")
    assert main(["predict", wine_run, "x.npy", "--out", "a.csv"]) == 1
    assert capsys.readouterr().err == "ranvier: a.csv exists already. Add --overwrite to replace it.\n"
    assert Path("a.csv").read_text() == "keep"
    assert main(["predict", wine_run, "x.npy", "--out", "a.csv", "--overwrite"]) == 0
    assert Path("a.csv").read_text().startswith("row,class")


# -- evaluate -----------------------------------------------------------------------------------------------------


def test_evaluate_agrees_with_scikit_learn(digits_run: str, capsys: Capture) -> None:
    x, y = held_out()
    assert main(["evaluate", digits_run, "digits", "--json"]) == 0
    found = document(capsys)
    p = expected(digits_run, x).astype(np.float64)
    assert found["accuracy"] == accuracy_score(y, p.argmax(axis=1))
    assert found["loss"] == pytest.approx(log_loss(y, p / p.sum(axis=1, keepdims=True)), rel=1e-4)
    np.testing.assert_array_equal(found["confusion"], confusion_matrix(y, p.argmax(axis=1)))


def test_evaluate_repeats_the_result_of_training(digits_run: str, capsys: Capture) -> None:
    assert main(["evaluate", digits_run, "digits", "--json"]) == 0
    found, told = document(capsys), json.loads(Path(digits_run, "results.json").read_text())
    assert (found["right"], found["total"]) == (told["test_right"], told["test_total"])
    assert found["confusion"] == told["confusion"]


def test_files_with_classes(digits_run: str, wine_run: str, capsys: Capture) -> None:
    x, y = held_out()
    np.savez("xy.npz", x=x, y=y)
    np.save("x.npy", x)
    np.save("y.npy", y)
    write_idx("y-idx", y.astype(np.uint8))
    answers = []
    for line in (["digits"], ["xy.npz"], ["x.npy", "--labels", "y.npy"], ["x.npy", "--labels", "y-idx"]):
        assert main(["evaluate", digits_run, *line, "--json"]) == 0
        answers.append(document(capsys)["right"])
    assert len(set(answers)) == 1
    p = expected(wine_run, load_wine().data)
    for header in (True, False):
        assert main(["evaluate", wine_run, wine_csv(header=header), "--json"]) == 0
        assert document(capsys)["right"] == int((p.argmax(axis=1) == load_wine().target).sum())


def test_evaluate_for_people(digits_run: str, capsys: Capture) -> None:
    assert main(["evaluate", digits_run, "digits"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("held-out part of handwritten digits, 8 × 8 pixels: 360 samples\naccuracy ")
    assert re.search(r"95 % confidence: \d\d\.\d % to \d\d\.\d %\)", printed)
    assert "confusion matrix (row: what it is" in printed


# -- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("predict none x.npy", "none: no such run folder. `ranvier train digits` makes one"),
        ("predict RUN none.npy", "none.npy: no such file. Expected a .npy, .npz, .csv or IDX file."),
        ("predict RUN wine.csv", "wine.csv: the model takes samples of 8 × 8 numbers, it holds"),
        ("predict RUN x.npy --out a.txt", "--out: expected a name ending in .csv, .json, .npy or .npz, got a.txt."),
        ("predict RUN x.npy --out no/a.csv", "no/a.csv cannot be written: there is no folder no."),
        ("evaluate RUN wine", "wine: the model takes samples of 8 × 8 numbers, it holds ndarray(shape=(36, 13)"),
        ("evaluate RUN x.npy", "x.npy: holds samples but no classes. Give them with --labels FILE"),
        ("evaluate RUN none", "none: neither a file or folder nor one of digits, mnist,"),
        ("evaluate RUN digits --labels x.npy", "--labels: digits is a data set of its own; leave --labels out"),
        ("evaluate RUN x.npy --labels few.npy", "few.npy: expected one class for each of 360 samples"),
        ("evaluate RUN x.npy --labels far.npy", "far.npy: row 0: expected a class from 0 to 9"),
        ("evaluate RUN .", "mnist: expected train-images-idx3-ubyte or train-images-idx3-ubyte.gz in ., found neither"),
        ("explain x.npy", "x.npy: "),
        ("explain cut.safetensors", "cut.safetensors: "),
        ("explain empty.safetensors", "empty.safetensors: expected a safetensors file, found an empty file."),
        ("explain pickled.safetensors", "pickled.safetensors: "),
    ],
)
def test_what_goes_wrong_is_one_message(line: str, message: str, digits_run: str, capsys: Capture) -> None:
    x, y = held_out()
    np.save("x.npy", x)
    np.save("few.npy", y[:5])
    np.save("far.npy", y + 10)
    wine_csv()
    model = Path(digits_run, "model.safetensors").read_bytes()
    Path("cut.safetensors").write_bytes(model[: len(model) // 2])
    Path("empty.safetensors").write_bytes(b"")
    Path("pickled.safetensors").write_bytes(b"\x80\x04\x95" + bytes(200))
    before = sorted(os.listdir("."))
    assert main([digits_run if word == "RUN" else word for word in line.split()]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(f"ranvier: {message}")
    assert "Traceback" not in printed.err
    assert "defect" not in printed.err
    assert printed.out == ""
    assert sorted(os.listdir(".")) == before


def test_a_model_that_gives_no_probabilities(capsys: Capture) -> None:
    from ranvier import layers
    from ranvier.models import Sequential

    Sequential([layers.Input((4,)), layers.Dense(3, bias_initializer="ones")]).save("m.safetensors")
    np.save("x.npy", np.zeros((2, 4)))
    assert main(["predict", "m.safetensors", "x.npy"]) == 1
    assert "does not answer with class probabilities" in capsys.readouterr().err
    assert main(["explain", "m.safetensors"]) == 1
    assert "has no training step. Use --step predict." in capsys.readouterr().err
    assert main(["explain", "m.safetensors", "--step", "predict"]) == 0


def test_a_defect_is_reported_as_one(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def broken(*arguments: Any) -> None:
        raise ZeroDivisionError("by accident")

    monkeypatch.setattr("ranvier.cli.datasets._facts", broken)
    assert main(["datasets"]) == 1
    told = capsys.readouterr().err
    assert told == (
        "ranvier: ZeroDivisionError: by accident\n"
        "This is a defect of Ranvier. Run again with --traceback and report what it prints.\n"
    )


def test_a_reader_that_goes_away_is_no_error(digits_run: str) -> None:
    x, _ = held_out()
    np.save("x.npy", np.tile(x, (20, 1, 1)))
    command = [sys.executable, "-m", "ranvier", "predict", digits_run, "x.npy", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "{\n"
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=120), errors) == (141, "")


# -- explain, datasets --------------------------------------------------------------------------------------------


def test_explain_shows_layers_and_plan(digits_run: str, capsys: Capture) -> None:
    assert main(["explain", digits_run]) == 0
    printed = capsys.readouterr().out
    assert "2" in printed
    for told in ("(Dense)", "the training step for a batch of 32", "product 32x64x48", "optimizer"):
        assert told in printed
    assert main(["explain", digits_run, "--step", "predict", "--batch-size", "1"]) == 0
    printed = capsys.readouterr().out
    assert "the prediction for a batch of 1" in printed
    assert "product 1x64x48" in printed
    assert "optimizer" not in printed


def test_datasets_are_listed(capsys: Capture) -> None:
    assert main(["datasets", "--json"]) == 0
    found = {fact["name"]: fact for fact in document(capsys)["datasets"]}
    assert list(found) == ["digits", "mnist", "fashion-mnist", "iris", "wine", "breast-cancer"]
    assert (found["wine"]["samples"], found["wine"]["features"], found["wine"]["classes"]) == load_wine().data.shape + (
        3,
    )
    assert main(["datasets"]) == 0
    assert "Licence: CC BY 4.0" in capsys.readouterr().out


# -- small parts --------------------------------------------------------------------------------------------------


def test_scores_agree_with_scikit_learn(rng: np.random.Generator) -> None:
    p = rng.dirichlet(np.ones(4), 200)
    y = rng.integers(0, 4, 200)
    found = score(p, y)
    assert found.accuracy == accuracy_score(y, p.argmax(axis=1))
    assert found.loss == pytest.approx(log_loss(y, p, labels=range(4)), rel=1e-6)
    np.testing.assert_array_equal(found.confusion, confusion_matrix(y, p.argmax(axis=1)))
    np.testing.assert_array_equal(np.sort(found.wrong), np.flatnonzero(p.argmax(axis=1) != y))
    assert (np.diff(p.max(axis=1)[found.wrong]) <= 0).all()


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(125.2, "2 min 5 s"), (12.34, "12.3 s"), (0.0123, "12.3 ms"), (1.2e-5, "12 µs"), (2e-8, "0.02 µs")],
)
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_blocks_side_by_side() -> None:
    blocks = [("a", "11\n22"), ("bb", "3"), ("c", "4")]
    assert side_by_side(blocks, 80) == "a    bb   c\n11   3    4\n22"
    assert side_by_side(blocks, 7) == "a    bb\n11   3\n22\n\nc\n4"
    assert side_by_side(blocks, 7, rows=1) == "a    bb\n11   3\n22"
    assert side_by_side([], 80) == ""


def test_plain_data() -> None:
    given = {"a": np.float32(0.5), "b": np.arange(2), "c": (np.nan, float("inf"), 1), "d": {1: True}}
    assert plain_data(given) == {"a": 0.5, "b": [0, 1], "c": [None, None, 1], "d": {"1": True}}


def test_a_terminal_that_knows_only_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Console().readable("8 × 8 → ·") in ("8 × 8 → ·", "8 x 8 > .")
    monkeypatch.setattr(Console, "unicode", False)
    assert Console().readable("8 × 8 → ·") == "8 x 8 > ."
