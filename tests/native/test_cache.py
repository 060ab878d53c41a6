"""The cache on disk: private, bounded, safe between processes, and never a reason to fail."""

from __future__ import annotations

import os
import stat
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ranvier.compiler.native import cache
from ranvier.compiler.native.cache import ObjectCache, default_directory, digest

posix = pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX systems")
NAMES = [digest("kernel", str(i)) for i in range(200)]


@pytest.fixture
def store(tmp_path) -> ObjectCache:
    return ObjectCache(tmp_path / "deep" / "cache")


@pytest.mark.smoke
def test_round_trip(store) -> None:
    assert store.load(NAMES[0]) is None
    assert store.save(NAMES[0], b"code")
    assert store.save(NAMES[1], b"")
    assert store.load(NAMES[0]) == b"code"
    assert store.load(NAMES[1]) == b""
    assert ObjectCache(store.directory).load(NAMES[0]) == b"code"
    store.clear()
    assert store.load(NAMES[0]) is None
    assert store.size() == 0


def test_digest_keeps_parts_apart() -> None:
    assert digest("ab", "c") != digest("a", "bc") != digest("abc")
    assert digest("ab", "c") == digest("ab", "c")


@posix
def test_files_are_private(store, monkeypatch) -> None:
    old = os.umask(0)
    try:
        store.save(NAMES[0], b"code")
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(store.directory).st_mode) == 0o700
    (name,) = os.listdir(store.directory)
    assert stat.S_IMODE(os.stat(os.path.join(store.directory, name)).st_mode) == 0o600


@posix
@pytest.mark.parametrize("mode", (0o777, 0o770, 0o1777, 0o702))
def test_a_directory_others_may_write_is_refused_with_one_warning(tmp_path, mode) -> None:
    tmp_path.chmod(mode)
    store = ObjectCache(tmp_path)
    with pytest.warns(RuntimeWarning, match=r"cache of compiled code is off.*chmod 700") as caught:
        assert not store.save(NAMES[0], b"code")
    assert len(caught) == 1
    assert store.load(NAMES[0]) is None  # and no second warning: here warnings are errors
    assert os.listdir(tmp_path) == []


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_a_directory_of_another_user_is_refused(tmp_path) -> None:
    os.chown(tmp_path, 12345, 12345)
    with pytest.warns(RuntimeWarning, match="belongs to another user"):
        assert not ObjectCache(tmp_path).save(NAMES[0], b"code")


@posix
def test_a_file_others_may_write_is_not_loaded(store) -> None:
    store.save(NAMES[0], b"code")
    os.chmod(store._path(NAMES[0]), 0o666)
    assert store.load(NAMES[0]) is None


@posix
def test_a_link_is_not_followed(store, tmp_path) -> None:
    store.save(NAMES[0], b"code")
    os.replace(store._path(NAMES[0]), tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", store._path(NAMES[0]))
    assert store.load(NAMES[0]) is None


def file_of(payload: bytes, **changes) -> bytes:
    import hashlib

    head = {"magic": b"RANVIERK", "version": 1, "length": len(payload), "sum": hashlib.sha256(payload).digest()}
    return struct.pack("<8sIQ32s", *{**head, **changes}.values()) + payload


def test_file_format(store) -> None:
    store.save(NAMES[0], b"code")
    with open(store._path(NAMES[0]), "rb") as file:
        assert file.read() == file_of(b"code")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RANVIERK",
        file_of(b"code")[:-1],
        file_of(b"code") + b"x",
        file_of(b"code", magic=b"RANVIERX"),
        file_of(b"code", version=2),
        file_of(b"code", length=2**63),
        file_of(b"code", sum=bytes(32)),
        bytes(1000),
    ],
)
def test_damaged_files_are_misses_and_can_be_replaced(store, content) -> None:
    store.save(NAMES[0], b"code")
    with open(store._path(NAMES[0]), "wb") as file:
        file.write(content)
    assert store.load(NAMES[0]) is None
    assert store.save(NAMES[0], b"new code")
    assert store.load(NAMES[0]) == b"new code"


@pytest.mark.parametrize("place", (None, ""))
def test_no_directory(place) -> None:
    store = ObjectCache(place)
    assert not store.save(NAMES[0], b"code")
    assert store.load(NAMES[0]) is None
    assert store.size() == 0


