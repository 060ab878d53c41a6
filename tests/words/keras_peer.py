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


def called(layer: Any, x: Any, options: dict[str, Any]) -> Any:
    """The layer called on an array, on a list of them, or (a tuple) on several arguments."""
    return layer(*x, **options) if isinstance(x, tuple) else layer(x, **options)


def parts(x: Any) -> list[Any]:
    """The arrays that a layer is called on."""
    return list(x) if isinstance(x, list | tuple) else [x]


def rebuilt(x: Any, leaves: Sequence[Any]) -> Any:
    """Other arrays in the form of ``x``."""
    return type(x)(leaves) if isinstance(x, list | tuple) else leaves[0]


def keras_gradients(layer: Any, x: Any, cotangent: Any, **options: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    """Output of a Keras layer, and the gradients of ``sum(output * cotangent)`` by inputs and trainable weights."""
    called(layer, x, options)  # builds it
    floats = [p.dtype.kind == "f" for p in parts(x)]
    if keras.backend.backend() == "torch":
        import torch

        sources = [torch.tensor(p, requires_grad=f) for p, f in zip(parts(x), floats, strict=True)]
        y = called(layer, rebuilt(x, sources), options)
        wanted = [s for s, f in zip(sources, floats, strict=True) if f]
        wanted += [v.value for v in layer.trainable_variables]
        found = torch.autograd.grad(y, wanted, torch.tensor(cotangent(array(y)))) if wanted else ()
        return array(y), [array(g) for g in found]
    import jax

    def call(sources: Any, weights: Any) -> Any:
        rest = iter(sources)
        leaves = [next(rest) if f else p for p, f in zip(parts(x), floats, strict=True)]
        inputs = rebuilt(x, leaves)
        state = [v.value for v in layer.non_trainable_variables]
        return layer.stateless_call(weights, state, *(inputs if isinstance(x, tuple) else [inputs]), **options)[0]

    sources = [p for p, f in zip(parts(x), floats, strict=True) if f]
    y, back = jax.vjp(call, sources, [v.value for v in layer.trainable_variables])
    given, weights = back(cotangent(np.asarray(y)))
    return np.asarray(y), [*map(np.asarray, given), *map(np.asarray, weights)]


def own_gradients(layer: Any, x: Any, cotangent: Any, **options: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    """The same of a layer of ours."""
    y = called(layer, x, options).numpy()
    leaves = [rv.Variable(p) if p.dtype.kind == "f" else p for p in parts(x)]
    sources = [s for s in leaves if isinstance(s, rv.Variable)]

    def loss() -> Any:
        values = [s.value if isinstance(s, rv.Variable) else s for s in leaves]
        return rv.sum(called(layer, rebuilt(x, values), options) * cotangent(y))

    wanted = [*sources, *layer.trainable_weights]
    return y, [np.asarray(g) for g in rv.value_and_grad(loss, wrt=wanted)()[1]] if wanted else []


def compare(
    ours: Any,
    theirs: Any,
    x: Any,
    rng: np.random.Generator,
    tolerances: Sequence[float] | float,
    *,
    least: float = 0.0,
    **options: Any,
) -> None:
    """Output and gradients of two layers, ours with the weights of Keras.

    The greatest difference may be ``tolerance`` times the greatest number: one tolerance for all, or one each for
    output, input gradients and weight gradients (the last one standing for those that follow). The input is an array,
    a list of arrays, or a tuple: arguments one after another. ``least`` is what the greatest number is taken for if it
    is smaller: a gradient that is 0 by the mathematics is rounding on both sides.
    """
    called(theirs, x, options)
    called(ours, x, options)
    assert [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]
    ours.set_weights(theirs.get_weights())
    factors: dict[tuple[int, ...], np.ndarray] = {}

    def cotangent(y: np.ndarray) -> np.ndarray:
        return factors.setdefault(y.shape, rng.normal(size=y.shape).astype(np.float32))

    y, gradients = own_gradients(ours, x, cotangent, **options)
    expected, wanted = keras_gradients(theirs, x, cotangent, **options)
    bounds = [tolerances] * (len(wanted) + 1) if isinstance(tolerances, float) else list(tolerances)
    bounds += [bounds[-1]] * (len(wanted) + 1 - len(bounds))
    inputs = [f"gradient of input {i}" for i, p in enumerate(parts(x)) if p.dtype.kind == "f"]
    names = ["output", *inputs, *(f"gradient of {v.path}" for v in theirs.trainable_variables)]
    for name, got, want, bound in zip(names, [y, *gradients], [expected, *wanted], bounds, strict=True):
        assert got.shape == want.shape, (name, got.shape, want.shape)
        worst = float(np.abs(got - want).max(initial=0))
        size = max(float(np.abs(want).max(initial=0)), least)
        assert worst <= bound * size, (name, worst, size)
