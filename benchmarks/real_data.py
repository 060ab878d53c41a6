"""Reading the real data sets of ``real.py``: arrays ready for a network, split as published."""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Data:
    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def folder() -> Path:
    """Where the published data sets are."""
    named = os.environ.get("RANVIER_TEST_DATA")
    return Path(named) if named else ROOT.parent / "shared" / "data"


def _standard(train: np.ndarray, test: np.ndarray, axes: tuple[int, ...] | None) -> tuple[np.ndarray, np.ndarray]:
    """Both scaled by mean and standard deviation of the training part, as float32."""
    mean, deviation = train.mean(axes), train.std(axes)
    return ((train - mean) / deviation).astype(np.float32), ((test - mean) / deviation).astype(np.float32)


def idx(name: str) -> Data:
    """MNIST or Fashion-MNIST: (rows, 28, 28, 1)."""
    from ranvier import datasets

    (x, y), (xt, yt) = getattr(datasets, name).load_data(folder() / name)
    x, xt = _standard(x[..., None].astype(np.float32), xt[..., None].astype(np.float32), None)
    return Data(x, y.astype(np.int32), xt, yt.astype(np.int32))


def cifar() -> Data:
    """The CIFAR-10 subset: (rows, 32, 32, 3)."""
    from PIL import Image

    parts = []
    for part in ("train", "test"):
        with np.load(folder() / "cifar10" / f"{part}.npz", allow_pickle=False) as f:
            raw, at, label = f["jpeg"], f["offset"], f["label"]
        images = [np.asarray(Image.open(io.BytesIO(raw[a:b].tobytes()))) for a, b in zip(at, at[1:], strict=False)]
        parts += [np.stack(images).astype(np.float32), label.astype(np.int32)]
    x, xt = _standard(parts[0], parts[2], (0, 1, 2))
    return Data(x, parts[1], xt, parts[3])


def ecg() -> Data:
    """ECG5000: (rows, 140, 1), classes 0 to 4."""
    with np.load(folder() / "ecg" / "ECG5000.npz", allow_pickle=False) as f:
        x, y, xt, yt = (f[k] for k in ("x_train", "y_train", "x_test", "y_test"))
    return Data(x[..., None], y.astype(np.int32) - 1, xt[..., None], yt.astype(np.int32) - 1)


def text() -> tuple[np.ndarray, str]:
    """Tiny Shakespeare as symbol numbers, and its alphabet."""
    raw = (folder() / "text" / "tinyshakespeare.txt").read_text("ascii")
    letters = "".join(sorted(set(raw)))
    number = {c: i for i, c in enumerate(letters)}
    return np.array([number[c] for c in raw], np.int32), letters


def shakespeare(steps: int = 64) -> Data:
    """Windows of the text and the symbols that follow; the first 90 % to learn from, the rest to test."""
    symbols, _ = text()
    cut = int(len(symbols) * 0.9)
    found = []
    for part, stride in ((symbols[:cut], steps // 2), (symbols[cut:], steps)):
        starts = np.arange(0, len(part) - steps - 1, stride)
        rows = part[starts[:, None] + np.arange(steps + 1)]
        found += [np.ascontiguousarray(rows[:, :-1]), np.ascontiguousarray(rows[:, 1:])]
    return Data(*found)


def sample(predict: Callable[[np.ndarray], np.ndarray], steps: int, length: int = 300, heat: float = 0.8) -> str:
    """Text that the network writes, letter by letter."""
    symbols, letters = text()
    rng = np.random.default_rng(0)
    known = list(symbols[:steps])
    for _ in range(length):
        z = predict(np.array([known[-steps:]], np.int32))[0, -1].astype(np.float64) / heat
        p = np.exp(z - z.max())
        known.append(int(rng.choice(len(p), p=p / p.sum())))
    return "".join(letters[i] for i in known[steps:])


def _ett() -> np.ndarray:
    """ETTh1 scaled by the training rows: (hours, 7)."""
    with gzip.open(folder() / "time_series" / "ETTh1.csv.gz", "rt") as f:
        rows = np.array([[float(v) for v in row[1:]] for row in list(csv.reader(f))[1:]])
    return (rows - rows[:8640].mean(0)) / rows[:8640].std(0)


def _cut(series: np.ndarray, begin: int, end: int, back: int, ahead: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows whose targets lie in ``begin .. end``; the inputs may reach back before it."""
    starts = np.arange(begin, end - ahead + 1)
    return (series[starts[:, None] + np.arange(-back, 0)].astype(np.float32),
            series[starts[:, None] + np.arange(ahead)].astype(np.float32))  # fmt: skip


def ett_windows(back: int = 96, ahead: int = 96) -> Data:
    """All columns together: (windows, back, 7) and (windows, ahead * 7)."""
    series = _ett()
    x, y = _cut(series, back, 8640, back, ahead)
    xt, yt = _cut(series, 11520, 14400, back, ahead)
    return Data(x, y.reshape(len(y), -1), xt, yt.reshape(len(yt), -1))


def ett_columns(back: int = 336, ahead: int = 96) -> Data:
    """Every column a series of its own, from its last value (Zeng et al.'s NLinear): (windows * 7, back)."""
    series = _ett()
    found = []
    for begin, end in ((back, 8640), (11520, 14400)):
        x, y = _cut(series, begin, end, back, ahead)
        last = x[:, -1:]
        found += [np.ascontiguousarray((a - last).transpose(0, 2, 1)).reshape(-1, a.shape[1]) for a in (x, y)]
    return Data(*found)
