"""Run folders appear whole or not at all, never replace anything, and are read back with care."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from ranvier.cli import run_folder
from ranvier.cli.run_folder import MODEL_FILE, RunWriter, history_csv, open_run
from ranvier.errors import DataError, FileFormatError

pytestmark = pytest.mark.smoke


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_finished_run_gets_its_name() -> None:
    with RunWriter("digits") as folder:
        folder.write_json("settings.json", {"a": math.nan, "b": (1, 2)})
        assert os.listdir("runs")[0].startswith(".digits-")
        path = folder.commit()
    assert path.startswith(os.path.join("runs", "digits-"))
    assert os.listdir("runs") == [os.path.basename(path)]
    assert json.loads(Path(path, "settings.json").read_text()) == {"a": None, "b": [1, 2]}


def test_an_unfinished_run_leaves_nothing() -> None:
    def fails() -> None:
        with RunWriter("digits", "a/b/c") as folder:
            folder.write_text("x", "y")
            raise KeyError("boom")

    with pytest.raises(KeyError, match="boom"):
        fails()
    assert os.listdir(".") == []


def test_nothing_is_replaced(tmp_path: Path) -> None:
    Path("full").mkdir()
    Path("full", "x").write_text("keep")
    Path("file").write_text("keep")
    os.symlink("nowhere", "link")
    for place in ("full", "file", "link"):
        with pytest.raises(DataError, match=f"{place} exists already and is not replaced"):
            RunWriter("digits", place)
    assert sorted(os.listdir(".")) == ["file", "full", "link"]


def test_an_empty_folder_may_be_filled() -> None:
    Path("empty").mkdir()
    with RunWriter("digits", "empty") as folder:
        folder.write_text("x", "y")
        folder.commit()
    assert Path("empty", "x").read_text() == "y"


def test_a_folder_that_appears_meanwhile_is_not_replaced() -> None:
    with RunWriter("digits", "out") as folder:
        Path("out").mkdir()
        Path("out", "x").write_text("keep")
        with pytest.raises(DataError, match="out appeared while training"):
            folder.commit()
    assert Path("out", "x").read_text() == "keep"
    assert os.listdir(".") == ["out"]


def test_two_runs_in_the_same_second_get_two_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "_stamp", lambda: "now")
    with RunWriter("digits") as first, RunWriter("digits") as second:
        first.write_text("x", "1")
        second.write_text("x", "2")
        paths = [first.commit(), second.commit()]
    assert paths == ["runs/digits-now", "runs/digits-now-2"]
    assert [Path(path, "x").read_text() for path in paths] == ["1", "2"]


def test_a_place_that_cannot_be_written() -> None:
    Path("file").write_text("")
    with pytest.raises(DataError, match=r"the run folder file/out cannot be made: .*Choose a place"):
        RunWriter("digits", "file/out")


def test_history_keeps_every_digit() -> None:
    text = history_csv({"loss": [0.1, 2 / 3], "val_loss": [0.5]})
    assert text == f"epoch,loss,val_loss\n1,0.1,0.5\n2,{2 / 3!r},\n"


def make(settings: str | None) -> str:
    Path("run").mkdir()
    Path("run", MODEL_FILE).write_bytes(b"")
    if settings is not None:
        Path("run", "settings.json").write_text(settings)
    return "run"


def test_reading_a_run() -> None:
    run = open_run(make('{"class_names": ["a", "b"], "feature_names": [], "data": "wine"}'))
    assert run.class_names == ("a", "b")
    assert (run.data, run.feature_names, run.model_file) == ("wine", (), os.path.join("run", MODEL_FILE))


def test_a_run_without_settings_and_a_model_alone() -> None:
    assert open_run(make(None)).class_names == ()
    assert open_run("run/" + MODEL_FILE).model_file == "run/" + MODEL_FILE


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{", "settings.json: damaged"),
        ("[" * 100_000, "settings.json: damaged"),
        ("\xff", "damaged"),
        ("[1]", "expected a JSON object, found list"),
        ('{"class_names": 3}', "class_names must be a list of names"),
        ('{"feature_names": [1]}', "feature_names must be a list of names"),
    ],
)
def test_damaged_settings(settings: str, message: str) -> None:
    path = make(None)
    Path(path, "settings.json").write_bytes(settings.encode("latin-1"))
    with pytest.raises(FileFormatError, match=message):
        open_run(path)


def test_what_is_no_run() -> None:
    with pytest.raises(DataError, match=r"none: no such run folder\. `ranvier train digits` makes one"):
        open_run("none")
    make(None)
    Path("other").mkdir()
    os.rename("run", "other/run")
    with pytest.raises(DataError, match=r"holds no model.safetensors. Did you mean other/run\?"):
        open_run("other")
