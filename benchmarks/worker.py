"""The child process that holds one contender.

The parent (``harness.Worker``) sends one JSON line for each request and gets one back. Between requests the process
sleeps in a read, so it takes no time from the contender being measured. Whatever a framework prints goes to standard
error: standard output belongs to the protocol.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import time
import traceback
from typing import Any


def resident() -> int:
    """Resident memory of this process now, in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_resident() -> int:
    """The most memory this process ever had resident, in bytes (``getrusage`` would count the parent's before exec)."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


class _Server:
    """Answers requests: ``start`` builds the contender, ``call`` runs one of its methods, ``memory`` reports."""

    def __init__(self) -> None:
        self.contender: Any = None

    def start(self, package: str, target: str, options: dict[str, Any]) -> dict[str, Any]:
        if package and importlib.util.find_spec(package) is None:
            return {"missing": package}
        module, name = target.split(":")
        began = time.perf_counter()
        factory = getattr(importlib.import_module(module), name)
        imported = time.perf_counter()
        self.contender = factory(**options)
        info = {"import_s": imported - began, "prepare_s": time.perf_counter() - imported}
        return {"ok": info | getattr(self.contender, "info", {})}

    def call(self, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"ok": getattr(self.contender, method)(**arguments)}

    def memory(self) -> dict[str, Any]:
        return {"ok": {"resident": resident(), "peak": peak_resident()}}


def main() -> None:
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = _Server()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = getattr(server, request.pop("command"))(**request)
        except Exception as error:  # noqa: BLE001  a contender may fail in any way; the table goes on
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        channel.write(json.dumps(reply) + "\n")
        channel.flush()


if __name__ == "__main__":
    main()
