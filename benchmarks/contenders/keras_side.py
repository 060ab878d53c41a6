"""Keras's side on its JAX backend (the parent sets ``KERAS_BACKEND=jax``): compiled, several steps an execution."""

from __future__ import annotations

from typing import Any

import keras

from benchmarks.contenders import keras_like


class Train(keras_like.TrainByFit):
    """``model.fit``."""

    def __init__(self, spec: dict[str, Any], data: str, steps_per_execution: int = 8):
        super().__init__(keras, spec, data, steps_per_execution=steps_per_execution, jit_compile=True)


class FirstStep(keras_like.FirstStep):
    """From nothing to the end of the first ``train_on_batch``."""

    def __init__(self, spec: dict[str, Any], data: str):
        super().__init__(keras, spec, data, jit_compile=True)


class PredictOne(keras_like.PredictByModel):
    """``model.predict(row)`` or ``model(row)``."""

    def __init__(self, spec: dict[str, Any], data: str, how: str):
        super().__init__(keras, spec, data, how)
