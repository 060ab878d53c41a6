"""Safetensors files, read strictly and written whole.

A safetensors file is 8 bytes with the header's length (little-endian), the header (a JSON object: name of each tensor
to its dtype, shape and place in the data; ``__metadata__`` to texts), and the data. Everything in the header is
checked here before a byte of the data is looked at: its size, its depth, repeated keys, names, dtypes, shapes, and
that the tensors cover the data exactly, without overlap, gap or anything after the end. Then the ``safetensors``
package takes the file apart. Nothing in a file is ever executed.
"""

from __future__ import annotations

import json
import os
import stat
import struct
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from ranvier.data.atomic import atomic_write
from ranvier.errors import ArgumentError, FileFormatError, SaveError, describe

__all__ = ["MAX_BYTES", "read_weights", "valid_name", "write_weights"]

MAX_HEADER = 16 << 20
MAX_BYTES = 16 << 30
MAX_DEPTH = 64
MAX_NAME = 512
MAX_RANK = 32
_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8, "U64": 8, "F32": 4, "F64": 8,
}  # fmt: skip
_FIX = "Get the file again from where it came from, or save the model anew."


def valid_name(name: str) -> bool:
    """Whether a tensor may be called so: printable text without control or direction marks, not too long, no path."""
    parts = name.split("/")
    return (
        0 < len(name) <= MAX_NAME
        and name.isprintable()
        and not any(part in ("", ".", "..") or part.startswith("__") for part in parts)
        and "\\" not in name
    )


# -- writing ------------------------------------------------------------------------------------------------------


