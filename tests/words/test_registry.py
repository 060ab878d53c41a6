"""Names and configurations: a closed registry, plain data, errors that list what is known."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import activations, initializers, layers, losses, metrics, optimizers, regularizers
from ranvier.errors import ArgumentError
from ranvier.layers.checks import number, whole
from ranvier.layers.registry import Configurable, Registry, plain, snake_case
from ranvier.optimizers import schedules

from . import recurrent_reference, spatial_reference, word_reference

ROOMS = (activations, initializers, layers, losses, metrics, optimizers, regularizers, schedules)


def make(room: Any, name: str) -> Any:
    """An object of every registered class, with arguments where they are needed."""
    needed: dict[str, Any] = {
        "Dense": {"units": 3}, "Activation": {"activation": "relu"}, "Dropout": {"rate": 0.5},
        "InputLayer": {"shape": (4,)}, "Rescaling": {"scale": 2.0}, "Reshape": {"target_shape": (2, 2)},
        "ConfusionMatrix": {"num_classes": 3}, "MeanMetricWrapper": {"fn": losses.Huber(2.0)},
        "ExponentialDecay": {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.9},
        "InverseTimeDecay": {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.9},
        "PolynomialDecay": {"initial_learning_rate": 0.1, "decay_steps": 10},
        "CosineDecay": {"initial_learning_rate": 0.1, "decay_steps": 10},
        "PiecewiseConstantDecay": {"boundaries": [10], "values": [0.1, 0.01]},
        **{name: cases[0][0] for name, cases in (spatial_reference.CASES | recurrent_reference.CASES).items()},
        **{name: cases[0][0] for name, cases in word_reference.CASES.items()},
        **recurrent_reference.CELLS,
    }  # fmt: skip
    return room.register.__self__.find(name)(**needed.get(name, {}))


CASES = [(room, name) for room in ROOMS if room is not activations for name in room.names()]


@pytest.mark.parametrize("room, name", CASES, ids=[f"{r.__name__.split('.')[-1]}-{n}" for r, n in CASES])
def test_configuration_is_json_and_comes_back(room: Any, name: str) -> None:
    made = make(room, name)
    data = room.serialize(made)
    assert set(data) == {"class_name", "config"}
    assert data["class_name"] == name
    again = room.deserialize(json.loads(json.dumps(data, allow_nan=False)))
    assert type(again) is type(made)
    assert room.serialize(again) == data
    assert "object at 0x" not in repr(made)


@pytest.mark.parametrize("room", ROOMS, ids=lambda r: r.__name__)
def test_unknown_names_list_the_known_ones(room: Any) -> None:
    known = room.names()[0]
    with pytest.raises(ArgumentError, match=rf"unknown \w+ 'no_such_thing'.* Known names: .*{known}.*register"):
        room.deserialize({"class_name": "no_such_thing", "config": {}})
    for bad in (3, [], {"config": {}}, {"class_name": 3}, {"class_name": known, "config": 3}):
        with pytest.raises(ArgumentError, match=r"expected a (configuration|name)"):
            room.deserialize(bad)


def test_names_never_import_or_evaluate() -> None:
    for name in ("os.system", "builtins.eval", "__import__", "numpy.load", "Dense.__init__", "ranvier.layers.Dense"):
        with pytest.raises(ArgumentError, match="unknown layer"):
            layers.deserialize({"class_name": name, "config": {}})


def test_wrong_entries_in_a_configuration() -> None:
    with pytest.raises(ArgumentError, match=r"Dense.from_config: unknown entries unit. Known: units, activation"):
        layers.deserialize({"class_name": "Dense", "config": {"unit": 3}})
    with pytest.raises(ArgumentError, match=r"Dense.from_config: missing a required argument: 'units'"):
        layers.deserialize({"class_name": "Dense", "config": {}})


def test_registering_your_own() -> None:
    sounds = Registry("sound", "ranvier.sounds")

    class Sound(Configurable):
        registry = sounds

    def define() -> type[Sound]:
        @sounds.register("moo", "muh")
        class CowSound(Sound):
            def __init__(self, loud: bool = False):
                self.loud = loud

        return CowSound

    kind = define()
    for name in ("CowSound", "cow_sound", "moo", "muh"):
        assert type(sounds.get(name)) is kind
    again = define()  # the same definition run again, as in a notebook, replaces itself
    assert type(sounds.get("moo")) is again
    assert sounds.names() == ["CowSound"]

    with pytest.raises(ArgumentError, match="register: the sound name 'moo' already belongs to CowSound"):

        @sounds.register("moo")
        class Other(Sound):
            pass

    class Unknown(Sound):
        pass

    with pytest.raises(ArgumentError, match=r"sound 'Unknown' is not registered, .* @ranvier.sounds.register"):
        sounds.serialize(Unknown())
    with pytest.raises(ArgumentError, match="sound: expected a name, got 3"):
        sounds.find(3)
    assert sounds.serialize(None) is None
    assert sounds.deserialize(None) is None


def test_constructor_arguments_must_be_plain() -> None:
    @layers.register
    class Odd(layers.Layer):
        def __init__(self, thing: Any, **common: Any):
            super().__init__(**common)
            self.thing = thing

    assert layers.serialize(Odd((1, np.float32(0.1), np.int64(3), np.True_)))["config"]["thing"] == [1, 0.1, 3, True]
    assert layers.serialize(Odd({"a": rv.float32}))["config"]["thing"] == {"a": "float32"}
    assert layers.serialize(Odd(rv.tensor([1.5, 2.0])))["config"]["thing"] == [1.5, 2.0]
    with pytest.raises(ArgumentError, match=r"Odd: expected a number, a string or a registered object .* got <object"):
        layers.serialize(Odd(object()))


def test_plain_numbers_are_short() -> None:
    assert plain(np.float32(0.001), "x") == 0.001
    assert plain(rv.Variable(0.1), "x") == 0.1


@pytest.mark.parametrize(
    "name, expected",
    [
        ("Dense", "dense"), ("InputLayer", "input_layer"), ("AUC", "auc"), ("R2Score", "r2_score"), ("SGD", "sgd"),
        ("RMSprop", "rmsprop"), ("AdamW", "adamw"), ("L1L2", "l1l2"), ("Conv2D", "conv2d"), ("LSTM", "lstm"),
    ],
)  # fmt: skip
def test_snake_case(name: str, expected: str) -> None:
    assert snake_case(name) == expected


def test_number_and_whole() -> None:
    assert number("X", "a", np.float32(0.5), 0, 1) == 0.5
    assert whole("X", "n", np.int64(3)) == 3
    for value, text in (
        (math.nan, r"X: expected a to be a finite number of at least 0 and below 1, got nan \(float\)"),
        (1, "got 1"),
        (-0.1, "got -0.1"),
        (True, "got True"),
        ("1", "got '1'"),
        (None, "got None"),
    ):
        with pytest.raises(ArgumentError, match=text):
            number("X", "a", value, 0, 1, below=True)
    with pytest.raises(ArgumentError, match="above 0 and at most 1, got 0"):
        number("X", "a", 0, 0, 1, above=True)
    with pytest.raises(ArgumentError, match=r"X: expected a to be a finite number, got inf"):
        number("X", "a", math.inf)
    for bad in (0, 2.0, True, "3", None):
        with pytest.raises(ArgumentError, match="X: expected n to be an integer of at least 1, got"):
            whole("X", "n", bad)
