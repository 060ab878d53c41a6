"""What this process may use of the machine: processors and memory, as container limits and affinity allow."""

from __future__ import annotations

import os

__all__ = ["available_bytes", "default_threads"]


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _groups(root: str, controller: str) -> list[str]:
    """The folders of this process' control group and all its parents: a limit of any of them counts.

    Version 2 has one tree for everything (``0::/path``); version 1 has one for each controller (``4:memory:/path``).
    Inside a container the path may name a folder that is only visible outside: the parents that exist remain.
    """
    found = []
    for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if controllers == "":
            base = os.path.join(root, "sys/fs/cgroup")
        elif controller in controllers.split(","):
            base = os.path.join(root, "sys/fs/cgroup", controller)
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        found += [os.path.join(base, *parts[:depth]) for depth in range(len(parts), -1, -1)]
    return found


def _cpu_quota(root: str) -> float:
    """Processors that the control groups allow, counted as time per time; infinity without a limit."""
    quota = float("inf")
    for folder in _groups(root, "cpu"):
        limit, period = (_read(os.path.join(folder, "cpu.max")).split() + ["", ""])[:2]
        if not period:
            limit, period = (_read(os.path.join(folder, f"cpu.cfs_{name}_us")) for name in ("quota", "period"))
        if (_number(limit) or 0) > 0 and (_number(period) or 0) > 0:
            quota = min(quota, int(limit) / int(period))
    return quota


def default_threads(root: str = "/") -> int:
    """How many threads may run at the same time: the affinity mask and the container's processor quota."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    # Rounded down: with more threads than quota, the whole group is stopped in the middle of a barrier.
    return max(1, int(min(count, _cpu_quota(root))))


def available_bytes(root: str = "/") -> int:
    """Memory that can still be allocated without swapping or meeting a container's limit."""
    free = _system_bytes(root)
    for folder in _groups(root, "memory"):
        limit = _number(_read(os.path.join(folder, "memory.max")))
        used = _number(_read(os.path.join(folder, "memory.current")))
        if limit is None or used is None:
            limit = _number(_read(os.path.join(folder, "memory.limit_in_bytes")))
            used = _number(_read(os.path.join(folder, "memory.usage_in_bytes")))
        if limit is not None and used is not None:
            free = min(free, max(0, limit - used + _reclaimable(folder)))
    return free


def _reclaimable(folder: str) -> int:
    """File pages that count as used but are given up when memory is needed."""
    for line in _read(os.path.join(folder, "memory.stat")).splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return _number(value) or 0
    return 0


def _system_bytes(root: str) -> int:
    for line in _read(os.path.join(root, "proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 1 << 40  # unknown (Windows): refuse nothing, an allocation that fails says so itself
