"""The summary at the head of the report: every requirement, its bars, what was measured, whether they are met."""

from __future__ import annotations

from typing import Any

from benchmarks import nets, report, training

# requirement -> how it is written; the key is a workload's name unless a bar says otherwise
ROWS = {
    "mlp_small": "MLP 64-32-10, batch 32, Adam, time per step in `fit`",
    "mlp_large": "MLP 784-512-256-10, batch 128, Adam, time per step in `fit`",
    "mlp_breast_cancer": "MLP 30-16-1 sigmoid on breast cancer, batch 16, time per step in `fit`",
    **{name: f"training step in `fit`, {nets.NETS[name].title}" for name in training.BARS},
    "convolutions": "60 random convolutions, forward and both gradients",
    "inference": "inference, batch 1 and 64, against ONNX Runtime",
    "resnet_process": "ResNet-20: time to the first step, peak memory of training",
    "matmul": "matrix products, 64 … 1024 square and 128×784×100, one and two threads, all four transposes",
    "predict_one": "`predict` on one row, MLP 64-32-10",
    "first_step": "time to the first step, MLP with 3 layers",
    "eager_op": "eager op on small arrays, recording its gradient",
    "import_time": "import",
    "determinism": "determinism: identical weights after 3 epochs",
    "digits": "digits: accuracy on a held-out fifth, time of the whole command",
    "images": "MNIST and Fashion-MNIST with an MLP: accuracy, time of the whole command",
    "memory": "memory stays flat",
    "gradient": "gradients",
    "real_fashion": "Fashion-MNIST, small CNN, 10 epochs",
    "real_mnist": "MNIST, small CNN, 5 epochs",
    "real_cifar": "CIFAR-10 subset beside a PyTorch twin",
    "real_ecg": "ECG5000, 1-D fully convolutional network",
    "real_shakespeare_lstm": "Tiny Shakespeare, LSTM",
    "real_shakespeare_transformer": "Tiny Shakespeare, small transformer",
    "real_ett_linear": "ETTh1, horizon 96, linear model",
    "real_ett_gru": "ETTh1, horizon 96, GRU beside a PyTorch twin",
}


def sections(records: dict[str, Any]) -> list[str]:
    """The table of bars, then the tally."""
    found: dict[str, list[dict[str, Any]]] = {row: [] for row in ROWS}
    for name, item in records.items():
        for b in item["bars"]:
            found[b.get("row") or name].append(b)
    lines, required = [], []
    for row, bars in found.items():
        if not bars:
            lines.append([ROWS[row], "", "not run", "not measured"])
        for i, b in enumerate(bars):
            lines.append(
                ["" if i else ROWS[row], f"{report.bar_name(b)}: {b['bar']}", b["measured"], report.verdict(b)]
            )
        required += [b for b in bars if b["kind"] == "bar"]
    met, open_ = sum(b["met"] is True for b in required), sum(b["met"] is None for b in required)
    missing = sum(not bars for bars in found.values())
    tally = f"{met} of {len(required)} bars met" + (f", {open_} not measured" if open_ else "")
    tally += (f"; {missing} requirements not run" if missing else "") + "."
    notes = (
        "Goals and comparisons beyond the bar are shown for information. Gradients of every op and layer are compared"
        " with finite differences by the tests (`make test`), not here."
    )
    return [tally, report.markdown_table(["requirement", "bar", "measured", "met"], lines), notes]
