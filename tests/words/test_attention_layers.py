"""Attention: equal to Keras and PyTorch over their arguments and masks, compiled, in models, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranvier as rv
from ranvier import layers
from ranvier.errors import ArgumentError, ShapeError
from ranvier.jit import jit
from ranvier.layers.masks import mask_of

from .keras_peer import array, compare, keras

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the peers

EPS = 2.0**-24
# Chains of four products over at most 12 numbers with a softmax between, forward and back, relative to the largest
# number; softmax's exponents are of size 10, so each of its results has about 10 eps.
BOUND = 300 * EPS


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("name, options", [
    ("Attention", {}), ("Attention", {"use_scale": True}), ("Attention", {"score_mode": "concat"}),
    ("Attention", {"score_mode": "concat", "use_scale": True}), ("AdditiveAttention", {}),
    ("AdditiveAttention", {"use_scale": False}),
], ids=range(6))  # fmt: skip
@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_that_of_keras(name: str, options: dict[str, Any], causal: bool, rng: np.random.Generator) -> None:
    ours, theirs = getattr(layers, name)(**options), getattr(keras.layers, name)(**options)
    pair = [floats(rng, 2, 3, 4), floats(rng, 2, 5, 4)]
    three = [*pair[:1], floats(rng, 2, 5, 6), floats(rng, 2, 5, 4)]
    for x in (pair, three):
        # the gradient of a scale is one sum of terms of size 1 that may cancel
        compare(ours, theirs, x, rng, BOUND, least=1.0, use_causal_mask=causal)
        shapes = [p.shape for p in x]
        assert ours.compute_output_shape(shapes) == tuple(theirs.compute_output_shape(shapes))
    seen, shown = np.array([[1, 1, 0], [1, 0, 1]], bool), np.array([[1, 1, 1, 0, 0], [1, 0, 1, 1, 0]], bool)
    y, weights = ours(pair, mask=[seen, shown], return_attention_scores=True, use_causal_mask=causal)
    ty, tweights = theirs(
        pair, mask=[keras.ops.convert_to_tensor(m) for m in (seen, shown)], return_attention_scores=True,
        use_causal_mask=causal,
    )  # fmt: skip
    assert np.allclose(y.numpy(), array(ty), atol=10 * BOUND)
    assert np.allclose(weights.numpy(), array(tweights), atol=BOUND)
    step = jit(lambda q, v: ours([q, v], use_causal_mask=causal))
    assert np.allclose(step(*pair).numpy(), ours(pair, use_causal_mask=causal).numpy(), atol=10 * BOUND)


def test_dropout_of_attention(rng: np.random.Generator) -> None:
    x = [floats(rng, 2, 6, 4), np.ones((2, 50, 4), np.float32)]
    layer = layers.Attention(dropout=0.5, seed=1)
    assert np.allclose(layer(x).numpy(), 1, atol=BOUND)
    y = layer(x, training=True).numpy()
    assert not np.allclose(y, 1, atol=0.01)
    again = layers.Attention(dropout=0.5, seed=1)
    assert np.array_equal(again(x, training=True).numpy(), y)


HEADS: list[tuple[dict[str, Any], list[tuple[int, ...]]]] = [
    ({}, [(2, 3, 4), (2, 5, 4)]),
    ({"value_dim": 2}, [(2, 3, 4), (2, 5, 6)]),
    ({"use_bias": False}, [(2, 3, 4), (2, 5, 4), (2, 5, 3)]),
    ({"output_shape": 7}, [(2, 3, 4), (2, 3, 4)]),
    ({"output_shape": (2, 3)}, [(2, 3, 4), (2, 5, 4)]),
    ({"attention_axes": 2}, [(2, 2, 3, 4), (2, 2, 5, 4)]),
    ({"attention_axes": (1, 2)}, [(2, 2, 3, 4), (2, 3, 2, 4)]),
    ({"attention_axes": 1}, [(2, 3, 2, 4), (2, 5, 2, 4)]),
    ({}, [(2, 2, 3, 4), (2, 2, 2, 4)]),
]


@pytest.mark.parametrize("options, shapes", HEADS, ids=range(len(HEADS)))
def test_multi_head_attention_is_that_of_keras(
    options: dict[str, Any], shapes: list[tuple[int, ...]], rng: np.random.Generator
) -> None:
    ours, theirs = layers.MultiHeadAttention(2, 3, **options), keras.layers.MultiHeadAttention(2, 3, **options)
    x = tuple(floats(rng, *shape) for shape in shapes)
    theirs(*x)
    theirs.set_weights([floats(rng, *w.shape) for w in theirs.get_weights()])
    # adding a constant to all scores of a query changes nothing: the gradient by the keys' bias is 0,
    # what is left of terms as large as the other gradients, about 10
    compare(ours, theirs, x, rng, BOUND, least=10.0)
    y, weights = ours(*x, return_attention_scores=True)
    ty, tweights = theirs(*x, return_attention_scores=True)
    assert np.allclose(y.numpy(), array(ty), atol=10 * BOUND)
    assert weights.shape == tuple(tweights.shape)
    assert np.allclose(weights.numpy(), array(tweights), atol=10 * BOUND)
    assert ours.compute_output_shape(*shapes) == tuple(theirs.compute_output_shape(*shapes))
    assert np.allclose(jit(lambda *parts: ours(*parts))(*x).numpy(), y.numpy(), atol=10 * BOUND)


def test_masks_of_multi_head_attention_are_those_of_keras(rng: np.random.Generator) -> None:
    ours, theirs = layers.MultiHeadAttention(2, 3), keras.layers.MultiHeadAttention(2, 3)
    q, v = floats(rng, 2, 4, 6), floats(rng, 2, 4, 6)
    theirs(q, v), ours(q, v)
    ours.set_weights(theirs.get_weights())
    whole = rng.random((2, 4, 4)) < 0.5
    whole[:, :, 0] = True
    shown = np.array([[1, 1, 1, 0], [1, 0, 1, 1]], bool)
    for options in (
        {"use_causal_mask": True}, {"attention_mask": whole}, {"attention_mask": whole[:1]}, {"value_mask": shown},
        {"value_mask": shown, "use_causal_mask": True}, {"attention_mask": whole, "key_mask": shown},
        {"attention_mask": np.stack([whole, ~whole | np.eye(4, dtype=bool)], 1)},
        {"attention_mask": whole.astype(np.float32)},
    ):  # fmt: skip
        peers = {k: keras.ops.convert_to_tensor(m) if isinstance(m, np.ndarray) else m for k, m in options.items()}
        y, weights = ours(q, v, return_attention_scores=True, **options)
        ty, tweights = theirs(q, v, return_attention_scores=True, **peers)
        assert np.allclose(weights.numpy(), array(tweights), atol=BOUND), options
        assert np.allclose(y.numpy(), array(ty), atol=BOUND), options
    dark = whole.copy()
    dark[0, 2] = False  # a query that may see nothing takes nothing
    _, weights = ours(q, v, attention_mask=dark, return_attention_scores=True)
    assert (weights.numpy()[0, :, 2] == 0).all()
    assert np.isfinite(rv.grad(lambda t: rv.sum(ours(t, v, attention_mask=dark)))(q).numpy()).all()


def test_masks_travel_into_and_through_multi_head_attention(rng: np.random.Generator) -> None:
    x = floats(rng, 2, 4, 6)
    mask = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], bool)
    x[~mask] = 0
    layer = layers.MultiHeadAttention(2, 3)
    masked = layers.Masking()(x)
    y = layer(masked, masked)
    assert np.array_equal(mask_of(y).numpy(), mask)
    by_hand = layer(x, x, attention_mask=mask[:, :, None] & mask[:, None, :])
    assert np.allclose(y.numpy(), by_hand.numpy(), atol=BOUND)
    changed = x.copy()
    changed[~mask] = 100.0  # what is masked may be anything
    other = layer(changed, changed, query_mask=mask, value_mask=mask).numpy()
    assert np.allclose(other[mask], y.numpy()[mask], atol=BOUND)


def test_causal_attention_cannot_see_ahead(rng: np.random.Generator) -> None:
    layer = layers.MultiHeadAttention(2, 4)
    x = floats(rng, 1, 6, 8)
    y = layer(x, use_causal_mask=True).numpy()
    later = x.copy()
    later[:, 4:] = floats(rng, 1, 2, 8)
    z = layer(later, use_causal_mask=True).numpy()
    assert np.array_equal(y[:, :4], z[:, :4]) and not np.allclose(y[:, 4:], z[:, 4:])


def test_pytorch_agrees(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    heads, size, features = 2, 3, 6
    x = floats(rng, 2, 5, features)
    theirs = torch.nn.MultiheadAttention(features, heads, batch_first=True)
    ours = layers.MultiHeadAttention(heads, size)
    ours(x)
    w, b = theirs.in_proj_weight.detach().numpy(), theirs.in_proj_bias.detach().numpy()
    weights = []
    for i in range(3):
        rows = slice(i * features, (i + 1) * features)
        weights += [w[rows].T.reshape(features, heads, size), b[rows].reshape(heads, size)]
    out = theirs.out_proj
    weights += [out.weight.detach().numpy().T.reshape(heads, size, features), out.bias.detach().numpy()]
    ours.set_weights(weights)
    t = torch.tensor(x)
    assert np.allclose(ours(x, x).numpy(), theirs(t, t, t)[0].detach().numpy(), atol=BOUND)
    scaled = torch.nn.functional.scaled_dot_product_attention(t, t, t, scale=1.0).numpy()
    assert np.allclose(layers.Attention()([x, x]).numpy(), scaled, atol=10 * BOUND)


def test_a_transformer_block_trains_compiled_and_saves(tmp_path: Any, rng: np.random.Generator) -> None:
    x = floats(rng, 32, 6, 8)
    model = rv.Sequential([
        rv.Input((6, 8)),
        layers.Residual([layers.LayerNormalization(), layers.MultiHeadAttention(2, 4, dropout=0.1)]),
        layers.Residual([layers.LayerNormalization(), layers.Dense(16, "gelu"), layers.Dense(8)]),
        layers.Flatten(), layers.Dense(1),
    ])  # fmt: skip
    model.compile(rv.optimizers.Adam(0.005), "mse")
    history = model.fit(x, x.mean((1, 2)), epochs=15, batch_size=8, verbose=0).history["loss"]
    assert history[-1] < history[0] / 2
    model.save(tmp_path / "block.safetensors")
    again = rv.load_model(tmp_path / "block.safetensors")
    assert np.array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    assert np.allclose(model.predict(x, verbose=0), model(x).numpy(), atol=BOUND * 10)


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: layers.Attention(score_mode="x"), ArgumentError, "Attention: expected score_mode to be 'dot' or 'concat'"),
    (lambda: layers.Attention(dropout=1), ArgumentError, "Attention: expected dropout .* below 1, got 1"),
    (
        lambda: layers.Attention(name="a")(rv.ones((2, 3, 4))), ShapeError,
        r"Attention 'a': expected \[query, value\] or \[query, value, key\]",
    ),
    (lambda: layers.Attention()([rv.ones((2, 3, 4))]), ShapeError, r"expected \[query, value\] .* got a list of 1"),
    (
        lambda: layers.Attention(name="a")([rv.ones((2, 3, 4)), rv.ones((2, 5, 3))]), ShapeError,
        r"Attention 'a': query \(None, 3, 4\) and key \(None, 5, 3\) are compared",
    ),
    (
        lambda: layers.Attention()([rv.ones((2, 3, 4)), rv.ones((2, 5, 4)), rv.ones((2, 6, 4))]), ShapeError,
        "expected value and key with the same steps",
    ),
    (lambda: layers.Attention()([rv.ones((2, 3, 4)), rv.ones((3, 5, 4))]), ShapeError, "belong to different batches"),
    (
        lambda: layers.Attention(name="a")([rv.ones((2, 3, 4)), rv.ones((2, 5, 4))], mask=np.ones((2, 3), bool)),
        ArgumentError, r"Attention 'a': expected mask=\[query_mask, value_mask\]",
    ),
    (
        lambda: layers.Attention()([rv.ones((2, 3, 4)), rv.ones((2, 5, 4))], mask=[None, np.ones((2, 3), bool)]),
        ShapeError, r"expected a value mask of shape \(2, 5\), one entry for each step, got \(2, 3\)",
    ),
    (
        lambda: layers.Attention()([rv.ones((2, 3, 4)), rv.ones((2, 0, 4))]), ShapeError,
        r"expected at least one step to attend to, got a value of shape \(None, 0, 4\)",
    ),
    (
        lambda: layers.MultiHeadAttention(2, 2)(rv.ones((2, 3, 4)), rv.ones((2, 0, 4))), ShapeError,
        r"expected at least one step to attend to, got a value of shape \(None, 0, 4\)",
    ),
    (lambda: layers.MultiHeadAttention(0, 2), ArgumentError, "num_heads to be an integer of at least 1, got 0"),
    (lambda: layers.MultiHeadAttention(2, 0), ArgumentError, "expected key_dim to be an integer of at least 1, got 0"),
    (lambda: layers.MultiHeadAttention(2, 2, value_dim=0), ArgumentError, "expected value_dim to be an integer"),
    (lambda: layers.MultiHeadAttention(2, 2, output_shape="x"), ArgumentError, "expected output_shape to be an int"),
    (lambda: layers.MultiHeadAttention(2, 2, output_shape=0), ArgumentError, "expected sizes of at least 1 in output"),
    (lambda: layers.MultiHeadAttention(2, 2, attention_axes=1.5), ArgumentError, "expected attention_axes to be"),
    (
        lambda: layers.MultiHeadAttention(2, 2, attention_axes=0)(rv.ones((2, 3, 4))), ShapeError,
        r"attention_axes \(0,\) do not fit a query of shape \(None, 3, 4\)",
    ),
    (
        lambda: layers.MultiHeadAttention(2, 2, name="m")(rv.ones((2, 4))), ShapeError,
        r"MultiHeadAttention 'm': expected query, value and key of shape \(batch, steps, features\)",
    ),
    (lambda: layers.MultiHeadAttention(2, 2)([rv.ones((2, 3, 4))] * 2), ShapeError, "expected a tensor as query, got"),
    (
        lambda: layers.MultiHeadAttention(2, 2)(rv.ones((2, 3, 4)), rv.ones((2, 3, 4)), rv.ones((2, 5, 4))), ShapeError,
        "must have the same steps",
    ),
    (
        lambda: layers.MultiHeadAttention(2, 2)(rv.ones((2, 3, 4)), rv.ones((3, 3, 4))), ShapeError, "their batch",
    ),
    (
        lambda: layers.MultiHeadAttention(2, 2, name="m")(rv.ones((2, 3, 4)), attention_mask=np.ones((2, 3, 5), bool)),
        ShapeError, r"MultiHeadAttention 'm': expected an attention_mask of shape \(2, 3, 3\), True where .* got \(2,",
    ),
    (
        lambda: layers.MultiHeadAttention(2, 2)(rv.ones((2, 3, 4)), attention_mask=np.ones((5, 3, 3), bool)),
        ShapeError, "expected an attention_mask of shape",
    ),
    (
        lambda: layers.MultiHeadAttention(2, 2)(rv.ones((2, 3, 4)), value_mask=np.ones((2, 4), bool)),
        ShapeError, r"expected a value mask of shape \(2, 3\), one entry for each step, got \(2, 4\)",
    ),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors(number: int) -> None:
    call, error, text = ERRORS[number]
    with pytest.raises(error, match=text):
        call()


def test_another_number_of_features_than_it_was_built_for() -> None:
    layer = layers.MultiHeadAttention(2, 2, name="m")
    layer(rv.ones((2, 3, 4)), rv.ones((2, 3, 6)))
    with pytest.raises(ShapeError, match=r"MultiHeadAttention 'm': expected 6 features in the key, got shape \(2,"):
        layer(rv.ones((2, 3, 4)), rv.ones((2, 3, 4)))
