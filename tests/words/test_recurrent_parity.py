"""Outputs and gradients of recurrent layers equal those of Keras 3 and of PyTorch, where these are installed."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import layers

from .recurrent_reference import config

os.environ.setdefault("KERAS_BACKEND", "torch")
torch = pytest.importorskip("torch", reason="parity with PyTorch needs torch", exc_type=ImportError)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    keras = pytest.importorskip("keras", reason="parity with Keras needs keras", exc_type=ImportError)

pytestmark = pytest.mark.filterwarnings("ignore")

BATCH, STEPS, FEATURES, UNITS = 3, 5, 4, 6
# Both sides compute in float32; a gradient is a sum of a few hundred products of numbers of order 1.
TOLERANCE = {"rtol": 1e-4, "atol": 2e-5}


def numbers(value: Any) -> list[np.ndarray]:
    """All arrays in what a layer returned, ours or theirs."""
    if isinstance(value, list | tuple):
        return [a for v in value for a in numbers(v)]
    return [np.asarray(keras.ops.convert_to_numpy(value) if not isinstance(value, rv.Tensor) else value)]


def randomised(layer: Any, rng: np.random.Generator) -> list[np.ndarray]:
    """Weights drawn anew, so that biases are not 0."""
    return [(rng.normal(size=w.shape) * 0.5).astype(np.float32) for w in layer.get_weights()]


def our_gradients(layer: Any, x: np.ndarray, cotangents: list[np.ndarray], **options: Any) -> list[np.ndarray]:
    def total(t: Any) -> Any:
        leaves = layer(t, **options)
        leaves = leaves if isinstance(leaves, tuple) else (leaves,)
        return sum((rv.sum(y * g) for y, g in zip(leaves, cotangents, strict=True)), rv.tensor(0.0))

    by_x = rv.grad(total)(rv.tensor(x))
    by_w = rv.grad(lambda: total(rv.tensor(x)), wrt=layer.trainable_weights)()
    return [g.numpy() for g in (by_x, *by_w)]


def their_gradients(layer: Any, x: np.ndarray, cotangents: list[np.ndarray], **options: Any) -> list[np.ndarray]:
    """By PyTorch's autograd, or by JAX's where Keras runs on it."""
    if keras.backend.backend() == "torch":
        t = torch.tensor(x, requires_grad=True)
        leaves = layer(t, **options)
        leaves = leaves if isinstance(leaves, list | tuple) else [leaves]
        total = sum((y * torch.tensor(g)).sum() for y, g in zip(leaves, cotangents, strict=True))
        weights = [w.value for w in layer.trainable_weights]
        return [g.numpy() for g in torch.autograd.grad(total, [t, *weights])]
    jax = pytest.importorskip("jax")

    def total_of(t: Any, weights: Any) -> Any:
        leaves, _ = layer.stateless_call(weights, [v.value for v in layer.non_trainable_variables], t, **options)
        leaves = leaves if isinstance(leaves, list | tuple) else [leaves]
        return sum((y * g).sum() for y, g in zip(leaves, cotangents, strict=True))

    by_x, by_w = jax.grad(total_of, (0, 1))(x, [w.value for w in layer.trainable_weights])
    return [np.asarray(g) for g in (by_x, *by_w)]


def compare(
    ours: Any, theirs: Any, x: np.ndarray, rng: np.random.Generator, gradients: bool = True, **given: Any
) -> Any:
    """The same numbers from the same weights, and the same gradients by the input and every weight."""
    theirs(x)
    ours(x)
    weights = randomised(theirs, rng)
    assert [w.shape for w in ours.get_weights()] == [w.shape for w in weights]
    theirs.set_weights(weights)
    ours.set_weights(weights)
    a, b = numbers(ours(x, **given)), numbers(theirs(x, **given))
    assert [p.shape for p in a] == [p.shape for p in b]
    for p, q in zip(a, b, strict=True):
        assert np.allclose(p, q, **TOLERANCE)
    if gradients:
        cotangents = [rng.normal(size=p.shape).astype(np.float32) for p in a]
        for p, q in zip(
            our_gradients(ours, x, cotangents, **given), their_gradients(theirs, x, cotangents, **given), strict=True
        ):
            assert p.shape == q.shape
            assert np.allclose(p, q, **TOLERANCE)
    return a


def sequences(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    mask = np.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]], bool)
    return rng.normal(size=(BATCH, STEPS, FEATURES)).astype(np.float32), mask


KINDS = ("SimpleRNN", "LSTM", "GRU")
OPTIONS: list[dict[str, Any]] = [
    {},
    {"return_sequences": True},
    {"return_state": True, "go_backwards": True},
    {"return_sequences": True, "return_state": True, "go_backwards": True},
    {"use_bias": False, "activation": "relu"},
    {"return_sequences": True, "unroll": True, "activation": None},
]


@pytest.mark.parametrize("options", OPTIONS, ids=range(len(OPTIONS)))
@pytest.mark.parametrize("kind", KINDS)
def test_layers(kind: str, options: dict[str, Any], rng: np.random.Generator) -> None:
    x, _ = sequences(rng)
    compare(getattr(layers, kind)(UNITS, **options), getattr(keras.layers, kind)(UNITS, **options), x, rng)


@pytest.mark.parametrize("options", [{}, {"recurrent_activation": "hard_sigmoid"}, {"use_bias": False}])
def test_gru_that_resets_before(options: dict[str, Any], rng: np.random.Generator) -> None:
    x, _ = sequences(rng)
    options = {"return_sequences": True, "reset_after": False, **options}
    compare(layers.GRU(UNITS, **options), keras.layers.GRU(UNITS, **options), x, rng)


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_masks(kind: str, backwards: bool, zero: bool, rng: np.random.Generator) -> None:
    x, mask = sequences(rng)
    for more in ({"return_sequences": True, "return_state": True}, {}):
        options = {"go_backwards": backwards, "zero_output_for_mask": zero, **more}
        ours, theirs = getattr(layers, kind)(UNITS, **options), getattr(keras.layers, kind)(UNITS, **options)
        compare(
            ours, theirs, x, rng, gradients=bool(more), mask=mask if keras.backend.backend() != "torch" else t(mask)
        )


def t(array: np.ndarray) -> Any:
    """An array as Keras and Ranvier both take it."""
    return torch.tensor(array)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_initial_state(kind: str, masked: bool, rng: np.random.Generator) -> None:
    x, mask = sequences(rng)
    count = 2 if kind == "LSTM" else 1
    states = [rng.normal(size=(BATCH, UNITS)).astype(np.float32) for _ in range(count)]
    for options in ({"return_sequences": True, "return_state": True}, {}):
        ours, theirs = getattr(layers, kind)(UNITS, **options), getattr(keras.layers, kind)(UNITS, **options)
        theirs(x)
        ours(x)
        ours.set_weights(randomised(ours, rng))
        theirs.set_weights(ours.get_weights())
        given: dict[str, Any] = {"mask": mask} if masked else {}
        a = numbers(ours(x, initial_state=states, **given))
        given = {"mask": keras.ops.convert_to_tensor(mask)} if masked else {}
        b = numbers(theirs(x, initial_state=[keras.ops.convert_to_tensor(s) for s in states], **given))
        for p, q in zip(a, b, strict=True):
            assert np.allclose(p, q, **TOLERANCE)


@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
def test_bidirectional(mode: str | None, rng: np.random.Generator) -> None:
    x, mask = sequences(rng)
    for kind, options in (
        ("LSTM", {"return_sequences": True, "return_state": True}),
        ("GRU", {}),
        ("SimpleRNN", {"return_sequences": True}),
    ):
        ours = layers.Bidirectional(getattr(layers, kind)(UNITS, **options), merge_mode=mode)
        theirs = keras.layers.Bidirectional(getattr(keras.layers, kind)(UNITS, **options), merge_mode=mode)
        compare(ours, theirs, x, rng, gradients=kind == "LSTM")
        found = compare(ours, theirs, x, rng, gradients=False, mask=keras.ops.convert_to_tensor(mask))
        expected = ours.compute_output_shape((BATCH, STEPS, FEATURES))
        expected = expected if isinstance(expected[0], tuple) else (expected,)
        assert [a.shape for a in found] == list(expected)


def test_bidirectional_with_a_backward_layer_and_states(rng: np.random.Generator) -> None:
    x, _ = sequences(rng)
    made = []
    for room in (layers, keras.layers):
        back = room.GRU(UNITS, activation="relu", return_sequences=True, go_backwards=True, name="back")
        made.append(room.Bidirectional(room.LSTM(UNITS, return_sequences=True, name="ahead"), backward_layer=back))
    compare(*made, x, rng)
    states = [rng.normal(size=(BATCH, UNITS)).astype(np.float32) for _ in range(4)]
    ours, theirs = (room.Bidirectional(room.LSTM(UNITS)) for room in (layers, keras.layers))
    theirs(x)
    ours(x)
    ours.set_weights(theirs.get_weights())
    b = theirs(x, initial_state=[keras.ops.convert_to_tensor(s) for s in states])
    assert np.allclose(ours(x, initial_state=states), numbers(b)[0], **TOLERANCE)


@pytest.mark.parametrize("names", [("LSTM", "LSTM"), ("GRU", "SimpleRNN", "LSTM")])
def test_stacked_cells(names: tuple[str, ...], rng: np.random.Generator) -> None:
    x, mask = sequences(rng)
    for options in ({"return_sequences": True}, {"go_backwards": True}):
        ours, theirs = (
            room.RNN([getattr(room, f"{n}Cell")(UNITS + i) for i, n in enumerate(names)], **options)
            for room in (layers, keras.layers)
        )
        compare(ours, theirs, x, rng, gradients="go_backwards" in options)
        compare(ours, theirs, x, rng, gradients=False, mask=keras.ops.convert_to_tensor(mask))


@pytest.mark.parametrize("name, options", [("Dense", {"units": 2}), ("Dropout", {"rate": 0.5}), ("LSTM", {"units": 3})])
def test_time_distributed(name: str, options: dict[str, Any], rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    ours = layers.TimeDistributed(layers.deserialize(config(name, **options)))
    compare(ours, keras.layers.TimeDistributed(getattr(keras.layers, name)(**options)), x, rng)
    assert ours.compute_output_shape((None, 3, 4, 5)) == (None, *ours(x).shape[1:])


def test_a_whole_masked_network(rng: np.random.Generator) -> None:
    """Masking, two recurrent layers and a dense one, and the loss of a padded batch."""
    x, mask = sequences(rng)
    x[~mask] = 0
    y = rng.normal(size=(BATCH, STEPS, 2)).astype(np.float32)
    made = []
    for room, sequential in ((layers, rv.Sequential), (keras.layers, keras.Sequential)):
        parts = [
            room.Masking(), room.Bidirectional(room.LSTM(UNITS, return_sequences=True)),
            room.GRU(UNITS, return_sequences=True), room.TimeDistributed(room.Dense(2)),
        ]  # fmt: skip
        made.append(sequential(parts))
    ours, theirs = made
    compare(ours, theirs, x, rng, gradients=False)
    ours.compile("sgd", "mse", metrics=["mae"])
    theirs.compile("sgd", "mse", metrics=["mae"])
    a, b = ours.evaluate(x, y, verbose=0), theirs.evaluate(x, y, verbose=0)
    assert np.allclose(a, b, rtol=1e-4)


# -- PyTorch ------------------------------------------------------------------------------------------------------


def from_torch(module: Any, order: tuple[int, ...], keep: str) -> list[np.ndarray]:
    """PyTorch's weights in our layout: transposed, the gates in our order, the biases apart, stacked or added."""

    def columns(w: Any) -> np.ndarray:
        blocks = np.split(w.detach().numpy(), len(order))
        return np.concatenate([blocks[i] for i in order]).T

    kernel, recurrent, b, d = (
        columns(getattr(module, n)) for n in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    )
    biases = {"apart": [b, d], "stacked": [np.stack([b, d])], "added": [b + d]}[keep]
    return [kernel, recurrent, *biases]


