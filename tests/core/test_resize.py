"""Resizing against Keras and PyTorch, padding against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranvier as rv

from .peers import import_keras

SIZES = [((4, 4), (8, 12)), ((5, 7), (3, 11)), ((6, 4), (3, 2)), ((1, 3), (4, 1)), ((5, 5), (5, 5)), ((9, 8), (2, 5))]


@pytest.mark.parametrize("old, new", SIZES)
def test_images_equal_keras(old: tuple[int, ...], new: tuple[int, ...], rng: np.random.Generator) -> None:
    keras = import_keras()
    x = rng.normal(size=(2, *old, 3)).astype("float32")
    for method in ("nearest", "bilinear"):
        if keras.backend.backend() == "torch" and method == "nearest":
            continue  # PyTorch's "nearest" shows the element under a pixel's corner
        theirs = keras.ops.image.resize(x, new, interpolation=method, data_format="channels_last")
        # Two float32 weights for each of two axes.
        ours = rv.resize(x, new, method).numpy()
        np.testing.assert_allclose(ours, keras.ops.convert_to_numpy(theirs), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_values_and_gradients_equal_pytorch(rank: int, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    modes = {"nearest": "nearest-exact", "bilinear": ["linear", "bilinear", "trilinear"][rank - 1]}
    front, back = (0, rank + 1, *range(1, rank + 1)), (0, *range(2, rank + 2), 1)
    for old, new in (((4, 3, 5), (8, 9, 7)), ((6, 5, 4), (3, 4, 8)), ((7, 2, 3), (1, 5, 3))):
        x = rng.normal(size=(2, *old[:rank], 3))
        g = rng.normal(size=(2, *new[:rank], 3))
        for method, mode in modes.items():
            a = torch.tensor(x, requires_grad=True)
            theirs = torch.nn.functional.interpolate(a.permute(front), new[:rank], mode=mode).permute(back)
            theirs.backward(torch.tensor(g))
            ours, pull = rv.vjp(lambda t, m=method, n=new[:rank]: rv.resize(t, n, m), rv.asarray(x))
            np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-12, atol=1e-13)
            np.testing.assert_allclose(pull(rv.asarray(g))[0].numpy(), a.grad.numpy(), rtol=1e-12, atol=1e-13)


def test_nearest_keeps_the_dtype_and_bilinear_makes_it_real() -> None:
    x = rv.reshape(rv.tensor([1, 2, 3]), (1, 3, 1))
    assert rv.resize(x, 2).dtype is rv.int64 and rv.resize(x, 2).flatten().tolist() == [1, 3]
    assert rv.resize(x, 2, "bilinear").dtype is rv.float32
    assert rv.resize(x.astype("bfloat16"), 2, "bilinear").dtype is rv.bfloat16


def test_compiled_resizing_and_its_gradient(rng: np.random.Generator) -> None:
    x = rv.tensor(rng.normal(size=(2, 6, 5, 3)).astype("float32"))
    for size, method in (((12, 10), "nearest"), ((12, 10), "bilinear"), ((4, 7), "nearest"), ((4, 7), "bilinear")):
        f = rv.value_and_grad(lambda t, a=(size, method): rv.sum(rv.resize(t, *a) ** 2))
        for eager, compiled in zip(f(x), rv.jit(f)(x), strict=True):
            # A sum of 360 squares, and gradients of at most 9 terms, in float32.
            np.testing.assert_allclose(compiled.numpy(), eager.numpy(), rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda x: rv.resize(x, 0), "ArgumentError", "expected size .* at least 1"),
        (lambda x: rv.resize(x, (2, 2, 2)), "ArgumentError", "one for each of the 2 spatial axes"),
        (lambda x: rv.resize(x, 4, "cubic"), "ArgumentError", "'nearest' or 'bilinear', got 'cubic'"),
        (lambda x: rv.resize(x[0, 0], 4), "ShapeError", r"got shape \(4, 3\)"),
        (lambda x: rv.resize(x[:, :0], 4), "ShapeError", "not empty"),
    ],
)
def test_bad_sizes(call: Any, error: str, text: str) -> None:
    with pytest.raises(getattr(rv.errors, error), match=rf"(?s)resize: .*{text}"):
        call(rv.ones((2, 4, 4, 3)))


# -- padding ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("mode", ["constant", "reflect", "symmetric", "edge"])
def test_padding_equals_numpy(mode: Any, compiled: bool, rng: np.random.Generator) -> None:
    for shape, widths in (((5,), [(2, 3)]), ((3, 4), [(0, 2), (3, 0)]), ((2, 3, 2), [(1, 1), (5, 7), (0, 0)])):
        a = rng.normal(size=shape).astype("float32")

        def f(x: rv.Tensor, widths: Any = widths) -> rv.Tensor:
            return rv.pad(x, widths, mode)

        np.testing.assert_array_equal((rv.jit(f) if compiled else f)(rv.tensor(a)).numpy(), np.pad(a, widths, mode))


@pytest.mark.parametrize("mode", ["constant", "reflect", "symmetric", "edge"])
def test_padding_has_gradients(mode: str, rng: np.random.Generator) -> None:
    rv.check_gradients(lambda x: rv.pad(x, [(2, 1), (0, 3)], mode) ** 3, rng.normal(size=(3, 4)), order=2)


def test_bad_padding() -> None:
    with pytest.raises(rv.errors.ArgumentError, match=r"pad: expected mode to be one of .*'reflect'.* got 'wrap'"):
        rv.pad(rv.ones(3), [(1, 1)], "wrap")
    with pytest.raises(rv.errors.ArgumentError, match=r"pad: expected mode .* got 7 \(int\)"):
        rv.pad(rv.ones(3), [(1, 1)], 7)
    with pytest.raises(rv.errors.ShapeError, match=r"pad: expected axis 1 of shape \(2, 0\) not to be empty"):
        rv.pad(rv.ones((2, 0)), [(0, 0), (1, 1)], "edge")
