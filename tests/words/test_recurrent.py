"""Recurrent layers against loops in NumPy: masks, states, dropout, cells of one's own, and every kind of bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import layers
from ranvier.errors import ArgumentError, ShapeError
from ranvier.layers import Layer
from ranvier.layers.masks import mask_of

from .recurrent_reference import STEPS, config, gru_step, lstm_step, run, whole

BATCH, TIME, FEATURES, UNITS = 3, 5, 2, 4


def sequences(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    mask = np.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]], bool)
    return rng.normal(size=(BATCH, TIME, FEATURES)), mask


def built(layer: Any, x: np.ndarray, rng: np.random.Generator) -> Any:
    """The layer with weights drawn anew, so that biases are not 0."""
    layer.build((None, *x.shape[1:]))
    layer.set_weights([rng.normal(size=w.shape) * 0.5 for w in layer.get_weights()])
    return layer


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_masks_and_states(kind: str, backwards: bool, zero: bool, given: bool, rng: np.random.Generator) -> None:
    x, mask = sequences(rng)
    make, count = STEPS[kind]
    options = {"go_backwards": backwards, "zero_output_for_mask": zero, "dtype": "float64", "return_state": True}
    layer = built(getattr(layers, kind)(UNITS, return_sequences=True, **options), x, rng)
    last = getattr(layers, kind)(UNITS, **options)
    last.build(x.shape)
    last.set_weights(layer.get_weights())
    start = [rng.normal(size=(BATCH, UNITS)) if given else np.zeros((BATCH, UNITS)) for _ in range(count)]
    outputs, states = run(make(layer.get_weights()), x, start, mask, backwards, zero)
    more = {"initial_state": start} if given else {}
    found = layer(x, mask=mask, **more)
    assert len(found) == 1 + count
    assert np.allclose(found[0], outputs, atol=1e-12)
    assert all(np.allclose(a, b, atol=1e-12) for a, b in zip(found[1:], states, strict=True))
    short = last(x, mask=mask[..., None].astype(int), **more)
    assert np.allclose(short[0], outputs[:, -1], atol=1e-12)
    compiled = rv.jit(lambda t, m: layer(t, mask=m, **more))(x, mask)
    assert all(np.allclose(a, b, atol=1e-12) for a, b in zip(compiled, found, strict=True))


@pytest.mark.parametrize("separate", [False, True])
def test_the_six_formulas(separate: bool, rng: np.random.Generator) -> None:
    """Gradients by the input, the states and all weights against finite differences."""
    x = rng.normal(size=(2, 3, 2))
    cell = layers.LSTMCell(3, separate_bias=separate, dtype="float64")
    cell.build((None, 2))
    values = [rng.normal(size=w.shape) * 0.5 for w in cell.get_weights()]
    cell.set_weights(values)
    h, c = rng.normal(size=(2, 2, 3))
    w = cell.gate_weights()
    assert sorted(w) == sorted(
        f"{a}_{b}{g}" for a in "Wb" for b in "ih" for g in "ifgo" if separate or (a, b) != ("b", "h")
    )

    def total(name: str) -> np.ndarray:
        linear = w[f"W_i{name}"].numpy() @ x[:, 0].T + w[f"W_h{name}"].numpy() @ h.T
        extra = w[f"b_h{name}"].numpy()[:, None] if separate else 0
        return (linear + w[f"b_i{name}"].numpy()[:, None] + extra).T

    def s(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z))

    new_c = s(total("f")) * c + s(total("i")) * np.tanh(total("g"))
    new_h = s(total("o")) * np.tanh(new_c)
    inside = cell.gates(x[:, 0], [h, c])
    for name, value in (("i", s(total("i"))), ("f", s(total("f"))), ("g", np.tanh(total("g"))), ("o", s(total("o")))):
        assert np.allclose(inside[name], value)
    output, (found_h, found_c) = cell(x[:, 0], [h, c])
    for a, b in ((output, new_h), (found_h, new_h), (found_c, new_c), (inside["h"], new_h), (inside["c"], new_c)):
        assert np.allclose(a, b)
    layer = layers.LSTM(3, separate_bias=separate, dtype="float64", return_sequences=True)
    layer.build((None, 3, 2))

    def of(x: Any, h: Any, c: Any, *weights: Any) -> Any:
        for v, value in zip(layer.weights, weights, strict=True):
            object.__setattr__(v, "_read", lambda value=value: value)
        return layer(x, initial_state=[h, c])

    rv.check_gradients(of, x, h, c, *values)


def test_forget_bias() -> None:
    for separate in (False, True):
        cell = layers.LSTMCell(2, separate_bias=separate, bias_initializer="ones", unit_forget_bias=False)
        cell.build((None, 3))
        assert all((w == 1).all() for w in cell.get_weights()[2:])
        cell = layers.LSTMCell(2, separate_bias=separate)
        cell.build((None, 3))
        assert cell.get_weights()[2].tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
        assert all((w == 0).all() for w in cell.get_weights()[3:])


@pytest.mark.parametrize("kind", ["SimpleRNNCell", "LSTMCell", "GRUCell"])
def test_a_cell_by_hand_is_the_layer(kind: str, rng: np.random.Generator) -> None:
    x, _ = sequences(rng)
    cell = getattr(layers, kind)(UNITS, dtype="float64")
    states = cell.get_initial_state(BATCH)
    for t in range(TIME):
        output, states = cell(x[:, t], states)
    layer = layers.RNN(cell, return_state=True, dtype="float64")
    found = layer(x)
    assert np.allclose(found[0], output, atol=1e-12)
    assert all(np.allclose(a, b, atol=1e-12) for a, b in zip(found[1:], states, strict=True))
    assert layer.weights == cell.weights
    assert cell.compute_output_shape((None, FEATURES)) == (None, UNITS)
    if kind != "LSTMCell":
        single, state = cell(x[:, 0], rv.zeros((BATCH, UNITS), "float64"))
        assert single.tolist() == state.tolist()


class Counter(Layer):
    """A cell of one's own: its output is not its state, and has another size; the states start from 10 and 20."""

    state_size = (1, 2)
    output_size = 3

    def get_initial_state(self, batch_size: int) -> Any:
        return [rv.full((batch_size, 1), 10.0), rv.full((batch_size, 2), 20.0)]

    def call(self, x: Any, states: Any, training: bool = False) -> Any:
        a, b = states
        a, b = a + rv.sum(x, -1, keepdims=True), b * 2.0
        return rv.concatenate([a, b], -1), (a, b)  # a tuple, though a list came in


