"""Everything that is checked before training, evaluation or prediction starts: data, model and loss fitted together."""

from __future__ import annotations

from typing import Any

import numpy as np

from ranvier.dtypes import DType
from ranvier.errors import ArgumentError, DataError, ShapeError, describe
from ranvier.models import data_adapter as adapter
from ranvier.models.building import output_of
from ranvier.models.compiled import Compiled
from ranvier.models.data_adapter import Data
from ranvier.models.sequences import fits, open_shape
from ranvier.tree import flatten

__all__ = ["inputs", "last_layer", "prepare", "triple"]


def last_layer(model: Any) -> str:
    """How errors call the layer that the output comes from."""
    layer, _ = model._output_layer()
    return f"the last layer {layer.name!r}" if layer is not None else f"the model {model.name!r}"


def triple(who: str, data: Any) -> tuple[Any, Any, Any]:
    """(x, y, sample_weight or None) from what ``validation_data`` may be."""
    if not isinstance(data, list | tuple) or len(data) not in (2, 3):
        raise ArgumentError(
            f"{who}: expected validation_data to be (x, y) or (x, y, sample_weight), got {describe(data)}."
        )
    return (*data, None) if len(data) == 2 else tuple(data)


def inputs(who: str, model: Any, x: Any) -> np.ndarray:
    """Samples as the model takes them; builds the model if it is not yet built, and refuses samples that do not fit."""
    model._check_initialised()
    array = adapter.as_inputs(who, x, _model_dtype(model), model._keeps_integers())
    if not model.layers and not model.built and type(model).__name__ == "Sequential":
        raise ArgumentError(f"{who}: the model {model.name!r} has no layers. Add some, for example rv.layers.Dense(1).")
    fit_to_input(who, model, array)
    first = model._first_layer()
    if hasattr(first, "check_data"):
        first.check_data(who, array)
    return array


def _model_dtype(model: Any) -> DType:
    return model.dtype


def fit_to_input(who: str, model: Any, array: np.ndarray) -> None:
    """Build the model for this input, or check that the input is what it was built for."""
    from ranvier.models.model import _input_dtype

    shape = (None, *array.shape[1:])
    keeper = model._keeper
    if model.built and keeper.output is not None:
        known = model.built_shape
        if not fits(known, shape) and not (fits(open_shape(model), shape) and _takes(model, shape)):
            _refuse(who, model, array, known)
        if shape[1:] != tuple(keeper.output_for or known)[1:]:  # sequences of another length than the last ones
            keeper.output, keeper.output_for = (
                output_of(model._forward, shape, keeper.input_dtype or model.compute_dtype),
                shape,
            )
        return
    keeper.input_dtype = _input_dtype(model, array.dtype)
    if not model.built:
        model.build(shape)
    if keeper.output is None:  # a model with a build of its own
        keeper.output = output_of(model._forward, shape, keeper.input_dtype)
    keeper.output_for = shape


def _takes(model: Any, shape: Any) -> bool:
    """Whether all layers take samples of this shape, which is not the one they were built for."""
    try:
        output_of(model._forward, shape, model._keeper.input_dtype or model.compute_dtype)
    except ShapeError:
        return False
    return True


def _refuse(who: str, model: Any, array: np.ndarray, known: Any) -> None:
    """Say that samples have another shape than the model was built for."""
    first = next((layer for layer in model.layers if layer.input_spec is not None), None)
    owner = f" (layer {first.name!r})" if first is not None else ""
    hints = {0: "Check the number of columns.", 1: "The first axis is the batch: use x[None] for one sample."}
    hint = hints.get(len(known) - array.ndim, "Check the axes.")
    if (*array.shape[1:], 1) == tuple(known[1:]):
        hint = "An axis for the one channel is missing: use x[..., None]."
    elif array.ndim > 3 and (*array.shape[2:], array.shape[1]) == tuple(known[1:]):
        hint = "Channels are the last axis: use np.moveaxis(x, 1, -1)."
    raise ShapeError(
        f"{who}: the model {model.name!r}{owner} takes samples of shape {tuple(known[1:])}, got x of shape "
        f"{array.shape}: "
        f"samples of shape {array.shape[1:]}. {hint}"
    )


def prepare(
    who: str,
    model: Any,
    compiled: Compiled,
    x: Any,
    y: Any,
    sample_weight: Any,
    class_weight: Any = None,
    check: str = "ignore",
) -> Data:
    """Samples, targets and weights, checked against one another, the model and the loss."""
    if y is None:
        raise ArgumentError(f"{who}: expected y, the targets, got None. Give one row of targets for each sample.")
    array = inputs(who, model, x)
    adapter.check_finite(who, "x", array, check, x)
    shape = model.output_shape
    if shape is None:
        if not flatten(model._keeper.output)[0]:
            raise ArgumentError(f"{who}: the model {model.name!r} gives no output. Return a tensor from its call().")
        raise ArgumentError(
            f"{who}: the model {model.name!r} has several outputs; fit and evaluate take models with one."
        )
    targets = _targets(who, model, compiled, y, len(array))
    adapter.check_finite(who, "y", targets, check, y)
    compiled.resolve(targets.shape, shape)
    if compiled.kind == "free":
        _look_at_loss(compiled, targets, shape, model)
    weights = adapter.as_weights(who, sample_weight, len(array))
    if class_weight is not None:
        classes = shape[-1] if compiled.kind in ("sparse", "categorical") else 2 if compiled.kind == "binary" else None
        factors = adapter.class_weights(who, class_weight, targets, classes)
        weights = factors if weights is None else weights * factors
    return Data(array, targets, weights)


def _targets(who: str, model: Any, compiled: Compiled, y: Any, rows: int) -> np.ndarray:
    length = len(y) if hasattr(y, "__len__") and not isinstance(y, dict) else None
    if length is not None and length != rows:
        several = isinstance(y, list | tuple) and all(getattr(part, "shape", ())[:1] == (rows,) for part in y)
        hint = " A list of arrays is not taken for several outputs: give one array." if several and y else ""
        raise DataError(
            f"{who}: x has {rows} samples but y has {length}. They must have one row for each sample: check how they "
            f"were split or loaded.{hint}"
        )
    return adapter.as_targets(who, y, compiled.kind, model.output_shape, last_layer(model), model.dtype)


def _look_at_loss(compiled: Compiled, targets: np.ndarray, shape: Any, model: Any) -> None:
    """Find out, on symbols, whether a loss of the user's own averages over the batch itself."""
    from ranvier.models.building import OPEN
    from ranvier.tensor import Tensor, as_tensor

    dtype = model._keeper.output[1]
    few = np.zeros((OPEN, *targets.shape[1:]), targets.dtype)

    def call(pred: Tensor) -> Any:
        return as_tensor(compiled.loss.call(as_tensor(few), pred))

    found = output_of(call, shape, dtype)
    compiled.scalar_loss = isinstance(found, tuple) and found[0] == ()
