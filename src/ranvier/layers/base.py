"""The layer: named weights and an equation.

``layer(x)`` builds the weights on the first call, checks the input against what the layer was built for, and runs
``call`` inside a scope of the layer's name, so that plans and errors can say where an op came from. Everything a model
needs is here: weights in Keras order, configuration, regularization terms, a ``training`` flag that inner layers
inherit from outer ones.
"""

from __future__ import annotations

import functools
import inspect
import math
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ranvier import config, initializers, regularizers
from ranvier.dtypes import as_policy
from ranvier.errors import ArgumentError, DTypeError, ShapeError, UserError, describe
from ranvier.layers.masks import MaskArguments, attach, mask_arguments, mask_of, warn_of_loss, with_mask
from ranvier.layers.registry import Configurable, Registry, snake_case
from ranvier.ops.elementwise import astype
from ranvier.ops.table import no_grad, scope, state
from ranvier.random import Generator
from ranvier.tensor import Tensor, as_tensor
from ranvier.tree import flatten, unflatten
from ranvier.variable import Variable

__all__ = ["InputSpec", "Layer", "deserialize", "get", "names", "register", "reset_names", "serialize"]

registry = Registry("layer", "ranvier.layers")
register, serialize, deserialize, names = registry.register, registry.serialize, registry.deserialize, registry.names

_used_names: Counter[str] = Counter()
_LEAF = flatten(0)[1]  # the structure of a single leaf


class _Context(threading.local):
    training = False  # of the layer being called; inner layers inherit it
    open_batch = False  # only shapes are being found out, and the size of the batch is made up


_context = _Context()


def get(identifier: Any) -> Any:
    """The layer meant by an object or a configuration.

    Args:
        identifier: a :class:`Layer`, or what :func:`serialize` returned.

    Raises:
        ArgumentError: it means no layer.
    """
    return registry.get(identifier, Layer)


def reset_names() -> None:
    """Start counting automatic names again: the next Dense is called ``dense``."""
    _used_names.clear()


def _automatic_name(cls: type) -> str:
    base = snake_case(cls.__name__)
    number = _used_names[base]
    _used_names[base] += 1
    return f"{base}_{number}" if number else base


class InputSpec(NamedTuple):
    """What a layer accepts: a rank, a least rank, and sizes of certain axes (None and missing: anything)."""

    ndim: int | None = None
    min_ndim: int | None = None
    axes: dict[int, int] = {}  # noqa: RUF012 - a NamedTuple's default; never changed


def as_batch_shape(who: str, shape: Any) -> tuple[int | None, ...]:
    """``shape`` as a tuple of sizes, None where a size is open."""
    if not isinstance(shape, tuple | list) or not all(
        n is None or (isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 0) for n in shape
    ):
        raise ShapeError(f"{who}: expected a shape, a tuple of sizes (None where open), got {describe(shape)}.")
    return tuple(None if n is None else int(n) for n in shape)


@contextmanager
def _concretely() -> Iterator[None]:
    """Weights are made from concrete values, also when a layer meets its first input inside a traced function."""
    before, state.trace = state.trace, None
    try:
        with no_grad():
            yield
    finally:
        state.trace = before


def _wrap_build(build: Any) -> Any:
    """Around every class's ``build``: once only, outside traces, all or nothing."""

    @functools.wraps(build)
    def wrapped(self: Layer, input_shape: Any) -> None:
        if self._building:  # a subclass calls super().build()
            return build(self, input_shape)
        if self.built:
            return None
        self._check_initialised()
        nested = isinstance(input_shape, dict) or any(isinstance(s, tuple | list | dict) for s in input_shape or ())
        shape = input_shape if nested else as_batch_shape(self._who(), input_shape)
        attributes, own, penalised = dict(vars(self)), len(self._own), len(self._penalised)
        self._building = True
        try:
            with _concretely(), scope(self.name):
                build(self, shape)
        except BaseException as error:
            vars(self).clear()
            vars(self).update(attributes)
            del self._own[own:], self._penalised[penalised:]
            if isinstance(error, UserError):
                error.happened_in(self._who())
            raise
        finally:
            self._building = False
        self.built, self.built_shape = True, shape
        return None

    return wrapped