def test_a_cell_of_ones_own() -> None:
    x = np.ones((2, 4, 1), np.float32)
    layer = layers.RNN(Counter(), return_sequences=True, return_state=True)
    outputs, a, b = layer(x)
    assert outputs.tolist()[0] == [[11, 40, 40], [12, 80, 80], [13, 160, 160], [14, 320, 320]]
    assert (a.tolist()[0], b.tolist()[0]) == ([14], [320, 320])
    assert layer.compute_output_shape((None, 4, 1)) == ((None, 4, 3), (None, 1), (None, 2))
    assert layers.RNN(Counter())(x).tolist()[0] == [14, 320, 320]
    assert rv.jit(layers.RNN(Counter()))(x).tolist()[0] == [14, 320, 320]
    mask = np.array([[False, True, False, True], [True, False, False, False]])
    outputs = layers.RNN(Counter(), return_sequences=True)(x, mask=mask)
    assert outputs.tolist()[0] == [[0, 0, 0], [11, 40, 40], [11, 40, 40], [12, 80, 80]]
    assert outputs.tolist()[1] == [[11, 40, 40]] * 4
    assert layers.RNN(Counter(), zero_output_for_mask=True)(x, mask=mask).tolist()[1] == [0, 0, 0]

    class Plain:  # not a layer
        state_size = 1

        def call(self, x: Any, states: Any) -> Any:
            return x * 2.0, states

    assert layers.RNN(Plain())(x).tolist() == [[2.0], [2.0]]
    stack = layers.RNN([Counter(), layers.SimpleRNNCell(2)], return_state=True)
    last, (one, two), three = stack(x)
    assert (last.shape, one.tolist()[0], two.shape, three.shape) == ((2, 2), [14], (2, 2), (2, 2))


