"""Writes the parts of the documentation that come from elsewhere, so that they cannot say anything else.

* the table of switches in docs/compiler.md, from ``ranvier.config``
* docs/reference.md, every public name with the first sentence of its docstring
* the table of measurements in both READMEs, from benchmarks/results.json (where there is one)

Usage: ``python scripts/update_docs.py [--check]`` (with ``--check`` it only says whether all are up to date).
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ranvier as rv
from ranvier.ops.table import Op

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results.json"


def between(text: str, name: str, block: str) -> str:
    """``text`` with ``block`` between the marks called ``name``."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, rest = text.split(begin)
    return f"{before}{begin}\n\n{block}\n\n{end}{rest.split(end)[1]}"


# -- measurements -------------------------------------------------------------------------------------------------

WORKLOADS = {
    "mlp_small": ("a training step, MLP 64-32-10, batch 32, Adam", "一个训练步骤：MLP 64-32-10，批量 32，Adam"),
    "mlp_breast_cancer": ("a training step, MLP 30-16-1, batch 16", "一个训练步骤：MLP 30-16-1，批量 16"),
    "mlp_large": (
        "a training step, MLP 784-512-256-10, batch 128, Adam",
        "一个训练步骤：MLP 784-512-256-10，批量 128，Adam",
    ),
    "cnn": ("CNN, two convolutions, 28×28, batch 128", "CNN，两个卷积层，28×28，批量 128"),
    "resnet20": ("ResNet-20, 32×32×3, batch 64", "ResNet-20，32×32×3，批量 64"),
    "vgg": ("six convolutions 32/64/128, 32×32×3, batch 64", "六个卷积层 32/64/128，32×32×3，批量 64"),
    "ecg_cnn": ("1-D CNN, 140 samples, batch 32", "一维 CNN，140 个采样点，批量 32"),
    "autoencoder": ("convolutional autoencoder, 28×28, batch 128", "卷积自编码器，28×28，批量 128"),
    "lstm": ("LSTM 64, 100 steps, batch 32", "LSTM 64，100 步，批量 32"),
    "char_lstm": ("character LSTM 2×128, 64 steps, batch 50", "字符 LSTM 2×128，64 步，批量 50"),
    "gru": ("GRU 32, 24 steps, batch 32", "GRU 32，24 步，批量 32"),
    "transformer": (
        "transformer block, 4 heads, width 128, 64 tokens, batch 32",
        "Transformer 块，4 头，宽 128，64 词元，批量 32",
    ),
    "predict_one": ("predicting one row, MLP 64-32-10", "预测一行：MLP 64-32-10"),
}
PEERS = ("JAX jit", "PyTorch eager", "torch.compile", "scikit-learn", "Keras on JAX")
EMPTY = ("Not measured yet: `make bench` fills this table.", "尚未测量：运行 `make bench` 后填入。")
FIRST = ("what", "内容")
CAPTION = (
    """Medians measured side by side ({processor}, {cores} cores, {date}); in brackets, how many times Ranvier's time.
Each peer in its fastest variant. All of it, with what fell short: [benchmarks/results.md](benchmarks/results.md).""",
    """同机交错测量的中位数（{processor}，{cores} 核，{date}）；括号内为 Ranvier 用时的倍数，每个框架取其最快的写法。
全部结果，包括未达标的项目：[benchmarks/results.md](benchmarks/results.md)。""",
)


def fastest(rows: list[list[str]], column: int) -> dict[str, tuple[float, str]]:
    """For each peer the ratio to Ranvier and the time of its fastest variant; of Ranvier's rows the first counts."""
    found: dict[str, tuple[float, str]] = {}
    for row in rows:
        ratio = re.match(r"[\d.]+", row[column])
        who = re.split(r" \(|, ", row[0])[0]
        if ratio and (who not in found or (float(ratio[0]) < found[who][0] and who != "Ranvier")):
            found[who] = float(ratio[0]), row[1]
    return found


def times(ratio: float) -> str:
    """A ratio with two figures."""
    return f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}"


def performance(records: dict[str, Any], language: int) -> str:
    """The table for a README: 0 in English, 1 in Chinese."""
    tables = {name: records[name]["tables"][0] for name in WORKLOADS if name in records}
    found = {name: fastest(t["rows"], t["columns"].index("against Ranvier")) for name, t in tables.items()}
    found = {name: who for name, who in found.items() if "Ranvier" in who}
    if not found:
        return EMPTY[language]
    peers = [peer for peer in PEERS if any(peer in who for who in found.values())]
    lines = []
    for name, who in found.items():
        ours, own = who["Ranvier"]
        cells = [f"{who[peer][1]} ({times(who[peer][0] / ours)} ×)" if peer in who else "" for peer in peers]
        lines.append(" | ".join([f"| {WORKLOADS[name][language]} | **{own}**", *cells]) + " |")
    facts = records[next(iter(found))]["environment"]
    facts = facts | {"processor": facts["processor"].split(" (")[0], "date": facts["date"].split()[0]}
    head = [" | ".join([f"| {FIRST[language]} | Ranvier", *peers]) + " |", "| --- |" + " --- |" * (len(peers) + 1)]
    return "\n".join([*head, *lines]) + "\n\n" + CAPTION[language].format(**facts)


# -- reference ----------------------------------------------------------------------------------------------------

