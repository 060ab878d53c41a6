"""Convolutional and recurrent networks learn real data: short runs whose floors lie far below what they usually reach.

The full runs, with their published marks and PyTorch twins, are ``python -m benchmarks.accuracy NAME``.
"""

from __future__ import annotations

import csv
import gzip

import numpy as np
import pytest

import ranvier as rv
from ranvier import datasets, layers


def classifier(*inside, rate=2e-3):
    """A compiled network that gives logits."""
    rv.set_random_seed(1)
    model = rv.Sequential(list(inside))
    loss = rv.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(rv.optimizers.Adam(rate), loss, metrics=["accuracy"])
    return model


def block(filters, axes):
    """Convolution, normalisation, relu."""
    kind = getattr(layers, f"Conv{axes}D")
    return [kind(filters, 3, padding="same", use_bias=False), layers.BatchNormalization(momentum=0.9), layers.ReLU()]


@pytest.mark.parametrize(("name", "floor"), [("mnist", 0.94), ("fashion_mnist", 0.82)])
def test_images(shared_data, name, floor):
    """12,000 images twice: linear models stay at 0.91 and 0.82."""
    (x, y), (x_test, y_test) = getattr(datasets, name).load_data(shared_data / name)
    parts = [*block(16, 2), layers.MaxPooling2D(), *block(32, 2), layers.MaxPooling2D(), layers.Flatten()]
    model = classifier(
        rv.Input((28, 28, 1)), layers.Rescaling(1 / 128, -1), *parts, layers.Dropout(0.3), layers.Dense(10)
    )
    model.fit(x[:12000, ..., None], y[:12000], batch_size=64, epochs=2, verbose=0)
    assert model.evaluate(x_test[..., None], y_test, verbose=0)[1] >= floor


def test_heartbeats(shared_data):
    """ECG5000: the largest class alone is 58 %, its nearest neighbour 92 %."""
    with np.load(shared_data / "ecg" / "ECG5000.npz", allow_pickle=False) as f:
        x, y, x_test, y_test = (f[k] for k in ("x_train", "y_train", "x_test", "y_test"))
    parts = [*block(16, 1), layers.MaxPooling1D(), *block(32, 1), layers.GlobalAveragePooling1D()]
    model = classifier(rv.Input((140, 1)), *parts, layers.Dense(5), rate=5e-3)
    model.fit(x[..., None], y - 1, batch_size=16, epochs=15, verbose=0)
    assert model.evaluate(x_test[..., None], y_test - 1, verbose=0)[1] >= 0.88


def test_characters(shared_data):
    """Tiny Shakespeare: 3.3 nats if only the letters' frequencies are known, 2.5 with those of pairs."""
    text = (shared_data / "text" / "tinyshakespeare.txt").read_text("ascii")
    letters = sorted(set(text))
    symbols = np.searchsorted(letters, list(text)).astype(np.int32)
    rows = symbols[np.arange(0, 400_000 - 33, 32)[:, None] + np.arange(33)]
    held = symbols[np.arange(1_010_000, 1_050_000 - 33, 32)[:, None] + np.arange(33)]
    model = classifier(
        rv.Input((32,)), layers.Embedding(65, 32), layers.LSTM(64, return_sequences=True), layers.Dense(65), rate=5e-3
    )
    model.fit(rows[:, :-1], rows[:, 1:], batch_size=64, epochs=3, verbose=0)
    assert model.evaluate(held[:, :-1], held[:, 1:], batch_size=64, verbose=0)[0] < 2.4


def test_electricity(shared_data):
    """ETTh1, 96 hours ahead, from 336: the published linear model has a mean squared error of 0.375."""
    with gzip.open(shared_data / "time_series" / "ETTh1.csv.gz", "rt") as f:
        series = np.array([[float(v) for v in row[1:]] for row in list(csv.reader(f))[1:]])
    series = (series - series[:8640].mean(0)) / series[:8640].std(0)

    def windows(begin, end):
        starts = np.arange(begin, end - 95)
        x, y = (series[starts[:, None] + np.arange(a, b)] for a, b in ((-336, 0), (0, 96)))
        last = x[:, -1:]
        return ((v - last).transpose(0, 2, 1).reshape(-1, v.shape[1]).astype(np.float32) for v in (x, y))

    (x, y), (x_test, y_test) = windows(336, 8640), windows(11520, 14400)
    rv.set_random_seed(1)
    model = rv.Sequential([rv.Input((336,)), layers.Dense(96)])
    model.compile(rv.optimizers.Adam(1e-3), "mse")
    model.fit(x, y, batch_size=224, epochs=4, verbose=0)
    assert model.evaluate(x_test, y_test, batch_size=1024, verbose=0) < 0.40