def test_a_stack_as_one_cell_is_layer_upon_layer(rng: np.random.Generator) -> None:
    x, mask = sequences(rng)
    cells = [layers.LSTMCell(3, dtype="float64"), layers.GRUCell(2, dtype="float64")]
    stacked = layers.StackedRNNCells(cells, dtype="float64")
    states = stacked.get_initial_state(BATCH)
    outputs = []
    for t in range(TIME):
        output, states = stacked(x[:, t], states)
        outputs.append(output.numpy())
    layer = layers.RNN(stacked, return_sequences=True, return_state=True, dtype="float64")
    found, (h, c), last = layer(x)
    assert np.allclose(found, np.stack(outputs, 1), atol=1e-12)
    assert np.allclose(last, states[1], atol=1e-12)
    assert np.allclose(c, states[0][1], atol=1e-12)
    again = layer(x, initial_state=[[h, c], last], mask=mask)
    inner, _ = run(lstm_step(layer.get_weights()[:3]), x, [h.numpy(), c.numpy()], mask)
    expected, _ = run(gru_step(layer.get_weights()[3:]), inner, [last.numpy()], mask)
    assert np.allclose(again[0], expected, atol=1e-12)
    nested = layers.RNN([cells[0], layers.StackedRNNCells([cells[1]], dtype="float64")], dtype="float64")
    assert np.allclose(nested(x), outputs[-1], atol=1e-12)


# -- stateful -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", STEPS)
def test_stateful(kind: str, rng: np.random.Generator) -> None:
    x, _ = sequences(rng)
    options = {"return_sequences": True, "dtype": "float64"}
    layer = built(getattr(layers, kind)(UNITS, stateful=True, **options), x, rng)
    assert layer.states is None
    expected = whole(kind, UNITS, x, *layer.get_weights())
    first, second = layer(x[:, :2]), layer(x[:, 2:])
    assert np.allclose(np.concatenate([first, second], 1), expected, atol=1e-12)
    assert len(layer.weights) == 3  # the states are none
    assert len(layer.variables) == 3 + len(layer.states)
    layer.reset_state()
    step = rv.jit(layer)
    assert np.allclose(step(x[:, :2]), first, atol=1e-12)
    assert np.allclose(step(x[:, 2:]), second, atol=1e-12)
    layer.reset_states()
    assert np.allclose(layer(x), expected, atol=1e-12)
    with pytest.raises(ShapeError, match=rf"{kind} '.*': stateful=True keeps the states of 3 .* got a batch of 2"):
        layer(x[:2])


def test_stateful_model(rng: np.random.Generator) -> None:
    x = rng.normal(size=(8, 3, 2)).astype(np.float32)
    y = rng.normal(size=(8, 1)).astype(np.float32)
    model = rv.Sequential([layers.LSTM(3, stateful=True, name="kept"), layers.Dense(1)])
    model.compile("sgd", "mse")
    history = model.fit(x, y, batch_size=4, shuffle=False, epochs=2, verbose=0)
    assert len(history.history["loss"]) == 2
    layer = model.layers[0]
    assert layer.batch_of_states == 4
    layer.reset_states()
    parts = [model(x[:4]).numpy(), model(x[4:]).numpy()]
    layer.reset_states()
    assert np.allclose(model.predict(x), np.concatenate(parts), atol=1e-6)
    plain = rv.Sequential([layers.LSTM(3), layers.Dense(1)])
    plain(x)
    plain.set_weights(model.get_weights())
    assert np.allclose(model.predict(x[:4]), model.predict(x[:4])) is False  # it goes on from where it was
    assert np.allclose(plain.predict(x)[:4], parts[0], atol=1e-6)
    with pytest.raises(
        ShapeError, match=r"fit: the layer 'kept' is stateful, .* the same 4 sequences, got 8 samples in"
    ):
        model.fit(x, y, batch_size=3, verbose=0)
    with pytest.raises(ShapeError, match=r"fit: the layer 'kept' .* got 6 samples in batches of 4"):
        model.fit(x[:6], y[:6], batch_size=4, verbose=0)
    with pytest.raises(ShapeError, match=r"fit, validation data: the layer 'kept' .* got 3 samples in batches of 3"):
        model.fit(x, y, batch_size=4, verbose=0, validation_data=(x[:3], y[:3]))
    with pytest.raises(ShapeError, match=r"evaluate: the layer 'kept' .* got 6 samples"):
        model.evaluate(x[:6], y[:6], batch_size=4, verbose=0)
    with pytest.raises(ShapeError, match=r"predict: the layer 'kept' .* got 3 samples"):
        model.predict(x[:3])
    fixed = rv.Sequential([rv.Input((3, 2), batch_size=2), layers.GRU(3, stateful=True)])
    assert fixed.layers[0].batch_of_states == 2
    assert fixed.predict(x[:2]).shape == (2, 3)


