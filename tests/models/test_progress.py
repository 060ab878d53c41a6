"""What training prints, and how row orders and splits are made."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier.data import splits
from ranvier.errors import ArgumentError
from ranvier.models import progress

X = np.linspace(-1, 1, 20, dtype=np.float32).reshape(10, 2)
Y = X.sum(1, keepdims=True)


def linear() -> rv.Sequential:
    model = rv.Sequential([rv.Input((2,)), rv.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    return model


VALUES = "".join(rf" - {name}: [\d.e-]+" for name in ("loss", "mae", "val_loss", "val_mae"))
LINE = rf"Epoch \d/2 - [\d.]+ m?s - [\d,]+ samples/s{VALUES}"


@pytest.mark.parametrize("verbose", ["auto", 1, 2, True])
def test_plain_lines_where_there_is_no_terminal(verbose: Any, capsys: pytest.CaptureFixture[str]) -> None:
    linear().fit(X, Y, epochs=2, verbose=verbose, validation_data=(X, Y))
    text = capsys.readouterr().out
    assert "\r" not in text
    assert re.fullmatch(f"({LINE}\n){{2}}", text), text


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    model = linear()
    model.fit(X, Y, verbose=0, validation_data=(X, Y))
    model.evaluate(X, Y, verbose=0)
    model.predict(X)
    model.predict(X, verbose=0)
    assert capsys.readouterr().out == ""
    model.predict(X, verbose=1)
    assert re.fullmatch(r"10 samples - [\d.]+ m?s - [\d,]+ samples/s\n", capsys.readouterr().out)
    model.evaluate(X, Y)
    assert re.fullmatch(r"10 samples - .* samples/s - loss: [\d.e-]+ - mae: [\d.e-]+\n", capsys.readouterr().out)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr(progress, "REDRAW_SECONDS", 0.0)
    every = rv.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)  # one step at a time
    linear().fit(X, Y, batch_size=3, epochs=2, callbacks=[every])
    text = screen.getvalue()
    bars = re.findall(r"\rEpoch (\d)/2 \[(=*>?\.*)\] (\d)/4 - [\d,]+ samples/s - [\d.:]+ ?m?s? left - loss: ", text)
    assert [(e, d) for e, _, d in bars] == [("1", "1"), ("1", "2"), ("1", "3"), ("2", "1"), ("2", "2"), ("2", "3")]
    assert {len(b) for _, b, _ in bars} == {24}
    assert text.count("\n") == 2
    assert text.endswith("\n")


def test_an_interrupted_bar_ends_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr(progress, "REDRAW_SECONDS", 0.0)

    def fail(batch: int, logs: Any) -> None:
        if batch == 2:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        linear().fit(X, Y, batch_size=3, callbacks=[rv.callbacks.LambdaCallback(on_train_batch_end=fail)])
    assert screen.getvalue().endswith("\n")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0042, "4 ms"), (4.25, "4.2 s"), (99, "99.0 s"), (125, "2:05"), (3599.6, "1:00:00"), (7325, "2:02:05")],
)
def test_durations(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(0.5, "0.5000"), (0.0, "0.0000"), (1e-5, "1.0000e-05"), (-2.0, "-2.0000")])
def test_numbers(value: float, text: str) -> None:
    assert progress.number(value) == text


# -- rows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "batch"), [(1, 1), (5, 3), (6, 3), (1000, 7), (1500, 32)])
def test_batch_order(n: int, batch: int) -> None:
    rv.set_random_seed(77)
    order = splits.batch_order(n, batch, shuffle=True)
    rv.set_random_seed(77)
    assert len(order) == -(-n // batch) * batch
    assert order[:n].tolist() == np.asarray(rv.random.permutation(n)).tolist()
    assert sorted(order[:n].tolist()) == list(range(n))
    assert not order[n:].any()
    assert splits.batch_order(n, batch, False, order) is order
    assert order[:n].tolist() == list(range(n))


@pytest.mark.parametrize(("n", "fraction", "at"), [(10, 0.2, 8), (10, 0.25, 7), (3, 0.5, 1), (22, 0.3, 15)])
def test_split_point(n: int, fraction: float, at: int) -> None:
    assert splits.split_point(n, fraction) == at


def test_split_point_refuses_empty_parts() -> None:
    with pytest.raises(
        ArgumentError, match=r"validation_split=0.5 of 1 rows leaves 0 for training and 1 for validation"
    ):
        splits.split_point(1, 0.5, "fit")
