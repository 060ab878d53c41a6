"""Normalisation: equal to Keras and PyTorch, moving statistics, digits that survive a large mean, frozen layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import layers
from ranvier.errors import ArgumentError, ShapeError
from ranvier.jit import jit
from ranvier.layers.statistics import moments

from .keras_peer import array, compare, keras

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the peers

EPS = 2.0**-24
# Both sides sum at most a few hundred numbers of size 1, divide by their deviation and sum again on the way back. The
# constant was found generous by a factor of four over a thousand random draws.
BOUND = 400 * EPS

BATCH: list[tuple[dict[str, Any], tuple[int, ...]]] = [
    ({}, (8, 5)),
    ({}, (4, 6, 3)),
    ({}, (3, 5, 4, 2)),
    ({}, (2, 3, 2, 3, 4)),
    ({"axis": 1}, (4, 3, 5)),
    ({"axis": 2, "center": False}, (4, 3, 5)),
    ({"scale": False, "epsilon": 0.1}, (8, 5)),
    ({"center": False, "scale": False, "momentum": 0.5}, (7, 1)),
]


@pytest.mark.parametrize("options, shape", BATCH, ids=range(len(BATCH)))
@pytest.mark.parametrize("training", [True, False])
def test_batch_normalization_is_that_of_keras(
    options: dict[str, Any], shape: tuple[int, ...], training: bool, rng: np.random.Generator
) -> None:
    x = (rng.normal(size=shape) * 2 + 1).astype(np.float32)
    ours, theirs = layers.BatchNormalization(**options), keras.layers.BatchNormalization(**options)
    theirs(x)
    theirs.set_weights([rng.uniform(0.5, 2, w.shape).astype(np.float32) for w in theirs.get_weights()])
    compare(ours, theirs, x, rng, BOUND, training=training)


@pytest.mark.parametrize("options, shape", BATCH[:6], ids=range(6))
@pytest.mark.parametrize("compiled", [False, True])
def test_moving_statistics_are_those_of_keras(
    options: dict[str, Any], shape: tuple[int, ...], compiled: bool, rng: np.random.Generator
) -> None:
    ours = layers.BatchNormalization(momentum=0.8, **options)
    theirs = keras.layers.BatchNormalization(momentum=0.8, **options)
    call = jit(lambda x: ours(x, training=True)) if compiled else lambda x: ours(x, training=True)
    for step in range(5):
        x = (rng.normal(size=shape) * (step + 1) + 3).astype(np.float32)
        assert np.allclose(call(x).numpy(), array(theirs(x, training=True)), atol=BOUND * 10)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert np.allclose(a, b, rtol=BOUND, atol=BOUND)
    x = rng.normal(size=shape).astype(np.float32)
    assert np.allclose(ours(x).numpy(), array(theirs(x)), atol=BOUND)


def test_batch_normalization_with_a_mask_is_that_of_keras(rng: np.random.Generator) -> None:
    x = (rng.normal(size=(4, 6, 3)) + 2).astype(np.float32)
    mask = rng.random((4, 6)) < 0.6
    x[~mask] = 50.0  # must not count
    ours, theirs = layers.BatchNormalization(momentum=0.5), keras.layers.BatchNormalization(momentum=0.5)
    for _ in range(3):
        a = ours(x, training=True, mask=mask).numpy()
        b = array(theirs(x, training=True, mask=keras.ops.convert_to_tensor(mask)))
        assert np.allclose(a, b, atol=50 * BOUND)
    for v, w in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert np.allclose(v, w, rtol=BOUND, atol=BOUND)
    kept = x[mask].astype(np.float64)
    direct = (kept - kept.mean(0)) / np.sqrt(kept.var(0) + 1e-3)
    assert np.allclose(ours(x, training=True, mask=mask).numpy()[mask], direct, atol=BOUND)
    nothing = layers.BatchNormalization()
    assert np.isfinite(nothing(x, training=True, mask=np.zeros((4, 6), bool)).numpy()).all()


def test_mask_comes_with_the_input(rng: np.random.Generator) -> None:
    x = rng.normal(size=(4, 6, 3)).astype(np.float32)
    x[:, 4:] = 0
    layer = layers.BatchNormalization(momentum=0.0)
    layer(layers.Masking()(x), training=True)
    assert np.allclose(layer.moving_mean.numpy(), x[:, :4].mean((0, 1)), atol=BOUND)


@pytest.mark.parametrize("mean", [0.0, 1e2, 1e4])
@pytest.mark.parametrize("compiled", [False, True])
def test_digits_survive_a_large_mean(mean: float, compiled: bool, rng: np.random.Generator) -> None:
    """float32 holds 1e4 + z to 2**-11 (rounding of the data itself, which is the reference here): the statistics of
    those numbers must come out as in float64, though ``E[x*x] - E[x]**2`` would have no correct digit left."""
    x = (rng.normal(size=(500, 3)) + mean).astype(np.float32)
    layer = layers.BatchNormalization(momentum=0.0, epsilon=0.0)
    y = (jit(lambda t: layer(t, training=True)) if compiled else lambda t: layer(t, training=True))(x).numpy()
    wide = x.astype(np.float64)
    # 1 + k*k of the bound in `moments`: the shift is a standard normal draw, |k| < 6; 10 for the sums of 500
    bound = 10 * EPS * (1 + 36)
    assert np.allclose(layer.moving_variance.numpy(), wide.var(0), rtol=bound)
    assert np.allclose(layer.moving_mean.numpy(), wide.mean(0), rtol=4 * EPS, atol=bound)
    assert np.allclose(y, (wide - wide.mean(0)) / wide.std(0), atol=6 * bound)


def test_variance_is_never_negative() -> None:
    x = np.full((1000, 2), 0.1, np.float32)
    x[0] = [7.3, 0.1]  # the shift is the outlier
    _, shift, mean, variance = moments(rv.tensor(x), (0,))
    assert (variance.numpy() >= 0).all()
    assert variance.numpy()[0, 1] == 0
    # the outlier is sqrt(n - 1) deviations out, so 1 + k*k = n, and summed one after another c = n
    assert np.allclose(variance.numpy()[0, 0], x[:, 0].astype(np.float64).var(), rtol=1000**2 * EPS)
    assert np.allclose((shift + mean).numpy(), x.astype(np.float64).mean(0), atol=7.2 * 1000 * EPS)


def test_nan_and_infinity_are_seen() -> None:
    for bad in (np.nan, np.inf):
        y = layers.BatchNormalization()(np.array([[1.0, 1.0], [bad, 3.0]], np.float32), training=True).numpy()
        assert np.isnan(y[:, 0]).any() and np.isfinite(y[:, 1]).all()


def test_a_frozen_layer_uses_the_moving_statistics(rng: np.random.Generator) -> None:
    x = rng.normal(size=(6, 3)).astype(np.float32) * 4
    layer = layers.BatchNormalization()
    layer(x, training=True)
    layer.trainable = False
    before = layer.get_weights()
    assert np.array_equal(layer(x, training=True).numpy(), layer(x).numpy())
    assert all(np.array_equal(a, b) for a, b in zip(before, layer.get_weights(), strict=True))
    layer.trainable = True
    assert [v.name.split("/")[1] for v in layer.trainable_weights] == ["gamma", "beta"]
    assert not np.array_equal(layer(x, training=True).numpy(), layer(x).numpy())


def test_freezing_between_fits(rng: np.random.Generator) -> None:
    x = (rng.normal(size=(16, 3)) + 5).astype(np.float32)
    plain = layers.BatchNormalization(center=False, scale=False)
    model = rv.Sequential([rv.Input((3,)), plain, layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, x[:, :1], verbose=0)
    before = plain.get_weights()
    assert (before[0] > 0).all()
    plain.trainable = False
    model.fit(x, x[:, :1], verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, plain.get_weights(), strict=True))


def test_gradients_to_second_order(rng: np.random.Generator) -> None:
    layer = layers.BatchNormalization(dtype="float64")
    x = rng.normal(size=(5, 2, 3)) + 3
    layer(x)
    for order in (1, 2):
        rv.check_gradients(lambda t: layer(t, training=True) ** 3, x, order=order)
    group = layers.GroupNormalization(3, dtype="float64")
    rv.check_gradients(lambda t: group(t) ** 3, rng.normal(size=(2, 4, 6)), order=2)


def test_bfloat16_statistics_are_single_precision(rng: np.random.Generator) -> None:
    x = rng.normal(size=(4000, 2)).astype(np.float32)
    for layer in (layers.BatchNormalization(dtype="bfloat16"), layers.GroupNormalization(1, dtype="bfloat16")):
        y = layer(rv.tensor(x[None], "bfloat16"), training=True)
        assert y.dtype is rv.bfloat16
        # rounding to 8 bits, of the input and of the output, leaves errors that average out in mean and deviation
        assert abs(float(np.asarray(y, np.float32).std()) - 1) < 2.0**-8


OTHERS: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("LayerNormalization", {}, (4, 6)),
    ("LayerNormalization", {}, (3, 4, 5)),
    ("LayerNormalization", {"axis": [1, 2]}, (3, 4, 5)),
    ("LayerNormalization", {"axis": -1, "center": False}, (3, 4, 5)),
    ("LayerNormalization", {"scale": False, "epsilon": 0.1}, (3, 5)),
    ("GroupNormalization", {"groups": 2}, (3, 4, 6)),
    ("GroupNormalization", {"groups": 3}, (2, 3, 4, 6)),
    ("GroupNormalization", {"groups": -1}, (3, 4, 6)),
    ("GroupNormalization", {"groups": 1, "center": False}, (3, 6)),
    ("GroupNormalization", {"groups": 2, "axis": 1, "scale": False}, (3, 4, 5)),
    ("RMSNormalization", {}, (4, 6)),
    ("RMSNormalization", {"epsilon": 0.1}, (3, 4, 6)),
    ("UnitNormalization", {}, (4, 6)),
    ("UnitNormalization", {"axis": [1, 2]}, (3, 4, 6)),
]


@pytest.mark.parametrize("name, options, shape", OTHERS, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(OTHERS)])
def test_the_others_are_those_of_keras(
    name: str, options: dict[str, Any], shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    x = (rng.normal(size=shape) * 2 + 1).astype(np.float32)
    ours, theirs = getattr(layers, name)(**options), getattr(keras.layers, name)(**options)
    theirs(x)
    theirs.set_weights([rng.uniform(0.5, 2, w.shape).astype(np.float32) for w in theirs.get_weights()])
    compare(ours, theirs, x, rng, BOUND)
    assert ours.compute_output_shape((None, *shape[1:])) == tuple(theirs.compute_output_shape((None, *shape[1:])))
    step = jit(lambda t: rv.grad(lambda u: rv.sum(ours(u) ** 3))(t))
    assert np.allclose(step(x).numpy(), rv.grad(lambda u: rv.sum(ours(u) ** 3))(rv.tensor(x)).numpy(), atol=100 * BOUND)


def test_axes_in_the_middle(rng: np.random.Generator) -> None:
    """Keras on PyTorch takes trailing axes only."""
    x = rng.normal(size=(3, 4, 5)).astype(np.float32)
    y = layers.LayerNormalization(axis=1, gamma_initializer="ones")(x).numpy()
    assert np.allclose(y, (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-3), atol=BOUND)
    layer = layers.RMSNormalization(axis=1)
    layer(x)
    layer.set_weights([np.arange(4.0)])
    expected = x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-6) * np.arange(4.0)[:, None]
    assert np.allclose(layer(x).numpy(), expected, atol=4 * BOUND)


def test_pytorch_agrees(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x = (rng.normal(size=(6, 8, 5)) * 3 + 2).astype(np.float32)
    first = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    for ours, theirs in (
        (layers.BatchNormalization(epsilon=1e-5), torch.nn.BatchNorm1d(5)),
        (layers.GroupNormalization(5, epsilon=1e-5), torch.nn.GroupNorm(5, 5)),
    ):
        y = np.moveaxis(theirs(torch.tensor(first)).detach().numpy(), 1, -1)
        assert np.allclose(ours(x, training=True).numpy(), y, atol=BOUND)
    y = torch.nn.functional.layer_norm(torch.tensor(x), (5,), eps=1e-3).numpy()
    assert np.allclose(layers.LayerNormalization()(x).numpy(), y, atol=BOUND)
    y = torch.nn.functional.rms_norm(torch.tensor(x), (5,), eps=1e-6).numpy()
    assert np.allclose(layers.RMSNormalization()(x).numpy(), y, atol=BOUND)


def test_unit_normalization_of_zeros() -> None:
    layer = layers.UnitNormalization()
    x = rv.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert layer(x).numpy()[0].tolist() == [0.0, 0.0]
    assert np.isfinite(rv.grad(lambda t: rv.sum(layer(t)))(x).numpy()).all()


def test_compiled_steps_equal_eager_ones_in_fit(rng: np.random.Generator) -> None:
    """A network with every kind, trained with batches that do not divide the data; and the last batch of another size
    is a batch of its own: rows that fill up would change the statistics."""
    x = rng.normal(size=(22, 8)).astype(np.float32)
    y = rng.normal(size=(22, 1)).astype(np.float32)

    def network() -> Any:
        rv.set_random_seed(3)
        return rv.Sequential([
            rv.Input((8,)), layers.Dense(8), layers.BatchNormalization(), layers.ReLU(), layers.Dense(8),
            layers.LayerNormalization(), layers.GroupNormalization(2), layers.RMSNormalization(), layers.Dense(1),
        ])  # fmt: skip

    model, twin = network(), network()
    model.compile(rv.optimizers.SGD(0.05), "mse")
    model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    weights = twin.trainable_weights
    for _ in range(3):
        for start in range(0, 22, 8):
            xb, yb = x[start : start + 8], y[start : start + 8]
            grads = rv.value_and_grad(lambda xb=xb, yb=yb: rv.mean((twin(xb, training=True) - yb) ** 2), wrt=weights)()[
                1
            ]
            for w, g in zip(weights, grads, strict=True):
                w.assign(w.value - g * 0.05)
    for a, b in zip(model.weights, twin.weights, strict=True):
        assert np.allclose(a.numpy(), b.numpy(), rtol=1e-3, atol=1e-4), a.name  # nine steps of a nonlinear system
    assert np.allclose(model.predict(x, verbose=0), twin(x).numpy(), atol=1e-3)


def test_saved_with_its_statistics(tmp_path: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=(16, 4)).astype(np.float32) * 3
    model = rv.Sequential([rv.Input((4,)), layers.BatchNormalization(), layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(x, x[:, :1], epochs=2, verbose=0)
    model.save(tmp_path / "net.safetensors")
    again = rv.load_model(tmp_path / "net.safetensors")
    assert np.array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_step_that_is_not_finite_leaves_the_statistics(rng: np.random.Generator) -> None:
    x = rng.normal(size=(8, 2)).astype(np.float32)
    model = rv.Sequential([rv.Input((2,)), layers.BatchNormalization(), layers.Dense(1)])
    model.compile("sgd", "mse")
    before = model.get_weights()
    x[3, 0] = np.nan
    with pytest.raises(rv.errors.NonFiniteError, match="the loss became NaN"):
        model.fit(x, x[:, :1], verbose=0, check_data="ignore")
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: layers.BatchNormalization(axis=0), ArgumentError, r"BatchNormalization: expected axis .* not 0 \(the"),
    (lambda: layers.BatchNormalization(axis=[1]), ArgumentError, "BatchNormalization: expected axis"),
    (lambda: layers.BatchNormalization(momentum=1.5), ArgumentError, "expected momentum .* at most 1, got 1.5"),
    (lambda: layers.BatchNormalization(epsilon=-1), ArgumentError, "expected epsilon .* at least 0, got -1"),
    (lambda: layers.BatchNormalization(renorm=True), ArgumentError, "unknown argument 'renorm'. Known: axis, momentum"),
    (
        lambda: layers.BatchNormalization(axis=3, name="b")(rv.ones((2, 3))), ShapeError,
        r"BatchNormalization 'b': expected an input with an axis 3 besides the batch, got shape \(None, 3\)",
    ),
    (lambda: layers.BatchNormalization()(rv.ones(3)), ShapeError, "expected an input with an axis -1 besides the"),
    (lambda: layers.BatchNormalization()(rv.ones((3, 0))), ShapeError, "expected a known size of at least 1 on"),
    (
        lambda: layers.BatchNormalization(name="b")(rv.ones((0, 3)), training=True), ShapeError,
        r"BatchNormalization 'b': a training step needs at least one sample, got shape \(0, 3\)",
    ),
    (
        lambda: layers.BatchNormalization(name="b")(rv.ones((2, 3, 4)), mask=np.ones((2, 4), bool)), ShapeError,
        r"BatchNormalization 'b': expected a mask of shape \(2, 3\) .* got \(2, 4\)",
    ),
    (lambda: layers.LayerNormalization(axis="x"), ArgumentError, "LayerNormalization: expected axis to be an integer"),
    (lambda: layers.LayerNormalization(axis=[1, 1]), ArgumentError, "LayerNormalization: expected axis"),
    (lambda: layers.LayerNormalization(axis=[]), ArgumentError, "LayerNormalization: expected axis"),
    (
        lambda: layers.LayerNormalization(axis=0, name="l")(rv.ones((2, 3))), ShapeError,
        "LayerNormalization 'l': axis 0 does not fit an input with 2 axes; the first is the batch",
    ),
    (lambda: layers.LayerNormalization(axis=[1, -1])(rv.ones((2, 3))), ShapeError, r"axis \[1, -1\] does not fit"),
    (lambda: layers.LayerNormalization().build((None, None)), ShapeError, "expected a known size of at least 1 on"),
    (lambda: layers.GroupNormalization(groups=0), ArgumentError, "expected groups to be an integer of at least"),
    (lambda: layers.GroupNormalization(groups=2.0), ArgumentError, "expected groups"),
    (lambda: layers.GroupNormalization(2, axis=[1]), ArgumentError, "expected axis to be one integer"),
    (
        lambda: layers.GroupNormalization(groups=4, name="g")(rv.ones((2, 6))), ShapeError,
        "GroupNormalization 'g': 6 channels cannot be divided into 4 groups. Choose a number",
    ),
    (lambda: layers.GroupNormalization()(rv.ones((2, 16))), ShapeError, "16 channels cannot be divided into 32 groups"),
    (lambda: layers.RMSNormalization(epsilon="x"), ArgumentError, "RMSNormalization: expected epsilon to be a finite"),
    (lambda: layers.RMSNormalization(axis=5)(rv.ones((2, 3))), ShapeError, "axis 5 does not fit an input with 2 axes"),
    (lambda: layers.UnitNormalization(axis=None), ArgumentError, "UnitNormalization: expected axis"),
    (lambda: layers.UnitNormalization(axis=2)(rv.ones((2, 3))), ShapeError, "axis 2 does not fit an input with 2 axes"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors(number: int) -> None:
    call, error, text = ERRORS[number]
    with pytest.raises(error, match=text):
        call()
