"""What parity tests compare with: Keras layers, their outputs and gradients, on whichever backend Keras runs.

One process can have one backend. `KERAS_BACKEND` chooses it, before Keras is first imported; here PyTorch, if nothing
else is set. Test files import `keras` from here, so that their order does not matter.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import ranvier as rv

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip(os.environ["KERAS_BACKEND"], reason="Keras needs its backend", exc_type=ImportError)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    keras = pytest.importorskip("keras", reason="parity with Keras needs keras", exc_type=ImportError)


def array(x: Any) -> np.ndarray:
    """A tensor of Keras, a tensor of ours, or anything else as a NumPy array."""
    return np.asarray(keras.ops.convert_to_numpy(x) if keras.ops.is_tensor(x) else x)


def keras_gradients(layer: Any, x: np.ndarray, cotangent: Any, **options: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    """Output of a Keras layer, and the gradients of ``sum(output * cotangent)`` by input and trainable weights."""
    layer(x, **options)  # builds it
    if keras.backend.backend() == "torch":
        import torch

        source = torch.tensor(x, requires_grad=True)
        y = layer(source, **options)
        wanted = [source, *(v.value for v in layer.trainable_variables)]
        return array(y), [array(g) for g in torch.autograd.grad(y, wanted, torch.tensor(cotangent(array(y))))]
    import jax

    def call(source: Any, weights: Any) -> Any:
        return layer.stateless_call(weights, [v.value for v in layer.non_trainable_variables], source, **options)[0]

    y, back = jax.vjp(call, x, [v.value for v in layer.trainable_variables])
    source, weights = back(cotangent(np.asarray(y)))
    return np.asarray(y), [np.asarray(source), *map(np.asarray, weights)]


def own_gradients(layer: Any, x: np.ndarray, cotangent: Any, **options: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    """The same of a layer of ours."""
    source = rv.Variable(x)
    y = layer(x, **options).numpy()
    loss = rv.value_and_grad(
        lambda: rv.sum(layer(source.value, **options) * cotangent(y)), wrt=[source, *layer.trainable_weights]
    )
    return y, [np.asarray(g) for g in loss()[1]]


def compare(
    ours: Any, theirs: Any, x: np.ndarray, rng: np.random.Generator, tolerances: Sequence[float] | float, **options: Any
) -> None:
    """Output and gradients of two layers, ours with the weights of Keras.

    The greatest difference may be ``tolerance`` times the greatest number: one tolerance for all, or one each for
    output, input gradient and weight gradients.
    """
    theirs(x, **options)
    ours(x, **options)
    assert [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]
    ours.set_weights(theirs.get_weights())
    factors: dict[tuple[int, ...], np.ndarray] = {}

    def cotangent(y: np.ndarray) -> np.ndarray:
        return factors.setdefault(y.shape, rng.normal(size=y.shape).astype(np.float32))

    y, gradients = own_gradients(ours, x, cotangent, **options)
    expected, wanted = keras_gradients(theirs, x, cotangent, **options)
    bounds = [tolerances] * (len(wanted) + 1) if isinstance(tolerances, float) else list(tolerances)
    bounds += [bounds[-1]] * (len(wanted) + 1 - len(bounds))
    names = ["output", "input gradient", *(f"gradient of {v.path}" for v in theirs.trainable_variables)]
    for name, got, want, bound in zip(names, [y, *gradients], [expected, *wanted], bounds, strict=True):
        assert got.shape == want.shape, (name, got.shape, want.shape)
        worst = float(np.abs(got - want).max(initial=0))
        assert worst <= bound * float(np.abs(want).max(initial=0)), (name, worst, float(np.abs(want).max(initial=0)))
