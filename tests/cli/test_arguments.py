"""The command line as it is read: help, versions, refusals, exit codes, and the page that documents them."""

from __future__ import annotations

import argparse
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from ranvier import __version__
from ranvier.cli import main
from ranvier.cli.arguments import learning_rate, natural, positive, seed, widths
from ranvier.cli.main import EXIT_CODES, build_parser
from ranvier.cli.recipes import NAMES

pytestmark = pytest.mark.smoke

ROOT = Path(__file__).resolve().parents[2]


def verbs() -> dict[str, argparse.ArgumentParser]:
    parser = build_parser()
    return dict(next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction)).choices)


def test_without_arguments_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("usage: ranvier")
    assert printed.err == ""
    for code, meaning in EXIT_CODES.items():
        assert re.search(rf"^  {code} +{re.escape(meaning)}$", printed.out, re.MULTILINE)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ranvier {__version__}\n"


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_every_help_ends_with_examples_that_parse(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    printed = capsys.readouterr().out
    examples = re.findall(r"^  ranvier (.*)$", printed, re.MULTILINE)
    assert examples
    for example in examples:
        assert build_parser().parse_args(example.split()).verb == example.split()[0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train", "the following arguments are required: DATA"),
        ("train cats", "argument DATA: invalid choice: 'cats'"),
        ("train digits --epochs -1", "argument --epochs: expected a whole number of at least 1, got '-1'"),
        ("train digits --batch-size 0", "argument --batch-size: expected a whole number of at least 1, got '0'"),
        ("train digits --batch-size 2.5", "argument --batch-size: expected a whole number of at least 1, got '2.5'"),
        ("train digits --learning-rate nan", "argument --learning-rate: expected a number above 0, got 'nan'"),
        ("train digits --learning-rate=-1", "argument --learning-rate: expected a number above 0, got '-1'"),
        ("train digits --hidden 64,x", "argument --hidden: expected widths such as 128,64"),
        ("train digits --hidden 64,,8", "argument --hidden: expected widths such as 128,64"),
        ("train digits --seed -3", "argument --seed: expected a whole number from 0 to 4294967295, got '-3'"),
        ("train digits --threads 0", "argument --threads: expected a whole number of at least 1, got '0'"),
        ("predict run", "the following arguments are required: FILE"),
        ("explain run --step both", "argument --step: invalid choice: 'both'"),
        ("bake", "invalid choice: 'bake'"),
        ("train digits --epoch 3", "unrecognized arguments: --epoch 3"),
    ],
)
def test_a_wrong_command_line_is_code_2(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""


def test_values_of_arguments() -> None:
    assert widths("128,64") == (128, 64)
    assert widths(" 8 , 4 ") == (8, 4)
    assert widths("none") == ()
    assert learning_rate("1e-3") == 0.001
    assert (positive("7"), natural("0"), seed("4294967295")) == (7, 0, 2**32 - 1)
    with pytest.raises(argparse.ArgumentTypeError, match="at least 0, got '-1'"):
        natural("-1")


def test_traceback_is_understood_before_and_after_the_verb() -> None:
    for line in ("--traceback datasets", "datasets --traceback"):
        assert build_parser().parse_args(line.split()).traceback is True
    assert build_parser().parse_args(["datasets"]).traceback is False


def test_every_data_set_can_be_named() -> None:
    for name in NAMES:
        assert build_parser().parse_args(["train", name]).data_name == name


def test_the_page_is_up_to_date() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "update_cli_docs.py"))["page"]()
    assert (ROOT / "docs" / "cli.md").read_text("utf-8") == page, "run: python scripts/update_cli_docs.py"


def test_the_module_is_the_command() -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-m", "ranvier", "--version"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, f"ranvier {__version__}\n", "")


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from ranvier.cli import main; main(['train', '--help']); print(*sys.modules, file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in result.stderr.split()}
    assert not loaded & {"rich", "pooch", "sklearn", "safetensors"}
    assert not {name for name in result.stderr.split() if name.startswith("ranvier.diagnose")}
