"""Samples and weights as pictures: the pixels in the page are those of the arrays."""

from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pytest

from ranvier.diagnose import Example, diverging, grey_levels, image_grid, weight_pictures
from ranvier.errors import ArgumentError, ShapeError


def pixels(uri: str, shape: tuple[int, ...]) -> np.ndarray:
    """Pixels of a picture in a data address (one IDAT chunk, no filters: what the writer makes)."""
    data = base64.b64decode(uri.partition(",")[2])
    start = data.index(b"IDAT")
    length = int.from_bytes(data[start - 4 : start], "big")
    lines = np.frombuffer(zlib.decompress(io.BytesIO(data[start + 4 : start + 4 + length]).read()), np.uint8)
    return lines.reshape(shape[0], -1)[:, 1:].reshape(shape)


def test_grey_levels():
    assert grey_levels([[0, 8, 16]]).tolist() == [[0, 128, 255]]
    assert grey_levels([[0, 8, 16]], 0, 32).tolist() == [[0, 64, 128]]
    assert grey_levels([[-5, 40]], 0, 32).tolist() == [[0, 255]]
    assert grey_levels([[np.nan, np.inf, -np.inf, 1.0, 3.0]]).tolist() == [[0, 255, 0, 0, 255]]
    assert grey_levels([[7, 7]]).tolist() == [[0, 0]]


def test_diverging_is_signed_and_symmetric():
    colours = diverging(np.array([-2.0, -1.0, 0.0, 1.0, 2.0]))
    assert colours.dtype == np.uint8
    assert colours.shape == (5, 3)
    assert colours[2].min() > 235  # zero is paper
    assert colours[0, 2] > colours[0, 0]  # negative is blue
    assert colours[4, 0] > colours[4, 2]  # positive is orange
    luminance = colours @ np.array([0.2126, 0.7152, 0.0722])
    assert luminance[0] < luminance[1] < luminance[2] > luminance[3] > luminance[4]
    assert diverging(np.zeros((2, 2))).tolist() == [[diverging([0.0])[0].tolist()] * 2] * 2
    assert np.array_equal(diverging([np.nan, 5.0], limit=5)[0], diverging([0.0, 5.0])[0])


@pytest.mark.smoke
def test_samples_show_their_pixels_and_say_what_they_are():
    image = np.arange(12).reshape(3, 4)
    markup = image_grid([Example(image, 3, 8, 0.934, "row 17"), Example(None, "a<b", "c")])
    tree = ET.fromstring(markup)
    (picture,) = tree.iter("img")
    assert np.array_equal(pixels(picture.get("src"), (3, 4)), 255 - grey_levels(image))
    assert picture.get("alt") == "A sample of class 3, called 8, 93\u202f% sure"
    assert picture.get("class") == "ink"
    words = "".join(tree.itertext())
    assert "3 read as 8" in words
    assert "row 17" in words
    assert "a<b read as c" in words


def test_samples_share_one_scale():
    dark, bright = np.full((2, 2), 4.0), np.array([[0.0, 16.0], [0.0, 16.0]])
    tree = ET.fromstring(image_grid([Example(dark, 0, 1), Example(bright, 1, 0)]))
    first, second = tree.iter("img")
    assert set(pixels(first.get("src"), (2, 2)).ravel().tolist()) == {255 - 64}
    assert pixels(second.get("src"), (2, 2)).tolist() == [[255, 0], [255, 0]]


def test_colour_samples_are_not_turned_round():
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    tree = ET.fromstring(image_grid([Example(image, 0, 1)], low=0, high=255))
    (picture,) = tree.iter("img")
    assert np.array_equal(pixels(picture.get("src"), (4, 5, 3)), image)
    assert picture.get("class") is None


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2), (0, 3), (2, 2, 2, 2)])
def test_not_an_image(shape):
    with pytest.raises(ShapeError, match=r"image_grid: expected \(rows, columns\)"):
        image_grid([Example(np.zeros(shape), 0, 1)])


def test_weights_as_images():
    kernel = np.random.default_rng(0).normal(size=(12, 5))
    tree = ET.fromstring(weight_pictures(kernel, (3, 4)))
    pictures = [node for node in tree.iter("img") if node.get("alt").startswith("Weights into")]
    assert len(pictures) == 5
    bound = float(np.quantile(np.abs(kernel), 0.998))
    for unit, picture in enumerate(pictures):
        expected = diverging(kernel[:, unit].reshape(3, 4), bound)
        assert np.array_equal(pixels(picture.get("src"), (3, 4, 3)), expected)


def test_the_largest_units_are_chosen_in_their_order():
    kernel = np.ones((4, 6)) * np.array([1, 5, 2, 6, 3, 4])
    tree = ET.fromstring(weight_pictures(kernel, (2, 2), limit=3))
    assert [node.text for node in tree.iter("figcaption")] == ["1", "3", "5"]
    assert "The 3 of 6 units with the largest weights." in "".join(tree.itertext())


def test_weights_of_inputs_that_are_no_image():
    kernel = np.array([[0.5, -0.25], [0.0, 1.0], [-1.0, 0.125]])
    tree = ET.fromstring(weight_pictures(kernel, names=["length", "width", "a & b"]))
    titles = [node.get("title") for node in tree.iter("i")]
    assert titles[:2] == ["length, unit 0: 0.5", "length, unit 1: -0.25"]
    assert titles[-1] == "a & b, unit 1: 0.125"
    assert [node.text for node in tree.iter("th")][:3] == ["input", "0", "1"]


def test_weights_that_are_not_finite():
    kernel = np.array([[np.nan, 1.0], [np.inf, -1.0]])
    ET.fromstring(weight_pictures(kernel))
    ET.fromstring(weight_pictures(np.full((4, 2), np.nan), (2, 2)))
    ET.fromstring(weight_pictures(np.zeros((4, 2)), (2, 2)))


def test_weights_refuse():
    with pytest.raises(ShapeError, match=r"expected a kernel \(inputs, units\)"):
        weight_pictures(np.zeros(3))
    with pytest.raises(ShapeError, match=r"images of \(8, 8\) have 64 pixels, but the kernel has 63 inputs"):
        weight_pictures(np.zeros((63, 2)), (8, 8))
    with pytest.raises(ShapeError, match="3 inputs, but 1 names"):
        weight_pictures(np.zeros((3, 2)), names=["x"])
    with pytest.raises(ArgumentError, match="limit must be 1 or more, got 0"):
        weight_pictures(np.zeros((3, 2)), limit=0)
