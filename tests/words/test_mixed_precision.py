"""Mixed precision: weights in float32, computing in bfloat16; against Keras' policies and float32 training."""

from __future__ import annotations

import numpy as np
import pytest

import ranvier as rv

MIXED = "mixed_bfloat16"
U = 2.0**-8  # half a unit in the last place of bfloat16, relative


@pytest.fixture
def x(rng) -> np.ndarray:
    return rng.normal(size=(6, 20)).astype("f")


def test_policy_of_a_layer(x):
    layer = rv.layers.Dense(5, "relu", dtype=MIXED)
    y = layer(x)
    assert (y.dtype, layer.dtype, layer.compute_dtype) == ("bfloat16", "float32", "bfloat16")
    assert all(w.dtype == "float32" for w in layer.weights)
    assert layer.dtype_policy.name == MIXED
    again = rv.layers.deserialize(rv.layers.serialize(layer))
    assert again.dtype_policy.name == MIXED


def test_policy_for_all_layers():
    with rv.config.override(dtype_policy="float32"):
        rv.config.set_dtype_policy(MIXED)
        assert rv.config.dtype_policy() == MIXED
        assert rv.layers.Dense(3).compute_dtype == "bfloat16"
        assert rv.layers.Dense(3, dtype="float32").compute_dtype == "float32"
        kept = rv.layers.serialize(rv.layers.Dense(3))
    assert rv.layers.Dense(3).compute_dtype == "float32"
    assert rv.layers.deserialize(kept).compute_dtype == "bfloat16", "a layer keeps the policy it was made with"


def test_unknown_policies_are_refused():
    with pytest.raises(rv.errors.ArgumentError, match="mixed_bfloat16"):
        rv.config.set_dtype_policy("mixed_float16")
    with pytest.raises(rv.errors.DTypeError, match="mixed_float16"):
        rv.layers.Dense(3, dtype="mixed_float16")


def test_weights_are_rounded_inside_the_layer_only(x):
    layer = rv.layers.Dense(5, dtype=MIXED)
    y = layer(x).numpy()
    kernel = layer.kernel.numpy()
    assert layer.kernel.value.dtype == "float32"
    assert (rv.astype(layer.kernel.value, "bfloat16").numpy() != kernel).any()
    # each factor is rounded once, the sum is within float32's rounding, and the result is rounded (sum, then bias)
    exact = x.astype("d") @ kernel
    assert (np.abs(y - exact) <= (3 * U + 30 * 2.0**-24) * (np.abs(x).astype("d") @ np.abs(kernel))).all()


def test_gradients_reach_the_weights_in_float32(x):
    layer = rv.layers.Dense(5, dtype=MIXED)
    layer(x)
    gradients = rv.grad(lambda: rv.sum(rv.astype(layer(x), "float32") ** 2), wrt=layer.trainable_weights)()
    assert all(g.dtype == "float32" for g in gradients)
    y = x.astype("d") @ layer.kernel.numpy()
    # y, its cotangent and x are rounded: four roundings on each path
    bound = 6 * U * 2 * (np.abs(x).T.astype("d") @ (np.abs(x).astype("d") @ np.abs(layer.kernel.numpy())))
    assert (np.abs(gradients[0].numpy() - 2 * x.T.astype("d") @ y) <= bound).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: rv.layers.BatchNormalization(dtype=MIXED),
        lambda: rv.layers.LayerNormalization(dtype=MIXED),
        lambda: rv.layers.RMSNormalization(dtype=MIXED),
    ],
    ids=["batch", "layer", "rms"],
)
def test_statistics_are_float32(make, rng):
    """The mean of numbers near 256 in bfloat16, whose neighbours are 2 apart, is still right to a thousandth."""
    layer = make()
    x = rng.choice([256.0, 258.0], size=(64, 64)).astype("f")
    y = layer(x, training=True)
    assert y.dtype == "bfloat16"
    full = type(layer)()(x, training=True).numpy()
    assert (np.abs(y.numpy() - full) <= 2 * U * np.abs(full) + 1e-5).all()
    if hasattr(layer, "moving_mean"):
        np.testing.assert_allclose(layer.moving_mean.numpy(), 0.01 * x.mean(0), rtol=1e-5)


def test_losses_are_float32(rng):
    logits = rv.astype(rng.normal(size=(8, 4)).astype("f"), "bfloat16")
    loss = rv.losses.SparseCategoricalCrossentropy(from_logits=True)
    found = loss(np.arange(8) % 4, logits)
    assert found.dtype == "float32"
    assert float(found) == float(loss(np.arange(8) % 4, rv.astype(logits, "float32")))


def trained(policy: str, threads: int = 0) -> tuple[float, list[np.ndarray]]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(512, 24)).astype("f")
    y = (x @ rng.normal(size=(24, 3))).argmax(1)
    with rv.config.override(dtype_policy=policy, threads=threads):
        rv.set_random_seed(1)
        dense = rv.layers.Dense
        model = rv.Sequential([dense(48, "relu"), rv.layers.BatchNormalization(), dense(33, "tanh"), dense(3)])
        model.compile("adam", rv.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        history = model.fit(x, y, epochs=15, batch_size=32, verbose=0).history
        assert model.predict(x[:5]).shape == (5, 3)
        return history["accuracy"][-1], model.get_weights()


def test_training_is_as_good_and_the_same_on_any_number_of_threads():
    full, _ = trained("float32")
    mixed, weights = trained(MIXED)
    assert full > 0.9
    assert mixed > full - 0.03
    assert all(w.dtype == np.float32 for w in weights)
    for a, b in zip(weights, trained(MIXED, threads=1)[1], strict=True):
        assert a.tobytes() == b.tobytes()


def test_policies_as_in_keras(x):
    keras = pytest.importorskip("keras")
    ours, theirs = rv.layers.Dense(7, "relu", dtype=MIXED), keras.layers.Dense(7, "relu", dtype=MIXED)
    y, z = ours(x), theirs(x)
    assert str(y.dtype) == keras.backend.standardize_dtype(z.dtype)
    assert (ours.dtype, ours.compute_dtype) == (theirs.dtype, theirs.compute_dtype)
    theirs.set_weights(ours.get_weights())
    want = keras.ops.cast(keras.ops.stop_gradient(theirs(x)), "float32").tolist()
    np.testing.assert_allclose(y.numpy(), want, rtol=4 * U, atol=4 * U * np.abs(y.numpy()).max())