def test_stateful_both_ways(rng: np.random.Generator) -> None:
    x, _ = sequences(rng)
    layer = layers.Bidirectional(layers.GRU(2, stateful=True))
    first = layer(x).numpy()
    assert not np.allclose(layer(x), first)
    layer.reset_states()
    assert np.allclose(layer(x), first)
    with pytest.raises(ArgumentError, match=r"LSTM '.*': there are no states to forget. Set stateful=True"):
        layers.LSTM(2).reset_states()


# -- training -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_fit_is_the_eager_loop(kind: str, rng: np.random.Generator) -> None:
    x = rng.normal(size=(6, 4, 2)).astype(np.float32)
    x[:3, 2:] = 0
    y = rng.normal(size=(6, 4, 1)).astype(np.float32)

    def make() -> Any:
        rv.set_random_seed(4)
        model = rv.Sequential([
            rv.Input((4, 2)), layers.Masking(), layers.Bidirectional(getattr(layers, kind)(3, return_sequences=True)),
            layers.TimeDistributed(layers.Dense(1)),
        ])  # fmt: skip
        model.compile(rv.optimizers.SGD(0.1), "mse")
        return model

    compiled, eager = make(), make()
    compiled.fit(x, y, batch_size=3, epochs=2, shuffle=False, verbose=0)
    loss = rv.losses.MeanSquaredError()
    for _ in range(2):
        for rows in (slice(0, 3), slice(3, 6)):
            gradients = rv.grad(lambda r=rows: loss(y[r], eager(x[r])), wrt=eager.trainable_weights)()
            for v, g in zip(eager.trainable_weights, gradients, strict=True):
                v.assign(v.value - 0.1 * g)
    for a, b in zip(compiled.get_weights(), eager.get_weights(), strict=True):
        assert np.allclose(a, b, rtol=1e-4, atol=1e-6)


