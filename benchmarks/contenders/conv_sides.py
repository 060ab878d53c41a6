"""Single convolutions and their two gradients, each side with its operands in the layout it likes.

``prepare(number)`` makes the operands of one of the shapes of ``conv_shapes``; ``times(seconds)`` gives the time of
one forward convolution, one gradient of the image and one of the kernel.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.conv_shapes import Shape, drawn

KINDS = ("forward", "image", "kernel")


def operands(shape: Shape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, kernel and cotangent, channels last."""
    rng = np.random.default_rng(1)
    sizes = (
        (shape.batch, *shape.size, shape.channels),
        (*shape.kernel, shape.channels // shape.groups, shape.filters),
        (shape.batch, *shape.out, shape.filters),
    )
    x, w, g = (rng.standard_normal(size, np.float32) for size in sizes)
    return x, w, g


def timed(work: Callable[[int], Any], seconds: float) -> float:
    """Seconds of one unit, from a slice of about ``seconds``; ``work(n)`` does ``n`` units."""
    began = time.perf_counter()
    work(1)
    once = time.perf_counter() - began
    count = max(1, int(seconds / max(once, 1e-6)))
    began = time.perf_counter()
    work(count)
    return (time.perf_counter() - began) / count


class Ranvier:
    """``rv.conv`` and its gradients in a plan, images as users hold them; all runs of a slice in one native call."""

    def prepare(self, number: int) -> None:
        rv = importlib.import_module("ranvier")
        shape = drawn()[number]
        x, w, g = operands(shape)
        attrs = {"strides": shape.strides, "dilation": shape.dilation, "groups": shape.groups,
                 "padding": ((shape.padding,) * 2,) * 2}  # fmt: skip

        def forward(x: Any, w: Any) -> Any:
            return rv.conv(x, w, **attrs)

        def dot(x: Any, w: Any, g: Any) -> Any:
            return rv.sum(forward(x, w) * g)

        a, b, c = (rv.tensor(np.ascontiguousarray(v)) for v in (x, w, g))
        made = {
            "forward": (rv.jit(forward), (a, b)),
            "image": (rv.jit(lambda x, w, g: rv.grad(lambda t: dot(t, w, g))(x)), (a, b, c)),
            "kernel": (rv.jit(lambda x, w, g: rv.grad(lambda t: dot(x, t, g))(w)), (a, b, c)),
        }
        self.work = {kind: lambda n, f=f, given=given: f.run(n, *given) for kind, (f, given) in made.items()}
        for work in self.work.values():
            work(1)

    def times(self, seconds: float) -> dict[str, float]:
        return {kind: timed(work, seconds) for kind, work in self.work.items()}


class Torch:
    """``aten::convolution`` and ``aten::convolution_backward``; one of the two memory formats."""

    def __init__(self, threads: int, last: bool):
        import torch

        torch.set_num_threads(threads)
        self.torch, self.last = torch, last

    def prepare(self, number: int) -> None:
        torch = self.torch
        shape = drawn()[number]
        x, w, g = (torch.from_numpy(a) for a in operands(shape))
        x, g, w = x.permute(0, 3, 1, 2), g.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1)
        form = torch.channels_last if self.last else torch.contiguous_format
        x, w, g = (t.contiguous(memory_format=form) for t in (x, w, g))
        two = [[v] * 2 for v in (shape.strides, shape.padding, shape.dilation)]
        both = (*two, False, [0, 0], shape.groups)
        aten = torch.ops.aten

        def forward(n: int) -> None:
            for _ in range(n):
                aten.convolution(x, w, None, *both)

        def backward(mask: list[bool]) -> Callable[[int], None]:
            def work(n: int) -> None:
                for _ in range(n):
                    aten.convolution_backward(g, x, w, None, *both, mask)

            return work

        self.work = {
            "forward": forward, "image": backward([True, False, False]), "kernel": backward([False, True, False]),
        }  # fmt: skip
        with torch.inference_mode():
            for work in self.work.values():
                work(2)

    def times(self, seconds: float) -> dict[str, float]:
        with self.torch.inference_mode():
            return {kind: timed(work, seconds) for kind, work in self.work.items()}
