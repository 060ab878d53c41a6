"""Networks on real data, each beside its PyTorch twin: what is reached, and in what time.

``python -m benchmarks.accuracy fashion`` runs one (they take minutes, so ``make bench`` runs none of them) and notes it
in ``results.md``; with ``--ours`` without the twin. Both sides start from the same weights, see the same rows the same
number of times, and use Adam under the same cosine of learning rates. The data come from the folder that
``RANVIER_TEST_DATA`` names, or from ``../shared/data`` beside the repository; none of it is part of the project.
"""

from __future__ import annotations

import argparse
import functools
import math
import statistics
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks import machine, nets, real_data, report, results
from benchmarks.nets import (
    AVERAGE,
    BATCH_NORM,
    FLATTEN,
    LAYER_NORM,
    RELU,
    Net,
    Part,
    attention,
    conv,
    dense,
    dropout,
    embedding,
    gru,
    lstm,
    pool,
    position,
    residual,
)  # fmt: skip
from benchmarks.real_data import Data


@dataclass(frozen=True)
class Task:
    """A network on a data set.

    Args:
        net: the network; its batch size and loss are used.
        data: a function that reads the data.
        epochs: passes over the training rows.
        rate: the highest learning rate; it falls along half a cosine to 0.
        measure: ``"accuracy"`` (more is better) or ``"loss"`` (less is better), on the test rows.
        limit: the bar for it.
        seeds: runs, whose mean counts.
        minutes: stop after so many minutes of training, if that comes first.
        noise: standard deviation of noise added to the input while training.
    """

    net: Net
    data: Any
    epochs: int
    rate: float
    measure: str = "accuracy"
    limit: float = 0.0
    seeds: int = 1
    minutes: float = math.inf


def _convs(*filters: int) -> tuple[Part, ...]:
    """Convolution, normalisation, relu; one after another."""
    return tuple(p for n in filters for p in (conv(n, 3, bias=False), BATCH_NORM, RELU))


PICTURES = Net(
    "CNN, conv 32, pool, 2 × conv 64, pool, dense 128, normalised, dropout", (28, 28, 1), 128,
    (
        *_convs(32), pool(2), dropout(0.2), *_convs(64, 64), pool(2), dropout(0.3), FLATTEN, dense(128), BATCH_NORM,
        RELU, dropout(0.4), dense(10),
    ),
)  # fmt: skip
COLOURS = Net(
    "VGG-like, 3 blocks of 2 convolutions 32/64/128, normalised, dropout", (32, 32, 3), 64,
    (
        *_convs(32, 32), pool(2), dropout(0.2), *_convs(64, 64), pool(2), dropout(0.3), *_convs(128, 128), pool(2),
        dropout(0.4), FLATTEN, dense(128, "relu"), dropout(0.5), dense(10),
    ),
)  # fmt: skip


def _signal(filters: int, kernel: int, rate: float) -> tuple[Part, ...]:
    return conv(filters, kernel, bias=False), BATCH_NORM, RELU, dropout(rate)


HEARTS = Net(
    "fully convolutional, 32 filters of 15, 64 of 9, 32 of 5, average", (140, 1), 16,
    (*_signal(32, 15, 0.3), *_signal(64, 9, 0.3), *_signal(32, 5, 0.3), AVERAGE, dense(5)), classes=5,
)  # fmt: skip
LSTM = Net(
    "character LSTM, 2×128 units, 64 steps", (64,), 50,
    (embedding(65, 64), lstm(128, True), lstm(128, True), dense(65)), "symbols", 65, 65,
)  # fmt: skip


def _block(width: int) -> tuple[Part, ...]:
    return (
        residual(LAYER_NORM, attention(4, width, causal=True)),
        residual(LAYER_NORM, dense(4 * width, "gelu"), dense(width)),
    )


TRANSFORMER = Net(
    "transformer, 4 layers, 4 heads, width 128, context 64", (64,), 32,
    (embedding(65, 128), position(64), *_block(128), *_block(128), *_block(128), *_block(128), LAYER_NORM, dense(65)),
    "symbols", 65, 65,
)  # fmt: skip
LINEAR = Net("linear map over 336 hours, shared by the columns", (336,), 224, (dense(96),), "values", 96)
GRU = Net("GRU 64 units over 96 hours of 7 columns, dense", (96, 7), 32, (gru(64), dense(96 * 7)), "values", 96 * 7)

