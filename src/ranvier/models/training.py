"""The fit loop: epochs of compiled steps, with validation, callbacks, progress, and an orderly end in every case."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ranvier.callbacks import CallbackList, History, TerminateOnNaN
from ranvier.data.splits import batch_order, split_point
from ranvier.errors import ArgumentError, NonFiniteError, describe
from ranvier.models import evaluation
from ranvier.models.building import all_or_nothing
from ranvier.models.compiled import Compiled
from ranvier.models.data_adapter import Data, as_weights, checked_count, warn
from ranvier.models.engine import Segment
from ranvier.models.preparing import prepare, triple
from ranvier.models.progress import Progress, checked_verbose
from ranvier.models.running import Interrupts, chunks
from ranvier.models.sequences import check_batches
from ranvier.variable import Variable

__all__ = ["Settings", "explain", "fit", "train_on_batch"]

SNAPSHOT_SHARE = 0.01  # of the training time at most goes into copies of the weights
NAN_HINT = "Try a smaller learning rate, clipnorm=1.0 in the optimizer, or look for extreme values in the data."


class Settings(NamedTuple):
    """The arguments of ``fit`` besides x and y, as given."""

    batch_size: Any = None
    epochs: Any = 1
    verbose: Any = "auto"
    callbacks: Any = None
    validation_split: Any = 0.0
    validation_data: Any = None
    shuffle: Any = True
    class_weight: Any = None
    sample_weight: Any = None
    initial_epoch: Any = 0
    validation_batch_size: Any = None
    validation_freq: Any = 1
    check_data: Any = "warn"

    def checked(self) -> Settings:
        """The same with every number checked and every default filled in."""
        size = checked_count("fit", "batch_size", 32 if self.batch_size is None else self.batch_size)
        other = size if self.validation_batch_size is None else self.validation_batch_size
        if self.check_data not in ("warn", "error", "ignore"):
            raise ArgumentError(
                f"fit: expected check_data to be 'warn', 'error' or 'ignore', got {describe(self.check_data)}."
            )
        if not isinstance(self.shuffle, bool | np.bool_):
            raise ArgumentError(f"fit: expected shuffle to be True or False, got {describe(self.shuffle)}.")
        return self._replace(
            batch_size=size,
            epochs=checked_count("fit", "epochs", self.epochs, 0),
            verbose=checked_verbose("fit", self.verbose),
            initial_epoch=checked_count("fit", "initial_epoch", self.initial_epoch, 0),
            validation_batch_size=checked_count("fit", "validation_batch_size", other),
            validation_freq=checked_count("fit", "validation_freq", self.validation_freq),
        )


@contextmanager
def alone(model: Any, who: str) -> Iterator[None]:
    """Only one training of a model at a time."""
    if not model._keeper.busy.acquire(blocking=False):
        raise ArgumentError(
            f"{who}: the model {model.name!r} is being trained already, by another thread or a callback."
        )
    try:
        yield
    finally:
        model._keeper.busy.release()


def fit(model: Any, x: Any, y: Any, given: Settings) -> History:
    """Train a model; see :meth:`ranvier.Model.fit`."""
    compiled = model._compiled("fit")
    settings = given.checked()
    with alone(model, "fit"):
        with all_or_nothing(model):
            data, validation = _data(model, compiled, x, y, settings)
            if validation is not None:
                size = min(settings.validation_batch_size, validation.rows)
                check_batches("fit, validation data", model, validation.rows, size)
            callbacks, history = _callbacks(model, settings, data)
            _ready(model, compiled)
        return _Fit(model, compiled, data, validation, settings, callbacks, history).run()


def _data(model: Any, compiled: Compiled, x: Any, y: Any, s: Settings) -> tuple[Data, Data | None]:
    """Training and validation data, checked."""
    split = s.validation_split
    plain_zero = isinstance(split, int | float) and not isinstance(split, bool) and split == 0
    data = prepare("fit", model, compiled, x, y, s.sample_weight, s.class_weight, s.check_data)
    if s.validation_data is not None:
        vx, vy, vw = triple("fit", s.validation_data)
        return data, prepare("fit, validation data", model, compiled, vx, vy, vw, None, s.check_data)
    if plain_zero:
        return data, None
    at = split_point(data.rows, split, "fit")
    held = data.part(at, data.rows)
    if s.class_weight is not None:  # class weights are for training only
        weights = as_weights("fit", s.sample_weight, data.rows)
        held = held._replace(weights=None if weights is None else weights[at:])
    return data.part(0, at), held


def _callbacks(model: Any, s: Settings, data: Data) -> tuple[CallbackList, History]:
    history = History()
    given = list(CallbackList(s.callbacks, model).callbacks)
    found = CallbackList(
        [*given, history],
        model,
        epochs=s.epochs,
        steps=math.ceil(data.rows / s.batch_size),
        samples=data.rows,
        batch_size=s.batch_size,
        verbose=s.verbose,
    )
    return found, history


def _ready(model: Any, compiled: Compiled) -> None:
    """What needs the weights: a last look at the output, and the optimizer's slots."""
    model._check_output(compiled)
    variables = model.trainable_weights
    if not variables:
        raise ArgumentError(
            f"fit: the model {model.name!r} has no weights to train. Add a layer that has some, or set trainable=True."
        )
    compiled.optimizer.build(variables)


