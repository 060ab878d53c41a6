"""Getting real data in: file formats and the checks at the door."""

from ranvier.data.idx import read_idx, write_idx

__all__ = ["read_idx", "write_idx"]
