"""IDX files: the format of MNIST and its relatives, read strictly and written.

An IDX file is a big-endian header followed by the values of one array in row-major order:

====================  ==========================================================
bytes 0-1             zero
byte 2                type of the values: 8 uint8, 9 int8, 11 int16, 12 int32, 13 float32, 14 float64
byte 3                number of dimensions
4 bytes each          the size of every dimension
the rest              the values
====================  ==========================================================

A file from the internet may be truncated, lengthened, mislabelled or made to exhaust memory. So the size follows from
the header before anything is allocated, a compressed file that could not possibly hold that many bytes is refused at
once, no more than that size (and one byte, to notice a surplus) is ever decompressed, and every refusal names the
file, what was expected and what was found.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits" (section "File formats").
"""

from __future__ import annotations

import gzip
import math
import os
import stat
import zlib
from typing import Any, BinaryIO

import numpy as np

from ranvier.data.atomic import atomic_write
from ranvier.errors import ArgumentError, DataError, DTypeError, describe

__all__ = ["read_idx", "write_idx"]

_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"
_DEFLATE_RATIO = 1032  # a deflate stream grows at most this much (zlib's technical notes), plus a header's worth
_CHUNK = 1 << 20
MAX_BYTES = 1 << 31


def read_idx(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> np.ndarray[Any, Any]:
    """Read an IDX file, plain or gzip-compressed (told by its content, not by its name).

    Args:
        path: the file.
        max_bytes: the largest array to accept, in bytes; 2 GiB by default.

    Returns:
        A new array in the machine's byte order, of the dtype and shape the file states.

    Raises:
        DataError: missing, not a regular file, not IDX, truncated, too long, damaged, or larger than ``max_bytes``.

    Example:
        >>> import os, tempfile
        >>> import numpy as np
        >>> path = os.path.join(tempfile.mkdtemp(), "labels-idx1-ubyte.gz")
        >>> write_idx(path, np.array([5, 0, 4], np.uint8))
        >>> read_idx(path)
        array([5, 0, 4], dtype=uint8)
    """
    name = os.fspath(path)
    with _open_regular(name) as file:
        stored = os.fstat(file.fileno()).st_size
        compressed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        if not compressed:
            return _parse(name, file, stored, stored, max_bytes)
        try:
            with gzip.GzipFile(fileobj=file, mode="rb") as stream:
                return _parse(name, stream, stored, None, max_bytes)  # type: ignore[arg-type]
        except EOFError:
            raise DataError(
                f"{name}: the gzip stream ends too early (the file has {stored:,} bytes). "
                "The download was probably cut off: fetch the file again."
            ) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{name}: damaged gzip file ({error}). Fetch the file again.") from None


def _open_regular(name: str) -> BinaryIO:
    """Open ``name`` for reading if it is a regular file. Never waits, as opening a named pipe would."""
    try:
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(name, flags)
    except OSError as error:
        raise DataError(f"{name}: cannot be opened: {error.strerror or error}.") from None
    except ValueError as error:  # a NUL byte in the name
        raise DataError(f"{name!r}: cannot be opened: {error}.") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DataError(f"{name}: expected a regular file, found a folder, pipe or device.")
    return os.fdopen(descriptor, "rb")


def _parse(name: str, file: BinaryIO, stored: int, length: int | None, max_bytes: int) -> np.ndarray[Any, Any]:
    """Read header and values from ``file``. ``stored`` is the size on disk; ``length`` the plain size where known."""
    magic = _read(file, 4)
    if len(magic) < 4:
        raise DataError(f"{name}: not an IDX file: expected at least 4 bytes, found {len(magic)}.")
    if magic[0] or magic[1] or magic[2] not in _TYPES:
        raise DataError(
            f"{name}: not an IDX file: expected two zero bytes, a type in {sorted(_TYPES)} and a number of "
            f"dimensions, found the bytes {magic.hex(' ')}."
        )
    dtype, rank = np.dtype(_TYPES[magic[2]]), magic[3]
    header = _read(file, 4 * rank)
    if len(header) < 4 * rank:
        raise DataError(
            f"{name}: truncated in the header: {rank} dimensions need {4 + 4 * rank} bytes, found {4 + len(header)}."
        )
    if not 1 <= rank <= 32:
        raise DataError(f"{name}: expected 1 to 32 dimensions, the header says {rank}.")
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4"))
    need = math.prod(shape) * dtype.itemsize
    start = 4 + 4 * rank
    what = f"shape {shape} of {dtype.newbyteorder('=').name} needs {start + need:,} bytes"
    if math.prod(max(size, 1) for size in shape) * dtype.itemsize > max_bytes:  # 0 x huge is refused too
        raise DataError(f"{name}: {what}, more than the limit of {max_bytes:,}. Raise max_bytes if this is intended.")
    if length is not None and length != start + need:
        raise DataError(f"{name}: {'truncated' if length < start + need else 'too long'}: {what}, found {length:,}.")
    if length is None and start + need > stored * _DEFLATE_RATIO:
        raise DataError(f"{name}: truncated: {what}, but {stored:,} compressed bytes cannot hold that many.")
    values = _read(file, need)
    if len(values) < need:
        raise DataError(f"{name}: truncated: {what}, found {start + len(values):,}.")
    if _read(file, 1):  # at the end of a gzip stream this also compares its checksum
        raise DataError(f"{name}: too long: {what}, but more bytes follow.")
    array = np.frombuffer(values, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=dtype.itemsize > 1)


def _read(file: BinaryIO, count: int) -> bytearray:
    """Up to ``count`` bytes, fewer only at the end of the file; memory grows with what really arrives."""
    data = bytearray()
    while len(data) < count:
        chunk = file.read(min(_CHUNK, count - len(data)))
        if not chunk:
            break
        data += chunk
    return data


def write_idx(path: str | os.PathLike[str], array: Any) -> None:
    """Write an array as an IDX file, compressed if the name ends in ``.gz``.

    The same array always gives the same bytes (no time stamp in the gzip header). The file appears whole or not at
    all.

    Args:
        path: the file to create or replace.
        array: uint8, int8, int16, int32, float32 or float64, with 1 to 32 dimensions.

    Raises:
        DTypeError: the format has no such type.
        ArgumentError: no dimensions, too many, or one of 2**32 or more.
        OSError: the folder is missing or read-only, or the disk is full.
    """
    values = np.asarray(array)
    codes = {np.dtype(text).newbyteorder("="): code for code, text in _TYPES.items()}
    code = codes.get(values.dtype.newbyteorder("="))
    if code is None:
        raise DTypeError(
            f"write_idx: the IDX format holds {', '.join(sorted(d.name for d in codes))}; got {describe(array)}. "
            "Convert the array first."
        )
    if not 1 <= values.ndim <= 32 or max(values.shape) >= 1 << 32:
        raise ArgumentError(f"write_idx: expected 1 to 32 dimensions below 2**32 each, got {describe(array)}.")
    header = bytes([0, 0, code, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    data = header + np.ascontiguousarray(values, _TYPES[code]).tobytes()
    if os.fspath(path).endswith(".gz"):
        data = gzip.compress(data, compresslevel=9, mtime=0)
    with atomic_write(path) as file:
        file.write(data)