def test_sequences_of_other_lengths(rng: np.random.Generator) -> None:
    x = rng.normal(size=(5, 9, 2)).astype(np.float32)
    for start in ([rv.Input((None, 2))], []):
        model = rv.Sequential([*start, layers.LSTM(3, return_sequences=True), layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(x[:, :4], np.zeros((5, 4, 1)), verbose=0)
        whole_output = model.predict(x)
        assert whole_output.shape == (5, 9, 1)
        assert np.allclose(whole_output[:, :4], model.predict(x[:, :4]), atol=1e-6)
        model.fit(x, np.zeros((5, 9, 1)), verbose=0)
        assert model.output_shape == (None, 9, 1)
        assert np.isfinite(model.evaluate(x[:, :7], np.zeros((5, 7, 1)), verbose=0))
        with pytest.raises(ShapeError, match="takes samples of shape"):
            model.predict(np.zeros((5, 4, 3)))
    fixed = rv.Sequential([rv.Input((4, 2)), layers.LSTM(3)])
    with pytest.raises(ShapeError, match=r"takes samples of shape \(4, 2\), got x of shape \(5, 9, 2\)"):
        fixed.predict(x)


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_dropout(kind: str, rng: np.random.Generator) -> None:
    """Input dropout leaves the same inputs out at all time steps; recurrent dropout entries of the state."""
    x = np.ones((2, 4, 50), np.float32)
    options = {"activation": None, "kernel_initializer": "ones", "recurrent_initializer": "zeros", "use_bias": False}
    layer = layers.SimpleRNN(1, dropout=0.5, seed=3, return_sequences=True, **options)
    y = layer(x, training=True).numpy()
    assert (y == y[:, :1]).all()
    assert (np.isin(y, np.arange(0, 101, 2))).all()  # each of 50 inputs counts 0 or 2
    assert layer(x).tolist() == [[[50.0]] * 4] * 2
    full = getattr(layers, kind)(3, dropout=0.2, recurrent_dropout=0.4, seed=1)
    full(x)
    found = full(x, training=True).numpy()
    again = getattr(layers, kind)(3, dropout=0.2, recurrent_dropout=0.4, seed=1)
    again(x)
    again.set_weights(full.get_weights())
    assert np.array_equal(again(x, training=True).numpy(), found)
    assert not np.array_equal(full(x, training=True).numpy(), found)
    assert np.array_equal(full(x).numpy(), again(x).numpy())
    hold = layers.SimpleRNN(
        1, activation=None, kernel_initializer="ones", recurrent_initializer="ones", recurrent_dropout=0.5, seed=2
    )
    ends = hold(np.ones((200, 3, 1), np.float32), training=True).numpy()
    assert sorted(set(ends.ravel().tolist())) == [1.0, 7.0]  # h is left out at every step, or doubled at every step
    model = rv.Sequential([getattr(layers, kind)(3, dropout=0.2, recurrent_dropout=0.4, seed=1), layers.Dense(1)])
    model.compile("sgd", "mse")
    assert np.isfinite(model.fit(x, np.zeros((2, 1)), epochs=2, verbose=0).history["loss"]).all()


def test_masks_behind_recurrent_layers(rng: np.random.Generator) -> None:
    x, mask = sequences(rng)
    x[~mask] = 0
    masked = layers.Masking()(x)
    assert mask_of(layers.LSTM(2)(masked)) is None
    assert np.array_equal(mask_of(layers.LSTM(2, return_sequences=True)(masked)).numpy(), mask)
    outputs, h, c = layers.LSTM(2, return_sequences=True, return_state=True)(masked)
    assert np.array_equal(mask_of(outputs).numpy(), mask)
    assert mask_of(h) is mask_of(c) is None
    both = layers.Bidirectional(layers.GRU(2, return_sequences=True, return_state=True), merge_mode=None)(masked)
    assert [m is not None for m in map(mask_of, both)] == [True, True, False, False]
    assert np.array_equal(mask_of(layers.TimeDistributed(layers.Dense(2))(masked)).numpy(), mask)


class OverBatch(Layer):
    """Depends on the other samples of its batch."""

    mixes_samples = True

    def call(self, x: Any, mask: Any = None) -> Any:
        self.mask = mask
        return x - rv.mean(x, 0, keepdims=True)


def test_time_distributed_takes_steps_apart_where_samples_mix(rng: np.random.Generator) -> None:
    x = rng.normal(size=(4, 3, 2)).astype(np.float32)
    layer = layers.TimeDistributed(OverBatch())
    assert np.allclose(layer(x), x - x.mean(0, keepdims=True), atol=1e-6)
    deep = rng.normal(size=(4, 3, 5, 2)).astype(np.float32)
    mask = rng.random((4, 3, 5)) < 0.5
    layer = layers.TimeDistributed(OverBatch())
    layer(deep, mask=mask)
    assert np.array_equal(layer.layer.mask.numpy(), mask[:, -1])
    inner = layers.TimeDistributed(layers.SimpleRNN(2))
    expected = inner.layer(deep.reshape(12, 5, 2), mask=mask.reshape(12, 5)).numpy()
    assert np.allclose(inner(deep, mask=mask).numpy().reshape(12, 2), expected, atol=1e-6)


def test_weights_to_start_with(rng: np.random.Generator) -> None:
    x, _ = sequences(rng)
    first = layers.Bidirectional(layers.LSTM(2))
    first(x)
    again = layers.Bidirectional(layers.LSTM(2), weights=first.get_weights())
    assert np.array_equal(again(x).numpy(), first(x).numpy())
    assert again.layer is again.forward_layer
    assert (again.forward_layer.name[:8], again.backward_layer.name[:9]) == ("forward_", "backward_")


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: layers.LSTM(2, **o),
        lambda **o: layers.RNN([layers.GRUCell(2), layers.LSTMCell(2)], **o),
        lambda **o: layers.Bidirectional(layers.GRU(2), **o),
        lambda **o: layers.TimeDistributed(layers.Dense(2), **o),
    ],
)
def test_frozen_inside_too(make: Any) -> None:
    layer = make(trainable=False)
    layer(X)
    assert layer.trainable_weights == []
    layer.trainable = True
    assert len(layer.trainable_weights) == len(layer.weights) > 0