class Layer(Configurable):
    """Base of all layers.

    A layer of your own sets its arguments in ``__init__``, makes weights in ``build`` and computes in ``call``::

        @rv.layers.register
        class Scale(rv.layers.Layer):
            def build(self, input_shape):
                self.factor = self.add_weight("factor", (input_shape[-1],), "ones")

            def call(self, x):
                return x * self.factor

    Args:
        name: name in plans, errors, files and summaries; by default made from the class name and a number.
        trainable: whether gradients are taken by the weights.
        dtype: dtype of the weights, which floating inputs are converted to; or ``"mixed_bfloat16"`` to keep the
            weights in float32 and compute in bfloat16; by default what ``rv.config.set_dtype_policy`` says.
        **nothing: ``input_shape`` (without the batch axis), as Keras allows on a first layer; anything else is refused.

    Attributes:
        supports_masking: the mask of the input (which time steps count) goes on to the output, by ``compute_mask``.

    Raises:
        ArgumentError: an unknown argument or an unusable name.
        DTypeError: the dtype is not a floating one.
    """

    registry = registry
    built = False
    built_shape: Any = None
    input_spec: InputSpec | None = None
    _initialised = False
    _building = False
    _takes_training = False
    supports_masking = False
    _mask_arguments = MaskArguments()
    _makes_masks = False
    _rounds_weights = True  # in mixed precision ``call`` sees the weights in the dtype it computes in

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        if "build" in vars(cls):
            cls.build = _wrap_build(vars(cls)["build"])  # type: ignore[method-assign]
        if "call" in vars(cls):
            parameters = inspect.signature(vars(cls)["call"]).parameters.values()
            cls._takes_training = any(p.name == "training" or p.kind is p.VAR_KEYWORD for p in parameters)
            cls._mask_arguments = mask_arguments(vars(cls)["call"])
        if "compute_mask" in vars(cls):
            cls._makes_masks = True
            if "supports_masking" not in vars(cls):
                cls.supports_masking = True

    def __init__(self, name: str | None = None, trainable: bool = True, dtype: Any = None, **nothing: Any):
        who = type(self).__name__
        shape = nothing.pop("input_shape", None)
        if nothing:
            raise ArgumentError(
                f"{who}: unknown argument {', '.join(map(repr, nothing))}. Known: {', '.join(self._arguments())}."
            )
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            raise ArgumentError(f"{who}: expected name to be a text without '/', got {describe(name)}.")
        self.name = name if name is not None else _automatic_name(type(self))
        #: in which dtypes weights are kept and outputs computed
        self.dtype_policy = as_policy(config.get("dtype_policy") if dtype is None else dtype)
        self.dtype, self.compute_dtype = self.dtype_policy.variable_dtype, self.dtype_policy.compute_dtype
        if not self.dtype.is_float:
            raise DTypeError(f"{who}: expected a floating dtype for the weights, got {self.dtype}.")
        #: the input's shape with an open batch axis, if the constructor was given one (else None)
        self.batch_input_shape = None if shape is None else (None, *as_batch_shape(who, shape))
        self._trainable = bool(trainable)
        self._own: list[tuple[Variable, bool]] = []  # own weights, and whether they are meant to be trained
        self._penalised: list[tuple[Variable, Any]] = []
        self._initialised = True

    # -- to be defined by layers ----------------------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Make the weights. Called once, with the shape of the first input.

        Args:
            input_shape: sizes with None for the batch axis.
        """

    def call(self, inputs: Any) -> Any:
        """The layer's equation.

        Args:
            inputs: one tensor, or a nest of tensors.
        """
        raise ArgumentError(f"{self._who()}: define call(self, inputs) to say what the layer computes.")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the output for a shape of the input, None standing for open sizes.

        Args:
            input_shape: sizes, the batch axis first.
        """
        return input_shape

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask of the output: by default that of the input. Asked only of layers that support masking.

        Args:
            inputs: what the layer was called with.
            mask: the mask of the input: None, a boolean tensor ``(batch, time)``, or a nest of them.
        """
        return mask

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as plain JSON data."""
        return {**super().get_config(), "dtype": self.dtype_policy.name}

    # -- weights --------------------------------------------------------------------------------------------------

    def add_weight(
        self,
        name: str,
        shape: Sequence[int] = (),
        initializer: Any = "glorot_uniform",
        trainable: bool = True,
        regularizer: Any = None,
    ) -> Variable:
        """Make a weight; use in ``build``.

        Args:
            name: its name inside the layer.
            shape: its shape.
            initializer: name, configuration or object.
            trainable: False for statistics that are not learned.
            regularizer: name, configuration or object of a penalty, or None.

        Raises:
            ArgumentError: the layer has a weight of this name already.
            ShapeError: the initializer returned another shape.
        """
        self._check_initialised()
        full = f"{self.name}/{name}"
        if any(v.name == full for v, _ in self._own):
            raise ArgumentError(f"{self._who()}: there is a weight called {name!r} already.")
        with _concretely():
            value = as_tensor(initializers.get(initializer)(tuple(shape), self.dtype))
        if value.shape != tuple(shape):
            raise ShapeError(
                f"{self._who()}: the initializer of {name!r} returned shape {value.shape}, expected {tuple(shape)}."
            )
        weight = Variable(value, full, trainable and self._trainable, self.dtype)
        self._own.append((weight, trainable))
        if regularizer is not None:
            self._penalised.append((weight, regularizers.get(regularizer)))
        return weight

    def _attributes(self, kind: Any) -> Iterator[Any]:
        """Attributes of a kind, also inside lists, tuples and dictionaries, in the order they were set."""
        for value in list(vars(self).values()):
            if isinstance(value, kind):
                yield value
            elif isinstance(value, list | tuple | dict) and value is not vars(self).get("_own"):
                yield from (v for v in flatten(value)[0] if isinstance(v, kind))

    @property
    def sublayers(self) -> list[Layer]:
        """The layers kept in attributes of this one."""
        return list({id(v): v for v in self._attributes(Layer)}.values())

    def _own_weights(self) -> list[tuple[Variable, bool]]:
        known = {id(v) for v, _ in self._own} | {id(v) for v, _ in self._penalised}
        loose = {id(v): v for v in self._attributes(Variable) if id(v) not in known}
        return self._own + [(v, v.trainable) for v in loose.values()]

    @property
    def weights(self) -> list[Variable]:
        """All weights in Keras order: own trainable ones, own others, then those of inner layers."""
        found: dict[int, Variable] = {}
        for layer in self._tree():
            own = layer._own_weights()
            found.update((id(v), v) for v, t in own if t)
            found.update((id(v), v) for v, t in own if not t)
        return list(found.values())

    @property
    def variables(self) -> list[Variable]:
        """The weights, the states of own random generators, and what layers keep from batch to batch."""
        found = {id(v): v for v in self.weights}
        for layer in self._tree():
            found.update((id(g.state), g.state) for g in layer._attributes(Generator))
            found.update((id(v), v) for v in layer._kept_variables())
        return list(found.values())

    def _kept_variables(self) -> list[Variable]:
        """Variables that are no weights: the states of a stateful recurrent layer."""
        return []

    def _tree(self) -> list[Layer]:
        """This layer and all inside it."""
        found: dict[int, Layer] = {}
        pending: list[Layer] = [self]
        while pending:
            layer = pending.pop()
            if id(layer) not in found:
                found[id(layer)] = layer
                pending.extend(reversed(layer.sublayers))
        return list(found.values())

    @property
    def trainable_weights(self) -> list[Variable]:
        """The weights that gradients are taken by."""
        return [v for v in self.weights if v.trainable]

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The other weights."""
        return [v for v in self.weights if not v.trainable]

    @property
    def trainable(self) -> bool:
        """Whether gradients are taken by the weights; setting it sets all layers inside too."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self._tree():
            layer._own = layer._own_weights()  # so that what was meant to be trained is remembered
            layer._trainable = bool(value)
            for weight, meant in layer._own:
                weight.trainable = bool(value) and meant

    def _freeze_inside(self) -> None:
        """For wrappers, at the end of ``__init__``: ``trainable=False`` holds for the layers inside too."""
        if not self._trainable:
            self.trainable = False

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the weights as NumPy arrays, in the order of :attr:`weights`."""
        return [v.numpy() for v in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Replace the weights; if one does not fit, none is changed.

        Args:
            weights: arrays in the order of :attr:`weights`.

        Raises:
            ArgumentError: another number of arrays.
            ShapeError: an array has another shape.
        """
        mine, new = self.weights, list(weights)
        if len(new) != len(mine):
            hint = "" if self.built else " The layer is not built yet; call it or build it first."
            raise ArgumentError(f"{self._who()}: expected {len(mine)} weight arrays, got {len(new)}.{hint}")
        try:
            values = [as_tensor(w) for w in new]
        except (DTypeError, ShapeError) as error:
            raise type(error)(f"{self._who()}, weights: {error.message}", error.where) from None
        for v, w in zip(mine, values, strict=True):
            if v.shape != w.shape:
                raise ShapeError(f"{self._who()}: expected shape {v.shape} for weight {v.name!r}, got {w.shape}.")
            if w.dtype.is_float and not v.dtype.is_float:
                raise DTypeError(f"{self._who()}: expected {v.dtype} for weight {v.name!r}, got {w.dtype}.")
        for v, w in zip(mine, values, strict=True):
            v.assign(w)

    def count_params(self) -> int:
        """The number of numbers in the weights.

        Raises:
            ArgumentError: the layer is not built.
        """
        if not self.built:
            raise ArgumentError(f"{self._who()}: the layer has no weights yet. Call it on data or build it first.")
        return sum(math.prod(v.shape) for v in self.weights)

    @property
    def losses(self) -> list[Tensor]:
        """The regularization terms of all trainable weights, scalars to be added to the loss."""
        return [penalty(v) for layer in self._tree() for v, penalty in layer._penalised if v.trainable]

    # -- calling --------------------------------------------------------------------------------------------------

    def __call__(self, inputs: Any, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        """Build if need be, check the input, compute.

        Args:
            inputs: a tensor or array, or a nest of them.
            *args: passed to ``call``.
            training: whether this is a training step; by default as the surrounding layer, else False.
            **kwargs: passed to ``call``; ``mask`` is by default the mask that came with the input.

        Raises:
            ShapeError: the input does not fit what the layer was built for.
        """
        self._check_initialised()
        inputs = self._converted(inputs) if type(inputs) is Tensor else self._converted_nest(inputs)
        if not self.built:
            self.build(_shapes(inputs))
        if self.input_spec is not None:
            self._check_input(inputs)
        before = _context.training
        _context.training = before if training is None else bool(training)
        if self._takes_training:
            kwargs["training"] = _context.training
        mask = self._mask_arguments.fill(inputs, args, kwargs)
        computing = state.compute
        state.compute = self.compute_dtype if self.dtype_policy.mixed and self._rounds_weights else None
        try:
            with scope(self.name):
                outputs = self.call(inputs, *args, **kwargs)
                return outputs if mask is None and not self._makes_masks else self._masked(inputs, mask, outputs)
        except UserError as error:
            error.happened_in(self._who())
            raise
        finally:
            _context.training, state.compute = before, computing

    def _masked(self, inputs: Any, mask: Any, outputs: Any) -> Any:
        """The outputs with their masks."""
        if self.supports_masking:
            return attach(outputs, self.compute_mask(inputs, mask), flatten(inputs)[0])
        if mask is not None and self._mask_arguments == MaskArguments():
            warn_of_loss(self._who())
        return outputs

    def _converted(self, x: Tensor) -> Tensor:
        if not x.dtype.is_float or x.dtype is self.compute_dtype:
            return x
        return with_mask(astype(x, self.compute_dtype), mask_of(x))

    def _converted_nest(self, inputs: Any) -> Any:
        """Arrays, Python numbers and nested lists of them become tensors; nests of arrays stay nests."""
        leaves, structure = flatten(inputs)
        layer = next((x for x in leaves if isinstance(x, Layer)), None)
        if layer is not None:
            raise ArgumentError(
                f"{self._who()}: expected a tensor, got the layer {layer.name!r}. Put layers one after another into "
                "rv.Sequential, or call them on tensors in a Model's call."
            )
        if not any(hasattr(x, "shape") for x in leaves):
            leaves, structure = [inputs], _LEAF
        try:
            return unflatten(structure, [self._converted(as_tensor(x)) for x in leaves])
        except (DTypeError, ShapeError) as error:
            raise type(error)(f"{self._who()}: {error.message}", error.where) from None

    def _check_input(self, x: Tensor) -> None:
        spec = self.input_spec
        assert spec is not None
        if spec.ndim is not None and x.ndim != spec.ndim:
            raise ShapeError(f"{self._who()}: expected an input with {spec.ndim} axes, got shape {x.shape}.")
        if spec.min_ndim is not None and x.ndim < spec.min_ndim:
            raise ShapeError(
                f"{self._who()}: expected an input with at least {spec.min_ndim} axes, got shape {x.shape}. "
                "The first axis is the batch: use x[None] for one sample, x[:, None] for one feature."
            )
        for axis, size in spec.axes.items():
            if not -x.ndim <= axis < x.ndim or x.shape[axis] != size:
                raise ShapeError(
                    f"{self._who()}: expected {size} features on axis {axis} (it was built for shape "
                    f"{self.built_shape}), got an input of shape {x.shape}. Check the columns of the data, or the size "
                    "of the layer before."
                )

    # -- description ----------------------------------------------------------------------------------------------

    def _who(self) -> str:
        return f"{type(self).__name__} {self.name!r}" if self._initialised else type(self).__name__

    def _check_initialised(self) -> None:
        if not self._initialised:
            raise ArgumentError(f"{type(self).__name__}: __init__ must call super().__init__() first.")

    def _describe(self) -> str:
        """What stands between the brackets of repr."""
        return ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._describe()})"


def _shapes(inputs: Any) -> Any:
    """Shapes of a nest of inputs, the batch axis open."""
    if isinstance(inputs, Tensor):
        return (None, *inputs.shape[1:]) if inputs.ndim else ()
    leaves, structure = flatten(inputs)
    return unflatten(structure, [_shapes(x) for x in leaves])


Layer.build = _wrap_build(Layer.build)  # type: ignore[method-assign]  # __init_subclass__ sees subclasses only
