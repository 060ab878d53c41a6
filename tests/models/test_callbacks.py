"""Callbacks: when they are called, what they are told, and what they do."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import callbacks
from ranvier.errors import ArgumentError

X = np.linspace(-1, 1, 20, dtype=np.float32).reshape(10, 2)
Y = X.sum(1, keepdims=True)


def linear(start: Any = "ones") -> rv.Sequential:
    model = rv.Sequential([rv.Input((2,)), rv.layers.Dense(1, kernel_initializer=start)])
    model.compile(rv.optimizers.SGD(0.1), "mse", metrics=["mae"])
    return model


class Recorder(callbacks.Callback):
    """Writes down every call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.calls.append("train begin")

    def on_train_end(self, logs: Any = None) -> None:
        self.calls.append(("train end", sorted(logs)))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.calls.append(("epoch begin", epoch))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.calls.append(("epoch end", epoch, sorted(logs)))

    def on_test_begin(self, logs: Any = None) -> None:
        self.calls.append("test begin")

    def on_test_end(self, logs: Any = None) -> None:
        self.calls.append(("test end", sorted(logs)))

    def on_predict_begin(self, logs: Any = None) -> None:
        self.calls.append("predict begin")

    def on_predict_end(self, logs: Any = None) -> None:
        self.calls.append("predict end")


def test_the_order_of_calls() -> None:
    record, model = Recorder(), linear()
    model.fit(X, Y, epochs=2, verbose=0, validation_split=0.5, callbacks=record)
    names = ["loss", "mae", "val_loss", "val_mae"]
    turn = ["test begin", ("test end", ["loss", "mae"])]
    assert record.calls == [
        "train begin",
        ("epoch begin", 0), *turn, ("epoch end", 0, names),
        ("epoch begin", 1), *turn, ("epoch end", 1, names),
        ("train end", names),
    ]  # fmt: skip
    assert record.model is model
    assert record.params == {"epochs": 2, "steps": 1, "samples": 5, "batch_size": 32, "verbose": 0}
    record.calls.clear()
    model.evaluate(X, Y, verbose=0, callbacks=[record])
    model.predict(X, callbacks=[record])
    assert record.calls == [*turn, "predict begin", "predict end"]


def test_batches_are_reported_to_whoever_asks() -> None:
    seen: list[Any] = []
    each = callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: seen.append(batch),
        on_train_batch_end=lambda batch, logs: seen.append((batch, logs["loss"])),
    )
    assert each.wants_batches
    assert not Recorder().wants_batches
    plain, watched = linear(), linear()
    history = plain.fit(X, Y, batch_size=4, epochs=1, shuffle=False, verbose=0)
    watched.fit(X, Y, batch_size=4, epochs=1, shuffle=False, verbose=0, callbacks=[each])
    assert [s if isinstance(s, int) else s[0] for s in seen] == [0, 0, 1, 1, 2, 2]
    assert seen[-1][1] == history.history["loss"][0]  # the mean over the epoch so far
    assert all((a == b).all() for a, b in zip(plain.get_weights(), watched.get_weights(), strict=True))


def test_stop_training() -> None:
    model = linear()
    stop = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", epoch == 1))
    history = model.fit(X, Y, epochs=9, verbose=0, callbacks=[stop])
    assert history.epoch == [0, 1]
    assert history.stopped_by == "callback"
    assert model.fit(X, Y, epochs=2, verbose=0).stopped_by is None


def test_lambda_callback_checks_names() -> None:
    with pytest.raises(ArgumentError, match=r"unknown method 'on_epoch_done'. Known: on_epoch_begin"):
        callbacks.LambdaCallback(on_epoch_done=print)
    with pytest.raises(ArgumentError, match="expected on_epoch_end to be a function, got 3"):
        callbacks.LambdaCallback(on_epoch_end=3)  # type: ignore[arg-type]


# -- early stopping -----------------------------------------------------------------------------------------------


def drive(stop: Any, values: list[float]) -> tuple[int | None, Any]:
    """Feed values to a callback as epochs; the epoch it stopped at."""
    weights = [0]
    model = SimpleNamespace(
        stop_training=False, get_weights=lambda: list(weights), set_weights=lambda w: weights.__setitem__(0, w[0])
    )
    stop.set_model(model)
    stop.on_train_begin()
    stopped = None
    for epoch, value in enumerate(values):
        weights[0] = epoch
        stop.on_epoch_end(epoch, {stop.monitor: value})
        if model.stop_training:
            stopped = epoch
            break
    stop.on_train_end()
    return stopped, weights[0]


