"""Machine code kept on disk between runs, so that a model compiles once per machine and not once per process.

One file holds one kernel's object code, named after the SHA-256 of everything the code depends on (see
:func:`digest`): a kernel that two models share is compiled once. Object code is *code*, so the directory must be the
user's own and closed to others, and nothing is ever unpickled. A damaged file is a miss. Nothing here raises because
of the disk: a directory that is missing, read-only, full or unsafe means that code is compiled again.

File: magic (8 bytes), format version (4), payload length (8), SHA-256 of the payload (32), payload.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping

__all__ = ["ObjectCache", "default_directory", "digest"]

_HEADER = struct.Struct("<8sIQ32s")
_MAGIC, _FORMAT = b"RANVIERK", 1
_SUFFIX = ".kernel"
_STALE_SECONDS = 3600.0  # a temporary file this old was left by a process that died
_SCAN_EVERY = 64  # writes between looks at the whole directory
_KEEP = 0.8  # after eviction, so that the next write does not evict again


def digest(*parts: str) -> str:
    """The name of a cache entry: SHA-256 over the parts, each preceded by its length."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode()
        total.update(struct.pack("<Q", len(data)))
        total.update(data)
    return total.hexdigest()


def default_directory(environment: Mapping[str, str]) -> str | None:
    """Where this platform keeps a user's caches, going by ``HOME`` and its like; None if they name no place."""
    if sys.platform == "win32":
        base = environment.get("LOCALAPPDATA", "")
    elif sys.platform == "darwin":
        base = os.path.join(environment.get("HOME", ""), "Library", "Caches")
    else:
        base = environment.get("XDG_CACHE_HOME", "")
        if not os.path.isabs(base):  # the XDG rules say to ignore relative paths
            base = os.path.join(environment.get("HOME", ""), ".cache")
    return os.path.join(base, "ranvier") if os.path.isabs(base) else None


class ObjectCache:
    """Object code on disk, by digest.

    Args:
        directory: where; created (0700) on first use. None or ``""`` means no cache.
        limit_bytes: the total size to stay below; the files used longest ago go first.

    Attributes:
        directory: the directory in use, or None.
        problem: why there is no cache, or the last failed write; None when all is well.
    """

    def __init__(self, directory: str | os.PathLike[str] | None, limit_bytes: int = 256 << 20):
        self.directory: str | None = os.fspath(directory) if directory else None
        self.limit_bytes = limit_bytes
        self.problem: str | None = None
        self._ready = False
        self._writes = 0
        self._bytes = 0  # estimate of the total size; other processes write too

    def load(self, name: str) -> bytes | None:
        """The object code called ``name`` (a hex digest), or None. A hit marks the file as used now."""
        if not self._usable():
            return None
        path = self._path(name)
        try:
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        except OSError:
            return None
        with os.fdopen(handle, "rb") as file:
            try:
                data = file.read() if _trusted(os.fstat(handle)) else b""
            except OSError:
                return None
        payload = _unwrap(data)
        if payload is None:
            _remove(path)
        else:
            with contextlib.suppress(OSError):  # a read-only directory still serves hits
                os.utime(path)
        return payload

    def save(self, name: str, payload: bytes) -> bool:
        """Keep ``payload`` under ``name``; other processes see all of it or nothing. False if it was not kept."""
        if not self._usable() or len(payload) + _HEADER.size > self.limit_bytes:
            return False
        data = _HEADER.pack(_MAGIC, _FORMAT, len(payload), hashlib.sha256(payload).digest()) + payload
        try:
            self._write(name, data)
        except OSError as error:
            self.problem = str(error)
            return False
        self._bytes += len(data)
        if self._writes % _SCAN_EVERY == 0 or self._bytes > self.limit_bytes:
            self._evict()
        self._writes += 1
        return True

    def size(self) -> int:
        """Bytes in use."""
        return sum(size for _, size, _ in self._entries(_SUFFIX)) if self._usable() else 0

    def clear(self) -> None:
        """Delete every entry."""
        if self._usable():
            for _, _, path in self._entries(_SUFFIX):
                _remove(path)
        self._bytes = 0

    # -- the directory ------------------------------------------------------------------------------------------

    def _usable(self) -> bool:
        if not self._ready and self.directory is not None:
            self._ready = True
            self._prepare(self.directory)
        return self.directory is not None

    def _prepare(self, directory: str) -> None:
        """Create the directory if need be; give it up if it cannot be used or others could write code into it."""
        try:
            if not os.path.isdir(directory):
                os.makedirs(os.path.dirname(os.path.abspath(directory)), exist_ok=True)
                with contextlib.suppress(FileExistsError):  # another process was faster, or it is no directory
                    os.mkdir(directory, 0o700)
            status = os.stat(directory)
        except (OSError, ValueError) as error:
            self.directory, self.problem = None, str(error)
            return
        if not stat.S_ISDIR(status.st_mode):
            self.directory, self.problem = None, f"{directory} is not a directory"
        elif not _trusted(status):
            self.directory, self.problem = None, f"{directory} belongs to another user or others may write to it"
            warnings.warn(
                f"Ranvier's cache of compiled code is off: {self.problem}. Expected a directory of your own with "
                f"permissions 0700. Fix: chmod 700 {directory}, or choose another cache_dir.",
                RuntimeWarning,
                stacklevel=2,
            )

    def _path(self, name: str) -> str:
        assert self.directory is not None
        assert name.isalnum(), name
        return os.path.join(self.directory, name + _SUFFIX)

    def _write(self, name: str, data: bytes) -> None:
        # mkstemp opens with O_EXCL and mode 0600. No fsync: after a power cut the checksum tells.
        handle, temporary = tempfile.mkstemp(".tmp", "", self.directory)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, self._path(name))
        except BaseException:
            _remove(temporary)
            raise

    def _entries(self, suffix: str) -> list[tuple[float, int, str]]:
        """(time of last use, size, path) of the files with this ending; files that vanish meanwhile are left out."""
        found = []
        with contextlib.suppress(OSError), os.scandir(self.directory) as items:
            for item in items:
                if item.name.endswith(suffix):
                    with contextlib.suppress(OSError):
                        status = item.stat(follow_symlinks=False)
                        found.append((status.st_mtime, status.st_size, item.path))
        return found

    def _evict(self) -> None:
        for used, _, path in self._entries(".tmp"):
            if used < time.time() - _STALE_SECONDS:
                _remove(path)
        entries = self._entries(_SUFFIX)
        self._bytes = sum(size for _, size, _ in entries)
        if self._bytes <= self.limit_bytes:
            return
        for _, size, path in sorted(entries):
            if self._bytes <= self.limit_bytes * _KEEP:
                break
            _remove(path)
            self._bytes -= size


def _trusted(status: os.stat_result) -> bool:
    """Whether only this user can have written it. (Windows protects a user's own folders by access lists.)"""
    if not hasattr(os, "geteuid"):
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _unwrap(data: bytes) -> bytes | None:
    """The payload of a file's content, or None if it is damaged."""
    if len(data) < _HEADER.size:
        return None
    magic, version, length, checksum = _HEADER.unpack_from(data)
    payload = data[_HEADER.size :]
    if (magic, version, length) != (_MAGIC, _FORMAT, len(payload)):
        return None
    return payload if hashlib.sha256(payload).digest() == checksum else None


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
