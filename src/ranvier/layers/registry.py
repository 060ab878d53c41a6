"""Registries: the closed sets of names that strings, configurations and model files resolve in.

Each kind of word (layer, activation, loss, ...) has one :class:`Registry`. A configuration is plain JSON data,
``{"class_name": "Dense", "config": {"units": 10, ...}}``; turning it back into an object looks the name up here and
nowhere else: nothing is imported, evaluated or unpickled. A program's own classes join with the ``register`` decorator.

:class:`Configurable` derives the configuration from the constructor: every argument is kept in the attribute of the
same name, and that attribute is what ``get_config`` writes.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, overload

import numpy as np

from ranvier.dtypes import DType
from ranvier.errors import ArgumentError, describe
from ranvier.tensor import Tensor
from ranvier.variable import Variable

__all__ = ["Configurable", "Registry", "snake_case"]

T = TypeVar("T")


def snake_case(name: str) -> str:
    """A class name as Keras writes it in names of objects.

    Args:
        name: in camel case.

    Example:
        >>> snake_case("InputLayer"), snake_case("RMSprop"), snake_case("L1L2")
        ('input_layer', 'rmsprop', 'l1l2')
    """
    spaced = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", spaced).lower()
    return {"rm_sprop": "rmsprop", "adam_w": "adamw"}.get(words, words)


def plain(value: Any, who: str) -> Any:
    """``value`` as JSON data: numbers, strings, lists, dictionaries, and configurations of registered objects."""
    if value is None or isinstance(value, bool | int | str) or type(value) is float:
        return value
    if isinstance(value, float | np.floating):
        return float(str(value))  # float32 0.001 is written 0.001, not 0.0010000000474974513
    if isinstance(value, np.bool_ | np.integer):
        return value.item()
    if isinstance(value, DType):
        return value.name
    if isinstance(value, Variable | Tensor | np.ndarray):
        array = np.asarray(value)
        return plain(array[()], who) if array.ndim == 0 else [plain(v, who) for v in array]
    if isinstance(value, list | tuple):
        return [plain(v, who) for v in value]
    if isinstance(value, dict):
        return {str(k): plain(v, who) for k, v in value.items()}
    if isinstance(value, Configurable):
        return value.registry.serialize(value)
    name = getattr(value, "registered_name", None)
    if isinstance(name, str):
        return name
    raise ArgumentError(
        f"{who}: expected a number, a string or a registered object in the configuration, got {describe(value)}. "
        "Register your own functions and classes with the `register` decorator of their kind."
    )


class Registry:
    """The known names of one kind of word.

    Args:
        kind: what is registered, for error messages: "layer", "loss", ...
        module: where a user finds ``register``, for error messages: "ranvier.layers".

    Example:
        >>> sounds = Registry("sound", "ranvier.sounds")
        >>> @sounds.register("moo")
        ... class Cow(Configurable):
        ...     registry = sounds
        >>> type(sounds.get("moo")).__name__, sounds.serialize(Cow())
        ('Cow', {'class_name': 'Cow', 'config': {}})
    """

    def __init__(self, kind: str, module: str):
        self.kind, self.module = kind, module
        self._entries: dict[str, Any] = {}  # names of classes and functions
        self._aliases: dict[str, str] = {}  # other spellings -> names

    @overload
    def register(self, *aliases: str) -> Callable[[T], T]: ...

    @overload
    def register(self, entry: T, /) -> T: ...

    def register(self, *aliases: Any) -> Any:
        """Decorator: make a class or function known under its own name, its snake-case name and the aliases.

        Args:
            *aliases: further names (used without parentheses, the decorated object itself).
        """
        if len(aliases) == 1 and not isinstance(aliases[0], str):
            return self._add(aliases[0], ())
        return lambda entry: self._add(entry, aliases)

    def _add(self, entry: Any, aliases: tuple[str, ...]) -> Any:
        name = entry.__name__
        for spelling in dict.fromkeys((name, snake_case(name), *aliases)):
            owner = self._aliases.get(spelling)
            if owner is not None and not self._same_source(self._entries[owner], entry):
                raise ArgumentError(
                    f"register: the {self.kind} name {spelling!r} already belongs to {owner}. Choose another name."
                )
            self._aliases[spelling] = name
        self._entries[name] = entry
        if not inspect.isclass(entry):
            entry.registered_name = name
        return entry

    @staticmethod
    def _same_source(old: Any, new: Any) -> bool:
        """The same definition run again (a notebook cell) may replace itself."""
        return (old.__module__, old.__qualname__) == (new.__module__, new.__qualname__)

    def names(self) -> list[str]:
        """All registered names, sorted (without aliases)."""
        return sorted(self._entries)

    def find(self, name: Any) -> Any:
        """The class or function called ``name``.

        Args:
            name: a registered name or alias.

        Raises:
            ArgumentError: no such name; the message lists the known ones.
        """
        if not isinstance(name, str):
            raise ArgumentError(f"{self.kind}: expected a name, got {describe(name)}.")
        key = self._aliases.get(name)
        if key is None:
            near = difflib.get_close_matches(name, self._aliases, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ArgumentError(
                f"unknown {self.kind} {name!r}.{hint} Known names: {', '.join(self.names())}. "
                f"Your own are made known with @{self.module}.register."
            )
        return self._entries[key]

    def get(self, identifier: Any, base: type | None = None) -> Any:
        """The object meant by a name, a configuration, a class or an object.

        Args:
            identifier: a registered name, ``{"class_name": ..., "config": ...}``, a class, or an object already.
            base: what objects must be instances of; None for anything callable.

        Raises:
            ArgumentError: the identifier means nothing here.
        """
        if isinstance(identifier, str):
            found = self.find(identifier)
            return found() if inspect.isclass(found) else found
        if isinstance(identifier, dict):
            return self.deserialize(identifier)
        if inspect.isclass(identifier) and (base is None or issubclass(identifier, base)):
            return identifier()
        if (isinstance(identifier, base) if base else callable(identifier)) and not inspect.isclass(identifier):
            return identifier
        raise ArgumentError(
            f"{self.kind}: expected a name, a configuration or an object, got {describe(identifier)}. "
            f"Known names: {', '.join(self.names())}."
        )

    def serialize(self, value: Any) -> Any:
        """The configuration of an object as plain data: a name for functions, a dictionary for the rest.

        Args:
            value: a registered function, or an object of a registered class.

        Raises:
            ArgumentError: its class or function is not registered.
        """
        if value is None:
            return None
        target = value if inspect.isroutine(value) else type(value)
        if self._entries.get(target.__name__) is not target:
            raise ArgumentError(
                f"{self.kind} {target.__name__!r} is not registered, so it cannot be written to a file. "
                f"Put @{self.module}.register above its definition."
            )
        if target is value:
            return target.__name__
        return {"class_name": target.__name__, "config": value.get_config()}

    def deserialize(self, data: Any) -> Any:
        """The object described by a configuration.

        Args:
            data: what :meth:`serialize` returned.

        Raises:
            ArgumentError: not a configuration, or the name is unknown.
        """
        if data is None:
            return None
        if isinstance(data, str):
            return self.get(data)
        config = data.get("config", {}) if isinstance(data, dict) else None
        if not isinstance(config, dict) or not isinstance(data.get("class_name"), str):
            raise ArgumentError(
                f"{self.kind}: expected a configuration {{'class_name': ..., 'config': {{...}}}}, got {describe(data)}."
            )
        found = self.find(data["class_name"])
        if not inspect.isclass(found):
            return found
        return found.from_config(config)  # type: ignore[attr-defined]


class Configurable:
    """Objects that can be written as JSON data and made again from it."""

    registry: ClassVar[Registry]

    @classmethod
    def _arguments(cls) -> list[str]:
        """Names of all constructor arguments, those of the base classes' ``**`` last."""
        names: list[str] = []
        for owner in cls.__mro__:
            if "__init__" not in vars(owner) or owner is object:
                continue
            parameters = list(inspect.signature(vars(owner)["__init__"]).parameters.values())[1:]
            names += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
        return list(dict.fromkeys(names))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as plain JSON data."""
        who = type(self).__name__
        return {name: plain(getattr(self, name), who) for name in self._arguments()}

    @classmethod
    def from_config(cls: Callable[..., T], config: dict[str, Any]) -> T:
        """A new object from what ``get_config`` returned.

        Args:
            config: constructor arguments by name.

        Raises:
            ArgumentError: an entry that the constructor does not know, or one it needs is missing.
        """
        known = cls._arguments()  # type: ignore[attr-defined]
        unknown = sorted(set(config) - set(known))
        if unknown:
            raise ArgumentError(
                f"{cls.__name__}.from_config: unknown entries {', '.join(unknown)}. Known: {', '.join(known)}."
            )
        try:
            inspect.signature(cls).bind(**config)
        except TypeError as error:
            raise ArgumentError(f"{cls.__name__}.from_config: {error}. Known: {', '.join(known)}.") from None
        return cls(**config)
