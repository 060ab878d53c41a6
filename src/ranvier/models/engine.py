"""The compiled functions of a model: the training step, the evaluation step, the forward pass.

A step runs on *resident* data: it is given all samples, all targets and the order of rows, and takes its own batch by
position, so that one native call can run any number of steps. The last batch of an epoch is filled up with row 0,
which gets weight 0; so one compiled step does a whole epoch. Losses that average by themselves, and layers that mix
the samples of a batch, cannot leave rows out: for them the rows that are left make a batch of their own size.

A step whose loss is not finite changes nothing: every variable keeps its old value, and the step's number is kept in
the clock. That costs one select per updated number and makes the weights from before the bad step exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.autodiff import value_and_grad
from ranvier.compiler.guard import report
from ranvier.errors import ArgumentError
from ranvier.jit import Jitted, jit
from ranvier.layers.masks import mask_of
from ranvier.losses.base import fitted_weights, weighted_sum, wide
from ranvier.models.compiled import Clock, Compiled
from ranvier.models.sequences import check_batches
from ranvier.ops import elementwise as e
from ranvier.ops import reduce as r
from ranvier.ops.index import take_op
from ranvier.ops.table import apply, no_grad, scope, state
from ranvier.tensor import Tensor, as_tensor

__all__ = ["Batch", "Engine", "Segment"]


class Batch:
    """How one step finds its rows.

    Args:
        rows: rows in all.
        size: rows of a batch.
        padded: the last batch may be filled up with rows that do not count.
        first: the place of the only batch this step does; None for batch after batch.
    """

    def __init__(self, rows: int, size: int, padded: bool = False, first: int | None = None):
        self.rows, self.size, self.padded, self.first = rows, size, padded, first

    def places(self, position: Tensor) -> Tensor:
        """The places of this batch in the order of rows."""
        if self.first is not None:
            return Tensor._wrap(np.arange(self.first, self.first + self.size, dtype=np.int64), dtypes.int64)
        return Tensor._wrap(np.arange(self.size, dtype=np.int64), dtypes.int64) + position * self.size

    def real(self, position: Tensor) -> Any:
        """How many rows of this batch are real, as a float (a tensor where the last batch is filled up)."""
        if not self.padded:
            return float(self.size)
        return e.astype(e.minimum(self.rows - position * self.size, self.size), dtypes.float32)

    def mask(self, places: Tensor) -> Tensor | None:
        """1 for real rows and 0 for the others, or None where all are real."""
        return e.astype(places < self.rows, dtypes.float32) if self.padded else None


def resident(array: np.ndarray) -> Tensor:
    """An array as a tensor that shares its memory, although it may be changed: the order of rows is, every epoch."""
    return Tensor._wrap(array, dtypes.FROM_NUMPY[array.dtype])


def rows_of(x: Tensor, index: Tensor) -> Tensor:
    """Rows of resident data. The index is known to be in range, so nothing is traced to make sure."""
    return apply(take_op, (x, index), {"axis": 0})


def product(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """``a * b``, where None is 1."""
    return b if a is None else a if b is None else a * b


def batch_loss(
    loss: Any, y: Tensor, pred: Tensor, weights: Tensor | None, real: Any, mask: Tensor | None = None
) -> Tensor:
    """The loss of a batch as Keras counts it: the sum of weighted losses divided by the number of (real) samples.

    If the output is a sequence with a mask, divided by the number of its time steps that are not masked.
    """
    values, steps = as_tensor(loss.call(y, pred)), mask_of(pred)
    if values.ndim == 0:
        if weights is not None:
            raise ArgumentError(
                f"loss {loss.name!r}: returns one number for the whole batch, so samples cannot be weighted. Return "
                "one "
                "number for each sample: average over the last axis only."
            )
        return values
    w = None if weights is None else fitted_weights(loss.name, weights, values.shape, values)
    if steps is None:
        total = weighted_sum(values, w)
        return total if loss.reduction == "sum" else total / (real * math.prod(values.shape[1:]))
    kept = fitted_weights(f"{loss.name}, mask of the output", steps, values.shape, values)
    total = weighted_sum(values, product(w, kept))
    if loss.reduction == "sum":
        return total
    if mask is not None:  # rows that fill up the batch do not count
        kept = kept * fitted_weights(loss.name, mask, values.shape, values)
    return total / e.maximum(r.sum(kept), 1)


def hold_back(ok: Tensor) -> None:
    """Every variable written so far in this trace keeps its old value unless ``ok``, but for what guards have seen."""
    trace = state.trace
    seen = {id(v) for guard in trace.guards.values() for v in guard.seen}
    for variable in [v for v in trace.written if id(v) not in seen]:
        new, old = trace.current[id(variable)], trace.entry[id(variable)]
        variable.assign(e.where(ok, new, old))


class Segment:
    """A compiled step and how often an epoch runs it.

    Attributes:
        step: the compiled function.
        steps: how often.
        seconds: measured time of one step, 0 before any.
        ramp: how many steps one call may do at most for now.
        warm: the first call, which compiles, has been made.
    """

    def __init__(self, step: Jitted, steps: int):
        self.step, self.steps, self.seconds, self.ramp, self.warm = step, steps, 0.0, 8, False
        self._args: tuple[Any, ...] = ()
        self._bound: Any = None

    def bind(self, *args: Any) -> None:
        """Set the arguments of the runs to come; they may be changed in place, but keep shape and dtype.

        Args:
            *args: arrays, or None.
        """
        if len(args) != len(self._args) or any(a is not b for a, b in zip(args, self._args, strict=True)):
            found, arrays = self.step.specialise(*(None if a is None else resident(a) for a in args))
            self._args, self._bound = args, (found, arrays)

    def run(self, count: int) -> int:
        """Run the step some times in one native call; its last result as an integer.

        Args:
            count: how often.
        """
        found, arrays = self._bound
        out = found.executor.run(arrays, count)
        report(found.graph.guards)
        return int(out[0])

    def release(self) -> None:
        """Let go of the arguments, which are somebody's data."""
        self._args, self._bound = (), None


