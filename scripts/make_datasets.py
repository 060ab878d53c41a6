"""Write src/ranvier/datasets/files: the data sets that ship inside the wheel, from scikit-learn's installed copies.

    python scripts/make_datasets.py            # writes the files and prints their checksums
    python scripts/make_datasets.py --check    # compares the files with scikit-learn's copies, writes nothing

Needs scikit-learn (the extra `sklearn`). The arrays are stored as .npz without pickles, with fixed time stamps. If a
checksum changes (another NumPy or zlib may compress differently), put the new one into datasets/catalog.py.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

FILES = Path(__file__).resolve().parents[1] / "src" / "ranvier" / "datasets" / "files"
LIMIT = 300_000


def originals() -> dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """X and y of each data set, in the types they are stored in."""
    from sklearn import datasets

    digits = datasets.load_digits()
    pixels = digits.images.astype(np.uint8)
    if not np.array_equal(pixels, digits.images):
        raise SystemExit("digits: expected whole numbers from 0 to 16")
    found = {"digits": (pixels, digits.target.astype(np.int64))}
    for name in ("iris", "wine", "breast_cancer"):
        data = getattr(datasets, f"load_{name}")()
        found[name] = (data.data.astype(np.float64), data.target.astype(np.int64))
    return found


def readme() -> str:
    """The text of files/README.md: what each file is, where it comes from, its licence."""
    from ranvier.datasets.catalog import CATALOG

    lines = [
        "# Data sets inside the wheel",
        "",
        "Written by `scripts/make_datasets.py` from the copies that scikit-learn (BSD 3-clause) installs; the values",
        "are unchanged. Each `.npz` holds two arrays, `x` and `y`, and no pickles.",
        "",
    ]
    for name, entry in sorted(CATALOG.items()):
        lines += [f"## {name}.npz: {entry.title}", "", *textwrap.wrap(entry.description, 118), ""]
        lines += [f"- Classes: {', '.join(entry.target_names)}", f"- Source: {entry.source}"]
        lines += [f"- Licence: {entry.licence}", f"- SHA-256: `{entry.sha256}`", ""]
    return "\n".join(lines)


def main() -> int:
    """Write or check the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    FILES.mkdir(parents=True, exist_ok=True)
    total = 0
    for name, (x, y) in originals().items():
        path = FILES / f"{name}.npz"
        if check:
            with np.load(path, allow_pickle=False) as stored:
                same = np.array_equal(stored["x"], x) and np.array_equal(stored["y"], y)
            if not same:
                print(f"{path} differs from scikit-learn's copy")
                return 1
        else:
            np.savez_compressed(path, x=x, y=y)
        data = path.read_bytes()
        total += len(data)
        print(f"{name:14} {len(data):7,} bytes  {hashlib.sha256(data).hexdigest()}")
    print(f"{'total':14} {total:7,} bytes (limit {LIMIT:,})")
    if not check:
        (FILES / "README.md").write_text(readme(), encoding="utf-8")
    return 0 if total < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