def test_gradients_of_gradients(rng: np.random.Generator) -> None:
    """Through the compiled loop and the eager one."""
    layer = built(layers.LSTM(3, return_sequences=True, dtype="float64"), X, rng)
    x = rng.normal(size=(2, 4, 2))
    slope = rv.grad(lambda t: rv.sum(layer(t) ** 2))
    curved = rv.grad(lambda t: rv.sum(slope(t) ** 2))
    rv.check_gradients(lambda t: rv.sum(slope(t) ** 2), x)
    assert np.allclose(rv.jit(curved)(x), curved(rv.tensor(x)), atol=1e-12)


def test_the_program_of_the_notes(rng: np.random.Generator) -> None:
    seq_length, feature_dim, output_dim = 5, 3, 2
    train_sequences = rng.normal(size=(40, seq_length, feature_dim))
    train_labels = np.eye(output_dim)[(train_sequences.sum((1, 2)) > 0).astype(int)]
    model = rv.Sequential()
    model.add(layers.LSTM(64, input_shape=(seq_length, feature_dim)))
    model.add(layers.Dense(output_dim, activation="softmax"))
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    validation = (train_sequences[:8], train_labels[:8])
    history = model.fit(train_sequences, train_labels, epochs=10, batch_size=32, validation_data=validation, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert model.count_params() == 4 * 64 * (3 + 64 + 1) + 65 * 2


def test_saving(tmp_path: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=(3, 5, 2)).astype(np.float32)
    model = rv.Sequential([
        rv.Input((5, 2)), layers.Masking(), layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
        layers.RNN([layers.GRUCell(2), layers.LSTMCell(2, separate_bias=True)], return_sequences=True),
        layers.TimeDistributed(layers.Dense(2)), layers.SimpleRNN(2, stateful=True),
    ])  # fmt: skip
    expected = model.predict(x)
    model.save(tmp_path / "m.safetensors")
    assert np.array_equal(rv.load_model(tmp_path / "m.safetensors").predict(x), expected)


# -- bad input ----------------------------------------------------------------------------------------------------


class Wrong(Layer):
    """A cell that returns what it was told to."""

    state_size = 2

    def __init__(self, result: Any, **common: Any):
        super().__init__(**common)
        self.make = result

    def call(self, x: Any, states: Any) -> Any:
        return self.make(x, states)


X = np.ones((3, 5, 2), np.float32)
ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: layers.LSTM(0), ArgumentError, r"LSTMCell: expected units to be an integer of at least 1, got 0 \(int\)"),
    (lambda: layers.GRU(2, dropout=1), ArgumentError, "GRUCell: expected dropout .* of at least 0 and below 1, got 1"),
    (lambda: layers.GRU(2, recurrent_dropout=-1), ArgumentError, "GRUCell: expected recurrent_dropout .* got -1"),
    (lambda: layers.LSTM(2, unit=3), ArgumentError, "LSTM: unknown argument 'unit'. Known: units, activation"),
    (
        lambda: layers.LSTM(2, name="l")(np.ones((3, 5))), ShapeError,
        r"LSTM 'l': expected input of shape \(batch, time, features\), got \(None, 5\).*return_sequences=True",
    ),
    (lambda: layers.LSTM(2, name="l")(np.ones((3, 0, 2))), ShapeError, r"LSTM 'l': expected sequences of at least one"),
    (lambda: layers.LSTM(2, name="l")(np.ones((3, 5, 0))), ShapeError, r"LSTM 'l': expected input of shape"),
    (
        lambda: layers.TimeDistributed(layers.Dense(2), name="t")(np.ones((3, 0, 2))), ShapeError,
        "TimeDistributed 't': expected at least one time step",
    ),
    (
        lambda: layers.GRU(2, name="g")(X, mask=np.ones((3, 4))), ShapeError,
        r"GRU 'g': expected a mask of shape \(batch, time\) = \(3, 5\), got \(3, 4\)",
    ),
    (lambda: layers.GRU(2, name="g")(X, mask=np.ones(5)), ShapeError, r"GRU 'g': expected a mask .* got \(5,\)"),
    (
        lambda: layers.TimeDistributed(layers.Dense(2), name="t")(X, mask=np.ones((5, 3))), ShapeError,
        r"TimeDistributed 't': expected a mask of shape \(batch, time\) = \(3, 5\), got \(5, 3\)",
    ),
    (
        lambda: layers.LSTM(2, name="l")(X, initial_state=np.ones((3, 2))), ArgumentError,
        r"LSTM 'l': expected initial_state to be 2 tensors of shape \(batch, 2\), \(batch, 2\), got 1",
    ),
    (
        lambda: layers.GRU(2, name="g")(X, initial_state=[np.ones((3, 2))] * 2), ArgumentError,
        r"GRU 'g': expected initial_state to be 1 tensor of shape \(batch, 2\), got 2",
    ),
    (
        lambda: layers.LSTM(2, name="l")(X, initial_state=[np.ones((3, 2)), np.ones((1, 2))]), ShapeError,
        r"LSTM 'l': expected an initial state of shape \(3, 2\) for 3 sequences, got \(1, 2\)",
    ),
    (lambda: layers.GRU(2, name="g")(X, initial_state=3), ArgumentError, "GRU 'g': expected initial_state to be 1"),
    (
        lambda: layers.Bidirectional(layers.LSTM(2), name="b")(X, initial_state=[np.ones((3, 2))] * 2), ArgumentError,
        "Bidirectional 'b': expected initial_state to be a list of 4 states",
    ),
    (lambda: layers.RNN(3), ArgumentError, r"RNN: expected a cell with call\(inputs, states\) and state_size"),
    (lambda: layers.RNN(layers.LSTMCell), ArgumentError, r"RNN: expected a cell .* got <class"),
    (lambda: layers.RNN(layers.Dense(2)), ArgumentError, "RNN: expected a cell with call"),
    (lambda: layers.RNN([]), ArgumentError, r"StackedRNNCells: expected a list of cells, got \[\]"),
    (lambda: layers.StackedRNNCells([layers.Dense(2)]), ArgumentError, "StackedRNNCells: expected a cell with call"),
    (lambda: layers.StackedRNNCells(layers.LSTMCell(2)), ArgumentError, "StackedRNNCells: expected a list of cells"),
    (lambda: layers.RNN(config("Dense", units=2)), ArgumentError, "RNN: expected a cell with call"),
    (
        lambda: layers.RNN(Wrong(lambda x, s: x))(X), ArgumentError,
        r"Wrong: expected call\(inputs, states\) to return \(output, new states\), got",
    ),
    (
        lambda: layers.RNN(Wrong(lambda x, s: (x, [*s, *s])), name="r")(X), ArgumentError,
        "RNN 'r': the cell Wrong returned 2 states, expected 1, as its state_size says",
    ),
    (
        lambda: layers.RNN(Wrong(lambda x, s: (x, [x[:, :1]])), name="r")(X), ShapeError,
        r"RNN 'r': the cell Wrong returned a state of shape \(3, 1\), expected \(3, 2\)",
    ),
    (
        lambda: layers.RNN(Wrong(lambda x, s: (x[:, :1], s)), name="r")(X), ShapeError,
        r"RNN 'r': the cell Wrong returned an output of shape \(3, 1\), expected \(3, 2\). Say .* output_size",
    ),
    (
        lambda: layers.LSTMCell(2, name="c")(np.ones((3, 2)), [np.ones((3, 2))]), ArgumentError,
        r"LSTMCell 'c': expected 2 states, got (?s:.*)get_initial_state",
    ),
    (
        lambda: layers.GRUCell(2, name="c")(np.ones((3, 2, 2)), [np.ones((3, 2))]), ShapeError,
        r"GRUCell 'c': expected input of shape \(batch, features\), got \(None, 2, 2\)",
    ),
    (lambda: layers.Bidirectional(layers.Dense(2)), ArgumentError, "Bidirectional: expected layer to be a recurrent"),
    (
        lambda: layers.Bidirectional(layers.LSTM(2), backward_layer=3), ArgumentError,
        "Bidirectional: expected backward_layer to be a recurrent layer",
    ),
    (
        lambda: layers.Bidirectional(layers.LSTM(2), merge_mode="max"), ArgumentError,
        "Bidirectional: expected merge_mode to be one of 'concat', 'sum', 'mul', 'ave', None, got 'max'",
    ),
    (
        lambda: layers.Bidirectional(layers.LSTM(2), backward_layer=layers.LSTM(2)), ArgumentError,
        "Bidirectional: expected the two layers to go in different directions, got go_backwards=False for both",
    ),
    (
        lambda: layers.Bidirectional(
            layers.LSTM(2), backward_layer=layers.LSTM(2, go_backwards=True, return_sequences=True)
        ),
        ArgumentError,
        "Bidirectional: expected the same return_sequences in both layers, got False forwards, True backwards",
    ),
    (lambda: layers.TimeDistributed(3), ArgumentError, "TimeDistributed: expected a layer, got 3"),
    (
        lambda: layers.TimeDistributed(layers.Dense(2), name="t")(np.ones((3, 2))), ShapeError,
        r"TimeDistributed 't': expected input of shape \(batch, time, ...\)",
    ),
]  # fmt: skip


