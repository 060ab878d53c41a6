"""Optimizers: the step compared with the rule in the docstring, transcribed to NumPy, over the product of options."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import optimizers
from ranvier.errors import ArgumentError, ShapeError
from ranvier.jit import jit
from ranvier.optimizers import schedules

STEPS = 7
SHAPES = ((3, 4), (4,), ())


class Rule:
    """A rule in float64 NumPy: `step(w, g, slots, t, lr)` changes the slots and returns the new weight."""

    def __init__(self, **options: Any):
        self.__dict__.update(options)

    def start(self) -> float:
        return 0.0


class SGD(Rule):
    momentum, nesterov, learning_rate = 0.0, False, 0.01

    def step(self, w: Any, g: Any, s: dict[str, Any], t: int, lr: float) -> Any:
        if self.momentum == 0:
            return w - lr * g
        s["m"] = self.momentum * s.get("m", 0) - lr * g
        return w + (self.momentum * s["m"] - lr * g if self.nesterov else s["m"])


class RMSprop(Rule):
    rho, momentum, epsilon, centered, learning_rate = 0.9, 0.0, 1e-7, False, 0.001

    def step(self, w: Any, g: Any, s: dict[str, Any], t: int, lr: float) -> Any:
        s["v"] = self.rho * s.get("v", 0) + (1 - self.rho) * g**2
        if self.centered:
            s["a"] = self.rho * s.get("a", 0) + (1 - self.rho) * g
            d = lr * g / np.sqrt(s["v"] - s["a"] ** 2 + self.epsilon)
        else:
            d = lr * g / np.sqrt(s["v"] + self.epsilon)
        if self.momentum > 0:
            d = s["m"] = self.momentum * s.get("m", 0) + d
        return w - d


class Adagrad(Rule):
    initial_accumulator_value, epsilon, learning_rate = 0.1, 1e-7, 0.001

    def step(self, w: Any, g: Any, s: dict[str, Any], t: int, lr: float) -> Any:
        s["s"] = s.get("s", self.initial_accumulator_value) + g**2
        return w - lr * g / np.sqrt(s["s"] + self.epsilon)


class Adam(Rule):
    beta_1, beta_2, epsilon, amsgrad, learning_rate = 0.9, 0.999, 1e-7, False, 0.001

    def step(self, w: Any, g: Any, s: dict[str, Any], t: int, lr: float) -> Any:
        alpha = lr * np.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        s["m"] = s.get("m", 0) + (g - s.get("m", 0)) * (1 - self.beta_1)
        s["v"] = s.get("v", 0) + (g**2 - s.get("v", 0)) * (1 - self.beta_2)
        v = s["v"]
        if self.amsgrad:
            v = s["h"] = np.maximum(s.get("h", 0), s["v"])
        return w - s["m"] * alpha / (np.sqrt(v) + self.epsilon)


class AdamW(Adam):
    weight_decay = 0.004


RULES = {"SGD": SGD, "RMSprop": RMSprop, "Adagrad": Adagrad, "Adam": Adam, "AdamW": AdamW}


def grid(**options: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]


SCHEDULE = schedules.ExponentialDecay(0.2, 3, 0.5)
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "SGD": grid(learning_rate=(0.1,), momentum=(0.0, 0.9), nesterov=(False, True), weight_decay=(None, 0.1)),
    "RMSprop": grid(
        learning_rate=(0.1,), rho=(0.9, 0.5), momentum=(0.0, 0.5), centered=(False, True), epsilon=(1e-7, 0.1)
    ),
    "Adagrad": grid(
        learning_rate=(0.1,), initial_accumulator_value=(0.1, 0.0), epsilon=(1e-7, 0.1), weight_decay=(None, 0.1)
    ),
    "Adam": grid(
        learning_rate=(0.1,), beta_1=(0.9, 0.0), beta_2=(0.999, 0.5), amsgrad=(False, True), epsilon=(1e-7, 0.1)
    ),
    "AdamW": grid(learning_rate=(0.1,), weight_decay=(0.004, 0.2), amsgrad=(False, True)),
}  # fmt: skip
for _grid in OPTIONS.values():
    _grid.append({})
    _grid.append({"learning_rate": SCHEDULE})
    _grid += [
        {"learning_rate": 0.1, **clip} for clip in ({"clipvalue": 0.3}, {"clipnorm": 0.5}, {"global_clipnorm": 0.5})
    ]
ALL = [(name, options) for name, rows in OPTIONS.items() for options in rows]


def clipped(grads: list[np.ndarray], options: dict[str, Any]) -> list[np.ndarray]:
    if "clipvalue" in options:
        return [np.clip(g, -options["clipvalue"], options["clipvalue"]) for g in grads]
    if "clipnorm" in options:
        return [g * min(1, options["clipnorm"] / np.sqrt((g**2).sum())) for g in grads]
    if "global_clipnorm" in options:
        norm = np.sqrt(sum((g**2).sum() for g in grads))
        return [g * min(1, options["global_clipnorm"] / norm) for g in grads]
    return grads


def reference(name: str, options: dict[str, Any], start: list[np.ndarray], grads: list[list[np.ndarray]]) -> list[Any]:
    plain = {k: v for k, v in options.items() if k != "learning_rate"}
    rule = RULES[name](**plain)
    rate = options.get("learning_rate", rule.learning_rate)
    decay = getattr(rule, "weight_decay", None)
    weights, slots = list(start), [{} for _ in start]
    for t, step_grads in enumerate(grads, 1):
        lr = 0.2 * 0.5 ** ((t - 1) / 3) if rate is SCHEDULE else rate
        for i, g in enumerate(clipped(step_grads, options)):
            w = weights[i] if decay is None else weights[i] - weights[i] * decay * lr
            weights[i] = rule.step(w, g, slots[i], t, lr)
    return weights


def problem(rng: np.random.Generator) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    draw = lambda: [np.asarray(rng.normal(size=s)) + 0.1 for s in SHAPES]  # noqa: E731
    return draw(), [draw() for _ in range(STEPS)]


def test_every_optimizer_is_tested_here() -> None:
    assert optimizers.names() == sorted(RULES)


@pytest.mark.parametrize("name, options", ALL, ids=[f"{n}-{i}" for i, (n, _) in enumerate(ALL)])
def test_the_step_is_the_rule(name: str, options: dict[str, Any], rng: np.random.Generator) -> None:
    start, grads = problem(rng)
    expected = reference(name, options, start, grads)
    for dtype in ("float64", "float32"):
        optimizer = getattr(optimizers, name)(**options)
        variables = [rv.Variable(w, dtype=dtype) for w in start]
        for step_grads in grads:
            optimizer.apply([rv.tensor(g, dtype) for g in step_grads], variables)
        for v, w in zip(variables, expected, strict=True):
            assert np.allclose(v.numpy(), w, rtol=1e-4, atol=1e-5)
        assert int(optimizer.iterations) == STEPS


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("options", [{}, {"global_clipnorm": 0.5, "weight_decay": 0.1}, {"learning_rate": SCHEDULE}])
def test_compiled_equals_eager(name: str, options: dict[str, Any], rng: np.random.Generator) -> None:
    start, grads = problem(rng)
    results = []
    for compiled in (False, True):
        optimizer = getattr(optimizers, name)(**options)
        variables = [rv.Variable(w, dtype="float32") for w in start]
        optimizer.build(variables)
        step = lambda *g, o=optimizer: o.apply(g)  # noqa: E731
        run = jit(step) if compiled else step
        for step_grads in grads:
            run(*(rv.tensor(g, "float32") for g in step_grads))
        results.append([v.numpy() for v in optimizer.variables + variables])
    for a, b in zip(*results, strict=True):
        assert np.allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", RULES)
def test_configuration_round_trip(name: str) -> None:
    for options in OPTIONS[name]:
        made = getattr(optimizers, name)(**options)
        again = optimizers.deserialize(optimizers.serialize(made))
        assert again.get_config() == made.get_config()
        assert repr(again) == repr(made)
        for key, value in options.items():
            if key != "learning_rate":
                assert getattr(again, key) == value


@pytest.mark.parametrize("name", RULES)
def test_finds_a_minimum(name: str) -> None:
    target = np.array([1.0, -2.0], np.float32)
    w = rv.Variable([0.0, 0.0])
    optimizer = getattr(optimizers, name)(0.5 if name == "Adagrad" else 0.05)
    for _ in range(400):
        optimizer.apply(rv.grad(lambda: rv.sum((w - target) ** 2), wrt=[w])(), [w])
    assert np.allclose(w.numpy(), target, atol=0.06)


def test_slots_are_named_after_their_variables() -> None:
    w = rv.Variable(rv.ones((2, 3)), name="dense/kernel")
    adam = optimizers.Adam(amsgrad=True)
    adam.build([w])
    assert [v.name for v in adam.variables] == [
        "adam_iterations", "adam_learning_rate", "adam_m_dense_kernel", "adam_v_dense_kernel", "adam_h_dense_kernel",
    ]  # fmt: skip
    assert all(not v.trainable for v in adam.variables)
    assert all(v.shape == (2, 3) for v in adam.variables[2:])
    assert adam.iterations.dtype is rv.int64
    assert optimizers.Adam().variables[0].name == "adam_iterations"
    assert [v.name for v in optimizers.SGD(SCHEDULE, name="mine").variables] == ["mine_iterations"]


def test_scalars_are_computed_once_a_step() -> None:
    calls = []

    class Counted(optimizers.SGD):
        def scalars(self, learning_rate: Any, step: Any) -> Any:
            calls.append(step.item())
            return super().scalars(learning_rate, step)

    Counted(0.1).apply([rv.ones(1), rv.ones(1)], [rv.Variable([1.0]), rv.Variable([1.0])])
    assert calls == [1.0]


def test_learning_rate_can_be_set() -> None:
    w = rv.Variable([1.0])
    sgd = optimizers.SGD(0.5)
    step = jit(lambda g: sgd.apply([g], [w]))
    sgd.build([w])
    step(rv.ones(1))
    assert w.numpy().tolist() == [0.5]
    sgd.learning_rate = 0.25
    step(rv.ones(1))
    assert w.numpy().tolist() == [0.25]
    sgd.learning_rate.assign(0.0)
    step(rv.ones(1))
    assert w.numpy().tolist() == [0.25]
    assert sgd.get_config()["learning_rate"] == 0
    assert float(optimizers.SGD.from_config(sgd.get_config()).learning_rate) == 0
    sgd.learning_rate = rv.tensor(0.125)
    assert float(sgd.learning_rate) == 0.125
    sgd.learning_rate = schedules.PiecewiseConstantDecay([100], [0.5, 0.1])
    assert float(sgd.learning_rate) == 0.5
    assert sgd.get_config()["learning_rate"]["class_name"] == "PiecewiseConstantDecay"
    with pytest.raises(ArgumentError, match="SGD: expected learning_rate to be a finite number of at least 0, got -1"):
        sgd.learning_rate = -1


def test_exclude_from_weight_decay() -> None:
    kernel, bias = rv.Variable([1.0], name="dense/kernel"), rv.Variable([1.0], name="dense/bias")
    sgd = optimizers.SGD(0.5, weight_decay=0.1)
    sgd.exclude_from_weight_decay(["bias"])
    sgd.apply([rv.zeros(1), rv.zeros(1)], [kernel, bias])
    assert np.isclose(kernel.numpy()[0], 0.95)
    assert bias.numpy()[0] == 1
    for bad in ("bias", [3]):
        with pytest.raises(ArgumentError, match="SGD: expected var_names to be a list of texts, got"):
            sgd.exclude_from_weight_decay(bad)  # type: ignore[arg-type]


def test_clipping_leaves_small_gradients_alone() -> None:
    for clip in ({"clipnorm": 10.0}, {"global_clipnorm": 10.0}, {"clipvalue": 10.0}):
        w = rv.Variable([1.0, 1.0])
        optimizers.SGD(1.0, **clip).apply([rv.tensor([0.5, 0.0])], [w])
        assert w.numpy().tolist() == [0.5, 1.0]
        optimizers.SGD(1.0, **clip).apply([rv.zeros(2)], [w])  # a norm of 0 divides nothing
        assert w.numpy().tolist() == [0.5, 1.0]


def test_pairs_and_second_steps() -> None:
    w = rv.Variable([1.0])
    sgd = optimizers.SGD(0.5)
    sgd.apply_gradients(zip([rv.ones(1)], [w], strict=True))
    sgd.apply([np.ones(1)])
    assert w.numpy().tolist() == [0.0]
    assert not w.value.requires_grad or w.value._node.op is None  # the step itself is not recorded


def test_many_steps_count_exactly() -> None:
    adam = optimizers.Adam(0.1)
    w = rv.Variable([1.0])
    adam.build([w])
    adam.iterations.assign(2**24 + 1)
    adam.apply([rv.ones(1)])
    assert int(adam.iterations) == 2**24 + 2


def test_your_own_rule() -> None:
    @optimizers.register
    class Signs(optimizers.Optimizer):
        def update(self, lr: Any, w: Any, g: Any) -> Any:
            return (w - lr * rv.sign(g),)

    try:
        made = optimizers.deserialize({"class_name": "Signs", "config": {"learning_rate": 0.5}})
        w = rv.Variable([1.0, 1.0])
        made.apply([rv.tensor([3.0, -0.1])], [w])
        assert w.numpy().tolist() == [0.5, 1.5]
    finally:
        registry = optimizers.register.__self__
        registry._entries.pop("Signs")
        registry._aliases = {k: v for k, v in registry._aliases.items() if v != "Signs"}


W = rv.Variable([1.0], name="w")
ERRORS: list[tuple[Any, type[Exception], str]] = [
    *(
        (lambda bad=bad, kind=kind: getattr(optimizers, kind)(bad), ArgumentError,
         f"{kind}: expected learning_rate to be a finite number above 0, got {text}")
        for kind in RULES
        for bad, text in ((math.nan, "nan"), (-0.1, "-0.1"), (0, "0"), (math.inf, "inf"), ("x", "'x'"), (None, "None"),
                          (True, "True"), ([0.1], r"\[0.1\]"))
    ),
    (lambda: optimizers.SGD({"class_name": "x"}), ArgumentError, "unknown schedule 'x'"),
    (lambda: optimizers.SGD(momentum=1.5), ArgumentError, "SGD: expected momentum .* and at most 1, got 1.5"),
    (lambda: optimizers.RMSprop(rho=-1), ArgumentError, "RMSprop: expected rho"),
    (lambda: optimizers.RMSprop(momentum=2), ArgumentError, "RMSprop: expected momentum"),
    (lambda: optimizers.RMSprop(epsilon=-1), ArgumentError, "RMSprop: expected epsilon"),
    (lambda: optimizers.Adagrad(initial_accumulator_value=-1), ArgumentError, "Adagrad: expected initial_acc"),
    (lambda: optimizers.Adagrad(epsilon="x"), ArgumentError, "Adagrad: expected epsilon"),
    (lambda: optimizers.Adam(beta_1=1), ArgumentError, "Adam: expected beta_1 .* below 1, got 1"),
    (lambda: optimizers.AdamW(beta_2=-1), ArgumentError, "AdamW: expected beta_2"),
    (lambda: optimizers.Adam(epsilon=math.nan), ArgumentError, "Adam: expected epsilon"),
    (lambda: optimizers.AdamW(weight_decay=None), ArgumentError, "AdamW: expected weight_decay"),
    (lambda: optimizers.SGD(weight_decay=-1), ArgumentError, "SGD: expected weight_decay"),
    (lambda: optimizers.SGD(clipnorm=0), ArgumentError, "SGD: expected clipnorm to be a finite number above 0, got 0"),
    (lambda: optimizers.SGD(clipvalue="x"), ArgumentError, "SGD: expected clipvalue"),
    (lambda: optimizers.SGD(global_clipnorm=-1), ArgumentError, "SGD: expected global_clipnorm"),
    (lambda: optimizers.SGD(clipnorm=1, clipvalue=1), ArgumentError, "one kind of clipping, got clipnorm and clipv"),
    (lambda: optimizers.SGD().apply([rv.ones(1)]), ArgumentError, "SGD: expected variables on the first step"),
    (lambda: optimizers.SGD().apply([], [W]), ArgumentError, "SGD: expected 1 gradients, one for each variable, got 0"),
    (lambda: optimizers.SGD().apply([None], [W]), ArgumentError, "SGD: variable 'w' has no gradient"),
    (lambda: optimizers.SGD().apply([rv.ones(2)], [W]), ShapeError, r"expected a gradient of shape \(1,\) for 'w'"),
    (lambda: optimizers.SGD().build([rv.ones(1)]), ArgumentError, "SGD: expected variables, got Tensor"),
    (lambda: optimizers.Optimizer().apply([rv.ones(1)], [W]), ArgumentError, "Optimizer: define update"),
    (lambda: optimizers.get("adm"), ArgumentError, r"unknown optimizer 'adm'. Did you mean 'adam'\?"),
    (lambda: optimizers.get(3), ArgumentError, "optimizer: expected a name, .*, got 3"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors(number: int) -> None:
    call, error, text = ERRORS[number]
    with pytest.raises(error, match=text):
        call()
    assert W.numpy().tolist() == [1.0]


def test_one_optimizer_for_one_model() -> None:
    sgd = optimizers.SGD()
    sgd.apply([rv.ones(1)], [rv.Variable([1.0])])
    with pytest.raises(
        ArgumentError, match=r"SGD: built for 1 variables, now given other ones .*one optimizer for each"
    ):
        sgd.apply([rv.ones(1)], [rv.Variable([1.0], name="other")])


def test_names() -> None:
    for name in ("sgd", "rmsprop", "adagrad", "adam", "adamw", "SGD", "RMSprop", "AdamW"):
        assert isinstance(optimizers.get(name), optimizers.Optimizer)
    made = optimizers.Adam(0.2)
    assert optimizers.get(made) is made
    assert type(optimizers.get(optimizers.SGD)) is optimizers.SGD
    assert optimizers.get({"class_name": "SGD", "config": {"learning_rate": 0.5}}).get_config()["learning_rate"] == 0.5
