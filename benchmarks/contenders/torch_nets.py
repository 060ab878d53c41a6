"""PyTorch's side of the networks in ``nets.py``: eager and compiled, channels first and channels last.

As its users write it for a CPU: ``nn`` modules, the fused Adam, gradients set to ``None``, data loaded once and
gathered with ``index_select``, one projection for query, key and value with the fused attention. Under channels last
the data stay channels last, so that neither gathering nor flattening copies twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import nets
from benchmarks.nets import Net, Part

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


class Flatten(nn.Module):
    """Pixels of a sample in a row: in the order in which they lie."""

    def __init__(self, last: bool):
        super().__init__()
        self.last = last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.permute(0, 2, 3, 1) if self.last and x.ndim == 4 else x).flatten(1)


class Average(nn.Module):
    """The mean over positions."""

    def __init__(self, axes: tuple[int, ...]):
        super().__init__()
        self.axes = axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(self.axes)


class Residual(nn.Module):
    def __init__(self, inner: nn.Module, shortcut: nn.Module):
        super().__init__()
        self.inner, self.shortcut = inner, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shortcut(x) + self.inner(x)


class Recurrent(nn.Module):
    """An LSTM or a GRU; all its outputs or the last."""

    def __init__(self, cell: nn.Module, sequences: bool):
        super().__init__()
        self.cell, self.sequences = cell, sequences

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.cell(x)[0]
        return y if self.sequences else y[:, -1]


class Attention(nn.Module):
    """Self-attention with one projection for query, key and value."""

    def __init__(self, width: int, heads: int, causal: bool):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, width = x.shape
        q, k, v = self.project(x).view(n, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).reshape(n, t, width))


class Position(nn.Module):
    """Adds a learned row for each place."""

    def __init__(self, steps: int, width: int):
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(steps, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.rows


class Builder:
    """Modules for parts, their weights filled from the common ones."""

    def __init__(self, net: Net, start: Sequence[np.ndarray], last: bool, exact: bool):
        self.left: Iterator[np.ndarray] = iter(start)
        self.last, self.exact = last, exact
        self.images = any(p.kind in {"conv", "deconv"} for p in net.parts)

    def sequence(self, parts: tuple[Part, ...], shape: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
        made: list[nn.Module] = []
        for part in parts:
            modules, shape = self.part(part, shape)
            made += modules
        return (nn.Sequential(*made) if made else nn.Identity()), shape

    def take(self, *targets: torch.Tensor) -> None:
        """Copy the next weights."""
        with torch.no_grad():
            for target in targets:
                target.copy_(torch.from_numpy(next(self.left)))

    def part(self, part: Part, shape: tuple[int, ...]) -> tuple[list[nn.Module], tuple[int, ...]]:
        n, width, space = part.size, shape[-1], shape[:-1]
        after = [ACTIVATIONS[part.activation]()] if part.activation else []
        match part.kind:
            case "conv" | "deconv":
                return [self.convolution(part, width, len(space)), *after], self._sized(part, space)
            case "dense":
                return [self.dense(n, shape), *after], (*space, n)
            case "lstm" | "gru":
                return [self.recurrent(part, width)], ((*space, n) if part.window else (n,))
            case "embedding":
                table = nn.Embedding(part.window, n)
                self.take(table.weight)
                return [table], (*shape, n)
            case "batch_norm":
                kind = nn.BatchNorm2d if len(space) == 2 else nn.BatchNorm1d
                norm = kind(width, eps=nets.NORM_EPSILON, momentum=1 - nets.NORM_MOMENTUM)
                self.take(norm.weight, norm.bias, norm.running_mean, norm.running_var)
                return [norm], shape
            case "layer_norm":
                layer = nn.LayerNorm(width, eps=nets.NORM_EPSILON)
                self.take(layer.weight, layer.bias)
                return [layer], shape
            case "attention":
                return [self.attention(width, n, bool(part.activation))], shape
            case "residual":
                inner, end = self.sequence(part.inner, shape)
                shortcut, _ = self.sequence(part.shortcut, shape)
                return [Residual(inner, shortcut)], end
            case "pool":
                kind = nn.MaxPool2d if len(space) == 2 else nn.MaxPool1d
                return [kind(part.window)], (*(d // part.window for d in space), width)
            case "average":
                return [Average(tuple(range(2, 2 + len(space))) if self.images else (1,))], (width,)
            case "flatten":
                self.flattened = shape
                return [Flatten(self.last)], (int(np.prod(shape)),)
            case "dropout":
                return [nn.Dropout(part.rate)], shape
            case "position":
                rows = Position(n, width)
                self.take(rows.rows)
                return [rows], shape
            case "relu":
                return [nn.ReLU(inplace=True)], shape
        raise ValueError(part.kind)

    @staticmethod
    def _sized(part: Part, space: tuple[int, ...]) -> tuple[int, ...]:
        s = part.strides
        return (*(-(-d // s) if part.kind == "conv" else d * s for d in space), part.size)

    def convolution(self, part: Part, width: int, axes: int) -> nn.Module:
        half, s = part.window // 2, part.strides
        uneven = self.exact and s > 1 and half  # Keras and XLA then pad one side more than the other
        if part.kind == "conv":
            kind = nn.Conv2d if axes == 2 else nn.Conv1d
            layer = kind(width, part.size, part.window, s, 0 if uneven else half, bias=part.bias)
        else:
            kind = nn.ConvTranspose2d if axes == 2 else nn.ConvTranspose1d
            sides = {} if uneven else {"padding": half, "output_padding": s - 1}
            layer = kind(width, part.size, part.window, s, **sides)
        kernel = next(self.left)  # taps, then inputs × outputs (transposed: outputs × inputs), as Keras has them
        spread = np.moveaxis(kernel, (-1, -2), (0, 1))
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(spread)))
        if layer.bias is not None:
            self.take(layer.bias)
        if not uneven:
            return layer
        if part.kind == "conv":
            return nn.Sequential(nn.ConstantPad2d((half - 1, half) * axes, 0.0), layer)
        return nn.Sequential(layer, nn.ConstantPad2d((0, s - part.window) * axes, 0.0))  # negative: cropped

    def dense(self, units: int, shape: tuple[int, ...]) -> nn.Module:
        layer = nn.Linear(shape[-1], units)
        matrix = next(self.left)
        before = getattr(self, "flattened", None)
        if before is not None and not (self.last and len(before) == 3):  # channels first: another order of places
            matrix = np.moveaxis(matrix.reshape(*before, units), -2, 0).reshape(-1, units)
        self.flattened = None
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(matrix.T)))
        self.take(layer.bias)
        return layer

    def recurrent(self, part: Part, width: int) -> nn.Module:
        kind = nn.LSTM if part.kind == "lstm" else nn.GRU
        cell = kind(width, part.size, batch_first=True)
        inputs, states, bias = next(self.left), next(self.left), next(self.left)
        order = [0, 1, 2, 3] if part.kind == "lstm" else [1, 0, 2]  # gates: Keras's z r h is r z n here

        def gates(a: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.concatenate([np.split(a, len(order))[i] for i in order]))

        with torch.no_grad():
            cell.weight_ih_l0.copy_(gates(inputs.T))
            cell.weight_hh_l0.copy_(gates(states.T))
            cell.bias_ih_l0.copy_(gates(bias if part.kind == "lstm" else bias[0]))
            cell.bias_hh_l0.copy_(gates(0 * bias if part.kind == "lstm" else bias[1]))
        return Recurrent(cell, bool(part.window))

    def attention(self, width: int, heads: int, causal: bool) -> nn.Module:
        layer = Attention(width, heads, causal)
        taken = [next(self.left) for _ in range(8)]
        kernels = [k.reshape(width, width).T for k in (*taken[0:6:2], taken[6])]
        with torch.no_grad():
            layer.project.weight.copy_(torch.from_numpy(np.concatenate(kernels[:3])))
            layer.project.bias.copy_(torch.from_numpy(np.concatenate([b.ravel() for b in taken[1:6:2]])))
            layer.out.weight.copy_(torch.from_numpy(np.ascontiguousarray(kernels[3])))
            layer.out.bias.copy_(torch.from_numpy(taken[7]))
        return layer


def model(net: Net, last: bool = False, exact: bool = False, start: Sequence[np.ndarray] | None = None) -> nn.Module:
    """The network, with the weights given or the common ones.

    PyTorch pads both sides alike; with ``exact`` strided convolutions pad as the other frameworks do, at a cost.
    """
    made, _ = Builder(net, start or nets.weights(net), last, exact).sequence(net.parts, net.input)
    images = net.input[-1] and len(net.input) == 3
    return made.to(memory_format=torch.channels_last) if last and images else made


def place(net: Net, x: np.ndarray, last: bool) -> torch.Tensor:
    """Samples as this side keeps them: images channels first, or channels last and seen as channels first."""
    t = torch.from_numpy(x).long() if net.symbols else torch.from_numpy(x)
    convolved = any(p.kind in {"conv", "deconv"} for p in net.parts)
    if not convolved:
        return t
    moved = t.movedim(-1, 1)
    return moved if last else moved.contiguous()


def objective(net: Net) -> Any:
    if net.loss == "classes":
        return F.cross_entropy
    if net.loss == "symbols":
        return lambda z, y: F.cross_entropy(z.flatten(0, 1), y.flatten())
    return F.mse_loss if net.loss == "values" else F.binary_cross_entropy_with_logits


def gather(source: torch.Tensor, rows: torch.Tensor, last: bool) -> torch.Tensor:
    """Rows of the data; channels last they are gathered where they lie, whole pixels."""
    if last and source.ndim == 4:
        return source.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)
    return source.index_select(0, rows)


class Train:
    """A loop of steps. ``compiled`` puts forward and loss, and so backward, under ``torch.compile``."""

    def __init__(self, net: str, threads: int, last: bool = False, compiled: bool = False, bfloat16: bool = False):
        torch.set_num_threads(threads)
        self.net, self.last, self.compiled, self.bfloat16 = nets.NETS[net], last, compiled, bfloat16
        x, y = nets.data(self.net)
        self.x = place(self.net, x, last)
        self.y = self.x if self.net.loss == "self" else torch.from_numpy(y)
        self.y = self.y.long() if self.net.loss in {"classes", "symbols"} else self.y
        rng = np.random.default_rng(3)
        self.orders = list(torch.from_numpy(rng.permutation(len(x)).reshape(-1, self.net.batch)))
        self.turn = 0
        began = time.perf_counter()
        self._reset()
        self.run(1)
        self.info = {"compile_s": time.perf_counter() - began}

    def _reset(self, exact: bool = False) -> None:
        module, loss = model(self.net, self.last, exact).train(), objective(self.net)
        self.model = module
        self.optimizer = torch.optim.Adam(module.parameters(), lr=nets.RATE, eps=nets.EPSILON, fused=True)

        def forward(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return loss(module(x), y)

        self.forward = torch.compile(forward) if self.compiled else forward

    def _step(self, rows: torch.Tensor) -> torch.Tensor:
        x = gather(self.x, rows, self.last)
        y = x if self.y is self.x else self.y.index_select(0, rows)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            value = self.forward(x, y)
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        self.optimizer.step()
        return value.detach()

    def run(self, n: int) -> tuple[float, int]:
        began = time.perf_counter()
        for _ in range(n):
            self._step(self.orders[self.turn % len(self.orders)])
            self.turn += 1
        return time.perf_counter() - began, n

    def losses(self, steps: int) -> list[float]:
        """The loss of the first steps, rows in their order, from the common weights."""
        self._reset(exact=True)
        for cell in self.model.modules():
            if isinstance(cell, nn.LSTM):  # Keras's has one bias where this one has two
                cell.bias_hh_l0.requires_grad_(False)
        return [float(self._step(torch.arange(i * self.net.batch, (i + 1) * self.net.batch))) for i in range(steps)]


FirstStep = Train  # its constructor takes a step


class Predict:
    """A batch through the network under ``inference_mode``."""

    def __init__(self, net: str, threads: int, batch: int, last: bool = False, compiled: bool = False):
        torch.set_num_threads(threads)
        table = nets.NETS[net]
        module = model(table, last).eval()
        self.call = torch.compile(module) if compiled else module
        self.x = place(table, nets.data(table, 1)[0][:batch], last)
        self.run(3)

    def run(self, n: int) -> tuple[float, int]:
        call, x = self.call, self.x
        with torch.inference_mode():
            began = time.perf_counter()
            for _ in range(n):
                call(x)
            return time.perf_counter() - began, n
