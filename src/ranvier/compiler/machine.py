"""What all compiled functions of a process share: the store of kernels and the driver, for one instruction set."""

from __future__ import annotations

import functools

from ranvier import config
from ranvier.compiler.native.cache import ObjectCache, default_directory
from ranvier.compiler.native.engine import KernelStore
from ranvier.compiler.native.runtime import Runtime
from ranvier.compiler.native.target import Isa, host_isa

__all__ = ["Machine", "machine"]


class Machine:
    """What all compiled functions of the process share for one instruction set: kernels and the driver."""

    def __init__(self, isa: Isa):
        directory = config.get("cache_dir") or default_directory(config.environment())
        cache = ObjectCache(directory, config.get("cache_mb") << 20) if config.get("cache") and directory else None
        self.isa = isa
        self.store = KernelStore(isa, cache)
        self.runtime = Runtime(isa, self.store)


@functools.cache
def machine(setting: str) -> Machine:
    """The shared machine for an ``isa`` setting."""
    return Machine(host_isa(setting))