def write_weights(path: str, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write a file that appears whole or not at all.

    Raises:
        ArgumentError: a name that no reader would accept.
        SaveError: the folder is missing or read-only, or the disk is full.
    """
    from safetensors.numpy import save

    for name in tensors:
        if not valid_name(name):
            raise ArgumentError(
                f"save: {name!r} cannot be the name of a tensor in a file: names are printable, without '..', and at "
                f"most {MAX_NAME} characters long. Give the layer another name."
            )
    data = save({name: np.require(a, requirements="C") for name, a in tensors.items()}, metadata=dict(metadata))
    try:
        with atomic_write(path) as file:
            file.write(data)
    except OSError as error:
        folder = os.path.dirname(os.path.abspath(path))
        hint = "Free some space" if error.errno == 28 else "Choose a folder that exists and that you may write to"
        old = " The old file is unchanged." if os.path.exists(path) else ""
        raise SaveError(
            f"save: cannot write {path}: {error.strerror or error} (folder {folder}, {len(data):,} bytes needed). "
            f"{hint}.{old}"
        ) from error


# -- reading ------------------------------------------------------------------------------------------------------


def read_weights(path: Any, max_bytes: int = MAX_BYTES) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors and metadata of a file.

    Raises:
        FileFormatError: it cannot be read, is damaged, or is no safetensors file.
    """
    name, data = _whole_file(path, max_bytes)
    size = _check_layout(name, data)
    header = _header(name, data[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        _fail(name, "the metadata to be texts", describe(metadata))
    _check_tensors(name, header, len(data) - 8 - size)
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
    except (SafetensorError, ValueError) as error:
        raise FileFormatError(f"{name}: not a valid safetensors file: {error}. {_FIX}") from None
    return tensors, metadata


def _fail(name: str, expected: str, found: Any) -> NoReturn:
    raise FileFormatError(f"{name}: expected {expected}, found {found}. {_FIX}")


def _whole_file(path: Any, max_bytes: int) -> tuple[str, bytes]:
    """Name and bytes of a regular file. It is read, not mapped, so that nobody can change it meanwhile."""
    try:
        name = os.fsdecode(os.fspath(path))
    except TypeError:
        raise ArgumentError(f"load_model: expected the path of a file, got {describe(path)}.") from None
    try:
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(name, flags)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileFormatError(
            f"{name}: expected a model file, but it cannot be opened: {reason}. Check the path."
        ) from None
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        raise FileFormatError(f"{name}: expected a model file, found a folder, pipe or device.")
    with os.fdopen(descriptor, "rb") as file:
        if facts.st_size > max_bytes:
            raise FileFormatError(
                f"{name}: expected at most {max_bytes:,} bytes, found {facts.st_size:,}. Raise max_bytes if this is "
                "intended."
            )
        data = file.read(facts.st_size + 1)
    if len(data) != facts.st_size:
        _fail(name, f"{facts.st_size:,} bytes", f"{len(data):,}: the file changed while it was read")
    return name, data


_OTHERS = (
    (b"\x80", "a pickle, which Ranvier never opens: it could run any program"),
    (b"PK", "a zip archive (.keras, .npz and PyTorch files are such)"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x93NUMPY", "a NumPy file"),
    (b"{", "a text that starts with '{'"),
)


def _check_layout(name: str, data: bytes) -> int:
    """The header's length."""
    if not data:
        _fail(name, "a safetensors file", "an empty file")
    for magic, what in _OTHERS:
        # A header shorter than 2**16 bytes has zeros in bytes 2 to 7; none of the others does.
        if data.startswith(magic) and data[3:8] != bytes(5):
            raise FileFormatError(f"{name}: expected a safetensors file, found {what}. Save the model with model.save.")
    if len(data) < 8:
        _fail(name, "at least 8 bytes", f"{len(data)}: the file is truncated")
    size = struct.unpack("<Q", data[:8])[0]
    if size > MAX_HEADER:
        _fail(name, f"a header of at most {MAX_HEADER:,} bytes", f"{size:,}")
    if size > len(data) - 8:
        _fail(name, f"a header of {size:,} bytes", f"only {len(data) - 8:,} bytes: the file is truncated")
    if data[8:9] != b"{":
        _fail(name, "a header that starts with '{'", repr(data[8:9]))
    return int(size)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [k for k, _ in pairs]
        raise ValueError(f"the key {next(k for k in names if names.count(k) > 1)!r} twice")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"the number {text}")


def parse_json(text: str) -> Any:
    """JSON without repeated keys, NaN, infinity, or deep nesting.

    Raises:
        ValueError: what is wrong.
    """
    depth = deepest = 0
    quoted = escaped = False
    for c in text:  # the parser is recursive: look at the depth first
        if quoted:
            quoted, escaped = (c != '"' or escaped), (c == "\\" and not escaped)
        elif c == '"':
            quoted = True
        elif c in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif c in "]}":
            depth -= 1
    if deepest > MAX_DEPTH:
        raise ValueError(f"nesting {deepest} deep")
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)


def _header(name: str, raw: bytes) -> dict[str, Any]:
    try:
        header = parse_json(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        _fail(name, "a header in JSON", str(error))
    if not isinstance(header, dict):
        _fail(name, "a header that is a JSON object", describe(header))
    return header


def _check_tensors(name: str, header: Mapping[str, Any], length: int) -> None:
    """Every entry, and that together they cover the data exactly once."""
    spans = []
    for key, entry in header.items():
        if not valid_name(key):
            _fail(name, "printable names of tensors", repr(key[:80]))
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            _fail(name, f"dtype, shape and data_offsets for {key!r}", describe(entry))
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in _SIZES:
            _fail(name, f"a dtype out of {', '.join(_SIZES)} for {key!r}", repr(dtype))
        if not _integers(shape) or len(shape) > MAX_RANK:
            _fail(name, f"a shape of at most {MAX_RANK} integers for {key!r}", describe(shape))
        if not _integers(offsets) or len(offsets) != 2:
            _fail(name, f"two offsets for {key!r}", describe(offsets))
        need = _SIZES[dtype]
        for n in shape:
            need *= n
        if offsets[1] - offsets[0] != need:
            _fail(name, f"{need:,} bytes for {key!r} of shape {tuple(shape)}", f"{offsets[1] - offsets[0]:,}")
        spans.append((offsets[0], offsets[1], key))
    at = 0
    for start, end, key in sorted(spans):
        if start != at:
            _fail(name, f"{key!r} to start at byte {at:,} of the data", f"{start:,}: tensors overlap or leave a gap")
        at = end
    if at != length:
        what = "the file is truncated" if length < at else "something follows the last tensor"
        _fail(name, f"{at:,} bytes of data", f"{length:,}: {what}")


def _integers(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)
