"""The summary of a model: its layers, the shapes of their outputs, and their numbers of weights."""

from __future__ import annotations

from typing import Any

from ranvier.errors import UserError

__all__ = ["summary_text"]


def summary_text(model: Any) -> str:
    """The summary as text.

    Layers are counted as in the literature, where the input layer, which only passes numbers on, does not count.

    Args:
        model: the model, built or not.
    """
    rows = [
        (f"{layer.name} ({type(layer).__name__})", *_facts(model, i, layer)) for i, layer in enumerate(model.layers)
    ]
    shape = model.built_shape
    if shape is None and getattr(model, "_input", None) is not None:
        shape = model._input.batch_shape
    head = [("input", _shape(shape), "")]
    table = [("layer", "output shape", "weights"), *head, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(3)]
    rule = "-" * (sum(widths) + 4)
    lines = [f'Model "{model.name}" ({type(model).__name__})', rule]
    for number, (name, out, weights) in enumerate(table):
        lines.append(f"{name:<{widths[0]}}  {out:<{widths[1]}}  {weights:>{widths[2]}}".rstrip())
        if number == 0:
            lines.append(rule)
    return "\n".join([*lines, rule, *_totals(model)])


def _shape(shape: Any) -> str:
    return "?" if shape is None else str(tuple(shape))


def _facts(model: Any, index: int, layer: Any) -> tuple[str, str]:
    """Output shape and number of weights of a layer, "?" where they are not known yet."""
    outputs = getattr(model, "_outputs", None)
    if outputs is not None:
        shape = outputs[index][0] if index < len(outputs) else None
    else:
        shape = _guessed(layer)
    return _shape(shape), f"{layer.count_params():,}" if layer.built else "?"


def _guessed(layer: Any) -> Any:
    """The output shape of a layer of a model of one's own, from the layer itself."""
    try:
        return layer.compute_output_shape(layer.built_shape) if layer.built and layer.built_shape is not None else None
    except (UserError, TypeError, IndexError):
        return None


def _totals(model: Any) -> list[str]:
    count = len(model.layers)
    lines = []
    if model.built and all(layer.built for layer in model.layers):
        weighted = sum(bool(layer.weights) for layer in model.layers)
        lines.append(f"{count} layer{'s' * (count != 1)}, {weighted} with weights (the input layer does not count)")
        total = sum(v.size for v in model.weights)
        learned = sum(v.size for v in model.trainable_weights)
        memory = sum(v.size * v.dtype.itemsize for v in model.weights)
        lines.append(f"{total:,} weights ({_bytes(memory)}): {learned:,} trainable, {total - learned:,} not")
    else:
        lines.append(f"{count} layer{'s' * (count != 1)} (the input layer does not count)")
        lines.append("not built yet: start with rv.Input(shape), or call the model on data, to see shapes and weights")
    return lines


def _bytes(n: int) -> str:
    return f"{n:,} B" if n < 10_000 else f"{n / 1024:,.1f} KiB" if n < 10_000_000 else f"{n / 2**20:,.1f} MiB"