TORCH = [
    ("SimpleRNN", "RNN", {}, (0,), "added"),
    ("LSTM", "LSTM", {"separate_bias": True}, (0, 1, 2, 3), "apart"),
    ("LSTM", "LSTM", {}, (0, 1, 2, 3), "added"),
    ("GRU", "GRU", {}, (1, 0, 2), "stacked"),  # PyTorch's order is reset, update, new
]


@pytest.mark.parametrize("kind, theirs, options, order, keep", TORCH, ids=range(len(TORCH)))
def test_pytorch(
    kind: str, theirs: str, options: dict[str, Any], order: tuple[int, ...], keep: str, rng: np.random.Generator
) -> None:
    x, _ = sequences(rng)
    module = getattr(torch.nn, theirs)(FEATURES, UNITS, batch_first=True)
    layer = getattr(layers, kind)(UNITS, return_sequences=True, **options)
    layer(x)
    layer.set_weights(from_torch(module, order, keep))
    expected, _ = module(torch.tensor(x))
    assert np.allclose(layer(x), expected.detach().numpy(), **TOLERANCE)
    g = rng.normal(size=expected.shape).astype(np.float32)
    t_x = torch.tensor(x, requires_grad=True)
    parameters = [module.weight_ih_l0, module.weight_hh_l0, module.bias_ih_l0, module.bias_hh_l0]
    slopes = torch.autograd.grad((module(t_x)[0] * torch.tensor(g)).sum(), [t_x, *parameters])
    by_x, *by_w = our_gradients(layer, x, [g])
    assert np.allclose(by_x, slopes[0], **TOLERANCE)
    for p, value in zip(parameters, slopes[1:], strict=True):
        p.data = value  # so that the gradients take the same way as the weights
    wanted = from_torch(module, order, keep)
    if keep == "added":  # each of PyTorch's two biases has the gradient of our one
        wanted[-1] = wanted[-1] / 2
    for p, q in zip(by_w, wanted, strict=True):
        assert np.allclose(p, q, **TOLERANCE)


def test_pytorch_lstm_of_two_layers_both_ways(rng: np.random.Generator) -> None:
    x, _ = sequences(rng)
    module = torch.nn.LSTM(FEATURES, UNITS, num_layers=2, bidirectional=True, batch_first=True)
    model = rv.Sequential(
        [layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True, separate_bias=True)) for _ in range(2)]
    )
    model(x)
    names = [f"{n}_{s}" for s in ("l0", "l0_reverse", "l1", "l1_reverse")
             for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]  # fmt: skip
    model.set_weights([getattr(module, name).detach().numpy().T for name in names])
    expected, _ = module(torch.tensor(x))
    assert np.allclose(model(x), expected.detach().numpy(), **TOLERANCE)
    assert np.allclose(model.predict(x), expected.detach().numpy(), **TOLERANCE)
