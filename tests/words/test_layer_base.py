"""What every layer inherits: names, weights in Keras order, building once, training flags, layers inside layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import layers
from ranvier.errors import ArgumentError, DTypeError, ShapeError
from ranvier.jit import jit
from ranvier.layers import Dense, Dropout, Layer
from ranvier.ops.table import state


class Block(Layer):
    """Two dense layers and weights of its own, made in an order that is not the order of `weights`."""

    def __init__(self, **common: Any):
        super().__init__(**common)
        self.first = Dense(3, name="first")
        self.rest = [Dense(2, name="second"), {"drop": Dropout(0.5, seed=1, name="drop")}]

    def build(self, input_shape: Any) -> None:
        self.mean = self.add_weight("mean", (input_shape[-1],), "zeros", trainable=False)
        self.scale = self.add_weight("scale", (input_shape[-1],), "ones", regularizer="l2")

    def call(self, x: Any) -> Any:
        return self.rest[1]["drop"](self.rest[0](self.first(x * self.scale - self.mean)))


def test_automatic_names() -> None:
    layers.reset_names()
    assert [Dense(1).name, Dense(1).name, layers.InputLayer((1,)).name, Dense(1).name] == [
        "dense", "dense_1", "input_layer", "dense_2",
    ]  # fmt: skip
    layers.reset_names()
    assert Dense(1).name == "dense"
    assert Dense(1, name="mine").name == "mine"
    assert Dense(1).name == "dense_1"


def test_weights_in_keras_order() -> None:
    block = Block(name="block")
    assert block.weights == []
    block(rv.ones((2, 4)))
    assert [v.name for v in block.weights] == [
        "block/scale", "block/mean", "first/kernel", "first/bias", "second/kernel", "second/bias",
    ]  # fmt: skip
    assert [v.name for v in block.non_trainable_weights] == ["block/mean"]
    assert len(block.trainable_weights) == 5
    assert [v.name for v in block.variables][-1] == "random_state"
    assert block.count_params() == 4 + 4 + 15 + 8
    assert [layer.name for layer in block.sublayers] == ["first", "second", "drop"]
    assert len(block.losses) == 1


def test_trainable_switch() -> None:
    block = Block(name="block")
    block(rv.ones((2, 4)))
    block.trainable = False
    assert block.trainable_weights == []
    assert len(block.weights) == 6
    assert not block.first.trainable
    block.trainable = True
    assert [v.name for v in block.non_trainable_weights] == ["block/mean"]
    frozen = Dense(2, trainable=False)
    frozen(rv.ones((1, 2)))
    assert frozen.trainable_weights == []
    frozen.trainable = True
    assert len(frozen.trainable_weights) == 2


def test_plain_variables_count_as_weights() -> None:
    class Scale(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.factor = rv.Variable([2.0], name="factor")
            self.seen = rv.Variable([0], name="seen", trainable=False)

        def call(self, x: Any) -> Any:
            return x * self.factor

    layer = Scale()
    assert layer(rv.ones((1, 1))).tolist() == [[2.0]]
    assert [v.name for v in layer.weights] == ["factor", "seen"]
    layer.trainable = False
    assert layer.trainable_weights == []
    layer.trainable = True
    assert [v.name for v in layer.trainable_weights] == ["factor"]


def test_layers_in_a_circle_and_shared_layers() -> None:
    class Pair(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.a = Dense(2)
            self.b = self.a

        def call(self, x: Any) -> Any:
            return self.b(self.a(x))

    pair = Pair()
    pair.back = pair
    pair(rv.ones((1, 2)))
    assert len(pair.weights) == 2


def test_get_and_set_weights() -> None:
    layer = Dense(2, name="d")
    layer(rv.ones((1, 3)))
    new = [np.arange(6.0).reshape(3, 2), np.array([1, 2])]
    layer.set_weights(new)
    assert [w.tolist() for w in layer.get_weights()] == [w.tolist() for w in new]
    layer.get_weights()[0][:] = 9  # copies
    assert layer.get_weights()[0].max() == 5
    for bad, error, text in (
        (new[:1], ArgumentError, "Dense 'd': expected 2 weight arrays, got 1"),
        ([new[0] + 1, np.ones(3)], ShapeError, r"Dense 'd': expected shape \(2,\) for weight 'd/bias', got \(3,\)"),
    ):
        with pytest.raises(error, match=text):
            layer.set_weights(bad)
    assert [w.tolist() for w in layer.get_weights()] == [w.tolist() for w in new]  # nothing half-done
    with pytest.raises(ArgumentError, match=r"expected 0 weight arrays, got 2. The layer is not built yet"):
        Dense(2).set_weights(new)
    counter = Layer()
    counter.n = rv.Variable([0], name="n", trainable=False)
    with pytest.raises(DTypeError, match="expected int64 for weight 'n', got float64"):
        counter.set_weights([np.array([0.5])])


def test_count_params_needs_weights() -> None:
    with pytest.raises(ArgumentError, match="Dense 'd': the layer has no weights yet"):
        Dense(2, name="d").count_params()


def test_builds_once_and_explicitly() -> None:
    layer = Dense(2)
    layer.build((None, 3))
    kernel = layer.kernel
    layer.build((None, 3))
    layer(rv.ones((1, 3)))
    assert layer.kernel is kernel
    assert layer.built_shape == (None, 3)


def test_a_failed_build_leaves_nothing() -> None:
    class Half(Layer):
        fail = True

        def build(self, input_shape: Any) -> None:
            self.w = self.add_weight("w", (1,), "ones", regularizer="l1")
            if self.fail:
                raise ValueError("no")

        def call(self, x: Any) -> Any:
            return x * self.w

    layer = Half()
    with pytest.raises(ValueError, match="no"):
        layer(rv.ones((1, 1)))
    assert not layer.built
    assert layer.weights == []
    assert layer.losses == []
    assert not hasattr(layer, "w")
    Half.fail = False
    assert layer(rv.ones((1, 1))).tolist() == [[1.0]]
    assert len(layer.weights) == len(layer.losses) == 1


def test_build_of_a_base_class() -> None:
    class More(Dense):
        def build(self, input_shape: Any) -> None:
            super().build(input_shape)
            self.extra = self.add_weight("extra", (1,))

    layer = More(2)
    layer(rv.ones((1, 3)))
    assert len(layer.weights) == 3
    assert layer.built_shape == (None, 3)


def test_add_weight_errors() -> None:
    layer = Layer(name="l")
    layer.add_weight("w", (2,))
    with pytest.raises(ArgumentError, match="Layer 'l': there is a weight called 'w' already"):
        layer.add_weight("w", (2,))
    with pytest.raises(ShapeError, match=r"Layer 'l': the initializer of 'v' returned shape \(3,\), expected \(2,\)"):
        layer.add_weight("v", (2,), lambda shape, dtype: rv.ones(3))

    class Forgot(Layer):
        def __init__(self) -> None:
            self.x = 1

    with pytest.raises(ArgumentError, match=r"Forgot: __init__ must call super\(\).__init__\(\) first"):
        Forgot()(rv.ones(1))


def test_training_flag_is_inherited() -> None:
    seen = []

    class Inner(Layer):
        def call(self, x: Any, training: bool = False) -> Any:
            seen.append(training)
            return x

    class Outer(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()

        def call(self, x: Any) -> Any:  # takes no flag itself
            return self.inner(self.inner(x, training=False))

    outer = Outer()
    outer(rv.ones(1))
    outer(rv.ones(1), training=True)
    outer(rv.ones(1), training=False)
    assert seen == [False, False, False, True, False, False]
    with pytest.raises(ZeroDivisionError, match="division"):
        Raising()(rv.ones(1), training=True)
    assert Inner()(rv.ones(1)) is not None
    assert seen[-1] is False


class Raising(Layer):
    def call(self, x: Any, training: bool = False) -> Any:
        return 1 / 0


def test_scope_names_the_layer() -> None:
    seen = []

    class Spy(Layer):
        def call(self, x: Any) -> Any:
            seen.append(state.scope)
            return x

    class Outer(Layer):
        def __init__(self) -> None:
            super().__init__(name="outer")
            self.spy = Spy(name="spy")

        def call(self, x: Any) -> Any:
            return self.spy(x)

    Outer()(rv.ones(1))
    assert seen == ["outer/spy"]
    assert state.scope == ""


def test_nests_of_inputs() -> None:
    class Add(Layer):
        def call(self, inputs: Any, factor: float = 1.0) -> Any:
            return (inputs[0] + inputs[1]["b"]) * factor

    layer = Add()
    out = layer([np.ones((2, 3)), {"b": np.ones((2, 3))}], factor=2.0)
    assert out.dtype is rv.float32
    assert out.tolist() == [[4.0] * 3] * 2
    assert layer.built_shape == [(None, 3), {"b": (None, 3)}]


def test_first_call_inside_a_compiled_function() -> None:
    rv.set_random_seed(3)
    layer = Dense(2)
    x = rv.ones((2, 3))
    compiled = jit(lambda t: layer(t))(x).numpy()
    rv.set_random_seed(3)
    assert np.allclose(Dense(2)(x).numpy(), compiled)
    assert np.allclose(layer(x).numpy(), compiled)


def test_input_shape_as_keras_allows() -> None:
    assert Dense(2, input_shape=(4,)).batch_input_shape == (None, 4)
    assert Dense(2).batch_input_shape is None


def test_layers_without_arguments_and_get() -> None:
    layer = Dense(2)
    assert layers.get(layer) is layer
    assert isinstance(layers.get({"class_name": "Flatten", "config": {}}), layers.Flatten)


def test_dense_stays_small() -> None:
    import ast
    import inspect

    source = inspect.getsource(Dense)
    assert len(source.splitlines()) <= 100
    constructor = next(
        n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef) and n.name == "__init__"
    )
    assert len(constructor.args.args) - 1 <= 7