TASKS = {
    "fashion": Task(PICTURES, functools.partial(real_data.idx, "fashion_mnist"), 10, 3e-3, limit=0.922),
    "mnist": Task(PICTURES, functools.partial(real_data.idx, "mnist"), 5, 3e-3, limit=0.992),
    "cifar": Task(COLOURS, real_data.cifar, 15, 2e-3, seeds=3),
    "ecg": Task(HEARTS, real_data.ecg, 40, 2e-3, limit=0.94, seeds=5),
    "shakespeare_lstm": Task(LSTM, real_data.shakespeare, 8, 5e-3, "loss", 1.65, minutes=12),
    "shakespeare_transformer": Task(TRANSFORMER, real_data.shakespeare, 12, 2e-3, "loss", 1.65, minutes=12),
    "ett_linear": Task(LINEAR, real_data.ett_columns, 8, 5e-3, "loss", 0.385),
    "ett_gru": Task(GRU, real_data.ett_windows, 6, 1e-3, "loss"),
}


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    score: float
    seconds: float
    curve: tuple[tuple[float, float], ...] = ()  # (seconds of training, score) after each epoch
    text: str = ""


def ours(task: Task, data: Data, seed: int) -> Outcome:
    """Trained by ``fit``, compiling included."""
    import ranvier as rv
    from benchmarks.contenders import ranvier_nets

    rv.set_random_seed(seed)
    model = rv.Sequential([rv.Input(task.net.input), *ranvier_nets.layers_of(task.net.parts, _axes(task.net))])
    steps = task.epochs * math.ceil(len(data.x) / task.net.batch)
    rate = rv.optimizers.schedules.CosineDecay(task.rate, steps)
    model.compile(
        rv.optimizers.Adam(rate, epsilon=nets.EPSILON), ranvier_nets.losses_of(task.net),
        metrics=["accuracy"] if task.measure == "accuracy" else [],
    )  # fmt: skip
    model.set_weights(nets.weights(task.net, seed))
    curve: list[tuple[float, float]] = []
    spent = 0.0
    for _ in range(task.epochs):
        began = time.perf_counter()
        model.fit(data.x, data.y, batch_size=task.net.batch, epochs=1, verbose=0)
        spent += time.perf_counter() - began
        found = model.evaluate(data.x_test, data.y_test, batch_size=256, verbose=0)
        curve.append((spent, float(found[1] if task.measure == "accuracy" else found)))
        print(f"  ours {seed}: {curve[-1][0]:.1f} s  {curve[-1][1]:.4f}", flush=True)
        if spent > 60 * task.minutes:
            break
    text = real_data.sample(lambda x: model.predict(x, verbose=0), task.net.input[0]) if task.net.symbols else ""
    return Outcome(curve[-1][1], spent, tuple(curve), text)


def theirs(task: Task, data: Data, seed: int) -> Outcome:
    """The PyTorch twin, in the layout that is faster."""
    import torch

    from benchmarks.contenders import torch_nets

    torch.manual_seed(seed)
    net = task.net
    last = len(net.input) == 3
    model = torch_nets.model(net, last, start=nets.weights(net, seed))
    optimizer = torch.optim.Adam(model.parameters(), lr=task.rate, eps=nets.EPSILON, fused=True)
    count = math.ceil(len(data.x) / net.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, task.epochs * count)
    loss, x, y = torch_nets.objective(net), torch_nets.place(net, data.x, last), torch.from_numpy(data.y)
    y = y.long() if net.loss in {"classes", "symbols"} else y
    curve: list[tuple[float, float]] = []
    spent = 0.0
    for _ in range(task.epochs):
        model.train()
        began = time.perf_counter()
        for rows in torch.randperm(len(x)).split(net.batch):
            value = loss(model(torch_nets.gather(x, rows, last)), y.index_select(0, rows))
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
            schedule.step()
        spent += time.perf_counter() - began
        curve.append((spent, _score(task, model.eval(), loss, torch_nets.place(net, data.x_test, last), data.y_test)))
        print(f"  twin {seed}: {curve[-1][0]:.1f} s  {curve[-1][1]:.4f}", flush=True)
        if spent > 60 * task.minutes:
            break
    return Outcome(curve[-1][1], spent, tuple(curve))


