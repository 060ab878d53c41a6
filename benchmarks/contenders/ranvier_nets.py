"""Ranvier's side of the networks in ``nets.py``: the Keras program with another import, trained by ``fit``."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import ranvier as rv
from benchmarks import nets
from benchmarks.nets import Net, Part


def layers_of(parts: tuple[Part, ...], axes: int) -> list[Any]:
    """Layers for parts; ``axes`` is the number of spatial axes of their input."""
    return [layer(part, axes) for part in parts]


def layer(part: Part, axes: int) -> Any:
    made = rv.layers
    n, window, act = part.size, part.window, part.activation or None
    match part.kind:
        case "conv":
            options = {"strides": part.strides, "padding": "same", "activation": act, "use_bias": part.bias}
            return getattr(made, f"Conv{axes}D")(n, window, **options)
        case "deconv":
            return getattr(made, f"Conv{axes}DTranspose")(n, window, part.strides, padding="same", activation=act)
        case "dense":
            return made.Dense(n, act)
        case "lstm":
            return made.LSTM(n, return_sequences=bool(window))
        case "gru":
            return made.GRU(n, return_sequences=bool(window))
        case "embedding":
            return made.Embedding(window, n)
        case "batch_norm":
            return made.BatchNormalization(momentum=nets.NORM_MOMENTUM, epsilon=nets.NORM_EPSILON)
        case "layer_norm":
            return made.LayerNormalization(epsilon=nets.NORM_EPSILON)
        case "attention":
            return Causal(n, window) if act else made.MultiHeadAttention(n, window // n)
        case "dropout":
            return made.Dropout(part.rate)
        case "position":
            return Position(n)
        case "residual":
            shortcut = rv.Sequential(layers_of(part.shortcut, axes)) if part.shortcut else None
            return made.Residual(layers_of(part.inner, axes), shortcut)
        case "pool":
            return getattr(made, f"MaxPooling{axes}D")(window)
        case "average":
            return getattr(made, f"GlobalAveragePooling{axes}D")()
        case "flatten":
            return made.Flatten()
        case "relu":
            return made.ReLU()
    raise ValueError(part.kind)


class Causal(rv.layers.Layer):
    """Self-attention that does not see what comes later."""

    def __init__(self, heads: int, width: int, **common: Any):
        super().__init__(**common)
        self.attention = rv.layers.MultiHeadAttention(heads, width // heads)

    def call(self, inputs: Any) -> Any:
        return self.attention(inputs, use_causal_mask=True)


class Position(rv.layers.Layer):
    """Adds a learned row for each place."""

    def __init__(self, steps: int, **common: Any):
        super().__init__(**common)
        self.steps = steps

    def build(self, input_shape: Any) -> None:
        self.rows = self.add_weight("rows", (self.steps, input_shape[-1]), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        return inputs + self.rows


def losses_of(net: Net) -> Any:
    if net.loss in {"classes", "symbols"}:
        return rv.losses.SparseCategoricalCrossentropy(from_logits=True)
    return rv.losses.MeanSquaredError() if net.loss == "values" else rv.losses.BinaryCrossentropy(from_logits=True)


def model(net: Net, policy: str = "") -> Any:
    """The compiled network, with the common weights."""
    axes = len(net.input) - 1 if not net.symbols else 1
    made = rv.Sequential([rv.Input(net.input), *layers_of(net.parts, axes)])
    made.compile(rv.optimizers.Adam(nets.RATE, epsilon=nets.EPSILON), losses_of(net))
    made.set_weights(nets.weights(net))
    return made


def kernels(model: Any, x: np.ndarray, y: np.ndarray, batch: int) -> list[tuple[float, float]]:
    """FLOPs and bytes of each kernel of the training step that ``fit`` compiled, for its roofline."""
    from ranvier.compiler.plan import step_cost
    from ranvier.models.preparing import prepare

    compiled = model._compiled("benchmarks")
    prepared = prepare("benchmarks", model, compiled, x, y, None)
    segment = model._keeper.engine.segments(compiled, prepared.rows, batch, training=True)[0]
    arguments = (prepared.x, prepared.y, np.arange(len(x)), prepared.weights)
    made, _ = segment.step.specialise(*arguments)
    return [step_cost(s) for s in made.executor.plan.steps]


class Train:
    """Training by ``fit``; ``n`` is rounded up to whole epochs."""

    def __init__(self, net: str, policy: str = "", steps: int = 0):
        self.net = nets.NETS[net]
        self.x, self.y = nets.data(self.net, steps or None)
        self.policy = policy
        began = time.perf_counter()
        self.model = model(self.net, policy)
        self.run(1)
        self.info: dict[str, Any] = {"compile_s": time.perf_counter() - began}
        if not policy:
            self.info["kernels"] = kernels(self.model, self.x, self.y, self.net.batch)

    def run(self, n: int) -> tuple[float, int]:
        steps = len(self.x) // self.net.batch
        epochs = -(-n // steps)
        began = time.perf_counter()
        self.model.fit(self.x, self.y, batch_size=self.net.batch, epochs=epochs, verbose=0)
        return time.perf_counter() - began, epochs * steps

    def losses(self, steps: int) -> list[float]:
        """The loss of the first steps, rows in their order, from the common weights."""
        self.model, b = model(self.net, self.policy), self.net.batch
        found = []
        for i in range(steps):
            self.model.reset_metrics()  # else the loss is the mean over all steps so far
            rows = slice(i * b, (i + 1) * b)
            found.append(float(self.model.train_on_batch(self.x[rows], self.y[rows])))
        return found


class FirstStep(Train):
    """From nothing to the end of the first ``train_on_batch``."""

    def __init__(self, net: str):
        self.net = nets.NETS[net]
        self.x, self.y = nets.data(self.net)
        self.model, self.policy = model(self.net), ""
        self.model.train_on_batch(self.x[: self.net.batch], self.y[: self.net.batch])


class Predict:
    """A batch through ``model.predict``."""

    def __init__(self, net: str, batch: int):
        table = nets.NETS[net]
        self.model, self.x = model(table), nets.data(table, 1)[0][:batch]
        self.run(3)

    def run(self, n: int) -> tuple[float, int]:
        made, x = self.model, self.x
        began = time.perf_counter()
        for _ in range(n):
            made.predict(x, batch_size=len(x), verbose=0)
        return time.perf_counter() - began, n

    def outputs(self) -> list[list[float]]:
        return self.model.predict(self.x, verbose=0)[:4].astype(float).tolist()
