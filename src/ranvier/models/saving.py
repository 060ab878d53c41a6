"""Saving a model to one file, and loading it again.

The file is a safetensors file. Its tensors are the weights and the optimizer's state, under readable names; its
metadata has two entries: ``ranvier``, a JSON text, and ``crc32``, that text's checksum. The text says:

==============  ===================================================================================================
``format``      version of this description, 1
``version``     version of Ranvier that wrote it
``model``       the structure: class names and constructor arguments, as ``get_config`` gives them
``input``       shape and dtype of the input, or null if the model was never built
``weights``     names of the weights in the file, in the order of ``model.weights``
``compile``     optimizer, loss and metrics, or null
``optimizer``   names of the optimizer's state in the file, in its order
``checksums``   CRC-32 of each tensor's bytes: damage is noticed (it is no protection against intent)
==============  ===================================================================================================

Loading builds the structure from names in closed registries, makes its weights anew, and compares their shapes and
dtypes with what the file holds before it takes over a single number. Nothing is imported, evaluated or unpickled.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from ranvier import layers, losses, metrics
from ranvier.dtypes import as_dtype
from ranvier.errors import ArgumentError, FileFormatError, UserError, describe
from ranvier.models.data_adapter import warn
from ranvier.models.model import Model
from ranvier.models.weight_file import MAX_BYTES, parse_json, read_weights, write_weights
from ranvier.variable import Variable

__all__ = ["load_model", "save_model"]

FORMAT = 1
MAX_LAYERS = 10_000
KEYS = {"format", "version", "model", "input", "weights", "compile", "optimizer", "checksums"}


# -- saving -------------------------------------------------------------------------------------------------------


def save_model(model: Any, filepath: Any, overwrite: bool = True) -> None:
    """Write a model to a file; see :meth:`ranvier.Model.save`."""
    if not isinstance(filepath, str | os.PathLike) or not os.fspath(filepath).endswith(".safetensors"):
        raise ArgumentError(f"save: expected the path of a file that ends in .safetensors, got {describe(filepath)}.")
    path = os.fspath(filepath)
    if not overwrite and os.path.exists(path):
        raise ArgumentError(f"save: {path} exists already. Choose another name, or save with overwrite=True.")
    from ranvier.version import __version__

    weights = _named(model.weights, "")
    compiled, state = _compile_state(model)
    tensors = {k: _stored(v) for k, v in (weights | state).items()}
    keeper = model._keeper
    about = {
        "format": FORMAT,
        "version": __version__,
        "model": layers.serialize(model),
        "input": None if model.built_shape is None else {
            "shape": list(model.built_shape), "dtype": (keeper.input_dtype or model.dtype).name,
        },
        "weights": list(weights),
        "compile": compiled,
        "optimizer": list(state),
        "checksums": {k: _checksum(a) for k, a in tensors.items()},
    }  # fmt: skip
    text = json.dumps(about, allow_nan=False)
    write_weights(path, tensors, {"ranvier": text, "crc32": str(zlib.crc32(text.encode()))})


def _named(variables: Sequence[Variable], prefix: str) -> dict[str, Variable]:
    """Variables by their names, made unique."""
    found: dict[str, Variable] = {}
    for v in variables:
        name, number = prefix + v.name, 1
        while name in found:
            name, number = f"{prefix}{v.name}_{number}", number + 1
        found[name] = v
    return found


def _stored(v: Variable) -> np.ndarray:
    return v.numpy()  # bfloat16 comes, and is stored, as the float32 of equal value


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(np.require(array, requirements="C").reshape(-1).view(np.uint8).data)


def _compile_state(model: Any) -> tuple[dict[str, Any] | None, dict[str, Variable]]:
    compiled = model._keeper.compiled
    if compiled is None:
        return None, {}
    try:
        config = compiled.config()
        json.dumps(config, allow_nan=False)
    except (ArgumentError, TypeError, ValueError) as error:
        text = error.message if isinstance(error, ArgumentError) else str(error)
        warn(f"save: the file will not say how the model was compiled, so compile it again after loading. {text}")
        return None, {}
    state = compiled.optimizer.variables if compiled.optimizer.built else []
    return config, _named(state, "optimizer/")


# -- loading ------------------------------------------------------------------------------------------------------


def load_model(filepath: Any, compile: bool = True, max_bytes: int = MAX_BYTES) -> Any:
    """The model from a file that :meth:`ranvier.Model.save` wrote.

    Classes of your own must be registered (``@rv.layers.register``) before.

    Args:
        filepath: the file.
        compile: also compile it as it was, with the optimizer's state, so that training can go on.
        max_bytes: the largest file to read; 16 GiB by default.

    Returns:
        A new model.

    Raises:
        FileFormatError: the file cannot be opened, is damaged, is something else, or does not fit together.

    Example:
        >>> import os, tempfile
        >>> model = rv.Sequential([rv.Input((3,)), rv.layers.Dense(2)])
        >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
        >>> model.save(path)
        >>> bool((rv.load_model(path).get_weights()[0] == model.get_weights()[0]).all())
        True
    """
    tensors, metadata = read_weights(filepath, max_bytes)
    name = os.fsdecode(os.fspath(filepath))
    about = _about(name, metadata)
    _check_bytes(name, about, tensors)
    model = _structure(name, about)
    _fill(name, "weights", model.weights, about["weights"], tensors)
    if compile and about["compile"] is not None:
        _compile(name, model, about, tensors)
    return model


def _fail(name: str, expected: str, found: Any) -> NoReturn:
    raise FileFormatError(
        f"{name}: expected {expected}, found {found}. The file is damaged or was made by something else."
    )


def _about(name: str, metadata: dict[str, str]) -> dict[str, Any]:
    """The description, checked for its form."""
    if "ranvier" not in metadata:
        raise FileFormatError(
            f"{name}: expected a model that Ranvier saved, found a safetensors file without its description. It holds "
            "weights only; build the model and set them with set_weights."
        )
    if metadata.get("crc32") != str(zlib.crc32(metadata["ranvier"].encode())):
        _fail(
            name,
            f"the checksum {metadata.get('crc32')} of the description",
            str(zlib.crc32(metadata["ranvier"].encode())),
        )
    try:
        about = parse_json(metadata["ranvier"])
    except (ValueError, RecursionError) as error:
        _fail(name, "a description in JSON", str(error))
    if not isinstance(about, dict) or set(about) != KEYS:
        _fail(name, f"a description with {', '.join(sorted(KEYS))}", describe(about))
    if type(about["format"]) is not int or about["format"] != FORMAT:
        raise FileFormatError(
            f"{name}: expected format {FORMAT}, found {about['format']!r}. It was written by Ranvier "
            f"{about['version']}: "
            "use that version or a newer one."
        )
    for key in ("weights", "optimizer"):
        if not isinstance(about[key], list) or not all(isinstance(n, str) for n in about[key]):
            _fail(name, f"a list of names for {key!r}", describe(about[key]))
    if _count_layers(about["model"]) > MAX_LAYERS:
        _fail(name, f"at most {MAX_LAYERS:,} layers", "more")
    return about


def _check_bytes(name: str, about: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """The file holds exactly the tensors described, undamaged."""
    named, sums = {*about["weights"], *about["optimizer"]}, about["checksums"]
    if not isinstance(sums, dict) or set(sums) != named:
        _fail(name, "a checksum for each tensor", describe(sums))
    for key in sorted(named ^ set(tensors)):
        if key in named:
            _fail(name, f"the tensor {key!r}", "none of that name")
        _fail(name, "only tensors that the description names", f"{key!r} besides")
    for key, array in tensors.items():
        if type(sums[key]) is not int or _checksum(array) != sums[key]:
            _fail(name, f"the checksum {sums[key]} for {key!r}", f"{_checksum(array)}: its numbers are damaged")


def _count_layers(config: Any) -> int:
    """How many configurations of objects a description holds."""
    count, pending = 0, [config]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            count += "class_name" in value
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return count


def _structure(name: str, about: dict[str, Any]) -> Any:
    """The model with new weights, from names in closed registries."""
    signature = about["input"]
    try:
        model = layers.deserialize(about["model"])
        if not isinstance(model, Model):
            _fail(name, "the description of a model", describe(about["model"]))
        if signature is not None:
            shape, dtype = _signature(name, signature)
            model._keeper.input_dtype = dtype
            if not model.built:
                model.build(shape)
            if model.built_shape != shape:
                _fail(name, f"input of shape {model.built_shape}, as the layers say", f"the signature {shape}")
    except FileFormatError:
        raise
    except (UserError, TypeError, ValueError, KeyError, AttributeError, OverflowError, MemoryError) as error:
        text = error.message if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        raise FileFormatError(f"{name}: the structure in it cannot be built: {text}") from None
    return model


def _signature(name: str, signature: Any) -> tuple[tuple[int | None, ...], Any]:
    if not isinstance(signature, dict) or set(signature) != {"shape", "dtype"}:
        _fail(name, "shape and dtype of the input", describe(signature))
    shape = signature["shape"]
    fine = isinstance(shape, list) and 0 < len(shape) <= 32
    if not fine or not all(n is None or (type(n) is int and 0 < n < 2**31) for n in shape):
        _fail(name, "the shape of the input", describe(shape))
    if not isinstance(signature["dtype"], str):
        _fail(name, "the dtype of the input", describe(signature["dtype"]))
    return tuple(shape), as_dtype(signature["dtype"])


def _fill(
    name: str, what: str, variables: Sequence[Variable], names: list[str], tensors: dict[str, np.ndarray]
) -> None:
    """Take values over, after all of them have been compared with the variables."""
    if len(names) != len(variables) or len(set(names)) != len(names):
        _fail(name, f"{len(variables)} {what}, as the structure says", f"{len(names)} names")
    for v, key in zip(variables, names, strict=True):
        if key not in tensors:
            _fail(name, f"the tensor {key!r}", "none of that name")
        stored = tensors[key]
        if stored.shape != v.shape:
            _fail(name, f"shape {v.shape} for {key!r}, as the structure says", f"{stored.shape}")
        if stored.dtype != v.dtype.numpy:
            _fail(name, f"{v.dtype.numpy} for {key!r}, as the structure says", f"{stored.dtype}")
    for v, key in zip(variables, names, strict=True):
        v.assign(tensors[key])


def _compile(name: str, model: Any, about: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """Compile a loaded model as it was."""
    config = about["compile"]
    keys = {"optimizer", "loss", "metrics", "weighted_metrics"}
    if not isinstance(config, dict) or set(config) != keys:
        _fail(name, f"{', '.join(sorted(keys))} in 'compile'", describe(config))
    try:
        model.compile(
            _deserialized(config["optimizer"]),
            config["loss"] if isinstance(config["loss"], str) else losses.deserialize(config["loss"]),
            [m if isinstance(m, str) else metrics.deserialize(m) for m in config["metrics"]],
            [m if isinstance(m, str) else metrics.deserialize(m) for m in config["weighted_metrics"]],
        )
        if about["optimizer"]:
            model.optimizer.build(model.trainable_weights)
    except (UserError, TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        text = error.message if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        raise FileFormatError(f"{name}: the model in it cannot be compiled as described: {text}") from None
    if about["optimizer"]:
        _fill(name, "values of the optimizer", model.optimizer.variables, about["optimizer"], tensors)


def _deserialized(config: Any) -> Any:
    from ranvier import optimizers

    return optimizers.deserialize(config)