def _score(task: Task, model: Any, loss: Any, x: Any, y: np.ndarray) -> float:
    import torch

    total = 0.0
    with torch.inference_mode():
        for i in range(0, len(x), 256):
            z, t = model(x[i : i + 256]), torch.from_numpy(y[i : i + 256])
            t = t if task.net.loss == "values" else t.long()
            mean = (z.argmax(1) == t).float().mean() if task.measure == "accuracy" else loss(z, t)
            total += float(mean) * len(t)
    return total / len(x)


def _axes(net: Net) -> int:
    return max(1, len(net.input) - 1)


def run(name: str, twin: bool = True, seeds: int = 0) -> dict[str, Any]:
    """One task's record."""
    task = TASKS[name]
    data = task.data()
    task = replace(task, seeds=seeds or task.seeds)
    mine = [ours(task, data, s) for s in range(task.seeds)]
    rivals = [theirs(task, data, s) for s in range(task.seeds)] if twin else []
    rows = []
    for who, runs in (("Ranvier", mine), ("PyTorch", rivals)):
        for seed, r in enumerate(runs):
            rows.append([who, str(seed), _said(task, r.score), report.seconds(r.seconds), str(len(r.curve))])
    columns = ["who", "seed", f"test {task.measure}", "training", "epochs"]
    notes = [f"{task.net.title}; batch {task.net.batch}, Adam, learning rate {task.rate:g} falling along a cosine."]
    notes += [f"Sampled text:\n\n```text\n{mine[0].text}\n```"] if mine[0].text else []
    raw = {"ours": [[*r.curve] for r in mine], "twin": [[*r.curve] for r in rivals]}
    title = f"{name.replace('_', ' ')} beside a PyTorch twin"
    return report.record(f"real_{name}", title, [report.table("", columns, rows)], bars(task, mine, rivals), raw, notes)


def _said(task: Task, value: float) -> str:
    return f"{value:.2%}" if task.measure == "accuracy" else f"{value:.4f}"


def bars(task: Task, mine: list[Outcome], rivals: list[Outcome]) -> list[dict[str, Any]]:
    more = task.measure == "accuracy"
    score = statistics.mean(r.score for r in mine)
    seeds = f" (mean of {len(mine)} seeds)" if len(mine) > 1 else ""
    found = []
    if task.limit:
        sign = "≥" if more else "≤"
        met = score >= task.limit if more else score <= task.limit
        said = _said(task, score) + seeds
        found.append(report.bar(f"test {task.measure}", f"{sign} {_said(task, task.limit)}", said, met))
    if task.net.symbols:
        early = min((s for t, s in mine[0].curve if t <= 180), default=math.inf)
        found.append(report.bar("loss within 3 minutes", "≤ 1.88", f"{early:.3f}", early <= 1.88))
    if rivals:
        other = statistics.mean(r.score for r in rivals)
        ratio = statistics.mean(r.seconds for r in mine) / statistics.mean(r.seconds for r in rivals)
        worse = (other - score) if more else (score - other)
        found.append(report.bar("beside the twin", "within 1 point" if more else "no worse than 1 %",
                                f"{_said(task, score)} : {_said(task, other)}{seeds}",
                                worse <= (0.01 if more else 0.01 * other)))  # fmt: skip
        found.append(report.bar("time of training", "≤ 0.8 of the twin's", f"{ratio:.2f}", ratio <= 0.8))
    return found


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy")
    parser.add_argument("names", nargs="+", choices=list(TASKS))
    parser.add_argument("--ours", action="store_true", help="without the twin")
    parser.add_argument("--seeds", type=int, default=0, help="how many runs (default: the task's own number)")
    options = parser.parse_args(arguments)
    for name in options.names:
        item = run(name, not options.ours, options.seeds)
        print(report.markdown(item))
        results.save({item["name"]: item}, machine.environment(), results.order())
