"""What an optimizer is: slots beside each variable, a step counter, a learning rate, and one rule.

A rule is a pure function ``update(scalars, w, g, *slots) -> (w, *slots)``. :meth:`Optimizer.apply` does the rest once
for all of them: clipping, weight decay, the scalars of the step, and assigning the results.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.layers.checks import number
from ranvier.layers.registry import Configurable, Registry, snake_case
from ranvier.ops import elementwise as e
from ranvier.ops import reduce as r
from ranvier.ops.table import no_grad
from ranvier.optimizers.schedules import LearningRateSchedule
from ranvier.optimizers.schedules import get as get_schedule
from ranvier.tensor import Tensor, as_tensor
from ranvier.variable import Variable

__all__ = ["Optimizer", "deserialize", "get", "names", "register", "serialize"]

registry = Registry("optimizer", "ranvier.optimizers")
register, serialize, deserialize, names = registry.register, registry.serialize, registry.deserialize, registry.names


def get(identifier: Any) -> Any:
    """The optimizer meant by a name, a configuration, a class or an object.

    Args:
        identifier: for example ``"adam"`` or ``SGD(0.1, momentum=0.9)``.

    Raises:
        ArgumentError: it means no optimizer.

    Example:
        >>> from ranvier import optimizers
        >>> optimizers.get("adam")
        Adam(learning_rate=0.001)
    """
    return registry.get(identifier, Optimizer)


class Optimizer(Configurable):
    """Base of all optimizers.

    An optimizer of your own names its slots and gives the rule::

        @rv.optimizers.register
        class Signs(rv.optimizers.Optimizer):
            def update(self, lr, w, g):
                return (w - lr * rv.sign(g),)

    Args:
        learning_rate: a number above 0, or a schedule.
        weight_decay: each step first shrinks the weights, ``w -= w * weight_decay * learning_rate``; None for none.
        clipnorm: each variable's gradient is scaled down to this norm.
        clipvalue: each entry of a gradient is limited to plus or minus this.
        global_clipnorm: all gradients together are scaled down to this norm.
        name: prefix of the slots' names; by default made from the class name.

    Raises:
        ArgumentError: a learning rate or limit that is NaN, infinite, negative or no number; several kinds of clipping.
    """

    registry = registry
    slot_names: tuple[str, ...] = ()
    initial_slot_value = 0.0

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
    ):
        who = type(self).__name__
        self.name = name if name is not None else snake_case(who)
        limits = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = [k for k, v in limits.items() if v is not None]
        if len(given) > 1:
            raise ArgumentError(f"{who}: expected at most one kind of clipping, got {' and '.join(given)}.")
        for key in given:
            limits[key] = float(number(who, key, limits[key], 0, above=True))
        self.clipnorm, self.clipvalue, self.global_clipnorm = limits.values()
        self.weight_decay = None if weight_decay is None else float(number(who, "weight_decay", weight_decay, 0))
        self.iterations = Variable(np.asarray(0, np.int64), f"{self.name}_iterations", trainable=False)
        self._schedule: LearningRateSchedule | None = None
        self._rate = Variable(0.0, f"{self.name}_learning_rate", trainable=False)
        self._set_rate(learning_rate, zero=False)
        self.built = False
        self._variables: list[Variable] = []
        self._slots: list[tuple[Variable, ...]] = []
        self._undecayed: tuple[str, ...] = ()

    # -- learning rate --------------------------------------------------------------------------------------------

    def _set_rate(self, value: Any, zero: bool) -> None:
        if isinstance(value, dict | LearningRateSchedule):
            self._schedule = get_schedule(value)
        elif isinstance(value, Variable | Tensor) and as_tensor(value)._data is None:
            self._rate.assign(value)
        else:
            plain = value.item() if getattr(value, "shape", None) == () else value
            fixed = float(number(type(self).__name__, "learning_rate", plain, 0, above=not zero))
            self._schedule = None
            self._rate.assign(fixed)

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the next step: a variable, or with a schedule what it gives now.

        Setting it to a number or a schedule takes effect at the next step, also in compiled code.
        """
        return self._rate if self._schedule is None else self._schedule(self.iterations.value)

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self._set_rate(value, zero=True)

    # -- variables ------------------------------------------------------------------------------------------------

    def slots(self) -> tuple[str, ...]:
        """Names of the slots that each variable gets."""
        return self.slot_names

    def build(self, variables: Sequence[Variable]) -> None:
        """Make the slots. Done by the first :meth:`apply` if not before.

        Args:
            variables: the variables to be trained.

        Raises:
            ArgumentError: built for other variables before.
        """
        wanted = list(variables)
        if self.built:
            if [id(v) for v in wanted] != [id(v) for v in self._variables]:
                raise ArgumentError(
                    f"{type(self).__name__}: built for {len(self._variables)} variables, now given other ones "
                    f"({len(wanted)}: {', '.join(v.name for v in wanted[:3])}, ...). Use one optimizer for each model."
                )
            return
        for v in wanted:
            if not isinstance(v, Variable):
                raise ArgumentError(f"{type(self).__name__}: expected variables, got {describe(v)}.")
        self._variables = wanted
        self._slots = [
            tuple(
                Variable(
                    np.full(v.shape, self.initial_slot_value, v.dtype.numpy),
                    f"{self.name}_{slot}_{v.name.replace('/', '_')}",
                    trainable=False,
                    dtype=v.dtype,
                )
                for slot in self.slots()
            )
            for v in wanted
        ]
        self.built = True

    @property
    def variables(self) -> list[Variable]:
        """The step counter, the learning rate (unless scheduled), and all slots, variable by variable."""
        rate = [self._rate] if self._schedule is None else []
        return [self.iterations, *rate, *(s for slots in self._slots for s in slots)]

    def exclude_from_weight_decay(self, var_names: Sequence[str]) -> None:
        """Let weight decay pass over variables, for example biases. Call before the first step.

        Args:
            var_names: texts; a variable whose name contains one of them does not decay.

        Raises:
            ArgumentError: not a list of texts.
        """
        if isinstance(var_names, str) or not all(isinstance(n, str) for n in var_names):
            raise ArgumentError(
                f"{type(self).__name__}: expected var_names to be a list of texts, got {describe(var_names)}."
            )
        self._undecayed = tuple(var_names)

    # -- the step -------------------------------------------------------------------------------------------------

    def scalars(self, learning_rate: Tensor, step: Tensor) -> Any:
        """What all variables of a step share, computed once.

        Args:
            learning_rate: the step's learning rate, a float32 scalar.
            step: the number of the step from 1, a float32 scalar.
        """
        del step
        return learning_rate

    def update(self, scalars: Any, w: Tensor, g: Tensor, *slots: Tensor) -> tuple[Tensor, ...]:
        """The rule: new weight and new slots.

        Args:
            scalars: from :meth:`scalars`.
            w: the weight.
            g: its gradient.
            *slots: its slots.
        """
        raise ArgumentError(f"{type(self).__name__}: define update(self, scalars, w, g, *slots), the rule of a step.")

    def apply(self, grads: Sequence[Any], variables: Sequence[Variable] | None = None) -> None:
        """Do one step.

        Args:
            grads: one gradient for each variable.
            variables: the variables; by default those built for.

        Raises:
            ArgumentError: missing gradients or another number of them.
            ShapeError: a gradient has another shape than its variable.
        """
        who = type(self).__name__
        if variables is not None:
            self.build(variables)
        elif not self.built:
            raise ArgumentError(f"{who}: expected variables on the first step, got none. Call build(variables) first.")
        targets, found = self._variables, list(grads)
        if len(found) != len(targets):
            raise ArgumentError(f"{who}: expected {len(targets)} gradients, one for each variable, got {len(found)}.")
        for v, g in zip(targets, found, strict=True):
            if g is None:
                raise ArgumentError(f"{who}: variable {v.name!r} has no gradient; the loss does not depend on it.")
        with no_grad():
            self._step([as_tensor(g) for g in found])

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Variable]]) -> None:
        """Do one step, from pairs as Keras writes them: ``apply_gradients(zip(grads, variables))``.

        Args:
            grads_and_vars: pairs of gradient and variable.
        """
        pairs = list(grads_and_vars)
        self.apply([g for g, _ in pairs], [v for _, v in pairs])

    def _step(self, grads: list[Tensor]) -> None:
        for v, g in zip(self._variables, grads, strict=True):
            if g.shape != v.shape:
                raise ShapeError(
                    f"{type(self).__name__}: expected a gradient of shape {v.shape} for {v.name!r}, got {g.shape}."
                )
        grads = self._clipped(grads)
        rate = as_tensor(self.learning_rate)
        scalars = self.scalars(rate, e.astype(self.iterations.value, dtypes.float32) + 1.0)
        decay = None if self.weight_decay is None else rate * self.weight_decay
        for v, g, slots in zip(self._variables, grads, self._slots, strict=True):
            w = v.value
            if decay is not None and not any(part in v.name for part in self._undecayed):
                w = w - w * decay
            new = self.update(scalars, w, g, *(s.value for s in slots))
            for variable, value in zip((v, *slots), new, strict=True):
                variable.assign(value)
        self.iterations.assign(self.iterations.value + 1)

    def _clipped(self, grads: list[Tensor]) -> list[Tensor]:
        if self.clipvalue is not None:
            return [e.clip(g, -self.clipvalue, self.clipvalue) for g in grads]
        if self.clipnorm is not None:
            return [g * _shrink(r.sum(e.square(g)), self.clipnorm) for g in grads]
        if self.global_clipnorm is not None and grads:
            total = r.sum(e.square(grads[0]))
            for g in grads[1:]:
                total = total + r.sum(e.square(g))
            factor = _shrink(total, self.global_clipnorm)
            return [g * factor for g in grads]
        return grads

    # -- description ----------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as plain JSON data; the learning rate is the present one, or the schedule."""
        config = super().get_config()
        if self._schedule is not None:
            config["learning_rate"] = self._schedule.registry.serialize(self._schedule)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A new optimizer from what ``get_config`` returned.

        Args:
            config: constructor arguments by name.

        Raises:
            ArgumentError: an entry that the constructor does not know.
        """
        if config.get("learning_rate") != 0:
            return super().from_config(config)
        made: Any = super().from_config({**config, "learning_rate": 1.0})  # set to 0 while training
        made.learning_rate = 0.0
        return made

    def __repr__(self) -> str:
        rate = self._schedule if self._schedule is not None else self.get_config()["learning_rate"]
        return f"{type(self).__name__}(learning_rate={rate!r})"


def _shrink(square: Tensor, limit: float) -> Tensor:
    """The factor that brings a norm whose square is given down to a limit."""
    return limit / e.maximum(e.sqrt(square), limit)
