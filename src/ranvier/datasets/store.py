"""The user's folder of downloaded data sets, and filling it.

Downloads go through pooch (the optional extra ``data``), which checks the SHA-256 checksum before a file gets its
name: a cut-off or altered download is never left behind. pooch is imported only when something must be fetched.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

from ranvier import config
from ranvier.errors import DataError

__all__ = ["data_folder", "download"]


def data_folder() -> str:
    """The folder that downloaded data sets are kept in; it need not exist yet.

    The setting ``data_dir`` (``RANVIER_DATA_DIR``), else ``ranvier/datasets`` in ``$XDG_CACHE_HOME``, in Windows'
    local application data, or in ``~/.cache``.

    Raises:
        DataError: there is no home folder to put it in.
    """
    chosen = config.get("data_dir")
    if chosen:
        return os.path.abspath(os.path.expanduser(chosen))
    environment = config.environment()
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        base = environment.get(name, "")
        if os.path.isabs(base):  # the XDG specification says to ignore relative paths
            return os.path.join(base, "ranvier", "datasets")
    home = os.path.expanduser("~")  # asks the system's user table if HOME is unset
    if not os.path.isabs(home):
        raise DataError(
            "datasets: no folder for downloaded data: HOME is unset and the user has no home folder. "
            "Set RANVIER_DATA_DIR to a folder, or give the data set's load_data a path."
        )
    return os.path.join(home, ".cache", "ranvier", "datasets")


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def download(dataset: str, mirrors: tuple[str, ...], name: str, sha256: str, folder: str) -> str:
    """The path of ``folder/name`` with the stated checksum, fetched from the first mirror that delivers it.

    Raises:
        DataError: pooch is not installed, the folder cannot be written, or no mirror delivered the right bytes.
    """
    target = os.path.join(folder, name)
    if os.path.isfile(target) and _sha256(target) == sha256:
        return target
    pooch = _pooch(dataset)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{dataset}: the folder for downloads {folder} cannot be made: {error.strerror or error}. "
            "Set RANVIER_DATA_DIR to a folder you may write to, or give load_data a path."
        ) from None
    failures = []
    for mirror in mirrors:
        try:
            fetched = pooch.retrieve(mirror + name, known_hash=f"sha256:{sha256}", fname=name, path=folder)
            return os.fspath(fetched)
        except ValueError as error:  # pooch's word for a wrong checksum
            failures.append(f"{mirror}: {_first_line(error)}")
        except OSError as error:  # the folder, or the network: requests' exceptions derive from OSError
            failures.append(f"{mirror}: {type(error).__name__}: {_first_line(error)}")
    reasons = "\n  ".join(failures)
    raise DataError(
        f"{dataset}: {name} could not be downloaded into {folder}:\n  {reasons}\n"
        f"Check the network connection, or fetch the four files yourself and give their folder: "
        f"ranvier.datasets.{dataset}.load_data(path) or `ranvier train {dataset.replace('_', '-')} --data FOLDER`."
    )


def _pooch(dataset: str) -> Any:
    try:
        import pooch
    except ImportError:
        raise DataError(
            f"{dataset}: not in the cache folder, and downloading needs pooch, which is not installed. "
            f"Run `pip install 'ranvier[data]'`, or give the folder of the four IDX files: "
            f"ranvier.datasets.{dataset}.load_data(path)."
        ) from None
    pooch.get_logger().setLevel("WARNING")
    return pooch


def _first_line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return text if len(text) <= 200 else text[:197] + "..."
