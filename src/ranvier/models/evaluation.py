"""Using a model without changing it: loss and metrics on data, and predictions."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ranvier.callbacks import CallbackList
from ranvier.jit import jit
from ranvier.models.building import all_or_nothing
from ranvier.models.compiled import Compiled
from ranvier.models.data_adapter import Data, checked_count
from ranvier.models.engine import resident
from ranvier.models.preparing import inputs, prepare
from ranvier.models.progress import checked_verbose, line
from ranvier.models.running import Interrupts, chunks
from ranvier.models.sequences import check_batches, states_batch
from ranvier.ops.table import no_grad
from ranvier.tensor import Tensor
from ranvier.tree import flatten, unflatten

__all__ = ["evaluate", "predict", "returned", "run", "test_on_batch"]

# Predictions are made in batches of these sizes, so that few versions are compiled however many rows come.
SIZES = (1, 32, 256)


def returned(results: dict[str, Any], as_dict: bool) -> Any:
    """Results as Keras returns them: one number, a list, or a dictionary."""
    if as_dict:
        return results
    values = list(results.values())
    return values[0] if len(values) == 1 else values


def run(
    model: Any, compiled: Compiled, data: Data, size: int, stop: Callable[[], bool] | None = None
) -> dict[str, Any] | None:
    """Loss and metrics of the data; None if ``stop`` said so half-way."""
    engine = model._keeper.engine
    engine.testing.reset()
    compiled.reset()
    for segment in engine.segments(compiled, data.rows, min(size, data.rows), training=False):
        try:
            for _ in chunks(segment, (data.x, data.y, data.weights)):
                if stop is not None and stop():
                    return None
        finally:
            segment.release()
    return compiled.results()


def evaluate(
    model: Any, x: Any, y: Any, batch_size: Any, verbose: Any, sample_weight: Any, callbacks: Any, return_dict: bool
) -> Any:
    """Loss and metrics; see :meth:`ranvier.Model.evaluate`."""
    compiled = model._compiled("evaluate")
    size = checked_count("evaluate", "batch_size", 32 if batch_size is None else batch_size)
    shown = checked_verbose("evaluate", verbose)
    with all_or_nothing(model):
        data = prepare("evaluate", model, compiled, x, y, sample_weight)
        listeners = CallbackList(callbacks, model, samples=data.rows, batch_size=size, verbose=shown)
    listeners.call("on_test_begin", {})
    start = time.perf_counter()
    with Interrupts() as interrupts:
        results = run(model, compiled, data, size, lambda: interrupts.seen)
    if results is None:
        raise KeyboardInterrupt
    if shown:
        line(f"{data.rows} samples", time.perf_counter() - start, data.rows, results)
    listeners.call("on_test_end", results)
    return returned(results, return_dict)


def test_on_batch(model: Any, x: Any, y: Any, sample_weight: Any, return_dict: bool) -> Any:
    """Loss and metrics of one batch; see :meth:`ranvier.Model.test_on_batch`."""
    compiled = model._compiled("test_on_batch")
    with all_or_nothing(model):
        data = prepare("test_on_batch", model, compiled, x, y, sample_weight)
    engine = model._keeper.engine
    engine.testing.reset()
    segment = engine.segments(compiled, data.rows, data.rows, training=False)[0]
    segment.bind(data.x, data.y, data.weights)
    segment.run(1)
    segment.release()
    return returned(compiled.results(), return_dict)


# -- prediction ---------------------------------------------------------------------------------------------------


def predict(model: Any, x: Any, batch_size: Any, verbose: Any, callbacks: Any) -> Any:
    """The model's output; see :meth:`ranvier.Model.predict`."""
    sizes: tuple[int, ...] = SIZES
    if batch_size is not None:
        limit = checked_count("predict", "batch_size", batch_size)
        sizes = (*(n for n in SIZES if n < limit), limit)
    shown = checked_verbose("predict", 0 if verbose == "auto" else verbose)
    with all_or_nothing(model):
        array = inputs("predict", model, x)
        stateful = states_batch(model)
        if stateful is not None:
            sizes = (min(batch_size or stateful[1] or 32, max(len(array), 1)),)
            check_batches("predict", model, len(array), sizes[0])
        listeners = CallbackList(callbacks, model, samples=len(array), verbose=shown)
    listeners.call("on_predict_begin", {})
    start = time.perf_counter()
    out = _forward(model, array, sizes)
    if shown:
        line(f"{len(array)} samples", time.perf_counter() - start, len(array), {})
    listeners.call("on_predict_end", {})
    if type(x) is np.ndarray and x.shape == array.shape and len(x) in sizes and stateful is None:
        _remember(model, x)
    return out


def _compiled_forward(model: Any) -> Any:
    engine = model._keeper.engine
    if engine.forward_step is None:

        def forward(x: Tensor) -> Any:
            with no_grad():
                return model(x, training=False)

        engine.forward_step = jit(forward)
    return engine.forward_step


def _forward(model: Any, array: np.ndarray, sizes: tuple[int, ...]) -> Any:
    """Outputs for all rows, batch by batch; the last batch is filled up to a size that is compiled anyway."""
    step, rows, largest = _compiled_forward(model), len(array), sizes[-1]
    parts: list[list[np.ndarray]] = []
    structure: Any = None
    for start in range(0, rows, largest):
        batch = array[start : start + largest]
        count = len(batch)
        size = next(n for n in sizes if n >= count)
        if size > count:
            batch = np.concatenate([batch, np.broadcast_to(batch[:1], (size - count, *batch.shape[1:]))])
        leaves, structure = flatten(step(resident(batch)))
        parts.append([np.asarray(t)[:count] for t in leaves])
    whole = [p[0] if len(p) == 1 else np.concatenate(p) for p in zip(*parts, strict=True)]
    return unflatten(structure, [np.array(a) if not a.flags.writeable else a for a in whole])


def _remember(model: Any, x: np.ndarray) -> None:
    """Keep the shortest way from an array of this shape and dtype to its prediction, for the next call."""
    engine = model._keeper.engine
    dtype = model.dtype.numpy
    if model._keeps_integers() and x.dtype.kind != "f":
        return
    found, _ = engine.forward_step.specialise(resident(np.ascontiguousarray(x, dtype)))
    if len(found.results) != 1 or not isinstance(unflatten(found.structure, found.results), tuple):
        return  # several outputs go the long way
    if found.graph.guards:
        return  # and so do functions that must be asked what they have seen
    if len(engine.forward) > 64:
        engine.forward.clear()
    engine.forward[x.shape, x.dtype] = functools.partial(
        _direct if x.dtype == dtype else _converted, found.executor.run, dtype
    )


def _direct(run_native: Any, dtype: Any, x: np.ndarray) -> np.ndarray:
    return run_native((x,), 1)[0]


def _converted(run_native: Any, dtype: Any, x: np.ndarray) -> np.ndarray:
    return run_native((x.astype(dtype),), 1)[0]
