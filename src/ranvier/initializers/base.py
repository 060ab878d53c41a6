"""What an initializer is, and the names by which initializers are found."""

from __future__ import annotations

from typing import Any

from ranvier import dtypes
from ranvier.errors import ArgumentError
from ranvier.layers.registry import Configurable, Registry
from ranvier.tensor import Tensor

__all__ = ["Initializer", "deserialize", "get", "names", "register", "serialize"]

registry = Registry("initializer", "ranvier.initializers")
register, serialize, deserialize, names = registry.register, registry.serialize, registry.deserialize, registry.names


class Initializer(Configurable):
    """Base of all initializers: ``initializer(shape, dtype)`` returns a tensor."""

    registry = registry

    def __call__(self, shape: Any, dtype: Any = dtypes.float32) -> Tensor:
        """The initial values.

        Args:
            shape: shape of the weight.
            dtype: dtype of the weight.
        """
        raise ArgumentError(f"{type(self).__name__}: define __call__(self, shape, dtype) to return the initial values.")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_config().items())})"


def get(identifier: Any) -> Any:
    """The initializer meant by a name, a configuration, a class, an object or a function of (shape, dtype).

    Args:
        identifier: for example ``"he_normal"`` or ``HeNormal(seed=1)``; None gives None.

    Raises:
        ArgumentError: it means no initializer.

    Example:
        >>> from ranvier import initializers
        >>> initializers.get("glorot_uniform")
        GlorotUniform(seed=None)
    """
    return None if identifier is None else registry.get(identifier)
