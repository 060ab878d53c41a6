"""Sixty convolutions drawn at random with a fixed seed: for ``convolutions.py`` and the test of exactness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST = 2e9  # FLOPs forward; larger draws are left out, so that all can be timed


@dataclass(frozen=True)
class Shape:
    """A two-dimensional convolution, channels last."""

    batch: int
    size: tuple[int, int]
    channels: int
    filters: int
    kernel: tuple[int, int]
    strides: int
    dilation: int
    groups: int
    padding: int

    @property
    def out(self) -> tuple[int, int]:
        spans = [(k - 1) * self.dilation + 1 for k in self.kernel]
        places = [(n + 2 * self.padding - s) // self.strides + 1 for n, s in zip(self.size, spans, strict=True)]
        return places[0], places[1]

    @property
    def flops(self) -> int:
        area = self.kernel[0] * self.kernel[1] * self.out[0] * self.out[1]
        return 2 * self.batch * area * self.channels * self.filters // self.groups

    @property
    def text(self) -> str:
        said = f"{self.batch}×{self.size[0]}×{self.size[1]}×{self.channels}→{self.filters}"
        said += f" k{self.kernel[0]}×{self.kernel[1]}"
        for letter, value, usual in (("s", self.strides, 1), ("d", self.dilation, 1), ("g", self.groups, 1)):
            said += f" {letter}{value}" if value != usual else ""
        return said + (f" p{self.padding}" if self.padding else "")


def drawn(count: int = 60, seed: int = 60) -> list[Shape]:
    """The shapes: kernel 1-7, stride 1-3, dilation 1-2, groups, channels 1-96, size 5-64, batch 1-64."""
    rng = np.random.default_rng(seed)
    found: list[Shape] = []
    while len(found) < count:
        shape = _draw(rng)
        if shape.flops <= MOST and min(shape.out) > 0:
            found.append(shape)
    return found


def _draw(rng: np.random.Generator) -> Shape:
    kernel = int(rng.integers(1, 8))
    wide = kernel if rng.random() < 0.8 else int(rng.integers(1, 8))  # most kernels are square
    channels, filters = (int(n) for n in rng.integers(1, 97, 2))
    kind = rng.random()
    groups = 1
    if kind < 0.1:
        groups, filters = channels, channels * int(rng.integers(1, 3))  # depthwise
    elif kind < 0.25:
        groups = int(rng.choice([2, 3, 4]))
        channels, filters = (max(groups, n // groups * groups) for n in (channels, filters))
    dilation = int(rng.integers(1, 3))
    padding = (max(kernel, wide) - 1) // 2 * dilation if rng.random() < 0.75 else 0
    height = int(rng.integers(5, 65))
    width = height if rng.random() < 0.7 else int(rng.integers(5, 65))
    batch = round(2 ** rng.uniform(0, 6))
    return Shape(
        batch, (height, width), channels, filters, (kernel, wide), int(rng.integers(1, 4)), dilation, groups, padding
    )