@pytest.mark.parametrize("call, error, text", ERRORS, ids=range(len(ERRORS)))
def test_bad_input(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_another_number_of_features() -> None:
    layer = layers.LSTM(2, name="l")
    layer(X)
    with pytest.raises(
        ShapeError, match=r"LSTM 'l': expected 2 features on axis 2 .* got an input of shape \(3, 5, 4\)"
    ):
        layer(np.ones((3, 5, 4)))
    with pytest.raises(ShapeError, match=r"LSTM 'l': expected an input with 3 axes, got shape \(3, 2\)"):
        layer(np.ones((3, 2)))


def test_open_sizes_stay_open(tmp_path: Any) -> None:
    """Weights are made at once where they do not depend on the open size, else when data comes."""
    model = rv.Sequential([rv.Input((None, 3)), layers.Masking(), layers.LSTM(4, return_sequences=True)])
    model.add(layers.Bidirectional(layers.GRU(2, return_sequences=True)))
    assert (model.output_shape, model.built_shape) == ((None, None, 4), (None, None, 3))
    assert [layer.built_shape for layer in model.layers[1:]] == [(None, None, 3), (None, None, 4)]
    assert model.count_params() == 4 * 4 * 8 + 2 * 3 * 2 * (4 + 2 + 2)
    x = np.ones((2, 7, 3), np.float32)
    expected = model.predict(x)
    assert expected.shape == (2, 7, 4)
    model.save(tmp_path / "open.safetensors")
    again = rv.load_model(tmp_path / "open.safetensors")
    assert np.array_equal(again.predict(x), expected)
    assert again.predict(x[:, :3]).shape == (2, 3, 4)
    with pytest.raises(ShapeError, match=r"takes samples of shape \(None, 3\), got x of shape \(2, 7, 4\)"):
        model.predict(np.ones((2, 7, 4)))
    image = rv.Sequential([rv.Input((None, None, 1)), layers.Conv2D(2, 3, strides=2), layers.GlobalMaxPooling2D()])
    assert (image.layers[0].built, image.output_shape) == (True, (None, 2))
    assert image.predict(np.ones((2, 9, 11, 1))).shape == (2, 2)
    waits = rv.Sequential([rv.Input((None, 3)), layers.Dense(2), layers.Flatten(), layers.Dense(1)])
    assert (waits.built, waits.layers[2].built) == (False, False)
    assert waits.predict(x).shape == (2, 1)
    with pytest.raises(ShapeError, match=r"takes samples of shape \(7, 3\), got x of shape \(2, 3, 3\)"):
        waits.predict(x[:, :3])