TOP = """# Reference

Every public name and the first sentence of its documentation; `help(rv.layers.Dense)` has the rest: formula,
arguments, shapes, errors, an example. Written by `make docs` from the package itself.

What layers, losses, optimizers and so on are called in strings and files is held in closed registries. Each of those
rooms has `names()`, `get(name)`, `register` (a decorator that makes your own class or function known),
`serialize(object)` and `deserialize(data)`.
"""
ROOMS = {
    "layers": "what networks are made of",
    "activations": "functions of a tensor; layers take them by name",
    "losses": "how far predictions are from the truth",
    "optimizers": "rules that turn gradients into better weights",
    "optimizers.schedules": "the learning rate as a function of the step",
    "metrics": "what is reported beside the loss",
    "initializers": "the values weights start from",
    "regularizers": "penalties on weights",
    "callbacks": "objects that watch training",
    "random": "random numbers from one seed",
    "datasets": "data to learn with (`from ranvier import datasets`)",
    "config": "switches, see [the table](compiler.md#switches)",
    "errors": "every exception, see [errors.md](errors.md)",
}
CONSTANTS = ("e", "inf", "nan", "newaxis", "pi")  # nothing to say about them
SHARED = ("deserialize", "get", "names", "register", "serialize")  # in every room with a registry; explained at the top
NOTES = {  # of what has no docstring
    "SWITCHES": "all switches by name.",
    "default_generator": "the `Generator` behind the functions of this room.",
}
SECTIONS = {
    "Tensors and variables": ("tensor", "variable", "ops.creation"),
    "Data types": ("dtypes",),
    "Elementwise": ("ops.elementwise",),
    "Reductions": ("ops.reduce",),
    "Shapes": ("ops.shape",),
    "Products": ("ops.contraction",),
    "Convolution, pooling, resizing": ("ops.convolution", "ops.window", "ops.resize"),
    "Sorting and running sums": ("ops.sorting", "ops.cumulative"),
    "Indexing": ("ops.index",),
    "Control flow": ("ops.control",),
    "Gradients": ("autodiff", "ops.table"),
    "Compiling": ("jit",),
    "Models": ("models", "models.model", "models.sequential", "models.saving", "layers.input", "layers"),
    "Random seed": ("random",),
}


def sentence(value: Any) -> str:
    """The first sentence of a docstring."""
    text = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
    return re.sub(r"`{2}", "`", re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text))


def arguments(value: Any) -> str:
    """The signature without annotations: ``(x, axis=None)``."""
    if isinstance(value, Op):
        return "(y, x)" if value.name == "atan2" else ("(x)", "(x, y)")[value.arity - 1]
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    bare = signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)
    return re.sub(r"<[^>]*>", "...", str(bare)).replace("ranvier.", "rv.")


def entry(name: str, value: Any) -> str:
    """One line of the list."""
    if isinstance(value, rv.DType):
        return f"- `{name}`: {value.kind}, {value.itemsize} byte{'s' * (value.itemsize > 1)} an element"
    called = isinstance(value, Op) or inspect.isroutine(value)
    called = called or (inspect.isclass(value) and not issubclass(value, Exception))
    text = f": {sentence(value)}" if called or inspect.isclass(value) or inspect.ismodule(value) else ""
    text = text or f": {NOTES[name]}"
    return f"- `{name}{arguments(value) if called else ''}`{text}"


def top_level() -> dict[str, dict[str, Any]]:
    """The functions and classes of ``ranvier`` itself, by section."""
    found: dict[str, dict[str, Any]] = {title: {} for title in SECTIONS}
    for name in sorted(rv.__all__):
        value = getattr(rv, name)
        if name.startswith("_") or inspect.ismodule(value) or name in CONSTANTS:
            continue
        home = getattr(value, "__module__", "").removeprefix("ranvier.")
        home = "dtypes" if isinstance(value, rv.DType) else home
        title = next((t for t, homes in SECTIONS.items() if home in homes), None)
        if title is None:
            raise SystemExit(f"update_docs: rv.{name} comes from {home}; name a section for it in SECTIONS")
        found[title][name] = value
    return found


def reference() -> str:
    """docs/reference.md."""
    parts = [TOP]
    for title, names in top_level().items():
        lines = "\n".join(entry(f"rv.{name}", value) for name, value in names.items())
        parts.append(f"## {title}\n\n{lines}\n")
    for room, purpose in ROOMS.items():
        module = importlib.import_module(f"ranvier.{room}")
        shared = SHARED if "register" in module.__all__ else ()
        names = [name for name in module.__all__ if name not in shared]
        lines = "\n".join(entry(name, getattr(module, name)) for name in names)
        prefix = "" if room == "datasets" else "rv."
        parts.append(f"## {prefix}{room}\n\n{purpose[0].upper() + purpose[1:]}.\n\n{lines}\n")
    return "\n".join(parts)


# -- files --------------------------------------------------------------------------------------------------------


def updated() -> dict[Path, str]:
    """Every file with a part that is made here, as it should be."""
    records = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    rewrite: dict[str, Callable[[str], str]] = {
        "docs/compiler.md": lambda text: between(text, "switches", rv.config.table()),
        "docs/reference.md": lambda text: reference(),
        "README.md": lambda text: between(text, "performance", performance(records, 0)),
        "README.zh.md": lambda text: between(text, "performance", performance(records, 1)),
    }
    found = {}
    for name, rule in rewrite.items():
        path = ROOT / name
        found[path] = rule(path.read_text(encoding="utf-8") if path.exists() else "")
    return found


def main(options: list[str]) -> int:
    """Write or compare."""
    outdated = 0
    for path, text in updated().items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        outdated += 1
        if "--check" in options:
            print(f"{path.relative_to(ROOT)} is out of date: run `make docs`", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
            print(f"{path.relative_to(ROOT)} rewritten")
    return 1 if outdated and "--check" in options else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
