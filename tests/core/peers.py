"""Other libraries to compare with, where they are installed."""

from __future__ import annotations

import os
import warnings
from typing import Any

import pytest


def import_keras() -> Any:
    """Keras 3 on whichever backend the environment names, else JAX; skips the test where there is none."""
    if os.environ.setdefault("KERAS_BACKEND", "jax") == "jax":
        pytest.importorskip("jax", reason="parity with Keras needs jax", exc_type=ImportError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras", reason="parity with Keras needs keras", exc_type=ImportError)
