"""Ends of training that nobody planned: Ctrl-C, and a loss that is no number any more."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier.errors import NonFiniteError


def linear(rate: float = 0.1) -> rv.Sequential:
    model = rv.Sequential([rv.Input((2,)), rv.layers.Dense(1, kernel_initializer="ones")])
    model.compile(rv.optimizers.SGD(rate, momentum=0.9), "mse")
    return model


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def xy(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    x = rng.normal(size=(20, 2)).astype(np.float32)
    return x, x.sum(1, keepdims=True) * 3


# -- Ctrl-C -------------------------------------------------------------------------------------------------------


def test_ctrl_c_between_epochs(xy: Any) -> None:
    model = linear()
    callback = rv.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: press() if epoch == 2 else None)
    history = model.fit(*xy, epochs=50, verbose=0, callbacks=[callback])
    assert history.stopped_by == "interrupt"
    assert history.epoch == [0, 1, 2]
    assert len(history.history["loss"]) == 3
    assert model.history is history
    assert model.fit(*xy, epochs=2, verbose=0).stopped_by is None  # the model can be used
    assert model.predict(xy[0]).shape == (20, 1)


def test_ctrl_c_within_an_epoch(xy: Any) -> None:
    model, ended = linear(), []
    callback = rv.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: press() if batch == 2 else None, on_train_end=ended.append
    )
    history = model.fit(*xy, batch_size=2, epochs=50, verbose=0, callbacks=[callback])
    assert history.stopped_by == "interrupt"
    assert history.epoch == []
    assert int(model.optimizer.iterations) == 3  # the present call was finished, no other begun
    assert len(ended) == 1


def test_ctrl_c_in_the_middle_of_many_steps(xy: Any) -> None:
    timer = threading.Timer(0.3, press)
    timer.start()
    history = linear(1e-4).fit(*xy, epochs=10**6, verbose=0)
    timer.join()
    assert history.stopped_by == "interrupt"
    assert 0 < len(history.epoch) < 10**6


def test_the_handler_is_put_back(xy: Any) -> None:
    before = signal.getsignal(signal.SIGINT)
    linear().fit(*xy, verbose=0)
    assert signal.getsignal(signal.SIGINT) is before
    seen: list[int] = []
    try:
        signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))  # a program's own handler is respected
        callback = rv.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: press())
        assert linear().fit(*xy, epochs=2, verbose=0, callbacks=[callback]).stopped_by is None
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT] * 2


def test_fit_in_another_thread(xy: Any) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(linear().fit(*xy, epochs=2, verbose=0)))
    thread.start()
    thread.join()
    assert found[0].epoch == [0, 1]


def test_an_error_in_a_callback_leaves_a_usable_model(xy: Any) -> None:
    def fail(epoch: int, logs: Any) -> None:
        raise RuntimeError("from the callback")

    model = linear()
    with pytest.raises(RuntimeError, match="from the callback"):
        model.fit(*xy, epochs=3, verbose=0, callbacks=[rv.callbacks.LambdaCallback(on_epoch_end=fail)])
    assert int(model.optimizer.iterations) == 1
    model.fit(*xy, verbose=0)


# -- NaN ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_weights_from_before_the_bad_step_are_kept(xy: Any, value: float) -> None:
    """Row 13 lies in the fourth batch of four: three steps are done, exactly."""
    x, y = xy
    bad = y.copy()
    bad[13] = value
    model, other = linear(), linear()
    other.fit(x[:12], y[:12], batch_size=4, shuffle=False, verbose=0)
    text = (
        r"fit: the loss became NaN or infinite at step 4 of epoch 1. The model keeps the weights from before that "
        r"step. Row 13 of y in that batch holds NaN or infinity: drop or fill it."
    )
    with pytest.raises(NonFiniteError, match=text):
        model.fit(x, bad, batch_size=4, shuffle=False, verbose=0, check_data="ignore")
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(model.optimizer.variables, other.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert model.history.stopped_by == "nan"
    assert model.history.epoch == []


def test_training_that_runs_away(xy: Any) -> None:
    model = linear(1e6)
    with pytest.raises(
        NonFiniteError, match=r"at step \d+ of epoch \d+\. .* Try a smaller learning rate, clipnorm=1.0"
    ):
        model.fit(*xy, epochs=100, batch_size=4, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    model.optimizer.learning_rate = 1e-9
    model.set_weights([np.zeros((2, 1)), np.zeros(1)])
    for v in model.optimizer.variables[2:]:
        v.assign(np.zeros(v.shape, np.float32))
    assert np.isfinite(model.fit(*xy, verbose=0).history["loss"][0])


def test_a_gradient_that_overflows_before_the_loss(xy: Any) -> None:
    """sqrt has loss 0 and an infinite slope at 0: the weights are NaN one step before the loss shows it."""
    model = linear()
    model.compile("sgd", lambda true, pred: rv.sqrt(rv.sum(rv.square(pred - true), -1)))
    before = model.get_weights()
    zeros = np.zeros((8, 2), np.float32)
    with pytest.raises(
        NonFiniteError, match=r"at step 2 of epoch 1. The step before had overflowed, so the model has the"
    ):
        model.fit(zeros, np.zeros((8, 1)), batch_size=2, verbose=0)
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


def test_terminate_on_nan_returns_the_history(xy: Any) -> None:
    x, y = xy
    y[13] = np.nan
    with pytest.warns(UserWarning, match="fit: the loss became NaN or infinite at step 4 of epoch 1"):
        history = linear().fit(
            x, y, batch_size=4, epochs=3, shuffle=False, verbose=0, check_data="ignore",
            callbacks=[rv.callbacks.TerminateOnNaN()],
        )  # fmt: skip
    assert history.stopped_by == "nan"
    assert history.epoch == []


def test_train_on_batch_with_nan(xy: Any) -> None:
    x, y = xy
    model = linear()
    before = model.get_weights()
    with pytest.raises(NonFiniteError, match="train_on_batch: the loss is NaN or infinite; nothing was changed"):
        model.train_on_batch(x, y * np.nan)
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
    assert int(model.optimizer.iterations) == 0
    model.train_on_batch(x, y)
    assert int(model.optimizer.iterations) == 1