@pytest.mark.parametrize(
    ("options", "values", "epoch"),
    [
        ({}, [3, 2, 1, 1], 3),
        ({"patience": 2}, [3, 2, 2.5, 2.4, 1], 3),
        ({"patience": 2}, [3, 2, 2.5, 1.9, 2, 1.8], None),
        ({"min_delta": 0.5, "patience": 1}, [3, 2.8, 2.6], 1),
        ({"monitor": "val_accuracy"}, [0.1, 0.2, 0.15], 2),
        ({"monitor": "auc", "mode": "min"}, [0.1, 0.2], 1),
        ({"baseline": 1.0, "patience": 2}, [3, 2.5, 2, 1.5], None),
        ({"baseline": 1.0, "patience": 2}, [3, 2.5, 2, 2], 3),
        ({"start_from_epoch": 3}, [1, 2, 3, 4, 3, 3], 5),
        ({"patience": 1}, [3, float("nan"), 2], 1),
    ],
)
def test_early_stopping(options: dict[str, Any], values: list[float], epoch: int | None) -> None:
    """The epochs Keras 3.15's EarlyStopping stops at, given the same values."""
    assert drive(callbacks.EarlyStopping(**{"monitor": "loss", **options}), values)[0] == epoch


def test_early_stopping_restores_the_best_weights(capsys: pytest.CaptureFixture[str]) -> None:
    stop = callbacks.EarlyStopping("loss", patience=2, restore_best_weights=True, verbose=1)
    assert drive(stop, [3, 1, 2, 2, 2]) == (3, 1)
    assert (stop.best, stop.best_epoch, stop.stopped_epoch) == (1, 1, 3)
    assert capsys.readouterr().out == "Epoch 4: early stopping\nRestoring the weights of epoch 2\n"
    assert drive(stop, [1, 2, 3]) == (2, 0)  # a second fit starts afresh


def test_early_stopping_in_a_fit() -> None:
    model = linear()
    stop = callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True)
    history = model.fit(X, Y, epochs=200, verbose=0, validation_data=(X, -Y), callbacks=[stop])
    assert history.stopped_by == "callback"
    assert len(history.epoch) == stop.best_epoch + 4
    assert model.evaluate(X, -Y, verbose=0)[0] == pytest.approx(min(history.history["val_loss"]), rel=1e-6)


def test_watching_what_is_not_there() -> None:
    with pytest.warns(UserWarning, match=r"there is no 'val_loss' to watch, only loss, mae. Give fit validation data."):
        linear().fit(X, Y, epochs=3, verbose=0, callbacks=[callbacks.EarlyStopping()])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: callbacks.EarlyStopping(mode="up"),
            "EarlyStopping: expected mode to be 'auto', 'min' or 'max', got 'up'",
        ),
        (lambda: callbacks.EarlyStopping(patience=-1), "expected patience to be an integer of at least 0, got -1"),
        (lambda: callbacks.EarlyStopping(min_delta="a"), "expected min_delta to be a finite number, got 'a'"),
        (lambda: callbacks.EarlyStopping(monitor=3), "expected monitor to be the name of a loss or metric, got 3"),
        (
            lambda: callbacks.ReduceLROnPlateau(factor=1.0),
            "expected factor to be a number of at least 0 and below 1, got 1",
        ),
        (lambda: callbacks.LearningRateScheduler(0.1), "expected schedule to be a function of"),
        (lambda: callbacks.CSVLogger(3), "CSVLogger: expected filename to be a path, got 3"),
        (lambda: callbacks.CSVLogger("a", separator="ab"), "expected separator to be one character, got 'ab'"),
        (
            lambda: callbacks.ModelCheckpoint("a.h5"),
            "expected filepath to be a path that ends in .safetensors, got 'a.h5'",
        ),
        (lambda: callbacks.ModelCheckpoint("a.safetensors", save_freq=3), "expected save_freq to be 'epoch', got 3"),
    ],
)
def test_arguments(make: Any, text: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(text)):
        make()


# -- files --------------------------------------------------------------------------------------------------------


def test_csv_logger_writes_every_digit(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    model = linear()
    history = model.fit(X, Y, epochs=3, verbose=0, callbacks=[callbacks.CSVLogger(path)])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(r["epoch"]) for r in rows] == [0, 1, 2]
    assert [float(r["loss"]) for r in rows] == history.history["loss"]
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[callbacks.CSVLogger(path, append=True)])
    assert len(path.read_text().splitlines()) == 5
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[callbacks.CSVLogger(path, separator=";")])
    assert path.read_text().splitlines()[0] == "epoch;loss;mae"


