"""Writing a file so that a reader sees the old one or the new one, never half of one.

The bytes go to a temporary name in the same folder, are synced to disk and then renamed over the target. Whatever
goes wrong before the rename (a full disk, Ctrl-C, an exception in the caller's block), the temporary file is removed
and the old file stays as it was.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["atomic_write"]


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file for writing that takes ``path``'s place when the block ends without an exception.

    Args:
        path: the file to create or replace. Its folder must exist.

    Raises:
        OSError: the folder is missing or read-only, or the disk is full; ``path`` is then unchanged.

    Example:
        >>> import os, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with atomic_write(os.path.join(folder, "a.txt")) as file:
        ...     _ = file.write(b"whole")
        >>> os.listdir(folder)
        ['a.txt']
    """
    target = os.path.abspath(os.fspath(path))
    temporary = f"{target}.tmp.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(os.path.dirname(target))


def _sync_folder(folder: str) -> None:
    """Make the rename itself durable where the system can (opening a folder is not possible on Windows)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
