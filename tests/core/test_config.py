"""The registry of switches: types, legal values, the environment, overrides."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

import ranvier as rv
from ranvier import config
from ranvier.errors import ArgumentError


@pytest.mark.smoke
def test_every_switch_is_described_and_its_default_is_legal() -> None:
    for name, switch in config.SWITCHES.items():
        assert switch.name == name == name.lower() and switch.variable == f"RANVIER_{name.upper()}"
        assert switch.help and type(switch.default) in (bool, int, str)
        assert not switch.legal or switch.default in switch.legal
        assert f"`{switch.variable}`" in config.table()
    assert list(config.SWITCHES) == sorted(config.SWITCHES)


def test_set_get_and_override() -> None:
    before = config.get("threads")
    with config.override(threads=3, isa="avx2"):
        assert (config.get("threads"), config.get("isa")) == (3, "avx2")
        with config.override(threads=1):
            assert config.get("threads") == 1
        assert config.get("threads") == 3
    assert config.get("threads") == before
    with pytest.raises(RuntimeError, match="inside"), config.override(threads=2):
        raise RuntimeError("inside")
    assert config.get("threads") == before


@pytest.mark.parametrize(
    "name, value, text",
    [
        ("nonsense", 1, "unknown setting 'nonsense'. Known settings: backend, .*threads"),
        ("threads", -1, "config setting 'threads' must be a non-negative int, got -1"),
        ("threads", 2.0, "must be a non-negative int, got 2.0"),
        ("threads", True, "must be a non-negative int, got True"),
        ("threads", "2", "must be a non-negative int, got '2'"),
        ("checked", 1, "must be a bool, got 1"),
        ("cache_dir", None, "must be a str, got None"),
        ("isa", "mmx", "must be one of 'auto', 'avx512', 'avx2', 'neon', got 'mmx'"),
        ("backend", ["native"], r"must be one of 'native', 'reference', got \['native'\]"),
    ],
)
def test_values_that_are_refused(name: str, value: Any, text: str) -> None:
    before = config.get("threads")
    with pytest.raises(ArgumentError, match=text):
        config.set(name, value)
    with pytest.raises(ArgumentError, match=text), config.override(**{"threads": 1, name: value}):
        raise AssertionError("not reached")
    assert config.get("threads") == before, "a refused override changes nothing"


def _in_new_process(code: str, **environment: str) -> str:
    child = subprocess.run(
        [sys.executable, "-c", "from ranvier import config\n" + code], capture_output=True, text=True, check=True,
        env=os.environ | environment,
    )  # fmt: skip
    return child.stdout.strip()


def test_the_environment_gives_first_values() -> None:
    code = "print([config.get(n) for n in ('threads', 'checked', 'isa', 'cache', 'cache_dir')])"
    out = _in_new_process(
        code,
        RANVIER_THREADS="3",
        RANVIER_CHECKED="yes",
        RANVIER_ISA="avx2",
        RANVIER_CACHE="off",
        RANVIER_CACHE_DIR="/x y",
    )
    assert out == "[3, True, 'avx2', False, '/x y']"
    assert _in_new_process("config.set('threads', 5); print(config.get('threads'))", RANVIER_THREADS="3") == "5"


@pytest.mark.parametrize(
    "variable, text, message",
    [
        ("RANVIER_THREADS", "many", "RANVIER_THREADS must be a int, got 'many'."),
        ("RANVIER_THREADS", "-2", "RANVIER_THREADS must be a int, got '-2'."),
        ("RANVIER_CHECKED", "maybe", "RANVIER_CHECKED must be a bool, got 'maybe'."),
        ("RANVIER_ISA", "mmx", "RANVIER_ISA must be one of 'auto', 'avx512', 'avx2', 'neon', got 'mmx'."),
    ],
)
def test_nonsense_in_the_environment(variable: str, text: str, message: str) -> None:
    name = variable.removeprefix("RANVIER_").lower()
    code = f"try:\n    config.get({name!r})\nexcept ValueError as e:\n    print(e.message)"
    assert _in_new_process(code, **{variable: text}) == message


def test_importing_does_not_need_a_home() -> None:
    child = subprocess.run(
        [sys.executable, "-c", "import ranvier; print(ranvier.config.environment())"], capture_output=True, text=True,
        check=True, env={k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA")},
    )  # fmt: skip
    assert child.stdout.strip() == "{}"
    assert rv.config is config