def test_a_file_in_the_way(tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path / "file", tmp_path / "file" / "below", "bad\0name"):
        store = ObjectCache(place)
        assert not store.save(NAMES[0], b"code")
        assert store.load(NAMES[0]) is None
        assert store.problem


def test_full_disk(store, monkeypatch) -> None:
    def full(*_):
        raise OSError(28, "No space left on device")

    assert store.load(NAMES[0]) is None
    monkeypatch.setattr(os, "replace", full)
    assert not store.save(NAMES[0], b"code")
    assert "No space left" in store.problem
    assert os.listdir(store.directory) == []  # the temporary file is gone
    monkeypatch.undo()
    assert store.save(NAMES[0], b"code")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_while_writing(store, monkeypatch) -> None:
    store.load(NAMES[0])
    monkeypatch.setattr(cache.tempfile, "mkstemp", lambda *_: (os.open("/dev/full", os.O_WRONLY), "/nonexistent"))
    assert not store.save(NAMES[0], b"code")
    assert "No space left" in store.problem


def test_read_only_directory_still_gives_hits(store, monkeypatch) -> None:
    store.save(NAMES[0], b"code")

    def refused(*_, **__):
        raise OSError(30, "Read-only file system")

    for function in ("utime", "replace", "mkdir"):
        monkeypatch.setattr(os, function, refused)
    monkeypatch.setattr(cache.tempfile, "mkstemp", refused)
    fresh = ObjectCache(store.directory)
    assert fresh.load(NAMES[0]) == b"code"
    assert not fresh.save(NAMES[1], b"code")


def test_size_stays_below_the_limit(tmp_path) -> None:
    store = ObjectCache(tmp_path, limit_bytes=10_000)
    for i, name in enumerate(NAMES[:50]):
        assert store.save(name, bytes(948))  # 1000 bytes with the header
        os.utime(store._path(name), (i, i))
        assert store.size() <= 10_000
        assert store.load(NAMES[0]) is not None, "used all the time, so never the oldest"
    assert store.load(NAMES[1]) is None
    assert store.load(NAMES[49]) is not None


def test_the_limit_counts_what_was_there_before(tmp_path) -> None:
    first = ObjectCache(tmp_path, limit_bytes=1 << 20)
    for name in NAMES[:50]:
        first.save(name, bytes(948))
    second = ObjectCache(tmp_path, limit_bytes=10_000)
    second.save(NAMES[60], bytes(948))
    assert second.size() <= 10_000
    assert second.load(NAMES[60]) is not None


def test_an_entry_beyond_the_limit_is_not_kept(tmp_path) -> None:
    store = ObjectCache(tmp_path, limit_bytes=100)
    assert not store.save(NAMES[0], bytes(100))
    assert store.size() == 0


def test_left_over_temporary_files_go(store) -> None:
    store.save(NAMES[0], b"code")
    old, new = (os.path.join(store.directory, name) for name in ("old.tmp", "new.tmp"))
    for path in (old, new):
        with open(path, "wb"):
            pass
    os.utime(old, (time.time() - 7200,) * 2)
    ObjectCache(store.directory).save(NAMES[1], b"code")
    assert not os.path.exists(old)
    assert os.path.exists(new)


def test_many_writers_and_readers(store) -> None:
    """Whatever the interleaving, a reader sees nothing or all."""
    payloads = {name: bytes([i]) * 5000 for i, name in enumerate(NAMES[:10])}

    def work(seed: int) -> bool:
        mine = ObjectCache(store.directory, limit_bytes=30_000)  # small: eviction runs all the time
        good = True
        for i in range(100):
            name = NAMES[(seed * 7 + i * 3) % 10]
            if (i + seed) % 2:
                mine.save(name, payloads[name])
            else:
                good &= mine.load(name) in (None, payloads[name])
        return good

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(work, range(8)))


@pytest.mark.skipif(os.name != "posix" or os.uname().sysname != "Linux", reason="the rules of Linux")
def test_default_directory() -> None:
    assert default_directory({"HOME": "/home/u"}) == "/home/u/.cache/ranvier"
    assert default_directory({"HOME": "/home/u", "XDG_CACHE_HOME": "/c"}) == "/c/ranvier"
    assert default_directory({"HOME": "/home/u", "XDG_CACHE_HOME": "relative"}) == "/home/u/.cache/ranvier"
    assert default_directory({}) is None
