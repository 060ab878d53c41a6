"""Relayouts against NumPy indexing: every element is a different number, so a misplaced one shows."""

from __future__ import annotations

import numpy as np
import pytest

from ranvier.compiler.native.contraction import panel_width
from ranvier.compiler.native.relayout import Relayout, in_panels, in_rows

from .kernel_runner import HOST_ISAS, Kernel

SHAPES = [(1, 1), (3, 5), (16, 16), (17, 33), (64, 10), (10, 64), (65, 48), (100, 31), (128, 96), (130, 40)]
DTYPES = {"float32": "f4", "float64": "f8", "bfloat16": "u2", "int32": "i4", "int64": "i8", "bool": "u1", "uint8": "u1"}
GAP = 3  # extra elements between the rows of a row layout


def arrange(x, width, fill):
    """[B, R, N] as it lies in memory: in panels of ``width`` (pads hold ``fill``), or in rows with gaps of it."""
    batch, rows, columns = x.shape
    if not width:
        out = np.full((batch, rows, columns + GAP), fill, x.dtype)
        out[:, :, :columns] = x
        return out
    count = -(-columns // width)
    out = np.full((batch, count, rows, width), fill, x.dtype)
    for panel in range(count):
        part = x[:, :, panel * width : (panel + 1) * width]
        out[:, panel, :, : part.shape[2]] = part
    return out


def place(array, width):
    if width:
        return in_panels(array.shape[2], width, array[0].size)
    return in_rows(array.shape[2], array[0].size)


def check(isa, rows, columns, dtype, source_width, target_width, transposed, pieces=1):
    kind = np.dtype(DTYPES[dtype])
    limit = 2 if dtype == "bool" else min(2**31, 256**kind.itemsize)
    x = (np.arange(2 * rows * columns, dtype=np.int64) * 7 % limit).astype(kind).reshape(2, rows, columns)
    if dtype in ("float32", "float64"):
        x = x + kind.type(0.5)
    source = arrange(x.transpose(0, 2, 1) if transposed else x, source_width, 77)
    target = arrange(np.full_like(x, 55), target_width, 55)
    # Pads of the target's panels become zero; gaps between its rows stay as they are.
    expected = arrange(x, target_width, 0 if target_width else 55)
    spec = Relayout(
        2, rows, columns, dtype, place(source, source_width), place(target, target_width), transposed, isa.name
    )
    Kernel(spec, isa)(source, target, pieces=pieces)
    np.testing.assert_array_equal(target, expected, err_msg=str(spec))


@pytest.mark.parametrize("isa", HOST_ISAS, ids=lambda isa: isa.name)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("target", ["rows", "panels"])
@pytest.mark.parametrize("source", ["rows", "panels"])
def test_shapes(source, target, transposed, isa):
    for i, (rows, columns) in enumerate(SHAPES):
        across = rows if transposed else columns  # columns of the source
        widths = [panel_width(n, isa) if side == "panels" else 0 for n, side in ((across, source), (columns, target))]
        check(isa, rows, columns, "float32", *widths, transposed, pieces=1 + i % 3)


@pytest.mark.parametrize("isa", HOST_ISAS, ids=lambda isa: isa.name)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype, transposed, isa):
    for rows, columns in [(33, 20), (64, 64)]:
        across = rows if transposed else columns
        check(isa, rows, columns, dtype, 0, panel_width(columns, isa), transposed)
        check(isa, rows, columns, dtype, panel_width(across, isa), panel_width(columns, isa), transposed)


@pytest.mark.parametrize("isa", HOST_ISAS, ids=lambda isa: isa.name)
def test_from_panels_of_another_width(isa):
    lanes = isa.lanes("float32")
    check(isa, 20, 5 * lanes, "float32", 3 * lanes, 2 * lanes, transposed=False)
    check(isa, 20, 5 * lanes + 1, "float32", 2 * lanes, lanes, transposed=False)


def test_numbers_a_plan_needs():
    spec = Relayout(3, 130, 40, "float32", in_rows(40, 5200), in_panels(130, 32, 2 * 130 * 32))
    assert spec.units == 3 * 2 * 3  # matrices, panels, groups of 64 rows
    assert spec.bytes == 2 * 3 * 130 * 40 * 4
    assert spec.flops == 0
    assert spec.key() != Relayout(3, 130, 40, "float32", in_rows(41, 5200), spec.target).key()
