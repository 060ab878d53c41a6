"""The one registry of switches.

Each switch has a type, legal values, a default and a help line. Its first value comes from the environment variable
``RANVIER_<NAME>``; programs read and change it with :func:`get`, :func:`set` and :func:`override`. No other file of
the package reads the environment.
"""

from __future__ import annotations

import builtins
import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ranvier.errors import ArgumentError

__all__ = ["SWITCHES", "Switch", "dtype_policy", "get", "override", "set", "set_dtype_policy", "table"]


@dataclass(frozen=True)
class Switch:
    """One setting: its name, how text becomes a value, its default, its legal values and its meaning."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    help: str
    legal: tuple[Any, ...] = ()

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"RANVIER_{self.name.upper()}"


def _boolean(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off", ""):
        return False
    raise ValueError(text)


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


SWITCHES: dict[str, Switch] = {
    switch.name: switch
    for switch in (
        Switch("backend", str, "native", "what runs compiled functions", ("native", "reference")),
        Switch("cache", _boolean, True, "keep compiled kernels on disk"),
        Switch("cache_dir", str, "", "folder of compiled kernels; empty: the user's cache folder"),
        Switch("cache_mb", _count, 256, "size limit of the folder of compiled kernels, in MiB"),
        Switch("checked", _boolean, False, "guard pages and bounds tests in compiled code (slow)"),
        Switch("data_dir", str, "", "folder of downloaded data sets; empty: the user's cache folder"),
        Switch(
            "denormals", str, "flush", "numbers below the smallest normal one in compiled code; flush: they are zero",
            ("flush", "keep"),
        ),
        Switch(
            "dtype_policy", str, "float32", "dtypes of layers that name none; mixed_bfloat16: weights in float32, "
            "computing in bfloat16", ("float32", "float64", "bfloat16", "mixed_bfloat16"),
        ),
        Switch("isa", str, "auto", "vector instructions to compile for", ("auto", "avx512", "avx2", "neon")),
        Switch("threads", _count, 0, "threads of compiled functions; 0: what affinity and container limits allow"),
        Switch("verify", _boolean, False, "check the graph after every compiler pass"),
    )
}  # fmt: skip

_values: dict[str, Any] = {}


def _switch(name: str) -> Switch:
    switch = SWITCHES.get(name)
    if switch is None:
        raise ArgumentError(f"config: unknown setting {name!r}. Known settings: {', '.join(sorted(SWITCHES))}.")
    return switch


def _checked(switch: Switch, value: Any, source: str) -> Any:
    if switch.legal and value not in switch.legal:
        raise ArgumentError(f"{source} must be one of {', '.join(map(repr, switch.legal))}, got {value!r}.")
    kind = type(switch.default)
    if type(value) is not kind or (kind is int and value < 0):
        wanted = f"non-negative {kind.__name__}" if kind is int else kind.__name__
        raise ArgumentError(f"{source} must be a {wanted}, got {value!r}.")
    return value


def get(name: str) -> Any:
    """The value of a switch.

    Args:
        name: a key of :data:`SWITCHES`.

    Raises:
        ArgumentError: unknown name, or an unusable value in the environment.

    Example:
        >>> import ranvier as rv
        >>> rv.config.get("isa")
        'auto'
    """
    if name not in _values:
        switch = _switch(name)
        text = os.environ.get(switch.variable)
        if text is None:
            _values[name] = switch.default
        else:
            try:
                value = switch.parse(text)
            except ValueError:
                raise ArgumentError(
                    f"{switch.variable} must be a {type(switch.default).__name__}, got {text!r}."
                ) from None
            _values[name] = _checked(switch, value, switch.variable)
    return _values[name]


def set(name: str, value: Any) -> None:
    """Change a switch for the rest of the process.

    Args:
        name: a key of :data:`SWITCHES`.
        value: the new value.

    Raises:
        ArgumentError: unknown name or illegal value.
    """
    _values[name] = _checked(_switch(name), value, f"config setting {name!r}")


@contextlib.contextmanager
def override(**values: Any) -> Iterator[None]:
    """Change switches for the length of a ``with`` block.

    Args:
        **values: new values by name.

    Example:
        >>> import ranvier as rv
        >>> with rv.config.override(threads=1):
        ...     rv.config.get("threads")
        1
    """
    before = {name: get(name) for name in values}
    try:
        for name, value in values.items():
            set(name, value)
        yield
    finally:
        _values.update(before)


def set_dtype_policy(policy: str) -> None:
    """Choose the dtypes of all layers made from now on that are not given one.

    Args:
        policy: ``"float32"``, ``"float64"``, ``"bfloat16"``, or ``"mixed_bfloat16"``: weights, optimizer, statistics
            and losses in float32, everything else computed in bfloat16. On processors with dot products of bfloat16
            that takes about half the time.

    Raises:
        ArgumentError: another name.

    Source: Micikevicius et al., "Mixed precision training", 2018; Kalamkar et al., "A study of bfloat16 for deep
    learning training", 2019 (no scaling of the loss is needed).

    Example:
        >>> import ranvier as rv
        >>> rv.config.set_dtype_policy("mixed_bfloat16")
        >>> layer = rv.layers.Dense(4)
        >>> layer(rv.ones((2, 3))).dtype, layer.kernel.dtype
        (ranvier.bfloat16, ranvier.float32)
        >>> rv.config.set_dtype_policy("float32")
    """
    set("dtype_policy", policy)


def dtype_policy() -> str:
    """The dtypes of layers that are not given one; see :func:`set_dtype_policy`.

    Example:
        >>> import ranvier as rv
        >>> rv.config.dtype_policy()
        'float32'
    """
    return str(get("dtype_policy"))


def table() -> str:
    """All switches as a Markdown table (the documentation is generated from it)."""
    rows = ["| setting | variable | default | legal | meaning |", "| --- | --- | --- | --- | --- |"]
    for s in sorted(SWITCHES.values(), key=lambda s: s.name):
        legal = ", ".join(map(str, s.legal)) or type(s.default).__name__
        rows.append(f"| `{s.name}` | `{s.variable}` | `{s.default!r}` | {legal} | {s.help} |")
    return "\n".join(rows)


def environment() -> builtins.dict[str, str]:
    """The environment variables that folders are derived from (``HOME`` may be missing)."""
    return {name: os.environ[name] for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA") if name in os.environ}