class _Fit:
    """One call of ``fit``."""

    def __init__(
        self,
        model: Any,
        compiled: Compiled,
        data: Data,
        validation: Data | None,
        settings: Settings,
        callbacks: CallbackList,
        history: History,
    ):
        self.model, self.compiled, self.data, self.validation = model, compiled, data, validation
        self.settings, self.callbacks, self.history = settings, callbacks, history
        self.clock = model._keeper.engine.training
        self.size = min(settings.batch_size, data.rows)
        self.segments = model._keeper.engine.segments(compiled, data.rows, self.size, training=True)
        self.single = callbacks.wants_batches
        self.order: np.ndarray | None = None
        self.progress = Progress(settings.verbose, settings.epochs, data.rows, self.size)
        self.interrupts = Interrupts()
        self.snapshot = _Snapshot(model, compiled)

    def run(self) -> History:
        """All epochs, and the end."""
        model, s = self.model, self.settings
        logs: dict[str, Any] = {}
        model.stop_training = False
        self.callbacks.call("on_train_begin", {})
        model.history = self.history
        try:
            with self.interrupts:
                for epoch in range(s.initial_epoch, s.epochs):
                    finished = self.epoch(epoch)
                    logs = logs if finished is None else finished
                    if self.history.stopped_by is not None:
                        break
                    if model.stop_training:
                        self.history.stopped_by = "callback" if epoch + 1 < s.epochs else None
                        break
        finally:
            for segment in self.segments:
                segment.release()
            self.progress.close()
            self.callbacks.call("on_train_end", logs)
        return self.history

    def epoch(self, epoch: int) -> dict[str, Any] | None:
        """One epoch with validation; its logs, or None if it was cut short."""
        s, compiled = self.settings, self.compiled
        self.callbacks.call("on_epoch_begin", epoch, {})
        self.progress.begin(epoch)
        self.snapshot.take()
        self.clock.reset()
        compiled.reset()
        self.order = batch_order(self.data.rows, self.size, bool(s.shuffle), self.order)
        if not self.steps(epoch):
            return None
        logs = compiled.results()
        if self.validation is not None and (epoch + 1) % s.validation_freq == 0:
            self.callbacks.call("on_test_begin", {})
            found = evaluation.run(self.model, compiled, self.validation, s.validation_batch_size, self.stop_asked)
            if found is None:
                self.interrupted()
                return None
            self.callbacks.call("on_test_end", found)
            logs |= {f"val_{name}": value for name, value in found.items()}
        self.progress.end(logs)
        self.callbacks.call("on_epoch_end", epoch, logs)
        if self.interrupts.seen:
            self.interrupted()
        return logs

    def stop_asked(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self.interrupts.seen

    def interrupted(self) -> None:
        """Note that Ctrl-C ended training."""
        self.history.stopped_by = "interrupt"

    def steps(self, epoch: int) -> bool:
        """The steps of an epoch; False if it was cut short."""
        data, before = self.data, 0
        for segment in self.segments:
            args = (data.x, data.y, self.order, data.weights)
            for done, bad in self.batches(segment, args, before):
                if bad >= 0:
                    return self.not_finite(epoch, bad)
                if self.interrupts.seen and before + done < self.progress.steps:
                    self.interrupted()
                    return False
                self.progress.step(before + done, self.compiled)
            before += segment.steps
        return True

    def batches(self, segment: Segment, args: Sequence[Any], before: int) -> Iterator[tuple[int, int]]:
        """Chunks of steps, or single steps between the callbacks that asked for them."""
        if not self.single:
            yield from chunks(segment, args)
            return
        turns = chunks(segment, args, single=True)
        for i in range(segment.steps):
            self.callbacks.call("on_train_batch_begin", before + i, {})
            done, bad = next(turns)
            if bad < 0:
                self.callbacks.call("on_train_batch_end", before + i, self.compiled.results())
            yield done, bad

    def not_finite(self, epoch: int, step: int) -> bool:
        """The loss of a step was NaN or infinite: say which, and see to it that the weights are finite."""
        self.history.stopped_by = "nan"
        kept = self.snapshot.restore()
        assert self.order is not None
        size = self.size
        rows = self.order[step * size : min((step + 1) * size, self.data.rows)]
        message = (
            f"fit: the loss became NaN or infinite at step {step + 1} of epoch {epoch + 1}. {kept} "
            f"{_suspect(self.data, rows)}"
        )
        if any(isinstance(c, TerminateOnNaN) for c in self.callbacks.callbacks):
            warn(message)
            return False
        raise NonFiniteError(message)


def _suspect(data: Data, rows: np.ndarray) -> str:
    """What in the rows of a bad batch may be the cause."""
    for name, array in (("x", data.x), ("y", data.y)):
        if array.dtype.kind == "f":
            bad = ~np.isfinite(array[rows].reshape(len(rows), -1)).all(axis=1)
            if bad.any():
                return (
                    f"Row {int(rows[np.argmax(bad)])} of {name} in that batch holds NaN or infinity: drop or fill it."
                )
    return NAN_HINT


class _Snapshot:
    """A copy of all weights, taken at the start of epochs as often as it costs next to nothing.

    A step whose loss is not finite changes nothing, so the weights after it are those from before it. Only if the step
    before had a finite loss and yet wrote NaN (its gradient overflowed) is the copy needed.
    """

    def __init__(self, model: Any, compiled: Compiled):
        self.weights = [v for v in model.weights if v.dtype.is_float]
        self.everything = [*model.variables, *compiled.optimizer.variables]
        self.values: list[tuple[Variable, np.ndarray]] = []
        self.taken, self.cost = -math.inf, 0.0

    def take(self) -> None:
        """Copy, if the last copy is long enough ago and the weights are finite."""
        start = time.perf_counter()
        if (start - self.taken) * SNAPSHOT_SHARE < self.cost:
            return
        if self.values and not self.finite():
            return
        self.values = [(v, v.numpy()) for v in self.everything]
        self.taken = time.perf_counter()
        self.cost = self.taken - start

    def finite(self) -> bool:
        """Whether all weights are."""
        return all(np.isfinite(v.numpy()).all() for v in self.weights)

    def restore(self) -> str:
        """Make sure the weights are finite; what was done about it, as a sentence."""
        if self.finite():
            return "The model keeps the weights from before that step."
        for variable, value in self.values:
            variable.assign(value)
        return "The step before had overflowed, so the model has the weights of the start of an epoch again."


def train_on_batch(model: Any, x: Any, y: Any, sample_weight: Any, class_weight: Any, return_dict: bool) -> Any:
    """One step; see :meth:`ranvier.Model.train_on_batch`."""
    compiled = model._compiled("train_on_batch")
    with alone(model, "train_on_batch"):
        with all_or_nothing(model):
            data = prepare("train_on_batch", model, compiled, x, y, sample_weight, class_weight)
            _ready(model, compiled)
        engine = model._keeper.engine
        engine.training.reset()
        segment = engine.segments(compiled, data.rows, data.rows, training=True)[0]
        segment.bind(data.x, data.y, np.arange(data.rows), data.weights)
        with Interrupts() as interrupts:
            bad = segment.run(1)
        segment.release()
        if interrupts.seen:
            raise KeyboardInterrupt
        if bad >= 0:
            raise NonFiniteError(f"train_on_batch: the loss is NaN or infinite; nothing was changed. {NAN_HINT}")
        return evaluation.returned(compiled.results(), return_dict)


def explain(model: Any, x: Any, y: Any, batch_size: Any) -> str:
    """The plan of a training step; see :meth:`ranvier.Model.explain`."""
    compiled = model._compiled("explain")
    size = checked_count("explain", "batch_size", batch_size)
    with alone(model, "explain"), all_or_nothing(model):
        data = prepare("explain", model, compiled, x, y, None)
        _ready(model, compiled)
        size = min(size, data.rows)
        segment = model._keeper.engine.segments(compiled, data.rows, size, training=True)[0]
        return segment.step.explain(data.x, data.y, batch_order(data.rows, size, shuffle=False), data.weights)