class Engine:
    """Compiled functions of one model, made when they are first needed.

    Args:
        model: the model.
    """

    def __init__(self, model: Any):
        self.model = model
        self.training, self.testing = Clock(), Clock()
        self._segments: dict[Any, list[Segment]] = {}
        self.forward: dict[Any, Any] = {}  # see evaluation.predict
        self.forward_step: Jitted | None = None

    def forget(self) -> None:
        """Throw compiled functions away, because the model has changed."""
        self._segments.clear()
        self.forward.clear()
        self.forward_step = None

    def segments(self, compiled: Compiled, rows: int, size: int, training: bool) -> list[Segment]:
        """The steps that make an epoch."""
        model = self.model
        flags: tuple[Any, ...] = ()
        if training:  # batch normalisation asks whether it is frozen, also where it has no weights to train
            flags = (*((id(v), v.trainable) for v in model.weights), *(layer.trainable for layer in model._tree()))
        key = (training, id(compiled), compiled._shapes, rows, size, flags)
        found = self._segments.get(key)
        if found is None:
            check_batches("fit" if training else "evaluate", model, rows, size)
            make = self._train_step if training else self._test_step
            exact = compiled.scalar_loss or any(getattr(layer, "mixes_samples", False) for layer in model._tree())
            whole, left = divmod(rows, size)
            if left and exact:
                plans = [(Batch(rows, size), whole), (Batch(rows, left, first=whole * size), 1)]
            else:
                plans = [(Batch(rows, size, padded=left > 0), whole + (left > 0))]
            found = [Segment(jit(make(compiled, batch)), steps) for batch, steps in plans if steps]
            if len(self._segments) >= 16:  # other sizes of data, one after another: keep the latest
                self._segments.pop(next(iter(self._segments)))
            self._segments[key] = found
        return found

    def _train_step(self, compiled: Compiled, batch: Batch) -> Callable[..., Any]:
        model, clock, optimizer = self.model, self.training, compiled.optimizer

        def train_step(x: Tensor, y: Tensor, order: Tensor, weights: Tensor | None) -> Tensor:
            # Compiled code does not check indices: the order must reach as far as the batches do.
            assert len(order) == -(-batch.rows // batch.size) * batch.size or batch.first is not None
            position, bad = clock.position.value, clock.bad.value
            with scope("batch"):
                places = batch.places(position)
                real, mask = batch.real(position), batch.mask(places)
                index = rows_of(order, places)
                xb, yb = rows_of(x, index), rows_of(y, index)
                own = None if weights is None else rows_of(weights, index)
            variables = model.trainable_weights

            def loss_of() -> tuple[Tensor, Tensor]:
                pred = wide(model(xb, training=True))
                with scope("loss"):
                    loss = batch_loss(compiled.loss, yb, pred, product(own, mask), real, mask)
                    for penalty in model.losses:
                        loss = loss + penalty
                return loss, pred

            (loss, pred), grads = value_and_grad(loss_of, wrt=variables, has_aux=True)()
            with scope("optimizer"):
                optimizer.apply(grads, variables)
            with no_grad(), scope("metrics"):
                _update(compiled, loss, yb, pred, mask, product(own, mask), real)
            with no_grad(), scope("guard"):
                finite = e.isfinite(loss)
                for guard in state.trace.guards.values():
                    finite = e.logical_and(finite, guard.fine())
                fine = bad < 0
                hold_back(e.logical_and(finite, fine))
                now = e.where(e.logical_and(fine, e.logical_not(finite)), position, bad)
                clock.bad.assign(now)
                clock.position.assign(position + 1)
            return now

        return train_step

    def _test_step(self, compiled: Compiled, batch: Batch) -> Callable[..., Any]:
        model, clock = self.model, self.testing

        def test_step(x: Tensor, y: Tensor, weights: Tensor | None) -> Tensor:
            position = clock.position.value
            with no_grad():
                with scope("batch"):
                    places = batch.places(position)
                    real, mask = batch.real(position), batch.mask(places)
                    index = e.minimum(places, batch.rows - 1) if batch.padded else places
                    xb, yb = rows_of(x, index), rows_of(y, index)
                    own = None if weights is None else rows_of(weights, index)
                pred = wide(model(xb, training=False))
                with scope("loss"):
                    loss = batch_loss(compiled.loss, yb, pred, product(own, mask), real, mask)
                    for penalty in model.losses:
                        loss = loss + penalty
                with scope("metrics"):
                    _update(compiled, loss, yb, pred, mask, product(own, mask), real)
                clock.position.assign(position + 1)
            return position

        return test_step


def _update(
    compiled: Compiled, loss: Tensor, y: Tensor, pred: Tensor, mask: Tensor | None, weights: Tensor | None, real: Any
) -> None:
    """Loss and metrics of a batch enter the epoch's."""
    compiled.loss_tracker.update_state(loss, sample_weight=real)
    for metric in compiled.metrics:
        metric.update_state(y, pred, sample_weight=mask)
    for metric in compiled.weighted:
        metric.update_state(y, pred, sample_weight=weights)
