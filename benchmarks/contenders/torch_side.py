"""PyTorch's side: eager with the fused Adam, and compiled.

Tensors are loaded once, batches are gathered with ``index_select``, gradients are set to ``None``, the optimizer is the
fused one. Two ways to compile: ``how="model"`` compiles forward and loss (and so backward) and keeps the fused Adam;
``how="step"`` compiles the whole step, gradients and Adam included, as one function over plain tensors.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks import mlp
from benchmarks.worker import resident


def network(sizes: list[int] | tuple[int, ...]) -> torch.nn.Sequential:
    """Dense layers with relu between them; the last gives logits."""
    parts: list[torch.nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        parts += [torch.nn.Linear(a, b), torch.nn.ReLU()]
    return torch.nn.Sequential(*parts[:-1])


def cross_entropy(spec: mlp.Spec) -> Any:
    """The loss from logits."""
    if spec.loss == "sigmoid":
        return lambda z, y: F.binary_cross_entropy_with_logits(z[:, 0], y)
    return F.cross_entropy


class TrainEager:
    """``loss.backward()`` and a fused Adam."""

    def __init__(self, spec: dict[str, Any], data: str, threads: int):
        torch.set_num_threads(threads)
        self.problem = mlp.load(spec, data)
        p = self.problem
        self.x = torch.from_numpy(p.x)
        self.y = torch.from_numpy(p.y).float() if p.spec.loss == "sigmoid" else torch.from_numpy(p.y)
        self.orders = [list(torch.from_numpy(order)) for order in p.orders]
        self.loss = cross_entropy(p.spec)
        self.info: dict[str, Any] = {"threads": threads}
        self.epoch_number = 0
        self._reset()
        self.run(1)

    def _reset(self) -> None:
        p = self.problem
        self.model = network(p.spec.sizes)
        linears = [layer for layer in self.model if isinstance(layer, torch.nn.Linear)]
        with torch.no_grad():
            for i, layer in enumerate(linears):
                layer.weight.copy_(torch.from_numpy(p.weights[2 * i].T))
                layer.bias.copy_(torch.from_numpy(p.weights[2 * i + 1]))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=p.spec.rate, eps=mlp.EPSILON, fused=True)

    def _steps(self, batches: list[torch.Tensor]) -> None:
        x, y, model, loss, optimizer = self.x, self.y, self.model, self.loss, self.optimizer
        for rows in batches:
            value = loss(model(x.index_select(0, rows)), y.index_select(0, rows))
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()

    def run(self, n: int) -> tuple[float, int]:
        began, done = time.perf_counter(), 0
        while done < n:
            batches = self.orders[self.epoch_number % len(self.orders)][: n - done]
            self._steps(batches)
            self.epoch_number += 1
            done += len(batches)
        return time.perf_counter() - began, done

    def weights(self) -> list[np.ndarray]:
        arrays = [w.detach().numpy() for w in self.model.parameters()]
        return [w.T if w.ndim == 2 else w for w in arrays]

    def trained(self) -> float:
        self._reset()
        self._steps(self.orders[0])
        return mlp.mean_loss(self.problem, self.weights())


class TrainCompiled(TrainEager):
    """The same under ``torch.compile``."""

    def __init__(self, spec: dict[str, Any], data: str, threads: int, how: str):
        self.how = how
        began = time.perf_counter()
        super().__init__(spec, data, threads)
        self.info["compile_s"] = time.perf_counter() - began

    def _reset(self) -> None:
        torch.compiler.reset()
        super()._reset()
        if self.how == "model":
            model, loss = self.model, self.loss

            @torch.compile
            def forward(x: torch.Tensor, y: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
                return loss(model(x.index_select(0, rows)), y.index_select(0, rows))

            self.forward = forward
        else:
            self.state = _State(self.model)
            self.step = torch.compile(_whole_step(self.loss, self.problem.spec.rate))

    def _steps(self, batches: list[torch.Tensor]) -> None:
        if self.how == "model":
            for rows in batches:
                value = self.forward(self.x, self.y, rows)
                self.optimizer.zero_grad(set_to_none=True)
                value.backward()
                self.optimizer.step()
        else:
            s = self.state
            with torch.no_grad():
                for rows in batches:
                    self.step(s.parameters, s.first, s.second, s.turn, self.x, self.y, rows)


class _State:
    """Parameters (shared with the module), both moments and the step number, as plain tensors."""

    def __init__(self, model: torch.nn.Module):
        self.parameters = [w.detach() for w in model.parameters()]
        self.first = [torch.zeros_like(w) for w in self.parameters]
        self.second = [torch.zeros_like(w) for w in self.parameters]
        self.turn = torch.zeros(())


def _whole_step(loss: Any, rate: float) -> Any:
    def objective(parameters: list[torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        for i in range(0, len(parameters), 2):
            x = F.linear(x, parameters[i], parameters[i + 1])
            x = F.relu(x) if i < len(parameters) - 2 else x
        return loss(x, y)

    def step(parameters, first, second, turn, x, y, rows):  # type: ignore[no-untyped-def]
        x, y = x.index_select(0, rows), y.index_select(0, rows)
        gradients, value = torch.func.grad_and_value(objective)(parameters, x, y)
        turn += 1
        scale = rate / (1 - 0.9**turn)
        root = torch.sqrt(1 - 0.999**turn)
        for w, g, m, v in zip(parameters, gradients, first, second, strict=True):
            m.lerp_(g, 0.1)
            v.mul_(0.999).addcmul_(g, g, value=0.001)
            w.sub_(scale * m / (v.sqrt() / root + mlp.EPSILON))
        return value

    return step


class PredictOne:
    """One row through the network under ``inference_mode``."""

    def __init__(self, spec: dict[str, Any], data: str, threads: int, compiled: bool = False):
        torch.set_num_threads(threads)
        problem = mlp.load(spec, data)
        self.model = network(problem.spec.sizes).eval()
        if compiled:
            self.model = torch.compile(self.model)  # type: ignore[assignment]
        self.row = torch.from_numpy(problem.x[:1].copy())
        self.run(10)

    def run(self, n: int) -> tuple[float, int]:
        model, row = self.model, self.row
        with torch.inference_mode():
            began = time.perf_counter()
            for _ in range(n):
                model(row)
            return time.perf_counter() - began, n


class Matmul:
    """``torch.mm`` into a ready output; a transposed operand is a transposed view, as its users write it.

    The output lies by rows or by columns, whichever is faster here.
    """

    def __init__(self, threads: int):
        torch.set_num_threads(threads)

    def prepare(self, m: int, n: int, k: int, transpose: str) -> None:
        self.a = torch.rand(k, m).T if transpose[0] == "t" else torch.rand(m, k)
        self.b = torch.rand(n, k).T if transpose[1] == "t" else torch.rand(k, n)
        outputs = [torch.empty(m, n), torch.empty(n, m).T]
        count = max(3, int(2e8 / (2 * m * n * k)))  # a few milliseconds
        times: list[list[float]] = [[], []]
        for _ in range(4):
            for self.c, taken in zip(outputs, times, strict=True):
                taken.append(self.run(count)[0])
        self.c = min(zip(map(min, times), outputs, strict=True), key=lambda pair: pair[0])[1]

    def run(self, n: int) -> tuple[float, int]:
        a, b, c, mm = self.a, self.b, self.c, torch.mm
        began = time.perf_counter()
        for _ in range(n):
            mm(a, b, out=c)
        return time.perf_counter() - began, n


class EagerOp:
    """One small op on tensors that require a gradient; ``chain`` does 32 of them and goes back through all."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self.a = torch.rand(32, requires_grad=True)
        self.b = torch.rand(32, requires_grad=True)
        self.m = torch.rand(8, 8, requires_grad=True)

    def prepare(self, op: str) -> None:
        self.op = op
        self.run(3)

    def run(self, n: int) -> tuple[float, int]:
        a, b, m = self.a, self.b, self.m
        began = time.perf_counter()
        if self.op == "multiply":
            for _ in range(n):
                a * b
        elif self.op == "tanh":
            for _ in range(n):
                torch.tanh(a)
        elif self.op == "matmul":
            for _ in range(n):
                m @ m
        else:
            for _ in range(n):
                y = torch.tanh(a) * b
                for _ in range(15):
                    y = torch.tanh(y) * b
                y.sum().backward()
                a.grad = b.grad = None
        return time.perf_counter() - began, n

    def retained(self) -> dict[str, int]:
        """What 200 chains leave behind: Python objects, and bytes of resident memory over 1,000 more."""
        self.op = "chain"
        objects = mlp.objects_left(lambda: self.run(200))
        before = resident()
        self.run(1000)
        return {"objects": objects, "resident": resident() - before}

    def long_chain(self, count: int) -> dict[str, float]:
        """Differentiate ``count`` multiplications in a row: seconds, and how far the gradient is from the exact one."""
        factor = 1 + 1 / count
        x = torch.ones((), dtype=torch.float64, requires_grad=True)
        began = time.perf_counter()
        y = x * factor
        for _ in range(count - 1):
            y = y * factor
        y.backward()
        seconds = time.perf_counter() - began
        exact = factor**count
        assert x.grad is not None
        return {"seconds": seconds, "error": abs(float(x.grad) - exact) / exact}