def test_csv_logger_with_validation_now_and_then(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    log = callbacks.CSVLogger(path)
    log.on_train_begin()
    log.on_epoch_end(0, {"loss": 1.0, "val_loss": 2.0})
    log.on_epoch_end(1, {"loss": 0.5})
    assert path.read_text() == "epoch,loss,val_loss\n0,1.0,2.0\n1,0.5,\n"  # flushed before the end
    log.on_train_end()


def test_csv_logger_without_a_folder(tmp_path: Path) -> None:
    log = callbacks.CSVLogger(tmp_path / "no" / "history.csv")
    with pytest.raises(ArgumentError, match=r"CSVLogger: .* cannot be written: No such file"):
        linear().fit(X, Y, verbose=0, callbacks=[log])


def test_checkpoints(tmp_path: Path) -> None:
    model = linear("zeros")
    every = callbacks.ModelCheckpoint(tmp_path / "at-{epoch:02d}-{loss:.3f}.safetensors")
    best = callbacks.ModelCheckpoint(tmp_path / "best.safetensors", monitor="loss", save_best_only=True)
    history = model.fit(X, Y, epochs=2, verbose=0, callbacks=[every, best])
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == [*(f"at-{i + 1:02d}-{loss:.3f}.safetensors" for i, loss in enumerate(history.history["loss"])),
                     "best.safetensors"]  # fmt: skip
    loaded = rv.load_model(tmp_path / "best.safetensors")
    assert (loaded.get_weights()[0] == model.get_weights()[0]).all()
    assert int(loaded.optimizer.iterations) == 2


def test_checkpoints_only_of_the_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved: list[str] = []
    best = callbacks.ModelCheckpoint(
        "m-{epoch}.safetensors", monitor="val_accuracy", save_best_only=True, initial_value_threshold=0.5, verbose=1
    )
    best.set_model(SimpleNamespace(save=saved.append))
    for epoch, value in enumerate([0.4, 0.6, 0.55, 0.7]):
        best.on_epoch_end(epoch, {"val_accuracy": value})
    assert saved == ["m-2.safetensors", "m-4.safetensors"]
    assert "Epoch 4: saved m-4.safetensors" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["{val_los}", "{loss.__class__}", "{0}", "{loss[0]}", "{"])
def test_checkpoint_names_are_plain(name: str, tmp_path: Path) -> None:
    keep = callbacks.ModelCheckpoint(f"{tmp_path}/{name}.safetensors")
    with pytest.raises(ArgumentError, match="ModelCheckpoint: filepath"):
        keep.on_epoch_end(0, {"loss": 1.0})
    assert list(tmp_path.iterdir()) == []


# -- learning rate ------------------------------------------------------------------------------------------------


def test_learning_rate_by_function(capsys: pytest.CaptureFixture[str]) -> None:
    rates: list[float] = []
    model = linear()
    half = callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2, verbose=1)
    seen = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: rates.append(float(model.optimizer.learning_rate)))
    before = model.get_weights()[0]
    model.fit(X, -Y, epochs=3, verbose=0, callbacks=[half, seen])
    assert rates == pytest.approx([0.05, 0.025, 0.0125])
    assert "Epoch 2: learning rate 0.025" in capsys.readouterr().out
    frozen = callbacks.LearningRateScheduler(lambda epoch, rate: 0.0)
    moved = model.get_weights()[0]
    model.fit(X, -Y, epochs=1, verbose=0, callbacks=[frozen])
    assert (model.get_weights()[0] == moved).all()  # the compiled step saw the new rate
    assert (moved != before).any()


def test_reduce_on_plateau(capsys: pytest.CaptureFixture[str]) -> None:
    optimizer = rv.optimizers.SGD(1.0)
    lower = callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=2, cooldown=1, min_lr=0.2, verbose=1)
    lower.set_model(SimpleNamespace(optimizer=optimizer))
    lower.on_train_begin()
    rates = []
    for epoch, loss in enumerate([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]):
        lower.on_epoch_end(epoch, {"loss": loss})
        rates.append(float(optimizer.learning_rate))
    # Keras 3.15 gives the same sequence
    assert rates == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2, 0.2])
    assert "Epoch 3: learning rate lowered to 0.5" in capsys.readouterr().out
